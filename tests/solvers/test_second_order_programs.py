"""Second-order cones in conic form: values, duals and statuses by other means."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.contrib.solver.common.results import TerminationCondition
from pyomo.contrib.solver.common.util import IncompatibleModelError
from pyomo.core.expr import LinearExpression
from pyomo.gdp import Disjunct, Disjunction

from pyomo_relu.cones import DoublyNonnegativeCone, PSDCone, SecondOrderCone
from pyomo_relu.errors import InputError, UnsupportedConeError
from pyomo_relu.solvers import Clarabel, UnsupportedModelError, compile_conic, solve

SENSES = [pyo.minimize, pyo.maximize]
STEP = 1e-3


def projection(p):
    """Nearest vector of the second-order cone (Boyd and Vandenberghe, exercise 8.3)."""
    t, x = p[0], p[1:]
    norm = np.linalg.norm(x)
    if norm <= t:
        return p
    if norm <= -t:
        return np.zeros(len(p))
    return 0.5 * (1.0 + t / norm) * np.append(norm, x)


def turned(p):
    """The same point in the coordinates of the rotated cone, or back."""
    return np.concatenate([[p[0] + p[1], p[0] - p[1]] / np.sqrt(2.0), p[2:]])


def nearest(p, sense, rotated):
    """Nearest s to p with ``s - shift`` in the cone."""
    k = len(p)
    m = pyo.ConcreteModel()
    m.s = pyo.Var(range(k))
    m.shift = pyo.Param(range(k), mutable=True, initialize=0.0)
    m.K = SecondOrderCone([m.s[i] - m.shift[i] for i in range(k)], rotated=rotated)
    cost = 0.5 * sum((m.s[i] - p[i]) ** 2 for i in range(k))
    m.o = pyo.Objective(expr=cost if sense == pyo.minimize else -cost, sense=sense)
    return m


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 6), st.booleans(), st.sampled_from(SENSES))
def test_the_dual_of_a_projection_is_the_part_cut_off(seed, k, rotated, sense):
    p = np.random.default_rng(seed).normal(size=k)
    m = nearest(p, sense, rotated)
    # At the apex Clarabel comes near enough, and says that it is almost there.
    results = Clarabel().solve(m, raise_exception_on_nonoptimal_result=False)
    loader = results.solution_loader
    expected = turned(projection(turned(p))) if rotated else projection(p)
    np.testing.assert_allclose(m.K.numeric(), expected, atol=1e-4)
    dual = loader.get_duals()[m.K]
    sign = 1.0 if sense == pyo.minimize else -1.0
    np.testing.assert_allclose(dual, sign * (expected - p), atol=1e-4)


@pytest.mark.parametrize("rotated", [False, True])
@pytest.mark.parametrize("sense", SENSES)
def test_a_dual_is_the_derivative_by_a_shift_of_the_vector(sense, rotated):
    rng = np.random.default_rng(3)
    p = rng.normal(size=4) - np.eye(4)[0]
    m = nearest(p, sense, rotated)
    m.c = pyo.Constraint(expr=sum(m.s.values()) >= 1)
    loader = Clarabel().solve(m).solution_loader
    duals = loader.get_duals()
    assert duals[m.K].shape == (4,)
    assert np.linalg.norm(duals[m.K]) > 0.1
    # In the dual cone, which is the cone itself.
    t = duals[m.K] if sense == pyo.minimize else -duals[m.K]
    t = turned(t) if rotated else t
    assert t[0] >= np.linalg.norm(t[1:]) - 1e-6
    # The rows that are the cone have no duals of their own.
    assert set(duals) == {m.c, m.K}
    for _ in range(3):
        d = rng.normal(size=4)
        values = []
        for step in (STEP, -STEP):
            for i in range(4):
                m.shift[i] = step * d[i]
            values.append(Clarabel().solve(m).incumbent_objective)
        derivative = (values[0] - values[1]) / (2 * STEP)
        assert duals[m.K] @ d == pytest.approx(derivative, abs=1e-4)


def random_program(rng, form):
    """Linear objective, two affine vectors of either kind, a ball; in three forms."""
    n = 4
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n), initialize=0.1)
    x = list(m.x.values())

    def affine(coefficients, constant=0.0):
        return LinearExpression(
            constant=float(constant),
            linear_coefs=coefficients.tolist(),
            linear_vars=x,
        )

    m.o = pyo.Objective(expr=affine(rng.normal(size=n)))
    for number in range(3):
        rotated = number == 1
        k = int(rng.integers(3, 6))
        E, e = rng.normal(size=(k, n)), rng.normal(size=k)
        if number == 2:
            k, E, e = n + 1, np.vstack([np.zeros(n), np.eye(n)]), 2.0 * np.eye(n + 1)[0]
        # The origin is inside.
        e[: 2 if rotated else 1] = 1.5 + np.linalg.norm(e[1:])
        s = [affine(E[i], e[i]) for i in range(k)]
        if form == "cone":
            part = SecondOrderCone(s, rotated=rotated)
        elif form == "rows":
            # The plain constraints alone, for whoever takes those.
            part = pyo.ConstraintList()
            m.add_component(f"K{number}", part)
            part.add(s[0] >= 0)
            if rotated:
                part.add(s[1] >= 0)
                part.add(2 * s[0] * s[1] >= sum(v**2 for v in s[2:]))
            else:
                part.add(s[0] ** 2 >= sum(v**2 for v in s[1:]))
            continue
        else:
            # Schur complement: an arrow, of a rotated cone with 2 s0 in its corner.
            first, diagonal, tail = (
                (2 * s[0], s[1], s[2:]) if rotated else (s[0], s[0], s[1:])
            )
            size = len(tail) + 1
            M = np.zeros((size, size), dtype=object)
            M[0, 0] = first
            for i, v in enumerate(tail, 1):
                M[0, i] = M[i, 0] = v
                M[i, i] = diagonal
            part = PSDCone(M)
        m.add_component(f"K{number}", part)
    return m


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_arrow_matrices_say_the_same(seed):
    models = {
        form: random_program(np.random.default_rng(seed), form)
        for form in ("cone", "arrow")
    }
    results = {form: solve(m) for form, m in models.items()}
    values = [r.incumbent_objective for r in results.values()]
    assert values[0] == pytest.approx(values[1], abs=1e-5)
    m = models["cone"]
    assert min(m.K0.margin(), m.K1.margin(), m.K2.margin()) > -1e-6
    info = results["cone"].extra_info
    assert max(info.primal_residual, info.dual_residual, abs(info.gap)) < 1e-5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", ["cone", "rows"])
def test_ipopt_finds_the_same_optimum_from_the_rows(seed, form):
    solver = pyo.SolverFactory("cyipopt")
    if not solver.available(exception_flag=False):
        pytest.skip("Ipopt is not installed; run tools/install_ipopt.sh")
    expected = solve(random_program(np.random.default_rng(seed), "cone"))
    m = random_program(np.random.default_rng(seed), form)
    solver.solve(m)
    assert pyo.value(m.o) == pytest.approx(expected.incumbent_objective, abs=1e-5)


def test_closed_forms():
    """Least norm on a hyperplane; the geometric mean below a budget."""
    m = pyo.ConcreteModel()
    m.t, m.x = pyo.Var(), pyo.Var(range(5))
    a = np.array([3.0, -1.0, 2.0, 0.5, 1.0])
    m.c = pyo.Constraint(expr=sum(float(a[i]) * m.x[i] for i in range(5)) == 2)
    m.K = SecondOrderCone([m.t, *m.x.values()])
    m.o = pyo.Objective(expr=m.t)
    assert solve(m).incumbent_objective == pytest.approx(2 / np.linalg.norm(a))
    m = pyo.ConcreteModel()
    m.t, m.x = pyo.Var(), pyo.Var(range(2))
    m.c = pyo.Constraint(expr=m.x[0] + 4 * m.x[1] <= 8)
    m.K = SecondOrderCone([m.x[0], 0.5 * m.x[1], m.t], rotated=True)
    m.o = pyo.Objective(expr=m.t, sense=pyo.maximize)
    assert solve(m).incumbent_objective == pytest.approx(2.0)
    assert [m.x[0].value, m.x[1].value] == pytest.approx([4.0, 1.0], abs=1e-4)


def test_an_infeasible_and_an_unbounded_program():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.K = SecondOrderCone(m.x)
    m.o = pyo.Objective(expr=m.x[0])
    m.c = pyo.Constraint(expr=m.x[1] >= m.x[0] + 1)
    options = {"load_solutions": False, "raise_exception_on_nonoptimal_result": False}
    results = solve(m, **options)
    assert results.termination_condition == TerminationCondition.provenInfeasible
    assert results.extra_info.certificate_residual < 1e-6
    m.c.deactivate()
    m.o.set_value(m.x[1] - 0.5 * m.x[0])
    results = solve(m, **options)
    assert results.termination_condition == TerminationCondition.unbounded
    assert results.extra_info.certificate_residual < 1e-6


def test_rows_come_between_the_nonnegative_ones_and_the_triangles():
    rng = np.random.default_rng(0)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(6))
    x = list(m.x.values())
    m.A = PSDCone([[x[0], x[1]], [x[1], x[2]]])
    m.B = SecondOrderCone([x[3], x[4] - 2 * x[0], 0.5, x[1]])
    m.C = DoublyNonnegativeCone([[x[3], x[4]], [x[4], x[5]]])
    m.D = SecondOrderCone([x[0] + x[1], x[1], x[2], 3.0], rotated=True)
    m.E = SecondOrderCone([x[5], x[4]])
    m.F = PSDCone([[x[5]]])
    m.c = pyo.Constraint(expr=x[0] + x[1] == 1)
    form = compile_conic(m)
    point = rng.normal(size=6)
    for var, number in zip(form.variables, point, strict=True):
        var.set_value(number)
    slack = form.b - form.A @ point
    assert (form.n_zero, form.n_nonnegative) == (1, 2)
    assert form.soc_orders.tolist() == [4, 4, 2]
    assert form.psd_orders.tolist() == [2, 2]
    rows = [part.rows.tolist() for part in form.vector_cones]
    assert rows == [[3, 4, 5, 6], [7, 8, 9, 10], [11, 12]]
    assert [part.cone.name for part in form.vector_cones] == ["B", "D", "E"]
    np.testing.assert_allclose(slack[3:7], m.B.numeric())
    np.testing.assert_allclose(slack[7:11], turned(m.D.numeric()))
    np.testing.assert_allclose(slack[11:13], m.E.numeric())
    triangles = [part.rows.tolist() for part in form.cones]
    assert triangles == [[13, 14, 15], [16, 17, 18], [2]]
    np.testing.assert_allclose(slack[13:16], m.A.numeric()[[0, 0, 1], [0, 1, 1]])
    # The worst part counts: here a second-order cone by a hundred.
    slack = np.zeros(19)
    slack[[3, 4, 5]] = -40.0, 48.0, 36.0
    assert form.cone_violation(slack) == pytest.approx(100.0)
    assert form.cone_violation(slack, np.full(19, 2.0)) == pytest.approx(50.0)
    slack[3] = 60.0
    assert form.cone_violation(slack) == 0.0


def test_fixed_variables_and_a_vector_of_numbers():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(3))
    m.K = SecondOrderCone(m.x)
    m.N = SecondOrderCone([5, 3, 4])
    m.x[0].fix(5.0)
    m.x[1].fix(3.0)
    m.o = pyo.Objective(expr=m.x[2], sense=pyo.maximize)
    assert solve(m).incumbent_objective == pytest.approx(4.0)
    m.x[2].fix(4.5)
    m.o.set_value(m.x[2])
    results = solve(m, raise_exception_on_nonoptimal_result=False, load_solutions=False)
    assert results.termination_condition == TerminationCondition.provenInfeasible


def test_inactive_cones_are_left_out():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(-3, 3))
    m.K = SecondOrderCone([0, 1], rule=lambda m, i: [1.0 + i, m.x[i]])
    m.K[1].deactivate()
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    assert solve(m).incumbent_objective == pytest.approx(-4.0)
    loader = solve(m).solution_loader
    assert set(loader.get_duals()) == {m.K[0]}
    with pytest.raises(InputError, match=r"K\[1\]"):
        loader.get_duals([m.K[1]])
    with pytest.raises(InputError, match=r"K\[0\].*no matrix cone"):
        loader.get_cone_multipliers(m.K[0])
    m.K.deactivate()
    assert solve(m).incumbent_objective == pytest.approx(-6.0)


@pytest.mark.parametrize(
    "touch",
    [
        lambda cone: cone.first_nonnegative.deactivate(),
        lambda cone: cone.first_nonnegative.set_value(cone.vector[0] >= -1),
        lambda cone: cone.del_component("first_nonnegative"),
    ],
)
def test_a_cone_that_was_taken_apart_is_no_cone(touch):
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1])
    m.K = SecondOrderCone(m.x)
    m.o = pyo.Objective(expr=m.x[0])
    touch(m.K)
    with pytest.raises(UnsupportedModelError, match=r"K\.quadratic.*changed"):
        compile_conic(m)


def test_rows_that_were_changed_speak_for_themselves():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1])
    m.K = SecondOrderCone(m.x)
    m.o = pyo.Objective(expr=m.x[0])
    m.K.first_nonnegative.set_value(m.x[0] >= 1)
    # The new row still says on which nappe the quadratic row is.
    assert compile_conic(m).vector_cones == []
    assert solve(m).incumbent_objective == pytest.approx(1.0, abs=1e-6)


def test_nonconvex_quadratic_constraints_are_told_of_the_cone():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1])
    m.c = pyo.Constraint(expr=m.x[0] ** 2 <= m.x[1] ** 2)
    with pytest.raises(UnsupportedModelError, match=r"'c'.*SecondOrderCone"):
        compile_conic(m)


def test_a_suffix_takes_the_dual_vector():
    m = nearest(np.array([0.0, 1.0, 2.0]), pyo.minimize, False)
    m.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
    expected = solve(m).solution_loader.get_duals()[m.K]
    np.testing.assert_array_equal(m.dual[m.K], expected)


def disjunctive():
    """The unit disc about (0, 0), or the one about (3, 0)."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(-9, 9))
    m.d = Disjunct([0, 1])
    for i in (0, 1):
        m.d[i].K = SecondOrderCone([1, m.x[0] - 3 * i, m.x[1]])
    m.D = Disjunction(expr=[m.d[0], m.d[1]])
    m.o = pyo.Objective(expr=m.x[0])
    return m


def test_in_disjuncts_they_are_plain_rows():
    m = disjunctive()
    m.d[0].indicator_var.fix(False)
    m.d[1].indicator_var.fix(True)
    pyo.TransformationFactory("gdp.fix_disjuncts").apply_to(m)
    assert solve(m).incumbent_objective == pytest.approx(2.0)
    m = disjunctive()
    pyo.TransformationFactory("gdp.bigm").apply_to(m)
    m.d[0].binary_indicator_var.fix(0)
    m.d[1].binary_indicator_var.fix(1)
    # The transformed rows are what is in force, and they are quadratic.
    form = compile_conic(m)
    assert form.vector_cones == []
    assert len(form.quadratics) == 2
    assert solve(m).incumbent_objective == pytest.approx(2.0, abs=1e-6)
    solver = pyo.SolverFactory("cyipopt")
    if solver.available(exception_flag=False):
        solver.solve(m)
        assert pyo.value(m.o) == pytest.approx(2.0, abs=1e-5)


def test_dispatch():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(-3, 3))
    m.K = SecondOrderCone([1, m.x[0]])
    m.o = pyo.Objective(expr=m.x[0])
    with pytest.raises(IncompatibleModelError):
        solve(m, solver="highs")
    m.M = PSDCone([[1, m.x[0]], [m.x[0], 1]])
    with pytest.raises(
        UnsupportedConeError, match=r"'highs'.*relu\.minors.*relu\.cuts"
    ):
        solve(m, solver="highs")
