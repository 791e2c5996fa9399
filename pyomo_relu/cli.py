"""The command line: ``pyomo-relu train data.csv --targets a,b --beta 0.1``."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pyomo_relu import __version__
from pyomo_relu.activations import Activation, LeakyReLU, get_activation
from pyomo_relu.arrangement import count_cells_general_position
from pyomo_relu.errors import InputError, MissingExtraError, TooManyCellsError

try:
    import click
    import pandas as pd
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ImportError as error:
    raise MissingExtraError(
        error.name or "click", "cli", "the command line pyomo-relu"
    ) from error

from pyomo_relu.files import check_writable
from pyomo_relu.losses import Huber, Loss, Quantile, get_loss
from pyomo_relu.programs.network_program import MAX_CELLS
from pyomo_relu.solvers import solver_table
from pyomo_relu.tiers import tier_table, tier_table_markdown
from pyomo_relu.training import TrainingResult, train

__all__ = ["cli"]

_SHOWN_NAMES = 10


def read_table(path: str) -> pd.DataFrame:
    """Read a CSV file with a header line and no missing value.

    Raises
    ------
    InputError
        The file cannot be read, has no rows or columns, has a row of more or fewer
        fields than its header, a column without a name or two of one name, or has a
        missing value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        names = _check_fields(text, path)
        # Fields beyond the header would make an index of the first column.
        frame = pd.read_csv(io.StringIO(text), skipinitialspace=True, index_col=False)
    except InputError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        reason = str(error).strip().replace("\n", " ")
        raise InputError(
            f"cannot read {path!r} as CSV: {reason}. Give a text file with a header "
            "line and comma-separated rows."
        ) from error
    if frame.empty:
        raise InputError(
            f"{path!r} has no rows of data; it needs a header line and at least one "
            "row."
        )
    frame.columns = pd.Index(names)
    missing = frame.isna()
    if missing.to_numpy().any():
        row, column = next(zip(*missing.to_numpy().nonzero(), strict=True))
        raise InputError(
            f"{path!r} has {int(missing.to_numpy().sum())} missing values, the first "
            f"in data row {row + 1}, column {frame.columns[column]!r}. Fill them or "
            "remove their rows."
        )
    return frame


def _check_fields(text: str, path: str) -> list[str]:
    """Return the column names of a CSV text whose rows have a field for each.

    Raises
    ------
    InputError
        A name is missing or repeated, or a row has more or fewer fields.
    """
    # Like pandas, pass over empty lines.
    lines = (
        fields
        for fields in csv.reader(io.StringIO(text), skipinitialspace=True)
        if len(fields) > 1 or any(field.strip() for field in fields)
    )
    names = [name.strip() for name in next(lines, [])]
    if "" in names:
        raise InputError(
            f"the header of {path!r} has no name in field {names.index('') + 1} of "
            f"{len(names)}; name that column or remove it. A comma at the end of the "
            "line makes one more field."
        )
    if len(set(names)) < len(names):
        repeated = Counter(names).most_common(1)[0][0]
        raise InputError(
            f"{path!r} has the column {repeated!r} more than once; rename one of them."
        )
    for row, fields in enumerate(lines, start=1):
        if len(fields) != len(names):
            comma = (
                " The last one is empty: remove the comma at the end of the line."
                if len(fields) > len(names) and not fields[-1].strip()
                else " Give every row one field a column; quote text with commas."
            )
            raise InputError(
                f"cannot read {path!r} as CSV: data row {row} has {len(fields)} "
                f"fields, the header has {len(names)}.{comma}"
            )
    return names


def select_numbers(frame: pd.DataFrame, columns: list[str], path: str) -> pd.DataFrame:
    """Return numeric columns as floats.

    Raises
    ------
    InputError
        A column does not exist, or holds text, infinity or NaN.
    """
    known = set(frame.columns)
    unknown = [name for name in columns if name not in known]
    if unknown:
        shown = ", ".join(map(repr, frame.columns[:_SHOWN_NAMES]))
        if len(frame.columns) > _SHOWN_NAMES:
            shown += f" and {len(frame.columns) - _SHOWN_NAMES:,} more"
        raise InputError(
            f"{path!r} has no column {unknown[0]!r}; its columns are {shown}."
        )
    numbers = {}
    for name in columns:
        try:
            numbers[name] = pd.to_numeric(frame[name], errors="coerce").astype(float)
        except OverflowError as error:
            raise InputError(
                f"column {name!r} of {path!r} holds an integer that is too large for "
                "a float; rescale it or drop it."
            ) from error
        bad = ~np.isfinite(numbers[name].to_numpy())
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"column {name!r} of {path!r} must hold finite numbers; data row "
                f"{row + 1} holds {str(frame[name].iloc[row])!r}. Encode it as "
                "numbers, drop it, or name the columns to use with --features."
            )
    return pd.DataFrame(numbers)


def select_weights(frame: pd.DataFrame, column: str, path: str) -> pd.Series:
    """Return a column of sample weights.

    Raises
    ------
    InputError
        It does not exist, holds text, infinity or a negative number, or zeros only.
    """
    weights = select_numbers(frame, [column], path)[column]
    if (weights < 0.0).any() or not weights.any():
        raise InputError(
            f"column {column!r} of {path!r} must hold weights, nonnegative and not all "
            f"zero; it holds numbers from {weights.min():g} to {weights.max():g}."
        )
    return weights


def standardize(frame: pd.DataFrame, path: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return columns of mean zero and standard deviation one, and what it took.

    Raises
    ------
    InputError
        A column is constant up to rounding, or too large to be squared.
    """
    with np.errstate(over="ignore"):
        mean, scale = frame.mean(), frame.std(ddof=0)
    # A mean is rounded, so the deviations of a constant column need not vanish.
    rounding = 16.0 * np.finfo(float).eps * frame.abs().max()
    constant = frame.columns[frame.max() - frame.min() <= rounding]
    if len(constant):
        raise InputError(
            f"column {constant[0]!r} of {path!r} is constant and cannot be "
            "standardized; drop it with --features or leave --standardize out."
        )
    large = frame.columns[~np.isfinite(scale)]
    if len(large):
        raise InputError(
            f"column {large[0]!r} of {path!r} has entries up to "
            f"{frame[large[0]].abs().max():.3g}, whose squares overflow; rescale it."
        )
    how = {"mean": mean.to_dict(), "scale": scale.to_dict()}
    return (frame - mean) / scale, how


def split_names(_: Any, option: click.Parameter, value: str | None) -> list[str]:
    """Split a comma-separated option.

    Raises
    ------
    InputError
        The option is given without a name, or with one name twice.
    """
    if value is None:
        return []
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise InputError(
            f"{option.opts[0]} names no column; got {value!r}. Give names like a,b,c."
        )
    if len(set(names)) < len(names):
        repeated = Counter(names).most_common(1)[0][0]
        raise InputError(
            f"{option.opts[0]} names the column {repeated!r} more than once."
        )
    return names


_PARAMETER_OF: dict[str, Callable[[float], Loss]] = {
    "huber": Huber,
    "quantile": Quantile,
}


def read_loss(_: Any, option: click.Parameter, value: str) -> Loss:
    """Return the loss that a name, or a name and its parameter, stand for.

    Raises
    ------
    InputError
        The name is unknown, has no parameter or a bad one.
    """
    name, colon, text = value.strip().partition(":")
    if not colon:
        return get_loss(name)
    if name not in _PARAMETER_OF:
        raise InputError(
            f"{option.opts[0]} {name!r} takes no parameter; got {value!r}. Those that "
            "do are huber:WIDTH and quantile:TAU."
        )
    return _PARAMETER_OF[name](_number_after_colon(option, value, text))


def read_activation(_: Any, option: click.Parameter, value: str) -> Activation:
    """Return the activation that a name, or a name and its slope, stand for.

    Raises
    ------
    InputError
        The name is unknown, has no parameter or a bad one.
    """
    name, colon, text = value.strip().partition(":")
    if not colon:
        return get_activation(name)
    if name != "leaky_relu":
        raise InputError(
            f"{option.opts[0]} {name!r} takes no parameter; got {value!r}. The one "
            "that does is leaky_relu:SLOPE."
        )
    return LeakyReLU(_number_after_colon(option, value, text))


def read_skip(_: Any, option: click.Parameter, value: str | None) -> bool | float:
    """Return the linear term's weight: True where it is free, False without it.

    Raises
    ------
    InputError
        It is neither "free" nor a positive number.
    """
    if value is None:
        return False
    if value.strip() == "free":
        return True
    try:
        weight = float(value)
    except ValueError:
        weight = math.nan
    if not 0.0 < weight < math.inf:
        raise InputError(
            f"{option.opts[0]} must be 'free' or a positive number; got {value!r}."
        )
    return weight


def _number_after_colon(option: click.Parameter, value: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(
            f"{option.opts[0]} needs a number after the colon; got {value!r}."
        ) from error


def advise_features(X: pd.DataFrame, Y: pd.DataFrame, bias: bool) -> str:
    """Say how many features are sure to have few enough cells, and name some.

    The features named are those that correlate most with the targets.
    """
    size = max(
        k
        for k in range(1, X.shape[1] + 1)
        if k == 1 or count_cells_general_position(len(X), k + bias) <= MAX_CELLS
    )
    # The cells were too many with all features, whatever the count says.
    size = min(size, max(X.shape[1] - 1, 1))
    x, y = X - X.mean(), Y - Y.mean()
    norms = np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0))
    cosines = np.divide(x.T @ y, norms, out=np.zeros(norms.shape), where=norms > 0.0)
    score = np.sum(cosines**2, axis=1)
    chosen = sorted(np.argsort(-score, kind="stable")[:size])
    return (
        f"Give at most {size} {'features' if size > 1 else 'feature'}, for example "
        f"--features {','.join(X.columns[chosen])} (the most correlated with the "
        "targets)."
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pyomo-relu")
def cli() -> None:
    """Train two-layer ReLU networks to a proven gap to the global optimum."""


@cli.command("train")
@click.argument("data", type=click.Path(dir_okay=False))
@click.option(
    "--targets", callback=split_names, help="Numeric columns to predict, a,b,c."
)
@click.option(
    "--labels", help="Column of class labels to predict, one-hot encoded in order."
)
@click.option(
    "--features",
    callback=split_names,
    help="Columns to predict from; all others by default.",
)
@click.option(
    "--beta", type=float, required=True, help="Weight decay (the loss is a sum)."
)
@click.option(
    "--loss",
    callback=read_loss,
    default="squared",
    show_default=True,
    help="squared, absolute, huber:WIDTH, quantile:TAU; logistic, hinge with --labels.",
)
@click.option(
    "--activation",
    callback=read_activation,
    default="relu",
    show_default=True,
    help="relu, leaky_relu:SLOPE or absolute.",
)
@click.option(
    "--bias/--no-bias",
    default=False,
    show_default=True,
    help="Give neurons biases, with the same weight decay.",
)
@click.option(
    "--skip",
    callback=read_skip,
    help="Add a linear term: 'free', or the weight of half its square.",
)
@click.option("--weights", help="Column of sample weights in the loss, nonnegative.")
@click.option(
    "--standardize",
    "standardized",
    is_flag=True,
    help="Give features and numeric targets mean zero and standard deviation one.",
)
@click.option(
    "--gap",
    type=float,
    default=1e-6,
    show_default=True,
    help="Relative gap to prove.",
)
@click.option(
    "--out", type=click.Path(), help="Where to write the network, .json or .npz."
)
def train_command(
    data: str,
    targets: list[str],
    labels: str | None,
    features: list[str],
    beta: float,
    loss: Loss,
    activation: Activation,
    bias: bool,
    skip: bool | float,
    weights: str | None,
    standardized: bool,
    gap: float,
    out: str | None,
) -> None:
    """Train a network on the table DATA (CSV with a header) and certify it.

    Exits with 0 when the gap was proved and with 3 when it was not; the network is
    written in both cases.
    """
    if out is not None:
        if Path(out).suffix.lower() not in (".json", ".npz"):
            raise InputError(f"--out must end in .json or .npz; got {out!r}.")
        check_writable(out)
    if bool(targets) == (labels is not None):
        raise InputError("give --targets a,b,c or --labels column, and not both.")
    if loss.is_classification and labels is None:
        raise InputError(
            f"--loss {loss.name} needs classes: give their column as --labels."
        )
    frame = read_table(data)
    metadata: dict[str, Any] = {"beta": beta, "loss": repr(loss)}
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
    if standardized:
        X, metadata["features"] = standardize(X, data)
        if labels is None:
            Y, metadata["targets"] = standardize(Y, data)
    metadata["inputs"], metadata["outputs"] = list(X.columns), list(Y.columns)

    # Standard output is for the result; progress is for a person at a terminal.
    with Console(stderr=True).status("reading") as status:
        try:
            result = train(
                X,
                Y,
                beta,
                loss=loss,
                activation=activation,
                bias=bias,
                skip=skip,
                sample_weight=sample_weight,
                gap=gap,
                progress=status.update,
            )
        except TooManyCellsError as error:
            # Its advice is for Python: keep what it counted.
            raise TooManyCellsError(
                error.finding, advise_features(X, Y, bias)
            ) from error
    _print_result(result, Path(data).name, gap)
    if out is not None:
        result.network.with_metadata(metadata).save(out)
        click.echo(f"network written to {out}")
    if not result.converged:
        click.echo(
            f"the gap {gap:g} was not proved"
            + (" before the interruption" if result.interrupted else ""),
            err=True,
        )
        sys.exit(3)


@cli.command("tiers")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "markdown"]),
    default="table",
    show_default=True,
)
def tiers_command(style: str) -> None:
    """List the tiers: what they replace, by what, on which side, for which solvers.

    M = [[A, W], [W', G]] is the matrix of a cone, A the block of its cone coordinates.
    The bound is that on the optimum of a minimisation; for a maximisation, such as the
    copositive program, it is the other one.
    """
    if style == "markdown":
        click.echo(tier_table_markdown(), nl=False)
        return
    console = Console()
    rows = tier_table()
    for cone in dict.fromkeys(row.cone for row in rows):
        table = Table(title=f"{cone} cones", title_justify="left", show_lines=True)
        for heading in ("tier", "bound", "solver"):
            table.add_column(heading, no_wrap=True)
        for heading in ("becomes", "exact"):
            table.add_column(heading, ratio=2 if heading == "becomes" else 1)
        for row in rows:
            if row.cone == cone:
                cells = row.tier, row.bound, row.solver_class, row.becomes, row.exact
                table.add_row(*map(escape, cells))
        console.print(table)


@cli.command("solvers")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "markdown"]),
    default="table",
    show_default=True,
)
def solvers_command(style: str) -> None:
    """List the solvers: which are here, what they take, how to get them.

    A model goes to the best installed solver that can take it; `solve` says which and
    why.
    """
    table = solver_table()
    if style == "markdown":
        click.echo(table.markdown(), nl=False)
        return
    shown = Table(show_lines=True)
    for heading in ("solver", "version"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("takes", "to install"):
        shown.add_column(heading)
    for row in table:
        version = (row.version or "here") if row.installed else "not here"
        install = "" if row.installed else row.install
        shown.add_row(*map(escape, (row.solver, version, row.takes, install)))
    Console().print(shown)


def _print_result(result: TrainingResult, name: str, gap: float) -> None:
    problem, certificate = result.problem, result.certificate
    loss = problem.loss_value(result.network.predict(problem.X))
    click.echo(
        f"{name}: {problem.n_samples} samples, {problem.n_features} features of rank "
        f"{problem.rank}, {problem.n_outputs} outputs, beta {problem.beta:g}"
    )
    table = Table()
    table.add_column("quantity")
    table.add_column("value", justify="right")
    for quantity, value in [
        ("neurons", f"{result.network.n_neurons}"),
        (f"loss ({problem.loss.name}, sum)", f"{loss:.10g}"),
        ("network objective", f"{certificate.objective:.10g}"),
        ("proven lower bound", f"{certificate.lower_bound:.10g}"),
        ("relative gap", f"{certificate.gap:.1e}"),
        ("cells decided", f"{certificate.decided} of {certificate.cells}"),
        (
            "gap asked for",
            f"{gap:.1e} ({'proved' if result.converged else 'NOT proved'})",
        ),
        ("seconds", f"{result.history[-1].seconds:.2f}" if result.history else "0"),
    ]:
        table.add_row(quantity, value)
    Console().print(table)
