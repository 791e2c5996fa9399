import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.arrangement import enumerate_cells, sample_cells

from .strategies import integer_data


def errors(cells, generator, draws=20):
    """|(X u)_+ - D_i X u| at unit vectors u of the cones of the rays."""
    found = []
    masks = cells.masks
    for i in range(len(cells)):
        rays = cells.rays[i]
        # Sparse combinations: errors are largest near the faces.
        a = generator.exponential(size=(rays.shape[1], draws))
        a *= 10.0 ** generator.integers(-12, 1, size=a.shape)
        u = np.hstack([rays, rays @ a])
        u = u / np.linalg.norm(u, axis=0)
        t = cells.X @ u
        found.append(np.linalg.norm(np.maximum(t, 0) - masks[i][:, None] * t, axis=0))
    return np.concatenate(found)


def test_clean_data_have_a_perturbation_of_rounding_size():
    X = np.random.default_rng(0).normal(size=(30, 3))
    cells = enumerate_cells(X)
    assert errors(cells, np.random.default_rng(1)).max() <= cells.perturbation
    assert cells.perturbation < 1e-13 * np.linalg.norm(X, 2)
    assert enumerate_cells(1e6 * X).perturbation == pytest.approx(
        1e6 * cells.perturbation, rel=0.5
    )


@settings(max_examples=60, deadline=None)
@given(integer_data(max_rows=9, max_rank=4), st.integers(8, 12))
def test_merged_and_truncated_noise_is_accounted_for(X, digits):
    generator = np.random.default_rng(digits)
    noise = 10.0**-digits
    rows = np.vstack([X, X[::2] * 1.5]) @ generator.normal(size=(X.shape[1], 5))
    rows[rows.any(axis=1)] += noise * generator.normal(size=5)
    rows += noise * rows * generator.normal(size=rows.shape)
    # A hundredth of the tolerance decides incidences: well above the noise.
    tolerance = min(1e-3, 1e5 * noise)
    cells = enumerate_cells(rows, tolerance=tolerance)
    assert errors(cells, generator, 5).max() <= cells.perturbation
    assert cells.perturbation <= np.sqrt(tolerance) * np.linalg.norm(rows)


@pytest.mark.parametrize("angle", [1e-13, 1e-9, 1e-7, 1e-5])
def test_nearly_parallel_rows(angle):
    X = np.random.default_rng(2).normal(size=(8, 3))
    X = np.vstack([X, -2 * X[0] + angle * np.array([1.0, -1, 2])])
    cells = enumerate_cells(X, tolerance=1e-6)
    assert len(cells.normals) == (8 if angle < 1e-6 else 9)
    assert errors(cells, np.random.default_rng(3)).max() <= cells.perturbation
    merged = angle < 1e-6
    # The distance of the shorter row from the line of the longer one.
    step = np.array([1.0, -1, 2]) * angle / 2
    line = X[0] / np.linalg.norm(X[0])
    distance = np.linalg.norm(step - line * (line @ step))
    expected = distance if merged else 0.0
    assert cells.perturbation == pytest.approx(expected, rel=1e-3, abs=1e-11)


def test_truncated_direction_bounds_what_it_drops():
    generator = np.random.default_rng(4)
    X = np.column_stack([generator.normal(size=(12, 2)), 1e-8 * np.ones(12)])
    cells = enumerate_cells(X, tolerance=1e-6)
    assert cells.rank == 2
    dropped = np.linalg.norm(X - X @ cells.basis @ cells.basis.T, 2)
    assert dropped <= cells.perturbation < 10 * dropped
    # rho over all of R^3 against the largest over the cells, at random Z and u.
    masks = cells.masks
    for _ in range(50):
        Z = generator.normal(size=(12, 2))
        u = generator.normal(size=3)
        u /= np.linalg.norm(u)
        i = cells.locate(u[:, None])[0]
        inside = cells.basis @ (cells.basis.T @ u)
        left = np.linalg.norm(Z.T @ np.maximum(X @ u, 0))
        right = np.linalg.norm(Z.T @ (masks[i] * (X @ inside)))
        assert left <= right + np.linalg.norm(Z, 2) * cells.perturbation


def test_a_row_dropped_as_zero_is_accounted_for():
    X = np.vstack([np.eye(3), [[1e-14, -2e-14, 0]]])
    cells = enumerate_cells(X)
    assert cells.sample_class[-1] == -1
    assert cells.perturbation >= np.linalg.norm(X[-1])
    assert sample_cells(X, 2, seed=0).perturbation >= np.linalg.norm(X[-1])
