"""Bounds on rho against sampling, ascent and each other."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyomo_relu.activations import ReLU
from pyomo_relu.arrangement import enumerate_cells
from pyomo_relu.certificates import bound_rho, cell_maps
from pyomo_relu.certificates.faces import maximum_over_cone
from pyomo_relu.errors import DegenerateDataError


def dual_norm_at(U, X, Z):
    """Return |Z^T (X u)_+| at unit columns u."""
    return np.linalg.norm(Z.T @ np.maximum(X @ U, 0.0), axis=0)


def best_found(X, Z, rng, starts=400, steps=200):
    """Return the best value of an ascent on the sphere from random directions.

    u <- projection on the sphere of J(u) J(u)^T u, the gradient in its cell, damped.
    """
    U = rng.normal(size=(X.shape[1], starts))
    U /= np.linalg.norm(U, axis=0)
    best = dual_norm_at(U, X, Z).max()
    for step in range(steps):
        active = X @ U > 0.0
        inner = Z.T @ np.where(active, X @ U, 0.0)
        gradient = X.T @ np.where(active, Z @ inner, 0.0)
        gradient /= np.linalg.norm(gradient, axis=0) + 1e-300
        U = U + gradient / (1.0 + 0.2 * step)
        U /= np.linalg.norm(U, axis=0)
        best = max(best, dual_norm_at(U, X, Z).max())
    return best


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 9),
    r=st.integers(1, 4),
    c=st.integers(1, 3),
)
def test_no_direction_exceeds_the_bound_and_some_comes_close(seed, n, r, c):
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(n, r)), rng.normal(size=(n, c))
    cells = enumerate_cells(X)
    # Rank-deficient samples live in the cells' reduced coordinates.
    result = bound_rho(cells, X @ cells.basis, Z)
    found = best_found(X, Z, rng)
    assert found <= result.value
    assert result.decided == result.cells == len(cells)
    assert result.attained <= result.value <= result.attained * (1 + 1e-9) + 1e-9
    assert found >= result.value * (1 - 1e-3)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), r=st.integers(2, 4))
@example(seed=2276, r=4)  # a double eigenvalue whose eigenspace misses the face
def test_integer_grids_are_bounded(seed, r):
    """Data in special position: zero rows, repeated rows, common hyperplanes."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-1, 2, size=(8, r)).astype(float)
    if not X.any():
        X[0, 0] = 1.0
    Z = rng.integers(-2, 3, size=(8, 2)).astype(float)
    cells = enumerate_cells(X)
    result = bound_rho(cells, X @ cells.basis, Z)
    found = best_found(X, Z, rng)
    assert found <= result.value
    assert found >= result.value * (1 - 1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_cheap_tests_never_undercut_the_exact_one(seed):
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    cells = enumerate_cells(X)
    context = cell_maps.CellMaps(cells, X, Z, np.eye(3), ReLU())
    everything = np.arange(len(cells))
    J = context.maps(everything)
    cheap = np.minimum(
        cell_maps.spectral_bound(J), cell_maps.entrywise_bound(context, everything, J)
    )
    exact = [
        maximum_over_cone(J[i], *context.geometry(i)).upper for i in range(len(cells))
    ]
    assert (cheap >= np.array(exact) * (1 - 1e-12)).all()
    # The entrywise test must decide something, or it is not worth its name.
    assert np.isfinite(cell_maps.entrywise_bound(context, everything, J)).mean() > 0.3


def test_maps_are_the_sums_over_active_samples():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(7, 3))
    X[2], X[4], X[5] = -2.0 * X[1], 0.0, 3.0 * X[1]
    Z = rng.normal(size=(7, 2))
    cells = enumerate_cells(X)
    context = cell_maps.CellMaps(cells, X, Z, np.eye(3), ReLU())
    for i, mask in enumerate(cells.masks):
        np.testing.assert_allclose(
            context.maps(np.array([i]))[0], X[mask].T @ Z[mask], atol=1e-12
        )


def test_chunks_do_not_change_the_bound(monkeypatch):
    rng = np.random.default_rng(1)
    X, Z = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    cells = enumerate_cells(X)
    whole = bound_rho(cells, X, Z)
    monkeypatch.setattr(cell_maps, "CHUNK_FLOATS", 100)
    pieces = bound_rho(cells, X, Z)
    assert pieces.value == pytest.approx(whole.value, rel=1e-13)
    assert pieces.decided == whole.decided


def test_a_perturbation_of_the_samples_is_paid_for():
    """rho(X) <= rho(X + E) + |Z|_2 |E|_2, on random perturbations."""
    rng = np.random.default_rng(5)
    X, Z = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    E = 0.05 * rng.normal(size=X.shape)
    moved = bound_rho(
        enumerate_cells(X + E), X + E, Z, perturbation=np.linalg.norm(E, 2)
    )
    assert bound_rho(enumerate_cells(X), X, Z).value <= moved.value


def test_a_zero_dual_point_has_a_zero_bound():
    X = np.eye(2)
    assert bound_rho(enumerate_cells(X), X, np.zeros((2, 1))).value == 0.0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1_000_000), r=st.integers(2, 5), decades=st.floats(-12.0, -6.0)
)
@example(seed=7, r=3, decades=-8.5)
def test_nearly_rank_deficient_samples_are_bounded(seed, r, decades):
    """The last column is the sum of the others and a little noise.

    Cells almost contain a line, rays almost lie on facets: wherever rounding hides
    that, the bound must give way, never the truth.
    """
    rng = np.random.default_rng(seed)
    n = int(rng.integers(r, 7))
    B = rng.normal(size=(n, r - 1))
    X = np.column_stack([B, B.sum(axis=1) + 10.0**decades * rng.normal(size=n)])
    Z = rng.normal(size=(n, int(rng.integers(1, 3))))
    try:
        cells = enumerate_cells(X)
    except DegenerateDataError:
        return
    result = bound_rho(cells, X @ cells.basis, Z, perturbation=cells.perturbation)
    # Where the cells are wide the ascent starts near their boundaries.
    starts = rng.normal(size=(r, 300))
    flat = np.linalg.svd(X)[2][-1]
    scales = 10.0 ** rng.uniform(0.0, 10.0, size=300)
    starts = np.hstack([starts, starts + scales * flat[:, None]])
    starts /= np.linalg.norm(starts, axis=0)
    found = max(best_found(X, Z, rng, 200, 100), dual_norm_at(starts, X, Z).max())
    assert found <= result.value * (1 + 1e-14)
