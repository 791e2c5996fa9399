"""Random feasible and bounded programs with everything that files can say."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo

__all__ = ["random_program"]


def random_program(
    seed: int,
    *,
    sense=pyo.minimize,
    integer: bool = False,
    curved: bool = False,
    quadratic_rows: bool = False,
    objective: bool = True,
    ranges: bool = True,
) -> pyo.ConcreteModel:
    """Return a program with a known feasible point and bounded rows.

    Variables are free, bounded above by a negative number, fixed, pinned by two equal
    bounds, binary with a bound of their own; rows are ranges (some of which no sum of
    side and width reproduces), equalities, one-sided, empty, without sides. With
    ``ranges=False`` each range is two constraints: Pyomo's interface to SCIP loses the
    constant of a range on one of its sides.
    """
    rng = np.random.default_rng(seed)
    m = pyo.ConcreteModel("random program")
    m.x = pyo.Var(["free", "a b", "é", -1, 0.5, "1,2", "x"])
    m.b = pyo.Block([1, 2])
    m.b[1].x = pyo.Var()
    m.b[2].x = pyo.Var()
    variables = [*m.x.values(), m.b[1].x, m.b[2].x]
    point = rng.uniform(-3.0, 3.0, len(variables))
    if integer:
        for j in (1, 2, 3):
            variables[j].domain = pyo.Integers
            point[j] = np.round(point[j])
        variables[3].setlb(point[3] - 2.25)
        variables[3].setub(point[3] + 3.25)
        variables[2].setlb(point[2] - 4.0)
        variables[4].domain = pyo.Binary
        variables[5].domain = pyo.Binary
        variables[4].setlb(1)
        point[4] = 1.0
        point[5] = 0.0
    else:
        variables[4].setlb(point[4])
        variables[4].setub(point[4])
        variables[5].domain = pyo.NonNegativeReals
        point[5] = abs(point[5])
    variables[6].setub(-1.0)
    point[6] = -1.0 - rng.uniform(0.0, 2.0)
    variables[7].fix(float(point[7]))
    variables[8].setlb(-5.0)
    variables[8].setub(5.0)

    def affine(coefficients):
        return sum(float(a) * v for a, v in zip(coefficients, variables, strict=True))

    m.rows = pyo.ConstraintList()

    def add_range(low, body, up):
        if ranges:
            m.rows.add((low, body, up))
        else:
            m.rows.add(low <= body)
            m.rows.add(body <= up)

    for variable, value in zip(variables[:7], point[:7], strict=True):
        low, up = value + np.array([-1.0, 1.0]) * rng.uniform(1.0, 4.0, 2)
        add_range(float(low), variable + 0.1 * variables[8], float(up))
    for kind in ("==", "<=", ">=", "range"):
        a = rng.normal(size=len(variables)).round(2)
        side = float(a @ point)
        slack = float(rng.uniform(0.0, 1.0))
        body = affine(a) - 2.0
        if kind == "range":
            add_range(side - 2.1, body, side - 2.0 + slack)
            continue
        rows = {
            "==": body == side - 2.0,
            "<=": body <= side - 2.0 + slack,
            ">=": side - 2.0 - slack <= body,
        }
        m.rows.add(rows[kind])
    m.empty = pyo.Constraint(expr=m.b[1].x <= float(point[7]))
    m.nothing = pyo.Param(initialize=np.inf, mutable=True, within=pyo.Any)
    m.unbounded = pyo.Constraint(expr=affine(np.ones(len(variables))) <= m.nothing)
    if quadratic_rows:
        body = sum((v - float(p)) ** 2 for v, p in zip(variables, point, strict=True))
        body += (variables[0] + variables[1]) * (variables[0] + variables[1])
        at = float((point[0] + point[1]) ** 2)
        m.ball = pyo.Constraint(expr=body <= at + 2.0)
        first, second = variables[0] - variables[8], variables[5] + 1.0
        m.cap = pyo.Constraint(
            expr=10.0 - float((point[0] - point[8]) ** 2)
            <= 10.0 + second - first**2 + 3.0
        )
    if objective:
        sign = 1.0 if sense == pyo.minimize else -1.0
        expression = affine(rng.normal(size=len(variables))) + 7.25
        if curved:
            for _ in range(3):
                a = rng.normal(size=len(variables)).round(1)
                expression += sign * (affine(a) - float(rng.normal())) ** 2
        m.goal = pyo.Objective(expr=expression, sense=sense)
    return m
