"""A linear program, and the solution files that real programs write for it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import highspy
import numpy as np
import pyomo.environ as pyo
import pytest
import scipy.optimize

# The library that PySCIPOpt ships has the command line of SCIP, too.
_SCIP = """
import ctypes, pathlib, sys, pyscipopt
folder = pathlib.Path(pyscipopt.__file__).parent
found = sorted((folder.parent / "pyscipopt.libs").glob("libscip*"))
if not found:
    sys.exit(77)
words = [b"scip", *(word.encode() for word in sys.argv[1:])]
array = (ctypes.c_char_p * (len(words) + 1))(*words, None)
library = ctypes.CDLL(str(found[0]))
okay = 1
sys.exit(library.SCIPrunShell(len(words), array, b"") != okay)
"""


@dataclass(frozen=True)
class Case:
    """minimise ``costs @ x``, ``A x >= b``, ``0 <= x <= 10``."""

    costs: np.ndarray
    A: np.ndarray
    b: np.ndarray
    is_integer: np.ndarray

    @property
    def names(self) -> list[str]:
        return [f"x_{j}" for j in range(len(self.costs))]

    @property
    def row_names(self) -> list[str]:
        return [f"c_{i}" for i in range(len(self.b))]

    def optimum(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the point, and the multipliers of the rows, by SciPy."""
        result = scipy.optimize.linprog(
            self.costs,
            A_ub=-self.A,
            b_ub=-self.b,
            bounds=(0, 10),
            integrality=self.is_integer,
        )
        assert result.success
        duals = getattr(result, "ineqlin", None)
        return result.x, -duals.marginals if duals is not None else np.zeros(0)

    def write_lp(self, folder: Path) -> Path:
        def terms(numbers: np.ndarray) -> str:
            return " ".join(
                f"{number:+.17g} {name}"
                for number, name in zip(numbers, self.names, strict=True)
            )

        rows = [
            f"{name}: {terms(row)} >= {side:.17g}"
            for name, row, side in zip(self.row_names, self.A, self.b, strict=True)
        ]
        bounds = [f"0 <= {name} <= 10" for name in self.names]
        integers = [
            name for name, flag in zip(self.names, self.is_integer, strict=True) if flag
        ]
        lines = ["minimize", f"o: {terms(self.costs)}", "subject to", *rows]
        lines += ["bounds", *bounds]
        lines += ["generals", " ".join(integers)] if integers else []
        path = folder / "model.lp"
        path.write_text("\n".join([*lines, "end", ""]))
        return path

    def write_nl(self, folder: Path) -> Path:
        m = pyo.ConcreteModel()
        m.x = pyo.Var(range(len(self.costs)), bounds=(0, 10))
        for j in np.flatnonzero(self.is_integer).tolist():
            m.x[j].domain = pyo.Integers
        m.c = pyo.ConstraintList()
        for row, side in zip(self.A.tolist(), self.b.tolist(), strict=True):
            m.c.add(sum(a * m.x[j] for j, a in enumerate(row)) >= side)
        m.o = pyo.Objective(
            expr=sum(c * m.x[j] for j, c in enumerate(self.costs.tolist()))
        )
        m.write(str(folder / "model.nl"))
        return folder / "model.nl"


def make_case(integer: bool = False, infeasible: bool = False) -> Case:
    """Return a program with one optimum, some of it zero."""
    rng = np.random.default_rng(5)
    n, rows = 12, 5
    b = rng.uniform(5.0, 12.0, rows)
    return Case(
        costs=rng.uniform(1.0, 3.0, n),
        A=rng.uniform(0.1, 1.0, (rows, n)),
        b=np.full(rows, 1e4) if infeasible else b,
        is_integer=(np.arange(n) < 6 if integer else np.zeros(n)).astype(int),
    )


def unbounded_lp(folder: Path) -> Path:
    path = folder / "model.lp"
    path.write_text("minimize\no: - x - y\nsubject to\nc: x - y <= 2\nend\n")
    return path


def run(folder: Path, *command: str) -> str:
    """Run a program of the machine, or skip the test."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]}")
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def by_highs(folder: Path, model: Path, style: int = 0) -> tuple[Path, highspy.Highs]:
    highs = highspy.Highs()
    highs.silent()
    highs.readModel(str(model))
    highs.run()
    path = folder / f"highs{style}.sol"
    highs.writeSolution(str(path), style)
    return path, highs


def by_scip(folder: Path, model: Path, *before: str) -> Path:
    """Return what SCIP's own command line writes."""
    path = folder / "scip.sol"
    commands = [f"read {model.name}", *before, "optimize"]
    commands += [f"write solution {path.name}", "quit"]
    _scip(folder, *(word for command in commands for word in ("-c", command)))
    return path


def by_scip_for_ampl(folder: Path, model: Path) -> Path:
    """Return what SCIP writes for AMPL."""
    _scip(folder, model.stem, "-AMPL")
    return model.with_suffix(".sol")


def _scip(folder: Path, *words: str) -> None:
    pytest.importorskip("pyscipopt")
    ended = subprocess.run(
        [sys.executable, "-c", _SCIP, *words],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    if ended.returncode == 77:
        pytest.skip("needs the library that PySCIPOpt ships")
    assert ended.returncode == 0, ended.stdout[-500:]


def by_cbc(folder: Path, model: Path, *before: str) -> Path:
    run(folder, "cbc", model.name, *before, "solve", "solution", "cbc.txt")
    return folder / "cbc.txt"


def by_glpsol(folder: Path, model: Path, *options: str) -> Path:
    run(folder, "glpsol", "--lp", model.name, *options, "--write", "glpk.txt")
    return folder / "glpk.txt"


#: In the form of Ipopt's interface to AMPL, with duals and multipliers of bounds.
IPOPT = b"""Ipopt 3.14.16: Optimal Solution Found

Options
3
1
1
0
2
2
3
3
-1.25
0.5
4.0000000000000001e-1
0
-7
objno 0 0
suffix 4 3 13 0 0
ipopt_zU_out
0 -2.5059e-09
1 -1.5
2 -1e-9
suffix 4 2 13 0 0
ipopt_zL_out
0 0.25
2 3e-09
suffix 1 2 8 24 1
sstatus
1 bas basic
0 3
1 1
"""
