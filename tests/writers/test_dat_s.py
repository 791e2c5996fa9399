"""SDPA files: what is in them, what CSDP and SDPA say of them, and the way back."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.common.fileutils import Executable

from pyomo_relu import solve
from pyomo_relu.cones import ExponentialCone
from pyomo_relu.errors import InputError
from pyomo_relu.solvers.clarabel import Clarabel
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.sdpa_format import (
    SDPAProblem,
    SDPASolution,
    read_csdp_solution,
    read_sdpa_output,
)
from pyomo_relu.solvers.solution import ConicSolutionLoader
from pyomo_relu.solvers.standard_form import compile_conic
from pyomo_relu.writers.conic_entries import EPIGRAPH
from pyomo_relu.writers.dat_s import embed_form, read_back, write_dat_s
from tests.solvers.conic_family import infeasible, solvable, unbounded
from tests.writers.conic_models import (
    everything,
    network_model,
    set_point,
    value_of_cone,
    values_of,
)

CLASSES = ("lp", "qp", "socp", "sdp", "mixed")

#: SDPA's own parameters, but for tolerances and, at the end, digits.
PARAMETERS = """\
100 maxIteration
1e-9 epsilonStar
1e2 lambdaStar
2.0 omegaStar
-1e10 lowerBound
1e10 upperBound
0.1 betaStar
0.2 betaBar
0.9 gammaStar
1e-9 epsilonDash
"""
DIGITS = "%+.17e format\n" * 4

programs = pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                not Executable(name).available(), reason=f"{name} is not installed"
            ),
        )
        for name in ("csdp", "sdpa")
    ],
)


def run(
    data: bytes,
    problem: SDPAProblem,
    program: str,
    folder: Path,
    parameters: str = PARAMETERS + DIGITS,
) -> SDPASolution:
    """Solve a file as somebody would who knows nothing of this package."""
    (folder / "a.dat-s").write_bytes(data)
    (folder / "param.sdpa").write_text(parameters)
    command = ["csdp", "a.dat-s", "solution"]
    if program == "sdpa":
        command = ["sdpa", "-ds", "a.dat-s", "-o", "solution"]
        command += ["-p", "param.sdpa"] if parameters else []
    subprocess.run(command, cwd=folder, check=False, capture_output=True)
    if program == "csdp":
        return read_csdp_solution(folder / "solution", problem)
    solution = read_sdpa_output(folder / "solution", problem).solution
    assert solution is not None
    return solution


def parse(data: bytes) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Read orders, costs and all matrices (m + 1, size, size) of a small file."""
    rows = [line for line in data.decode().splitlines() if line[0] not in '*"']
    m, count = int(rows[0]), int(rows[1])
    orders = list(map(int, rows[2].split()))
    assert len(orders) == count
    costs = np.array(rows[3].split(), dtype=float)
    sizes = np.abs(orders)
    starts = np.cumsum(sizes) - sizes
    F = np.zeros((m + 1, sizes.sum(), sizes.sum()))
    for row in rows[4:]:
        k, block, i, j = map(int, row.split()[:4])
        assert 1 <= i <= j <= sizes[block - 1]
        i, j = i + starts[block - 1] - 1, j + starts[block - 1] - 1
        assert F[k, i, j] == 0.0
        F[k, i, j] = F[k, j, i] = float(row.split()[4])
    return orders, costs, F


def matrices(orders: list[int], matrix: np.ndarray) -> list[np.ndarray]:
    ends = np.cumsum(np.abs(orders))
    return [
        matrix[end - abs(order) : end, end - abs(order) : end]
        for order, end in zip(orders, ends, strict=True)
    ]


def quadratic_part(form: ConicForm, x: np.ndarray) -> float:
    """Quadratic part of the minimised objective, by Pyomo's evaluation alone."""
    objective = next(form.model.component_data_objects(pyo.Objective))
    values = []
    for factor in (1.0, -1.0, 0.0):
        for variable, number in zip(form.variables, x.tolist(), strict=True):
            variable.set_value(factor * number, skip_validation=True)
        values.append(form.sense * pyo.value(objective))
    return 0.5 * (values[0] + values[1]) - values[2]


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
@pytest.mark.parametrize("name", ["everything", "dnn", "psd"])
def test_the_file_says_what_the_model_says(name, sense):
    if name == "everything":
        model = everything(exponential=False, sense=sense)
    else:
        model = network_model(name)
    form = compile_conic(model)
    exported, file = write_dat_s(form), embed_form(form)
    orders, costs, F = parse(exported.data)
    assert len(costs) == len(exported.columns)
    assert len(orders) == len(exported.cones)
    rng = np.random.default_rng(0)
    for _ in range(3):
        chosen = rng.normal(size=len(costs))
        nothing = np.zeros(len(file.problem.F0))
        x, _ = file.restore(SDPASolution(chosen, nothing, nothing))
        quadratic = quadratic_part(form, x[: len(form.variables)])
        for variable, number in zip(form.variables, x.tolist(), strict=False):
            variable.set_value(number, skip_validation=True)
        # The columns are the variables, and the equations give the others.
        for entry, number in zip(exported.columns, chosen, strict=True):
            if entry.component is None:
                assert entry.role == EPIGRAPH
            else:
                assert entry.component.value == number
        for constraint in model.component_data_objects(pyo.Constraint, active=True):
            if constraint.equality:
                residual = pyo.value(constraint.body) - pyo.value(constraint.upper)
                assert residual == pytest.approx(0.0, abs=1e-10)
        S = matrices(orders, np.tensordot(chosen, F[1:], 1) - F[0])
        _check_rows(exported, np.diag(S[0]))
        t = [
            number
            for entry, number in zip(exported.columns, chosen, strict=True)
            if entry.role == EPIGRAPH
        ]
        squares = 0.0
        for cone, block in zip(exported.cones, S, strict=True):
            assert len(block) == cone.order
            if cone.kind == EPIGRAPH:
                # 2 t, a vector whose squares are twice the objective, the identity.
                assert block[0, 0] == pytest.approx(2.0 * t.pop(0))
                np.testing.assert_array_equal(block[1:, 1:], np.eye(cone.order - 1))
                squares += 0.5 * float(block[0, 1:] @ block[0, 1:])
            elif cone.component is not None:
                _check_block(cone, block)
        assert squares == pytest.approx(quadratic, rel=1e-10, abs=1e-12)
        # The objective, with the squares in place of what is above them.
        above = sum(
            number
            for entry, number in zip(exported.columns, chosen, strict=True)
            if entry.role == EPIGRAPH
        )
        value = costs @ chosen - above + squares + exported.objective_constant
        objective = next(model.component_data_objects(pyo.Objective))
        assert exported.objective_sign * value == pytest.approx(pyo.value(objective))
    numbers = [(cone.block, cone.rows) for cone in exported.cones]
    assert [number for number, _ in numbers] == list(range(1, len(orders) + 1))
    assert numbers[0][1] == (0, len(exported.rows))


def _check_rows(exported: Any, diagonal: np.ndarray) -> None:
    expected = values_of(exported.rows)
    known = np.isfinite(expected)
    np.testing.assert_allclose(diagonal[known], expected[known], atol=1e-10)
    # Two rows are left of each cone of two: the sum and the difference.
    others: dict[int, list[float]] = {}
    for k in np.flatnonzero(~known):
        others.setdefault(id(exported.rows[k].component), []).append(diagonal[k])
        first, second = exported.rows[k].component.numeric()
        assert diagonal[k] == pytest.approx(first + second) or diagonal[
            k
        ] == pytest.approx(first - second)
    assert all(len(set(pair)) == 2 for pair in others.values())


def _check_block(cone: Any, block: np.ndarray) -> None:
    value = value_of_cone(cone)
    if np.ndim(value) == 2:
        np.testing.assert_allclose(block, value, atol=1e-10)
        return
    if cone.kind == "semidefinite":
        # [[s0 + s1, s2], [s2, s0 - s1]]
        s = np.array([block.trace(), block[0, 0] - block[1, 1], 2.0 * block[0, 1]]) / 2
    else:
        assert cone.kind == "arrow"
        s = np.append(block[0, 0], block[:-1, -1])
        rest = block - np.diag(np.diag(block))
        rest[-1] = rest[:, -1] = 0.0
        np.testing.assert_array_equal(np.diag(block), np.full(len(s), s[0]))
        assert not rest.any()
    if np.ndim(value) == 1:
        np.testing.assert_allclose(s, value, atol=1e-10)
    else:
        assert s[1:] @ s[1:] - s[0] ** 2 == pytest.approx(value, abs=1e-8)


@programs
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", CLASSES)
def test_optimum_and_duals_of_the_family(name, seed, program, tmp_path):
    instance = solvable(name, seed)
    form = compile_conic(instance.model)
    exported = write_dat_s(form)
    problem = embed_form(form).problem
    solution = run(exported.data, problem, program, tmp_path)
    value = exported.objective_sign * (
        problem.c @ solution.x + exported.objective_constant
    )
    assert value == pytest.approx(instance.objective, rel=1e-5, abs=1e-5)
    x, z = read_back(form, solution)
    assert form.primal_residual(x) < 1e-6
    loader = ConicSolutionLoader(form, x, z, "read")
    loader.load_vars()
    found = [variable.value for variable in instance.model.x.values()]
    # An error e of the objective leaves one of the root of e in what is curved.
    np.testing.assert_allclose(found, instance.x, atol=1e-3)
    assert pyo.value(instance.model.objective) == pytest.approx(
        instance.objective, rel=1e-5, abs=1e-5
    )
    duals = loader.get_duals()
    for component, dual in instance.duals:
        np.testing.assert_allclose(duals[component], dual, atol=1e-3)
    costs = list(loader.get_reduced_costs(list(instance.model.x.values())).values())
    np.testing.assert_allclose(costs, instance.reduced_costs, atol=1e-3)


@programs
@pytest.mark.parametrize("name", ["everything", "dnn", "psd"])
def test_models_come_back_optimal(name, program, tmp_path):
    if name == "everything":
        model = everything(exponential=False)
    else:
        model = network_model(name)
    form = compile_conic(model)
    problem = embed_form(form).problem
    solution = run(write_dat_s(form).data, problem, program, tmp_path)
    x, z = read_back(form, solution)
    results = solve(model)
    expected = results.incumbent_objective
    assert form.sense * form.objective(x) == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert form.sense * form.dual_objective(x, z) == pytest.approx(
        expected, rel=1e-4, abs=1e-4
    )
    assert form.primal_residual(x) < 1e-6
    assert form.dual_residual(x, z) < 1e-3


@programs
def test_duals_are_those_of_clarabel(program, tmp_path):
    # Of the relaxations above the multipliers are not unique.
    model = everything(exponential=False)
    form = compile_conic(model)
    solution = run(write_dat_s(form).data, embed_form(form).problem, program, tmp_path)
    loader = ConicSolutionLoader(form, *read_back(form, solution), "read")
    other = Clarabel().solve(model).solution_loader
    found = loader.get_duals()
    assert len(found) > 12
    for component, dual in other.get_duals().items():
        np.testing.assert_allclose(found[component], dual, atol=1e-3)
    costs = loader.get_reduced_costs()
    for variable, cost in other.get_reduced_costs().items():
        assert costs[variable] == pytest.approx(cost, abs=1e-3)


@pytest.mark.skipif(not Executable("sdpa").available(), reason="sdpa is not installed")
def test_the_four_digits_of_sdpa_are_recognised(tmp_path):
    instance = solvable("mixed", 0)
    form = compile_conic(instance.model)
    problem = embed_form(form).problem
    solution = run(write_dat_s(form).data, problem, "sdpa", tmp_path, "")
    x, _ = read_back(form, solution)
    assert form.objective(x) == pytest.approx(instance.objective, rel=1e-2)
    # The same errors in a solution with all digits are errors.
    noise = 1.0 + 1e-12 * np.random.default_rng(0).normal(size=len(solution.S))
    with pytest.raises(InputError, match="not one of this model"):
        read_back(
            form,
            dataclasses.replace(
                solution,
                x=solution.x * noise[: len(solution.x)],
                S=solution.S * noise,
            ),
        )


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    if not Executable("csdp").available():
        pytest.skip("csdp is not installed")
    form = compile_conic(network_model("dnn"))
    file = embed_form(form)
    folder = tmp_path_factory.mktemp("solved")
    return form, run(write_dat_s(form).data, file.problem, "csdp", folder)


@pytest.mark.parametrize("part", ["x", "S", "Y"])
def test_a_solution_with_another_number_is_refused(solved, part):
    form, solution = solved
    read_back(form, solution)
    vector = getattr(solution, part)
    # What no variable moves has multipliers without an equation.
    F = embed_form(form).problem.F
    places = np.unique(F.indices) if part == "Y" else np.arange(len(vector))
    for place in places[[0, len(places) // 2, -1]]:
        other = vector.copy()
        other[place] += 0.1
        with pytest.raises(InputError, match="not one of this model"):
            read_back(form, dataclasses.replace(solution, **{part: other}))
    vector = vector.copy()
    vector[0] = np.nan
    with pytest.raises(InputError, match="not finite"):
        read_back(form, dataclasses.replace(solution, **{part: vector}))
    with pytest.raises(InputError, match="variables and matrices"):
        read_back(form, dataclasses.replace(solution, **{part: vector[1:]}))


def test_the_solution_of_another_model_is_refused(solved):
    _, solution = solved
    # The same counts: other data, and the same data with another weight.
    other = network_model("dnn")
    objective = next(other.component_data_objects(pyo.Objective))
    objective.set_value(1.01 * objective.expr)
    with pytest.raises(InputError, match="not one of this model"):
        read_back(compile_conic(other), solution)


@pytest.mark.parametrize("part", ["S", "Y"])
def test_a_solution_that_was_cut_off_is_refused(solved, part):
    form, solution = solved
    vector = getattr(solution, part)
    # Where the first entry that is gone is one that can be missed.
    places = np.flatnonzero(np.abs(vector) > 1e-3)
    if part == "Y":
        places = np.intersect1d(places, embed_form(form).problem.F.indices)
    assert len(places) > 9
    for kept in places[::3].tolist():
        left = np.where(np.arange(len(vector)) < kept, vector, 0.0)
        with pytest.raises(InputError, match="not one of this model"):
            read_back(form, dataclasses.replace(solution, **{part: left}))


@programs
@pytest.mark.parametrize("verdict", [infeasible, unbounded])
@pytest.mark.parametrize("name", CLASSES)
def test_what_is_left_of_a_model_without_optimum_is_no_solution(
    name, verdict, program, tmp_path
):
    form = compile_conic(verdict(name, 1).model)
    solution = run(write_dat_s(form).data, embed_form(form).problem, program, tmp_path)
    with pytest.raises(InputError):
        read_back(form, solution)


def test_equations_that_contradict_each_other_are_in_the_file():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([1, 2])
    m.one = pyo.Constraint(expr=m.x[1] + m.x[2] == 1)
    m.two = pyo.Constraint(expr=m.x[1] + m.x[2] == 2)
    m.pinned = pyo.Var(bounds=(3, 3))
    m.o = pyo.Objective(expr=m.x[1] + m.pinned)
    exported = write_dat_s(compile_conic(m))
    orders, _, F = parse(exported.data)
    assert orders == [-6]
    x = np.array([0.5, -0.25, 1.0])
    set_point(exported.columns, x)
    S = np.tensordot(x, F[1:], 1) - F[0]
    np.testing.assert_allclose(np.diag(S), values_of(exported.rows))
    roles = [entry.role for entry in exported.rows]
    assert sorted(roles) == sorted(
        ["upper side", "lower side"] * 2 + ["upper bound", "lower bound"]
    )


def test_what_the_format_cannot_say_is_refused_by_name():
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    m.growth = ExponentialCone([m.x, 1.0, 3.0])
    m.o = pyo.Objective(expr=-m.x)
    with pytest.raises(UnsupportedModelError, match=r"'growth'.*\.cbf"):
        write_dat_s(compile_conic(m))
    m.del_component(m.growth)
    m.x.fix(1.0)
    with pytest.raises(UnsupportedModelError, match="nothing to solve"):
        write_dat_s(compile_conic(m))


def test_long_pieces_of_the_objective_are_cut():
    n = 40
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n), bounds=(-1, 1))
    rng = np.random.default_rng(0)
    L = rng.normal(size=(n, n))
    P = L @ L.T
    m.o = pyo.Objective(
        expr=0.5 * sum(P[i, j] * m.x[i] * m.x[j] for i in range(n) for j in range(n))
    )
    exported = write_dat_s(compile_conic(m))
    orders, _, F = parse(exported.data)
    assert orders == [-2 * n, 21, 21]
    x = rng.normal(size=n)
    S = matrices(orders, np.tensordot(np.append(x, [0, 0]), F[1:], 1) - F[0])
    squares = sum(float(block[0, 1:] @ block[0, 1:]) for block in S[1:])
    assert squares == pytest.approx(x @ P @ x, rel=1e-12)
