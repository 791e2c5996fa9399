"""Refined points against closed forms; projections against what defines them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu.cones import PSDCone
from pyomo_relu.solvers import SCS, Clarabel, compile_conic, refinement
from pyomo_relu.solvers.conic_form import ConicForm, triangle
from pyomo_relu.solvers.refinement import MAX_SIZE, merit, project, refine

QUIET = {"load_solutions": False, "raise_exception_on_nonoptimal_result": False}


def make_form(
    c, A, b, *, P=None, zero=0, nonnegative=0, soc=(), psd=(), exponential=0
) -> ConicForm:
    n = len(c)
    none = np.zeros(0, dtype=int)
    return ConicForm(
        model=None,
        variables=list(range(n)),
        P=sp.csc_array((n, n) if P is None else np.asarray(P, dtype=float)),
        c=np.asarray(c, dtype=float),
        c0=0.0,
        sense=1,
        has_objective=True,
        A=sp.csc_array(np.asarray(A, dtype=float).reshape(-1, n)),
        b=np.asarray(b, dtype=float),
        n_zero=zero,
        n_nonnegative=nonnegative,
        soc_orders=np.array(soc, dtype=int),
        psd_orders=np.array(psd, dtype=int),
        n_exponential=exponential,
        constraints=[],
        upper_rows=none,
        lower_rows=none,
        upper_bound_rows=none,
        lower_bound_rows=none,
        cones=[],
        vector_cones=[],
        quadratics=[],
    )


def entries(matrix: np.ndarray) -> np.ndarray:
    return matrix[triangle(len(matrix))]


# Projections ------------------------------------------------------------------------

#: Every kind of cone, several of an order, two orders of each.
CONES = make_form(
    np.zeros(1),
    np.zeros((45, 1)),
    np.zeros(45),
    zero=2,
    nonnegative=3,
    soc=[3, 5, 3, 1],
    psd=[3, 2, 3, 1],
    exponential=4,
)
ROOT = np.sqrt(CONES.weight)

vectors = arrays(
    float,
    len(CONES.b),
    elements=st.floats(-50.0, 50.0) | st.sampled_from([0.0, 1.0, -1.0, 1e-9]),
)


def nearest(v: np.ndarray) -> np.ndarray:
    return project(CONES, v).point


def derivative(v: np.ndarray) -> np.ndarray:
    projection = project(CONES, v)
    T = projection.rotation(np.ones(len(v), dtype=bool)).toarray()
    assert pytest.approx(np.eye(len(v)), abs=1e-12) == T @ T.T
    return T.T @ (projection.eigenvalues[:, None] * T)


def differences(v: np.ndarray, step: float) -> np.ndarray:
    """Central differences; the projection is smooth near ``v``."""
    columns = [
        (nearest(v + step * e) - nearest(v - step * e)) / (2.0 * step)
        for e in np.eye(len(v))
    ]
    return np.array(columns).T


@given(vectors)
@settings(max_examples=100, deadline=None)
def test_a_projection_and_what_is_left_are_in_the_cones_and_orthogonal(v):
    """Which only the projection is (Moreau)."""
    p = nearest(v)
    size = 1.0 + np.abs(v).max()
    assert CONES.cone_violation(p / ROOT) < 1e-12 * size
    assert CONES.cone_violation((p - v) / ROOT, dual=True) < 1e-12 * size
    assert abs(p @ (p - v)) < 1e-12 * size**2


@given(vectors)
@settings(max_examples=50, deadline=None)
def test_eigenvalues_of_derivatives_are_between_0_and_1(v):
    projection = project(CONES, v)
    assert projection.eigenvalues.min() >= 0.0
    assert projection.eigenvalues.max() <= 1.0
    # Homogeneous of degree one.
    assert derivative(v) @ v == pytest.approx(
        projection.point, abs=1e-10 * (1.0 + np.abs(v).max())
    )


@given(st.integers(0, 10**6), st.sampled_from([0.2, 1.0, 5.0]))
@settings(max_examples=25, deadline=None)
def test_derivatives_are_what_differences_say(seed, size):
    v = size * np.random.default_rng(seed).normal(size=len(CONES.b))
    step = 1e-5 * size
    assert derivative(v) == pytest.approx(differences(v, step), abs=1e-5)


@pytest.mark.parametrize(
    "triple",
    [
        [0.5, 1.0, 3.0],
        [0.5, -1.0, -3.0],
        [-1.0, -0.5, 2.0],
        [-1.0, -0.5, -2.0],
        [2.0, 1.0, -1.0],
        [-30.0, 1.0, -1.0],
        [-300.0, 1.0, -1.0],
        [1.0, -30.0, 1.0],
        [1.0, -300.0, 1.0],
        [0.0, 1.0, 0.0],
        [1.0, 0.0, 1.0],
    ],
    ids=str,
)
def test_derivatives_on_every_side_of_the_exponential_cone(triple):
    v = np.random.default_rng(0).normal(size=len(CONES.b))
    v[-3:] = triple
    difference = differences(v, 1e-5)[-3:, -3:]
    assert derivative(v)[-3:, -3:] == pytest.approx(difference, abs=1e-5)


def test_derivatives_at_multiple_eigenvalues():
    """Where a basis is arbitrary the derivative is not."""
    form = make_form([0.0], np.zeros((10, 1)), np.zeros(10), psd=[4])
    root = np.sqrt(form.weight)
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    v = entries(Q @ np.diag([2.0, 2.0, -1.0, -1.0]) @ Q.T) * root
    projection = project(form, v)
    T = projection.rotation(np.ones(10, dtype=bool)).toarray()
    # The derivative in the direction H: sums over pairs of eigenspaces.
    H = np.diag([1.0, 2.0, 3.0, 4.0]) + 1.0
    upper, lower = Q[:, :2] @ Q[:, :2].T, Q[:, 2:] @ Q[:, 2:].T
    expected = upper @ H @ upper + (2.0 / 3.0) * (upper @ H @ lower + lower @ H @ upper)
    got = T.T @ (projection.eigenvalues * (T @ (entries(H) * root)))
    assert got / root == pytest.approx(entries(expected), abs=1e-13)


# Known optima -----------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A form with its optimum and its multipliers, both of them unique."""

    form: ConicForm
    x: np.ndarray
    z: np.ndarray


def lp_vertex() -> Known:
    """Minimise x + y where x + 2 y >= 4, 3 x + y >= 7 and x, y >= 0."""
    A = -np.array([[1.0, 2.0], [3.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    form = make_form([1.0, 1.0], A, [-4.0, -7.0, 0.0, 0.0], nonnegative=4)
    return Known(form, np.array([2.0, 1.0]), np.array([0.4, 0.2, 0.0, 0.0]))


def bounded_qp() -> Known:
    """Minimise |x - (1, -1)|^2 / 2 for x >= 0."""
    form = make_form([-1.0, 1.0], -np.eye(2), [0.0, 0.0], P=np.eye(2), nonnegative=2)
    return Known(form, np.array([1.0, 0.0]), np.array([0.0, 1.0]))


def distance_to_a_line() -> Known:
    """Minimise t >= |x - p| for x on the line a'x = 5."""
    a, p = np.array([3.0, 4.0]), np.array([1.0, -2.0])
    t = (5.0 - a @ p) / 5.0
    A = np.block([[np.zeros((1, 1)), a[None]], [-np.eye(3)]])
    form = make_form(
        [1.0, 0.0, 0.0], A, np.concatenate([[5.0, 0.0], -p]), zero=1, soc=[3]
    )
    z = np.concatenate([[-1.0 / 5.0, 1.0], -a / 5.0])
    return Known(form, np.concatenate([[t], p + t * a / 5.0]), z)


def smallest_eigenvalue() -> Known:
    """Maximise x where M - x I is semidefinite."""
    M = np.array([[2.0, -1.0, 0.5], [-1.0, 3.0, 1.0], [0.5, 1.0, 4.0]])
    values, Q = np.linalg.eigh(M)
    form = make_form([-1.0], entries(np.eye(3)), entries(M), psd=[3])
    return Known(form, values[:1], entries(np.outer(Q[:, 0], Q[:, 0])))


def smallest_correlation() -> Known:
    """Find the smallest correlation of two that have 0.8 with a third: 0.28."""
    M = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, 0.8], [0.0, 0.8, 1.0]])
    E = np.zeros((3, 3))
    E[0, 2] = E[2, 0] = 1.0
    u = np.array([1.0, -1.6, 1.0])
    form = make_form([1.0], -entries(E), entries(M), psd=[3])
    return Known(form, np.array([0.28]), entries(0.5 * np.outer(u, u)))


def softmax() -> Known:
    """Minimise t where exp(k - t) <= w_k, w_1 + w_2 <= 1; t = log(e + e^2)."""
    t = np.log(np.exp(1.0) + np.exp(2.0))
    share = np.exp(np.array([1.0, 2.0]) - t)
    A = np.zeros((7, 3))
    A[0, 1:] = 1.0
    A[[1, 4], 0] = 1.0
    A[3, 1] = A[6, 2] = -1.0
    b = [1.0, 1.0, 1.0, 0.0, 2.0, 1.0, 0.0]
    form = make_form([1.0, 0.0, 0.0], A, b, nonnegative=1, exponential=2)
    # The normal of y exp(x / y) <= z at (log w, 1, w).
    normals = [[-w, w * (np.log(w) - 1.0), 1.0] for w in share]
    return Known(form, np.array([t, *share]), np.concatenate([[1.0], *normals]))


KNOWN = {
    build.__name__: build()
    for build in (
        lp_vertex,
        bounded_qp,
        distance_to_a_line,
        smallest_eigenvalue,
        smallest_correlation,
        softmax,
    )
}
#: Those in which a cone is curved at the optimum.
CURVED = list(KNOWN)[2:]


def start(known: Known, size: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, z = (
        vector + size * rng.uniform(-1.0, 1.0, len(vector))
        for vector in (known.x, known.z)
    )
    return x, z


def error(known: Known, x: np.ndarray, z: np.ndarray) -> float:
    return float(max(np.abs(x - known.x).max(), np.abs(z - known.z).max()))


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_the_known_optima_are_optimal(known):
    assert merit(known.form, known.x, known.z) < 1e-15


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_four_digits_become_fourteen(known, seed):
    x, z = start(known, 1e-4, seed)
    refined = refine(known.form, x, z)
    assert 1 <= refined.steps <= 3
    assert error(known, refined.x, refined.z) < 1e-14
    assert merit(known.form, refined.x, refined.z) < 1e-14


@pytest.mark.parametrize("name", CURVED)
def test_convergence_is_quadratic(name, monkeypatch):
    """A tenth of the error at the start is a hundredth after one step."""
    known = KNOWN[name]
    monkeypatch.setattr(refinement, "MAX_FACTORISATIONS", 1)
    # A point from inside of the cone is on its way across the boundary.
    monkeypatch.setattr(refinement, "HARMLESS", 1.0)
    after = []
    for size in (1e-3, 1e-4, 1e-5):
        refined = refine(known.form, *start(known, size))
        assert refined.steps == 1
        after.append(error(known, refined.x, refined.z))
        assert after[-1] < 10.0 * size**2
    assert np.log10(np.array(after[:-1]) / after[1:]).min() > 1.9


@pytest.mark.parametrize("name", ["lp_vertex", "bounded_qp"])
def test_on_faces_one_step_is_enough(name):
    known = KNOWN[name]
    refined = refine(known.form, *start(known, 0.05))
    assert refined.steps == 1
    assert error(known, refined.x, refined.z) < 1e-14


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
def test_units_do_not_matter(known, scale):
    """Multipliers far larger or smaller than slacks."""
    form = replace(known.form, P=scale * known.form.P, c=scale * known.form.c)
    x, z = start(known, 1e-4)
    refined = refine(form, x, scale * z)
    assert error(known, refined.x, refined.z / scale) < 1e-13


# What is not well-posed -------------------------------------------------------------


def assert_not_worse(form: ConicForm, x, z, refined) -> None:
    before, after = merit(form, x, z), merit(form, refined.x, refined.z)
    if refined.steps:
        assert after < before
    else:
        assert np.array_equal(refined.x, x)
        assert np.array_equal(refined.z, z)
    assert form.primal_residual(refined.x, relative=True) <= (
        form.primal_residual(x, relative=True) + 1e-12
    )
    assert form.dual_residual(refined.x, refined.z) <= (
        form.dual_residual(x, z) + 1e-12 * (1.0 + np.abs(form.c).max(initial=0.0))
    )


DEGENERACIES = ["none", "row twice", "equation twice", "not strict", "both"]


def chosen(seed: int, degeneracy: str) -> Known:
    """Choose an optimum that may have too many active rows, or zero multipliers."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 13))
    strict = degeneracy not in ("not strict", "both")
    equations, rows = rng.normal(size=(2, n)), rng.normal(size=(5, n))
    if degeneracy in ("row twice", "both"):
        rows[1] = rows[0]
    if degeneracy in ("equation twice", "both"):
        equations[1] = -2.0 * equations[0]
    w = rng.normal(size=3)
    w /= np.linalg.norm(w)
    Q = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    s = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0, *w]
    z = [*rng.normal(size=2), 1.0, 0.5, float(strict), 0.0, 0.0]
    z += (float(strict) * np.array([1.0, *-w])).tolist()
    block = (Q * [1.0, 0.5, 0.0, 0.0]) @ Q.T, (Q * [0.0, 0.0, float(strict), 2.0]) @ Q.T
    s, z = (np.append(v, entries(M)) for v, M in zip((s, z), block, strict=True))
    A = np.vstack([equations, rows, rng.normal(size=(14, n))])
    x = rng.normal(size=n)
    M = rng.normal(size=(int(rng.integers(0, n + 1)), n))
    P = M.T @ M
    form = make_form(
        np.zeros(n), A, A @ x + s, P=P, zero=2, nonnegative=5, soc=[4], psd=[4]
    )
    return Known(replace(form, c=-P @ x - A.T @ (form.weight * z)), x, z)


@given(
    seed=st.integers(0, 10**6),
    degeneracy=st.sampled_from(DEGENERACIES),
    digits=st.integers(-1, 17),
)
@settings(max_examples=150, deadline=None)
def test_what_comes_out_is_never_worse(seed, degeneracy, digits):
    known = chosen(seed, degeneracy)
    assert merit(known.form, known.x, known.z) < 1e-13
    x, z = start(known, 10.0**-digits, seed)
    assert_not_worse(known.form, x, z, refine(known.form, x, z))


def test_a_point_that_cannot_be_better_is_not_exchanged():
    """Rounding would do that, where the errors are compared one by one only."""
    for seed in range(30):
        known = chosen(seed, "none")
        x, z = start(known, 1e-15, seed)
        assert_not_worse(known.form, x, z, refine(known.form, x, z))


def test_a_step_that_goes_astray_is_damped():
    """Without more damping half of these end where they came from."""
    lost = 0
    for seed in range(30):
        known = chosen(seed, "none")
        refined = refine(known.form, *start(known, 1e-3, seed))
        lost += merit(known.form, refined.x, refined.z) > 1e-12
    assert lost <= 3


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_anything_may_come_in(seed):
    rng = np.random.default_rng(seed)
    form = chosen(seed, "none").form
    sizes = 10.0 ** rng.uniform(-200.0, 150.0, 2)
    x, z = (
        size * rng.normal(size=count)
        for size, count in zip(sizes, form.A.shape[::-1], strict=True)
    )
    assert_not_worse(form, x, z, refine(form, x, z))


@pytest.mark.parametrize("degeneracy", DEGENERACIES)
def test_degenerate_optima_are_refined_too(degeneracy):
    """Interior points whose multipliers, or limits of scaled ones, are not unique."""
    lost = 0
    for seed in range(10):
        form = chosen(seed, degeneracy).form
        solver = Clarabel()
        answer = solver.minimise(form, solver.config(value={}))
        refined = refine(form, answer.x, answer.z)
        assert_not_worse(form, answer.x, answer.z, refined)
        assert form.objective(refined.x) == pytest.approx(
            form.objective(answer.x), abs=1e-6
        )
        lost += merit(form, refined.x, refined.z) > 1e-12
    assert lost <= (0 if degeneracy in ("none", "row twice", "equation twice") else 5)


def test_a_free_variable_that_nothing_holds_stays():
    form = make_form([1.0, 0.0], [[-1.0, 0.0]], [0.0], nonnegative=1)
    refined = refine(form, np.array([1e-5, 7.0]), np.array([1.0 + 1e-5]))
    assert refined.x.tolist() == [0.0, 7.0]
    assert refined.z.tolist() == [1.0]


def test_without_rows():
    form = make_form([-2.0, -4.0], np.zeros((0, 2)), [], P=2.0 * np.eye(2))
    refined = refine(form, np.array([1.001, 1.999]), np.zeros(0))
    assert refined.x == pytest.approx([1.0, 2.0], abs=1e-15)


def test_contradictory_equations_return_what_came_in():
    form = make_form([1.0], [[1.0], [1.0]], [1.0, 1.1], zero=2)
    x, z = np.array([1.05]), np.array([-0.5, -0.5])
    assert_not_worse(form, x, z, refine(form, x, z))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_returned(bad):
    known = KNOWN["smallest_eigenvalue"]
    x, z = known.x + bad, known.z
    assert refine(known.form, x, z).x is x
    assert refine(known.form, known.x, z + bad).steps == 0


def test_larger_forms_are_left_alone():
    n = MAX_SIZE // 2
    form = make_form(np.zeros(n), np.eye(n), np.ones(n), P=np.eye(n), nonnegative=n)
    x, z = np.full(n, 1e-5), np.zeros(n)
    assert refine(form, x, z).steps == 1
    assert refine(form, x, z, max_size=2 * n - 1).steps == 0


@pytest.mark.parametrize("share", [0.0, 2.0])
def test_dense_and_sparse_systems_are_the_same(share, monkeypatch):
    known = chosen(3, "none")
    x, z = start(known, 1e-4)
    expected = refine(known.form, x, z)
    monkeypatch.setattr(refinement, "_DENSE", share)
    monkeypatch.setattr(refinement, "_DENSE_ROWS", share)
    refined = refine(known.form, x, z)
    assert refined.steps == expected.steps
    assert refined.x == pytest.approx(expected.x, abs=1e-13)
    assert refined.z == pytest.approx(expected.z, abs=1e-10)


# The option of the solvers ----------------------------------------------------------


def eigenvalue_model(sense: int = pyo.maximize) -> pyo.ConcreteModel:
    """Write :func:`smallest_eigenvalue` in y = x + 1, which the presolve removes."""
    form = KNOWN["smallest_eigenvalue"].form
    M = np.zeros((3, 3))
    M[triangle(3)] = form.b
    M = np.triu(M) + np.triu(M, 1).T
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.y = pyo.Var()
    m.define = pyo.Constraint(expr=m.y == m.x + 1.0)
    m.K = PSDCone(
        [[M[i, j] + float(i == j) * (1.0 - m.y) for j in range(3)] for i in range(3)]
    )
    m.o = pyo.Objective(expr=-sense * m.x, sense=sense)
    return m


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
@pytest.mark.parametrize("presolve", [True, False])
@pytest.mark.parametrize("solver", [Clarabel, SCS])
def test_a_solver_refines_its_optimum(solver, presolve, sense):
    m = eigenvalue_model(sense)
    known = KNOWN["smallest_eigenvalue"]
    expected = np.zeros((3, 3))
    expected[triangle(3)] = sense * known.z
    loose = {"tol_gap_rel": 1e-4, "tol_gap_abs": 1e-4, "tol_feas": 1e-5}
    if solver is SCS:
        loose = {"eps_abs": 1e-4, "eps_rel": 1e-4}
    options = {"solver_options": loose, "presolve": presolve}
    errors = []
    for refined in (False, True):
        results = solver().solve(m, refine=refined, **options)
        info = results.extra_info
        assert (info.refinement_steps > 0) == refined
        dual = results.solution_loader.get_duals()[m.K]
        errors.append(np.abs(np.triu(dual - expected)).max())
        form = compile_conic(m)
        point = np.array([var.value for var in form.variables])
        assert info.primal_residual == form.primal_residual(point)
    assert errors[1] < 1e-12 < errors[0]
    # Of the refined point, and not of the solver's.
    assert max(info.primal_residual, info.dual_residual, abs(info.gap)) < 1e-13
    assert results.incumbent_objective == pytest.approx(-sense * known.x[0])


def test_what_is_not_called_optimal_is_not_refined():
    results = Clarabel().solve(eigenvalue_model(), iteration_limit=1, **QUIET)
    assert results.termination_condition == TerminationCondition.iterationLimit
    assert results.extra_info.refinement_steps == 0


def test_certificates_are_not_refined():
    m = eigenvalue_model()
    m.bound = pyo.Constraint(expr=m.x >= 5.0)
    results = Clarabel().solve(m, **QUIET)
    assert results.termination_condition == TerminationCondition.provenInfeasible
    assert results.extra_info.refinement_steps == 0
    m = eigenvalue_model()
    m.o.expr = -m.x
    results = Clarabel().solve(m, **QUIET)
    assert results.termination_condition == TerminationCondition.unbounded
    assert results.extra_info.refinement_steps == 0
