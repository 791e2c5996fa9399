"""Branch and bound over the sphere against enumeration and sampling."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import train
from pyomo_relu.activations import AbsoluteValue, LeakyReLU, ReLU
from pyomo_relu.arrangement import enumerate_cells
from pyomo_relu.certificates import bound_rho, sphere
from pyomo_relu.certificates.sphere import _Search, sphere_bound
from pyomo_relu.errors import InputError
from tests.instances import horn_instance, reference_data

ACTIVATIONS = [ReLU(), LeakyReLU(0.1), LeakyReLU(-0.5), LeakyReLU(2.0), AbsoluteValue()]


def by_cells(X, Z, activation):
    """Return rho between two numbers, by enumeration."""
    cells = enumerate_cells(X)
    found = bound_rho(cells, X @ cells.basis, Z, activation=activation)
    return found.attained, found.value


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 10),
    r=st.integers(1, 4),
    c=st.integers(1, 3),
    activation=st.sampled_from(ACTIVATIONS),
    max_cones=st.sampled_from([0, 40, 2_000, 100_000]),
)
def test_rho_is_between_the_bounds(seed, n, r, c, activation, max_cones):
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(n, r)), rng.normal(size=(n, c))
    bound = sphere_bound(X, Z, activation, tolerance=1e-4, max_cones=max_cones)
    low, high = by_cells(X, Z, activation)
    assert low <= bound.value * (1.0 + 1e-13)
    assert bound.attained <= high
    np.testing.assert_allclose(np.linalg.norm(bound.directions, axis=1), 1.0)
    np.testing.assert_allclose(
        bound.values, np.linalg.norm(activation(bound.directions @ X.T) @ Z, axis=1)
    )
    assert bound.attained == bound.values[0]
    if bound.complete:
        assert bound.value <= bound.attained * (1.0 + 1e-4) + 1e-11
    if max_cones == 100_000:
        assert bound.complete


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    r=st.integers(2, 4),
    activation=st.sampled_from(ACTIVATIONS),
)
def test_integer_grids(seed, r, activation):
    """Hyperplanes through the rays of the first cones, repeated and zero rows."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-1, 2, size=(8, r)).astype(float)
    X[0, 0] = 1.0
    Z = rng.integers(-2, 3, size=(8, 2)).astype(float)
    bound = sphere_bound(X, Z, activation, tolerance=1e-5, max_cones=200_000)
    low, high = by_cells(X, Z, activation)
    assert low <= bound.value * (1.0 + 1e-13)
    assert bound.attained <= high
    assert bound.complete


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_dual_points_of_optimal_networks_are_closed(seed):
    """Where many directions are equally good: the hard and the useful case."""
    X, Y = reference_data(seed)
    Z = Y - train(X, Y, 0.2).network.predict(X)
    bound = sphere_bound(X, Z, tolerance=1e-8, max_cones=50_000)
    assert bound.complete
    assert bound.value == pytest.approx(0.2, rel=1e-6)
    assert bound.value >= by_cells(X, Z, ReLU())[0] * (1.0 - 1e-13)


def test_rank_four_agrees_with_enumeration():
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(16, 4)), rng.normal(size=(16, 2))
    for activation in ACTIVATIONS:
        bound = sphere_bound(X, Y, activation, tolerance=1e-6)
        low, high = by_cells(X, Y, activation)
        assert bound.complete
        assert low <= bound.value <= high * (1.0 + 2e-6)


def test_rank_five_with_a_known_value():
    """Of the Horn instance rho is 1 at its optimal dual point (tests/instances)."""
    X, Y, beta, _ = horn_instance()
    Z = Y / (1.0 + (0.5 + np.sqrt(1.25)) ** 2)
    bound = sphere_bound(X, Z, tolerance=1e-3)
    assert bound.complete
    assert beta * (1.0 - 1e-12) <= bound.value <= beta * 1.0011
    assert bound.attained == pytest.approx(beta, rel=1e-3)


def test_the_bound_of_each_cone_holds_in_it():
    """Random points of random cones, each bound of its own."""
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(9, 4)), rng.normal(size=(9, 2))
    tight = 0
    for activation in ACTIVATIONS:
        search = sphere._Search(X, Z, activation)
        # Cones of every width, thin ones too.
        centres = rng.normal(size=(300, 1, 4))
        widths = 10.0 ** rng.uniform(-3.0, 1.0, size=(300, 1, 1))
        R = centres + widths * rng.normal(size=(300, 4, 4))
        R /= np.linalg.norm(R, axis=2, keepdims=True)
        bounds = search._bound(R)
        weights = rng.dirichlet(np.full(4, 0.4), size=(300, 400))
        U = weights @ R
        U /= np.linalg.norm(U, axis=2, keepdims=True)
        values = np.linalg.norm(activation(U @ search.X.T) @ Z, axis=2).max(axis=1)
        assert (values <= bounds * (1.0 + 1e-12)).all()
        tight += int((bounds <= 1.05 * values).sum())
    # A bound that holds because it is useless would be no test.
    assert tight > 300


def test_children_cover_their_parent():
    """A point of a cone has nonnegative coordinates in one of the two halves."""
    rng = np.random.default_rng(3)
    R = rng.normal(size=(200, 4, 4)) * 0.3 + rng.normal(size=(200, 1, 4))
    R /= np.linalg.norm(R, axis=2, keepdims=True)
    X = rng.normal(size=(3, 4))
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    halves = sphere._bisect(R, X, np.full(3, 1.0 / 3.0)).reshape(2, 200, 4, 4)
    points = rng.dirichlet(np.ones(4), size=200)[:, None, :] @ R
    inside = [
        (points @ np.linalg.inv(half)).min(axis=(1, 2)) >= -1e-9 for half in halves
    ]
    assert np.logical_or(*inside).all()
    assert not np.logical_and(*inside).all()
    np.testing.assert_allclose(np.linalg.norm(halves, axis=3), 1.0)


@pytest.mark.parametrize("rank", [1, 2, 3, 5])
def test_the_first_cones_cover_the_sphere(rank):
    U = np.random.default_rng(0).normal(size=(500, rank))
    for half in (False, True):
        cones = sphere._orthants(rank, half=half)
        covered = (np.einsum("ur,pjr->upj", U, cones) >= 0.0).all(axis=2).any(axis=1)
        mirrored = (np.einsum("ur,pjr->upj", -U, cones) >= 0.0).all(axis=2).any(axis=1)
        assert (covered | mirrored).all()
        assert covered.all() or half


def test_a_target_ends_the_search():
    X, Y = reference_data(2)
    close = sphere_bound(X, Y, tolerance=1e-6)
    loose = sphere_bound(X, Y, tolerance=1e-6, target=1.3 * close.value)
    assert loose.cones < close.cones
    assert close.value <= loose.value <= 1.3 * close.value
    assert loose.complete


def test_a_known_bound_is_kept():
    X, Y = reference_data(2)
    exact = sphere_bound(X, Y, tolerance=1e-9).value
    assert sphere_bound(X, Y, max_cones=0, upper=1.1 * exact).value == 1.1 * exact


def test_a_search_that_ran_out_of_cones_says_so():
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(20, 5)), rng.normal(size=(20, 2))
    few = sphere_bound(X, Z, max_cones=500, tolerance=1e-6)
    more = sphere_bound(X, Z, max_cones=5_000, tolerance=1e-6)
    assert few.cones <= 500
    assert more.cones <= 5_000
    assert not few.complete
    assert few.open > 0
    assert more.attained <= more.value <= few.value


def test_a_perturbation_is_paid_for():
    rng = np.random.default_rng(5)
    X, Z = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    E = 0.05 * rng.normal(size=X.shape)
    moved = sphere_bound(X + E, Z, perturbation=np.linalg.norm(E, 2), tolerance=1e-6)
    assert by_cells(X, Z, ReLU())[0] <= moved.value


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), decades=st.floats(-15.0, -4.0))
def test_nearly_rank_deficient_samples_are_bounded(seed, decades):
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(7, 2))
    X = np.column_stack([B, B.sum(axis=1) + 10.0**decades * rng.normal(size=7)])
    Z = rng.normal(size=(7, 2))
    bound = sphere_bound(X, Z, tolerance=1e-5, max_cones=20_000)
    U = rng.normal(size=(3, 3000))
    flat = np.linalg.svd(X)[2][-1]
    U += 10.0 ** rng.uniform(-1.0, 8.0, size=3000) * flat[:, None]
    U /= np.linalg.norm(U, axis=0)
    assert np.linalg.norm(Z.T @ np.maximum(X @ U, 0.0), axis=0).max() <= bound.value


def test_directions_are_distinct_and_sorted():
    X, Y = reference_data(0)
    Z = Y - train(X, Y, 0.2).network.predict(X)
    bound = sphere_bound(X, Z)
    products = bound.directions @ bound.directions.T
    assert (products[np.triu_indices(len(products), 1)] <= 0.9999 + 1e-12).all()
    assert (np.diff(bound.values) <= 0.0).all()
    # An optimal network has several neurons, each of them a maximiser.
    assert (bound.values >= 0.2 * (1.0 - 1e-4)).sum() >= 2


@pytest.mark.parametrize(
    ("X", "Z"), [(np.zeros((3, 2)), np.ones((3, 1))), (np.eye(2), np.zeros((2, 1)))]
)
def test_nothing_to_search(X, Z):
    bound = sphere_bound(X, Z)
    assert bound.attained == 0.0
    assert 0.0 <= bound.value <= 1e-12
    assert bound.complete


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Z": np.ones((3, 1))}, "row for each"),
        ({"X": np.eye(20), "Z": np.ones((20, 1))}, "rank 20"),
        ({"target": -1.0}, "target"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"max_cones": -1}, "max_cones"),
        ({"perturbation": float("inf")}, "perturbation"),
        ({"upper": -1.0}, "upper"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"X": np.eye(2), "Z": np.ones((2, 1)), **change}
    with pytest.raises(InputError, match=message):
        sphere_bound(**arguments)


def test_outputs_along_the_axis_of_a_cone_do_not_cancel():
    """What is off the axis by 1e-8 counts, though its square is rounding."""
    c, s = np.cos(0.7), np.sin(0.7)
    rays = np.array([[c, s], [c, -s]])
    for angle in np.linspace(0.5e-8, 1.5e-8, 5):
        x = np.array([-np.sin(0.55), np.cos(0.55)])
        x *= 0.5 * c / (x @ rays[0])
        z = -np.array([1.0, angle])
        # Where the first row is inactive the map takes the rays to these.
        images = np.column_stack([[0.5 * c, s] - z * (x @ rays[0]), rays[1]])
        G = np.array([[1.0, 0.1], [1.0, -0.1]])
        Z = np.vstack([z, (images @ np.linalg.inv(rays.T) @ np.linalg.inv(G)).T])
        X = np.vstack([x, G])
        search = _Search(X, Z, ReLU())
        bound = search._bound((rays @ search.right)[None])[0] + search.margin
        u = rays.T @ np.vstack([np.linspace(0, 1, 2001), np.linspace(1, 0, 2001)])
        u /= np.linalg.norm(u, axis=0)
        values = np.linalg.norm(Z.T @ np.maximum(X @ u, 0.0), axis=0)
        assert values.max() <= bound


@pytest.mark.parametrize("size", [1e-250, 1e-160, 1e-90, 1e90, 1e140])
def test_any_unit_will_do(size):
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    expected = sphere_bound(X, Z, tolerance=1e-8)
    for found in (
        sphere_bound(size * X, Z, tolerance=1e-8),
        sphere_bound(X, size * Z, tolerance=1e-8),
        sphere_bound(size * X, Z / size, tolerance=1e-8),
    ):
        unit = 1.0 if found.value == pytest.approx(expected.value, rel=0.1) else size
        assert found.complete
        assert found.value == pytest.approx(unit * expected.value, rel=1e-7)
        assert found.attained == pytest.approx(unit * expected.attained, rel=1e-7)
        assert np.linalg.norm(found.direction) == pytest.approx(1.0)


def test_above_the_limit_bounds_are_as_close_as_a_third_of_the_excess():
    rng = np.random.default_rng(1)
    X, Z = rng.normal(size=(25, 4)), rng.normal(size=(25, 2))
    exact = sphere_bound(X, Z, tolerance=1e-8)
    rho = exact.attained
    rough = sphere_bound(X, Z, tolerance=1e-8, limit=rho / 1.3)
    assert rough.complete
    assert rho <= rough.value <= rho + (rho - rho / 1.3) / 3.0 * (1.0 + 1e-9)
    assert rough.cones < exact.cones
    below = sphere_bound(X, Z, tolerance=1e-8, limit=1.1 * rho)
    assert below.value == exact.value
    with pytest.raises(InputError, match="limit"):
        sphere_bound(X, Z, limit=-1.0)
