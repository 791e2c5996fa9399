"""Facets and rays of one polyhedral cone, for cells that were not enumerated."""

from __future__ import annotations

from math import comb

import numpy as np
from scipy.optimize import nnls

from pyomo_relu.arrangement.batch import find_vertices
from pyomo_relu.arrangement.masks import FloatArray, IntArray, SignHash, count_bits
from pyomo_relu.errors import InputError

__all__ = ["REDUNDANCY_TOLERANCE", "extreme_rays", "irredundant_rows"]

# A unit row is dropped only if a nonnegative combination of the rows that are kept
# reproduces it to within this distance.
REDUNDANCY_TOLERANCE = 1e-12

# Determinants that the rays of one cell may cost: a few seconds.
_LARGEST_RAY_WORK = 50_000_000


def irredundant_rows(rows: FloatArray, interior: FloatArray) -> IntArray:
    """Return which rows F of the cone ``{u : F u >= 0}`` are facets.

    Clarkson's method (1994): each row is compared with the facets known so far. By
    Farkas' lemma (nonnegative least squares) it is a nonnegative combination of them,
    hence redundant, or the residual gives a point that satisfies them and violates the
    row; the first hyperplane between the interior point and that point is a new facet.

    Parameters
    ----------
    rows : (N, r) ndarray
        Distinct unit rows.
    interior : (r,) ndarray
        A point with ``rows @ interior > 0``, in general position.

    Returns
    -------
    (k,) int64 ndarray
        Ascending. A row in doubt is kept: a redundant row loses nothing.
    """
    depth = rows @ interior
    facets: list[int] = []
    is_facet = np.zeros(len(rows), dtype=bool)
    for row in np.argsort(depth, kind="stable"):
        while not is_facet[row]:
            witness = _witness(rows[facets], rows[row])
            if witness is None:
                break
            fall = depth - rows @ witness
            with np.errstate(divide="ignore", invalid="ignore"):
                time = np.where(fall > 0, depth / fall, np.inf)
            hit = int(time.argmin())
            if is_facet[hit]:  # only rounding can do that
                hit = int(row)
            is_facet[hit] = True
            facets.append(hit)
    return np.flatnonzero(is_facet)


def _witness(facets: FloatArray, row: FloatArray) -> FloatArray | None:
    """Return u with ``facets @ u >= 0 > row @ u``, None if the row is redundant."""
    if not len(facets):
        return -row
    try:
        multiplier, _ = nnls(facets.T, row)
    except RuntimeError:  # no convergence: in doubt, keep the row
        return -row
    residual = facets.T @ multiplier - row
    size = np.linalg.norm(residual)
    return None if size <= REDUNDANCY_TOLERANCE else residual / size


def extreme_rays(facets: FloatArray, tolerance: float) -> FloatArray:
    """Return the unit extreme rays (m, r) of the pointed cone ``{u : F u >= 0}``.

    Every ray is the null vector of r - 1 facets, so all the subsets are tried.

    Parameters
    ----------
    facets : (k, r) ndarray
        Unit rows of rank r without redundant ones.
    tolerance : float
        A determinant of r unit rows of at most this size is zero.

    Raises
    ------
    InputError
        If there are too many subsets.
    """
    count, rank = facets.shape
    work = comb(count, rank - 1) * count
    if work > _LARGEST_RAY_WORK:
        raise InputError(
            f"The rays of a cell with {count} facets in rank {rank} are found among "
            f"{comb(count, rank - 1):,} subsets of its facets, more than this package "
            f"tries ({_LARGEST_RAY_WORK // count:,} at this size). Use the facets, or "
            "project X on fewer principal components."
        )
    rays = []
    for group in find_vertices(facets[None], tolerance, SignHash(count)):
        positive = count_bits(group.positive)
        rays.append(group.direction[positive == count - group.zeros.shape[1]])
        rays.append(-group.direction[positive == 0])
    return np.concatenate(rays)
