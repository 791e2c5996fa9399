"""Every tier on both sides of the duality: value, side, size, time, gap.

Run it with::

    python benchmarks/tiers.py [--instance spiral]

The optimum of each instance is that of `pyomo_relu.train`, whose certificate proves it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
from rich.console import Console
from rich.table import Table

from pyomo_relu import (
    PyomoReluError,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_copositive,
    relax,
    solve,
    train,
)
from pyomo_relu.solvers import compile_conic

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.spiral import make_spiral
from tests.instances import horn_instance, reference_data

#: (program, options of the program, chain of tiers with their options)
CHAINS: list[tuple[str, dict[str, Any], list[tuple[str, dict[str, Any]]]]] = [
    ("primal", {}, [("psd", {})]),
    ("primal", {}, [("minors", {})]),
    ("primal", {}, [("cuts", {"tolerance": 1e-5, "time_limit": 30})]),
    ("primal", {"description": "facets"}, [("dnn", {})]),
    ("primal", {}, [("dnn", {})]),
    ("primal", {}, [("sos", {"level": 1})]),
    ("primal", {}, [("partition", {}), ("dnn", {})]),
    ("primal", {}, [("partition", {"level": 1}), ("dnn", {})]),
    ("primal", {}, [("partition", {}), ("dnn", {}), ("minors", {})]),
    ("primal", {}, [("factorized", {"seed": 0})]),
    ("primal", {}, [("ray_pairs", {})]),
    ("primal", {}, [("rays", {})]),
    ("primal", {}, [("dd", {})]),
    ("dual", {}, [("dd", {})]),
    ("dual", {}, [("sdd", {})]),
    ("dual", {}, [("psd", {})]),
    ("dual", {}, [("dnn", {})]),
    ("dual", {}, [("sos", {"level": 1})]),
    ("dual", {}, [("partition", {}), ("dnn", {})]),
    ("dual", {}, [("ray_pairs", {})]),
    ("dual", {}, [("rays", {})]),
]
BUILD = {"primal": build_completely_positive, "dual": build_copositive}


def instances(only: str | None) -> Iterator[tuple[str, Any, Any, float]]:
    """Yield name, X, Y and beta."""
    everything: dict[str, Any] = {}
    for seed in range(4):
        everything[f"random {seed}"] = (*reference_data(seed), 0.2)
    everything["spiral"] = (*make_spiral(), 0.1)
    rng = np.random.default_rng(0)
    for rank, n in ((4, 7), (5, 6)):
        X, Y = rng.normal(size=(n, rank)), rng.normal(size=(n, 2))
        everything[f"rank {rank}"] = (X, Y, 0.2)
    everything["horn"] = horn_instance()[:3]
    for name, data in everything.items():
        if only is None or name == only:
            yield name, *data


def run(problem: TrainingProblem, chain: Any) -> dict[str, Any]:
    """Build, relax and solve once."""
    program, options, tiers = chain
    begin = time.perf_counter()
    model = BUILD[program](problem, **options)
    for tier, choice in tiers:
        relax(model, tier, **choice)
    built = time.perf_counter() - begin
    last = tiers[-1][0]
    begin = time.perf_counter()
    if last == "factorized":
        outcome = pyo.SolverFactory("cyipopt").solve(model)
        pyo.assert_optimal_termination(outcome)
        value, nonzeros = pyo.value(model.objective), None
    else:
        value = solve(model, "highs" if last == "cuts" else None).incumbent_objective
        nonzeros = compile_conic(model).A.nnz
    return {
        "value": value,
        "side": str(bound_direction(model)),
        "non-zeros": nonzeros,
        "build": built,
        "solve": time.perf_counter() - begin,
    }


def main() -> None:
    """Run all chains on all instances and print a table an instance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instance", help="only this one, for example 'random 0'")
    options = parser.parse_args()
    console = Console(width=110)
    for name, X, Y, beta in instances(options.instance):
        problem = TrainingProblem(X, Y, beta)
        result = train(X, Y, beta)
        optimum, gap = result.certificate.objective, result.certificate.gap
        table = Table(
            title=f"{name}: n={len(X)}, rank {problem.rank}, c={problem.n_outputs}, "
            f"{result.certificate.cells} cells, optimum {optimum:.7f} (gap {gap:.0e})"
        )
        for column in ("program", "tiers"):
            table.add_column(column)
        for column in ("value", "side", "gap, %", "non-zeros", "build, s", "solve, s"):
            table.add_column(column, justify="right")
        for chain in CHAINS:
            program, choices, tiers = chain
            label = " + ".join(
                " ".join([tier, *(f"{v}" for k, v in choice.items() if k == "level")])
                for tier, choice in tiers
            )
            if choices:
                label += " (facets)"
            try:
                row = run(problem, chain)
            except (PyomoReluError, RuntimeError, ValueError) as error:
                table.add_row(program, label, str(error)[:40])
                continue
            nonzeros = row["non-zeros"]
            table.add_row(
                program,
                label,
                f"{row['value']:.7f}",
                row["side"],
                f"{100.0 * (row['value'] / optimum - 1.0):+.4f}",
                "" if nonzeros is None else f"{nonzeros}",
                f"{row['build']:.2f}",
                f"{row['solve']:.2f}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
