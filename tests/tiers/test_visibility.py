"""What the rest of a model sees of a variable."""

import pyomo.environ as pyo
import pytest

from pyomo_relu.cones import PSDCone
from pyomo_relu.tiers.visibility import first_seen


@pytest.fixture
def model():
    m = pyo.ConcreteModel()
    m.x, m.y, m.z = pyo.Var(), pyo.Var(), pyo.Var()
    m.o = pyo.Objective(expr=m.x)
    return m


def test_nothing_is_seen(model):
    assert first_seen(model, [model.y, model.z]) is None
    assert first_seen(model, []) is None


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m.add_component("c", pyo.Constraint(expr=m.y + m.x <= 1)),
        lambda m: m.add_component("c", pyo.Constraint(expr=pyo.sin(m.y) <= 1)),
        lambda m: m.add_component("K", PSDCone([[1, m.y], [m.y, 1]])),
        lambda m: m.add_component("K", PSDCone([[1, m.x + m.y], [m.x + m.y, 1]])),
        lambda m: m.o.set_value(m.x + m.y),
        lambda m: m.y.fix(1.0),
        lambda m: m.y.setlb(0.0),
        lambda m: m.y.setub(3.0),
        lambda m: setattr(m.y, "domain", pyo.Integers),
    ],
)
def test_each_way_of_seeing(model, use):
    use(model)
    assert first_seen(model, [model.z, model.y]) is model.y


def test_inactive_and_ignored_components_see_nothing(model):
    model.c = pyo.Constraint(expr=model.y <= 1)
    model.c.deactivate()
    model.K = PSDCone([[1, model.y], [model.y, 1]])
    assert first_seen(model, [model.y], ignored=[model.K]) is None
    model.K.deactivate()
    assert first_seen(model, [model.y]) is None
