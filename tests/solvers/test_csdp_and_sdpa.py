"""CSDP and SDPA behind Pyomo: values, duals, verdicts that are proved, options."""

from __future__ import annotations

import io
import math
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.common.errors import ApplicationError
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.util import NoOptimalSolutionError
from scipy.optimize import linprog

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    build_copositive,
    relax,
)
from pyomo_relu.cones import (
    DoublyNonnegativeCone,
    ExponentialCone,
    PSDCone,
    SecondOrderCone,
)
from pyomo_relu.errors import InputError, SolverError, UnsupportedConeError
from pyomo_relu.solvers import compile_conic, sdpa, sdpa_interface
from pyomo_relu.solvers.csdp import CSDP
from pyomo_relu.solvers.sdpa import SDPA

QUIET = {"load_solutions": False, "raise_exception_on_nonoptimal_result": False}
OPTIMAL = TerminationCondition.convergenceCriteriaSatisfied
INFEASIBLE = TerminationCondition.provenInfeasible
UNBOUNDED = TerminationCondition.unbounded


@pytest.fixture(params=[CSDP, SDPA], ids=["csdp", "sdpa"])
def solver(request):
    """One of the interfaces; its program must be installed."""
    made = request.param()
    if not made.available():
        pytest.skip(f"{made.executable} is not installed")
    return made


@pytest.fixture(params=[False, True], ids=["primal", "dual"])
def orientation(request, monkeypatch):
    """Whether the variables are the multipliers, whatever is smaller."""
    share = math.inf if request.param else -math.inf
    monkeypatch.setattr(sdpa_interface, "DUAL_SHARE", share)
    return request.param


def least_norm() -> tuple[pyo.ConcreteModel, float, dict]:
    """The distance of the origin to a plane, as a second-order program."""
    m = pyo.ConcreteModel()
    m.t, m.x = pyo.Var(), pyo.Var(range(5))
    a = np.array([3.0, -1.0, 2.0, 0.5, 1.0])
    m.c = pyo.Constraint(expr=sum(float(a[i]) * m.x[i] for i in range(5)) == 2)
    m.K = SecondOrderCone([m.t, *m.x.values()])
    m.o = pyo.Objective(expr=m.t)
    norm = np.linalg.norm(a)
    return m, 2 / norm, {m.c: 1 / norm, m.K: np.append(1.0, -a / norm)}


def geometric_mean() -> tuple[pyo.ConcreteModel, float, dict]:
    """The largest geometric mean below a budget; a rotated cone, maximised."""
    m = pyo.ConcreteModel()
    m.t, m.x = pyo.Var(), pyo.Var(range(2))
    m.c = pyo.Constraint(expr=m.x[0] + 4 * m.x[1] <= 8)
    m.K = SecondOrderCone([m.x[0], 0.5 * m.x[1], m.t], rotated=True)
    m.o = pyo.Objective(expr=m.t, sense=pyo.maximize)
    return m, 2.0, {m.c: 0.25}


def largest_eigenvalue() -> tuple[pyo.ConcreteModel, float, dict]:
    """The smallest t with ``t I - M`` semidefinite; the dual is the projection."""
    M = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 3.0]])
    values, vectors = np.linalg.eigh(M)
    m = pyo.ConcreteModel()
    m.t = pyo.Var()
    m.K = PSDCone(
        [[m.t * int(i == j) - float(M[i, j]) for j in range(3)] for i in range(3)]
    )
    m.o = pyo.Objective(expr=m.t)
    return m, values[-1], {m.K: np.outer(vectors[:, -1], vectors[:, -1])}


def projection_on_an_interval() -> tuple[pyo.ConcreteModel, float, dict]:
    """A strictly convex quadratic program with a range, a bound and an equation."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4))
    m.x[2].setub(1.0)
    m.o = pyo.Objective(
        expr=(m.x[0] - 3) ** 2
        + (m.x[1] + 3) ** 2
        + (m.x[2] - 2) ** 2
        + (m.x[2] - m.x[3]) ** 2
    )
    m.r = pyo.Constraint(expr=(-1.0, m.x[0], 1.0))
    m.s = pyo.Constraint(expr=(-1.0, m.x[1], 1.0))
    m.e = pyo.Constraint(expr=m.x[2] + m.x[3] == 2.0)
    # x = (1, -1, 1, 1): the gradients are -4, 4 and, but for the bound, -2.
    return m, 4.0 + 4.0 + 1.0, {m.r: -4.0, m.s: 4.0, m.e: 0.0}


def stability_number() -> tuple[pyo.ConcreteModel, float, dict]:
    """The bound theta' of the pentagon, the square root of five."""
    m = pyo.ConcreteModel()
    m.X = pyo.Var(range(5), range(5))
    X = [[m.X[min(i, j), max(i, j)] for j in range(5)] for i in range(5)]
    m.K = DoublyNonnegativeCone(X)
    m.trace = pyo.Constraint(expr=sum(X[i][i] for i in range(5)) == 1)
    m.edges = pyo.Constraint(range(5), rule=lambda m, i: X[i][(i + 1) % 5] == 0)
    m.o = pyo.Objective(
        expr=sum(X[i][j] for i in range(5) for j in range(5)), sense=pyo.maximize
    )
    return m, math.sqrt(5.0), {m.trace: math.sqrt(5.0)}


MODELS = [
    least_norm,
    geometric_mean,
    largest_eigenvalue,
    projection_on_an_interval,
    stability_number,
]


@pytest.mark.parametrize("build", MODELS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("presolve", [False, True])
def test_closed_forms(solver, orientation, build, presolve):
    model, value, duals = build()
    # What the program says, not what a refinement makes of it.
    results = solver.solve(model, presolve=presolve, refine=False)
    assert results.solution_status == SolutionStatus.optimal
    assert results.incumbent_objective == pytest.approx(value, abs=1e-7)
    found = results.solution_loader.get_duals()
    for row, dual in duals.items():
        np.testing.assert_allclose(found[row], dual, atol=1e-6)
    info = results.extra_info
    assert max(info.primal_residual, info.dual_residual, abs(info.gap)) < 1e-6


def test_reduced_costs_and_fixed_variables(solver, orientation):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4), bounds=(0, 5))
    m.x[3].setlb(5)
    m.y = pyo.Var(initialize=2.0)
    m.y.fix()
    m.o = pyo.Objective(expr=-2 * m.x[0] + m.x[1] + 3 * m.x[3] + m.y)
    m.c = pyo.Constraint(expr=m.x[0] + m.x[1] + m.x[2] + m.y == 6)
    results = solver.solve(m)
    assert results.incumbent_objective == pytest.approx(-8 + 15 + 2, abs=1e-6)
    assert [v.value for v in m.x.values()] == pytest.approx([4, 0, 0, 5], abs=1e-6)
    costs = results.solution_loader.get_reduced_costs()
    expected = [0.0, 3.0, 2.0, 3.0]
    assert [costs[v] for v in m.x.values()] == pytest.approx(expected, abs=1e-6)
    assert results.solution_loader.get_duals()[m.c] == pytest.approx(-2.0, abs=1e-6)


@pytest.mark.parametrize("build", [build_completely_positive, build_copositive])
def test_a_training_problem_has_the_value_of_the_optimal_network(solver, build):
    # At rank three the relaxation is exact; the value is that of design, section 5.
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    m = build(TrainingProblem(X, Y, beta=0.2))
    relax(m, "dnn")
    results = solver.solve(m)
    assert results.incumbent_objective == pytest.approx(4.3655299, abs=1e-6)
    info = results.extra_info
    assert max(info.primal_residual, info.dual_residual, abs(info.gap)) < 1e-6


@pytest.mark.parametrize("seed", range(12))
def test_small_linear_programs_at_whose_vertices_a_solver_may_get_stuck(solver, seed):
    # CSDP's first attempt fails at about every seventh of these.
    rng = np.random.default_rng(seed)
    a = rng.uniform(-2.0, 2.0, size=2)
    low = -rng.uniform(0.05, 1.0, size=2)
    up = rng.uniform(0.05, 1.0, size=2)
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.c = pyo.ConstraintList()
    for i in range(2):
        m.c.add((low[i], m.y - a[i] * m.x, up[i]))
    m.o = pyo.Objective(expr=m.y)
    truth = linprog(
        [0.0, 1.0],
        A_ub=np.array([[-a[0], 1], [-a[1], 1], [a[0], -1], [a[1], -1]]),
        b_ub=np.concatenate([up, -low]),
        bounds=(None, None),
    )
    results = solver.solve(m)
    assert results.incumbent_objective == pytest.approx(truth.fun, abs=1e-6)


def test_the_smaller_of_a_program_and_its_dual_is_solved():
    # Many entries of matrices and few equations about them, and the opposite.
    m = pyo.ConcreteModel()
    m.X = pyo.Var(range(36))
    X = [
        [m.X[max(i, j) * (max(i, j) + 1) // 2 + min(i, j)] for j in range(8)]
        for i in range(8)
    ]
    m.K = PSDCone(X)
    m.c = pyo.Constraint(range(3), rule=lambda m, i: X[i][i + 1] + X[i][i] == 1)
    m.o = pyo.Objective(expr=sum(X[i][i] for i in range(8)))
    translation = sdpa_interface.translate(compile_conic(m))
    assert translation.turned is not None
    assert len(translation.embedding.problem.c) == 3
    translation = sdpa_interface.translate(compile_conic(largest_eigenvalue()[0]))
    assert translation.turned is None
    assert len(translation.embedding.problem.c) == 1


def contradiction() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3), bounds=(0, None))
    m.c = pyo.Constraint(expr=m.x[0] + m.x[1] <= 1)
    m.d = pyo.Constraint(expr=m.x[0] + m.x[1] - m.x[2] >= 2)
    m.o = pyo.Objective(expr=m.x[2] + m.x[0] ** 2)
    return m


def contradictory_equations() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3), bounds=(0, None))
    m.c = pyo.Constraint(expr=m.x[0] + m.x[1] == 3)
    m.d = pyo.Constraint(expr=m.x[1] + m.x[2] == 2)
    m.e = pyo.Constraint(expr=m.x[0] + 2 * m.x[1] + m.x[2] == 6)
    m.o = pyo.Objective(expr=m.x[2])
    return m


def empty_spectrahedron() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.K = PSDCone([[m.x[0], m.x[1]], [m.x[1], -m.x[0] - 1]])
    m.o = pyo.Objective(expr=m.x[1] + m.x[2] ** 2)
    return m


def disjoint_cones() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.K = SecondOrderCone([m.x[0], m.x[1], m.x[2], 1.0])
    m.L = SecondOrderCone([-m.x[0], m.x[1]])
    m.o = pyo.Objective(expr=m.x[1], sense=pyo.maximize)
    return m


def infeasible_with_a_descent() -> pyo.ConcreteModel:
    m = contradiction()
    m.y = pyo.Var()
    m.o.set_value(m.y)
    return m


def descent_in_a_cone() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.K = PSDCone([[m.x[0] + 5, m.x[1]], [m.x[1], m.x[2] + 5]])
    m.c = pyo.Constraint(expr=m.x[0] + m.x[2] == 2 * m.x[1] + 9)
    m.o = pyo.Objective(expr=m.x[0] + m.x[1], sense=pyo.maximize)
    return m


def descent_in_a_quadratic() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3), bounds=(0, None))
    m.o = pyo.Objective(expr=(m.x[0] - m.x[1]) ** 2 - m.x[0] + m.x[2])
    m.c = pyo.Constraint(expr=m.x[2] >= 1)
    return m


def descent_without_rows() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.o = pyo.Objective(expr=m.x[0] ** 2 + m.x[1])
    return m


VERDICTS = [
    (contradiction, INFEASIBLE),
    (contradictory_equations, INFEASIBLE),
    (empty_spectrahedron, INFEASIBLE),
    (disjoint_cones, INFEASIBLE),
    (infeasible_with_a_descent, INFEASIBLE),
    (descent_in_a_cone, UNBOUNDED),
    (descent_in_a_quadratic, UNBOUNDED),
    (descent_without_rows, UNBOUNDED),
]


@pytest.mark.parametrize(
    ("build", "verdict"), VERDICTS, ids=[f.__name__ for f, _ in VERDICTS]
)
def test_infeasible_and_unbounded_are_told_apart_and_proved(
    solver, orientation, build, verdict
):
    results = solver.solve(build(), **QUIET)
    assert results.termination_condition == verdict
    assert results.solution_status == SolutionStatus.noSolution
    assert results.extra_info.certificate_residual < 1e-6


@pytest.mark.parametrize(
    "build", [f for f, _ in VERDICTS], ids=[f.__name__ for f, _ in VERDICTS]
)
def test_what_is_not_proved_is_not_said(solver, orientation, monkeypatch, build):
    monkeypatch.setattr(sdpa_interface, "CERTIFICATE_TOLERANCE", -1.0)
    results = solver.solve(build(), **QUIET)
    assert results.termination_condition in (
        TerminationCondition.unknown,
        TerminationCondition.minStepLength,
    )
    assert results.solution_status != SolutionStatus.optimal


def test_a_feasible_point_is_enough_where_nothing_is_minimised(solver, orientation):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.K = SecondOrderCone([2 - m.x[0], m.x[1], m.x[0]])
    m.c = pyo.Constraint(expr=m.x[0] + m.x[1] == 0.5)
    results = solver.solve(m)
    assert results.solution_status == SolutionStatus.optimal
    assert m.K.margin() > -1e-7
    assert pyo.value(m.c.body) == pytest.approx(0.5)


def test_a_model_without_rows_is_solved(solver):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.o = pyo.Objective(expr=(m.x[0] - 1) ** 2 + (m.x[0] + m.x[1]) ** 2)
    results = solver.solve(m)
    assert results.incumbent_objective == pytest.approx(0.0, abs=1e-7)
    assert [m.x[0].value, m.x[1].value] == pytest.approx([1.0, -1.0], abs=1e-6)


def test_equations_that_leave_one_point(solver):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2), bounds=(0, 9))
    m.c = pyo.Constraint(expr=m.x[0] + m.x[1] == 3)
    m.d = pyo.Constraint(expr=m.x[0] - m.x[1] == 1)
    m.K = PSDCone([[m.x[0], 1], [1, m.x[1]]])
    m.o = pyo.Objective(expr=m.x[0])
    results = solver.solve(m)
    assert [m.x[0].value, m.x[1].value] == [2.0, 1.0]
    duals = results.solution_loader.get_duals()
    assert [duals[m.c], duals[m.d]] == pytest.approx([0.5, 0.5])


def test_variables_that_stand_in_for_each_other(solver):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    total = m.x[0] + m.x[1]
    m.K = PSDCone([[total, m.x[2]], [m.x[2], 1]])
    m.o = pyo.Objective(expr=total - m.x[2])
    results = solver.solve(m)
    assert results.incumbent_objective == pytest.approx(-0.25, abs=1e-8)
    m.o.set_value(total + 0.5 * m.x[1] - m.x[2])
    assert solver.solve(m, **QUIET).termination_condition == UNBOUNDED


def test_columns_of_any_size(solver):
    # The least norm again, in units from a thousandth to a thousand.
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4))
    size = [1e-3, 1.0, 30.0, 1e3]
    a = [3.0, -1.0, 2.0, 1.0]
    m.o = pyo.Objective(expr=sum((size[i] * m.x[i]) ** 2 for i in range(4)))
    m.c = pyo.Constraint(expr=sum(a[i] * size[i] * m.x[i] for i in range(4)) >= 5)
    results = solver.solve(m)
    assert results.incumbent_objective == pytest.approx(25.0 / 15.0, rel=1e-8)
    assert results.solution_loader.get_duals()[m.c] == pytest.approx(2.0 / 3.0)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_an_objective_of_any_size(solver, scale):
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=(0, None)), pyo.Var(bounds=(0, None))
    m.o = pyo.Objective(expr=scale * ((m.x - 1) ** 2 + 3 * m.y))
    m.c = pyo.Constraint(expr=m.x + m.y >= 4)
    results = solver.solve(m)
    assert results.incumbent_objective == pytest.approx(6.75 * scale, rel=1e-7)
    dual = results.solution_loader.get_duals()[m.c]
    assert dual == pytest.approx(3.0 * scale, rel=1e-6)


def test_exponential_cones_are_refused_by_name(solver):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.E = ExponentialCone([m.x[0], m.x[1], m.x[2]])
    m.o = pyo.Objective(expr=m.x[2])
    with pytest.raises(UnsupportedConeError, match="exponential cone 'E'"):
        solver.solve(m)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"axtoll": 1e-9}, "no parameter 'axtoll'"),
        ({"LIMIT": "many"}, "'many' does not fit"),
        ({"LIMIT": 1.5}, "1.5 does not fit"),
        ({"LIMIT": True}, "True does not fit"),
        ({"LIMIT": math.nan}, "nan does not fit"),
    ],
)
def test_wrong_options_are_refused(solver, options, message):
    name = solver.iteration_parameter
    options = {name if key == "LIMIT" else key: v for key, v in options.items()}
    with pytest.raises(InputError, match=message):
        solver.solve(least_norm()[0], solver_options=options)


def test_options_reach_the_program(solver, tmp_path):
    solver.solve(
        least_norm()[0],
        solver_options={solver.iteration_parameter: np.int64(77)},
        working_dir=tmp_path,
        threads=1,
    )
    (folder,) = tmp_path.iterdir()
    (file,) = folder.glob("param.*")
    text = file.read_text()
    name = solver.iteration_parameter
    assert f"{name}=77" in text or f"77 {name}" in text
    assert (folder / "problem.dat-s").exists()


def test_an_iteration_limit_is_no_optimum(solver):
    for options in (
        {"iteration_limit": 2},
        {"solver_options": {solver.iteration_parameter: 2}},
    ):
        results = solver.solve(stability_number()[0], **QUIET, **options)
        assert results.termination_condition == TerminationCondition.iterationLimit
        assert results.extra_info.iteration_count == 2
        assert results.solution_status != SolutionStatus.optimal


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_a_time_limit_is_no_optimum(solver, monkeypatch, tmp_path, limit):
    text = '[ $# -gt 0 ] || exec "$REAL"; exec sleep 600'
    impostor(monkeypatch, tmp_path, solver.executable, text)
    m = stability_number()[0]
    results = solver.solve(m, **QUIET, time_limit=limit)
    assert results.termination_condition == TerminationCondition.maxTimeLimit
    assert results.solution_status == SolutionStatus.noSolution
    with pytest.raises(NoOptimalSolutionError, match="time limit"):
        solver.solve(m, time_limit=limit)
    assert m.X[0, 0].value is None


def test_the_log_goes_where_tee_says(solver, capfd):
    stream = io.StringIO()
    results = solver.solve(stability_number()[0], tee=stream)
    assert solver.title in stream.getvalue()
    assert results.solver_log == stream.getvalue()
    assert capfd.readouterr().out == ""
    solver.solve(stability_number()[0], tee=True)
    assert solver.title in capfd.readouterr().out


def test_both_factories_know_it(solver):
    for factory in (SolverFactory, pyo.SolverFactory):
        made = factory(solver.executable)
        assert isinstance(made, type(solver))
        assert made.available()
    assert len(solver.version()) == 3
    assert solver.version() > (6,)


def test_without_its_program_it_is_not_available(solver, monkeypatch, tmp_path):
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not solver.available()
    assert solver.version() == ()
    with pytest.raises(ApplicationError, match="not available"):
        solver.solve(least_norm()[0])
    monkeypatch.setenv("PATH", path)
    assert solver.available()


def impostor(monkeypatch, tmp_path: Path, name: str, text: str) -> None:
    """Put a script before the real program on the PATH; it may call ``$REAL``."""
    real = shutil.which(name)
    script = tmp_path / name
    script.write_text(f"#!/bin/sh\nREAL={real}\n{text}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


CODES = [
    (1, TerminationCondition.unknown, OPTIMAL),
    (2, TerminationCondition.unknown, OPTIMAL),
    (3, TerminationCondition.unknown, OPTIMAL),
    (4, TerminationCondition.iterationLimit, OPTIMAL),
    (5, TerminationCondition.minStepLength, OPTIMAL),
    (7, TerminationCondition.minStepLength, OPTIMAL),
    (8, TerminationCondition.error, OPTIMAL),
]


@pytest.mark.skipif(not CSDP().available(), reason="csdp is not installed")
@pytest.mark.parametrize(("code", "expected", "measured"), CODES)
def test_a_code_of_csdp_is_believed_as_far_as_it_can_be_checked(
    monkeypatch, tmp_path, code, expected, measured
):
    # A point that is nobody's certificate and, three iterations in, no optimum.
    impostor(monkeypatch, tmp_path, "csdp", f'"$REAL" "$@"; exit {code}')
    few = {"solver_options": {"maxiter": 3}}
    results = CSDP().solve(stability_number()[0], **QUIET, **few)
    assert results.termination_condition == expected
    assert results.solution_status != SolutionStatus.optimal
    # The optimum is one whatever the code says, unless the tolerances were given, or it
    # says that it is something else.
    results = CSDP().solve(stability_number()[0], **QUIET)
    assert results.termination_condition == (expected if code in (1, 2) else measured)
    tolerance = {"solver_options": {"objtol": 1e-12}}
    results = CSDP().solve(stability_number()[0], **QUIET, **tolerance)
    assert results.termination_condition == expected


@pytest.mark.skipif(not SDPA().available(), reason="sdpa is not installed")
@pytest.mark.parametrize(
    "phase", [*sdpa._KINDS.keys() - {"pdOPT"}, "pdFEAS_or_another_word"]
)
def test_a_phase_of_sdpa_is_believed_as_far_as_it_can_be_checked(
    monkeypatch, tmp_path, phase
):
    command = f"s/^phase.value.*/phase.value = {phase}/"
    text = f'"$REAL" "$@"; sed -i "{command}" problem.result'
    impostor(monkeypatch, tmp_path, "sdpa", text)
    few = {"solver_options": {"maxIteration": 9, "epsilonStar": 1e-12}}
    results = SDPA().solve(stability_number()[0], **QUIET, **few)
    assert results.termination_condition in (
        TerminationCondition.unknown,
        TerminationCondition.minStepLength,
        TerminationCondition.iterationLimit,
    )
    assert results.solution_status != SolutionStatus.optimal


@pytest.mark.parametrize("text", ["exit 206", "echo no memory; kill -9 $$", "true"])
def test_a_program_that_fails_is_our_error(solver, monkeypatch, tmp_path, text):
    impostor(monkeypatch, tmp_path, solver.executable, text)
    with pytest.raises(SolverError, match=f"{solver.title} failed without an answer"):
        solver.solve(stability_number()[0])


def test_an_optimum_in_scaled_units_alone_is_taken_back(solver, monkeypatch):
    monkeypatch.setattr(sdpa_interface, "GAP_TOLERANCE", 0.0)
    results = solver.solve(stability_number()[0], **QUIET)
    assert results.termination_condition == TerminationCondition.unknown
    assert "relative gap" in results.extra_info.solver_status


def test_ctrl_c_stops_the_program(solver, monkeypatch, tmp_path):
    marker = tmp_path / "pid"
    # The shell becomes the program that waits; it says who it is before.
    impostor(
        monkeypatch,
        tmp_path,
        solver.executable,
        '[ $# -gt 0 ] || exec "$REAL"\n'
        f"echo $$ > {marker}; kill -INT $PPID; exec sleep 600",
    )
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        solver.solve(stability_number()[0], time_limit=60)
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)
    assert signal.getsignal(signal.SIGINT) is before
