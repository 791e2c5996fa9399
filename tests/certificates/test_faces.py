"""The exact maximum over a cone against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.spatial import ConvexHull

from pyomo_relu.certificates.faces import maximum_over_cone


def random_cone(rng, r, m):
    """Return (rays, facets) of the cone over a random polytope, by Qhull."""
    if r == 2:
        angles = np.sort(rng.uniform(0.2, 2.8, size=2))
        rays = np.vstack([np.cos(angles), np.sin(angles)])
        return rays, np.linalg.inv(rays) / np.linalg.norm(
            np.linalg.inv(rays), axis=1, keepdims=True
        )
    points = rng.normal(size=(m, r - 1))
    hull = ConvexHull(points)
    rays = np.vstack([points[hull.vertices].T, np.ones(len(hull.vertices))])
    facets = -hull.equations
    return (
        rays / np.linalg.norm(rays, axis=0),
        facets / np.linalg.norm(facets, axis=1, keepdims=True),
    )


def best_of_many_ascents(J, rays, starts, rng):
    """Return the largest |J^T u| found by alternating ascent from many directions.

    max |J^T u| = max over unit w of max over u of w^T J^T u, and for fixed w the
    inner maximiser is the projection of J w on the cone.
    """
    best = float(np.linalg.norm(J.T @ rays, axis=0).max())
    for w in rng.normal(size=(starts, J.shape[1])):
        for _ in range(60):
            weights, _ = nnls(rays, J @ (w / np.linalg.norm(w)))
            u = rays @ weights
            if not u.any():
                break
            w = J.T @ (u / np.linalg.norm(u))
            best = max(best, float(np.linalg.norm(w)))
    return best


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000), r=st.integers(2, 5), c=st.integers(1, 3))
def test_the_maximum_is_met_and_not_exceeded(seed, r, c):
    rng = np.random.default_rng(seed)
    rays, facets = random_cone(rng, r, r + 3)
    J = rng.normal(size=(r, c))
    bound = maximum_over_cone(J, rays, facets).upper
    found = best_of_many_ascents(J, rays, 20, rng)
    assert found <= bound * (1 + 1e-9)
    assert found >= bound * (1 - 1e-6)


def test_a_nonnegative_map_on_the_orthant_is_perron():
    """For J J^T > 0 the top eigenvector is positive: the cone does not bind."""
    rng = np.random.default_rng(0)
    J = rng.uniform(0.1, 1.0, size=(4, 3))
    bound, _, visited = maximum_over_cone(J, np.eye(4), np.eye(4))
    assert visited == 1
    assert bound == pytest.approx(np.linalg.norm(J, 2), rel=1e-12)


def test_multiple_eigenvalues_are_bounded():
    bound = maximum_over_cone(np.eye(3), np.eye(3), np.eye(3)).upper
    assert bound == pytest.approx(1.0)


def test_the_floor_is_kept():
    found = maximum_over_cone(np.eye(2), np.eye(2), np.eye(2), floor=7.0)
    assert found == (7.0, 7.0, 1)


def test_a_budget_of_faces_is_kept():
    J = np.array([[1.0, 0.2, 0.1], [-1.0, 0.3, 0.2], [0.1, -1.0, 0.5]])
    found = maximum_over_cone(J, np.eye(3), np.eye(3), max_faces=1)
    assert (found.upper, found.visited) == (None, 1)


def test_cones_of_more_rays_than_a_machine_word_has_bits():
    angles = 2 * np.pi * np.arange(100) / 100
    rays = np.vstack([np.cos(angles), np.sin(angles), np.full(100, 2.0)]) / np.sqrt(5)
    middle = angles + np.pi / 100
    height = np.cos(np.pi / 100) / 2.0
    facets = -np.column_stack([np.cos(middle), np.sin(middle), np.full(100, -height)])
    facets /= np.linalg.norm(facets, axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    for _ in range(20):
        J = rng.normal(size=(3, 2))
        bound = maximum_over_cone(J, rays, facets).upper
        found = best_of_many_ascents(J, rays, 10, rng)
        assert found == pytest.approx(bound, rel=1e-6)
