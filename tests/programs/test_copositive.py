"""The dual program: its value, its multipliers, its forms, its door."""

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import (
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_copositive,
    certify,
    enumerate_cells,
    recover_network,
    relax,
    solve,
)
from pyomo_relu.errors import (
    InputError,
    InputTypeError,
    SolverError,
    UnsupportedConeError,
)
from tests.instances import REFERENCE, REFERENCE_PSD, reference_data


def random_problem(seed, n=5, d=2, c=1, beta=0.2):
    rng = np.random.default_rng(seed)
    return TrainingProblem(rng.normal(size=(n, d)), rng.normal(size=(n, c)), beta)


def solved(build, problem, tier="dnn", **options):
    model = build(problem, **options)
    relax(model, tier)
    return model, solve(model).incumbent_objective


@pytest.mark.parametrize("seed", REFERENCE)
def test_reference_optima(seed):
    problem = TrainingProblem(*reference_data(seed), beta=0.2)
    model, value = solved(build_copositive, problem)
    assert value == pytest.approx(REFERENCE[seed], abs=5e-7)
    assert bound_direction(model) == "exact"
    assert pyo.value(model.objective) == pytest.approx(value, rel=1e-9)


def test_the_gated_relaxation_from_the_dual_side():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    model, value = solved(build_copositive, problem, "psd")
    assert value == pytest.approx(REFERENCE_PSD, abs=5e-7)
    assert bound_direction(model) == "lower"


@pytest.mark.parametrize("seed", range(10))
def test_optimum_and_network_equal_the_primals(seed):
    """Ten instances, d = 2 and 3, one to four outputs."""
    problem = random_problem(seed, d=2 + seed % 2, c=1 + seed % 4)
    primal, above = solved(build_completely_positive, problem)
    dual, below = solved(build_copositive, problem)
    assert below == pytest.approx(above, abs=1e-6)
    networks = [recover_network(model) for model in (primal, dual)]
    objectives = [network.objective(problem) for network in networks]
    assert objectives == pytest.approx([above, above], abs=1e-6)
    assert certify(problem, networks[1]).gap < 1e-6
    # Without descent from them, the multipliers alone are the network.
    raw = recover_network(dual, improve=False)
    assert raw.objective(problem) == pytest.approx(above, abs=1e-5)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 6),
    d=st.integers(1, 3),
    c=st.integers(1, 3),
)
def test_tree_plain_and_primal_are_one_program(seed, n, d, c):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, size=(n, d)).astype(float)
    X[0, 0] = 1.0
    problem = TrainingProblem(X, rng.normal(size=(n, c)), beta=0.1)
    _, tree = solved(build_copositive, problem)
    _, plain = solved(build_copositive, problem, form="plain")
    _, primal = solved(build_completely_positive, problem)
    assert [tree, plain] == pytest.approx([primal, primal], abs=1e-6)


def test_values_at_the_optimum_are_the_networks():
    problem = random_problem(3, n=6, d=3, c=2)
    model, value = solved(build_copositive, problem)
    network = recover_network(model)
    f = network.predict(problem.X)
    shape = problem.Y.shape
    prediction = np.reshape([pyo.value(p) for p in model.prediction.values()], shape)
    dual_point = np.reshape([pyo.value(z) for z in model.dual_point.values()], shape)
    np.testing.assert_allclose(prediction, f, atol=1e-5)
    np.testing.assert_allclose(dual_point, problem.Y - f, atol=1e-5)
    loss = 0.5 * np.sum((f - problem.Y) ** 2)
    assert pyo.value(model.loss) == pytest.approx(loss, abs=1e-5)
    assert pyo.value(model.penalty) == pytest.approx(value - loss, abs=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_facet_form_is_the_dual_of_the_primal_facet_form(seed):
    problem = TrainingProblem(*reference_data(seed), beta=0.2)
    model, below = solved(build_copositive, problem, description="facets")
    _, above = solved(build_completely_positive, problem, description="facets")
    assert below == pytest.approx(above, abs=2e-6)
    assert below <= REFERENCE[seed] + 1e-6
    network = recover_network(model)
    assert REFERENCE[seed] - 1e-6 <= network.objective(problem) < 1.1 * REFERENCE[seed]


def test_fewer_cells_lack_constraints():
    problem = TrainingProblem(*reference_data(1), beta=0.2)
    some = enumerate_cells(problem).subset(range(0, 92, 2))
    options = {"cells": some, "description": "rays"}
    model, value = solved(build_copositive, problem, **options)
    _, primal = solved(build_completely_positive, problem, **options)
    assert value == pytest.approx(primal, abs=1e-6)
    assert value > REFERENCE[1] + 1e-3
    assert bound_direction(model) == "upper"


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_units(scale):
    X, Y = reference_data(2)
    problem = TrainingProblem(X * scale, Y / scale, beta=0.2)
    model, value = solved(build_copositive, problem)
    expected = recover_network(solved(build_completely_positive, problem)[0])
    assert value == pytest.approx(expected.objective(problem), rel=1e-6)
    assert recover_network(model).objective(problem) == pytest.approx(value, rel=1e-6)


def test_no_network_without_multipliers():
    problem = random_problem(0)
    model = build_copositive(problem)
    with pytest.raises(SolverError, match="multiplier"):
        recover_network(model)
    relax(model, "dnn")
    model.dual.deactivate()
    solve(model)
    with pytest.raises(SolverError, match="Suffix"):
        recover_network(model)


def test_the_door():
    problem = random_problem(0)
    with pytest.raises(InputTypeError, match="TrainingProblem"):
        build_copositive("data")
    with pytest.raises(InputError, match="form"):
        build_copositive(problem, form="dense")
    with pytest.raises(InputError, match="description"):
        build_copositive(problem, description="vertices")
    model = build_copositive(problem)
    with pytest.raises(InputError, match="already"):
        build_completely_positive(problem, block=model)
    with pytest.raises(UnsupportedConeError, match=r"copositive.*relu\.dnn"):
        solve(model)


def test_in_a_block_of_a_larger_model():
    problem = random_problem(1)
    parent = pyo.ConcreteModel()
    parent.training = pyo.Block()
    build_copositive(problem, block=parent.training)
    relax(parent, "dnn")
    value = solve(parent).incumbent_objective
    network = recover_network(parent.training)
    assert network.objective(problem) == pytest.approx(value, abs=1e-6)
