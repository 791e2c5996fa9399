"""Entries as rows of numbers: against Pyomo's own evaluation and numpy's products."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.environ import ConcreteModel, Param, Var, value

from pyomo_relu.cones import PSDCone
from pyomo_relu.tiers.affine import AffineEntries, congruence, triangle_places


def symmetric(triangle, order):
    matrix = np.zeros((order, order))
    matrix[triangle_places(order)] = triangle
    return matrix + np.triu(matrix, 1).T


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    m=st.integers(1, 4),
    k=st.integers(1, 4),
    free=st.integers(0, 2),
)
def test_congruence(seed, m, k, free):
    rng = np.random.default_rng(seed)
    P = rng.normal(size=(m, k))
    M = rng.normal(size=(m + free, m + free))
    M = M + M.T
    Q = np.zeros((m + free, k + free))
    Q[:m, :k], Q[m:, k:] = P, np.eye(free)
    found = congruence(P, free) @ M[triangle_places(m + free)]
    np.testing.assert_allclose(symmetric(found, k + free), Q.T @ M @ Q, atol=1e-12)


@pytest.fixture
def model():
    m = ConcreteModel()
    m.x, m.y = Var(initialize=0.7), Var(initialize=-1.3)
    m.p = Param(initialize=2.0, mutable=True)
    m.K = PSDCone(
        [
            [1.5, 2 * m.x + m.y - 1, m.p * m.x],
            [2 * m.x + m.y - 1, m.y, 3 * m.x],
            [m.p * m.x, 3 * m.x, m.p],
        ]
    )
    return m


def test_entries_and_their_images_have_the_values_of_the_matrix(model):
    entries = AffineEntries.of(model.K)
    expected = model.K.numeric()[triangle_places(3)]
    np.testing.assert_allclose([value(e) for e in entries.expressions()], expected)
    weights = np.random.default_rng(0).normal(size=(4, 6))
    images = entries.map(weights).expressions()
    np.testing.assert_allclose([value(e) for e in images], weights @ expected)


def test_mutable_parameters_stay_mutable(model):
    images = AffineEntries.of(model.K).map(np.full((1, 6), 2.0)).expressions()
    before = value(images[0])
    model.p = 5.0
    # Entries (0, 2) and (2, 2) hold p.
    assert value(images[0]) == pytest.approx(before + 2.0 * 3.0 * (0.7 + 1.0))


def test_new_variables_are_added(model):
    model.z = Var([0, 1], initialize={0: 4.0, 1: 9.0})
    weights = np.zeros((6, 2))
    weights[0, 0], weights[3, 1] = -1.0, 0.5
    entries = AffineEntries.of(model.K).plus(weights, list(model.z.values()))
    found = [value(e) for e in entries.expressions()]
    expected = model.K.numeric()[triangle_places(3)] + weights @ [4.0, 9.0]
    np.testing.assert_allclose(found, expected)


def test_zeros_leave_nothing(model):
    assert AffineEntries.of(model.K).map(np.zeros((2, 6))).expressions() == [0.0, 0.0]
    assert AffineEntries.of(model.K).map(np.eye(6)[[3]]).expressions()[0] is model.y
