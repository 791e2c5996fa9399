"""The training problem itself, by local and global solvers."""

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu import (
    ReLUNetwork,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    build_nonconvex,
    enumerate_cells,
    recover_network,
    relax,
    sample_cells,
    solve,
)
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.programs import network_program
from tests.instances import REFERENCE, reference_data
from tests.programs.kinds import KINDS, problem_of_kind

FORMS = ("patterns", "complementarity", "big_m")


def needs(solver):
    if not pyo.SolverFactory(solver).available(exception_flag=False):
        pytest.skip(f"{solver} is not installed")


def convex_optimum(problem):
    model = build_completely_positive(problem)
    relax(model, "dnn")
    return solve(model, accuracy="tight").incumbent_objective


def small_problem():
    """Six samples, two inputs, two outputs; the optimum has two neurons."""
    rng = np.random.default_rng(4)
    return TrainingProblem(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), 1.0)


@pytest.mark.parametrize("form", ["complementarity", "big_m"])
def test_scip_finds_the_convex_optimum(form):
    needs("scip_direct")
    problem = small_problem()
    model = build_nonconvex(problem, width=2, form=form, seed=0)
    results = solve(model, "scip", solver_options={"limits/gap": 2e-5})
    expected = convex_optimum(problem)
    assert results.incumbent_objective == pytest.approx(expected, abs=1e-4)
    assert results.objective_bound == pytest.approx(expected, abs=2e-4)
    network = recover_network(model, improve=False)
    assert network.n_neurons == 2
    assert network.objective(problem) == pytest.approx(expected, abs=1e-4)


def test_ipopt_finds_the_optimum_from_several_starts():
    """Twelve neurons, one in each cell: every start ends at a local optimum."""
    needs("cyipopt")
    problem = small_problem()
    expected = convex_optimum(problem)
    values = []
    for seed in range(5):
        model = build_nonconvex(problem, 12, seed=seed)
        values.append(solve(model, "cyipopt").incumbent_objective)
        network = recover_network(model, improve=False)
        assert network.objective(problem) == pytest.approx(values[-1], abs=1e-6)
    assert min(values) == pytest.approx(expected, abs=1e-6)
    assert max(values) < 1.01 * expected


def test_ipopt_finds_a_reference_optimum():
    needs("cyipopt")
    problem = TrainingProblem(*reference_data(2), beta=0.2)
    model = build_nonconvex(problem, 91, seed=0)
    value = solve(model, "cyipopt").incumbent_objective
    assert REFERENCE[2] - 1e-6 <= value <= 1.001 * REFERENCE[2]
    assert bound_direction(model) == "upper"


def check_point(model):
    """Return the largest violation of the rows that are not the loss's."""
    parts = list(model.loss_parts.component_data_objects(pyo.Constraint))
    own = {id(row) for row in parts}
    worst = 0.0
    for row in model.component_data_objects(pyo.Constraint):
        if id(row) not in own:
            worst = max(worst, -row.lslack(), -row.uslack())
    for variable in model.component_data_objects(pyo.Var):
        if variable.value is not None and variable.lb is not None:
            worst = max(worst, variable.lb - variable.value)
        if variable.value is not None and variable.ub is not None:
            worst = max(worst, variable.value - variable.ub)
    return worst


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_problem_starts_at_a_network(kind, form):
    """The initial point is feasible, and everything there is what a network says."""
    problem = problem_of_kind(kind, c=2)
    for seed in range(3):
        model = build_nonconvex(problem, 3, form=form, seed=seed)
        assert check_point(model) < 1e-12
        scaled = problem.scaled
        u, v = network_program(model).read_neurons(model)
        network = ReLUNetwork.of_problem(problem, *scaled.to_user(u, v))
        prediction = [pyo.value(p) for p in model.prediction.values()]
        expected = network.predict_points(problem).ravel()
        assert prediction == pytest.approx(expected, abs=1e-10)
        assert np.abs(expected).max() > 0.0
        if form == "patterns":
            weights = 0.5 * (np.sum(u**2) + np.sum(v**2))
        else:
            weights = np.sum(np.linalg.norm(u, axis=0) * np.linalg.norm(v, axis=1))
        penalty = scaled.objective_scale * scaled.beta * weights
        assert pyo.value(model.penalty) == pytest.approx(penalty)
        if form != "patterns":
            balanced = problem.beta * network.balance().penalty()
            assert pyo.value(model.penalty) == pytest.approx(balanced)


@pytest.mark.parametrize("form", ["complementarity", "big_m"])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_do_not_cut_off_the_optimum(kind, form):
    """Put the optimum, ordered and with |u| = 1, into the model: it is feasible."""
    problem = problem_of_kind(kind)
    optimum = build_completely_positive(problem)
    relax(optimum, "dnn")
    solve(optimum)
    best = recover_network(optimum)
    value = best.objective(problem)
    scaled = problem.scaled
    u, v = scaled.from_user(best.stacked, best.second)
    norms = np.linalg.norm(u, axis=0)
    order = np.argsort(-u[0] / norms)
    u, v = (u / norms)[:, order] * (1.0 - 1e-15), (v * norms[:, None])[order]
    options = {} if kind == "linear term" else {"incumbent": value * (1.0 + 1e-9)}
    model = build_nonconvex(problem, len(v), form=form, **options)
    inner = scaled.X @ u
    rows = list(model.ROWS)
    values = {
        "first": u,
        "second": v,
        "norm": np.linalg.norm(v, axis=1),
        "positive_part": np.maximum(inner, 0.0)[rows],
        "negative_part": np.maximum(-inner, 0.0)[rows],
        "is_active": inner[rows] > 0.0,
        "hidden": scaled.hidden(u),
        "product": u.T[:, :, None] * v[:, None, :],
        "contribution": (scaled.activation(inner)[:, :, None] * v)[rows],
        "scaled_prediction": best.predict_points(problem) / scaled.y_scale,
        "linear_term": scaled.linear_from_user(best.skip),
    }
    for name, array in values.items():
        if model.component(name) is not None:
            for variable, number in zip(
                model.component(name).values(), array.ravel().tolist(), strict=True
            ):
                variable.set_value(number, skip_validation=True)
    assert check_point(model) < 1e-9
    skip = best.skip if problem.skip else 0.0
    penalty = problem.beta * best.penalty() + 0.5 * (problem.skip or 0.0) * np.sum(
        np.square(skip)
    )
    assert pyo.value(model.penalty) == pytest.approx(penalty)


def test_sides():
    problem = small_problem()
    for form in ("complementarity", "big_m"):
        assert bound_direction(build_nonconvex(problem, 11, form=form)) == "upper"
        assert bound_direction(build_nonconvex(problem, 12, form=form)) == "exact"
    narrow = bound_direction(build_nonconvex(problem, 200))
    assert narrow == "upper"
    assert "stays in the cell" in narrow.reason


def test_cells_are_drawn_without_repetition_and_repeatably():
    problem = small_problem()
    draws = [
        network_program(build_nonconvex(problem, 15, seed=s)).cell_of for s in (1, 1, 2)
    ]
    assert draws[0] == draws[1] != draws[2]
    count = len(build_completely_positive(problem).CELLS)
    assert len(set(draws[0])) == min(15, count)
    once = network_program(build_nonconvex(problem, count + 2, seed=0)).cell_of
    assert len(set(once[:count])) == count


def test_sampled_cells_go_by_facets():
    needs("cyipopt")
    problem = small_problem()
    cells = sample_cells(problem, 1000, seed=0)
    model = build_nonconvex(problem, 12, cells=cells, seed=0)
    assert check_point(model) < 1e-12
    value = solve(model, "cyipopt").incumbent_objective
    assert value == pytest.approx(convex_optimum(problem), abs=1e-5)
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(value, abs=1e-6)


def test_a_users_rows_hold_in_the_network():
    needs("cyipopt")
    problem = small_problem()
    model = build_nonconvex(problem, 12, seed=0)
    model.cap = pyo.Constraint(expr=model.prediction[0, 0] == 0.2)
    value = solve(model, "cyipopt").incumbent_objective
    network = recover_network(model)
    assert network.predict(problem.X)[0, 0] == pytest.approx(0.2, abs=1e-7)
    assert network.objective(problem) == pytest.approx(value, abs=1e-6)
    with pytest.raises(InputError, match="would leave"):
        recover_network(model, improve=True)


@pytest.mark.parametrize("form", FORMS)
def test_it_is_written_as_nl(form, tmp_path):
    model = build_nonconvex(small_problem(), 2, form=form)
    path = tmp_path / "training.nl"
    model.write(str(path))
    assert path.read_text().startswith("g3")


def test_bad_arguments_are_refused():
    problem = small_problem()
    with pytest.raises(InputError, match="'patterns', 'complementarity' or 'big_m'"):
        build_nonconvex(problem, 2, form="binary")
    for width in (2.0, True, "2"):
        with pytest.raises(InputTypeError, match="whole number"):
            build_nonconvex(problem, width)
    with pytest.raises(InputError, match="at least one"):
        build_nonconvex(problem, 0)
    with pytest.raises(InputError, match="finds its own"):
        build_nonconvex(problem, 2, form="big_m", cells=enumerate_cells(problem))
    with pytest.raises(InputError, match="leave incumbent out"):
        build_nonconvex(problem, 2, incumbent=1.0)
    for incumbent in (0.0, np.inf):
        with pytest.raises(InputError, match="positive and finite"):
            build_nonconvex(problem, 2, form="big_m", incumbent=incumbent)
    with pytest.raises(InputTypeError, match="must be a number"):
        build_nonconvex(problem, 2, form="big_m", incumbent="low")
    with pytest.raises(InputTypeError, match="seed"):
        build_nonconvex(problem, 2, seed="seven")
