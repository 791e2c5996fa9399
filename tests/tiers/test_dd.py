"""`relu.dd`: diagonally dominant matrices, for linear programs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.contrib.solver.common.util import NoOptimalSolutionError
from pyomo.environ import ConcreteModel, Constraint, Objective, Var, maximize

from pyomo_relu import (
    CompletelyPositiveCone,
    CopositiveCone,
    PSDCone,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_copositive,
    recover_network,
    relax,
    solve,
    train,
)
from pyomo_relu.cones import SecondOrderConeData, cone_data_objects
from pyomo_relu.errors import InputError
from tests.instances import reference_data
from tests.tiers.forms import HORN, cell_rays, dual, pairs, primal, random_form
from tests.tiers.lasso import single_output_lasso

orders = {
    "seed": st.integers(0, 10_000),
    "m": st.integers(1, 4),
    "free": st.integers(0, 2),
}


def linear_optimum(model):
    """Solve after `relu.dd` by a solver that takes linear rows only."""
    relax(model, "dd")
    assert list(cone_data_objects(model)) == []
    assert list(cone_data_objects(model, kinds=SecondOrderConeData)) == []
    return solve(model, "highs").incumbent_objective


def largest_shift(C, kind):
    """Return the model of max t such that C - t I is in a cone."""
    m = ConcreteModel()
    m.t = Var()
    matrix = [
        [C[i, j] - m.t if i == j else C[i, j] for j in range(len(C))]
        for i in range(len(C))
    ]
    m.K = kind(matrix)
    m.o = Objective(expr=m.t, sense=maximize)
    return m


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 5),
    d=st.integers(1, 3),
    c=st.integers(1, 3),
)
def test_the_value_is_the_lasso_over_rays_and_single_outputs(seed, n, d, c):
    rng = np.random.default_rng(seed)
    Y = rng.normal(size=(n, c))
    X = rng.normal(size=(n, d))
    problem = TrainingProblem(X, Y / np.linalg.norm(Y), beta=0.05)
    model = build_completely_positive(problem)
    relax(model, "dd")
    value = solve(model).incumbent_objective
    assert value == pytest.approx(single_output_lasso(problem), abs=1e-6)
    assert bound_direction(model) == "upper"


@pytest.mark.parametrize("seed", range(4))
def test_the_solution_is_a_network(seed):
    problem = TrainingProblem(*reference_data(seed), beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "dd")
    objective = solve(model).incumbent_objective
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(objective, abs=1e-6)
    # Neurons on one ray become one, with all outputs: that is worth something.
    assert network.merge().objective(problem) < objective - 1e-7


def test_highs_solves_the_quadratic_program():
    rng = np.random.default_rng(2)
    problem = TrainingProblem(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), 0.1)
    values = []
    for solver in ("highs", "clarabel"):
        model = build_completely_positive(problem)
        relax(model, "dd")
        values.append(solve(model, solver).incumbent_objective)
    assert values[0] == pytest.approx(values[1], abs=1e-6)


@settings(max_examples=15, deadline=None)
@given(**orders)
def test_a_semidefinite_shift_is_that_of_gershgorin(seed, m, free):
    C = random_form(np.random.default_rng(seed), m + free)
    off = np.abs(C - np.diag(np.diag(C))).sum(axis=1)
    found = linear_optimum(largest_shift(C, PSDCone))
    assert found == pytest.approx((np.diag(C) - off).min(), abs=1e-7)


@settings(max_examples=15, deadline=None)
@given(**orders)
def test_a_copositive_shift_counts_negative_entries_alone(seed, m, free):
    C = random_form(np.random.default_rng(seed), m + free)
    size = np.abs(C)
    size[:m, :m] = np.maximum(-C[:m, :m], 0.0)
    np.fill_diagonal(size, 0.0)
    found = linear_optimum(dual(C, free=free))
    assert found == pytest.approx((np.diag(C) - size.sum(axis=1)).min(), abs=1e-7)


@settings(max_examples=15, deadline=None)
@given(**orders)
def test_a_completely_positive_minimum_is_at_one_or_two_coordinates(seed, m, free):
    """The extreme dominant matrices are zz' with z = e_i, e_i + e_j or e_i - e_j."""
    k = m + free
    C = random_form(np.random.default_rng(seed), k)
    values = list(np.diag(C))
    for i, j in pairs(k):
        if i < j:
            # Two cone coordinates have the same sign.
            sign = C[i, j] if j < m else -abs(C[i, j])
            values.append(0.5 * (C[i, i] + C[j, j]) + sign)
    assert linear_optimum(primal(C, free=free)) == pytest.approx(min(values), abs=1e-7)


def test_identity_rays_and_facets_change_nothing():
    C = random_form(np.random.default_rng(3), 5)
    plain = linear_optimum(dual(C, free=2))
    for options in ({"rays": np.eye(3)}, {"facets": np.eye(3)}):
        assert linear_optimum(dual(C, free=2, **options)) == pytest.approx(plain)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(3, 5), free=st.integers(0, 2))
def test_what_is_found_in_rays_and_facets_is_copositive(seed, m, free):
    rng = np.random.default_rng(seed)
    C, R = random_form(rng, 3 + free), cell_rays(rng, 3, m)
    for options in ({"rays": R}, {"facets": R.T}):
        model = dual(C, free=free, **options)
        t = linear_optimum(model)
        assert model.K.margin() >= -1e-6
        relaxed = dual(C, free=free, **options)
        relax(relaxed, "dnn")
        assert t <= solve(relaxed).incumbent_objective + 1e-6


@pytest.mark.parametrize(("n", "d"), [(5, 4), (5, 5)])
def test_the_dual_bound_of_training_says_something_at_rank_four_and_five(n, d):
    """Dominance in coordinates of rays alone leaves Z = 0, and the bound zero."""
    rng = np.random.default_rng(5)
    problem = TrainingProblem(rng.normal(size=(n, d)), rng.normal(size=(n, 2)), 0.2)
    optimum = train(problem.X, problem.Y, problem.beta).certificate.objective
    model = build_copositive(problem)
    relax(model, "dd")
    bound = solve(model).incumbent_objective
    assert 0.3 * optimum < bound < optimum
    assert bound_direction(model) == "lower"


def test_the_horn_matrix_is_not_found():
    """It has no positive row sums of what is left after N: t = 1 - 2."""
    assert linear_optimum(dual(HORN)) == pytest.approx(-1.0)


@pytest.mark.parametrize("kind", [PSDCone, CopositiveCone, CompletelyPositiveCone])
def test_numbers_that_are_not_dominated_make_the_model_infeasible(kind):
    for diagonal, feasible in ((2.0, True), (0.5, False)):
        m = ConcreteModel()
        m.x = Var(bounds=(0, 1))
        sign = 1.0 if kind is CompletelyPositiveCone else -1.0
        m.K = kind([[diagonal, sign, 0], [sign, diagonal, 0], [0, 0, m.x]])
        m.o = Objective(expr=m.x)
        relax(m, "dd")
        if feasible:
            assert solve(m).incumbent_objective == pytest.approx(0.0, abs=1e-7)
        else:
            with pytest.raises(NoOptimalSolutionError, match=r"(?i)infeasible"):
                solve(m)


def test_a_negative_number_in_a_leading_block_is_infeasible():
    m = ConcreteModel()
    m.x = Var(bounds=(0, 1))
    m.K = CompletelyPositiveCone([[2, -1], [-1, 2 + m.x]])
    m.o = Objective(expr=m.x)
    relax(m, "dd")
    with pytest.raises(NoOptimalSolutionError, match=r"K_dd\.sign\[0,1\]"):
        solve(m)


def test_one_entry_is_exact():
    m = ConcreteModel()
    m.x = Var()
    m.K = CompletelyPositiveCone([[m.x]])
    m.o = Objective(expr=m.x)
    relax(m, "dd")
    assert bound_direction(m) == "exact"
    assert solve(m, "highs").incumbent_objective == 0.0


def test_completely_positive_cones_with_facets_are_refused():
    m = ConcreteModel()
    m.M = Var(pairs(3))
    m.K = CompletelyPositiveCone(matrix=m.M, facets=np.eye(2), free=1)
    with pytest.raises(InputError, match=r"relu\.minors, relu\.cuts or relu\.fact"):
        relax(m, "dd")
    assert m.K.active
    assert m.component("K_dd") is None


def test_the_direction_needs_every_row():
    m = dual(random_form(np.random.default_rng(0), 4), rays=np.eye(4))
    relax(m, "dd")
    assert bound_direction(m) == "lower"
    rows = list(m.component_data_objects(Constraint, active=True))
    assert len(rows) > 10
    for row in rows:
        row.deactivate()
        assert bound_direction(m) == "neither", row.name
        row.activate()
