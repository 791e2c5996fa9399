"""The whole path: known optima, degenerate data, higher rank, interruption."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_linnerud

from pyomo_relu import (
    TrainingProblem,
    beta_max,
    sample_cells,
    solve,
    train,
    training,
)
from pyomo_relu.errors import (
    InputError,
    InputTypeError,
    SolverError,
    TooManyCellsError,
)
from tests.instances import REFERENCE, degenerate_data, reference_data


@pytest.mark.parametrize("seed", sorted(REFERENCE))
def test_reference_optima(seed):
    result = train(*reference_data(seed), 0.2, gap=1e-8)
    assert result.converged
    assert result.certificate.complete
    assert result.certificate.gap <= 1e-8
    assert result.certificate.objective == pytest.approx(REFERENCE[seed], abs=1e-6)
    assert result.network.objective(result.problem) == pytest.approx(
        result.certificate.objective, rel=1e-13
    )
    assert result.history[-1].model_objective == pytest.approx(
        REFERENCE[seed], abs=1e-6
    )


@pytest.mark.parametrize("name", degenerate_data())
def test_degenerate_data(name):
    X, Y = degenerate_data()[name]
    result = train(X, Y, 0.1)
    assert result.converged
    assert result.certificate.complete
    assert result.certificate.gap <= 1e-6


@pytest.mark.parametrize("beta", [0.1, 0.6, 1.2])
def test_closed_form_of_orthogonal_samples(beta):
    """X X^T = I, one-hot Y: soft thresholding, one neuron a class (design)."""
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    Y = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    norms = np.sqrt([3.0, 2.0, 1.0])
    optimum = np.where(norms > beta, beta * norms - beta**2 / 2, norms**2 / 2).sum()
    result = train(X, Y, beta)
    assert result.certificate.objective == pytest.approx(optimum, abs=1e-7)
    assert result.certificate.lower_bound == pytest.approx(optimum, abs=1e-7)
    assert result.network.n_neurons == np.sum(norms > beta)


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_linnerud(beta):
    data = load_linnerud()
    X, Y = (
        (table - table.mean(axis=0)) / table.std(axis=0)
        for table in (data.data, data.target)
    )
    result = train(X, Y, beta)
    assert result.converged
    assert result.certificate.complete
    assert result.certificate.gap <= 1e-6


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 8),
    d=st.integers(1, 3),
    c=st.integers(1, 3),
    beta=st.sampled_from([0.01, 0.3, 3.0]),
)
def test_random_grids_are_solved(seed, n, d, c, beta):
    """Small integers: zero rows, repeated rows, deficient rank, all at once."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, size=(n, d))
    result = train(X, rng.integers(-2, 3, size=(n, c)), beta)
    assert result.converged
    assert result.certificate.complete


def test_rank_four_is_closed_by_a_partition_where_dnn_is_loose():
    rng = np.random.default_rng(0)
    for _ in range(4):
        rng.normal(size=(8, 3))
    result = train(rng.normal(size=(8, 4)), rng.normal(size=(8, 3)), 0.1, gap=1e-8)
    assert result.converged
    bounds = [entry.lower_bound for entry in result.history]
    values = [entry.network_objective for entry in result.history]
    assert bounds == sorted(bounds)
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("noise", "gap"), [(1e-12, 1e-6), (1e-8, 1e-6), (1e-7, 1e-5), (1e-6, 1e-4)]
)
def test_nearly_rank_deficient_data(noise, gap):
    """What leaving out the flat direction costs is in the gap, and is small."""
    rng = np.random.default_rng(1)
    B, Y = rng.normal(size=(10, 2)), rng.normal(size=(10, 2))
    flat = np.column_stack([B, B.sum(axis=1)])
    X = flat + noise * rng.normal(size=(10, 3))
    result = train(X, Y, 0.1)
    assert result.certificate.complete
    assert result.certificate.gap <= gap
    # The network of the flat data is one that the bound must not exceed.
    other = train(flat, Y, 0.1).network.objective(TrainingProblem(X, Y, 0.1))
    assert result.certificate.lower_bound <= other


def test_sampled_cells_train_and_do_not_overclaim():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 10)), rng.normal(size=(30, 1))
    with pytest.raises(TooManyCellsError, match="sample_cells"):
        train(X, Y, 1.0, method="enumeration")
    problem = TrainingProblem(X, Y, 1.0)
    result = train(X, Y, 1.0, cells=sample_cells(problem, 4, seed=0))
    assert not result.certificate.complete
    assert not result.converged
    assert result.certificate.lower_bound < result.certificate.objective
    assert "without cells" in result.certificate.reason


def test_all_zero_samples_need_no_solver():
    result = train(np.zeros((3, 2)), [1.0, 2.0, 2.0], 0.1)
    assert result.network.n_neurons == 0
    assert result.certificate.objective == 4.5
    assert result.converged


@pytest.mark.parametrize("method", ["enumeration", "generation", "local"])
@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_out_of_time_there_is_a_network_and_a_valid_bound(method, loss):
    X, Y = reference_data(1)
    whole = train(X, Y, 0.2, loss=loss)
    result = train(X, Y, 0.2, loss=loss, method=method, time_limit=1e-9)
    certificate = result.certificate
    assert certificate.lower_bound <= whole.certificate.objective * (1.0 + 1e-9)
    assert certificate.objective >= whole.certificate.lower_bound
    assert certificate.objective == pytest.approx(
        result.network.objective(result.problem)
    )
    assert len(result.history) <= 1


def test_a_solver_that_runs_out_of_time_leaves_the_zero_network(monkeypatch):
    X, Y = reference_data(0)

    def refuse(*_, **__):
        raise SolverError("no point in time")

    monkeypatch.setattr(training, "solve", refuse)
    with pytest.raises(SolverError):
        train(X, Y, 0.2, method="enumeration")
    result = train(X, Y, 0.2, method="enumeration", time_limit=1e-9)
    assert result.network.n_neurons == 0
    assert 0.0 < result.certificate.lower_bound < result.certificate.objective


@pytest.mark.parametrize("solves", [0, 1])
def test_interruption_keeps_the_best_network(monkeypatch, solves):
    X, Y = reference_data(0)
    calls = []
    real = training.solve

    def interrupted(model, **options):
        if len(calls) == solves:
            raise KeyboardInterrupt
        calls.append(model)
        return real(model, **options)

    monkeypatch.setattr(training, "solve", interrupted)
    if not solves:
        with pytest.raises(KeyboardInterrupt):
            train(X, Y, 0.2)
        return
    result = train(X, Y, 0.2, gap=1e-300)
    assert result.interrupted
    assert not result.converged
    assert result.certificate.gap <= 1e-6


def test_interruption_of_the_first_descent_keeps_the_raw_network(monkeypatch):
    def interrupted(problem, network):
        yield network
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "improvements", interrupted)
    result = train(*reference_data(0), 0.2, gap=1e-12)
    assert result.interrupted
    assert result.certificate.objective == pytest.approx(REFERENCE[0], abs=1e-4)


def test_a_failing_refinement_keeps_what_was_proved(monkeypatch, caplog):
    real, rounds = training._Run.round, []

    def fail_later(run, *args, **options):
        if rounds:
            raise SolverError("no point")
        rounds.append(args)
        return real(run, *args, **options)

    monkeypatch.setattr(training._Run, "round", fail_later)
    result = train(*reference_data(0), 0.2, gap=1e-300)
    assert not result.converged
    assert result.certificate.gap <= 1e-6
    assert "no point" in caplog.text


def test_progress_is_told():
    stages = []
    train(*reference_data(0), 0.2, progress=stages.append)
    assert stages[0] == "enumerating cells"
    assert any("solving dnn" in stage for stage in stages)


def test_bad_arguments_are_refused():
    for gap in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="gap must be positive"):
            train([[1.0]], [1.0], 0.1, gap=gap)
    with pytest.raises(InputError, match="beta"):
        train([[1.0]], [1.0], 0.0)
    for options in ({"gap": "small"}, {"gap": None}, {"progress": 3}, {"cells": 3}):
        with pytest.raises(InputTypeError, match="must"):
            train([[1.0]], [1.0], 0.1, **options)


def test_samples_that_are_nearly_parallel():
    """Two of three samples 1e-3 from parallel: a very narrow cell."""
    rng = np.random.default_rng(511)
    Y = rng.normal(size=(3, 1))
    X = rng.normal(size=(3, 2))
    result = train(X, Y / np.linalg.norm(Y), beta=0.05)
    assert result.certificate.gap < 1e-6


def test_where_the_primal_stalls_the_dual_is_tried(monkeypatch):
    def stall(model, **options):
        if model.name == "completely_positive":
            options |= {"iteration_limit": 2}
        return solve(model, **options)

    monkeypatch.setattr(training, "solve", stall)
    monkeypatch.setattr(training, "improvements", lambda _, network: iter([network]))
    X, Y = reference_data(0)
    result = train(X, Y, beta=0.2, gap=1e-4)
    assert [r.tier for r in result.history] == ["dnn", "dnn of the dual"]
    assert [r.gap < 1e-4 for r in result.history] == [False, True]


@pytest.mark.parametrize("loss", ["squared", "huber", "logistic"])
@pytest.mark.parametrize("excess", [1e-6, 0.5, 1e4])
def test_above_beta_max_nothing_is_solved(loss, excess):
    rng = np.random.default_rng(4)
    X = rng.normal(size=(12, 3))
    Y = np.eye(3)[rng.integers(0, 3, 12)]
    least = beta_max(X, Y, loss=loss)
    result = train(X, Y, (1.0 + excess) * least.value, loss=loss)
    assert result.network.n_neurons == 0
    assert result.converged
    assert not result.history
    below = train(X, Y, 0.99 * least.lower, loss=loss)
    assert below.network.n_neurons > 0
    assert below.certificate.objective < result.certificate.objective


@pytest.mark.parametrize("loss", ["absolute", "quantile"])
@pytest.mark.parametrize("beta", [1e8, 1e12])
def test_kinks_far_above_beta_max(loss, beta):
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    result = train(X, Y, beta, loss=loss)
    assert result.converged
    assert result.network.n_neurons == 0


@pytest.mark.parametrize("loss", ["squared", "absolute"])
@pytest.mark.parametrize("options", [{}, {"skip": True}, {"skip": 0.3, "bias": True}])
def test_nothing_to_learn(loss, options):
    X = np.random.default_rng(5).normal(size=(6, 2))
    result = train(X, np.zeros((6, 2)), 0.1, loss=loss, **options)
    assert result.converged
    assert result.certificate.objective == 0.0


def test_rows_that_are_all_but_equal():
    X = np.array(
        [
            [-0.7401051434048884, -0.34812774295171794, 0.9731793384944668],
            [-0.6312401784154577, -1.1433055363403108, 1.8597217005492455],
            [-0.7401051659860096, -0.3481277287071746, 0.973179331280234],
            [1.0000958631586698, 1.0125822711623869, 0.673742636967456],
            [1.0000958674367888, 1.0125822879479658, 0.6737426138586569],
            [-0.921612181282388, -0.6289290695474853, -0.44469708270575165],
            [1.0000958658949846, 1.0125822788169592, 0.6737426335117952],
            [1.0000958670524147, 1.0125822760747256, 0.6737426091102134],
        ]
    )
    Y = [[1, 0], [2, 2], [1, 0], [0, -1], [1, -1], [-1, -1], [1, -2], [1, 2]]
    result = train(X, Y, 0.02)
    assert 0.0 < result.certificate.lower_bound <= result.certificate.objective
