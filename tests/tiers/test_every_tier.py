"""What every tier has in common, on every kind of cone that it replaces."""

import pickle

import numpy as np
import pytest
from pyomo.environ import (
    ConcreteModel,
    Constraint,
    Objective,
    Suffix,
    TransformationFactory,
    Var,
    maximize,
    value,
)

from pyomo_relu import (
    CompletelyPositiveCone,
    CopositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
    bound_direction,
    relax,
    solve,
)
from pyomo_relu.errors import InputError, UnsupportedConeError
from pyomo_relu.tiers import leaf_cones, source_cone, tier_table

CONES = {
    "completely positive": CompletelyPositiveCone,
    "copositive": CopositiveCone,
    "doubly nonnegative": DoublyNonnegativeCone,
    "positive semidefinite": PSDCone,
}
#: Positive definite; least x^T Q x on the simplex is 1/2, at (e_0 + e_1) / 2.
Q = np.array([[1.0, 0.0, 0.8], [0.0, 1.0, 0.8], [0.8, 0.8, 2.0]])
ROWS = [(row.tier, row.cone) for row in tier_table()]
#: A partition takes only those doubly nonnegative cones that relu.dnn has made.
ROWS.remove(("relu.partition", "doubly nonnegative"))
every_tier = pytest.mark.parametrize(("tier", "kind"), ROWS)


def standard_quadratic(kind):
    """Return two copies at once of min <Q, M>, <J, M> = 1, or of its dual."""
    m = ConcreteModel()
    if kind == "copositive":
        m.level = Var([0, 1])
        m.K = CopositiveCone([0, 1], rule=shifted)
        m.o = Objective(expr=m.level[0] + m.level[1], sense=maximize)
        return m
    m.M = Var([0, 1], range(3), range(3), initialize=0.1)
    m.K = CONES[kind]([0, 1], rule=symmetric)
    m.one = Constraint([0, 1], rule=has_sum_one)
    m.o = Objective(expr=inner(m.K[0], Q) + inner(m.K[1], Q))
    return m


def shifted(m, k):
    return [[q - m.level[k] for q in row] for row in Q]


def symmetric(m, k):
    return [[m.M[k, min(i, j), max(i, j)] for j in range(3)] for i in range(3)]


def has_sum_one(m, k):
    return inner(m.K[k], np.ones((3, 3))) == 1


def inner(cone, weights):
    return sum((weights * cone.matrix).flat)


def snapshot(model):
    return [
        (c.name, type(c), c.active)
        for c in model.component_data_objects(active=None, descend_into=True)
    ]


@every_tier
def test_reversal_restores_the_model(tier, kind):
    model = standard_quadratic(kind)
    before = snapshot(model)
    token = TransformationFactory(tier).apply_to(model)
    assert snapshot(model) != before or tier == "relu.partition"
    TransformationFactory(tier).apply_to(model, reverse=token)
    assert snapshot(model) == before
    assert bound_direction(model) == "exact"


@every_tier
def test_one_member_as_a_target(tier, kind):
    model = standard_quadratic(kind)
    model.K[1].deactivate()
    if tier == "relu.cuts":
        # Its programs must be bounded without the other member too.
        for entry in model.K[1].upper_triangle:
            entry.fix(1.0 / 9.0)
    relax(model, tier, targets=[model.K[0]])
    model.K[1].activate()
    if tier == "relu.partition":
        return
    assert not model.K[0].active
    assert model.K[1].active
    leaves = leaf_cones(model.K[0])
    assert model.K[0] not in leaves
    assert all(source_cone(leaf) is model.K[0] for leaf in leaves)
    if kind in ("completely positive", "copositive"):
        with pytest.raises(UnsupportedConeError, match=r"K\[1\]"):
            solve(model)


@every_tier
def test_create_using_leaves_the_original_alone(tier, kind):
    model = standard_quadratic(kind)
    before = snapshot(model)
    new = TransformationFactory(tier).create_using(model)
    assert snapshot(model) == before
    if tier != "relu.partition":
        assert not new.K[0].active
    assert str(bound_direction(model)) == "exact"


@every_tier
def test_options_are_documented_and_checked(tier, kind):
    transformation = TransformationFactory(tier)
    for name in transformation.CONFIG:
        entry = transformation.CONFIG.get(name)
        assert entry._description, name
        assert entry._doc, name
    with pytest.raises(InputError, match=r"no option 'depth'.*targets"):
        relax(standard_quadratic(kind), tier, depth=1)


@every_tier
def test_copies_and_pickles_know_what_was_replaced(tier, kind):
    model = standard_quadratic(kind)
    relax(model, tier, **({"level": 1} if tier == "relu.partition" else {}))
    direction = bound_direction(model)
    for copy in (model.clone(), pickle.loads(pickle.dumps(model))):
        assert bound_direction(copy) == direction
        for leaf in leaf_cones(copy.K[1]):
            assert source_cone(leaf) is copy.K[1]


@every_tier
def test_the_value_is_on_the_side_that_is_said(tier, kind):
    model = standard_quadratic(kind)
    relax(model, tier)
    if tier == "relu.partition":
        relax(model, "dnn")
    side = bound_direction(model)
    if tier == "relu.factorized":
        # Local solvers have their own tests; every point of the set is a network's.
        assert side == "upper"
        return
    found = solve(model, "highs" if tier == "relu.cuts" else None).incumbent_objective
    optimum = 1.0
    if kind == "doubly nonnegative":
        # Of order three: completely positive.
        assert found <= optimum + 1e-6
    elif kind == "positive semidefinite":
        optimum = 2.0 / np.linalg.inv(Q).sum()
    if side != "upper":
        assert found <= optimum + 1e-6
    if side != "lower":
        assert found >= optimum - 1e-6


def test_the_dual_suffix_is_not_needed():
    model = standard_quadratic("copositive")
    relax(model, "dnn")
    model.dual = Suffix(direction=Suffix.IMPORT)
    solve(model)
    leaf = leaf_cones(model.K[0])[0]
    # The optimal matrix of the completely positive program, up to the sign.
    X = -model.dual[leaf]
    assert np.vdot(Q, X) == pytest.approx(0.5, abs=1e-6)
    assert value(model.o) == pytest.approx(1.0, abs=1e-6)
