"""LPs and QPs with a known, unique, non-degenerate optimum, and HiGHS beside us."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.contrib.solver.common.factory import SolverFactory

import pyomo_relu.solvers  # noqa: F401

TOLERANCE = 1e-6


@dataclass
class Instance:
    """A model and the KKT point it was built around."""

    model: pyo.ConcreteModel
    x: np.ndarray
    duals: np.ndarray
    reduced_costs: np.ndarray


def random_instance(seed: int, *, quadratic: bool, maximise: bool) -> Instance:
    """Choose the optimum and strictly complementary multipliers, then the objective.

    In a linear program n independent rows and bounds are active, in a quadratic one
    fewer; all the others are slack by at least 0.5 and all active multipliers are at
    least 0.5, except those of equalities, which have any sign.
    """
    rng = np.random.default_rng(seed)
    n, n_rows = 6, 8
    active_rows = int(rng.integers(2, 5))
    active_bounds = n - active_rows if not quadratic else int(rng.integers(0, 2))
    x = rng.normal(size=n)
    bounded = rng.permutation(n)[:active_bounds]
    # The optimum moves by the tolerance times the condition of the active rows.
    condition = np.inf
    while condition > 10.0:
        C = rng.normal(size=(n_rows, n))
        active = np.vstack([C[:active_rows], np.eye(n)[bounded]])
        condition = np.linalg.cond(active)

    lower, upper = np.full(n_rows, -np.inf), np.full(n_rows, np.inf)
    duals = np.zeros(n_rows)
    for i in range(n_rows):
        body = C[i] @ x
        slack, other = rng.uniform(0.5, 2.0, size=2)
        kind = rng.choice(["equal", "upper", "lower", "range up", "range low"])
        if i >= active_rows:
            kind = rng.choice(["slack upper", "slack lower", "slack range"])
        if kind == "equal":
            lower[i] = upper[i] = body
            duals[i] = rng.choice([-1, 1]) * rng.uniform(0.5, 2.0)
        elif kind in ("upper", "range up"):
            upper[i] = body
            duals[i] = -rng.uniform(0.5, 2.0)
        elif kind in ("lower", "range low"):
            lower[i] = body
            duals[i] = rng.uniform(0.5, 2.0)
        if kind in ("range up", "slack lower", "slack range"):
            lower[i] = body - slack
        if kind in ("range low", "slack upper", "slack range"):
            upper[i] = body + other

    low, up = x - rng.uniform(0.5, 2.0, size=n), x + rng.uniform(0.5, 2.0, size=n)
    reduced = np.zeros(n)
    for j in bounded:
        reduced[j] = rng.choice([-1, 1]) * rng.uniform(0.5, 2.0)
        if reduced[j] > 0:
            low[j] = x[j]
        else:
            up[j] = x[j]
    for j in range(n):
        if reduced[j] == 0.0 and rng.random() < 0.3:
            low[j] = -np.inf
        if reduced[j] == 0.0 and rng.random() < 0.3:
            up[j] = np.inf

    # Stationarity of the minimisation: P x + c = C' duals + reduced.
    B = rng.normal(size=(n, n))
    P = B.T @ B / n + 0.1 * np.eye(n) if quadratic else np.zeros((n, n))
    c = C.T @ duals + reduced - P @ x
    sense = -1 if maximise else 1

    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n))
    for j in range(n):
        m.x[j].setlb(low[j] if np.isfinite(low[j]) else None)
        m.x[j].setub(up[j] if np.isfinite(up[j]) else None)
    bound = [
        (lo if np.isfinite(lo) else None, hi if np.isfinite(hi) else None)
        for lo, hi in zip(lower, upper, strict=True)
    ]

    def row(m, i):
        body = sum(C[i, j] * m.x[j] for j in range(n))
        if bound[i][0] == bound[i][1]:
            return body == bound[i][0]
        return (bound[i][0], body, bound[i][1])

    m.c = pyo.Constraint(range(n_rows), rule=row)
    linear = sum(c[j] * m.x[j] for j in range(n))
    square = sum(
        0.5 * P[i, j] * m.x[i] * m.x[j] for i in range(n) for j in range(n) if quadratic
    )
    m.o = pyo.Objective(
        expr=sense * (square + linear),
        sense=pyo.maximize if maximise else pyo.minimize,
    )
    m.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    m.rc = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    return Instance(m, x, sense * duals, sense * reduced)


def read(m: pyo.ConcreteModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([v.value for v in m.x.values()]),
        np.array([m.dual[c] for c in m.c.values()]),
        np.array([m.rc[v] for v in m.x.values()]),
    )


FACTORIES = {"new": SolverFactory, "old": pyo.SolverFactory}


@pytest.mark.parametrize("style", sorted(FACTORIES))
@pytest.mark.parametrize("maximise", [False, True])
@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_same_point_duals_and_reduced_costs_as_highs(seed, quadratic, maximise, style):
    instance = random_instance(seed, quadratic=quadratic, maximise=maximise)
    answers = {}
    for name in ("highs", "clarabel"):
        FACTORIES[style](name).solve(instance.model)
        answers[name] = read(instance.model)
    for ours, theirs in zip(answers["clarabel"], answers["highs"], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_the_constructed_kkt_point_is_found(seed, quadratic, maximise):
    instance = random_instance(seed, quadratic=quadratic, maximise=maximise)
    SolverFactory("clarabel").solve(instance.model)
    x, duals, reduced_costs = read(instance.model)
    np.testing.assert_allclose(x, instance.x, atol=TOLERANCE)
    np.testing.assert_allclose(duals, instance.duals, atol=TOLERANCE)
    np.testing.assert_allclose(reduced_costs, instance.reduced_costs, atol=TOLERANCE)


def with_fixed_variables(m):
    m.fixed = pyo.Var([0, 1], initialize={0: 2.0, 1: -1.0})
    m.fixed.fix()
    m.extra = pyo.Constraint(expr=m.x[0] + m.x[1] + m.fixed[0] >= -50 * m.fixed[0])
    m.o.set_value(m.o.expr + 3 * m.fixed[0] * m.x[0] - m.fixed[1])


def with_empty_rows(m):
    m.fixed = pyo.Var(initialize=1.0)
    m.fixed.fix()
    m.empty = pyo.Constraint(expr=(0, m.fixed, 2))
    m.cancelled = pyo.Constraint(expr=m.x[0] - m.x[0] + m.fixed <= 1)


def with_a_constant_objective(m):
    m.o.set_value(4.0)


def without_objective(m):
    m.del_component(m.o)


@pytest.mark.parametrize("maximise", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        with_fixed_variables,
        with_empty_rows,
        with_a_constant_objective,
        without_objective,
    ],
)
def test_corners_are_as_with_highs(change, maximise):
    # Where there is an objective, one with a vertex for every cost: a simplex.
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3), bounds=(0, None))
    m.c = pyo.Constraint(expr=m.x[0] + 2 * m.x[1] + 3 * m.x[2] == 6)
    m.r = pyo.Constraint(expr=(-40, m.x[0] - m.x[1], 40))
    cost = {0: 1.0, 1: 5.0, 2: -2.0}
    sense = pyo.maximize if maximise else pyo.minimize
    m.o = pyo.Objective(expr=sum(cost[i] * m.x[i] for i in m.x), sense=sense)
    change(m)
    found = {}
    for name in ("highs", "clarabel"):
        results = SolverFactory(name).solve(m)
        loader = results.solution_loader
        rows, costs = loader.get_duals(), loader.get_reduced_costs()
        found[name] = [
            results.incumbent_objective or 0.0,
            *(rows[c] for c in (m.c, m.r)),
            *(costs[x] for x in m.x.values()),
        ]
        if change not in (with_a_constant_objective, without_objective):
            found[name] += [x.value for x in m.x.values()]
    np.testing.assert_allclose(found["clarabel"], found["highs"], atol=TOLERANCE)


def test_without_variables_it_is_as_with_highs():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], initialize=1.5)
    m.x.fix()
    m.c = pyo.Constraint(expr=m.x[0] + m.x[1] <= 3)
    m.o = pyo.Objective(expr=2 * m.x[0] + 1)
    values = {
        name: SolverFactory(name).solve(m).incumbent_objective
        for name in ("highs", "clarabel")
    }
    assert values == {"highs": 4.0, "clarabel": 4.0}
