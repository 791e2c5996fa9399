r"""Local training from random starts, as a yardstick for training without cells.

What everybody does: a network of a hundred neurons, He's random weights, and a
quasi-Newton method (SciPy's L-BFGS-B) on

.. math:: \tfrac12 |(X U)_+ V - Y|_F^2 + \tfrac\beta2 (|U|_F^2 + |V|_F^2)

again and again; the best network counts. Written from that formula, with nothing of
the package's own training.

Of two kinds: with a time budget for all starts together, of which each gets an equal
share of what is left (who converges early leaves more to the others), and with a
number of iterations for each.

Run it with::

    OMP_NUM_THREADS=1 python benchmarks/local_training.py [--data wine] [--beta 0.1]
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize

Array = np.ndarray[Any, np.dtype[np.float64]]

#: Neurons of a network, and starts.
NEURONS, STARTS = 100, 20
#: Iterations of a long training.
ITERATIONS = 3_000
#: Iterations where time is the limit.
UNLIMITED = 1_000_000
#: Data sets of scikit-learn, by the names of their loaders, and of how many rows only
#: the first ones are used.
LOADERS = {"wine": "load_wine", "cancer": "load_breast_cancer", "digits": "load_digits"}
ROWS = {"digits": 600}


class Local(NamedTuple):
    """A network trained from a random start.

    Attributes
    ----------
    objective : float
        Of the formula above.
    first, second : (d, m) array, (m, c) array
        Weights.
    iterations : int
        How many it took.
    converged : bool
        Whether the method says that it has converged.
    seconds : float
        Since its start.
    """

    objective: float
    first: Array
    second: Array
    iterations: int
    converged: bool
    seconds: float


def data_set(name: str) -> tuple[Array, Array]:
    """Return standardised samples (n, d) and one-hot labels (n, c).

    Columns that are constant become zero.
    """
    from sklearn import datasets

    loaded = getattr(datasets, LOADERS[name])()
    rows = slice(ROWS.get(name))
    X, labels = loaded.data[rows], loaded.target[rows]
    spread = X.std(axis=0)
    X = (X - X.mean(axis=0)) / np.where(spread > 0.0, spread, 1.0)
    return X, np.eye(labels.max() + 1)[labels]


def descend(
    X: Array,
    Y: Array,
    beta: float,
    rng: np.random.Generator,
    *,
    neurons: int = NEURONS,
    iterations: int = ITERATIONS,
    seconds: float = math.inf,
) -> Local:
    """Train one network from a random start.

    Parameters
    ----------
    X, Y : (n, d) array, (n, c) array
        Samples and targets.
    beta : float
        Weight decay.
    rng : numpy.random.Generator
        Draws the start: variance ``2 / d`` for the first layer, ``2 / m`` for the
        second.
    neurons, iterations, seconds
        The width m, and the budget.
    """
    begin = time.perf_counter()
    d, c = X.shape[1], Y.shape[1]
    split = d * neurons

    def objective(theta: Array) -> tuple[float, Array]:
        U, V = theta[:split].reshape(d, neurons), theta[split:].reshape(neurons, c)
        hidden = np.maximum(X @ U, 0.0)
        residual = hidden @ V - Y
        value = 0.5 * (np.vdot(residual, residual) + beta * np.vdot(theta, theta))
        back = (residual @ V.T) * (hidden > 0.0)
        gradient = np.concatenate([(X.T @ back).ravel(), (hidden.T @ residual).ravel()])
        return float(value), gradient + beta * theta

    def late(_: Array) -> None:
        if time.perf_counter() - begin > seconds:
            raise StopIteration

    start = np.concatenate(
        [
            rng.normal(scale=math.sqrt(2.0 / d), size=split),
            rng.normal(scale=math.sqrt(2.0 / neurons), size=neurons * c),
        ]
    )
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=late,
        options={
            "maxiter": iterations,
            "maxfun": 2 * iterations,
            "maxcor": 20,
            "ftol": 1e-14,
            "gtol": 1e-9,
        },
    )
    return Local(
        float(found.fun),
        found.x[:split].reshape(d, neurons),
        found.x[split:].reshape(neurons, c),
        int(found.nit),
        bool(found.success),
        time.perf_counter() - begin,
    )


def restarts(
    X: Array,
    Y: Array,
    beta: float,
    *,
    starts: int = STARTS,
    neurons: int = NEURONS,
    iterations: int = ITERATIONS,
    seconds: float = math.inf,
) -> list[Local]:
    """Train from several starts, and return all, best first.

    Parameters
    ----------
    X, Y, beta, neurons, iterations
        As for :func:`descend`.
    starts : int
        How many.
    seconds : float
        For all together.
    """
    end = time.perf_counter() + seconds
    found = []
    for seed in range(starts):
        share = (end - time.perf_counter()) / (starts - seed)
        rng = np.random.default_rng(seed)
        found.append(
            descend(
                X, Y, beta, rng, neurons=neurons, iterations=iterations, seconds=share
            )
        )
    return sorted(found, key=lambda each: each.objective)


def main() -> None:
    """Print the networks of all starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=LOADERS, default="wine")
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--neurons", type=int, default=NEURONS)
    parser.add_argument("--iterations", type=int)
    parser.add_argument("--seconds", type=float, default=math.inf)
    options = parser.parse_args()

    X, Y = data_set(options.data)
    table = Table(title=f"{options.data} {X.shape}, beta {options.beta}")
    for column in ("objective", "iterations", "converged", "seconds"):
        table.add_column(column, justify="right")
    for each in restarts(
        X,
        Y,
        options.beta,
        neurons=options.neurons,
        iterations=options.iterations
        or (ITERATIONS if math.isinf(options.seconds) else UNLIMITED),
        seconds=options.seconds,
    ):
        table.add_row(
            f"{each.objective:.6f}",
            f"{each.iterations:,}",
            "yes" if each.converged else "no",
            f"{each.seconds:.2f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
