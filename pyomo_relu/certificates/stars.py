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

Array = np.ndarray[Any, np.dtype[np.float64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

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
#: As in `faces`: off a facet, dependent, separated.
_OFF, _DEPENDENT, _SEPARATED = 1e-9, 1e-12, 1e-9
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
        lacking = lacking[heights[lacking] < -_OFF]
        if not len(lacking):
            break
        near = np.concatenate([near, lacking])
    return bound, direction


def _largest(
    maps: Array, rows: Array, signs: Array, floor: float
) -> tuple[float, Array | None, int]:
    """Bound all maps (P, r, c), each over the cone of the signed rows (k, r).

    Returns the bound, a vector where it is attained, and for which map; None where no
    value above the floor was met.
    """
    patterns, r, _ = maps.shape
    best, where, which = floor, None, 0
    subsets: list[tuple[int, ...]] = [()]
    alive: Bools
    expanded: Bools = np.ones((patterns, 1), dtype=np.bool_)
    top = np.full((patterns, 1), np.inf)
    close = False
    for size in range(min(r, len(rows) + 1)):
        if size:
            place = {subset: i for i, subset in enumerate(subsets)}
            used = np.atleast_1d(expanded.any(axis=0))
            longer = [
                (*subset, new)
                for i, subset in enumerate(subsets)
                if used[i]
                for new in range(subset[-1] + 1 if subset else 0, len(rows))
            ]
            if not longer:
                break
            parent = np.array([place[subset[:-1]] for subset in longer])
            subsets = longer
            members = rows[np.array(subsets)]
            _, singular, right = np.linalg.svd(members, full_matrices=True)
            bases = right[:, size:].transpose(0, 2, 1)
            least = singular[:, -1]
            alive = expanded[:, parent] & (least > _DEPENDENT)
            doubtful = alive & (least <= INDEPENDENT)
            if doubtful.any():
                best = max(best, float(top[:, parent][doubtful].max()))
            alive &= ~doubtful
            if alive.sum() > _MOST_FACES:
                best = max(best, float(top[:, parent][alive].max()))
                break
        else:
            bases = np.eye(r)[None]
            alive = expanded
        pattern, subset_of = np.nonzero(alive)
        if not len(pattern):
            break
        reduced = bases[subset_of].transpose(0, 2, 1) @ maps[pattern]
        values = np.linalg.norm(reduced, axis=(1, 2))
        high = np.flatnonzero(values > best)
        left, singular, _ = np.linalg.svd(reduced[high])
        values = singular[:, 0]
        kept = values > best
        high, values, left = high[kept], values[kept], left[kept]
        second = singular[kept, 1] if singular.shape[1] > 1 else np.zeros(len(high))
        pattern, subset_of = pattern[high], subset_of[high]
        vectors = np.einsum("nrd,nd->nr", bases[subset_of], left[:, :, 0])
        heights = signs[pattern] * (vectors @ rows.T)
        separation = 1.0 - (second / values) ** 2
        slack = _OFF + 1e-14 / np.maximum(separation, _SEPARATED)
        inside = heights.min(axis=1) >= -slack
        inside |= heights.max(axis=1) <= slack
        if inside.any():
            largest = int(np.argmax(np.where(inside, values, 0.0)))
            if values[largest] > best:
                best, where = float(values[largest]), vectors[largest]
                which = int(pattern[largest])
        # What is left is on smaller faces, up to the distance of close values. A prefix
        # of a subset that is not expanded shows that no subset of it needs a look.
        close |= bool((~inside & (separation <= _SEPARATED)).any())
        outside = ~inside & (values > best)
        expanded = np.zeros(alive.shape, dtype=bool)
        expanded[pattern[outside], subset_of[outside]] = True
        top = np.zeros(alive.shape)
        top[pattern[outside], subset_of[outside]] = values[outside]
    return best * (1.0 + _SEPARATED) if close else best, where, which
