"""What LP files have and MPS files have not; the rest is in test_mps."""

from __future__ import annotations

import itertools

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu.cones import SecondOrderCone
from pyomo_relu.solvers import UnsupportedModelError
from pyomo_relu.writers.lp import write_lp
from tests.writers.readers import LINEAR_READERS, SCIP, assert_same_optimum, read


def with_sos(level, weights=None, seed=0):
    """Return a program with an SOS constraint, and its optimum by enumeration."""
    rng = np.random.default_rng(seed)
    gains, upper = rng.uniform(1.0, 5.0, 4), rng.uniform(1.0, 2.0, 4)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(4), bounds=lambda m, i: (0, float(upper[i])))
    m.o = pyo.Objective(
        expr=sum(float(g) * m.x[i] for i, g in enumerate(gains)), sense=pyo.maximize
    )
    m.c = pyo.Constraint(expr=sum(m.x.values()) <= 100)
    order = list(range(4))
    if weights is None:
        m.set = pyo.SOSConstraint(var=m.x, sos=level)
    else:
        m.w = pyo.Param(range(4), initialize=dict(enumerate(weights)))
        m.set = pyo.SOSConstraint(var=m.x, weights=m.w, sos=level)
        order.sort(key=weights.__getitem__)
    supports = [order[i : i + level] for i in range(5 - level)]
    return m, max(float((gains * upper)[support].sum()) for support in supports)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("level", "weights"), [(1, None), (2, None), (2, [3.0, 1.5, 4.0, 2.0])]
)
@pytest.mark.parametrize("reader", SCIP)
def test_sos_constraints(reader, level, weights, seed, tmp_path):
    m, optimum = with_sos(level, weights, seed)
    exported = write_lp(m)
    reading = read(reader, exported, tmp_path / "model.lp")
    assert_same_optimum(m, exported, reading, optimum)


@pytest.mark.parametrize("reader", SCIP)
def test_variables_that_are_in_an_sos_constraint_alone(reader, tmp_path):
    m, optimum = with_sos(1)
    m.y = pyo.Var([0, 1, 2], bounds=lambda m, i: (i % 2, 2))
    m.other = pyo.SOSConstraint(var=m.y, sos=1)
    exported = write_lp(m)
    reading = read(reader, exported, tmp_path / "model.lp")
    assert_same_optimum(m, exported, reading, optimum)
    assert reading.values["y_0"] == reading.values["y_2"] == 0.0
    assert reading.values["y_1"] >= 1.0


def test_sos_constraints_that_no_file_has():
    m, _ = with_sos(1)
    m.x[2].fix(0.0)
    with pytest.raises(UnsupportedModelError, match=r"'set'.*'x\[2\]'"):
        write_lp(m)
    m, _ = with_sos(1)
    m.three = pyo.SOSConstraint(var=m.x, sos=3)
    with pytest.raises(UnsupportedModelError, match=r"'three'.*level 3"):
        write_lp(m)


@pytest.mark.parametrize("reader", LINEAR_READERS)
@pytest.mark.parametrize("bounds", [(1, None), (None, 0), (1, 1), (0, 1)])
@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_a_binary_variable_keeps_bounds_of_its_own(reader, bounds, sense, tmp_path):
    """The section ``binary`` would put them back to zero and one."""
    m = pyo.ConcreteModel()
    m.b = pyo.Var([0, 1], domain=pyo.Binary)
    low, up = bounds
    if low is not None:
        m.b[0].setlb(low)
    if up is not None:
        m.b[0].setub(up)
    m.o = pyo.Objective(expr=3 * m.b[0] + m.b[1], sense=sense)
    m.c = pyo.Constraint(expr=m.b[0] + m.b[1] >= 0.5)
    exported = write_lp(m)
    reading = read(reader, exported, tmp_path / "model.lp")
    choose = min if sense == pyo.minimize else max
    optimum = choose(
        3 * i + j
        for i, j in itertools.product([0, 1], repeat=2)
        if (low or 0) <= i <= (1 if up is None else up) and i + j >= 0.5
    )
    assert_same_optimum(m, exported, reading, optimum)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("reader", SCIP)
def test_second_order_cones_are_plain_rows(reader, rotated, tmp_path):
    m = pyo.ConcreteModel()
    m.s = pyo.Var(range(4), bounds=(-9, 9))
    m.K = SecondOrderCone(m.s, rotated=rotated)
    m.line = pyo.Constraint(expr=m.s[2] + m.s[3] == 4)
    m.o = pyo.Objective(expr=m.s[0] + m.s[1] + 1)
    exported = write_lp(m)
    reading = read(reader, exported, tmp_path / "model.lp")
    # Rotated 8 <= 2 s_0 s_1; otherwise s_0 = 9 and s_1^2 + 8 = 81.
    optimum = 5.0 if rotated else 10.0 - np.sqrt(73.0)
    assert_same_optimum(m, exported, reading, optimum)
    assert [entry.name for entry in exported.rows][-1] == "K_quadratic"


def test_the_sense_is_kept():
    m, _ = with_sos(1)
    exported = write_lp(m)
    assert (exported.sense, exported.objective_sign) == ("maximize", 1)
    m.o.sense = pyo.minimize
    assert write_lp(m).sense == "minimize"
