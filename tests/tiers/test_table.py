"""The table of tiers: true to the classes, to the cones and to the docs."""

import re
from pathlib import Path

import pytest
from pyomo.environ import ConcreteModel, TransformationFactory, Var

from pyomo_relu import (
    CompletelyPositiveCone,
    CopositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
    relax,
)
from pyomo_relu.errors import InputError
from pyomo_relu.tiers import tier_table, tier_table_markdown

DOCS = Path(__file__).parents[2] / "docs" / "tiers.md"
CONES = {
    "completely positive": CompletelyPositiveCone,
    "copositive": CopositiveCone,
    "doubly nonnegative": DoublyNonnegativeCone,
    "positive semidefinite": PSDCone,
}


def model_with(cone):
    model = ConcreteModel()
    model.x = Var()
    model.K = CONES[cone]([[2, model.x], [model.x, 1]])
    return model


def test_the_docs_hold_the_table():
    """Mend with ``pyomo-relu tiers --format markdown``."""
    assert tier_table_markdown() in DOCS.read_text(encoding="utf-8")


def test_each_cone_names_the_tiers_that_replace_it():
    for kind, component in CONES.items():
        named = component._ComponentDataClass.tiers
        listed = {row.tier for row in tier_table() if row.cone == kind}
        assert set(named) == listed, kind


def test_bounds_and_solver_classes():
    for row in tier_table():
        expected = {"outer": "lower", "inner": "upper", "same": "exact"}
        assert row.bound == expected[row.side]
        assert row.solver_class in ("-", "LP", "SOCP", "SDP", "NLP")
        assert row.becomes
        # A partition alone leaves the kind of cone that it has found.
        unsolvable = row.cone in ("completely positive", "copositive")
        assert (row.solver_class == "-") == (row.side == "same" and unsolvable)


@pytest.mark.parametrize("kind", CONES)
def test_a_tier_that_does_not_apply_names_those_that_do(kind):
    model = model_with(kind)
    applies = {row.tier for row in tier_table() if row.cone == kind}
    others = {row.tier for row in tier_table()} - applies
    for tier in others:
        with pytest.raises(InputError) as caught:
            relax(model, tier)
        named = set(re.findall(r"relu\.\w+", str(caught.value)))
        assert applies <= named
        with pytest.raises(InputError, match=r"these tiers apply: relu\."):
            TransformationFactory(tier).apply_to(model, targets=model.K)
    assert model.K.active


def test_the_name_of_no_tier():
    with pytest.raises(InputError, match=r"no tier 'simplex'.*relu\.dnn"):
        relax(model_with("copositive"), "simplex")
