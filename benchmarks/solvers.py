"""One model by every solver, and what is not the solver's own time.

Run it with::

    python benchmarks/solvers.py

Three tables: the parts of a solve of 602 cells by Clarabel, medians of repetitions in
one process; convex quadratic programs of growing size by HiGHS and by Clarabel, which
is where the router changes from one to the other; and the spiral's `dnn` program by
each semidefinite solver, with the bound that a certificate proves from what it
returned.
"""

from __future__ import annotations

import argparse
import runpy
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from pyomo.common.timing import HierarchicalTimer
from rich.console import Console
from rich.table import Table

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    certify,
    recover_network,
    relax,
    solve,
    solver_table,
)

EXAMPLES = Path(__file__).parent.parent / "examples"


def dnn_model(problem: TrainingProblem) -> Any:
    """Build the completely positive program and relax it."""
    model = build_completely_positive(problem)
    relax(model, "dnn")
    return model


def spiral_by_every_solver(accuracy: str) -> Table:
    """Solve one program by each semidefinite solver, and certify each answer."""
    X, Y = runpy.run_path(str(EXAMPLES / "spiral.py"))["make_spiral"]()
    problem = TrainingProblem(X, Y, beta=0.1)
    table = Table(title=f"spiral, beta 0.1, relu.dnn, accuracy {accuracy}")
    for heading in (
        "solver", "status", "objective", "network", "proven bound", "gap",
        "primal residual", "dual residual", "duality gap", "iterations", "seconds",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    for row in solver_table(["clarabel", "csdp", "sdpa", "scs"]):
        if not row.installed:
            table.add_row(row.solver, "not here", *[""] * 9)
            continue
        model = dnn_model(problem)
        begin = time.perf_counter()
        results = solve(
            model,
            row.solver,
            accuracy=accuracy,
            raise_exception_on_nonoptimal_result=False,
        )
        seconds = time.perf_counter() - begin
        info = results.extra_info
        # No descent: the network and its dual point are what the solver returned.
        certificate = certify(problem, recover_network(model, improve=False))
        table.add_row(
            row.solver,
            str(info.solver_status),
            f"{results.incumbent_objective:.8f}",
            f"{certificate.objective:.8f}",
            f"{certificate.lower_bound:.8f}",
            f"{certificate.gap:.1e}",
            f"{info.primal_residual:.1e}",
            f"{info.dual_residual:.1e}",
            f"{info.gap:.1e}",
            str(info.iteration_count),
            f"{seconds:.2f}",
        )
    return table


def overhead(repetitions: int) -> Table:
    """Time the parts of a solve of 602 cells that are not Clarabel's."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(25, 3)), rng.normal(size=(25, 3))
    model = dnn_model(TrainingProblem(X, Y, 0.1))
    parts: dict[str, list[float]] = {}
    for _ in range(repetitions):
        timer = HierarchicalTimer()
        begin = time.perf_counter()
        results = solve(model, timer=timer)
        whole = time.perf_counter() - begin
        own = results.timing_info.solver_time
        measured = {
            "Clarabel": own,
            "everything else": whole - own,
            "of Clarabel's time": (whole - own) / own,
        }
        for name, seconds in measured.items():
            parts.setdefault(name, []).append(seconds)
    table = Table(title=f"602 cells, relu.dnn: medians of {repetitions}")
    table.add_column("part")
    table.add_column("seconds, ratio", justify="right")
    for name, values in parts.items():
        table.add_row(name, f"{statistics.median(values):.3f}")
    return table


def quadratic_programs(sizes: list[int]) -> Table:
    """Solve the `dd` tier, a QP, by HiGHS and by Clarabel."""
    table = Table(title="relu.dd, a convex QP (random normal, d = 3, c = 2)")
    for heading in ("samples", "variables", "highs", "clarabel", "ratio"):
        table.add_column(heading, justify="right")
    for n in sizes:
        rng = np.random.default_rng(0)
        problem = TrainingProblem(rng.normal(size=(n, 3)), rng.normal(size=(n, 2)), 0.1)
        seconds, variables = {}, 0
        for solver in ("highs", "clarabel"):
            model = build_completely_positive(problem)
            relax(model, "dd")
            begin = time.perf_counter()
            results = solve(model, solver)
            seconds[solver] = time.perf_counter() - begin
            variables = len(results.solution_loader.get_vars())
        table.add_row(
            str(n),
            str(variables),
            f"{seconds['highs']:.2f}",
            f"{seconds['clarabel']:.2f}",
            f"{seconds['highs'] / seconds['clarabel']:.1f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accuracy", default="default")
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--samples", type=int, nargs="*", default=[4, 6, 8, 10, 14])
    arguments = parser.parse_args()
    console = Console()
    console = Console(width=max(console.width, 150))
    console.print(overhead(arguments.repetitions))
    console.print(quadratic_programs(arguments.samples))
    console.print(spiral_by_every_solver(arguments.accuracy))


if __name__ == "__main__":
    main()
