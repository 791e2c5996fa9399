"""Building, compiling and solving one model, against itself and against CVXPY.

Run it with::

    python benchmarks/build_and_solve.py

Random normal data with n samples, three features, three outputs and weight decay 0.1.
Every figure is the median of interleaved repetitions in one process, so that ratios
survive a noisy machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import cvxpy
import numpy as np
from rich.console import Console
from rich.table import Table

from pyomo_relu import (
    Cells,
    TrainingProblem,
    build_completely_positive,
    enumerate_cells,
    relax,
    solve,
)
from pyomo_relu.solvers import compile_conic


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result of a call."""
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def run_pyomo(problem: TrainingProblem, cells: Cells, form: str) -> dict[str, float]:
    """Build, relax, compile and solve; return seconds, non-zeros and optimum."""
    build, model = timed(lambda: build_completely_positive(problem, cells, form=form))
    tier, _ = timed(lambda: relax(model, "dnn"))
    compiled, conic = timed(lambda: compile_conic(model))
    total, results = timed(lambda: solve(model))
    return {
        "build": build + tier,
        "compile": compiled,
        # `solve` compiles once more; the rest is Clarabel and loading the values.
        "solve": total - compiled,
        "whole": build + tier + total,
        "non-zeros": conic.A.nnz,
        "optimum": results.incumbent_objective,
    }


def run_cvxpy(problem: TrainingProblem, cells: Cells) -> dict[str, float]:
    """Write the same relaxation, plain form, in CVXPY; solve it with Clarabel."""

    def build() -> cvxpy.Problem:
        scaled, c = problem.scaled, problem.n_outputs
        prediction: Any = 0
        penalty: Any = 0
        rows = []
        for mask, rays in zip(cells.masks, cells.rays, strict=True):
            if not mask.any():
                continue
            R = scaled.basis.T @ rays
            m = R.shape[1]
            M = cvxpy.Variable((m + c, m + c), PSD=True)
            rows.append(M[:m, :m] >= 0)
            prediction += (mask[:, None] * (scaled.X @ R)) @ M[:m, m:]
            penalty += cvxpy.trace(R.T @ R @ M[:m, :m]) + cvxpy.trace(M[m:, m:])
        objective = 0.5 * cvxpy.sum_squares(prediction - scaled.Y)
        objective += 0.5 * scaled.beta * penalty
        return cvxpy.Problem(cvxpy.Minimize(objective), rows)

    build_seconds, program = timed(build)
    solve_seconds, value = timed(lambda: program.solve(solver="CLARABEL"))
    stats = program.solver_stats
    return {
        "build": build_seconds,
        "compile": solve_seconds - stats.solve_time,
        "solve": stats.solve_time,
        "whole": build_seconds + solve_seconds,
        "non-zeros": float("nan"),
        "optimum": value * problem.scaled.objective_scale,
    }


def main() -> None:
    """Run and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=25)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()

    rng = np.random.default_rng(0)
    shape = (options.samples, 3)
    problem = TrainingProblem(rng.normal(size=shape), rng.normal(size=shape), 0.1)
    cells = enumerate_cells(problem)
    runs: dict[str, list[dict[str, float]]] = {}
    contestants: dict[str, Callable[[], dict[str, float]]] = {
        "pyomo_relu, tree sums": lambda: run_pyomo(problem, cells, "tree"),
        "pyomo_relu, plain": lambda: run_pyomo(problem, cells, "plain"),
        "CVXPY, plain": lambda: run_cvxpy(problem, cells),
    }
    for _ in range(options.repeat):
        for name, call in contestants.items():
            runs.setdefault(name, []).append(call())

    table = Table(title=f"{len(cells)} cells, medians of {options.repeat}, seconds")
    table.add_column("")
    for column in ("build", "compile", "solve", "whole", "ratio", "non-zeros"):
        table.add_column(column, justify="right")
    table.add_column("optimum", justify="right")
    base = next(iter(runs.values()))
    for name, results in runs.items():
        median = {k: statistics.median(r[k] for r in results) for k in results[0]}
        ratio = statistics.median(
            r["whole"] / b["whole"] for r, b in zip(results, base, strict=True)
        )
        nonzeros = median["non-zeros"]
        table.add_row(
            name,
            *(f"{median[key]:.2f}" for key in ("build", "compile", "solve", "whole")),
            f"{ratio:.2f}",
            "" if np.isnan(nonzeros) else f"{nonzeros:.0f}",
            f"{median['optimum']:.7f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
