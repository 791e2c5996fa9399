"""Regularisation paths against separate trainings, and what they promise."""

import itertools

import numpy as np
import pytest

from pyomo_relu import (
    TrainingProblem,
    beta_max,
    certify,
    enumerate_cells,
    sample_cells,
    train,
    train_path,
    training,
    training_path,
)
from pyomo_relu.errors import InputError, InputTypeError, SolverError
from tests.losses.cases import every_loss, one_hot


def data(seed=0, n=8, d=2, c=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, c))


def check_points(path, X, Y, **options):
    """Every point is what its certificate says of it."""
    for point in path:
        problem = TrainingProblem(X, Y, point.beta, **options)
        assert point.network.objective(problem) == pytest.approx(
            point.objective, rel=1e-12
        )
        assert point.loss == problem.loss_value(point.network.predict(problem.X))
        assert point.neurons == point.network.n_neurons
        assert point.converged == (point.gap <= 1e-6)


@every_loss
def test_each_point_is_what_train_finds(loss):
    X, Y = data()
    if loss.is_classification:
        Y = one_hot(np.arange(8) % 3, 3)
    largest = beta_max(X, Y, loss=loss).value
    # Unsorted, one of them twice.
    betas = [0.3 * largest, 1.5 * largest, 0.05 * largest, 0.8 * largest, 0.3 * largest]
    path = train_path(X, Y, betas, loss=loss)
    assert path.converged
    assert [point.beta for point in path] == betas
    check_points(path, X, Y, loss=loss)
    assert path[1].source == "zero"
    assert path[1].neurons == 0
    for point in (path[0], path[2], path[3]):
        assert point.source != "zero"
        alone = train(X, Y, point.beta, loss=loss).certificate
        low = max(alone.lower_bound, point.certificate.lower_bound)
        high = min(alone.objective, point.objective)
        assert low <= high * (1.0 + 1e-12)
        assert point.objective <= low * (1.0 + 2e-6)
    # Adding up the optimality at two betas: less decay, more penalty and less loss, up
    # to what the networks are from optimal.
    falling = [path[1], path[3], path[0], path[2]]
    for large, small in itertools.pairwise(falling):
        ratio = small.beta / (large.beta - small.beta)
        off = 1e-12 * large.objective + sum(
            point.objective - point.certificate.lower_bound for point in (large, small)
        )
        assert small.loss <= large.loss + (1.0 + ratio) * off
        grown = small.network.penalty() - large.network.penalty()
        assert grown >= -off * ratio / small.beta
    assert path[2].loss < 0.9 * path[1].loss


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "leaky_relu(0.2)", "bias": True},
        {"activation": "absolute", "loss": "huber"},
        {"skip": True},
        {"skip": 0.5, "bias": True},
        {"sample_weight": np.arange(8.0), "output_weight": [1.0, 0.3]},
    ],
)
def test_options_reach_the_training(options):
    X, Y = data(1)
    betas = [1.0, 0.2]
    path = train_path(X, Y, betas, **options)
    assert path.converged
    check_points(path, X, Y, **options)
    for point in path:
        alone = train(X, Y, point.beta, **options).certificate
        assert point.objective == pytest.approx(alone.objective, rel=3e-6)
    assert (path.beta_max is None) == ("skip" in options)


def test_patches():
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(6, 2, 2)), rng.normal(size=(6, 1))
    path = train_path(X, Y, [0.5, 0.1])
    assert path.converged
    check_points(path, X, Y)


def test_warm_starts_solve_nothing_where_they_prove_the_gap(monkeypatch):
    X, Y = data(3, n=30)

    def never(*_, **__):
        raise AssertionError("solved")

    monkeypatch.setattr(training, "solve", never)
    largest = beta_max(X, Y).value
    path = train_path(X, Y, [0.9 * largest, 0.7 * largest])
    assert [point.source for point in path] == ["warm start", "warm start"]
    assert path.converged
    # From scratch, by the certificate alone.
    for point in path:
        problem = TrainingProblem(X, Y, point.beta)
        assert certify(problem, point.network).gap <= 1e-6


def test_where_a_warm_start_fails_the_program_is_solved(monkeypatch):
    monkeypatch.setattr(training_path, "_MAX_ROUNDS", 1)
    X, Y = data(4)
    path = train_path(X, Y, [0.5, 0.05])
    assert path.converged
    assert {point.source for point in path} == {"solved"}


def test_a_start_is_kept_when_the_solver_fails(monkeypatch, caplog):
    X, Y = data(4)
    good = train(X, Y, 0.3)

    def fail(*_, **__):
        raise SolverError("no point")

    monkeypatch.setattr(training._Run, "round", fail)
    problem = TrainingProblem(X, Y, 0.301)
    result = training.train_problem(problem, start=good.network)
    assert not result.converged
    assert result.network is good.network
    assert "no point" in caplog.text
    # A start that is good enough needs no solver.
    again = training.train_problem(good.problem, start=good.network)
    assert again.converged
    assert again.history == ()


def test_cells_are_enumerated_once(monkeypatch):
    calls = []
    real = training_path.covering_cells

    def counted(*args, **options):
        calls.append(args)
        return real(*args, **options)

    def never(*_, **__):
        raise AssertionError("enumerated again")

    monkeypatch.setattr(training_path, "covering_cells", counted)
    monkeypatch.setattr(training, "covering_cells", never)
    for loss in ("squared", "absolute"):
        train_path(*data(5), [2.0, 0.5, 0.1], loss=loss)
    assert len(calls) == 2


@pytest.mark.parametrize("stage", ["warm start", "solve"])
def test_interruption_keeps_what_is_done(monkeypatch, stage):
    X, Y = data(6)
    largest = beta_max(X, Y).value
    betas = [0.1 * largest, 2.0 * largest, 0.6 * largest]

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    if stage == "warm start":
        monkeypatch.setattr(training_path, "improvements", interrupt)
    else:
        monkeypatch.setattr(training_path, "_MAX_ROUNDS", 0)
        monkeypatch.setattr(training, "solve", interrupt)
    path = train_path(X, Y, betas)
    assert path.interrupted
    assert not path.converged
    # What train itself keeps of the network before it is a point too.
    kept = {"warm start": [betas[1]], "solve": [betas[1], betas[2]]}
    assert [point.beta for point in path] == kept[stage]
    assert "interrupted" in str(path)


def test_interruption_before_the_first_point(monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(training_path, "certify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_path(*data(), [100.0])


def test_a_path_is_a_sequence_and_a_table():
    X, Y = data(7)
    path = train_path(X, Y, (b for b in (0.4, 40.0)))
    assert len(path) == 2
    assert path[-1].beta == 40.0
    assert [point.beta for point in path[:1]] == [0.4]
    head, first, second, foot = str(path).splitlines()
    assert head.split() == [
        *("beta", "objective", "loss", "neurons", "gap", "seconds", "how")
    ]
    assert first.split()[0] == "0.4"
    assert float(first.split()[1]) == pytest.approx(path[0].objective, rel=1e-7)
    assert int(first.split()[3]) == path[0].neurons
    assert second.split()[0] == "40"
    assert second.endswith("zero")
    assert foot.startswith("beta_max")


def test_progress_names_the_beta():
    stages = []
    train_path(*data(), [0.5, 40.0], progress=stages.append)
    assert stages[0] == "enumerating cells"
    assert any(stage.startswith("beta 0.5: ") for stage in stages)


def test_sampled_cells_do_not_overclaim():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 10)), rng.normal(size=(30, 1))
    problem = TrainingProblem(X, Y, 5.0)
    path = train_path(X, Y, [5.0, 4.0], cells=sample_cells(problem, 4, seed=0))
    assert path.beta_max is None
    assert not path.converged
    assert all(p.certificate.lower_bound < p.objective for p in path)


def test_samples_of_zeros():
    path = train_path(np.zeros((3, 2)), [1.0, 2.0, 2.0], [1.0, 0.1])
    assert [point.objective for point in path] == [4.5, 4.5]
    assert path.converged


def test_bad_arguments_are_refused():
    X, Y = data()
    for betas in ([], [0.1, -1.0], [0.0], [float("nan")], [0.1, float("inf")]):
        with pytest.raises(InputError, match="betas must"):
            train_path(X, Y, betas)
    for betas in (0.5, "0.5", ["a"], [None], None):
        with pytest.raises(InputTypeError, match="betas must"):
            train_path(X, Y, betas)
    with pytest.raises(InputError, match="gap must be positive"):
        train_path(X, Y, [1.0], gap=0.0)
    with pytest.raises(InputTypeError, match="progress"):
        train_path(X, Y, [1.0], progress=1)
    with pytest.raises(InputTypeError, match="cells must"):
        train_path(X, Y, [1.0], cells=3)
    with pytest.raises(InputError, match="other data"):
        train_path(X, Y, [1.0], cells=enumerate_cells(2.0 * X))
    with pytest.raises(InputError, match="same number of rows"):
        train_path(X, Y[:3], [1.0])
