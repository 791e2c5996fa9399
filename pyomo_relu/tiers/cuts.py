r"""`relu.cuts`: eigenvector cuts round by round, linear programs alone.

.. math:: q^T M q \ge 0 \text{ for finitely many } q

with :math:`A \ge 0`, or :math:`F A F^T \ge 0` with facets F, for completely positive
and doubly nonnegative cones. The first q are the unit vectors, :math:`e_i \pm e_j`,
and with rays the rows of R, :math:`(R A R^T)_{ll} \ge 0`, without which the program can
be unbounded; the others are eigenvectors of the points that a linear solver finds. A
convex quadratic objective is bounded from below by its tangents at these points
(design, Tiers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import ConfigDict, ConfigValue, PositiveFloat, PositiveInt
from pyomo.core.base.objective import Objective
from pyomo.core.base.var import Var
from pyomo.environ import Block

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    DoublyNonnegativeConeData,
    PSDConeData,
    cone_data_objects,
)
from pyomo_relu.cones.base import DESCEND
from pyomo_relu.errors import InputError, UnsupportedConeError
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.cut_loop import CutLoop
from pyomo_relu.tiers.eigenvector_cuts import EigenvectorCuts
from pyomo_relu.tiers.entrywise import Triangles, off_diagonal, pick, write_rows
from pyomo_relu.tiers.first_rows import has_sign, write_first_rows
from pyomo_relu.tiers.linear_solver import read_solver
from pyomo_relu.tiers.replacement import Replacement, record_of
from pyomo_relu.tiers.tangents import Tangents, split_squares

__all__ = ["CutsTier"]

_CUTS = "q' M q >= 0 for eigenvectors q, round by round"
_SIGNS = "A >= 0 entrywise (F A F' >= 0 with facets)"


def _cuts_config() -> ConfigDict:
    config = tier_config("relu.cuts")
    config.declare(
        "solver",
        ConfigValue(
            default="highs",
            domain=read_solver,
            description="linear solver, by name or as an instance",
            doc="""
            A name that the SolverFactory of pyomo.contrib.solver knows, or a solver
            from there, with options of its own.""",
        ),
    )
    config.declare(
        "tolerance",
        ConfigValue(
            default=1e-6,
            domain=PositiveFloat,
            description="how far from the cones and the loss is good enough",
            doc="""
            Rounds end when the smallest eigenvalue of each matrix is at least minus
            this times the larger of one and its trace, and all tangents together are
            at most this times the larger of one and the objective below the loss.""",
        ),
    )
    config.declare(
        "max_rounds",
        ConfigValue(
            default=500,
            domain=PositiveInt,
            description="most linear programs to solve",
            doc="""
            After these the cuts stay as they are, with a warning: the model is an
            outer relaxation all the same.""",
        ),
    )
    config.declare(
        "time_limit",
        ConfigValue(
            default=None,
            domain=PositiveFloat,
            description="seconds after which no more cuts are added",
            doc="""
            As with max_rounds, the cuts up to then stay.""",
        ),
    )
    return config


@register_tier(
    "relu.cuts", "Replace cones by eigenvector cuts, found by a linear solver."
)
class CutsTier(Tier):
    """Replace each cone by linear cuts, found with a linear solver.

    A lower bound for a minimisation, close to that of ``relu.dnn``, or of the
    semidefinite cone itself, up to a tolerance. What is left is a linear program: a
    convex quadratic objective is replaced, too, by one that lies below it.

    Raises
    ------
    SolverError
        A linear program did not end at an optimum. The model is as it was.
    UnsupportedConeError
        The model has cones that are no targets.
    InputError
        The objective is neither linear nor quadratic and convex, or there are several.

    Notes
    -----
    The whole model is solved, also where the tier is applied to a block of it; the
    last point is left in the variables. The objective is read once: fixed variables
    and parameters enter a quadratic one with the values that they have, and
    ``bound_direction`` says so when it has changed since. What is lost
    in a round that was interrupted, or after the last that was allowed, is tightness:
    the cuts are valid, and so is the bound. Each round is logged at level INFO.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Objective, SolverFactory, Var
    >>> from pyomo_relu.cones import PSDCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = PSDCone([[1, m.x], [m.x, 4]])  # x >= -2
    >>> m.o = Objective(expr=m.x)
    >>> relax(m, "cuts")
    >>> results = SolverFactory("highs").solve(m)
    >>> round(m.x.value, 5)
    -2.0
    >>> print(bound_direction(m))
    lower
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(f"{_CUTS}, {_SIGNS}", "outer", "LP"),
        DoublyNonnegativeConeData: Bridge(f"{_CUTS}, {_SIGNS}", "outer", "LP"),
        PSDConeData: Bridge(_CUTS, "outer", "LP"),
    }
    CONFIG: ClassVar[ConfigDict] = _cuts_config()

    @classmethod
    def stale(cls, replacement: Replacement) -> str | None:
        """Return that the objective has changed since its tangents took its place."""
        frozen = record_of(replacement.component).frozen
        if frozen is None:
            return None
        objective, then = frozen
        try:
            now = split_squares(objective)
        except InputError:
            now = None
        if now is not None and now.equals(then):
            return None
        return (
            f"objective {objective.name!r} is not any more what the tangents of "
            f"{replacement.tier} lie below"
        )

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the block of the first rows; the cuts come when all cones have theirs."""
        block = add_beside(component, "cuts", Block(concrete=True))
        triangles = Triangles(cones)
        M, t = triangles.entries, len(triangles)
        diagonal = triangles.diagonal
        index, weights = _pairs(triangles, has_sign(cones, triangles))
        self._config = config
        self._parts.append(EigenvectorCuts(block, cones, not _has_integers(component)))
        links = (
            *write_first_rows(block, cones, triangles),
            write_rows(
                block, "diagonal", triangles.row_index, M.map(pick(diagonal, t))
            ),
            write_rows(block, "pair", index, M.map(weights)),
            block.cut,
        )
        return Created(block, [[] for _ in cones], links)

    def _apply_to(self, model: Any, **kwds: Any) -> Any:
        self._parts: list[EigenvectorCuts] = []
        token = super()._apply_to(model, **kwds)
        if self._parts and token is not None:
            try:
                self._tighten(model.model(), token.reverse_dict)
            except BaseException:
                super()._apply_to(model, reverse=token)
                raise
        return token

    def _reverse(self, model: Any, config: Any) -> None:
        objectives = (config.reverse.reverse_dict or {}).get("objectives", ())
        super()._reverse(model, config)
        for objective in objectives:
            objective.activate()

    def _tighten(self, model: Any, made: dict[str, list[Any]]) -> None:
        """Make the whole model linear, and add cuts until they are enough."""
        cone = next(cone_data_objects(model), None)
        if cone is not None:
            raise UnsupportedConeError(
                f"{self.name} solves linear programs on its way, and the {cone.kind} "
                f"cone {cone.name!r}, which is none of its targets, would not be in "
                "them. Replace that first or along with the others, or deactivate it."
            )
        objectives = list(
            model.component_data_objects(Objective, active=True, descend_into=DESCEND)
        )
        if len(objectives) > 1:
            raise InputError(
                f"the model has {len(objectives)} active objectives; {self.name} "
                "solves it on its way. Deactivate all but one."
            )
        tangents = None
        squares = split_squares(objectives[0]) if objectives else None
        if squares is not None:
            objective = objectives[0]
            block = add_beside(
                objective.parent_component(), "cuts", Block(concrete=True)
            )
            made["components"].append(block)
            tangents = Tangents(block, squares, not _has_integers(objective))
            objective.deactivate()
            made["objectives"] = [objective]
            for made_block in (block, *(part.block for part in self._parts)):
                record_of(made_block).frozen = objective, squares
        CutLoop(model, self._parts, tangents, self._config).run()


def _pairs(triangles: Triangles, signed: Any) -> tuple[list[Any], sp.csr_array]:
    """Return indices and weights of ``M_ii + M_jj -+ 2 M_ij`` where they say more."""
    t = len(triangles)
    places = off_diagonal(triangles, triangles.entries, np.zeros(t, dtype=bool))
    # Where M_ij is nonnegative the other sign follows from the diagonal.
    both = places[~signed[places]]
    index = [
        (*key, sign)
        for which, sign in ((places, -1), (both, 1))
        for key in triangles.index_of(which)
    ]
    return index, sp.csr_array(
        sp.vstack([_pair(triangles, places, -2.0), _pair(triangles, both, 2.0)])
    )


def _pair(triangles: Triangles, places: Any, weight: float) -> sp.csr_array:
    t, diagonal = len(triangles), triangles.diagonal
    ends = [diagonal[which[places]] for which in (triangles.row, triangles.column)]
    return pick(places, t, weight) + pick(ends[0], t) + pick(ends[1], t)


def _has_integers(component: Any) -> bool:
    """Whether a variable of the whole model is not continuous."""
    variables = component.model().component_data_objects(Var, descend_into=DESCEND)
    return any(not variable.is_continuous() for variable in variables)
