"""Models for the writers of conic formats, and what their rows mean in Pyomo's terms.

Nothing in here knows the conic standard form: a row is the value of a Pyomo component
at the current values of the variables.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyomo.environ as pyo

from pyomo_relu import build_completely_positive, relax
from pyomo_relu.cones import (
    DoublyNonnegativeCone,
    ExponentialCone,
    PSDCone,
    SecondOrderCone,
)
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.writers.exported import ConeEntry, Entry

__all__ = ["everything", "network_model", "set_point", "value_of_cone", "values_of"]


def everything(*, exponential: bool = True, sense: int = pyo.maximize) -> Any:
    """Build a bounded model with every kind of row, bound and cone.

    A point is inside of everything but the equations at x = 1 where it is free.
    """
    m = pyo.ConcreteModel("everything")
    m.x = pyo.Var(range(6), bounds=(-4, 5))
    m.plus = pyo.Var(bounds=(0, None))
    m.minus = pyo.Var(bounds=(None, 0))
    m.box = pyo.Var(bounds=(0, 7))
    m.pinned = pyo.Var(bounds=(2, 2))
    m.nought = pyo.Var(bounds=(0, 0))
    m.free = pyo.Var()
    m.fixed = pyo.Var(initialize=3.0)
    m.fixed.fix()
    x = m.x
    m.equation = pyo.Constraint(expr=x[0] + 2 * x[1] - m.free == m.fixed - 2)
    m.second = pyo.Constraint(expr=m.pinned + x[2] + m.box == 5)
    m.range = pyo.Constraint(expr=(-3, x[0] - x[5] + m.nought, 4))
    m.above = pyo.Constraint(expr=x[1] + m.plus >= -2)
    m.below = pyo.Constraint(expr=x[3] - m.minus + 1 <= 9.5)
    m.ball = pyo.Constraint(expr=x[0] ** 2 + 2 * x[1] ** 2 + x[0] <= 30)
    m.concave = pyo.Constraint(expr=x[4] - x[5] ** 2 >= -20)
    m.pair = SecondOrderCone([x[0] + 6, x[1]])
    m.triple = SecondOrderCone([x[1] + 9, x[2], x[3] - 1])
    m.long = SecondOrderCone([x[0] + 12, x[1], x[2], 1.0, x[3] + x[4]])
    m.rotated = SecondOrderCone([x[0] + 5, x[1] + 6, x[2], x[3]], rotated=True)
    m.single = PSDCone([[x[0] + 4.5]])
    m.matrix = PSDCone(
        [[9 + x[0], x[1], 0.5], [x[1], 9.0, x[2] - x[3]], [0.5, x[2] - x[3], 9 - x[4]]]
    )
    m.dnn = DoublyNonnegativeCone(
        [[8, x[3] + 1, x[1]], [x[3] + 1, 8, x[2]], [x[1], x[2], 8]], free=1
    )
    m.facets = DoublyNonnegativeCone(
        [[8.0, x[4]], [x[4], 9.0]], facets=[[1.0, 0.5], [1.0, -0.5]]
    )
    if exponential:
        m.exponential = ExponentialCone([x[5], 2.0, x[0] + x[2] + 8])
    cost = (
        (x[0] - x[1]) ** 2
        + 0.5 * (x[1] + x[2] - 1) ** 2
        + 3 * x[4] ** 2
        + 0.1 * m.free**2
        + m.plus
        - m.minus
        + 2 * x[5]
        - x[3]
        + 0.75
    )
    m.objective = pyo.Objective(
        expr=cost if sense == pyo.minimize else -cost, sense=sense
    )
    return m


def network_model(tier: str, seed: int = 0, samples: int = 6) -> Any:
    """Build the completely positive program of random data, and relax it."""
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(samples, 2)), rng.normal(size=(samples, 2))
    model = build_completely_positive(TrainingProblem(X, Y, 0.1))
    relax(model, tier)
    return model


def set_point(entries: list[Entry], x: np.ndarray) -> None:
    """Give values to the variables of columns."""
    for entry, number in zip(entries, x.tolist(), strict=True):
        if entry.component is not None:
            entry.component.set_value(number, skip_validation=True)


def values_of(entries: list[Entry]) -> np.ndarray:
    """Evaluate rows as ``upper - body``, ``body - lower`` or ``body - side``.

    A row of a vector cone is nan here: see :func:`value_of_cone`.
    """
    return np.array([_value(entry.component, entry.role) for entry in entries])


def _value(component: Any, role: str) -> float:
    if role == "cone" or _is_quadratic(component):
        return math.nan
    if role.startswith("entry"):
        i, j = map(int, role[role.index("(") + 1 : role.index(")")].split(","))
        matrix = component.numeric()
        if role.endswith("of F A F'"):
            F = component.facets
            m = F.shape[1]
            matrix = F @ matrix[:m, :m] @ F.T
        return float(matrix[i, j])
    is_variable = component.ctype is pyo.Var
    body = pyo.value(component if is_variable else component.body)
    lower, upper = component.bounds if is_variable else _sides(component)
    if role in ("upper side", "upper bound"):
        return upper - body
    if role in ("lower side", "lower bound"):
        return body - lower
    assert role in ("constraint", "both bounds")
    assert lower == upper
    return body - upper


def _sides(constraint: Any) -> tuple[Any, Any]:
    return pyo.value(constraint.lower), pyo.value(constraint.upper)


def _is_quadratic(component: Any) -> bool:
    return (
        getattr(component, "ctype", None) is pyo.Constraint
        and component.body.polynomial_degree() == 2
    )


def value_of_cone(cone: ConeEntry) -> np.ndarray | float:
    """Evaluate what a cone of the model holds.

    The vector, of a rotated cone turned upright; the matrix; of a quadratic constraint
    the excess of the body over its side.
    """
    component = cone.component
    if _is_quadratic(component):
        lower, upper = _sides(component)
        body = pyo.value(component.body)
        return body - upper if upper is not None else lower - body
    values = component.numeric()
    if getattr(component, "rotated", False):
        half = math.sqrt(0.5)
        first, second = values[:2]
        values[:2] = half * (first + second), half * (first - second)
    return values
