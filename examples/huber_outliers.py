"""Fit a line with kinks through outliers: squared, Huber and absolute loss.

One input with a bias, 40 seeded samples of which 6 are far too high. Each loss is
trained to a proven gap, so that what differs between the fits is the loss and not the
luck of a descent.

Run it with::

    python examples/huber_outliers.py --plot huber_outliers.png
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from drawing import BLUE, GREEN, GREY, ORANGE, import_pyplot, plot_option, save

from pyomo_relu import (
    AbsoluteLoss,
    Huber,
    SquaredLoss,
    TrainingProblem,
    TrainingResult,
    train,
)

Array = np.ndarray[Any, np.dtype[np.float64]]

LOSSES = {"squared": SquaredLoss(), "Huber": Huber(0.2), "absolute": AbsoluteLoss()}
BETA = {"squared": 0.3, "Huber": 0.3, "absolute": 1.0}
GRID = np.linspace(-2.0, 2.0, 401)[:, None]


class Fit(NamedTuple):
    """A trained network and how far it is from the truth.

    Attributes
    ----------
    result : TrainingResult
        Network and certificate.
    error : float
        Root mean square distance to the truth over ``GRID``, where no noise is.
    """

    result: TrainingResult
    error: float

    @property
    def problem(self) -> TrainingProblem:
        """What was trained."""
        return self.result.problem


def truth(x: Array) -> Array:
    """Return what the samples are noisy values of."""
    return np.abs(x) - 1.0 + 0.5 * np.maximum(x - 1.0, 0.0)


def make_data(
    samples: int = 40, outliers: int = 6, noise: float = 0.1, seed: int = 3
) -> tuple[Array, Array, Array]:
    """Return inputs (samples, 1), targets (samples,) and which ones are outliers."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-2.0, 2.0, samples))
    y = truth(x) + noise * rng.normal(size=samples)
    chosen = rng.choice(samples, outliers, replace=False)
    y[chosen] += rng.uniform(2.0, 4.0, outliers)
    return x[:, None], y, np.isin(np.arange(samples), chosen)


def fit(name: str) -> Fit:
    """Train with one of the losses.

    Parameters
    ----------
    name : str
        A key of ``LOSSES``.
    """
    X, y, _ = make_data()
    result = train(X, y, BETA[name], loss=LOSSES[name], bias=True)
    distance = result.network.predict(GRID) - truth(GRID)
    return Fit(result, float(np.sqrt(np.mean(distance**2))))


def draw(fits: dict[str, Fit], path: str) -> None:
    """Draw samples, truth and fits."""
    pyplot = import_pyplot()
    X, y, is_outlier = make_data()
    figure, axes = pyplot.subplots(figsize=(7.0, 4.2), layout="constrained")
    axes.plot(GRID, truth(GRID), color=GREY, lw=6, alpha=0.35, label="truth")
    axes.scatter(X[~is_outlier], y[~is_outlier], s=18, color="black", label="sample")
    axes.scatter(
        X[is_outlier], y[is_outlier], s=36, color="black", marker="x", label="outlier"
    )
    for (name, each), colour in zip(fits.items(), (ORANGE, BLUE, GREEN), strict=True):
        axes.plot(
            GRID,
            each.result.network.predict(GRID),
            color=colour,
            lw=2,
            ls="--" if name == "absolute" else "-",
            label=f"{name}, error {each.error:.2f}",
        )
    axes.set(xlabel="x", ylabel="y", title="Globally optimal networks, three losses")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> dict[str, Fit]:
    """Train with each loss, print a table, draw if asked to; return the fits."""
    path = plot_option(__doc__, arguments)
    fits = {name: fit(name) for name in LOSSES}
    print(
        f"{'loss':<10}{'neurons':>8}{'objective':>13}{'lower bound':>13}{'gap':>9}"
        f"{'error':>8}"
    )
    for name, each in fits.items():
        certificate = each.result.certificate
        print(
            f"{name:<10}{each.result.network.n_neurons:>8}"
            f"{certificate.objective:>13.6f}{certificate.lower_bound:>13.6f}"
            f"{certificate.gap:>9.0e}{each.error:>8.3f}"
        )
    if path:
        draw(fits, path)
    return fits


if __name__ == "__main__":
    main()
