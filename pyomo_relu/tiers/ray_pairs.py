r"""`relu.ray_pairs`: blocks of two rays and all free coordinates.

.. math:: M = \sum_{j < k} E_{jk} M_{jk} E_{jk}^T, \quad
          M_{jk} \in \mathrm{CP}(R_+^2 \times R^c)

where :math:`E_{jk}` puts a matrix on cone coordinates j, k and the free ones. Two
cone coordinates are few enough for the doubly nonnegative cone to be the completely
positive one (design, Tiers). For networks: every neuron is a combination of two rays
of its cell.

The other way round for the copositive cone: the principal submatrices on two cone
coordinates and the free ones are copositive, that is, semidefinite up to a nonnegative
entry (j, k).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import ConfigDict
from pyomo.environ import Block, NonNegativeReals, Var

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    CopositiveConeData,
    DoublyNonnegativeCone,
    PSDCone,
)
from pyomo_relu.cones.entries import ConeContent
from pyomo_relu.tiers.affine import congruence
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.entrywise import pick, refuse_facets
from pyomo_relu.tiers.linking import (
    Parts,
    entries_of,
    member_index,
    split_triangles,
    write_linked,
)
from pyomo_relu.tiers.triangulation import rank

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["RayPairsTier"]

_EXACT = "at most two cone coordinates, or rays of rank at most two"


@register_tier(
    "relu.ray_pairs", "Replace cones by blocks of two cone coordinates and the free."
)
class RayPairsTier(Tier):
    """Look at two cone coordinates at a time, with all free ones.

    An upper bound for a minimisation over completely positive cones, at least as tight
    as ``relu.rays``; a lower bound for one over copositive cones. A cone with m cone
    coordinates becomes m (m - 1) / 2 semidefinite ones.

    Examples
    --------
    The largest x such that some matrix is copositive:

    >>> from pyomo.environ import ConcreteModel, Objective, Var, maximize
    >>> from pyomo_relu import solve
    >>> from pyomo_relu.cones import CopositiveCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CopositiveCone([[1, -m.x], [-m.x, 4]])
    >>> m.o = Objective(expr=m.x, sense=maximize)
    >>> relax(m, "ray_pairs")
    >>> print(bound_direction(m))
    exact
    >>> results = solve(m)
    >>> round(m.x.value, 6)
    2.0
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            "M = sum of doubly nonnegative blocks on two cone coordinates and all "
            "free ones",
            "inner",
            "SDP",
            _EXACT,
        ),
        CopositiveConeData: Bridge(
            "submatrices on two cone coordinates and all free ones semidefinite, up to "
            "a nonnegative entry",
            "outer",
            "SDP",
            _EXACT,
        ),
    }
    leaves_are_networks = True
    CONFIG: ClassVar[ConfigDict] = tier_config("relu.ray_pairs")

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why two coordinates at a time are all that there is."""
        if cone.order - cone.free <= 2:
            return "at most two cone coordinates"
        if cone.rays is not None and rank(cone.rays) <= 2:
            return "rays of rank at most two"
        return None

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the small matrices, their cones and the rows."""
        refuse_facets(cones, self.name)
        block = add_beside(component, "ray_pairs", Block(concrete=True))
        parts = [(cone, _pairs(cone.order - cone.free)) for cone in cones]
        if isinstance(cones[0], CompletelyPositiveConeData):
            leaves = write_linked(block, parts, DoublyNonnegativeCone)
            return Created(block, leaves, (block.linking,))
        return Created(block, _write_submatrices(block, parts))


def _write_submatrices(block: Any, parts: Parts) -> list[list[ConeData]]:
    """Write the principal submatrices, less a nonnegative entry, as PSD cones."""
    pieces = {
        (*member_index(cone), t) if cone.index() is not None else t: (cone, P)
        for cone, cover in parts
        for t, P in enumerate(cover)
    }
    orders = [P.shape[1] + cone.free for cone, P in pieces.values()]
    weights = sp.block_diag(
        [np.vstack([congruence(P, cone.free) for P in cover]) for cone, cover in parts],
        format="csr",
    )
    has_pair = np.array([P.shape[1] == 2 for _, P in pieces.values()])
    block.nonnegative = Var(
        [index for index, has in zip(pieces, has_pair, strict=True) if has],
        domain=NonNegativeReals,
    )
    # In the triangle of each submatrix the entry (j, k) comes second.
    second = np.cumsum([0, *(k * (k + 1) // 2 for k in orders)])[:-1][has_pair] + 1
    entries = (
        entries_of(cone for cone, _ in parts)
        .map(weights)
        .plus(-pick(second, weights.shape[0]).T, list(block.nonnegative.values()))
    )
    contents = {}
    triangles = split_triangles(entries.expressions(), orders)
    for (index, (cone, P)), triangle in zip(pieces.items(), triangles, strict=True):
        rays = P.copy() if cone.rays is None else cone.rays @ P
        rays.flags.writeable = False
        contents[index] = ConeContent(
            triangle, P.shape[1] + cone.free, cone.free, None, rays
        )
    block.cone = PSDCone.from_contents(contents, list(contents))
    leaves = iter(block.cone.values())
    return [[next(leaves) for _ in cover] for _, cover in parts]


def _pairs(m: int) -> list[Array]:
    """Return the coordinates (m, 2) of each pair, or (1, 1) where there is one."""
    unit = np.eye(m)
    return [unit[:, pair] for pair in combinations(range(m), 2)] or [unit]
