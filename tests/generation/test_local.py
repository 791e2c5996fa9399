"""Training without cells: against training with them, and against restarts."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_wine

from pyomo_relu import ReLUNetwork, TrainingProblem, train
from pyomo_relu.errors import InputError, TooManyCellsError
from pyomo_relu.generation import LocalTraining
from pyomo_relu.generation.local import quasi_newton


def data(seed=0, n=14, d=3, c=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, c))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "huber", "bias": True},
        {"skip": 0.5, "activation": "leaky_relu(0.1)"},
        {"skip": True, "activation": "absolute", "bias": True},
    ],
)
def test_it_comes_close_to_the_proven_optimum(options):
    X, Y = data(0, n=10)
    exact = train(X, Y, 0.2, **options)
    local = train(X, Y, 0.2, method="local", **options)
    problem = exact.problem
    assert local.network.objective(problem) >= exact.certificate.lower_bound
    assert local.network.objective(problem) <= exact.certificate.objective * 1.02
    # Here the cells can be enumerated, and the certificate says so.
    assert local.certificate.complete
    assert local.certificate.lower_bound <= exact.certificate.objective * (1 + 1e-12)
    assert local.history[0].tier == "neurons by heuristic pricing"


def test_wine_beats_restarts_of_the_same_optimiser():
    X, y = load_wine(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    Y = np.eye(3)[y]
    for method in ("enumeration", "generation"):
        with pytest.raises(TooManyCellsError, match="method='local'"):
            train(X, Y, 1.0, method=method)
    # By default there are too many cells for anything else.
    result = train(X, Y, 1.0, max_rounds=5)
    assert result.history[-1].tier == "neurons by heuristic pricing"
    problem = result.problem
    rng = np.random.default_rng(0)
    restarts = [
        quasi_newton(
            problem,
            ReLUNetwork(
                0.1 * rng.normal(size=(13, 30)), 0.1 * rng.normal(size=(30, 3))
            ),
            1_000,
        ).objective(problem)
        for _ in range(3)
    ]
    assert result.network.objective(problem) <= min(restarts) * (1.0 + 1e-6)
    certificate = result.certificate
    assert 0.0 < certificate.lower_bound <= certificate.objective
    assert certificate.lower_bound >= certificate.trivial_bound


@pytest.mark.parametrize("options", [{}, {"skip": 0.3, "bias": True}])
def test_quasi_newton_against_scipy_on_the_weights_themselves(options):
    X, Y = data(3, n=6, d=2)
    problem = TrainingProblem(X, Y, 0.3, **options)
    rng = np.random.default_rng(1)
    d = problem.rows.shape[1]
    shapes = [(d, 4), (4, 2)] + ([(d, 2)] if options else [])
    sizes = np.cumsum([a * b for a, b in shapes])

    def network(theta):
        parts = np.split(theta, sizes[:-1])
        arrays = [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]
        return ReLUNetwork.of_problem(problem, *arrays)

    start = rng.normal(size=int(sizes[-1]))
    better = quasi_newton(problem, network(start), 2_000)
    # No step of another method from there leads down.
    layers = [better.stacked, better.second]
    if options:
        linear = better.skip if better.skip is not None else np.zeros((d, 2))
        layers.append(linear)
    theta = np.concatenate([layer.ravel() for layer in layers])
    if better.n_neurons == 4:
        found = minimize(
            lambda t: network(t).objective(problem),
            theta,
            method="Powell",
            options={"maxiter": 3},
        )
        assert found.fun >= better.objective(problem) * (1.0 - 1e-4)
    assert better.objective(problem) < network(start).objective(problem)


def test_runs_repeat_and_never_get_worse():
    X, Y = data(5, n=7)
    first, second = (train(X, Y, 0.2, method="local", max_rounds=8) for _ in range(2))
    np.testing.assert_array_equal(first.network.first, second.network.first)
    start = first.network
    again = train(X, Y, 0.2, method="local", max_rounds=1)
    longer = train(X, Y, 0.2, method="local", max_rounds=6)
    problem = first.problem
    assert longer.network.objective(problem) <= again.network.objective(problem) + 1e-9
    work = LocalTraining(problem, lambda _: None)
    work.network = start
    work.run(max_rounds=1)
    assert work.network.objective(problem) <= start.objective(problem)


def test_limits_and_refusals():
    X, Y = data(6)
    short = train(X, Y, 0.2, method="local", time_limit=1e-9)
    assert short.certificate.lower_bound <= short.certificate.objective
    with pytest.raises(InputError, match="differentiable"):
        train(X, Y, 0.2, method="local", loss="absolute")
    told = []
    train(X, Y, 0.2, method="local", max_rounds=2, progress=told.append)
    assert told[0].startswith("round 1")
    assert told[-1] == "certifying the network"


def test_an_interruption_keeps_the_best(monkeypatch):
    X, Y = data(7)
    original = LocalTraining._grow
    calls = []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(LocalTraining, "_grow", interrupted)
    result = train(X, Y, 0.2, method="local")
    assert result.interrupted
    assert result.network.n_neurons
    assert result.certificate.lower_bound <= result.certificate.objective
