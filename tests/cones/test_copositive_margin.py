"""The margin of a copositive cone, against determinants and brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.environ import ConcreteModel

from pyomo_relu.cones import CopositiveCone
from pyomo_relu.cones.least_value import MOST_FACES, least_on_cone

CYCLE = np.roll(np.eye(5), 1, axis=0)
HORN = 1.0 - 2.0 * (CYCLE + CYCLE.T)


def margin(matrix, **options):
    m = ConcreteModel()
    m.K = CopositiveCone(np.asarray(matrix, float).tolist(), **options)
    return m.K.margin()


def strictly_copositive(M):
    """Keller's theorem (Hadeler 1983): determinants of the principal submatrices.

    Each one whose last row has positive cofactors has a positive determinant.
    """
    for size in range(1, len(M) + 1):
        for J in combinations(range(len(M)), size):
            B = M[np.ix_(J, J)]
            minors = [np.delete(B[:-1], j, axis=1) for j in range(size)]
            signs = (-1.0) ** (size - 1 + np.arange(size))
            cofactors = signs * [np.linalg.det(minor) for minor in minors]
            if (cofactors > 0.0).all() and np.linalg.det(B) <= 0.0:
                return False
    return True


def strictly_copositive_beside_free(M, free):
    """Positive definite on the free part, and the Schur complement copositive."""
    m = len(M) - free
    A, W, G = M[:m, :m], M[:m, m:], M[m:, m:]
    if free and np.linalg.eigvalsh(G)[0] <= 0.0:
        return False
    return strictly_copositive(A - W @ np.linalg.solve(G, W.T) if free else A)


def assert_least(M, free, least, rays):
    """Below `least` the shifted form is copositive on the rays' cone, above not."""
    m = len(M) - free
    T = np.zeros((len(M), rays.shape[1] + free))
    T[:m, : rays.shape[1]] = rays
    T[m:, rays.shape[1] :] = np.eye(free)
    step = 1e-4 * (1.0 + abs(least))
    below, above = (
        T.T @ (M - t * np.eye(len(M))) @ T for t in (least - step, least + step)
    )
    assert strictly_copositive_beside_free(below, free)
    assert not strictly_copositive_beside_free(above, free)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 2))
def test_the_margin_is_the_least_shift_by_determinants(seed, m, free):
    B = np.random.default_rng(seed).normal(size=(m + free, m + free))
    M = B + B.T + np.eye(m + free) * (seed % 4)
    assert_least(M, free, margin(M, free=free), np.eye(m))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(0, 1))
def test_with_simplicial_facets(seed, m, free):
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(m, m)) + 2 * np.eye(m)
    B = rng.normal(size=(m + free, m + free))
    M = B + B.T
    assert_least(M, free, margin(M, free=free, facets=F), np.linalg.inv(F))


@pytest.mark.parametrize("seed", range(8))
def test_with_more_facets_than_coordinates(seed):
    """A cone on a square, a redundant facet and one that only touches."""
    rng = np.random.default_rng(seed)
    rays = np.array([[1.0, 1, -1, -1], [1, -1, -1, 1], [1, 1, 1, 1]])
    F = np.array([[1.0, 0, 1], [-1, 0, 1], [0, 1, 1], [0, -1, 1], [0, 0, 1], [1, 1, 2]])
    B = rng.normal(size=(3, 3))
    M = B + B.T
    assert_least(M, 0, margin(M, facets=F), rays)


def test_a_cone_with_a_line_and_one_that_is_a_point():
    M = np.diag([1.0, -2.0])
    # {u : u_0 >= 0} holds the line of u_1.
    assert margin(M, facets=[[1.0, 0.0]]) == pytest.approx(-2.0)
    assert margin([[-1.0]], facets=[[1.0], [-1.0]]) == np.inf


def test_the_horn_matrix_is_on_the_boundary():
    assert margin(HORN) == pytest.approx(0.0, abs=1e-12)
    for eps in (1e-3, 1e-6):
        assert margin(HORN - eps * np.eye(5)) == pytest.approx(-eps, rel=1e-6)
        assert margin(HORN + eps * np.eye(5)) == pytest.approx(eps, rel=1e-6)
    # With its columns scaled it stays on the boundary, and so do zero free columns.
    D = np.diag([1.0, 10.0, 0.1, 3.0, 1.0])
    assert margin(D @ HORN @ D) == pytest.approx(0.0, abs=1e-10)
    padded = np.zeros((7, 7))
    padded[:5, :5] = HORN
    assert margin(padded, free=2) == pytest.approx(0.0, abs=1e-12)


def test_a_singular_free_block():
    """W must vanish where G does."""
    assert margin([[1.0, 0.0], [0.0, 0.0]], free=1) == pytest.approx(0.0, abs=1e-15)
    least = 0.5 - np.hypot(0.5, 0.1)
    assert margin([[1.0, 0.1], [0.1, 0.0]], free=1) == pytest.approx(least)
    # The same entry is harmless, even welcome, on the orthant.
    assert margin([[1.0, 0.1], [0.1, 0.0]]) == pytest.approx(0.0, abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_beyond_all_faces_the_value_is_attained(seed):
    """Sound above twelve coordinates: pairs alone prove the matrix to be outside."""
    rng = np.random.default_rng(seed)
    n = 20
    B = rng.normal(size=(n, n))
    M = B + B.T
    least = margin(M)
    pairs = min(
        0.5 * (M[i, i] + M[j, j]) - np.hypot(0.5 * (M[i, i] - M[j, j]), M[i, j])
        for i, j in combinations(range(n), 2)
        if M[i, j] < 0
    )
    assert np.linalg.eigvalsh(M)[0] <= least <= min(pairs, np.diag(M).min()) + 1e-12


def test_beyond_all_faces_a_nonnegative_margin_proves_nothing():
    """As the docstring says: the only bad face has ten of twenty dimensions."""
    M = np.ones((20, 20))
    M[:10, :10] = 5.0 * np.eye(10) - 1.0
    M[10:, 10:] += 20.0 * np.eye(10)
    assert margin(M) >= 0.0
    x = np.append(np.ones(10), np.zeros(10))
    assert x @ M @ x < 0.0
    assert MOST_FACES < 2**20
    assert least_on_cone(M[:11, :11], np.eye(11)) == pytest.approx(-5.0)
