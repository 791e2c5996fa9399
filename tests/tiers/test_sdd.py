"""`relu.sdd`: scaled diagonally dominant matrices, for second-order cone programs."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.common.numeric_types import native_numeric_types
from pyomo.environ import ConcreteModel, Constraint, Objective, Var, maximize, value

from pyomo_relu import (
    CopositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
    TrainingProblem,
    bound_direction,
    build_copositive,
    relax,
    solve,
    train,
)
from pyomo_relu.cones import SecondOrderConeData, cone_data_objects
from pyomo_relu.errors import InputError
from tests.tiers.forms import HORN, cell_rays, dual, optimum, pairs, random_form

orders = {
    "seed": st.integers(0, 10_000),
    "m": st.integers(1, 4),
    "free": st.integers(0, 2),
}


def comparison(C, m=0):
    """Return the comparison matrix; positive entries of the first m rows are free.

    A matrix is scaled diagonally dominant where its comparison matrix, the diagonal
    less the absolute values beside it, is semidefinite (Boman et al. 2005).
    """
    compared = -np.abs(C)
    compared[:m, :m] = np.minimum(C[:m, :m], 0.0)
    np.fill_diagonal(compared, np.diag(C))
    return compared


def sum_of_blocks(model, name, order):
    """Return the sum of semidefinite 2-by-2 blocks on all pairs of rows, by hand."""
    blocks = list(itertools.combinations(range(order), 2))
    entries = Var(blocks, pairs(2))
    model.add_component(f"{name}_entries", entries)
    cones = PSDCone(
        blocks,
        rule=lambda m, i, j: [
            [entries[i, j, 0, 0], entries[i, j, 0, 1]],
            [entries[i, j, 0, 1], entries[i, j, 1, 1]],
        ],
    )
    model.add_component(f"{name}_cones", cones)
    total = np.zeros((order, order), dtype=object)
    for i, j in blocks:
        for a, b in itertools.product(range(2), repeat=2):
            place = (i, j)[a], (i, j)[b]
            total[place] = total[place] + entries[i, j, min(a, b), max(a, b)]
    return total


def by_hand(C, R, free):
    """Return max t with T'(C - t I)T = S + N + T'S'T, T = diag(R, I), by PSD cones."""
    r, m = R.shape
    T = np.zeros((r + free, m + free))
    T[:r, :m], T[r:, m:] = R, np.eye(free)
    model = ConcreteModel()
    model.t = Var()
    model.N = Var(pairs(m), bounds=(0, None))
    S = sum_of_blocks(model, "S", m + free)
    ambient = T.T @ sum_of_blocks(model, "ambient", r + free) @ T
    left, weight = T.T @ C @ T, T.T @ T

    def row(model, i, j):
        N = model.N[i, j] if j < m else 0.0
        return left[i, j] - weight[i, j] * model.t == S[i, j] + N + ambient[i, j]

    model.rows = Constraint(pairs(m + free), rule=row)
    model.o = Objective(expr=model.t, sense=maximize)
    return solve(model).incumbent_objective


@settings(max_examples=15, deadline=None)
@given(**orders)
def test_a_shift_is_the_least_eigenvalue_of_the_comparison_matrix(seed, m, free):
    C = random_form(np.random.default_rng(seed), m + free)
    semidefinite = ConcreteModel()
    semidefinite.t = Var()
    shifted = {
        (i, j): C[i, j] - float(i == j) * semidefinite.t for i, j in pairs(len(C))
    }
    semidefinite.K = PSDCone(shifted)
    semidefinite.o = Objective(expr=semidefinite.t, sense=maximize)
    for model, compared in (
        (semidefinite, comparison(C)),
        (dual(C, free=free), comparison(C, m)),
    ):
        truth = np.linalg.eigvalsh(compared)[0]
        assert optimum(model, "sdd") == pytest.approx(truth, abs=1e-6)


def test_it_does_not_depend_on_the_scale_of_the_coordinates():
    """Other than dominance without scaling."""
    rng = np.random.default_rng(1)
    C, d = random_form(rng, 4), np.diag(rng.uniform(0.1, 10.0, size=4))
    values = {
        tier: [optimum(dual(D @ C @ D, E=D @ D, free=2), tier) for D in (np.eye(4), d)]
        for tier in ("sdd", "dd")
    }
    assert values["sdd"][0] == pytest.approx(values["sdd"][1], abs=1e-6)
    assert abs(values["dd"][0] - values["dd"][1]) > 0.1


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(3, 5), free=st.integers(0, 2))
def test_with_rays_it_is_the_sum_of_blocks_in_both_coordinates(seed, m, free):
    rng = np.random.default_rng(seed)
    C, R = random_form(rng, 3 + free), cell_rays(rng, 3, m)
    model = dual(C, free=free, rays=R)
    found = optimum(model, "sdd")
    assert found == pytest.approx(by_hand(C, R, free), abs=2e-6)
    assert model.K.margin() >= -1e-6
    assert optimum(dual(C, free=free, rays=R), "dd") <= found + 1e-6
    assert found <= optimum(dual(C, free=free, rays=R), "dnn") + 1e-6


def test_with_facets_what_is_found_is_copositive():
    rng = np.random.default_rng(4)
    C, F = random_form(rng, 5), cell_rays(rng, 3, 5).T
    model = dual(C, free=2, facets=F)
    found = optimum(model, "sdd")
    assert model.K.margin() >= -1e-6
    assert optimum(dual(C, free=2, facets=F), "dd") <= found + 1e-6
    assert found <= optimum(dual(C, free=2, facets=F), "dnn") + 1e-6
    plain = optimum(dual(C, free=2), "sdd")
    assert optimum(dual(C, free=2, facets=np.eye(3)), "sdd") == pytest.approx(
        plain, abs=1e-6
    )


@pytest.mark.parametrize(("n", "d", "c"), [(5, 3, 2), (5, 4, 2), (5, 5, 1)])
def test_the_dual_bound_of_training_beside_the_others(n, d, c):
    rng = np.random.default_rng(n + d)
    problem = TrainingProblem(rng.normal(size=(n, d)), rng.normal(size=(n, c)), 0.2)
    bounds = []
    for tier in ("dd", "sdd", "dnn"):
        model = build_copositive(problem)
        relax(model, tier)
        bounds.append(solve(model).incumbent_objective)
    optimum = train(problem.X, problem.Y, problem.beta).certificate.objective
    assert 0.4 * optimum < bounds[1]
    assert bounds == sorted(bounds)
    assert bounds[2] <= optimum + 1e-6


def test_cones_are_of_plain_variables():
    """Solvers for quadratic constraints recognise a cone by that."""
    model = dual(random_form(np.random.default_rng(0), 5), free=2, rays=np.eye(3))
    relax(model, "sdd")
    cones = list(cone_data_objects(model, kinds=SecondOrderConeData))
    assert len(cones) == 2 * 10
    for cone in cones:
        for entry in cone.vector:
            assert type(entry) in native_numeric_types or entry.is_variable_type()


def test_zeros_and_what_a_nonnegative_matrix_covers_need_no_block():
    m = ConcreteModel()
    m.x = Var()
    m.K = CopositiveCone([[1, 2, m.x], [2, 1, 0], [m.x, 0, 1]], free=1)
    m.o = Objective(expr=m.x, sense=maximize)
    relax(m, "sdd")
    (cone,) = cone_data_objects(m, kinds=SecondOrderConeData)
    assert cone.vector[2] is m.x
    assert solve(m).incumbent_objective == pytest.approx(1.0, abs=1e-6)


def test_the_horn_matrix_is_not_found():
    """Its negative entries are a pentagon of -1: t = 1 - 2 cos 0."""
    assert optimum(dual(HORN), "sdd") == pytest.approx(-1.0, abs=1e-6)


def test_order_two_is_exact():
    m = ConcreteModel()
    m.M = Var(pairs(2))
    m.A, m.B = PSDCone(m.M), CopositiveCone(m.M, free=1)
    relax(m, "sdd")
    assert bound_direction(m) == "exact"
    m.M[0, 0].fix(4.0)
    m.M[1, 1].fix(9.0)
    m.o = Objective(expr=m.M[0, 1])
    solve(m)
    assert value(m.M[0, 1]) == pytest.approx(-6.0, abs=1e-5)


def test_other_cones_are_refused_with_the_tiers_that_take_them():
    m = ConcreteModel()
    m.M = Var(pairs(3))
    m.K = DoublyNonnegativeCone(m.M)
    with pytest.raises(InputError, match=r"these tiers apply: relu\.psd"):
        relax(m, "sdd", targets=m.K)


def test_the_direction_needs_every_row_and_cone():
    m = dual(random_form(np.random.default_rng(0), 4), rays=np.eye(4))
    relax(m, "sdd")
    assert bound_direction(m) == "lower"
    parts = list(cone_data_objects(m, kinds=SecondOrderConeData))
    parts += [
        row
        for row in m.component_data_objects(Constraint, active=True)
        if not isinstance(row.parent_block(), SecondOrderConeData)
    ]
    assert len(parts) > 20
    for part in parts:
        part.deactivate()
        assert bound_direction(m) == "neither", part.name
        part.activate()
