"""Semidefinite and doubly nonnegative programs with published or closed-form values."""

from __future__ import annotations

import itertools

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.core.expr import LinearExpression

from pyomo_relu.cones import DoublyNonnegativeCone, PSDCone
from pyomo_relu.solvers import Clarabel, solve


def matrix_variable(m: pyo.ConcreteModel, n: int) -> np.ndarray:
    m.X = pyo.Var([(i, j) for i in range(n) for j in range(i, n)])
    X = np.empty((n, n), dtype=object)
    for i, j in m.X:
        X[i, j] = X[j, i] = m.X[i, j]
    return X


@pytest.mark.parametrize("order", [1, 3, 20])
def test_the_smallest_eigenvalue_and_its_projector(order):
    B = np.random.default_rng(order).normal(size=(order, order))
    B = B + B.T
    m = pyo.ConcreteModel()
    m.t = pyo.Var()
    m.K = PSDCone((B - m.t * np.eye(order)).tolist())
    m.o = pyo.Objective(expr=m.t, sense=pyo.maximize)
    results = solve(m)
    values, vectors = np.linalg.eigh(B)
    assert results.incumbent_objective == pytest.approx(values[0], abs=1e-6)
    projector = np.outer(vectors[:, 0], vectors[:, 0])
    T = results.solution_loader.get_duals()[m.K]
    np.testing.assert_allclose(T, -projector, atol=1e-5)


def test_the_nuclear_norm():
    B = np.random.default_rng(0).normal(size=(3, 4))
    m = pyo.ConcreteModel()
    X = matrix_variable(m, 7)
    m.corner = pyo.Constraint(
        range(3), range(4), rule=lambda m, i, j: m.X[i, 3 + j] == B[i, j]
    )
    m.K = PSDCone(X)
    m.o = pyo.Objective(expr=0.5 * sum(X[i, i] for i in range(7)))
    expected = np.linalg.svd(B, compute_uv=False).sum()
    assert solve(m).incumbent_objective == pytest.approx(expected, abs=1e-6)


def cycle(n: int) -> list[tuple[int, int]]:
    return [(i, (i + 1) % n) for i in range(n)]


def petersen() -> list[tuple[int, int]]:
    spokes = [(i, i + 5) for i in range(5)]
    return cycle(5) + spokes + [(5 + i, 5 + (i + 2) % 5) for i in range(5)]


def icosahedron() -> list[tuple[int, int]]:
    golden = (1 + np.sqrt(5)) / 2
    corners = [
        np.roll([0.0, a, b * golden], shift)
        for shift in range(3)
        for a, b in itertools.product((1, -1), repeat=2)
    ]
    return [
        (i, j)
        for i, j in itertools.combinations(range(12), 2)
        if np.linalg.norm(corners[i] - corners[j]) < 2.1
    ]


def theta(edges: list[tuple[int, int]], cone) -> float:
    """Lovasz' theta with a PSD cone, Schrijver's theta' with a DNN cone."""
    n = 1 + max(max(edge) for edge in edges)
    m = pyo.ConcreteModel()
    X = matrix_variable(m, n)
    for i, j in edges:
        X[i, j].fix(0.0)
    m.trace = pyo.Constraint(expr=sum(X[i, i] for i in range(n)) == 1)
    m.K = cone(X)
    m.o = pyo.Objective(expr=sum(X.ravel()), sense=pyo.maximize)
    return solve(m).incumbent_objective


@pytest.mark.parametrize("n", [5, 7])
def test_lovasz_theta_of_odd_cycles(n):
    expected = n * np.cos(np.pi / n) / (1 + np.cos(np.pi / n))
    assert theta(cycle(n), PSDCone) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (cycle(5), 2.2360680),
        (cycle(7), 3.3176672),
        (petersen(), 4.0),
        (icosahedron(), 3.2360680),
    ],
    ids=["C5", "C7", "Petersen", "icosahedron"],
)
def test_schrijver_theta_prime(edges, expected):
    value = theta(edges, DoublyNonnegativeCone)
    assert value == pytest.approx(expected, abs=1e-6)


def cells(X: np.ndarray) -> dict[tuple[int, ...], list[np.ndarray]]:
    """Masks and rays of all cells of three-dimensional data in general position."""
    found: dict[tuple[int, ...], list[np.ndarray]] = {}
    for a, b in itertools.combinations(range(len(X)), 2):
        normal = np.cross(X[a], X[b])
        for ray in (normal / np.linalg.norm(normal), -normal / np.linalg.norm(normal)):
            mask = X @ ray > 0
            for mask[a], mask[b] in itertools.product((0, 1), repeat=2):
                found.setdefault(tuple(mask.astype(int)), []).append(ray)
    return found


def training_program(seed: int, cone, beta: float = 0.2) -> float:
    """The completely positive program over all cells, its cones relaxed."""
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(10, 3)), rng.normal(size=(10, 2))
    m = pyo.ConcreteModel()
    arrangement = {mask: rays for mask, rays in cells(X).items() if any(mask)}
    entries = {}
    m.M = pyo.Var(pyo.Any, dense=False)
    coefficients, variables = [], []
    rows = {(k, o): ([], []) for k in range(10) for o in range(2)}
    for i, (mask, rays) in enumerate(arrangement.items()):
        # Without the entrywise part A may grow in the kernel of R: use a basis then.
        R = np.eye(3) if cone is PSDCone else np.array(rays).T
        size = R.shape[1]
        M = np.empty((size + 2, size + 2), dtype=object)
        for p, q in itertools.combinations_with_replacement(range(size + 2), 2):
            M[p, q] = M[q, p] = m.M[i, p, q]
        entries[i] = (M, 2)
        gram = np.eye(size + 2)
        gram[:size, :size] = R.T @ R
        gram[:size, size:] = gram[size:, :size] = 0.0
        coefficients += (beta / 2 * gram).ravel().tolist()
        variables += M.ravel().tolist()
        H = np.array(mask)[:, None] * (X @ R)
        for (k, o), (weights, columns) in rows.items():
            weights += H[k].tolist()
            columns += M[:size, size + o].tolist()
    m.residual = pyo.Var(list(rows))
    m.fit = pyo.Constraint(
        list(rows),
        rule=lambda m, k, o: (
            LinearExpression(
                linear_coefs=[*rows[k, o][0], -1.0],
                linear_vars=[*rows[k, o][1], m.residual[k, o]],
            )
            == Y[k, o]
        ),
    )
    free = {} if cone is PSDCone else {"free": 2}
    m.K = cone(list(entries), rule=lambda m, i: {"matrix": entries[i][0], **free})
    penalty = LinearExpression(linear_coefs=coefficients, linear_vars=variables)
    m.o = pyo.Objective(expr=sum(0.5 * r**2 for r in m.residual.values()) + penalty)
    return Clarabel().solve(m).incumbent_objective


@pytest.mark.parametrize(
    ("seed", "cone", "expected"),
    [
        (0, DoublyNonnegativeCone, 4.3655299),
        (1, DoublyNonnegativeCone, 3.3262922),
        (2, DoublyNonnegativeCone, 1.7011608),
        (3, DoublyNonnegativeCone, 2.5285019),
        (0, PSDCone, 1.4701603),
    ],
)
def test_the_optimum_of_small_networks(seed, cone, expected):
    assert training_program(seed, cone) == pytest.approx(expected, abs=1e-6)
