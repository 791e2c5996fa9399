"""Semidefinite bounds on rho against enumeration, sampling and another solver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import TrainingProblem, certify, train
from pyomo_relu.activations import AbsoluteValue, LeakyReLU, ReLU
from pyomo_relu.arrangement import enumerate_cells
from pyomo_relu.certificates import bound_rho
from pyomo_relu.certificates.semidefinite import (
    bound_by_norms,
    repaired_bound,
    semidefinite_bound,
)
from pyomo_relu.errors import InputError
from tests.instances import REFERENCE, reference_data

ACTIVATIONS = [ReLU(), LeakyReLU(0.1), LeakyReLU(-0.5), LeakyReLU(2.0), AbsoluteValue()]


def random_instance(seed, n, r, c):
    rng = np.random.default_rng(seed)
    X, Z = rng.normal(size=(n, r)), rng.normal(size=(n, c))
    # Rows of very different lengths, and some that count for nothing.
    X *= 10.0 ** rng.uniform(-2.0, 2.0, size=(n, 1))
    if n > 3:
        X[0] = 0.0
        Z[1] = 0.0
    return rng, X, Z


def rho_by_cells(X, Z, activation):
    """Return rho from below, by enumeration: exact up to 1e-8."""
    cells = enumerate_cells(X)
    found = bound_rho(cells, X @ cells.basis, Z, activation=activation)
    assert found.value <= found.attained * (1.0 + 1e-8) + 1e-9
    return found.attained


def largest_at_random(rng, X, Z, activation):
    U = rng.normal(size=(X.shape[1], 2000))
    U /= np.linalg.norm(U, axis=0)
    return float(np.linalg.norm(Z.T @ activation(X @ U), axis=0).max())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 9),
    r=st.integers(1, 4),
    c=st.integers(1, 3),
    activation=st.sampled_from(ACTIVATIONS),
    iterations=st.sampled_from([0, 1, 7, 60, 300]),
)
def test_no_bound_is_below_rho(seed, n, r, c, activation, iterations):
    """Whatever the solver did until it was stopped."""
    _, X, Z = random_instance(seed, n, r, c)
    bound = semidefinite_bound(X, Z, activation, max_iterations=iterations)
    assert bound.value >= rho_by_cells(X, Z, activation) * (1.0 - 1e-13)
    assert bound.value <= bound.norms


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 8),
    r=st.integers(1, 4),
    activation=st.sampled_from(ACTIVATIONS),
    decades=st.floats(-3.0, 3.0),
)
def test_garbage_multipliers_prove_a_bound(seed, n, r, activation, decades):
    rng, X, Z = random_instance(seed, n, r, 2)
    N = 10.0**decades * rng.normal(size=(2 * n, 2 * n))
    bound = repaired_bound(X, Z, N, activation)
    assert bound >= rho_by_cells(X, Z, activation) * (1.0 - 1e-13)


def test_the_repair_itself_is_valid_and_not_only_the_norms():
    """The multipliers of complementarity alone: better than norms, above rho."""
    X, Y = reference_data(0)
    better = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        Z = rng.normal(size=Y.shape)
        N = np.zeros((20, 20))
        N[range(10), range(10, 20)] = -rng.uniform(0.5, 2.0, size=10)
        bound = repaired_bound(X, Z, N + N.T)
        assert bound >= rho_by_cells(X, Z, ReLU())
        better += bound < bound_by_norms(X, Z, ReLU())
    # Negative multipliers of the pairs may weigh the samples better than norms do.
    assert better > 0


def test_negative_multipliers_of_products_are_not_used():
    """With them anything could be "proved": they are cut to zero."""
    rng = np.random.default_rng(1)
    X, Z = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    N = -100.0 * np.ones((12, 12))
    assert repaired_bound(X, Z, N) >= rho_by_cells(X, Z, ReLU())


def relaxation_by_interior_point(X, Z, activation):
    """Solve Shor's relaxation in (u, p) by cvxpy, as it stands in the docstring."""
    cvxpy = pytest.importorskip("cvxpy")
    n, r = X.shape
    W = cvxpy.Variable((r + n, r + n), PSD=True)
    E = np.block([[np.zeros((n, r)), np.eye(n)], [-X, np.eye(n)]])
    G = E @ W @ E.T
    H = np.vstack([activation.positive * Z, -activation.negative * Z])
    program = cvxpy.Problem(
        cvxpy.Maximize(cvxpy.trace(H.T @ G @ H)),
        [G >= 0, cvxpy.diag(G[:n, n:]) == 0, cvxpy.trace(W[:r, :r]) <= 1],
    )
    program.solve(solver="CLARABEL")
    return float(np.sqrt(program.value))


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_reference_instances_are_bounded_by_products(seed):
    """Lower bounds on the optimum at the dual point of the optimal network.

    With the products 3.72 of 4.3655 for the first; without them, 0.63.
    """
    X, Y = reference_data(seed)
    beta = 0.2
    Z = Y - train(X, Y, beta).network.predict(X)
    truth = relaxation_by_interior_point(X, Z, ReLU())
    bound = semidefinite_bound(X, Z, max_iterations=3000, tolerance=1e-5)
    assert bound.value >= rho_by_cells(X, Z, ReLU()) >= beta * (1.0 - 1e-6)
    assert truth * (1.0 - 1e-5) <= bound.value <= truth * 1.01
    s = min(beta / bound.value, 1.0)
    lower = s * np.vdot(Z, Y) - 0.5 * s * s * np.vdot(Z, Z)
    assert lower <= REFERENCE[seed]
    if seed == 0:
        assert lower == pytest.approx(3.72, abs=0.01)


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda each: each.text)
def test_the_bound_tends_to_the_relaxation(activation):
    X, Y = reference_data(0)
    problem = TrainingProblem(X, Y, 0.2, activation=activation)
    network = train(X, Y, 0.2, activation=activation).network
    Z = certify(problem, network).dual
    truth = relaxation_by_interior_point(X, Z, activation)
    bound = semidefinite_bound(X, Z, activation, max_iterations=4000, tolerance=1e-6)
    assert truth * (1.0 - 1e-5) <= bound.value <= truth * 1.02
    assert bound.relaxation == pytest.approx(truth, rel=0.02)


def test_high_rank_is_bounded_far_below_norms():
    """Samples whose cells nobody could enumerate."""
    rng = np.random.default_rng(0)
    X, Z = rng.normal(size=(120, 15)), rng.normal(size=(120, 2))
    bound = semidefinite_bound(X, Z, max_iterations=150)
    found = max(largest_at_random(rng, X, Z, ReLU()) for _ in range(5))
    assert found <= bound.value <= 0.9 * bound.norms
    assert bound.method == "semidefinite"
    steps, values = zip(*bound.history, strict=True)
    assert steps[0] == 0
    assert steps[-1] == bound.iterations <= 150
    assert list(values) == sorted(values, reverse=True)
    assert values[-1] == bound.value


def test_samples_beyond_the_limit_are_bounded_by_norms():
    rng = np.random.default_rng(4)
    X, Z = rng.normal(size=(9, 3)), rng.normal(size=(9, 2))
    whole = semidefinite_bound(X, Z)
    part = semidefinite_bound(X, Z, max_samples=6)
    none = semidefinite_bound(X, Z, max_samples=0)
    assert (whole.samples, part.samples, none.samples) == (9, 6, 0)
    assert rho_by_cells(X, Z, ReLU()) <= whole.value <= part.value <= none.value
    assert none.value == none.norms


def test_a_target_ends_the_search():
    X, Y = reference_data(1)
    long = semidefinite_bound(X, Y, max_iterations=400, tolerance=0.0)
    short = semidefinite_bound(X, Y, target=0.5 * (long.value + long.norms))
    assert short.iterations < long.iterations
    assert short.value <= 0.5 * (long.value + long.norms)


def test_a_perturbation_is_paid_for():
    rng = np.random.default_rng(5)
    X, Z = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    E = 0.05 * rng.normal(size=X.shape)
    moved = semidefinite_bound(X + E, Z, perturbation=np.linalg.norm(E, 2))
    exact = semidefinite_bound(X + E, Z)
    assert rho_by_cells(X, Z, ReLU()) <= moved.value
    assert moved.value == pytest.approx(
        exact.value + np.linalg.norm(Z, 2) * np.linalg.norm(E, 2)
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 100_000), decades=st.floats(-14.0, -4.0))
def test_nearly_rank_deficient_samples_are_bounded(seed, decades):
    rng = np.random.default_rng(seed)
    B = rng.normal(size=(7, 3))
    X = np.column_stack([B, B.sum(axis=1) + 10.0**decades * rng.normal(size=7)])
    Z = rng.normal(size=(7, 2))
    bound = semidefinite_bound(X, Z, max_iterations=200)
    U = rng.normal(size=(4, 3000))
    flat = np.linalg.svd(X)[2][-1]
    U += 10.0 ** rng.uniform(-1.0, 8.0, size=3000) * flat[:, None]
    U /= np.linalg.norm(U, axis=0)
    near = np.linalg.norm(Z.T @ np.maximum(X @ U, 0.0), axis=0).max()
    assert max(near, largest_at_random(rng, X, Z, ReLU())) <= bound.value
    assert bound.value <= bound.norms


@pytest.mark.parametrize(
    ("X", "Z", "truth"),
    [
        (np.zeros((3, 2)), np.ones((3, 1)), 0.0),
        (np.eye(2), np.zeros((2, 1)), 0.0),
        (np.array([[2.0]]), np.array([[3.0]]), 6.0),
        (np.array([[1.0], [-1.0]]), np.array([[3.0], [-4.0]]), 4.0),
    ],
)
def test_trivial_instances(X, Z, truth):
    bound = semidefinite_bound(X, Z, max_iterations=1000)
    assert truth <= bound.value <= truth * 1.02 + 1e-12
    assert repaired_bound(X, Z, np.zeros((2 * len(X), 2 * len(X)))) >= truth


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda each: each.text)
def test_norms_bound_random_directions(activation):
    rng = np.random.default_rng(8)
    X, Z = rng.normal(size=(12, 4)), rng.normal(size=(12, 2))
    assert bound_by_norms(X, Z, activation) >= largest_at_random(rng, X, Z, activation)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Z": np.ones((3, 1))}, "row for each"),
        ({"max_iterations": -1}, "max_iterations"),
        ({"max_samples": -1}, "max_samples"),
        ({"target": -1.0}, "target"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"perturbation": float("inf")}, "perturbation"),
    ],
)
def test_bad_input_is_refused(change, message):
    arguments = {"X": np.eye(2), "Z": np.ones((2, 1)), **change}
    with pytest.raises(InputError, match=message):
        semidefinite_bound(**arguments)


def test_multipliers_of_another_size_are_refused():
    with pytest.raises(InputError, match="shape"):
        repaired_bound(np.eye(2), np.ones((2, 1)), np.zeros((2, 2)))
