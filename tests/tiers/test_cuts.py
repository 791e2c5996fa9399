"""Eigenvector cuts: linear programs that end where the semidefinite ones do."""

from __future__ import annotations

import logging
import signal

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.solvers.highs import Highs
from pyomo.environ import TransformationFactory

from pyomo_relu import (
    CompletelyPositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    relax,
    solve,
)
from pyomo_relu.errors import InputError, SolverError, UnsupportedConeError
from pyomo_relu.tiers.tangents import split_squares
from tests.tiers.forms import HORN, primal

#: Chords and edges of graphs on 0..n-1.
PENTAGON = [(i, (i + 1) % 5) for i in range(5)]
PETERSEN = [
    *PENTAGON,
    *((i, i + 5) for i in range(5)),
    *((5 + i, 5 + (i + 2) % 5) for i in range(5)),
]
#: Half the squared distance of the Horn matrix to the semidefinite cone.
HORN_DISTANCE = 0.5 * np.sum(np.minimum(np.linalg.eigvalsh(HORN), 0.0) ** 2)


def symmetric_variables(model, order):
    """Add the upper triangle M, and return the matrix."""
    model.M = pyo.Var([(i, j) for i in range(order) for j in range(i, order)])
    return [[model.M[min(i, j), max(i, j)] for j in range(order)] for i in range(order)]


def value_of(model, tier=None, solver="highs", **options):
    if tier is not None:
        relax(model, tier, **options)
    return solve(model, solver).incumbent_objective


def is_linear(model):
    """Whether every active row and objective is."""
    parts = (pyo.Constraint, pyo.Objective)
    return all(
        (part.body if part.ctype is pyo.Constraint else part.expr).polynomial_degree()
        in (0, 1)
        for part in model.component_data_objects(parts, active=True)
    )


# ---- without networks --------------------------------------------------------------


def correlation(order):
    """The smallest correlation that all pairs of variables can have."""
    m = pyo.ConcreteModel()
    m.r = pyo.Var()
    m.K = PSDCone(np.where(np.eye(order) == 1, 1.0, m.r))
    m.o = pyo.Objective(expr=m.r)
    return m


@pytest.mark.parametrize("order", [2, 3, 6])
def test_smallest_common_correlation(order):
    assert value_of(correlation(order), "cuts") == pytest.approx(
        -1.0 / (order - 1), abs=2e-6
    )


def theta_prime(cone, n, edges):
    """Schrijver's bound on the stability number, as in design.md, section 5."""
    m = pyo.ConcreteModel()
    matrix = symmetric_variables(m, n)
    m.K = cone(matrix)
    m.trace = pyo.Constraint(expr=sum(matrix[i][i] for i in range(n)) == 1)
    m.edge = pyo.Constraint(edges, rule=lambda m, i, j: matrix[i][j] == 0)
    m.o = pyo.Objective(expr=sum(map(sum, matrix)), sense=pyo.maximize)
    return m


@pytest.mark.parametrize("cone", [CompletelyPositiveCone, DoublyNonnegativeCone])
def test_theta_prime_of_the_pentagon(cone):
    model = theta_prime(cone, 5, PENTAGON)
    assert value_of(model, "cuts") == pytest.approx(np.sqrt(5.0), abs=2e-5)
    assert value_of(model) >= np.sqrt(5.0) - 1e-7
    assert bound_direction(model) == "upper"


def test_theta_prime_of_the_petersen_graph():
    model = theta_prime(DoublyNonnegativeCone, 10, PETERSEN)
    assert value_of(model, "cuts", tolerance=1e-5) == pytest.approx(4.0, abs=1e-3)


def test_maximum_cut_of_the_pentagon():
    """Its semidefinite bound is (25 + 5 sqrt 5) / 8."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([(i, j) for i in range(5) for j in range(i + 1, 5)])
    rows = [
        [1 if i == j else m.x[min(i, j), max(i, j)] for j in range(5)] for i in range(5)
    ]
    m.K = PSDCone(rows)
    m.o = pyo.Objective(
        expr=sum(0.5 * (1 - rows[i][j]) for i, j in PENTAGON), sense=pyo.maximize
    )
    assert value_of(m, "cuts") == pytest.approx((25 + 5 * np.sqrt(5)) / 8, abs=2e-5)


def test_the_horn_matrix():
    """On the simplex the doubly nonnegative bound is known, -0.1055728."""
    model = primal(HORN, np.ones((5, 5)))
    assert value_of(model, "cuts") == pytest.approx(-0.1055728, abs=5e-6)


def nearest(C, sign=False):
    """Half the squared distance of a matrix to the cone."""
    m = pyo.ConcreteModel()
    M = symmetric_variables(m, len(C))
    m.K = (DoublyNonnegativeCone if sign else PSDCone)(M)
    terms = ((M[i][j] - C[i, j]) ** 2 for i in range(len(C)) for j in range(len(C)))
    m.o = pyo.Objective(expr=0.5 * sum(terms))
    return m


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.integers(2, 4))
def test_projection_on_the_semidefinite_cone(seed, order):
    """The distance is that of the negative eigenvalues to zero."""
    C = np.random.default_rng(seed).normal(size=(order, order))
    C = C + C.T
    truth = 0.5 * np.sum(np.minimum(np.linalg.eigvalsh(C), 0.0) ** 2)
    model = nearest(C)
    found = value_of(model, "cuts")
    assert found == pytest.approx(truth, abs=2e-5 * max(1.0, truth))
    assert is_linear(model)
    assert bound_direction(model) == "lower"


def test_projection_under_a_maximisation():
    C = HORN - 2.0 * np.eye(5)
    other = nearest(C)
    truth = 0.5 * np.sum(np.minimum(np.linalg.eigvalsh(C), 0.0) ** 2)
    expression = 3.0 - other.o.expr
    other.del_component("o")
    other.o = pyo.Objective(expr=expression, sense=pyo.maximize)
    assert value_of(other, "cuts") == pytest.approx(3.0 - truth, abs=1e-4)
    assert bound_direction(other) == "upper"


def test_a_correlated_quadratic_objective():
    """Least of (x - c)'Q(x - c) with x_0 x_2 >= x_1^2: against the cone program."""
    rng = np.random.default_rng(4)
    B = rng.normal(size=(3, 3))
    Q, c = B @ B.T, np.array([1.0, 2.0, -0.5])
    values = {}
    for tier in (None, "cuts"):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(range(3))
        m.K = PSDCone([[m.x[0], m.x[1]], [m.x[1], m.x[2]]])
        step = [m.x[i] - c[i] for i in range(3)]
        m.o = pyo.Objective(
            expr=sum(Q[i, j] * step[i] * step[j] for i in range(3) for j in range(3))
            + 0.1 * m.x[1]
        )
        values[tier] = value_of(m, tier, solver="highs" if tier else "clarabel")
    assert values["cuts"] == pytest.approx(values[None], abs=1e-5)


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    sense=st.sampled_from([pyo.minimize, pyo.maximize]),
    rank=st.integers(1, 4),
)
def test_squares_are_the_objective(seed, sense, rank):
    """At random points, and the linear rest is orthogonal to what squares see."""
    rng = np.random.default_rng(seed)
    B = np.zeros((7, rank + 2))
    B[:4, :rank] = rng.normal(size=(4, rank))
    B[4, rank], B[5, rank + 1] = 3.0, 1e-4
    Q, c = B @ B.T, rng.normal(size=7)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(7))
    x = list(m.x.values())
    pairs = [(i, j) for i in range(7) for j in range(7) if Q[i, j]]
    quadratic = sum(Q[i, j] * x[i] * x[j] for i, j in pairs)
    linear = sum(c[i] * x[i] for i in range(7))
    m.o = pyo.Objective(expr=sense * (quadratic + linear + 2.0), sense=sense)
    squares = split_squares(m.o)
    assert len(squares.offsets) == rank + 2
    for _ in range(3):
        for variable in x:
            variable.value = rng.normal()
        point = np.array([variable.value for variable in squares.variables])
        roots = squares.directions @ point + squares.offsets
        total = roots @ roots + squares.linear @ point + squares.constant
        # The constant is some 1e7 where a square is shallow.
        assert squares.sense * total == pytest.approx(pyo.value(m.o), abs=1e-6)
    np.testing.assert_allclose(squares.directions @ squares.linear, 0.0, atol=1e-9)


def test_no_objective():
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.K = PSDCone([[1, m.x], [m.x, 4]])
    m.row = pyo.Constraint(expr=m.x >= 1.5)
    relax(m, "cuts")
    assert 1.5 - 1e-6 <= m.x.value <= 2.0 + 1e-5


def test_integers_keep_their_cuts():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(domain=pyo.Integers)
    m.y = pyo.Var()
    m.K = PSDCone([[1, m.x], [m.x, m.y]])
    m.o = pyo.Objective(expr=m.y - 1.2 * m.x)
    # x^2 - 1.2 x over the integers: -0.2 at one.
    assert value_of(m, "cuts") == pytest.approx(-0.2, abs=1e-5)


def test_several_components_and_expressions():
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.K = PSDCone([0, 1], rule=lambda m, i: [[2 + i, m.x], [m.x, 2 * m.y - i]])
    m.L = PSDCone([[1 - m.y, 0.0], [0.0, m.x]])
    m.o = pyo.Objective(expr=m.x, sense=pyo.maximize)
    # y <= 1, x^2 <= 4 y and x^2 <= 3 (2 y - 1).
    assert value_of(m, "cuts") == pytest.approx(np.sqrt(3.0), abs=5e-6)


# ---- networks ----------------------------------------------------------------------


def network_model(seed, n, d, c, **options):
    rng = np.random.default_rng(seed)
    problem = TrainingProblem(rng.normal(size=(n, d)), rng.normal(size=(n, c)), 0.2)
    return build_completely_positive(problem, **options)


@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    d=st.integers(2, 3),
    c=st.integers(1, 2),
    description=st.sampled_from(["rays", "facets"]),
)
def test_networks_converge_to_the_doubly_nonnegative_tier(seed, d, c, description):
    model = network_model(seed, 4, d, c, description=description)
    exact = value_of(model.clone(), "dnn", "clarabel")
    found = value_of(model, "cuts", tolerance=1e-5)
    scale = max(1.0, exact)
    assert found <= exact + 2e-6 * scale
    # A basis of facets may be far from orthogonal, where small eigenvalues weigh more.
    assert found >= exact - (5e-3 if description == "facets" else 5e-4) * scale
    assert not any(cone.active for cone in model.cone.values())
    assert is_linear(model)
    # Any other solver of linear programs finds the same, up to its own tolerance on
    # rows times multipliers.
    assert value_of(model, None, "clarabel") == pytest.approx(found, abs=1e-5 * scale)


def test_semidefinite_leaves_in_other_coordinates():
    """After relu.psd the cones are semidefinite, with an orthonormal basis as rays."""
    model = network_model(2, 4, 3, 2)
    relax(model, "psd")
    exact = value_of(model.clone(), None, "clarabel")
    assert value_of(model, "cuts", tolerance=1e-5) == pytest.approx(exact, abs=2e-4)


@pytest.mark.parametrize(("n", "d", "seeds"), [(4, 3, range(6)), (5, 4, range(2))])
def test_bounded_where_the_naive_rows_are_not(n, d, seeds):
    """The first program, with and without the diagonal of R A R'."""
    naive = 0
    for seed in seeds:
        model = network_model(seed, n, d, 2)
        # A cold first program must do without the box.
        relax(model, "cuts", max_rounds=1)
        first = solve(model, "highs")
        assert first.solution_status == SolutionStatus.optimal
        assert first.incumbent_objective >= -1e-7
        model.cone_cuts.ray_diagonal.deactivate()
        model.cone_cuts.cut.deactivate()
        ended = solve(
            model,
            "highs",
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
        ).termination_condition
        naive += ended == TerminationCondition.unbounded
        assert bound_direction(model) == "lower"
    assert naive


# ---- unbounded first programs ------------------------------------------------------


def test_a_loss_that_the_first_tangents_do_not_bound():
    m = pyo.ConcreteModel()
    m.x, m.y, m.z = pyo.Var(), pyo.Var(), pyo.Var()
    m.K = PSDCone([[1, m.z], [m.z, 1]])
    m.row = pyo.Constraint(expr=m.y <= m.x)
    m.o = pyo.Objective(expr=m.x**2 - 100 * m.y + m.z)
    assert value_of(m, "cuts") == pytest.approx(-2501.0, rel=1e-5)
    assert m.K_cuts.component("box") is None


def test_a_cone_that_the_first_rows_do_not_bound():
    """A weight that is positive on the semidefinite cone only."""
    m = pyo.ConcreteModel()
    M = symmetric_variables(m, 4)
    m.K = PSDCone(M)
    # v v' for v = (1, 1, 1, 1) is not spanned by the e_i, e_i +- e_j.
    m.o = pyo.Objective(
        expr=sum(map(sum, M))
        + 0.01 * sum(M[i][i] for i in range(4))
        - sum(0.001 * M[0][j] for j in range(4))
    )
    assert value_of(m, "cuts", tolerance=1e-5) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
def test_unbounded_programs_are_called_so(sense):
    m = pyo.ConcreteModel()
    m.x, m.y = pyo.Var(), pyo.Var()
    m.K = PSDCone([[m.y, m.x], [m.x, 1]])
    m.o = pyo.Objective(expr=sense * (m.x - m.x), sense=sense)
    m.o.set_value(-sense * m.y)
    before = snapshot(m)
    with pytest.raises(SolverError, match="unbounded"):
        relax(m, "cuts")
    assert snapshot(m) == before
    # A variable that is in no cone.
    m.z = pyo.Var()
    m.o.set_value(sense * (m.z + m.y))
    with pytest.raises(SolverError, match="in no cone"):
        relax(m, "cuts")


# ---- what is refused, and what is restored -----------------------------------------


def snapshot(model):
    return [
        (c.name, type(c), c.active)
        for c in model.component_data_objects(active=None, descend_into=True)
    ]


def test_reversal_restores_the_objective_too():
    model = network_model(0, 4, 2, 1)
    before = snapshot(model)
    token = TransformationFactory("relu.cuts").apply_to(model, tolerance=1e-3)
    assert not model.objective.active
    assert model.objective_cuts.objective.active
    TransformationFactory("relu.cuts").apply_to(model, reverse=token)
    assert snapshot(model) == before
    exact = value_of(model, "dnn", "clarabel")
    # The penalty and the loss are where they were.
    assert pyo.value(model.loss + model.penalty) == pytest.approx(exact, abs=1e-6)


def test_infeasible_models_are_called_so():
    m = correlation(3)
    m.row = pyo.Constraint(expr=m.r <= -1.5)
    before = snapshot(m)
    with pytest.raises(SolverError, match=r"provenInfeasible.*infeasible"):
        relax(m, "cuts")
    assert snapshot(m) == before
    # Only the cuts show it here.
    m.row.set_value(m.r <= -0.6)
    with pytest.raises(SolverError, match="infeasible"):
        relax(m, "cuts")
    assert snapshot(m) == before


def test_other_cones_are_refused_before_anything_is_solved():
    m = correlation(3)
    m.L = PSDCone([[1, m.r], [m.r, 1]])
    before = snapshot(m)
    with pytest.raises(UnsupportedConeError, match=r"'L'.*none of its targets"):
        relax(m, "cuts", targets=m.K)
    assert snapshot(m) == before
    assert m.r.value is None
    relax(m, "dd", targets=m.L)
    assert value_of(m, "cuts", targets=m.K) == pytest.approx(-0.5, abs=2e-6)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (lambda m: pyo.exp(m.r), "'o' is neither linear nor quadratic"),
        (lambda m: m.r**3, "'o' is neither linear nor quadratic"),
        (lambda m: -(m.r**2), "'o' is not convex"),
        (lambda m: m.r * m.s + m.s**2, "'o' is not convex"),
    ],
)
def test_objectives_without_tangents_are_refused(expression, message):
    m = correlation(3)
    m.s = pyo.Var(bounds=(0, 1))
    m.o.set_value(expression(m))
    before = snapshot(m)
    with pytest.raises(InputError, match=message):
        relax(m, "cuts")
    assert snapshot(m) == before
    m.o.set_value(m.s)
    m.p = pyo.Objective(expr=m.r)
    with pytest.raises(InputError, match="2 active objectives"):
        relax(m, "cuts")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"solver": "no such"}, "no solver 'no such'.*highs"),
        ({"solver": 3}, "a name.*got int"),
        ({"solver": pyo.SolverFactory("highs")}, "SolverFactory of pyomo.contrib"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"max_rounds": 0}, "max_rounds"),
        ({"time_limit": -1.0}, "time_limit"),
    ],
)
def test_bad_options_are_refused(options, message):
    m = correlation(3)
    with pytest.raises(InputError, match=message):
        relax(m, "cuts", **options)
    assert m.K.active


# ---- solvers that are not at an optimum --------------------------------------------


class Unsure(Highs):
    """Ends without an optimum in its third solve and after."""

    count = 0

    def solve(self, model, **options):
        results = super().solve(model, **options)
        self.count += 1
        if self.count > 2:
            results.termination_condition = TerminationCondition.iterationLimit
            results.solution_status = SolutionStatus.feasible
        return results


class Stale(Highs):
    """Calls the point before its last one optimal."""

    def solve(self, model, **options):
        before = [(v, v.value) for v in model.component_data_objects(pyo.Var)]
        results = super().solve(model, **options)
        loader = results.solution_loader

        class Old:
            def invalidate(self):
                loader.invalidate()

            def load_vars(self, vars_to_load=None):
                loader.load_vars()
                for variable, number in before:
                    if number is not None:
                        variable.value = number

        results.solution_loader = Old()
        return results


class Failing(Highs):
    def solve(self, model, **options):
        raise RuntimeError("no licence left.")


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Unsure, "iterationLimit"),
        (Stale, "called a point optimal that violates a cut"),
        (Failing, "no licence left"),
    ],
)
def test_only_an_optimum_counts(solver, message):
    m = nearest(HORN)
    before = snapshot(m)
    with pytest.raises(SolverError, match=message):
        relax(m, "cuts", solver=solver())
    assert snapshot(m) == before


def test_a_failed_warm_start_is_tried_again_from_scratch(caplog):
    class Once(Highs):
        count = 0

        def solve(self, model, **options):
            results = super().solve(model, **options)
            self.count += 1
            if self.count == 3:
                results.solution_status = SolutionStatus.noSolution
                results.termination_condition = TerminationCondition.unknown
            return results

    m = nearest(HORN)
    with caplog.at_level(logging.INFO):
        relax(m, "cuts", solver=Once())
    assert "ended with unknown" in caplog.text
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    assert value_of(m) == pytest.approx(HORN_DISTANCE, abs=2e-5)


@pytest.mark.parametrize("solver", ["clarabel", SolverFactory("highs")])
def test_other_solvers_and_instances(solver):
    m = correlation(4)
    relax(m, "cuts", solver=solver, tolerance=1e-5)
    assert value_of(m) == pytest.approx(-1.0 / 3.0, abs=2e-5)


# ---- early ends --------------------------------------------------------------------


def test_early_ends_leave_valid_cuts(caplog):
    values = []
    for rounds in (1, 4, 12):
        m = nearest(HORN)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            values.append(value_of(m, "cuts", max_rounds=rounds))
        assert f"max_rounds is {rounds}" in caplog.text
        assert caplog.text.count("eigenvalues") == rounds
        assert bound_direction(m) == "lower"
    assert values == sorted(values)
    assert values[-1] <= HORN_DISTANCE + 1e-6


def test_the_time_limit(caplog):
    m = nearest(HORN)
    relax(m, "cuts", time_limit=1e-9)
    assert "time_limit is 1e-09 s" in caplog.text
    assert is_linear(m)
    assert not m.K.active


class Interrupting(Highs):
    """Ctrl-C comes in the third solve; `swallows` it, as HiGHS itself does."""

    count = 0
    swallows = False

    def solve(self, model, **options):
        self.count += 1
        if self.count == 3:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                if not self.swallows:
                    raise
        return super().solve(model, **options)


@pytest.mark.parametrize("swallows", [False, True])
def test_an_interrupt_keeps_the_cuts(caplog, swallows):
    m = nearest(HORN)
    solver = Interrupting()
    solver.swallows = swallows
    handler = signal.getsignal(signal.SIGINT)
    relax(m, "cuts", solver=solver)
    assert signal.getsignal(signal.SIGINT) is handler
    assert "stops in round 3: it was interrupted" in caplog.text
    assert solver.count == 3
    assert not m.K.active
    assert len(m.K_cuts.cut) > 0
    bound = value_of(m)
    assert bound <= HORN_DISTANCE
    assert bound >= value_of(nearest(HORN), "cuts", max_rounds=1) - 1e-7


def test_a_solver_that_does_not_see_the_last_cuts(caplog):
    coarse = SolverFactory(
        "highs", solver_options={"primal_feasibility_tolerance": 5e-6}
    )
    relax(nearest(HORN), "cuts", solver=coarse, tolerance=1e-9)
    assert "does not see the last cuts" in caplog.text
