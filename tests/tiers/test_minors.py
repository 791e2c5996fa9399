"""The 2-by-2 minors: between nothing and the semidefinite cone, and bounded."""

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu import (
    PSDCone,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    relax,
    solve,
)
from tests.tiers.forms import HORN, optimum, primal


def random_symmetric(seed, order):
    M = np.random.default_rng(seed).normal(size=(order, order))
    return M + M.T


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), order=st.integers(2, 4))
def test_every_minor_holds_and_no_more_is_asked(seed, order):
    """Against the same program with each minor as a semidefinite cone of order two."""
    C = random_symmetric(seed, order)
    found = primal(C)
    value = optimum(found, "minors")
    other = primal(C)
    other.K.deactivate()
    pairs = [(i, j) for i in range(order) for j in range(i + 1, order)]
    M = other.K.matrix
    other.minor = PSDCone(pairs, rule=lambda _, i, j: M[np.ix_([i, j], [i, j])])
    other.sign = pyo.Constraint(pairs, rule=lambda _, i, j: M[i, j] >= 0)
    assert value == pytest.approx(optimum(other), abs=2e-6)
    values = found.K.numeric()
    assert all(np.linalg.eigvalsh(values[np.ix_(p, p)])[0] > -1e-6 for p in pairs)
    assert value <= optimum(primal(C), "dnn") + 2e-6


def test_order_two_is_exact():
    model = primal(random_symmetric(3, 2))
    relax(model, "minors")
    assert bound_direction(model) == "exact"


def test_the_horn_matrix():
    """By symmetry the optimum is a I + b N, N the neighbours on the pentagon.

    The minors say b <= a, the sum of all entries is 5 a + 10 b = 1, and the value is
    5 a - 10 b: -1/3 at a = b = 1/15.
    """
    model = primal(HORN, np.ones((5, 5)))
    assert optimum(model, "minors") == pytest.approx(-1.0 / 3.0, abs=1e-6)


def is_unbounded(model):
    results = solve(
        model, load_solutions=False, raise_exception_on_nonoptimal_result=False
    )
    return results.termination_condition == TerminationCondition.unbounded


@pytest.mark.parametrize(("n", "d", "seeds"), [(4, 3, range(12)), (5, 4, range(6))])
def test_bounded_where_the_naive_rows_are_not(n, d, seeds):
    """Minors in the coordinates of the rays alone leave some of these unbounded."""
    naive = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        X, Y = rng.normal(size=(n, d)), rng.normal(size=(n, 2))
        model = build_completely_positive(TrainingProblem(X, Y, beta=0.2))
        relax(model, "minors")
        results = solve(model, raise_exception_on_nonoptimal_result=False)
        ended = results.termination_condition
        assert ended != TerminationCondition.unbounded
        assert ended != TerminationCondition.infeasibleOrUnbounded
        assert results.incumbent_objective >= -1e-6
        if naive < 1:
            model.cone_minors.ray_minor.deactivate()
            model.cone_minors.ray_diagonal.deactivate()
            naive += is_unbounded(model)
            assert bound_direction(model) == "lower"
    assert naive
