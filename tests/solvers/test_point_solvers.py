"""CBC, GLPK and Ipopt: what their interfaces do the same way."""

from __future__ import annotations

import math

import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition

from pyomo_relu.cones import PSDCone
from pyomo_relu.errors import InputError, InputTypeError, UnsupportedConeError
from pyomo_relu.solvers.capability import OWN_INTERFACES
from pyomo_relu.solvers.cyipopt import CyIpopt
from pyomo_relu.solvers.errors import UnsupportedModelError
from tests.solvers.point_models import ALL, SENSES, linear_program, look, small

TC = TerminationCondition


def test_pyomos_own_names_are_left_alone():
    assert set(OWN_INTERFACES) == {"cyipopt", "glpk", "cbc", "scip"}
    assert not set(OWN_INTERFACES) & set(SolverFactory)
    assert type(pyo.SolverFactory("cbc")).__module__.startswith("pyomo.")


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("make", [*ALL, pytest.param(None, id="highs")])
def test_values_duals_and_reduced_costs_of_linear_programs(make, seed, sense):
    m, point, optimum, duals, costs = linear_program(seed, sense)
    solver = SolverFactory("highs") if make is None else make()
    results = solver.solve(m, load_solutions=False)
    loader = results.solution_loader
    accuracy = 1e-5 if make is CyIpopt else 1e-8
    assert results.termination_condition == TC.convergenceCriteriaSatisfied
    assert results.solution_status == SolutionStatus.optimal
    assert results.incumbent_objective == pytest.approx(optimum, abs=accuracy)
    values = loader.get_vars()
    assert [values[v] for v in m.x.values()] == pytest.approx(point, abs=accuracy)
    found = loader.get_duals()
    assert set(found) == set(duals)
    for row, dual in duals.items():
        assert found[row] == pytest.approx(dual, abs=accuracy)
    found = loader.get_reduced_costs()
    for j, cost in costs.items():
        assert found[m.x[j]] == pytest.approx(cost, abs=accuracy)


def state(m):
    return (
        list(m.component_map()),
        [
            (v.name, v.value, v.stale, v.bounds, v.fixed)
            for v in m.component_data_objects(pyo.Var)
        ],
        [(s.name, dict(s.items())) for s in m.component_objects(pyo.Suffix)],
    )


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("has_objective", [True, False])
def test_the_model_is_as_it_was_until_it_is_loaded(make, has_objective):
    m, point, _, duals, _ = linear_program(0, pyo.minimize)
    if not has_objective:
        del m.o
    m.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT_EXPORT)
    row = next(iter(duals))
    m.dual[row] = 17.0
    m.x[3].set_value(0.5)
    before = state(m)
    results = make().solve(m, load_solutions=False)
    after = state(m)
    # What is stale is a matter of the clock of the whole process, not of the model.
    assert before[0] == after[0]
    assert before[2] == after[2]
    assert [v[:2] for v in before[1]] == [v[:2] for v in after[1]]
    assert results.incumbent_objective is None or has_objective
    results.solution_loader.load_solution()
    if has_objective:
        assert m.x[3].value == pytest.approx(point[3], abs=1e-5)
        assert m.dual[row] == pytest.approx(duals[row], abs=1e-5)
    else:
        assert m.dual[row] == pytest.approx(0.0, abs=1e-5)
    assert not hasattr(m, "rc")


@pytest.mark.parametrize("make", ALL)
class TestDegenerateModels:
    def test_no_constraints(self, make):
        m = small(bounds=(-1, None))
        results = make().solve(m)
        assert results.incumbent_objective == pytest.approx(-2.0, abs=1e-6)
        costs = results.solution_loader.get_reduced_costs()
        assert costs[m.x[0]] == pytest.approx(1.0)
        assert results.solution_loader.get_duals() == {}

    def test_no_objective(self, make):
        m = small(bounds=(0, 1))
        m.c = pyo.Constraint(expr=m.x[0] + m.x[1] == 1.5)
        m.o.deactivate()
        results = make().solve(m)
        assert results.incumbent_objective is None
        assert pyo.value(m.c.body) == pytest.approx(1.5)

    def test_nothing_at_all(self, make):
        results = make().solve(pyo.ConcreteModel())
        assert results.solution_status == SolutionStatus.optimal
        assert results.incumbent_objective is None

    def test_no_free_variables(self, make):
        m = small()
        m.c = pyo.Constraint(expr=m.x[0] <= 2)
        m.x.fix(1.5)
        results = make().solve(m)
        assert results.incumbent_objective == pytest.approx(3.0)
        assert results.solution_loader.get_duals() == {m.c: 0.0}
        m.x.fix(2.5)
        assert look(make(), m).termination_condition == TC.provenInfeasible

    def test_fixed_variables_and_rows_of_numbers(self, make):
        m = small(bounds=(0, None))
        m.x[0].fix(2.0)
        m.c = pyo.Constraint(expr=m.x[0] <= 2)
        m.d = pyo.Constraint(expr=m.x[0] + m.x[1] >= 3)
        loader = make().solve(m).solution_loader
        assert m.x[1].value == pytest.approx(1.0, abs=1e-6)
        assert loader.get_duals()[m.c] == 0.0
        assert loader.get_duals([m.d])[m.d] == pytest.approx(1.0)
        with pytest.raises(InputError, match="fixed"):
            loader.get_vars([m.x[0]])

    def test_a_fixed_variable_without_a_value(self, make):
        m = small()
        m.x[0].fix(None)
        with pytest.raises(InputError, match="cannot be evaluated"):
            make().solve(m)

    def test_variables_in_the_objective_only(self, make):
        m = small(bounds=(0, 4))
        m.o.sense = pyo.maximize
        m.c = pyo.Constraint(expr=m.x[0] <= 2)
        make().solve(m)
        assert [v.value for v in m.x.values()] == pytest.approx([2, 4], abs=1e-6)

    def test_sides_at_infinity(self, make):
        m = small(bounds=(0, None))
        m.far = pyo.Param(initialize=math.inf, mutable=True)
        m.c = pyo.Constraint(expr=(-m.far, m.x[0] + m.x[1], m.far))
        m.d = pyo.Constraint(expr=(1, m.x[0] + m.x[1], m.far))
        assert make().solve(m).solution_loader.get_duals()[m.d] == pytest.approx(1.0)

    def test_bounds_and_sides_that_cross(self, make):
        m = small(bounds=(3, 2))
        assert look(make(), m).termination_condition == TC.provenInfeasible
        m = small(bounds=(0, 9))
        m.low = pyo.Param(initialize=3, mutable=True)
        m.c = pyo.Constraint(expr=(m.low, m.x[0] + m.x[1], 2))
        assert look(make(), m).termination_condition == TC.provenInfeasible

    def test_a_block(self, make):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(bounds=(0, None))
        m.b = pyo.Block()
        m.b.y = pyo.Var(bounds=(0, None))
        m.b.o = pyo.Objective(expr=m.x + 2 * m.b.y)
        m.b.c = pyo.Constraint(expr=m.x + m.b.y >= 1)
        make().solve(m.b)
        assert m.x.value == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("make", ALL)
class TestRefusals:
    def test_more_than_one_objective(self, make):
        m = small()
        m.p = pyo.Objective(expr=m.x[0])
        with pytest.raises(UnsupportedModelError, match="2 active objectives"):
            make().solve(m)

    def test_sos(self, make):
        m = small(bounds=(0, 1))
        m.s = pyo.SOSConstraint(var=m.x, sos=1)
        with pytest.raises(UnsupportedModelError, match="'s'"):
            make().solve(m)

    def test_cones(self, make):
        m = small()
        m.K = PSDCone([[m.x[0], 1.0], [1.0, m.x[1]]])
        with pytest.raises(UnsupportedConeError, match="'K'"):
            make().solve(m)

    def test_what_is_no_model(self, make):
        with pytest.raises(InputTypeError):
            make().solve(3)
        with pytest.raises(InputError, match="not constructed"):
            make().solve(pyo.AbstractModel())

    def test_coefficients_that_are_not_finite(self, make):
        m = small()
        m.p = pyo.Param(initialize=math.nan, mutable=True, within=pyo.Any)
        m.c = pyo.Constraint(expr=m.p * m.x[0] >= 1)
        with pytest.raises(InputError):
            make().solve(m)

    def test_unknown_options(self, make):
        with pytest.raises(InputError, match="no option 'gap'"):
            make().solve(small(), gap=1)
        with pytest.raises(InputError, match="iteration_limit"):
            make().solve(small(), iteration_limit=0)
        with pytest.raises(InputError, match="nonsense"):
            make().solve(small(bounds=(0, 1)), solver_options={"nonsense": 3})
