"""Minimise a quadratic form over the simplex, with bounds from both sides.

The least value of ``x'Qx`` over ``x >= 0, sum x = 1`` is the optimum of two convex
programs (Bomze, Dür, de Klerk, Roos, Quist and Terlaky 2000), with J the matrix of
ones::

    min { <Q, X> : <J, X> = 1, X completely positive }
    max { t : Q - t J copositive }

Tiers that enlarge a cone bound one of them from one side and tiers that shrink it from
the other: whichever the program, there are bounds on both sides. A bound is what the
solver gives, to about six digits.

Run it with::

    python examples/standard_quadratic.py
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
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
    "sos 0 (K^0)": [("sos", {"level": 0})],
    "sos 1 (K^1)": [("sos", {"level": 1})],
    "partition, dnn": [("partition", {"level": 1}), ("dnn", {})],
    "rays": [("rays", {})],
    "ray_pairs": [("ray_pairs", {})],
    "partition, ray_pairs": [("partition", {"level": 3}), ("ray_pairs", {})],
    "factorized": [("factorized", {})],
}
#: Pieces of a partition share faces, where more digits are out of reach.
ACCURACY = {"tol_feas": 1e-7, "tol_gap_abs": 1e-7, "tol_gap_rel": 1e-7}
SIGN = {"lower": ">=", "upper": "<=", "exact": "="}


def forms() -> dict[str, Array]:
    """Return symmetric matrices Q (n, n) by name."""
    step = np.roll(np.eye(5), 1, axis=0)
    random = np.random.default_rng(2).normal(size=(8, 8))
    return {
        "Horn": np.ones((5, 5)) - 2.0 * (step + step.T),
        "random": 0.5 * (random + random.T) + 2.0 * np.eye(8),
    }


def least_value(Q: Array) -> float:
    """Return the least value over the simplex, by looking at all supports.

    A minimiser that is positive on a support S has ``Q_SS x = t 1``, and t is the
    value. Where Q_SS is singular there is another one on a smaller support.
    """
    values = []
    for size in range(1, len(Q) + 1):
        for support in map(list, combinations(range(len(Q)), size)):
            rows = np.ones((size + 1, size + 1))
            rows[:size, :size] = Q[np.ix_(support, support)]
            rows[size, size] = 0.0
            if np.linalg.matrix_rank(rows) == size + 1:
                *x, multiplier = np.linalg.solve(rows, np.eye(size + 1)[size])
                if min(x) >= 0.0:
                    values.append(-multiplier)
    return min(values)


def completely_positive_program(Q: Array) -> pyo.ConcreteModel:
    """Return the program in a matrix X."""
    model = pyo.ConcreteModel()
    model.X = pyo.Var([(i, j) for i in range(len(Q)) for j in range(i, len(Q))])
    model.cone = CompletelyPositiveCone(matrix=model.X)
    matrix = model.cone.matrix
    model.scale = pyo.Constraint(expr=pyo.quicksum(matrix.flat) == 1.0)
    model.objective = pyo.Objective(expr=pyo.quicksum((Q * matrix).flat))
    return model


def copositive_program(Q: Array) -> pyo.ConcreteModel:
    """Return the dual program in one number t."""
    model = pyo.ConcreteModel()
    model.t = pyo.Var(initialize=0.0)
    model.cone = CopositiveCone([[entry - model.t for entry in row] for row in Q])
    model.objective = pyo.Objective(expr=model.t, sense=pyo.maximize)
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
    # Rounded to zero from below is zero.
    value = round(pyo.value(model.objective), 6) + 0.0
    return f"{SIGN[bound_direction(model).side]} {value:.6f}"


def main() -> None:
    """Print the bounds on the least values of two forms."""
    programs: dict[str, Callable[[Array], pyo.ConcreteModel]] = {
        "completely positive": completely_positive_program,
        "copositive": copositive_program,
    }
    named = forms()
    print(f"{'least value':<20}" + "".join(f"{name:>14}" for name in named))
    least = [f"{round(least_value(Q), 6) + 0.0:.6f}" for Q in named.values()]
    print(f"{'all supports':<20}" + "".join(f"{value:>14}" for value in least))
    for program, build in programs.items():
        print(f"\n{program} program")
        for name, chain in TIERS.items():
            models = [build(Q) for Q in named.values()]
            if applies(models[0], chain):
                cells = [bound(model, chain) for model in models]
                print(f"{name:<20}" + "".join(f"{cell:>14}" for cell in cells))


if __name__ == "__main__":
    main()
