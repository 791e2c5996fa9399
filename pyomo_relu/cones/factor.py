r"""Completely positive factors: a second moment as a sum of vectors in a cone.

Given :math:`U \succeq 0` find vectors of the cone
:math:`K = \{u : F u \ge 0\}` with :math:`U = \sum_k u_k u_k^T`. With
:math:`U = L L^T` of rank q they are the columns of :math:`L T` for a T of
orthonormal rows whose columns t obey :math:`F L t \ge 0` (design, From a solution
to a network; P. Groetzner and M. Duer, A factorization method for completely
positive matrices, 2020).
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["factor_in_cone"]

_ON_FACET = 1e-4
_STARTS = 3
_PROJECTIONS = 10
_STEPS = 60
_FACTORED = 1e-10
#: A step that leaves more than this of the error is the last one.
_STALLED = 0.9999
#: First damping of the least squares, relative to the error.
_DAMPING = 1e-2
#: The diagonal of the normal matrix is of order one.
_LEAST_SHIFT = 1e-13
#: Of that many nonnegative multipliers the least squares take about a second.
_MAX_MULTIPLIERS = 400


def factor_in_cone(
    U: Array, facets: Array, *, tolerance: float = 1e-6
) -> tuple[Array, bool]:
    r"""Factor a second moment over a polyhedral cone.

    Rank one and two are in closed form. Of higher rank alternating projections
    between the cone and the matrices with orthonormal rows give a start for the
    least squares :math:`\min |I - T T^T|^2, F L T \ge 0`.

    Parameters
    ----------
    U : (r, r) array
        Positive semidefinite, up to rounding.
    facets : (k, r) array
        Inward normals of the cone.
    tolerance : float
        Eigenvalues below this multiple of the largest are dropped, and the cone
        may be missed by this much relative to the size of a factor.

    Returns
    -------
    factors : (r, p) array
        Vectors of the cone, up to 1e-4 of their size at facets that hold all of `U`.
    exact : bool
        Whether the sum of their outer products is `U` up to the tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> U = np.array([[2.0, 1.0], [1.0, 2.0]])
    >>> B, exact = factor_in_cone(U, np.eye(2))
    >>> exact, bool((B >= 0).all()), bool(np.allclose(B @ B.T, U))
    (True, True, True)
    """
    values, vectors = np.linalg.eigh(0.5 * (U + U.T))
    keep = values > tolerance * max(float(values[-1]), 0.0)
    if not keep.any() or values[-1] <= 0.0:
        return np.empty((len(U), 0)), True
    L = vectors[:, keep] * np.sqrt(values[keep])
    # Rows g with g t >= 0: the cone in the coordinates of the factor L.
    G = facets @ L
    norms = np.linalg.norm(G, axis=1)
    # A facet that contains the range of U up to an interior point's accuracy has a row
    # of noise, whose sign says nothing.
    used = norms > _ON_FACET * norms.max()
    G = G[used] / norms[used, None]
    if L.shape[1] == 1:
        T = np.array([[1.0 if G.sum() >= 0.0 else -1.0]])
    elif L.shape[1] == 2:
        T = _orthonormal_pair(G)
    else:
        T = _orthonormal_rows(G)
    inside = np.column_stack([_project(G, t) for t in T.T])
    error = np.linalg.norm(inside @ inside.T - np.eye(len(inside)))
    # Projecting on the cone of L t in its own metric would need F again; in the
    # coordinates of L the rows G say the same.
    return L @ inside, bool(error <= 10.0 * np.sqrt(tolerance))


def _project(G: Array, t: Array) -> Array:
    """Return the nearest point of ``{t : G t >= 0}``."""
    if (G @ t >= 0.0).all():
        return t
    # Moreau: t minus its projection on the polar cone {-G^T l : l >= 0}.
    multiplier = _nonnegative_least_squares(G.T, -t)
    return t + G.T @ multiplier


def _nonnegative_least_squares(A: Array, b: Array) -> Array:
    """Minimise ``|A x - b|`` over ``x >= 0`` by Lawson and Hanson's method, 23.3.

    scipy.optimize.nnls (1.17) can return a point that is none, with a residual of
    zero, where b is at rounding's distance from the normals of the cone.
    """
    n = A.shape[1]
    x = np.zeros(n)
    passive = np.zeros(n, dtype=bool)
    rounding = 1e-14 * np.linalg.norm(A, axis=0) * np.linalg.norm(b)
    for _ in range(3 * n):
        gain = A.T @ (b - A @ x) - rounding
        gain[passive] = -np.inf
        entering = int(gain.argmax())
        if gain[entering] <= 0.0:
            break
        passive[entering] = True
        while True:
            best = np.zeros(n)
            best[passive] = np.linalg.lstsq(A[:, passive], b, rcond=None)[0]
            below = passive & (best <= 0.0)
            if not below.any():
                break
            # As far as the first of them goes to zero, and that one leaves.
            ratio = x[below] / (x[below] - best[below])
            x = x + ratio.min() * (best - x)
            leaving = np.flatnonzero(below)[ratio <= ratio.min()]
            passive[leaving] = False
            x[~passive] = 0.0
        x = best
    return x


def _orthonormal_pair(G: Array) -> Array:
    """Return two orthonormal columns about the bisector of ``{t : G t >= 0}``.

    A planar cone holds an orthonormal pair exactly when it is at least a right
    angle wide.
    """
    # The bisector of the cone is the bisector of its polar, turned about: the
    # normals' extreme directions are measured from their mean.
    centre = G.mean(axis=0)
    base = np.arctan2(centre[1], centre[0])
    angles = np.angle(np.exp(1j * (np.arctan2(G[:, 1], G[:, 0]) - base)))
    middle = base + 0.5 * (angles.min() + angles.max())
    pair = middle + np.array([-np.pi / 4, np.pi / 4])
    return np.vstack([np.cos(pair), np.sin(pair)])


def _orthonormal_rows(G: Array) -> Array:
    """Return orthonormal rows whose columns, nearly, lie in ``{t : G t >= 0}``."""
    q = G.shape[1]
    # Enough columns for any factorisation of order q would be q (q + 1) / 2; twice the
    # rank is enough in practice, and these are many.
    p = min(q * (q + 1) // 2, 2 * q)
    best, best_error = np.eye(q), np.inf
    rng = np.random.default_rng(0)
    small = p * len(G) <= _MAX_MULTIPLIERS
    projections = _PROJECTIONS if small else 20 * _PROJECTIONS
    for _ in range(_STARTS):
        T = np.linalg.qr(rng.normal(size=(p, q)))[0].T
        for _ in range(projections):
            inside = np.column_stack([_project(G, t) for t in T.T])
            error = _error(inside)
            if error < best_error:
                best, best_error = inside, error
            if error <= _FACTORED:
                return best
            left, _, right = np.linalg.svd(inside, full_matrices=False)
            T = left @ right
        if not small:
            continue
        T = _least_squares(G, np.column_stack([_project(G, t) for t in T.T]))
        error = _error(T)
        if error < best_error:
            best, best_error = T, error
        if error <= _FACTORED:
            break
    return best


def _error(T: Array) -> float:
    return float(np.linalg.norm(T @ T.T - np.eye(len(T))))


def _least_squares(G: Array, T: Array) -> Array:
    r"""Minimise :math:`|I - T T^T|` over ``G T >= 0``, from a T of the cone.

    Levenberg and Marquardt's method: a step D solves

    .. math:: \min_D |I - T T^T - T D^T - D T^T|^2 + \mu |D|^2
              \quad \text{s.t. } G (T + D) \ge 0

    with the dual of Lawson and Hanson's least distance programming, 23.4. The damping
    goes with the error, so that the convergence is quadratic.
    """
    q, p = T.shape
    rows, columns = np.triu_indices(q)
    weight = np.where(rows == columns, 1.0, np.sqrt(2.0))
    here = np.arange(len(rows))
    constraints = np.kron(np.eye(p), G)
    damping, error = _DAMPING, _error(T)
    for _ in range(_STEPS):
        if error <= _FACTORED:
            break
        missing = weight * (np.eye(q) - T @ T.T)[rows, columns]
        jacobian = np.zeros((len(rows), p, q))
        jacobian[here, :, rows] += T[columns]
        jacobian[here, :, columns] += T[rows]
        jacobian = (weight[:, None, None] * jacobian).reshape(len(rows), -1)
        shift = max(damping * error, _LEAST_SHIFT)
        normal = jacobian.T @ jacobian + shift * np.eye(p * q)
        root = np.linalg.inv(np.linalg.cholesky(normal))
        free = root.T @ (root @ (jacobian.T @ missing))
        # In y = root^-T (D - free) the step is the least y with slopes y >= needs.
        slopes = constraints @ root.T
        needs = -(constraints @ (T.T.ravel() + free))
        if needs.max() > 0.0:
            system = np.vstack([slopes.T, needs])
            target = np.append(np.zeros(p * q), 1.0)
            multipliers = _nonnegative_least_squares(system, target)
            residual = target - system @ multipliers
            if residual[-1] <= 0.0:
                break
            free = free - root.T @ (residual[:-1] / residual[-1])
        moved = T + free.reshape(p, q).T
        # Feasible up to rounding, which the projection takes away.
        moved = np.column_stack([_project(G, t) for t in moved.T])
        new = _error(moved)
        if new >= error:
            damping *= 5.0
            continue
        is_stalled = new > _STALLED * error
        T, error, damping = moved, new, 0.3 * damping
        if is_stalled:
            break
    return T
