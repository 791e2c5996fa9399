"""Which variables the rest of a model sees."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.constraint import Constraint
from pyomo.core.base.objective import Objective
from pyomo.core.expr.visitor import identify_variables

from pyomo_relu.cones import ConeData, cone_data_objects, is_cone_guard
from pyomo_relu.cones.base import DESCEND

__all__ = ["first_seen", "is_unrestricted", "sees_in_other_ways"]

#: Names of the kinds of components that see no variables but those listed here.
_PLAIN = {
    "Block",
    "BooleanVar",
    "Constraint",
    "Disjunct",
    "Disjunction",
    "Expression",
    "ExternalFunction",
    "LogicalConstraint",
    "Objective",
    "Param",
    "RangeSet",
    "Set",
    "Suffix",
    "Var",
}


def first_seen(
    model: Any, variables: Iterable[Any], ignored: Iterable[ConeData] = ()
) -> Any:
    """Return the first of some variables that something active in a model sees.

    Objectives, constraints, cones, bounds, domains and fixed values count.

    Parameters
    ----------
    model : Block
        The whole model.
    variables : iterable of variables
        Those to look for.
    ignored : iterable of cone data
        Cones that do not count.

    Returns
    -------
    variable or None
        None where none is seen.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Objective, Var
    >>> from pyomo_relu.tiers.visibility import first_seen
    >>> m = ConcreteModel()
    >>> m.x, m.y = Var(), Var()
    >>> m.o = Objective(expr=m.x)
    >>> first_seen(m, [m.y]) is None, first_seen(m, [m.y, m.x]).name
    (True, 'x')
    """
    wanted = {id(variable): variable for variable in variables}
    if not wanted:
        return None
    for variable in wanted.values():
        if not is_unrestricted(variable):
            return variable
    skipped = {id(cone) for cone in ignored}
    for variable in _variables(model, skipped):
        if id(variable) in wanted:
            return variable
    # What a component of another kind sees is not known.
    return next(iter(wanted.values())) if sees_in_other_ways(model) else None


def sees_in_other_ways(model: Any) -> bool:
    """Whether a model has active components other than constraints and objectives.

    Such as a SOSConstraint or a Complementarity, whose variables nobody lists.

    Parameters
    ----------
    model : Block
        The whole model.
    """
    kinds = model.collect_ctypes(active=True, descend_into=DESCEND)
    return any(kind.__name__ not in _PLAIN for kind in kinds)


def is_unrestricted(entry: Any, lower_zero: bool = False) -> bool:
    """Whether an entry is a free variable, or one that is merely nonnegative.

    Parameters
    ----------
    entry : variable, expression or number
        An entry of a matrix.
    lower_zero : bool
        Whether a lower bound of zero or less is allowed.
    """
    if not getattr(entry, "is_variable_type", bool)():
        return False
    lower, upper = entry.bounds
    loose = lower is None or (lower_zero and lower <= 0)
    return loose and upper is None and not entry.fixed and entry.is_continuous()


def _variables(model: Any, skipped: set[int]) -> Iterator[Any]:
    for cone in cone_data_objects(model):
        if id(cone) not in skipped:
            for entry in cone.upper_triangle:
                if type(entry) not in native_numeric_types:
                    yield from identify_variables(entry)
    for objective in model.component_data_objects(
        Objective, active=True, descend_into=DESCEND
    ):
        yield from identify_variables(objective.expr)
    for constraint in model.component_data_objects(
        Constraint, active=True, descend_into=DESCEND
    ):
        if not is_cone_guard(constraint):
            yield from identify_variables(constraint.expr)
