"""Pyomo's own command line knows the package, without importing it by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyomo_relu import solver_table

CONIC = ["clarabel", "scs", "csdp", "sdpa"]
HERE = {row.solver for row in solver_table(CONIC) if row.installed}

#: Without a cone: nothing in the file imports the package.
PLAIN = """
import pyomo.environ as pyo

model = pyo.ConcreteModel()
model.x = pyo.Var(bounds=(0, None))
model.c = pyo.Constraint(expr=model.x**2 >= 0)
model.c.deactivate()
model.d = pyo.Constraint(expr=model.x >= 2)
model.o = pyo.Objective(expr=model.x**2)
"""

CONE = """
import pyomo.environ as pyo
from pyomo_relu import PSDCone

model = pyo.ConcreteModel()
model.x = pyo.Var()
model.K = PSDCone([[1, model.x], [model.x, 4]])
model.o = pyo.Objective(expr=model.x, sense=pyo.maximize)
"""


def run(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyomo.scripting.pyomo_main", *arguments]
    if Path(sys.executable).with_name("pyomo").exists():
        command = [str(Path(sys.executable).with_name("pyomo")), *arguments]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize(
    ("solver", "model", "optimum"),
    [("clarabel", PLAIN, 4.0), *((solver, CONE, 2.0) for solver in CONIC)],
)
def test_pyomo_solve(tmp_path, solver, model, optimum):
    if solver not in HERE:
        pytest.skip(f"{solver} is not installed")
    (tmp_path / "model.py").write_text(model)
    done = run(
        "solve", f"--solver={solver}", "--save-results=r.json", "model.py",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "r.json").read_text())
    assert results["Solver"][0]["Termination condition"] == "optimal"
    problem = results["Problem"][0]
    value = problem["Upper bound" if model is PLAIN else "Lower bound"]
    assert float(value) == pytest.approx(optimum, abs=1e-5)


def test_pyomo_help_lists_solvers_and_transformations(tmp_path):
    solvers = run("help", "--solvers", folder=tmp_path)
    assert solvers.returncode == 0
    for name in CONIC:
        marked = f"+{name}" if name in HERE else name
        assert marked in solvers.stdout
    tiers = run("help", "--transformations", folder=tmp_path).stdout
    for name in ("relu.dnn", "relu.psd", "relu.rays"):
        assert name in tiers
