"""Is a quadratic form convex? Solvers do not tell: some call a saddle "optimal"."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

__all__ = ["CURVATURE_TOLERANCE", "most_negative_curvature"]

#: Curvature below minus this times the largest entry is refused. A Gram matrix that
#: went through an expression tree carries rounding of some 1e-13.
CURVATURE_TOLERANCE = 1e-9

# Up to this order the spectrum is computed; beyond, the signs of the pivots of a
# sparse factorisation decide first.
_DENSE_ORDER = 400


def most_negative_curvature(P: sp.csc_array) -> tuple[float, int]:
    """Smallest eigenvalue of a sparse symmetric matrix, if it is really negative.

    The matrix is split into its connected components, so that the separable losses
    of statistics cost next to nothing.

    Parameters
    ----------
    P : (n, n) csc_array
        Symmetric, both triangles stored.

    Returns
    -------
    curvature : float
        0.0 when every eigenvalue is above ``-CURVATURE_TOLERANCE * max |P|``,
        otherwise a negative value ``u'Pu`` that a unit vector ``u`` attains.
    column : int
        The coordinate in which that vector is largest (-1 when convex).

    Examples
    --------
    >>> most_negative_curvature(sp.csc_array([[1.0, 1.0], [1.0, 1.0]]))
    (0.0, -1)
    >>> most_negative_curvature(sp.csc_array([[2.0, 0.0], [0.0, -3.0]]))
    (-3.0, 1)
    """
    if P.nnz == 0:
        return 0.0, -1
    threshold = -CURVATURE_TOLERANCE * float(np.abs(P.data).max())
    diagonal = P.diagonal()
    column = int(diagonal.argmin())
    if diagonal[column] < threshold:
        return float(diagonal[column]), column
    count, label = connected_components(P, directed=False)
    if count == P.shape[0]:
        return 0.0, -1
    order = np.argsort(label, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(label))[:-1])
    for columns in members:
        if len(columns) == 1:
            continue
        block = P[columns][:, columns]
        if len(columns) > _DENSE_ORDER and _pivots_are_positive(block, -threshold):
            continue
        values, vectors = np.linalg.eigh(block.toarray())
        if values[0] < threshold:
            worst = int(np.abs(vectors[:, 0]).argmax())
            return float(values[0]), int(columns[worst])
    return 0.0, -1


def _pivots_are_positive(block: sp.csc_array, shift: float) -> bool:
    """Whether ``block + shift I`` factors with positive pivots on the diagonal.

    Sylvester's law of inertia: with the same permutation of rows and columns the
    pivots are those of a congruence, so that positive ones prove definiteness.
    """
    shifted = sp.csc_matrix(block + shift * sp.eye_array(block.shape[0]))
    try:
        factor = splu(
            shifted,
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
    except RuntimeError:
        return False
    symmetric = np.array_equal(factor.perm_r, factor.perm_c)
    return bool(symmetric and factor.U.diagonal().min() > 0.0)
