"""What the interfaces to programs that read MPS files have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pyomo.common import Executable
from pyomo.common.config import ConfigValue
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.contrib.solver.common.base import Availability
from pyomo.contrib.solver.common.config import BranchAndBoundConfig
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.solution_loader import (
    NoSolutionSolutionLoader,
    SolutionLoader,
)

from pyomo_relu.errors import InputError, PyomoReluError, SolverError
from pyomo_relu.solvers.executable import Run, banner_version, run, working_directory
from pyomo_relu.solvers.interface import iteration_limit_entry
from pyomo_relu.solvers.linear_program import LinearProgram, compile_linear
from pyomo_relu.solvers.point_solver import (
    FEASIBILITY_TOLERANCE,
    PointAnswer,
    PointSolver,
    constant_answer,
    point_status,
)

__all__ = ["MPSSolver", "MPSSolverConfig", "Report"]


@dataclass(frozen=True)
class Report:
    """What a program left behind, of the minimisation ``c'x``.

    Attributes
    ----------
    status : str
        Its own word.
    termination : TerminationCondition
        What that means.
    x : (n,) ndarray or None
        The point.
    multipliers : tuple of (m,) and (n,) ndarray, or None
        Duals of the rows, and reduced costs.
    bound : float or None
        What ``c'x`` cannot be less than.
    iterations : int or None
    """

    status: str
    termination: TerminationCondition
    x: np.ndarray | None = None
    multipliers: tuple[np.ndarray, np.ndarray] | None = None
    bound: float | None = None
    iterations: int | None = None


class MPSSolverConfig(BranchAndBoundConfig):
    """Pyomo's options for integer programs, an iteration limit and the program."""

    def __init__(
        self,
        description: str | None = None,
        doc: str | None = None,
        implicit: bool = False,
        implicit_domain: Any = None,
        visibility: int = 0,
    ) -> None:
        super().__init__(
            description=description,
            doc=doc,
            implicit=implicit,
            implicit_domain=implicit_domain,
            visibility=visibility,
        )
        self.iteration_limit: int | None = self.declare(
            "iteration_limit", iteration_limit_entry()
        )
        self.executable: Any = self.declare(
            "executable",
            ConfigValue(
                domain=Executable,
                default=None,
                description="The program, by name or path; None is its usual name on "
                "the PATH.",
            ),
        )


class MPSSolver(PointSolver):
    """Base of the interfaces to programs that read MPS files.

    A subclass names its program, and overrides :meth:`_arguments` and :meth:`_read`.
    """

    #: Usual name of the program, the arguments that make it print its version, and what
    #: stands before that.
    executable = ""
    version_arguments: ClassVar[tuple[str, ...]] = ()
    version_title = ""
    #: Patterns of settings that have an option of Pyomo's, or would change what is
    #: solved, and what to do instead.
    reserved: ClassVar[dict[str, str]] = {}

    CONFIG = MPSSolverConfig()

    def available(self) -> Availability:
        """Whether the program is there, and says which version it is."""
        return self._available(self.config)

    def version(self) -> tuple[int, ...]:
        """Version that the program prints, () where there is none."""
        return self._version_of(self.config)

    def _available(self, config: Any) -> Availability:
        path = self._path(config)
        if path is None:
            return Availability.NotFound
        good = self._version(path)
        return Availability.FullLicense if good else Availability.BadVersion

    def _path(self, config: Any) -> str | None:
        chosen = config.executable
        executable = Executable(self.executable) if chosen is None else chosen
        # Whether it is there is asked anew each time.
        executable.rehash()
        path = executable.path()
        return None if path is None else str(path)

    def _version_of(self, config: Any) -> tuple[int, ...]:
        return self._version(self._path(config))

    def _version(self, path: str | None) -> tuple[int, ...]:
        if path is None:
            return ()
        return banner_version(path, self.version_title, self.version_arguments)

    def _arguments(self, program: LinearProgram, config: Any) -> list[str]:
        """Arguments of the program, options and file names."""
        raise NotImplementedError(f"{type(self).__name__} does not override _arguments")

    def _read(
        self, program: LinearProgram, config: Any, ended: Run, folder: Path
    ) -> Report:
        """Read the files that the program left."""
        raise NotImplementedError(f"{type(self).__name__} does not override _read")

    def _settings(self, config: Any) -> dict[str, Any]:
        options = config.solver_options.value()
        for name in options:
            for pattern, advice in self.reserved.items():
                if re.fullmatch(pattern, name, re.IGNORECASE):
                    raise InputError(
                        f"{name!r} is not for solver_options of '{self.name}': {advice}"
                    )
        return options

    def _answer(self, model: Any, config: Any) -> PointAnswer:
        timer = config.timer
        timer.start("compile")
        try:
            program = compile_linear(model, self.title)
        finally:
            timer.stop("compile")
        if not program.variables:
            return _constant(program)
        arguments = self._arguments(program, config)
        with working_directory(config.working_dir, self.executable) as folder:
            timer.start("write")
            (folder / "model.mps").write_text(program.to_mps(), encoding="utf-8")
            timer.stop("write")
            timer.start("optimize")
            ended = self._run_program(arguments, config, folder)
            again = self._second_try(ended)
            if again:
                ended = self._run_program([*again, *arguments], config, folder)
            timer.stop("optimize")
            if ended.timed_out:
                report = Report(
                    "killed at the time limit", TerminationCondition.maxTimeLimit
                )
            else:
                try:
                    report = self._read(program, config, ended, folder)
                except (OSError, ValueError, IndexError) as error:
                    if isinstance(error, PyomoReluError):
                        raise
                    raise self._failure(ended) from error
        return _measured(program, report, ended)

    def _run_program(self, arguments: list[str], config: Any, folder: Path) -> Run:
        limit = config.time_limit
        return run(
            [self._path(config) or self.executable, *arguments],
            folder,
            # It shall stop by itself, and leave what it has.
            time_limit=None if limit is None else 1.1 * limit + 2.0,
            streams=config.tee,
        )

    def _second_try(self, ended: Run) -> list[str]:
        """Return arguments for another run after one that failed; none: no more."""
        return []

    def _failure(self, ended: Run) -> SolverError:
        """Return the error of a program that ended without an answer."""
        last = "; ".join(line for line in ended.log.splitlines()[-5:] if line.strip())
        return SolverError(
            f"{self.title} failed without an answer (exit code {ended.code}): {last}. "
            f"working_dir=... keeps its files"
        )


def _constant(program: LinearProgram) -> PointAnswer:
    """Check a model without free variables: there is nothing to solve."""
    x = np.zeros(0)
    violation = program.violation(x)
    if violation > FEASIBILITY_TOLERANCE:
        raise InfeasibleConstraintException("a row without variables is violated")
    objective = program.objective(x) if program.has_objective else None
    duals = (np.zeros(len(program.b)), x)
    return constant_answer(program.loader(x, duals, "constant"), objective, violation)


def _measured(program: LinearProgram, report: Report, ended: Run) -> PointAnswer:
    """Say what a point is, by what is measured on it."""
    x = report.x
    message = f"{report.status} ({report.termination.name})"
    solution = SolutionStatus.noSolution
    objective = None
    violation = 0.0
    loader: SolutionLoader = NoSolutionSolutionLoader(program.model, message)
    if x is not None and np.isfinite(x).all():
        violation = program.violation(x)
        solution = point_status(report.termination, violation)
        if program.has_objective and solution != SolutionStatus.infeasible:
            objective = program.objective(x)
        if program.is_integer:
            message = "the model has integer variables"
        loader = program.loader(x, report.multipliers, message)
    return PointAnswer(
        status=report.status,
        termination=report.termination,
        loader=loader,
        solution=solution,
        objective=objective,
        bound=program.bound(report.bound) if program.has_objective else None,
        violation=violation,
        iterations=report.iterations,
        seconds=ended.seconds,
        log=ended.log,
    )
