"""Instances that several test modules train on, with their known optima."""

import itertools

import numpy as np

#: Optima of the first four random instances (squared loss, beta 0.2), from sixty
#: restarts of a descent below and an independent semidefinite solver above.
REFERENCE = {0: 4.3655299, 1: 3.3262922, 2: 1.7011608, 3: 2.5285019}
#: Optimum of the relaxation ``relu.psd`` of the first.
REFERENCE_PSD = 1.4701603


def reference_data(seed):
    """Return X (10, 3) and Y (10, 2) of a reference instance."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(10, 3)), rng.normal(size=(10, 2))


def degenerate_data():
    """Return name -> (X, Y) of data in special position."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(6, 3))
    grid = np.array(list(itertools.product([-1, 0, 1], repeat=3)), float)
    samples = {
        "integer grid": grid,
        "duplicated rows": np.vstack([rows, rows[:4], 2.0 * rows[:2]]),
        "rows and their negatives": np.vstack([rows, -rows]),
        "rank 2 in five dimensions": rng.normal(size=(12, 2)) @ rng.normal(size=(2, 5)),
        "one row": rng.normal(size=(1, 4)),
        "one column": rng.normal(size=(9, 1)),
        "zero rows": np.vstack([rows, np.zeros((2, 3))]),
    }
    return {name: (X, rng.normal(size=(len(X), 2))) for name, X in samples.items()}
