"""Sides of chains and of models that somebody has changed afterwards."""

import pyomo.environ as pyo
import pytest

from pyomo_relu import (
    CompletelyPositiveCone,
    CopositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    relax,
    solve,
)
from pyomo_relu.errors import InputError
from tests.instances import horn_matrix, reference_data


def least_trace():
    """Return min tr A, <J, A> = 1 over completely positive A of order 3: 1/3."""
    m = pyo.ConcreteModel()
    m.A = pyo.Var([(i, j) for i in range(3) for j in range(i, 3)])
    m.K = CompletelyPositiveCone(m.A)
    m.one = pyo.Constraint(expr=sum(m.K.matrix.flat) == 1)
    m.o = pyo.Objective(expr=sum(m.A[i, i] for i in range(3)))
    return m


def test_a_partition_does_not_undo_a_restriction():
    m = least_trace()
    relax(m, "ray_pairs")
    relax(m, "partition", level=1)
    assert solve(m).incumbent_objective > 1 / 3 + 0.1
    assert bound_direction(m) == "upper"


def test_dnn_is_judged_on_the_pieces_whichever_came_first():
    rows = horn_matrix()
    m = pyo.ConcreteModel()
    m.A = pyo.Var([(i, j) for i in range(5) for j in range(i, 5)])
    m.K = CompletelyPositiveCone(m.A)
    m.o = pyo.Objective(expr=sum((rows * m.K.matrix).flat))
    relax(m, "dnn")
    assert bound_direction(m) == "lower"
    relax(m, "partition", level=1)
    assert bound_direction(m) == "lower"


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
@pytest.mark.parametrize("tier", ["dnn", "sos"])
def test_a_copositive_cone_whose_block_is_not_constant(sense, tier):
    """One free coordinate, and a leading block that a variable moves."""
    m = pyo.ConcreteModel()
    m.t = pyo.Var()
    order = range(5)
    H = horn_matrix()
    rows = [[*(H[i, j] + m.t for j in order), 0] for i in order]
    m.K = CopositiveCone([*rows, [0, 0, 0, 0, 0, 1]], free=1)
    m.o = pyo.Objective(expr=m.t if sense == pyo.minimize else -m.t, sense=sense)
    relax(m, tier, **({"level": 0} if tier == "sos" else {}))
    solve(m)
    # The Horn matrix is copositive: the least t is 0.
    assert m.t.value > 0.1
    assert bound_direction(m) == ("upper" if sense == pyo.minimize else "lower")


def test_a_cone_that_was_activated_by_hand():
    m = least_trace()
    relax(m, "rays")
    m.K.activate()
    assert bound_direction(m) == "upper"
    with pytest.raises(InputError, match=r"replaced by relu\.rays and has been activ"):
        relax(m, "dnn")
    m = least_trace()
    relax(m, "minors")
    m.K.activate()
    # Rows that the cone implies change nothing.
    assert bound_direction(m) == "exact"


def test_rows_that_are_gone():
    m = least_trace()
    relax(m, "dd")
    del m.K_dd.dominance[0]
    assert bound_direction(m) == "neither"
    m = build_completely_positive(TrainingProblem(*reference_data(0), beta=0.2))
    relax(m, "rays")
    assert bound_direction(m) == "upper"
    next(iter(m.cone_rays.arrow.values())).quadratic.deactivate()
    assert bound_direction(m) == "neither"


def test_untied_entries_that_are_seen_later():
    m = build_completely_positive(TrainingProblem(*reference_data(0), beta=0.2))
    relax(m, "rays")
    cell = m.CELLS.first()
    k = m.cone[cell].order
    hidden = m.moment[cell, k - 2, k - 1]
    m.row = pyo.Constraint(expr=hidden >= 1)
    assert bound_direction(m) == "neither"
    assert hidden.name in bound_direction(m).reason
    m.row.deactivate()
    assert bound_direction(m) == "upper"
    m.sos = pyo.SOSConstraint(var=m.moment, index=[(cell, k - 2, k - 1)], sos=1)
    assert bound_direction(m) == "neither"


def test_a_block_has_the_sense_of_its_model():
    m = pyo.ConcreteModel()
    m.b = pyo.Block()
    m.b.x = pyo.Var()
    m.b.K = PSDCone([[1, m.b.x], [m.b.x, 1]])
    m.o = pyo.Objective(expr=m.b.x, sense=pyo.maximize)
    relax(m, "dd")
    assert bound_direction(m) == bound_direction(m.b) == "lower"


def test_an_error_in_the_middle_leaves_the_model_as_it_was(monkeypatch):
    from pyomo_relu.tiers import base

    def interrupt(*_):
        raise KeyboardInterrupt

    m = least_trace()
    monkeypatch.setattr(base, "keep_replacement", interrupt)
    with pytest.raises(KeyboardInterrupt):
        relax(m, "dnn")
    assert m.K.active
    assert m.component("K_dnn") is None


def test_rows_that_stand_for_a_target():
    m = least_trace()
    relax(m, "minors")
    with pytest.raises(InputError, match=r"rows of relu\.minors stand for it"):
        relax(m, "psd", targets=m.K)


@pytest.mark.parametrize(
    ("tier", "options"),
    [
        ("factorized", {"columns": None}),
        ("factorized", {"columns": 0}),
        ("cuts", {"tolerance": None}),
        ("cuts", {"tolerance": 0.0}),
        ("partition", {"level": -1}),
        ("partition", {"on_demand": "perhaps"}),
        ("sos", {"level": -1}),
        ("dnn", {"options": {"levels": 1}}),
    ],
)
def test_hostile_options(tier, options):
    m = least_trace()
    with pytest.raises(InputError, match=rf"relu\.{tier}") as caught:
        relax(m, tier, **options)
    assert "casting" not in str(caught.value)
    assert "_existing" not in str(caught.value)
    assert m.K.active


def changed_parameter(m):
    m.p = 3.0


def freed_variable(m):
    m.z.unfix()


def another_objective(m):
    m.o.set_value(m.x**2 + 10 * m.x)


@pytest.mark.parametrize(
    "change", [changed_parameter, freed_variable, another_objective]
)
def test_an_objective_that_has_changed_since_it_got_tangents(change):
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(-3, 3))
    m.z = pyo.Var(bounds=(-1, 1), initialize=0.5)
    m.z.fix()
    m.p = pyo.Param(initialize=1.0, mutable=True)
    m.K = PSDCone([[1, m.x], [m.x, 4]])
    m.o = pyo.Objective(expr=m.p * (m.x**2 + 4 * m.x) + m.z)
    relax(m, "cuts")
    solve(m, "highs")
    before = bound_direction(m)
    assert before == "lower"
    assert bound_direction(m.clone()) == before
    change(m)
    assert bound_direction(m) == "neither"
    assert "tangents" in bound_direction(m).reason


def test_a_partition_of_cones_that_are_no_sums_of_pieces():
    m = pyo.ConcreteModel()
    m.A = pyo.Var([(i, j) for i in range(3) for j in range(i, 3)])
    m.K = DoublyNonnegativeCone(m.A)
    with pytest.raises(InputError, match=r"no active .* cone that relu\.partition"):
        relax(m, "partition", level=1)
