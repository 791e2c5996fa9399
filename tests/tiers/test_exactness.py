"""What the tiers claim, against brute force, formulas and published values."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from pyomo.environ import (
    ConcreteModel,
    Constraint,
    Objective,
    Var,
    maximize,
    minimize,
    value,
)
from pyomo.gdp import Disjunct
from scipy.optimize import nnls

from pyomo_relu.cones import CompletelyPositiveCone, PSDCone
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.solvers import solve
from pyomo_relu.tiers import bound_direction, relax

HORN = np.array(
    [
        [1, -1, 1, 1, -1],
        [-1, 1, -1, 1, 1],
        [1, -1, 1, -1, 1],
        [1, 1, -1, 1, -1],
        [-1, 1, 1, -1, 1],
    ],
    dtype=float,
)


def pairs(k):
    return [(i, j) for i in range(k) for j in range(i, k)]


def inner(C, matrix):
    k = len(C)
    return sum((1 if i == j else 2) * C[i, j] * matrix[i, j] for i, j in pairs(k))


def quadratic_model(C, sense=minimize, **options):
    """Return min <C, T M T'> over M in the cone with tr(T M T') = 1."""
    rays = options.get("rays")
    free = options.get("free", 0)
    m_cone = len(C) - free if rays is None else rays.shape[1]
    T = np.eye(len(C))
    if rays is not None:
        T = np.zeros((len(C), m_cone + free))
        T[: len(rays), :m_cone] = rays
        T[len(rays) :, m_cone:] = np.eye(free)
    m = ConcreteModel()
    m.M = Var(pairs(m_cone + free))
    m.K = CompletelyPositiveCone(matrix=m.M, **options)
    m.o = Objective(expr=inner(T.T @ C @ T, m.K.matrix), sense=sense)
    m.unit = Constraint(expr=inner(T.T @ T, m.K.matrix) == 1)
    return m


def optimum(m, *chain):
    for tier, options in chain:
        relax(m, tier, **options)
    solve(m)
    return value(m.o)


def least_form(C, R, free):
    """Return min z'Cz over unit z = (u, v), u in the cone of R, v free, exactly.

    By Caratheodory u is a positive combination of independent rays, so z is a
    critical point of the form on their span times the free part: an eigenvector.
    """
    r, m_cone = R.shape
    best = np.inf
    for size in range(r + 1):
        for subset in map(list, itertools.combinations(range(m_cone), size)):
            Q = np.eye(r + free)[:, r:]
            if subset:
                span = np.linalg.qr(R[:, subset])[0]
                Q = np.hstack([np.vstack([span, np.zeros((free, size))]), Q])
            if Q.shape[1] == 0:
                continue
            values, vectors = np.linalg.eigh(Q.T @ C @ Q)
            for eigenvalue, z in zip(values, (Q @ vectors).T, strict=True):
                a = np.linalg.pinv(R[:, subset]) @ z[:r] if subset else np.zeros(1)
                if (a > -1e-9).all() or (a < 1e-9).all():
                    best = min(best, eigenvalue)
    return best


def cell_rays(rng, r, m):
    R = rng.normal(size=(r, m))
    R[-1] = np.abs(R[-1]) + 0.3
    return R / np.linalg.norm(R, axis=0)


def random_form(rng, k):
    C = rng.normal(size=(k, k))
    return C + C.T


DNN = ("dnn", {})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("free", [0, 2])
def test_dnn_is_exact_for_rays_of_rank_three(seed, free):
    rng = np.random.default_rng(seed)
    R = cell_rays(rng, 3, 6)
    C = random_form(rng, 3 + free)
    m = quadratic_model(C, rays=R, free=free)
    assert optimum(m, DNN) == pytest.approx(least_form(C, R, free), abs=2e-6)
    direction = bound_direction(m)
    assert direction == "exact"
    assert "rays of rank at most three" in direction.reason


@pytest.mark.parametrize("seed", range(3))
def test_dnn_is_exact_after_partition_for_rank_four(seed):
    rng = np.random.default_rng(seed)
    R = cell_rays(rng, 4, 7)
    C = random_form(rng, 6)
    truth = least_form(C, R, 2)
    plain = quadratic_model(C, rays=R, free=2)
    lower = optimum(plain, DNN)
    assert bound_direction(plain) == "lower"
    split = quadratic_model(C, rays=R, free=2)
    exact = optimum(split, ("partition", {}), DNN)
    assert bound_direction(split) == "exact"
    assert lower <= exact + 1e-6
    assert exact == pytest.approx(truth, abs=2e-6)


@pytest.mark.parametrize("m_cone", [1, 2, 3, 4])
def test_dnn_is_exact_up_to_order_four(m_cone):
    rng = np.random.default_rng(m_cone)
    C = random_form(rng, m_cone + 2)
    m = quadratic_model(C, free=2)
    truth = least_form(C, np.eye(m_cone), 2)
    assert optimum(m, DNN) == pytest.approx(truth, abs=2e-6)
    assert "at most four cone coordinates" in bound_direction(m).reason


@pytest.mark.parametrize("facets", [3, 4])
def test_dnn_is_exact_for_four_facets(facets):
    rng = np.random.default_rng(facets)
    square = np.array([[1.0, 1, -1, -1], [1, -1, -1, 1], [1, 1, 1, 1]])
    R = square if facets == 4 else rng.normal(size=(3, 3))
    # Facets of the cone over a square: |x|, |y| <= z.
    F = (
        np.array([[1.0, 0, 1], [-1, 0, 1], [0, 1, 1], [0, -1, 1]])
        if facets == 4
        else np.linalg.inv(R)
    )
    C = random_form(rng, 5)
    m = quadratic_model(C, facets=F, free=2)
    assert optimum(m, DNN) == pytest.approx(least_form(C, R, 2), abs=2e-6)
    assert "at most four facets" in bound_direction(m).reason


def narrow_model(S, h, **options):
    """Return min <S, A> + G with <h, W> = 1: half of its optimum is 1 / kappa."""
    m_cone = len(S)
    m = ConcreteModel()
    m.M = Var(pairs(m_cone + 1))
    m.K = CompletelyPositiveCone(matrix=m.M, free=1, **options)
    m.o = Objective(expr=inner(S, m.K.matrix[:m_cone, :m_cone]) + m.M[m_cone, m_cone])
    m.w = Constraint(expr=sum(h[i] * m.M[i, m_cone] for i in range(m_cone)) == 1)
    return m


def kappa(S, h, F):
    """Return max |h'a| over F a >= 0 with a'Sa <= 1.

    By duality the least of |h + F'l| over l >= 0 in the norm of the inverse of S: a
    nonnegative least squares problem, for h and for -h.
    """
    half = np.linalg.inv(np.linalg.cholesky(S))
    return max(nnls(half @ F.T, -sign * (half @ h))[1] for sign in (1, -1))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", ["orthant", "facets"])
def test_dnn_is_exact_for_one_output_weighed_by_one_matrix(seed, form):
    rng = np.random.default_rng(seed)
    d = 6
    S = random_form(rng, d)
    S = S @ S + 0.1 * np.eye(d)
    h = rng.normal(size=d)
    F = np.eye(d)
    if form == "facets":
        F = rng.normal(size=(9, d))
        F[F @ np.ones(d) < 0] *= -1.0
    m = narrow_model(S, h, **({"facets": F} if form == "facets" else {}))
    assert optimum(m, DNN) == pytest.approx(2 / kappa(S, h, F), rel=1e-5)
    direction = bound_direction(m)
    assert direction == "exact"
    assert "one free coordinate" in direction.reason


def test_one_output_is_not_enough_when_the_model_looks_closer():
    rng = np.random.default_rng(0)
    S, h = np.eye(6), rng.normal(size=6)
    indefinite = np.diag([1.0, 1, 1, 1, 1, -1])

    def fresh():
        m = narrow_model(S, h)
        relax(m, "dnn")
        assert bound_direction(m) == "exact"
        return m

    m = fresh()
    m.extra = Constraint(expr=m.M[0, 1] <= 0.1)
    assert bound_direction(m) == "lower"
    m.extra.deactivate()
    assert bound_direction(m) == "exact"
    m.same = Constraint(expr=sum(m.M[i, i] for i in range(6)) <= 5)
    assert bound_direction(m) == "exact"
    m.o.set_value(m.o.expr + m.M[0, 0] ** 2)
    assert bound_direction(m) == "lower"
    m = fresh()
    m.M[0, 0].fix(0.3)
    assert bound_direction(m) == "lower"
    m = narrow_model(indefinite, h)
    relax(m, "dnn")
    assert bound_direction(m) == "lower"
    m = narrow_model(S, h)
    relax(m, "partition", level=1)
    relax(m, "dnn")
    assert bound_direction(m) == "exact"
    m.extra = Constraint(expr=m.M[0, 1] <= 0.1)
    assert bound_direction(m) == "lower"
    m = fresh()
    m.M[0, 0].setlb(0.0)
    assert bound_direction(m) == "exact"
    m.M[0, 0].setlb(0.1)
    assert bound_direction(m) == "lower"
    m = fresh()
    m.M[0, 1].setub(1.0)
    assert bound_direction(m) == "lower"
    m = fresh()
    m.P = PSDCone([[1.0, m.M[0, 1]], [m.M[0, 1], 1.0]])
    assert bound_direction(m) == "lower"
    m.P.deactivate()
    m.Q = PSDCone([[1.0, m.M[0, 6]], [m.M[0, 6], m.M[6, 6]]])
    assert bound_direction(m) == "exact"
    # The same variable in A and in W.
    m = ConcreteModel()
    m.M = Var(pairs(7))
    twice = [[m.M[min(i, j), max(i, j)] for j in range(7)] for i in range(7)]
    twice[0][6] = twice[6][0] = m.M[0, 1]
    m.K = CompletelyPositiveCone(twice, free=1)
    relax(m, "dnn")
    assert bound_direction(m) == "lower"
    # The same matrix twice: each cone alone sees one weight, both together do not.
    m = narrow_model(S, h)
    m.L = CompletelyPositiveCone(matrix=m.M, free=1)
    relax(m, "dnn")
    assert bound_direction(m) == "lower"


def test_horn_matrix_on_the_simplex():
    def fresh():
        m = ConcreteModel()
        m.A = Var(pairs(5))
        m.K = CompletelyPositiveCone(m.A)
        m.o = Objective(expr=inner(HORN, m.K.matrix))
        m.simplex = Constraint(expr=inner(np.ones((5, 5)), m.K.matrix) == 1)
        return m

    m = fresh()
    assert optimum(m, DNN) == pytest.approx(-0.1055728, abs=1e-6)
    assert bound_direction(m) == "lower"
    # Copositive, so its least value on the simplex is zero.
    split = optimum(fresh(), ("partition", {"level": 1}), DNN)
    assert split == pytest.approx(0.0, abs=1e-6)
    psd = fresh()
    relax(psd, "psd")
    assert bound_direction(psd) == "lower"
    assert bound_direction(psd).reason == "relu.psd relaxes 1 cone."


CYCLES = [(5, 2.2360680), (7, 3.3176672)]


@pytest.mark.parametrize(("n", "theta"), CYCLES)
def test_stability_number_of_cycles(n, theta):
    """theta'(C_n), published; a maximisation, so from above."""
    m = ConcreteModel()
    m.A = Var(pairs(n))
    m.K = CompletelyPositiveCone(m.A)
    m.o = Objective(expr=inner(np.ones((n, n)), m.K.matrix), sense=maximize)
    m.trace = Constraint(expr=sum(m.A[i, i] for i in range(n)) == 1)
    for i in range(n):
        m.K.matrix[i, (i + 1) % n].fix(0.0)
    assert optimum(m, DNN) == pytest.approx(theta, abs=1e-5)
    assert bound_direction(m) == "upper"


def test_direction_in_words_and_as_text():
    m = quadratic_model(np.eye(6), free=2, sense=maximize)
    assert bound_direction(m) == "exact"
    assert bound_direction(m).reason == "no cone has been replaced."
    relax(m, "partition", level=1)
    assert bound_direction(m).reason == "the cones are partitioned, not relaxed."
    relax(m, "dnn")
    assert str(bound_direction(m)) == "exact"
    assert bound_direction(m).side == "exact"
    relax(m, "psd")
    direction = bound_direction(m)
    assert direction == "upper"
    assert direction != "lower"
    assert f"{direction}" == "upper"
    assert direction.reason == "relu.psd relaxes 2 cones."
    m.o.sense = minimize
    assert bound_direction(m) == "lower"
    m.o2 = Objective(expr=-m.o.expr, sense=maximize)
    with pytest.raises(InputError, match="both senses"):
        bound_direction(m)
    m.o.deactivate()
    m.o2.deactivate()
    assert bound_direction(m) == "lower"
    with pytest.raises(InputTypeError, match="block"):
        bound_direction(m.M)


def test_some_exact_and_some_not():
    m = quadratic_model(np.eye(6), free=2)
    m.N = Var(pairs(7))
    m.L = CompletelyPositiveCone(m.N)
    m.P = PSDCone(m.N)
    relax(m, "dnn", targets=m.K)
    assert bound_direction(m) == "exact"
    relax(m, "dnn")
    direction = bound_direction(m)
    assert direction == "lower"
    assert direction.reason == "relu.dnn relaxes 1 cone."


def small_model(sense=minimize):
    """Return the least or largest x in [-5, 5] with [[1, x], [x, 1]] in CP."""
    m = ConcreteModel()
    m.x = Var(bounds=(-5, 5))
    m.K = CompletelyPositiveCone([[1, m.x], [m.x, 1]])
    m.o = Objective(expr=m.x, sense=sense)
    return m


@pytest.mark.parametrize("sense", [minimize, maximize])
@pytest.mark.parametrize(
    ("tiers", "lose", "words"),
    [
        ("dnn", lambda m: m.K_dnn.deactivate(), "'K_dnn', .* of 'K', is inactive"),
        ("dnn", lambda m: m.del_component("K_dnn"), "'K_dnn', .* has been deleted"),
        (
            "partition dnn",
            lambda m: m.K_partition.cone_dnn[1].deactivate(),
            r"'K_partition.cone_dnn\[1\]', which relu.dnn .* is inactive",
        ),
        (
            "partition dnn",
            lambda m: m.K_partition.deactivate(),
            r"cone_dnn\[0\]', .* is inactive, and so on for 2 more",
        ),
        (
            "partition dnn",
            lambda m: m.del_component("K_partition"),
            "has been deleted, and so on for 2 more",
        ),
        (
            "partition dnn",
            lambda m: m.K_partition.del_component("cone_dnn"),
            "has been deleted, and so on for 1 more",
        ),
        (
            "partition dnn",
            lambda m: m.K_partition.linking[0, 1].deactivate(),
            "'K_partition.linking', which ties .* 'K', is inactive in part",
        ),
        (
            "partition dnn",
            lambda m: m.K_partition.linking.deactivate(),
            "'K_partition.linking', which ties .* 'K', is inactive",
        ),
    ],
)
def test_a_leaf_that_is_gone_relaxes(sense, tiers, lose, words):
    m = small_model(sense)
    best = solve_with(m, tiers)
    assert best == pytest.approx(0.0 if sense == minimize else 1.0, abs=1e-5)
    assert bound_direction(m) == "exact"
    lose(m)
    direction = bound_direction(m)
    assert direction == ("lower" if sense == minimize else "upper")
    assert re.search(words, direction.reason), direction.reason


def solve_with(m, tiers):
    for tier in tiers.split():
        options = {"level": 1} if tier == "partition" else {}
        relax(m, tier, **options)
    return solve(m).incumbent_objective


def test_an_optimum_without_its_leaf_is_no_exact_one():
    m = small_model()
    relax(m, "dnn")
    m.K_dnn.deactivate()
    assert solve(m).incumbent_objective == pytest.approx(-5.0, abs=1e-5)
    assert bound_direction(m) == "lower"
    m.K_dnn.activate()
    assert bound_direction(m) == "exact"
    m.K_dnn.deactivate()
    m.K.activate()
    assert bound_direction(m) == "exact"


def test_a_deleted_member_and_a_deleted_original_count():
    m = small_model()
    m.J = CompletelyPositiveCone([0, 1], rule=lambda m, i: [[1, m.x], [m.x, 1]])
    relax(m, "dnn")
    del m.J_dnn[1]
    direction = bound_direction(m)
    assert direction == "lower"
    assert "in place of 'J[1]', has been deleted" in direction.reason
    m = small_model()
    relax(m, "psd")
    m.del_component("K")
    assert bound_direction(m).reason == "relu.psd relaxes 1 cone."


def test_rows_inside_a_disjunct_weigh_the_cone_too():
    """Two weights of the leading block, one of them in a Disjunct: not exact."""
    m = ConcreteModel()
    m.M = Var(pairs(6))
    m.K = CompletelyPositiveCone(matrix=m.M, free=1)
    m.o = Objective(expr=sum(m.M[i, i] for i in range(5)))
    m.d = Disjunct()
    relax(m, "dnn")
    assert bound_direction(m) == "exact"
    m.d.c = Constraint(expr=m.M[0, 1] >= 1)
    assert bound_direction(m) == "lower"
