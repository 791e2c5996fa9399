"""No writer, solver or transformation may drop an active cone in silence."""

from __future__ import annotations

import pickle
from importlib import import_module
from operator import attrgetter

import pytest
from pyomo.environ import (
    Any,
    ConcreteModel,
    Constraint,
    Objective,
    SolverFactory,
    TransformationFactory,
    Var,
    value,
)
from pyomo.gdp import Disjunct, Disjunction
from pyomo.opt import WriterFactory

from pyomo_relu.cones import (
    CompletelyPositiveCone,
    CopositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
    cone_data_objects,
    is_cone_guard,
)
from pyomo_relu.cones.membership import WALKERS, MembershipExpression
from pyomo_relu.errors import InputError, UnsupportedConeError

KINDS = [PSDCone, DoublyNonnegativeCone, CompletelyPositiveCone, CopositiveCone]
FILE_WRITERS = [
    *("nl_v1", "nl_v2", "lp_v1", "lp_v2", "cpxlp_v1", "cpxlp_v2"),
    *("mps", "gams", "gams_writer_v2", "bar"),
]
COMPILERS = ["compile_standard_form", "compile_parameterized_standard_form"]


def small_model(kind=CompletelyPositiveCone):
    m = ConcreteModel()
    m.x = Var(initialize=0.5, bounds=(-1, 1))
    m.y = Var(initialize=1.0, bounds=(-1, 3))
    m.o = Objective(expr=m.x + m.y)
    m.c = Constraint(expr=m.x + 2 * m.y >= 1)
    m.K = kind([[m.y, m.x], [m.x, 2 * m.y + 1]])
    return m


def write(m, writer, tmp_path):
    if writer in COMPILERS:
        return WriterFactory(writer).write(m)
    path = tmp_path / "model.txt"
    if writer == "gams_writer_v2":
        with path.open("w") as stream:
            return WriterFactory(writer).write(m, stream)
    return WriterFactory(writer)(m, str(path), lambda _: True, {})


def assert_stopped(action, cone):
    with pytest.raises(UnsupportedConeError) as caught:
        action()
    message = str(caught.value)
    assert repr(cone.name) in message
    for tier in cone.tiers:
        assert repr(tier) in message
    assert "solve(model)" in message


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("writer", FILE_WRITERS + COMPILERS)
def test_writers_stop_on_an_active_cone_only(writer, kind, tmp_path):
    m = small_model(kind)
    assert_stopped(lambda: write(m, writer, tmp_path), m.K)
    m.K.deactivate()
    write(m, writer, tmp_path)
    m.K.activate()
    assert_stopped(lambda: write(m, writer, tmp_path), m.K)


@pytest.mark.parametrize("writer", FILE_WRITERS + COMPILERS)
def test_a_cone_of_fixed_variables_is_not_trivial(writer, tmp_path):
    m = small_model()
    m.z = Var()
    m.d = Constraint(expr=m.z >= 0)
    m.o.set_value(m.z)
    m.x.fix()
    m.y.fix()
    assert_stopped(lambda: write(m, writer, tmp_path), m.K)


@pytest.mark.parametrize("writer", FILE_WRITERS + COMPILERS)
def test_a_cone_of_numbers_is_not_trivial(writer, tmp_path):
    m = small_model()
    m.del_component("K")
    m.K = CompletelyPositiveCone([[1.0, -1.0], [-1.0, 1.0]])
    assert_stopped(lambda: write(m, writer, tmp_path), m.K)


@pytest.mark.parametrize("suffix", ["nl", "lp", "mps", "gms", "bar"])
def test_model_write_stops(suffix, tmp_path):
    m = small_model()
    path = str(tmp_path / f"model.{suffix}")
    assert_stopped(lambda: m.write(path), m.K)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("solver", ["highs", "appsi_highs"])
def test_solvers_stop_on_an_active_cone_only(solver, kind):
    if not SolverFactory(solver).available(exception_flag=False):
        pytest.skip(f"{solver} is not installed")
    m = small_model(kind)
    assert_stopped(lambda: SolverFactory(solver).solve(m), m.K)
    m.x.fix()
    m.y.fix()
    assert_stopped(lambda: SolverFactory(solver).solve(m), m.K)
    m.x.unfix()
    m.y.unfix()
    m.K.deactivate()
    SolverFactory(solver).solve(m)
    assert value(m.o) == pytest.approx(0.0)


def test_a_member_of_an_indexed_cone_stops_alone(tmp_path):
    m = ConcreteModel()
    m.x = Var([0, 1])
    m.o = Objective(expr=m.x[0] + m.x[1])
    m.K = PSDCone([0, 1], rule=lambda m, i: [[1, m.x[i]], [m.x[i], 1]])
    m.K[0].deactivate()
    assert_stopped(lambda: m.write(str(tmp_path / "a.lp")), m.K[1])
    m.K[1].deactivate()
    m.write(str(tmp_path / "a.lp"))


def disjunctive_model():
    m = small_model()
    m.K.deactivate()
    m.d = Disjunct()
    m.e = Disjunct()
    m.D = Disjunction(expr=[m.d, m.e])
    m.d.K = CompletelyPositiveCone([[m.y, m.x], [m.x, m.y]])
    m.e.c = Constraint(expr=m.x >= 0.3)
    return m


@pytest.mark.parametrize(
    ("transformation", "options"),
    [
        ("gdp.bigm", {}),
        ("gdp.bigm", {"bigM": 100}),
        ("gdp.mbigm", {}),
        ("gdp.mbigm", {"bigM": 100}),
        ("gdp.hull", {}),
        ("gdp.binary_multiplication", {}),
    ],
)
def test_gdp_stops_on_a_cone_inside_a_disjunct_only(transformation, options):
    m = disjunctive_model()
    gdp = TransformationFactory(transformation)
    assert_stopped(lambda: gdp.apply_to(m, **options), m.d.K)
    m = disjunctive_model()
    m.d.K.deactivate()
    gdp.apply_to(m, **options)


def test_gdp_keeps_a_cone_outside_the_disjuncts(tmp_path):
    m = disjunctive_model()
    m.d.K.deactivate()
    m.K.activate()
    TransformationFactory("gdp.bigm").apply_to(m)
    for suffix in ("lp", "nl", "mps"):
        path = str(tmp_path / f"model.{suffix}")
        assert_stopped(lambda path=path: m.write(path), m.K)
    m.K.deactivate()
    m.write(str(tmp_path / "model.lp"))


@pytest.mark.parametrize(
    "transformation", ["core.add_slack_variables", "core.scale_model"]
)
def test_transformations_that_rewrite_bodies_stop(transformation):
    m = small_model()
    if transformation == "core.scale_model":
        from pyomo.environ import Suffix

        m.scaling_factor = Suffix(direction=Suffix.EXPORT)
        m.scaling_factor[m.x] = 2.0
    tool = TransformationFactory(transformation)
    assert_stopped(lambda: tool.apply_to(m), m.K)


def test_every_walker_in_the_table_has_been_taught():
    for module, path in WALKERS:
        handlers = attrgetter(path)(import_module(module))
        assert MembershipExpression in handlers, (module, path)


@pytest.mark.parametrize("writer", FILE_WRITERS)
def test_the_margin_in_another_constraint_is_no_way_around(writer, tmp_path):
    m = small_model()
    body = m.K.guard.body
    for action in (
        lambda: body + 1,
        lambda: 1 - body,
        lambda: 2 * body,
        lambda: -body,
        lambda: body**2,
        lambda: abs(body),
    ):
        assert_stopped(action, m.K)
    m.sneaky = Constraint(expr=body >= 1)
    m.K.deactivate()
    with pytest.raises(Exception, match=r"completely positive cone 'K'|margin"):
        write(m, writer, tmp_path)


def test_the_guard_cannot_be_switched_off_alone(tmp_path):
    m = small_model()
    # With a way out for people and one for who called a solver that does this.
    with pytest.raises(UnsupportedConeError, match=r"relu\.dnn.*K\.deactivate\(\)"):
        m.K.guard.deactivate()
    assert m.K.guard.active
    with pytest.raises(UnsupportedConeError):
        m.K.guard.set_value(m.x >= 0)


def test_guards_are_recognised():
    m = small_model()
    guards = {
        c.name: is_cone_guard(c)
        for c in m.component_data_objects(Constraint, active=True)
    }
    assert guards == {"c": False, "K.guard": True}


@pytest.mark.parametrize("copy", ["clone", "pickle"])
def test_copies_are_guarded_by_themselves(copy, tmp_path):
    m = small_model()
    m.K.deactivate()
    other = m.clone() if copy == "clone" else pickle.loads(pickle.dumps(m))
    other.K.activate()
    other.K_name = "copy"
    m.write(str(tmp_path / "a.lp"))
    assert_stopped(lambda: other.write(str(tmp_path / "b.lp")), other.K)
    assert [cone is other.K for cone in cone_data_objects(other)] == [True]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "remove",
    [
        lambda cone: cone.del_component("guard"),
        lambda cone: cone.del_component(cone.guard),
        lambda cone: delattr(cone, "guard"),
        lambda cone: setattr(cone, "guard", Constraint(expr=1 <= 2)),
        lambda cone: cone.clear(),
        lambda cone: cone.transfer_attributes_from({"guard": Constraint(expr=1 <= 2)}),
    ],
)
def test_the_guard_cannot_be_removed(kind, remove, tmp_path):
    m = small_model(kind)
    m.J = kind([0], rule=lambda m, i: [[m.y, m.x], [m.x, m.y]])
    for cone in (m.K, m.J[0]):
        with pytest.raises(
            (InputError, UnsupportedConeError), match=r"cone.*deactivate\(\)"
        ):
            remove(cone)
        assert cone.guard.active
        assert_stopped(lambda: m.write(str(tmp_path / "q.lp")), m.K)
    m.K.deactivate()
    with pytest.raises(InputError, match="delete the cone"):
        m.K.del_component("guard")
    m.K.activate()
    m.K.note = Constraint(expr=m.x >= 0)
    m.K.del_component("note")
    assert m.K.component("note") is None


def test_an_indexed_cone_is_not_cleared():
    m = small_model()
    m.J = PSDCone([0, 1], rule=lambda m, i: [[m.y, m.x], [m.x, m.y]])
    with pytest.raises(InputError, match=r"J\.deactivate\(\)"):
        m.J.clear()
    assert len(m.J) == 2
    m.del_component(m.J)
    assert [cone.name for cone in cone_data_objects(m)] == ["K"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "action",
    [
        lambda m: TransformationFactory("gdp.bigm").apply_to(m),
        lambda m: TransformationFactory("contrib.induced_linearity").apply_to(m),
        lambda m: SolverFactory("gdpopt.loa").solve(m),
        lambda m: SolverFactory("gdpopt.gloa").solve(m),
        lambda m: SolverFactory("gdpopt.ric").solve(m),
        lambda m: SolverFactory("gdpopt.lbb").solve(m),
    ],
)
def test_who_meets_a_cone_in_a_disjunct_says_how_to_go_on(kind, action):
    m = disjunctive_model()
    m.d.del_component("K")
    m.d.K = kind([[m.y, m.x], [m.x, m.y]])
    with pytest.raises(UnsupportedConeError) as caught:
        action(m)
    message = str(caught.value)
    assert "inside the Disjunct 'd'" in message
    assert "take no matrix cones" in message
    assert "gdp.fix_disjuncts" in message


def test_the_way_on_from_a_disjunct_leads_to_an_optimum():
    m = disjunctive_model()
    m.d.indicator_var.fix(True)
    m.e.indicator_var.fix(False)
    TransformationFactory("gdp.fix_disjuncts").apply_to(m)
    with pytest.raises(UnsupportedConeError) as caught:
        SolverFactory("highs").solve(m)
    assert "inside the Disjunct" not in str(caught.value)
    TransformationFactory("relu.dnn").apply_to(m)
    # min x + y, x + 2 y >= 1, [[y, x], [x, y]] doubly nonnegative: (0, 1/2).
    SolverFactory("clarabel").solve(m)
    assert value(m.o) == pytest.approx(0.5, abs=1e-6)


def test_cones_in_disjuncts_are_found():
    m = disjunctive_model()
    assert [cone.name for cone in cone_data_objects(m)] == ["d.K"]
    m.d.deactivate()
    assert list(cone_data_objects(m)) == []
    assert [c.name for c in cone_data_objects(m, active=None)] == ["K", "d.K"]


@pytest.mark.parametrize("kind", KINDS)
def test_an_infinite_index_set_is_refused(kind):
    m = small_model(kind)
    with pytest.raises(InputError, match=r"'J'.*Any.*not finite"):
        m.J = kind(Any, rule=lambda m, i: [[m.y, m.x], [m.x, m.y]])
    m.I = kind([], rule=lambda m, i: [[m.y]])
    assert len(m.I) == 0
