"""Cell generation against the program over all cells."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    certify,
    enumerate_cells,
    relax,
    solve,
    train,
)
from pyomo_relu.arrangement.located import EnumeratedCells
from pyomo_relu.certificates import parallel
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.generation import Candidates, Generation, generate, loop
from pyomo_relu.generation.pieces import Pieces
from pyomo_relu.generation.restricted import RestrictedProgram
from tests.instances import REFERENCE, reference_data


def data(seed, n=14, d=3, c=2):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(n, c))


@pytest.mark.parametrize("seed", sorted(REFERENCE))
def test_reference_optima(seed):
    result = train(*reference_data(seed), 0.2, gap=1e-8, method="generation")
    assert result.converged
    assert result.certificate.complete
    assert result.certificate.objective == pytest.approx(REFERENCE[seed], abs=1e-6)
    assert result.certificate.lower_bound <= REFERENCE[seed] + 1e-7
    assert max(row.cells for row in result.history) < 92


def test_over_all_cells_it_is_the_whole_program():
    X, Y = data(1, n=8)
    problem = TrainingProblem(X, Y, 0.1, activation="leaky_relu(0.2)", skip=0.5)
    cells = enumerate_cells(problem)
    model = build_completely_positive(problem, cells)
    relax(model, "dnn")
    expected = solve(model, accuracy="tight").incumbent_objective
    source = EnumeratedCells(cells)
    pieces = Pieces(problem, source)
    program = RestrictedProgram(problem, source)
    inside = cells.interior_points @ pieces.rotation.T
    assert (pieces.locate(inside) == np.arange(len(cells))).all()
    assert program.add(pieces.containing(inside, program.pieces)) == len(cells)
    assert program.add(pieces.containing(inside, {})) == 0
    answer = program.solve()
    scale = problem.scaled.objective_scale
    assert answer.objective * scale == pytest.approx(expected, rel=1e-7)
    network = pieces.network(program, answer)
    assert network.objective(problem) == pytest.approx(expected, rel=1e-3)
    # Cells without a neuron can go, and the optimum stays.
    traces = [np.trace(moment) for moment in answer.moments]
    empty = [
        key
        for key, trace in zip(list(program.pieces), traces, strict=True)
        if trace < 1e-6 * max(traces)
    ]
    assert empty
    program.drop(empty)
    again = program.solve()
    assert again.objective * scale == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(again.Z, answer.Z, atol=1e-5)


@given(
    st.integers(0, 1000),
    st.sampled_from(
        ["squared", "huber", "logistic", "hinge", "absolute", "quantile(0.7)"]
    ),
    st.sampled_from([{}, {"bias": True, "skip": 0.5}, {"activation": "absolute"}]),
)
@settings(max_examples=12, deadline=None)
def test_generation_and_enumeration_agree(seed, loss, options):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    if loss in ("logistic", "hinge"):
        Y = np.eye(2)[rng.integers(0, 2, 9)]
    whole, generated = (
        train(X, Y, 0.1, loss=loss, method=method, **options)
        for method in ("enumeration", "generation")
    )
    assert generated.certificate.gap < 1e-4
    # Either bound is below either network.
    for bound in (whole.certificate.lower_bound, generated.certificate.lower_bound):
        for network in (whole.network, generated.network):
            assert bound <= network.objective(whole.problem) * (1.0 + 1e-9)


def test_many_cells_are_generated_and_few_enumerated():
    X, Y = data(0, n=25)
    many = train(X, Y, 0.5)
    assert len(enumerate_cells(X)) > 500
    assert many.converged
    assert all(row.tier.startswith("dnn over") for row in many.history)
    assert max(row.cells for row in many.history) < 300
    assert many.history[-1].priced or many.certificate.complete
    few = train(X[:8], Y[:8], 0.5)
    assert few.history[0].tier == "dnn"


def test_rank_four_needs_no_refinement():
    X, Y = data(2, n=16, d=4)
    result = train(X, Y, 0.5, method="generation")
    assert result.converged
    again = certify(result.problem, result.network, result.certificate.dual)
    assert again.complete
    assert again.gap <= 1.1e-6


def test_runs_are_repeatable():
    X, Y = data(3, n=20)
    first, second = (train(X, Y, 0.3, method="generation") for _ in range(2))
    np.testing.assert_array_equal(first.network.first, second.network.first)
    assert first.certificate.lower_bound == second.certificate.lower_bound
    assert [r.cells for r in first.history] == [r.cells for r in second.history]


def test_budgets_end_it_with_a_valid_bound():
    X, Y = data(4, n=22)
    full = train(X, Y, 0.2, method="generation")
    short = train(X, Y, 0.2, method="generation", max_rounds=2)
    assert len(short.history) == 2
    assert short.network.objective(full.problem) >= full.certificate.lower_bound
    assert short.certificate.lower_bound <= full.certificate.objective * (1 + 1e-12)
    timed = train(X, Y, 0.2, method="generation", time_limit=1e-9)
    assert not timed.converged
    assert timed.certificate.lower_bound <= full.certificate.objective


@pytest.mark.parametrize("rounds", [1, 3])
def test_an_interruption_keeps_the_best(monkeypatch, rounds):
    X, Y = data(5, n=20)
    solves = []
    original = RestrictedProgram.solve

    def interrupted(self, time_limit=None):
        if len(solves) == rounds:
            raise KeyboardInterrupt
        solves.append(1)
        return original(self)

    monkeypatch.setattr(RestrictedProgram, "solve", interrupted)
    result = train(X, Y, 0.2, method="generation")
    assert result.interrupted
    assert not result.converged
    assert len(result.history) == rounds
    assert result.certificate.objective == pytest.approx(
        result.network.objective(result.problem)
    )
    assert result.certificate.lower_bound <= result.certificate.objective


def test_progress_tells_the_rounds():
    X, Y = data(6)
    told = []
    train(X, Y, 0.3, method="generation", progress=told.append)
    assert any(text.startswith("round 1: pricing") for text in told)
    assert any("solving over" in text for text in told)


def test_bounds_never_fall_and_networks_never_rise():
    X, Y = data(7, n=22)
    history = train(X, Y, 0.1, method="generation").history
    bounds = [row.lower_bound for row in history]
    objectives = [row.network_objective for row in history]
    assert bounds == sorted(bounds)
    assert objectives == sorted(objectives, reverse=True)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"method": "magic"}, InputError),
        ({"time_limit": 0}, InputError),
        ({"time_limit": "long"}, InputTypeError),
        ({"time_limit": float("nan")}, InputError),
        ({"max_rounds": 0}, InputError),
        ({"max_rounds": 2.5}, InputTypeError),
        ({"max_rounds": True}, InputTypeError),
        ({"max_rounds": np.float64(2.0)}, InputTypeError),
        ({"checkpoint": "run.npz", "method": "local"}, InputError),
    ],
)
def test_bad_budgets(options, error):
    with pytest.raises(error):
        train(*data(0), 0.1, **options)


def test_budgets_may_be_numbers_of_numpy():
    X, Y = data(4, n=22)
    short = train(
        *(X, Y, 0.2),
        method="generation",
        max_rounds=np.int64(2),
        time_limit=np.float32(60.0),
    )
    assert len(short.history) == 2


def test_an_interruption_keeps_the_dual_point_of_a_loss_with_kinks(monkeypatch):
    X, Y = data(5, n=20)
    solves = []
    original = RestrictedProgram.solve

    def interrupted(self, time_limit=None):
        if len(solves) == 4:
            raise KeyboardInterrupt
        solves.append(1)
        return original(self)

    options = {"loss": "absolute", "method": "generation"}
    whole = train(X, Y, 0.2, **options)
    monkeypatch.setattr(RestrictedProgram, "solve", interrupted)
    # The only proof is the last one, of the last solution.
    monkeypatch.setattr(loop, "_WORTHWHILE", 0.0)
    result = train(X, Y, 0.2, **options)
    assert result.interrupted
    assert result.certificate.lower_bound <= whole.certificate.objective * (1 + 1e-9)
    gradient = certify(
        result.problem,
        result.network,
        -whole.problem.loss.gradient(result.network.predict(X), np.asarray(Y)),
    )
    assert result.certificate.lower_bound > gradient.lower_bound


def test_full_pricing_alone_gets_there(monkeypatch):
    # Without heuristic pricing every round looks at all cells.
    monkeypatch.setattr(
        loop,
        "heuristic_pricing",
        lambda problem, *_, **__: Candidates(np.zeros(0), np.zeros((0, problem.rank))),
    )
    X, Y = data(8, n=12)
    problem = TrainingProblem(X, Y, 0.2)
    run = Generation(problem, enumerate_cells(problem), 1e-8, lambda _: None)
    generate(run)
    assert run.gap <= 1e-8
    assert all(row.priced == len(run.cells) for row in run.history)


def test_an_executor_changes_nothing(monkeypatch):
    monkeypatch.setattr(parallel, "LEAST_WORK", 50)
    X, Y = data(9, n=20)
    alone = train(X, Y, 0.2, method="generation")
    with ThreadPoolExecutor(2) as executor:
        shared = train(X, Y, 0.2, method="generation", executor=executor)
    np.testing.assert_array_equal(alone.network.first, shared.network.first)
    assert alone.certificate.lower_bound == shared.certificate.lower_bound
    assert alone.certificate.decided == shared.certificate.decided
    with pytest.raises(InputTypeError, match="executor"):
        train(X, Y, 0.2, method="generation", executor=3)
