"""Dual points of every loss, good and hostile: what is proved is true."""

import numpy as np
import pytest

from pyomo_relu import Huber, Quantile, ReLUNetwork, TrainingProblem, certify
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.training import train_problem

LOSSES = ["squared", "absolute", Huber(0.5), Quantile(0.3), "logistic", "hinge"]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
OPTIONS = {
    "plain": {},
    "weights": {"sample_weight": [2.0, 0.0, 1.0, 0.5, 1.0, 3.0, 1.0, 1.0]},
    "linear": {"skip": True},
    "penalised": {"skip": 0.5, "bias": True},
    "all": {
        "skip": True,
        "bias": True,
        "sample_weight": [2.0, 0.0, 1.0, 0.5, 1.0, 3.0, 1.0, 1.0],
        "anchors": [[1.0, 1.0]],
        "activation": "leaky_relu(0.2)",
    },
}
every_option = pytest.mark.parametrize("option", OPTIONS)


def instance(loss, option):
    rng = np.random.default_rng(7)
    X, Y = rng.normal(size=(8, 2)), rng.normal(size=(8, 2))
    if loss in ("logistic", "hinge"):
        # No line separates these classes, a constant or not.
        angles = np.arange(8) * np.pi / 4.0 + 0.1 * Y[:, 0]
        X = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        Y = np.eye(2)[np.arange(8) % 2]
    return TrainingProblem(X, Y, 0.15, loss=loss, **OPTIONS[option])


def hostile(shape, own):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=shape)
    return {
        "zero": np.zeros(shape),
        "noise": noise,
        "large": 1e300 * noise / np.abs(noise).max(),
        "largest": np.full(shape, np.finfo(float).max),
        "largest of both signs": np.where(noise > 0.0, 1.7e308, -1.7e308),
        "small": 1e-300 * noise,
        "smallest": np.full(shape, 5e-324),
        "mixed": np.where(noise > 0.0, 1e308, 1e-308),
        "integers": np.ones(shape, dtype=int),
        "against": -own,
        "beyond": 1e6 * own,
        "next to it": own * (1.0 + 1e-9 * noise),
    }


def value_of(problem, Z):
    """Return what a dual point proves by itself, if rho is at most beta."""
    value = problem.loss.dual_value(Z, problem.Y, problem.weight)
    if problem.skip:
        ones = np.ones((len(Z), 1))
        slopes = np.hstack([problem.X, ones]).T @ Z if problem.bias else problem.X.T @ Z
        value -= 0.5 * np.sum(slopes**2) / problem.skip
    return value


@every_loss
@every_option
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_hostile_dual_points_prove_nothing_false(loss, option):
    problem = instance(loss, option)
    # Networks of losses with kinks are as good as their solver.
    result = train_problem(problem, gap=1e-5)
    assert result.converged
    best = result.certificate.objective
    own = result.certificate.dual
    U = np.random.default_rng(1).normal(size=(problem.rows.shape[1], 20_000))
    U /= np.linalg.norm(U, axis=0)
    hidden = problem.activation(problem.rows @ U)[: len(own)]
    for name, dual in hostile(own.shape, own).items():
        given = dual.copy()
        certificate = certify(problem, result.network, dual)
        np.testing.assert_array_equal(dual, given)
        assert 0.0 <= certificate.lower_bound <= best * (1.0 + 1e-14), name
        assert certificate.trivial_bound <= best
        assert certificate.objective == pytest.approx(best, rel=1e-12)
        # In the domain exactly, and of a norm that no direction exceeds.
        value = value_of(problem, certificate.dual)
        assert np.isfinite(value), name
        assert np.linalg.norm(certificate.dual.T @ hidden, axis=0).max() <= (
            problem.beta * (1.0 + 1e-12)
        )
        assert value >= certificate.lower_bound - 1e-12, name
        if problem.skip != 0.0:
            assert value == pytest.approx(certificate.lower_bound, abs=1e-9), name
    # The point of the training proves what it proved, linear term or not.
    again = certify(problem, result.network, own)
    assert again.lower_bound == pytest.approx(result.certificate.lower_bound, rel=1e-7)
    assert value_of(problem, again.dual) == pytest.approx(again.lower_bound, abs=1e-7)
    assert again.violation <= 1e-7


@every_loss
@pytest.mark.parametrize("option", ["linear", "all"])
def test_a_free_linear_term_gets_an_orthogonal_point(loss, option):
    problem = instance(loss, option)
    Z = train_problem(problem).certificate.dual
    rows = problem.rows[: len(Z)]
    assert np.abs(rows.T @ Z).max() <= 1e-7
    assert np.abs(Z).max() > 0.01


@every_loss
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(loss, bad):
    problem = instance(loss, "plain")
    dual = np.zeros(problem.Y.shape)
    dual[3, 1] = bad
    network = ReLUNetwork(np.ones((2, 1)), np.ones((1, 2)))
    with pytest.raises(InputError, match=r"dual must be finite.*row 3, column 1"):
        certify(problem, network, dual)
    for other in (np.zeros((2, 8)), np.zeros(8), np.zeros((8, 3))):
        with pytest.raises(InputError, match="shape of Y"):
            certify(problem, network, other)
    for text in (np.full((8, 2), "1"), 1j * np.ones((8, 2))):
        with pytest.raises(InputTypeError, match="dual must hold real numbers"):
            certify(problem, network, text)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
@every_option
def test_the_multiple_of_a_dual_point_does_not_matter_without_a_border(scale, option):
    """Also beside samples without a weight, where the dual point is zero."""
    problem = instance("squared", option)
    result = train_problem(problem)
    own = result.certificate.dual
    expected = certify(problem, result.network, own)
    found = certify(problem, result.network, scale * own)
    assert found.lower_bound == pytest.approx(expected.lower_bound, rel=1e-9)
    assert found.rho == pytest.approx(scale * expected.rho, rel=1e-6)
    assert found.violation == pytest.approx(
        max(scale * expected.rho / problem.beta - 1.0, 0.0), rel=1e-6, abs=1e-6
    )


def test_a_weak_penalty_of_the_linear_term_is_not_overestimated():
    """Where |X^T Z|^2 / 2 gamma is the difference of what is rounded."""
    for skip in (1e-12, 1e-8, 1e-4):
        problem = instance("squared", "plain")
        problem = TrainingProblem(problem.X, problem.Y, 0.15, skip=skip)
        free = TrainingProblem(problem.X, problem.Y, 0.15, skip=True)
        # The best network with a free term is nearly the best with this one.
        network = train_problem(free).network
        certificate = certify(problem, network)
        assert certificate.lower_bound <= certificate.objective
