"""Every end of a solve is told apart, and only one of them is called optimal."""

from __future__ import annotations

import io
import logging
import math
import signal
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.util import (
    NoFeasibleSolutionError,
    NoOptimalSolutionError,
)
from pyomo.opt import TerminationCondition as LegacyTerminationCondition
from pyomo.opt import check_optimal_termination

from pyomo_relu.cones import PSDCone
from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.solvers import Clarabel, clarabel, conic_solver

QUIET = {"load_solutions": False, "raise_exception_on_nonoptimal_result": False}


def two_variables() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.y = pyo.Var()
    m.o = pyo.Objective(expr=m.x + m.y)
    return m


def infeasible_lp() -> pyo.ConcreteModel:
    m = two_variables()
    m.c = pyo.ConstraintList()
    m.c.add(m.x + m.y >= 2)
    m.c.add(m.x <= 0.5)
    m.c.add(m.y <= 0.5)
    return m


def infeasible_sdp() -> pyo.ConcreteModel:
    m = two_variables()
    m.K = PSDCone([[m.x, m.y], [m.y, 1 - m.x]])
    m.c = pyo.Constraint(expr=m.y >= 1)
    return m


def infeasible_with_descent() -> pyo.ConcreteModel:
    m = infeasible_lp()
    m.z = pyo.Var()
    m.o.expr += m.z
    return m


def infeasible_by_constants() -> pyo.ConcreteModel:
    m = two_variables()
    m.x.fix(1.0)
    m.c = pyo.Constraint(expr=m.x >= 2)
    m.d = pyo.Constraint(expr=m.y >= 2)
    return m


def infeasible_constant_cone() -> pyo.ConcreteModel:
    m = two_variables()
    m.x.fix(1.0)
    m.y.fix(1.0)
    m.K = PSDCone([[m.x, 2], [2, m.y]])
    return m


def unbounded_lp() -> pyo.ConcreteModel:
    m = two_variables()
    m.c = pyo.Constraint(expr=m.x - m.y == 3)
    return m


def unbounded_qp() -> pyo.ConcreteModel:
    m = two_variables()
    m.o.expr += (m.x - m.y) ** 2
    return m


def unbounded_sdp() -> pyo.ConcreteModel:
    m = two_variables()
    m.o.sense = pyo.maximize
    m.K = PSDCone([[m.x, 1], [1, m.y]])
    return m


def solvable() -> pyo.ConcreteModel:
    m = two_variables()
    m.K = PSDCone([[m.x, 1], [1, m.y]])
    return m


INFEASIBLE = [
    infeasible_lp,
    infeasible_sdp,
    infeasible_with_descent,
    infeasible_by_constants,
    infeasible_constant_cone,
]
UNBOUNDED = [unbounded_lp, unbounded_qp, unbounded_sdp]


@pytest.mark.parametrize("build", INFEASIBLE + UNBOUNDED, ids=lambda f: f.__name__)
def test_infeasible_and_unbounded_are_told_apart(build):
    model = build()
    results = Clarabel().solve(model, **QUIET)
    new, old = (
        (TerminationCondition.provenInfeasible, LegacyTerminationCondition.infeasible)
        if build in INFEASIBLE
        else (TerminationCondition.unbounded, LegacyTerminationCondition.unbounded)
    )
    assert results.termination_condition == new
    assert results.solution_status == SolutionStatus.noSolution
    assert results.incumbent_objective is None
    assert results.objective_bound is None
    residual = results.extra_info.get("certificate_residual")
    assert residual is None or residual.value() < 1e-6
    legacy = pyo.SolverFactory("clarabel").solve(model, load_solutions=False)
    assert legacy.solver.termination_condition == old
    with pytest.raises(NoOptimalSolutionError):
        Clarabel().solve(model)
    with pytest.raises(NoFeasibleSolutionError):
        Clarabel().solve(model, raise_exception_on_nonoptimal_result=False)
    with pytest.raises(NoFeasibleSolutionError):
        pyo.SolverFactory("clarabel").solve(model)
    assert model.y.value in (None, 1.0)


def test_an_optimum_and_all_that_is_reported_about_it():
    m = solvable()
    results = Clarabel().solve(m)
    assert (
        results.termination_condition
        == TerminationCondition.convergenceCriteriaSatisfied
    )
    assert results.solution_status == SolutionStatus.optimal
    assert results.incumbent_objective == pytest.approx(2.0, abs=1e-6)
    assert results.incumbent_objective == pyo.value(m.o)
    assert results.objective_bound is None
    assert results.solver_name == "clarabel"
    assert results.solver_version >= (0, 11)
    assert results.timing_info.wall_time > 0
    assert results.extra_info.solver_status == "Solved"
    assert results.extra_info.iteration_count > 0
    margin = np.linalg.eigvalsh(m.K.numeric())[0]
    assert results.extra_info.primal_residual == pytest.approx(max(0.0, -margin))
    assert results.extra_info.dual_residual < 1e-6
    assert abs(results.extra_info.gap) < 1e-6
    assert results.extra_info.dual_objective == pytest.approx(2.0, abs=1e-6)
    assert "warning" not in results.extra_info
    assert "Solved" in results.solver_log


@pytest.mark.parametrize("expression", [None, 3.0])
def test_a_feasible_point_is_enough_where_nothing_is_minimised(expression):
    m = two_variables()
    m.del_component(m.o)
    if expression is not None:
        m.o = pyo.Objective(expr=expression)
    m.c = pyo.Constraint(expr=(1, m.x + m.y, 2))
    results = Clarabel().solve(m)
    assert results.solution_status == SolutionStatus.optimal
    assert results.incumbent_objective == expression
    assert 1 - 1e-6 <= m.x.value + m.y.value <= 2 + 1e-6


def test_a_model_without_free_variables_is_evaluated():
    m = solvable()
    m.x.fix(1.0)
    m.y.fix(3.0)
    results = Clarabel().solve(m)
    assert results.solution_status == SolutionStatus.optimal
    assert results.incumbent_objective == 4.0


def test_an_iteration_limit_is_no_optimum():
    m = solvable()
    options = {"solver_options": {"max_iter": 2}}
    results = Clarabel().solve(m, **QUIET, **options)
    assert results.termination_condition == TerminationCondition.iterationLimit
    assert results.solution_status == SolutionStatus.infeasible
    assert results.incumbent_objective is None
    assert results.extra_info.iteration_count == 2
    with pytest.raises(NoOptimalSolutionError, match="MaxIterations"):
        Clarabel().solve(m, **options)


def test_a_time_limit_is_no_optimum():
    results = Clarabel().solve(solvable(), **QUIET, time_limit=1e-9)
    assert results.termination_condition == TerminationCondition.maxTimeLimit
    assert results.solution_status != SolutionStatus.optimal
    legacy = pyo.SolverFactory("clarabel").solve(
        solvable(), timelimit=1e-9, load_solutions=False
    )
    condition = legacy.solver.termination_condition
    assert condition == LegacyTerminationCondition.maxTimeLimit


def test_almost_solved_is_not_optimal():
    m = solvable()
    # Nothing reaches these, so that Clarabel falls back on its loose tolerances.
    options = dict.fromkeys(["tol_feas", "tol_gap_abs", "tol_gap_rel"], 1e-18)
    results = Clarabel().solve(m, **QUIET, solver_options=options)
    assert results.extra_info.solver_status == "AlmostSolved"
    assert results.termination_condition == TerminationCondition.unknown
    assert results.solution_status in (
        SolutionStatus.infeasible,
        SolutionStatus.feasible,
    )
    with pytest.raises(NoOptimalSolutionError, match="AlmostSolved"):
        Clarabel().solve(m, solver_options=options)
    legacy = pyo.SolverFactory("clarabel").solve(m, options=options)
    assert not check_optimal_termination(legacy)
    # Who insists gets the point.
    assert m.x.value == pytest.approx(1.0, abs=1e-2)


@pytest.mark.parametrize(
    ("status", "termination"), sorted(clarabel._TERMINATION.items())
)
def test_every_status_of_clarabel_has_a_meaning(status, termination):
    assert hasattr(clarabel.clarabel.SolverStatus, status)
    optimal = termination == TerminationCondition.convergenceCriteriaSatisfied
    assert optimal == (status == "Solved")


def test_no_status_of_clarabel_is_forgotten():
    statuses = {
        name for name in dir(clarabel.clarabel.SolverStatus) if not name.startswith("_")
    }
    assert statuses == set(clarabel._TERMINATION)


def test_solved_with_a_violated_row_is_said(caplog):
    m = solvable()
    loose = dict.fromkeys(["tol_feas", "tol_gap_abs", "tol_gap_rel"], 1e-3)
    with caplog.at_level(logging.WARNING):
        results = Clarabel().solve(m, solver_options=loose, refine=False)
    violation = -m.K.margin()
    assert violation > 1e-6
    assert results.extra_info.primal_residual == pytest.approx(violation)
    assert "violates a row" in results.extra_info.warning
    assert "violates a row" in caplog.text


def test_an_objective_of_any_size_is_solved_to_the_same_relative_accuracy():
    for scale in (1e-9, 1.0, 1e9):
        m = two_variables()
        m.o.set_value(scale * ((m.x - 1) ** 2 + 3 * m.y))
        m.c = pyo.Constraint(expr=m.x + m.y >= 4)
        results = Clarabel().solve(m)
        assert m.x.value == pytest.approx(2.5, abs=1e-5)
        dual = results.solution_loader.get_duals()[m.c]
        assert dual == pytest.approx(3.0 * scale, rel=1e-5)
        assert results.incumbent_objective == pytest.approx(6.75 * scale, rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol_fees": 1e-9}, "no setting 'tol_fees'.*tol_feas"),
        ({"max_iter": "many"}, "'many' does not fit .*'max_iter'"),
        ({"max_iter": -1}, "-1 does not fit .*'max_iter'"),
        ({"verbose": True}, "tee="),
        ({"time_limit": 3}, "time_limit="),
        ({"max_threads": 1}, "threads="),
    ],
)
def test_wrong_solver_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        Clarabel().solve(solvable(), solver_options=options)


def test_an_error_inside_clarabel_is_wrapped():
    with pytest.raises(SolverError, match="direct_solve_method"):
        Clarabel().solve(solvable(), solver_options={"direct_solve_method": "none"})


def test_options_reach_clarabel():
    log = (
        Clarabel(solver_options={"max_iter": 77}, threads=1, time_limit=1234)
        .solve(solvable())
        .solver_log
    )
    assert "max iter = 77" in log
    assert "1 thread" in log
    assert "1234" in log
    solver = pyo.SolverFactory("clarabel")
    solver.options["max_iter"] = 1
    results = solver.solve(solvable(), load_solutions=False)
    condition = results.solver.termination_condition
    assert condition == LegacyTerminationCondition.maxIterations


def test_the_log_goes_where_tee_says(capfd):
    stream = io.StringIO()
    logger = logging.getLogger("pyomo_relu.test_tee")
    results = Clarabel().solve(solvable(), tee=[stream, logger])
    assert "Terminated with status = Solved" in stream.getvalue()
    assert "Terminated with status = Solved" in results.solver_log
    assert capfd.readouterr().out == ""
    Clarabel().solve(solvable())
    assert capfd.readouterr().out == ""
    Clarabel().solve(solvable(), tee=True)
    assert "Terminated with status = Solved" in capfd.readouterr().out


def test_both_factories_know_it():
    for factory in (SolverFactory, pyo.SolverFactory):
        solver = factory("clarabel")
        assert isinstance(solver, Clarabel)
        assert solver.available()
        assert not solver.is_persistent()
    assert Clarabel().name == "clarabel"


def test_ctrl_c_stops_the_solve(monkeypatch):
    statuses = []

    class Interrupted:
        """Clarabel's solver with a SIGINT that arrives while it works."""

        def __init__(self, *args):
            self._solver = real.DefaultSolver(*args)

        def __getattr__(self, name):
            return getattr(self._solver, name)

        def solve(self):
            signal.raise_signal(signal.SIGINT)
            solution = self._solver.solve()
            statuses.append(str(solution.status))
            return solution

    real = clarabel.clarabel
    fake = types.SimpleNamespace(
        **{name: getattr(real, name) for name in dir(real) if name[0] != "_"}
    )
    fake.__version__ = real.__version__
    fake.DefaultSolver = Interrupted
    monkeypatch.setattr(clarabel, "clarabel", fake)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        Clarabel().solve(solvable())
    assert statuses == ["CallbackTerminated"]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_panic_of_the_compiled_code_is_an_error_of_ours(monkeypatch):
    class Panic(BaseException):
        pass

    def panic(*args):
        raise Panic("index out of bounds")

    monkeypatch.setattr(clarabel, "_run", panic)
    with pytest.raises(SolverError, match="index out of bounds"):
        Clarabel().solve(solvable())


def test_a_point_that_is_not_finite_is_no_point(monkeypatch):
    minimise = Clarabel.minimise

    def spoiled(self, form, config):
        answer = minimise(self, form, config)
        answer.x[0] = math.nan
        return answer

    monkeypatch.setattr(Clarabel, "minimise", spoiled)
    with pytest.raises(NoOptimalSolutionError):
        Clarabel().solve(solvable())


def test_the_model_is_not_changed_by_a_failed_solve():
    m = solvable()
    m.x.set_value(5.0)
    with pytest.raises(NoOptimalSolutionError):
        Clarabel().solve(m, time_limit=1e-9)
    assert m.x.value == 5.0


def test_a_base_without_solver_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="minimise"):
        conic_solver.ConicSolver().minimise(None, None)


def test_a_solve_in_another_thread_gives_the_same():
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: Clarabel().solve(solvable()), range(4)))
    values = {results.incumbent_objective for results in runs}
    assert values == {Clarabel().solve(solvable()).incumbent_objective}
