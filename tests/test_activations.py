"""Activations: what they are, how files name them, what is refused."""

import numpy as np
import pytest

from pyomo_relu.activations import (
    AbsoluteValue,
    Activation,
    LeakyReLU,
    ReLU,
    get_activation,
)
from pyomo_relu.errors import InputError, InputTypeError

ALL = [ReLU(), LeakyReLU(0.1), LeakyReLU(2.0), LeakyReLU(-0.5), AbsoluteValue()]
every_activation = pytest.mark.parametrize("activation", ALL, ids=lambda a: a.text)


@every_activation
def test_two_slopes(activation):
    values = np.array([[-2.0, -1e-300], [0.0, 3.0]])
    expected = [
        [activation.negative * -2.0, activation.negative * -1e-300],
        [0.0, 3.0 * activation.positive],
    ]
    np.testing.assert_array_equal(activation(values), expected)
    np.testing.assert_array_equal(
        activation.slopes(values),
        [[activation.negative] * 2, [activation.negative, activation.positive]],
    )
    assert activation.step == activation.positive - activation.negative
    t = np.random.default_rng(0).normal(size=(2, 1000))
    rises = np.abs(np.diff(activation(t), axis=0)) / np.abs(np.diff(t, axis=0))
    assert 0.95 * activation.lipschitz <= rises.max() <= activation.lipschitz + 1e-9
    assert activation.is_even == np.array_equal(activation(t), activation(-t))


@every_activation
def test_names_are_read_back(activation):
    again = get_activation(activation.text)
    assert type(again) is type(activation)
    assert again == activation
    assert hash(again) == hash(activation)
    assert get_activation(activation) is activation


def test_what_has_the_same_slopes_is_equal():
    assert LeakyReLU(0.0) == ReLU()
    assert LeakyReLU(-1.0) == AbsoluteValue()
    assert hash(LeakyReLU(-1.0)) == hash(AbsoluteValue())
    assert LeakyReLU(0.1) != LeakyReLU(0.2)
    assert ReLU() != "relu"
    assert get_activation("leaky_relu") == LeakyReLU(0.01)


@pytest.mark.parametrize(
    "name",
    [
        *("", "RELU", "tanh", "relu()", "leaky_relu(0.1", "leaky_relu(0.1))"),
        *("leaky_relu(1)", "leaky_relu(nan)", "leaky_relu(inf)", "leaky_relu(1e999)"),
        *(None, 3, ["relu"], ReLU, np.maximum),
    ],
)
def test_unknown_names_are_refused(name):
    with pytest.raises(InputError, match=r"activation must be|slope must be"):
        get_activation(name)


@pytest.mark.parametrize("slope", [1, 1.0, np.nan, np.inf, -np.inf, 10**400, True])
def test_slopes_that_are_none_are_refused(slope):
    with pytest.raises(InputError, match="slope must be finite and not 1"):
        LeakyReLU(slope)


@pytest.mark.parametrize("slope", [None, "much", [0.1, 0.2], 1j])
def test_slopes_that_are_no_numbers_are_refused(slope):
    with pytest.raises(InputTypeError, match="slope must be a number"):
        LeakyReLU(slope)


def test_an_activation_without_a_name_is_none():
    with pytest.raises(TypeError, match="abstract"):
        Activation(0.5)
