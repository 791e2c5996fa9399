"""The exponential cone: the door, the rows, distances, and what solvers make of it."""

from __future__ import annotations

import pickle

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyomo.contrib.solver.common.util import IncompatibleModelError
from scipy.optimize import brentq, minimize

from pyomo_relu.cones import ExponentialCone
from pyomo_relu.cones.exponential import (
    dual_exponential_violation,
    exponential_violation,
)
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.solvers import compile_conic, solve

entry = st.floats(-3.0, 3.0)


@np.errstate(over="ignore", divide="ignore")
def distance(point):
    """Distance from the cone by a search over its boundary, from many starts."""
    x, y, z = point
    best = np.linalg.norm([max(x, 0.0), y, min(z, 0.0)])
    if y > 0 and y * np.exp(x / y) <= z:
        return 0.0
    for start in ([x, 1.0], [x, max(y, 1e-2)], [min(x, 0.0), 0.3], [-3.0, 3.0]):

        def square(p):
            a, b = p[0], np.exp(p[1])
            c = max(z, b * np.exp(min(a / b, 50.0)))
            return (a - x) ** 2 + (b - y) ** 2 + (c - z) ** 2

        found = minimize(square, [start[0], np.log(start[1])], method="Nelder-Mead")
        best = min(best, np.sqrt(found.fun))
    return best


@given(x=entry, y=entry, z=entry)
def test_the_violation_is_never_less_than_the_distance(x, y, z):
    point = np.array([x, y, z])
    violation = exponential_violation(point[None])[0]
    assert violation >= distance(point) * (1 - 1e-3) - 1e-4
    if y > 0.01 and y * np.exp(x / y) <= z:
        assert violation == 0.0


@given(x=entry, y=st.floats(0.01, 3.0), u=st.floats(-3.0, -0.01), v=entry, more=entry)
def test_members_of_the_two_cones_have_nonnegative_products(x, y, u, v, more):
    primal = np.array([x, y, y * np.exp(x / y) + abs(more)])
    dual = np.array([u, v, -u * np.exp(v / u - 1.0) + abs(more)])
    assert dual_exponential_violation(dual[None])[0] <= 1e-12 * (1 + dual[2])
    assert primal @ dual >= -1e-9 * (1 + np.abs(primal * dual).sum())
    below = dual - [0.0, 0.0, 0.1 + abs(more)]
    assert dual_exponential_violation(below[None])[0] > 0.0


def test_faces_and_overflow():
    inside = np.array([[-1.0, 0.0, 0.0], [0.0, 0.0, 2.0], [-800.0, 1e-3, 0.0]])
    np.testing.assert_array_equal(exponential_violation(inside), 0.0)
    outside = np.array([[1e3, 1e-3, 1.0], [1.0, -2.0, 0.0], [0.0, 0.0, -1.0]])
    assert (exponential_violation(outside) > 0.0).all()
    assert np.isfinite(exponential_violation(outside)).all()
    dual = np.array([[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]])
    np.testing.assert_array_equal(dual_exponential_violation(dual), 0.0)


@pytest.mark.parametrize(
    ("vector", "error", "message"),
    [
        ([1, 2], InputError, "has 2 entries"),
        ([1, 2, 3, 4], InputError, "has 4 entries"),
        ([0, 0, 1], InputError, "x <= 0 and z >= 0"),
        ([0, -1, 1], InputError, "outside"),
        ([0, 1, 0.5], InputError, "outside"),
        ([0, 1, float("nan")], InputError, "finite"),
        (3.0, InputTypeError, "list"),
    ],
)
def test_refused_at_the_door(vector, error, message):
    m = pyo.ConcreteModel()
    with pytest.raises(error, match=message):
        m.K = ExponentialCone(vector)


def test_rotated_is_no_option():
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    with pytest.raises((InputError, TypeError, ValueError)):
        m.K = ExponentialCone([m.x, 1, 2], rotated=True)


def entropy_model():
    """``max sum -p log p`` with a given mean: an exponential family, in closed form."""
    m = pyo.ConcreteModel()
    m.I = pyo.Set(initialize=range(4))
    m.p = pyo.Var(m.I, bounds=(0, None), initialize=0.25)
    m.t = pyo.Var(m.I)
    m.K = ExponentialCone(m.I, rule=lambda m, i: [m.t[i], m.p[i], 1])
    m.one = pyo.Constraint(expr=sum(m.p.values()) == 1)
    m.mean = pyo.Constraint(expr=sum(i * m.p[i] for i in m.I) == 1.0)
    m.o = pyo.Objective(expr=sum(m.t.values()), sense=pyo.maximize)
    return m


def entropy_truth():
    i = np.arange(4)

    def weights(slope):
        w = np.exp(slope * i)
        return w / w.sum()

    slope = brentq(lambda s: weights(s) @ i - 1.0, -5, 5)
    p = weights(slope)
    return p, -(p * np.log(p)).sum(), -slope


@pytest.mark.parametrize("solver", ["clarabel", "cyipopt"])
def test_the_entropy_of_an_exponential_family(solver):
    m = entropy_model()
    p, entropy, slope = entropy_truth()
    if solver == "clarabel":
        duals = solve(m, solver).solution_loader.get_duals()
        assert duals[m.mean] == pytest.approx(slope, abs=1e-4)
        multiplier = -duals[m.K[1]]
        assert dual_exponential_violation(multiplier[None])[0] < 1e-7
    else:
        interface = pyo.SolverFactory(solver)
        if not interface.available(exception_flag=False):
            pytest.skip("cyipopt is not installed")
        interface.solve(m)
    assert pyo.value(m.o) == pytest.approx(entropy, abs=1e-6)
    found = [m.p[i].value for i in m.I]
    np.testing.assert_allclose(found, p, atol=1e-4)


def test_a_changed_row_is_no_cone():
    m = entropy_model()
    assert compile_conic(m).n_exponential == 4
    m.K[0].exponential.deactivate()
    assert compile_conic(m).n_exponential == 3


def test_linear_solvers_stop_on_it():
    with pytest.raises((IncompatibleModelError, ValueError, RuntimeError)):
        solve(entropy_model(), "highs")


def test_a_clone_keeps_its_cones():
    m = pickle.loads(pickle.dumps(entropy_model()))
    assert [cone.is_intact for cone in m.K.values()] == [True] * 4
    assert {row.local_name for row in m.K[0].rows} == {
        "exponential",
        "second_nonnegative",
    }
    for i in m.I:
        m.t[i].set_value(-1.0)
    assert m.K[0].margin() == pytest.approx(1 - 0.25 * np.exp(-4.0))
