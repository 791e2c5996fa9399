"""Gradients and curvatures of the losses against finite differences."""

import numpy as np
import pytest

from tests.losses.cases import every_loss, instance


def differences(function, F, step):
    """Central differences of a function of F, in the last two axes."""
    columns = []
    for entry in np.ndindex(F.shape):
        ahead, behind = F.copy(), F.copy()
        ahead[entry] += step
        behind[entry] -= step
        columns.append((function(ahead) - function(behind)) / (2.0 * step))
    return np.stack(columns, axis=-1)


@every_loss
@pytest.mark.parametrize("seed", range(4))
def test_gradient(loss, seed):
    F, Y, w = instance(loss, seed)
    for weight in (None, w):
        slopes = differences(lambda G, w=weight: loss.value(G, Y, w), F, 1e-6)
        np.testing.assert_allclose(
            loss.gradient(F, Y, weight).ravel(), slopes, atol=1e-7
        )


@every_loss
@pytest.mark.parametrize("seed", range(4))
def test_curvature(loss, seed):
    F, Y, w = instance(loss, seed)
    n, c = Y.shape
    for weight in (None, w):
        second = differences(
            lambda G, w=weight: loss.gradient(G, Y, w).ravel(), F, 1e-6
        ).reshape(n, c, n, c)
        blocks = loss.curvature(F, Y, weight)
        assert blocks.shape == (n, c, c)
        expected = np.zeros((n, c, n, c))
        expected[np.arange(n), :, np.arange(n), :] = blocks
        np.testing.assert_allclose(second, expected, atol=1e-7)
    assert loss.curvature(F, Y).any() == loss.is_smooth


@every_loss
def test_a_subgradient_where_there_are_kinks(loss):
    """At F = Y all absolute values and margins are at their kink."""
    rng = np.random.default_rng(5)
    _, Y, w = instance(loss, 5)
    kinks = [Y, np.zeros(Y.shape), Y + 0.7, Y - 0.7]
    for F in kinks:
        value, slope = loss.value(F, Y, w), loss.gradient(F, Y, w)
        for G in F + rng.normal(size=(20, *Y.shape)):
            below = value + float(np.sum(slope * (G - F)))
            assert loss.value(G, Y, w) >= below - 1e-12
