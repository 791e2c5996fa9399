r"""Residuals of a returned point, measured here and not by the solver.

With the signs of Pyomo's duals :math:`y` (of the rows :math:`l \le g(x) \le u`) and
reduced costs :math:`r` (of the bounds), a point of a differentiable model is stationary
where

.. math:: \nabla f(x) - \sum_i y_i \nabla g_i(x) - r = 0,

whether the model minimises or maximises. In a minimisation a multiplier is
nonnegative where only the lower side is there and nonpositive where only the upper one
is; in a maximisation it is the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.contrib.solver.common.results import Results
from pyomo.contrib.solver.common.util import (
    NoDualsError,
    NoReducedCostsError,
    NoSolutionError,
)
from pyomo.core.base import (
    Constraint,
    Objective,
    SortComponents,
    SOSConstraint,
    Var,
    minimize,
    value,
)
from pyomo.core.expr.calculus.derivatives import Modes, differentiate
from pyomo.core.expr.visitor import identify_variables
from pyomo.repn.util import categorize_valid_components

from pyomo_relu.cones import SecondOrderConeData, is_cone_guard
from pyomo_relu.cones.exponential import exponential_violation
from pyomo_relu.cones.second_order import upright
from pyomo_relu.errors import InputError, SolverError, UnsupportedConeError
from pyomo_relu.solvers.conic_form import ConicForm, triangle
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.standard_form import KNOWN_CTYPES, check_model, compile_conic

__all__ = ["SolutionCheck", "check_solution"]

#: What solvers raise that have no duals, or none of this model.
NO_MULTIPLIERS = (
    NoDualsError,
    NoReducedCostsError,
    NoSolutionError,
    NotImplementedError,
)


@dataclass(frozen=True)
class SolutionCheck:
    """What was measured on a point.

    Attributes
    ----------
    primal_residual : float
        Largest violation of an active constraint, bound, cone or integrality, in the
        units of the constraint; of a second-order cone the norm minus the head, of a
        matrix cone minus its smallest eigenvalue or entry.
    relative_residual : float
        The same with each violation divided by 1 + the absolute value of the side that
        is violated; of a cone by 1 + its largest constant.
    dual_residual : float or None
        Largest entry of the gradient of the Lagrangian, or multiplier of the wrong
        sign, whichever is larger. None where there are no multipliers, or not of
        everything that is active.
    gap : float or None
        Of a convex conic program the primal minus the dual objective of the
        minimisation: at a point that is not quite feasible it may be negative. Of
        another continuous model ``sum_i |multiplier_i slack_i|``. Of a model with
        integer variables ``|objective - objective_bound|``. None where unknown.
    objective : float or None
        Objective of the model at the point; None where there is none.
    worst : str or None
        Name of the component that is violated most, relative to its data; None where
        none is violated.
    """

    primal_residual: float
    relative_residual: float
    dual_residual: float | None
    gap: float | None
    objective: float | None
    worst: str | None


def check_solution(
    model: Any, results: Results, *, form: ConicForm | None = None
) -> SolutionCheck:
    """Measure the point of some results on the model.

    Nothing that the solver claims is used but the point, its multipliers and, with
    integer variables, the bound. The model is as it was afterwards.

    Parameters
    ----------
    model : Block
        The model that was solved, not changed since but for the values of free
        variables.
    results : Results
        Of any solver of ``pyomo.contrib.solver``.
    form : ConicForm, optional
        What ``compile_conic(model)`` returned, to save the time of compiling again.

    Returns
    -------
    SolutionCheck

    Raises
    ------
    SolverError
        If the results have no point, or none for a variable that is in the model.
    UnsupportedModelError
        If the model has active components of which it cannot be said whether a point
        satisfies them.
    InputError
        If the model cannot be evaluated at the point.
    InputTypeError
        If `model` is no block.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu.solvers import Clarabel
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, None))
    >>> m.y = pyo.Var(bounds=(0, None))
    >>> m.o = pyo.Objective(expr=m.x**2 + m.y**2)
    >>> m.c = pyo.Constraint(expr=m.x + 2 * m.y >= 5)
    >>> results = Clarabel().solve(m, load_solutions=False)
    >>> check = check_solution(m, results)
    >>> check.primal_residual < 1e-6, check.dual_residual < 1e-6
    (True, True)
    >>> m.x.value is None
    True
    """
    check_model(model)
    try:
        point = results.solution_loader.get_vars()
    except NoSolutionError as error:
        raise SolverError(
            f"there is no point to check: {error}. Look at "
            f"results.termination_condition first"
        ) from error
    if form is None and all(var.fixed or var.is_continuous() for var in point):
        try:
            form = compile_conic(model)
        except (
            UnsupportedModelError,
            UnsupportedConeError,
            InfeasibleConstraintException,
        ):
            form = None
    if form is not None:
        check = _check_conic(form, point, results)
        if check is not None:
            return check
    return _check_general(model, point, results)


@dataclass
class _Worst:
    """The largest violation so far."""

    absolute: float = 0.0
    relative: float = 0.0
    name: str | None = None

    def meet(self, violation: float, side: float, component: Any) -> None:
        """Compare with the violation of a component's side; NaN counts as infinite."""
        if not violation > 0.0 and not math.isnan(violation):
            return
        violation = math.inf if math.isnan(violation) else violation
        relative = violation / (1.0 + abs(side))
        self.absolute = max(self.absolute, violation)
        if relative > self.relative:
            self.relative, self.name = relative, component.name


def _multipliers(results: Results) -> tuple[Any, Any]:
    """Duals and reduced costs, None where the solver gives none."""
    loader = results.solution_loader
    try:
        duals = loader.get_duals()
    except NO_MULTIPLIERS:
        return None, None
    try:
        costs = loader.get_reduced_costs()
    except NO_MULTIPLIERS:
        costs = None
    # A solver that has duals and gives an empty map of costs has none of those.
    return duals, costs if costs else None


# Convex conic programs, by their matrices.


def _check_conic(
    form: ConicForm, point: Mapping[Any, float], results: Results
) -> SolutionCheck | None:
    """Check a conic program; None where the multipliers are those of other rows.

    A solver that does not know a vector cone gives duals of the rows that stand for it.
    """
    x = np.array([point.get(var, np.nan) for var in form.variables], dtype=float)
    for column in np.flatnonzero(np.isnan(x)):
        x[column] = _value_of_unused(form, int(column))
    worst = _worst_of_conic(form, x)
    duals, costs = _multipliers(results)
    dual_residual = gap = None
    if duals is not None:
        if any(part.cone not in duals for part in form.vector_cones):
            return None
        z = _row_multipliers(form, x, duals, costs, results.solution_loader)
        if z is not None:
            dual_residual = form.dual_residual(x, z)
            gap = form.objective(x) - form.dual_objective(x, z)
    return SolutionCheck(
        primal_residual=worst.absolute,
        relative_residual=worst.relative,
        dual_residual=dual_residual,
        gap=gap,
        objective=form.sense * form.objective(x) if form.has_objective else None,
        worst=worst.name,
    )


def _value_of_unused(form: ConicForm, column: int) -> float:
    """Value of a variable that solvers leave out: it has no coefficient but bounds."""
    var = form.variables[column]
    used = np.setdiff1d(
        form.A[:, [column]].nonzero()[0],
        [form.lower_bound_rows[column], form.upper_bound_rows[column]],
    )
    if used.size or form.c[column] or form.P[:, [column]].nnz:
        raise _no_value(var)
    low, up = var.bounds
    return max(
        -math.inf if low is None else low, min(0.0, math.inf if up is None else up)
    )


def _no_value(var: Any) -> SolverError:
    return SolverError(
        f"the results have no value for variable '{var.name}', which is in the model; "
        f"check them with the model that was solved"
    )


def _worst_of_conic(form: ConicForm, x: np.ndarray) -> _Worst:
    """Find the component of the model that is violated most."""
    s = form.b - form.A @ x
    linear = slice(0, form.n_linear)
    outside = -s[linear]
    outside[: form.n_zero] = np.abs(outside[: form.n_zero])
    outside[np.isnan(outside)] = np.inf
    relative = outside / (1.0 + np.abs(form.b[linear]))
    worst = _Worst()
    if relative.size:
        row = int(relative.argmax())
        worst.meet(
            float(outside[row]), float(form.b[row]), _component_of_row(form, row)
        )
        worst.absolute = max(worst.absolute, float(outside.max()))
    for quadratic in form.quadratics:
        v = s[quadratic.rows]
        # The excess of the body, and the side of a cone that the head must be on.
        excess = max(float(v[1:] @ v[1:] - v[0] ** 2), -float(v[0]))
        worst.meet(excess, _largest(form, quadratic.rows), quadratic.constraint)
    for vector in form.vector_cones:
        v = s[vector.rows]
        if isinstance(vector.cone, SecondOrderConeData):
            excess = float(np.linalg.norm(v[1:]) - v[0])
        else:
            excess = float(exponential_violation(v[None])[0])
        worst.meet(excess, _largest(form, vector.rows), vector.cone)
    for block in form.cones:
        if block.order > 1:
            i, j = triangle(block.order)
            M = np.empty((block.order, block.order))
            M[i, j] = M[j, i] = s[block.rows]
            finite = np.isfinite(M).all()
            excess = -float(np.linalg.eigvalsh(M)[0]) if finite else math.nan
            worst.meet(excess, _largest(form, block.rows), block.cone)
    return worst


def _largest(form: ConicForm, rows: np.ndarray) -> float:
    return float(np.abs(form.b[rows]).max())


def _component_of_row(form: ConicForm, row: int) -> Any:
    """Return what became one of the rows that are numbers."""
    for numbers, components in (
        (form.upper_rows, form.constraints),
        (form.lower_rows, form.constraints),
        (form.upper_bound_rows, form.variables),
        (form.lower_bound_rows, form.variables),
    ):
        found = np.flatnonzero(numbers == row)
        if found.size:
            return components[found[0]]
    return next(
        block.cone
        for block in form.cones
        if row in block.rows or row in block.entry_rows
    )


def _row_multipliers(
    form: ConicForm, x: np.ndarray, duals: Any, costs: Any, loader: Any
) -> np.ndarray | None:
    """Return the multipliers of the rows of a form: the loader's maps turned round.

    None where a multiplier is missing, or is not determined at this point.
    """
    z = np.zeros(len(form.b))
    number = len(form.constraints)
    y = np.array([duals.get(row, np.nan) for row in form.constraints], dtype=float)
    y = form.sense * y.reshape(number)
    # A row of numbers needs none.
    y[(form.upper_rows < 0) & (form.lower_rows < 0)] = 0.0
    _split(z, y, form.lower_rows, form.upper_rows)
    for block in form.cones:
        if not _fill_block(form, z, block, duals, loader):
            return None
    for part in form.vector_cones:
        t = form.sense * np.asarray(duals[part.cone], dtype=float)
        rotated = isinstance(part.cone, SecondOrderConeData) and part.cone.rotated
        z[part.rows] = upright(t) if rotated else t
    for row in form.quadratics:
        dual = form.sense * float(duals.get(row.constraint, np.nan))
        multiplier = -dual if row.is_upper else dual
        s = form.b[row.rows] - form.A[row.rows] @ x
        # z = 2 multiplier (s[0], -s[1:]) makes <z, ds> minus the derivative of the row;
        # of the wrong sign it is outside of the cone.
        z[row.rows] = 2.0 * multiplier * np.where(np.arange(len(s)) == 0, s, -s)
    if not np.isfinite(z).all():
        return None
    if costs is None:
        # What makes the gradient zero; where there is no bound it is the residual.
        r = form.P @ x + form.c + form.A.T @ (form.weight * z)
    else:
        r = form.sense * np.array(
            [costs.get(var, 0.0) for var in form.variables], dtype=float
        )
        if not np.isfinite(r).all():
            return None
    _split(z, r, form.lower_bound_rows, form.upper_bound_rows)
    return z


def _split(
    z: np.ndarray, y: np.ndarray, lower_rows: np.ndarray, upper_rows: np.ndarray
) -> None:
    """Give ``y = z[lower] - z[upper]`` to the side that it is of.

    Where there is one side, of whatever sign; where there is none, to nothing.
    """
    low, up = lower_rows >= 0, upper_rows >= 0
    to_lower = low & (~up | (y > 0.0))
    to_upper = up & ~to_lower
    z[lower_rows[to_lower]] = y[to_lower]
    z[upper_rows[to_upper]] = -y[to_upper]
    # Not to be lost where it is not a number.
    z[upper_rows[up & np.isnan(y)]] = np.nan


def _fill_block(
    form: ConicForm, z: np.ndarray, block: Any, duals: Any, loader: Any
) -> bool:
    """Fill in the multipliers of a matrix cone; False where there are none."""
    if block.cone not in duals:
        return False
    i, j = triangle(block.order)
    if block.pairs.size:
        # Only the sum of the two parts is a dual: the loader knows them apart.
        if not hasattr(loader, "get_cone_multipliers"):
            return False
        Z, N = loader.get_cone_multipliers(block.cone)
        kept = block.entry_rows >= 0
        p, q = block.pairs[kept].T
        z[block.entry_rows[kept]] = 2.0 * N[p, q]
    else:
        Z = form.sense * np.asarray(duals[block.cone], dtype=float)
    z[block.rows] = Z[i, j]
    return True


# Everything else, by its expressions.


@contextmanager
def _values_of(model: Any, point: Mapping[Any, float]) -> Iterator[None]:
    """Give the variables the values of a point, and then what they had.

    A free variable of which the point knows nothing has no value meanwhile, so that
    nobody reads an old one.
    """
    variables = {id(var): var for var in model.component_data_objects(Var)}
    variables.update((id(var), var) for var in point)
    free = [var for var in variables.values() if not var.fixed]
    before = [(var, var.value, var.stale) for var in free]
    try:
        for var in free:
            var.set_value(point.get(var), skip_validation=True)
        yield
    finally:
        for var, number, stale in before:
            var.set_value(number, skip_validation=True)
            var.stale = stale


def _check_general(
    model: Any, point: Mapping[Any, float], results: Results
) -> SolutionCheck:
    """Check a model by evaluating its expressions, and reverse-mode differentiation."""
    _refuse_unknown(model)
    worst = _Worst()
    variables = [var for var in point if not var.fixed]
    integer = [not var.is_continuous() for var in variables]
    with _values_of(model, point):
        objective, sense = _objective(model)
        gradient = None
        duals = costs = None
        if not any(integer):
            duals, costs = _multipliers(results)
        if duals is not None:
            gradient = _Gradient(variables, sense)
            if objective is not None:
                gradient.add(objective.expr, 1.0)
        complementarity = 0.0
        for row in model.component_data_objects(
            Constraint, active=True, sort=SortComponents.deterministic
        ):
            body, low, up = _evaluate_row(row)
            if low is None and up is None:
                continue
            component = row.parent_block() if is_cone_guard(row) else row
            _meet_sides(worst, body, low, up, component)
            if gradient is None:
                continue
            if component is not row:
                # No solver gives multipliers of a matrix cone in such a model.
                gradient = None
                continue
            y = (duals or {}).get(row)
            if y is None and _is_constant(row.body):
                continue
            if y is None or not math.isfinite(y):
                gradient = None
                continue
            gradient.add(row.body, -y)
            gradient.meet_sign(y, low, up)
            complementarity += _complementarity(sense * y, body, low, up)
        for var, is_integer in zip(variables, integer, strict=True):
            number = float(point[var])
            low, up = var.bounds
            _meet_sides(worst, number, low, up, var)
            if is_integer:
                distance = (
                    abs(number - round(number)) if math.isfinite(number) else number
                )
                worst.meet(distance, 0.0, var)
        for sos in model.component_data_objects(SOSConstraint, active=True):
            worst.meet(_sos_violation(sos), 0.0, sos)
        dual_residual = gap = None
        if gradient is not None:
            dual_residual, bounds_part = gradient.residual(costs, point)
            gap = complementarity + bounds_part
        reached = None if objective is None else _evaluate(objective.expr, objective)
    if any(integer):
        bound = results.objective_bound
        if reached is not None and bound is not None and math.isfinite(bound):
            gap = abs(reached - bound)
    return SolutionCheck(
        primal_residual=worst.absolute,
        relative_residual=worst.relative,
        dual_residual=dual_residual,
        gap=gap,
        objective=reached,
        worst=worst.name,
    )


def _refuse_unknown(model: Any) -> None:
    _, unknown = categorize_valid_components(
        model,
        active=True,
        sort=SortComponents.deterministic,
        valid={*KNOWN_CTYPES, SOSConstraint},
    )
    for ctype, found in unknown.items():
        raise UnsupportedModelError(
            f"whether a point satisfies the {ctype.__name__} '{found[0].name}' is not "
            f"known here; transform it before the solve (gdp.bigm for disjuncts)"
        )


def _objective(model: Any) -> tuple[Any, int]:
    objectives = list(model.component_data_objects(Objective, active=True))
    if len(objectives) > 1:
        names = ", ".join(repr(objective.name) for objective in objectives)
        raise UnsupportedModelError(
            f"the model has {len(objectives)} active objectives ({names}); deactivate "
            f"all but one"
        )
    if not objectives:
        return None, 1
    return objectives[0], 1 if objectives[0].sense == minimize else -1


def _evaluate(expression: Any, component: Any) -> float:
    try:
        return float(value(expression))
    except (ValueError, TypeError, ArithmeticError) as error:
        missing = [
            var
            for var in identify_variables(expression, include_fixed=False)
            if var.value is None
        ]
        if missing:
            raise _no_value(missing[0]) from error
        raise InputError(
            f"'{component.name}' cannot be evaluated at the point: {error}"
        ) from error


def _evaluate_row(row: Any) -> tuple[float, float | None, float | None]:
    return _evaluate(row.body, row), row.lb, row.ub


def _meet_sides(
    worst: _Worst, number: float, low: float | None, up: float | None, component: Any
) -> None:
    if low is not None:
        worst.meet(low - number, low, component)
    if up is not None:
        worst.meet(number - up, up, component)


def _is_constant(body: Any) -> bool:
    return next(identify_variables(body, include_fixed=False), None) is None


def _complementarity(
    y: float, number: float, low: float | None, up: float | None
) -> float:
    """``|y slack|`` at the side that a multiplier of the minimisation is of."""
    side = low if (y > 0.0 and low is not None) or up is None else up
    return 0.0 if y == 0.0 or side is None else abs(y * (number - side))


def _sos_violation(sos: Any) -> float:
    """Largest value outside of the best window of entries that may be nonzero."""
    # Their order is that of the weights.
    items = sorted(sos.get_items(), key=lambda item: item[1])
    sizes = [abs(float(value(var))) for var, _ in items]
    level = min(sos.level, len(sizes))
    return min(
        max([*sizes[:first], *sizes[first + level :]], default=0.0)
        for first in range(len(sizes) - level + 1)
    )


class _Gradient:
    """The gradient of the Lagrangian, and the multipliers of the wrong sign."""

    def __init__(self, variables: list[Any], sense: int) -> None:
        self._variables = variables
        self._sense = sense
        self._column = {id(var): column for column, var in enumerate(variables)}
        self._entries = np.zeros(len(variables))
        self._wrong = 0.0

    def add(self, expression: Any, factor: float) -> None:
        """Add a multiple of the gradient of an expression."""
        found = list(identify_variables(expression, include_fixed=False))
        if not found or factor == 0.0:
            return
        try:
            slopes = differentiate(
                expression, wrt_list=found, mode=Modes.reverse_numeric
            )
        except (ValueError, TypeError, ArithmeticError) as error:
            raise InputError(
                f"the model has no derivative at the point: {error}"
            ) from error
        for var, slope in zip(found, slopes, strict=True):
            self._entries[self._column[id(var)]] += factor * slope

    def meet_sign(self, y: float, low: float | None, up: float | None) -> None:
        """Notice a multiplier that has no side to be of."""
        y *= self._sense
        if low is None:
            self._wrong = max(self._wrong, y)
        if up is None:
            self._wrong = max(self._wrong, -y)

    def residual(
        self, costs: Mapping[Any, float] | None, point: Mapping[Any, float]
    ) -> tuple[float, float]:
        """Return the dual residual, and the complementarity of the bounds.

        Without reduced costs they are what makes the gradient zero.
        """
        left = 0.0
        complementarity = 0.0
        for var, entry in zip(self._variables, self._entries.tolist(), strict=True):
            low, up = var.bounds
            cost = entry if costs is None else float(costs.get(var, 0.0))
            left = max(left, abs(entry - cost)) if entry == entry else math.inf
            self.meet_sign(cost, low, up)
            complementarity += _complementarity(
                self._sense * cost, float(point[var]), low, up
            )
        return max(left, self._wrong), complementarity
