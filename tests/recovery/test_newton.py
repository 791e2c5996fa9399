"""Newton steps against dense algebra; descents against known optima and SciPy."""

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.optimize import minimize

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    certify,
    enumerate_cells,
    recover_network,
    relax,
    solve,
)
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.recovery import improve_network, improvements
from pyomo_relu.recovery.faces import Faces
from pyomo_relu.recovery.newton import descend, newton_step


def some_faces(problem, m, seed=0):
    """Faces of m random neurons, every third one on a hyperplane."""
    rng = np.random.default_rng(seed)
    scaled = problem.scaled
    first = rng.normal(size=(scaled.rank, m))
    for j in range(0, m, 3):
        x = scaled.X[j % len(scaled.X)]
        first[:, j] -= x * (x @ first[:, j]) / (x @ x)
    c = problem.n_outputs
    linear = rng.normal(size=(0 if scaled.skip is None else scaled.rank, c))
    return Faces.through(scaled, first, rng.normal(size=(m, c)), linear, 1e-9)


@pytest.mark.parametrize("m", [1, 2, 30])
@pytest.mark.parametrize("loss", ["squared", "logistic", "huber"])
@pytest.mark.parametrize("skip", [False, True, 0.3])
def test_a_step_solves_the_shifted_system(m, loss, skip):
    """Fewer weights than predictions, and more: one dense system says both."""
    rng = np.random.default_rng(1)
    Y = (
        np.eye(2)[rng.integers(0, 2, 9)]
        if loss == "logistic"
        else rng.normal(size=(9, 2))
    )
    problem = TrainingProblem(rng.normal(size=(9, 3)), Y, 0.2, loss=loss, skip=skip)
    faces, theta = some_faces(problem, m)
    model = faces.model(theta)
    shift = 0.03 * problem.scaled.beta
    blocks = []
    for block in model.blocks:
        values, vectors = np.linalg.eigh(block)
        blocks.append((vectors * np.abs(values)) @ vectors.T)
    beside = (problem.scaled.skip or 0.0) * np.eye(model.beside.shape[1])
    J = np.hstack([model.jacobian.reshape(len(model.jacobian), -1), model.beside])
    H = J.T @ J + block_diag(*blocks, beside)
    units = [np.concatenate([*map(np.ravel, faces.pad(e))]) for e in np.eye(faces.size)]
    E = np.array(units)
    expected = -np.linalg.solve(
        E @ H @ E.T + shift * np.eye(faces.size), faces.gradient(theta)
    )
    found = newton_step(faces, model, shift)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_padding_is_undone(seed):
    problem = TrainingProblem(np.eye(3), np.eye(3), 0.2, skip=True)
    faces, theta = some_faces(problem, 5, seed)
    np.testing.assert_array_equal(faces.unpad(*faces.pad(theta)), theta)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(0.3)", "absolute"])
@pytest.mark.parametrize("patches", [False, True])
def test_slopes_off_a_hyperplane_match_differences(activation, patches):
    """At a stationary point on the faces every release goes down as it says."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(8, 2, 3) if patches else (8, 3))
    problem = TrainingProblem(
        X,
        rng.normal(size=(8, 2)),
        0.05,
        activation=activation,
        anchors=rng.normal(size=X[:1].shape),
    )
    # Neurons on rays, where hardly any of them wants to be.
    scaled = problem.scaled
    rays = [np.cross(scaled.X[i], scaled.X[i + 1]) for i in range(4)]
    first = np.column_stack(rays)
    first /= np.linalg.norm(first, axis=0)
    faces, theta = Faces.through(
        scaled, first, 0.1 * rng.normal(size=(4, 2)), np.zeros((0, 2)), 1e-9
    )
    assert faces.sizes == [1] * 4
    result = minimize(faces.value, theta, jac=faces.gradient, options={"gtol": 1e-12})
    found = faces.releases(result.x)
    assert found
    for each in found:
        wider, point, way = faces.release(result.x, [each])
        assert wider.value(point) == pytest.approx(faces.value(result.x), rel=1e-13)
        h = 1e-6
        difference = (wider.value(point + h * way) - wider.value(point)) / h
        assert difference == pytest.approx(
            each.slope * np.linalg.norm(way), rel=1e-2, abs=1e-7
        )
        assert difference < 0.0


def test_a_neuron_leaves_a_hyperplane_where_that_is_downhill():
    """One neuron, one output, all samples active: ridge regression, not on a face."""
    X = np.array([[1.0, 0.2], [0.3, 1.0], [1.0, 1.0]])
    w = np.array([1.0, 2.0])
    problem = TrainingProblem(X, X @ w, beta=1e-3)
    # On the hyperplane of the second sample, where it is not active.
    start = ReLUNetwork([[1.0], [-0.3]], [[1.0]])
    found = improve_network(problem, start).merge(1e-6)
    assert found.n_neurons == 1
    # |u||v| = |w| at the optimum of 1/2 |X w - y|^2 + beta |w|.
    best = minimize(
        lambda p: 0.5 * np.sum((X @ (p - w)) ** 2) + 1e-3 * np.linalg.norm(p),
        w,
        options={"gtol": 1e-10},
    )
    assert found.objective(problem) == pytest.approx(best.fun, rel=1e-9)


def solved(problem):
    model = build_completely_positive(problem, enumerate_cells(problem))
    relax(model, "dnn")
    solve(model, accuracy="tight")
    return recover_network(model, improve=False)


@pytest.mark.parametrize(
    ("seed", "optimum"),
    [(0, 4.3655299), (1, 3.3262922), (2, 1.7011608), (3, 2.5285019)],
)
def test_what_a_solver_leaves_is_made_optimal_by_one_descent(seed, optimum):
    """The instances of the design, whose optima several solvers agree on."""
    rng = np.random.default_rng(seed)
    problem = TrainingProblem(rng.normal(size=(10, 3)), rng.normal(size=(10, 2)), 0.2)
    steps = improvements(problem, solved(problem))
    next(steps)
    network = next(steps)
    assert network.objective(problem) == pytest.approx(optimum, rel=1e-7)
    assert certify(problem, network).gap <= 1e-9
    # An independent method finds nothing below.
    d, m = network.first.shape
    shapes = d * m

    def objective(theta):
        u, v = theta[:shapes].reshape(d, m), theta[shapes:].reshape(m, 2)
        inner = problem.X @ u
        residual = np.maximum(inner, 0.0) @ v - problem.Y
        back = (residual @ v.T) * (inner > 0.0)
        gradient = [problem.X.T @ back, np.maximum(inner, 0.0).T @ residual]
        return (
            0.5 * np.sum(residual**2) + 0.1 * theta @ theta,
            np.concatenate([g.ravel() for g in gradient]) + 0.2 * theta,
        )

    start = np.concatenate([network.first.ravel(), network.second.ravel()])
    value = network.objective(problem)
    assert objective(start)[0] == pytest.approx(value, rel=1e-12)
    for scale in (1e-3, 1e-1):
        moved = start + scale * rng.normal(size=start.shape)
        found = minimize(objective, moved, jac=True, method="L-BFGS-B")
        assert found.fun >= value * (1.0 - 1e-9)


def test_more_weights_than_predictions():
    """Woodbury's side of the step, with neurons that all but coincide."""
    rng = np.random.default_rng(0)
    problem = TrainingProblem(rng.normal(size=(10, 3)), rng.normal(size=(10, 2)), 0.2)
    best = improve_network(problem, solved(problem))
    # Each neuron five times, apart by 1e-5, and with errors of that size.
    first = np.repeat(best.first, 5, axis=1) / np.sqrt(5.0)
    second = np.repeat(best.second, 5, axis=0) / np.sqrt(5.0)
    first = first * (1.0 + 1e-5 * rng.normal(size=first.shape))
    second = second * (1.0 + 1e-5 * rng.normal(size=second.shape))
    scaled = problem.scaled
    u, v = scaled.from_user(first, second)
    ratio = np.sqrt(np.linalg.norm(v, axis=1) / np.linalg.norm(u, axis=0))
    faces, theta = Faces.through(
        scaled, u * ratio, v / ratio[:, None], np.zeros((0, 2)), 1e-4
    )
    assert faces.size > problem.Y.size
    end = descend(faces, theta, 60, 1.0)
    value = end.faces.value(end.theta) * scaled.objective_scale
    assert value == pytest.approx(best.objective(problem), rel=1e-10)
    assert end.steps < 30
