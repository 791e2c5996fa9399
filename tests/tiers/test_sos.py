"""`relu.sos`: published values, the polynomial identity, both sides of the duality."""

from __future__ import annotations

import itertools
import logging
from math import comb, cos, pi, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.environ import ConcreteModel, Constraint, Objective, Var, maximize, value

from pyomo_relu.cones import (
    CompletelyPositiveCone,
    CopositiveCone,
    DoublyNonnegativeConeData,
    PSDConeData,
)
from pyomo_relu.errors import InputError
from pyomo_relu.solvers import solve
from pyomo_relu.tiers import bound_direction, leaf_cones, relax
from tests.tiers.forms import (
    HORN,
    cell_rays,
    dual,
    give_values,
    in_rays,
    inner,
    least,
    optimum,
    pairs,
    primal,
    random_form,
)

K0 = ("sos", {"level": 0})
K1 = ("sos", {"level": 1})
ONES = np.ones((5, 5))


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR)


# What is published


def test_the_horn_matrix_is_in_k1_and_not_in_k0():
    """Least value on the simplex that each level proves (design, numbers)."""
    assert optimum(dual(HORN, ONES), K0) == pytest.approx(-0.1055728, abs=1e-6)
    assert optimum(dual(HORN, ONES), K1) == pytest.approx(0.0, abs=1e-6)
    assert optimum(primal(HORN, ONES), K0) == pytest.approx(-0.1055728, abs=1e-6)
    assert optimum(primal(HORN, ONES), K1) == pytest.approx(0.0, abs=1e-6)


def graph(n, edges):
    A = np.zeros((n, n))
    for i, j in edges:
        A[i, j] = A[j, i] = 1.0
    return A


def cycle(n):
    return graph(n, [(i, (i + 1) % n) for i in range(n)])


def petersen():
    outer = [(i, (i + 1) % 5) for i in range(5)]
    inner_star = [(5 + i, 5 + (i + 2) % 5) for i in range(5)]
    return graph(10, outer + inner_star + [(i, i + 5) for i in range(5)])


def icosahedron():
    golden = (1 + sqrt(5)) / 2
    corners = np.array(
        [
            np.roll([0.0, s, t * golden], shift)
            for shift in range(3)
            for s in (1, -1)
            for t in (1, -1)
        ]
    )
    distance = np.linalg.norm(corners[:, None] - corners[None], axis=2)
    return (np.abs(distance - 2.0) < 1e-9).astype(float)


GRAPHS = {
    "C5": (cycle(5), sqrt(5), 2.0),
    "C7": (cycle(7), 7 * cos(pi / 7) / (1 + cos(pi / 7)), 3.0),
    "Petersen": (petersen(), 4.0, 4.0),
    "icosahedron": (icosahedron(), 1 + sqrt(5), 1 + sqrt(5)),
}


@pytest.mark.parametrize("tier", [K0, K1], ids=["K0", "K1"])
@pytest.mark.parametrize("name", GRAPHS)
def test_stability_numbers(name, tier):
    """De Klerk and Pasechnik: min lambda with lambda (I + A) - J copositive."""
    A, *bounds = GRAPHS[name]
    bound = bounds[tier[1]["level"]]
    n = len(A)
    copositive = ConcreteModel()
    copositive.bound = Var()
    copositive.K = CopositiveCone(
        {
            (i, j): (1.0 if i == j else A[i, j]) * copositive.bound - 1.0
            for i, j in pairs(n)
        }
    )
    copositive.o = Objective(expr=copositive.bound)
    assert optimum(copositive, tier) == pytest.approx(bound, abs=1e-5)
    assert bound_direction(copositive) == "upper"

    positive = ConcreteModel()
    positive.X = Var(pairs(n))
    positive.K = CompletelyPositiveCone(positive.X)
    positive.o = Objective(
        expr=inner(np.ones((n, n)), positive.K.matrix), sense=maximize
    )
    positive.one = Constraint(expr=inner(np.eye(n) + A, positive.K.matrix) == 1)
    assert optimum(positive, tier) == pytest.approx(bound, abs=1e-5)
    assert bound_direction(positive) == "upper"


def test_k1_is_not_invariant_under_diagonal_scaling():
    """D H D is copositive with H, but not in K^1 (Dickinson et al. 2013)."""
    D = np.diag([1.0, 4.0, 4.0, 4.0, 4.0])
    scaled = D @ HORN @ D
    assert least(scaled, np.eye(5), 0) == pytest.approx(0.0, abs=1e-9)
    assert optimum(dual(HORN), K1) == pytest.approx(0.0, abs=1e-6)
    assert optimum(dual(scaled), K1) < -0.05
    assert optimum(primal(scaled), K1) < -0.05


def test_lengths_of_rays_count():
    """The same cone and the same form: only the rays are longer."""
    rng = np.random.default_rng(0)
    R = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    C = R @ HORN @ R.T
    short = optimum(dual(C, rays=R), K1)
    long = optimum(dual(C, rays=R * np.array([1.0, 4, 4, 4, 4])), K1)
    assert short == pytest.approx(0.0, abs=1e-6)
    assert long < -1e-3


def test_a_zero_row_and_column_leaves_k1():
    """Outside K^0 with a zero coordinate is outside K^1 (Dickinson et al. 2013)."""
    padded = np.pad(HORN, (0, 1))
    assert least(padded, np.eye(6), 0) == pytest.approx(0.0, abs=1e-9)
    assert optimum(dual(padded), K1) < -0.02
    assert optimum(primal(padded), K1) < -0.02


# What is claimed


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 3))
def test_the_certificates_satisfy_the_identity_for_all_values(seed, m, free):
    """sum a_i z'Mz = sum a_i z'S_i z + 2 sum n_ijk a_i a_j a_k, as polynomials."""
    rng = np.random.default_rng(seed)
    model = ConcreteModel()
    model.M = Var(pairs(m + free))
    model.K = CopositiveCone(model.M, free=free)
    relax(model, "sos")
    give_values([model.M, model.K_sos.shift, model.K_sos.surplus], rng)
    M = model.K.numeric()
    S = [leaf.numeric() for leaf in leaf_cones(model.K)]
    assert len(S) == m
    for z in rng.normal(size=(20, m + free)):
        left = z[:m].sum() * (z @ M @ z)
        right = sum(a * (z @ S_i @ z) for a, S_i in zip(z, S, strict=False))
        right += 2 * sum(
            model.K_sos.surplus[i, j, k].value * z[i] * z[j] * z[k]
            for i, j, k in itertools.combinations(range(m), 3)
        )
        assert right == pytest.approx(left, abs=1e-9)


@pytest.mark.parametrize(("m", "free"), [(1, 0), (1, 2), (2, 0), (2, 1), (5, 2)])
def test_no_more_variables_and_rows_than_needed(m, free):
    """Dimension of the certificates' and of the moments' space, counted by hand."""
    order = m + free
    model = ConcreteModel()
    model.M = Var(pairs(order))
    model.K = CopositiveCone(model.M, free=free)
    model.L = CompletelyPositiveCone(model.M, free=free)
    relax(model, "sos")
    assert len(model.K_sos.surplus) == comb(m, 3)
    # Entries of all M^i less one equation for each monomial.
    moments = comb(m + 2, 3) + comb(m + 1, 2) * free + m * free * (free + 1) // 2
    unknowns = m * comb(order + 1, 2) - moments
    assert len(model.K_sos.shift) == unknowns
    assert not list(model.K_sos.component_objects(Constraint, descend_into=False))
    assert len(model.L_sos.moment) == moments
    assert len(model.L_sos.linking) == comb(order + 1, 2)
    bounded = [key for key, v in model.L_sos.moment.items() if v.lb is not None]
    assert bounded == list(itertools.combinations(range(m), 3))
    # The entries of the moment matrices are those very variables.
    ids = {id(v) for v in model.L_sos.moment.values()}
    for i, leaf in enumerate(leaf_cones(model.L)):
        assert {id(e) for e in leaf.upper_triangle} <= ids
        assert (
            leaf.matrix[0, -1] is model.L_sos.moment[tuple(sorted((i, 0, order - 1)))]
        )


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(0, 2))
def test_completely_positive_matrices_have_moments(seed, m, free):
    """M = sum z z' with N_i = sum a_i z z' / sum a: rows, cones and signs hold."""
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(4, m + free))
    Z[:, :m] = rng.exponential(size=(4, m)) * (rng.random((4, m)) < 0.7)
    Z[:, 0] += 0.1
    model = ConcreteModel()
    model.M = Var(pairs(m + free))
    model.K = CompletelyPositiveCone(model.M, free=free)
    relax(model, "sos")
    for (i, j), entry in model.M.items():
        entry.value = Z[:, i] @ Z[:, j]
    for (i, j, k), moment in model.K_sos.moment.items():
        moment.value = float(np.sum(Z[:, i] * Z[:, j] * Z[:, k] / Z[:, :m].sum(1)))
        assert moment.lb is None or moment.value >= 0
    for row in model.K_sos.linking.values():
        assert value(row.body) == pytest.approx(value(row.upper), abs=1e-9)
    leaves = leaf_cones(model.K)
    assert all(leaf.margin() > -1e-9 for leaf in leaves)
    total = sum(leaf.numeric() for leaf in leaves)
    np.testing.assert_allclose(total, model.K.numeric(), atol=1e-9)


def horn_form(rng, free):
    """Return ``a'Ha + |v + W'a|^2``, which is in K^1 and not in K^0."""
    W = rng.normal(size=(5, free))
    return np.block([[HORN + W @ W.T, W], [W.T, np.eye(free)]])


@pytest.mark.parametrize("free", [1, 2, 3])
def test_the_horn_matrix_with_free_coordinates(free):
    C = horn_form(np.random.default_rng(free), free)
    for build in (primal, dual):
        assert optimum(build(C, free=free), K0) < -0.01
        assert optimum(build(C, free=free), K1) == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2))
def test_the_levels_are_ordered_and_both_sides_agree(seed, free):
    rng = np.random.default_rng(seed)
    C = horn_form(rng, free) + 0.02 * random_form(rng, 5 + free)
    truth = least(C, np.eye(5), free)
    psd, dnn, sos = (optimum(primal(C, free=free), t) for t in ("psd", "dnn", K1))
    assert psd <= dnn + 1e-6
    assert dnn <= sos + 1e-6
    assert sos <= truth + 1e-6
    for tier, below in ("psd", psd), ("dnn", dnn), (K0, dnn), (K1, sos):
        assert optimum(dual(C, free=free), tier) == pytest.approx(below, abs=5e-6)
    assert optimum(primal(C, free=free), K0) == pytest.approx(dnn, abs=5e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 2))
def test_exact_where_dnn_is(seed, m, free):
    rng = np.random.default_rng(seed)
    C = random_form(rng, m + free)
    truth = least(C, np.eye(m), free)
    for build in (primal, dual):
        model = build(C, free=free)
        assert optimum(model, K1) == pytest.approx(truth, abs=5e-6)
        assert bound_direction(model) == "exact"


@pytest.mark.parametrize("seed", range(3))
def test_rays_both_sides_and_composition(seed):
    rng = np.random.default_rng(seed)
    R = cell_rays(rng, 4, 6)
    C = random_form(rng, 5)
    truth = least(C, R, 1)
    for build in (primal, dual):
        assert optimum(build(C, free=1, rays=R), K1) <= truth + 1e-6
        split = optimum(build(C, free=1, rays=R), "partition", K1)
        assert split == pytest.approx(truth, abs=5e-6)


# How it is built


def test_leaves_keep_rays_and_order():
    R = cell_rays(np.random.default_rng(0), 3, 5)
    model = ConcreteModel()
    model.M = Var([0, 1], pairs(6))
    model.K = CopositiveCone(
        [0, 1], rule=lambda m, i: {"matrix": _member(m.M, i, 6), "rays": R}, free=1
    )
    model.L = CompletelyPositiveCone(
        [0, 1], rule=lambda m, i: {"matrix": _member(m.M, i, 6), "rays": R}, free=1
    )
    relax(model, "sos", targets=[model.K[1], model.L])
    assert model.K[0].active
    for cone in (model.K[1], model.L[0], model.L[1]):
        leaves = leaf_cones(cone)
        assert [leaf.index() for leaf in leaves] == [
            (cone.index(), i) for i in range(5)
        ]
        for leaf in leaves:
            assert isinstance(leaf, PSDConeData)
            assert (leaf.order, leaf.free) == (6, 1)
            assert leaf.rays is cone.rays


def _member(M, i, order):
    return {(a, b): M[i, a, b] for a, b in pairs(order)}


@pytest.mark.parametrize("form", ["orthant", "rays"])
def test_the_multiplier_is_the_sum_of_those_of_the_leaves(form):
    rng = np.random.default_rng(1)
    C = horn_form(rng, 1) + 0.02 * random_form(rng, 6)
    options, T = {}, np.eye(6)
    if form == "rays":
        options["rays"] = np.linalg.qr(rng.normal(size=(5, 5)))[0]
        T = in_rays(options["rays"], 1)
        C = T @ C @ T.T
    model = dual(C, free=1, **options)
    relax(model, "sos")
    results = solve(model)
    duals = results.solution_loader.get_duals()
    M = T @ -sum(duals[leaf] for leaf in leaf_cones(model.K)) @ T.T
    assert np.trace(M) == pytest.approx(1.0, abs=1e-6)
    assert np.sum(C * M) == pytest.approx(results.incumbent_objective, abs=1e-5)


def test_level_zero_is_dnn():
    model = primal(np.eye(3))
    model.F = CompletelyPositiveCone(model.M, facets=np.eye(3))
    model.N = CopositiveCone(model.M, facets=np.eye(3))
    relax(model, "sos", level=0)
    for cone, kind in (
        (model.K, DoublyNonnegativeConeData),
        (model.F, DoublyNonnegativeConeData),
        (model.N, PSDConeData),
    ):
        (leaf,) = leaf_cones(cone)
        assert isinstance(leaf, kind)
        assert leaf.facets is cone.facets
    assert len(model.N_sos.nonnegative) == 3


@pytest.mark.parametrize("level", [2, -1, 0.5, "one", None])
def test_levels_zero_and_one_exist(level):
    with pytest.raises(InputError, match=r"level.*0 (and|or) 1"):
        relax(primal(np.eye(3)), "sos", level=level)


@pytest.mark.parametrize("build", [primal, dual])
def test_facets_have_level_zero_only(build):
    model = build(np.eye(3), facets=np.eye(3))
    with pytest.raises(InputError, match=r"'K' is given by facets.*relu\.dnn"):
        relax(model, "sos")
    assert model.K.active
    assert model.component("K_sos") is None
