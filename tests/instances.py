"""Instances that several test modules train on, with their known optima."""

import itertools

import numpy as np

#: Optima of the first four random instances (squared loss, beta 0.2), from sixty
#: restarts of a descent below and an independent semidefinite solver above.
REFERENCE = {0: 4.3655299, 1: 3.3262922, 2: 1.7011608, 3: 2.5285019}
#: Optimum of the relaxation ``relu.psd`` of the first.
REFERENCE_PSD = 1.4701603


def reference_data(seed):
    """Return X (10, 3) and Y (10, 2) of a reference instance."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(10, 3)), rng.normal(size=(10, 2))


def degenerate_data():
    """Return name -> (X, Y) of data in special position."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 3))
    grid = np.array(list(itertools.product([-1, 0, 1], repeat=3)), float)
    samples = {
        "integer grid": grid,
        "duplicated rows": np.vstack([rows, rows[:4], 2.0 * rows[:2]]),
        "rows and their negatives": np.vstack([rows, -rows]),
        "rank 2 in five dimensions": rng.normal(size=(12, 2)) @ rng.normal(size=(2, 5)),
        "one row": rng.normal(size=(1, 4)),
        "one column": rng.normal(size=(9, 1)),
        "zero rows": np.vstack([rows, np.zeros((2, 3))]),
    }
    return {name: (X, rng.normal(size=(len(X), 2))) for name, X in samples.items()}


def horn_matrix():
    """Return the Horn matrix (5, 5): copositive, but not in S_+ + N."""
    i, j = np.indices((5, 5))
    return np.array([1.0, -1.0, 1.0, 1.0, -1.0])[(j - i) % 5]


def horn_instance(strength=4.0):
    r"""Return X (5, 5), Y (5, 2), beta and the optimum where plain `relu.dnn` is loose.

    The geometry of the cell in which all samples are active is the Horn matrix H. Its
    negative eigenvalue -1.236 is double; with V (5, 2) the eigenvectors and s the
    strength,

    .. math:: H = q (R^T R - Z Z^T), \quad R^T R = (H + s V V^T) / q, \quad
              Z = \sqrt{s / q} \, V, \quad q = 1 + 2 s / 5,

    where R has unit columns. With :math:`X = R^{-1}` these are the rays of the cell,
    on which :math:`X R = I`: the matrix of its copositive constraint at Z and beta = 1
    has the Schur complement :math:`R^T R - Z Z^T`, which is copositive. In the other
    cells :math:`|Z^T (X u)_+| \le |u|` from a strength of 3.1 on. So Z is feasible for
    the dual, but not after `relu.dnn`: H is not in S_+ + N.

    The zeros of H on edges are :math:`a_j = e_j + e_{j+1}`. There
    :math:`|R a_j| = |Z^T a_j|`: the neurons :math:`u_j = R a_j, v_j = Z^T a_j` are
    complementary to Z, and predict :math:`f = \sum_j a_j a_j^T Z = \varphi^2 Z` with
    the golden ratio. At :math:`Y = Z + f` they are optimal, with

    .. math:: p^* = \langle Z, Y \rangle - \tfrac12 |Z|^2
                  = (\varphi^2 + \tfrac12) |Z|^2, \qquad |Z|^2 = 2 s / q.

    Up to a strength of 4.47 the longest edges of the cell lead from one ray to the
    next, and one bisection closes the gap; above, it takes several.
    """
    angle = 2.0 * np.pi / 5.0 * np.arange(5)
    V = np.sqrt(0.4) * np.column_stack([np.cos(angle), np.sin(angle)])
    q = 1.0 + 0.4 * strength
    squares, vectors = np.linalg.eigh((horn_matrix() + strength * V @ V.T) / q)
    X = vectors / np.sqrt(squares) @ vectors.T
    Z = np.sqrt(strength / q) * V
    golden = 0.5 + np.sqrt(1.25)
    return X, (1.0 + golden**2) * Z, 1.0, (golden**2 + 0.5) * 2.0 * strength / q
