"""Activations, biases, patches, anchors: against restarts that know no cells."""

import numpy as np
import pytest

from pyomo_relu import (
    AbsoluteValue,
    Huber,
    LeakyReLU,
    ReLU,
    TrainingProblem,
    build_completely_positive,
    build_copositive,
    enumerate_cells,
    recover_network,
    relax,
)
from pyomo_relu.certificates import bound_rho
from pyomo_relu.training import train_problem
from tests import restarts

BETA = 0.15
ACTIVATIONS = [
    LeakyReLU(0.1),
    LeakyReLU(2.0),
    LeakyReLU(-0.5),
    LeakyReLU(-1.0),
    AbsoluteValue(),
]
every_activation = pytest.mark.parametrize(
    "activation", [ReLU(), *ACTIVATIONS], ids=lambda activation: activation.text
)
#: Name -> patches, and the options of the problem.
VARIANTS = {
    "bias": (1, {"bias": True}),
    "two patches": (2, {}),
    "three patches": (3, {}),
    "patches and a bias": (2, {"bias": True}),
    "patches and a linear term": (3, {"skip": 0.3}),
    "all at once": (2, {"bias": True, "skip": 0.3, "activation": LeakyReLU(-0.5)}),
    "a free linear term": (1, {"skip": True, "activation": "absolute"}),
    "a free constant": (2, {"skip": True, "bias": True}),
}


def data(seed, patches=1, n=5, d=2, c=2):
    rng = np.random.default_rng(seed)
    shape = (n, d) if patches == 1 else (n, patches, d)
    return rng.normal(size=shape), rng.normal(size=(n, c))


def optimum(problem, build=build_completely_positive, **options):
    model = build(problem, **options)
    relax(model, "dnn")
    return restarts.optimum_of(model), model


def check(problem, formula=restarts.squared):
    """Check the optimum against restarts, its network, its dual, its certificate."""
    found, model = optimum(problem)
    best = restarts.best_of_restarts(
        *(problem.X, problem.Y, problem.beta),
        loss=formula,
        slopes=(problem.activation.negative, problem.activation.positive),
        bias=problem.bias,
        skip=problem.skip,
    )
    assert found <= best + 1e-7
    # The restarts are no straw man: they come close.
    assert best <= 1.05 * found
    network = recover_network(model)
    own = restarts.objective_of(network, problem, formula)
    assert own == pytest.approx(found, abs=1e-6)
    assert network.objective(problem) == pytest.approx(own, rel=1e-12)
    for form in ("tree", "plain"):
        dual, _ = optimum(problem, build_copositive, form=form)
        assert dual == pytest.approx(found, abs=1e-6)
    assert optimum(problem, form="plain")[0] == pytest.approx(found, abs=1e-6)
    result = train_problem(problem)
    assert result.converged
    assert result.certificate.complete
    assert result.certificate.lower_bound <= min(best, own)
    assert result.certificate.objective == pytest.approx(found, abs=1e-6)


@every_activation
def test_activations(activation):
    check(TrainingProblem(*data(0, n=6), BETA, activation=activation))


@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name):
    patches, options = VARIANTS[name]
    check(TrainingProblem(*data(1, patches), BETA, **options))


def test_another_loss():
    X, Y = data(2, 2)
    problem = TrainingProblem(
        X, Y, BETA, loss=Huber(0.5), activation="absolute", bias=True
    )
    check(problem, restarts.huber(0.5))


@every_activation
@pytest.mark.parametrize("patches", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_rho_against_all_directions_of_the_plane(activation, patches, seed):
    rng = np.random.default_rng(seed)
    problem = TrainingProblem(*data(seed, patches), BETA, activation=activation)
    Z = rng.normal(size=problem.Y.shape)
    scaled = problem.scaled
    bound = bound_rho(
        enumerate_cells(problem), scaled.X, scaled.spread(Z), activation=activation
    )
    angles = np.linspace(0.0, 2.0 * np.pi, 100_001)
    U = np.stack([np.cos(angles), np.sin(angles)])
    # And the kinks, exactly.
    kinks = np.array([[0.0, -1.0], [1.0, 0.0]]) @ problem.rows.T
    kinks /= np.linalg.norm(kinks, axis=0)
    U = scaled.basis.T @ np.hstack([U, kinks, -kinks])
    rows = problem.X.reshape(len(problem.X), patches, 2) / scaled.x_scale
    inner = rows @ (scaled.basis @ U)
    low, high = activation.negative, activation.positive
    hidden = np.where(inner > 0.0, high * inner, low * inner).mean(axis=1)
    sampled = np.linalg.norm(Z.T @ hidden, axis=0).max()
    assert sampled <= bound.value
    # Between two directions at most the curvature of 6.3e-5 radians is missed.
    assert bound.value <= sampled * (1.0 + 1e-7)
    assert bound.decided == bound.cells


def test_the_absolute_value_needs_half_the_cells():
    X, Y = data(3, n=8)
    cells = enumerate_cells(X)
    for activation in (AbsoluteValue(), LeakyReLU(-1.0)):
        problem = TrainingProblem(X, Y, BETA, activation=activation)
        model = build_completely_positive(problem)
        assert 2 * len(model.CELLS) == len(cells)
        masks = cells.masks[list(model.CELLS)]
        both = np.unique(np.vstack([masks, ~masks]), axis=0)
        assert len(both) == len(cells)
        assert len(build_copositive(problem).CELLS) == len(model.CELLS)


def test_slopes_beyond_one_are_another_unit_of_the_first_layer():
    """Leaky ReLU of slope s at -u, over s, is that of slope 1 / s."""
    X, Y = data(4)

    def value(activation, beta):
        problem = TrainingProblem(X, Y, beta, activation=activation)
        return optimum(problem)[0]

    assert value(LeakyReLU(4.0), 4.0 * BETA) == pytest.approx(
        value(LeakyReLU(0.25), BETA), abs=1e-7
    )
    assert value(LeakyReLU(0.0), BETA) == pytest.approx(value(ReLU(), BETA), abs=1e-7)


@pytest.mark.parametrize("options", [{}, {"bias": True, "skip": 0.5}])
def test_one_patch_is_none(options):
    X, Y = data(5)
    plain = TrainingProblem(X, Y, BETA, **options)
    patched = TrainingProblem(X[:, None, :], Y, BETA, **options)
    np.testing.assert_array_equal(plain.rows, patched.rows)
    assert optimum(patched)[0] == pytest.approx(optimum(plain)[0], abs=1e-12)


def test_equal_patches_are_one():
    X, Y = data(6)
    patched = TrainingProblem(np.stack([X, X, X], axis=1), Y, BETA)
    expected = optimum(TrainingProblem(X, Y, BETA))[0]
    assert optimum(patched)[0] == pytest.approx(expected, abs=1e-8)
    assert train_problem(patched).converged


@pytest.mark.parametrize("patches", [1, 2])
@pytest.mark.parametrize(
    "options",
    [{}, {"bias": True}, {"skip": True}, {"skip": 0.4, "activation": "absolute"}],
)
def test_anchor_points_change_nothing_but_are_predicted(patches, options):
    X, Y = data(7, patches, n=4)
    anchors = data(8, patches, n=2)[0]
    plain = TrainingProblem(X, Y, BETA, **options)
    anchored = TrainingProblem(X, Y, BETA, anchors=anchors, **options)
    expected = optimum(plain)[0]
    found, model = optimum(anchored)
    assert found == pytest.approx(expected, abs=1e-7)
    assert optimum(anchored, build_copositive)[0] == pytest.approx(expected, abs=1e-7)
    network = recover_network(model, improve=False)
    points = np.concatenate([X, anchors])
    predicted = [[model.prediction[k, o]() for o in range(2)] for k in range(6)]
    np.testing.assert_allclose(network.predict(points), predicted, atol=1e-4)
    # And those are what the weights say, row by row.
    for k, point in enumerate(points):
        row = np.atleast_2d(point)
        inner = row @ network.first + (0.0 if network.bias is None else network.bias)
        total = network.activation(inner).mean(axis=0) @ network.second
        if network.skip is not None:
            total = total + row.mean(axis=0) @ network.skip
        np.testing.assert_allclose(network.predict(points)[k], total, atol=1e-12)
    assert train_problem(anchored).converged


def test_anchors_of_larger_rank_beside_a_linear_term():
    """The samples do not determine the linear term where only anchors look."""
    X, Y = data(9)
    wide = np.column_stack([X, np.zeros(len(X))])
    for skip in (True, 0.3):
        problem = TrainingProblem(
            wide, Y, BETA, skip=skip, anchors=[[0, 0, 1.0], [1, 1, 1]]
        )
        expected = optimum(TrainingProblem(X, Y, BETA, skip=skip))[0]
        result = train_problem(problem)
        assert result.converged
        assert result.certificate.objective == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("loss", ["squared", "hinge"])
def test_a_linear_term_that_sees_nothing(loss):
    """Patches x and -x have the mean zero, and so have samples that are zero."""
    X, Y = data(10)
    if loss == "hinge":
        Y = np.eye(2)[(Y[:, 0] > 0.0).astype(int)]
    both = np.stack([X, -X], axis=1)
    third = np.stack([X, 2.0 * X, -3.0 * X], axis=1) / 3.0
    for patches in (both, third):
        expected = train_problem(TrainingProblem(patches, Y, BETA, loss=loss))
        for skip in (True, 0.5):
            problem = TrainingProblem(patches, Y, BETA, loss=loss, skip=skip)
            result = train_problem(problem)
            assert result.converged
            assert result.certificate.objective == pytest.approx(
                expected.certificate.objective, rel=2e-6
            )
            _, model = optimum(problem, build_copositive)
            assert recover_network(model).objective(problem) == pytest.approx(
                expected.certificate.objective, rel=2e-6
            )
    zero = TrainingProblem(0.0 * X, Y, BETA, loss=loss, skip=True, anchors=np.eye(2))
    result = train_problem(zero)
    assert result.converged
    assert result.certificate.objective == pytest.approx(
        zero.loss_value(np.zeros(Y.shape))
    )
