"""Bound the stability number of a graph by copositive programs at every tier.

For a graph with adjacency matrix A, and J the matrix of ones (Motzkin and Straus 1965;
de Klerk and Pasechnik 2002), the stability number is::

    alpha = min { t : t (I + A) - J copositive }
          = max { <J, X> : <I + A, X> = 1, X completely positive }

Both programs are written once, and bounded by replacing the one cone. A bound is what
the solver gives, to about six digits.

Run it with::

    python examples/stability_number.py
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.contrib.solver.common.results import SolutionStatus

from pyomo_relu import (
    CompletelyPositiveCone,
    CopositiveCone,
    bound_direction,
    relax,
    solve,
)

Array = np.ndarray[Any, np.dtype[np.float64]]
#: One tier after another, each with its options.
Chain = list[tuple[str, dict[str, Any]]]

TIERS: dict[str, Chain] = {
    "psd": [("psd", {})],
    "dd": [("dd", {})],
    "sdd": [("sdd", {})],
    "minors": [("minors", {})],
    "cuts": [("cuts", {})],
    "dnn (theta')": [("dnn", {})],
    "partition, dnn": [("partition", {"level": 3}), ("dnn", {})],
    "sos (K^1)": [("sos", {"level": 1})],
    "rays": [("rays", {})],
    "ray_pairs": [("ray_pairs", {})],
    "partition, ray_pairs": [("partition", {"level": 3}), ("ray_pairs", {})],
    "factorized": [("factorized", {})],
}
#: Pieces of a partition share faces, where more digits are out of reach.
ACCURACY = {"tol_feas": 1e-7, "tol_gap_abs": 1e-7, "tol_gap_rel": 1e-7}
SIGN = {"lower": ">=", "upper": "<=", "exact": "="}


def graphs() -> dict[str, Array]:
    """Return adjacency matrices (n, n) by name."""
    pairs = list(combinations(range(5), 2))
    # The vertices of the icosahedron are (0, +-1, +-golden) and its rotations.
    golden = 0.5 + np.sqrt(1.25)
    corners = [(0.0, a, b * golden) for a, b in product([1.0, -1.0], repeat=2)]
    points = np.array([np.roll(corner, k) for corner in corners for k in range(3)])
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    return {
        "C5": cycle(5),
        "C7": cycle(7),
        "Petersen": np.array(
            [[float(not set(p) & set(q)) for q in pairs] for p in pairs]
        ),
        "icosahedron": np.isclose(distance, 2.0).astype(float),
    }


def cycle(n: int) -> Array:
    """Return the adjacency matrix (n, n) of a cycle."""
    step = np.roll(np.eye(n), 1, axis=0)
    return step + step.T


def stability_number(adjacency: Array) -> int:
    """Return the largest number of vertices without an edge, by looking at all sets."""
    n = len(adjacency)
    sizes = range(n, 0, -1)
    sets = (list(s) for size in sizes for s in combinations(range(n), size))
    return next(len(s) for s in sets if not adjacency[np.ix_(s, s)].any())


def copositive_program(adjacency: Array) -> pyo.ConcreteModel:
    """Return the program in one number t."""
    model = pyo.ConcreteModel()
    model.t = pyo.Var(initialize=0.0)
    weights = np.eye(len(adjacency)) + adjacency
    model.cone = CopositiveCone([[w * model.t - 1.0 for w in row] for row in weights])
    model.objective = pyo.Objective(expr=model.t)
    return model


def completely_positive_program(adjacency: Array) -> pyo.ConcreteModel:
    """Return the dual program in a matrix X."""
    n = len(adjacency)
    model = pyo.ConcreteModel()
    model.X = pyo.Var([(i, j) for i in range(n) for j in range(i, n)])
    model.cone = CompletelyPositiveCone(matrix=model.X)
    matrix = model.cone.matrix
    weights = np.eye(n) + adjacency
    model.scale = pyo.Constraint(expr=pyo.quicksum((weights * matrix).flat) == 1.0)
    model.objective = pyo.Objective(expr=pyo.quicksum(matrix.flat), sense=pyo.maximize)
    return model


def applies(model: pyo.ConcreteModel, chain: Chain) -> bool:
    """Return whether every tier of a chain takes the model's cone."""
    return all(f"relu.{tier}" in model.cone.tiers for tier, _ in chain)


def bound(model: pyo.ConcreteModel, chain: Chain) -> str:
    """Relax a model, solve it and return its bound with the side it is on.

    There is none where the tier leaves nothing feasible, or lets the optimum go to
    infinity, as ``psd`` does here: it forgets that the cone is that of the orthant.
    """
    for tier, options in chain:
        relax(model, tier, **options)
    if chain[-1][0] == "factorized":
        solver = pyo.SolverFactory("cyipopt")
        if not solver.available(exception_flag=False):
            return "no solver"
        pyo.assert_optimal_termination(solver.solve(model))
    else:
        results = solve(
            model,
            "clarabel",
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
            solver_options=ACCURACY,
        )
        if results.solution_status is not SolutionStatus.optimal:
            return "no bound"
        results.solution_loader.load_vars()
    return f"{SIGN[bound_direction(model).side]} {pyo.value(model.objective):.6f}"


def main() -> None:
    """Print the bounds on the stability numbers of four graphs."""
    programs: dict[str, Callable[[Array], pyo.ConcreteModel]] = {
        "copositive": copositive_program,
        "completely positive": completely_positive_program,
    }
    named = graphs()
    print(f"{'stability number':<20}" + "".join(f"{name:>14}" for name in named))
    exact = [str(stability_number(adjacency)) for adjacency in named.values()]
    print(f"{'all subsets':<20}" + "".join(f"{alpha:>14}" for alpha in exact))
    for program, build in programs.items():
        print(f"\n{program} program")
        for name, chain in TIERS.items():
            models = [build(adjacency) for adjacency in named.values()]
            if applies(models[0], chain):
                cells = [bound(model, chain) for model in models]
                print(f"{name:<20}" + "".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    main()
