"""Other people's programs, which read a file and solve it."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import highspy
import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu.solvers.capability import OWN_INTERFACES

__all__ = [
    "CANNOT_READ",
    "CURVED_READERS",
    "LINEAR_READERS",
    "SCIP",
    "Reading",
    "assert_same_optimum",
    "evaluate",
    "read",
]

#: What a reader says of a file that it does not understand.
CANNOT_READ = "cannot read"


@dataclass
class Reading:
    """What a program made of a file.

    ``objective`` is that of the file, constants included, None where the program does
    not print it.
    """

    status: str
    objective: float | None
    values: dict[str, float]
    rows: list[str]


def _highs(path: Path) -> Reading:
    highs = highspy.Highs()
    highs.silent()
    if highs.readModel(str(path)) != highspy.HighsStatus.kOk:
        return Reading(CANNOT_READ, None, {}, [])
    highs.setOptionValue("mip_rel_gap", 0.0)
    highs.run()
    lp = highs.getLp()
    values = highs.getSolution().col_value
    return Reading(
        highs.modelStatusToString(highs.getModelStatus()).lower(),
        highs.getInfo().objective_function_value,
        dict(zip(lp.col_names_, values, strict=True)),
        list(lp.row_names_),
    )


def _scip(path: Path) -> Reading:
    pyscipopt = pytest.importorskip("pyscipopt")
    scip = pyscipopt.Model()
    scip.hideOutput()
    try:
        scip.readProblem(str(path))
    except OSError:
        return Reading(CANNOT_READ, None, {}, [])
    variables = scip.getVars()
    rows = [row.name for row in scip.getConss()]
    scip.setParam("limits/gap", 0.0)
    scip.setParam("limits/time", 60.0)
    scip.optimize()
    solution = scip.getBestSol()
    return Reading(
        scip.getStatus(),
        scip.getObjVal(),
        {var.name: scip.getSolVal(solution, var) for var in variables},
        rows,
    )


def _glpk(path: Path) -> Reading:
    kind = "--lp" if path.suffix == ".lp" else "--freemps"
    solution, copy = path.with_suffix(".raw"), path.with_suffix(".copy")
    subprocess.run(
        ["glpsol", kind, path, "--write", solution, "--wfreemps", copy],
        capture_output=True,
        check=False,
    )
    if not solution.exists():
        return Reading(CANNOT_READ, None, {}, [])
    text = solution.read_text()
    head = re.search(r"^s (bas|mip) .* (\S+)$", text, re.MULTILINE)
    status = re.search(r"^s (?:bas \d+ \d+ (. .)|mip \d+ \d+ (.))", text, re.MULTILINE)
    values = [
        float(line.split()[3 if head[1] == "bas" else 2])
        for line in text.splitlines()
        if line.startswith("j ")
    ]
    names, rows = _names_in_mps(copy.read_text())
    optimal = {"f f": "optimal", "o": "optimal"}
    return Reading(
        optimal.get(status[1] or status[2], text),
        float(head[2]),
        dict(zip(names, values, strict=True)),
        rows,
    )


def _names_in_mps(text: str) -> tuple[list[str], list[str]]:
    """Columns and rows of a file that GLPK wrote, without the objective."""
    head, tail = text.split("\nCOLUMNS\n")
    rows = re.findall(r"^ [LGE] (\S+)", head, re.MULTILINE)
    part = re.split(r"^[A-Z]", tail, flags=re.MULTILINE)[0]
    columns = [line.split()[0] for line in part.splitlines() if "'MARKER'" not in line]
    return list(dict.fromkeys(columns)), rows


def _cbc(path: Path) -> Reading:
    solution = path.with_suffix(".txt")
    command = ["cbc", path, "solve", "printingOptions", "all", "solution", solution]
    run = subprocess.run(command, capture_output=True, check=False, text=True)
    if not solution.exists() or "errors on input" in run.stdout:
        return Reading(CANNOT_READ, None, {}, [])
    first, *lines = solution.read_text().splitlines()
    parts = [line.replace("**", "").split() for line in lines]
    numbers = [int(part[0]) for part in parts]
    # Rows come first, and both are counted from zero.
    begin = max(i for i, number in enumerate(numbers) if number == 0)
    return Reading(
        first.split(" - ")[0].lower(),
        None,
        {part[1]: float(part[2]) for part in parts[begin:]},
        [part[1] for part in parts[:begin]],
    )


def _needs(name: str, solver: str, function):
    here = (
        bool(OWN_INTERFACES[solver]().available())
        if solver in OWN_INTERFACES
        else shutil.which(solver) is not None
    )
    mark = pytest.mark.skipif(not here, reason=f"needs {solver}")
    return pytest.param(function, id=name, marks=mark)


_HIGHS = pytest.param(_highs, id="highs")
_SCIP = pytest.param(_scip, id="scip")
LINEAR_READERS = [
    _HIGHS,
    _SCIP,
    _needs("glpk", "glpk", _glpk),
    _needs("cbc", "cbc", _cbc),
]
#: Of quadratic objectives, in MPS and in LP format.
CURVED_READERS = [_HIGHS, _SCIP]
#: Of everything: quadratic rows, SOS constraints, .nl files.
SCIP = [_SCIP]


def read(reader, exported, path: Path) -> Reading:
    """Write a file and have it read and solved."""
    for stale in path.parent.glob(f"{path.stem}.*"):
        stale.unlink()
    path.write_bytes(exported.data)
    for suffix, data in exported.beside.items():
        path.with_suffix(suffix).write_bytes(data)
    return reader(path)


def evaluate(model, exported, values) -> tuple[float, float]:
    """Objective of the model and largest violation at the values of a file."""
    for entry in exported.columns:
        if entry.component is not None:
            entry.component.set_value(values[entry.name], skip_validation=True)
    worst = 0.0
    for row in model.component_data_objects(pyo.Constraint, active=True):
        body = pyo.value(row.body)
        low, up = pyo.value(row.lower), pyo.value(row.upper)
        worst = max(worst, 0.0 if low is None else low - body)
        worst = max(worst, 0.0 if up is None else body - up)
    for entry in exported.columns:
        var = entry.component
        if var is not None:
            low, up = var.bounds
            worst = max(worst, 0.0 if low is None else low - var.value)
            worst = max(worst, 0.0 if up is None else var.value - up)
            if not var.is_continuous():
                worst = max(worst, abs(var.value - round(var.value)))
    objective = next(model.component_data_objects(pyo.Objective, active=True), None)
    return (0.0 if objective is None else pyo.value(objective)), worst


def assert_same_optimum(model, exported, reading: Reading, optimum: float) -> None:
    """Compare what was read with the model and with its optimum."""
    assert reading.status == "optimal"
    assert {entry.name for entry in exported.columns} <= set(reading.values)
    assert {entry.name for entry in exported.rows} <= set(reading.rows)
    objective, violation = evaluate(model, exported, reading.values)
    assert violation < 1e-5
    assert objective == pytest.approx(optimum, rel=1e-5, abs=1e-5)
    if reading.objective is not None:
        stated = exported.objective_sign * (
            reading.objective + exported.objective_constant
        )
        assert stated == pytest.approx(objective, rel=1e-6, abs=1e-6)
    assert np.isfinite(objective)
