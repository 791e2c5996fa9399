"""The completely positive program against known optima and other formulations."""

import importlib
import pickle

import numpy as np
import pyomo.environ as pyo
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import (
    ReLUNetwork,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    enumerate_cells,
    recover_network,
    relax,
    sample_cells,
    solve,
)
from pyomo_relu.errors import (
    InputError,
    InputTypeError,
    TooManyCellsError,
    UnsupportedConeError,
)
from pyomo_relu.programs import network_program
from tests.instances import REFERENCE, REFERENCE_PSD, reference_data


def relaxed_optimum(problem, tier="dnn", **options):
    model = build_completely_positive(problem, **options)
    relax(model, tier)
    return solve(model).incumbent_objective


def tight_optimum(problem, form, tolerance=1e-9):
    model = build_completely_positive(problem, form=form)
    relax(model, "dnn")
    tight = dict.fromkeys(["tol_gap_abs", "tol_gap_rel", "tol_feas"], tolerance)
    return solve(model, "clarabel", solver_options=tight).incumbent_objective


@pytest.mark.parametrize("seed", sorted(REFERENCE))
def test_reference_optima(seed):
    problem = TrainingProblem(*reference_data(seed), beta=0.2)
    assert relaxed_optimum(problem) == pytest.approx(REFERENCE[seed], abs=1e-6)


def test_reference_optimum_of_the_gated_relaxation():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    assert relaxed_optimum(problem, "psd") == pytest.approx(REFERENCE_PSD, abs=1e-6)


def proximal_gradient(features, y, beta, prox, iterations=20_000):
    """Minimise 1/2 |sum_i F_i V_i - Y|^2 + beta sum_i g(V_i) by restarted FISTA.

    Parameters: features (P, n, r), y (n, c); `prox` maps stacked V (P, r, c) and a
    step to the proximal point of the step times g.
    """
    V = np.zeros((len(features), features.shape[2], y.shape[1]))
    stacked = np.concatenate(list(features), axis=1)
    step = 1.0 / np.linalg.norm(stacked, 2) ** 2
    point, momentum = V, 1.0
    for _ in range(iterations):
        residual = np.einsum("pnr,prc->nc", features, point) - y
        gradient = np.einsum("pnr,nc->prc", features, residual)
        new = prox(point - step * gradient, beta * step)
        if np.sum((point - new) * (new - V)) > 0.0:
            momentum = 1.0
        following = 0.5 + np.sqrt(0.25 + momentum**2)
        point = new + (momentum - 1.0) / following * (new - V)
        V, momentum = new, following
    residual = np.einsum("pnr,prc->nc", features, V) - y
    return V, 0.5 * np.sum(residual**2)


@pytest.mark.parametrize("seed", range(3))
def test_psd_is_the_gated_nuclear_norm_program(seed):
    """The same relaxation, written with nuclear norms and solved without a solver."""
    rng = np.random.default_rng(seed)
    X, Y, beta = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), 0.3
    features = enumerate_cells(X).masks[:, :, None] * X

    def shrink_singular_values(V, amount):
        left, values, right = np.linalg.svd(V)
        return (left * np.maximum(values - amount, 0.0)[:, None, :]) @ right

    V, loss = proximal_gradient(features, Y, beta, shrink_singular_values)
    expected = loss + beta * np.linalg.norm(V, "nuc", axis=(1, 2)).sum()
    problem = TrainingProblem(X, Y, beta)
    assert relaxed_optimum(problem, "psd") == pytest.approx(expected, abs=1e-6)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 7),
    d=st.integers(1, 3),
    c=st.integers(1, 3),
)
def test_tree_and_plain_form_are_one_program(seed, n, d, c):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, size=(n, d)).astype(float)
    X[0, 0] = 1.0
    problem = TrainingProblem(X, rng.normal(size=(n, c)), beta=0.1)
    tree, plain = (tight_optimum(problem, form) for form in ("tree", "plain"))
    assert tree == pytest.approx(plain, abs=1e-7)


def test_the_tree_form_of_many_cells_is_the_same_and_sparser():
    rng = np.random.default_rng(0)
    problem = TrainingProblem(rng.normal(size=(25, 3)), rng.normal(size=(25, 3)), 0.1)
    tree, plain = (tight_optimum(problem, form, 1e-10) for form in ("tree", "plain"))
    assert tree == pytest.approx(plain, abs=1e-7)
    nonzeros = {}
    for form in ("tree", "plain"):
        model = build_completely_positive(problem, form=form)
        assert len(model.CELLS) == 602
        rows = [model.prediction_row, *([model.subtree_row] if form == "tree" else [])]
        nonzeros[form] = sum(len(r.body.args) for row in rows for r in row.values())
    assert nonzeros["tree"] < 0.5 * nonzeros["plain"]


@pytest.mark.parametrize("seed", range(3))
def test_facet_form_bounds_from_below_and_meets_one_output(seed):
    """Facet dnn is a relaxation of ray dnn, and exact for one output."""
    X, Y = reference_data(seed)
    for targets in (Y, Y[:, :1]):
        problem = TrainingProblem(X, targets, beta=0.2)
        rays = relaxed_optimum(problem)
        facets = relaxed_optimum(problem, description="facets")
        assert facets <= rays + 1e-6
        if targets.shape[1] == 1:
            assert facets == pytest.approx(rays, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_one_output_is_the_enumerated_group_lasso(seed):
    """For c = 1: the group lasso over the cells' cones, solved without a solver."""
    rng = np.random.default_rng(seed)
    X, y, beta = rng.normal(size=(6, 2)), rng.normal(size=(6, 1)), 0.3
    cells = enumerate_cells(X)
    features = cells.masks[:, :, None] * X
    rays, facets = np.array(list(cells.rays)), np.array(list(cells.facets))

    def project_and_shrink(V, amount):
        w = V[:, :, 0]
        inside = (np.einsum("pkd,pd->pk", facets, w) >= 0.0).all(axis=1)
        along = np.maximum(np.einsum("pdj,pd->pj", rays, w), 0.0)
        best = along.argmax(axis=1)
        every = np.arange(len(w))
        on_ray = along[every, best, None] * rays[every, :, best]
        w = np.where(inside[:, None], w, on_ray)
        norm = np.linalg.norm(w, axis=1, keepdims=True)
        return (w * np.maximum(1.0 - amount / np.maximum(norm, 1e-300), 0.0))[..., None]

    # Output weights of either sign: the features once as they are, once negated.
    both = np.concatenate([features, -features])
    rays, facets = np.concatenate([rays, rays]), np.concatenate([facets, facets])
    V, loss = proximal_gradient(both, y, beta, project_and_shrink)
    expected = loss + beta * np.linalg.norm(V[:, :, 0], axis=1).sum()
    assert relaxed_optimum(TrainingProblem(X, y, beta)) == pytest.approx(
        expected, abs=1e-6
    )


@pytest.mark.parametrize("form", ["tree", "plain"])
def test_rows_say_what_a_network_predicts(form):
    """Put a random network's moments into the model: every row and value fits."""
    rng = np.random.default_rng(7)
    X = np.vstack([rng.normal(size=(6, 3)), np.zeros((1, 3))])
    X[3] = -2.0 * X[1]
    problem = TrainingProblem(X, rng.normal(size=(7, 2)), beta=0.3)
    cells = enumerate_cells(problem)
    model = build_completely_positive(problem, cells, form=form)
    for variable in model.component_data_objects(pyo.Var):
        variable.set_value(0.0)
    scaled = problem.scaled
    first, second = np.zeros((3, 0)), np.zeros((0, 2))
    for i in rng.choice(list(model.CELLS), size=5, replace=False):
        R = model.cone[i].rays
        m = R.shape[1]
        a, v = rng.uniform(size=(m, 2)), rng.normal(size=(2, 2))
        stacked = np.vstack([a, v.T])
        matrix = model.cone[i].matrix
        for (j, k), entry in np.ndenumerate(matrix):
            if j <= k:
                entry.set_value((stacked @ stacked.T)[j, k])
        first = np.hstack([first, R @ a])
        second = np.vstack([second, v])
    if form == "tree":
        fill_subtrees(model, problem, cells)
    predicted = np.maximum(scaled.X @ first, 0.0) @ second
    for k in range(7):
        for o in range(2):
            model.scaled_prediction[k, o].set_value(predicted[k, o])
    for constraint in model.component_data_objects(pyo.Constraint, active=True):
        if constraint.parent_component().local_name != "guard":
            assert pyo.value(constraint.body) == pytest.approx(0.0, abs=1e-12)
    network = ReLUNetwork(*scaled.to_user(first, second))
    prediction = network.predict(X)
    for index in model.prediction:
        assert pyo.value(model.prediction[index]) == pytest.approx(prediction[index])
    assert pyo.value(model.loss) == pytest.approx(
        problem.loss.value(prediction, problem.Y)
    )
    weights = 0.5 * (np.sum(first**2) + np.sum(second**2))
    expected = scaled.objective_scale * scaled.beta * weights
    assert pyo.value(model.penalty) == pytest.approx(expected)
    assert pyo.value(model.objective) == pytest.approx(pyo.value(model.loss) + expected)


def fill_subtrees(model, problem, cells):
    """Set the subtree sums from the moments, along the tree of the builder."""
    program = network_program(model)
    tree = cells.spanning_tree(program.active)
    sums = {}
    for position, i in enumerate(program.active.tolist()):
        R = model.cone[i].rays
        cross = model.cone[i].numeric()[: R.shape[1], R.shape[1] :]
        sums[position] = R @ cross
    for position in tree.order[:0:-1].tolist():
        sums[int(tree.parent[position])] += sums[position]
    for position, i in enumerate(program.active.tolist()):
        for (a, o), total in np.ndenumerate(sums[position]):
            model.subtree[i, a, o].set_value(total)


def test_fewer_cells_give_an_upper_bound():
    X, Y = reference_data(0)
    problem = TrainingProblem(X, Y, beta=0.2)
    cells = enumerate_cells(problem)
    some = cells.subset(np.arange(0, len(cells), 3))
    model = build_completely_positive(problem, some, description="rays")
    assert bound_direction(model) == "upper"
    relax(model, "dnn")
    assert bound_direction(model) == "upper"
    assert "not all" in bound_direction(model).reason
    other = model.clone()
    relax(other, "psd")
    assert bound_direction(other) == "neither"
    assert solve(model).incumbent_objective >= REFERENCE[0] - 1e-6


def test_sampled_cells_are_described_by_facets():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    cells = sample_cells(problem, 10_000, seed=0)
    model = build_completely_positive(problem, cells)
    assert network_program(model).description == "facets"
    assert model.cone.is_indexed()
    relax(model, "dnn")
    # Rank three, two outputs: the facet form may be loose, never too high.
    value = solve(model).incumbent_objective
    assert 0.99 * REFERENCE[0] <= value <= REFERENCE[0] + 1e-6


def test_a_users_rows_on_predictions_bind():
    X, Y = reference_data(0)
    problem = TrainingProblem(X, Y, beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "dnn")
    free = solve(model).incumbent_objective
    first = pyo.value(model.prediction[0, 0])
    model.cap = pyo.Constraint(expr=model.prediction[0, 0] <= first - 0.1)
    capped = solve(model).incumbent_objective
    assert pyo.value(model.prediction[0, 0]) == pytest.approx(first - 0.1, abs=1e-6)
    assert capped > free


def test_the_unrelaxed_model_goes_nowhere(tmp_path):
    model = build_completely_positive(TrainingProblem(*reference_data(0), beta=0.2))
    assert bound_direction(model).side == "exact"
    with pytest.raises(UnsupportedConeError, match="dnn"):
        solve(model)
    with pytest.raises(UnsupportedConeError, match="dnn"):
        model.write(str(tmp_path / "model.lp"))


def test_it_can_be_built_into_a_block_and_cloned():
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    outer = pyo.ConcreteModel()
    outer.training = pyo.Block()
    assert build_completely_positive(problem, block=outer.training) is outer.training
    copy = outer.clone()
    assert network_program(copy.training).problem is problem
    relax(copy, "dnn")
    assert solve(copy).incumbent_objective == pytest.approx(REFERENCE[0], abs=1e-6)
    assert bound_direction(outer).side == "exact"


@pytest.mark.parametrize("tier", [None, "dnn", "psd"])
def test_it_can_be_pickled(tier):
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    model = build_completely_positive(problem)
    if tier:
        relax(model, tier)
    copy = pickle.loads(pickle.dumps(model))
    if not tier:
        tier = "dnn"
        relax(model, tier)
        relax(copy, tier)
    expected = solve(model).incumbent_objective
    assert solve(copy).incumbent_objective == pytest.approx(expected, rel=1e-9)
    assert recover_network(copy).objective(problem) >= REFERENCE[0] - 1e-6


def test_data_of_doubtful_rank_have_facet_coordinates():
    """The cells' tolerance drops a direction that the problem keeps."""
    rng = np.random.default_rng(3)
    B = rng.normal(size=(6, 2))
    X = np.column_stack([B, B.sum(axis=1) + 1e-10 * rng.normal(size=6)])
    problem = TrainingProblem(X, rng.normal(size=(6, 2)), 0.1)
    cells = enumerate_cells(problem)
    assert cells.rank < problem.rank
    rays = relaxed_optimum(problem)
    assert relaxed_optimum(problem, description="facets") <= rays + 1e-6
    sampled = sample_cells(problem, 1000, seed=0)
    assert relaxed_optimum(problem, cells=sampled) == pytest.approx(rays, abs=1e-5)


def test_bad_arguments_are_refused(monkeypatch):
    problem = TrainingProblem(*reference_data(0), beta=0.2)
    with pytest.raises(InputError, match="'tree' or 'plain'"):
        build_completely_positive(problem, form="dense")
    with pytest.raises(InputError, match="'rays' or 'facets'"):
        build_completely_positive(problem, description="vertices")
    with pytest.raises(InputError, match="other data"):
        build_completely_positive(problem, enumerate_cells(np.eye(3)))
    with pytest.raises(InputError, match="every sample of X is zero"):
        build_completely_positive(TrainingProblem([[0.0]], [1.0], 0.1))
    for arguments, options in [
        ((problem.X,), {}),
        ((None,), {}),
        ((problem, 3), {}),
        ((problem,), {"block": 3}),
    ]:
        with pytest.raises(InputTypeError, match="must"):
            build_completely_positive(*arguments, **options)
    model = build_completely_positive(problem)
    with pytest.raises(InputError, match="already"):
        build_completely_positive(problem, block=model)
    with pytest.raises(InputTypeError, match="not a network program"):
        network_program(pyo.ConcreteModel())
    room = importlib.import_module("pyomo_relu.programs.network_program")
    monkeypatch.setattr(room, "MAX_CELLS", 10)
    with pytest.raises(TooManyCellsError, match="10"):
        build_completely_positive(problem)


def test_nearly_flat_data_are_warned_of(caplog):
    rng = np.random.default_rng(1)
    B = rng.normal(size=(8, 2))
    X = np.column_stack([B, B.sum(axis=1) + 1e-6 * rng.normal(size=8)])
    problem = TrainingProblem(X, rng.normal(size=(8, 2)), 0.1)
    build_completely_positive(problem)
    assert "nearly rank-deficient" in caplog.text
    caplog.clear()
    build_completely_positive(problem, enumerate_cells(problem, tolerance=1e-5))
    assert not caplog.text
