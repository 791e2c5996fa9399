"""Every loss: primal and dual program, both forms, weights, certificates."""

import numpy as np
import pytest

from pyomo_relu import (
    AbsoluteLoss,
    HingeLoss,
    Huber,
    LogisticLoss,
    Quantile,
    SquaredLoss,
    TrainingProblem,
    build_completely_positive,
    build_copositive,
    certify,
    recover_network,
    relax,
    train,
)
from pyomo_relu.training import train_problem
from tests import restarts

BETA = 0.2
CASES = {
    "squared": (SquaredLoss(), restarts.squared),
    "absolute": (AbsoluteLoss(), restarts.absolute),
    "huber": (Huber(0.4), restarts.huber(0.4)),
    "quantile": (Quantile(0.3), restarts.quantile(0.3)),
    "logistic": (LogisticLoss(), restarts.logistic),
    "hinge": (HingeLoss(), restarts.hinge),
}
every_loss = pytest.mark.parametrize("name", CASES)
SAMPLE_WEIGHT = np.array([1.0, 0.0, 2.0, 0.3, 1.5, 0.0, 0.8])
OUTPUT_WEIGHT = np.array([2.0, 0.5, 1.0])


def data(name, seed, n=7, d=2, c=3):
    """Return samples and targets that suit the loss."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if CASES[name][0].is_classification:
        return X, np.eye(c)[rng.integers(c, size=n)]
    return X, rng.normal(size=(n, c))


def optimum(build, problem, form="tree"):
    model = build(problem, form=form)
    relax(model, "dnn")
    return restarts.optimum_of(model), model


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_primal_dual_and_both_forms_agree(name, weighted):
    X, Y = data(name, 1)
    options = (
        {"sample_weight": SAMPLE_WEIGHT, "output_weight": OUTPUT_WEIGHT}
        if weighted
        else {}
    )
    problem = TrainingProblem(X, Y, BETA, loss=CASES[name][0], **options)
    expected, model = optimum(build_completely_positive, problem)
    assert expected > 0.1
    loss, penalty = model.loss(), model.penalty()
    assert loss + penalty == pytest.approx(expected, abs=1e-7)
    predictions = np.array(
        [[model.prediction[k, o]() for o in range(3)] for k in range(7)]
    )
    weight = np.outer(SAMPLE_WEIGHT, OUTPUT_WEIGHT) if weighted else np.ones(Y.shape)
    # Ours and the test's own formula, at the model's predictions.
    assert loss == pytest.approx(CASES[name][1](predictions, Y, weight)[0], abs=1e-6)
    for build in (build_completely_positive, build_copositive):
        for form in ("tree", "plain"):
            found, _ = optimum(build, problem, form)
            assert found == pytest.approx(expected, abs=1e-6)


@every_loss
@pytest.mark.parametrize("build", [build_completely_positive, build_copositive])
def test_networks_of_both_programs_have_their_objective(name, build):
    X, Y = data(name, 2)
    problem = TrainingProblem(
        X, Y, BETA, loss=CASES[name][0], sample_weight=SAMPLE_WEIGHT
    )
    expected, model = optimum(build, problem)
    network = recover_network(model)
    weight = np.repeat(SAMPLE_WEIGHT[:, None], 3, axis=1)
    found = restarts.objective_of(network, problem, CASES[name][1], weight)
    assert found == pytest.approx(expected, abs=1e-6)
    assert found == pytest.approx(network.objective(problem), rel=1e-12)


@every_loss
@pytest.mark.parametrize("skip", [False, True, 0.5])
def test_primal_and_dual_agree_with_a_linear_term(name, skip):
    X, Y = data(name, 3, c=2)
    # A sample of two classes: otherwise the linear term would separate all.
    X[6], Y[6] = X[0], Y[0][::-1]
    problem = TrainingProblem(
        *(X, Y, BETA),
        loss=CASES[name][0],
        skip=skip,
        bias=True,
        sample_weight=SAMPLE_WEIGHT,
    )
    weight = np.repeat(SAMPLE_WEIGHT[:, None], 2, axis=1)
    values = []
    for build in (build_completely_positive, build_copositive):
        found, model = optimum(build, problem)
        values.append(found)
        network = recover_network(model)
        own = restarts.objective_of(network, problem, CASES[name][1], weight)
        # A free linear term is the multiplier of rows: known to their accuracy.
        assert own == pytest.approx(found, abs=1e-5)
    assert values[0] == pytest.approx(values[1], abs=1e-6)


@every_loss
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("weighted", [False, True])
def test_bounds_are_valid_and_tight(name, seed, weighted):
    X, Y = data(name, 10 + seed)
    loss, formula = CASES[name]
    weight, options = np.ones(Y.shape), {}
    if weighted:
        weight = np.outer(SAMPLE_WEIGHT, OUTPUT_WEIGHT)
        options = {"sample_weight": SAMPLE_WEIGHT, "output_weight": OUTPUT_WEIGHT}
    result = train(X, Y, BETA, loss=loss, **options)
    certificate = result.certificate
    assert result.converged
    assert certificate.complete
    assert certificate.gap <= 1e-6
    assert certificate.lower_bound > 0.05
    assert certificate.objective == pytest.approx(
        restarts.objective_of(result.network, result.problem, formula, weight),
        rel=1e-12,
    )
    best = restarts.best_of_restarts(
        *(X, Y, BETA),
        loss=formula,
        weight=weight,
        starts=6,
        seed=seed,
    )
    assert certificate.lower_bound <= best
    assert certificate.objective <= best * (1.0 + 1e-6)
    # Smooth losses: the descent meets the optimum, so the bound is not too low either.
    if loss.is_smooth:
        assert best <= certificate.objective * 1.02


@every_loss
def test_a_certificate_solves_for_its_own_dual_point(name):
    X, Y = data(name, 20)
    result = train(X, Y, BETA, loss=CASES[name][0])
    certificate = certify(result.problem, result.network)
    assert certificate.gap <= 1e-6
    assert certificate.lower_bound <= result.certificate.objective


@every_loss
def test_weights_duplicate_and_remove_samples(name):
    X, Y = data(name, 4)
    loss = CASES[name][0]
    weighted = train(X, Y, BETA, loss=loss, sample_weight=[1, 2, 0, 1, 1, 0, 3])
    rows = [0, 1, 1, 3, 4, 6, 6, 6]
    repeated = train(X[rows], Y[rows], BETA, loss=loss)
    assert weighted.converged
    assert repeated.converged
    assert weighted.certificate.objective == pytest.approx(
        repeated.certificate.objective, rel=2e-6
    )


@pytest.mark.parametrize("name", ["squared", "absolute", "huber", "quantile"])
@pytest.mark.parametrize("outlier", [1.0, 1e7])
def test_a_sample_without_a_weight_may_be_an_outlier(name, outlier):
    """It has no part in the scaling of the targets."""
    X, Y = data(name, 5)
    Y[2] *= outlier
    weight = np.ones(7)
    weight[2] = 0.0
    loss = CASES[name][0]
    result = train(X, Y, BETA, loss=loss, sample_weight=weight)
    kept = weight > 0.0
    expected = train(X[kept], Y[kept], BETA, loss=loss).certificate
    assert result.converged
    assert result.certificate.objective == pytest.approx(expected.objective, rel=2e-6)
    model = optimum(build_completely_positive, result.problem)[0]
    assert model == pytest.approx(expected.objective, abs=1e-6)


@every_loss
@pytest.mark.parametrize("size", [1e-30, 1e8])
@pytest.mark.parametrize("skip", [False, True])
def test_weights_have_no_unit(name, size, skip):
    """Weights and beta times a number: the objective times that number."""
    X, Y = data(name, 6)
    X[6], Y[6] = X[0], Y[0][[1, 2, 0]]
    loss = CASES[name][0]
    expected = train(X, Y, BETA, loss=loss, skip=skip)
    found = train(
        X, Y, size * BETA, loss=loss, sample_weight=np.full(7, size), skip=skip
    )
    assert found.converged
    assert found.certificate.objective / size == pytest.approx(
        expected.certificate.objective, rel=2e-6
    )


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_targets_have_no_unit_beside_a_linear_term(size):
    X, Y = data("huber", 7)
    result = train(X, size * Y, size * BETA, loss=Huber(0.4 * size), skip=True)
    expected = train(X, Y, BETA, loss=Huber(0.4), skip=True).certificate.objective
    assert result.converged
    assert result.certificate.objective / size**2 == pytest.approx(expected, rel=2e-6)


@pytest.mark.parametrize("name", ["logistic", "hinge"])
def test_classes_without_a_weight_cost_nothing(name):
    problem = TrainingProblem(
        [[1.0, 0.5], [0.2, 1.0]],
        [[1, 0], [1, 0]],
        BETA,
        loss=name,
        output_weight=[0.0, 1.0],
    )
    result = train_problem(problem)
    assert result.certificate.objective == 0.0
    assert result.certificate.lower_bound == 0.0
    assert result.converged
