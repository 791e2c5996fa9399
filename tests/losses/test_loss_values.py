"""Values of the losses against scikit-learn, whose metrics are means, and scipy."""

import numpy as np
import pytest
from scipy.special import huber, log_softmax, logsumexp, softmax
from sklearn import metrics

from pyomo_relu.losses import (
    AbsoluteLoss,
    HingeLoss,
    Huber,
    LogisticLoss,
    Quantile,
    SquaredLoss,
)
from tests.losses.cases import every_loss, instance, one_hot

N, C = 20, 4


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def by_sample(rng):
    return rng.uniform(0.1, 3.0, size=N)


REGRESSION = [
    (SquaredLoss(), lambda y, f, **k: 0.5 * metrics.mean_squared_error(y, f, **k)),
    (AbsoluteLoss(), metrics.mean_absolute_error),
    (Quantile(0.9), lambda y, f, **k: metrics.mean_pinball_loss(y, f, alpha=0.9, **k)),
    (Quantile(0.2), lambda y, f, **k: metrics.mean_pinball_loss(y, f, alpha=0.2, **k)),
]


@pytest.mark.parametrize(("loss", "mean"), REGRESSION)
def test_regression_losses_are_sums_of_what_sklearn_averages(loss, mean, rng):
    F, Y = rng.normal(size=(2, N, C))
    assert loss.value(F, Y) == pytest.approx(N * C * mean(Y, F), rel=1e-12)
    w = by_sample(rng)
    total = C * w.sum() * mean(Y, F, sample_weight=w)
    assert loss.value(F, Y, w[:, None]) == pytest.approx(total, rel=1e-12)
    outputs = np.array([0.5, 1.0, 2.0, 3.0])
    total = w.sum() * outputs.sum() * mean(Y, F, sample_weight=w, multioutput=outputs)
    assert loss.value(F, Y, w[:, None] * outputs) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("width", [0.1, 1.0, 30.0])
def test_huber_is_scipys(width, rng):
    F, Y = rng.normal(size=(2, N, C))
    w = rng.uniform(size=(N, C))
    expected = float(np.sum(w * huber(width, F - Y)))
    assert Huber(width).value(F, Y, w) == pytest.approx(expected, rel=1e-12)


def test_logistic_is_the_log_loss(rng):
    F, labels, w = rng.normal(size=(N, C)), rng.integers(C, size=N), by_sample(rng)
    mean = metrics.log_loss(
        labels, softmax(F, axis=1), labels=range(C), sample_weight=w
    )
    value = LogisticLoss().value(F, one_hot(labels, C), w[:, None])
    assert value == pytest.approx(w.sum() * mean, rel=1e-10)


@pytest.mark.parametrize("classes", [3, 4])
def test_hinge_is_crammer_and_singers(classes, rng):
    F = rng.normal(size=(N, classes))
    labels, w = rng.integers(classes, size=N), by_sample(rng)
    mean = metrics.hinge_loss(labels, F, labels=range(classes), sample_weight=w)
    value = HingeLoss().value(F, one_hot(labels, classes), w[:, None])
    assert value == pytest.approx(w.sum() * mean, rel=1e-12)


def test_two_classes_are_the_binary_losses(rng):
    """Of the difference of the two scores: logarithm of the odds, and margin."""
    F, labels = rng.normal(size=(N, 2)), rng.integers(2, size=N)
    difference = F[:, 1] - F[:, 0]
    hinge = N * metrics.hinge_loss(labels, difference)
    assert HingeLoss().value(F, one_hot(labels, 2)) == pytest.approx(hinge, rel=1e-12)
    logistic = N * metrics.log_loss(labels, 1.0 / (1.0 + np.exp(-difference)))
    value = LogisticLoss().value(F, one_hot(labels, 2))
    assert value == pytest.approx(logistic, rel=1e-10)


def test_only_the_weight_of_the_class_counts(rng):
    labels = rng.integers(C, size=N)
    Y, F, w = one_hot(labels, C), rng.normal(size=(N, C)), rng.uniform(size=(N, C))
    own = w[np.arange(N), labels]
    losses = [
        (LogisticLoss(), -log_softmax(F, axis=1)[np.arange(N), labels]),
        (HingeLoss(), np.max(F + 1.0 - Y, axis=1) - F[np.arange(N), labels]),
    ]
    for loss, each in losses:
        assert loss.value(F, Y, w) == pytest.approx(float(own @ each), rel=1e-12)


def test_logistic_of_extreme_scores(rng):
    F = np.array([[1000.0, -1000.0, 0.0], [-1e5, 1e5, 3.0], [50.0, 0.0, -1.0]])
    Y = one_hot([1, 1, 0], 3)
    each = logsumexp(F - np.sum(F * Y, axis=1, keepdims=True), axis=1)
    loss = LogisticLoss()
    assert loss.value(F, Y) == pytest.approx(each.sum(), rel=1e-12)
    # A sure prediction: log(1 + t) is t, which the sum 1 + t has lost.
    sure = loss.value(F[2:], Y[2:])
    assert sure == pytest.approx(np.exp(-50.0) + np.exp(-51.0), rel=1e-12, abs=0.0)
    gradient = loss.gradient(F, Y)
    assert np.isfinite(gradient).all()
    np.testing.assert_allclose(gradient, softmax(F, axis=1) - Y, atol=1e-15)


@every_loss
def test_weights_duplicate_and_remove_samples(loss):
    F, Y, w = instance(loss, 3, n=5)
    w = np.where(Y != 0.0, 1.0, w) if loss.is_classification else np.ones(Y.shape)
    w[1] = 2.0
    w[3] = 0.0
    rows = [0, 1, 1, 2, 4]
    assert loss.value(F, Y, w) == pytest.approx(loss.value(F[rows], Y[rows]), rel=1e-12)
    gradient = loss.gradient(F[rows], Y[rows])
    expected = np.vstack(
        [gradient[0], gradient[1] + gradient[2], gradient[3], 0 * Y[3], gradient[4]]
    )
    np.testing.assert_allclose(loss.gradient(F, Y, w), expected, atol=1e-12)
