"""Networks from solved programs: the model's objective, in every form and tier."""

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    build_copositive,
    certify,
    recover_network,
    relax,
    sample_cells,
    solve,
)
from pyomo_relu.errors import InputError, InputTypeError, SolverError
from tests.instances import REFERENCE, reference_data


@pytest.mark.parametrize("seed", sorted(REFERENCE))
@pytest.mark.parametrize("options", [{}, {"form": "plain"}, {"description": "facets"}])
def test_the_network_has_the_models_objective(seed, options):
    problem = TrainingProblem(*reference_data(seed), beta=0.2)
    model = build_completely_positive(problem, **options)
    relax(model, "dnn")
    optimum = solve(model).incumbent_objective
    raw = recover_network(model, improve=False)
    assert raw.objective(problem) == pytest.approx(optimum, abs=1e-5)
    network = recover_network(model)
    assert network.objective(problem) == pytest.approx(REFERENCE[seed], abs=1e-6)
    assert network.n_neurons <= raw.n_neurons


def test_predictions_of_model_and_network_agree():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "dnn")
    solve(model)
    predicted = recover_network(model).predict(problem.X)
    for (k, o), expression in model.prediction.items():
        assert pyo.value(expression) == pytest.approx(predicted[k, o], abs=1e-4)


def test_pieces_of_a_partition_are_factored_one_by_one():
    problem = TrainingProblem(*reference_data(2), beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "partition", level=1)
    relax(model, "dnn")
    solve(model)
    network = recover_network(model)
    assert network.objective(problem) == pytest.approx(REFERENCE[2], abs=1e-6)


def test_the_gated_relaxation_gives_some_network_and_an_honest_gap():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "psd")
    bound = solve(model).incumbent_objective
    certificate = certify(problem, recover_network(model))
    assert certificate.objective >= REFERENCE[0] - 1e-7
    assert certificate.lower_bound <= REFERENCE[0] + 1e-7
    assert bound <= REFERENCE[0]


def test_sampled_cells_give_a_network():
    rng = np.random.default_rng(0)
    problem = TrainingProblem(rng.normal(size=(12, 5)), rng.normal(size=(12, 2)), 0.5)
    model = build_completely_positive(problem, sample_cells(problem, 40, seed=1))
    relax(model, "dnn")
    solve(model)
    network = recover_network(model)
    certificate = certify(problem, network)
    assert certificate.lower_bound <= certificate.objective
    assert certificate.objective < 0.5 * np.sum(problem.Y**2)


def test_an_unsolved_model_is_refused():
    model = build_completely_positive(TrainingProblem(*reference_data(0), beta=0.2))
    relax(model, "dnn")
    with pytest.raises(SolverError, match="without a finite value"):
        recover_network(model)
    with pytest.raises(InputTypeError, match="not a network program"):
        recover_network(pyo.ConcreteModel())


KINKED = [[-1, 0], [-2, 1], [-2, -2], [0, 2], [-1, 1], [0, -1], [0, 1], [-1, 0]]
TARGETS = [
    [2, -1, 0],
    [1, 0, 0],
    [-1, 1, -2],
    [2, -1, 0],
    [2, -1, 0],
    [1, 0, 1],
    [-2, 0, -1],
    [-1, 1, -1],
]


@pytest.mark.parametrize("build", [build_completely_positive, build_copositive])
def test_a_loss_with_kinks_loses_nothing(build):
    problem = TrainingProblem(KINKED, TARGETS, 0.065, loss="absolute", bias=True)
    model = build(problem)
    relax(model, "dnn")
    optimum = solve(model).incumbent_objective
    network = recover_network(model)
    assert network.objective(problem) == pytest.approx(optimum, rel=1e-6)


def test_another_objective_is_not_descended_from():
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    problem = TrainingProblem(X, y, 0.1)
    model = build_completely_positive(problem)
    model.objective.set_value(model.loss + model.penalty + 2 * model.prediction[0, 0])
    relax(model, "dnn")
    solve(model)
    network = recover_network(model)
    value = network.objective(problem) + 2 * network.predict(X)[0, 0]
    assert value == pytest.approx(pyo.value(model.objective), rel=1e-4)
    with pytest.raises(InputError, match="objective"):
        recover_network(model, improve=True)


@pytest.mark.parametrize("columns", [1, 2])
def test_the_gated_relaxation_still_has_a_good_network(columns):
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))[:, :columns]
    problem = TrainingProblem(X, Y, 0.1)
    model = build_completely_positive(problem)
    relax(model, "psd")
    solve(model)
    network = recover_network(model)
    assert certify(problem, network).gap < 0.01


def test_constraints_that_no_direction_can_meet():
    rng = np.random.default_rng(3)
    X, Y, anchors = (rng.normal(size=(k, 2)) for k in (6, 6, 2))
    problem = TrainingProblem(X, Y[:, 0], 0.1, anchors=anchors)
    model = build_completely_positive(problem)
    model.value = pyo.Constraint(expr=model.prediction[7, 0] == 0.1)
    relax(model, "psd")
    solve(model)
    assert recover_network(model).predict(anchors)[1, 0] == pytest.approx(0.1)
    # Now no network can: two values at one point.
    model.other = pyo.Constraint(expr=model.prediction[7, 0] == 0.2)
    with pytest.raises(SolverError, match=r"violates them by"):
        recover_network(model)
