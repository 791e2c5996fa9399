r"""`relu.dd`: diagonally dominant matrices, linear rows alone.

.. math:: M_{ii} \ge \sum_{j \ne i} |M_{ij}|

makes M a sum of :math:`z z^T` with :math:`z = e_i` or :math:`e_i \pm e_j` (Barker and
Carlson 1975), so it is positive semidefinite, and completely positive over
:math:`R_+^m \times R^c` where its leading block A is nonnegative. For networks that is
the l1 lasso over the arrangement's rays and single outputs (design, Tiers).

Inside the copositive cone, for rays R:

.. math:: M = D + \begin{bmatrix} N & \\ & 0 \end{bmatrix}
          + \begin{bmatrix} R & \\ & I \end{bmatrix}^T D'
            \begin{bmatrix} R & \\ & I \end{bmatrix},
          \quad D, D' \text{ diagonally dominant}, \ N \ge 0

(:mod:`~pyomo_relu.tiers.relief`). Off the diagonal N takes away what is positive, so
only the negative parts of such entries of D count.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import ConfigDict
from pyomo.environ import Block, NonNegativeReals, Var, value

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    CopositiveConeData,
    PSDConeData,
)
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.entrywise import (
    Triangles,
    off_diagonal,
    pick,
    refuse_facets,
    write_rows,
)
from pyomo_relu.tiers.relief import relieve, replace_ambient
from pyomo_relu.tiers.replacement import Replacement

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["DiagonallyDominantTier"]


@register_tier("relu.dd", "Replace cones by diagonally dominant matrices inside them.")
class DiagonallyDominantTier(Tier):
    """Replace each cone by the diagonally dominant matrices that it contains.

    An upper bound for a minimisation, with linear rows only: new variables are at
    least the absolute values of the entries beside the diagonal. It depends on the
    scale of the coordinates: for networks, give the rays unit length.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Objective, SolverFactory, Var
    >>> from pyomo_relu.cones import PSDCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = PSDCone([[1, m.x], [m.x, 4]])  # x >= -2
    >>> m.o = Objective(expr=m.x)
    >>> relax(m, "dd")
    >>> print(bound_direction(m))
    upper
    >>> results = SolverFactory("highs").solve(m)
    >>> m.x.value
    -1.0
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            "M diagonally dominant, A >= 0 entrywise", "inner", "LP", "order 1"
        ),
        PSDConeData: Bridge("M diagonally dominant", "inner", "LP", "order 1"),
        CopositiveConeData: Bridge(
            "M = D + N, D diagonally dominant, N >= 0 (F' N F with facets; with rays "
            "and diag(R, I)' D' diag(R, I))",
            "inner",
            "LP",
            "order 1",
        ),
    }
    CONFIG: ClassVar[ConfigDict] = tier_config("relu.dd")

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why the dominant matrices are all: there is one entry only."""
        return "one entry" if cone.order == 1 else None

    @classmethod
    def factors(
        cls, cone: ConeData, replacement: Replacement
    ) -> tuple[Array, Array] | None:
        """Return a neuron for each entry of W: one ray, one output."""
        m = cone.order - cone.free
        W = np.array([value(entry) for entry in cone.matrix[:m, m:].flat], float)
        W = W.reshape(m, cone.free)
        rays, outputs = np.nonzero(W)
        return np.eye(m)[:, rays], W[rays, outputs, None] * np.eye(cone.free)[outputs]

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the new variables and of the rows."""
        inside_orthant = isinstance(cones[0], CompletelyPositiveConeData)
        if inside_orthant:
            refuse_facets(cones, self.name)
        block = add_beside(component, "dd", Block(concrete=True))
        triangles = Triangles(cones)
        M, relieved = relieve(block, cones, triangles)
        places = off_diagonal(triangles, M, relieved)
        # What must be nonnegative is its own absolute value.
        is_signed = triangles.leading[places] & inside_orthant
        signed, others = places[is_signed], places[~is_signed]
        both = np.flatnonzero(~relieved[others])

        block.magnitude = Var(triangles.index_of(others), domain=NonNegativeReals)
        magnitudes = list(block.magnitude.values())
        t, s = len(triangles), len(others)
        below = M.map(pick(others, t)).plus(sp.eye_array(s), magnitudes)
        above = M.map(pick(others[both], t, -1.0)).plus(pick(both, s), magnitudes)
        own = pick(triangles.diagonal, t) - _both_rows(triangles, signed) @ pick(
            signed, t
        )
        dominance = M.map(own).plus(-_both_rows(triangles, others), magnitudes)
        index_of = triangles.index_of
        links = (
            write_rows(block, "sign", index_of(signed), M.map(pick(signed, t))),
            write_rows(block, "below", index_of(others), below),
            write_rows(block, "above", index_of(others[both]), above),
            write_rows(block, "dominance", triangles.row_index, dominance),
            *replace_ambient(self, block, config),
        )
        return Created(block, [[] for _ in cones], links)


def _both_rows(triangles: Triangles, places: Any) -> sp.csr_array:
    """Return the matrix that adds up, for each row, the entries in it."""
    row, column = triangles.row[places], triangles.column[places]
    return triangles.add_up(row) + triangles.add_up(column)
