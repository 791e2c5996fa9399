"""The command that trains."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from pyomo_relu.cli.data import data_options, read_training_data
from pyomo_relu.cli.report import print_network
from pyomo_relu.errors import InputError, TooManyCellsError
from pyomo_relu.files import check_writable
from pyomo_relu.training import METHODS, train

__all__ = ["Progress", "train_command"]


@click.command("train")
@data_options
@click.option(
    "--gap",
    type=float,
    default=1e-6,
    show_default=True,
    help="Relative gap to prove.",
)
@click.option(
    "--method",
    type=click.Choice(METHODS),
    default="auto",
    show_default=True,
    help="All cells in one program, generated cells, or no cells at all (local), for "
    "data of high rank.",
)
@click.option(
    "--time-limit",
    type=float,
    help="Seconds, after which the best network so far is certified.",
)
@click.option(
    "--max-rounds",
    type=click.IntRange(min=1),
    help="Most rounds, for runs that can be repeated exactly.",
)
@click.option(
    "--checkpoint",
    type=click.Path(dir_okay=False),
    help="File that cell generation keeps its state in; a run goes on from there.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that price the cells.",
)
@click.option(
    "--out", type=click.Path(), help="Where to write the network, .json or .npz."
)
def train_command(
    data: str,
    gap: float,
    method: str,
    time_limit: float | None,
    max_rounds: int | None,
    checkpoint: str | None,
    jobs: int,
    out: str | None,
    **options: Any,
) -> None:
    """Train a network on the table DATA (CSV with a header) and certify it.

    Exits with 0 when the gap was proved and with 3 when it was not; the network is
    written in both cases. Bad input is exit status 2.
    """
    if out is not None:
        check_network_path(out)
    table = read_training_data(data, **options)
    begin = time.perf_counter()
    # Standard output is for the result; progress is for a person at a terminal.
    with Console(stderr=True).status("reading") as status, _workers(jobs) as executor:
        try:
            result = train(
                table.X,
                table.Y,
                **table.options,
                gap=gap,
                method=method,
                time_limit=time_limit,
                max_rounds=max_rounds,
                checkpoint=checkpoint,
                executor=executor,
                progress=Progress(status.update),
            )
        except TooManyCellsError as error:
            # Its advice is for Python: keep what it counted.
            advice = f"{table.advise_features()} Or use --method local."
            raise TooManyCellsError(error.finding, advice) from error
    proved = "proved" if result.converged else "NOT proved"
    seconds = f"{time.perf_counter() - begin:.2f}"
    print_network(
        table.name,
        result.problem,
        result.network,
        result.certificate,
        [("gap asked for", f"{gap:.1e} ({proved})"), ("seconds", seconds)],
    )
    if out is not None:
        result.network.with_metadata(table.metadata).save(out)
        click.echo(f"network written to {out}")
    if not result.converged:
        click.echo(
            f"the gap {gap:g} was not proved"
            + (" before the interruption" if result.interrupted else ""),
            err=True,
        )
        sys.exit(3)


class Progress:
    """Shows what is being done, below the numbers of the last round.

    Parameters
    ----------
    show : callable
        Takes the text.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show, self._numbers = show, ""

    def __call__(self, text: str) -> None:
        """Show a line of `train`'s progress."""
        if ": network " in text:
            self._numbers = text
        elif self._numbers:
            text = f"{self._numbers}\n  {text}"
        self._show(text)


@contextmanager
def _workers(jobs: int) -> Iterator[Executor | None]:
    """Give the processes that price cells, none for one job."""
    if jobs == 1:
        yield None
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as executor:
        yield executor


def check_network_path(out: str) -> None:
    """Refuse a path that no network can be written to, before any work is done.

    Raises
    ------
    InputError
        It has another ending than .json or .npz.
    OutputError
        It cannot be written.
    """
    if Path(out).suffix.lower() not in (".json", ".npz"):
        raise InputError(f"--out must end in .json or .npz; got {out!r}.")
    check_writable(out)
