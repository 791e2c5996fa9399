"""Names of components: legal for everybody, unique, and the same every time."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pyomo.environ as pyo
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyomo.gdp import Disjunct

from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.writers.labels import LONGEST, Labels
from pyomo_relu.writers.lp import write_lp
from pyomo_relu.writers.mps import write_mps
from tests.writers.readers import LINEAR_READERS, assert_same_optimum, read

_WORDS = """
    free Free FREE inf Infinity nan e9 E e e1x 1e5 E8cats st s.t. subject to such that
    bounds bound end general generals gen integer int binary bin binaries semi sec sos
    sos1 sos2 S1 min max minimize MAXIMIZE maximum rhs RHS rng bnd ranges name rows
    columns endata marker obj objsense lazy user one constant__one ONE_VAR_CONSTANT
    st_1 free_1 inf_x infeasible end_1 bounds_2 negative mineral maximal integers_
    endata_2 e_1 _ __ -3 3 .5 [ ] + - * : := <= = R1 C1 x#3 '"' $a & c0 x1
    a b c d e f g h i j k l m n o p q r s t u v w x y z en ge inte bi bou ma su
"""
WORDS = _WORDS.split()
#: What a component may be called.
NAMES = st.sampled_from(WORDS) | st.text(min_size=1, max_size=5)
ODD = [
    *WORDS,
    "a b",
    "  ",
    "é",
    "β",
    "漢字",
    "naïve→x",
    "q" * 300,
    "Q" * 300,
    "tab\tnl\n",
]


def odd_model(names, keys, rows_on_top=False):
    """Return a model with variables and rows of these names and of these indices.

    One of them, by choice, has the names as they are, the other in a block.
    """
    m = pyo.ConcreteModel("odd; *")
    names = [n for n in dict.fromkeys(names) if "." not in n and not hasattr(m, n)]
    m.rest = pyo.Block()
    above, below = (m.rest, m) if rows_on_top else (m, m.rest)
    for number, name in enumerate(names):
        above.add_component(name, pyo.Var(bounds=(0, number + 1)))
    variables = list(m.component_data_objects(pyo.Var))
    m.free_ = pyo.Var(keys, bounds=(0, 1))
    variables += m.free_.values()
    for name, var in zip(names, variables, strict=False):
        below.add_component(name, pyo.Constraint(expr=var >= 0.5))
    m.bounds_ = pyo.Constraint(
        keys, rule=lambda m, *key: m.free_[key] + variables[0] <= 3
    )
    m.goal = pyo.Objective(expr=sum(variables), sense=pyo.maximize)
    return m


def members(m):
    for ctype in (pyo.Var, pyo.Constraint, pyo.Objective):
        yield from m.component_data_objects(ctype)


def assert_good(m):
    labels = Labels(m)
    names = [labels.of(data) for data in members(m)]
    for name in names:
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name)
        assert len(name) <= LONGEST
        assert "__" not in name
        assert not re.match(r"[eE]([0-9]|$)", name)
    assert len({name.lower() for name in names}) == len(names)
    assert [labels.component(name) for name in names] == list(members(m))
    assert [Labels(m).of(data) for data in reversed(list(members(m)))] == names[::-1]
    clone = m.clone()
    again = Labels(clone)
    assert [again.of(data) for data in members(clone)] == names


KEYS = st.one_of(
    st.integers(-3, 3), st.sampled_from(ODD), st.text(max_size=4), st.floats(-1, 1)
)


@given(
    st.lists(NAMES, max_size=8, unique=True),
    st.lists(KEYS, min_size=1, max_size=8),
)
@settings(max_examples=60, deadline=None)
def test_names_are_legal_and_unique(names, keys):
    assert_good(odd_model(names, list(dict.fromkeys(keys))))


def test_all_odd_names_at_once():
    assert_good(odd_model(ODD, ODD))


@pytest.mark.parametrize("reader", LINEAR_READERS)
@pytest.mark.parametrize("write", [write_mps, write_lp])
@pytest.mark.parametrize("rows_on_top", [False, True])
def test_odd_names_are_read_by_everybody(reader, write, rows_on_top, tmp_path):
    m = odd_model(ODD, ODD, rows_on_top)
    exported = write(m)
    suffix = write.__name__.removeprefix("write_")
    reading = read(reader, exported, tmp_path / f"model.{suffix}")
    # The largest sum is that of the upper bounds.
    optimum = sum(var.ub for var in m.component_data_objects(pyo.Var))
    assert_same_optimum(m, exported, reading, optimum)
    assert [*reading.values] == [entry.name for entry in exported.columns]
    assert reading.rows == [entry.name for entry in exported.rows]


@pytest.mark.parametrize("write", [write_mps, write_lp])
@given(names=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=10))
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_random_names_are_read_by_everybody(write, names, tmp_path):
    m = odd_model(names, list(dict.fromkeys(names)))
    exported = write(m)
    suffix = write.__name__.removeprefix("write_")
    for reader in (each.values[0] for each in LINEAR_READERS if not skipped(each)):
        reading = read(reader, exported, tmp_path / f"model.{suffix}")
        assert [*reading.values] == [entry.name for entry in exported.columns]
        assert reading.rows == [entry.name for entry in exported.rows]


def skipped(parameter) -> bool:
    return any(mark.args and mark.args[0] for mark in parameter.marks)


def test_the_examples_of_the_documentation():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([1, 2], ["a", "b"])
    m.X = pyo.Var()
    m.b = pyo.Block([3])
    m.b[3].y = pyo.Var([0.5, -1])
    m.b[3].x = pyo.Constraint(expr=m.X >= 0)
    m.o = pyo.Objective(expr=m.X)
    labels = Labels(m)
    assert labels.of(m.x[1, "b"]) == "x_1_b"
    assert labels.of(m.X) == "X"
    assert labels.of(m.b[3].y[0.5]) == "b_3_y_0_5"
    assert labels.of(m.b[3].y[-1]) == "b_3_y_m1"
    assert labels.variable("X_1_B") is m.x[1, "b"]
    assert labels.row("b_3_x") is m.b[3].x
    assert labels.variable("b_3_x") is None
    assert labels.row("o") is m.o
    assert labels.component("nobody") is None
    # In a block names are those of the whole model.
    assert Labels(m.b[3]).of(m.b[3].y[-1]) == "b_3_y_m1"


def test_case_alone_is_no_difference():
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.X = pyo.Var()
    m.X_2 = pyo.Var()
    labels = Labels(m)
    assert [labels.of(v) for v in (m.x, m.X, m.X_2)] == ["x", "X_2", "X_2_2"]


def test_variables_that_live_elsewhere():
    other = pyo.ConcreteModel()
    other.x = pyo.Var([1, 2])
    m = pyo.ConcreteModel()
    m.x = pyo.Var([1])
    m.inner = pyo.Block()
    m.inner.c = pyo.Constraint(expr=m.x[1] + other.x[2] + 2 * other.x[1] >= 1)
    first, second = Labels(m), Labels(m)
    forward = [first.of(other.x[1]), first.of(other.x[2])]
    backward = [second.of(other.x[2]), second.of(other.x[1])]
    assert forward == backward[::-1] == ["x_1_2", "x_2"]
    assert Labels(m).variable("x_2") is other.x[2]
    assert Labels(m.inner).of(m.x[1]) == "x_1"
    stranger = pyo.Var(name="stranger")
    stranger.construct()
    with pytest.raises(InputError, match="stranger"):
        first.of(stranger)


def test_references_deactivated_blocks_and_disjuncts():
    m = pyo.ConcreteModel()
    m.off = pyo.Block()
    m.off.y = pyo.Var()
    m.off.deactivate()
    m.d = Disjunct()
    m.d.z = pyo.Var()
    m.r = pyo.Reference(m.off.y)
    labels = Labels(m)
    assert labels.of(m.off.y) == "off_y"
    assert labels.of(m.r[None]) == "off_y"
    assert labels.of(m.d.z) == "d_z"


def test_many_long_names_that_differ_in_the_middle():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(["q" * 300 + str(i) + "z" * 300 for i in range(3000)])
    labels = Labels(m)
    names = [labels.of(v) for v in m.x.values()]
    assert len(set(names)) == 3000
    assert max(map(len, names)) <= LONGEST


def test_no_model_is_refused():
    with pytest.raises(InputTypeError, match="int"):
        Labels(3)
    with pytest.raises(InputError, match="construct"):
        Labels(pyo.AbstractModel())


SCRIPT = """
import pyomo.environ as pyo
from pyomo_relu.writers.lp import write_lp
from pyomo_relu.writers.mps import write_mps
from pyomo_relu.writers.nl import write_nl
m = pyo.ConcreteModel()
m.S = pyo.Set(initialize=["b", "a b", "a_b", "z", "q"], ordered=False)
m.x = pyo.Var(m.S, domain=pyo.NonNegativeReals)
m.c = pyo.Constraint(m.S, rule=lambda m, i: m.x[i] ** 2 + m.x["z"] >= 1)
m.o = pyo.Objective(expr=sum(m.x[i] for i in sorted(m.S)))
for write in (write_mps, write_lp, write_nl):
    print(write(m).data.decode())
"""


def test_the_bytes_do_not_depend_on_the_process():
    outputs = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1]
    assert b"a_b_2" in outputs[0]
