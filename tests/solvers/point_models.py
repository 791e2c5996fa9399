"""Models and helpers of the tests of the interfaces to CBC, GLPK and Ipopt."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu.solvers.capability import OWN_INTERFACES

__all__ = [
    "ALL",
    "IS_HERE",
    "LINEAR",
    "SENSES",
    "knapsack",
    "linear_program",
    "look",
    "small",
]

SENSES = [pyo.minimize, pyo.maximize]

IS_HERE = {name: bool(cls().available()) for name, cls in OWN_INTERFACES.items()}


def solvers(*names: str) -> list:
    return [
        pytest.param(
            OWN_INTERFACES[name],
            id=name,
            marks=pytest.mark.skipif(not IS_HERE[name], reason=f"needs {name}"),
        )
        for name in names
    ]


LINEAR = solvers("glpk", "cbc")
ALL = solvers("glpk", "cbc", "cyipopt")


def look(solver, model, **options):
    """Solve without loading or raising."""
    return solver.solve(
        model,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
        **options,
    )


def linear_program(seed: int, sense):
    """Return a linear program with chosen optimum, duals and reduced costs.

    The gradients of what is active are a basis and their multipliers are not zero, so
    that both the optimum and the multipliers are unique.
    """
    rng = np.random.default_rng(seed)
    sign = 1.0 if sense == pyo.minimize else -1.0
    n = 6
    point = rng.normal(size=n)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n))
    #        side of the point, sign of the multiplier of a minimisation
    kinds = [("==", 1), ("==", -1), (">=", 1), ("<=", -1), ("low", 1), ("up", -1)]
    rows = rng.normal(size=(len(kinds) + 3, n))
    rows[4], rows[5] = np.eye(n)[0], np.eye(n)[1]
    assert np.linalg.cond(rows[:6]) < 100.0
    m.c = pyo.ConstraintList()
    duals, costs = {}, dict.fromkeys(range(n), 0.0)
    gradient = np.zeros(n)
    for (kind, positive), row in zip(kinds, rows, strict=False):
        multiplier = sign * positive * rng.uniform(0.5, 2.0)
        gradient += multiplier * row
        side = float(row @ point)
        if kind in ("low", "up"):
            j = int(row.argmax())
            costs[j] = multiplier
            (m.x[j].setlb if kind == "low" else m.x[j].setub)(side)
            continue
        body = sum(float(a) * m.x[j] for j, a in enumerate(row)) + 3.0
        side += 3.0
        duals[
            m.c.add(
                {
                    "==": body == side,
                    ">=": pyo.inequality(side, body, side + 4.0),
                    "<=": body <= side,
                }[kind]
            )
        ] = multiplier
    for row, (low, up) in zip(rows[6:], [(-1, 1), (-1, None), (None, 1)], strict=True):
        body = sum(float(a) * m.x[j] for j, a in enumerate(row))
        side = float(row @ point)
        ends = [None if gap is None else side + gap for gap in (low, up)]
        duals[m.c.add((ends[0], body, ends[1]))] = 0.0
    m.x[2].setlb(float(point[2]) - 1.0)
    m.x[2].setub(float(point[2]) + 1.0)
    m.o = pyo.Objective(
        expr=sum(float(a) * m.x[j] for j, a in enumerate(gradient)) - 7.0, sense=sense
    )
    return m, point, float(gradient @ point) - 7.0, duals, costs


def knapsack(n, rows, sense, seed=0):
    rng = np.random.default_rng(seed)
    weights, values = rng.integers(10, 1000, (rows, n)), rng.integers(10, 1000, n)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n), domain=pyo.Binary)
    m.c = pyo.Constraint(
        range(rows),
        rule=lambda m, i: (
            sum(int(w) * m.x[j] for j, w in enumerate(weights[i]))
            <= int(weights[i].sum()) // 2
        ),
    )
    worth = sum(int(v) * m.x[j] for j, v in enumerate(values)) + 5
    m.o = pyo.Objective(expr=worth if sense == pyo.maximize else -worth, sense=sense)
    return m, weights, values


def small(**bounds) -> pyo.ConcreteModel:
    m = pyo.ConcreteModel(name="a model, with 'spaces'/and more")
    m.x = pyo.Var(range(2), initialize=1.0, **bounds)
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    return m
