"""The closed form against the convex program and its certificate."""

import numpy as np
import pytest

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    certify,
    closed_form,
    relax,
    solve,
)
from pyomo_relu.errors import InputError, InputTypeError


def instance(seed, n=5, d=6, c=2, length=1.0):
    """Orthogonal rows of one length; columns of Y with disjoint supports."""
    rng = np.random.default_rng(seed)
    rows, _ = np.linalg.qr(rng.normal(size=(d, n)))
    Y = np.zeros((n, c))
    Y[np.arange(n), np.arange(n) % c] = rng.uniform(0.2, 2.0, size=n)
    return length * rows.T, Y


@pytest.mark.parametrize("length", [1.0, 3.0])
@pytest.mark.parametrize("beta", [0.1, 1.0, 2.0, 20.0])
def test_it_is_the_formula(beta, length):
    X, Y = instance(0, length=length)
    problem = TrainingProblem(X, Y, beta)
    sizes, b = np.linalg.norm(Y, axis=0), beta / length
    expected = np.where(sizes > b, b * sizes - 0.5 * b**2, 0.5 * sizes**2).sum()
    network = closed_form(problem)
    assert network.n_neurons == np.sum(sizes > b)
    assert network.objective(problem) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_optimum(seed):
    problem = TrainingProblem(*instance(seed, n=3, d=4), 0.4)
    value = closed_form(problem).objective(problem)
    model = build_completely_positive(problem)
    relax(model, "dnn")
    assert value == pytest.approx(solve(model).incumbent_objective, abs=1e-6)
    assert certify(problem, closed_form(problem)).gap < 1e-9


def test_one_hot_labels_of_many_samples():
    X, _ = instance(0, n=9, d=9)
    labels = np.eye(3)[np.arange(9) % 3]
    problem = TrainingProblem(X, labels, 0.3)
    expected = 3 * (0.3 * np.sqrt(3.0) - 0.5 * 0.3**2)
    assert closed_form(problem).objective(problem) == pytest.approx(expected)


def test_a_bias_counts_as_a_column():
    # Rows (x, 1) of this X are orthogonal and of length sqrt(2).
    problem = TrainingProblem([[1.0], [-1.0]], [1.0, 2.0], 0.5, bias=True)
    network = closed_form(problem)
    b, size = 0.5 / np.sqrt(2.0), np.sqrt(5.0)
    assert network.objective(problem) == pytest.approx(b * size - 0.5 * b**2)
    assert certify(problem, network).gap < 1e-9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "absolute"}, "loss must be squared"),
        ({"sample_weight": [1.0, 1, 1, 1, 2]}, "weights"),
        ({"activation": "leaky_relu(0.1)"}, "activation must be ReLU"),
        ({"skip": True}, "no linear term"),
        ({"bias": True}, "rows of X with its column of ones must be orthogonal"),
        ({"X": "long"}, "must have one length"),
        ({"X": "skew"}, "rows 0 and 1"),
        ({"X": "patches"}, "patches"),
        ({"Y": "negative"}, r"Y\[2, 1\] is -1"),
        ({"Y": "overlap"}, "columns 0 and 1"),
    ],
)
def test_the_condition_that_fails_is_named(change, message):
    X, Y = instance(0)
    options = dict(change)
    kind_x, kind_y = options.pop("X", None), options.pop("Y", None)
    if kind_x == "long":
        X[0] *= 1.1
    elif kind_x == "skew":
        X[1] = 0.6 * X[0] + 0.8 * X[1]
    elif kind_x == "patches":
        X = X[:, None, :].repeat(2, axis=1)
    if kind_y == "negative":
        Y[2, 1] = -1.0
    elif kind_y == "overlap":
        Y[0] = 1.0
    with pytest.raises(InputError, match=message):
        closed_form(TrainingProblem(X, Y, 0.1, **options))


def test_rank_deficient_samples_and_other_types_are_refused():
    with pytest.raises(InputError, match="orthogonal"):
        closed_form(TrainingProblem(np.ones((3, 2)), [1.0, 0.0, 2.0], 0.1))
    with pytest.raises(InputTypeError, match="TrainingProblem"):
        closed_form([[1.0]])
