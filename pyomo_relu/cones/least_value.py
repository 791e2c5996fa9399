r"""The least value of a quadratic form on the unit vectors of a polyhedral cone.

A minimiser of :math:`x^T M x` over the unit vectors of
:math:`K = \{(u, v) : F u \ge 0\}` lies in the relative interior of a face of K, where
it is a local minimiser on the unit sphere of the face's span, hence a *global* one: an
eigenvector to the smallest eigenvalue of M restricted to that span. So the least value
is among the smallest eigenvalues over all faces, namely the least of those that have
an eigenvector in K (a multiple eigenvalue leads on to a smaller face with the same
value). The span of a face is where some independent rows of F vanish.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["MOST_FACES", "least_on_cone"]

#: So many sets of vanishing rows are looked at: all of them up to twelve rows.
MOST_FACES = 4096

#: A row of F, at unit length, may be negative by this much at a unit vector of K.
_ROUNDING = 1e-12


def least_on_cone(M: Array, F: Array) -> float:
    """Return the least of ``x^T M x`` over unit vectors x = (u, v) with ``F u >= 0``.

    Parameters
    ----------
    M : (m + c, m + c) array
        Symmetric.
    F : (f, m) array
        Nonzero rows; the last c coordinates are free.

    Returns
    -------
    float
        The value at a vector of the cone, up to rounding; inf where none was found. It
        is the least one where the faces are at most `MOST_FACES`, which is so for
        f <= 12; otherwise it is the least over the faces of low and of high dimension.

    Examples
    --------
    >>> import numpy as np
    >>> M = np.array([[1.0, -3.0], [-3.0, 1.0]])
    >>> print(f"{least_on_cone(M, np.eye(2)):.6f}")
    -2.000000
    >>> print(f"{least_on_cone(-M, np.eye(2)):.6f}")
    -1.000000
    """
    f, m = F.shape
    free = np.eye(len(M) - m)
    F = F / np.linalg.norm(F, axis=1, keepdims=True)
    least = np.inf
    for vanishing in _row_sets(f, m):
        count, size = vanishing.shape
        dimension = m - size + len(free)
        if dimension == 0:
            continue
        # The rows of a full basis beyond the first `size` are orthogonal to F_I.
        basis = np.zeros((count, dimension, len(M)))
        basis[:, : m - size, :m] = np.linalg.svd(F[vanishing])[2][:, size:]
        basis[:, m - size :, m:] = free
        values, vectors = np.linalg.eigh(basis @ M @ basis.transpose(0, 2, 1))
        x = (vectors[:, None, :, 0] @ basis)[:, 0]
        slack = x[:, :m] @ F.T
        inside = (slack >= -_ROUNDING).all(axis=1) | (slack <= _ROUNDING).all(axis=1)
        least = min(least, float(values[inside, 0].min(initial=np.inf)))
    return least


def _row_sets(f: int, m: int) -> Iterator[np.ndarray[Any, np.dtype[np.intp]]]:
    """Yield the sets of at most m of f rows, those of one size at a time."""
    left = MOST_FACES
    for size in sorted(range(min(f, m) + 1), key=lambda size: comb(f, size)):
        left -= comb(f, size)
        if left < 0:
            return
        sets = list(combinations(range(f), size))
        yield np.array(sets, dtype=np.intp).reshape(len(sets), size)
