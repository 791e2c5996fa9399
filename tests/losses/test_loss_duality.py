"""The dual of every loss: Fenchel and Young, points outside, exactly inside."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.losses import (
    AbsoluteLoss,
    HingeLoss,
    Huber,
    LogisticLoss,
    Quantile,
    SquaredLoss,
)
from tests.losses.cases import LOSSES, dual_point, every_loss, instance, one_hot

seeds = st.integers(0, 100_000)
losses = st.sampled_from(LOSSES)


@settings(max_examples=150, deadline=None)
@given(loss=losses, seed=seeds, size=st.sampled_from([0.01, 0.3, 1.0, 5.0]))
def test_what_a_dual_point_proves_is_below_every_value(loss, seed, size):
    F, Y, w = instance(loss, seed)
    Z = dual_point(loss, seed, Y, w, size)
    lagrangian = loss.value(F, Y, w) + float(np.sum(Z * F))
    assert np.isfinite(loss.dual_value(Z, Y, w))
    assert loss.dual_value(Z, Y, w) <= lagrangian + 1e-12 * (1.0 + abs(lagrangian))


@settings(max_examples=150, deadline=None)
@given(loss=losses, seed=seeds)
def test_equal_where_the_dual_point_is_minus_a_gradient(loss, seed):
    F, Y, w = instance(loss, seed)
    Z = loss.repair(-loss.gradient(F, Y, w), Y, w)
    np.testing.assert_allclose(Z, -loss.gradient(F, Y, w), atol=1e-14)
    if loss.is_smooth:
        np.testing.assert_array_equal(loss.canonical_dual(F, Y, w), Z)
    else:
        assert loss.canonical_dual(F, Y, w) is None
    lagrangian = loss.value(F, Y, w) + float(np.sum(Z * F))
    assert loss.dual_value(Z, Y, w) == pytest.approx(lagrangian, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(loss=losses, seed=seeds)
def test_equal_at_a_prediction_that_the_dual_point_determines(loss, seed):
    """The infimum is attained where minus Z is a subgradient; F from Z by hand."""
    _, Y, w = instance(loss, seed)
    Z = dual_point(loss, seed, Y, w, 0.7)
    if isinstance(loss, (SquaredLoss, Huber)):
        F = Y - np.divide(Z, w, where=w > 0.0, out=np.zeros(Y.shape))
    elif isinstance(loss, LogisticLoss):
        v = np.sum(w * Y, axis=1, keepdims=True)
        q = Y - np.divide(Z, v, where=v > 0.0, out=np.zeros(Y.shape))
        # At the border of the simplex the infimum is not attained.
        F = np.log(np.maximum(q, 1e-300))
    else:
        # All kinks meet at the targets, where every dual point is a subgradient.
        F = Y
    lagrangian = loss.value(F, Y, w) + float(np.sum(Z * F))
    assert loss.dual_value(Z, Y, w) == pytest.approx(lagrangian, abs=1e-11)


@settings(max_examples=150, deadline=None)
@given(loss=losses, seed=seeds, share=st.sampled_from([1e-3, 0.1, 1.0]))
def test_outside_of_the_domain_there_is_no_bound(loss, seed, share):
    """The Lagrangian falls without bound along an entry, or the scores of a sample."""
    _, Y, w = instance(loss, seed)
    rng = np.random.default_rng(seed)
    Z = dual_point(loss, seed, Y, w, 0.5) + share * rng.normal(size=Y.shape)
    n, c = Y.shape
    entries = np.eye(n * c).reshape(n * c, n, c)
    rows = np.repeat(np.eye(n), c, axis=1).reshape(n, n, c)
    rays = 1e8 * np.concatenate([entries, -entries, rows, -rows])
    least = min(loss.value(D, Y, w) + float(np.sum(Z * D)) for D in rays)
    assert (loss.dual_value(Z, Y, w) == -np.inf) == (least < -1e3)


@every_loss
def test_not_a_number_proves_nothing(loss):
    _, Y, w = instance(loss, 0)
    for bad in (np.nan, np.inf, -np.inf):
        Z = np.zeros(Y.shape)
        Z[0, 0] = bad
        assert loss.dual_value(Z, Y, w) == -np.inf


# Exactly inside.


def exact_weights(rng, shape):
    """Weights of all magnitudes, of which few are powers of two."""
    w = 10.0 ** rng.uniform(-9.0, 9.0, size=shape) * rng.uniform(1.0, 2.0, size=shape)
    w[rng.uniform(size=shape) < 0.15] = 0.0
    w[rng.uniform(size=shape) < 0.15] = 1.0
    return w


def assert_exactly_inside(loss, Z, Y, w):
    """In rational numbers."""
    if loss.is_classification:
        for z, y, v in zip(Z, Y, w, strict=True):
            own = int(y.argmax())
            row = [Fraction(x) for x in z.tolist()]
            assert sum(row) == 0
            assert row[own] <= Fraction(v[own].item())
            assert all(x <= 0 for j, x in enumerate(row) if j != own)
        return
    if isinstance(loss, SquaredLoss):
        assert not Z[w == 0.0].any()
        return
    below, above = {
        AbsoluteLoss: lambda: (Fraction(1), Fraction(1)),
        Huber: lambda: (Fraction(loss.width), Fraction(loss.width)),
        Quantile: lambda: (1 - Fraction(loss.tau), Fraction(loss.tau)),
    }[type(loss)]()
    for z, v in zip(Z.ravel().tolist(), w.ravel().tolist(), strict=True):
        assert -below * Fraction(v) <= Fraction(z) <= above * Fraction(v)


parametrised = st.one_of(
    losses,
    st.floats(1e-6, 1e6).map(Huber),
    st.floats(1e-6, 1.0 - 1e-6).map(Quantile),
)


@settings(max_examples=200, deadline=None)
@given(loss=parametrised, seed=seeds, exponent=st.floats(-12.0, 12.0))
def test_repaired_points_are_inside_exactly_and_stay(loss, seed, exponent):
    rng = np.random.default_rng(seed)
    n, c = 5, 4
    Y = (
        one_hot(rng.integers(c, size=n), c)
        if loss.is_classification
        else np.ones((n, c))
    )
    w = exact_weights(rng, (n, c))
    Z = loss.repair(10.0**exponent * rng.normal(size=(n, c)), Y, w)
    assert_exactly_inside(loss, Z, Y, w)
    assert loss.dual_value(Z, Y, w) > -np.inf
    np.testing.assert_array_equal(loss.repair(Z, Y, w), Z)


@every_loss
def test_unit_weights_do_not_shrink_the_domain(loss):
    """Where no product is rounded the vertices are inside."""
    Y = one_hot([0, 1], 3)
    if loss.is_classification:
        vertex = Y - one_hot([1, 1], 3)
    elif isinstance(loss, Quantile):
        vertex = np.full(Y.shape, loss.tau)
    elif isinstance(loss, Huber):
        vertex = np.full(Y.shape, -loss.width)
    else:
        vertex = np.ones(Y.shape)
    np.testing.assert_array_equal(loss.repair(vertex, Y), vertex)
    assert loss.dual_value(vertex, Y) > -np.inf


@settings(max_examples=100, deadline=None)
@given(loss=losses, seed=seeds, size=st.sampled_from([0.1, 1.0, 10.0]))
def test_repaired_points_are_the_nearest(loss, seed, size):
    """No point of the domain is on the far side: <Z - P, V - P> <= 0 for all V."""
    _, Y, w = instance(loss, seed)
    Z = size * np.random.default_rng(seed).normal(size=Y.shape)
    P = loss.repair(Z, Y, w)
    if loss.is_classification:
        v = np.sum(w * Y, axis=1, keepdims=True)
        others = [v * (Y - one_hot(np.full(len(Y), j), 3)) for j in range(3)]
        products = [np.sum((Z - P) * (V - P), axis=1) for V in others]
    else:
        others = [loss.repair(np.full(Y.shape, b), Y, w) for b in (-9.0, 9.0)]
        products = [(Z - P) * (V - P) for V in others]
    assert max(float(p.max()) for p in products) <= 1e-12


@pytest.mark.parametrize("loss", [LogisticLoss(), HingeLoss()])
def test_repair_of_classification_keeps_its_digits_far_away(loss):
    """Only differences of scores count; binary fractions, so that they are exact."""
    rng = np.random.default_rng(0)
    Y, w = one_hot([0, 1, 2, 3], 5), np.full((4, 5), 0.7)
    Z = np.round(2.0**10 * rng.normal(size=(4, 5))) * 2.0**-10
    near = loss.repair(Z, Y, w)
    np.testing.assert_allclose(loss.repair(Z + 2.0**40, Y, w), near, atol=1e-15)
    # Three classes share the mass, far from that of the sample.
    Z = np.array([[0.0, -(2.0**40), -(2.0**40) - 0.25, -(2.0**40) + 0.125, 0.0]])
    level = (0.25 - 0.125 - 0.7) / 3.0
    shared = np.array([[0.7, level, level - 0.25, level + 0.125, 0.0]])
    np.testing.assert_allclose(loss.repair(Z, Y[:1], w[:1]), shared, atol=1e-15)


def test_repair_of_classification_survives_any_size():
    Y = one_hot([0, 1, 2], 3)
    w = np.array([[1e-300], [1.0], [5e-324]])
    for loss in (LogisticLoss(), HingeLoss()):
        for size in (1e-320, 1e-12, 1e12, 1e307):
            Z = loss.repair(size * np.array([[1.0, -3.0, 2.0]] * 3), Y, w)
            assert_exactly_inside(loss, Z, Y, np.broadcast_to(w, Y.shape))
