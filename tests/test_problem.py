"""TrainingProblem: what it takes, what it refuses, and its scaling."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.activations import LeakyReLU
from pyomo_relu.errors import InputError, InputTypeError, PyomoReluError
from pyomo_relu.losses import Huber, Quantile, get_loss
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


Y = np.array([[1.0], [2.0], [3.0]])
LABELS = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"anchors": [[1.0]]}, InputError, r"shape \(a, 2\); got shape \(1, 1\)"),
        ({"anchors": [1.0, 2.0]}, InputError, "anchors must have two dimensions"),
        ({"anchors": np.ones((1, 1, 2))}, InputError, r"got shape \(1, 1, 2\)"),
        ({"anchors": np.ones((0, 2))}, InputError, "anchors must have at least one"),
        ({"anchors": [[np.nan, 1.0]]}, InputError, "anchors must be finite"),
        ({"anchors": [["a", 1.0]]}, InputTypeError, "anchors must hold real numbers"),
        ({"anchors": [[1e200, 1.0]]}, InputError, "largest entry of anchors"),
        ({"bias": 1}, InputTypeError, "bias must be True or False; got 1"),
        ({"bias": None}, InputTypeError, "bias must be"),
        ({"bias": "yes"}, InputTypeError, "bias must be"),
        ({"bias": np.ones(3)}, InputTypeError, "bias must be"),
        ({"skip": -1.0}, InputError, "True or False, must be positive"),
        ({"skip": 0}, InputError, "True or False, must be positive"),
        ({"skip": np.nan}, InputError, "skip.* must be positive and finite"),
        ({"skip": np.inf}, InputError, "skip.* must be positive and finite"),
        ({"skip": 10**400}, InputError, "skip.* must be positive and finite"),
        ({"skip": "yes"}, InputTypeError, "skip.* must be a number"),
        ({"skip": None}, InputTypeError, "skip.* must be a number"),
        ({"skip": 1e-300}, InputError, "skip = 1e-300 is out of proportion"),
        ({"skip": 1e300}, InputError, "skip = 1e.300 is out of proportion"),
        ({"sample_weight": [1.0, 2.0]}, InputError, "each sample, 3 of them"),
        ({"sample_weight": np.ones((3, 2))}, InputError, r"got shape \(3, 2\)"),
        ({"sample_weight": np.ones((1, 3))}, InputError, r"got shape \(1, 3\)"),
        ({"sample_weight": 1.0}, InputError, "sample_weight must have one or two"),
        ({"sample_weight": [1.0, -1.0, 0.0]}, InputError, "nonnegative and not all"),
        ({"sample_weight": [0.0, 0.0, 0.0]}, InputError, "nonnegative and not all"),
        ({"sample_weight": [1.0, np.nan, 1]}, InputError, "sample_weight must be fin"),
        ({"sample_weight": [1.0, np.inf, 1]}, InputError, "sample_weight must be fin"),
        ({"sample_weight": ["a", "b", "c"]}, InputTypeError, "sample_weight must hold"),
        ({"sample_weight": [1, 1e-200, 1]}, InputError, "smallest weight .* 1e-200"),
        ({"sample_weight": [1, 1e200, 1]}, InputError, "largest weight .* 1e.200"),
        ({"output_weight": [1.0, 2.0]}, InputError, "each output, 1 of them"),
        ({"output_weight": [0.0]}, InputError, "nonnegative and not all zero"),
        ({"output_weight": [-2.0]}, InputError, "output_weight must be nonnegative"),
        (
            {"sample_weight": [1e60, 1e60, 0.0], "output_weight": [1e60]},
            InputError,
            "that of a sample times that of an output, is 1e.120",
        ),
        ({"loss": "mse"}, InputError, "loss must be one of"),
        ({"loss": None}, InputError, "loss must be one of"),
        ({"loss": Huber}, InputError, "loss must be one of"),
        ({"activation": "tanh"}, InputError, "activation must be"),
        ({"activation": None}, InputError, "activation must be"),
        ({"loss": "logistic"}, InputError, "one-hot targets, a column for each"),
        ({"loss": "hinge"}, InputError, r"shape \(3, 1\)"),
    ],
)
def test_bad_options_are_refused_and_named(options, error, says):
    with pytest.raises(error, match=says) as caught:
        TrainingProblem(X, Y, 0.1, **options)
    assert isinstance(caught.value, PyomoReluError)


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
@pytest.mark.parametrize(
    "targets",
    [
        2.0 * LABELS,
        np.ones((3, 2)),
        np.zeros((3, 2)),
        np.full((3, 2), 0.5),
        -LABELS,
        [0, 1, 0],
        [[1, 0], [0, 1], [1, 1e-9]],
    ],
)
def test_classes_are_one_hot(loss, targets):
    TrainingProblem(X, LABELS, 0.1, loss=loss)
    TrainingProblem(X, LABELS.astype(bool), 0.1, loss=loss)
    with pytest.raises(InputError, match="one-hot targets"):
        TrainingProblem(X, targets, 0.1, loss=loss)


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.ones((3, 2, 2, 2)), r"\(3, 2, 2, 2\)"),
        (np.ones((3, 0, 2)), r"\(3, 0, 2\)"),
        (np.ones((3, 2, 0)), r"\(3, 2, 0\)"),
        ([[[1.0, np.nan]], [[1, 2]], [[3, 4]]], "row 0, column 1"),
        (np.ones((2, 2, 2)), "X has 2 and Y has 3"),
    ],
)
def test_bad_patches_are_refused(samples, says):
    with pytest.raises(InputError, match=says):
        TrainingProblem(samples, Y, 0.1)
    with pytest.raises(InputError, match=r"of shape \(a, 2, 2\)"):
        TrainingProblem(np.ones((3, 2, 2)), Y, 0.1, anchors=np.ones((2, 2)))


@pytest.mark.parametrize("beta", [10**400, True - 1])
def test_beta_that_no_float_holds(beta):
    with pytest.raises(InputError, match="beta must be positive and finite"):
        TrainingProblem(X, Y, beta)


def test_no_array_can_be_written_to():
    weights = np.array([1.0, 2.0, 0.0])
    anchors = np.ones((1, 2))
    problem = TrainingProblem(
        *(X, Y, 0.1),
        sample_weight=weights,
        output_weight=[2.0],
        anchors=anchors,
        bias=True,
    )
    weights[:], anchors[:] = 7.0, 7.0
    assert problem.sample_weight.tolist() == [1.0, 2.0, 0.0]
    assert problem.anchors.tolist() == [[1.0, 1.0]]
    assert problem.weight.tolist() == [[2.0], [4.0], [0.0]]
    scaled = problem.scaled
    for array in (
        *(problem.X, problem.Y, problem.anchors, problem.rows, problem.weight),
        *(problem.sample_weight, problem.output_weight),
        *(scaled.X, scaled.Y, scaled.weight, scaled.basis),
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_rows_are_patches_of_samples_then_of_anchors_with_ones():
    rng = np.random.default_rng(0)
    samples, anchors = rng.normal(size=(3, 2, 2)), rng.normal(size=(1, 2, 2))
    problem = TrainingProblem(samples, Y, 0.1, anchors=anchors, bias=True)
    expected = [[*point[k], 1.0] for point in (*samples, *anchors) for k in range(2)]
    assert problem.rows.tolist() == expected
    assert (problem.n_samples, problem.n_points, problem.n_patches) == (3, 4, 2)
    assert problem.scaled.n_points == 4
    pooled = problem.scaled.pool(problem.rows)
    np.testing.assert_allclose(pooled[3], [*anchors[0].mean(axis=0), 1.0])
    # The adjoint: <pool(A), B> = <A, spread(B)>.
    A, B = rng.normal(size=(8, 2)), rng.normal(size=(4, 2))
    assert np.sum(problem.scaled.pool(A) * B) == pytest.approx(
        np.sum(A * problem.scaled.spread(B))
    )


@pytest.mark.parametrize(
    "loss", ["squared", "absolute", Huber(0.7), Quantile(0.2), "logistic", "hinge"]
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_the_scaled_objective_is_the_users_in_other_units(loss, weighted, size):
    rng = np.random.default_rng(3)
    targets = size * rng.normal(size=(5, 2))
    if loss in ("logistic", "hinge"):
        targets = np.eye(2)[[0, 1, 1, 0, 1]]
    weights = {"sample_weight": [3.0, 0.0, 0.2, 5.0, 1.0], "output_weight": [0.5, 9]}
    problem = TrainingProblem(
        *(30.0 * rng.normal(size=(5, 3, 2)), targets, 0.3),
        loss=loss,
        bias=True,
        skip=0.7,
        activation="absolute",
        anchors=rng.normal(size=(2, 3, 2)),
        **(weights if weighted else {}),
    )
    scaled = problem.scaled
    assert np.linalg.norm(scaled.X, 2) == pytest.approx(1.0)
    if weighted:
        assert 0.5 < scaled.weight.max() <= 1.0
        ratio = scaled.weight / problem.weight.max()
        assert np.ptp(problem.weight[ratio > 0] / ratio[ratio > 0]) < 1e-12 * 45
    u, v, C = (rng.normal(size=shape) for shape in [(3, 4), (4, 2), (3, 2)])
    network = ReLUNetwork.of_problem(
        problem, *scaled.to_user(u, v), skip=scaled.linear_to_user(C)
    ).balance()
    norms = np.linalg.norm(u, axis=0) * np.linalg.norm(v, axis=1)
    inner = scaled.loss_value(scaled.hidden(u) @ v + scaled.means @ C)
    inner += scaled.beta * norms.sum() + 0.5 * scaled.skip * np.sum(C**2)
    assert network.objective(problem) == pytest.approx(
        scaled.objective_scale * inner, rel=1e-10
    )
    np.testing.assert_allclose(scaled.linear_from_user(network.skip), C, atol=1e-12)


def test_what_is_printed_names_what_is_not_plain():
    text = repr(
        TrainingProblem(
            *(np.ones((3, 2, 2)), LABELS, 0.1),
            loss="hinge",
            activation="absolute",
            bias=True,
            skip=True,
            anchors=np.zeros((4, 2, 2)),
        )
    )
    for part in (
        *("loss='hinge'", "activation='absolute'", "patches=2", "bias=True"),
        *("anchors=4", "skip=True"),
    ):
        assert part in text


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": Huber(0.1 + 0.2), "activation": LeakyReLU(1 / 3), "bias": True},
        {"loss": Quantile(0.9), "skip": True, "sample_weight": [1.0, 0.0, 1 / 3]},
        {"loss": "absolute", "skip": 0.7, "output_weight": [2.0, 0.1]},
        {"loss": "hinge", "activation": "absolute", "anchors": [[1 / 7, 2.0]]},
    ],
)
def test_records_give_back_every_bit(options):
    samples = np.random.default_rng(3).normal(size=(3, 2))
    targets = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    problem = TrainingProblem(samples, targets, 0.1, **options)
    record = problem.to_dict()
    again = TrainingProblem.from_dict(json.loads(json.dumps(record)))
    assert again.to_dict() == record
    for name in ("X", "Y", "sample_weight", "output_weight", "anchors"):
        np.testing.assert_array_equal(getattr(again, name), getattr(problem, name))
    assert again.loss == problem.loss
    assert repr(again.activation) == repr(problem.activation)
    assert (again.skip, again.bias, again.beta) == (
        problem.skip,
        problem.bias,
        problem.beta,
    )


def test_records_that_are_none_are_refused():
    with pytest.raises(InputTypeError, match="no record"):
        TrainingProblem.from_dict({"X": [[1.0]], "Z": 3})


@pytest.mark.parametrize("text", ["huber()", "huber(a)", "squared(1)", "huber(nan)"])
def test_bad_parameters_of_losses_in_text(text):
    with pytest.raises(InputError):
        get_loss(text)
