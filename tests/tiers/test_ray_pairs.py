"""`relu.ray_pairs`: blocks of two cone coordinates, and the test on edges."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.environ import ConcreteModel, Objective, Param, Var, maximize

from pyomo_relu import (
    CompletelyPositiveCone,
    CopositiveCone,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_copositive,
    recover_network,
    relax,
    solve,
    train,
)
from pyomo_relu.errors import InputError
from pyomo_relu.tiers import leaf_cones, source_cone
from tests.instances import REFERENCE, reference_data
from tests.tiers.forms import (
    HORN,
    cell_rays,
    dual,
    least,
    optimum,
    pairs,
    primal,
    random_form,
)
from tests.tiers.lasso import group_lasso


def least_with_two(C, R, free):
    """Return the least of z'Cz over unit z = (R a, v), two nonnegative coordinates."""
    columns = itertools.combinations(range(R.shape[1]), min(2, R.shape[1]))
    return min(least(C, R[:, list(pair)], free) for pair in columns)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    r=st.integers(1, 4),
    m=st.integers(1, 5),
    free=st.integers(0, 2),
)
def test_both_programs_find_the_least_over_two_rays_and_the_free_part(seed, r, m, free):
    rng = np.random.default_rng(seed)
    C, R = random_form(rng, r + free), cell_rays(rng, r, m)
    truth = least_with_two(C, R, free)
    for build in (primal, dual):
        model = build(C, rays=R, free=free)
        assert optimum(model, "ray_pairs") == pytest.approx(truth, abs=2e-6)
        exact = m <= 2 or np.linalg.matrix_rank(R) <= 2
        assert (bound_direction(model) == "exact") == exact
        if exact:
            assert truth == pytest.approx(least(C, R, free), abs=1e-8)


@settings(max_examples=6, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 5),
    d=st.integers(1, 3),
    c=st.integers(1, 2),
)
def test_between_the_optimum_and_the_group_lasso(seed, n, d, c):
    rng = np.random.default_rng(seed)
    # No two rows are nearly parallel: interior points need cells of some width.
    X = rng.integers(-2, 3, size=(n, d)).astype(float)
    X[0, 0] = 1.0
    Y = rng.normal(size=(n, c))
    problem = TrainingProblem(X, Y / np.linalg.norm(Y), beta=0.05)
    values = []
    for build in (build_completely_positive, build_copositive):
        model = build(problem)
        relax(model, "ray_pairs")
        values.append(solve(model).incumbent_objective)
    assert values[0] == pytest.approx(values[1], abs=2e-6)
    assert values[0] <= group_lasso(problem) + 1e-6
    best = train(problem.X, problem.Y, problem.beta, gap=1e-8).certificate.objective
    assert values[0] >= best - 1e-6
    if d <= 2:
        assert values[0] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("build", [build_completely_positive, build_copositive])
def test_the_solution_is_a_network(build):
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    model = build(problem)
    relax(model, "ray_pairs")
    objective = solve(model).incumbent_objective
    assert REFERENCE[0] - 1e-6 <= objective <= 1.001 * REFERENCE[0]
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(objective, abs=1e-5)
    assert network.merge().objective(problem) <= objective + 1e-5


def test_the_pieces_have_the_rays_of_their_pairs():
    R = cell_rays(np.random.default_rng(0), 3, 4)
    for build, kind in (
        (primal, "doubly nonnegative"),
        (dual, "positive semidefinite"),
    ):
        model = build(np.eye(4), rays=R, free=1)
        relax(model, "ray_pairs")
        leaves = leaf_cones(model.K)
        assert {leaf.kind for leaf in leaves} == {kind}
        assert [leaf.order for leaf in leaves] == [3] * 6
        for leaf, pair in zip(leaves, itertools.combinations(range(4), 2), strict=True):
            np.testing.assert_array_equal(leaf.rays, R[:, pair])
            assert source_cone(leaf) is model.K


def test_the_horn_matrix_passes_the_test_on_edges():
    """Every principal submatrix of order two is copositive, some not semidefinite."""
    assert optimum(dual(HORN), "ray_pairs") == pytest.approx(0.0, abs=1e-6)
    assert optimum(dual(HORN), "dnn") < -0.1


def test_mutable_parameters_may_change_afterwards():
    m = ConcreteModel()
    m.x, m.p = Var(), Param(initialize=1.0, mutable=True)
    m.K = CopositiveCone([[1, -m.p * m.x], [-m.p * m.x, 4]])
    m.o = Objective(expr=m.x, sense=maximize)
    relax(m, "ray_pairs")
    for p in (1.0, 4.0):
        m.p.value = p
        assert solve(m).incumbent_objective == pytest.approx(2.0 / p, abs=1e-6)


def test_pairs_of_one_coordinate_are_that_coordinate():
    for cone in (CompletelyPositiveCone, CopositiveCone):
        m = ConcreteModel()
        m.M = Var(pairs(3))
        m.K = cone(m.M, free=2)
        relax(m, "ray_pairs")
        assert [leaf.order for leaf in leaf_cones(m.K)] == [3]
        direction = bound_direction(m)
        assert direction == "exact"
        assert "at most two cone coordinates" in direction.reason


@pytest.mark.parametrize("cone", [CompletelyPositiveCone, CopositiveCone])
def test_facets_are_refused_with_the_tiers_that_take_them(cone):
    m = ConcreteModel()
    m.M = Var(pairs(3))
    m.K = cone(matrix=m.M, facets=np.eye(2), free=1)
    with pytest.raises(InputError, match=r"given by facets.*relu\.dnn"):
        relax(m, "ray_pairs")
    assert m.K.active
    assert m.component("K_ray_pairs") is None


def test_without_one_link_the_direction_changes():
    model = primal(random_form(np.random.default_rng(0), 5), free=1)
    relax(model, "ray_pairs")
    assert bound_direction(model) == "upper"
    model.K_ray_pairs.linking[0, 1].deactivate()
    assert bound_direction(model) == "neither"
    model.K_ray_pairs.linking[0, 1].activate()
    model.K_ray_pairs.cone[3].deactivate()
    assert bound_direction(model) == "neither"
