r"""Neighbourhoods of directions in which rho is known: stars of cells.

The star of a direction is the cone on which all samples but a few, H, keep the sign
that they have there,

.. math:: \{u : s_k x_k^T u \ge 0 \text{ for } k \notin H\},

the union of at most :math:`2^{|H|}` cells. On each of them :math:`Z^T \sigma(X u)` is
linear, and the largest norm of a linear map over a polyhedral cone is found on its
faces: in the relative interior of a face it is attained at the *top* singular vector of
the map on the span of the face (design, Certificates). The spans are where some of the
constraints hold with equality, so facets suffice and no ray is needed; leaving
constraints out makes the cone larger and the bound no less valid.

Near a local maximum that lies on hyperplanes, as most do, bounds over small cones
converge slowly. The star is decided at once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyomo_relu.activations import Activation
from pyomo_relu.certificates.faces import DEPENDENT, OFF, SEPARATED, slack_of

Array = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["INDEPENDENT", "Star", "star_at", "star_bound"]

#: Samples whose sign is left open: those of the smallest cosines, below this.
_OPEN, _NEAR = 5, 0.02
#: Constraints of a cell that are looked at: the open ones, and those nearest to the
#: direction.
_CONSTRAINTS = 10
#: How many are added where the bound is attained beyond them, and how often they are
#: looked at in all.
_ADDED, _ATTEMPTS = 4, 3
#: Faces of one size that are looked at, of all cells together.
_MOST_FACES = 20_000
#: Constraints whose least singular value is no more are taken for nearly dependent: who
#: violates others by a little is little off the face, by that over this.
INDEPENDENT = 1e-3


class Star(NamedTuple):
    """Where a bound holds.

    Attributes
    ----------
    above, below : (n,) bool arrays
        Samples that must not be negative, or not be positive.
    centre : (r,) array
        A unit vector in it.
    """

    above: Bools
    below: Bools
    centre: Array


def star_at(X: Array, direction: Array, free: Bools | None = None) -> Star:
    """Return the star of a direction.

    Parameters
    ----------
    X : (n, r) array
        Rows of the arrangement.
    direction : (r,) array
        A unit vector.
    free : (n,) bool array, optional
        The few samples whose sign is left open; by default those whose hyperplanes are
        near.
    """
    lengths = np.linalg.norm(X, axis=1)
    inner = X @ direction
    if free is not None:
        fixed = (lengths > 0.0) & ~free
        return Star(fixed & (inner > 0.0), fixed & (inner <= 0.0), direction)
    cosines = np.full(len(X), np.inf)
    np.divide(np.abs(inner), lengths, out=cosines, where=lengths > 0.0)
    nearest = np.argsort(cosines, kind="stable")[:_OPEN]
    fixed = lengths > 0.0
    fixed[nearest[cosines[nearest] <= _NEAR]] = False
    return Star(fixed & (inner > 0.0), fixed & (inner <= 0.0), direction)


def star_bound(
    X: Array, Z: Array, activation: Activation, star: Star, floor: float
) -> tuple[float, Array]:
    """Bound ``|Z^T sigma(X u)|`` over the unit vectors u of a star.

    Parameters
    ----------
    X : (n, r) array
        Rows of the arrangement, of rank r.
    Z : (n, c) array
        Dual point.
    activation : Activation
        The activation.
    star : Star
        Where.
    floor : float
        Bounds below this need not be told apart.

    Returns
    -------
    bound : float
        At least the floor.
    direction : (r,) array
        A unit vector of a large value: where the bound is attained, if it exceeds the
        floor and the search did not give up.
    """
    lengths = np.linalg.norm(X, axis=1)
    rows = X / np.where(lengths > 0.0, lengths, 1.0)[:, None]
    inner = rows @ star.centre
    free = np.flatnonzero((lengths > 0.0) & ~star.above & ~star.below)
    patterns = (np.arange(1 << len(free))[:, None] >> np.arange(len(free)) & 1) == 1
    slopes = np.where(star.above, activation.positive, activation.negative)
    base = X.T @ (slopes[:, None] * Z)
    changes = activation.step * np.einsum("kr,kc->krc", X[free], Z[free])
    maps = base + np.tensordot(patterns.astype(float), changes, axes=1)
    signs = np.where(star.above, 1.0, -1.0) * np.ones((len(patterns), 1))
    signs[:, free] = np.where(patterns, 1.0, -1.0)
    # The nearest constraints first; open samples are among them.
    distance = np.where(lengths > 0.0, np.abs(inner), np.inf)
    distance[free] = -1.0
    near = np.argsort(distance, kind="stable")
    near = near[: max(min(_CONSTRAINTS, int((lengths > 0.0).sum())), len(free))]
    bound, direction = np.inf, star.centre
    for _ in range(_ATTEMPTS):
        bound, vector, pattern = _largest(maps, rows[near], signs[:, near], floor)
        if vector is None:
            return bound, star.centre
        # What was left out, and matters.
        heights = signs[pattern] * (rows @ vector)
        side = 1.0 if heights.sum() >= 0.0 else -1.0
        heights, direction = side * heights, side * vector
        heights[near] = 0.0
        lacking = np.argsort(heights, kind="stable")[:_ADDED]
        lacking = lacking[heights[lacking] < -OFF]
        if not len(lacking):
            break
        near = np.concatenate([near, lacking])
    return bound, direction


class _Faces(NamedTuple):
    """Faces of one dimension, of all patterns: spans of some rows, and which count.

    Attributes
    ----------
    subsets : (S, k) int array
        Rows that hold with equality.
    bases : (S, r, r - k) array
        Orthonormal bases of their common null space.
    alive : (P, S) bool array
        Whose maximum is not known yet.
    """

    subsets: Indices
    bases: Array
    alive: Bools


def _largest(
    maps: Array, rows: Array, signs: Array, floor: float
) -> tuple[float, Array | None, int]:
    """Bound all maps (P, r, c), each over the cone of the signed rows (k, r).

    Returns the bound, a vector where it is attained, and for which map; None where no
    value above the floor was met.
    """
    patterns, r, _ = maps.shape
    best, where, which, close = floor, None, 0, False
    whole = np.ones((patterns, 1), dtype=np.bool_)
    faces = _Faces(np.zeros((1, 0), dtype=np.intp), np.eye(r)[None], whole)
    while faces.alive.any():
        pattern, face = np.nonzero(faces.alive)
        reduced = faces.bases[face].transpose(0, 2, 1) @ maps[pattern]
        high = np.flatnonzero(np.linalg.norm(reduced, axis=(1, 2)) > best)
        left, singular, _ = np.linalg.svd(reduced[high])
        kept = np.flatnonzero(singular[:, 0] > best)
        values, pattern, face = singular[kept, 0], pattern[high[kept]], face[high[kept]]
        second = singular[kept, 1] if singular.shape[1] > 1 else 0.0 * values
        vectors = np.einsum("nrd,nd->nr", faces.bases[face], left[kept, :, 0])
        heights = signs[pattern] * (vectors @ rows.T)
        separation = 1.0 - (second / values) ** 2
        slack = slack_of(separation)
        inside = heights.min(axis=1) >= -slack
        inside |= heights.max(axis=1) <= slack
        if inside.any():
            largest = int(np.argmax(np.where(inside, values, 0.0)))
            if values[largest] > best:
                best, where = float(values[largest]), vectors[largest]
                which = int(pattern[largest])
        # What is left is on smaller faces, up to the distance of close values.
        close |= bool((~inside & (separation <= SEPARATED)).any())
        left_over = ~inside & (values > best)
        top = np.zeros(faces.alive.shape)
        top[pattern[left_over], face[left_over]] = values[left_over]
        faces, doubt = _smaller(faces, top, rows)
        best = max(best, doubt)
    return best * (1.0 + SEPARATED) if close else best, where, which


def _smaller(faces: _Faces, top: Array, rows: Array) -> tuple[_Faces, float]:
    """Return the faces of faces, and a bound of those that are in doubt.

    Parameters
    ----------
    faces : _Faces
        Larger ones.
    top : (P, S) array
        Bounds on them; zero where nothing smaller is to be looked at.
    rows : (k, r) array
        All rows.

    Every subset is reached by its prefixes. One whose prefix is not looked at any
    further needs no look itself: it is smaller than that.
    """
    count, size = len(rows), faces.subsets.shape[1] + 1
    used = np.flatnonzero((top > 0.0).any(axis=0))
    last = faces.subsets[used, -1] if size > 1 else np.full(len(used), -1)
    more = np.where(size < faces.bases.shape[1], count - 1 - last, 0)
    parent = np.repeat(used, more)
    within = np.arange(len(parent)) - np.repeat(np.cumsum(more) - more, more)
    new = np.repeat(last + 1, more) + within
    subsets = np.column_stack([faces.subsets[parent], new])
    limits = top[:, parent]
    if not len(subsets):
        return _Faces(subsets, faces.bases[:0], limits > 0.0), 0.0
    _, singular, right = np.linalg.svd(rows[subsets], full_matrices=True)
    least = singular[:, -1]
    # What a dependent row adds to a subset, another subset without it has.
    alive = (limits > 0.0) & (least > DEPENDENT)
    doubtful = alive & (least <= INDEPENDENT)
    if alive.sum() > _MOST_FACES:
        doubtful = alive
    doubt = float(limits[doubtful].max()) if doubtful.any() else 0.0
    bases = right[:, size:].transpose(0, 2, 1)
    return _Faces(subsets, bases, alive & ~doubtful), doubt
