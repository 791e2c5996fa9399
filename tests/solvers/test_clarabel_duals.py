"""Duals are derivatives: against finite differences and closed forms."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.util import (
    NoDualsError,
    NoReducedCostsError,
    NoSolutionError,
)

from pyomo_relu.cones import DoublyNonnegativeCone, PSDCone
from pyomo_relu.errors import InputError
from pyomo_relu.solvers import Clarabel

STEP = 1e-3
SENSES = [pyo.minimize, pyo.maximize]


def optimum(model: pyo.ConcreteModel) -> float:
    return Clarabel().solve(model).incumbent_objective


def derivative(model: pyo.ConcreteModel, move) -> float:
    """Central difference of the optimum along ``move(t)``, put back to t = 0."""
    values = []
    for t in (STEP, -STEP):
        move(t)
        values.append(optimum(model))
    move(0.0)
    return (values[0] - values[1]) / (2.0 * STEP)


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize(
    ("low", "up", "pull"),
    [
        (None, 1.0, 3.0),
        (1.0, None, -3.0),
        (1.0, 1.0, 3.0),
        (1.0, 1.0, -3.0),
        (0.0, 1.0, 3.0),
        (0.0, 1.0, -3.0),
        (-9.0, 9.0, 3.0),
    ],
)
def test_a_row_dual_is_the_derivative_by_its_right_hand_side(low, up, pull, sense):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(2))
    m.shift = pyo.Param(mutable=True, initialize=0.0)
    body = m.x[0] + 2 * m.x[1]
    sides = [None if side is None else side + m.shift for side in (low, up)]
    m.c = pyo.Constraint(
        expr=body == sides[0] if low == up else (sides[0], body, sides[1])
    )
    cost = (m.x[0] - pull) ** 2 + (m.x[1] - pull) ** 2 + m.x[0] * m.x[1]
    m.o = pyo.Objective(expr=cost if sense == pyo.minimize else -cost, sense=sense)
    dual = Clarabel().solve(m).solution_loader.get_duals()[m.c]
    expected = derivative(m, m.shift.set_value)
    assert dual == pytest.approx(expected, abs=1e-4)
    assert (abs(expected) > 0.1) == (up != 9.0)


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize(
    ("low", "up", "pull"), [(None, 1.0, 3.0), (-1.0, 1.0, -3.0), (1.0, 1.0, 3.0)]
)
def test_a_reduced_cost_is_the_derivative_by_the_bound(low, up, pull, sense):
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.free = pyo.Var()
    cost = (m.x - pull) ** 2 + (m.x - m.free) ** 2
    m.o = pyo.Objective(expr=cost if sense == pyo.minimize else -cost, sense=sense)

    def move(t):
        m.x.setlb(None if low is None else low + t)
        m.x.setub(up + t)

    move(0.0)
    costs = Clarabel().solve(m).solution_loader.get_reduced_costs()
    assert costs[m.x] == pytest.approx(derivative(m, move), abs=1e-4)
    assert abs(costs[m.x]) > 0.1
    assert costs[m.free] == 0.0


def nearest(
    B: np.ndarray, cone, sense, **options
) -> tuple[pyo.ConcreteModel, np.ndarray]:
    """Nearest matrix X to B with ``X - S`` in a cone; S moves by its Params."""
    k = len(B)
    m = pyo.ConcreteModel()
    m.X = pyo.Var([(i, j) for i in range(k) for j in range(i, k)])
    m.S = pyo.Param(range(k), range(k), mutable=True, initialize=0.0)
    entry = [[m.X[min(i, j), max(i, j)] for j in range(k)] for i in range(k)]
    m.K = cone(
        [[entry[i][j] - m.S[min(i, j), max(i, j)] for j in range(k)] for i in range(k)],
        **options,
    )
    cost = 0.5 * sum((entry[i][j] - B[i, j]) ** 2 for i in range(k) for j in range(k))
    m.o = pyo.Objective(expr=cost if sense == pyo.minimize else -cost, sense=sense)
    return m


def symmetric(rng: np.random.Generator, k: int) -> np.ndarray:
    B = rng.normal(size=(k, k))
    return B + B.T


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("order", [1, 2, 5])
def test_the_dual_of_a_projection_is_the_part_cut_off(order, sense):
    B = symmetric(np.random.default_rng(order), order) - np.eye(order)
    m = nearest(B, PSDCone, sense)
    results = Clarabel().solve(m)
    values, vectors = np.linalg.eigh(B)
    projection = vectors @ np.diag(np.maximum(values, 0.0)) @ vectors.T
    np.testing.assert_allclose(m.K.numeric(), projection, atol=1e-5)
    sign = 1.0 if sense == pyo.minimize else -1.0
    T = results.solution_loader.get_duals()[m.K]
    assert T.shape == (order, order)
    np.testing.assert_allclose(T, sign * (projection - B), atol=1e-5)
    semidefinite, entrywise = results.solution_loader.get_cone_multipliers(m.K)
    np.testing.assert_allclose(semidefinite, projection - B, atol=1e-5)
    assert not entrywise.any()


CONES = {
    "psd": (PSDCone, {}),
    "dnn": (DoublyNonnegativeCone, {}),
    "free": (DoublyNonnegativeCone, {"free": 1}),
    "facets": (
        DoublyNonnegativeCone,
        {"free": 1, "facets": [[1.0, 0.5, 0.0], [-0.3, 1.0, 0.2], [0.1, 0.0, 1.0]]},
    ),
}


@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("kind", sorted(CONES))
def test_a_cone_dual_is_the_derivative_by_its_right_hand_side(kind, sense):
    rng = np.random.default_rng(4)
    order = 4
    cone, options = CONES[kind]
    m = nearest(symmetric(rng, order), cone, sense, **options)
    loader = Clarabel().solve(m).solution_loader
    T = loader.get_duals()[m.K]
    np.testing.assert_array_equal(T, T.T)

    for _ in range(3):
        D = symmetric(rng, order)

        def move(t, D=D):
            for i in range(order):
                for j in range(i, order):
                    m.S[i, j] = t * D[i, j]

        assert np.sum(T * D) == pytest.approx(derivative(m, move), abs=1e-3)

    # The dual is a member of the dual cone, and the two parts say how.
    sign = 1.0 if sense == pyo.minimize else -1.0
    semidefinite, entrywise = loader.get_cone_multipliers(m.K)
    assert np.linalg.eigvalsh(semidefinite)[0] > -1e-7
    assert entrywise.min() > -1e-7
    assert (entrywise.max() > 0.1) == (kind != "psd")
    lifted = np.zeros((order, order))
    F = np.array(options.get("facets", np.eye(order - options.get("free", 0))))
    lifted[: F.shape[1], : F.shape[1]] = F.T @ entrywise @ F
    np.testing.assert_allclose(T, sign * (semidefinite + lifted), atol=1e-12)


def test_suffixes_take_rows_cones_and_reduced_costs_in_both_styles():
    B = np.array([[-1.0, 0.5], [0.5, 2.0]])
    m = nearest(B, PSDCone, pyo.minimize)
    m.c = pyo.Constraint(expr=m.X[0, 0] + m.X[1, 1] <= 1)
    m.X[0, 1].setub(0.1)
    m.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    m.rc = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    loader = Clarabel().solve(m).solution_loader
    new = (m.dual[m.c], m.dual[m.K].copy(), m.rc[m.X[0, 1]])
    assert new[0] == loader.get_duals()[m.c]
    assert new[2] == loader.get_reduced_costs()[m.X[0, 1]]
    m.dual.clear()
    pyo.SolverFactory("clarabel").solve(m)
    assert m.dual[m.c] == new[0]
    np.testing.assert_array_equal(m.dual[m.K], new[1])
    assert m.rc[m.X[0, 1]] == new[2]
    stored = pyo.SolverFactory("clarabel").solve(m, load_solutions=False)
    assert len(stored.solution) == 1


def test_a_selection_and_what_is_not_there():
    m = nearest(np.array([[-1.0, 0.5], [0.5, 2.0]]), PSDCone, pyo.minimize)
    m.c = pyo.Constraint(expr=m.X[0, 0] <= 9)
    m.off = pyo.Constraint(expr=m.X[0, 0] <= 8)
    m.off.deactivate()
    m.unused = pyo.Var()
    loader = Clarabel().solve(m).solution_loader
    assert list(loader.get_duals([m.c])) == [m.c]
    assert list(loader.get_duals([m.K])) == [m.K]
    assert len(loader.get_vars([m.X[0, 0]])) == 1
    before = m.X[0, 1].value
    m.X[0, 0].set_value(5.0)
    m.X[0, 1].set_value(5.0)
    loader.load_vars([m.X[0, 1]])
    assert (m.X[0, 0].value, m.X[0, 1].value) == (5.0, before)
    with pytest.raises(InputError, match="'off'"):
        loader.get_duals([m.off])
    with pytest.raises(InputError, match="'unused'"):
        loader.get_reduced_costs([m.unused])
    with pytest.raises(InputError, match="'unused'"):
        loader.get_vars([m.unused])


def test_a_row_without_free_variables_has_the_dual_zero():
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.y = pyo.Var(initialize=1.0)
    m.y.fix()
    m.o = pyo.Objective(expr=m.x**2)
    m.c = pyo.Constraint(expr=m.y <= 2)
    assert Clarabel().solve(m).solution_loader.get_duals() == {m.c: 0.0}


def test_without_a_point_the_loader_says_so():
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.o = pyo.Objective(expr=m.x)
    loader = (
        Clarabel()
        .solve(m, load_solutions=False, raise_exception_on_nonoptimal_result=False)
        .solution_loader
    )
    assert loader.get_number_of_solutions() == 0
    with pytest.raises(NoSolutionError, match="DualInfeasible"):
        loader.get_vars()
    with pytest.raises(NoDualsError, match="DualInfeasible"):
        loader.get_duals()
    with pytest.raises(NoReducedCostsError, match="DualInfeasible"):
        loader.get_reduced_costs()
