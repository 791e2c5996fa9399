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
from scipy.optimize import nnls

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["factor_in_cone"]

_ON_FACET = 1e-4
_STARTS = 3
_ITERATIONS = 200


def factor_in_cone(
    U: Array, facets: Array, *, tolerance: float = 1e-6
) -> tuple[Array, bool]:
    """Factor a second moment over a polyhedral cone.

    Rank one and two are in closed form; higher rank by alternating projections
    between the cone and the matrices with orthonormal rows.

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
        T = _alternate(G)
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
    multiplier, _ = nnls(G.T, -t)
    return t + G.T @ multiplier


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


def _alternate(G: Array) -> Array:
    """Return orthonormal rows whose columns nearly lie in ``{t : G t >= 0}``."""
    q = G.shape[1]
    # Enough columns for any factorisation of order q would be q (q + 1) / 2; twice the
    # rank is enough in practice, and these are many.
    p = min(q * (q + 1) // 2, 2 * q)
    best, best_error = np.eye(q), np.inf
    rng = np.random.default_rng(0)
    for _ in range(_STARTS):
        T = np.linalg.qr(rng.normal(size=(p, q)))[0].T
        for _ in range(_ITERATIONS):
            inside = np.column_stack([_project(G, t) for t in T.T])
            error = float(np.linalg.norm(inside @ inside.T - np.eye(q)))
            if error < best_error:
                best, best_error = T, error
            if error < 1e-9:
                return best
            left, _, right = np.linalg.svd(inside, full_matrices=False)
            T = left @ right
    return best
