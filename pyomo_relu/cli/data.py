"""The training data that a command reads: a table and what its columns are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from pyomo_relu.activations import Activation
from pyomo_relu.arrangement import count_cells_general_position
from pyomo_relu.cli.options import read_activation, read_loss, read_skip, split_names
from pyomo_relu.cli.tables import (
    read_table,
    select_numbers,
    select_weights,
    standardize,
)
from pyomo_relu.errors import InputError
from pyomo_relu.losses import Loss

__all__ = ["TrainingData", "data_options", "read_training_data"]

#: So many cells are trained in a minute or so.
_ADVISED = 50_000

_OPTIONS = (
    click.argument("data", type=click.Path(dir_okay=False)),
    click.option(
        "--targets", callback=split_names, help="Numeric columns to predict, a,b,c."
    ),
    click.option(
        "--labels", help="Column of class labels to predict, one-hot encoded in order."
    ),
    click.option(
        "--features",
        callback=split_names,
        help="Columns to predict from; all others by default.",
    ),
    click.option(
        "--beta", type=float, required=True, help="Weight decay (the loss is a sum)."
    ),
    click.option(
        "--loss",
        callback=read_loss,
        default="squared",
        show_default=True,
        help="squared, absolute, huber:WIDTH, quantile:TAU; logistic, hinge with "
        "--labels.",
    ),
    click.option(
        "--activation",
        callback=read_activation,
        default="relu",
        show_default=True,
        help="relu, leaky_relu:SLOPE or absolute.",
    ),
    click.option(
        "--bias/--no-bias",
        default=False,
        show_default=True,
        help="Give neurons biases, with the same weight decay.",
    ),
    click.option(
        "--skip",
        callback=read_skip,
        help="Add a linear term: 'free', or the weight of half its square.",
    ),
    click.option(
        "--weights", help="Column of sample weights in the loss, nonnegative."
    ),
    click.option(
        "--standardize",
        "standardized",
        is_flag=True,
        help="Give features and numeric targets mean zero and standard deviation one.",
    ),
)


def data_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument DATA and the options that say what is trained."""
    return reduce(lambda made, option: option(made), reversed(_OPTIONS), command)


@dataclass(frozen=True)
class TrainingData:
    """What a table holds for training.

    Attributes
    ----------
    name : str
        Name of the file.
    X, Y : DataFrame
        Features and targets, numeric.
    options : dict
        What :class:`~pyomo_relu.TrainingProblem` takes besides.
    metadata : dict
        What a network of these data should remember.
    """

    name: str
    X: pd.DataFrame
    Y: pd.DataFrame
    options: dict[str, Any]
    metadata: dict[str, Any]

    def advise_features(self) -> str:
        """Say how many features are sure to have few enough cells, and name some.

        The features named are those that correlate most with the targets.
        """
        X, Y = self.X, self.Y
        size = max(
            k
            for k in range(1, X.shape[1] + 1)
            if k == 1
            or count_cells_general_position(len(X), k + self.options["bias"])
            <= _ADVISED
        )
        # The cells were too many with all features, whatever the count says.
        size = min(size, max(X.shape[1] - 1, 1))
        x, y = X - X.mean(), Y - Y.mean()
        norms = np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0))
        cosines = np.divide(
            x.T @ y, norms, out=np.zeros(norms.shape), where=norms > 0.0
        )
        score = np.sum(cosines**2, axis=1)
        chosen = sorted(np.argsort(-score, kind="stable")[:size])
        return (
            f"Give at most {size} {'features' if size > 1 else 'feature'}, for example "
            f"--features {','.join(X.columns[chosen])} (the most correlated with the "
            "targets)."
        )


def read_training_data(
    data: str,
    *,
    targets: list[str],
    labels: str | None,
    features: list[str],
    beta: float,
    loss: Loss,
    activation: Activation,
    bias: bool,
    skip: bool | float,
    weights: str | None,
    standardized: bool = False,
    scaling: Mapping[str, Any] | None = None,
) -> TrainingData:
    """Read the table, and take from it what the options name.

    Parameters
    ----------
    data : str
        The file.
    targets, labels, features, beta, loss, activation, bias, skip, weights
        As the options of the commands say.
    standardized : bool
        Whether columns are brought to mean zero and standard deviation one.
    scaling : mapping, optional
        Means and scales that another call found, instead.

    Raises
    ------
    InputError
        The file cannot be read, a column does not exist or does not hold what it
        should, or options contradict each other.
    """
    if bool(targets) == (labels is not None):
        raise InputError("give --targets a,b,c or --labels column, and not both.")
    if loss.is_classification and labels is None:
        raise InputError(
            f"--loss {loss.name} needs classes: give their column as --labels."
        )
    frame = read_table(data)
    metadata: dict[str, Any] = {
        "beta": beta,
        "loss": repr(loss),
        "options": {
            "targets": targets,
            "labels": labels,
            "features": features,
            "beta": beta,
            "loss": loss.text,
            "activation": activation.text,
            "bias": bias,
            "skip": skip,
            "weights": weights,
        },
    }
    if labels is not None:
        labels = labels.strip()
        if labels not in frame.columns:
            select_numbers(frame, [labels], data)
        Y = pd.get_dummies(frame[labels]).astype(float)
        Y.columns = Y.columns.map(str)
        if loss.is_classification and Y.shape[1] < 2:
            raise InputError(
                f"--loss {loss.name} needs at least two classes; column {labels!r} of "
                f"{data!r} holds {Y.columns[0]!r} alone."
            )
        targets = [labels]
    else:
        Y = select_numbers(frame, targets, data)
    sample_weight = None
    if weights is not None:
        weights = weights.strip()
        if weights in [*targets, *features]:
            raise InputError(
                f"column {weights!r} is both a weight and a feature or target."
            )
        sample_weight = select_weights(frame, weights, data)
        metadata["weights"] = weights
    both = [name for name in features if name in targets]
    if both:
        raise InputError(f"column {both[0]!r} is both a feature and a target.")
    others = [name for name in frame.columns if name not in [*targets, weights]]
    features = features or others
    if not features:
        raise InputError(f"{data!r} has no column left to predict from.")
    X = select_numbers(frame, features, data)
    for part in ("features", "targets") if scaling is not None else ():
        if part in (scaling or {}):
            how = (scaling or {})[part]
            frame = X if part == "features" else Y
            moved = (frame - pd.Series(how["mean"])) / pd.Series(how["scale"])
            X, Y = (
                (moved[X.columns], Y) if part == "features" else (X, moved[Y.columns])
            )
            metadata[part] = how
    if standardized:
        X, metadata["features"] = standardize(X, data)
        if labels is None:
            Y, metadata["targets"] = standardize(Y, data)
    metadata["inputs"], metadata["outputs"] = list(X.columns), list(Y.columns)
    options = {
        "beta": beta,
        "loss": loss,
        "activation": activation,
        "bias": bias,
        "skip": skip,
        "sample_weight": sample_weight,
    }
    return TrainingData(Path(data).name, X, Y, options, metadata)


def _scaled(columns: pd.DataFrame, how: Mapping[str, Any] | None) -> pd.DataFrame:
    """Bring columns to a scale that was found elsewhere, where there is one."""
    if how is None:
        return columns
    try:
        mean = columns.columns.map(how["mean"].__getitem__).to_numpy(dtype=float)
        scale = columns.columns.map(how["scale"].__getitem__).to_numpy(dtype=float)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"the network's metadata have no scale for the columns "
            f"{', '.join(map(repr, columns.columns))}: {error}."
        ) from error
    return (columns - mean) / scale
