"""Tell smooth signals from rough ones: a convolution with average pooling.

Signals of length 8 from two autoregressions of first order, with coefficients 0.7
(smooth) and -0.7 (rough). Both have mean zero, so that no linear model can tell them
apart. The network slides windows of two neighbouring values over a signal and averages
over the windows; it is trained on 40 signals to a proven gap and tested on 2000 others.

Run it with::

    python examples/patches.py --plot patches.png
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from drawing import (
    BLUE,
    GREY,
    ORANGE,
    diverging_colours,
    import_pyplot,
    plot_option,
    save,
)

from pyomo_relu import TrainingProblem, TrainingResult, train

Array = np.ndarray[Any, np.dtype[np.float64]]

BETA = 0.3
WINDOW = 2


class Outcome(NamedTuple):
    """A trained network and what it and a linear model get right.

    Attributes
    ----------
    result : TrainingResult
        Network and certificate.
    correct, linear : tuple of float
        Parts of the training and of the test signals that the network and a linear
        model by least squares classify correctly.
    """

    result: TrainingResult
    correct: tuple[float, float]
    linear: tuple[float, float]

    @property
    def problem(self) -> TrainingProblem:
        """What was trained."""
        return self.result.problem


def make_signals(
    number: int, length: int = 8, coefficient: float = 0.7, seed: int = 0
) -> tuple[Array, Array]:
    """Return signals (number, length) and targets (number,): 1 smooth, -1 rough."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(number) % 2, 1.0, -1.0)
    signals = rng.normal(size=(number, length))
    for k in range(1, length):
        signals[:, k] *= np.sqrt(1.0 - coefficient**2)
        signals[:, k] += coefficient * y * signals[:, k - 1]
    return signals, y


def windows(signals: Array) -> Array:
    """Return the patches (number, length - WINDOW + 1, WINDOW) of signals."""
    return np.lib.stride_tricks.sliding_window_view(signals, WINDOW, axis=1)


def solve() -> Outcome:
    """Train the network and, to compare, a linear model of the whole signal."""
    signals, y = make_signals(40)
    new, truth = make_signals(2000, seed=1)
    result = train(windows(signals), y, BETA)
    plane = np.linalg.lstsq(_with_ones(signals), y, rcond=None)[0]

    def right(scores: Array, labels: Array) -> float:
        return float(np.mean(scores.ravel() * labels > 0.0))

    predict = result.network.predict
    return Outcome(
        result,
        (right(predict(windows(signals)), y), right(predict(windows(new)), truth)),
        (right(_with_ones(signals) @ plane, y), right(_with_ones(new) @ plane, truth)),
    )


def _with_ones(signals: Array) -> Array:
    return np.column_stack([signals, np.ones(len(signals))])


def draw(outcome: Outcome, path: str) -> None:
    """Draw signals, and in the plane of their windows the response and neurons."""
    pyplot = import_pyplot()
    network = outcome.result.network
    signals, y = make_signals(40)
    figure, (left, right) = pyplot.subplots(
        1, 2, figsize=(9.0, 4.2), layout="constrained", width_ratios=(1.0, 1.15)
    )
    kinds = ((1.0, BLUE, "smooth", 2.5), (-1.0, ORANGE, "rough", -2.5))
    for label, colour, name, height in kinds:
        mine = signals[y == label]
        left.axhline(height, color=GREY, lw=0.8, zorder=0)
        left.plot(mine[:5].T + height, color=colour, lw=1.3, alpha=0.75, marker=".")
        left.text(7.4, height, name, color=colour, va="center", fontweight="bold")
        right.scatter(
            *windows(mine).reshape(-1, 2).T, s=9, color=colour, lw=0, label=name
        )
    left.set(xlabel="time", yticks=[], title="Five signals of each kind")
    left.spines["left"].set_visible(False)
    axis = np.linspace(-3.2, 3.2, 161)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1)
    response = network.predict(plane.reshape(-1, 2)).reshape(plane.shape[:2])
    largest = float(np.abs(response).max())
    image = right.imshow(
        response,
        extent=(axis[0], axis[-1]) * 2,
        origin="lower",
        cmap=diverging_colours(),
        vmin=-largest,
        vmax=largest,
        alpha=0.6,
        zorder=0,
    )
    size = np.linalg.norm(network.first, axis=0) * np.abs(network.second[:, 0])
    for u, s in zip(network.first.T, size / size.max(), strict=True):
        right.annotate(
            "",
            xy=tuple(2.9 * np.sqrt(s) * u / np.linalg.norm(u)),
            xytext=(0.0, 0.0),
            arrowprops={"arrowstyle": "-|>", "lw": 2, "shrinkA": 0, "shrinkB": 0},
        )
    right.set(
        xlabel="value",
        ylabel="next value",
        xlim=axis[[0, -1]],
        ylim=axis[[0, -1]],
        title="Their windows; arrows are neurons",
    )
    figure.colorbar(image, ax=right, label="response of one window", shrink=0.85)
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> Outcome:
    """Train, print a table, draw if asked to; return the outcome."""
    path = plot_option(__doc__, arguments)
    outcome = solve()
    problem, certificate = outcome.problem, outcome.result.certificate
    print(
        f"{problem.n_samples} signals of {problem.n_patches} windows, "
        f"{certificate.cells} cells, {outcome.result.network.n_neurons} neurons"
    )
    print(
        f"objective {certificate.objective:.6f}, lower bound "
        f"{certificate.lower_bound:.6f}, gap {certificate.gap:.0e}"
    )
    print(f"{'right':<10}{'training':>10}{'test':>10}")
    for name, parts in (("network", outcome.correct), ("linear", outcome.linear)):
        print(f"{name:<10}{parts[0]:>10.1%}{parts[1]:>10.1%}")
    if path:
        draw(outcome, path)
    return outcome


if __name__ == "__main__":
    main()
