"""The best multiple of a dual point against brute force over multiples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.losses import Quantile
from tests.losses.cases import LOSSES, dual_point, every_loss, instance

seeds = st.integers(0, 100_000)


def value_on_ray(loss, Z, Y, w, s):
    """Dual value at s Z; the rows of s Z sum to zero only but for rounding."""
    point = loss.repair(s * Z, Y, w)
    inside = np.allclose(point, s * Z, rtol=0.0, atol=1e-13)
    return loss.dual_value(point, Y, w) if inside else -np.inf


@settings(max_examples=120, deadline=None)
@given(
    loss=st.sampled_from(LOSSES),
    seed=seeds,
    largest=st.sampled_from([0.05, 0.8, 3.0, 40.0]),
    shrink=st.sampled_from([1.0, 0.25, -0.125]),
)
def test_no_multiple_is_better(loss, seed, largest, shrink):
    _, Y, w = instance(loss, seed)
    Z = shrink * dual_point(loss, seed, Y, w)
    bound, s = loss.dual_bound(Z, Y, largest, w)
    assert abs(s) <= largest
    brute = [
        value_on_ray(loss, Z, Y, w, t) for t in np.linspace(-largest, largest, 801)
    ]
    assert bound >= max(brute) - 1e-12
    assert bound == pytest.approx(value_on_ray(loss, Z, Y, w, s), abs=1e-13)
    # A concave function is at its best where it is no better nearby.
    for t in (s - 1e-4 * largest, s + 1e-4 * largest):
        if abs(t) <= largest:
            assert value_on_ray(loss, Z, Y, w, t) <= bound + 1e-12


@settings(max_examples=60, deadline=None)
@given(loss=st.sampled_from(LOSSES), seed=seeds)
def test_without_a_limit_the_domain_is_the_limit(loss, seed):
    _, Y, w = instance(loss, seed)
    Z = 2.0**-20 * dual_point(loss, seed, Y, w)
    if Z.any():
        bound, s = loss.dual_bound(Z, Y, np.inf, w)
        assert np.isfinite(bound)
        assert np.isfinite(s)
        limited = loss.dual_bound(Z, Y, 2.0**22, w)[0]
        assert bound >= limited - 1e-12
        assert bound == loss.dual_value(loss.repair(s * Z, Y, w), Y, w)


@every_loss
def test_zero_proves_zero(loss):
    _, Y, w = instance(loss, 0)
    assert loss.dual_bound(np.zeros(Y.shape), Y, np.inf, w) == (0.0, 0.0)
    assert loss.dual_value(np.zeros(Y.shape), Y, w) == 0.0


@every_loss
def test_off_the_domain_only_zero_is_a_multiple(loss):
    _, Y, w = instance(loss, 1)
    w[0] = 0.0
    Z = np.ones(Y.shape)
    assert loss.dual_bound(Z, Y, 1.0, w) == (0.0, 0.0)


@settings(max_examples=100, deadline=None)
@given(seed=seeds, loss=st.sampled_from([LOSSES[1], LOSSES[2], LOSSES[3]]))
def test_a_multiple_on_the_border_is_not_lost_to_rounding(seed, loss):
    """Quotients of limits are outside by their last bit every other time."""
    rng = np.random.default_rng(seed)
    Z, w = 0.01 * rng.normal(size=(2, 3, 2))
    w = np.abs(w) + 0.01
    # Targets so large that the best multiple is on the border.
    Y = 1e4 * Z
    lower, upper = loss.dual_limits(w)
    most = np.where(Z > 0.0, upper / Z, lower / Z).min()
    bound, s = loss.dual_bound(Z, Y, np.inf, w)
    assert s == pytest.approx(most, rel=1e-14)
    assert bound == loss.dual_value(s * Z, Y, w) > 0.0


@pytest.mark.parametrize("loss", [LOSSES[4], LOSSES[5]], ids=lambda loss: loss.name)
def test_a_sample_of_weight_zero_bounds_the_multiples(loss):
    """Its row has zero as the only multiple in the domain."""
    Y = np.eye(2)
    Z = Y - 0.5
    assert loss.dual_bound(Z, Y, 1.0)[0] > 0.0
    w = np.array([[1.0, 1.0], [0.0, 0.0]])
    assert loss.dual_bound(Z, Y, 1.0, w) == (0.0, 0.0)
    assert loss.dual_bound(loss.repair(Z, Y, w), Y, 1.0, w)[0] > 0.0


def test_rows_that_sum_to_nearly_zero_prove_nothing():
    for loss in LOSSES:
        if loss.is_classification:
            _, Y, w = instance(loss, 2, zeros=False)
            Z = loss.repair(Y - 1.0 / 3.0, Y, w)
            assert loss.dual_bound(Z, Y, 1.0, w)[0] > 0.0
            Z[0, 0] *= 1.0 + 1e-15
            assert loss.dual_bound(Z, Y, 1.0, w) == (0.0, 0.0)


def test_the_sign_of_the_multiple_decides_the_side_of_a_quantile():
    """Z = -1 at a positive target: s is negative, as far as tau goes."""
    Y = np.array([[2.0]])
    bound, s = Quantile(0.75).dual_bound(np.array([[-1.0]]), Y, 10.0)
    assert (bound, s) == (1.5, -0.75)
    bound, s = Quantile(0.75).dual_bound(np.array([[-1.0]]), -Y, 10.0)
    assert (bound, s) == (0.5, 0.25)


@every_loss
@pytest.mark.parametrize("size", [1e-320, 1e-200, 1e150])
def test_sizes_at_the_limits_of_floats(loss, size):
    _, Y, w = instance(loss, 4)
    Z = size * dual_point(loss, 4, Y, w)
    with np.errstate(over="ignore"):
        bound, s = loss.dual_bound(Z, Y, np.inf, w)
    assert np.isfinite(bound)
    assert bound >= 0.0
    assert np.isfinite(s)
