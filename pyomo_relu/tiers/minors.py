r"""`relu.minors`: the 2-by-2 minors of a semidefinite matrix, second-order cones alone.

.. math:: M_{ii} M_{jj} \ge M_{ij}^2, \quad M_{ii} \ge 0

with :math:`A \ge 0`, or :math:`F A F^T \ge 0` with facets F, for completely positive
and doubly nonnegative cones. With rays R the same of the matrix in their space,
:math:`\mathrm{diag}(R, I) M \mathrm{diag}(R, I)^T`, whose diagonal bounds programs that
are unbounded without it (design, Tiers). It is the dual of `relu.sdd`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import ConfigDict
from pyomo.environ import Block

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    DoublyNonnegativeConeData,
    PSDConeData,
    SecondOrderCone,
)
from pyomo_relu.tiers.affine import AffineEntries, congruence, triangle_places
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.entrywise import Triangles, off_diagonal, pick, write_rows
from pyomo_relu.tiers.first_rows import write_first_rows
from pyomo_relu.tiers.linking import member_index

__all__ = ["MinorsTier"]

_MINORS = "2-by-2 minors of M nonnegative"
_SIGNS = (
    "A >= 0 entrywise (F A F' >= 0 with facets); with rays the minors of "
    "diag(R, I) M diag(R, I)' too"
)
_EXACT = "order at most 2"


@register_tier("relu.minors", "Replace cones by the 2-by-2 minors: second-order cones.")
class MinorsTier(Tier):
    """Replace each cone by nonnegative 2-by-2 minors of its matrix.

    A lower bound for a minimisation, by linear rows and rotated second-order cones of
    order three on the entries of the matrix itself. It depends on the coordinates: in
    those of rays it is several times tighter than in others, and a program whose cones
    are given by facets can be unbounded.

    Examples
    --------
    Of three variables no two of which correlate by more than one, the minors do not
    see that all three cannot be opposite to each other:

    >>> from pyomo.environ import ConcreteModel, Objective, Var
    >>> from pyomo_relu import solve
    >>> from pyomo_relu.cones import PSDCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.r = Var()
    >>> m.K = PSDCone([[1, m.r, m.r], [m.r, 1, m.r], [m.r, m.r, 1]])
    >>> m.o = Objective(expr=m.r)
    >>> round(solve(m).incumbent_objective, 6)
    -0.5
    >>> relax(m, "minors")
    >>> round(solve(m).incumbent_objective, 6)
    -1.0
    >>> print(bound_direction(m))
    lower
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            f"{_MINORS}, {_SIGNS}", "outer", "SOCP", _EXACT
        ),
        DoublyNonnegativeConeData: Bridge(
            f"{_MINORS}, {_SIGNS}", "outer", "SOCP", _EXACT
        ),
        PSDConeData: Bridge(_MINORS, "outer", "SOCP", _EXACT),
    }
    CONFIG: ClassVar[ConfigDict] = tier_config("relu.minors")

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why the minors of order two are all."""
        return "order at most two" if cone.order <= 2 else None

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the rows and of the cones on the same entries."""
        block = add_beside(component, "minors", Block(concrete=True))
        triangles = Triangles(cones)
        M, t = triangles.entries, len(triangles)
        places = off_diagonal(triangles, M, np.zeros(t, dtype=bool))
        rows, columns = triangles.row[places], triangles.column[places]
        block.minor = _minors(
            triangles.index_of(places),
            M.map(pick(triangles.diagonal[rows], t)),
            M.map(pick(triangles.diagonal[columns], t)),
            M.map(pick(places, t)),
        )
        alone = np.setdiff1d(np.arange(len(triangles.diagonal)), [rows, columns])
        links = (
            *write_first_rows(block, cones, triangles),
            write_rows(
                block,
                "diagonal",
                [triangles.row_index[i] for i in alone],
                M.map(pick(triangles.diagonal[alone], t)),
            ),
            block.minor,
        )
        if any(cone.rays is not None for cone in cones):
            block.ray_minor = _ray_minors(cones, M)
            links = (*links, block.ray_minor)
        return Created(block, [[] for _ in cones], links)


def _minors(
    index: list[Any], first: AffineEntries, second: AffineEntries, beside: AffineEntries
) -> Any:
    """Return the cones ``first second >= beside^2``, the first two nonnegative."""
    # The cone says 2 a b >= |c|^2.
    root = sp.diags_array(np.full(len(index), sqrt(2.0)))
    vectors = zip(
        first.expressions(),
        second.expressions(),
        beside.map(root).expressions(),
        strict=True,
    )
    return SecondOrderCone.from_vectors(
        dict(zip(index, vectors, strict=True)), index, rotated=True
    )


def _ray_minors(cones: list[ConeData], M: AffineEntries) -> Any:
    """Return the minors in the space of the rays, but for those of G alone."""
    index: list[Any] = []
    picked: list[list[Any]] = [[], [], []]
    for cone in cones:
        if cone.rays is None:
            length = len(cone.upper_triangle)
            for part in picked:
                part.append(sp.csr_array((0, length)))
            continue
        r = len(cone.rays)
        lifted = congruence(cone.rays.T, cone.free)
        i, j = triangle_places(r + cone.free)
        diagonal, beside = np.flatnonzero(i == j), np.flatnonzero((i < j) & (i < r))
        choices = diagonal[i[beside]], diagonal[j[beside]], beside
        for part, places in zip(picked, choices, strict=True):
            part.append(sp.csr_array(lifted[places]))
        pairs = zip(i[beside].tolist(), j[beside].tolist(), strict=True)
        index += [(*member_index(cone), *pair) for pair in pairs]
    first, second, beside_entries = (
        M.map(sp.block_diag(part, format="csr")) for part in picked
    )
    return _minors(index, first, second, beside_entries)
