"""Second-order cones as Pyomo components: vectors, rows, copies, errors."""

from __future__ import annotations

import io
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.environ import (
    AbstractModel,
    Any,
    Block,
    ConcreteModel,
    Constraint,
    Expression,
    Objective,
    Param,
    SolverFactory,
    Suffix,
    TransformationFactory,
    Var,
    value,
)
from pyomo.gdp import Disjunct
from pyomo.opt import WriterFactory

from pyomo_relu.cones import (
    ConeData,
    SecondOrderCone,
    SecondOrderConeData,
    cone_data_objects,
)
from pyomo_relu.errors import InputError, InputTypeError


def rows_hold(cone, tolerance=0.0):
    return all(row.slack() >= -tolerance for row in cone.rows)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 6), st.booleans())
def test_margin_and_rows_agree_with_the_definition(seed, k, rotated):
    rng = np.random.default_rng(seed)
    m = ConcreteModel()
    m.x = Var(range(k), initialize=dict(enumerate(rng.normal(size=k) + 1.0)))
    m.x[0] = m.x[0].value * 3
    m.K = SecondOrderCone(m.x, rotated=rotated)
    s = m.K.numeric()
    np.testing.assert_array_equal(s, [m.x[i].value for i in range(k)])
    if rotated:
        inside = s[0] >= 0 and s[1] >= 0 and 2 * s[0] * s[1] >= s[2:] @ s[2:]
    else:
        inside = s[0] >= np.sqrt(s[1:] @ s[1:])
    assert (m.K.margin() >= 0.0) == inside
    assert rows_hold(m.K) == inside
    # The margin is the largest step along (1, 0, ...), turned for a rotated cone.
    step = np.eye(k)[0] if not rotated else np.append([0.5**0.5] * 2, np.zeros(k - 2))
    for i, t in enumerate(s - m.K.margin() * step):
        m.x[i] = t
    assert m.K.margin() == pytest.approx(0.0, abs=1e-12)
    assert rows_hold(m.K, 1e-9)


def test_entries_of_all_admitted_types():
    m = ConcreteModel()
    m.x = Var([0, 1, 2], initialize=lambda m, i: i + 1.0)
    m.p = Param(initialize=2.0, mutable=True)
    m.e = Expression(expr=m.x[0] + 1)
    linear = LinearExpression(linear_coefs=[2.0], linear_vars=[m.x[2]], constant=1.0)
    entries = [linear, m.x[0], m.p, m.e, 3 * m.x[1], m.x[0] - m.x[1], 4, np.float64(5)]
    for rotated in (False, True):
        m.K = SecondOrderCone(entries, rotated=rotated)
        assert m.K.vector == tuple(entries)
        s = np.array([value(entry) for entry in entries])
        np.testing.assert_array_equal(m.K.numeric(), s)
        expected = s[2:] @ s[2:] - 2 * s[0] * s[1] if rotated else s[1:] @ s[1:] - 49.0
        assert value(m.K.quadratic.body) == pytest.approx(expected)
        assert value(m.K.first_nonnegative.body) == s[0]
        m.del_component("K")


def test_scalar_indexed_and_rules():
    m = ConcreteModel()
    m.x = Var([0, 1, 2], initialize=1.0)
    m.K = SecondOrderCone(vector=m.x)
    m.L = SecondOrderCone([0, 1], rule=lambda m, i: [m.x[0], m.x[i + 1]])
    m.N = SecondOrderCone(
        [0, 1],
        rule=lambda m, i: {"vector": [m.x[j] for j in range(3)], "rotated": i == 1},
    )
    m.R = SecondOrderCone(
        [0], rule=lambda m, i: [m.x[j] for j in range(3)], rotated=1 > 0
    )
    assert [cone.rotated for cone in m.N.values()] == [False, True]
    assert m.R[0].rotated
    assert not m.K.rotated
    assert len(m.K.rows) == 2
    assert len(m.R[0].rows) == 3
    with pytest.raises(KeyError):
        m.L[2]
    a = AbstractModel()
    a.x = Var([0, 1], initialize=0.25)
    a.K = SecondOrderCone(rule=lambda m: [1, m.x[1]])
    with pytest.raises(InputError, match="no vector yet"):
        a.K.vector  # noqa: B018
    assert a.create_instance().K.margin() == 0.75


def test_from_vectors_is_the_same_component():
    m = ConcreteModel()
    m.x = Var([0, 1, 2], initialize=1.0)
    vectors = {i: (m.x[i], 2.0, m.x[2]) for i in (0, 1)}
    m.K = SecondOrderCone.from_vectors(vectors, [0, 1], rotated=True)
    m.L = SecondOrderCone([0, 1], rule=lambda m, i: vectors[i], rotated=True)
    m.S = SecondOrderCone.from_vectors({None: vectors[0]})
    for i in (0, 1):
        assert m.K[i].vector == m.L[i].vector == vectors[i]
        texts = [[str(row.expr) for row in cone[i].rows] for cone in (m.K, m.L)]
        assert texts[0] == texts[1]
    assert m.S.vector == vectors[0]
    assert not m.S.rotated


def test_they_are_no_matrix_cones_and_are_found_by_their_class():
    m = ConcreteModel()
    m.x = Var([0, 1])
    m.b = Block()
    m.b.K = SecondOrderCone([0, 1], rule=lambda b, i: [m.x[0], m.x[1]])
    m.d = Disjunct()
    m.d.K = SecondOrderCone(m.x)
    assert list(cone_data_objects(m)) == []
    found = list(cone_data_objects(m, kinds=SecondOrderConeData))
    assert [cone.name for cone in found] == ["b.K[0]", "b.K[1]", "d.K"]
    m.b.K[0].deactivate()
    m.d.deactivate()
    found = list(cone_data_objects(m, kinds=(ConeData, SecondOrderConeData)))
    assert [cone.name for cone in found] == ["b.K[1]"]


@pytest.mark.parametrize("copy", ["clone", "pickle"])
def test_copies_hold_their_own_variables_and_stay_intact(copy):
    m = ConcreteModel()
    m.x = Var([0, 1], initialize=1.0)
    m.K = SecondOrderCone([0], rule=lambda m, i: [m.x[0], 2 * m.x[1]])
    other = m.clone() if copy == "clone" else pickle.loads(pickle.dumps(m))
    assert other.K[0].is_intact
    assert other.K[0].vector[0] is other.x[0]
    other.x[0] = 7.0
    assert other.K[0].margin() == 5.0
    assert other.K[0].first_nonnegative() == 7.0
    assert m.K[0].margin() == -1.0
    other.K[0].quadratic.deactivate()
    assert m.K[0].is_intact


def test_people_may_look():
    m = ConcreteModel()
    m.x = Var([0, 1, 2], initialize=1.0)
    m.K = SecondOrderCone([m.x[0], 2.0, m.x[1], m.x[2]], rotated=True)
    out = io.StringIO()
    m.pprint(ostream=out)
    assert "x[1]**2 + x[2]**2 - " in out.getvalue()
    out = io.StringIO()
    m.display(ostream=out)
    assert "first_nonnegative" in out.getvalue()
    m.x[1].value = None
    with pytest.raises(ValueError, match=r"x\[1\]"):
        m.K.margin()


def test_whatever_touches_a_row_is_noticed():
    m = ConcreteModel()
    m.x = Var([0, 1, 2], initialize=1.0)
    m.K = SecondOrderCone(range(6), rule=lambda m, i: m.x)
    assert all(cone.is_intact for cone in m.K.values())
    m.K[0].quadratic.deactivate()
    m.K[1].first_nonnegative.set_value(m.x[0] >= -5)
    m.K[2].del_component("quadratic")
    m.K[3].first_nonnegative.deactivate()
    m.K[4].note = Constraint(expr=m.x[0] <= 5)
    assert [cone.is_intact for cone in m.K.values()] == [False] * 4 + [True] * 2
    m.K[0].quadratic.activate()
    assert m.K[0].is_intact
    with pytest.raises(InputError, match=r"K\[1\].*rewritten"):
        m.K[1].margin()
    with pytest.raises(InputError, match=r"K\[5\].*never change"):
        m.K[5].clear()
    with pytest.raises(InputError, match=r"'K'.*never change"):
        m.K.clear()


def test_scaled_models_leave_the_rows_to_speak_for_themselves():
    m = ConcreteModel()
    m.x = Var([0, 1], initialize=1.0)
    m.K = SecondOrderCone(m.x)
    m.scaling_factor = Suffix(direction=Suffix.EXPORT)
    m.scaling_factor[m.x[0]] = 10.0
    scaled = TransformationFactory("core.scale_model").create_using(m, rename=False)
    assert not scaled.K.is_intact
    with pytest.raises(InputError, match="rewritten"):
        scaled.K.margin()
    assert value(scaled.K.quadratic.body) == value(m.K.quadratic.body) == 0.0


def test_numbers_among_the_entries():
    m = ConcreteModel()
    m.x = Var(initialize=0.5)
    m.K = SecondOrderCone([1, m.x])
    assert [row.local_name for row in m.K.rows] == ["quadratic"]
    m.L = SecondOrderCone([m.x, 0.0, 0.0])
    assert [row.local_name for row in m.L.rows] == ["first_nonnegative", "quadratic"]
    m.N = SecondOrderCone([5, 3, 4])
    assert m.N.rows == ()
    assert m.N.margin() == 0.0
    for number, (vector, rotated) in enumerate(
        [
            ([-1, m.x], False),
            ([5, 3, 4.1], False),
            ([m.x, -1, 0], True),
            ([1, 1, 2], True),
        ]
    ):
        with pytest.raises(InputError, match=f"'N{number}'.*outside"):
            setattr(m, f"N{number}", SecondOrderCone(vector, rotated=rotated))


def bad_vectors():
    m = ConcreteModel()
    m.x, m.y = Var(initialize=1.0), Var(initialize=1.0)
    m.v = Var([0, 1])
    m.c = Constraint(expr=m.x >= 0)
    return [
        ([m.x], InputError, "1 entries.*at least 2"),
        ([], InputError, "0 entries"),
        ({"vector": [m.x, m.y], "rotated": True}, InputError, "at least 3"),
        ({"vector": [m.x, m.y], "rotated": "no"}, InputTypeError, "rotated must be"),
        ({"vector": [m.x, m.y], "free": 1}, InputError, "unknown keys"),
        ([m.x, m.x * m.y], InputError, "nonlinear"),
        ([m.x, float("nan")], InputError, "finite"),
        ([m.x, float("inf")], InputError, "finite"),
        ([m.x, True], InputTypeError, "bool"),
        ([m.x, "y"], InputTypeError, "str"),
        ([m.x, None], InputTypeError, "NoneType"),
        ([m.x, m.v], InputTypeError, "IndexedVar"),
        ([m.x, m.c], InputTypeError, "Constraint"),
        ([m.x, [m.y]], InputTypeError, "list"),
        (np.zeros((2, 2)), InputError, "one dimension"),
        (None, InputTypeError, "None"),
        ("ab", InputTypeError, "must be a list"),
        (3, InputTypeError, "must be a list"),
        (m.x, InputTypeError, "must be a list"),
    ]


@pytest.mark.parametrize("case", range(len(bad_vectors())))
def test_bad_vectors_are_refused_by_name(case):
    vector, error, words = bad_vectors()[case]
    m = ConcreteModel()
    with pytest.raises(error, match=f"'K'.*{words}"):
        m.K = SecondOrderCone(rule=lambda m: vector)


def test_bad_calls_are_refused():
    m = ConcreteModel()
    m.x = Var([0, 1])
    with pytest.raises(InputTypeError, match="one vector"):
        SecondOrderCone()
    with pytest.raises(InputTypeError, match="one vector"):
        SecondOrderCone(m.x, m.x)
    with pytest.raises(InputTypeError, match="function"):
        SecondOrderCone([0], rule=3)
    with pytest.raises(InputTypeError, match="from its rule"):
        SecondOrderCone([0], rule=lambda m, i: m.x, vector=m.x)
    with pytest.raises(ValueError, match="free"):
        SecondOrderCone(m.x, free=1)
    with pytest.raises(InputError, match=r"'J'.*Any.*not finite"):
        m.J = SecondOrderCone(Any, rule=lambda m, i: m.x)


#: How each writer spells a square: it writes the quadratic row, or stops.
SPELLED = {
    "nl_v1": "\no5",
    "nl_v2": "\no5",
    "lp_v1": r"\^ ?2",
    "lp_v2": r"\^ ?2",
    "cpxlp_v1": r"\^ ?2",
    "cpxlp_v2": r"\^ ?2",
    "mps": "QCMATRIX",
    "gams": r"power\(|\*\*",
    "bar": r"\^ ?2",
    "gams_writer_v2": None,
    "compile_standard_form": None,
    "compile_parameterized_standard_form": None,
}


def small_model():
    m = ConcreteModel()
    m.x = Var([0, 1, 2], initialize=1.0, bounds=(-5, 5))
    m.o = Objective(expr=m.x[0] + 0.1 * m.x[2])
    m.c = Constraint(expr=m.x[1] >= 2)
    m.K = SecondOrderCone(m.x)
    return m


@pytest.mark.parametrize("writer", SPELLED)
def test_no_writer_drops_the_quadratic_row(writer, tmp_path):
    def write(m):
        if writer.startswith("compile"):
            return WriterFactory(writer).write(m)
        path = tmp_path / "model.txt"
        if writer == "gams_writer_v2":
            with path.open("w") as stream:
                return WriterFactory(writer).write(m, stream)
        WriterFactory(writer)(m, str(path), lambda _: True, {})
        return path.read_text()

    m = small_model()
    if SPELLED[writer] is None:
        with pytest.raises(ValueError, match="nonlinear"):
            write(m)
    else:
        assert len(re.findall(SPELLED[writer], write(m))) >= 1
    m.K.deactivate()
    text = write(m)
    if SPELLED[writer] is not None:
        assert not re.findall(SPELLED[writer], text)


@pytest.mark.parametrize("solver", ["highs", "appsi_highs"])
def test_solvers_without_quadratic_rows_stop(solver):
    if not SolverFactory(solver).available(exception_flag=False):
        pytest.skip(f"{solver} is not installed")
    m = small_model()
    with pytest.raises(Exception, match="does not support expressions of degree"):
        SolverFactory(solver).solve(m)
    m.K.deactivate()
    SolverFactory(solver).solve(m)
    assert value(m.o) == pytest.approx(-5.5)
