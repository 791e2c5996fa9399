"""Completely positive factors over polyhedral cones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.cones.factor import (
    _nonnegative_least_squares,
    _project,
    factor_in_cone,
)


def random_cone(rng, r):
    """Return (rays, facets) of a random simplicial cone."""
    rays = rng.normal(size=(r, r))
    while np.linalg.cond(rays) > 50:
        rays = rng.normal(size=(r, r))
    rays /= np.linalg.norm(rays, axis=0)
    facets = np.linalg.inv(rays)
    return rays, facets / np.linalg.norm(facets, axis=1, keepdims=True)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000), r=st.integers(1, 4), rank=st.integers(1, 2))
def test_low_rank_moments_are_factored_exactly(seed, r, rank):
    rng = np.random.default_rng(seed)
    rays, facets = random_cone(rng, r)
    B = rays @ rng.exponential(size=(r, rank))
    factors, exact = factor_in_cone(B @ B.T, facets)
    size = np.linalg.norm(B, 2)
    assert exact
    # Facets that hold all of U but 1e-4 do not bind, by the docstring.
    assert (facets @ factors >= -1e-4 * size).all()
    np.testing.assert_allclose(factors @ factors.T, B @ B.T, atol=1e-7 * size**2)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("r", [3, 4])
def test_full_rank_moments_in_the_interior_are_factored(seed, r):
    rng = np.random.default_rng(seed)
    rays, facets = random_cone(rng, r)
    B = rays @ (0.2 + rng.exponential(size=(r, 3 * r)))
    factors, exact = factor_in_cone(B @ B.T, facets)
    assert exact
    assert (facets @ factors >= -1e-9).all()
    np.testing.assert_allclose(
        factors @ factors.T, B @ B.T, atol=1e-3 * np.trace(B @ B.T)
    )


def test_a_moment_outside_is_said_to_be_inexact():
    """The identity is no sum of squares of vectors in a cone narrower than 90."""
    narrow = np.array([[0.5, -1.0], [0.5, 1.0]])
    factors, exact = factor_in_cone(np.eye(2), narrow)
    assert not exact
    assert (narrow @ factors >= -1e-12).all()


def test_horn_like_moments_do_not_pass_for_factored():
    """Doubly nonnegative, not completely positive: <Horn, A> < 0 (order five)."""
    horn = np.array(
        [
            [1, -1, 1, 1, -1],
            [-1, 1, -1, 1, 1],
            [1, -1, 1, -1, 1],
            [1, 1, -1, 1, -1],
            [-1, 1, 1, -1, 1],
        ],
        float,
    )
    root = (1.0 + np.sqrt(5.0)) / 2.0
    A = np.eye(5) * 1.0
    for i in range(5):
        A[i, (i + 1) % 5] = A[(i + 1) % 5, i] = 1.0 / root
    assert np.sum(horn * A) < 0 <= np.linalg.eigvalsh(A).min() + 1e-12
    assert not factor_in_cone(A, np.eye(5))[1]


@pytest.mark.parametrize("U", [np.zeros((2, 2)), -1e-12 * np.eye(2)])
def test_nothing_has_no_factors(U):
    factors, exact = factor_in_cone(U, np.eye(2))
    assert factors.shape == (2, 0)
    assert exact


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("r", [3, 4, 5])
def test_moments_on_the_boundary_are_factored(seed, r):
    """Neurons on facets and rays: alternating projections alone stop far away."""
    rng = np.random.default_rng(seed)
    facets = rng.normal(size=(int(rng.integers(r, 2 * r + 2)), r))
    facets[:, 0] = 0.3 + np.abs(facets[:, 0])
    facets /= np.linalg.norm(facets, axis=1)[:, None]
    # Projections on the cone are on its faces, most of them.
    B = rng.normal(size=(r, r + seed % 3))
    for _ in range(2000):
        B = B - facets.T @ np.minimum(facets @ B, 0.0) / len(facets)
    B = B - np.minimum((facets @ B).min(axis=0), 0.0) * np.eye(r)[:, :1] / 0.01
    U = B @ B.T
    values = np.linalg.eigvalsh(U)
    if values[-r] < 1e-6 * values[-1]:
        return
    factors, exact = factor_in_cone(U, facets, tolerance=1e-9)
    assert exact
    assert (facets @ factors >= -1e-12 * np.sqrt(np.trace(U))).all()
    np.testing.assert_allclose(factors @ factors.T, U, atol=1e-8 * np.trace(U))


@pytest.mark.parametrize("seed", range(30))
def test_nonnegative_least_squares_are_optimal(seed):
    """The conditions of Karush, Kuhn and Tucker, degenerate systems among them."""
    rng = np.random.default_rng(seed)
    for _ in range(20):
        m, n = rng.integers(1, 10, 2)
        A, b = rng.normal(size=(m, n)), rng.normal(size=m)
        if seed % 3 == 0:
            A, b = np.round(A), np.round(b)
        if seed % 3 == 1:
            b = A @ np.maximum(rng.normal(size=n), 0.0)
        x = _nonnegative_least_squares(A, b)
        gradient = A.T @ (A @ x - b)
        size = 1e-10 * (1.0 + np.linalg.norm(A) * np.linalg.norm(b))
        assert (x >= 0.0).all()
        assert gradient.min() >= -size
        assert abs(gradient @ x) <= size


def test_a_point_of_the_cone_is_its_own_projection():
    """scipy.optimize.nnls 1.17 moves this one, of a ray, by two thirds of its size."""
    G = np.array(
        [
            [1.16, -0.34, 1.05],
            [1.72, 1.59, 0.59],
            [0.45, 2.85, 2.23],
            [-0.77, 0.92, 0.6],
            [0.07, 0.15, 0.49],
        ]
    )
    t = np.array([-1.8701000000000003, 1.1216000000000002, 2.4292])
    assert (G[2:] @ t > 0.0).all()
    # On the first two facets and, by rounding, below one.
    assert -1e-14 < (G @ t).min() < 0.0
    np.testing.assert_allclose(_project(G, t), t, atol=1e-14)
