"""Triangulations of cones against convex hulls, volumes and membership."""

from __future__ import annotations

import itertools
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from scipy.spatial import ConvexHull

from pyomo_relu.arrangement.located import LocatedCells
from pyomo_relu.errors import InputError
from pyomo_relu.tiers.triangulation import (
    bisect,
    facet_incidence,
    facet_normals,
    rank,
    simplex_at,
    triangulate,
)

CUBE = np.array([*itertools.product([-1.0, 1.0], repeat=3)]).T


def lift(points):
    """Return the cone over points (dimension, m) at height one."""
    return np.vstack([points, np.ones(points.shape[1])])


def membership(rays, pieces, directions):
    """Return in how many pieces, closed up to rounding, each direction lies."""
    count = np.zeros(directions.shape[1], dtype=int)
    for piece in pieces:
        weights, *_ = np.linalg.lstsq(rays[:, piece], directions, rcond=None)
        reached = np.linalg.norm(rays[:, piece] @ weights - directions, axis=0) < 1e-9
        count += reached & (weights > -1e-9).all(axis=0)
    return count


def volume(points, pieces):
    d = len(points)
    corners = [points[:, piece[1:]] - points[:, piece[:1]] for piece in pieces]
    return sum(abs(np.linalg.det(c)) for c in corners) / factorial(d)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(0, 6), st.booleans())
def test_random_cones_are_covered_once(seed, r, more, integral):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(r - 1, r + more))
    if integral:  # many coplanar, duplicate and interior points
        points = np.round(points)
    if np.linalg.matrix_rank(lift(points)) < r:
        return
    rays = lift(points) * rng.uniform(0.1, 10, size=points.shape[1])
    pieces = triangulate(rays)
    assert pieces.shape[1] == r
    assert all(abs(np.linalg.det(rays[:, piece])) > 1e-9 for piece in pieces)
    directions = rays @ rng.exponential(size=(rays.shape[1], 200))
    directions /= np.linalg.norm(directions, axis=0)
    assert (membership(rays, pieces, directions) == 1).all()
    hull = np.ptp(points) if r == 2 else ConvexHull(points.T).volume
    assert volume(points, pieces) == pytest.approx(hull)


@pytest.mark.parametrize(
    ("points", "facets", "content"),
    [
        (CUBE, 6, 8.0),
        (np.hstack([np.eye(3), -np.eye(3)]), 8, 4 / 3),
        (np.hstack([CUBE, np.zeros((3, 1))]), 6, 8.0),  # a ray inside
        (np.hstack([np.zeros((3, 1)), CUBE]), 6, 8.0),
        (np.hstack([CUBE, CUBE]), 6, 8.0),  # every ray twice
        (np.hstack([CUBE * 1e-5, np.eye(3) * 1e-5]), 6, 8e-15),  # narrow
    ],
)
def test_degenerate_polytopes(points, facets, content):
    rays = lift(points)
    assert len(facet_incidence(rays)) == facets
    pieces = triangulate(rays)
    assert volume(points, pieces) == pytest.approx(content)
    corners = membership(rays, pieces, rays)
    assert (corners >= 1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 6), st.integers(0, 2))
def test_facet_normals_say_what_is_in_the_cone(seed, s, more, codimension):
    """Against nonnegative least squares, in a subspace too."""
    rng = np.random.default_rng(seed)
    frame = np.linalg.qr(rng.normal(size=(s + codimension, s)))[0]
    rays = frame @ lift(rng.normal(size=(s - 1, s + more)))
    rays *= rng.uniform(0.1, 10, size=rays.shape[1])
    if rank(rays) < s:
        return
    normals = facet_normals(rays)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)
    np.testing.assert_allclose(frame @ (frame.T @ normals.T), normals.T, atol=1e-9)
    sides = normals @ (rays / np.linalg.norm(rays, axis=0))
    assert sides.min() > -1e-9
    assert ((np.abs(sides) < 1e-9) == facet_incidence(rays)).all()
    directions = frame @ rng.normal(size=(s, 60)) + rays.mean(axis=1, keepdims=True)
    for direction in directions.T / np.linalg.norm(directions, axis=0)[:, None]:
        inside, margin = nnls(rays, direction)[1] < 1e-9, (normals @ direction).min()
        assert inside == (margin >= 0) or abs(margin) < 1e-8


def test_facet_normals_of_a_narrow_cone():
    rays = lift(CUBE * 1e-5)
    normals = facet_normals(rays)
    expected = np.hstack([np.vstack([np.eye(3), -np.eye(3)]), np.full((6, 1), 1e-5)])
    np.testing.assert_allclose(
        sorted(normals.round(12).tolist()), sorted(expected.tolist()), atol=1e-9
    )


def test_a_cone_within_a_subspace():
    rng = np.random.default_rng(1)
    square = lift(np.array([[1.0, -1, -1, 1], [1, 1, -1, -1]]))
    rays = rng.normal(size=(5, 3)) @ square
    assert rank(rays) == 3
    pieces = triangulate(rays)
    assert pieces.tolist() == [[0, 1, 2], [0, 2, 3]]
    directions = rays @ rng.exponential(size=(4, 50))
    assert (membership(rays, pieces, directions) == 1).all()


@pytest.mark.parametrize("r", [1, 2, 3, 6])
def test_a_simplicial_cone_is_one_piece(r):
    rays = np.random.default_rng(r).normal(size=(r, r))
    assert triangulate(rays).tolist() == [list(range(r))]


def test_one_ray_given_several_times():
    assert triangulate(np.array([[1.0, 2.0, 0.5], [1.0, 2.0, 0.5]])).shape == (1, 1)


@pytest.mark.parametrize(
    "rays",
    [
        [[1.0, -1.0]],
        [[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]],
        [[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0]],
        np.vstack([CUBE, np.zeros(8)]),
    ],
)
def test_a_cone_that_contains_a_line_is_refused(rays):
    with pytest.raises(InputError, match="contains a line"):
        triangulate(np.asarray(rays))
    with pytest.raises(InputError, match="contains a line"):
        facet_normals(np.asarray(rays))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_halves_cover_and_share_a_facet(seed, r):
    rng = np.random.default_rng(seed)
    rays = lift(rng.normal(size=(r - 1, r)))
    rays /= np.linalg.norm(rays, axis=0)
    halves = [rays @ P for P in bisect(rays)]
    for half in halves:
        np.testing.assert_allclose(np.linalg.norm(half, axis=0), 1.0)
    directions = rays @ rng.exponential(size=(r, 100))
    inside = [
        (np.linalg.solve(half, directions) > -1e-9).all(axis=0) for half in halves
    ]
    assert (inside[0] | inside[1]).all()
    assert not (inside[0] & inside[1]).any()
    angle = [np.min(half.T @ half) for half in (rays, *halves)]
    assert min(angle[1:]) >= angle[0] - 1e-12


@given(st.integers(0, 10_000), st.sampled_from([(3, 7), (4, 9), (5, 10)]))
@settings(max_examples=25, deadline=None)
def test_the_simplex_at_a_point_is_one_of_the_triangulation(seed, shape):
    r, n = shape
    rng = np.random.default_rng(seed)
    source = LocatedCells(rng.normal(size=(n, r)))
    point = rng.normal(size=(1, r))
    cell = int(source.find(point)[0])
    rays, normals = source.rays(cell).T, source.facet_normals(cell)
    simplex = simplex_at(rays, normals, point[0])
    assert simplex in {tuple(piece) for piece in triangulate(rays).tolist()}
    weights = np.linalg.solve(rays[:, simplex], point[0])
    assert weights.min() >= -1e-9 * np.abs(weights).max()
