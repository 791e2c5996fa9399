"""Predict the progress of diabetes so that it rises with the body mass index.

scikit-learn's diabetes data, 36 patients, two standardised features: body mass index
and blood pressure. Trained freely, the network falls along the body mass index in
places. The second network has rows of anchor points, of equal blood pressure, along
which predictions may not fall. Both are the global optimum to a proven gap.

Between anchor points nothing is said; the table shows how steeply each network falls
on a grid 30 times as fine.

Run it with::

    python examples/monotone_regression.py --plot monotone_regression.png
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyomo.environ as pyo
from drawing import BLUE, GREY, ORANGE, import_pyplot, plot_option, save

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
from pyomo_relu.errors import MissingExtraError

try:
    from sklearn.datasets import load_diabetes
except ImportError as error:
    raise MissingExtraError("scikit-learn", "test", "the diabetes data") from error

Array = np.ndarray[Any, np.dtype[np.float64]]

BETA = 0.2
#: Standardised body mass indices and blood pressures of the anchor points.
INDICES = np.linspace(-1.8, 2.4, 12)
PRESSURES = np.array([-1.0, 0.0, 1.0])


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


def make_data(samples: int = 36, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Return inputs (samples, 2) and targets (samples,), and those of all others."""
    data = load_diabetes(scaled=False)
    chosen = [data.feature_names.index(name) for name in ("bmi", "bp")]
    X = data.data[:, chosen]
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = (data.target - data.target.mean()) / data.target.std()
    order = np.random.default_rng(seed).permutation(len(y))
    mine, others = order[:samples], order[samples:]
    return X[mine], y[mine], X[others], y[others]


def grid(indices: Array) -> Array:
    """Return points (pressures * indices, 2), the index running fastest."""
    pressure, index = np.meshgrid(PRESSURES, indices, indexing="ij")
    return np.column_stack([index.ravel(), pressure.ravel()])


def steepest_fall(network: ReLUNetwork, indices: Array) -> float:
    """Return the largest fall of predictions for one standard deviation of index."""
    values = network.predict(grid(indices)).reshape(len(PRESSURES), len(indices))
    return float(max(0.0, -(np.diff(values) / np.diff(indices)).min()))


def fit_freely() -> Fit:
    """Train without constraints."""
    X, y, _, _ = make_data()
    result = train(X, y, BETA, bias=True)
    return Fit(result.problem, result.network, result.certificate)


def fit_monotone() -> Fit:
    """Train with predictions that rise from anchor point to anchor point."""
    X, y, _, _ = make_data()
    problem = TrainingProblem(X, y, BETA, bias=True, anchors=grid(INDICES))
    model = build_completely_positive(problem)

    def rises(model: Any, row: int, step: int) -> Any:
        point = problem.n_samples + row * len(INDICES) + step
        return model.prediction[point, 0] <= model.prediction[point + 1, 0]

    rows, steps = pyo.RangeSet(0, len(PRESSURES) - 1), pyo.RangeSet(0, len(INDICES) - 2)
    model.monotone = pyo.Constraint(rows, steps, rule=rises)
    relax(model, "dnn")
    results = solve(model, accuracy="tight")
    network = recover_network(model)
    return Fit(problem, network, certify_model(model, network, results))


def draw(fits: dict[str, Fit], path: str) -> None:
    """Draw predictions along the body mass index for each blood pressure."""
    pyplot = import_pyplot()
    X, y, _, _ = make_data()
    figure, panels = pyplot.subplots(
        1, len(PRESSURES), figsize=(10.0, 3.8), sharey=True, layout="constrained"
    )
    fine = np.linspace(INDICES[0], INDICES[-1], 400)
    nearest = np.abs(X[:, 1:] - PRESSURES).argmin(axis=1)
    for row, (axes, pressure) in enumerate(zip(panels, PRESSURES, strict=True)):
        near = nearest == row
        axes.scatter(*X[near, :1].T, y[near], s=16, color=GREY, label="patients nearby")
        for (name, each), colour in zip(fits.items(), (ORANGE, BLUE), strict=True):
            line, anchors = (
                each.network.predict(np.column_stack([x, np.full(len(x), pressure)]))
                for x in (fine, INDICES)
            )
            axes.plot(fine, line, color=colour, lw=2, label=name)
            if name == "monotone":
                axes.plot(INDICES, anchors, "o", ms=4, color=colour, label="anchors")
        axes.set(title=f"blood pressure {pressure:g}", xlabel="body mass index")
    panels[0].set_ylabel("progress of diabetes")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> dict[str, Fit]:
    """Train both networks, print a table, draw if asked to; return both."""
    path = plot_option(__doc__, arguments)
    fits = {"free": fit_freely(), "monotone": fit_monotone()}
    X, y, others, truth = make_data()
    fine = np.linspace(INDICES[0], INDICES[-1], 30 * (len(INDICES) - 1) + 1)
    print(
        f"{'':<10}{'objective':>11}{'lower bound':>13}{'gap':>8}{'fall at anchors':>17}"
        f"{'between':>9}{'error':>8}{'new':>7}"
    )
    for name, each in fits.items():
        certificate = each.certificate
        falls = [steepest_fall(each.network, indices) for indices in (INDICES, fine)]
        errors = [
            np.mean((each.network.predict(inputs)[:, 0] - targets) ** 2)
            for inputs, targets in ((X, y), (others, truth))
        ]
        print(
            f"{name:<10}{certificate.objective:>11.6f}{certificate.lower_bound:>13.6f}"
            f"{certificate.gap:>8.0e}{falls[0]:>17.1e}{falls[1]:>9.1e}"
            f"{errors[0]:>8.3f}{errors[1]:>7.3f}"
        )
    if path:
        draw(fits, path)
    return fits


if __name__ == "__main__":
    main()
