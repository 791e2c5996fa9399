"""The exact maximum of a quadratic form over a polyhedral cone, face by face."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

#: A ray lies on a facet, and a direction in a cone, up to this (unit vectors).
_INCIDENCE = 1e-9


def maximum_over_cone(
    J: Array, rays: Array, facets: Array, *, floor: float = 0.0, max_faces: int = 20_000
) -> tuple[float | None, int]:
    r"""Return an upper bound on :math:`\max\{|J^T u| : u \in K, |u| \le 1\}`.

    In the relative interior of a face a maximiser of :math:`u^T J J^T u` is the
    *top* eigenvector of :math:`JJ^T` projected on the span of the face (design,
    Certificates), and the top eigenvalue bounds the form on the face and on all its
    faces. So the faces are searched from the cone down: one whose eigenvalue is no
    larger than a value already met, or whose eigenvector lies in it, needs no
    look at its own faces. Where rounding or a multiple eigenvalue leaves membership
    open the eigenvalue counts: the result is exact up to rounding and never too
    small.

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
    bound : float or None
        At least `floor`; None where there were too many faces.
    visited : int
        Number of faces looked at.

    Examples
    --------
    The top eigenvector (2, -1) lies outside the quadrant, so a ray is best:

    >>> import numpy as np
    >>> J = np.array([[2.0], [-1.0]])
    >>> maximum_over_cone(J, np.eye(2), np.eye(2))
    (2.0, 3)
    """
    m = rays.shape[1]
    # A face as a bit mask of its rays: intersection is one integer operation.
    on_facet = [
        sum(1 << j for j, on in enumerate(row) if on)
        for row in (np.abs(facets @ rays) <= _INCIDENCE).tolist()
    ]
    best = max(floor, float(np.linalg.norm(J.T @ rays, axis=0).max()))
    seen = {(1 << m) - 1}
    stack = [(1 << m) - 1]
    visited = 0
    while stack:
        if visited >= max_faces:
            return None, visited
        visited += 1
        face = stack.pop()
        members = [j for j in range(m) if face >> j & 1]
        if len(members) == 1:
            continue
        value, inside = _top(J, rays[:, members], facets)
        if value <= best:
            continue
        if inside:
            best = value
            continue
        for facet in on_facet:
            smaller = face & facet
            if smaller and smaller not in seen:
                seen.add(smaller)
                stack.append(smaller)
    return best, visited


def _top(J: Array, spanning: Array, facets: Array) -> tuple[float, bool]:
    """Return the largest ``|J^T u|`` on a span, and whether it counts for the face."""
    left, singular, _ = np.linalg.svd(spanning, full_matrices=False)
    basis = left[:, singular > _INCIDENCE * singular[0]]
    vectors, values, _ = np.linalg.svd(basis.T @ J, full_matrices=True)
    top = float(values[0])
    if top == 0.0 or len(vectors) == 1:
        return top, True
    second = float(values[1]) if len(values) > 1 else 0.0
    separation = 1.0 - (second / top) ** 2
    if separation <= 1e-9:
        return top, True
    at_facets = facets @ (basis @ vectors[:, 0])
    # An eigenvector's error is rounding over the relative separation.
    slack = _INCIDENCE + 1e-14 / separation
    return top, bool(at_facets.min() >= -slack or at_facets.max() <= slack)
