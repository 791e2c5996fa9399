"""The exact maximum of a quadratic form over a polyhedral cone, face by face."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

#: A ray lies on a facet, and a direction in a cone, up to this (unit vectors).
_INCIDENCE = 1e-9
#: More faces than this are not enumerated; the caller keeps its cheaper bound.
MAX_FACES = 20_000


def faces(rays: Array, facets: Array) -> list[tuple[int, ...]] | None:
    """Return every face of a pointed cone as the tuple of its rays.

    A face is an intersection of facets, and is spanned by the rays on it.

    Parameters
    ----------
    rays : (r, m) array
        Unit extreme rays.
    facets : (k, r) array
        Unit inward facet normals.

    Returns
    -------
    list of tuple of int, or None
        The faces without the apex, the cone itself included; None where there
        are more than ``MAX_FACES``.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(faces(np.eye(2), np.eye(2)))
    [(0,), (0, 1), (1,)]
    """
    m = rays.shape[1]
    on_facet = np.abs(facets @ rays) <= _INCIDENCE
    # A face as a bit mask of its rays: intersection is one integer operation.
    weights = [1 << j for j in range(m)]
    sets = {(1 << m) - 1}
    for row in on_facet:
        facet = sum(weights[j] for j in np.flatnonzero(row))
        sets |= {members & facet for members in sets}
        if len(sets) > MAX_FACES:
            return None
    sets.discard(0)
    return [tuple(j for j in range(m) if members >> j & 1) for members in sets]


def maximum_over_cone(
    J: Array, rays: Array, facets: Array, floor: float = 0.0
) -> float | None:
    r"""Return an upper bound on :math:`\max\{|J^T u| : u \in K, |u| \le 1\}`.

    In the relative interior of a face a maximiser of :math:`u^T J J^T u` is the
    *top* eigenvector of :math:`JJ^T` projected on the span of the face (design,
    Certificates). So the maximum is the largest top eigenvalue among the faces
    that hold their eigenvector. Where rounding or a multiple eigenvalue leaves
    membership open the eigenvalue counts: the result is exact up to rounding and
    never too small.

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

    Returns
    -------
    float or None
        The bound, at least `floor`; None where there are too many faces.

    Examples
    --------
    The top eigenvector (1, -1) lies outside the quadrant, so a ray is best:

    >>> import numpy as np
    >>> J = np.array([[2.0], [-1.0]])
    >>> maximum_over_cone(J, np.eye(2), np.eye(2))
    2.0
    """
    all_faces = faces(rays, facets)
    if all_faces is None:
        return None
    best = floor
    for members in all_faces:
        spanning = rays[:, members]
        if len(members) == 1:
            best = max(best, float(np.linalg.norm(J.T @ spanning)))
            continue
        left, singular, _ = np.linalg.svd(spanning, full_matrices=False)
        basis = left[:, singular > _INCIDENCE * singular[0]]
        vectors, values, _ = np.linalg.svd(basis.T @ J, full_matrices=True)
        if values[0] <= best:
            continue
        second = values[1] if len(values) > 1 else 0.0
        separation = 1.0 - (second / values[0]) ** 2 if len(vectors) > 1 else 1.0
        if separation > 1e-9:
            inside = facets @ (basis @ vectors[:, 0])
            # An eigenvector's error is rounding over the relative separation.
            slack = _INCIDENCE + 1e-14 / separation
            if inside.min() < -slack and inside.max() > slack:
                continue
        best = float(values[0])
    return best
