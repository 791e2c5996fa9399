r"""`relu.rays`: blocks of one ray and all free coordinates.

.. math:: M = \sum_k E_k M_k E_k^T, \quad M_k = \begin{bmatrix} a_k & w_k^T \\
          w_k & G_k \end{bmatrix} \in S_+^{1 + c}

where :math:`E_k` puts a matrix on cone coordinate k and the free ones. For networks
that is the enumerated group lasso over the arrangement's rays (design, Tiers).

Where nothing else sees the entries of G beside its diagonal, a block may have any: with
its other entries in the pattern of an arrow, it has a semidefinite completion exactly
when its 2-by-2 blocks are semidefinite (Grone, Johnson, Sá and Wolkowicz 1984):

.. math:: a_k g_{ko} \ge w_{ko}^2 \text{ for all } o, \quad G_{oo} \ge \sum_k g_{ko}.

The other way round for the copositive cone, the vertex test: the principal submatrices
on one cone coordinate and the free ones are semidefinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pyomo.common.config import ConfigDict
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.visitor import identify_variables
from pyomo.environ import Block, NonNegativeReals, Var, value

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    CopositiveConeData,
    PSDCone,
    SecondOrderCone,
)
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.entrywise import Triangles, pick, refuse_facets, write_rows
from pyomo_relu.tiers.linking import write_congruent, write_linked
from pyomo_relu.tiers.replacement import Replacement
from pyomo_relu.tiers.triangulation import rank
from pyomo_relu.tiers.visibility import first_seen, is_unrestricted

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["RaysTier"]

_EXACT = "one cone coordinate, or rays of rank one"


@register_tier(
    "relu.rays", "Replace cones by blocks of one cone coordinate and the free ones."
)
class RaysTier(Tier):
    """Look at one cone coordinate at a time, with all free ones.

    An upper bound for a minimisation over completely positive cones: a group lasso.
    Its blocks are second-order cones of order three; where the model sees an entry of G
    beside its diagonal, they are semidefinite. A lower bound for a minimisation over
    copositive cones, by semidefinite blocks. Without free coordinates linear rows are
    enough for both.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Objective, Var
    >>> from pyomo_relu import solve
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.g = Var()
    >>> m.K = CompletelyPositiveCone([[1, 0, 2], [0, 1, 1], [2, 1, m.g]], free=1)
    >>> m.o = Objective(expr=m.g)
    >>> relax(m, "rays")
    >>> print(bound_direction(m))
    upper
    >>> results = solve(m)
    >>> round(m.g.value, 6)
    5.0
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            "M = sum of semidefinite blocks on one cone coordinate and all free ones",
            "inner",
            "SOCP",
            _EXACT,
        ),
        CopositiveConeData: Bridge(
            "submatrices on one cone coordinate and all free ones semidefinite",
            "outer",
            "SDP",
            _EXACT,
        ),
    }
    leaves_are_networks = True
    CONFIG: ClassVar[ConfigDict] = tier_config("relu.rays")

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why one coordinate at a time is all that there is."""
        if cone.order - cone.free == 1:
            return "one cone coordinate"
        if cone.rays is not None and rank(cone.rays) == 1:
            return "rays of rank one"
        return None

    @classmethod
    def factors(
        cls, cone: ConeData, replacement: Replacement
    ) -> tuple[Array, Array] | None:
        """Return a neuron for each ray: its row of W."""
        m = cone.order - cone.free
        W = np.array([value(entry) for entry in cone.matrix[:m, m:].flat], float)
        W = W.reshape(m, cone.free)
        active = W.any(axis=1)
        return np.eye(m)[:, active], W[active]

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the new variables, of the rows and of the cones."""
        refuse_facets(cones, self.name)
        triangles = Triangles(cones)
        is_copositive = isinstance(cones[0], CopositiveConeData)
        untied = None if is_copositive else _untied(cones, triangles)
        block = add_beside(component, "rays", Block(concrete=True))
        if is_copositive and not any(cone.free for cone in cones):
            diagonal = triangles.entries.map(pick(triangles.diagonal, len(triangles)))
            rows = write_rows(block, "diagonal", triangles.row_index, diagonal)
            return Created(block, [[] for _ in cones], (rows,))
        if untied is not None:
            links = _write_arrows(block, triangles)
            return Created(block, [[] for _ in cones], links, untied)
        parts = [(cone, _coordinates(cone.order - cone.free)) for cone in cones]
        if is_copositive:
            return Created(block, write_congruent(block, parts, PSDCone))
        return Created(block, write_linked(block, parts, PSDCone), (block.linking,))


def _coordinates(m: int) -> list[Array]:
    """Return each cone coordinate as a column (m, 1)."""
    return np.hsplit(np.eye(m), m)


def _untied(cones: list[ConeData], triangles: Triangles) -> tuple[Any, ...] | None:
    """Return the entries of G beside its diagonal; None if something sees them."""
    entries = [entry for cone in cones for entry in cone.upper_triangle]
    hidden = ~triangles.leading & ~triangles.cross & (triangles.row < triangles.column)
    variables = {id(entries[p]): entries[p] for p in np.flatnonzero(hidden)}
    others = [entries[p] for p in np.flatnonzero(~hidden)]
    if (
        len(variables) < hidden.sum()
        or not all(map(is_unrestricted, variables.values()))
        or any(id(x) in variables for entry in others for x in _variables(entry))
        or first_seen(cones[0].model(), variables.values(), ignored=cones) is not None
    ):
        return None
    return tuple(variables.values())


def _variables(entry: Any) -> Any:
    if type(entry) in native_numeric_types:
        return ()
    return (entry,) if entry.is_variable_type() else identify_variables(entry)


def _write_arrows(block: Any, triangles: Triangles) -> tuple[Any, ...]:
    """Write the 2-by-2 blocks of each ray and output, and the rows that add them up."""
    M, t, index_of = triangles.entries, len(triangles), triangles.index_of
    diagonal, row, column = triangles.diagonal, triangles.row, triangles.column
    is_zero = (M.constant == 0.0) & (np.diff(M.matrix.indptr) == 0)
    cross = np.flatnonzero(triangles.cross & ~is_zero)
    # The cones say 2 a h >= w^2: g is 2 h.
    block.half = Var(index_of(cross), domain=NonNegativeReals)
    halves = list(block.half.values())
    entries = M.expressions()
    vectors = {
        index: (entries[diagonal[k]], half, entries[place])
        for index, k, half, place in zip(
            block.half, row[cross], halves, cross, strict=True
        )
    }
    block.arrow = SecondOrderCone.from_vectors(
        vectors, block.half.index_set(), rotated=True
    )
    leading = triangles.leading[diagonal]
    outputs = np.flatnonzero(~leading)
    shares = pick(outputs, len(diagonal)) @ triangles.add_up(column[cross])
    gram = M.map(pick(diagonal[outputs], t)).plus(-2.0 * shares, halves)
    # A cone says that its first entry is nonnegative.
    alone = diagonal[np.setdiff1d(np.flatnonzero(leading), row[cross])]
    off = np.flatnonzero(triangles.leading & (row < column))
    return (
        block.arrow,
        write_rows(block, "gram", index_of(diagonal[outputs]), gram),
        write_rows(block, "sign", index_of(alone), M.map(pick(alone, t))),
        write_rows(block, "zero", index_of(off), M.map(pick(off, t)), upper=0.0),
    )
