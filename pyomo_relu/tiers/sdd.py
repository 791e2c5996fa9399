r"""`relu.sdd`: scaled diagonally dominant matrices, second-order cones alone.

.. math:: M = \sum_{i < j} E_{ij} \begin{bmatrix} p_{ij} & M_{ij} \\
          M_{ij} & q_{ij} \end{bmatrix} E_{ij}^T, \quad
          p_{ij} q_{ij} \ge M_{ij}^2, \quad p_{ij}, q_{ij} \ge 0

where :math:`E_{ij}` puts a 2-by-2 matrix on rows i and j: sums of semidefinite
matrices of order two (Boman et al. 2005; Ahmadi and Majumdar 2019). Inside the
copositive cone, for rays R:

.. math:: M = S + \begin{bmatrix} N & \\ & 0 \end{bmatrix}
          + \begin{bmatrix} R & \\ & I \end{bmatrix}^T S'
            \begin{bmatrix} R & \\ & I \end{bmatrix},
          \quad S, S' \text{ scaled diagonally dominant}, \ N \ge 0

(:mod:`~pyomo_relu.tiers.relief`; design, Tiers). Its dual are the 2-by-2 minors of M
and of :math:`\mathrm{diag}(R, I) M \mathrm{diag}(R, I)^T`. There is no such tier for
completely positive cones: for networks it gives what `relu.dd` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import ConfigDict
from pyomo.common.numeric_types import native_numeric_types
from pyomo.environ import Block, NonNegativeReals, Var

from pyomo_relu.cones import (
    ConeData,
    CopositiveConeData,
    PSDConeData,
    SecondOrderCone,
)
from pyomo_relu.tiers.affine import AffineEntries
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.entrywise import Triangles, off_diagonal, pick, write_rows
from pyomo_relu.tiers.relief import relieve, replace_ambient

__all__ = ["ScaledDiagonallyDominantTier"]


@register_tier(
    "relu.sdd", "Replace cones by scaled diagonally dominant matrices inside them."
)
class ScaledDiagonallyDominantTier(Tier):
    """Replace each cone by the scaled diagonally dominant matrices that it contains.

    An upper bound for a minimisation, with linear rows and second-order cones of order
    three; at least as tight as ``relu.dd``, whatever the scale of the coordinates.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Objective, Var
    >>> from pyomo_relu import solve
    >>> from pyomo_relu.cones import PSDCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = PSDCone([[1, m.x], [m.x, 4]])
    >>> m.o = Objective(expr=m.x)
    >>> relax(m, "sdd")
    >>> print(bound_direction(m))
    exact
    >>> results = solve(m)
    >>> round(m.x.value, 6)
    -2.0
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        PSDConeData: Bridge(
            "M scaled diagonally dominant", "inner", "SOCP", "order at most 2"
        ),
        CopositiveConeData: Bridge(
            "M = S + N, S scaled diagonally dominant, N >= 0 (F' N F with facets; with "
            "rays and diag(R, I)' S' diag(R, I))",
            "inner",
            "SOCP",
            "order at most 2",
        ),
    }
    CONFIG: ClassVar[ConfigDict] = tier_config("relu.sdd")

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why the sums of blocks of order two are all."""
        return "order at most two" if cone.order <= 2 else None

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the new variables, of the rows and of the cones."""
        block = add_beside(component, "sdd", Block(concrete=True))
        triangles = Triangles(cones)
        M, relieved = relieve(block, cones, triangles)
        places = off_diagonal(triangles, M, relieved)
        index, t = triangles.index_of(places), len(triangles)
        block.row_share = Var(index, domain=NonNegativeReals)
        block.column_share = Var(index, domain=NonNegativeReals)
        row_shares, column_shares = (
            list(shares.values()) for shares in (block.row_share, block.column_share)
        )
        corners, links = _write_corners(
            block, index, M.map(pick(places, t)), relieved[places]
        )
        # The cones say 2 s s' >= M_ij^2: p and q are sqrt 2 times the shares.
        taken = np.concatenate([triangles.row[places], triangles.column[places]])
        diagonal = M.map(pick(triangles.diagonal, t)).plus(
            -sqrt(2.0) * triangles.add_up(taken), row_shares + column_shares
        )
        vectors = zip(row_shares, column_shares, corners, strict=True)
        block.pair = SecondOrderCone.from_vectors(
            dict(zip(block.row_share, vectors, strict=True)),
            block.row_share.index_set(),
            rotated=True,
        )
        links = (
            *links,
            write_rows(block, "diagonal", triangles.row_index, diagonal),
            block.pair,
            *replace_ambient(self, block, config),
        )
        return Created(block, [[] for _ in cones], links)


def _write_corners(
    block: Any, index: list[Any], entries: AffineEntries, relieved: Any
) -> tuple[list[Any], tuple[Any, ...]]:
    """Return a corner for each 2-by-2 block, and the rows that tie it to its entry.

    Variables and numbers are their own corners. Sums get a variable, which is what
    solvers recognise in a cone; so do entries of which more may be taken away.
    """
    corners = entries.expressions()
    is_sum = np.array(
        [
            type(entry) not in native_numeric_types and not entry.is_variable_type()
            for entry in corners
        ],
        dtype=bool,
    )
    block.corner = Var(
        [i for i, new in zip(index, is_sum | relieved, strict=True) if new]
    )
    links = []
    for name, which, upper in (
        ("above_corner", np.flatnonzero(relieved), None),
        ("at_corner", np.flatnonzero(is_sum & ~relieved), 0.0),
    ):
        labels = [index[place] for place in which]
        new = [block.corner[label] for label in labels]
        rest = entries.map(pick(which, len(index))).plus(-sp.eye_array(len(new)), new)
        links.append(write_rows(block, name, labels, rest, upper))
        for place, corner in zip(which, new, strict=True):
            corners[place] = corner
    return corners, tuple(links)
