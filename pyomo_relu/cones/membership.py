"""The guard of a cone: what stops writers and solvers that cannot take it.

Pyomo drops a component with a ctype of its own without a word in the MPS writer, the
v1 writers and both HiGHS interfaces, and it descends into plain Blocks only. A cone is
therefore a plain Block that holds a `Constraint`, which everybody reads:

* writers of the second generation standardise a constraint with
  `to_bounded_expression`; the guard refuses there, where Pyomo itself refuses what it
  cannot "send to a solver";
* older writers and solvers walk the body; it is a node that no walker knows, and
  those that they share are told what to say of it;
* transformations that rewrite bodies find a node that cannot be rebuilt or added to.

People may look: `value`, `pprint`, `display`, `clone`, pickle and `identify_variables`
work as on any constraint.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from pyomo.core.base.constraint import ScalarConstraint
from pyomo.core.expr.numeric_expr import NumericExpression
from pyomo.core.expr.relational_expr import InequalityExpression
from pyomo.gdp import Disjunct

from pyomo_relu.errors import UnsupportedConeError

if TYPE_CHECKING:
    from pyomo_relu.cones.base import ConeData

__all__ = ["ConeGuard", "MembershipExpression", "replace_first", "unsupported"]


def replace_first(cone: ConeData) -> str:
    """Return the advice to replace a cone, with the tiers that do, as a clause."""
    if not cone.tiers:
        return "no tier of this package replaces it"
    names = ", ".join(map(repr, cone.tiers))
    return (
        f"replace it first with relax(model, tier), tier one of {names} "
        "('pyomo-relu tiers' says what becomes of it, and which solvers take that)"
    )


def unsupported(cone: ConeData) -> UnsupportedConeError:
    """Return the error for a cone that reached something which cannot take it.

    Parameters
    ----------
    cone : cone data
        The cone.

    Returns
    -------
    UnsupportedConeError
        Names the cone, the tiers that help and the other ways out.
    """
    reached = (
        "has reached a writer, solver or transformation that does not know matrix cones"
    )
    choice = ""
    disjunct = _disjunct_of(cone)
    if disjunct is not None:
        reached = (
            f"is inside the Disjunct {disjunct.name!r}, and disjunctive reformulations "
            "and solvers take no matrix cones, relaxed or not"
        )
        choice = (
            " Solve one choice of disjuncts at a time: fix the indicators and apply "
            "TransformationFactory('gdp.fix_disjuncts')."
        )
    advice = replace_first(cone)
    native = ", which has this cone as it is" if cone.is_conic else ""
    return UnsupportedConeError(
        f"the {cone.kind} cone {cone.name!r} (order {cone.order}) {reached}.{choice} "
        f"{advice[0].upper()}{advice[1:]}. pyomo_relu.solve(model) takes a "
        f"semidefinite solver{native}. To leave the cone out on purpose, deactivate "
        f"it: {cone.name}.deactivate()."
    )


def _disjunct_of(cone: ConeData) -> Any:
    """Return the innermost Disjunct above a cone that is still one, or None."""
    block = cone.parent_block()
    while block is not None and block.ctype is not Disjunct:
        block = block.parent_block()
    return block


class MembershipExpression(NumericExpression):
    """The membership margin of a cone, as a node that no walker can translate.

    Parameters
    ----------
    entries : tuple
        The upper triangle of the matrix, row by row; the arguments of the node.
    cone : cone data
        The cone whose margin this is.
    """

    __slots__ = ("_cone",)
    PRECEDENCE = None

    def __init__(self, entries: tuple[Any, ...], cone: ConeData) -> None:
        super().__init__(entries)
        self._cone = cone

    def nargs(self) -> int:
        """Return the number of entries in the upper triangle."""
        return len(self._args_)

    def getname(self, *args: Any, **kwds: Any) -> str:
        """Return the name of the function that the node evaluates."""
        return "margin"

    def _to_string(self, values: Any, verbose: Any, smap: Any) -> str:
        if smap is not None:
            # Writers that print expressions name variables by a symbol map; people
            # who look do not.
            raise unsupported(self._cone)
        return f"margin({self._cone.name})"

    def _apply_operation(self, result: Any) -> float:
        if any(entry is None for entry in result):
            raise TypeError(f"an entry of cone {self._cone.name!r} has no value")
        return self._cone.margin_at(np.asarray(result, dtype=np.float64))

    def _compute_polynomial_degree(self, result: Any) -> None:
        return None

    def _is_fixed(self, values: Any) -> bool:
        # A constraint on fixed variables alone is dropped as trivial by some; this
        # one must be seen even then.
        return False

    def _refuse(self, *args: Any, **kwds: Any) -> NoReturn:
        raise unsupported(self._cone)

    # The margin is no algebraic function: an expression that contained it would be
    # as silently wrong as a constraint that lost it.
    create_node_with_local_data = _refuse
    __add__ = __radd__ = __iadd__ = __sub__ = __rsub__ = __isub__ = _refuse
    __mul__ = __rmul__ = __imul__ = __truediv__ = __rtruediv__ = _refuse
    __itruediv__ = __pow__ = __rpow__ = __ipow__ = __neg__ = __pos__ = _refuse
    __abs__ = _refuse


#: Walkers that read bodies without `to_bounded_expression`, and where they look up
#: what to do with a node. Without an entry they stop on the unknown node as well, but
#: with an error of their own that names neither the cone nor a way out.
WALKERS = (
    # The v1 writers, both HiGHS interfaces, gdp.
    ("pyomo.repn.standard_repn", "_repn_collectors"),
    ("pyomo.repn.linear", "LinearRepnVisitor.exit_node_dispatcher"),
    ("pyomo.repn.quadratic", "QuadraticRepnVisitor.exit_node_dispatcher"),
    ("pyomo.repn.ampl", "_operator_handles"),
    # Big-M estimates.
    (
        "pyomo.contrib.fbbt.expression_bounds_walker",
        "ExpressionBoundsVisitor._operator_dispatcher",
    ),
    # Persistent solver interfaces; SCIP.
    ("pyomo.contrib.observer.component_collector", "collector_handlers"),
    ("pyomo.contrib.solver.solvers.scip.base", "_operator_map"),
)


def _refuse_node(*args: Any) -> NoReturn:
    """Handle the node in any walker: they differ in where they pass it."""
    raise unsupported(
        next(arg._cone for arg in args if isinstance(arg, MembershipExpression))
    )


def _teach_walkers() -> None:
    for module, path in WALKERS:
        with suppress(ImportError, AttributeError):
            handlers = attrgetter(path)(import_module(module))
            handlers[MembershipExpression] = _refuse_node


_teach_walkers()


class ConeGuard(ScalarConstraint):
    """The constraint ``margin(cone) >= 0`` that only conic solvers may skip."""

    def __init__(self, cone: ConeData, entries: tuple[Any, ...]) -> None:
        super().__init__()
        self._data[None] = self
        self._expr = InequalityExpression(
            (0, MembershipExpression(entries, cone)), False
        )
        self._constructed = True

    @property
    def cone(self) -> ConeData:
        """The cone data that this constraint guards."""
        return self.parent_block()

    @property
    def body(self) -> MembershipExpression:
        """The membership margin of the cone."""
        return self._expr.arg(1)

    @property
    def lower(self) -> int:
        """Zero: inside the cone the margin is nonnegative."""
        return 0

    @property
    def upper(self) -> None:
        """None."""
        return None

    @property
    def lb(self) -> float:
        """Zero: inside the cone the margin is nonnegative."""
        return 0.0

    @property
    def ub(self) -> None:
        """None."""
        return None

    @property
    def equality(self) -> bool:
        """False."""
        return False

    def __call__(self, exception: bool = True) -> float | None:
        """Return the membership margin."""
        return self.body(exception=exception)

    def to_bounded_expression(self, evaluate_bounds: bool = False) -> NoReturn:
        """Refuse: this is where writers fetch a constraint.

        Raises
        ------
        UnsupportedConeError
            Always.
        """
        raise unsupported(self.cone)

    def set_value(self, expr: Any) -> NoReturn:
        """Refuse: the cone itself says what it constrains."""
        raise unsupported(self.cone)

    def deactivate(self) -> NoReturn:
        """Refuse: an active cone without its guard would be dropped in silence.

        Raises
        ------
        UnsupportedConeError
            Always: solvers and transformations that move constraints elsewhere
            deactivate them, and people deactivate the cone instead.
        """
        raise unsupported(self.cone)
