"""At rank five `relu.dnn` can be loose: a training instance made of the Horn matrix."""

import itertools

import numpy as np
import pytest
from scipy.linalg import eigh

from pyomo_relu import (
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_copositive,
    certify,
    relax,
    solve,
    train,
)
from pyomo_relu.network import ReLUNetwork
from tests.instances import horn_instance, horn_matrix

X, Y, BETA, OPTIMUM = horn_instance()
PROBLEM = TrainingProblem(X, Y, BETA)
R = np.linalg.inv(X)
#: The labels are this multiple of the dual optimum.
RATIO = 1.0 + (3.0 + np.sqrt(5.0)) / 2.0
Z = Y / RATIO


def relaxed(build, *tiers, problem=PROBLEM):
    """Return model and value after a chain of tiers: names, or (name, options)."""
    model = build(problem)
    for tier in tiers:
        name, options = (tier, {}) if isinstance(tier, str) else tier
        relax(model, name, **options)
    return model, solve(model).incumbent_objective


def value_of_plain_dnn():
    r"""Return the optimum of `relu.dnn` on the instance, by its symmetry.

    The dual optimum is ``t Z``, as far out as the cell of all samples allows:
    ``H + (1 - t^2) 4 V V^T`` in S_+ + N. Averaged over the symmetries of the pentagon,
    N is s on the five pairs where H is one, and the eigenvalues of what is left,
    ``1 - 2 s``, ``1 - sqrt(5) + 4 (1 - t^2) + 2 s cos(pi/5)``,
    ``1 + sqrt(5) - 2 s cos(2 pi/5)``, are nonnegative: s = 1/2.
    """
    shift = np.sqrt(5.0) - 1.0 - np.cos(np.pi / 5.0)
    t = np.sqrt(1.0 - shift / 4.0)
    return (RATIO * t - 0.5 * t**2) * np.sum(Z**2)


def neurons():
    """Return the five neurons at the zeros of the Horn matrix."""
    edges = np.eye(5) + np.roll(np.eye(5), 1, axis=0)
    return ReLUNetwork(R @ edges, edges.T @ Z)


def rho():
    r"""Return ``max |Z^T (X u)_+|`` over unit u, by the faces of all cells.

    With ``u = R a``: in the relative interior of a face, given by the signs of a, a
    maximiser is an eigenvector of ``Z_+ Z_+^T`` against ``R^T R``, with these signs.
    Where that belongs to a double eigenvalue, a smaller face attains it too.
    """
    largest = 0.0
    for signs in itertools.product([-1.0, 0.0, 1.0], repeat=5):
        face = np.flatnonzero(signs)
        if face.size:
            sign = np.array(signs)[face]
            active = np.where(sign > 0, 1.0, 0.0)[:, None] * Z[face]
            squares, vectors = eigh(active @ active.T, R.T[face] @ R[:, face])
            oriented = sign[:, None] * vectors
            inside = (oriented >= 0).all(axis=0) | (oriented <= 0).all(axis=0)
            largest = max([largest, *squares[inside]])
    return np.sqrt(largest)


def test_the_optimum_is_what_the_derivation_says():
    complement = R.T @ R - Z @ Z.T
    assert complement == pytest.approx(horn_matrix() / 2.6, abs=1e-12)
    assert rho() == pytest.approx(BETA, abs=1e-9)
    assert np.sum(Z * Y) - 0.5 * np.sum(Z**2) == pytest.approx(OPTIMUM, rel=1e-14)
    network = neurons()
    assert Y - network.predict(X) == pytest.approx(Z, abs=1e-12)
    assert network.objective(PROBLEM) == pytest.approx(OPTIMUM, rel=1e-14)
    certificate = certify(PROBLEM, network)
    assert certificate.complete
    assert certificate.lower_bound == pytest.approx(OPTIMUM, rel=1e-8)


@pytest.mark.parametrize("build", [build_completely_positive, build_copositive])
def test_plain_dnn_is_strictly_below(build):
    model, value = relaxed(build, "dnn")
    assert bound_direction(model) == "lower"
    assert value == pytest.approx(value_of_plain_dnn(), abs=1e-6)
    assert value < OPTIMUM - 0.4


@pytest.mark.parametrize("build", [build_completely_positive, build_copositive])
def test_one_bisection_closes_the_gap(build):
    model, value = relaxed(build, ("partition", {"level": 1}), "dnn")
    assert bound_direction(model) == "lower"
    assert value == pytest.approx(OPTIMUM, abs=1e-6)


@pytest.mark.parametrize(("strength", "rounds"), [(4.0, 1), (5.0, 3)])
def test_bisection_on_demand_closes_the_gap(strength, rounds):
    X, Y, beta, optimum = horn_instance(strength)
    problem = TrainingProblem(X, Y, beta)
    model, value = relaxed(build_completely_positive, "dnn", problem=problem)
    for _ in range(rounds):
        assert value < optimum - 0.01
        relax(model, "partition", on_demand=True)
        value = solve(model).incumbent_objective
    assert value == pytest.approx(optimum, abs=1e-6)


@pytest.mark.parametrize("build", [build_completely_positive, build_copositive])
def test_other_tiers_that_close_the_gap(build):
    """The Horn matrix is in K^1, and every neuron is a combination of two rays."""
    model, value = relaxed(build, "sos")
    assert bound_direction(model) == "lower"
    assert value == pytest.approx(OPTIMUM, abs=1e-6)
    model, value = relaxed(build, "ray_pairs")
    assert bound_direction(model) == "upper"
    assert value == pytest.approx(OPTIMUM, abs=1e-6)


def test_the_certified_optimum_agrees():
    result = train(X, Y, BETA, gap=1e-7)
    assert result.converged
    assert result.certificate.complete
    assert result.certificate.objective == pytest.approx(OPTIMUM, rel=1e-7)
    assert result.certificate.lower_bound == pytest.approx(OPTIMUM, rel=1e-7)
