"""`relu.partition`: pieces that cover, the same program, refinement on demand."""

from __future__ import annotations

import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.environ import (
    ConcreteModel,
    Constraint,
    Objective,
    TransformationFactory,
    Var,
    value,
)

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    recover_network,
)
from pyomo_relu.cones import (
    CompletelyPositiveCone,
    CopositiveConeData,
    DoublyNonnegativeCone,
    DoublyNonnegativeConeData,
)
from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.solvers import solve
from pyomo_relu.tiers import bound_direction, leaf_cones, relax
from pyomo_relu.tiers.on_demand import lacks_factors
from tests.tiers.forms import (
    HORN,
    cell_rays,
    dual,
    in_rays,
    inner,
    least,
    optimum,
    pairs,
    primal,
    random_form,
)

SQUARE = np.array([[1.0, 1, -1, -1], [1, -1, -1, 1], [1, 1, 1, 1]])


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.ERROR)


# Copositive cones


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("r", [2, 4, 5, None])
@pytest.mark.parametrize("free", [0, 2])
def test_copositive_pieces_are_the_form_on_cones_that_cover(r, level, free):
    rng = np.random.default_rng(3)
    R = np.eye(5) if r is None else cell_rays(rng, r, 5)
    C = random_form(rng, len(R) + free)
    model = dual(C, free=free, **({} if r is None else {"rays": R}))
    model.t.value = 0.3
    relax(model, "partition", level=level)
    leaves = leaf_cones(model.K)
    if level == 0 and r in (None, 5):
        assert leaves == [model.K]
        return
    covered = np.zeros(200, dtype=bool)
    directions = R @ rng.exponential(size=(5, 200))
    for leaf in leaves:
        assert isinstance(leaf, CopositiveConeData)
        assert leaf.free == free
        T = in_rays(leaf.rays, free)
        np.testing.assert_allclose(np.linalg.norm(leaf.rays, axis=0), 1.0)
        np.testing.assert_allclose(
            leaf.numeric(), T.T @ (C - 0.3 * np.eye(len(C))) @ T, atol=1e-9
        )
        weights, *_ = np.linalg.lstsq(leaf.rays, directions, rcond=None)
        assert leaf.rays.shape[1] == min(5, len(R))
        covered |= (weights > -1e-9).all(axis=0)
    assert covered.all()
    assert list(model.K_partition.component_map()) == ["cone"]
    assert bound_direction(model) == "exact"


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 2))
def test_rank_four_is_exact_on_both_sides(seed, free):
    rng = np.random.default_rng(seed)
    R = cell_rays(rng, 4, 7)
    C = random_form(rng, 4 + free)
    truth = least(C, R, free)
    for build in (primal, dual):
        model = build(C, free=free, rays=R)
        found = optimum(model, "partition", "dnn")
        assert found == pytest.approx(truth, abs=5e-6)
        assert bound_direction(model) == "exact"


@pytest.mark.parametrize("build", [primal, dual])
def test_one_bisection_closes_the_horn_matrix(build):
    assert optimum(build(HORN), "dnn") < -0.2
    split = optimum(build(HORN), ("partition", {"level": 1}), "dnn")
    assert split == pytest.approx(0.0, abs=1e-6)


def test_copositive_without_facets_and_lines():
    model = dual(np.eye(3), facets=np.eye(3))
    with pytest.raises(InputError, match=r"'K' is given by facets"):
        relax(model, "partition")
    model = dual(np.eye(1), rays=np.array([[1.0, -1.0]]))
    with pytest.raises(InputError, match=r"'K'.*contains a line"):
        relax(model, "partition")
    assert model.K.active


@pytest.mark.parametrize("build", [primal, dual])
def test_reversal(build):
    model = build(np.eye(3), rays=SQUARE)
    partition = TransformationFactory("relu.partition")
    token = partition.apply_to(model)
    assert len(leaf_cones(model.K)) == 2
    partition.apply_to(model, reverse=token)
    assert leaf_cones(model.K) == [model.K]
    assert model.component("K_partition") is None


def test_level_none_is_refused():
    with pytest.raises(InputError, match=r"level=None.*by default 0"):
        relax(primal(np.eye(3)), "partition", level=None)


# Doubly nonnegative cones


@pytest.mark.parametrize("level", [0, 1])
def test_dnn_and_partition_in_either_order(level):
    rng = np.random.default_rng(2)
    R = cell_rays(rng, 4, 7)
    C = random_form(rng, 5)
    options = ("partition", {"level": level})
    before = primal(C, free=1, rays=R)
    after = primal(C, free=1, rays=R)
    values = optimum(before, options, "dnn"), optimum(after, "dnn", options)
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert bound_direction(before) == bound_direction(after) == "exact"
    shapes = [
        [(leaf.order, leaf.free, leaf.rays.tolist()) for leaf in leaf_cones(m.K)]
        for m in (before, after)
    ]
    assert shapes[0] == shapes[1]
    assert all(isinstance(c, DoublyNonnegativeConeData) for c in leaf_cones(after.K))


def test_a_doubly_nonnegative_cone_of_the_user_stays():
    model = primal(np.eye(4), rays=np.eye(4)[:, [0, 1, 2, 3, 0]])
    model.D = DoublyNonnegativeCone(model.M)
    model.E = DoublyNonnegativeCone([0], rule=lambda m, i: m.M)
    relax(model, "dnn")
    with pytest.raises(InputError, match=r"'D' was written as a doubly nonnegative"):
        relax(model, "partition", level=1, targets=model.D)
    with pytest.raises(InputError, match=r"'E\[0\]' was written as"):
        relax(model, "partition", level=1, targets=[model.K, model.E])
    relax(model, "partition", level=1)
    assert model.D.active
    assert model.E[0].active
    assert [leaf.kind for leaf in leaf_cones(model.K)] == ["doubly nonnegative"] * 2


# On demand


def several_cones(C, all_rays):
    """Return min sum <C, R_i A_i R_i'> over cones side by side, on one simplex."""
    model = ConcreteModel()
    model.M = Var(
        [(i, a, b) for i, R in enumerate(all_rays) for a, b in pairs(R.shape[1])]
    )
    model.K = CompletelyPositiveCone(
        range(len(all_rays)),
        rule=lambda m, i: {
            "matrix": {(a, b): m.M[i, a, b] for a, b in pairs(all_rays[i].shape[1])},
            "rays": all_rays[i],
        },
    )
    grams = [(R.T @ C @ R, R.T @ np.ones((len(R), len(R))) @ R) for R in all_rays]
    model.o = Objective(
        expr=sum(inner(G, model.K[i].matrix) for i, (G, _) in enumerate(grams))
    )
    model.simplex = Constraint(
        expr=sum(inner(E, model.K[i].matrix) for i, (_, E) in enumerate(grams)) == 1
    )
    return model


def count(model):
    return [len(leaf_cones(cone)) for cone in model.K.values()]


def test_only_active_cones_that_lack_factors_are_split():
    """The orthant carries the Horn matrix; the two other cones are worse."""
    inside = np.eye(5) + 0.3
    narrow = np.abs(np.random.default_rng(0).normal(size=(5, 7))) + 1.0
    model = several_cones(HORN, [inside, np.eye(5), narrow])
    relax(model, "dnn")
    solve(model)
    assert value(model.o) == pytest.approx(-0.1055728, abs=1e-6)
    relax(model, "partition", on_demand=True)
    assert count(model) == [1, 2, 1]
    assert model.K_dnn[0].active
    assert model.K_dnn[2].active
    # Without a solution of the new model nothing more can be said.
    with pytest.raises(SolverError, match=r"without a value.*solve it first"):
        relax(model, "partition", on_demand=True)
    assert count(model) == [1, 2, 1]
    solve(model)
    assert value(model.o) == pytest.approx(0.0, abs=1e-6)
    assert bound_direction(model) == "lower"


def test_refinement_on_demand_ends_at_the_truth():
    """A scaled Horn matrix with two rays that are not extreme."""
    rng = np.random.default_rng(4)
    D = np.diag(rng.uniform(0.6, 1.5, 5))
    C = D @ HORN @ D
    rays = np.hstack([np.eye(5), np.eye(5)[:, :2] + 0.1])
    model = several_cones(C, [rays])
    relax(model, "dnn")
    solve(model)
    values, sizes = [value(model.o)], count(model)
    for _ in range(12):
        relax(model, "partition", on_demand=True)
        if count(model)[0] == sizes[-1]:
            break
        sizes += count(model)
        solve(model, raise_exception_on_nonoptimal_result=False)
        values.append(value(model.o))
    assert values[0] < -1e-3
    assert all(a <= b + 1e-6 for a, b in pairwise(values))
    assert values[-1] == pytest.approx(0.0, abs=1e-5)


def test_the_level_counts_on_demand_too():
    model = several_cones(HORN, [np.eye(5)])
    relax(model, "dnn")
    solve(model)
    relax(model, "partition", on_demand=True, level=2)
    assert count(model) == [4]


def test_a_training_problem_of_rank_five():
    """dnn is loose in one cell of 31; to split it closes the gap to a network."""
    rng = np.random.default_rng(0)
    problem = TrainingProblem(rng.normal(size=(5, 5)), rng.normal(size=(5, 3)), 0.1)
    model = build_completely_positive(problem)
    relax(model, "dnn")
    loose = solve(model).incumbent_objective
    tight, sizes = loose, [31]
    for _ in range(4):
        relax(model, "partition", on_demand=True)
        pieces = [len(leaf_cones(cone)) for cone in model.cone.values()]
        sizes.append(sum(pieces))
        if sizes[-1] == sizes[-2]:
            break
        tight = solve(model).incumbent_objective
    else:
        pytest.fail(f"the refinement has not ended: {sizes}")
    assert 1 <= sum(size > 1 for size in pieces) <= 3
    upper = recover_network(model).objective(problem)
    assert loose < tight - 5e-5
    assert tight == pytest.approx(upper, abs=1e-6)


def test_copositive_cones_are_refused_on_demand():
    model = dual(HORN)
    model.t.value = 0.0
    with pytest.raises(InputError, match=r"'K' is copositive.*level="):
        relax(model, "partition", on_demand=True)
    assert leaf_cones(model.K) == [model.K]


# Which cones lack factors


def solved(A, **options):
    """Return a completely positive cone whose matrix has the values A."""
    model = ConcreteModel()
    model.M = Var(pairs(len(A)))
    for (i, j), entry in model.M.items():
        entry.value = A[i, j]
    model.K = CompletelyPositiveCone(model.M, **options)
    return model.K


def doubly_nonnegative_not_completely_positive():
    """Return the circulant A, ``<H, A> = 5 (1 - 4 c + 2 s) < 0``, rank three."""
    cosine = np.cos(2 * np.pi * np.arange(5) / 5)
    A = np.array(
        [
            [1 + cosine[(i - j) % 5] / np.cos(np.pi / 5) for j in range(5)]
            for i in range(5)
        ]
    )
    assert A.min() > -1e-9
    assert np.linalg.eigvalsh(A)[0] > -1e-9
    assert np.sum(HORN * A) < -0.01
    return A


def test_factors_are_missing_where_the_horn_matrix_says_so():
    A = doubly_nonnegative_not_completely_positive()
    assert lacks_factors([solved(A)]) == [True]
    B = np.abs(np.random.default_rng(0).normal(size=(5, 7)))
    assert lacks_factors([solved(B @ B.T)]) == [False]
    assert lacks_factors([solved(A[:4, :4])]) == [False]  # exact anyway
    assert lacks_factors([solved(np.zeros((5, 5)))]) == [False]
    free = np.pad(A, (0, 1))
    assert lacks_factors([solved(free, free=1)]) == [True]


def test_factors_are_looked_for_in_the_cone_of_the_rays():
    A = doubly_nonnegative_not_completely_positive()
    # In rank three R A R' has factors whatever A is; in rank five A has none.
    rng = np.random.default_rng(1)
    R = rng.normal(size=(5, 5))
    assert lacks_factors([solved(A, rays=R)]) == [True]
    assert lacks_factors([solved(A, rays=R[:3] + 9 * np.eye(3)[:, [2] * 5])]) == [False]
    # The same moment in facets' coordinates.
    F = np.linalg.inv(R)
    assert lacks_factors([solved(R @ A @ R.T, facets=F)]) == [True]
    B = R @ np.abs(rng.normal(size=(5, 6)))
    assert lacks_factors([solved(B @ B.T, facets=F)]) == [False]


def test_what_is_tiny_against_the_other_members_is_inactive():
    A = doubly_nonnegative_not_completely_positive()
    model = ConcreteModel()
    model.M = Var([0, 1, 2], pairs(5))
    for (i, a, b), entry in model.M.items():
        entry.value = A[a, b] * (1.0, 1e-8, 1e9)[i]
    model.K = CompletelyPositiveCone(
        [0, 1, 2], rule=lambda m, i: {(a, b): m.M[i, a, b] for a, b in pairs(5)}
    )
    model.K[2].deactivate()
    assert lacks_factors([model.K[0], model.K[1]]) == [True, False]
    model.K[2].activate()
    assert lacks_factors(list(model.K.values())) == [False, False, True]


def test_a_cone_of_facets_without_factors_cannot_be_split():
    A = doubly_nonnegative_not_completely_positive()
    cone = solved(A, facets=np.eye(5))
    with pytest.raises(InputError, match="given by facets"):
        relax(cone.model(), "partition", on_demand=True)
