"""The Pyomo forms of the losses and of their duals, solved."""

import numpy as np
import pyomo.environ as pyo
import pytest
from scipy.optimize import minimize

from pyomo_relu.losses import Huber, LogisticLoss, SquaredLoss
from pyomo_relu.solvers import model_content, solve
from tests.losses.cases import LOSSES, dual_point, every_loss, instance

RIDGE = 0.3
SHAPE = (4, 3)
#: Of what interior points solve to about 1e-8.
TOLERANCE = 1e-6


def objects(items, shape):
    array = np.empty(np.prod(shape), dtype=object)
    array[:] = list(items)
    return array.reshape(shape)


def model_of(shape=SHAPE):
    """Return a model with variables x, those as an array, and an empty block."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(shape[0]), range(shape[1]))
    m.b = pyo.Block()
    return m, objects(m.x.values(), shape)


def values(x):
    return np.array([[pyo.value(v) for v in row] for row in x])


def fix_rows(m, x, numbers):
    m.given = pyo.ConstraintList()
    for var, number in zip(x.ravel(), numbers.ravel().tolist(), strict=True):
        m.given.add(var == number)


def square(x):
    return sum(v**2 for v in x.ravel())


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_the_form_is_the_loss_at_given_predictions(loss, weighted):
    F, Y, w = instance(loss, 11)
    w = w if weighted else None
    m, x = model_of()
    m.o = pyo.Objective(expr=loss.write(m.b, x, Y, w))
    fix_rows(m, x, F)
    solve(m)
    assert pyo.value(m.o) == pytest.approx(loss.value(F, Y, w), abs=TOLERANCE)


@every_loss
def test_the_form_takes_affine_expressions(loss):
    """Predictions 2 x + 1, plain, as named expressions, and numbers among them."""
    F, Y, w = instance(loss, 12)
    for named in (False, True):
        m, x = model_of()
        terms = objects((2.0 * v + 1.0 for v in x.ravel()), SHAPE)
        if named:
            m.prediction = pyo.Expression(
                range(SHAPE[0]),
                range(SHAPE[1]),
                rule=lambda m, k, j: 2.0 * m.x[k, j] + 1.0,
            )
            terms = objects(m.prediction.values(), SHAPE)
        terms[1] = [1.0, -0.5, 0.25]
        F[1] = terms[1]
        m.o = pyo.Objective(expr=loss.write(m.b, terms, Y, w))
        fix_rows(m, x, (F - 1.0) / 2.0)
        solve(m)
        assert pyo.value(m.o) == pytest.approx(loss.value(F, Y, w), abs=TOLERANCE)


@every_loss
def test_the_class_of_the_models(loss):
    """As linear or quadratic as it can be, so that the right solvers take it."""
    _, Y, w = instance(loss, 0)
    expected = "LP"
    if isinstance(loss, (SquaredLoss, Huber)):
        expected = "QP"
    elif isinstance(loss, LogisticLoss):
        expected = "EXP"
    m, x = model_of()
    m.o = pyo.Objective(expr=loss.write(m.b, x, Y, w))
    assert model_content(m).problem_class == expected
    m, z = model_of()
    m.o = pyo.Objective(expr=loss.write_dual(m.b, z, Y, w), sense=pyo.maximize)
    assert model_content(m).problem_class == expected


@every_loss
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weighted", [False, True])
def test_primal_is_dual(loss, seed, weighted):
    """min loss(F) + r/2 |F|^2 is max -loss*(-Z) - |Z|^2 / (2 r), both by numpy."""
    F, Y, w = instance(loss, seed)
    w = w if weighted else None
    m, x = model_of()
    m.o = pyo.Objective(expr=loss.write(m.b, x, Y, w) + 0.5 * RIDGE * square(x))
    solve(m)
    F = values(x)
    primal = loss.value(F, Y, w) + 0.5 * RIDGE * float(np.sum(F**2))
    assert pyo.value(m.o) == pytest.approx(primal, abs=TOLERANCE)

    m, z = model_of()
    m.o = pyo.Objective(
        expr=loss.write_dual(m.b, z, Y, w) - 0.5 / RIDGE * square(z),
        sense=pyo.maximize,
    )
    solve(m)
    Z = loss.repair(values(z), Y, w)
    np.testing.assert_allclose(Z, values(z), atol=1e-5)
    dual = loss.dual_value(Z, Y, w) - 0.5 / RIDGE * float(np.sum(Z**2))
    assert pyo.value(m.o) == pytest.approx(dual, abs=1e-5)
    assert dual <= primal + 1e-12
    assert dual == pytest.approx(primal, abs=TOLERANCE)
    assert pyo.value(m.o) == pytest.approx(primal, abs=TOLERANCE)


@every_loss
@pytest.mark.parametrize("size", [0.2, 2.0])
def test_the_dual_form_is_the_dual_value_at_given_points(loss, size):
    _, Y, w = instance(loss, 21)
    Z = dual_point(loss, 21, Y, w, size)
    m, z = model_of()
    m.o = pyo.Objective(expr=loss.write_dual(m.b, z, Y, w), sense=pyo.maximize)
    fix_rows(m, z, Z)
    solve(m)
    assert pyo.value(m.o) == pytest.approx(loss.dual_value(Z, Y, w), abs=TOLERANCE)


@every_loss
def test_the_dual_form_refuses_what_is_outside(loss):
    _, Y, w = instance(loss, 22)
    w[0] = 0.0
    Z = dual_point(loss, 22, Y, w)
    Z[0, :2] = [1.0, -1.0]
    m, z = model_of()
    m.o = pyo.Objective(expr=loss.write_dual(m.b, z, Y, w), sense=pyo.maximize)
    fix_rows(m, z, Z)
    results = solve(m, raise_exception_on_nonoptimal_result=False, load_solutions=False)
    assert "infeasible" in results.termination_condition.name.lower()


@pytest.mark.parametrize("loss", [SquaredLoss(), Huber(0.4), LogisticLoss()])
@pytest.mark.parametrize("seed", range(2))
def test_constrained_training_against_scipy(loss, seed):
    """Free predictions but for linear equations; a smooth loss has SLSQP's optimum."""
    F, Y, w = instance(loss, seed, zeros=False)
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(3, F.size))
    b = A @ F.ravel()

    m, x = model_of()
    m.o = pyo.Objective(expr=loss.write(m.b, x, Y, w))
    m.rows = pyo.ConstraintList()
    for row, side in zip(A.tolist(), b.tolist(), strict=True):
        m.rows.add(sum(a * v for a, v in zip(row, x.ravel(), strict=True)) == side)
    solve(m)

    found = minimize(
        lambda f: loss.value(f.reshape(SHAPE), Y, w),
        np.zeros(F.size),
        jac=lambda f: loss.gradient(f.reshape(SHAPE), Y, w).ravel(),
        constraints={"type": "eq", "fun": lambda f: A @ f - b, "jac": lambda f: A},
        method="SLSQP",
        options={"ftol": 1e-13, "maxiter": 500},
    )
    assert found.success
    assert pyo.value(m.o) == pytest.approx(found.fun, abs=TOLERANCE)


@every_loss
def test_weights_duplicate_and_remove_samples(loss):
    """One prediction for all samples: the optimum over it, with a ridge."""
    _, Y, _ = instance(loss, 31, n=5)
    w = np.ones((5, 3))
    w[1], w[3] = 2.0, 0.0

    def optimum(Y, w):
        m = pyo.ConcreteModel()
        m.x = pyo.Var(range(3))
        m.b = pyo.Block()
        F = objects(list(m.x.values()) * len(Y), Y.shape)
        ridge = 0.05 * sum(v**2 for v in m.x.values())
        m.o = pyo.Objective(expr=loss.write(m.b, F, Y, w) + ridge)
        solve(m)
        return pyo.value(m.o)

    assert optimum(Y, w) == pytest.approx(
        optimum(Y[[0, 1, 1, 2, 4]], None), abs=TOLERANCE
    )


@every_loss
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("outputs", [2, 3])
def test_zero_duals_are_the_subdifferential_at_zero(loss, seed, outputs):
    """Its support function is the slope of the loss: max <C, Z> = loss'(0; -C)."""
    _, Y, w = instance(loss, seed, c=outputs)
    rng = np.random.default_rng(seed)
    if not loss.is_classification:
        Y[rng.uniform(size=Y.shape) < 0.4] = 0.0
    canonical = loss.zero_duals(Y, w)
    assert loss.dual_value(canonical, Y, w) == pytest.approx(
        loss.value(0.0 * Y, Y, w), abs=1e-12
    )
    C = rng.normal(size=Y.shape)
    extremes = []
    for sign in (1.0, -1.0):
        m, z = model_of(Y.shape)
        m.v = pyo.Var()
        loss.write_zero_duals(m.b, z, Y, w)
        total = sum(a * v for a, v in zip(C.ravel().tolist(), z.ravel(), strict=True))
        m.o = pyo.Objective(expr=sign * total, sense=pyo.maximize)
        solve(m)
        t = 1e-7
        slope = loss.value(-t * sign * C, Y, w) - loss.value(0.0 * Y, Y, w)
        assert pyo.value(m.o) == pytest.approx(slope / t, abs=1e-5)
        extremes.append(sign * pyo.value(m.o))
        if loss.has_one_zero_dual(Y, w):
            np.testing.assert_allclose(values(z), canonical, atol=1e-7)
    assert extremes[1] - 1e-7 <= float(np.sum(C * canonical)) <= extremes[0] + 1e-7
    assert loss.has_one_zero_dual(Y, w) == (extremes[0] - extremes[1] < 1e-6)


@pytest.mark.parametrize("loss", LOSSES[1:], ids=lambda loss: loss.name)
def test_a_block_is_written_once(loss):
    _, Y, w = instance(loss, 0)
    m, x = model_of()
    loss.write(m.b, x, Y, w)
    with pytest.raises(RuntimeError, match="component"):
        loss.write(m.b, x, Y, w)


@every_loss
def test_models_are_cloned_with_what_was_written(loss):
    F, Y, w = instance(loss, 41)
    m, x = model_of()
    m.o = pyo.Objective(expr=loss.write(m.b, x, Y, w))
    fix_rows(m, x, F)
    copy = m.clone()
    solve(copy)
    assert pyo.value(copy.o) == pytest.approx(loss.value(F, Y, w), abs=TOLERANCE)
