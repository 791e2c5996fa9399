"""A presolved model has the optimum, the duals and the proofs of the whole one."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    build_copositive,
    relax,
)
from pyomo_relu.cones import PSDCone, SecondOrderCone
from pyomo_relu.solvers import Clarabel, compile_conic
from pyomo_relu.solvers.presolve import presolve

KINDS = ["lp", "qp", "socp", "sdp"]
SENSES = [pyo.minimize, pyo.maximize]
QUIET = {"load_solutions": False, "raise_exception_on_nonoptimal_result": False}


def model_with_definitions(
    seed: int, kind: str, sense: int = pyo.minimize
) -> pyo.ConcreteModel:
    """Build a bounded model; two levels of defined variables, used everywhere."""
    rng = np.random.default_rng(seed)
    n = 5
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n), bounds=(None if kind == "socp" else -2.0, 3.0))
    m.y = pyo.Var(range(4))
    m.w = pyo.Var(range(2))
    m.shift = pyo.Param(range(4), mutable=True, initialize=0.0)

    def combine(variables, count):
        chosen = rng.choice(len(variables), count, replace=False)
        weights = rng.uniform(0.5, 2.0, count) * rng.choice([-1.0, 1.0], count)
        return sum(
            weight * variables[int(i)]
            for weight, i in zip(weights, chosen, strict=True)
        )

    m.define_y = pyo.Constraint(
        range(4),
        rule=lambda m, i: (
            rng.uniform(0.5, 2.0) * m.y[i]
            == combine(m.x, 2) + rng.normal() + m.shift[i]
        ),
    )
    m.define_w = pyo.Constraint(
        range(2), rule=lambda m, i: m.w[i] - combine(m.y, 1) - combine(m.x, 1) == 1.0
    )
    m.room = pyo.Constraint(
        range(2), rule=lambda m, i: (-6.0, combine(m.y, 2) + m.w[i], 6.0)
    )
    m.tie = pyo.Constraint(expr=m.y[0] + m.x[0] + m.x[1] == rng.normal())
    if kind == "sdp":
        m.K = PSDCone([[4.0 + m.x[0], m.x[1]], [m.x[1], 4.0 + m.x[2]]])
    if kind == "socp":
        m.K = SecondOrderCone([3.0, *(m.x[i] for i in range(n))])
    cost = combine(m.x, n) + combine(m.y, 4) + combine(m.w, 2)
    if kind == "qp":
        square = sum((m.x[i] - 1.0) ** 2 for i in range(n))
        cost += square if sense == pyo.minimize else -square
    m.o = pyo.Objective(expr=cost, sense=sense)
    return m


def with_and_without(model: pyo.ConcreteModel):
    return [Clarabel().solve(model, presolve=on, **QUIET) for on in (True, False)]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    sense=st.sampled_from(SENSES),
)
def test_values_are_those_without_presolve(seed, kind, sense):
    m = model_with_definitions(seed, kind, sense)
    assert len(presolve(compile_conic(m)).rows)
    on, off = with_and_without(m)
    assert on.termination_condition == off.termination_condition
    if off.termination_condition != TerminationCondition.convergenceCriteriaSatisfied:
        assert on.termination_condition == TerminationCondition.provenInfeasible
        assert on.extra_info.certificate_residual < 1e-6
        return
    assert on.incumbent_objective == pytest.approx(off.incumbent_objective, abs=1e-6)
    info = on.extra_info
    assert max(info.primal_residual, info.dual_residual, abs(info.gap)) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(5))
def test_duals_are_those_without_presolve(seed, kind):
    # Instances whose duals are unique.
    on, off = with_and_without(model_with_definitions(seed, kind))
    ours, theirs = (results.solution_loader.get_duals() for results in (on, off))
    assert ours.keys() == theirs.keys()
    for row, dual in theirs.items():
        np.testing.assert_allclose(ours[row], dual, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS))
def test_every_residual_of_the_whole_is_one_of_the_part(seed, kind):
    # An identity of any x and z, not only of a solution.
    form = compile_conic(model_with_definitions(seed, kind))
    presolved = presolve(form)
    part = presolved.reduced
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=len(part.c)), rng.normal(size=len(part.b))
    whole_x, whole_z = presolved.restore(x, z)
    assert form.objective(whole_x) == pytest.approx(part.objective(x))
    assert form.primal_residual(whole_x) == pytest.approx(part.primal_residual(x))
    assert form.dual_residual(whole_x, whole_z) == pytest.approx(
        part.dual_residual(x, z)
    )
    assert form.dual_objective(whole_x, whole_z) == pytest.approx(
        part.dual_objective(x, z)
    )
    x, z = x - x.dot(part.c) * part.c - part.c, z - z.dot(part.b) * part.b - part.b
    whole_x, whole_z = presolved.restore(x, z, certificate=True)
    assert form.c @ whole_x == pytest.approx(part.c @ x)
    assert form.b @ (form.weight * whole_z) == pytest.approx(part.b @ (part.weight * z))
    assert form.unboundedness_residual(whole_x) == pytest.approx(
        part.unboundedness_residual(x)
    )
    assert form.infeasibility_residual(whole_z) == pytest.approx(
        part.infeasibility_residual(z)
    )


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("kind", ["qp", "sdp"])
def test_the_dual_of_an_eliminated_row_is_the_derivative(kind, sense):
    m = model_with_definitions(3, kind, sense)
    form = compile_conic(m)
    gone = set(presolve(form).rows.tolist())
    rows = {id(c): r for c, r in zip(form.constraints, form.upper_rows, strict=True)}
    duals = Clarabel().solve(m).solution_loader.get_duals()
    eliminated = [i for i in range(4) if rows[id(m.define_y[i])] in gone]
    assert eliminated
    for i in eliminated:
        values = []
        for step in (1e-3, -1e-3):
            m.shift[i] = step
            values.append(Clarabel().solve(m, presolve=False).incumbent_objective)
        m.shift[i] = 0.0
        expected = (values[0] - values[1]) / 2e-3
        assert abs(expected) > 0.01
        assert duals[m.define_y[i]] == pytest.approx(expected, abs=1e-3)


def infeasible() -> pyo.ConcreteModel:
    m = model_with_definitions(0, "sdp")
    m.contradiction = pyo.Constraint(expr=m.w[0] + m.w[1] >= 100.0)
    return m


def defined_twice() -> pyo.ConcreteModel:
    m = model_with_definitions(0, "lp")
    m.y_again = pyo.Constraint(expr=m.define_y[0].body == 5.0)
    m.and_again = pyo.Constraint(expr=m.define_y[0].body == -5.0)
    return m


def test_an_infeasible_model_keeps_its_verdict_and_a_proof():
    for m in (infeasible(), defined_twice()):
        assert len(presolve(compile_conic(m)).rows)
        for results in with_and_without(m):
            end = results.termination_condition
            assert end == TerminationCondition.provenInfeasible
            assert results.extra_info.certificate_residual < 1e-7


def test_an_unbounded_model_keeps_its_verdict_and_a_direction():
    m = model_with_definitions(0, "qp")
    m.v = pyo.Var(range(2))
    m.t = pyo.Var(bounds=(0.0, None))
    m.define_v = pyo.Constraint(
        range(2), rule=lambda m, i: m.v[i] + 3.0 == (i + 1) * m.t
    )
    m.o.expr -= m.v[0] + m.v[1]
    form = compile_conic(m)
    gone = {id(form.variables[j]) for j in presolve(form).columns.tolist()}
    assert {id(m.v[0]), id(m.v[1])} <= gone
    for results in with_and_without(m):
        assert results.termination_condition == TerminationCondition.unbounded
        assert results.extra_info.certificate_residual < 1e-7


def test_a_model_made_of_definitions_only_is_left_alone():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.o = pyo.Objective(expr=m.x[0] - m.x[1])
    m.c = pyo.Constraint(range(3), rule=lambda m, i: 2.0 * m.x[i] == i)
    form = compile_conic(m)
    assert presolve(form).reduced is form
    assert Clarabel().solve(m).incumbent_objective == pytest.approx(-0.5)
    assert Clarabel().solve(m).solution_loader.get_duals()[m.c[0]] == pytest.approx(0.5)


@pytest.mark.parametrize("where", ["bound", "row", "objective", "cone"])
def test_a_variable_that_is_needed_elsewhere_stays(where):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4), bounds=(0.0, 1.0))
    m.y = pyo.Var()
    m.c = pyo.Constraint(expr=m.y == sum(m.x[i] for i in range(4)) - 1.0)
    m.o = pyo.Objective(expr=m.y)
    assert len(presolve(compile_conic(m)).columns) == 1
    if where == "bound":
        m.y.setlb(0.0)
    elif where == "row":
        m.bound = pyo.Constraint(expr=3.0 * m.y <= 2.0)
    elif where == "objective":
        m.o.expr += m.y**2
    else:
        m.K = PSDCone([[1.0, m.y + m.x[0]], [m.y + m.x[0], 1.0]])
    assert len(presolve(compile_conic(m)).columns) == 0


def test_a_variable_that_a_row_fixes_goes_and_its_row_keeps_its_dual():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0.0, None))
    m.y = pyo.Var()
    m.o = pyo.Objective(expr=3.0 * m.x)
    m.fix_y = pyo.Constraint(expr=2.0 * m.y == 4.0)
    m.d = pyo.Constraint(expr=m.x - m.y >= 1.0)
    assert len(presolve(compile_conic(m)).columns) == 1
    duals = Clarabel().solve(m).solution_loader.get_duals()
    assert m.y.value == pytest.approx(2.0)
    # The optimum is 3 (y + 1), and y half the right-hand side.
    assert duals[m.fix_y] == pytest.approx(1.5)
    assert duals[m.d] == pytest.approx(3.0)


def test_an_unstable_definition_stays():
    # Substituting y = 1e6 (1 - x) would leave a row in which the 1 of x is lost.
    def columns(size):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(bounds=(0.0, 2.0))
        m.y = pyo.Var()
        m.o = pyo.Objective(expr=m.x)
        m.c = pyo.Constraint(expr=size * m.y + m.x == 1.0)
        m.d = pyo.Constraint(expr=m.x + m.y >= 0.5)
        return presolve(compile_conic(m)).columns

    assert len(columns(0.5)) == 1
    assert len(columns(1e-6)) == 0


def test_entries_that_cancel_leave_no_rounding_behind():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3), bounds=(0.0, 1.0))
    m.y = pyo.Var()
    m.o = pyo.Objective(expr=m.y)
    m.c = pyo.Constraint(expr=m.y == 0.1 * m.x[0] + 0.7 * m.x[1] + m.x[2])
    m.d = pyo.Constraint(expr=3.0 * m.y - 0.3 * m.x[0] - 2.1 * m.x[1] >= -1.0)
    row = presolve(compile_conic(m)).reduced.A.toarray()[0]
    np.testing.assert_allclose(row, [0.0, 0.0, -3.0], atol=0.0)


def test_moments_of_size_1e6_no_longer_hide_the_optimum():
    # 602 cells, some of them thin: in ray coordinates their moments reach 1e6, and
    # relative to that the whole model is solved with a value that is wrong in the
    # third digit. The dual program has no such variables.
    rng = np.random.default_rng(0)
    problem = TrainingProblem(
        rng.normal(size=(25, 3)), rng.normal(size=(25, 3)), beta=0.2
    )
    primal, dual = build_completely_positive(problem), build_copositive(problem)
    relax(primal, "psd")
    relax(dual, "psd")
    results = Clarabel().solve(primal)
    expected = Clarabel().solve(dual).incumbent_objective
    assert expected == pytest.approx(4.2082770, abs=1e-6)
    assert results.incumbent_objective == pytest.approx(expected, abs=1e-6)
    assert results.extra_info.dual_residual < 1e-6
    assert results.extra_info.primal_residual < 1e-6
    form = compile_conic(primal)
    presolved = presolve(form)
    assert presolved.reduced.A.nnz < 0.4 * form.A.nnz
    moments = {id(entry) for entry in primal.moment.values()}
    assert moments <= {id(form.variables[j]) for j in presolved.columns.tolist()}
