"""What a model contains: the question that solvers have to answer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pyomo.core.base import Constraint, Objective, SortComponents
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.core.expr.visitor import identify_variables
from pyomo.repn.util import categorize_valid_components

from pyomo_relu.cones import (
    ConeData,
    VectorConeData,
    cone_data_objects,
    is_cone_guard,
)
from pyomo_relu.errors import UnsupportedConeError
from pyomo_relu.solvers.affine_rows import UNREADABLE, unreadable
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.reading import make_plain
from pyomo_relu.solvers.standard_form import KNOWN_CTYPES, compile_conic

__all__ = ["VECTOR_KINDS", "ConeCount", "ModelContent", "model_content"]


#: Cones that are plain constraints to whoever does not know them.
VECTOR_KINDS = ("second-order", "exponential")


class ConeCount(NamedTuple):
    """How many cones there are of one kind, and how large they are.

    Attributes
    ----------
    number : int
        Number of cones.
    largest : int
        Largest order of a matrix, or length of a vector.
    """

    number: int
    largest: int


@dataclass(frozen=True)
class ModelContent:
    """What is active in a model.

    Attributes
    ----------
    variables : int
        Free variables that appear in it.
    integer_variables : int
        How many of them are integer or binary.
    nonlinear_variables : int
        How many are in a row or objective that is not linear; of a convex conic
        program none are counted.
    objective : {"none", "linear", "quadratic", "nonlinear"}
        Degree of the objective.
    objectives : int
        How many are active.
    linear_rows, quadratic_rows, nonlinear_rows : int
        Constraints by degree, without those that cones of vectors consist of.
    cones : dict of str to ConeCount
        The cones by kind, as in their class attribute ``kind``.
    other : tuple of str
        Names of the other component types that state something: ``SOSConstraint``,
        ``Disjunction``, ...
    form : ConicForm or None
        The compiled model, where it is a convex conic program.
    obstacle : str
        Why it is none.
    """

    variables: int
    integer_variables: int
    nonlinear_variables: int
    objective: str
    linear_rows: int
    quadratic_rows: int
    nonlinear_rows: int
    cones: dict[str, ConeCount]
    other: tuple[str, ...] = ()
    objectives: int = 1
    form: ConicForm | None = field(default=None, repr=False)
    obstacle: str = ""

    @property
    def problem_class(self) -> str:
        """Name of the smallest class of programs that the model is in.

        LP, QP, QCQP, SOCP, SDP, EXP (exponential cones), NLP; with MI in front where
        there are integer variables, and ``nonconvex`` where a quadratic or nonlinear
        model was not seen to be convex.
        """
        if self.has("positive semidefinite", "doubly nonnegative"):
            name = "SDP"
        elif any(kind not in VECTOR_KINDS for kind in self.cones):
            name = "copositive program"
        elif self.has("exponential"):
            name = "EXP"
        elif self.has("second-order"):
            name = "SOCP"
        elif self.nonlinear_rows or self.objective == "nonlinear":
            name = "NLP"
        elif self.quadratic_rows:
            name = "QCQP"
        else:
            name = "QP" if self.objective == "quadratic" else "LP"
        if self.integer_variables:
            return f"MI{name}"
        nonconvex = self.form is None and name in ("QP", "QCQP", "NLP")
        return f"nonconvex {name}" if nonconvex else name

    def has(self, *kinds: str) -> bool:
        """Whether there is a cone of one of these kinds."""
        return any(kind in self.cones for kind in kinds)

    def __str__(self) -> str:
        parts = [f"{self.variables} variables"]
        if self.integer_variables:
            parts.append(f"{self.integer_variables} of them integer")
        parts.append(
            "no objective"
            if self.objective == "none"
            else f"{self.objective} objective"
        )
        for degree in ("linear", "quadratic", "nonlinear"):
            count = getattr(self, f"{degree}_rows")
            if count:
                parts.append(f"{count} {degree} rows")
        for kind, (number, largest) in self.cones.items():
            parts.append(f"{number} {kind} cones of order up to {largest}")
        parts.extend(self.other)
        return f"{self.problem_class} ({', '.join(parts)})"


def model_content(model: Any) -> ModelContent:
    """Say what a model contains.

    A convex conic program is compiled, and what it contains read off the matrices;
    anything else is looked through component by component.

    Parameters
    ----------
    model : Block
        A constructed Pyomo model or block; it is not changed.

    Returns
    -------
    ModelContent

    Raises
    ------
    InputError
        A coefficient is not finite, or a fixed variable has no value.
    pyomo.common.errors.InfeasibleConstraintException
        If a constraint without variables is violated.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var([0, 1], bounds=(0, 1))
    >>> m.o = pyo.Objective(expr=m.x[0] - m.x[1])
    >>> m.c = pyo.Constraint(expr=m.x[0] ** 2 <= m.x[1])
    >>> print(model_content(m))
    QCQP (2 variables, linear objective, 1 quadratic rows)
    """
    cones: dict[str, ConeCount] = {}
    for cone in cone_data_objects(model, kinds=(ConeData, VectorConeData)):
        if isinstance(cone, VectorConeData) and not cone.is_intact:
            continue
        order = cone.order if isinstance(cone, ConeData) else len(cone.vector)
        number, largest = cones.get(cone.kind, ConeCount(0, 0))
        cones[cone.kind] = ConeCount(number + 1, max(largest, order))
    try:
        form = compile_conic(model)
    except (UnsupportedModelError, UnsupportedConeError) as error:
        return _walked(model, cones, str(error))
    quadratic = "quadratic" if form.P.nnz else "linear"
    return ModelContent(
        variables=len(form.variables),
        integer_variables=0,
        nonlinear_variables=0,
        objective=quadratic if form.has_objective else "none",
        linear_rows=len(form.constraints),
        quadratic_rows=len(form.quadratics),
        nonlinear_rows=0,
        cones=cones,
        form=form,
    )


def _walked(model: Any, cones: dict[str, ConeCount], obstacle: str) -> ModelContent:
    """Look through a model that is no convex conic program."""
    _, unknown = categorize_valid_components(
        model, active=True, sort=SortComponents.deterministic, valid=KNOWN_CTYPES
    )
    inside = {
        id(row)
        for cone in cone_data_objects(model, kinds=VectorConeData)
        if cone.is_intact
        for row in cone.rows
    }
    variables: dict[int, Any] = {}
    nonlinear: set[int] = set()
    degrees: Counter[str] = Counter()
    for row in model.component_data_objects(Constraint, active=True):
        if is_cone_guard(row):
            _collect(row.parent_block().upper_triangle, variables)
            continue
        make_plain(row)
        degree, members = _read(row.body, f"constraint '{row.name}'")
        variables.update(members)
        if id(row) not in inside:
            degrees[degree] += 1
        if degree != "linear":
            nonlinear.update(members)
    objective, objectives = "none", 0
    for data in model.component_data_objects(Objective, active=True):
        objectives += 1
        objective, members = _read(data.expr, f"objective '{data.name}'")
        variables.update(members)
        if objective != "linear":
            nonlinear.update(members)
    return ModelContent(
        variables=len(variables),
        integer_variables=sum(not v.is_continuous() for v in variables.values()),
        nonlinear_variables=len(nonlinear),
        objective=objective,
        linear_rows=degrees["linear"],
        quadratic_rows=degrees["quadratic"],
        nonlinear_rows=degrees["nonlinear"],
        cones=cones,
        other=tuple(sorted(ctype.__name__ for ctype in unknown)),
        objectives=objectives,
        obstacle=obstacle,
    )


def _read(expression: Any, name: str) -> tuple[str, dict[int, Any]]:
    """Degree of an expression, and its free variables."""
    variables: dict[int, Any] = {}
    if expression.__class__ is LinearExpression:
        _collect(expression.linear_vars, variables)
        return "linear", variables
    _collect([expression], variables)
    try:
        degree = getattr(expression, "polynomial_degree", lambda: 0)()
    except UNREADABLE as error:
        raise unreadable(name, error) from error
    return {0: "linear", 1: "linear", 2: "quadratic"}.get(
        degree, "nonlinear"
    ), variables


def _collect(expressions: Any, variables: dict[int, Any]) -> None:
    for expression in expressions:
        if getattr(expression, "is_variable_type", bool)():
            if not expression.fixed:
                variables[id(expression)] = expression
        elif getattr(expression, "is_potentially_variable", bool)():
            for variable in identify_variables(expression, include_fixed=False):
                variables[id(variable)] = variable
