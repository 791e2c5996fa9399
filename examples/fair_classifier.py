"""Classify two groups with equal means of the scores.

Seeded data: 20 samples of each of two groups, two features. The second feature is
larger in one group, so that a network trained freely gives that group larger scores,
though it does not see the group. The constraint: the mean scores of the groups differ
by at most eps. Each network is the global optimum to a proven gap, so that what the
constraint costs is known and not guessed.

The constraint speaks of the training samples; the table shows what 4000 new ones make
of it.

Run it with::

    python examples/fair_classifier.py --plot fair_classifier.png
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyomo.environ as pyo
from drawing import (
    BLUE,
    ORANGE,
    diverging_colours,
    import_pyplot,
    plot_option,
    save,
)

from pyomo_relu import (
    Certificate,
    ReLUNetwork,
    TrainingProblem,
    build_completely_positive,
    certify_model,
    recover_network,
    relax,
    solve,
    train,
)

Array = np.ndarray[Any, np.dtype[np.float64]]

BETA = 1.0
#: Largest difference of the mean scores; None is no constraint.
LIMITS = (None, 0.6, 0.3, 0.0)


class Fit(NamedTuple):
    """A trained network.

    Attributes
    ----------
    problem : TrainingProblem
        What was trained.
    network : ReLUNetwork
        The network.
    certificate : Certificate
        How far from the optimum it can be.
    """

    problem: TrainingProblem
    network: ReLUNetwork
    certificate: Certificate


def make_data(samples: int = 40, seed: int = 0) -> tuple[Array, Array, Array]:
    """Return features (samples, 2), labels 1 and -1, and groups 0 and 1."""
    rng = np.random.default_rng(seed)
    group = np.arange(samples) % 2
    first = rng.normal(size=samples)
    second = 0.8 * rng.normal(size=samples) + np.where(group, 0.8, -0.8)
    score = first + 0.9 * second - 0.3 * first * second
    noise = 0.5 * rng.normal(size=samples)
    labels = np.where(score + noise > 0.0, 1.0, -1.0)
    return np.column_stack([first, second]), labels, group


def weights_of_difference(group: Array) -> Array:
    """Return w for which ``w @ scores`` is the difference of the groups' means."""
    return np.where(group, 1.0 / np.sum(group == 1), -1.0 / np.sum(group == 0))


def fit(limit: float | None) -> Fit:
    """Train with the groups' mean scores at most `limit` apart, or freely."""
    X, y, group = make_data()
    if limit is None:
        result = train(X, y, BETA, bias=True)
        return Fit(result.problem, result.network, result.certificate)
    problem = TrainingProblem(X, y, BETA, bias=True)
    model = build_completely_positive(problem)
    difference = sum(
        weight * model.prediction[point, 0]
        for point, weight in enumerate(weights_of_difference(group).tolist())
    )
    model.fair = pyo.Constraint(expr=(-limit, difference, limit))
    relax(model, "dnn")
    results = solve(model, accuracy="tight")
    network = recover_network(model)
    return Fit(problem, network, certify_model(model, network, results))


def measure(network: ReLUNetwork, data: tuple[Array, Array, Array]) -> Array:
    """Return the difference of the mean scores and the part that is right."""
    X, y, group = data
    scores = network.predict(X)[:, 0]
    return np.array([weights_of_difference(group) @ scores, np.mean(scores * y > 0.0)])


def draw(fits: dict[float | None, Fit], path: str) -> None:
    """Draw samples, scores and decision boundary of each network.

    The titles speak of new samples.
    """
    pyplot = import_pyplot()
    X, y, group = make_data()
    figure, panels = pyplot.subplots(
        1, len(fits), figsize=(11.0, 3.6), sharey=True, layout="constrained"
    )
    axis = np.linspace(-3.0, 3.0, 121)
    plane = np.stack(np.meshgrid(axis, axis), axis=-1)
    new = make_data(4000, seed=1)
    for axes, (limit, each) in zip(panels, fits.items(), strict=True):
        scores = each.network.predict(plane.reshape(-1, 2)).reshape(plane.shape[:2])
        image = axes.imshow(
            scores,
            extent=(axis[0], axis[-1]) * 2,
            origin="lower",
            cmap=diverging_colours(),
            vmin=-2.0,
            vmax=2.0,
            alpha=0.5,
        )
        axes.contour(axis, axis, scores, levels=[0.0], colors="black", linewidths=1.5)
        for number, marker in ((0, "o"), (1, "^")):
            mine = group == number
            axes.scatter(
                *X[mine].T,
                s=26,
                c=np.where(y[mine] > 0.0, BLUE, ORANGE),
                marker=marker,
                edgecolors="white",
                linewidths=0.6,
            )
        name = "free" if limit is None else f"eps = {limit:g}"
        difference, right = measure(each.network, new)
        axes.set(
            title=f"{name}: {right:.0%} right,\ndifference {difference:.2f}",
            xlabel="first feature",
            xticks=[-2, 0, 2],
            yticks=[-2, 0, 2],
        )
    panels[0].set_ylabel("second feature")
    figure.colorbar(image, ax=panels, label="score", shrink=0.8, extend="both")
    keys = [
        panels[0].scatter([], [], color=colour, marker=marker, label=label)
        for colour, marker, label in (
            ("black", "o", "group 0"),
            ("black", "^", "group 1"),
            (BLUE, "s", "label 1"),
            (ORANGE, "s", "label -1"),
        )
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> dict[float | None, Fit]:
    """Train within each limit, print a table, draw if asked to; return the fits."""
    path = plot_option(__doc__, arguments)
    fits = {limit: fit(limit) for limit in LIMITS}
    mine, new = make_data(), make_data(4000, seed=1)
    print(f"{'':<47}{'training':^20}{'new samples':^20}")
    print(
        f"{'eps':<6}{'objective':>13}{'lower bound':>13}{'gap':>9}{'':>6}"
        + 2 * f"{'difference':>12}{'right':>7} "
    )
    for limit, each in fits.items():
        certificate = each.certificate
        print(
            f"{'free' if limit is None else limit:<6}{certificate.objective:>13.6f}"
            f"{certificate.lower_bound:>13.6f}{certificate.gap:>9.0e}{'':>6}"
            + "".join(
                f"{difference:>12.6f}{right:>7.1%} "
                for difference, right in (
                    measure(each.network, data) for data in (mine, new)
                )
            )
        )
    if path:
        draw(fits, path)
    return fits


if __name__ == "__main__":
    main()
