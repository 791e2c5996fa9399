"""Training to a proven optimum by cell generation, at scale, in one table.

Run it with::

    OMP_NUM_THREADS=1 python benchmarks/cell_generation.py [--large] [--repeat 3]
    python benchmarks/cell_generation.py --only "iris half"

Every run is in a fresh process, whose imports are not timed and whose peak memory is
that of the whole process, imports included. Seconds are wall-clock time of the whole
call, with the enumeration of cells; medians of the repetitions, with the largest
memory. On a machine that is shared, processor time (of all threads) says more. A run
that ends at its time limit misses its gap. A target is met if the gap is proved, every
cell is decided, and time and memory suffice. ``old / new`` is the time of another row
of the same instance over that of this one: of one program over all cells
(``method="enumeration"``) for cell generation, of fewer workers for more.

Where the sphere of directions is bounded in place of cells the table has the number of
its cones, and all cells are decided if the certificate is complete.

The Frank-Wolfe algorithm of the paper gets the radius of an optimum for nothing
(`frank_wolfe.py`), and its time ends at 1e-3 above the known optimum; that of `train`
ends where it has *proved* 1e-3.

Pricing by workers (`parallel_pricing.py`) is timed without enumeration and without the
start of the workers; memory and processor time are those of this process alone.

Training without cells has the time budget `LOCAL` of its row, and so have all random
starts together that it is compared with (`local_training.py`); "3,000 iterations" is
their number for each start, whatever the time. Its target is an objective no larger
than theirs, and a better bound than the trivial one. The certificate comes on top of
the budget.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pyomo_relu import Certificate, PyomoReluError, certify, enumerate_cells, train

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.frank_wolfe import frank_wolfe
from benchmarks.local_training import ITERATIONS, UNLIMITED, data_set, restarts
from benchmarks.parallel_pricing import measure_pricing
from examples.spiral import make_spiral

Array = np.ndarray[Any, np.dtype[np.float64]]
Data = tuple[Array, Array]

#: Gap of the Frank-Wolfe rows, and the most steps they may take.
THREE_DIGITS = 1e-3
STEPS = 20_000
#: Seconds of training without cells: data, beta, budget.
LOCAL = (("wine", 1.0, 30.0), ("wine", 0.1, 30.0), ("cancer", 1.0, 60.0))
GIBIBYTE = 2.0**30
IRIS = Path(__file__).parents[1] / "examples" / "data" / "iris.csv"


@dataclass(frozen=True)
class Target:
    """What a row must show: seconds, and perhaps a bound on memory in GiB."""

    seconds: float
    memory: float = np.inf

    def __str__(self) -> str:
        text = f"{self.seconds:g} s"
        return text if np.isinf(self.memory) else f"{text}, {self.memory:g} GiB"


@dataclass(frozen=True)
class Measurement:
    """What a run showed; None where a row has no such number.

    Attributes
    ----------
    seconds, cpu : float
        Wall-clock and processor time.
    cells, decided : int
        Cells, and those that the certificate decided.
    cones : int
        Cones of the sphere that were bounded in place of cells.
    complete : bool
        Whether the certificate decided all there is.
    objective, gap : float
        Of the certificate.
    rounds : int
        Solves, or steps of Frank-Wolfe.
    active : int
        Cells in the last program, or neurons of Frank-Wolfe.
    memory : float
        Peak of the process, GiB.
    converged : bool
        Whether it got where it was to get.
    note : str
        What else there is to say.
    """

    seconds: float
    cpu: float
    cells: int | None = None
    objective: float | None = None
    gap: float | None = None
    decided: int | None = None
    cones: int = 0
    complete: bool = True
    rounds: int | None = None
    active: int | None = None
    memory: float = np.nan
    converged: bool = True
    note: str = ""


class Clock:
    """Wall-clock and processor time since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Return seconds of both."""
        wall, cpu = self._start
        return time.perf_counter() - wall, time.process_time() - cpu


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes
    ----------
    run : callable
        Time limit (or None) to a measurement.
    cells : int, optional
        Cells that there must be, where they are enumerated.
    target : Target, optional
    against : str, optional
        The row whose time is compared.
    rivals : tuple of str
        Rows whose objectives must not be smaller.
    large : bool
        Whether it takes minutes and gigabytes.
    """

    run: Callable[[float | None], Measurement]
    cells: int | None = None
    target: Target | None = None
    against: str | None = None
    rivals: tuple[str, ...] = ()
    large: bool = False


def normal_data(n: int, d: int, c: int) -> Data:
    """Return random normal samples (n, d) and targets (n, c)."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)), rng.normal(size=(n, c))


def iris(size: int) -> Data:
    """Return some iris, standardised with all of them, and one-hot labels."""
    table = np.loadtxt(IRIS, delimiter=",", skiprows=1, dtype=str)
    columns = table[:, :4].astype(float)
    X = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    Y = np.eye(3)[np.unique(table[:, 4], return_inverse=True)[1]]
    chosen = np.random.default_rng(0).permutation(len(X))[:size]
    return X[chosen], Y[chosen]


def certified(certificate: Certificate, **others: Any) -> Measurement:
    """Return a measurement with what a certificate says."""
    return Measurement(
        cells=certificate.cells,
        objective=certificate.objective,
        gap=certificate.gap,
        decided=certificate.decided,
        cones=certificate.cones,
        complete=certificate.complete,
        **others,
    )


def training(
    data: Callable[[], Data], beta: float, gap: float, method: str = "generation"
) -> Callable[[float | None], Measurement]:
    """Return a run of `train`."""

    def run(time_limit: float | None) -> Measurement:
        X, Y = data()
        clock = Clock()
        result = train(X, Y, beta, gap=gap, method=method, time_limit=time_limit)
        seconds, cpu = clock.read()
        return certified(
            result.certificate,
            seconds=seconds,
            cpu=cpu,
            rounds=len(result.history),
            active=result.history[-1].cells if result.history else 0,
            converged=result.converged,
        )

    return run


def with_ones(data: Callable[[], Data]) -> Data:
    """Return data whose samples have a one at their end."""
    X, Y = data()
    return np.column_stack([X, np.ones(len(X))]), Y


def enumeration(data: Callable[[], Data]) -> Callable[[float | None], Measurement]:
    """Return a run of `enumerate_cells` alone."""

    def run(_: float | None) -> Measurement:
        X, _Y = data()
        clock = Clock()
        cells = enumerate_cells(X)
        seconds, cpu = clock.read()
        return Measurement(seconds=seconds, cpu=cpu, cells=len(cells))

    return run


def published(
    data: Callable[[], Data], beta: float
) -> Callable[[float | None], Measurement]:
    """Return a run of the Frank-Wolfe algorithm, told the optimum and its radius."""

    def run(_: float | None) -> Measurement:
        optimum = train(*data(), beta, gap=1e-8)
        problem, best = optimum.problem, optimum.certificate.objective
        radius = optimum.network.balance().penalty()
        target = best * (1.0 + THREE_DIGITS)
        clock = Clock()
        cells = enumerate_cells(problem)
        result = frank_wolfe(problem, cells, radius, steps=STEPS, target=target)
        seconds, cpu = clock.read()
        certificate = certify(problem, result.network, cells=cells)
        return certified(
            certificate,
            seconds=seconds,
            cpu=cpu,
            rounds=len(result.history) - 1,
            active=result.network.n_neurons,
            converged=result.history[-1].objective <= target,
            note=f"{certificate.objective / best - 1.0:.1e} above the optimum",
        )

    return run


def pricing(
    data: Callable[[], Data], beta: float, kind: str, number: int
) -> Callable[[float | None], Measurement]:
    """Return a run of full pricing by workers, whose result is compared."""

    def run(_: float | None) -> Measurement:
        found = measure_pricing(*data(), beta, kind, number)
        return Measurement(
            seconds=found.seconds,
            cpu=found.cpu,
            cells=found.cells,
            decided=found.bound.decided,
            complete=found.bound.decided == found.cells,
            note="the same, bit for bit" if number else "",
        )

    return run


def without_cells(
    data: Callable[[], Data], beta: float, seconds: float
) -> Callable[[float | None], Measurement]:
    """Return a run of `train` without cells, which need not converge."""

    def run(time_limit: float | None) -> Measurement:
        X, Y = data()
        limit = min(seconds, np.inf if time_limit is None else time_limit)
        clock = Clock()
        result = train(X, Y, beta, method="local", time_limit=limit)
        wall, cpu = clock.read()
        certificate = result.certificate
        share = certificate.lower_bound / certificate.objective
        trivial = certificate.trivial_bound / certificate.objective
        return Measurement(
            seconds=wall,
            cpu=cpu,
            objective=certificate.objective,
            gap=certificate.gap,
            active=result.network.n_neurons,
            converged=certificate.lower_bound > certificate.trivial_bound,
            note=f"bound {share:.1%} of the objective, trivial {trivial:.1%}",
        )

    return run


def random_starts(
    data: Callable[[], Data], beta: float, seconds: float = np.inf
) -> Callable[[float | None], Measurement]:
    """Return a run of local training from random starts.

    In given seconds for all together, or with 3,000 iterations for each.
    """

    def run(_: float | None) -> Measurement:
        X, Y = data()
        clock = Clock()
        most = ITERATIONS if np.isinf(seconds) else UNLIMITED
        found = restarts(X, Y, beta, iterations=most, seconds=seconds)
        wall, cpu = clock.read()
        steps = statistics.median_high([each.iterations for each in found])
        worst = found[-1].objective
        return Measurement(
            seconds=wall,
            cpu=cpu,
            objective=found[0].objective,
            rounds=steps,
            active=found[0].first.shape[1],
            note=f"best of {len(found)}; the worst {worst:.7f}",
        )

    return run


def rows() -> dict[str, Row]:
    """Return the rows by name, in their order."""
    table: dict[str, Row] = {}
    for name, data, beta, cells, seconds in (
        ("spiral, beta 0.1", make_spiral, 0.1, 114, 0.5),
        ("spiral, beta 0.01", make_spiral, 0.01, 114, 0.5),
        ("normal 60 x 3", partial(normal_data, 60, 3, 3), 0.1, 3_542, 5.0),
    ):
        old = f"{name}, at once"
        table[name] = Row(
            training(data, beta, 1e-8), cells, Target(seconds), against=old
        )
        table[old] = Row(training(data, beta, 1e-8, "enumeration"), cells)
    table["normal 200 x 3"] = Row(
        training(partial(normal_data, 200, 3, 3), 0.1, 1e-8), 39_802, Target(60.0)
    )
    table["iris half"] = Row(
        training(partial(iris, 75), 0.1, 1e-6), 134_722, Target(60.0)
    )
    table["iris"] = Row(
        training(partial(iris, 150), 0.1, 1e-6),
        1_075_028,
        Target(480.0, memory=6.0),
        large=True,
    )
    for name, data in (
        ("iris half, bias", partial(with_ones, partial(iris, 75))),
        ("normal 40 x 5", partial(normal_data, 40, 5, 3)),
    ):
        table[name] = Row(training(data, 0.1, 1e-6), large=True)
    table["enumeration, normal 75 x 4"] = Row(
        enumeration(partial(normal_data, 75, 4, 1)), 135_200, Target(1.5)
    )
    table["enumeration, normal 150 x 4"] = Row(
        enumeration(partial(normal_data, 150, 4, 1)),
        1_102_900,
        Target(20.0),
        large=True,
    )
    for beta in (0.1, 0.01):
        name = f"spiral, beta {beta}, to 1e-3"
        table[name] = Row(training(make_spiral, beta, THREE_DIGITS), 114)
        table[f"{name}, Frank-Wolfe"] = Row(published(make_spiral, beta), 114)
    table |= pricing_rows(partial(iris, 150), 1_075_028)
    for data_name, beta, seconds in LOCAL:
        table |= local_rows(data_name, beta, seconds)
    return table


def pricing_rows(data: Callable[[], Data], cells: int) -> dict[str, Row]:
    """Return the rows of pricing by workers; one worker is the old of two."""
    table = {"pricing, here": Row(pricing(data, 0.1, "none", 0), cells, large=True)}
    for kind, unit in (("dask", "Dask worker"), ("processes", "pool process")):
        one, two = f"pricing, {unit}", f"pricing, {unit} x 2"
        table[one] = Row(
            pricing(data, 0.1, kind, 1), cells, against="pricing, here", large=True
        )
        table[two] = Row(pricing(data, 0.1, kind, 2), cells, against=one, large=True)
    return table


def local_rows(data_name: str, beta: float, seconds: float) -> dict[str, Row]:
    """Return the rows of training without cells and of its rivals."""
    name, data = f"{data_name}, beta {beta:g}", partial(data_set, data_name)
    timed, long = f"{name}, random starts", f"{name}, 3,000 iterations"
    new = without_cells(data, beta, seconds)
    return {
        name: Row(new, rivals=(timed, long), large=True),
        timed: Row(random_starts(data, beta, seconds), large=True),
        long: Row(random_starts(data, beta), large=True),
    }


def measure(name: str, time_limit: float | None) -> Measurement:
    """Run a row in this process, and add its peak memory in GiB."""
    measurement = rows()[name].run(time_limit)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kibibytes, but for macOS.
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return replace(measurement, memory=peak * unit / GIBIBYTE)


def measure_apart(
    name: str, time_limit: float | None, repeat: int
) -> Measurement | str:
    """Run a row in fresh processes; return the median run, or what went wrong."""
    runs: list[Measurement] = []
    for _ in range(repeat):
        try:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                runs.append(pool.submit(measure, name, time_limit).result())
        except PyomoReluError as error:
            return f"{type(error).__name__}: {error}"
        except BrokenProcessPool:
            return "its process was killed"
    median = statistics.median_low([run.seconds for run in runs])
    chosen = next(run for run in runs if run.seconds == median)
    return replace(chosen, memory=max(run.memory for run in runs))


def excess_over_rivals(
    row: Row, measured: Measurement, others: Mapping[str, Measurement | str]
) -> float:
    """Return by which part the objective exceeds the best of the row's rivals."""
    excess = 0.0
    for name in row.rivals:
        rival = others.get(name)
        if not isinstance(rival, Measurement):
            continue
        if measured.objective is not None and rival.objective is not None:
            excess = max(excess, measured.objective / rival.objective - 1.0)
    return excess


def verdict(
    row: Row, measured: Measurement, others: Mapping[str, Measurement | str]
) -> str:
    """Return whether a target is met, or what is missing.

    Parameters
    ----------
    row, measured
        A row, and what it showed.
    others : mapping of str to Measurement or str
        What all rows showed, among them its rivals.
    """
    if row.cells is not None and measured.cells != row.cells:
        return f"not {row.cells:,} cells"
    missing = []
    if not measured.converged:
        missing.append("bound" if row.rivals else "gap")
    if not measured.complete:
        missing.append("cells")
    excess = excess_over_rivals(row, measured, others)
    if excess > 0.0:
        missing.append(f"objective, by {excess:.2%}")
    if row.target is not None:
        if measured.seconds > row.target.seconds:
            missing.append("time")
        if measured.memory > row.target.memory:
            missing.append("memory")
    if missing:
        said = "not met: " + ", ".join(missing)
    else:
        said = "met" if row.target is not None or row.rivals else ""
    return "; ".join(part for part in (said, measured.note) if part)


def decided_text(measured: Measurement) -> str:
    """Return how many cells were decided; without a count that all were."""
    if measured.decided is None:
        return ""
    if measured.cones:
        return "all" if measured.complete else "not all"
    return f"{measured.decided:,}"


def cells_text(measured: Measurement) -> str:
    """Return the number of cells, or of cones in their place."""
    if measured.cones:
        return f"{measured.cones:,} cones"
    return f"{measured.cells:,}" if measured.cells else ""


def print_table(
    console: Console, table: dict[str, Row], measured: dict[str, Measurement | str]
) -> None:
    """Print all rows that were measured."""
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    printed = Table(
        title=f"cell generation; Python {platform.python_version()}, numpy "
        f"{np.__version__}, {os.cpu_count()} processors, load {load}"
    )
    printed.add_column("instance")
    for column in (
        "cells", "objective", "gap", "decided", "rounds", "active", "seconds",
        "CPU, s", "old / new", "peak, GiB", "target",
    ):  # fmt: skip
        printed.add_column(column, justify="right")
    printed.add_column("")
    for name, result in measured.items():
        row = table[name]
        target = "" if row.target is None else str(row.target)
        if isinstance(result, str):
            printed.add_row(name, *[""] * 10, target, result)
            continue
        old = measured.get(row.against) if row.against else None
        ratio = ""
        if isinstance(old, Measurement):
            ratio = f"{old.seconds / result.seconds:.2f}"
        printed.add_row(
            name,
            cells_text(result),
            "" if result.objective is None else f"{result.objective:.7f}",
            "" if result.gap is None else f"{result.gap:.1e}",
            decided_text(result),
            "" if result.rounds is None else f"{result.rounds:,}",
            "" if result.active is None else f"{result.active:,}",
            f"{result.seconds:.2f}",
            f"{result.cpu:.2f}",
            ratio,
            f"{result.memory:.2f}",
            target,
            verdict(row, result, measured),
        )
    console.print(printed)


def main() -> None:
    """Measure the rows asked for and print them in one table."""
    table = rows()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        help="only rows whose name starts so; may be given several times",
    )
    parser.add_argument("--large", action="store_true", help="rows of minutes too")
    parser.add_argument("--repeat", type=int, default=1, help="fresh processes a row")
    parser.add_argument("--time-limit", type=float, help="seconds for each `train`")
    options = parser.parse_args()
    chosen = [
        name
        for name, row in table.items()
        if (options.large or not row.large)
        and (not options.only or any(name.startswith(o) for o in options.only))
    ]
    if not chosen:
        large = [name for name, row in table.items() if row.large]
        parser.error(
            f"no row of that name; there are {list(table)}, of which {large} need "
            "--large"
        )
    console = Console(width=200)
    measured: dict[str, Measurement | str] = {}
    for number, name in enumerate(chosen, start=1):
        print(f"{number}/{len(chosen)} {name}", file=sys.stderr, flush=True)
        measured[name] = measure_apart(name, options.time_limit, options.repeat)
    print_table(console, table, measured)


if __name__ == "__main__":
    main()
