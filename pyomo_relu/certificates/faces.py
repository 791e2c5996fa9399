"""The exact maximum of a quadratic form over a polyhedral cone, face by face."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

#: Residuals of unit rays at unit facet normals: on the facet up to rounding below the
#: first, off it above the second, and in between nobody knows.
_ON, OFF = 1e-12, 1e-9
#: Singular values of unit normals, likewise: dependent, independent, unknown.
DEPENDENT, _INDEPENDENT = 1e-12, 1e-7
#: Relative separation of eigenvalues below which an eigenvector is not trusted.
SEPARATED = 1e-9


def slack_of(separation: Array) -> Array:
    """Return how far outside of a facet a unit eigenvector still counts as inside.

    Its error is rounding over the relative separation of its eigenvalue.

    Parameters
    ----------
    separation : array
        Relative.
    """
    return OFF + 1e-14 / np.maximum(separation, SEPARATED)


class FaceSearch(NamedTuple):
    """What :func:`maximum_over_cone` found.

    Attributes
    ----------
    upper : float or None
        Upper bound on the maximum, at least the floor; None where there were too
        many faces.
    attained : float
        Largest value met in the cone, up to rounding, at least the floor.
    visited : int
        Number of faces looked at.
    """

    upper: float | None
    attained: float
    visited: int


def maximum_over_cone(
    J: Array, rays: Array, facets: Array, *, floor: float = 0.0, max_faces: int = 20_000
) -> FaceSearch:
    r"""Search :math:`\max\{|J^T u| : u \in K, |u| \le 1\}` over the faces of K.

    In the relative interior of a face a maximiser of :math:`u^T J J^T u` is the
    *top* eigenvector of :math:`JJ^T` projected on the span of the face (design,
    Certificates), and the top eigenvalue bounds the form on the face and on all its
    faces. So the faces are searched from the cone down: one whose eigenvalue is no
    larger than a value already met, or whose eigenvector lies in it, needs no look
    at its own faces.

    A multiple eigenvalue is no exception: if its eigenspace meets the relative
    interior of a face, it meets a smaller face as well. Where two eigenvalues are so
    close that the eigenvector is not to be trusted, this holds up to their distance,
    which is added to the bound. Where rounding hides which rays lie on a facet, or
    what a face spans, the spectral norm of `J` bounds the face.

    Parameters
    ----------
    J : (r, c) array
        Linear map.
    rays : (r, m) array
        Unit extreme rays of the pointed cone `K`.
    facets : (k, r) array
        Unit inward facet normals of `K`.
    floor : float
        Values below this need not be told apart.
    max_faces : int
        Give up after this many faces.

    Returns
    -------
    FaceSearch

    Examples
    --------
    The top eigenvector (2, -1) lies outside the quadrant, so a ray is best:

    >>> import numpy as np
    >>> J = np.array([[2.0], [-1.0]])
    >>> maximum_over_cone(J, np.eye(2), np.eye(2))
    FaceSearch(upper=2.0, attained=2.0, visited=3)
    """
    m = rays.shape[1]
    residual = np.abs(facets @ rays)
    doubtful = (residual > _ON) & (residual <= OFF)
    # A face as a bit mask of its rays: intersection is one integer operation.
    on_facet = [
        sum(1 << j for j, on in enumerate(row) if on)
        for row in (residual <= OFF).tolist()
    ]
    spectral = float(np.linalg.norm(J, 2))
    best = max(floor, float(np.linalg.norm(J.T @ rays, axis=0).max()))
    unproven = closeness = 0.0
    seen = {(1 << m) - 1}
    stack = [(1 << m) - 1]
    visited = 0
    while stack:
        if visited >= max_faces:
            return FaceSearch(None, best, visited)
        visited += 1
        face = stack.pop()
        members = [j for j in range(m) if face >> j & 1]
        if len(members) == 1:
            continue
        containing = [k for k, facet in enumerate(on_facet) if facet & face == face]
        basis = None
        if not doubtful[np.ix_(containing, members)].any():
            basis = _common_null_space(facets[containing])
        if basis is None:
            # No face of this one can exceed the bound either.
            unproven = max(unproven, spectral)
            continue
        value, vector, separation = _top(J, basis)
        if value <= best:
            continue
        at_facets = facets @ vector
        slack = float(slack_of(np.asarray(separation)))
        if at_facets.min() >= -slack or at_facets.max() <= slack:
            best = value
            continue
        if separation <= SEPARATED:
            closeness = SEPARATED
        for facet in on_facet:
            smaller = face & facet
            if smaller and smaller not in seen:
                seen.add(smaller)
                stack.append(smaller)
    return FaceSearch(max(best * (1.0 + closeness), unproven), best, visited)


def _common_null_space(normals: Array) -> Array | None:
    """Return a basis (r, dimension) of ``{u : normals u = 0}``, None if in doubt.

    The span of a face is the intersection of the facets that contain it; taken from
    the rays it would be in doubt whenever a wide cone almost contains a line.
    """
    r = normals.shape[1]
    if not len(normals):
        return np.eye(r)
    _, singular, rows = np.linalg.svd(normals, full_matrices=True)
    if ((singular > DEPENDENT) & (singular <= _INDEPENDENT)).any():
        return None
    rank = int(np.sum(singular > _INDEPENDENT))
    # A face of two rays or more spans a plane or more.
    return rows[rank:].T if rank <= r - 2 else None


def _top(J: Array, basis: Array) -> tuple[float, Array, float]:
    """Return the largest ``|J^T u|`` on a span, where, and how well separated."""
    vectors, values, _ = np.linalg.svd(basis.T @ J, full_matrices=True)
    top = float(values[0])
    second = float(values[1]) if len(values) > 1 else 0.0
    separation = 1.0 - (second / top) ** 2 if top > 0.0 else 0.0
    return top, basis @ vectors[:, 0], separation
