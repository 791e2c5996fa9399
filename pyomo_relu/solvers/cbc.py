"""CBC: linear and mixed-integer linear programs, by the program ``cbc``."""

from __future__ import annotations

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

__all__ = ["CBC"]


class CBC(MPSSolver):
    """Interface to the program ``cbc``: linear and mixed-integer linear programs.

    ``solver_options`` takes the parameters of ``cbc`` without their dash; one that
    takes no value has the value ``""``. ``rel_gap`` and ``abs_gap`` are its
    ``ratioGap`` and ``allowableGap``. ``iteration_limit`` limits the simplex iterations
    of a linear program and is refused where there are integer variables, for which
    CBC ignores it: it has ``maxNodes``.

    ``objective_bound`` is given for models with integer variables, less what CBC asks
    of a better solution, or the digits that it does not print.

    Parameters
    ----------
    **kwds
        Initial values of the configuration.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, None), domain=pyo.Integers)
    >>> m.o = pyo.Objective(expr=2 * m.x)
    >>> m.c = pyo.Constraint(expr=m.x >= 4.5)
    >>> solver = CBC()
    >>> if solver.available():
    ...     assert solver.solve(m).incumbent_objective == 10.0
    """

    name = "cbc"
    title = "CBC"
    install = "apt-get install coinor-cbc, conda install -c conda-forge coincbc"
    executable = "cbc"
    version_arguments = ("-stop",)
    version_title = "Version:"
    reserved: ClassVar[dict[str, str]] = {
        "sec(onds)?|timemode": "set time_limit=... of the solve instead",
        "ratio(gap)?": "set rel_gap=... of the solve instead",
        "allow(ablegap)?": "set abs_gap=... of the solve instead",
        "maxit(erations)?": "set iteration_limit=... of the solve instead",
        "threads": "set threads=... of the solve instead",
        "import|solv(e)?|solu(tion)?|saves(olution)?|printingoptions": (
            "the interface does that"
        ),
        "direction|max(imize)?|min(imize)?|increment|cutoff": (
            "another problem would be solved than the model"
        ),
    }

    def _arguments(self, program: LinearProgram, config: Any) -> list[str]:
        if config.iteration_limit is not None and program.is_integer:
            raise InputError(
                "CBC has no iteration limit for models with integer variables; set "
                "time_limit, or solver_options={'maxNodes': ...}"
            )
        arguments = []
        for name, setting in (
            ("seconds", config.time_limit),
            ("timeMode", None if config.time_limit is None else "elapsed"),
            ("ratioGap", config.rel_gap),
            ("allowableGap", config.abs_gap),
            ("maxIterations", config.iteration_limit),
            ("threads", config.threads if program.is_integer else None),
        ):
            if setting is not None:
                arguments += [f"-{name}", str(setting)]
        actions = []
        for name, setting in self._settings(config).items():
            if setting is None or not str(setting).strip():
                actions.append(f"-{name}")
            else:
                arguments += [f"-{name}", str(setting)]
        return [
            *arguments,
            *("-printingOptions", "all", "-import", "model.mps"),
            *actions,
            *("-solve", "-solution", "model.sol", "-saveSolution", "model.bin"),
        ]

    def _read(
        self, program: LinearProgram, config: Any, ended: Run, folder: Path
    ) -> Report:
        refused = re.search(
            r"^.*(?:No match for|Multiple matches for|is illegal for|valid range is"
            r"|Possible options for)(?! column| row).*$",
            ended.log,
            re.MULTILINE,
        )
        if refused:
            raise InputError(
                f"cbc does not take what is in solver_options: "
                f"{refused.group().strip()}"
            )
        if ended.code:
            raise self._failure(ended)
        with (folder / "model.sol").open(encoding="utf-8") as file:
            header = file.readline().split(" - objective value")[0].strip()
        if not header:
            raise self._failure(ended)
        x, multipliers = _read_solution(folder / "model.bin", *program.A.shape)
        termination = _termination(header, program, x, ended.log)
        if (
            termination
            in (
                TerminationCondition.provenInfeasible,
                TerminationCondition.unbounded,
                TerminationCondition.infeasibleOrUnbounded,
                TerminationCondition.error,
            )
            or "no integer solution" in header
        ):
            return Report(
                header, termination, bound=self._bound(program, config, None, ended)
            )
        solved = termination == SOLVED
        counts = re.findall(
            r"Total iterations:\s+(\d+)|- (\d+) iterations time", ended.log
        )
        return Report(
            status=header,
            termination=termination,
            x=x,
            multipliers=multipliers if solved and not program.is_integer else None,
            bound=self._bound(
                program, config, x if header == "Optimal" else None, ended
            ),
            iterations=max((int(a or b) for a, b in counts), default=None),
        )

    def _bound(
        self, program: LinearProgram, config: Any, x: np.ndarray | None, ended: Run
    ) -> float | None:
        if not program.is_integer:
            return None
        if x is not None:
            best = float(program.c @ x)
            # Nodes that are better by less are not looked at: the increment is 1e-5.
            gap = max(1e-5, config.abs_gap or 0.0, (config.rel_gap or 0.0) * abs(best))
            return best - gap - 1e-9 * abs(best)
        # Three digits after the point, of the tree and not of one of its heuristics.
        last = ended.log.rpartition("Result - ")[2]
        found = re.search(r"Lower bound:\s+(-?\d\S*)", last)
        return float(found.group(1)) - 1e-3 if found else None


def _read_solution(
    path: Path, m: int, n: int
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Read what ``-saveSolution`` writes, in full precision.

    Two integers, m and n, and then doubles: the objective, the activities and duals of
    the rows, the values and reduced costs of the columns.
    """
    data = path.read_bytes()
    numbers = np.frombuffer(data[8:], dtype=np.float64)
    if np.frombuffer(data[:8], np.int32).tolist() != [m, n] or (
        len(numbers) != 1 + 2 * (m + n)
    ):
        raise ValueError(f"{path.name} is no solution of {m} rows and {n} columns")
    _, duals, x, costs = np.split(numbers[1:], np.cumsum([m, m, n]))
    return x, (duals, costs)


def _termination(
    header: str, program: LinearProgram, x: np.ndarray, log: str
) -> TerminationCondition:
    """Return Pyomo's word for the first line of a solution file of CBC."""
    if header.startswith("Optimal"):
        return SOLVED
    if header in ("Infeasible", "Integer infeasible", "PrimalInfeasible"):
        # After this its simplex has called an unbounded model infeasible.
        doubtful = "Presolve thinks problem is unbounded" in log
        return (
            TerminationCondition.infeasibleOrUnbounded
            if doubtful
            else TerminationCondition.provenInfeasible
        )
    if header in ("Unbounded", "DualInfeasible"):
        # Of an integer program its relaxation is; and there must be a feasible point.
        proven = not program.is_integer and program.violation(x) <= 1e-9
        return (
            TerminationCondition.unbounded
            if proven
            else TerminationCondition.infeasibleOrUnbounded
        )
    if header.startswith("Stopped on time") or "Stopped on time limit" in log:
        return TerminationCondition.maxTimeLimit
    if "Stopped on solution limit" in log:
        return TerminationCondition.unknown
    if header.startswith(("Stopped on iterations", "Stopped on nodes")):
        return TerminationCondition.iterationLimit
    if header.startswith("Stopped on ctrl-c"):
        return TerminationCondition.interrupted
    if header.startswith("Stopped on difficulties"):
        return TerminationCondition.error
    return TerminationCondition.unknown
