"""Local improvement: monotone, stationary, and right about faces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import block_diag

from pyomo_relu.losses import Huber
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.recovery import improve_network
from pyomo_relu.recovery.faces import Faces
from pyomo_relu.recovery.reduce import reduce_neurons

NO_LINEAR_TERM = np.zeros((0, 2))


def hessian_of(faces, theta):
    """The parts of the Hessian put together, on the weights that are not padding."""
    model = faces.model(theta)
    rows, m, b = model.jacobian.shape
    jacobian = np.hstack([model.jacobian.reshape(rows, m * b), model.beside])
    parts = block_diag(
        *model.blocks, (faces.scaled.skip or 0.0) * np.eye(model.beside.shape[1])
    )
    columns = [
        np.concatenate([part.ravel(), beside])
        for part, beside in (faces.pad(unit) for unit in np.eye(len(theta)))
    ]
    return np.array(columns) @ (jacobian.T @ jacobian + parts) @ np.array(columns).T


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), m=st.integers(0, 5))
def test_the_objective_never_rises(seed, m):
    rng = np.random.default_rng(seed)
    problem = TrainingProblem(rng.normal(size=(7, 3)), rng.normal(size=(7, 2)), 0.1)
    start = ReLUNetwork(rng.normal(size=(3, m)), rng.normal(size=(m, 2)))
    found = improve_network(problem, start)
    assert found.objective(problem) <= start.balance().objective(problem) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_derivatives_match_differences(seed):
    rng = np.random.default_rng(seed)
    problem = TrainingProblem(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), 0.1)
    first = rng.normal(size=(3, 3))
    # One neuron on the hyperplane of sample 0: it moves in a plane.
    x = problem.scaled.X[0]
    first[:, 1] -= x * (x @ first[:, 1]) / (x @ x)
    second = rng.normal(size=(3, 2))
    faces, theta = Faces.through(problem.scaled, first, second, NO_LINEAR_TERM, 1e-8)
    assert faces.sizes == [3, 2, 3]
    gradient, hessian = faces.gradient(theta), hessian_of(faces, theta)
    steps = 1e-6 * np.eye(len(theta))
    slopes = [(faces.value(theta + h) - faces.value(theta - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(gradient, slopes, atol=1e-8)
    curvature = [
        (faces.gradient(theta + h) - faces.gradient(theta - h)) / 2e-6 for h in steps
    ]
    np.testing.assert_allclose(hessian, curvature, atol=1e-8)


@pytest.mark.parametrize("loss", ["squared", Huber(0.4), "logistic"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.3)", "absolute"])
def test_derivatives_of_every_smooth_program(loss, activation):
    rng = np.random.default_rng(3)
    Y = (
        np.eye(2)[rng.integers(0, 2, 6)]
        if loss == "logistic"
        else rng.normal(size=(6, 2))
    )
    problem = TrainingProblem(
        rng.normal(size=(6, 3, 2)),
        Y,
        0.1,
        loss=loss,
        activation=activation,
        bias=True,
        skip=0.7,
        sample_weight=rng.uniform(0.5, 2.0, 6),
        anchors=rng.normal(size=(2, 3, 2)),
    )
    scaled = problem.scaled
    faces, theta = Faces.through(
        scaled,
        rng.normal(size=(3, 2)),
        rng.normal(size=(2, 2)),
        rng.normal(size=(3, 2)),
        1e-8,
    )
    gradient, hessian = faces.gradient(theta), hessian_of(faces, theta)
    steps = 1e-6 * np.eye(len(theta))
    slopes = [(faces.value(theta + h) - faces.value(theta - h)) / 2e-6 for h in steps]
    np.testing.assert_allclose(gradient, slopes, atol=1e-7)
    curvature = [
        (faces.gradient(theta + h) - faces.gradient(theta - h)) / 2e-6 for h in steps
    ]
    np.testing.assert_allclose(hessian, curvature, atol=1e-6)
    # The value in scaled units is the objective of the network in the user's.
    skip = scaled.linear_to_user(faces.split(theta)[2])
    network = ReLUNetwork.of_problem(
        problem, *scaled.to_user(*faces.layers(theta)), skip=skip
    )
    balanced = network.balance()
    F = balanced.predict(problem.X)
    expected = problem.loss_value(F) + 0.5 * 0.7 * np.sum(skip**2)
    _, v, _ = faces.split(theta)
    u = faces.layers(theta)[0]
    squares = np.sum(u**2) + np.sum(v**2)
    expected += 0.5 * problem.beta * squares * scaled.y_scale / scaled.x_scale
    assert faces.value(theta) * scaled.objective_scale == pytest.approx(expected)


def test_restricting_a_neuron_keeps_the_point_on_the_hyperplane():
    rng = np.random.default_rng(0)
    problem = TrainingProblem(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), 0.1)
    first, second = rng.normal(size=(3, 2)), rng.normal(size=(2, 2))
    faces, theta = Faces.through(problem.scaled, first, second, NO_LINEAR_TERM, 0.0)
    for dimension, k in [(2, 0), (1, 3), (0, 5)]:
        faces, theta = faces.restrict(theta, 1, k)
        assert faces.sizes == ([3, dimension] if dimension else [3])
        if dimension:
            assert faces.inner(theta)[k, 1] == pytest.approx(0.0, abs=1e-14)
    u, v = faces.layers(theta)
    np.testing.assert_allclose(u[:, 0], first[:, 0], atol=1e-14)
    np.testing.assert_allclose(v[0], second[0])


def test_a_neuron_on_a_hyperplane_stays_where_the_optimum_has_it():
    """One output, X = I, Y = (1, -1): two neurons, each on the other's hyperplane."""
    problem = TrainingProblem(np.eye(2), [1.0, -1.0], beta=0.1)
    rough = ReLUNetwork(
        np.array([[0.93, 1e-7], [-1e-7, 0.96]]), np.array([[0.93], [-0.96]])
    )
    found = improve_network(problem, rough)
    # Soft thresholding of each sample: beta |y| - beta^2 / 2 apiece.
    assert found.objective(problem) == pytest.approx(2 * (0.1 - 0.005), rel=1e-12)
    assert found.n_neurons == 2


@pytest.mark.parametrize("problem_bias", [False, True])
@pytest.mark.parametrize("network_bias", [False, True])
@pytest.mark.parametrize("skip", [False, True, 0.3])
def test_a_network_without_the_biases_of_the_problem(problem_bias, network_bias, skip):
    rng = np.random.default_rng(5)
    X, Y = rng.normal(size=(7, 2)), rng.normal(size=(7, 2))
    problem = TrainingProblem(X, Y, 0.1, bias=problem_bias, skip=skip)
    start = ReLUNetwork(
        rng.normal(size=(2, 4)),
        rng.normal(size=(4, 2)),
        bias=np.zeros(4) if network_bias else None,
        skip=np.zeros((2 + network_bias, 2)) if skip else None,
        metadata={"from": "elsewhere"},
    )
    found = improve_network(problem, start)
    assert found.objective(problem) < start.balance().objective(problem)
    assert (found.bias is not None) == problem_bias
    assert found.metadata == {"from": "elsewhere"}


def test_neurons_may_all_vanish_beside_a_linear_term():
    problem = TrainingProblem(
        [[0.4], [1.3], [0.0]],
        [1.0, 1.4, 1.2],
        1.54116,
        loss="huber",
        bias=True,
        skip=True,
    )
    start = ReLUNetwork([[1.2]], [[0.4]], bias=[0.3], skip=[[0.0], [0.0]])
    best = improve_network(problem, start)
    assert best.n_neurons == 0
    # Without neurons this is least squares: the residuals are within the width.
    rows = problem.rows
    residual = problem.Y - rows @ np.linalg.lstsq(rows, problem.Y, rcond=None)[0]
    assert best.objective(problem) == pytest.approx(0.5 * np.sum(residual**2))


def test_a_linear_term_without_neurons_is_improved():
    problem = TrainingProblem([[1.0], [2.0], [-1.0]], [2.0, 4.0, -1.0], 50.0, skip=True)
    start = ReLUNetwork(np.zeros((1, 0)), np.zeros((0, 1)), skip=[[0.5]])
    # (2 + 8 + 1)^2 / 6 of the half 21 is explained.
    assert improve_network(problem, start).objective(problem) == pytest.approx(5 / 12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("options", [{}, {"bias": True}, {"activation": "absolute"}])
def test_fewer_neurons_predict_the_same(seed, options):
    rng = np.random.default_rng(seed)
    problem = TrainingProblem(
        rng.normal(size=(5, 2)), rng.normal(size=(5, 2)), 0.1, **options
    )
    rows = problem.rows.shape[1]
    network = ReLUNetwork.of_problem(
        problem, rng.normal(size=(rows, 60)), rng.normal(size=(60, 2))
    )
    fewer = reduce_neurons(problem, network)
    assert fewer.n_neurons <= 10
    np.testing.assert_allclose(
        fewer.predict(problem.X), network.predict(problem.X), atol=1e-7
    )
    assert fewer.penalty() <= network.balance().penalty() * (1.0 + 1e-9)
