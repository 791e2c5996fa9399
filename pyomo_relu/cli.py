"""The command line: ``pyomo-relu train data.csv --targets a,b --beta 0.1``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pyomo_relu import __version__
from pyomo_relu.errors import InputError, MissingExtraError

try:
    import click
    import pandas as pd
    from rich.console import Console
    from rich.table import Table
except ImportError as error:
    raise MissingExtraError(
        error.name or "click", "cli", "the command line pyomo-relu"
    ) from error

from pyomo_relu.files import check_writable
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.training import TrainingResult, train

__all__ = ["cli"]


def read_table(path: str) -> pd.DataFrame:
    """Read a CSV file with a header line and no missing value.

    Raises
    ------
    InputError
        The file cannot be read, has no rows or columns, repeats a column name or
        has a missing value.
    """
    try:
        # Without a header pandas keeps repeated names; with one it renames them.
        rows = pd.read_csv(path, skipinitialspace=True, header=None, nrows=1, dtype=str)
        frame = pd.read_csv(path, skipinitialspace=True)
    except (OSError, ValueError, UnicodeDecodeError) as error:
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
    names = rows.iloc[0]
    if names.duplicated().any():
        raise InputError(
            f"{path!r} has the column {names[names.duplicated()].iloc[0]!r} more than "
            "once; rename one of them."
        )
    missing = frame.isna()
    if missing.to_numpy().any():
        row, column = next(zip(*missing.to_numpy().nonzero(), strict=True))
        raise InputError(
            f"{path!r} has {int(missing.to_numpy().sum())} missing values, the first "
            f"in data row {row + 1}, column {frame.columns[column]!r}. Fill them or "
            "remove their rows."
        )
    return frame


def select_numbers(frame: pd.DataFrame, columns: list[str], path: str) -> pd.DataFrame:
    """Return numeric columns as floats.

    Raises
    ------
    InputError
        A column does not exist or holds text.
    """
    unknown = [name for name in columns if name not in frame.columns]
    if unknown:
        raise InputError(
            f"{path!r} has no column {unknown[0]!r}; its columns are "
            f"{', '.join(map(repr, frame.columns))}."
        )
    for name in columns:
        numbers = pd.to_numeric(frame[name], errors="coerce")
        if numbers.isna().any():
            row = int(numbers.isna().to_numpy().argmax())
            raise InputError(
                f"column {name!r} of {path!r} must hold numbers; data row {row + 1} "
                f"holds {frame[name].iloc[row]!r}. Encode it as numbers, drop it, or "
                "name the columns to use with --features."
            )
    return frame[columns].astype(float)


def standardize(frame: pd.DataFrame, path: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return columns of mean zero and standard deviation one, and what it took.

    Raises
    ------
    InputError
        A column is constant.
    """
    mean, scale = frame.mean(), frame.std(ddof=0)
    constant = [name for name in frame.columns if not scale[name] > 0.0]
    if constant:
        raise InputError(
            f"column {constant[0]!r} of {path!r} is constant and cannot be "
            "standardized; drop it with --features or leave --standardize out."
        )
    how = {"mean": mean.to_dict(), "scale": scale.to_dict()}
    return (frame - mean) / scale, how


def split_names(_: Any, __: Any, value: str | None) -> list[str]:
    """Split a comma-separated option."""
    return [name.strip() for name in (value or "").split(",") if name.strip()]


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
    standardized: bool,
    gap: float,
    out: str | None,
) -> None:
    """Train a network on the table DATA (CSV with a header) and certify it.

    Exits with 0 when the gap was proved and with 3 when it was not; the network is
    written in both cases.
    """
    if out and check_writable(out).suffix.lower() not in (".json", ".npz"):
        raise InputError(f"--out must end in .json or .npz; got {out!r}.")
    if bool(targets) == bool(labels):
        raise InputError("give --targets a,b,c or --labels column, and not both.")
    frame = read_table(data)
    metadata: dict[str, Any] = {"beta": beta}
    if labels:
        if labels not in frame.columns:
            select_numbers(frame, [labels], data)
        Y = pd.get_dummies(frame[labels]).astype(float)
        Y.columns = Y.columns.map(str)
        targets = [labels]
    else:
        Y = select_numbers(frame, targets, data)
    both = [name for name in features if name in targets]
    if both:
        raise InputError(f"column {both[0]!r} is both a feature and a target.")
    features = features or [name for name in frame.columns if name not in targets]
    if not features:
        raise InputError(f"{data!r} has no column left to predict from.")
    X = select_numbers(frame, features, data)
    if standardized:
        X, metadata["features"] = standardize(X, data)
        if not labels:
            Y, metadata["targets"] = standardize(Y, data)
    metadata["inputs"], metadata["outputs"] = list(X.columns), list(Y.columns)

    # Standard output is for the result; progress is for a person at a terminal.
    with Console(stderr=True).status("reading") as status:
        result = train(X, Y, beta, gap=gap, progress=status.update)
    _print_result(result, Path(data).name, gap)
    if out is not None:
        network = result.network
        ReLUNetwork(network.first, network.second, metadata=metadata).save(out)
        click.echo(f"network written to {out}")
    if not result.converged:
        click.echo(
            f"the gap {gap:g} was not proved"
            + (" before the interruption" if result.interrupted else ""),
            err=True,
        )
        sys.exit(3)


def _print_result(result: TrainingResult, name: str, gap: float) -> None:
    problem, certificate = result.problem, result.certificate
    loss = problem.loss.value(result.network.predict(problem.X), problem.Y)
    table = Table(title=f"{name}: {problem!r}", title_justify="left")
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
