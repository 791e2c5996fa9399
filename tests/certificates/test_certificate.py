"""Certificates: valid for every network, tight at the optimum, honest otherwise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from pyomo_relu.arrangement import enumerate_cells, sample_cells
from pyomo_relu.certificates import certify, proofs
from pyomo_relu.errors import InputError, InputTypeError, TooManyCellsError
from pyomo_relu.generation.local import quasi_newton
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.training import train


def random_problem(seed, n=8, d=3, c=2, beta=0.2):
    rng = np.random.default_rng(seed)
    return TrainingProblem(rng.normal(size=(n, d)), rng.normal(size=(n, c)), beta)


def descend(problem, rng, width=12, starts=3):
    """Train by L-BFGS from random starts: upper bounds that know no cells."""
    d, c = problem.n_features, problem.n_outputs
    best = None
    for _ in range(starts):

        def objective(theta):
            u, v = theta[: d * width].reshape(d, width), theta[d * width :]
            v = v.reshape(width, c)
            hidden = np.maximum(problem.X @ u, 0.0)
            residual = hidden @ v - problem.Y
            back = (residual @ v.T) * (hidden > 0.0)
            gradient = np.concatenate(
                [(problem.X.T @ back).ravel(), (hidden.T @ residual).ravel()]
            )
            value = 0.5 * np.sum(residual**2) + 0.5 * problem.beta * theta @ theta
            return value, gradient + problem.beta * theta

        found = minimize(
            objective, rng.normal(size=(d + c) * width), jac=True, method="L-BFGS-B"
        )
        if best is None or found.fun < best[0]:
            best = found.fun, found.x
    theta = best[1]
    return ReLUNetwork(
        theta[: d * width].reshape(d, width), theta[d * width :].reshape(width, c)
    )


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), c=st.integers(1, 3))
def test_no_descent_beats_any_proven_bound(seed, c):
    rng = np.random.default_rng(seed)
    problem = random_problem(seed, n=6, d=2, c=c)
    trained = descend(problem, rng)
    best = trained.objective(problem)
    random = ReLUNetwork(rng.normal(size=(2, 3)), rng.normal(size=(3, c)))
    for network in (trained, random):
        certificate = certify(problem, network)
        assert certificate.complete
        assert certificate.lower_bound <= best
        assert certificate.lower_bound >= certificate.trivial_bound - 1e-12
        assert certificate.objective == pytest.approx(
            network.balance().objective(problem)
        )
    # Any dual point proves a bound, good or bad.
    for dual in (problem.Y, -problem.Y, rng.normal(size=problem.Y.shape)):
        assert certify(problem, random, dual).lower_bound <= best


def test_the_returned_dual_point_proves_the_bound_by_itself():
    problem = random_problem(1)
    certificate = certify(problem, ReLUNetwork(np.ones((3, 1)), np.ones((1, 2))))
    Z = certificate.dual
    value = np.sum(Z * problem.Y) - 0.5 * np.sum(Z**2)
    assert value == pytest.approx(certificate.lower_bound, rel=1e-9)
    again = certify(problem, ReLUNetwork(np.ones((3, 1)), np.ones((1, 2))), Z)
    assert again.rho <= problem.beta * (1 + 1e-9)
    # rho scales with the dual point: the point was scaled by beta / rho.
    U = np.random.default_rng(0).normal(size=(3, 100_000))
    U /= np.linalg.norm(U, axis=0)
    largest = np.linalg.norm(Z.T @ np.maximum(problem.X @ U, 0.0), axis=0).max()
    assert largest <= problem.beta


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_units_do_not_matter(scale):
    """Scaling X, Y and beta together scales the bound by the square."""
    base = random_problem(2)
    moved = TrainingProblem(scale * base.X, scale * base.Y, scale**2 * base.beta)
    network = ReLUNetwork(np.ones((3, 1)), np.ones((1, 2)))
    one, other = certify(base, network), certify(moved, network)
    expected = certify(
        base,
        ReLUNetwork(np.ones((3, 1)), np.ones((1, 2))),
        dual=(moved.Y - network.predict(moved.X)) / scale,
    )
    assert other.lower_bound == pytest.approx(scale**2 * expected.lower_bound, rel=1e-9)
    assert other.violation == pytest.approx(expected.violation, rel=1e-9)
    assert one.gap >= 0.0


def test_sampled_cells_prove_nothing_so_all_are_taken():
    problem = random_problem(3)
    network = ReLUNetwork(np.ones((3, 1)), np.ones((1, 2)))
    sampled = certify(problem, network, cells=sample_cells(problem, 5, seed=0))
    full = certify(problem, network, cells=enumerate_cells(problem))
    assert sampled.cells == full.cells == len(enumerate_cells(problem))
    assert sampled.lower_bound == pytest.approx(full.lower_bound)


def test_without_cells_more_is_proved_than_by_norms():
    rng = np.random.default_rng(0)
    problem = TrainingProblem(rng.normal(size=(60, 30)), rng.normal(size=(60, 2)), 0.1)
    network = ReLUNetwork(np.ones((30, 1)), np.ones((1, 2)))
    certificate = certify(problem, network)
    assert not certificate.complete
    assert certificate.decided == certificate.cells == 0
    assert certificate.lower_bound > certificate.trivial_bound > 0.0
    assert "semidefinite" in str(certificate)
    assert certificate.lower_bound <= descend(problem, rng, starts=1).objective(problem)


def test_all_zero_samples_are_solved_by_the_zero_network():
    problem = TrainingProblem(np.zeros((3, 2)), [1.0, 2.0, 3.0], 0.5)
    certificate = certify(problem, ReLUNetwork(np.zeros((2, 0)), np.zeros((0, 1))))
    assert certificate.objective == 7.0
    assert certificate.lower_bound == pytest.approx(7.0, rel=1e-13)
    assert certificate.complete


def test_zero_targets_have_optimum_zero():
    problem = TrainingProblem(np.eye(2), [[0.0], [0.0]], 0.5)
    certificate = certify(problem, ReLUNetwork(np.zeros((2, 0)), np.zeros((0, 1))))
    assert certificate.objective == certificate.lower_bound == certificate.gap == 0.0


def test_a_huge_penalty_makes_the_zero_network_optimal():
    problem = random_problem(4, beta=1e6)
    certificate = certify(problem, ReLUNetwork(np.zeros((3, 0)), np.zeros((0, 2))))
    assert certificate.gap <= 1e-13
    assert certificate.objective == pytest.approx(0.5 * np.sum(problem.Y**2))


def test_what_does_not_fit_is_refused():
    problem = random_problem(0)
    network = ReLUNetwork(np.ones((3, 1)), np.ones((1, 2)))
    with pytest.raises(InputError, match="2 outputs"):
        certify(problem, ReLUNetwork(np.ones((3, 1)), np.ones((1, 1))))
    with pytest.raises(InputError, match="shape of Y"):
        certify(problem, network, np.ones((8, 1)))
    with pytest.raises(InputError, match="finite"):
        certify(problem, network, np.full((8, 2), np.nan))
    with pytest.raises(InputTypeError, match="real numbers"):
        certify(problem, network, "dual")
    with pytest.raises(InputError, match="overflows"):
        certify(problem, ReLUNetwork(np.full((3, 1), 1e160), np.full((1, 2), 1e160)))
    for wrong in (None, problem.X):
        with pytest.raises(InputTypeError, match="takes a TrainingProblem"):
            certify(wrong, network)
        with pytest.raises(InputTypeError, match="takes a TrainingProblem"):
            certify(problem, wrong)
    with pytest.raises(InputTypeError, match="enumerate_cells"):
        certify(problem, network, cells=3)
    with pytest.raises(InputError, match="other data"):
        certify(problem, network, cells=enumerate_cells(random_problem(1)))


def test_nearly_flat_samples_do_not_prove_too_much():
    """Typed by hand: the third column is the sum of the others and a billionth."""
    B = np.array([[-0.1, 0.6], [0.1, -0.5], [0.4, 1.3], [0.9, -0.7], [-1.3, -0.6]])
    noise = 1e-9 * np.array([2.0, 2.0, -5.0, -1.0, 4.0])
    Y = np.array([[0.4], [1.0], [-0.1], [1.4], [-0.7]])
    X = np.column_stack([B, B.sum(axis=1) + noise])
    flat = np.column_stack([B, B.sum(axis=1)])
    for beta in (1.5, 1.9):
        network = train(flat, Y, beta).network
        certificate = certify(TrainingProblem(X, Y, beta), network)
        assert certificate.lower_bound <= certificate.objective
        dual = certify(TrainingProblem(X, Y, beta), network, dual=Y)
        u = np.array([0.67542619, -0.735016, -0.05958982])
        attained = np.linalg.norm(Y.T @ np.maximum(X @ u, 0.0)) / np.linalg.norm(u)
        assert dual.rho >= attained


@pytest.mark.parametrize("size", [1e-300, 1e-158, 1.0, 1e160, 1e300])
def test_only_the_direction_of_a_dual_point_matters(size):
    problem = random_problem(0)
    network = ReLUNetwork(np.ones((3, 1)), np.ones((1, 2)))
    expected = certify(problem, network, problem.Y)
    found = certify(problem, network, size * problem.Y)
    assert found.lower_bound == pytest.approx(expected.lower_bound, rel=1e-12)
    np.testing.assert_allclose(found.dual, expected.dual, rtol=1e-12)


@pytest.mark.parametrize(("rank", "how"), [(5, "cones of the sphere"), (9, "without")])
def test_where_cells_are_too_many_something_is_proved_all_the_same(
    monkeypatch, rank, how
):
    rng = np.random.default_rng(rank)
    X, Y = rng.normal(size=(10, rank)), rng.normal(size=(10, 2))
    result = train(X, Y, 1.0, method="local", max_rounds=2)
    problem, network = result.problem, result.network
    whole = result.certificate if rank == 5 else None

    def refuse(*_, **__):
        raise TooManyCellsError("there are many", "Do something.")

    monkeypatch.setattr(proofs, "enumerate_cells", refuse)
    found = certify(problem, network)
    assert how in found.reason
    assert found.cells == found.decided == 0
    assert found.trivial_bound < found.lower_bound <= found.objective
    if whole is None:
        assert not found.complete
        assert found.cones == 0
        assert "not enumerated" in str(found)
    else:
        # Over the cells of rank five the same dual point proves the same.
        assert found.complete
        assert found.cones > 0
        assert "the sphere is covered" in str(found)
        assert found.lower_bound == pytest.approx(whole.lower_bound, rel=1e-8)
    # No network is below it.
    for seed in range(3):
        start = np.random.default_rng(seed)
        other = quasi_newton(
            problem,
            ReLUNetwork(start.normal(size=(rank, 20)), start.normal(size=(20, 2))),
            500,
        )
        assert other.objective(problem) >= found.lower_bound
