"""Writing a model of 450,000 non-zeros: this package, Pyomo's writers and HiGHS.

Run it with::

    python benchmarks/export.py

The model is a training program under the tier `dd` with the absolute loss, a linear
program. Each writer runs in a process of its own that starts with the model built, and
all of them write names that people can read, in turns. The time is the median, the
ratio is to the faster of Pyomo's writer and HiGHS, and the memory is the largest that a
process had beyond the model.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from pyomo.core.base.label import TextLabeler
from pyomo.repn.plugins.lp_writer import LPWriter
from pyomo.repn.plugins.nl_writer import NLWriter
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from rich.console import Console
from rich.table import Table

from pyomo_relu import TrainingProblem, build_completely_positive, relax
from pyomo_relu.writers.exported import Exported
from pyomo_relu.writers.labels import Labels
from pyomo_relu.writers.lp import write_lp
from pyomo_relu.writers.mps import write_mps
from pyomo_relu.writers.nl import write_nl
from pyomo_relu.writers.rows import compile_rows


def build(samples: int) -> Any:
    """Return a linear program with about ``4.25 * samples ** 2`` non-zeros."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(samples, 2)), rng.normal(size=(samples, 2))
    problem = TrainingProblem(X, Y, 0.1, loss="absolute")
    model = build_completely_positive(problem, form="plain")
    relax(model, "dd")
    return model


def ours(write: Callable[[Any], Exported]) -> Callable[[Any, Path], None]:
    def run(model: Any, path: Path) -> None:
        exported = write(model)
        path.write_bytes(exported.data)
        for suffix, data in exported.beside.items():
            path.with_suffix(suffix).write_bytes(data)

    return run


def pyomo_mps(model: Any, path: Path) -> None:
    model.write(str(path), io_options={"symbolic_solver_labels": True})


def pyomo_lp(model: Any, path: Path) -> None:
    with path.open("w") as stream:
        LPWriter().write(model, stream, symbolic_solver_labels=True)


def pyomo_nl(model: Any, path: Path) -> None:
    with (
        path.open("w") as stream,
        path.with_suffix(".row").open("w") as rows,
        path.with_suffix(".col").open("w") as columns,
    ):
        NLWriter().write(
            model,
            stream,
            rows,
            columns,
            symbolic_solver_labels=True,
            linear_presolve=False,
            scale_model=False,
        )


def through_highs(model: Any, path: Path) -> None:
    info = LinearStandardFormCompiler().write(model, mixed_form=True)
    labeler = TextLabeler()
    sides = np.array([row.bound_type for row in info.rows])
    bounds = np.array(
        [var.bounds for var in info.columns], dtype=float
    )  # None becomes NaN
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = info.A.shape
    lp.col_cost_ = info.c.toarray()[0]
    lp.offset_ = float(info.c_offset[0])
    lp.row_lower_ = np.where(sides == 1, -np.inf, info.rhs)
    lp.row_upper_ = np.where(sides == -1, np.inf, info.rhs)
    lp.col_lower_ = np.nan_to_num(bounds[:, 0], nan=-np.inf)
    lp.col_upper_ = np.nan_to_num(bounds[:, 1], nan=np.inf)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = info.A.indptr
    lp.a_matrix_.index_ = info.A.indices
    lp.a_matrix_.value_ = info.A.data
    lp.col_names_ = list(map(labeler, info.columns))
    lp.row_names_ = [
        f"{labeler(row.constraint)}_{row.bound_type + 1}" for row in info.rows
    ]
    highs = highspy.Highs()
    highs.silent()
    highs.passModel(lp)
    highs.writeModel(str(path))


#: (format, what, writer); the first of each format is this package's.
WRITERS: list[tuple[str, str, Callable[[Any, Path], None]]] = [
    ("mps", "pyomo_relu", ours(write_mps)),
    ("mps", "Pyomo", pyomo_mps),
    ("mps", "HiGHS", through_highs),
    ("nl", "pyomo_relu", ours(write_nl)),
    ("nl", "Pyomo", pyomo_nl),
    ("lp", "pyomo_relu", ours(write_lp)),
    ("lp", "Pyomo", pyomo_lp),
    ("lp", "HiGHS", through_highs),
]


def peak() -> float:
    """Largest memory of this process so far, in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def measure(
    run: Callable[[Any, Path], None], model: Any, suffix: str
) -> tuple[float, float, float]:
    """Seconds, megabytes and size of the file, in a process of its own."""

    def child(connection: Any) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model.{suffix}"
            before = peak()
            begin = time.perf_counter()
            run(model, path)
            seconds = time.perf_counter() - begin
            connection.send((seconds, peak() - before, path.stat().st_size / 1e6))

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(sender,))
    process.start()
    sender.close()
    answer = receiver.recv()
    process.join()
    return answer


def main() -> None:
    """Measure all writers and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=326)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    model = build(options.samples)
    program = compile_rows(model, "a file")
    begin = time.perf_counter()
    Labels(model)
    named = time.perf_counter() - begin
    components = len(list(model.component_data_objects([pyo.Var, pyo.Constraint])))
    found: dict[int, list[tuple[float, float, float]]] = {}
    for _ in range(options.repeats):
        for number, (suffix, _, run) in enumerate(WRITERS):
            found.setdefault(number, []).append(measure(run, model, suffix))
    table = Table(
        title=f"{program.A.nnz} non-zeros, {len(program.constraints)} rows, "
        f"{len(program.variables)} columns; {components} names in {named:.2f} s"
    )
    for heading in ("format", "writer", "seconds", "ratio", "memory MB", "file MB"):
        table.add_column(heading, justify="right")
    seconds = {
        number: statistics.median(answer[0] for answer in answers)
        for number, answers in found.items()
    }
    for number, (suffix, name, _) in enumerate(WRITERS):
        others = min(
            seconds[other]
            for other, (kind, writer, _) in enumerate(WRITERS)
            if kind == suffix and writer != "pyomo_relu"
        )
        table.add_row(
            suffix,
            name,
            f"{seconds[number]:.2f}",
            f"{seconds[number] / others:.2f}",
            f"{max(answer[1] for answer in found[number]):.0f}",
            f"{found[number][0][2]:.1f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
