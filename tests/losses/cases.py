"""Random instances of every loss."""

import numpy as np
import pytest

from pyomo_relu.losses import (
    AbsoluteLoss,
    HingeLoss,
    Huber,
    LogisticLoss,
    Quantile,
    SquaredLoss,
)

LOSSES = [
    SquaredLoss(),
    AbsoluteLoss(),
    Huber(0.7),
    Quantile(0.3),
    LogisticLoss(),
    HingeLoss(),
]

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)


def one_hot(labels, c):
    return np.eye(c)[labels]


def targets_of(loss, rng, n, c):
    if loss.is_classification:
        return one_hot(rng.integers(c, size=n), c)
    return rng.normal(size=(n, c))


def weights(rng, n, c, *, zeros=True):
    """Weights from 0.2 to 3 that differ from entry to entry, some of them zero."""
    w = rng.uniform(0.2, 3.0, size=(n, c))
    if zeros:
        w[rng.uniform(size=(n, c)) < 0.2] = 0.0
    return w


def instance(loss, seed, n=4, c=3, *, zeros=True):
    """Return predictions, targets and weights."""
    rng = np.random.default_rng(seed)
    Y = targets_of(loss, rng, n, c)
    return 1.5 * rng.normal(size=(n, c)), Y, weights(rng, n, c, zeros=zeros)


def dual_point(loss, seed, Y, w, size=1.0):
    """Return a random point of the domain of the dual."""
    rng = np.random.default_rng(seed + 1_000_003)
    return loss.repair(size * rng.normal(size=Y.shape), Y, w)
