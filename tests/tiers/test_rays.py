"""`relu.rays`: the group lasso over rays, and the vertex test."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.environ import ConcreteModel, Constraint, Objective, Var, value

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
)
from pyomo_relu.cones import SecondOrderConeData, cone_data_objects
from pyomo_relu.errors import InputError
from pyomo_relu.tiers import leaf_cones
from tests.instances import reference_data
from tests.tiers.forms import (
    cell_rays,
    dual,
    optimum,
    pairs,
    primal,
    random_form,
)
from tests.tiers.lasso import group_lasso


def random_problem(seed, n, d, c):
    rng = np.random.default_rng(seed)
    Y = rng.normal(size=(n, c))
    return TrainingProblem(rng.normal(size=(n, d)), Y / np.linalg.norm(Y), beta=0.05)


def least_with_one(C, R, free):
    """Return the least of z'Cz over unit z = (R a, v), a one nonnegative coordinate."""
    r = len(R)
    values = []
    for ray in R.T:
        T = np.zeros((r + free, 1 + free))
        T[:r, 0] = ray / np.linalg.norm(ray)
        T[r:, 1:] = np.eye(free)
        values.append(np.linalg.eigvalsh(T.T @ C @ T)[0])
    return min(values)


def second_order_cones(model):
    return list(cone_data_objects(model, kinds=SecondOrderConeData))


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 5),
    d=st.integers(1, 3),
    c=st.integers(1, 3),
)
def test_the_value_is_the_group_lasso_over_all_rays(seed, n, d, c):
    problem = random_problem(seed, n, d, c)
    lasso = group_lasso(problem)
    for build in (build_completely_positive, build_copositive):
        model = build(problem)
        relax(model, "rays")
        assert solve(model).incumbent_objective == pytest.approx(lasso, abs=1e-6)
        # At rank one a cell is a ray.
        side = "exact" if d == 1 else "upper"
        assert bound_direction(model) == side


@pytest.mark.parametrize("seed", range(4))
def test_the_solution_is_a_network(seed):
    problem = TrainingProblem(*reference_data(seed), beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "rays")
    objective = solve(model).incumbent_objective
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(objective, abs=1e-6)
    assert network.merge().objective(problem) <= objective + 1e-6


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    r=st.integers(1, 3),
    m=st.integers(1, 4),
    free=st.integers(0, 2),
)
def test_both_programs_find_the_least_over_one_ray_and_the_free_part(seed, r, m, free):
    rng = np.random.default_rng(seed)
    C, R = random_form(rng, r + free), cell_rays(rng, r, m)
    truth = least_with_one(C, R, free)
    for build in (primal, dual):
        found = optimum(build(C, rays=R, free=free), "rays")
        assert found == pytest.approx(truth, abs=1e-6)


def weigh(weights, cone):
    """Return <weights, M> without the terms that are zero."""
    return sum(
        weights[i, j] * cone.matrix[i, j] for i, j in np.argwhere(weights).tolist()
    )


def program_with_outputs(seed=0, members=1, free=2):
    """Return min <Q, M>, <E, M> = 1, where Q and E are diagonal in the free part."""
    rng = np.random.default_rng(seed)
    k = 2 + free
    Q, E = random_form(rng, k), np.diag(rng.uniform(0.5, 2.0, size=k))
    Q[2:, 2:] = np.diag(np.diag(Q)[2:])
    m = ConcreteModel()
    m.M = Var(range(members), pairs(k))

    def matrix(m, member):
        return [[m.M[member, min(i, j), max(i, j)] for j in range(k)] for i in range(k)]

    m.K = CompletelyPositiveCone(range(members), rule=matrix, free=free)
    m.o = Objective(expr=sum(weigh(Q, cone) for cone in m.K.values()))
    m.unit = Constraint(range(members), rule=lambda m, i: weigh(E, m.K[i]) == 1.0 + i)
    return m


@pytest.mark.parametrize("seed", range(4))
def test_entries_that_nobody_sees_make_no_difference(seed):
    """Second-order cones where they are unseen, semidefinite ones where not: equal."""
    arrows, blocks = program_with_outputs(seed), program_with_outputs(seed)
    blocks.seen = Constraint(expr=blocks.M[0, 2, 3] >= -100.0)
    for model in (arrows, blocks):
        relax(model, "rays")
    assert len(second_order_cones(arrows)) == 4
    assert leaf_cones(arrows.K[0]) == []
    assert second_order_cones(blocks) == []
    assert [leaf.kind for leaf in leaf_cones(blocks.K[0])] == [
        "positive semidefinite",
        "positive semidefinite",
    ]
    values = [solve(model).incumbent_objective for model in (arrows, blocks)]
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert bound_direction(arrows) == bound_direction(blocks) == "upper"


def test_the_direction_knows_when_an_entry_is_seen_afterwards():
    model = program_with_outputs()
    relax(model, "rays")
    assert bound_direction(model) == "upper"
    model.seen = Constraint(expr=model.M[0, 2, 3] >= 0.1)
    direction = bound_direction(model)
    assert direction == "neither"
    assert "M[0,2,3]" in direction.reason
    model.seen.deactivate()
    assert bound_direction(model) == "upper"
    model.M[0, 2, 3].setlb(0.1)
    assert bound_direction(model) == "neither"


def share(m):
    """Return a cone that has an entry of another's G on its diagonal."""
    return CompletelyPositiveCone([[m.M[0, 2, 3], 0], [0, m.M[0, 3, 3]]], free=1)


def replace_entry(value_of_entry):
    def change(m):
        m.K.deactivate()
        matrix = m.K[0].matrix
        matrix[2, 3] = matrix[3, 2] = value_of_entry(m)
        return CompletelyPositiveCone(matrix, free=2)

    return change


@pytest.mark.parametrize(
    "change",
    [
        share,
        replace_entry(lambda m: 0.25),
        replace_entry(lambda m: 2 * m.M[0, 2, 3]),
        replace_entry(lambda m: m.M[0, 0, 0]),
    ],
    ids=["in another cone", "a number", "an expression", "an entry of A too"],
)
def test_entries_that_are_not_free_keep_their_blocks(change):
    model = program_with_outputs()
    model.L = change(model)
    cone = model.K[0] if model.K.active else model.L
    relax(model, "rays", targets=cone)
    assert [leaf.kind for leaf in leaf_cones(cone)] == ["positive semidefinite"] * 2


def test_two_cones_that_share_an_entry_keep_their_blocks():
    model = program_with_outputs(members=2)
    other = model.K[1].matrix
    other[2, 3] = other[3, 2] = model.M[0, 2, 3]
    model.L = CompletelyPositiveCone(
        [0, 1],
        rule=lambda m, i: {"matrix": [m.K[0].matrix, other][i], "free": 2},
    )
    model.K.deactivate()
    relax(model, "rays", targets=model.L)
    assert len(leaf_cones(model.L[0])) == len(leaf_cones(model.L[1])) == 2


def test_without_free_coordinates_rows_are_enough():
    """The vertices of the simplex: no cone is left, and any LP solver will do."""
    Q = random_form(np.random.default_rng(1), 4)
    for build in (primal, dual):
        model = build(Q)
        relax(model, "rays")
        assert list(cone_data_objects(model)) == []
        assert second_order_cones(model) == []
        found = solve(model, "highs").incumbent_objective
        assert found == pytest.approx(np.diag(Q).min(), abs=1e-6)


def test_one_cone_coordinate_is_exact():
    for cone in (CompletelyPositiveCone, CopositiveCone):
        m = ConcreteModel()
        m.M = Var(pairs(3))
        m.K = cone(m.M, free=2)
        relax(m, "rays")
        direction = bound_direction(m)
        assert direction == "exact"
        assert "one cone coordinate" in direction.reason


@pytest.mark.parametrize("cone", [CompletelyPositiveCone, CopositiveCone])
def test_facets_are_refused_with_the_tiers_that_take_them(cone):
    m = ConcreteModel()
    m.M = Var(pairs(3))
    m.K = cone(matrix=m.M, facets=np.eye(2), free=1)
    with pytest.raises(InputError, match=r"given by facets.*relu\.dnn"):
        relax(m, "rays")
    assert m.K.active
    assert m.component("K_rays") is None


def test_rows_and_columns_of_zeros_are_fine():
    """A ray that no output uses needs its sign all the same."""
    m = ConcreteModel()
    m.a, m.w, m.g = Var(), Var(), Var()
    m.K = CompletelyPositiveCone([[m.a, 0, 0], [0, 1, m.w], [0, m.w, m.g]], free=1)
    m.row = Constraint(expr=m.w == 3)
    m.o = Objective(expr=m.a + m.g)
    relax(m, "rays")
    solve(m)
    assert value(m.a) == pytest.approx(0.0, abs=1e-6)
    assert value(m.g) == pytest.approx(9.0, abs=1e-5)
