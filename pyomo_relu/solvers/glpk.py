"""GLPK: linear and mixed-integer linear programs, by the program ``glpsol``."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu.errors import InputError
from pyomo_relu.solvers.executable import Run
from pyomo_relu.solvers.linear_program import LinearProgram
from pyomo_relu.solvers.mps_interface import MPSSolver, Report
from pyomo_relu.solvers.point_solver import SOLVED

__all__ = ["GLPK"]


class GLPK(MPSSolver):
    """Interface to GLPK's program ``glpsol``: linear and mixed-integer linear programs.

    ``solver_options`` takes the options of ``glpsol --help`` without their dashes; one
    that takes no value has the value ``""``. ``rel_gap`` is its ``--mipgap``;
    ``abs_gap`` and ``iteration_limit``, which it has not, are refused. The time limit
    is rounded up to seconds. It has one thread, whatever ``threads`` says.

    ``objective_bound`` is given for models with integer variables, less the
    tolerance with which GLPK compares nodes, or the digits that it does not print.

    Parameters
    ----------
    **kwds
        Initial values of the configuration.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, None))
    >>> m.y = pyo.Var(bounds=(0, 3))
    >>> m.o = pyo.Objective(expr=2 * m.x + m.y)
    >>> m.c = pyo.Constraint(expr=m.x + m.y >= 5)
    >>> solver = GLPK()
    >>> if solver.available():
    ...     results = solver.solve(m)
    ...     assert results.solution_loader.get_duals()[m.c] == 2.0
    """

    name = "glpk"
    title = "GLPK"
    install = "apt-get install glpk-utils, conda install -c conda-forge glpk"
    executable = "glpsol"
    version_arguments = ("--version",)
    version_title = "Solver"
    reserved: ClassVar[dict[str, str]] = {
        "tmlim": "set time_limit=... of the solve instead",
        "mipgap": "set rel_gap=... of the solve instead",
        "(free)?mps|(cpx)?lp|w?glp|math|m(odel)?|d(ata)?|w(rite)?|r(ead)?|ini": (
            "the interface reads and writes these files"
        ),
        "min|max|nomip|check|hide|mincost|maxflow|cnf|objbnd|minisat": (
            "another problem would be solved than the model"
        ),
    }

    def _arguments(self, program: LinearProgram, config: Any) -> list[str]:
        if config.iteration_limit is not None:
            raise InputError(
                "GLPK has no iteration limit; set time_limit, or use another solver"
            )
        if config.abs_gap is not None:
            raise InputError("GLPK has no absolute gap; set rel_gap")
        arguments = []
        for name, setting in self._settings(config).items():
            arguments.append(f"--{name}")
            if setting is not None and str(setting).strip():
                arguments.append(str(setting))
        if config.time_limit is not None:
            arguments += ["--tmlim", str(math.ceil(config.time_limit))]
        if config.rel_gap is not None:
            arguments += ["--mipgap", repr(config.rel_gap)]
        return [*arguments, "--freemps", "model.mps", "--write", "model.sol"]

    def _second_try(self, ended: Run) -> list[str]:
        # The presolver stops at an assertion where it makes two bounds equal.
        crashed = ended.code != 0 and "Error detected in file npp/" in ended.log
        return ["--nopresol", "--nointopt"] if crashed else []

    def _read(
        self, program: LinearProgram, config: Any, ended: Run, folder: Path
    ) -> Report:
        if re.search("^Invalid ", ended.log, re.MULTILINE):
            raise InputError(f"glpsol: {ended.log.strip().splitlines()[-1]}")
        if ended.code:
            raise self._failure(ended)
        lines = (folder / "model.sol").read_text(encoding="utf-8").splitlines()
        if lines[-1] != "e o f":
            raise self._failure(ended)
        fields = [line.split() for line in lines]
        kind, m, n, *words = next(line for line in fields if line[0] == "s")[1:]
        # The values of a row or column are the last of its line: primal and dual, of an
        # integer program primal only.
        values = 1 if kind == "mip" else 2
        parts = [
            np.array([line[-values:] for line in fields if line[0] == letter], float)
            for letter in "ij"
        ]
        rows, columns = (part.reshape(-1, values) for part in parts)
        shape = (len(rows), len(columns))
        if not shape == (int(m), int(n)) == program.A.shape:
            raise self._failure(ended)
        status, termination = _termination(kind, words, ended.log)
        # u: there is none, n and i: it is not feasible.
        x = None if words[0] == "u" else columns[:, 0]
        solved = termination == SOLVED
        multipliers = (rows[:, 1], columns[:, 1]) if solved and values == 2 else None
        bound = None
        if kind == "mip":
            bound = _bound(ended.log)
            if words[0] == "o" and x is not None:
                # Nodes that are better by less are not looked at.
                best = float(program.c @ x)
                bound = best - 1e-7 * (1.0 + abs(best))
        if words[0] == "n":
            x = None
        return Report(status, termination, x, multipliers, bound)


def _termination(
    kind: str, words: list[str], log: str
) -> tuple[str, TerminationCondition]:
    """Return GLPK's words and Pyomo's; of the log only where the file is silent."""
    if (kind == "bas" and words[:2] == ["f", "f"]) or words[0] == "o":
        return "OPTIMAL", SOLVED
    if words[0] == "n":
        return "NO FEASIBLE SOLUTION", TerminationCondition.provenInfeasible
    for words_of_log, termination in (
        ("TIME LIMIT EXCEEDED", TerminationCondition.maxTimeLimit),
        ("MIP GAP TOLERANCE REACHED", SOLVED),
    ):
        if words_of_log in log:
            return words_of_log, termination
    if kind == "bas" and words[:2] == ["f", "n"]:
        return "UNBOUNDED", TerminationCondition.unbounded
    last = re.findall(
        r"^.*HAS (?:NO (?:PRIMAL |INTEGER |DUAL )?FEASIBLE|UNBOUNDED PRIMAL) SOLUTION",
        log,
        re.MULTILINE,
    )
    if not last:
        return "UNDEFINED", TerminationCondition.unknown
    if "UNBOUNDED" in last[-1]:
        # Of an integer program its relaxation is.
        known = kind != "mip"
    elif "DUAL" in last[-1]:
        known = False
    else:
        return last[-1], TerminationCondition.provenInfeasible
    return last[-1], (
        TerminationCondition.unbounded
        if known
        else TerminationCondition.infeasibleOrUnbounded
    )


def _bound(log: str) -> float | None:
    """Return the last bound of the tree, less the digits that are not printed."""
    bounds = re.findall(r"mip =.*>=\s+(-?\d\S*)\s", log)
    if not bounds:
        return None
    bound = float(bounds[-1])
    return bound - 1e-9 * abs(bound)
