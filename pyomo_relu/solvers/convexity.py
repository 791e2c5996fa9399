"""Is a quadratic form convex? Solvers do not tell: some call a saddle "optimal"."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

__all__ = ["CURVATURE_TOLERANCE", "most_negative_curvature", "natural_units"]

#: Eigenvalues below minus this are refused, in units in which the diagonal is one. A
#: Gram matrix that went through an expression tree carries rounding of some 1e-13.
CURVATURE_TOLERANCE = 1e-11

#: Diagonal entries of this size, relative to the largest, are what cancelled.
_CANCELLED = 1e-15

# Up to this order the spectrum is computed; beyond, the signs of the pivots of a
# sparse factorisation decide first.
_DENSE_ORDER = 400


def natural_units(P: sp.csr_array | sp.csc_array) -> np.ndarray:
    """Return units in which a symmetric matrix has a diagonal of ones and minus ones.

    A variable whose diagonal entry is zero takes the unit that makes its largest entry
    one.

    Parameters
    ----------
    P : (n, n) sparse array
        Symmetric, both triangles stored.

    Returns
    -------
    (n,) ndarray
        Positive: ``P / outer(units, units)`` has this diagonal.

    Examples
    --------
    >>> natural_units(sp.csr_array([[4.0, 0.0, 0.0], [0.0, 0.0, 8.0], [0.0, 8.0, 1.0]]))
    array([2., 8., 1.])
    """
    diagonal = np.abs(P.diagonal())
    units = np.sqrt(diagonal)
    missing = diagonal == 0.0
    if missing.any():
        entries = sp.coo_array(P)
        rows, columns = entries.coords
        # Towards variables that have a unit; towards others it is shared.
        partner = np.where(missing[columns], 0.0, units[columns])
        size = np.abs(entries.data)
        to_unit = np.divide(size, partner, out=np.sqrt(size), where=partner > 0.0)
        largest = np.zeros(len(units))
        np.maximum.at(largest, rows, to_unit)
        units = np.where(missing, largest, units)
    return np.where(units > 0.0, units, 1.0)


def most_negative_curvature(P: sp.csc_array) -> tuple[float, int]:
    """Negative curvature of a quadratic form, if there really is one.

    The matrix is taken in units in which its diagonal is one, so that variables of
    all sizes count as much, and split into its connected components, so that the
    separable losses of statistics cost next to nothing.

    Parameters
    ----------
    P : (n, n) csc_array
        Symmetric, both triangles stored.

    Returns
    -------
    curvature : float
        0.0 when every eigenvalue in these units is above ``-CURVATURE_TOLERANCE``,
        otherwise a negative value ``u'Pu`` that a unit vector ``u`` attains.
    column : int
        The coordinate in which that vector is largest (-1 when convex).

    Examples
    --------
    >>> most_negative_curvature(sp.csc_array([[1.0, 1.0], [1.0, 1.0]]))
    (0.0, -1)
    >>> most_negative_curvature(sp.csc_array([[2.0, 0.0], [0.0, -3.0]]))
    (-3.0, 1)
    >>> most_negative_curvature(sp.csc_array([[1e6, 0.0], [0.0, -1e-6]]))
    (-1e-06, 1)
    """
    if P.nnz == 0:
        return 0.0, -1
    diagonal = P.diagonal()
    column = int(diagonal.argmin())
    if diagonal[column] < -_CANCELLED * float(np.abs(P.data).max()):
        return float(diagonal[column]), column
    count, label = connected_components(P, directed=False)
    if count == P.shape[0]:
        return 0.0, -1
    units = natural_units(P)
    order = np.argsort(label, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(label))[:-1])
    for columns in members:
        if len(columns) == 1:
            continue
        block = P[columns][:, columns]
        own = units[columns]
        scaling = sp.diags_array(1.0 / own)
        scaled = sp.csc_array(scaling @ block @ scaling)
        if len(columns) > _DENSE_ORDER and _pivots_are_positive(
            scaled, CURVATURE_TOLERANCE
        ):
            continue
        values, vectors = np.linalg.eigh(scaled.toarray())
        if values[0] < -CURVATURE_TOLERANCE:
            direction = vectors[:, 0] / own
            direction /= np.linalg.norm(direction)
            # Of the unit vectors the steepest, where rounding does not hide it.
            steepest = np.linalg.eigh(block.toarray())[1][:, 0]
            direction = min(direction, steepest, key=lambda u: float(u @ (block @ u)))
            worst = int(np.abs(direction).argmax())
            return float(direction @ (block @ direction)), int(columns[worst])
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
