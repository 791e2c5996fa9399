"""Which quadratic constraints are second-order cones, and which ones."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from pyomo.common.errors import InfeasibleConstraintException

from pyomo_relu.solvers import UnsupportedModelError, compile_conic, solve
from pyomo_relu.solvers.quadratic_cones import (
    Inequalities,
    QuadraticForm,
    cone_vector,
)


def no_knowledge(n):
    return Inequalities(
        np.full(n, -np.inf), np.full(n, np.inf), sp.csc_array((0, n)), np.zeros(0)
    )


def value(form, x):
    return x @ form.Q @ x + form.q @ x + form.r


def excess(vector, x):
    s = vector.matrix @ x + vector.constant
    return s[1:] @ s[1:] - s[0] ** 2, s[0]


@given(
    seed=st.integers(0, 10**6),
    k=st.integers(1, 5),
    rank=st.integers(1, 5),
    in_range=st.booleans(),
)
def test_a_semidefinite_form_is_the_excess_of_its_cone(seed, k, rank, in_range):
    rng = np.random.default_rng(seed)
    L = rng.normal(size=(k, min(k, rank)))
    q = L @ rng.normal(size=L.shape[1]) if in_range else rng.normal(size=k)
    centre = -np.linalg.pinv(L @ L.T) @ q / 2
    r = rng.normal() - (centre @ L @ L.T @ centre + q @ centre if in_range else 0.0)
    form = QuadraticForm(np.arange(k), sp.csr_array(L @ L.T), q, r)
    vector = cone_vector(form, no_knowledge(k))
    if np.isnan(vector.constant[0]):
        assert value(form, centre) > 0.0
        np.testing.assert_allclose(2 * form.Q @ centre, -q, atol=1e-8)
        return
    for x in rng.normal(size=(20, k)) * 3:
        difference, first = excess(vector, x)
        scale = 1.0 + np.abs(vector.matrix @ x).max() ** 2
        assert difference == pytest.approx(value(form, x), abs=1e-9 * scale)
        if value(form, x) <= 0:
            assert first >= 0


@given(seed=st.integers(0, 10**6), k=st.integers(2, 5), affine=st.booleans())
def test_one_nappe_is_the_excess_of_its_cone(seed, k, affine):
    """The set |A x + a| <= t'x + t0 where the row t'x + t0 >= 0 is known."""
    rng = np.random.default_rng(seed)
    A, t = rng.normal(size=(k - 1, k)), rng.normal(size=k)
    a, t0 = (rng.normal(size=k - 1), rng.normal()) if affine else (np.zeros(k - 1), 0.0)
    form = QuadraticForm(
        np.arange(k),
        sp.csr_array(A.T @ A - np.outer(t, t)),
        2 * (A.T @ a - t0 * t),
        a @ a - t0**2,
    )
    assert cone_vector(form, no_knowledge(k)) is None
    known = no_knowledge(k)._replace(rows=sp.csc_array(t[None]), sides=np.array([-t0]))
    vector = cone_vector(form, known)
    M = np.vstack([np.column_stack([a, A]), np.append(t0, t)])
    if vector is None:
        # Rounding may hide which nappe it is where the cone is nearly flat.
        assert np.linalg.cond(M) > 1e3
        return
    for x in rng.normal(size=(20, k)) * 3:
        difference, first = excess(vector, x)
        scale = 1.0 + np.abs(vector.matrix).max() ** 2 * (1.0 + x @ x)
        assert difference == pytest.approx(value(form, x), abs=1e-8 * scale)
        inside = np.linalg.norm(A @ x + a) < t @ x + t0
        if abs(value(form, x)) > 1e-6 * scale:
            assert inside == (difference < 0 and first > 0)


def cone_model(expression, *, sign=True):
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1])
    m.t = pyo.Var(bounds=(0, None) if sign else None)
    m.u = pyo.Var(bounds=(0, None))
    m.c = pyo.Constraint(expr=expression(m))
    m.o = pyo.Objective(expr=m.t + m.u)
    return m


@pytest.mark.parametrize(
    "expression",
    [
        lambda m: m.x[0] ** 2 + m.x[1] ** 2 <= m.t**2,
        lambda m: m.t**2 >= (m.x[0] - 1) ** 2 + 4,
        lambda m: m.x[0] ** 2 <= m.t * m.u,
        lambda m: m.x[0] ** 2 + 2 * m.x[0] * m.x[1] + m.x[1] ** 2 <= m.t,
        lambda m: (m.x[0] - m.t) ** 2 <= m.u**2,
        lambda m: m.x[0] ** 2 <= (m.t + 1) * (m.u + 2),
    ],
)
def test_recognised(expression):
    form = compile_conic(cone_model(expression))
    assert len(form.quadratics) == 1
    assert form.soc_orders.size == 1


@pytest.mark.parametrize(
    ("expression", "sign"),
    [
        (lambda m: m.x[0] ** 2 <= m.t**2, False),
        (lambda m: m.x[0] ** 2 <= m.t * m.u, False),
        (lambda m: m.x[0] ** 2 + 1 >= m.t**2, True),
        (lambda m: m.x[0] * m.x[1] <= 1, True),
        (lambda m: m.x[0] ** 2 - m.x[1] ** 2 <= m.t**2, True),
        (lambda m: m.x[0] ** 2 >= m.t, True),
    ],
)
def test_not_convex_or_not_known_to_be(expression, sign):
    with pytest.raises(UnsupportedModelError, match=r"'c'.*recognised as convex"):
        compile_conic(cone_model(expression, sign=sign))


def test_a_linear_row_chooses_the_nappe():
    m = cone_model(lambda m: m.x[0] ** 2 <= m.t**2, sign=False)
    m.choice = pyo.Constraint(expr=m.t <= -1)
    m.o.deactivate()
    m.far = pyo.Objective(expr=m.x[0] + 2 * m.t, sense=pyo.maximize)
    # On the lower nappe x <= -t, so x + 2 t <= t <= -1.
    assert solve(m).incumbent_objective == pytest.approx(-1.0, abs=1e-6)
    assert m.t.value == pytest.approx(-1.0, abs=1e-5)


def test_a_sum_of_squares_below_zero_is_infeasible():
    with pytest.raises(InfeasibleConstraintException, match="'c'"):
        compile_conic(cone_model(lambda m: m.x[0] ** 2 + m.x[1] ** 2 <= -1))


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_values_and_duals_are_those_of_the_constraint(sense):
    """Extremes of a linear function on an ellipsoid, in closed form.

    With ``(x - a)'Q(x - a) <= r``: ``c'a -+ sqrt(r c'Q^-1 c)``, whose derivative by r
    is ``-+ sqrt(c'Q^-1 c / r) / 2``.
    """
    rng = np.random.default_rng(0)
    L = rng.normal(size=(3, 3))
    Q, a, c, r = L @ L.T, rng.normal(size=3), rng.normal(size=3), 2.5
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    x = [m.x[i] - a[i] for i in range(3)]
    body = sum(Q[i, j] * x[i] * x[j] for i in range(3) for j in range(3))
    m.c = pyo.Constraint(expr=-body >= -r)
    m.o = pyo.Objective(expr=sum(c[i] * m.x[i] for i in range(3)), sense=sense)
    sign = -1.0 if sense == pyo.minimize else 1.0
    width = np.sqrt(c @ np.linalg.solve(Q, c))
    results = solve(m)
    expected = c @ a + sign * np.sqrt(r) * width
    assert results.incumbent_objective == pytest.approx(expected, abs=1e-6)
    # The right-hand side is -r.
    dual = results.solution_loader.get_duals()[m.c]
    assert dual == pytest.approx(-sign * width / np.sqrt(r) / 2, abs=1e-6)


def test_at_the_apex_there_is_no_dual():
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.t = pyo.Var(bounds=(0, None))
    m.c = pyo.Constraint(expr=m.x**2 <= m.t**2)
    m.o = pyo.Objective(expr=2 * m.t + m.x)
    results = solve(m)
    assert results.incumbent_objective == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(results.solution_loader.get_duals()[m.c])


def badly_scaled(name):
    """Models whose quadratic terms differ by ten orders of magnitude, and optima."""
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    if name == "thin double cone":
        m.y.setlb(0)
        m.y.setub(1e6)
        m.c = pyo.Constraint(expr=m.x**2 <= (1e-5 * m.y) ** 2)
        m.o = pyo.Objective(expr=m.x, sense=pyo.maximize)
        return m, 10.0
    if name == "flat ellipse":
        m.c = pyo.Constraint(expr=1e6 * m.x**2 + 1e-4 * m.y**2 <= 1)
        m.o = pyo.Objective(expr=m.y, sense=pyo.maximize)
        return m, 100.0
    if name == "ellipse beside its box":
        m.y.setlb(1e5)
        m.c = pyo.Constraint(expr=m.x**2 + (m.y / 1e5) ** 2 <= 0.01)
        m.o = pyo.Objective(expr=m.x)
        return m, None
    m.y.setlb(0)
    m.y.setub(1e5)
    m.c = pyo.Constraint(expr=m.x**2 + (m.y / 1e5) ** 2 <= 0.01)
    m.o = pyo.Objective(expr=m.y, sense=pyo.maximize)
    return m, 1e4


@pytest.mark.parametrize(
    "name",
    ["thin double cone", "flat ellipse", "ellipse beside its box", "ellipse in a box"],
)
def test_small_terms_count(name):
    m, optimum = badly_scaled(name)
    results = solve(
        m, "clarabel", load_solutions=False, raise_exception_on_nonoptimal_result=False
    )
    if optimum is None:
        assert results.termination_condition.name == "provenInfeasible"
    else:
        assert results.incumbent_objective == pytest.approx(optimum, rel=1e-6)


def test_small_negative_terms_count():
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var(bounds=(-1e4, 1e4))
    m.c = pyo.Constraint(expr=1e5 * m.x**2 - 1e-5 * m.y**2 <= 1)
    m.o = pyo.Objective(expr=m.x)
    with pytest.raises(UnsupportedModelError, match=r"'c'.*recognised as convex"):
        compile_conic(m)
    m.c.deactivate()
    m.o.set_value(1e5 * m.x**2 - 1e-5 * m.y**2 - m.x)
    with pytest.raises(UnsupportedModelError, match=r"'o' is not convex"):
        compile_conic(m)
