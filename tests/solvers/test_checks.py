"""Residuals of points: computed by hand, and nothing of what a solver claims."""

from __future__ import annotations

import math

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import Results
from pyomo.gdp import Disjunct, Disjunction

from pyomo_relu.cones import (
    CompletelyPositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
    SecondOrderCone,
)
from pyomo_relu.errors import InputError, InputTypeError, SolverError
from pyomo_relu.solvers import Clarabel, compile_conic
from pyomo_relu.solvers.capability import OWN_INTERFACES
from pyomo_relu.solvers.checks import check_solution
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.point_loader import PointLoader
from tests.solvers.conic_family import CLASSES, solvable

SENSES = [pyo.minimize, pyo.maximize]


def results_of(model, values, duals=None, costs=None, bound=None) -> Results:
    """Return results with a point that is not a solver's."""
    results = Results()
    results.solution_loader = PointLoader(
        model,
        list(values),
        np.array(list(values.values()), dtype=float),
        [] if duals is None else list(duals),
        None if duals is None else np.array(list(duals.values()), dtype=float),
        None if costs is None else np.array([costs[v] for v in values], dtype=float),
    )
    results.objective_bound = bound
    return results


def at(*pairs):
    """Return a map from components to numbers, which follow each other."""
    return pyo.ComponentMap(zip(pairs[::2], pairs[1::2], strict=True))


def linear(sense, twist: bool):
    """Return ``min 2 x + y, x + y >= 5, x >= 0, 0 <= y <= 3``: x = 2, y = 3.

    Twisted it is no conic program, and everything is evaluated: ``exp(z) >= 1`` is
    there for a variable that does nothing else.
    """
    sign = 1 if sense == pyo.minimize else -1
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, None))
    m.y = pyo.Var(bounds=(0, 3))
    m.c = pyo.Constraint(expr=m.x + m.y >= 5)
    m.o = pyo.Objective(expr=sign * (2 * m.x + m.y), sense=sense)
    if twist:
        m.z = pyo.Var()
        m.t = pyo.Constraint(expr=pyo.exp(m.z) >= 1)
    return m, sign


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("twist", [False, True])
@pytest.mark.parametrize(
    ("x", "y", "dual", "cost_x", "cost_y", "primal", "relative", "stationarity"),
    [
        (2.0, 3.0, 2.0, 0.0, -1.0, 0.0, 0.0, 0.0),
        # The row lacks 0.1.
        (1.9, 3.0, 2.0, 0.0, -1.0, 0.1, 0.1 / 6, 0.0),
        # y is above its bound, and 0.25 / 4 is more than nothing of the row.
        (2.0, 3.25, 2.0, 0.0, -1.0, 0.25, 0.0625, 0.0),
        (-0.5, 5.5, 2.0, 0.0, -1.0, 2.5, 0.625, 0.0),
        # The gradient is (2, 1) - dual (1, 1) - costs.
        (2.0, 3.0, 1.8, 0.0, -1.0, 0.0, 0.0, 0.2),
        (2.0, 3.0, 2.0, 0.0, 1.0, 0.0, 0.0, 2.0),
        # Nothing but the sign is wrong: x has no upper bound.
        (2.0, 3.0, 2.75, -0.75, -1.75, 0.0, 0.0, 0.75),
        # And the row has no upper side.
        (2.0, 3.0, -0.25, 2.25, 1.25, 0.0, 0.0, 0.25),
    ],
)
def test_residuals_by_hand(
    twist, sense, x, y, dual, cost_x, cost_y, primal, relative, stationarity
):
    m, sign = linear(sense, twist)
    values = at(m.x, x, m.y, y)
    duals = at(m.c, sign * dual)
    costs = at(m.x, sign * cost_x, m.y, sign * cost_y)
    if twist:
        values[m.z] = costs[m.z] = duals[m.t] = 0.0
    check = check_solution(m, results_of(m, values, duals, costs))
    assert check.primal_residual == pytest.approx(primal, abs=1e-12)
    assert check.relative_residual == pytest.approx(relative, abs=1e-12)
    assert check.dual_residual == pytest.approx(stationarity, abs=1e-12)
    assert check.objective == pytest.approx(sign * (2 * x + y))


@pytest.mark.parametrize("sense", SENSES)
def test_gap_by_hand(sense):
    m, sign = linear(sense, twist=False)
    duals, costs = at(m.c, sign * 2.0), at(m.x, 0.0, m.y, sign * -1.0)
    # 2 * 5 - 1 * 3 = 7 is the dual objective, whatever the point is.
    for x, y in ((2.0, 3.0), (1.9, 3.0), (4.0, 2.0)):
        check = check_solution(m, results_of(m, at(m.x, x, m.y, y), duals, costs))
        assert check.gap == pytest.approx(2 * x + y - 7.0, abs=1e-12)
    m, sign = linear(sense, twist=True)
    duals = at(m.c, sign * 2.0, m.t, sign * 0.5)
    costs = at(m.x, 0.0, m.y, sign * -1.0, m.z, 0.0)
    values = at(m.x, 4.0, m.y, 2.0, m.z, math.log(3.0))
    # 2 (6 - 5), |-1| (3 - 2) and 0.5 (3 - 1).
    check = check_solution(m, results_of(m, values, duals, costs))
    assert check.gap == pytest.approx(4.0)


@pytest.mark.parametrize("twist", [False, True])
def test_the_worst_component_is_named(twist):
    m, _ = linear(pyo.minimize, twist)
    rest = [m.z, 0.0] if twist else []
    for x, y, name in ((2, 3, None), (1, 3, "c"), (2, 4, "y"), (-0.5, 7, "y")):
        check = check_solution(m, results_of(m, at(m.x, x, m.y, y, *rest)))
        assert check.worst == name
        assert check.dual_residual is None
        assert check.gap is None
    # Relative to the data: 100.5 of 999 is less than 3.4 of 5.
    m.far = pyo.Constraint(expr=m.x + 1000 * m.y <= 999)
    check = check_solution(m, results_of(m, at(m.x, 0.5, m.y, 1.099, *rest)))
    assert check.primal_residual == pytest.approx(100.5)
    assert check.relative_residual == pytest.approx(3.401 / 6)
    assert check.worst == "c"
    m.c.deactivate()
    check = check_solution(m, results_of(m, at(m.x, 0.5, m.y, 1.099, *rest)))
    assert check.primal_residual == pytest.approx(100.5)
    assert check.relative_residual == pytest.approx(0.1005)
    assert check.worst == "far"


@pytest.mark.parametrize("sense", SENSES)
def test_nonlinear_residuals_by_hand(sense):
    sign = 1 if sense == pyo.minimize else -1
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(1, None))
    m.y = pyo.Var()
    m.k = pyo.Var()
    m.k.fix(4.0)
    m.c = pyo.Constraint(expr=m.x**2 + m.y + m.k == 11)
    m.o = pyo.Objective(expr=sign * m.x * m.y, sense=sense)
    values = at(m.x, 2.0, m.y, 3.5)
    # grad f = (3.5, 2), grad c = (4, 1).
    duals, costs = at(m.c, sign * 0.5), at(m.x, sign * 0.25, m.y, 0.0)
    check = check_solution(m, results_of(m, values, duals, costs))
    assert check.primal_residual == pytest.approx(0.5)
    assert check.worst == "c"
    assert check.dual_residual == pytest.approx(1.5)
    assert check.gap == pytest.approx(0.5 * 0.5 + 0.25 * 1.0)
    # Without reduced costs they are what makes the gradient zero, (1.5, 1.5): y has
    # no bound for it.
    check = check_solution(m, results_of(m, values, duals))
    assert check.dual_residual == pytest.approx(1.5)
    check = check_solution(m, results_of(m, values, at(m.c, sign * 2.0)))
    assert check.dual_residual == pytest.approx(4.5)


def test_integer_models_by_hand():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(domain=pyo.Integers, bounds=(0, 9))
    m.y = pyo.Var(bounds=(0, 1))
    m.o = pyo.Objective(expr=3 * m.x + m.y, sense=pyo.maximize)
    m.c = pyo.Constraint(expr=2 * m.x + m.y <= 7)
    values = at(m.x, 2.75, m.y, 1.0)
    check = check_solution(m, results_of(m, values, bound=10.5))
    assert check.primal_residual == pytest.approx(0.25)
    assert check.worst == "x"
    assert check.gap == pytest.approx(10.5 - 9.25)
    assert check.dual_residual is None
    for bound in (None, math.inf):
        assert check_solution(m, results_of(m, values, bound=bound)).gap is None
    m.r = pyo.Reference([m.x, m.y])
    m.s = pyo.SOSConstraint(var=m.r, sos=1)
    check = check_solution(m, results_of(m, at(m.x, 3, m.y, 0.125)))
    assert (check.primal_residual, check.worst) == (0.125, "s")


@pytest.mark.parametrize(
    ("level", "values", "violation"),
    [
        (1, (0, 2, 0, 0), 0),
        (1, (0, 2, 0, 0.5), 0.5),
        (2, (0, 2, 1, 0), 0),
        (2, (2, 0, 1, 0), 1),
        (2, (0.25, 2, 1, 0.5), 0.5),
    ],
)
def test_sos_by_hand(level, values, violation):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4))
    m.s = pyo.SOSConstraint(var=m.x, sos=level)
    point = pyo.ComponentMap(zip(m.x.values(), values, strict=True))
    assert check_solution(m, results_of(m, point)).primal_residual == violation


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_chosen_optimum_has_no_residual(name, seed):
    instance = solvable(name, seed)
    m = instance.model
    values = pyo.ComponentMap(zip(m.x.values(), instance.x.tolist(), strict=True))
    costs = pyo.ComponentMap(
        zip(m.x.values(), instance.reduced_costs.tolist(), strict=True)
    )
    loader = PointLoader(m, list(values), np.array(list(values.values())))
    # Duals of cones are arrays, which this loader does not add up.
    loader.get_duals = lambda: dict(instance.duals)
    loader.get_reduced_costs = lambda: costs
    results = Results()
    results.solution_loader = loader
    check = check_solution(m, results)
    assert check.primal_residual < 1e-7
    assert check.dual_residual < 1e-7
    assert abs(check.gap) < 1e-7
    assert check.objective == pytest.approx(instance.objective)

    for component, dual in instance.duals:
        moved = dict(instance.duals)
        moved[component] = np.asarray(dual) + 0.5
        loader.get_duals = lambda moved=moved: moved
        assert check_solution(m, results).dual_residual > 0.01


@pytest.mark.parametrize("name", CLASSES)
def test_the_maps_of_the_conic_loader_are_turned_round(name):
    m = solvable(name, 3).model
    results = Clarabel().solve(m, load_solutions=False)
    form = compile_conic(m)
    info = results.extra_info
    for check in (check_solution(m, results), check_solution(m, results, form=form)):
        assert check.primal_residual == pytest.approx(info.primal_residual, abs=1e-9)
        assert check.dual_residual == pytest.approx(info.dual_residual, abs=1e-7)
        assert check.gap == pytest.approx(info.gap, abs=1e-6)


def test_cones_by_hand():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.K = PSDCone([[m.x[0], 2.0], [2.0, m.x[0]]])
    m.S = SecondOrderCone([m.x[1], 3.0, 4.0])
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    # Eigenvalues x0 +- 2; norm 5.
    values = at(m.x[0], 1.5, m.x[1], 5.0)
    check = check_solution(m, results_of(m, values))
    assert (check.primal_residual, check.worst) == (pytest.approx(0.5), "K")
    values = at(m.x[0], 2.0, m.x[1], 4.75)
    check = check_solution(m, results_of(m, values))
    assert (check.primal_residual, check.worst) == (pytest.approx(0.25), "S")


def test_doubly_nonnegative_cones():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    x = m.x
    m.K = DoublyNonnegativeCone([[1, x[0], x[1]], [x[0], 1, x[2]], [x[1], x[2], 1]])
    m.c = pyo.Constraint(expr=x[0] == 0.9)
    m.o = pyo.Objective(expr=x[1] + 2 * x[2])
    check = check_solution(m, Clarabel().solve(m, load_solutions=False))
    assert check.primal_residual < 1e-7
    assert check.dual_residual < 1e-6
    assert abs(check.gap) < 1e-6
    values = at(x[0], 0.9, x[1], 0.25, x[2], -0.125)
    check = check_solution(m, results_of(m, values))
    assert (check.primal_residual, check.worst) == (0.125, "K")


def test_convex_quadratic_constraints():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.c = pyo.Constraint(expr=m.x[0] ** 2 + m.x[1] ** 2 <= 4)
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    root = math.sqrt(2.0)
    values = at(m.x[0], -root, m.x[1], -root)
    costs = at(m.x[0], 0.0, m.x[1], 0.0)
    # 1 = dual * 2 x.
    exact = at(m.c, -1.0 / (2.0 * root))
    check = check_solution(m, results_of(m, values, exact, costs))
    assert check.primal_residual < 1e-12
    assert check.dual_residual < 1e-12
    assert abs(check.gap) < 1e-12
    check = check_solution(m, results_of(m, values, at(m.c, -0.25), costs))
    assert check.dual_residual == pytest.approx(1.0 - 0.5 * root)
    values = at(m.x[0], -2.0, m.x[1], -1.0)
    check = check_solution(m, results_of(m, values))
    assert (check.primal_residual, check.worst) == (pytest.approx(1.0), "c")


def test_matrix_cones_in_models_that_are_not_conic():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.K = CompletelyPositiveCone([[m.x[0], m.x[1]], [m.x[1], 1.0]])
    m.o = pyo.Objective(expr=m.x[0])
    results = results_of(
        m, at(m.x[0], 1.0, m.x[1], -0.25), {}, at(m.x[0], 0.0, m.x[1], 0.0)
    )
    check = check_solution(m, results)
    assert (check.primal_residual, check.worst) == (pytest.approx(0.25), "K")
    assert check.dual_residual is None


def family(sense):
    """Return a model that has an optimum for each kind of solver."""
    m, sign = linear(sense, twist=False)
    m.w = pyo.Var(bounds=(-1, 1))
    m.d = pyo.Constraint(expr=pyo.inequality(1, m.x + 2 * m.w, 4))
    m.e = pyo.Constraint(expr=m.y - m.w == 2.5)
    return m, sign


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, "linear") for name in ("highs", "clarabel", "cyipopt", "glpk", "cbc")),
        *((name, "quadratic") for name in ("highs", "clarabel", "cyipopt")),
        ("cyipopt", "nonlinear"),
    ],
)
def test_what_solvers_return(kind, name, sense):
    m, sign = family(sense)
    if kind == "quadratic":
        m.o.expr = m.o.expr + sign * (m.w - 0.25) ** 2
    if kind == "nonlinear":
        m.o.expr = m.o.expr + sign * pyo.exp(m.w)
        m.q = pyo.Constraint(expr=m.x**3 <= 50)
    solver = OWN_INTERFACES[name]() if name in OWN_INTERFACES else SolverFactory(name)
    if not solver.available():
        pytest.skip(f"needs {name}")
    results = solver.solve(m, load_solutions=False)
    check = check_solution(m, results)
    assert check.primal_residual < 1e-6
    assert check.dual_residual < 1e-6
    assert abs(check.gap) < 1e-5
    assert check.objective == pytest.approx(results.incumbent_objective, abs=1e-6)


@pytest.mark.parametrize("name", ["cyipopt", "scip_direct"])
def test_second_order_cones_as_rows(name):
    # A solver that does not know the cone gives duals of its rows, or none.
    solver = OWN_INTERFACES[name]() if name in OWN_INTERFACES else SolverFactory(name)
    if not solver.available():
        pytest.skip(f"needs {name}")
    m = pyo.ConcreteModel()
    m.t, m.x, m.y = (pyo.Var(initialize=3.0) for _ in range(3))
    m.line = pyo.Constraint(expr=m.x + 2 * m.y == 5)
    m.K = SecondOrderCone([m.t, m.x, m.y])
    m.o = pyo.Objective(expr=m.t)
    check = check_solution(m, solver.solve(m, load_solutions=False))
    assert check.primal_residual < 1e-5
    if name == "scip_direct":
        assert check.dual_residual is None
    else:
        assert check.dual_residual < 1e-6
        assert check.gap < 1e-5


def test_integer_models_of_solvers():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4), domain=pyo.Integers, bounds=(0, 5))
    m.y = pyo.Var(bounds=(0, None))
    m.c = pyo.Constraint(expr=sum((j + 2) * m.x[j] for j in range(4)) + m.y >= 17.5)
    m.o = pyo.Objective(expr=sum((2 * j + 3) * m.x[j] for j in range(4)) + 9 * m.y)
    names = ["highs", "scip_direct", "glpk", "cbc"]
    objectives = []
    for name in names:
        own = OWN_INTERFACES.get(name)
        solver = SolverFactory(name) if own is None else own()
        if not solver.available():
            continue
        check = check_solution(m, solver.solve(m, load_solutions=False))
        assert check.primal_residual < 1e-6
        assert check.gap < 1e-3
        assert check.dual_residual is None
        objectives.append(check.objective)
    assert objectives == pytest.approx([objectives[0]] * len(objectives))


@pytest.mark.parametrize("twist", [False, True])
def test_the_model_is_left_as_it_was(twist):
    m, _ = linear(pyo.minimize, twist)
    m.idle = pyo.Var(initialize=4.0)
    m.x.set_value(0.75)
    m.x.stale = True
    m.y.set_value(None)
    before = [(v.value, v.stale) for v in m.component_data_objects(pyo.Var)]
    values = at(m.x, 2.0, m.y, 3.0)
    if twist:
        values[m.z] = 0.0
    check_solution(m, results_of(m, values))
    assert before == [(v.value, v.stale) for v in m.component_data_objects(pyo.Var)]
    if twist:
        m.t.set_value(pyo.log(m.z) >= 1)
        with pytest.raises(InputError, match="'t' cannot be evaluated"):
            check_solution(m, results_of(m, values))
    else:
        del values[m.y]
        with pytest.raises(SolverError, match="no value for variable 'y'"):
            check_solution(m, results_of(m, values))
    assert before == [(v.value, v.stale) for v in m.component_data_objects(pyo.Var)]


def test_a_point_without_a_variable_or_without_anything():
    m, _ = linear(pyo.minimize, twist=True)
    m.z.set_value(0.0)
    with pytest.raises(SolverError, match="no value for variable 'z'"):
        check_solution(m, results_of(m, at(m.x, 2.0, m.y, 3.0)))
    m.c.set_value(m.x + m.y <= -1)
    m.t.deactivate()
    results = SolverFactory("highs").solve(
        m, load_solutions=False, raise_exception_on_nonoptimal_result=False
    )
    with pytest.raises(SolverError, match="no point to check"):
        check_solution(m, results)
    with pytest.raises(InputTypeError):
        check_solution(3, results)


def test_numbers_that_are_none_are_infinitely_wrong():
    m, _ = linear(pyo.minimize, twist=True)
    values = at(m.x, math.inf, m.y, -math.inf, m.z, 0.0)
    check = check_solution(m, results_of(m, values))
    assert check.primal_residual == math.inf


def test_multipliers_of_a_part_are_none_of_the_whole():
    m, _ = family(pyo.minimize)
    values = at(m.x, 2.0, m.y, 3.0, m.w, 0.5)
    results = results_of(m, values, {}, at(m.x, 0.0, m.y, 0.0, m.w, 0.0))
    results.solution_loader.get_duals = lambda: at(m.c, 2.0, m.d, 0.0)
    check = check_solution(m, results)
    assert check.primal_residual == 0.0
    assert check.dual_residual is None
    assert check.gap is None


def test_what_cannot_be_checked_is_refused():
    m, _ = linear(pyo.minimize, twist=False)
    m.a, m.b = Disjunct(), Disjunct()
    m.either = Disjunction(expr=[m.a, m.b])
    with pytest.raises(UnsupportedModelError, match="Disjunct"):
        check_solution(m, results_of(m, at(m.x, 2.0, m.y, 3.0)))


def test_variables_that_solvers_leave_out():
    m, _ = linear(pyo.minimize, twist=False)
    m.nothing = pyo.Param(initialize=0.0, mutable=True)
    m.idle = pyo.Var(bounds=(1, 2))
    m.c.set_value(m.x + m.y + m.nothing * m.idle >= 5)
    check = check_solution(m, results_of(m, at(m.x, 2.0, m.y, 3.0)))
    assert check.primal_residual == 0.0
