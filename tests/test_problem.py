"""TrainingProblem: what it takes, what it refuses, and its scaling."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.errors import InputError, InputTypeError, PyomoReluError
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]])


@pytest.mark.parametrize(
    "samples",
    [
        X,
        X.tolist(),
        X.astype(int),
        X.astype(np.float32),
        pd.DataFrame(X, columns=["a", "b"]),
        pd.DataFrame(X.astype(int), columns=["a", "b"]).astype("Int64"),
    ],
)
@pytest.mark.parametrize(
    "targets",
    [[1, 2, 3], np.array([1.0, 2.0, 3.0]), pd.Series([1, 2, 3]), [[1], [2], [3]]],
)
def test_every_usual_container_gives_the_same_problem(samples, targets):
    problem = TrainingProblem(samples, targets, 1)
    np.testing.assert_array_equal(problem.X, X)
    np.testing.assert_array_equal(problem.Y, [[1.0], [2.0], [3.0]])
    assert problem.X.dtype == problem.Y.dtype == np.float64


def test_the_users_array_is_copied():
    samples = X.copy()
    problem = TrainingProblem(samples, [1, 2, 3], 0.1)
    samples[0, 0] = 99.0
    assert problem.X[0, 0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        problem.X[0, 0] = 2.0


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (([[np.nan, 1.0]], [1.0], 0.1), InputError, "row 0, column 0"),
        (([[np.inf, 1.0]], [1.0], 0.1), InputError, "finite"),
        ((X, [1.0, np.nan, 2.0], 0.1), InputError, "Y must be finite"),
        ((X, [1.0, 2.0], 0.1), InputError, "X has 3 and Y has 2"),
        (([1.0, 2.0], [1.0, 2.0], 0.1), InputError, r"shape \(2,\)"),
        ((np.zeros((2, 2, 2, 2)), [1.0, 2.0], 0.1), InputError, r"\(2, 2, 2, 2\)"),
        ((np.zeros((0, 2)), np.zeros((0, 1)), 0.1), InputError, r"\(0, 2\)"),
        ((np.zeros((2, 0)), [1.0, 2.0], 0.1), InputError, r"\(2, 0\)"),
        ((X, np.zeros((3, 0)), 0.1), InputError, r"\(3, 0\)"),
        ((X, [1, 2, 3], 0.0), InputError, "beta must be positive"),
        ((X, [1, 2, 3], -1.0), InputError, "-1"),
        ((X, [1, 2, 3], np.nan), InputError, "nan"),
        ((X, [1, 2, 3], np.inf), InputError, "inf"),
        ((X, [1, 2, 3], "much"), InputTypeError, "much"),
        ((X, [1, 2, 3], None), InputTypeError, "None"),
        (([["a", "b"]], [1.0], 0.1), InputTypeError, "X must hold real numbers"),
        (([[1.0, "2"]], [1.0], 0.1), InputTypeError, "real numbers"),
        (([[1.0, None]], [1.0], 0.1), InputError, "row 0, column 1"),
        (([[1.0, 2.0], [3.0]], [1.0, 2.0], 0.1), InputTypeError, "X must hold"),
        (([[1j, 2.0]], [1.0], 0.1), InputTypeError, "complex"),
        (([[1e200, 2.0]], [1.0], 0.1), InputError, "entry of X is 1e"),
        (([[1.0, 2.0]], [1e-200], 0.1), InputError, "entry of Y is 1e-200"),
        (([[1e-90]], [1e-90], 0.1), InputError, "out of proportion"),
        (([[1e90]], [1e90], 0.1), InputError, "out of proportion"),
        (
            (pd.DataFrame({"a": ["1", "2", "3"]}), [1, 2, 3], 0.1),
            InputTypeError,
            "real numbers",
        ),
        (
            (pd.DataFrame({"a": [1, None, 3]}, dtype="Int64"), [1, 2, 3], 0.1),
            InputError,
            "row 1, column 0",
        ),
    ],
)
def test_bad_input_is_refused_and_named(arguments, error, says):
    with pytest.raises(error, match=says) as caught:
        TrainingProblem(*arguments)
    assert isinstance(caught.value, PyomoReluError)


def test_an_unknown_loss_is_refused():
    with pytest.raises(InputError, match="squared"):
        TrainingProblem(X, [1, 2, 3], 0.1, loss="cubed")


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    rank=st.integers(1, 3),
    scale=st.sampled_from([1e-6, 1.0, 1e5]),
)
def test_scaling_keeps_every_networks_objective(seed, rank, scale):
    """(NN) in scaled coordinates times the objective scale is (NN) in the user's."""
    rng = np.random.default_rng(seed)
    samples = scale * rng.normal(size=(7, rank)) @ rng.normal(size=(rank, 4))
    targets = 30.0 * rng.normal(size=(7, 2))
    problem = TrainingProblem(samples, targets, 0.3 * scale)
    scaled = problem.scaled
    assert scaled.rank == problem.rank == rank
    assert np.linalg.norm(scaled.X, 2) == pytest.approx(1.0)
    assert np.linalg.norm(scaled.Y) == pytest.approx(1.0)
    u, v = rng.normal(size=(rank, 3)), rng.normal(size=(3, 2))
    network = ReLUNetwork(*scaled.to_user(u, v)).balance()
    norms = np.linalg.norm(u, axis=0) * np.linalg.norm(v, axis=1)
    inner = 0.5 * np.sum((np.maximum(scaled.X @ u, 0.0) @ v - scaled.Y) ** 2)
    inner += scaled.beta * norms.sum()
    assert network.objective(problem) == pytest.approx(
        scaled.objective_scale * inner, rel=1e-10
    )
    first, second = scaled.from_user(network.first, network.second)
    np.testing.assert_allclose(first @ second, u @ v, rtol=1e-9, atol=1e-12)


def test_weights_orthogonal_to_the_samples_are_dropped():
    problem = TrainingProblem([[1.0, 1.0], [2.0, 2.0]], [1.0, 2.0], 0.1)
    network = ReLUNetwork([[1.0], [0.0]], [[1.0]])
    first, second = problem.scaled.from_user(network.first, network.second)
    kept = ReLUNetwork(*problem.scaled.to_user(first, second)).balance()
    np.testing.assert_allclose(kept.predict(problem.X), network.predict(problem.X))
    assert kept.penalty() < network.balance().penalty()


def test_all_zero_samples_have_rank_zero():
    problem = TrainingProblem(np.zeros((2, 3)), [1.0, 2.0], 0.1)
    assert problem.rank == 0
