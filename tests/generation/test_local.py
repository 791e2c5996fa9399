"""Training without cells: against training with them, and against restarts."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime, minimize
from sklearn.datasets import load_wine

from pyomo_relu import Huber, ReLUNetwork, TrainingProblem, train
from pyomo_relu.deadline import Deadline
from pyomo_relu.errors import TooManyCellsError
from pyomo_relu.generation import LocalTraining, local
from pyomo_relu.generation.local import _Smoothing, fit_lengths, quasi_newton
from pyomo_relu.programs.user_rows import no_rows
from pyomo_relu.recovery.refit import refit
from pyomo_relu.training import train_problem


def data(seed=0, n=14, d=3, c=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, c))


def wine():
    X, y = load_wine(return_X_y=True)
    return (X - X.mean(axis=0)) / X.std(axis=0), np.eye(3)[y]


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
    exact = train(X, Y, 0.2, method="enumeration", **options)
    found = train(X, Y, 0.2, method="local", **options)
    problem = exact.problem
    assert found.network.objective(problem) >= exact.certificate.lower_bound
    assert found.network.objective(problem) <= exact.certificate.objective * 1.0001
    # Here the cells can be enumerated, and the certificate says so.
    assert found.certificate.complete
    assert found.certificate.lower_bound <= exact.certificate.objective * (1 + 1e-12)


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("absolute", {}),
        ("quantile(0.8)", {"sample_weight": np.linspace(0.0, 2.0, 10)}),
        ("quantile(0.3)", {"skip": 0.5, "bias": True}),
        ("hinge", {}),
    ],
)
def test_losses_with_kinks_come_close_to_the_proven_optimum(loss, options):
    X, Y = data(1, n=10, d=2, c=3)
    if loss == "hinge":
        Y = np.eye(3)[Y.argmax(axis=1)]
    exact = train(X, Y, 0.3, loss=loss, method="enumeration", **options)
    found = train(X, Y, 0.3, loss=loss, method="local", **options)
    best = exact.certificate.objective
    assert exact.certificate.gap < 1e-4
    assert found.network.objective(exact.problem) <= best * 1.005
    assert 0.8 * best <= found.certificate.lower_bound <= best * (1.0 + 1e-12)


def test_the_smoothed_absolute_loss_is_hubers():
    X, Y = data(2)
    scaled = TrainingProblem(X, Y, 0.2, loss="absolute").scaled
    F = scaled.Y + 0.1 * np.random.default_rng(0).normal(size=Y.shape)
    value, gradient = _Smoothing(scaled, 0.05)(F)
    huber = Huber(0.05)
    assert value == pytest.approx(huber.value(F, scaled.Y) / 0.05)
    np.testing.assert_allclose(gradient, huber.gradient(F, scaled.Y) / 0.05)


@pytest.mark.parametrize("loss", ["quantile(0.8)", "hinge"])
def test_the_smoothed_loss_is_below_and_has_its_gradient(loss):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 2)), np.eye(3)[rng.integers(0, 3, 6)]
    weight = rng.uniform(0.5, 1.5, 6)
    problem = TrainingProblem(X, Y, 0.2, loss=loss, sample_weight=weight)
    scaled = problem.scaled
    F = scaled.Y + 0.3 * rng.normal(size=Y.shape)
    true = scaled.loss.value(F, scaled.Y, scaled.weight)
    for width in (0.5, 1e-2, 1e-6):
        smoothed = _Smoothing(scaled, width)
        value, gradient = smoothed(F)
        # A row of the domain has the norm sqrt(c) or less; weights are one or less.
        assert true - 0.5 * width * len(F) * 3 <= value <= true + 1e-12
        if width > 1e-6:
            slopes = approx_fprime(
                F.ravel(),
                lambda f, smoothed=smoothed: smoothed(f.reshape(F.shape))[0],
                1e-7,
            )
            np.testing.assert_allclose(gradient.ravel(), slopes, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"skip": 0.3, "loss": "huber"}])
def test_lengths_are_those_of_the_convex_program(options):
    X, Y = data(4)
    problem = TrainingProblem(X, Y, 0.3, **options)
    rng = np.random.default_rng(0)
    network = ReLUNetwork(rng.normal(size=(3, 4)), rng.normal(size=(4, 2)))
    more = rng.normal(size=(5, 3))
    more /= np.linalg.norm(more, axis=1, keepdims=True)
    found = fit_lengths(problem, network, more, 3_000)
    convex = refit(problem, network, no_rows(problem), more.T)
    assert found.objective(problem) == pytest.approx(convex.objective(problem), 1e-5)
    assert found.objective(problem) >= convex.objective(problem) * (1.0 - 1e-9)
    assert fit_lengths(problem, network, more, 0).n_neurons == 9


def test_wine_beats_restarts_on_the_plain_objective():
    X, Y = wine()
    for method in ("enumeration", "generation"):
        with pytest.raises(TooManyCellsError, match="method='local'"):
            train(X, Y, 1.0, method=method)
    # By default there are too many cells for anything else.
    result = train(X, Y, 1.0, max_rounds=3)
    assert result.history[0].tier == "neurons by heuristic pricing"
    d, m, c = 13, 50, 3

    def plain(theta):
        U, V = theta[: d * m].reshape(d, m), theta[d * m :].reshape(m, c)
        H = np.maximum(X @ U, 0.0)
        R = H @ V - Y
        back = X.T @ ((R @ V.T) * (H > 0.0))
        gradient = np.concatenate([back.ravel(), (H.T @ R).ravel()]) + theta
        return 0.5 * (np.sum(R * R) + theta @ theta), gradient

    rng = np.random.default_rng(0)
    restarts = [
        minimize(
            plain,
            0.3 * rng.normal(size=(d + c) * m),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 1_000},
        ).fun
        for _ in range(3)
    ]
    network = result.network.balance()
    theta = np.concatenate([network.first.ravel(), network.second.ravel()])
    m = network.n_neurons
    assert plain(theta)[0] <= min(restarts) * 0.999
    # Three rounds come within a part in five hundred of what long runs find, 5.507.
    assert plain(theta)[0] <= 5.518
    certificate = result.certificate
    assert 0.0 < certificate.trivial_bound < certificate.lower_bound
    assert certificate.lower_bound < certificate.objective


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
    assert better.n_neurons == 4
    assert better.objective(problem) < network(start).objective(problem)
    # No step of another method from there leads down.
    layers = [better.stacked, better.second] + ([better.skip] if options else [])
    found = minimize(
        lambda t: network(t).objective(problem),
        np.concatenate([layer.ravel() for layer in layers]),
        method="Powell",
        options={"maxiter": 3},
    )
    assert found.fun >= better.objective(problem) * (1.0 - 1e-4)


def test_runs_repeat_and_never_get_worse():
    X, Y = data(5, n=7)
    first, second = (train(X, Y, 0.2, method="local", max_rounds=4) for _ in range(2))
    np.testing.assert_array_equal(first.network.first, second.network.first)
    values = [row.network_objective for row in first.history]
    assert [row.network_objective for row in second.history] == values
    assert values == sorted(values, reverse=True)
    problem = first.problem
    work = LocalTraining(problem, lambda _: None)
    work.start(first.network)
    work.run(max_rounds=1)
    assert work.network.objective(problem) <= first.network.objective(problem)
    # A network may leave out biases that are zero.
    plain = ReLUNetwork(np.eye(3), np.ones((3, 2)))
    biased = TrainingProblem(X, Y, 0.2, bias=True)
    result = train_problem(biased, method="local", max_rounds=1, start=plain)
    assert result.network.objective(biased) < plain.objective(biased)


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_the_zero_network_where_it_is_the_best(loss):
    X, Y = data(6)
    result = train(X, Y, 100.0, method="local", loss=loss)
    assert result.network.n_neurons == 0
    assert result.certificate.objective == pytest.approx(result.problem.loss_value(0.0))
    assert result.converged
    nothing = train(X, 0.0 * Y, 0.1, method="local", loss=loss)
    assert nothing.certificate.objective == 0.0


def test_a_row_and_a_line_a_round():
    X, Y = data(6)
    told = []
    result = train(X, Y, 0.2, method="local", max_rounds=2, progress=told.append)
    *rounds, last = result.history
    assert len(rounds) == 2
    assert told == [
        "training 28 neurons from a random start",
        *[f"round {k + 1}: {row}" for k, row in enumerate(rounds)],
        "improving the network",
        "certifying the network",
    ]
    for row in rounds:
        assert (row.lower_bound, row.gap) == (0.0, np.inf)
        assert row.status.startswith("violation ")
    assert last.lower_bound == result.certificate.lower_bound
    assert last.gap == result.certificate.gap
    assert last.network_objective == pytest.approx(result.certificate.objective)
    patterns = X @ result.network.first > 0.0
    assert last.cells == len({tuple(column) for column in patterns.T})


class Countdown(Deadline):
    """Over when it was asked a number of times."""

    def __init__(self, asked):
        super().__init__()
        self.left = asked

    @property
    def is_over(self):
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_the_time_limit_in_the_middle_of_a_descent(loss):
    X, Y = data(7)
    problem = TrainingProblem(X, Y, 0.2, loss=loss)
    values = []
    for asked in (0, 20, 100):
        work = LocalTraining(problem, lambda _: None, Countdown(asked))
        work.run()
        # No round begins: the first descent takes longer.
        assert not work.history
        values.append(work.network.objective(problem))
    assert problem.loss_value(0.0) > values[1] > values[2]
    short = train(X, Y, 0.2, loss=loss, method="local", time_limit=1e-9)
    assert short.certificate.lower_bound <= short.certificate.objective
    assert not short.interrupted


def interrupt(monkeypatch, evaluations, of):
    """Press Ctrl-C in the first such descent; the network where it began is returned.

    In a list, which is empty before that.
    """
    left, begun = [np.inf], []
    value_of, descent = _Smoothing.__call__, getattr(local, of)

    def counted(self, F):
        left[0] -= 1
        if left[0] < 0:
            left[0] = np.inf
            raise KeyboardInterrupt
        return value_of(self, F)

    def armed(problem, network, *args, **options):
        if not begun:
            left[0] = evaluations
            begun.append(network)
        return descent(problem, network, *args, **options)

    monkeypatch.setattr(local._Smoothing, "__call__", counted)
    monkeypatch.setattr(local, of, armed)
    return begun


@pytest.mark.parametrize("descent", ["quasi_newton", "fit_lengths"])
@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_an_interruption_in_the_middle_of_a_descent_keeps_the_best(
    monkeypatch, descent, loss
):
    X, Y = data(7)
    begun = interrupt(monkeypatch, 60, descent)
    result = train(X, Y, 0.2, loss=loss, method="local")
    assert result.interrupted
    problem = result.problem
    assert result.network.n_neurons
    assert result.network.objective(problem) < begun[0].objective(problem)
    assert result.network.objective(problem) < problem.loss_value(0.0)
    assert result.certificate.lower_bound <= result.certificate.objective
    # Nothing but the certificate comes after it.
    assert len(result.history) == 1


def test_an_interruption_of_the_certificate_leaves_what_norms_prove(monkeypatch):
    X, Y = data(7)
    whole = train(X, Y, 0.2, method="local", max_rounds=1)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "certify", interrupted)
    result = train(X, Y, 0.2, method="local", max_rounds=1)
    assert result.interrupted
    assert not result.certificate.complete
    assert result.certificate.reason == "trivial bound only: interrupted"
    assert result.certificate.lower_bound == whole.certificate.trivial_bound > 0.0
    assert result.certificate.objective == whole.certificate.objective


@pytest.mark.parametrize("loss", ["squared", "absolute"])
@pytest.mark.parametrize("seed", [2, 3])
def test_one_sample_is_enough(seed, loss):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(1, 3)), rng.normal(size=(1, 1))
    exact = train(X, Y, 0.1, loss=loss)
    result = train(X, Y, 0.1, loss=loss, method="local")
    assert result.certificate.objective == pytest.approx(
        exact.certificate.objective, rel=1e-3
    )


def test_in_high_rank_cells_are_left_alone():
    # Their number, 32,768, would do, but few of them would be decided.
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(16, 8)), rng.normal(size=(16, 1))
    result = train(X, Y, 0.5, max_rounds=2)
    assert result.history[-1].tier == "neurons by heuristic pricing"
    assert "without cells" in result.certificate.reason
    assert 0.0 < result.certificate.lower_bound <= result.certificate.objective
