"""Pricing against the exact maximum over every cell."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import TrainingProblem, enumerate_cells
from pyomo_relu.certificates.cell_maps import CellMaps
from pyomo_relu.certificates.directions import best_directions
from pyomo_relu.certificates.faces import maximum_over_cone
from pyomo_relu.generation.pricing import (
    Candidates,
    diverse,
    heuristic_pricing,
    values_at,
)


def instance(seed, n=9, d=3, c=2, **options):
    rng = np.random.default_rng(seed)
    problem = TrainingProblem(
        rng.normal(size=(n, d)), rng.normal(size=(n, c)), 0.1, **options
    )
    return problem, rng.normal(size=(n, c)), rng


def exact(problem, cells, Z):
    scaled = problem.scaled
    rotation = scaled.basis.T @ cells.basis
    rows = scaled.spread(scaled.with_anchors(Z))
    maps = CellMaps(cells, scaled.X, rows, rotation, scaled.activation)
    every = np.arange(len(cells))
    J = maps.maps(every)
    return np.array(
        [maximum_over_cone(J[i], *maps.geometry(i)).upper for i in every.tolist()]
    )


OPTIONS = [
    {},
    {"activation": "leaky_relu(-0.5)"},
    {"activation": "absolute", "bias": True},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("seed", range(3))
def test_every_violated_cell_has_its_best_direction(seed, options):
    problem, Z, _ = instance(seed, n=7, **options)
    cells = enumerate_cells(problem)
    truth = exact(problem, cells, Z)
    floor = float(np.quantile(truth, 0.6))
    found = best_directions(problem, cells, Z, floor=floor)
    violated = truth > floor * (1.0 + 1e-9)
    np.testing.assert_allclose(found.values[violated], truth[violated], rtol=1e-8)
    assert (found.values <= truth * (1.0 + 1e-8) + 1e-12).all()
    np.testing.assert_allclose(
        values_at(problem, Z, found.directions), found.values, atol=1e-12
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_best_at_rays(options):
    problem, Z, _ = instance(5, **options)
    cells = enumerate_cells(problem)
    scaled = problem.scaled
    rotation = scaled.basis.T @ cells.basis
    maps = CellMaps(cells, scaled.X, Z, rotation, scaled.activation)
    best, ray = maps.best_at_rays()
    for i in range(len(cells)):
        R = rotation @ cells.basis.T @ cells.rays[i]
        values = values_at(problem, Z, R.T)
        assert best[i] == pytest.approx(values.max(), rel=1e-12)
        value = values_at(problem, Z, maps.rays[[ray[i]]])[0]
        assert value == pytest.approx(best[i], rel=1e-12)


@given(st.integers(0, 10_000), st.sampled_from(OPTIONS))
@settings(max_examples=25, deadline=None)
def test_heuristic_pricing_climbs_and_claims_nothing(seed, options):
    problem, Z, rng = instance(seed, **options)
    starts = rng.normal(size=(60, problem.rank))
    found = heuristic_pricing(problem, Z, starts, floor=0.0)
    units = starts / np.linalg.norm(starts, axis=1, keepdims=True)
    at_starts = values_at(problem, Z, units)
    assert found.values[0] >= at_starts.max() * (1.0 - 1e-12)
    np.testing.assert_allclose(
        values_at(problem, Z, found.directions), found.values, rtol=1e-9
    )
    assert (np.diff(found.values) <= 0.0).all()
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=1), 1.0)


def test_heuristic_pricing_finds_the_maximum_of_small_instances():
    hits = 0
    for seed in range(20):
        problem, Z, rng = instance(seed)
        truth = exact(problem, enumerate_cells(problem), Z).max()
        found = heuristic_pricing(
            problem, Z, rng.normal(size=(300, 3)), floor=0.0
        ).values[0]
        assert found <= truth * (1.0 + 1e-9)
        # On a kink between cells it comes close and does not arrive.
        hits += found >= truth * (1.0 - 1e-3)
    assert hits >= 18


def test_zero_starts_and_high_floors():
    problem, Z, _ = instance(0)
    none = heuristic_pricing(problem, Z, np.zeros((3, 3)), floor=0.0)
    assert none.values.shape == (0,)
    high = heuristic_pricing(problem, Z, np.eye(3), floor=1e9)
    assert high.directions.shape == (0, 3)


@pytest.mark.parametrize("most", [1, 5, 40])
def test_diverse_candidates(most):
    rng = np.random.default_rng(1)
    u = rng.normal(size=(200, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    found = Candidates(np.sort(rng.uniform(size=200))[::-1], u)
    chosen = diverse(found, most, cosine=0.9)
    assert len(chosen) <= most
    assert chosen[0] == 0
    cosines = u[chosen] @ u[chosen].T
    assert (cosines[~np.eye(len(chosen), dtype=bool)] < 0.9).all()
    # Greedy: whatever was passed over is close to something better.
    if len(chosen) < most:
        for i in set(range(200)) - set(chosen.tolist()):
            better = chosen[chosen < i]
            assert (u[better] @ u[i]).max() >= 0.9
