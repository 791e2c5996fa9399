"""There and back: exported, solved elsewhere, read, and the network recovered."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.pynumero.algorithms.solvers.cyipopt_solver import CyIpoptSolver
from pyomo.contrib.pynumero.asl import AmplInterface
from pyomo.contrib.pynumero.interfaces.ampl_nlp import AmplNLP
from pyomo.contrib.pynumero.interfaces.cyipopt_interface import CyIpoptNLP

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    build_copositive,
    build_group_lasso,
    certify,
    export,
    read_solution,
    recover_network,
    relax,
    solve,
)
from tests.solution_files import solution_cases
from tests.solution_files.solution_cases import (
    by_scip,
    by_scip_for_ampl,
    run,
)

#: So that CBC prints rows as well.
_ALL = ("printingOptions", "all")

rng = np.random.default_rng(7)
X, Y = rng.normal(size=(6, 2)), rng.normal(size=(6, 2))


def build(tier, loss, build_program=build_completely_positive):
    problem = TrainingProblem(X, Y, 0.2, loss=loss)
    model = build_program(problem)
    if tier:
        relax(model, tier)
    return problem, model


def by_highs(folder: Path, file: Path) -> Path:
    return solution_cases.by_highs(folder, file)[0]


def by_glpk(folder: Path, file: Path) -> Path:
    kind = "--lp" if file.suffix == ".lp" else "--freemps"
    run(folder, "glpsol", kind, file.name, "--write", "glpk.txt")
    return folder / "glpk.txt"


def by_cbc(folder: Path, file: Path) -> Path:
    return solution_cases.by_cbc(folder, file, *_ALL)


def by_csdp(folder: Path, file: Path) -> Path:
    if shutil.which("csdp") is None:
        pytest.skip("needs csdp")
    subprocess.run(
        ["csdp", file.name, "csdp.sol"], cwd=folder, capture_output=True, check=True
    )
    return folder / "csdp.sol"


def by_sdpa(folder: Path, file: Path) -> Path:
    if shutil.which("sdpa") is None:
        pytest.skip("needs sdpa")
    given = Path("/usr/share/sdpa/param.sdpa")
    lines = given.read_text().splitlines() if given.exists() else []
    if not lines:
        pytest.skip("needs the parameter file of Debian's sdpa")
    digits = "%+.17e     char*   digits"
    (folder / "param.sdpa").write_text("\n".join([*lines[:10], *[digits] * 4, ""]))
    subprocess.run(
        ["sdpa", "-ds", file.name, "-o", "sdpa.out", "-p", "param.sdpa"],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    return folder / "sdpa.out"


def by_ipopt(folder: Path, file: Path) -> Path:
    """Ipopt on Pyomo's ASL interface, which writes what an AMPL solver writes."""
    pytest.importorskip("cyipopt")
    if not AmplInterface.available():
        pytest.skip("needs Pyomo's ASL interface (docs/solvers.md)")
    nlp = AmplNLP(str(file))
    options = {"print_level": 0, "sb": "yes", "tol": 1e-9}
    x, info = CyIpoptSolver(CyIpoptNLP(nlp), options=options).solve()
    nlp._asl.finalize_solution(0, "Optimal solution found", x, info["mult_g"])
    solution = file.with_suffix(".sol")
    # The library leaves the last line to the program that calls it.
    solution.write_text(solution.read_text() + "objno 0 0\n")
    return solution


LINEAR = [by_highs, by_glpk, by_cbc, by_scip]
TRIPS = [
    *((".mps", "dd", "absolute", program) for program in LINEAR),
    *((".lp", "dd", "absolute", program) for program in LINEAR),
    (".mps.gz", "dd", "absolute", by_highs),
    (".mps", "dd", "squared", by_highs),
    (".lp", "dd", "squared", by_highs),
    (".lp", "dd", "squared", by_scip),
    (".lp", "rays", "squared", by_scip),
    (".nl", "rays", "squared", by_scip_for_ampl),
    (".nl", "rays", "squared", by_ipopt),
    (".nl", "factorized", "squared", by_ipopt),
    (".nl", "dd", "absolute", by_scip_for_ampl),
    (".nl", "dd", "huber", by_ipopt),
    (".dat-s", "dnn", "squared", by_csdp),
    (".dat-s", "dnn", "squared", by_sdpa),
    (".dat-s", "dnn", "absolute", by_csdp),
    (".dat-s", "ray_pairs", "squared", by_sdpa),
    (".dat-s", "sos", "huber", by_csdp),
]


def trip_id(trip):
    suffix, tier, loss, program = trip
    return f"{suffix[1:]}-{tier}-{loss}-{program.__name__}"


@pytest.mark.parametrize("trip", TRIPS, ids=map(trip_id, TRIPS))
def test_there_and_back(tmp_path, trip):
    suffix, tier, loss, program = trip
    problem, model = build(tier, loss)
    file = tmp_path / f"model{suffix}"
    export(model, file)
    solution = program(tmp_path, file)

    _, here = build(tier, loss)
    expected = solve(here).incumbent_objective
    objective = recover_network(here).objective(problem)
    # Second-order cones are |s|^2 <= t^2 in algebra: at their apex a violation of 1e-8
    # is one of 1e-4 in s.
    squared = tier == "rays"
    read = read_solution(
        model,
        solution,
        names=tmp_path / "model.names.json",
        tolerance=1e-3 if squared else 1e-4,
    )
    assert read.objective == pytest.approx(expected, rel=1e-3 if squared else 1e-5)
    network = recover_network(model)
    assert network.objective(problem) == pytest.approx(objective, rel=1e-5)


@pytest.mark.parametrize("program", [by_csdp, by_sdpa])
def test_the_network_of_a_dual_program(tmp_path, program):
    problem, model = build("dnn", "squared", build_copositive)
    file = tmp_path / "model.dat-s"
    export(model, file)
    read = read_solution(model, program(tmp_path, file))
    assert read.has_duals
    assert certify(problem, recover_network(model)).gap < 1e-6


def test_the_group_lasso_by_another_program(tmp_path):
    problem = TrainingProblem(X, Y[:, 0], 0.2)
    model = build_group_lasso(problem)
    export(model, tmp_path / "model.lp")
    read_solution(model, by_scip(tmp_path, tmp_path / "model.lp"))
    assert certify(problem, recover_network(model)).gap < 1e-6


@pytest.mark.parametrize("sense", [pyo.minimize, pyo.maximize])
@pytest.mark.parametrize("suffix", [".mps", ".lp"])
@pytest.mark.parametrize("program", [by_highs, by_cbc, by_scip])
def test_duals_have_the_signs_of_a_solve(tmp_path, sense, suffix, program):
    def make():
        model = pyo.ConcreteModel()
        model.x = pyo.Var([0, 1], bounds=(0, 10))
        model.dual = pyo.Suffix(direction=pyo.Suffix.IMPORT)
        sign = 1 if sense == pyo.minimize else -1
        model.objective = pyo.Objective(
            expr=sign * (2 * model.x[0] + 3 * model.x[1]) + 5, sense=sense
        )
        model.low = pyo.Constraint(expr=model.x[0] + model.x[1] >= 5)
        model.both = pyo.Constraint(expr=(-1, model.x[0] - model.x[1], 1))
        model.equal = pyo.Constraint(expr=model.x[0] - 3 * model.x[1] == -6)
        return model

    expected, model = make(), make()
    solve(expected)
    export(model, tmp_path / f"model{suffix}")
    read = read_solution(model, program(tmp_path, tmp_path / f"model{suffix}"))
    for index in (0, 1):
        assert model.x[index].value == pytest.approx(expected.x[index].value, abs=1e-7)
    if program is by_scip:
        assert not read.has_duals
        assert len(model.dual) == 0
        return
    assert read.has_duals
    for name in ("low", "both", "equal"):
        assert model.dual[getattr(model, name)] == pytest.approx(
            expected.dual[getattr(expected, name)], abs=1e-7
        )
