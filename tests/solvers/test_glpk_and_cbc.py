"""GLPK and CBC: statuses, bounds, and what goes wrong with programs."""

from __future__ import annotations

import io
import itertools
import os
import signal
import stat
import threading
import time

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.util import (
    NoDualsError,
    NoFeasibleSolutionError,
    NoOptimalSolutionError,
    NoSolutionError,
)

from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.solvers.cbc import CBC
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.glpk import GLPK
from tests.solvers.point_models import (
    IS_HERE,
    LINEAR,
    SENSES,
    knapsack,
    linear_program,
    look,
    small,
)

TC = TerminationCondition


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("make", [*LINEAR, "highs", "scip_direct"])
def test_integer_programs_against_enumeration(make, sense):
    m, weights, values = knapsack(12, 3, sense)
    choices = np.array(list(itertools.product((0, 1), repeat=12)))
    fits = (choices @ weights.T <= weights.sum(axis=1) // 2).all(axis=1)
    best = float((choices[fits] @ values).max()) + 5
    solver = SolverFactory(make) if isinstance(make, str) else make()
    if not solver.available():
        pytest.skip(f"needs {make}")
    results = solver.solve(m)
    sign = 1 if sense == pyo.maximize else -1
    assert results.incumbent_objective == pytest.approx(sign * best)
    assert pyo.value(m.o) == pytest.approx(sign * best)
    # A bound is on the far side of the optimum, and here next to it.
    assert -1e-9 <= sign * (results.objective_bound - sign * best) < 0.01
    with pytest.raises((NoDualsError, NotImplementedError)):
        results.solution_loader.get_duals()


@pytest.mark.parametrize("make", LINEAR)
def test_integer_programs_leave_suffixes_empty_and_round_bounds(make):
    m = pyo.ConcreteModel()
    m.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    m.rc = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    m.x = pyo.Var(domain=pyo.Integers, bounds=(-3.5, 2.9999999999999))
    m.y = pyo.Var(domain=pyo.Integers, bounds=(None, 4))
    m.z = pyo.Var()
    m.c = pyo.Constraint(expr=m.z <= m.x + m.y - 0.25)
    m.o = pyo.Objective(expr=m.z + m.x, sense=pyo.maximize)
    m.dual[m.c] = 5.0
    assert make().solve(m).incumbent_objective == pytest.approx(9.75)
    assert (m.x.value, m.y.value) == (3.0, 4.0)
    assert len(m.dual) == len(m.rc) == 0
    m.x.setlb(1.2)
    m.x.setub(1.7)
    assert look(make(), m).termination_condition == TC.provenInfeasible


@pytest.mark.parametrize("make", LINEAR)
def test_linear_solvers_refuse_what_is_not_linear(make):
    m = small(bounds=(0, 1))
    m.c = pyo.Constraint(expr=m.x[0] ** 2 <= 1)
    with pytest.raises(UnsupportedModelError, match="linear models only"):
        make().solve(m)
    m = small(bounds=(0, 1))
    m.o.expr += m.x[0] * m.x[1]
    with pytest.raises(UnsupportedModelError, match="linear models only"):
        make().solve(m)


@pytest.mark.parametrize(
    ("make", "options", "match"),
    [
        (GLPK, {"iteration_limit": 5}, "no iteration limit"),
        (GLPK, {"abs_gap": 1.0}, "rel_gap"),
        (GLPK, {"solver_options": {"tmlim": 3}}, "time_limit"),
        (GLPK, {"solver_options": {"max": ""}}, "another problem"),
        (GLPK, {"solver_options": {"nomip": ""}}, "another problem"),
        (CBC, {"iteration_limit": 5}, "maxNodes"),
        (CBC, {"solver_options": {"Sec": 3}}, "time_limit"),
        (CBC, {"solver_options": {"maximize": ""}}, "another problem"),
        (CBC, {"solver_options": {"primalTolerance": "tight"}}, "illegal"),
        (CBC, {"solver_options": {"preprocess": "maybe"}}, "Possible options"),
    ],
)
def test_refused_settings(make, options, match):
    if not IS_HERE[make.name]:
        pytest.skip(f"needs {make.name}")
    m = small(bounds=(0, 1))
    m.x[0].domain = pyo.Integers
    with pytest.raises(InputError, match=match):
        make().solve(m, **options)


@pytest.mark.parametrize("make", LINEAR)
class TestStatusesOfLinearSolvers:
    def test_infeasible(self, make):
        m = small(bounds=(0, None))
        m.c = pyo.Constraint(expr=m.x[0] + m.x[1] <= -1)
        results = look(make(), m)
        assert results.termination_condition == TC.provenInfeasible
        assert results.solution_status == SolutionStatus.noSolution
        with pytest.raises(NoSolutionError):
            results.solution_loader.get_vars()
        with pytest.raises(NoOptimalSolutionError, match="provenInfeasible"):
            make().solve(m)
        with pytest.raises(NoFeasibleSolutionError, match="no point"):
            make().solve(m, raise_exception_on_nonoptimal_result=False)

    def test_infeasible_in_integers_only(self, make):
        m = small(bounds=(0, 50), domain=pyo.Integers)
        m.c = pyo.Constraint(expr=2 * m.x[0] - 2 * m.x[1] == 1)
        assert look(make(), m).termination_condition == TC.provenInfeasible

    def test_unbounded(self, make):
        m = small(bounds=(0, None))
        m.c = pyo.Constraint(expr=m.x[0] - m.x[1] >= -3)
        m.o.sense = pyo.maximize
        results = look(make(), m)
        assert results.termination_condition == TC.unbounded
        assert results.incumbent_objective is None
        assert results.objective_bound is None

    def test_a_relaxation_that_is_unbounded_proves_nothing(self, make):
        # x - y = 1/2 has no integer solution, its relaxation is unbounded.
        m = small(domain=pyo.Integers)
        m.c = pyo.Constraint(expr=2 * m.x[0] - 2 * m.x[1] == 1)
        condition = look(make(), m).termination_condition
        assert condition in (TC.infeasibleOrUnbounded, TC.provenInfeasible)

    def test_neither_feasible_nor_bounded(self, make):
        m = small()
        m.z = pyo.Var(bounds=(0, 1))
        m.c = pyo.Constraint(expr=m.x[0] + m.z == 3)
        m.d = pyo.Constraint(expr=m.x[0] - m.z == 0.5)
        condition = look(make(), m).termination_condition
        assert condition in (TC.infeasibleOrUnbounded, TC.provenInfeasible)

    def test_time_limit_without_incumbent(self, make):
        # A market split problem: G. Cornuejols and M. Dawande, INFORMS J. Computing 11.
        rng = np.random.default_rng(0)
        weights = rng.integers(0, 100, (5, 40))
        m = pyo.ConcreteModel()
        m.x = pyo.Var(range(40), domain=pyo.Binary)
        m.c = pyo.Constraint(
            range(5),
            rule=lambda m, i: (
                sum(int(w) * m.x[j] for j, w in enumerate(weights[i]))
                == int(weights[i].sum()) // 2
            ),
        )
        m.o = pyo.Objective(expr=sum((j % 7 + 1) * m.x[j] for j in range(40)))
        results = look(make(), m, time_limit=1)
        assert results.termination_condition == TC.maxTimeLimit
        assert results.solution_status == SolutionStatus.noSolution
        assert results.incumbent_objective is None
        assert 0.0 <= results.objective_bound <= 160.0

    @pytest.mark.parametrize("sense", SENSES)
    def test_time_limit_with_incumbent(self, make, sense):
        m, *_ = knapsack(500, 30, sense)
        results = look(make(), m, time_limit=1)
        assert results.termination_condition == TC.maxTimeLimit
        assert results.solution_status == SolutionStatus.feasible
        gap = results.objective_bound - results.incumbent_objective
        assert gap * (1 if sense == pyo.maximize else -1) > 0.0
        with pytest.raises(NoOptimalSolutionError, match="maxTimeLimit"):
            make().solve(m, time_limit=1)

    def test_no_time_at_all_for_a_linear_program(self, make):
        m, *_ = knapsack(200, 60, pyo.maximize)
        pyo.TransformationFactory("core.relax_integer_vars").apply_to(m)
        results = look(make(), m, time_limit=0)
        assert results.termination_condition == TC.maxTimeLimit
        # Legacy interfaces call it infeasible; what is loaded must not be an optimum.
        assert results.solution_status != SolutionStatus.optimal
        with pytest.raises((NoDualsError, NoSolutionError)):
            results.solution_loader.get_duals()

    def test_gap(self, make):
        m, *_ = knapsack(100, 10, pyo.maximize)
        best = make().solve(m).incumbent_objective
        results = make().solve(m, rel_gap=0.02)
        assert results.solution_status == SolutionStatus.optimal
        assert results.incumbent_objective <= best <= results.objective_bound
        assert results.objective_bound < 1.025 * results.incumbent_objective

    def test_files_logs_and_settings(self, make, tmp_path):
        out = io.StringIO()
        m, *_ = linear_program(0, pyo.minimize)
        solver = make(tee=out, working_dir=tmp_path)
        setting = {"glpk": {"dual": "", "nopresol": ""}, "cbc": {"presolve": "off"}}
        results = solver.solve(m, solver_options=setting[solver.name])
        assert results.solver_log == out.getvalue() != ""
        assert len(list(tmp_path.glob("*/model.mps"))) == 1
        assert results.solver_name == solver.name
        assert results.solver_version == solver.version() > (1,)
        assert results.timing_info.wall_time > 0.0


@pytest.mark.skipif(not IS_HERE["cbc"], reason="needs cbc")
def test_iteration_limit_of_cbc():
    m, *_ = knapsack(200, 60, pyo.maximize)
    pyo.TransformationFactory("core.relax_integer_vars").apply_to(m)
    results = look(CBC(), m, iteration_limit=3)
    assert results.termination_condition == TC.iterationLimit
    assert results.solution_status != SolutionStatus.optimal


def fake(path, body):
    """Write a program that knows its version and otherwise does as it is told."""
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ] || [ "$1" = -stop ]; then\n'
        f"echo 'Solver 5.0'; echo 'Version: 2.10.8'; exit 0\nfi\n{body}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


GLPK_HEAD = "s bas 0 2 f f 0"


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
class TestPrograms:
    @pytest.mark.parametrize("make", [GLPK, CBC])
    @pytest.mark.parametrize(
        "body",
        [
            "echo out of memory; exit 3",
            "kill -SEGV $$",
            "echo all is well; exit 0",
            f"echo '{GLPK_HEAD}' > model.sol; echo Optimal > model.sol.txt",
            "printf 'Optimal - objective value 3\\n' > model.sol; echo x > model.bin",
            f"printf '{GLPK_HEAD}\\nj 1 b 0 0\\ne o f\\n' > model.sol",
            ": > model.sol; : > model.bin",
        ],
    )
    def test_a_program_that_ends_without_an_answer(self, make, body, tmp_path):
        path = fake(tmp_path / "solver", body)
        with pytest.raises(SolverError, match="failed without an answer"):
            make(executable=path).solve(small(bounds=(0, 1)))

    @pytest.mark.parametrize("make", [GLPK, CBC])
    def test_a_program_that_is_missing(self, make, tmp_path):
        solver = make(executable=str(tmp_path / "nowhere"))
        assert not solver.available()
        assert solver.version() == ()
        with pytest.raises(SolverError, match="not available"):
            solver.solve(small(bounds=(0, 1)))
        silent = tmp_path / "silent"
        silent.write_text("#!/bin/sh\nexit 0\n")
        silent.chmod(0o755)
        with pytest.raises(SolverError, match="BadVersion"):
            make().solve(small(bounds=(0, 1)), executable=str(silent))

    @pytest.mark.parametrize("make", [GLPK, CBC])
    def test_a_program_that_does_not_stop_at_the_limit(self, make, tmp_path):
        path = fake(tmp_path / "solver", "sleep 60")
        results = look(make(executable=path), small(bounds=(0, 1)), time_limit=0)
        assert results.termination_condition == TC.maxTimeLimit
        assert results.solution_status == SolutionStatus.noSolution

    @pytest.mark.parametrize("make", [GLPK, CBC])
    def test_interrupt_stops_the_program(self, make, tmp_path):
        note = tmp_path / "pid"
        path = fake(
            tmp_path / "solver",
            f"echo $$ > {note}.new; mv {note}.new {note}\nsleep 600",
        )

        def interrupt():
            while not note.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt, daemon=True)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            make(executable=path).solve(small(bounds=(0, 1)))
        thread.join()
        with pytest.raises(ProcessLookupError):
            os.kill(int(note.read_text()), 0)


def random_program(seed: int) -> pyo.ConcreteModel:
    """Return a small program with all kinds of sides and bounds, if odd integers."""
    rng = np.random.default_rng(seed)
    n = 5
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n))
    for var in m.x.values():
        kind = rng.integers(6)
        low, up = sorted(rng.normal(size=2) * 4)
        if kind in (0, 1, 2):
            var.setlb(low)
        if kind in (0, 1, 3):
            var.setub(up)
        if kind == 4:
            var.setlb(0)
        if seed % 2 and rng.random() < 0.6:
            var.domain = pyo.Integers
    m.c = pyo.ConstraintList()
    for _ in range(4):
        body = sum(
            float(np.round(rng.normal() * 3, 1)) * m.x[j]
            for j in range(n)
            if rng.random() < 0.8
        )
        low, up = sorted(rng.normal(size=2) * 6)
        kind = rng.integers(4)
        body = body + 1.5
        if kind in (0, 3):
            m.c.add(body <= up)
        else:
            m.c.add(body >= low if kind == 1 else pyo.inequality(low, body, up))
    m.o = pyo.Objective(
        expr=sum(float(rng.normal()) * m.x[j] for j in range(n)) + 2,
        sense=pyo.minimize if rng.random() < 0.5 else pyo.maximize,
    )
    return m


#: GLPK's presolver fails an assertion on one of them, and CBC's simplex calls another,
#: which is unbounded, infeasible.
@pytest.mark.parametrize("seed", [*range(24), 55, 92])
@pytest.mark.parametrize("make", LINEAR)
def test_verdicts_never_contradict_those_of_highs(make, seed):
    m = random_program(seed)
    ours, theirs = (
        look(solver, m, time_limit=20) for solver in (make(), SolverFactory("highs"))
    )
    unsure = TC.infeasibleOrUnbounded
    pair = {ours.termination_condition, theirs.termination_condition}
    assert len(pair) == 1 or (
        unsure in pair and pair <= {unsure, TC.unbounded, TC.provenInfeasible}
    )
    if TC.convergenceCriteriaSatisfied in pair:
        assert ours.incumbent_objective == pytest.approx(
            theirs.incumbent_objective, rel=1e-6, abs=1e-6
        )
