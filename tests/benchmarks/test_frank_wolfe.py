"""The published Frank-Wolfe against formulas, its theory and a known optimum."""

import numpy as np
import pytest

from benchmarks.frank_wolfe import frank_wolfe
from pyomo_relu import TrainingProblem, enumerate_cells, train
from pyomo_relu.errors import InputError
from tests.instances import REFERENCE, reference_data

BETA = 0.5
#: Lengths of the columns of Y below.
LENGTHS = np.sqrt([5.0, 3.0, 1.0])


@pytest.fixture(scope="module")
def orthonormal():
    """Return a problem with orthonormal rows and one-hot labels, and its cells."""
    labels = np.repeat([0, 1, 2], [5, 3, 1])
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(9, 9)))[0]
    problem = TrainingProblem(X, np.eye(3)[labels], BETA)
    return problem, enumerate_cells(problem)


@pytest.fixture(scope="module")
def reference():
    """Return a reference instance, its cells, and the radius of its optimum."""
    problem = TrainingProblem(*reference_data(0), 0.2)
    optimum = train(problem.X, problem.Y, problem.beta, gap=1e-8)
    assert optimum.certificate.objective == pytest.approx(REFERENCE[0], rel=1e-7)
    return problem, enumerate_cells(problem), optimum.network.balance().penalty()


def test_the_first_two_steps_go_to_the_longest_columns(orthonormal):
    # On orthonormal rows (X u)_+ = y_1 / |y_1| for one unit vector u, and no other
    # direction pulls as much: f_1 is t times that, in the first output.
    problem, cells = orthonormal
    t = 0.7
    result = frank_wolfe(problem, cells, t, steps=2)
    a, b, c = LENGTHS
    zero, first, second = result.history
    assert zero.objective == pytest.approx(0.5 * (a**2 + b**2 + c**2), rel=1e-12)
    assert zero.gap == pytest.approx(t * a, rel=1e-12)
    assert first.loss == pytest.approx(0.5 * ((a - t) ** 2 + b**2 + c**2), rel=1e-9)
    assert first.objective == pytest.approx(first.loss + BETA * t, rel=1e-9)
    # Z is (a - t, b, c) along the columns, and b > a - t pulls most.
    assert first.gap == pytest.approx(t * b - t * (a - t), rel=1e-9)
    # Two thirds of the way to t times the second column.
    loss = 0.5 * ((a - t / 3) ** 2 + (b - 2 * t / 3) ** 2 + c**2)
    assert second.loss == pytest.approx(loss, rel=1e-9)
    assert second.objective == pytest.approx(loss + BETA * t, rel=1e-9)
    expected = t * problem.Y * [1 / 3 / a, 2 / 3 / b, 0.0]
    assert result.network.predict(problem.X) == pytest.approx(expected, abs=1e-9)


def test_it_tends_to_the_soft_thresholded_columns(orthonormal):
    # At the radius of the soft-thresholded optimum that is what the ball's optimum is.
    problem, cells = orthonormal
    t = float(np.sum(LENGTHS - BETA))
    optimum = float(np.sum(BETA * LENGTHS - 0.5 * BETA**2))
    history = frank_wolfe(problem, cells, t, steps=200).history
    least = optimum - BETA * t
    for k, iterate in enumerate(history[1:], start=1):
        # Weak duality, and the theorem with the ball's diameter 2 t (|X|_2 = 1).
        assert iterate.loss - iterate.gap <= least + 1e-9
        assert least - 1e-9 <= iterate.loss <= least + 2.0 * (2.0 * t) ** 2 / (k + 2)
        assert iterate.objective >= optimum - 1e-9
    assert history[-1].objective <= optimum * (1 + 1e-3)


def test_theory_holds_on_a_reference_instance(reference):
    problem, cells, t = reference
    history = frank_wolfe(problem, cells, t, steps=300).history
    least = REFERENCE[0] - problem.beta * t
    curvature = (2.0 * t * np.linalg.norm(problem.X, 2)) ** 2
    slack = 1e-6
    for k, iterate in enumerate(history[1:], start=1):
        assert iterate.loss - iterate.gap <= least + slack
        assert least - slack <= iterate.loss <= least + 2.0 * curvature / (k + 2)
        assert REFERENCE[0] - slack <= iterate.objective
        assert iterate.objective <= iterate.loss + problem.beta * t * (1 + 1e-9)


def test_no_sampled_direction_beats_the_oracle(reference):
    problem, cells, t = reference
    directions = np.random.default_rng(1).normal(size=(problem.X.shape[1], 20_000))
    directions /= np.linalg.norm(directions, axis=0)
    hidden = np.maximum(problem.X @ directions, 0.0)
    for steps in (0, 1, 5, 40):
        result = frank_wolfe(problem, cells, t, steps=steps)
        f = result.network.predict(problem.X)
        Z = problem.Y - f
        sampled = np.linalg.norm(Z.T @ hidden, axis=0).max()
        attained = (result.history[-1].gap + np.sum(Z * f)) / t
        assert sampled * (1 - 1e-9) <= attained <= sampled * 1.01


def test_the_network_is_the_last_iterate(reference):
    problem, cells, t = reference
    for steps in (0, 1, 50):
        result = frank_wolfe(problem, cells, t, steps=steps)
        last = result.history[-1]
        assert len(result.history) == steps + 1
        assert result.network.objective(problem) == pytest.approx(last.objective)
        assert result.network.penalty() <= t * (1 + 1e-9)


def test_it_ends_at_the_target(reference):
    problem, cells, t = reference
    target = 1.1 * REFERENCE[0]
    history = frank_wolfe(problem, cells, t, steps=500, target=target).history
    assert history[-1].objective <= target
    assert all(iterate.objective > target for iterate in history[:-1])


@pytest.mark.parametrize(
    ("options", "radius", "message"),
    [
        ({"loss": "huber"}, 1.0, "squared loss"),
        ({"sample_weight": [1.0, 2.0]}, 1.0, "without weights"),
        ({"skip": 1.0}, 1.0, "linear term"),
        ({}, 0.0, "radius"),
        ({}, np.nan, "radius"),
    ],
)
def test_what_it_is_not_for_is_refused(options, radius, message):
    problem = TrainingProblem([[1.0], [2.0]], [[1.0], [2.0]], 0.5, **options)
    with pytest.raises(InputError, match=message):
        frank_wolfe(problem, enumerate_cells(problem), radius, steps=1)
