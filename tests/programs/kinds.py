"""Every kind of training problem, for tests of the programs."""

import numpy as np

from pyomo_relu import TrainingProblem

KINDS = {
    "plain": {},
    "bias": {"bias": True},
    "leaky": {"activation": "leaky_relu(0.2)"},
    "steep": {"activation": "leaky_relu(-2.0)"},
    "absolute value": {"activation": "absolute"},
    "absolute loss": {"loss": "absolute"},
    "huber": {"loss": "huber"},
    "quantile": {"loss": "quantile"},
    "weights": {"sample_weight": [1.0, 2.0, 0.0, 1.0, 3.0]},
    "anchors": {"anchors": [[0.3, -1.0], [2.0, 0.4]]},
    "linear term": {"skip": True},
    "penalised linear term": {"skip": 0.3},
    "patches": {},
    "rank one": {},
}


def problem_of_kind(kind, c=1, seed=0, beta=0.3):
    """Return five random samples in two dimensions, with a scale of their own."""
    rng = np.random.default_rng(seed)
    X = 3.0 * rng.normal(size=(5, 2, 2) if kind == "patches" else (5, 2))
    if kind == "rank one":
        X = np.outer(X[:, 0], [1.0, -2.0])
        X[2] = 0.0
    return TrainingProblem(X, 10.0 * rng.normal(size=(5, c)), beta, **KINDS[kind])
