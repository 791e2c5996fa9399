"""From data rows to distinct hyperplanes.

A *class* is a hyperplane ``{u : h^T u = 0}`` of the arrangement: all rows of X that are
parallel or antiparallel to the unit normal h. Zero rows belong to none. If the classes
span fewer than d dimensions the normals are written in an orthonormal basis of their
span, which loses nothing: a weight outside of it does not change the network.

Every decision is made with a tolerance and accounted for: row k is replaced by
``(x_k^T h) h`` (by zero if it is dropped), and the matrix E of all the differences is
kept. Design, "What exact means in floating point".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from pyomo_relu.arrays import as_matrix
from pyomo_relu.errors import DegenerateDataError, InputError, InputTypeError

__all__ = ["RowClasses", "as_data_matrix", "classify_rows", "incidence_tolerance"]

IntArray = NDArray[np.signedinteger[Any]]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class RowClasses:
    """The distinct hyperplanes of a data matrix.

    Attributes
    ----------
    X : (n, d) ndarray
        The data.
    basis : (d, r) ndarray
        Orthonormal basis of the span of the classes; the identity when r == d.
    normals : (N, r) ndarray
        Unit normal of each class, in that basis.
    representative : (N,) int ndarray
        The sample (the longest row) that each normal is taken from.
    sample_class : (n,) int ndarray
        Class of each sample, -1 for a zero row.
    sample_sign : (n,) int8 ndarray
        +1 if the row points along the normal of its class, -1 if against it, 0 for a
        zero row.
    scale : float
        A power of two of the size of X; `weight` and `deviation` are relative to it.
    weight : (N,) ndarray
        Euclidean norm of the coefficients ``x_k^T h`` of the rows of each class.
    deviation : float
        A bound on ``|(X u)_+ - D X P u|_2`` over unit vectors u, where P
        projects on the basis and the mask D has the signs of u on the classes:
        ``|E|_2`` if r == d, else ``sqrt(2) |E|_2`` (see Notes).

    Notes
    -----
    Let ``t = x_k^T u``, ``t' = t - E_k u`` its counterpart on the class normal, and
    ``s = x_k^T P u = t - E_k w`` with ``w = u - P u``. If t' <= 0 (inactive) the
    k-th error is ``(t)_+ <= |E_k u|``. If t' >= 0 (active) it is ``(t)_+ - s``, which
    is ``E_k w`` for t >= 0 and between ``E_k w`` and ``-E_k P u`` otherwise. Without
    truncation w = 0 and both are at most ``|E_k u|``; with it the squares add up to at
    most ``|E u|^2 + |E w|^2 + |E P u|^2 <= 2 |E|_2^2``.
    """

    X: FloatArray
    basis: FloatArray
    normals: FloatArray
    representative: IntArray
    sample_class: IntArray
    sample_sign: NDArray[np.int8]
    scale: float
    weight: FloatArray
    deviation: float

    @property
    def count(self) -> int:
        """Number N of classes."""
        return len(self.normals)

    @property
    def rank(self) -> int:
        """Rank r of the normals."""
        return int(self.normals.shape[1])


def incidence_tolerance(tolerance: float) -> float:
    """Return the size below which a determinant of r unit normals counts as zero.

    It has to lie well below `tolerance`: two normals that were kept apart because
    their angle exceeds `tolerance` must stay apart where they meet others.
    """
    return 1e-2 * tolerance


def as_data_matrix(problem_or_X: Any) -> FloatArray:
    """Return a copy of the data as a finite float matrix (n, d), or refuse.

    Parameters
    ----------
    problem_or_X : array_like (n, d) or object with an attribute ``rows`` or ``X``
        The data or a training problem.

    Raises
    ------
    InputTypeError
        If it is neither, or is not made of real numbers.
    InputError
        If the matrix is empty, has not two dimensions, or holds NaN or infinity.
    """
    data = problem_or_X
    if not hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        if not hasattr(data, "rows") and not hasattr(data, "X"):
            raise InputTypeError(
                f"X is of type {type(data).__name__}; give an array_like of shape "
                "(n, d) with one sample a row, or a problem that has an attribute X "
                "(sparse matrices: pass X.toarray())."
            )
        data = data.rows if hasattr(data, "rows") else data.X
    return as_matrix(data, "X")


def check_tolerance(tolerance: float) -> float:
    """Return the tolerance as a float in [1e-12, 1e-3], or refuse."""
    try:
        value = float(tolerance)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"tolerance is {tolerance!r}; give a number from 1e-12 to 1e-3 (an angle)."
        ) from error
    if not 1e-12 <= value <= 1e-3:
        raise InputError(
            f"tolerance is {value!r}; it must lie between 1e-12 (just above rounding) "
            "and 1e-3 (an angle in radians below which two rows count as parallel)."
        )
    return value


def classify_rows(X: FloatArray, tolerance: float) -> RowClasses:
    """Merge the rows of X to distinct hyperplanes of full rank.

    Rows shorter than ``1e-3 * tolerance`` times the longest row are dropped as zero
    (standardising leaves such rows of samples that equal the mean); rows within an
    angle `tolerance` of each other (up to sign, and transitively) are merged;
    directions in which all the normals together have a singular value of at most
    `tolerance` times the largest are truncated.

    Parameters
    ----------
    X : (n, d) ndarray
        Finite data.
    tolerance : float
        See above.

    Raises
    ------
    InputError
        If every row is zero.
    DegenerateDataError
        If the tolerance would merge a row with its own negative.
    """
    n, d = X.shape
    # Exact powers of two, so that very large or small data neither overflow nor vanish.
    largest = np.abs(X).max(axis=1)
    exponent = np.frexp(np.where(largest > 0, largest, largest.max()))[1] - 1
    scale = np.ldexp(1.0, exponent)
    norm = np.linalg.norm(X / scale[:, None], axis=1)
    length = np.ldexp(norm, exponent - exponent.max())  # of each row, relatively
    kept = np.flatnonzero(length > 1e-3 * tolerance * length.max())
    if not len(kept):
        raise InputError(
            f"Every row of X (shape {X.shape}) is zero, so there is no hyperplane and "
            "no cell: a network without bias is zero there. Add a column of ones "
            "(bias=True) or check the data."
        )
    unit = X[kept] / scale[kept, None] / norm[kept, None]

    basis = np.eye(d)
    while True:
        label, sign, chosen = _merge_parallel(unit @ basis, length[kept], tolerance)
        normals = unit[chosen] @ basis
        _, singular, directions = np.linalg.svd(normals, full_matrices=False)
        rank = int(np.count_nonzero(singular > tolerance * singular[0]))
        if rank == basis.shape[1]:
            break
        basis = np.linalg.qr(basis @ directions[:rank].T)[0]
    normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)

    sample_class = np.full(n, -1, dtype=np.int64)
    sample_class[kept] = label
    sample_sign = np.zeros(n, dtype=np.int8)
    sample_sign[kept] = sign

    # Relative to the longest row: squares of the entries may not be representable.
    shared = np.ldexp(1.0, exponent.max())
    scaled = X / shared
    lifted = normals @ basis.T
    coefficient = np.zeros(n)
    coefficient[kept] = np.einsum("kd,kd->k", scaled[kept], lifted[label])
    residual = scaled.copy()
    residual[kept] -= coefficient[kept, None] * lifted[label]
    weight = np.sqrt(np.bincount(label, coefficient[kept] ** 2, len(normals)))
    truncated = len(normals[0]) < d
    return RowClasses(
        X=X,
        basis=basis,
        normals=normals,
        representative=kept[chosen],
        sample_class=sample_class,
        sample_sign=sample_sign,
        scale=float(shared),
        weight=weight,
        deviation=float(np.linalg.norm(residual, 2) * np.sqrt(1.0 + truncated)),
    )


def _merge_parallel(
    rows: FloatArray, length: FloatArray, tolerance: float
) -> tuple[IntArray, NDArray[np.int8], IntArray]:
    """Return class and sign of each row and the longest row of each class."""
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    leading = rows[np.arange(len(rows)), (rows != 0).argmax(axis=1)]
    facing = np.where(leading < 0, -1.0, 1.0)
    # Exact copies first: a pile of k of them would give k^2 close pairs.
    distinct, copy_of = np.unique(rows * facing[:, None], axis=0, return_inverse=True)
    copy_of = copy_of.reshape(-1)
    m = len(distinct)
    pairs = cKDTree(np.vstack([distinct, -distinct])).query_pairs(
        tolerance, output_type="ndarray"
    )
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (2 * m,) * 2)
    component = connected_components(graph, directed=False)[1]
    if (component[:m] == component[m:]).any():
        raise DegenerateDataError(
            f"With tolerance={tolerance:g} a chain of nearly parallel rows merges a "
            "row with its own negative. Use a smaller tolerance."
        )
    # A class is the pair of mirror components; the positions tell the two apart.
    positive = component[np.where(facing > 0, copy_of, copy_of + m)]
    negative = component[np.where(facing > 0, copy_of + m, copy_of)]
    _, first, label = np.unique(
        np.minimum(positive, negative), return_index=True, return_inverse=True
    )
    renumber = np.empty(len(first), dtype=np.int64)  # classes in order of appearance
    renumber[np.argsort(first)] = np.arange(len(first))
    label = renumber[label.reshape(-1)]
    by_class = np.lexsort((-length, label))
    chosen = by_class[np.searchsorted(label[by_class], np.arange(len(first)))]
    sign = np.where(positive == positive[chosen][label], 1, -1).astype(np.int8)
    return label, sign, chosen
