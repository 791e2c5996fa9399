r"""Linear rows that every moment matrix obeys: what outer tiers begin with.

For a matrix :math:`M = [[A, W], [W^T, G]]` and rays R

.. math:: A \ge 0 \ (F A F^T \ge 0 \text{ with facets F}), \qquad (R A R^T)_{ll} \ge 0.

The second is implied by a semidefinite A, but not by its 2-by-2 minors, nor by finitely
many other vectors: where a model weighs A by :math:`R^T R`, which is
:math:`\mathrm{tr}\, R A R^T`, it is what bounds the model (design, Tiers).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from pyomo_relu.cones import ConeData, PSDConeData
from pyomo_relu.tiers.affine import congruence, triangle_places
from pyomo_relu.tiers.entrywise import Triangles, write_rows
from pyomo_relu.tiers.linking import member_index

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["has_sign", "write_first_rows"]


def write_first_rows(
    block: Any, cones: list[ConeData], triangles: Triangles
) -> tuple[Any, ...]:
    """Add the rows to a block, and return their components.

    Parameters
    ----------
    block : Block
        Gets ``nonnegative``, indexed by the member, row and column of A or of
        ``F A F'``, and ``ray_diagonal``, indexed by the member and l.
    cones : list of cone data
        Completely positive, doubly nonnegative and semidefinite ones. The diagonal of
        A is left to others.
    triangles : Triangles
        Of these cones.
    """
    signs = [_sign_weights(cone) for cone in cones]
    squares = [_diagonal_weights(cone) for cone in cones]
    sign_index = [
        (*member_index(cone), i, j)
        for cone, (index, _) in zip(cones, signs, strict=True)
        for i, j in index
    ]
    square_index = [
        (*member_index(cone), row)
        for cone, weights in zip(cones, squares, strict=True)
        for row in range(weights.shape[0])
    ]
    M = triangles.entries
    sign_weights = sp.block_diag([weights for _, weights in signs], format="csr")
    square_weights = sp.block_diag(squares, format="csr")
    return (
        write_rows(block, "nonnegative", sign_index, M.map(sign_weights)),
        write_rows(block, "ray_diagonal", square_index, M.map(square_weights)),
    )


def has_sign(cones: list[ConeData], triangles: Triangles) -> Any:
    """Return which entries (t,) the rows make nonnegative one by one: those of A.

    Parameters
    ----------
    cones : list of cone data
        Those of :func:`write_first_rows`.
    triangles : Triangles
        Of these cones.
    """
    signed = np.repeat(
        [not isinstance(cone, PSDConeData) and cone.facets is None for cone in cones],
        [len(cone.upper_triangle) for cone in cones],
    )
    return signed & triangles.leading


def _sign_weights(cone: ConeData) -> tuple[list[tuple[int, int]], sp.csr_array]:
    """Return places in A or ``F A F'`` and their weights (s, t) on the triangle."""
    i, j = triangle_places(cone.order)
    if isinstance(cone, PSDConeData):
        return [], sp.csr_array((0, len(i)))
    if cone.facets is None:
        places = np.flatnonzero((j < cone.order - cone.free) & (i < j))
        weights = sp.eye_array(len(i), format="csr")[places]
        return list(zip(i[places].tolist(), j[places].tolist(), strict=True)), weights
    f = len(cone.facets)
    first, second = triangle_places(f)
    inside = triangle_places(f + cone.free)[1] < f
    weights = congruence(cone.facets.T, cone.free)[inside]
    pairs = zip(first.tolist(), second.tolist(), strict=True)
    return list(pairs), _scaled(weights)


def _diagonal_weights(cone: ConeData) -> sp.csr_array:
    """Return the weights (r, t) of the diagonal of ``R A R'`` on the triangle."""
    i, j = triangle_places(cone.order)
    if cone.rays is None:
        return sp.csr_array((0, len(i)))
    R = np.hstack([cone.rays, np.zeros((len(cone.rays), cone.free))])
    weights = R[:, i] * R[:, j] * np.where(i == j, 1.0, 2.0)
    # A row of zeros in R says nothing.
    return _scaled(weights[R.any(axis=1)])


def _scaled(weights: Array) -> sp.csr_array:
    """Scale the largest weight of each row to one."""
    return sp.csr_array(weights / np.abs(weights).max(axis=1, keepdims=True))
