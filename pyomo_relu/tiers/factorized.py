r"""`relu.factorized`: a product of few columns, for nonlinear solvers.

.. math:: \begin{bmatrix} A & W \\ W^T & G \end{bmatrix}
          = \begin{bmatrix} B \\ C \end{bmatrix}
            \begin{bmatrix} B \\ C \end{bmatrix}^T, \quad B \ge 0

(with facets F: :math:`F B \ge 0`; design, Tiers). Each column is a neuron. The rows are
smooth and not convex: a nonlinear solver finds a local solution, which bounds a minimum
from above as any feasible point does, and is often the global one where every cell of
an arrangement has its column.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, product
from typing import Any, ClassVar

import numpy as np
from pyomo.common.config import ConfigDict, ConfigValue, NonNegativeInt, PositiveInt
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import LinearExpression, SumExpression
from pyomo.environ import Block, Constraint, RangeSet, Var, value
from scipy.optimize import nnls

from pyomo_relu.cones import CompletelyPositiveConeData, ConeData
from pyomo_relu.tiers.affine import triangle_places
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.entrywise import Triangles
from pyomo_relu.tiers.linking import member_index
from pyomo_relu.tiers.replacement import Replacement

Array = np.ndarray[Any, np.dtype[np.float64]]
#: Cones, each with its factor [B; C] as an array (order, columns) of variables.
Members = list[tuple[ConeData, Any]]

__all__ = ["FactorizedTier"]


def _factorized_config() -> ConfigDict:
    config = tier_config("relu.factorized")
    config.declare(
        "columns",
        ConfigValue(
            default=1,
            domain=PositiveInt,
            description="number of columns of the factors",
            doc="""
            How many columns B and C have in each cone. More of them restrict the
            cone less, and give a solver more to do.""",
        ),
    )
    config.declare(
        "seed",
        ConfigValue(
            default=0,
            domain=NonNegativeInt,
            description="of the random values to start from",
            doc="""
            Seed of the random numbers from which the solver starts: the factors and,
            consistent with them, those variables that are entries of the matrices.
            None draws other ones each time.""",
        ),
    )
    return config


@register_tier(
    "relu.factorized", "Replace completely positive cones by products of factors."
)
class FactorizedTier(Tier):
    """Write each completely positive matrix as a product of factors.

    An upper bound for a minimisation: any feasible point, or local solution, of the
    smooth nonconvex program that is left. The factors get random values to start from,
    and so do those variables that are entries of the matrices.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> relax(m, "factorized", columns=2)
    >>> print(m.K_factorized.product[0, 1].body)
    K_factorized.factor[0,0]*K_factorized.factor[1,0] + ... - x
    >>> m.K_factorized.factor[0, 0].bounds
    (0.0, None)
    >>> print(bound_direction(m))
    upper
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            "M = [B; C][B; C]', B >= 0 (F B >= 0 with facets), few columns",
            "inner",
            "NLP",
        ),
    }
    optional = frozenset({"seed"})
    CONFIG: ClassVar[ConfigDict] = _factorized_config()

    @classmethod
    def factors(
        cls, cone: ConeData, replacement: Replacement
    ) -> tuple[Array, Array] | None:
        """Return the factors themselves: a neuron is a column."""
        block = replacement.component
        places = product(range(cone.order), block.columns)
        index = [(*member_index(cone), *place) for place in places]
        Z = np.array([value(block.factor[i]) for i in index], dtype=float)
        Z = Z.reshape(cone.order, -1)
        m = cone.order - cone.free
        return Z[:m], Z[m:].T

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the factors and of the rows, with values to start from."""
        block = add_beside(component, "factorized", Block(concrete=True))
        triangles = Triangles(cones)
        block.columns = RangeSet(0, config.columns - 1)
        block.factor = Var(triangles.row_index, block.columns)
        factors = np.array(list(block.factor.values()), dtype=object)
        factors = factors.reshape(-1, config.columns)
        starts = np.cumsum([cone.order for cone in cones])[:-1]
        members = list(zip(cones, np.split(factors, starts), strict=True))
        links = _write_product(block, cones, triangles, factors), _bound(block, members)
        # Components of the same shape must not start alike.
        seed = config.seed
        seed = None if seed is None else [seed, *component.name.encode()]
        _start(members, np.random.default_rng(seed))
        return Created(block, [[] for _ in cones], links)


def _write_product(
    block: Any, cones: list[ConeData], triangles: Triangles, factors: Any
) -> Any:
    """Add the rows ``sum_p Z_ip Z_jp - M_ij == 0``."""
    block.product = Constraint(triangles.index)
    for index, i, j, entry in zip(
        triangles.index,
        triangles.row.tolist(),
        triangles.column.tolist(),
        chain.from_iterable(cone.upper_triangle for cone in cones),
        strict=True,
    ):
        products = factors[i] ** 2 if i == j else factors[i] * factors[j]
        block.product[index] = SumExpression([*products, -entry]), 0.0
    return block.product


def _bound(block: Any, members: Members) -> Any:
    """Put B into its cone: by bounds, or for facets by the rows ``F B >= 0``."""
    rows: dict[Any, Any] = {}
    for cone, factor in members:
        B = factor[: cone.order - cone.free]
        if cone.facets is None:
            for variable in B.flat:
                variable.setlb(0.0)
            continue
        for (f, normal), p in product(enumerate(cone.facets.tolist()), block.columns):
            body = LinearExpression(linear_coefs=normal, linear_vars=B[:, p].tolist())
            index = (*member_index(cone), f, p)
            rows[index] = 0.0, body, None
    block.facet = Constraint(list(rows))
    for index, row in rows.items():
        block.facet[index] = row
    return block.facet


def _start(members: Members, rng: np.random.Generator) -> None:
    """Give the factors random values, and the matrices' variables what follows."""
    # The traces of all matrices add up to about one: large enough for no cone to start
    # at zero, which is a stationary point.
    scale = sum(factor.size for _, factor in members) ** -0.5
    for cone, factor in members:
        m = cone.order - cone.free
        Z = scale * rng.normal(size=factor.shape)
        Z[:m] = _into_cone(cone, Z[:m])
        for variable, number in zip(factor.flat, Z.flat, strict=True):
            variable.set_value(float(number), skip_validation=True)
        i, j = triangle_places(cone.order)
        for entry, number in zip(
            cone.upper_triangle, (Z @ Z.T)[i, j].tolist(), strict=True
        ):
            if type(entry) in native_numeric_types or not entry.is_variable_type():
                continue
            if not entry.fixed:
                entry.set_value(number, skip_validation=True)


def _into_cone(cone: ConeData, B: Array) -> Array:
    """Return columns in the cone: reflected, or projected (Moreau) for facets."""
    F = cone.facets
    if F is None:
        return np.abs(B)
    return np.column_stack([b + F.T @ nnls(F.T, -b)[0] for b in B.T])
