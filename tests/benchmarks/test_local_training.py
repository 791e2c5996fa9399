"""Local training from random starts against known optima and its own formula."""

import math

import numpy as np
import pytest

from benchmarks.local_training import data_set, descend, restarts
from pyomo_relu import ReLUNetwork, TrainingProblem
from tests.instances import REFERENCE, reference_data


@pytest.mark.parametrize("instance", [0, 1])
def test_the_best_of_several_is_close_to_a_known_optimum(instance):
    X, Y = reference_data(instance)
    found = restarts(X, Y, 0.2, starts=10, neurons=20, iterations=2_000)
    assert found[0].objective == pytest.approx(REFERENCE[instance], rel=5e-3)
    assert found[0].objective >= REFERENCE[instance] * (1 - 1e-7)
    assert sorted(each.objective for each in found) == [e.objective for e in found]


def test_the_objective_is_that_of_the_network():
    X, Y = reference_data(0)
    problem = TrainingProblem(X, Y, 0.2)
    rng = np.random.default_rng(0)
    found = descend(X, Y, 0.2, rng, neurons=7, iterations=5)
    assert found.iterations == 5
    # Both kinds of penalty are equal at balanced weights, and no less elsewhere.
    penalty = 0.1 * (np.sum(found.first**2) + np.sum(found.second**2))
    network = ReLUNetwork(found.first, found.second)
    loss = 0.5 * np.sum((network.predict(X) - Y) ** 2)
    assert found.objective == pytest.approx(loss + penalty, rel=1e-12)
    assert network.balance().objective(problem) <= found.objective * (1 + 1e-12)


def test_nothing_is_left_of_a_budget_of_nothing():
    X, Y = reference_data(0)
    found = restarts(X, Y, 0.2, starts=3, neurons=5, seconds=0.0)
    assert [each.iterations for each in found] == [1, 1, 1]
    assert all(math.isfinite(each.objective) for each in found)


@pytest.mark.parametrize(
    ("name", "shape", "classes"), [("wine", (178, 13), 3), ("cancer", (569, 30), 2)]
)
def test_data_are_standardised(name, shape, classes):
    pytest.importorskip("sklearn")
    X, Y = data_set(name)
    assert (X.shape, Y.shape) == (shape, (shape[0], classes))
    assert X.mean(axis=0) == pytest.approx(0.0, abs=1e-9)
    assert X.std(axis=0) == pytest.approx(1.0)
    assert np.array_equal(Y.sum(axis=1), np.ones(len(Y)))
