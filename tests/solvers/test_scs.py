"""SCS: conventions against closed forms, honest ends, warm starts."""

from __future__ import annotations

import io
import logging
import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.common.errors import ApplicationError
from pyomo.contrib.solver.common.base import Availability
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.util import NoOptimalSolutionError

from pyomo_relu.cones import ExponentialCone, PSDCone, SecondOrderCone
from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.solvers import scs

if not scs.SCS().available():
    pytest.skip("SCS is not installed (pip install scs)", allow_module_level=True)

SCS = scs.SCS
SENSES = [pyo.minimize, pyo.maximize]
QUIET = {"load_solutions": False, "raise_exception_on_nonoptimal_result": False}

# SCS meets no tolerance of zero, so that it goes on to a limit.
ENDLESS = dict.fromkeys(["eps_abs", "eps_rel", "eps_infeas"], 0.0)


def two_variables() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.y = pyo.Var()
    m.o = pyo.Objective(expr=m.x + m.y)
    return m


def solvable() -> pyo.ConcreteModel:
    """Its optimum is 2, at (1, 1)."""
    m = two_variables()
    m.K = PSDCone([[m.x, 1], [1, m.y]])
    return m


def symmetric(rng: np.random.Generator, k: int) -> np.ndarray:
    B = rng.normal(size=(k, k))
    return B + B.T


def maximum_cut(k: int = 6) -> pyo.ConcreteModel:
    """Semidefinite bound of a maximum cut; its cost moves by the Param ``t``."""
    rng = np.random.default_rng(0)
    W, D = symmetric(rng, k), symmetric(rng, k)
    m = pyo.ConcreteModel()
    m.t = pyo.Param(mutable=True, initialize=0.0)
    m.X = pyo.Var([(i, j) for i in range(k) for j in range(i + 1, k)])
    entry = [
        [1.0 if i == j else m.X[min(i, j), max(i, j)] for j in range(k)]
        for i in range(k)
    ]
    m.K = PSDCone(entry)
    m.o = pyo.Objective(expr=sum((W[i, j] + m.t * D[i, j]) * m.X[i, j] for i, j in m.X))
    return m


def iterations(results) -> int:
    return results.extra_info.iteration_count


# Conventions


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("orders", [(1,), (2,), (5,), (3, 1, 4)])
def test_blocks_of_every_order_are_projected(orders, sense):
    """The nearest semidefinite matrix, the dual is what was cut off."""
    rng = np.random.default_rng(len(orders))
    sign = 1.0 if sense == pyo.minimize else -1.0
    m = pyo.ConcreteModel()
    m.b = pyo.Block(range(len(orders)))
    targets = []
    cost = 0.0
    for block, k in zip(m.b.values(), orders, strict=True):
        B = symmetric(rng, k) - np.eye(k)
        targets.append(B)
        block.X = pyo.Var([(i, j) for i in range(k) for j in range(i, k)])
        block.K = PSDCone(
            [[block.X[min(i, j), max(i, j)] for j in range(k)] for i in range(k)]
        )
        cost += sum(
            (0.5 if i == j else 1.0) * (block.X[i, j] - B[i, j]) ** 2
            for i, j in block.X
        )
    m.o = pyo.Objective(expr=sign * cost, sense=sense)
    duals = SCS().solve(m).solution_loader.get_duals()
    for block, B in zip(m.b.values(), targets, strict=True):
        values, vectors = np.linalg.eigh(B)
        projection = vectors @ np.diag(np.maximum(values, 0.0)) @ vectors.T
        np.testing.assert_allclose(block.K.numeric(), projection, atol=1e-7)
        np.testing.assert_allclose(duals[block.K], sign * (projection - B), atol=1e-7)


def test_second_order_cones_of_two_orders_are_projected():
    m = pyo.ConcreteModel()
    m.v = pyo.Var(range(5))
    m.K = SecondOrderCone([m.v[0], m.v[1], m.v[2]])
    m.L = SecondOrderCone([m.v[3], m.v[4]])
    target = np.array([1.0, 3.0, 4.0, -1.0, 3.0])
    m.o = pyo.Objective(expr=sum((m.v[i] - target[i]) ** 2 for i in m.v))
    SCS().solve(m)
    # Outside of both cones the projection is (t + |w|) / 2 (1, w / |w|).
    expected = [3.0, 1.8, 2.4, 1.0, 1.0]
    np.testing.assert_allclose([v.value for v in m.v.values()], expected, atol=1e-7)


@pytest.mark.parametrize("sense", SENSES)
def test_an_exponential_cone_beside_other_cones(sense):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.z = pyo.Var(range(2))
    m.K = ExponentialCone([m.x[0], 1.0, m.z[0]])
    m.L = ExponentialCone([m.x[1], 2.0, m.z[1]])
    m.S = PSDCone([[m.z[0], m.x[0]], [m.x[0], m.z[0]]])
    m.c = pyo.Constraint(expr=m.x[0] >= 0.5)
    m.d = pyo.Constraint(expr=m.x[1] == -1.0)
    sign = 1.0 if sense == pyo.minimize else -1.0
    m.o = pyo.Objective(expr=sign * (m.z[0] + 3.0 * m.z[1]), sense=sense)
    results = SCS().solve(m)
    first, second = math.exp(0.5), 6.0 * math.exp(-0.5)
    assert results.incumbent_objective == pytest.approx(sign * (first + second))
    duals = results.solution_loader.get_duals()
    assert duals[m.c] == pytest.approx(sign * first, rel=1e-6)
    assert duals[m.d] == pytest.approx(sign * second / 2.0, rel=1e-6)


def test_a_model_without_rows_is_solved():
    m = two_variables()
    m.o.set_value((m.x - 1) ** 2 + (m.y + m.x) ** 2)
    results = SCS().solve(m)
    assert (m.x.value, m.y.value) == pytest.approx((1.0, -1.0))
    assert results.solution_loader.get_duals() == {}
    m.o.set_value(m.x)
    results = SCS().solve(m, **QUIET)
    assert results.termination_condition == TerminationCondition.unbounded


def test_an_objective_of_any_size_is_solved_to_the_same_relative_accuracy():
    for scale in (1e-9, 1.0, 1e9):
        m = two_variables()
        m.o.set_value(scale * ((m.x - 1) ** 2 + 3 * m.y))
        m.c = pyo.Constraint(expr=m.x + m.y >= 4)
        results = SCS().solve(m)
        dual = results.solution_loader.get_duals()[m.c]
        assert m.x.value == pytest.approx(2.5, abs=1e-7)
        assert dual == pytest.approx(3.0 * scale, rel=1e-7)


# Ends


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


def unbounded_lp() -> pyo.ConcreteModel:
    m = two_variables()
    m.c = pyo.Constraint(expr=m.x - m.y == 3)
    return m


def unbounded_qp() -> pyo.ConcreteModel:
    m = two_variables()
    m.o.expr += (m.x - m.y) ** 2
    return m


def unbounded_sdp() -> pyo.ConcreteModel:
    m = solvable()
    m.o.sense = pyo.maximize
    return m


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (infeasible_lp, TerminationCondition.provenInfeasible),
        (infeasible_sdp, TerminationCondition.provenInfeasible),
        (infeasible_with_descent, TerminationCondition.provenInfeasible),
        (unbounded_lp, TerminationCondition.unbounded),
        (unbounded_qp, TerminationCondition.unbounded),
        (unbounded_sdp, TerminationCondition.unbounded),
    ],
    ids=lambda item: getattr(item, "__name__", item),
)
def test_infeasible_and_unbounded_are_told_apart(build, expected):
    results = SCS().solve(build(), **QUIET)
    assert results.termination_condition == expected
    assert results.solution_status == SolutionStatus.noSolution
    assert results.extra_info.certificate_residual < scs.CERTIFICATE_TOLERANCE
    with pytest.raises(NoOptimalSolutionError):
        SCS().solve(build())


def test_a_certificate_that_is_none_is_not_believed():
    # The only points are beyond x = 2000: to a loose tolerance there are none.
    m = two_variables()
    m.c = pyo.Constraint(expr=m.x - m.y >= 1)
    m.d = pyo.Constraint(expr=1.001 * m.y - m.x >= 1)
    loose = {"eps_infeas": 1e-2}
    results = SCS().solve(m, **QUIET, solver_options=loose)
    # Which of the two it claims differs between versions.
    assert results.extra_info.solver_status in ("infeasible", "unbounded")
    assert results.termination_condition == TerminationCondition.unknown
    assert results.solution_status == SolutionStatus.noSolution
    assert SCS().solve(m).solution_status == SolutionStatus.optimal
    assert m.y.value == pytest.approx(2000.0, rel=1e-6)

    # Its optimum is at x = -1000.
    m = two_variables()
    m.o.set_value(m.x)
    m.c = pyo.Constraint(expr=m.x + 1000 >= 0.01 * m.y**2)
    results = SCS().solve(m, **QUIET, solver_options={"eps_infeas": 0.9})
    assert results.extra_info.solver_status == "unbounded"
    assert results.termination_condition == TerminationCondition.unknown


def test_an_optimum_and_all_that_is_reported_about_it():
    m = solvable()
    results = SCS().solve(m)
    assert (
        results.termination_condition
        == TerminationCondition.convergenceCriteriaSatisfied
    )
    assert results.solution_status == SolutionStatus.optimal
    assert results.incumbent_objective == pyo.value(m.o)
    assert results.incumbent_objective == pytest.approx(2.0, abs=1e-8)
    assert results.objective_bound is None
    assert results.solver_name == "scs"
    assert results.solver_version >= (3, 2)
    assert results.extra_info.solver_status == "solved"
    assert iterations(results) > 0
    assert results.extra_info.primal_residual < 1e-7
    assert results.extra_info.dual_residual < 1e-7
    assert abs(results.extra_info.gap) < 1e-7
    assert "status:  solved" in results.solver_log


def test_limits_are_no_optimum():
    few = SCS().solve(solvable(), **QUIET, solver_options={"max_iters": 2})
    assert few.extra_info.solver_status.startswith("solved (inaccurate")
    assert few.termination_condition == TerminationCondition.iterationLimit
    assert few.solution_status != SolutionStatus.optimal
    assert iterations(few) == 2
    for limit in (0, 1e-12):
        late = SCS().solve(
            solvable(), **QUIET, time_limit=limit, solver_options=ENDLESS
        )
        assert late.termination_condition == TerminationCondition.maxTimeLimit
    # A guess is no proof either.
    guess = SCS().solve(
        infeasible_lp(), **QUIET, solver_options={"max_iters": 30, "eps_infeas": 0.0}
    )
    assert guess.extra_info.solver_status.startswith("infeasible (inaccurate")
    assert guess.termination_condition == TerminationCondition.iterationLimit
    with pytest.raises(NoOptimalSolutionError, match="max_iters"):
        SCS().solve(solvable(), solver_options={"max_iters": 2})


def test_every_status_of_scs_has_a_meaning_and_one_is_an_optimum():
    numbers = {
        number
        for name, number in vars(scs.scs).items()
        if name.isupper() and name[0] != "_" and isinstance(number, int)
    }
    assert numbers - {scs.scs.UNFINISHED} == set(scs._TERMINATION)
    optimal = [
        number
        for number, condition in scs._TERMINATION.items()
        if condition == TerminationCondition.convergenceCriteriaSatisfied
    ]
    assert optimal == [scs.scs.SOLVED]


def test_solved_without_a_finite_point_is_an_error(monkeypatch):
    minimise = SCS.minimise

    def spoiled(self, form, config):
        answer = minimise(self, form, config)
        answer.z[0] = math.nan
        return answer

    monkeypatch.setattr(SCS, "minimise", spoiled)
    results = SCS().solve(solvable(), **QUIET)
    assert results.termination_condition == TerminationCondition.error
    assert results.solution_status == SolutionStatus.noSolution
    with pytest.raises(NoOptimalSolutionError, match="without a finite point"):
        SCS().solve(solvable())


class _InterruptsItself(io.StringIO):
    """A stream for a log that sends SIGINT when the first iteration is printed."""

    def write(self, text: str) -> int:
        if " 0|" in text and "SIGINT" not in self.getvalue():
            super().write("SIGINT")
            os.kill(os.getpid(), signal.SIGINT)
        return super().write(text)


def test_ctrl_c_stops_the_solve():
    stream = _InterruptsItself()
    before = signal.getsignal(signal.SIGINT)
    options = {"solver_options": {**ENDLESS, "max_iters": 10**9}, "time_limit": 60.0}
    with pytest.raises(KeyboardInterrupt):
        SCS().solve(solvable(), tee=[stream], **options)
    assert "SIGINT" in stream.getvalue()
    assert signal.getsignal(signal.SIGINT) is before


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 1e-9}, "no setting 'eps'.*eps_abs"),
        ({"max_iters": "many"}, "'max_iters': 'many'"),
        ({"alpha": 7.0}, "'alpha': 7.0"),
        ({"verbose": True}, "tee="),
        ({"time_limit_secs": 3}, "time_limit="),
        ({"warm_start": True}, "warm_start="),
    ],
)
def test_wrong_solver_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        SCS().solve(solvable(), solver_options=options)


def test_an_iteration_limit_is_given_once():
    results = SCS().solve(solvable(), **QUIET, iteration_limit=2)
    assert iterations(results) == 2
    with pytest.raises(InputError, match="both iteration_limit"):
        SCS().solve(solvable(), iteration_limit=2, solver_options={"max_iters": 3})


def test_threads_that_scs_does_not_have_are_refused():
    SCS().solve(solvable(), threads=1)
    with pytest.raises(InputError, match="threads=2"):
        SCS().solve(solvable(), threads=2)


def test_an_error_inside_scs_is_wrapped(monkeypatch):
    class Failing:
        def __init__(self, *args, **settings):
            pass

        def solve(self, **start):
            raise ValueError("could not factor")

    def refuse(*args, **settings):
        raise ValueError("allocation error")

    monkeypatch.setattr(scs.scs, "SCS", Failing)
    with pytest.raises(SolverError, match="could not factor"):
        SCS().solve(solvable())
    monkeypatch.setattr(scs.scs, "SCS", refuse)
    with pytest.raises(SolverError, match="cannot be set up: allocation error"):
        SCS().solve(solvable())


def test_options_reach_scs():
    log = (
        SCS(solver_options={"max_iters": 777, "eps_abs": 2e-7}, time_limit=1234)
        .solve(solvable())
        .solver_log
    )
    assert "max_iters: 777" in log
    assert "eps_abs: 2.0e-07" in log
    assert "time_limit_secs: 1.23e+03" in log


def test_the_log_goes_where_tee_says(capfd):
    stream = io.StringIO()
    logger = logging.getLogger("pyomo_relu.test_tee")
    results = SCS().solve(solvable(), tee=[stream, logger])
    assert "status:  solved" in stream.getvalue()
    assert "status:  solved" in results.solver_log
    SCS().solve(solvable())
    assert capfd.readouterr().out == ""
    SCS().solve(solvable(), tee=True)
    assert "status:  solved" in capfd.readouterr().out


def test_solves_in_other_threads_give_the_same():
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda _: SCS().solve(solvable()), range(4)))
    values = {results.incumbent_objective for results in runs}
    assert values == {SCS().solve(solvable()).incumbent_objective}


# Warm starts


def test_a_warm_start_at_the_optimum_takes_fewer_iterations():
    m = maximum_cut()
    solver = SCS()
    cold = solver.solve(m)
    again = solver.solve(m)
    warm = solver.solve(m, warm_start=True)
    assert iterations(again) == iterations(cold)
    assert iterations(warm) < iterations(cold) / 4
    assert warm.incumbent_objective == pytest.approx(cold.incumbent_objective)


def test_warm_starts_along_a_path_take_fewer_iterations():
    m = maximum_cut()
    solver = SCS()
    solver.solve(m)
    saved = []
    for t in (0.001, 0.002, 0.003, 0.005, 0.01):
        m.t.set_value(t)
        warm = solver.solve(m, warm_start=True)
        cold = SCS().solve(m)
        saved.append(iterations(cold) - iterations(warm))
        # A start is no part of the answer.
        assert warm.incumbent_objective == pytest.approx(
            cold.incumbent_objective, abs=1e-7
        )
        np.testing.assert_allclose(
            warm.solution_loader.get_duals()[m.K],
            cold.solution_loader.get_duals()[m.K],
            atol=1e-6,
        )
    assert sum(saved) > 0


def test_a_warm_start_reads_the_variables():
    m = maximum_cut()
    solver = SCS()
    solver.solve(m)
    for var in m.X.values():
        var.set_value(1e3)
    far = iterations(solver.solve(m, warm_start=True, load_solutions=False))
    for var in m.X.values():
        var.set_value(None)
    # Without values it is where the last solve ended.
    near = iterations(solver.solve(m, warm_start=True, load_solutions=False))
    assert near < far


def test_without_a_solve_of_the_same_shape_the_start_is_cold():
    m = maximum_cut()
    cold = iterations(SCS().solve(m))
    assert iterations(SCS().solve(m, warm_start=True)) == cold
    solver = SCS()
    solver.solve(maximum_cut(5))
    assert iterations(solver.solve(m, warm_start=True)) == cold
    # What did not end at an optimum is no start.
    solver = SCS()
    solver.solve(m, **QUIET, solver_options={"max_iters": 3})
    assert iterations(solver.solve(m, warm_start=True)) == cold


# Where it is, and where it is not


def test_both_factories_know_it():
    for factory in (SolverFactory, pyo.SolverFactory):
        solver = factory("scs")
        assert isinstance(solver, SCS)
        assert solver.available()
        assert not solver.is_persistent()
    legacy = pyo.SolverFactory("scs")
    legacy.options["max_iters"] = 1
    results = legacy.solve(solvable(), load_solutions=False)
    assert results.solver.termination_condition == "maxIterations"


def test_a_missing_or_old_scs_is_not_available(monkeypatch):
    monkeypatch.setattr(scs.scs, "__version__", "3.1.2")
    assert SCS().available() == Availability.BadVersion
    monkeypatch.setattr(scs, "scs_available", False)
    assert SCS().available() == Availability.NotFound
    assert SCS().version() == ()
    with pytest.raises(ApplicationError, match="'scs' is not available"):
        SCS().solve(solvable())
