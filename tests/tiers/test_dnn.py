"""`relu.dnn` on both sides: brute force, formulas, published values, multipliers."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.environ import ConcreteModel, Constraint, Var

from pyomo_relu.cones import CopositiveCone, PSDConeData
from pyomo_relu.solvers import solve
from pyomo_relu.tiers import bound_direction, leaf_cones, relax
from tests.tiers.forms import (
    HORN,
    cell_rays,
    dual,
    give_values,
    least,
    optimum,
    pairs,
    primal,
    random_form,
)

SQUARE = np.array([[1.0, 1, -1, -1], [1, -1, -1, 1], [1, 1, 1, 1]])
#: Facets of the cone over the square: |x|, |y| <= z.
SQUARE_FACETS = np.array([[1.0, 0, 1], [-1, 0, 1], [0, 1, 1], [0, -1, 1]])


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR)


@pytest.mark.parametrize("free", [0, 2])
@pytest.mark.parametrize("form", ["orthant", "rays", "facets"])
def test_the_leaf_of_a_copositive_cone_is_m_minus_n(form, free):
    rng = np.random.default_rng(0)
    m = 3 if form == "facets" else 4
    options = {"rays": SQUARE} if form == "rays" else {}
    options |= {"facets": SQUARE_FACETS} if form == "facets" else {}
    model = ConcreteModel()
    model.M = Var(pairs(m + free))
    model.K = CopositiveCone(model.M, free=free, **options)
    relax(model, "dnn")
    (leaf,) = leaf_cones(model.K)
    assert isinstance(leaf, PSDConeData)
    assert (leaf.order, leaf.free) == (m + free, free)
    assert leaf.rays is model.K.rays
    assert leaf.facets is model.K.facets
    # One variable a pair of half-spaces, no rows.
    N = model.K_dnn.nonnegative
    assert list(N) == [(i, j) for i, j in pairs(4) if i < j]
    assert all(variable.bounds == (0, None) for variable in N.values())
    assert not list(model.K_dnn.component_objects(Constraint, descend_into=False))
    give_values([model.M, N], rng)
    matrix = np.zeros((4, 4))
    for (i, j), variable in N.items():
        matrix[i, j] = matrix[j, i] = variable.value
    if form == "facets":
        matrix = SQUARE_FACETS.T @ matrix @ SQUARE_FACETS
    np.testing.assert_allclose(
        leaf.numeric(), model.K.numeric() - np.pad(matrix, (0, free)), atol=1e-12
    )


@pytest.mark.parametrize("index", [[0, 1], [("a", 1), ("b", 2)]])
def test_members_keep_their_index(index):
    model = ConcreteModel()
    model.M = Var(pairs(3))
    model.K = CopositiveCone(index, rule=lambda m, *i: {"matrix": m.M}, free=1)
    relax(model, "dnn", targets=model.K[index[1]])
    assert [leaf.index() for leaf in leaf_cones(model.K[index[1]])] == [index[1]]
    assert model.K[index[0]].active
    key = index[1] if isinstance(index[1], tuple) else (index[1],)
    assert list(model.K_dnn.nonnegative) == [(*key, 0, 1)]


def test_a_copositive_cone_of_order_one():
    model = dual(np.array([[2.0]]), np.array([[0.5]]))
    assert optimum(model, "dnn") == pytest.approx(4.0)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 2))
def test_exact_for_four_coordinates(seed, m, free):
    rng = np.random.default_rng(seed)
    C = random_form(rng, m + free)
    truth = least(C, np.eye(m), free)
    model = dual(C, free=free)
    assert optimum(model, "dnn") == pytest.approx(truth, abs=2e-6)
    assert bound_direction(model) == "exact"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 2))
def test_exact_for_rays_of_rank_three(seed, r, free):
    rng = np.random.default_rng(seed)
    R = cell_rays(rng, r, r + 4)
    C = random_form(rng, r + free)
    model = dual(C, free=free, rays=R)
    assert optimum(model, "dnn") == pytest.approx(least(C, R, free), abs=2e-6)
    direction = bound_direction(model)
    assert direction == "exact"
    assert "rank at most three" in direction.reason


@pytest.mark.parametrize("seed", range(4))
def test_exact_for_four_facets(seed):
    C = random_form(np.random.default_rng(seed), 5)
    model = dual(C, free=2, facets=SQUARE_FACETS)
    assert optimum(model, "dnn") == pytest.approx(least(C, SQUARE, 2), abs=2e-6)
    assert "at most four facets" in bound_direction(model).reason


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["orthant", "rays", "facets"]),
    st.integers(0, 2),
)
def test_both_sides_of_the_duality_agree(seed, form, free):
    """The inner copositive side against the doubly nonnegative one."""
    rng = np.random.default_rng(seed)
    normals = rng.random((3, 4)) - 0.3
    # The vector of ones is inside, so that the cone is more than a point.
    normals *= np.sign(normals.sum(axis=1, keepdims=True))
    options = {
        "orthant": {},
        "rays": {"rays": cell_rays(rng, 4, 6)},
        "facets": {"facets": np.vstack([np.eye(4), normals])},
    }[form]
    m = 6 if form == "orthant" else 4
    C = random_form(rng, m + free)
    below = optimum(primal(C, free=free, **options), "dnn")
    model = dual(C, free=free, **options)
    assert optimum(model, "dnn") == pytest.approx(below, abs=5e-6)
    if form == "orthant":
        assert below <= least(C, np.eye(m), free) + 1e-6


def test_the_horn_matrix_is_no_sum_of_semidefinite_and_nonnegative():
    """Published: -0.1055728 on the simplex, where the truth is zero."""
    model = dual(HORN, np.ones((5, 5)))
    assert optimum(model, "dnn") == pytest.approx(-0.1055728, abs=1e-6)
    direction = bound_direction(model)
    assert direction == "lower"  # a maximisation over fewer points
    assert "relu.dnn restricts 1 cone" in direction.reason


@pytest.mark.parametrize("form", ["orthant", "rays", "facets"])
def test_the_multiplier_is_doubly_nonnegative_and_proves_the_value(form):
    rng = np.random.default_rng(3)
    free = 1
    F = np.vstack([np.eye(4), rng.random((3, 4)) - 0.3])
    options = {"facets": F} if form == "facets" else {}
    C = random_form(rng, 4 + free)
    E = np.eye(4 + free)
    if form == "rays":
        options["rays"] = R = cell_rays(rng, 4, 6)
        T = np.zeros((5, 7))
        T[:4, :6], T[4:, 6:] = R, np.eye(1)
        F = np.eye(6)
    elif form == "orthant":
        F = np.eye(4)
    model = dual(C, E, free=free, **options)
    relax(model, "dnn")
    results = solve(model)
    (leaf,) = leaf_cones(model.K)
    # A maximisation: Pyomo's dual is minus the multiplier.
    M = -results.solution_loader.get_duals()[leaf]
    A = M[: -free or None, : -free or None]
    assert np.linalg.eigvalsh(M)[0] > -1e-6
    assert (F @ A @ F.T).min() > -1e-6
    moment = M if form != "rays" else T @ M @ T.T
    assert np.sum(E * moment) == pytest.approx(1.0, abs=1e-6)
    assert np.sum(C * moment) == pytest.approx(results.incumbent_objective, abs=1e-5)
