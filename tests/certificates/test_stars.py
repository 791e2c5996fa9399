"""Stars of cells against enumeration, faces and sampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.activations import get_activation
from pyomo_relu.arrangement import enumerate_cells
from pyomo_relu.certificates import stars
from pyomo_relu.certificates.faces import maximum_over_cone
from pyomo_relu.certificates.sphere import sphere_bound
from pyomo_relu.certificates.stars import star_at, star_bound
from pyomo_relu.training import train


def instance(seed, n, r, c):
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(n, r)), rng.normal(size=(n, c))
    u = rng.normal(size=r)
    return X, Z, u / np.linalg.norm(u)


def over_cells(X, Z, activation, star):
    """Return the maximum over the cells of a star, each by its faces."""
    cells = enumerate_cells(X)
    best = 0.0
    for i, mask in enumerate(cells.masks):
        if not mask[star.above].all() or mask[star.below].any():
            continue
        slopes = np.where(mask, activation.positive, activation.negative)
        J = X.T @ (slopes[:, None] * Z)
        facets = cells.facets[i]
        facets = facets / np.linalg.norm(facets, axis=1, keepdims=True)
        best = max(best, maximum_over_cone(J, cells.rays[i], facets).upper)
    return best


@given(
    st.integers(0, 10_000),
    st.sampled_from([(6, 2, 1), (7, 3, 2), (9, 3, 4), (7, 4, 2)]),
    st.sampled_from(["relu", "leaky_relu(0.2)", "leaky_relu(-0.5)"]),
)
@settings(max_examples=40, deadline=None)
def test_the_bound_is_the_maximum_over_the_cells(seed, shape, activation):
    X, Z, u = instance(seed, *shape)
    activation = get_activation(activation)
    star = star_at(X, u)
    bound, direction = star_bound(X, Z, activation, star, 0.0)
    assert bound == pytest.approx(over_cells(X, Z, activation, star), rel=1e-8)
    # It is attained, and in the star.
    attained = np.linalg.norm(activation(direction @ X.T) @ Z)
    assert attained == pytest.approx(bound, rel=1e-7)
    assert np.linalg.norm(direction) == pytest.approx(1.0)
    assert (X[star.above] @ direction >= -1e-7).all()
    assert (X[star.below] @ direction <= 1e-7).all()


@given(st.integers(0, 10_000), st.sampled_from([(30, 5, 3), (25, 6, 2), (60, 3, 3)]))
@settings(max_examples=20, deadline=None)
def test_no_direction_of_the_star_exceeds_it(seed, shape):
    X, Z, u = instance(seed, *shape)
    activation = get_activation("relu")
    star = star_at(X, u)
    bound, _ = star_bound(X, Z, activation, star, 0.0)
    rng = np.random.default_rng(seed + 1)
    near = u + 10.0 ** rng.uniform(-3, 0, (4000, 1)) * rng.normal(size=(4000, len(u)))
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    inner = near @ X.T
    inside = (inner[:, star.above] >= 0.0).all(axis=1)
    inside &= (inner[:, star.below] <= 0.0).all(axis=1)
    values = np.linalg.norm(activation(inner[inside]) @ Z, axis=1)
    assert values.max(initial=0.0) <= bound * (1.0 + 1e-12)


def test_near_hyperplanes_are_left_open():
    X = np.vstack([np.eye(3), [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]])
    star = star_at(X, np.array([1.0, -1e-3, 1e-9]))
    np.testing.assert_array_equal(star.above, [True, False, False, False, True])
    assert not star.below.any()


def test_a_floor_that_is_not_exceeded_is_returned():
    X, Z, u = instance(0, 10, 3, 2)
    activation = get_activation("relu")
    star = star_at(X, u)
    value, _ = star_bound(X, Z, activation, star, 0.0)
    assert star_bound(X, Z, activation, star, 1.5 * value)[0] == 1.5 * value


def test_giving_up_is_no_less_valid(monkeypatch):
    X, Z, u = instance(3, 12, 4, 3)
    activation = get_activation("relu")
    star = star_at(X, u)
    exact, _ = star_bound(X, Z, activation, star, 0.0)
    for most in (0, 5, 40):
        monkeypatch.setattr(stars, "_MOST_FACES", most)
        assert star_bound(X, Z, activation, star, 0.0)[0] >= exact * (1.0 - 1e-12)
    monkeypatch.undo()
    monkeypatch.setattr(stars, "_CONSTRAINTS", 2)
    monkeypatch.setattr(stars, "_ATTEMPTS", 1)
    assert star_bound(X, Z, activation, star, 0.0)[0] >= exact * (1.0 - 1e-12)


def test_repeated_and_opposite_rows_do_no_harm():
    X, Z, u = instance(4, 8, 3, 2)
    X = np.vstack([X, X[:3], -2.0 * X[3:5], np.zeros((1, 3))])
    Z = np.vstack([Z, Z[:6]])
    activation = get_activation("relu")
    star = star_at(X, u)
    bound, _ = star_bound(X, Z, activation, star, 0.0)
    rng = np.random.default_rng(0)
    near = u + rng.normal(size=(20_000, 3))
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    inner = near @ X.T
    inside = (inner[:, star.above] >= 0.0).all(axis=1)
    inside &= (inner[:, star.below] <= 0.0).all(axis=1)
    values = np.linalg.norm(activation(inner[inside]) @ Z, axis=1)
    assert len(values)
    assert values.max() <= bound * (1.0 + 1e-12)


def test_maxima_on_hyperplanes_are_decided():
    # At an optimum many directions attain beta, most of them on hyperplanes.
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(10, 5)), rng.normal(size=(10, 2))
    result = train(X, Y, 0.1, gap=1e-7)
    found = sphere_bound(X, result.certificate.dual, tolerance=2e-9, max_cones=400_000)
    assert found.complete
    assert found.value == pytest.approx(0.1, rel=1e-5)
