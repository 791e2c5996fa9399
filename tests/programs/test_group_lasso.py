"""The group lassos against the completely positive program and CVXPY."""

import pickle

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu import (
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_group_lasso,
    certify,
    enumerate_cells,
    recover_network,
    relax,
    sample_cells,
    solve,
)
from pyomo_relu.errors import InputError, InputTypeError, SolverError
from tests.instances import REFERENCE, reference_data
from tests.programs.kinds import KINDS, problem_of_kind


def random_problem(seed, n=8, d=2, c=1, beta=0.3):
    rng = np.random.default_rng(seed)
    return TrainingProblem(rng.normal(size=(n, d)), rng.normal(size=(n, c)), beta)


def exact_optimum(problem):
    model = build_completely_positive(problem)
    relax(model, "dnn")
    return solve(model, accuracy="tight").incumbent_objective


def lasso(problem, cells=None, **options):
    model = build_group_lasso(problem, cells, **options)
    return model, solve(model, accuracy="tight").incumbent_objective


@pytest.mark.parametrize("description", ["rays", "facets"])
@pytest.mark.parametrize(("d", "seed"), [(2, 0), (2, 1), (2, 2), (3, 0), (3, 1)])
def test_one_output_is_the_completely_positive_program(d, seed, description):
    problem = random_problem(seed, d=d)
    model, value = lasso(problem, description=description)
    assert value == pytest.approx(exact_optimum(problem), abs=1e-6)
    assert bound_direction(model) == "exact"
    for improve in (None, False):
        network = recover_network(model, improve=improve)
        assert network.objective(problem) == pytest.approx(value, abs=1e-6)
    assert certify(problem, recover_network(model)).gap < 1e-6


@pytest.mark.parametrize("d", [2, 3])
def test_one_output_is_cvxpys_group_lasso(d):
    """The formula of the design in the data's own coordinates, without our scaling."""
    cp = pytest.importorskip("cvxpy", reason="CVXPY states the same group lasso")
    problem = random_problem(7, d=d)
    cells = enumerate_cells(problem)
    X, y, masks = problem.X, problem.Y[:, 0], cells.masks
    weights = [cp.Variable((d, len(cells))) for _ in range(2)]
    features = np.hstack([mask[:, None] * X for mask in masks])
    difference = cp.vec(weights[0] - weights[1], order="F")
    norms = sum(cp.sum(cp.norm(w, 2, axis=0)) for w in weights)
    inside = [
        (2.0 * mask[:, None] - 1.0) * X @ w[:, i] >= 0
        for w in weights
        for i, mask in enumerate(masks)
    ]
    loss = 0.5 * cp.sum_squares(features @ difference - y)
    program = cp.Problem(cp.Minimize(loss + problem.beta * norms), inside)
    expected = program.solve(solver=cp.CLARABEL)
    assert lasso(problem)[1] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_problem(kind):
    problem = problem_of_kind(kind)
    model, value = lasso(problem)
    assert value == pytest.approx(exact_optimum(problem), rel=1e-6)
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(value, rel=1e-6)
    prediction = [pyo.value(p) for p in model.prediction.values()]
    expected = network.predict_points(problem).ravel()
    assert prediction == pytest.approx(expected, abs=1e-4)
    assert pyo.value(model.loss) == pytest.approx(
        problem.loss_value(network.predict(problem.X)), rel=1e-5, abs=1e-5
    )
    assert pyo.value(model.loss + model.penalty) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared"])
@pytest.mark.parametrize("form", ["dictionary", "one_vs_all"])
def test_several_outputs_are_bounded_from_above(form, loss):
    rng = np.random.default_rng(5)
    Y = np.eye(3)[rng.integers(0, 3, 8)]
    problem = TrainingProblem(rng.normal(size=(8, 2)), Y, 0.2, loss=loss)
    model, value = lasso(problem, form=form)
    exact = exact_optimum(problem)
    assert exact - 1e-6 <= value < 1.5 * exact
    if form == "one_vs_all":
        assert value > exact + 1e-2
    direction = bound_direction(model)
    assert direction == "upper"
    assert "restriction" in direction.reason
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(value, abs=1e-6)
    assert recover_network(model).objective(problem) <= value + 1e-7


def test_the_dictionary_of_rays_is_the_tier_rays():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    model, value = lasso(problem)
    tier = build_completely_positive(problem)
    relax(tier, "rays")
    expected = solve(tier, accuracy="tight").incumbent_objective
    assert value == pytest.approx(expected, abs=1e-6)
    assert value > REFERENCE[0]
    assert "rays of the arrangement" in bound_direction(model).reason


def test_one_vs_all_is_a_lasso_an_output():
    problem = random_problem(3, c=2)
    _, value = lasso(problem, form="one_vs_all")
    alone = [
        lasso(TrainingProblem(problem.X, problem.Y[:, o], problem.beta))[1]
        for o in range(2)
    ]
    assert value == pytest.approx(sum(alone), abs=1e-6)


def test_given_directions():
    """With the optimum's own directions, of any length, nothing is lost."""
    problem = TrainingProblem(*reference_data(1), beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "dnn")
    solve(model)
    best = recover_network(model)
    lengths = np.linspace(0.1, 10.0, best.n_neurons)
    model, value = lasso(problem, directions=best.first * lengths)
    assert value == pytest.approx(REFERENCE[1], abs=1e-6)
    assert bound_direction(model) == "upper"
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(value, abs=1e-6)
    _, fewer = lasso(problem, directions=best.first[:, :1])
    assert fewer > value + 1e-2
    # What no sample sees of a direction does not matter.
    flat = TrainingProblem(
        np.column_stack([problem.X, np.zeros(10)]), problem.Y, problem.beta
    )
    tilted = np.vstack([best.first, np.ones(best.n_neurons)])
    assert lasso(flat, directions=tilted)[1] == pytest.approx(value, abs=1e-6)


def test_fewer_cells_are_a_restriction():
    problem = random_problem(0)
    cells = enumerate_cells(problem)
    model, value = lasso(problem, cells.subset(range(0, len(cells), 3)))
    assert bound_direction(model) == "upper"
    assert value > exact_optimum(problem) + 1e-3
    sampled, value = lasso(problem, sample_cells(problem, 1000, seed=0))
    assert value == pytest.approx(exact_optimum(problem), abs=1e-6)
    assert hasattr(sampled, "facet_row")


def test_a_users_rows_bind_and_the_network_obeys():
    problem = random_problem(1)
    model, free = lasso(problem)
    cap = pyo.value(model.prediction[0, 0]) - 0.1
    model.cap = pyo.Constraint(expr=model.prediction[0, 0] <= cap)
    capped = solve(model).incumbent_objective
    assert capped > free + 1e-4
    network = recover_network(model)
    assert network.predict(problem.X)[0, 0] <= cap + 1e-7
    assert network.objective(problem) == pytest.approx(capped, abs=1e-5)


def test_blocks_copies_and_pickles():
    problem = random_problem(2)
    outer = pyo.ConcreteModel()
    outer.training = pyo.Block()
    assert build_group_lasso(problem, block=outer.training) is outer.training
    expected = solve(outer).incumbent_objective
    for copy in (outer.clone(), pickle.loads(pickle.dumps(outer))):
        assert solve(copy).incumbent_objective == pytest.approx(expected, rel=1e-9)
        network = recover_network(copy.training)
        assert network.objective(problem) == pytest.approx(expected, abs=1e-6)


def test_bad_arguments_are_refused():
    one, two = random_problem(0), random_problem(0, c=2)
    with pytest.raises(InputError, match="'exact', 'dictionary' or 'one_vs_all'"):
        build_group_lasso(one, form="sparse")
    with pytest.raises(InputError, match="exact for one output; the problem has 2"):
        build_group_lasso(two, form="exact")
    with pytest.raises(InputError, match="are those of form='dictionary'"):
        build_group_lasso(two, form="one_vs_all", directions=np.eye(2))
    with pytest.raises(InputError, match="a dictionary has none"):
        build_group_lasso(two, description="facets")
    with pytest.raises(InputError, match="leave out cells or directions"):
        build_group_lasso(two, enumerate_cells(two), directions=np.eye(2))
    with pytest.raises(InputError, match="2 rows"):
        build_group_lasso(two, directions=np.eye(3))
    with pytest.raises(InputError, match="direction 1 is zero"):
        build_group_lasso(two, directions=[[1.0, 0.0], [0.0, 0.0]])
    with pytest.raises(InputError, match="orthogonal to all samples"):
        build_group_lasso(
            TrainingProblem([[1.0, 0.0]], [1.0], 0.1), directions=[[0.0], [1.0]]
        )
    with pytest.raises(InputError, match="no sample is active in any of the dir"):
        build_group_lasso(
            TrainingProblem([[1.0, 0.0]], [1.0], 0.1), directions=[[-1.0], [0.0]]
        )
    with pytest.raises(InputTypeError, match="TrainingProblem"):
        build_group_lasso(one.X)
    model = build_group_lasso(one)
    with pytest.raises(InputError, match="already"):
        build_group_lasso(one, block=model)
    with pytest.raises(SolverError, match="solve the model"):
        recover_network(model)
