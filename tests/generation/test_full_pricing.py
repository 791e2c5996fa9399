"""Pricing over the sphere against pricing over all cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import TrainingProblem, certify, enumerate_cells, train, training
from pyomo_relu.certificates.directions import values_at
from pyomo_relu.certificates.zero_network import zero_network
from pyomo_relu.generation.full_pricing import CellPricing, SpherePricing
from pyomo_relu.generation.restricted import RestrictedProgram


def data(seed, n=14, d=3, c=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, c))


@pytest.fixture
def by_sphere(monkeypatch):
    """Let cell generation do without enumeration, however few cells there are."""
    monkeypatch.setattr(training, "MOST_CELLS", 0)


@given(st.integers(0, 1000), st.sampled_from([2, 3, 4]))
@settings(max_examples=15, deadline=None)
def test_both_prove_the_same(seed, rank):
    problem = TrainingProblem(*data(seed, n=10, d=rank), 0.1)
    dual = np.random.default_rng(seed).normal(size=problem.Y.shape)
    network = zero_network(problem)
    cells = enumerate_cells(problem)
    over_cells, over_sphere = CellPricing(problem, cells), SpherePricing(problem, 2e-9)
    # A point that is far from feasible is bounded as well as that asks for.
    rough, _ = over_sphere.prove(network, 100.0 * dual)
    rho = over_cells.prove(network, dual)[0].rho
    assert 100.0 * rho <= rough.rho * (1.0 + 1e-9)
    assert rough.rho <= 100.0 * rho * 4.0 / 3.0
    # One that is just feasible exactly.
    dual *= problem.beta / rho
    expected, count = over_cells.prove(network, dual)
    found, cones = over_sphere.prove(network, dual)
    assert count == len(cells)
    assert cones > 0
    assert expected.complete
    assert found.complete
    assert found.lower_bound == pytest.approx(expected.lower_bound, rel=1e-8)
    scaled = problem.scaled
    Z = dual * scaled.y_scale / scaled.objective_scale
    best = over_cells.violated(Z, 0.0)
    other = over_sphere.violated(Z, 0.0)
    assert other.values[0] == pytest.approx(best.values[0], rel=1e-6)
    np.testing.assert_allclose(values_at(problem, Z, other.directions), other.values)
    assert (np.diff(other.values) <= 0.0).all()
    floor = 0.9 * best.values[0]
    assert (over_sphere.violated(Z, floor).values > floor).all()


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_training_without_cells_finds_the_same_optimum(by_sphere, monkeypatch, rank):
    X, Y = data(rank, n=11, d=rank)
    result = train(X, Y, 0.3, gap=1e-7, method="generation")
    certificate = result.certificate
    assert result.converged
    assert certificate.complete
    assert certificate.cells == 0
    assert certificate.cones > 0
    assert "the sphere is covered" in str(certificate)
    assert all(row.priced in (0,) or row.priced > 1 for row in result.history)
    # Over all cells the same dual point proves the same, and the network is optimal.
    monkeypatch.undo()
    cells = enumerate_cells(X)
    again = certify(result.problem, result.network, certificate.dual, cells=cells)
    assert again.lower_bound == pytest.approx(certificate.lower_bound, rel=1e-8)
    other = train(X, Y, 0.3, cells=cells, method="generation", gap=1e-7)
    assert other.certificate.objective == pytest.approx(certificate.objective, rel=1e-6)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "absolute"},
        {"activation": "leaky_relu(0.1)", "loss": "huber(0.5)"},
        {"bias": True, "skip": 0.5},
        {"loss": "absolute"},
        {"sample_weight": np.arange(12) % 3},
    ],
)
def test_other_problems(by_sphere, options):
    X, Y = data(1, n=12, d=2)
    result = train(X, Y, 0.2, method="generation", **options)
    other = train(X, Y, 0.2, method="enumeration", **options)
    assert result.certificate.cones > 0
    assert result.certificate.gap < 1e-4
    for bound in (result.certificate.lower_bound, other.certificate.lower_bound):
        for network in (result.network, other.network):
            assert bound <= network.objective(result.problem) * (1.0 + 1e-9)


def test_degenerate_data(by_sphere):
    rng = np.random.default_rng(0)
    X = rng.integers(-2, 3, size=(16, 3)).astype(float)
    Y = rng.normal(size=(16, 2))
    result = train(X, Y, 0.3, method="generation")
    assert result.converged
    assert certify(result.problem, result.network, cells=enumerate_cells(X)).gap < 2e-6


def test_a_coarse_gap_asks_for_a_coarse_proof(by_sphere):
    X, Y = data(3, n=12, d=4)
    coarse = train(X, Y, 0.2, gap=1e-2, method="generation")
    fine = train(X, Y, 0.2, gap=1e-6, method="generation")
    assert coarse.converged
    assert fine.certificate.complete
    assert coarse.certificate.lower_bound <= fine.certificate.objective
    assert coarse.certificate.cones < fine.certificate.cones


def test_a_search_that_is_stopped_proves_something(by_sphere):
    problem = TrainingProblem(*data(4, n=20, d=5), 0.2)
    dual = np.random.default_rng(0).normal(size=problem.Y.shape)
    network = zero_network(problem)
    whole, cones = SpherePricing(problem, 2e-9).prove(network, dual)
    asked = []

    def stop():
        asked.append(1)
        return len(asked) > 5

    part, fewer = SpherePricing(problem, 2e-9, stop).prove(network, dual)
    assert not part.complete
    assert fewer < cones
    assert 0.0 < part.lower_bound <= whole.lower_bound
    assert part.lower_bound >= part.trivial_bound


def test_zero_is_optimal_above_beta_max(by_sphere):
    X, Y = data(5, n=12, d=3)
    result = train(X, Y, 1e3, method="generation")
    assert result.network.n_neurons == 0
    assert result.converged
    assert result.certificate.objective == pytest.approx(0.5 * np.sum(Y**2))


def test_checkpoints_do_without_cells(by_sphere, tmp_path):
    X, Y = data(6, n=20, d=3)
    path = tmp_path / "run.npz"
    whole = train(X, Y, 0.2, method="generation")
    assert len(whole.history) > 2
    train(X, Y, 0.2, max_rounds=2, checkpoint=path)
    resumed = train(X, Y, 0.2, checkpoint=path)
    assert resumed.converged
    assert [row.cells for row in resumed.history] == [r.cells for r in whole.history]
    assert resumed.certificate.lower_bound == pytest.approx(
        whole.certificate.lower_bound, rel=2e-6
    )


def test_a_checkpoint_is_for_either_pricing(by_sphere, monkeypatch, tmp_path):
    X, Y = data(7, n=20, d=4)
    path = tmp_path / "run.npz"
    train(X, Y, 0.2, max_rounds=3, checkpoint=path)
    monkeypatch.undo()
    result = train(X, Y, 0.2, checkpoint=path)
    assert result.converged
    assert result.certificate.cells > 0


@pytest.mark.parametrize("seed", [42, *range(12)])
def test_any_checkpoint_is_read_again(by_sphere, tmp_path, seed):
    # Directions lie on hyperplanes up to rounding; their cells must be found again.
    rng = np.random.default_rng(seed)
    n = int(rng.integers(6, 20))
    X, Y = rng.normal(size=(n, 3)), rng.normal(size=(n, 1))
    path = tmp_path / "run.npz"
    part = train(X, Y, 0.1, max_rounds=3, checkpoint=path)
    result = train(X, Y, 0.1, checkpoint=path)
    assert result.converged
    assert result.certificate.objective <= part.certificate.objective * (1.0 + 1e-6)


def test_kinks_where_nothing_is_violated_at_first():
    # A linear term alone leaves the dual point open.
    X, Y = [[-0.7126], [-0.0679], [0.2817]], [[1.0, 1.0], [-2.0, 2.0], [1.0, 0.0]]
    options = {"loss": "quantile", "skip": True}
    expected = train(X, Y, 0.508, method="enumeration", **options)
    result = train(X, Y, 0.508, method="generation", **options)
    assert result.certificate.gap < 1e-5
    assert result.certificate.objective == pytest.approx(
        expected.certificate.objective, rel=1e-5
    )


def test_an_interruption_before_the_first_proof_leaves_one(by_sphere, monkeypatch):
    X, Y = data(8, n=20, d=3)
    solves = []
    original = RestrictedProgram.solve

    def interrupted(self, time_limit=None):
        if len(solves) == 2:
            raise KeyboardInterrupt
        solves.append(1)
        return original(self, time_limit)

    monkeypatch.setattr(RestrictedProgram, "solve", interrupted)
    result = train(X, Y, 0.2, method="generation")
    assert result.interrupted
    assert 0.0 < result.certificate.lower_bound <= result.certificate.objective
