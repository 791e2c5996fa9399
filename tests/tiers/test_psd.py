"""`relu.psd` against generalised eigenvalues, on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.environ import ConcreteModel, Constraint, Var
from scipy.linalg import eigh

from pyomo_relu.cones import CopositiveCone, PSDConeData
from pyomo_relu.solvers import solve
from pyomo_relu.tiers import bound_direction, leaf_cones, relax
from tests.tiers.forms import (
    cell_rays,
    dual,
    in_rays,
    optimum,
    primal,
    random_form,
)


def definite_form(rng, k):
    G = rng.normal(size=(k, k))
    return G @ G.T + 0.5 * np.eye(k)


def least_eigenvalue(C, E, R, free):
    """Return the least of z'Cz / z'Ez over z in the span of R times the free part."""
    Q = in_rays(np.linalg.svd(R, full_matrices=False)[0], free)
    return float(eigh(Q.T @ C @ Q, Q.T @ E @ Q, eigvals_only=True)[0])


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 2),
)
def test_both_sides_are_a_generalised_eigenvalue(seed, r, m, free):
    rng = np.random.default_rng(seed)
    R = cell_rays(rng, r, m)
    if m > r and np.linalg.svd(R)[1][-1] < 1e-2:
        return  # the entries of a narrow cone are too large for six digits
    C, E = random_form(rng, r + free), definite_form(rng, r + free)
    span = R if m >= r else R[:, :m]
    truth = least_eigenvalue(C, E, span, free)
    model = dual(C, E, free=free, rays=R)
    assert optimum(model, "psd") == pytest.approx(truth, abs=1e-5, rel=1e-5)
    assert bound_direction(model) == "lower"
    model = primal(C, E, free=free, rays=R)
    assert optimum(model, "psd") == pytest.approx(truth, abs=1e-5, rel=1e-5)
    assert bound_direction(model) == "lower"


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("r", [2, 3, 5])
def test_a_copositive_leaf_stands_in_an_orthonormal_basis(r, narrow):
    """diag(R, I)' M' diag(R, I) becomes diag(Q, I)' M' diag(Q, I)."""
    rng = np.random.default_rng(r)
    R = rng.normal(size=(r, 4)) * rng.uniform(0.1, 10, size=4)
    R[0] += 100 * narrow
    C, E = random_form(rng, r + 2), definite_form(rng, r + 2)
    model = dual(C, E, free=2, rays=R)
    model.t.value = 0.7
    relax(model, "psd")
    (leaf,) = leaf_cones(model.K)
    span = min(r, 4)
    assert isinstance(leaf, PSDConeData)
    assert (leaf.order, leaf.free, leaf.rays.shape) == (span + 2, 2, (r, span))
    np.testing.assert_allclose(leaf.rays.T @ leaf.rays, np.eye(span), atol=1e-9)
    assert not list(model.K_psd.component_objects(Constraint, descend_into=False))
    assert not list(model.K_psd.component_objects(Var))
    Q = in_rays(leaf.rays, 2)
    np.testing.assert_allclose(leaf.numeric(), Q.T @ (C - 0.7 * E) @ Q, atol=1e-6)


def test_a_copositive_cone_without_rays_keeps_its_matrix():
    rng = np.random.default_rng(0)
    C, E = random_form(rng, 5), definite_form(rng, 5)
    model = dual(C, E, free=2)
    relax(model, "psd")
    (leaf,) = leaf_cones(model.K)
    assert leaf.upper_triangle is model.K.upper_triangle
    assert leaf.name == "K_psd"
    assert optimum(model) == pytest.approx(least_eigenvalue(C, E, np.eye(3), 2))


def test_members_with_and_without_rays_side_by_side():
    R = np.array([[1.0, 1, 0], [0, 1, 1]])
    model = ConcreteModel()
    model.t = Var()
    G = R.T @ R
    model.K = CopositiveCone(
        ["rays", "none"],
        rule=lambda m, i: {
            "matrix": (G - m.t * np.ones((3, 3))).tolist(),
            **({"rays": R} if i == "rays" else {}),
        },
    )
    model.t.value = 0.0
    relax(model, "psd")
    (short,), (same,) = (leaf_cones(cone) for cone in model.K.values())
    assert (short.name, short.order) == ("K_psd.cone[rays,0]", 2)
    np.testing.assert_allclose(short.numeric(), np.eye(2), atol=1e-12)
    np.testing.assert_allclose(same.numeric(), G, atol=1e-12)


def test_the_multiplier_of_a_copositive_leaf_is_the_moment_in_its_basis():
    rng = np.random.default_rng(5)
    R = cell_rays(rng, 3, 5)
    C, E = random_form(rng, 4), definite_form(rng, 4)
    model = dual(C, E, free=1, rays=R)
    relax(model, "psd")
    results = solve(model)
    (leaf,) = leaf_cones(model.K)
    Q = in_rays(leaf.rays, 1)
    moment = Q @ -results.solution_loader.get_duals()[leaf] @ Q.T
    assert np.sum(E * moment) == pytest.approx(1.0, abs=1e-6)
    assert np.sum(C * moment) == pytest.approx(results.incumbent_objective, abs=1e-6)
