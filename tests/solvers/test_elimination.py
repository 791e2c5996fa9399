"""Programs made smaller: nothing is lost, and what is decided is proved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.cones import PSDCone, SecondOrderCone
from pyomo_relu.solvers import compile_conic
from pyomo_relu.solvers.cone_program import (
    LARGEST_PIECE,
    ConeProgram,
    Kind,
    Outcome,
    dual,
    epigraph,
)
from pyomo_relu.solvers.elimination import eliminate, find_basis

NONE = np.zeros(0, dtype=np.int64)


def random_model(seed: int) -> pyo.ConcreteModel:
    """Equalities that depend on others, ranges, bounds, cones and a quadratic part."""
    rng = np.random.default_rng(seed)
    n = 7
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n), bounds=(-5.0, None))
    m.x[0].setub(3.0)
    x = list(m.x.values())
    point = rng.normal(size=n)

    def combine(count):
        weights = np.zeros(n)
        chosen = rng.choice(n, count, replace=False)
        weights[chosen] = rng.normal(size=count)
        return weights

    rows = [combine(3), combine(2)]
    rows.append(rows[0] - 2.0 * rows[1])
    m.c = pyo.ConstraintList()
    for row in rows:
        m.c.add(sum(float(row[i]) * x[i] for i in range(n)) == float(row @ point))
    m.r = pyo.Constraint(expr=(-9.0, x[0] + x[1] - x[2], 9.0))
    m.K = PSDCone([[x[1] + 4, x[2]], [x[2], x[3] + x[1] + 4]])
    m.S = SecondOrderCone([x[4] + 9, x[5], x[6], 1.0])
    square = sum((x[i] - x[i + 1]) ** 2 for i in range(3)) + 0.5 * x[5] ** 2
    linear = sum(float(rng.normal()) * v for v in x)
    m.o = pyo.Objective(expr=square + linear)
    return m


def residuals(program: ConeProgram, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Slack of the equalities, and the gradient of the Lagrangian."""
    return np.concatenate(
        [
            (program.b - program.A @ x)[: program.n_zero],
            program.c + program.A.T @ (program.weight * z),
        ]
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_every_residual_of_the_whole_is_one_of_the_part(seed, dualise):
    # An identity of any x and z, not only of a solution.
    program = epigraph(compile_conic(random_model(seed))).program
    program = dual(program).program if dualise else program
    elimination = eliminate(program)
    part = elimination.reduced
    assert elimination.decided is None
    assert part.n_zero == 0
    assert np.linalg.matrix_rank(part.A.toarray()) == len(part.c)
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=len(part.c)), rng.normal(size=len(part.b))
    whole = elimination.restore(Outcome(Kind.POINT, x, z))
    np.testing.assert_allclose(
        program.b[elimination.kept] - program.A[elimination.kept] @ whole.x,
        part.b - part.A @ x,
        atol=1e-8,
    )
    ours, theirs = residuals(part, x, z), residuals(program, whole.x, whole.z)
    kept = np.zeros(len(theirs), dtype=bool)
    kept[program.n_zero + elimination.free] = True
    np.testing.assert_allclose(theirs[kept], ours, atol=1e-8)
    np.testing.assert_allclose(theirs[: program.n_zero], 0.0, atol=1e-8)
    np.testing.assert_allclose(
        theirs[program.n_zero + elimination.pivot_columns], 0.0, atol=1e-8
    )


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([0.05, 0.2, 1.0]),
)
def test_a_basis_has_the_rank_of_the_matrix(seed, rows, columns, density):
    rng = np.random.default_rng(seed)
    M = np.where(
        rng.random((rows, columns)) < density, rng.normal(size=(rows, columns)), 0
    )
    copies = rng.integers(0, rows, size=(2, 5))
    M = np.vstack([M, M[copies[0]] - 3.0 * M[copies[1]]])
    count = int(rng.integers(0, len(M) + 1))
    basis = find_basis(sp.csr_array(M), count)
    rank = np.linalg.matrix_rank(M[:count]) if count else 0
    assert len(basis.rows) == len(basis.columns) == rank
    both = np.concatenate([basis.rows, basis.dependent])
    assert sorted(both.tolist()) == list(range(count))
    B = M[np.ix_(basis.rows, basis.columns)]
    if rank:
        assert np.linalg.matrix_rank(B) == rank
    others = np.setdiff1d(np.arange(columns), basis.columns)
    low = M[count:]
    expected = low[:, others] - low[:, basis.columns] @ np.linalg.solve(
        B, M[np.ix_(basis.rows, others)]
    )
    # The columns that are left come in order.
    np.testing.assert_allclose(basis.left.toarray(), expected, atol=1e-6)


def test_pivots_that_are_all_swapped_are_no_diagonal():
    # A dense corner whose pivots are an antidiagonal.
    M = np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    left = find_basis(sp.csr_array(M), 2).left
    assert left.toarray() == pytest.approx(1.0 - 1.0 / 2.0 - 1.0 / 3.0)


def test_a_search_that_costs_too_much_is_given_up():
    M = sp.csr_array(np.random.default_rng(0).normal(size=(20, 20)))
    assert find_basis(M, 20, affordable=100.0) is None
    assert find_basis(M, 20, affordable=1e5) is not None


def small(A, b, c, n_zero, n_nonnegative, soc=NONE, psd=NONE) -> ConeProgram:
    return ConeProgram(
        np.array(c, dtype=float),
        sp.csr_array(np.array(A, dtype=float)),
        np.array(b, dtype=float),
        n_zero,
        n_nonnegative,
        np.array(soc, dtype=np.int64),
        np.array(psd, dtype=np.int64),
    )


def assert_proof(program: ConeProgram, z: np.ndarray) -> None:
    """Check ``A'Wz = 0`` and ``<b, z> < 0``; the cone is checked by the caller."""
    np.testing.assert_allclose(program.A.T @ (program.weight * z), 0.0, atol=1e-12)
    assert program.b @ (program.weight * z) < -1e-3


def test_equalities_that_contradict_each_other_are_a_proof():
    A = [[1, 1, 0], [0, 1, 1], [1, 2, 1], [-1, 0, 0]]
    program = small(A, [3, 2, 5.5, 0], [1, 1, 1], 3, 1)
    decided = eliminate(program).decided
    assert decided.kind == Kind.PROOF
    assert_proof(program, decided.z)
    consistent = dataclasses.replace(program, b=np.array([3.0, 2.0, 5.0, 0.0]))
    assert eliminate(consistent).decided is None


@pytest.mark.parametrize(
    ("part", "cones"),
    [
        ([-1.0], {"n_nonnegative": 2}),
        ([1.0, 2.0, 2.0], {"n_nonnegative": 1, "soc": [3]}),
        ([1.0, 2.0, 1.0], {"n_nonnegative": 1, "psd": [2]}),
    ],
)
def test_a_constant_outside_of_its_cone_is_a_proof(part, cones):
    A = np.zeros((1 + len(part), 1))
    A[0] = -1.0
    program = small(A, [0.0, *part], [1.0], 0, **cones)
    decided = eliminate(program).decided
    assert decided.kind == Kind.PROOF
    assert_proof(program, decided.z)
    z = decided.z[1:]
    if "soc" in cones:
        assert z[0] >= np.linalg.norm(z[1:]) - 1e-12
    elif "psd" in cones:
        assert np.linalg.eigvalsh([[z[0], z[1]], [z[1], z[2]]])[0] >= -1e-12
    else:
        assert z[0] > 0.0


@pytest.mark.parametrize(
    ("part", "cones"),
    [
        ([0.0], {"n_nonnegative": 2}),
        ([3.0, 0.0, 3.0], {"n_nonnegative": 1, "soc": [3]}),
        ([1.0, 2.0, 4.0], {"n_nonnegative": 1, "psd": [2]}),
    ],
)
def test_a_constant_on_the_boundary_of_its_cone_goes(part, cones):
    # It would leave the solver no point inside.
    A = np.zeros((1 + len(part), 1))
    A[0] = -1.0
    elimination = eliminate(small(A, [0.0, *part], [1.0], 0, **cones))
    assert elimination.decided is None
    assert elimination.reduced.b.tolist() == [0.0]


def test_columns_that_depend_on_others_go_or_are_a_direction():
    A = [[-1, -1, 0], [0, 0, -1]]
    same = eliminate(small(A, [0, 0], [2, 2, 1], 0, 2))
    assert same.decided is None
    assert len(same.free) == 2
    program = small(A, [0, 0], [2, 1, 1], 0, 2)
    decided = eliminate(program).decided
    assert decided.kind == Kind.DIRECTION
    np.testing.assert_allclose(program.A @ decided.x, 0.0, atol=1e-12)
    assert program.c @ decided.x < -1e-3


def test_a_program_that_its_equalities_determine_is_solved():
    # x = (2, 1) with costs (1, 1), z from stationarity.
    A = [[1, 1], [1, -1], [-1, 0]]
    program = small(A, [3, 1, 0], [1, 1], 2, 1)
    decided = eliminate(program).decided
    assert decided.kind == Kind.POINT
    np.testing.assert_allclose(decided.x, [2.0, 1.0])
    np.testing.assert_allclose(decided.z, [-1.0, 0.0, 0.0])


def test_the_dual_of_the_dual_is_the_program_itself():
    program = epigraph(compile_conic(random_model(0))).program
    twice = dual(dual(program).program).program
    # Its variables are multipliers of equalities (-x) and of cones (s).
    n = len(program.c)
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    s = (program.b - program.A @ x)[program.n_zero :]
    y = np.concatenate([-x, s])
    in_cones = (program.b - program.A @ x)[: program.n_zero]
    slack = twice.b - twice.A @ y
    # Equations: the slack of the equalities of the program, then zero.
    np.testing.assert_allclose(np.abs(slack[: program.n_zero]), np.abs(in_cones))
    np.testing.assert_allclose(slack[program.n_zero : len(program.b)], 0.0, atol=1e-12)
    np.testing.assert_allclose(slack[len(program.b) :], s, atol=1e-12)
    assert twice.c @ y == pytest.approx(program.c @ x)


@pytest.mark.parametrize("n", [1, 5, 3 * LARGEST_PIECE + 1])
def test_an_epigraph_has_the_value_of_the_quadratic_part(n):
    rng = np.random.default_rng(n)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n), bounds=(-4.0, 1e3))
    form = compile_conic_with(m, rng, n)
    first = epigraph(form)
    program = first.program
    x = rng.normal(size=n)
    scaled = np.zeros(len(program.c))
    scaled[:n] = x / first.x_scale
    slack = program.b - program.A @ scaled
    # With t = 0 a cone is ((1, -1) / sqrt 2, L'x), so that t must be |L'x|^2 / 2.
    needed = []
    place = form.n_zero + form.n_nonnegative
    for order in program.soc_orders.tolist():
        part = slack[place : place + order]
        assert order <= LARGEST_PIECE + 2
        assert part[:2] == pytest.approx([np.sqrt(0.5), -np.sqrt(0.5)])
        needed.append(0.5 * part[2:] @ part[2:])
        place += order
    value = program.c[:n] @ scaled[:n] + sum(needed)
    # In units of both scales: z_scale times the size of the sides.
    row_scale = form.b[0] / program.b[0]
    expected = 0.5 * x @ (form.P @ x) + form.c @ x
    assert value * first.z_scale * row_scale == pytest.approx(expected)


def compile_conic_with(m, rng, n):
    """Compile with a random objective of rank n - 1, columns of any size, and one free
    square besides."""
    size = 10.0 ** rng.uniform(-3, 3, size=n)
    root = rng.normal(size=(max(n - 1, 1), n)) * size
    if n == 5:
        root[:, 3] = 0.0
    P = root.T @ root + (np.diag([0, 0, 0, 7.0, 0]) if n == 5 else 0.0)
    m.o = pyo.Objective(
        expr=sum(
            0.5 * float(P[i, j]) * m.x[i] * m.x[j] for i in range(n) for j in range(n)
        )
        + sum(float(c) * m.x[i] for i, c in enumerate(rng.normal(size=n)))
    )
    return compile_conic(m)
