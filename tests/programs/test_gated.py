"""The gated program against the relaxation it is, and formulas."""

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu import (
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_gated,
    build_group_lasso,
    enumerate_cells,
    gated_weights,
    recover_network,
    relax,
    solve,
)
from pyomo_relu.errors import InputError, InputTypeError, SolverError
from tests.instances import REFERENCE, REFERENCE_PSD, reference_data
from tests.programs.kinds import KINDS, problem_of_kind


def tight(model):
    return solve(model, accuracy="tight").incumbent_objective


def relaxed(problem):
    model = build_completely_positive(problem)
    relax(model, "psd")
    return tight(model)


def test_the_reference_optimum():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    model = build_gated(problem)
    assert tight(model) == pytest.approx(REFERENCE_PSD, abs=1e-6)
    direction = bound_direction(model)
    assert direction == "lower"
    assert "relaxation" in direction.reason
    network = recover_network(model)
    assert REFERENCE[0] - 1e-6 <= network.objective(problem) < 1.5 * REFERENCE[0]


@pytest.mark.parametrize("c", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_all_cells_are_the_tier_psd(kind, c):
    problem = problem_of_kind(kind, c)
    model = build_gated(problem)
    value = tight(model)
    assert value == pytest.approx(relaxed(problem), rel=1e-6)
    weights = gated_weights(model)
    assert weights.objective() == pytest.approx(value, rel=1e-5)
    prediction = [pyo.value(p) for p in model.prediction.values()]
    assert prediction == pytest.approx(weights.predict().ravel(), abs=1e-3)
    norms = [
        np.linalg.norm(w, axis=a) for a, w in ((0, weights.first), (1, weights.second))
    ]
    np.testing.assert_allclose(*norms, rtol=1e-9)
    assert bound_direction(model) == "lower"


def test_one_gate_that_all_pass_is_the_soft_thresholded_decomposition():
    """A linear network: min 1/2 |X W - Y|^2 + beta |W|_* with orthogonal X."""
    rng = np.random.default_rng(0)
    X, _ = np.linalg.qr(rng.normal(size=(6, 3)))
    Y, beta = rng.normal(size=(6, 3)), 0.5
    problem = TrainingProblem(X, Y, beta)
    model = build_gated(problem, gates=np.ones((6, 1), bool))
    value = tight(model)
    left, values, right = np.linalg.svd(X.T @ Y)
    shrunk = np.maximum(values - beta, 0.0)
    W = (left * shrunk) @ right
    expected = 0.5 * np.sum((X @ W - Y) ** 2) + beta * shrunk.sum()
    assert value == pytest.approx(expected, abs=1e-6)
    assert bound_direction(model) == "exact"
    weights = gated_weights(model)
    np.testing.assert_allclose(weights.first @ weights.second, W, atol=1e-5)


def test_cvxpy_states_the_same_program():
    cp = pytest.importorskip("cvxpy", reason="CVXPY states nuclear norms")
    rng = np.random.default_rng(1)
    X, Y, beta = rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), 0.2
    gates = rng.random((6, 4)) < 0.5
    maps = [cp.Variable((3, 2)) for _ in range(4)]
    fit = sum((g[:, None] * X) @ W for g, W in zip(gates.T, maps, strict=True))
    norms = sum(cp.normNuc(W) for W in maps)
    program = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(fit - Y) + beta * norms))
    expected = program.solve(solver=cp.CLARABEL)
    model = build_gated(TrainingProblem(X, Y, beta), gates=gates)
    assert tight(model) == pytest.approx(expected, abs=1e-6)
    weights = gated_weights(model)
    assert weights.objective() == pytest.approx(expected, abs=1e-5)
    assert set(weights.gate) <= {0, 1, 2, 3}


def test_the_bound_is_below_the_lassos():
    problem = problem_of_kind("plain")
    gated = tight(build_gated(problem))
    assert gated < tight(build_group_lasso(problem)) - 1e-3


def test_some_cells_are_on_neither_side():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    cells = enumerate_cells(problem)
    some = build_gated(problem, cells.subset(range(0, len(cells), 4)))
    assert bound_direction(some) == "neither"


def test_gates_of_the_users_own_are_no_relu_network():
    problem = problem_of_kind("plain")
    model = build_gated(problem, gates=np.eye(5, dtype=bool))
    with pytest.raises(SolverError, match="solve the model"):
        gated_weights(model)
    solve(model)
    with pytest.raises(InputError, match="gated_weights"):
        recover_network(model)


def test_bad_arguments_are_refused():
    problem = problem_of_kind("plain")
    with pytest.raises(InputError, match="leave out cells or gates"):
        build_gated(problem, enumerate_cells(problem), gates=np.eye(5, dtype=bool))
    with pytest.raises(InputTypeError, match="True or False"):
        build_gated(problem, gates=np.eye(5))
    for shape in ((4, 2), (5,), (5, 0)):
        with pytest.raises(InputError, match=r"\(5, g\)"):
            build_gated(problem, gates=np.ones(shape, bool))
    with pytest.raises(InputError, match="no sample passes"):
        build_gated(problem, gates=np.zeros((5, 2), bool))
    with pytest.raises(InputTypeError, match="not a gated program"):
        gated_weights(build_group_lasso(problem))


@pytest.mark.parametrize("options", [{}, {"skip": True}])
def test_patches_without_neurons(options):
    problem = TrainingProblem(
        [[[1.0], [2.0]], [[2.0], [3.0]]], [1.0, 2.0], 1e2, **options
    )
    model = build_gated(problem)
    solve(model)
    means = np.array([1.5, 2.5])
    explained = (means @ [1.0, 2.0]) ** 2 / (means @ means) if options else 0.0
    found = gated_weights(model).objective()
    assert found == pytest.approx(0.5 * (5.0 - explained), abs=1e-6)
