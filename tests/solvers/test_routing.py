"""Where models go, what happens when a solver is missing or fails, and what is said."""

from __future__ import annotations

import signal

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.results import TerminationCondition
from pyomo.contrib.solver.common.util import NoOptimalSolutionError
from pyomo.contrib.solver.solvers.highs import Highs

from pyomo_relu import (
    CompletelyPositiveCone,
    ExponentialCone,
    PSDCone,
    SecondOrderCone,
    TrainingProblem,
    build_completely_positive,
    build_copositive,
    relax,
    solve,
    solver_table,
)
from pyomo_relu.errors import InputError, SolverError, UnsupportedConeError
from pyomo_relu.solvers import UnsupportedModelError, dispatch, routing
from pyomo_relu.solvers.capability import CAPABILITIES, make_solver
from pyomo_relu.solvers.clarabel import Clarabel
from pyomo_relu.solvers.conic_solver import ConicAnswer
from pyomo_relu.solvers.content import model_content
from tests.instances import REFERENCE, reference_data

HERE = {row.solver for row in solver_table() if row.installed}


def lp():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(0, None))
    m.c = pyo.Constraint(expr=m.x[0] + 2 * m.x[1] >= 3)
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    return m


def qp():
    m = lp()
    m.o.set_value(m.x[0] ** 2 + m.x[1] ** 2)
    return m


def large_qp():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2 * routing.LARGE_QP), bounds=(1, None))
    m.o = pyo.Objective(expr=sum(x**2 for x in m.x.values()))
    return m


def socp():
    m = lp()
    m.t = pyo.Var()
    m.K = SecondOrderCone([m.t, m.x[0], m.x[1]])
    m.o.set_value(m.t)
    return m


def qcqp():
    m = lp()
    m.q = pyo.Constraint(expr=m.x[0] ** 2 + m.x[1] ** 2 <= 4)
    return m


def sdp():
    m = lp()
    m.K = PSDCone([[m.x[0], 1], [1, m.x[1]]])
    return m


def exponential():
    m = lp()
    m.K = ExponentialCone([m.x[1], 1, m.x[0]])
    return m


def milp():
    m = lp()
    m.x[0].domain = pyo.Integers
    return m


def miqp():
    m = qp()
    m.x[0].domain = pyo.Integers
    return m


def small_nonconvex():
    m = lp()
    m.x[0].setub(5)
    m.o.set_value(-(m.x[0] ** 2) + pyo.exp(m.x[1]))
    return m


def large_nonconvex():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2 * routing.SMALL_NONCONVEX), bounds=(-1, 2), initialize=0.5)
    m.o = pyo.Objective(expr=sum(x**4 - x**3 for x in m.x.values()))
    return m


@pytest.mark.parametrize(
    ("build", "problem_class", "first"),
    [
        (lp, "LP", "highs"),
        (qp, "QP", "highs"),
        (large_qp, "QP", "clarabel"),
        (qcqp, "QCQP", "clarabel"),
        (socp, "SOCP", "clarabel"),
        (sdp, "SDP", "clarabel"),
        (exponential, "EXP", "clarabel"),
        (milp, "MILP", "highs"),
        (miqp, "MIQP", "scip"),
        (small_nonconvex, "nonconvex NLP", "scip"),
        (large_nonconvex, "nonconvex NLP", "ipopt"),
    ],
)
def test_each_class_has_its_first_choice(monkeypatch, build, problem_class, first):
    monkeypatch.setattr(routing, "is_available", lambda name: True)
    content = model_content(build())
    assert content.problem_class == problem_class
    route = routing.find_route(content)
    assert route.solvers[0] == first
    assert route == routing.find_route(model_content(build()))
    for name in route.solvers:
        assert CAPABILITIES[name].refusal(content) == ""
    for name, why in route.refused.items():
        assert name not in route.solvers
        assert why


OPTIMA = {
    lp: 1.5,
    qp: 1.8,
    qcqp: 1.5,
    socp: np.sqrt(1.8),
    sdp: 2.0,
    milp: 1.5,
    miqp: 2.0,
    small_nonconvex: -25 + 1.0,
}


@pytest.mark.parametrize("build", OPTIMA, ids=lambda build: build.__name__)
def test_with_each_solver_in_turn_made_unavailable(monkeypatch, build):
    """The next in the route solves to the same optimum; then it is said what helps."""
    hidden: set[str] = set()
    monkeypatch.setattr(
        routing, "is_available", lambda name: name in HERE and name not in hidden
    )
    content = model_content(build())
    used = []
    while route := routing.find_route(content).solvers:
        results = solve(build())
        used.append(results.extra_info.attempts[-1].solver)
        assert used[-1] in route
        assert results.incumbent_objective == pytest.approx(OPTIMA[build], abs=2e-5)
        assert str(results.extra_info.routing).startswith(results.solver_name)
        hidden.add(route[0])
    assert len(used) >= 1
    with pytest.raises(SolverError, match="is installed") as caught:
        solve(build())
    assert CAPABILITIES[used[0]].install in str(caught.value)


def test_linear_and_quadratic_tiers_go_to_highs():
    X, Y = reference_data(0)
    problem = TrainingProblem(X[:4], Y[:4], 0.2)
    primal = build_completely_positive(problem)
    relax(primal, "dd")
    results = solve(primal)
    assert results.solver_name == "highs"
    assert results.extra_info.optimality == "global"
    expected = solve(primal, "clarabel").incumbent_objective
    assert results.incumbent_objective == pytest.approx(expected, rel=1e-6)
    assert results.extra_info.primal_residual < 1e-6
    assert abs(results.extra_info.gap) < 1e-5
    dual = build_copositive(problem)
    relax(dual, "dd")
    assert solve(dual).solver_name == "highs"
    m = lp()
    assert solve(m).solver_name == "highs"


@pytest.mark.skipif(
    not HERE & {"ipopt", "cyipopt"}, reason="no interface to Ipopt is installed"
)
def test_the_factorized_tier_goes_to_ipopt():
    X, Y = reference_data(1)
    model = build_completely_positive(TrainingProblem(X, Y, 0.2))
    relax(model, "factorized", seed=0)
    results = solve(model)
    assert results.extra_info.attempts[-1].solver in ("ipopt", "cyipopt")
    assert results.extra_info.optimality == "local"
    assert results.incumbent_objective >= REFERENCE[1] - 1e-6
    assert results.incumbent_objective <= REFERENCE[1] * 1.01


@pytest.mark.skipif("scip" not in HERE, reason="pyscipopt is not installed")
def test_a_small_nonconvex_program_is_solved_globally_by_scip():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-2, 2), initialize=1.0)
    m.o = pyo.Objective(expr=m.x**4 - 2 * m.x**2 + 0.3 * m.x)
    results = solve(m)
    assert results.solver_name == "scip_direct"
    assert results.extra_info.optimality == "global"
    grid = np.linspace(-2, 2, 400_001)
    truth = (grid**4 - 2 * grid**2 + 0.3 * grid).min()
    # The other valley, next to the start, is 0.6 higher.
    assert results.incumbent_objective == pytest.approx(truth, abs=1e-5)


def failing(status, termination):
    def minimise(self, form, config):
        return ConicAnswer(
            status,
            termination,
            np.zeros(len(form.c)),
            np.zeros(len(form.b)),
            has_point=True,
        )

    return minimise


@pytest.mark.parametrize(
    ("status", "termination"),
    [
        ("AlmostSolved", TerminationCondition.unknown),
        ("NumericalError", TerminationCondition.error),
        ("InsufficientProgress", TerminationCondition.minStepLength),
        ("MaxIterations", TerminationCondition.iterationLimit),
        # A lie: the point is not feasible.
        ("Solved", TerminationCondition.convergenceCriteriaSatisfied),
    ],
)
@pytest.mark.skipif(
    not HERE & {"csdp", "sdpa", "scs"}, reason="no other semidefinite solver is here"
)
def test_when_one_fails_the_next_is_tried_and_it_is_said(
    monkeypatch, status, termination
):
    monkeypatch.setattr(Clarabel, "minimise", failing(status, termination))
    results = solve(sdp())
    assert results.incumbent_objective == pytest.approx(OPTIMA[sdp], abs=1e-5)
    first, *_, last = results.extra_info.attempts
    assert first.solver == "clarabel"
    assert status in first.outcome or "violates" in first.outcome
    assert last.solver in ("csdp", "sdpa", "scs")
    assert "clarabel" in results.extra_info.routing
    if status != "Solved":
        with pytest.raises(NoOptimalSolutionError, match=status):
            solve(sdp(), fallback=False)
        with pytest.raises(NoOptimalSolutionError, match=status):
            solve(sdp(), "clarabel")


def test_a_named_solver_may_fall_back_when_asked(monkeypatch):
    failed = failing("NumericalError", TerminationCondition.error)
    monkeypatch.setattr(Clarabel, "minimise", failed)
    results = solve(lp(), "clarabel", fallback=True)
    assert results.extra_info.attempts[0].solver == "clarabel"
    assert results.incumbent_objective == pytest.approx(1.5)


def test_when_all_fail_what_each_said_is_told(monkeypatch):
    failed = failing("NumericalError", TerminationCondition.error)
    monkeypatch.setattr(Clarabel, "minimise", failed)
    with pytest.raises(NoOptimalSolutionError, match="NumericalError"):
        solve(sdp(), ["clarabel"])


def test_a_limit_that_was_asked_for_is_no_failure():
    for options in ({"iteration_limit": 1}, {"time_limit": 1e-9}):
        results = solve(
            sdp(), raise_exception_on_nonoptimal_result=False, load_solutions=False,
            **options,
        )  # fmt: skip
        assert len(results.extra_info.attempts) == 1
        assert results.termination_condition in (
            TerminationCondition.iterationLimit,
            TerminationCondition.maxTimeLimit,
        )


def test_several_names_are_tried_in_their_order():
    results = solve(lp(), ["clarabel", "highs"])
    assert results.solver_name == "clarabel"
    results = solve(milp(), ["clarabel", "highs"])
    assert results.solver_name == "highs"


@pytest.mark.parametrize("accuracy", ["fast", "default", "tight"])
@pytest.mark.parametrize("solver", sorted(HERE))
def test_presets_are_settings_that_the_solver_has(solver, accuracy):
    results = solve(lp(), solver, accuracy=accuracy)
    tolerance = {"fast": 1e-3, "default": 1e-5, "tight": 1e-6}[accuracy]
    assert results.incumbent_objective == pytest.approx(1.5, abs=tolerance)


def test_tight_is_tighter():
    X, Y = reference_data(2)
    gaps = {}
    for accuracy in ("fast", "tight"):
        model = build_completely_positive(TrainingProblem(X, Y, 0.2))
        relax(model, "dnn")
        results = solve(model, "clarabel", accuracy=accuracy)
        gaps[accuracy] = abs(results.extra_info.gap)
    assert gaps["tight"] < 1e-2 * gaps["fast"]


def unrelaxed():
    m = lp()
    m.K = CompletelyPositiveCone([[m.x[0], 1], [1, m.x[1]]])
    return m


def integer_sdp():
    m = sdp()
    m.x[0].domain = pyo.Integers
    return m


def sdp_with_sine():
    m = sdp()
    m.s = pyo.Constraint(expr=pyo.sin(m.x[0]) <= 0.5)
    return m


def special_ordered_sdp():
    m = sdp()
    m.s = pyo.SOSConstraint(var=m.x, sos=1)
    return m


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (unrelaxed, r"completely positive cone 'K'.*relax"),
        (integer_sdp, r"'x\[0\]'.*Relax"),
        (sdp_with_sine, r"'s' is neither.*Relax"),
        (special_ordered_sdp, r"SOSConstraint.*Relax"),
    ],
)
def test_what_nobody_takes_is_explained(build, message):
    with pytest.raises(UnsupportedConeError, match=message):
        solve(build())


@pytest.mark.parametrize(
    ("build", "solver", "message"),
    [
        (qcqp, "highs", "quadratic constraints.*clarabel"),
        (milp, "clarabel", r"x\[0\]"),
        (miqp, "highs", "linear models only"),
        (small_nonconvex, "highs", "nonlinear"),
        (small_nonconvex, "clarabel", "'o'"),
    ],
)
def test_a_named_solver_that_cannot_is_refused(build, solver, message):
    with pytest.raises(UnsupportedModelError, match=message):
        solve(build(), solver)


def test_a_nonconvex_quadratic_never_goes_to_highs():
    """HiGHS calls some of its saddle points optimal."""
    m = qp()
    m.o.set_value(m.x[0] ** 2 - m.x[1] ** 2)
    m.x[1].setub(4)
    route = routing.find_route(model_content(m))
    assert "convex" in route.refused["highs"]
    with pytest.raises(UnsupportedModelError, match="convex"):
        solve(m, "highs")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"accuracy": "exact"}, InputError, "'fast', 'default', 'tight'"),
        ({"fallback": "no"}, TypeError, "True or False"),
        ({"iteration_limit": 0}, InputError, "at least 1"),
        ({"iteration_limit": 2.5}, TypeError, "whole number"),
        ({"solver": []}, InputError, "name some of"),
        ({"solver": ["clarabel", "nosuch"]}, InputError, "nosuch"),
        ({"solver_options": {"a": 1}}, InputError, "name it"),
        ({"nosuch": 1}, InputError, "'nosuch'"),
        ({"solver": "scip", "iteration_limit": 3}, InputError, "no iteration limit"),
    ],
)
def test_options_are_refused_at_the_door(options, error, message):
    if options.get("solver") == "scip" and "scip" not in HERE:
        pytest.skip("pyscipopt is not installed")
    with pytest.raises(error, match=message):
        solve(lp(), **options)


def test_a_model_that_is_infeasible_as_it_stands():
    m = lp()
    m.x[0].fix(0.0)
    m.x[1].fix(0.0)
    for solver in (None, "highs", "clarabel"):
        results = solve(
            m, solver, load_solutions=False, raise_exception_on_nonoptimal_result=False
        )
        assert results.termination_condition == TerminationCondition.provenInfeasible
        with pytest.raises(NoOptimalSolutionError, match=r"provenInfeasible|'c'"):
            solve(m, solver)


def test_an_unbounded_quadratic_program_is_called_unbounded():
    """HiGHS adds a multiple of the identity, and calls the optimum of that one."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(0, None))
    m.o = pyo.Objective(expr=(m.x[0] - m.x[1]) ** 2 - m.x[0] - 0.5 * m.x[1])
    results = solve(m, load_solutions=False, raise_exception_on_nonoptimal_result=False)
    assert results.termination_condition == TerminationCondition.unbounded
    named = solve(m, "highs", load_solutions=False,
                  raise_exception_on_nonoptimal_result=False)  # fmt: skip
    if named.termination_condition != TerminationCondition.unbounded:
        assert "gap" in str(named.extra_info.warning)


def test_infeasible_and_unbounded_are_not_tried_elsewhere():
    m = sdp()
    m.d = pyo.Constraint(expr=m.x[0] + m.x[1] <= 1)
    results = solve(m, load_solutions=False, raise_exception_on_nonoptimal_result=False)
    assert results.termination_condition == TerminationCondition.provenInfeasible
    assert len(results.extra_info.attempts) == 1


def test_the_table_names_every_solver():
    table = solver_table()
    assert [row.solver for row in table] == list(CAPABILITIES)
    text = str(table)
    for row in table:
        assert row.solver in text
        assert row.takes in text
        assert (row.version != "") == row.installed
        if not row.installed:
            assert row.install in text
    assert table.markdown().count("\n") == len(table) + 2
    with pytest.raises(InputError, match="nosuch"):
        solver_table(["nosuch"])


def test_the_values_are_loaded_and_stay_when_not_asked_for():
    m = lp()
    solve(m, load_solutions=False)
    assert m.x[0].value is None
    solve(m)
    assert m.x[1].value == pytest.approx(1.5)
    assert dispatch.solve is solve


@pytest.mark.parametrize("build", [milp, small_nonconvex])
def test_a_suffix_of_a_solver_without_duals_stays_empty(build):
    m = build()
    m.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    m.rc = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    results = solve(m)
    assert results.incumbent_objective == pytest.approx(OPTIMA[build], abs=1e-5)
    assert m.x[1].value is not None
    if results.solver_name in ("highs", "scip_direct"):
        assert len(m.dual) == len(m.rc) == 0


@pytest.mark.parametrize("solver", [None, "highs"])
def test_ctrl_c_that_a_solver_catches_is_no_failure(monkeypatch, solver):
    """HiGHS's interface catches the exception, and returns an error."""
    calls = []

    def interrupted(self, model, **options):
        calls.append(self.name)
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("model status is not available") from None

    monkeypatch.setattr(Highs, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        solve(lp(), solver)
    assert calls == ["highs"]


def test_the_gap_of_a_named_conic_solver_is_looked_at(monkeypatch):
    def anywhere(self, form, config):
        return ConicAnswer(
            "Solved",
            TerminationCondition.convergenceCriteriaSatisfied,
            np.full(len(form.c), 3.0),
            np.zeros(len(form.b)),
            has_point=True,
        )

    monkeypatch.setattr(Clarabel, "minimise", anywhere)
    results = solve(lp(), "clarabel", refine=False)
    assert results.extra_info.gap == pytest.approx(6.0)
    assert "gap" in str(results.extra_info.warning)
    assert solve(lp(), ["clarabel", "highs"], refine=False).solver_name == "highs"


@pytest.mark.parametrize(
    "settings",
    [{"primal_feasibility_tolerence": 1e-9}, {"primal_feasibility_tolerance": "abc"}],
)
def test_settings_that_highs_does_not_have_are_refused(settings):
    with pytest.raises(InputError, match="HiGHS"):
        solve(lp(), "highs", solver_options=settings)


def test_two_objectives_are_refused_at_once():
    m = lp()
    m.second = pyo.Objective(expr=m.x[0])
    for solver in (None, "highs", "clarabel"):
        with pytest.raises(UnsupportedModelError, match="objective"):
            solve(m, solver)


@pytest.mark.parametrize(("limit", "error"), [("x", TypeError), (-1, InputError)])
def test_time_limits_are_checked(limit, error):
    with pytest.raises(error, match="time_limit"):
        solve(lp(), time_limit=limit)


@pytest.mark.skipif("scip" not in HERE, reason="pyscipopt is not installed")
@pytest.mark.parametrize("constant", [-2.0, 0.0, 1.5])
@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_scip_keeps_both_sides_of_a_range_with_a_constant(constant, sense):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(domain=pyo.Integers, bounds=(-10, 10))
    m.y = pyo.Var(bounds=(-1, 1))
    m.c = pyo.Constraint(expr=pyo.inequality(-1, m.x + m.y**2 + constant, 3))
    m.o = pyo.Objective(expr=m.x - 0.1 * m.y**2, sense=sense)
    best = [
        x - 0.1 * y
        for x in range(-10, 11)
        for y in np.linspace(0.0, 1.0, 201)
        if -1 - 1e-9 <= x + y + constant <= 3 + 1e-9
    ]
    expected = min(best) if sense == pyo.minimize else max(best)
    assert solve(m, "scip").incumbent_objective == pytest.approx(expected, abs=1e-5)


def test_a_point_that_violates_a_row_is_no_optimum(monkeypatch):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 10))
    m.c = pyo.Constraint(expr=m.x >= 5)
    m.o = pyo.Objective(expr=m.x)
    real = make_solver("highs")

    class Wrong(type(real)):
        """One that forgets the row."""

        def solve(self, model, **options):
            model.c.deactivate()
            try:
                return super().solve(model, **options)
            finally:
                model.c.activate()

    with pytest.raises(NoOptimalSolutionError):
        solve(m, Wrong())
    results = solve(
        m,
        Wrong(),
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
    )
    assert results.solution_status.name == "infeasible"
    assert "violates c" in results.extra_info.warning
