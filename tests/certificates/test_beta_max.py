"""The smallest beta of the zero network against grids of directions and networks."""

import sys

import numpy as np
import pytest
from scipy.optimize import linprog

from pyomo_relu import (
    ReLUNetwork,
    TrainingProblem,
    beta_max,
    certify,
    enumerate_cells,
    train,
)
from pyomo_relu.activations import get_activation
from pyomo_relu.certificates import bound_rho
from pyomo_relu.certificates.directions import best_directions
from pyomo_relu.errors import InputError, InputTypeError, SolverError
from tests.losses.cases import LOSSES, every_loss, one_hot

ACTIVATIONS = ["relu", "leaky_relu(0.1)", "absolute"]
every_activation = pytest.mark.parametrize("activation", ACTIVATIONS)


def targets(loss, rng, n, c):
    """Targets some of which are zero, where losses have kinks."""
    if loss.is_classification:
        return one_hot(rng.integers(3, size=n), 3)
    return rng.integers(-1, 2, size=(n, c)).astype(float)


def zero_of(problem):
    """The network without neurons."""
    d, c = problem.n_features, problem.n_outputs
    return ReLUNetwork(
        np.zeros((d, 0)), np.zeros((0, c)), activation=problem.activation
    )


def check(X, Y, **options):
    """Both sides of beta_max: its proof above, its witness below."""
    result = beta_max(X, Y, **options)
    assert result.complete
    assert 0.0 <= result.gap <= 1e-7
    at = TrainingProblem(X, Y, result.value, **options)
    nothing = at.loss_value(np.zeros(at.Y.shape))
    proof = certify(at, zero_of(at), result.dual)
    assert proof.objective == nothing
    assert proof.gap <= 1e-9
    # A small multiple of the witness, whose predictions and penalty grow by eps.
    below = TrainingProblem(X, Y, 0.999 * result.lower, **options)
    witness = result.witness
    assert witness.penalty() == pytest.approx(1.0, abs=1e-12)
    eps = 1e-5 / (1.0 + np.abs(witness.predict(X)).max() ** 2)
    small = witness.with_layers(
        np.sqrt(eps) * witness.stacked, np.sqrt(eps) * witness.second
    )
    assert small.objective(below) < nothing
    return result


@every_loss
@every_activation
def test_zero_is_optimal_at_it_and_not_below(loss, activation):
    rng = np.random.default_rng(LOSSES.index(loss))
    X, Y = rng.normal(size=(7, 2)), targets(loss, rng, 7, 2)
    options = {"loss": loss, "activation": activation}
    result = check(X, Y, **options)
    trained = train(X, Y, 0.99 * result.value, gap=1e-6, **options)
    nothing = trained.problem.loss_value(np.zeros(trained.problem.Y.shape))
    assert trained.converged
    assert trained.certificate.objective < nothing * (1.0 - 1e-7)
    assert trained.network.n_neurons > 0


@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_biases_weights_and_higher_rank(loss, seed):
    rng = np.random.default_rng([seed, LOSSES.index(loss)])
    X, Y = rng.normal(size=(9, 2)), targets(loss, rng, 9, 2)
    weight = rng.uniform(0.1, 3.0, size=9)
    weight[0] = 0.0
    check(
        X,
        Y,
        loss=loss,
        activation=ACTIVATIONS[seed],
        bias=True,
        sample_weight=weight,
        output_weight=rng.uniform(0.5, 2.0, size=Y.shape[1]),
    )


@every_loss
def test_patches(loss):
    rng = np.random.default_rng(7)
    X, Y = rng.normal(size=(6, 3, 2)), targets(loss, rng, 6, 2)
    check(X, Y, loss=loss)


def pooled(X, U, activation):
    """Return the mean over patches of sigma(x^T u), (n, m)."""
    return get_activation(activation)(X @ U).mean(axis=1)


@every_loss
@every_activation
@pytest.mark.parametrize("patches", [1, 2])
def test_against_a_grid_of_directions(loss, activation, patches):
    """The program over sampled directions and outputs, which is slightly too low.

    With Z the only unknown it is linear: v^T Z^T h(u) <= t for unit vectors u and v.
    """
    rng = np.random.default_rng([LOSSES.index(loss), patches])
    X, Y = rng.normal(size=(5, patches, 2)), targets(loss, rng, 5, 2)
    smooth = loss.has_one_zero_dual(Y)
    angles = np.linspace(0.0, 2.0 * np.pi, 20_000 if smooth else 720, endpoint=False)
    hidden = pooled(X, np.array([np.cos(angles), np.sin(angles)]), activation)
    found = beta_max(X if patches > 1 else X[:, 0], Y, loss=loss, activation=activation)
    Z = -loss.gradient(np.zeros(Y.shape), Y)
    if smooth:
        largest = np.linalg.norm(hidden.T @ Z, axis=1).max()
        assert largest <= found.value
        assert largest >= found.value * (1.0 - 1e-4)
        return
    # Rows of Z sum to zero for classes: directions v in that plane are enough.
    plane = np.eye(2)
    if loss.is_classification:
        plane = np.linalg.svd(np.ones((1, 3)))[2][1:]
    turns = np.linspace(0.0, 2.0 * np.pi, 48, endpoint=False)
    outputs = np.array([np.cos(turns), np.sin(turns)]).T @ plane
    rows = np.einsum("km,vo->mvko", hidden, outputs).reshape(-1, Y.size)
    rows = np.column_stack([rows, -np.ones(len(rows))])
    if loss.is_classification:
        limits = [(1.0, 1.0) if y else (None, 0.0) for y in Y.ravel()]
        sums = np.kron(np.eye(len(Y)), np.ones(3))
        sums = np.column_stack([sums, np.zeros(len(Y))])
    else:
        low, high = (-1.0, 1.0) if loss.name == "absolute" else (-0.7, 0.3)
        limits = [
            (z, z) if y else (low, high)
            for y, z in zip(Y.ravel(), Z.ravel(), strict=True)
        ]
        sums = np.zeros((1, Y.size + 1))
    answer = linprog(
        np.eye(1, Y.size + 1, Y.size)[0],
        A_ub=rows,
        b_ub=np.zeros(len(rows)),
        A_eq=sums,
        b_eq=np.zeros(len(sums)),
        bounds=[*limits, (0.0, None)],
    )
    assert answer.status == 0
    assert answer.fun <= found.value * (1.0 + 1e-7)
    assert answer.fun >= found.value * (1.0 - 4e-3)


def test_kinks_are_used():
    """The best Z is better than the middle of the subdifferential."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 2))
    Y = (rng.uniform(size=(12, 1)) < 0.2).astype(float)
    problem = TrainingProblem(X, Y, 1.0, loss="absolute")
    middle = problem.loss.zero_duals(problem.Y)
    X_scaled, Z = problem.scaled.X * problem.scaled.x_scale, middle
    at_middle = bound_rho(enumerate_cells(problem), X_scaled, Z)
    result = check(X, Y, loss="absolute")
    assert result.value < 0.9 * at_middle.attained
    off = Y == 0.0
    np.testing.assert_array_equal(result.dual[~off], np.sign(Y[~off]))
    assert (np.abs(result.dual) <= 1.0).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_best_direction_attains_rho(seed):
    rng = np.random.default_rng(seed)
    n, d, c = rng.integers(4, 10), rng.integers(1, 5), rng.integers(1, 4)
    problem = TrainingProblem(
        rng.normal(size=(n, d)),
        rng.normal(size=(n, c)),
        1.0,
        activation=ACTIVATIONS[seed % 3],
    )
    scaled, cells = problem.scaled, enumerate_cells(problem)
    bound = bound_rho(cells, scaled.X, scaled.Y, activation=scaled.activation)
    every = best_directions(problem, cells, scaled.Y, floor=0.0)
    best = best_directions(problem, cells, scaled.Y)
    assert best.values.max() == pytest.approx(bound.value, rel=1e-9)
    assert every.values.max() == pytest.approx(bound.value, rel=1e-9)
    np.testing.assert_allclose(np.linalg.norm(every.directions, axis=1), 1.0)
    # Each is in the cell that it is said to be in.
    inside = (2.0 * cells.masks - 1.0) * (every.directions @ scaled.X.T)
    assert inside.min() >= -1e-9


def test_it_scales_with_the_data():
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    plain = beta_max(X, Y).value
    assert beta_max(1e3 * X, Y).value == pytest.approx(1e3 * plain, rel=1e-12)
    assert beta_max(X, 1e-40 * Y).value == pytest.approx(1e-40 * plain, rel=1e-12)
    absolute = beta_max(X, Y, loss="absolute").value
    assert beta_max(X, 1e5 * Y, loss="absolute").value == pytest.approx(absolute)


@pytest.mark.parametrize("loss", ["squared", "absolute", "quantile"])
def test_no_targets_need_no_neurons(loss):
    result = beta_max(np.eye(2), np.zeros((2, 1)), loss=loss)
    assert (result.value, result.lower) == (0.0, 0.0)


def test_nearly_flat_samples():
    """What the flat direction may add is in the upper bound, and is small."""
    rng = np.random.default_rng(1)
    B, Y = rng.normal(size=(10, 2)), rng.integers(-1, 2, size=(10, 2))
    X = np.column_stack([B, B.sum(axis=1) + 1e-8 * rng.normal(size=10)])
    for loss in ("squared", "absolute"):
        result = beta_max(X, Y, loss=loss)
        assert result.complete
        assert 0.0 < result.gap <= 1e-6


def test_samples_of_zeros():
    result = beta_max(np.zeros((3, 2)), np.ones((3, 1)))
    assert (float(result), result.complete) == (0.0, True)


def test_a_problem_may_be_given():
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    problem = TrainingProblem(X, Y, 0.1, loss="huber", bias=True)
    cells = enumerate_cells(problem)
    assert beta_max(problem, cells=cells).value == pytest.approx(
        beta_max(X, Y, loss="huber", bias=True).value, rel=1e-12
    )


def test_anchor_points_change_nothing():
    rng = np.random.default_rng(4)
    X, Y = rng.normal(size=(6, 2)), rng.integers(-1, 2, size=(6, 2))
    anchors = rng.normal(size=(3, 2))
    with_anchors = TrainingProblem(X, Y, 1.0, loss="absolute", anchors=anchors)
    assert beta_max(with_anchors).value == pytest.approx(
        beta_max(X, Y, loss="absolute").value, rel=1e-7
    )


def test_too_many_cells_leave_proven_bounds():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(30, 12)), rng.normal(size=(30, 1))
    result = beta_max(X, Y)
    assert not result.complete
    assert "without cells" in result.reason
    assert 0.0 < result.lower < result.value
    U = rng.normal(size=(12, 2000))
    found = np.abs(Y.T @ np.maximum(X @ (U / np.linalg.norm(U, axis=0)), 0.0)).max()
    assert found <= result.value


def test_a_failing_solver_leaves_proven_bounds(monkeypatch, caplog):
    def fail(problem, directions):
        raise SolverError("no point")

    module = sys.modules["pyomo_relu.certificates.zero_network"]
    monkeypatch.setattr(module, "_solve_master", fail)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(12, 2))
    Y = (rng.uniform(size=(12, 1)) < 0.2).astype(float)
    result = beta_max(X, Y, loss="absolute")
    monkeypatch.undo()
    best = beta_max(X, Y, loss="absolute")
    assert result.lower <= best.lower <= best.value <= result.value
    assert result.gap > 0.01
    assert "no point" in caplog.text


def test_what_is_refused():
    X, Y = np.eye(2), np.ones((2, 1))
    with pytest.raises(InputError, match="linear term"):
        beta_max(TrainingProblem(X, Y, 1.0, skip=True))
    with pytest.raises(InputTypeError, match="got X alone"):
        beta_max(X)
    with pytest.raises(InputTypeError, match="a problem and Y, bias"):
        beta_max(TrainingProblem(X, Y, 1.0), Y, bias=True)
    with pytest.raises(InputTypeError, match="enumerate_cells"):
        beta_max(X, Y, cells=[1])
    with pytest.raises(InputError, match="other data"):
        beta_max(X, Y, cells=enumerate_cells(2.0 * X))
    with pytest.raises(InputError, match="finite"):
        beta_max(X, [[np.nan], [1.0]])
