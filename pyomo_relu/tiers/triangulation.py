r"""Simplicial covers of a polyhedral cone that is given by its rays.

A *pulling* triangulation of a pointed cone with rays R = [r_1, ..., r_m]: pull r_1,
that is, join it to a triangulation of every facet that does not contain it, and so on
down the faces in the same order. Each point x of the cone is in one of these pieces:
the ray from r_1 through x leaves the cone by a facet that does not contain r_1.
Nothing is computed after the incidences of rays and facets, so nothing can be lost;
`Delaunay` with joggle need not cover (design, Tiers).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from pyomo_relu.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "bisect",
    "facet_incidence",
    "facet_normals",
    "rank",
    "simplex_at",
    "triangulate",
]

#: A ray is on a hyperplane when their unit vectors are this close to orthogonal, in
#: coordinates in which the rays are well spread.
TOLERANCE = 1e-9


def rank(rays: Array) -> int:
    """Return the rank of the columns of `rays`, each scaled to unit length first."""
    return int(np.linalg.matrix_rank(_unit(rays), tol=TOLERANCE))


def triangulate(rays: Array, tolerance: float = TOLERANCE) -> np.ndarray:
    """Cover the cone of the columns of `rays` by simplicial cones of them.

    Parameters
    ----------
    rays : (r, m) float array
        Nonzero columns that span a pointed cone; not all of them need be extreme.
    tolerance : float
        A ray counts as on a facet's hyperplane when it is this close to it.

    Returns
    -------
    (T, s) int array
        The columns of each piece, sorted, where s is the rank of `rays`. The pieces
        cover the cone, have linearly independent columns and no common interior.

    Raises
    ------
    InputError
        The cone is not pointed: it contains a line.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[1, 1, -1, -1], [1, -1, -1, 1], [1, 1, 1, 1]])
    >>> triangulate(square)
    array([[0, 1, 2],
           [0, 2, 3]])
    """
    incidence = facet_incidence(rays, tolerance)
    facets = [frozenset(np.flatnonzero(row).tolist()) for row in incidence]
    s = rank(rays)

    @cache
    def pieces_of(face: frozenset[int], dimension: int) -> tuple[tuple[int, ...], ...]:
        if dimension == 0:
            return ((),)
        if len(face) == dimension:
            return (tuple(sorted(face)),)
        pulled = min(face)
        return tuple(
            tuple(sorted((pulled, *piece)))
            for side in _maximal(
                {face & facet for facet in facets if not face <= facet}
            )
            if pulled not in side
            for piece in pieces_of(side, dimension - 1)
        )

    pieces = pieces_of(frozenset(range(rays.shape[1])), s)
    return np.array(sorted(pieces), dtype=np.intp)


def simplex_at(rays: Array, normals: Array, point: Array) -> tuple[int, ...]:
    """Return the simplicial cone of the pulling triangulation that a point is in.

    The first ray is pulled: what is left of the point when as much of that ray is taken
    away as the cone allows is on a facet without it; and so on within the facet.

    Parameters
    ----------
    rays : (r, m) float array
        Extreme rays of a pointed cone of full dimension, unit columns.
    normals : (k, r) float array
        Inward unit normals of its facets.
    point : (r,) float array
        A point of the cone; one outside is drawn in.

    Returns
    -------
    tuple of int
        The r columns, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> square = np.array([[1, 1, -1, -1], [1, -1, -1, 1], [1, 1, 1, 1]]) / 3**0.5
    >>> normals = np.array([[1, 0, 1], [-1, 0, 1], [0, 1, 1], [0, -1, 1]]) / 2**0.5
    >>> simplex_at(square, normals, np.array([0.0, 0.5, 1.0]))
    (0, 2, 3)
    """
    heights = normals @ rays
    face = np.arange(rays.shape[1])
    chosen: list[int] = []
    for dimension in range(len(rays), 0, -1):
        if len(face) <= dimension:
            chosen += face.tolist()
            break
        pulled = int(face[0])
        chosen.append(pulled)
        # Facets of the face: those that hold rays of it which span one dimension less.
        enough = (heights[:, face] <= TOLERANCE).sum(axis=1) >= dimension - 1
        beyond = np.flatnonzero((heights[:, pulled] > TOLERANCE) & enough)
        if not len(beyond):
            break
        lengths = np.maximum(normals[beyond] @ point, 0.0) / heights[beyond, pulled]
        facet = beyond[int(lengths.argmin())]
        point = point - lengths.min() * rays[:, pulled]
        face = face[heights[facet, face] <= TOLERANCE]
    return tuple(sorted(chosen))


def facet_incidence(rays: Array, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return which rays lie on which facets of the cone that they span.

    Parameters
    ----------
    rays : (r, m) float array
        Nonzero columns.
    tolerance : float
        A ray counts as on a facet's hyperplane when it is this close to it.

    Returns
    -------
    (f, m) bool array
        One row a facet, of the cone within the span of the rays.

    Raises
    ------
    InputError
        The cone is not pointed.
    """
    return _double_description(_spread(rays)[0], tolerance)[1]


def facet_normals(rays: Array, tolerance: float = TOLERANCE) -> Array:
    """Return the inward facet normals of the cone that some rays span.

    Parameters
    ----------
    rays : (r, m) float array
        Nonzero columns.
    tolerance : float
        A ray counts as on a facet's hyperplane when it is this close to it.

    Returns
    -------
    (f, r) float array
        Unit rows F in the span of the rays: a vector u of that span is in the cone
        exactly when ``F u >= 0``.

    Raises
    ------
    InputError
        The cone is not pointed.

    Examples
    --------
    >>> import numpy as np
    >>> facet_normals(np.array([[1.0, 1.0, 2.0], [0.0, 1.0, 1.0]])).round(4)
    array([[ 0.7071, -0.7071],
           [ 0.    ,  1.    ]])
    """
    points, back = _spread(rays)
    normals, _ = _double_description(points, tolerance)
    return _unit((normals @ back.T).T).T


def _double_description(points: Array, tolerance: float) -> tuple[Array, np.ndarray]:
    """Return unit facet normals (f, s) and incidence (f, m) of well spread points.

    The double description method on the dual cone ``{y : P^T y >= 0}``, whose extreme
    rays are the facet normals.
    """
    s, m = points.shape
    order = _independent_first(points)
    base, rest = order[:s], order[s:]
    normals = _unit(np.linalg.inv(points[:, base]).T).T
    tight = np.zeros((s, m), dtype=bool)
    tight[:, base] = ~np.eye(s, dtype=bool)
    for new in rest:
        side = normals @ points[:, new]
        positive = np.flatnonzero(side > tolerance)
        negative = np.flatnonzero(side < -tolerance)
        tight[:, new] = np.abs(side) <= tolerance
        if len(negative) == 0:
            continue
        born, born_tight = [], []
        for i in positive:
            for j in negative:
                common = tight[i] & tight[j]
                if (
                    common.sum() >= s - 2
                    and np.linalg.matrix_rank(points[:, common], tol=tolerance) == s - 2
                ):
                    born.append(side[i] * normals[j] - side[j] * normals[i])
                    common[new] = True
                    born_tight.append(common)
        keep = side >= -tolerance
        normals, tight = normals[keep], tight[keep]
        if born:
            normals = np.vstack([normals, _unit(np.array(born).T).T])
            tight = np.vstack([tight, born_tight])
    if np.linalg.matrix_rank(normals, tol=tolerance) < s:
        raise InputError(
            f"the {m} rays do not span a pointed cone: it contains a line. Only a "
            "pointed cone can be partitioned into simplicial ones; give the rays of "
            "a cell, or drop rays that are opposite to others."
        )
    tight, first = np.unique(tight, axis=0, return_index=True)
    return normals[first], tight


def bisect(rays: Array) -> tuple[Array, Array]:
    """Split a simplicial cone in two along its longest edge.

    Parameters
    ----------
    rays : (r, k) float array
        Unit columns, k >= 2.

    Returns
    -------
    tuple of two (k, k) float arrays
        P and P' such that the columns of ``rays @ P`` and ``rays @ P'`` are unit
        vectors; the two cones cover the first and share a facet.

    Examples
    --------
    >>> import numpy as np
    >>> bisect(np.eye(2))[0].round(4)
    array([[0.7071, 0.    ],
           [0.7071, 1.    ]])
    """
    cosine = rays.T @ rays
    rows, columns = np.triu_indices(rays.shape[1], 1)
    longest = int(np.argmin(cosine[rows, columns]))
    i, j = rows[longest], columns[longest]
    middle = np.zeros(rays.shape[1])
    middle[[i, j]] = 1.0 / np.linalg.norm(rays[:, i] + rays[:, j])
    first, second = np.eye(rays.shape[1]), np.eye(rays.shape[1])
    first[:, i] = middle
    second[:, j] = middle
    return first, second


def _unit(columns: Array) -> Array:
    return columns / np.linalg.norm(columns, axis=0)


def _spread(rays: Array) -> tuple[Array, Array]:
    """Map the rays linearly into their span so that they are spread evenly there.

    Incidences do not change under a linear map, but a narrow cone becomes a wide one.
    Returns the unit images (s, m), and T (r, s) such that the normal y of a facet of
    the images is the normal T y of that facet of the rays.
    """
    left, singular, right = np.linalg.svd(_unit(rays), full_matrices=False)
    kept = singular > TOLERANCE
    return _unit(right[kept]), left[:, kept] / singular[kept]


def _independent_first(points: Array) -> list[int]:
    """Order the columns: first a basis, each as far as can be from those before."""
    residual = points.copy()
    base: list[int] = []
    for _ in range(len(points)):
        lengths = np.linalg.norm(residual, axis=0)
        best = int(np.argmax(lengths))
        base.append(best)
        direction = residual[:, best] / lengths[best]
        residual -= np.outer(direction, direction @ residual)
    return base + [i for i in range(points.shape[1]) if i not in base]


def _maximal(sets: set[frozenset[int]]) -> list[frozenset[int]]:
    return [a for a in sets if not any(a < b for b in sets)]
