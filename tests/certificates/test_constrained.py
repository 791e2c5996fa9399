"""Bounds under constraints of the user's own: valid, tight, or refused by name."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.util import NoOptimalSolutionError
from scipy.optimize import minimize

from pyomo_relu import (
    ExponentialCone,
    Huber,
    PSDCone,
    SecondOrderCone,
    TrainingProblem,
    build_completely_positive,
    certify_model,
    recover_network,
    relax,
    solve,
    train,
)
from pyomo_relu.certificates.constrained import _into_dual_cone
from pyomo_relu.errors import InputError, UnprovableModelError
from pyomo_relu.solvers import compile_conic

rng = np.random.default_rng(1)
X, Y = rng.normal(size=(10, 2)), rng.normal(size=(10, 2))
LABELS = np.eye(2)[rng.integers(0, 2, 10)]
ANCHORS = rng.normal(size=(4, 2))
LOSSES = ["squared", "absolute", Huber(0.3), "logistic", "hinge"]


def bounds(m):
    m.cap = pyo.Constraint(
        m.POINTS, m.OUTPUTS, rule=lambda m, i, j: (-0.6, m.prediction[i, j], 0.6)
    )


def monotone(m):
    m.order = pyo.Constraint(
        range(9), rule=lambda m, i: m.prediction[i, 0] <= m.prediction[i + 1, 0]
    )


def fair(m):
    """Two groups with the same mean, and a given total."""
    mean = [sum(m.prediction[i, 0] for i in group) / 5 for group in GROUPS]
    m.fair = pyo.Constraint(expr=mean[0] == mean[1])
    m.total = pyo.Constraint(expr=sum(m.prediction[i, 1] for i in range(10)) == 1)


GROUPS = (range(5), range(5, 10))


def at_anchors(m):
    m.point = pyo.Constraint(expr=m.prediction[10, 0] == 0.3)
    m.above = pyo.Constraint(expr=m.prediction[12, 1] >= 0.2)


def quadratic(m):
    m.q = pyo.Constraint(
        expr=sum(m.prediction[i, j] ** 2 for i in range(10) for j in range(2)) <= 1
    )


def second_order(m):
    m.K = SecondOrderCone([1.0] + [m.prediction[i, 0] for i in range(10)])


def semidefinite(m):
    f = m.prediction
    m.K = PSDCone([[0.2, f[0, 0], f[2, 0]], [f[0, 0], 0.3, 0], [f[2, 0], 0, f[1, 0]]])


def within_a_band(m):
    """The band is a variable of the user's."""
    m.t = pyo.Var(bounds=(-5, 5))
    m.low = pyo.Constraint(range(10), rule=lambda m, i: m.prediction[i, 0] <= m.t)
    m.high = pyo.Constraint(
        range(10), rule=lambda m, i: m.prediction[i, 0] >= m.t - 0.3
    )


CONSTRAINTS = [
    bounds,
    monotone,
    fair,
    at_anchors,
    quadratic,
    second_order,
    semidefinite,
    within_a_band,
]


def problem_of(loss, constrain=None, **options):
    targets = LABELS if loss in ("logistic", "hinge") else Y
    if constrain is at_anchors:
        options["anchors"] = ANCHORS
    return TrainingProblem(X, targets, 0.1, loss=loss, **options)


def solved(problem, constrain, *, before=True):
    model = build_completely_positive(problem)
    if before:
        constrain(model)
    relax(model, "dnn")
    if not before:
        constrain(model)
    return model, solve(model, accuracy="tight")


@pytest.mark.parametrize("constrain", CONSTRAINTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_the_bound_is_tight_and_the_network_obeys(loss, constrain):
    problem = problem_of(loss, constrain)
    model, results = solved(problem, constrain)
    network = recover_network(model)
    certificate = certify_model(model, network, results)
    assert certificate.constraint_violation <= 1e-7
    assert certificate.gap <= 2e-6
    assert certificate.complete
    optimum = results.incumbent_objective
    assert certificate.lower_bound <= optimum * (1 + 1e-6)
    unconstrained = train(
        problem.X, problem.Y, problem.beta, loss=problem.loss
    ).certificate
    # Without the multipliers of the rows the bound would be the unconstrained one.
    assert certificate.lower_bound >= unconstrained.lower_bound * (1 - 1e-6)
    if optimum > unconstrained.objective * 1.01:
        assert certificate.lower_bound > unconstrained.objective
    assert network.objective(problem) == pytest.approx(certificate.objective)
    assert "constraints" in str(certificate)


def test_the_constraints_hold_at_the_predictions_themselves():
    problem = problem_of("squared", at_anchors)
    model, _ = solved(problem, at_anchors)
    network = recover_network(model)
    f = network.predict(ANCHORS)
    assert f[0, 0] == pytest.approx(0.3, abs=1e-9)
    assert f[2, 1] >= 0.2 - 1e-9
    model, _ = solved(problem_of("squared"), monotone)
    f = recover_network(model).predict(X)
    assert (np.diff(f[:, 0]) >= -1e-9).all()


def test_before_or_after_the_tier():
    problem = problem_of("squared")
    values = [
        solved(problem, fair, before=before)[1].incumbent_objective
        for before in (True, False)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {"bias": True},
        {"activation": "leaky_relu(0.2)"},
        {"skip": 0.5},
        {"sample_weight": np.linspace(0.5, 2.0, 10)},
    ],
    ids=str,
)
def test_every_kind_of_problem(options):
    model, results = solved(problem_of("squared", **options), monotone)
    certificate = certify_model(model, recover_network(model), results)
    assert certificate.gap <= 1e-6
    assert certificate.constraint_violation <= 1e-7


def test_no_feasible_local_solution_is_below_the_bound():
    """Descents from random networks under the same constraints, by SLSQP."""
    problem = problem_of("squared")
    model, results = solved(problem, monotone)
    bound = certify_model(model, recover_network(model), results).lower_bound
    m, shape = 4, (2, 4)

    def layers(theta):
        return theta[:8].reshape(shape), theta[8:].reshape(m, 2)

    def predictions(theta):
        u, v = layers(theta)
        return np.maximum(X @ u, 0.0) @ v

    def objective(theta):
        F = predictions(theta)
        return 0.5 * np.sum((F - Y) ** 2) + 0.05 * np.sum(theta**2)

    order = {"type": "ineq", "fun": lambda theta: np.diff(predictions(theta)[:, 0])}
    best = np.inf
    for seed in range(12):
        start = np.random.default_rng(seed).normal(size=16)
        found = minimize(
            objective, start, method="SLSQP", constraints=[order],
            options={"maxiter": 300},
        )  # fmt: skip
        if order["fun"](found.x).min() >= -1e-7:
            best = min(best, found.fun)
    assert np.isfinite(best)
    assert bound <= best + 1e-6


def test_contradictory_constraints_are_infeasible():
    model = build_completely_positive(problem_of("squared"))
    model.low = pyo.Constraint(expr=model.prediction[0, 0] <= 0)
    model.high = pyo.Constraint(expr=model.prediction[0, 0] >= 1)
    relax(model, "dnn")
    results = solve(
        model, load_solutions=False, raise_exception_on_nonoptimal_result=False
    )
    assert results.termination_condition.name == "provenInfeasible"
    with pytest.raises(NoOptimalSolutionError, match="nfeasible"):
        solve(model)


def integer(m):
    m.culprit = pyo.Var(domain=pyo.Binary)
    m.row = pyo.Constraint(expr=m.prediction[0, 0] <= m.culprit)


def moment_row(m):
    first = next(iter(m.moment))
    m.culprit = pyo.Constraint(expr=m.moment[first] <= 1)


def other_penalty(m):
    m.penalty.set_value(2 * m.penalty.expr)


def other_objective(m):
    m.objective.deactivate()
    m.culprit = pyo.Objective(expr=m.loss + 2 * m.penalty)


def free_variable(m):
    m.culprit = pyo.Var()
    m.row = pyo.Constraint(range(3), rule=lambda m, i: m.prediction[i, 0] <= m.culprit)
    m.other = pyo.Constraint(expr=m.culprit <= m.prediction[4, 0])


def fixed_prediction(m):
    m.scaled_prediction[0, 0].fix(0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moment_row, "'culprit' is a row on"),
        (other_penalty, "'penalty' has been changed"),
        (other_objective, "'culprit'"),
        (free_variable, "'culprit'.*bounded"),
        (fixed_prediction, "fixed"),
    ],
)
def test_what_cannot_be_proved_is_refused_by_name(change, message):
    problem = problem_of("squared")
    model, results = solved(problem, change)
    network = recover_network(model, improve=False)
    with pytest.raises(UnprovableModelError, match=message):
        certify_model(model, network, results)


def test_integer_variables_are_refused():
    problem = problem_of("squared")
    model, results = solved(problem, lambda m: None)
    network = recover_network(model)
    integer(model)
    with pytest.raises(UnprovableModelError, match="culprit"):
        certify_model(model, network, results)


def test_an_unpenalised_linear_term_is_refused():
    model, results = solved(problem_of("squared", skip=True), monotone)
    network = recover_network(model)
    with pytest.raises(UnprovableModelError, match="skip"):
        certify_model(model, network, results)


def test_a_descent_is_refused_where_it_would_leave_the_constraints():
    model, _ = solved(problem_of("squared"), monotone)
    with pytest.raises(InputError, match="leave improve out"):
        recover_network(model, improve=True)


def test_without_constraints_it_is_the_plain_certificate():
    problem = problem_of("squared")
    model, results = solved(problem, lambda m: None)
    certificate = certify_model(model, recover_network(model), results)
    assert certificate.constraints == 0
    assert certificate.gap <= 1e-9


def test_wrong_arguments():
    problem = problem_of("squared")
    model, results = solved(problem, fair)
    network = recover_network(model)
    with pytest.raises(TypeError, match="Results"):
        certify_model(model, network, None)
    with pytest.raises(TypeError, match="not a network program"):
        certify_model(pyo.ConcreteModel(), network, results)
    other, _ = solved(problem, fair)
    with pytest.raises(InputError, match="multipliers"):
        certify_model(other, network, results)


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber", "quantile"])
def test_the_last_digits_of_a_dual_point_do_not_cost_the_bound(loss):
    # The infimum over the prediction of an anchor point is -inf where the dual point
    # of a solver is not quite zero.
    rng = np.random.default_rng(0)
    X, Y, anchor = (rng.normal(size=(k, 2)) for k in (5, 5, 1))
    problem = TrainingProblem(X, Y, 0.1, anchors=anchor, loss=loss)
    model = build_completely_positive(problem)
    model.pair = pyo.Constraint(expr=model.prediction[0, 0] <= model.prediction[1, 0])
    model.cap = pyo.Constraint(expr=model.prediction[5, 0] <= 0.1)
    relax(model, "dnn")
    results = solve(model)
    certificate = certify_model(model, recover_network(model), results)
    assert certificate.lower_bound <= certificate.objective * (1.0 + 1e-12)
    assert certificate.gap < 1e-6


@pytest.mark.parametrize("tier", ["dnn", "sos", "rays"])
def test_exact_tiers_prove_the_same_bound(tier):
    rng = np.random.default_rng(3)
    X, Y, anchors = (rng.normal(size=(k, 2)) for k in (6, 6, 2))
    problem = TrainingProblem(X, Y, 0.1, anchors=anchors)
    model = build_completely_positive(problem)
    model.caps = pyo.Constraint(range(8), rule=lambda m, i: m.prediction[i, 0] <= 0.3)
    model.value = pyo.Constraint(expr=model.prediction[7, 0] == 0.1)
    relax(model, tier)
    results = solve(model)
    network = recover_network(model)
    certificate = certify_model(model, network, results)
    assert certificate.gap < 1e-6
    assert abs(network.predict(anchors)[1, 0] - 0.1) < 1e-9


def test_a_row_that_is_stated_twice():
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))
    problem = TrainingProblem(X, Y[:, 0], 0.1, loss="absolute")
    model = build_completely_positive(problem)
    model.same = pyo.Constraint(
        [0, 1], rule=lambda m, _: m.prediction[0, 0] == m.prediction[1, 0]
    )
    relax(model, "dnn")
    results = solve(model)
    assert certify_model(model, recover_network(model), results).gap < 1e-6


def test_tangents_stand_for_the_objective():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    certificates = []
    for tier in ("cuts", "dnn"):
        model = build_completely_positive(TrainingProblem(X, y, 0.1))
        model.cap = pyo.Constraint(expr=model.prediction[1, 0] <= -0.4)
        relax(model, tier)
        results = solve(model)
        network = recover_network(model)
        certificates.append(certify_model(model, network, results))
    assert certificates[0].gap < 1e-5
    assert certificates[1].gap < 1e-9
    assert certificates[0].constraints == 1
    assert certificates[0].objective >= certificates[1].lower_bound


@pytest.mark.parametrize("seed", range(5))
def test_multipliers_next_to_the_border_of_the_exponential_cone(seed):
    rng = np.random.default_rng(seed)
    model = pyo.ConcreteModel()
    model.x = pyo.Var([0, 1, 2])
    model.cone = ExponentialCone(list(model.x.values()))
    form = compile_conic(model)
    for scale in (1e-12, 1e-6, 1.0, 1e6):
        z = _into_dual_cone(form, scale * rng.normal(size=3))
        assert np.isfinite(z).all()
        assert form.cone_violation(z, dual=True) <= 1e-12 * (1.0 + np.abs(z).max())
