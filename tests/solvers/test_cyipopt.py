"""Ipopt by cyipopt: values and signs, statuses, and what goes wrong."""

from __future__ import annotations

import io
import math
import os
import signal

import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.util import NoDualsError

from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.solvers.cyipopt import CyIpopt
from pyomo_relu.solvers.errors import UnsupportedModelError
from tests.solvers.point_models import IS_HERE, SENSES, linear_program, look, small

pytestmark = pytest.mark.skipif(not IS_HERE["cyipopt"], reason="needs cyipopt")

TC = TerminationCondition


def set_objective(m, sense, expression):
    m.o = pyo.Objective(
        expr=expression if sense == pyo.minimize else -expression, sense=sense
    )


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize(
    ("rows", "dual"),
    [
        # Nearest point to (3, 1) on the circle of radius R: f = (sqrt(10) - R)^2, and
        # df/d(R^2) = -(sqrt(10) - R) / R.
        (lambda q: q == 1, -(math.sqrt(10) - 1)),
        (lambda q: q <= 1, -(math.sqrt(10) - 1)),
        (lambda q: pyo.inequality(0.25, q, 1), -(math.sqrt(10) - 1)),
        # And where it has to be further away, R = 4.
        (lambda q: q >= 16, (4 - math.sqrt(10)) / 4),
        (lambda q: pyo.inequality(16, q, 30), (4 - math.sqrt(10)) / 4),
        (lambda q: q <= 20, 0.0),
    ],
)
def test_duals_of_nonlinear_programs(rows, dual, sense):
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(initialize=2.0), pyo.Var(initialize=1.0)
    m.c = pyo.Constraint(expr=rows(m.x**2 + m.y**2))
    set_objective(m, sense, (m.x - 3) ** 2 + (m.y - 1) ** 2)
    duals = CyIpopt().solve(m).solution_loader.get_duals()
    sign = 1 if sense == pyo.minimize else -1
    assert duals[m.c] == pytest.approx(sign * dual, abs=1e-6)


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize(
    ("bounds", "at"),
    [((2, None), 2), ((2, 7), 2), ((None, -1), -1), ((-1, -1), -1), ((2, 2), 2)],
)
def test_reduced_costs_of_nonlinear_programs(bounds, at, sense):
    # f = exp(x) + x^2 / 2 + x y, y = 1: the derivative at the bound is e^x + x + 1.
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(bounds=bounds), pyo.Var()
    m.c = pyo.Constraint(expr=m.y == 1)
    slope = math.exp(at) + at + 1
    pull = 1 if slope * (1 if bounds[0] == at else -1) > 0 else -1
    set_objective(m, sense, pull * (pyo.exp(m.x) + m.x**2 / 2 + m.x * m.y))
    loader = CyIpopt().solve(m).solution_loader
    sign = pull if sense == pyo.minimize else -pull
    costs = loader.get_reduced_costs()
    assert costs[m.x] == pytest.approx(sign * slope, abs=1e-5)
    assert costs[m.y] == pytest.approx(0.0, abs=1e-6)
    assert loader.get_duals()[m.c] == pytest.approx(sign * at, abs=1e-5)


@pytest.mark.parametrize("sense", SENSES)
def test_ipopt_and_highs_agree_on_a_quadratic_program(sense):
    m, *_ = linear_program(5, sense)
    set_objective(m, sense, 0.0)
    del m.o
    set_objective(m, sense, sum((j + 1) * (m.x[j] - j) ** 2 for j in range(6)))
    loaders = [
        solver.solve(m, load_solutions=False).solution_loader
        for solver in (CyIpopt(), SolverFactory("highs"))
    ]
    for get in ("get_vars", "get_duals", "get_reduced_costs"):
        ours, theirs = (getattr(loader, get)() for loader in loaders)
        assert len(ours) == len(theirs) > 0
        for component in ours:
            assert ours[component] == pytest.approx(theirs[component], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"solver_options": {"max_iter": 3}}, "iteration_limit"),
        ({"solver_options": {"tol": "small"}}, "tol"),
    ],
)
def test_refused_settings(options, match):
    m = small(bounds=(0, 1))
    with pytest.raises(InputError, match=match):
        CyIpopt().solve(m, **options)


class TestStatusesOfIpopt:
    @staticmethod
    def banana(n=30):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(range(n), initialize=2.0)
        m.o = pyo.Objective(
            expr=sum(
                100 * (m.x[i + 1] - m.x[i] ** 2) ** 2 + (1 - m.x[i]) ** 2
                for i in range(n - 1)
            )
        )
        return m

    def test_solved(self):
        m = self.banana()
        results = CyIpopt().solve(m)
        assert results.incumbent_objective == pytest.approx(0.0, abs=1e-10)
        assert results.extra_info.solver_status == "Solve_Succeeded"
        assert results.extra_info.iteration_count > 3
        assert results.objective_bound is None

    def test_acceptable_is_not_solved(self):
        options = {"tol": 1e-30, "acceptable_tol": 0.1, "acceptable_iter": 1}
        m = self.banana()
        results = look(CyIpopt(), m, solver_options=options)
        assert results.extra_info.solver_status == "Solved_To_Acceptable_Level"
        assert results.termination_condition == TC.unknown
        assert results.solution_status == SolutionStatus.feasible
        # A row that is violated by more than the tolerance is not satisfied.
        m.c = pyo.Constraint(expr=m.x[0] ** 3 == 8)
        options |= {"acceptable_constr_viol_tol": 100.0, "acceptable_tol": 1e6}
        options |= {"acceptable_dual_inf_tol": 1e20, "acceptable_compl_inf_tol": 1e9}
        m.x[0].set_value(3.0)
        results = look(CyIpopt(), m, solver_options=options)
        assert results.extra_info.solver_status == "Solved_To_Acceptable_Level"
        assert results.solution_status == SolutionStatus.infeasible
        assert results.incumbent_objective is None

    def test_iteration_limit(self):
        results = look(CyIpopt(), self.banana(), iteration_limit=3)
        assert results.termination_condition == TC.iterationLimit
        assert results.extra_info.iteration_count == 3
        assert results.solution_status == SolutionStatus.feasible

    def test_time_limit(self):
        results = look(CyIpopt(), self.banana(), time_limit=0)
        assert results.termination_condition == TC.maxTimeLimit

    def test_infeasibility_is_local(self):
        m = small()
        m.c = pyo.Constraint(expr=m.x[0] ** 2 + m.x[1] ** 2 <= -1)
        results = look(CyIpopt(), m)
        assert results.termination_condition == TC.locallyInfeasible
        assert results.solution_status == SolutionStatus.infeasible
        with pytest.raises(NoDualsError):
            results.solution_loader.get_duals()

    def test_diverging_iterates_prove_nothing(self):
        results = look(CyIpopt(), small())
        assert results.extra_info.solver_status == "Diverging_Iterates"
        assert results.termination_condition == TC.unknown

    def test_more_equations_than_variables(self):
        m = small()
        m.c = pyo.Constraint(
            range(3), rule=lambda m, i: m.x[0] + i * m.x[1] ** 2 == 1 + i
        )
        results = look(CyIpopt(), m)
        assert results.termination_condition == TC.error
        assert results.solution_status == SolutionStatus.noSolution
        assert results.extra_info.solver_status == "Not_Enough_Degrees_Of_Freedom"

    def test_as_many_equations_as_variables(self):
        m = small()
        m.c = pyo.Constraint(range(2), rule=lambda m, i: m.x[0] ** 2 + i * m.x[1] == 1)
        results = CyIpopt().solve(m)
        assert results.incumbent_objective == pytest.approx(1.0, abs=1e-6)

    def test_a_start_at_which_nothing_can_be_evaluated(self):
        m = small()
        m.o.expr = pyo.log(m.x[0] - 1.0 + m.x[1] ** 2 - 1.0) + 1 / (m.x[0] - 1.0)
        with pytest.raises(SolverError, match="initial values"):
            CyIpopt().solve(m)

    def test_integer_variables_are_not_relaxed(self):
        m = small(bounds=(0.5, 3), domain=pyo.Integers)
        with pytest.raises(UnsupportedModelError, match="'x\\[0\\]' has the domain"):
            CyIpopt().solve(m)

    def test_files_logs_and_tee(self, tmp_path):
        out = io.StringIO()
        results = CyIpopt(working_dir=tmp_path).solve(self.banana(), tee=out)
        assert "Optimal Solution Found" in results.solver_log
        assert "Optimal Solution Found" in out.getvalue()
        assert len(list(tmp_path.glob("*/model.nl"))) == 1

    def test_interrupt(self):
        class Interrupter(io.StringIO):
            sent = False

            def write(self, text):
                if not self.sent:
                    self.sent = True
                    os.kill(os.getpid(), signal.SIGINT)
                return super().write(text)

        with pytest.raises(KeyboardInterrupt):
            CyIpopt().solve(self.banana(), tee=Interrupter())
