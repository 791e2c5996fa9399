"""The conic form says what the model says, row by row, at any point."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.contrib.solver.common.util import IncompatibleModelError
from pyomo.core.expr import LinearExpression
from pyomo.gdp import Disjunction
from pyomo.mpec import Complementarity, complements

from pyomo_relu.cones import (
    CompletelyPositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
)
from pyomo_relu.errors import InputError, PyomoReluError, UnsupportedConeError
from pyomo_relu.solvers import UnsupportedModelError, compile_conic
from pyomo_relu.solvers.conic_form import triangle


def random_model(rng: np.random.Generator) -> pyo.ConcreteModel:
    """Rows of every written form, fixed variables, Params, bounds and cones."""
    m = pyo.ConcreteModel()
    n = 7
    m.x = pyo.Var(
        range(n), bounds=lambda m, j: [(None, None), (0, None), (-1, 2)][j % 3]
    )
    m.y = pyo.Var(within=pyo.NonNegativeReals, bounds=(None, 4))
    m.pinned = pyo.Var(bounds=(1.5, 1.5))
    m.fixed = pyo.Var(initialize=float(rng.normal()))
    m.fixed.fix()
    m.p = pyo.Param(initialize=float(rng.normal()), mutable=True)
    pool = [*m.x.values(), m.y, m.pinned, m.fixed]

    def terms(count=4):
        chosen = [pool[k] for k in (0, *rng.integers(0, len(pool), count - 1))]
        return rng.normal(size=count).tolist(), chosen

    def fast():
        coefficients, variables = terms()
        return LinearExpression(
            constant=float(rng.normal()),
            linear_coefs=coefficients,
            linear_vars=variables,
        )

    def slow():
        coefficients, variables = terms()
        plain = sum(a * v for a, v in zip(coefficients, variables, strict=True))
        return m.p * (plain + m.fixed) / 2.0 - m.p**2 * m.x[0] + m.e

    m.e = pyo.Expression(expr=fast())
    m.b = pyo.Block([0, 1])
    for block in m.b.values():
        block.c = pyo.ConstraintList()
        for body in (fast, slow):
            block.c.add((None, body(), 3.0))
            block.c.add((-2.0, body(), None))
            block.c.add((-2.0, body(), m.p + 9.0))
            block.c.add(body() == m.p)
            block.c.add((1.0, body(), 1.0))
        block.c.add(slow() <= slow())
        block.c.add(m.x[1] >= m.fixed)
    m.b[1].c[3].deactivate()

    def matrix(k):
        M = np.empty((k, k), dtype=object)
        for i, j in zip(*triangle(k), strict=True):
            choice = [m.x[int(rng.integers(n))], fast(), 0.3, m.p, m.fixed, 2 * m.y]
            M[i, j] = M[j, i] = choice[rng.integers(len(choice))]
        return M

    # The constants of the nonnegative part must be nonnegative.
    m.p = abs(m.p.value)
    m.fixed.set_value(abs(m.fixed.value))
    m.K1 = PSDCone(matrix(3))
    m.K2 = PSDCone([0, 1], rule=lambda m, i: matrix(1 + i))
    m.K3 = DoublyNonnegativeCone(matrix(4), free=1)
    m.K4 = DoublyNonnegativeCone(matrix(4), free=2, facets=rng.uniform(size=(3, 2)))
    m.K5 = DoublyNonnegativeCone(matrix(2), free=1)
    m.off = PSDCone(matrix(2))
    m.off.deactivate()
    m.o = pyo.Objective(
        expr=(m.x[0] - 2 * m.x[1] + m.p) ** 2
        + m.fixed * m.y**2
        + 3 * m.e
        + 0.5 * (m.x[0] + m.fixed) ** 2
        + 7,
        sense=pyo.minimize if rng.random() < 0.5 else pyo.maximize,
    )
    if m.o.sense == pyo.maximize:
        m.o.set_value(-m.o.expr)
    return m


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_every_row_and_the_objective_agree_with_pyomo_at_random_points(seed):
    rng = np.random.default_rng(seed)
    m = random_model(rng)
    form = compile_conic(m)
    x = rng.normal(size=len(form.variables))
    for var, number in zip(form.variables, x, strict=True):
        var.set_value(number, skip_validation=True)
    slack = form.b - form.A @ x

    assert form.sense * form.objective(x) == pytest.approx(pyo.value(m.o))
    np.testing.assert_allclose(form.P.toarray(), form.P.toarray().T)

    active = [
        c
        for c in m.component_data_objects(pyo.Constraint, active=True)
        if c.parent_component().local_name == "c"
    ]
    assert form.constraints == active
    for k, constraint in enumerate(active):
        body, low, up = pyo.value(constraint.body), constraint.lb, constraint.ub
        row = form.upper_rows[k]
        if up is not None:
            assert slack[row] == pytest.approx(up - body)
            assert (row < form.n_zero) == (low == up)
        if low is not None and low != up:
            assert slack[form.lower_rows[k]] == pytest.approx(body - low)
        assert (form.lower_rows[k] == -1) == (low is None or low == up)

    for column, var in enumerate(form.variables):
        row = form.upper_bound_rows[column]
        assert (row == -1) == (var.ub is None)
        if var.ub is not None:
            assert slack[row] == pytest.approx(var.ub - var.value)
            assert (row < form.n_zero) == (var.lb == var.ub)
        if var.lb is not None and var.lb != var.ub:
            row = form.lower_bound_rows[column]
            assert slack[row] == pytest.approx(var.value - var.lb)

    names = [block.cone.name for block in form.cones]
    assert names == ["K1", "K2[0]", "K2[1]", "K3", "K4", "K5"]
    psd_rows = []
    for block in form.cones:
        M = block.cone.numeric()
        np.testing.assert_allclose(slack[block.rows], M[triangle(block.order)])
        if block.order > 1:
            psd_rows.append(block.rows)
        A = M[: len(M) - block.cone.free, : len(M) - block.cone.free]
        if block.facets is not None:
            A = block.facets @ A @ block.facets.T
        bounded = set()
        for row, (i, j) in zip(block.entry_rows, block.pairs, strict=True):
            assert i < j
            bounded.add((i, j))
            if row >= 0:
                assert form.n_zero <= row < form.n_linear
                assert slack[row] == pytest.approx(A[i, j])
        if "K1" not in block.cone.name and "K2" not in block.cone.name:
            assert len(bounded) == len(A) * (len(A) - 1) // 2
    np.testing.assert_array_equal(
        np.concatenate(psd_rows), np.arange(form.n_linear, len(form.b))
    )
    assert form.psd_orders.tolist() == [3, 2, 4, 4, 2]


def test_the_violation_of_a_cone_is_that_of_its_worst_part():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.eq = pyo.Constraint(expr=m.x[0] == 1)
    m.K = PSDCone([[m.x[0], m.x[1]], [m.x[1], m.x[2]]])
    form = compile_conic(m)

    def residual(point):
        return form.primal_residual(
            np.array([point[var.index()] for var in form.variables], float)
        )

    assert residual([1, 0, 1]) == 0.0
    assert residual([1, 2, 1]) == pytest.approx(1.0)  # eigenvalues 3 and -1
    assert residual([3, 0, 1]) == pytest.approx(2.0)


def plain() -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.y = pyo.Var()
    m.c = pyo.Constraint(expr=m.x + m.y >= 1)
    return m


def integer(m):
    m.culprit = pyo.Var(domain=pyo.Integers)
    m.d = pyo.Constraint(expr=m.culprit <= m.x)


def binary(m):
    m.culprit = pyo.Var(domain=pyo.Binary)
    m.o = pyo.Objective(expr=m.culprit)


def discrete(m):
    m.culprit = pyo.Var(domain=pyo.Set(initialize=[1, 2.5, 7]))
    m.d = pyo.Constraint(expr=m.culprit <= m.x)


def quadratic_row(m):
    m.culprit = pyo.Constraint(expr=m.x**2 >= 1)


def quadratic_equation(m):
    m.culprit = pyo.Constraint(expr=m.x**2 == 1)


def two_sided_quadratic_row(m):
    m.culprit = pyo.Constraint(expr=(0, m.x**2, 1))


def nonlinear_row(m):
    m.culprit = pyo.Constraint(expr=pyo.exp(m.x) <= 1)


def special_ordered_set(m):
    m.v = pyo.Var([1, 2])
    m.culprit = pyo.SOSConstraint(var=m.v, sos=1)


def disjunction(m):
    m.culprit = Disjunction(expr=[[m.x >= 1], [m.x <= -1]])


def complementarity(m):
    m.culprit = Complementarity(expr=complements(m.x >= 0, m.y >= 0))


def logical(m):
    m.boolean = pyo.BooleanVar()
    m.culprit = pyo.LogicalConstraint(expr=m.boolean)


def cubic(m):
    m.culprit = pyo.Objective(expr=m.x**3)


def saddle(m):
    m.culprit = pyo.Objective(expr=m.x * m.y)


def convex_maximised(m):
    m.culprit = pyo.Objective(expr=m.x**2, sense=pyo.maximize)


def two_objectives(m):
    m.o = pyo.Objective(expr=m.x)
    m.culprit = pyo.Objective(expr=m.y)


@pytest.mark.parametrize(
    "spoil",
    [
        integer,
        binary,
        discrete,
        quadratic_row,
        quadratic_equation,
        two_sided_quadratic_row,
        nonlinear_row,
        special_ordered_set,
        disjunction,
        complementarity,
        logical,
        cubic,
        saddle,
        convex_maximised,
        two_objectives,
    ],
    ids=lambda f: f.__name__,
)
def test_what_the_form_cannot_hold_is_refused_by_name(spoil):
    m = plain()
    spoil(m)
    with pytest.raises(UnsupportedModelError, match="'culprit") as caught:
        compile_conic(m)
    assert isinstance(caught.value, IncompatibleModelError)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, PyomoReluError)


def test_inactive_parts_are_no_obstacle():
    m = plain()
    quadratic_row(m)
    special_ordered_set(m)
    two_objectives(m)
    m.culprit_cone = CompletelyPositiveCone([[m.x, m.y], [m.y, 1]])
    m.del_component(m.culprit)
    m.culprit_cone.deactivate()
    m.o.deactivate()
    m.blk = pyo.Block()
    quadratic_row_on_block(m)
    assert compile_conic(m).A.shape == (1, 2)


def quadratic_row_on_block(m):
    m.blk.c = pyo.Constraint(expr=m.x**2 <= 1)
    m.blk.deactivate()


def test_an_unrelaxed_cone_is_refused_with_the_tiers_that_help():
    m = plain()
    m.culprit = CompletelyPositiveCone([[m.x, m.y], [m.y, 1]])
    with pytest.raises(UnsupportedConeError, match=r"'culprit'.*relu\.dnn"):
        compile_conic(m)


@pytest.mark.parametrize(
    ("where", "bad"),
    [
        (where, bad)
        for where in ("row", "objective", "cone", "fixed", "side")
        for bad in (float("nan"), float("inf"), None)
        # An infinite upper side is no side.
        if (where, bad) != ("side", float("inf"))
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_name(where, bad, caplog):
    m = plain()
    m.p = pyo.Param(mutable=True, within=pyo.Any, initialize=1.0)
    if where == "row":
        m.culprit = pyo.Constraint(expr=m.p * m.x + m.y <= 1)
    elif where == "objective":
        m.culprit = pyo.Objective(expr=m.p * m.x + m.y)
    elif where == "side":
        m.culprit = pyo.Constraint(expr=m.x + m.y <= m.p)
    elif where == "cone":
        m.culprit = PSDCone([[m.x, m.p], [m.p, m.y]])
    else:
        m.culprit = pyo.Var()
        m.culprit.fix(1.0)
        m.d = pyo.Constraint(expr=m.x + m.culprit <= 1)
        m.culprit.set_value(bad, skip_validation=True)
    if bad is not None:
        m.p.set_value(bad)
    else:
        m.p.clear()
    with pytest.raises(InputError, match=r"'(culprit|d)'"):
        compile_conic(m)


def test_a_violated_row_without_free_variables_is_infeasible():
    m = plain()
    m.x.fix(1)
    m.y.fix(1)
    m.culprit = pyo.Constraint(expr=m.x + m.y <= 1.5)
    with pytest.raises(InfeasibleConstraintException, match=r"'culprit'.*0\.5"):
        compile_conic(m)
    m.culprit.deactivate()
    m.K = DoublyNonnegativeCone([[m.x, -1], [-1, m.y]])
    with pytest.raises(InfeasibleConstraintException, match=r"'K'.*-1"):
        compile_conic(m)


def test_a_linear_expression_and_a_walked_sum_give_the_same_row():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.x[2].fix(5.0)
    m.p = pyo.Param(initialize=2.0, mutable=True)
    m.fast = pyo.Constraint(
        expr=LinearExpression(
            constant=1,
            linear_coefs=[1, m.p, 3, 0, -1],
            linear_vars=[m.x[0], m.x[1], m.x[2], m.x[1], m.x[0]],
        )
        <= 30
    )
    m.slow = pyo.Constraint(
        expr=1 + m.x[0] + m.p * m.x[1] + 3 * m.x[2] + 0 * m.x[1] - 1 * m.x[0] <= 30
    )
    form = compile_conic(m)
    A = form.A.toarray()
    np.testing.assert_array_equal(A[0], A[1])
    np.testing.assert_array_equal(form.b, [14.0, 14.0])
    np.testing.assert_array_equal(
        A[0][[v.name for v in form.variables].index("x[1]")], 2.0
    )


def test_a_reference_is_no_second_row():
    m = plain()
    m.K = PSDCone([1, 2], rule=lambda m, i: [[m.x, 1], [1, m.y + i]])
    once = compile_conic(m)
    m.b = pyo.Block()
    m.b.again = pyo.Reference(m.c)
    m.b.twice = pyo.Reference(m.K[:])
    form = compile_conic(m)
    assert form.constraints == once.constraints
    assert form.A.shape == once.A.shape


def test_a_block_can_be_compiled_alone():
    m = plain()
    quadratic_row(m)
    m.b = pyo.Block()
    m.b.c = pyo.Constraint(expr=m.x <= 3)
    assert compile_conic(m.b).A.shape == (1, 1)


def test_a_bound_without_a_value_is_refused_by_name():
    m = plain()
    m.p = pyo.Param(mutable=True, within=pyo.Any, initialize=float("nan"))
    m.x.setlb(m.p)
    with pytest.raises(InputError, match="'x'"):
        compile_conic(m)
