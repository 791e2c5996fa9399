"""A linear solver that is led from round to round, and not taken at its word."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from pyomo.contrib.solver.common.base import (
    LegacySolverWrapper,
    PersistentSolverBase,
    SolverBase,
)
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import (
    Results,
    SolutionStatus,
    TerminationCondition,
)

from pyomo_relu.errors import SolverError
from pyomo_relu.interrupts import noticing_interrupts

__all__ = [
    "LinearSolver",
    "OutOfTimeError",
    "UnboundedError",
    "noticing_interrupts",
    "read_solver",
]

#: Settings of a solver that is given by name, tried in turn. On rows that are nearly
#: parallel the simplex method of HiGHS now and then turns in a circle, or ends where it
#: does not trust itself; its interior point method does not, but takes longer.
_SETTINGS: dict[str, tuple[dict[str, Any], ...]] = {
    "highs": (
        {"solver": "simplex", "simplex_iteration_limit": 10_000},
        {"solver": "ipm", "run_crossover": "on", "simplex_iteration_limit": 10_000},
        {"solver": "ipm", "run_crossover": "off"},
    )
}
#: Settings for a solve from scratch: none that change where it ends.
_PLAIN = {"highs": {"simplex_iteration_limit": 50_000}}
_INFEASIBLE = {
    TerminationCondition.provenInfeasible,
    TerminationCondition.locallyInfeasible,
}
_UNBOUNDED = {
    TerminationCondition.unbounded,
    TerminationCondition.infeasibleOrUnbounded,
}

logger = logging.getLogger(__name__)


class OutOfTimeError(Exception):
    """The time limit is over."""


class UnboundedError(SolverError):
    """The solver calls the program unbounded, or does not know it from infeasible."""


def read_solver(solver: Any) -> str | SolverBase:
    """Check the option `solver`.

    Parameters
    ----------
    solver : str or SolverBase
        What the user gave.

    Raises
    ------
    ValueError
        It is neither a known name nor a solver of pyomo.contrib.solver, or it is not
        available.
    """
    if isinstance(solver, str):
        known = sorted(SolverFactory)
        if solver not in known:
            raise ValueError(
                f"there is no solver {solver!r} among those with the interface of "
                f"pyomo.contrib.solver; there are {', '.join(known)}"
            )
    # What pyomo.environ's SolverFactory returns is both, and answers in the old way.
    elif isinstance(solver, LegacySolverWrapper) or not isinstance(solver, SolverBase):
        raise ValueError(
            "solver must be a name, such as 'highs', or a solver from the "
            f"SolverFactory of pyomo.contrib.solver; got {type(solver).__name__}"
        )
    interface = SolverFactory(solver) if isinstance(solver, str) else solver
    if not interface.available():
        raise ValueError(f"solver {interface.name!r} is not available here")
    return solver


class LinearSolver:
    """Solve one model again and again, from scratch where the warm start fails.

    Parameters
    ----------
    model : Block
        The model, which changes between the solves.
    solver : str or SolverBase
        What :func:`read_solver` let through.
    time_limit : float, optional
        Seconds for all solves.
    interrupted : callable
        Whether Ctrl-C has come.
    """

    def __init__(
        self,
        model: Any,
        solver: str | SolverBase,
        time_limit: float | None,
        interrupted: Callable[[], bool],
    ) -> None:
        self._model = model
        self._choice = solver
        self._interrupted = interrupted
        self._begin = time.monotonic()
        self._time_limit = time_limit
        by_name = _SETTINGS.get(solver, ()) if isinstance(solver, str) else ()
        self._settings = by_name or ({},)
        self._solver: Any = None
        #: Which settings come first, for how many solves yet, and for how many after
        #: the next failure: trouble comes in spells.
        self._first, self._spell, self._next_spell = 0, 0, 1

    @property
    def name(self) -> str:
        """Name of the solver."""
        choice = self._choice
        return choice if isinstance(choice, str) else choice.name

    def solve(self, complaint: Callable[[], str]) -> Results:
        """Return the results of an optimum that passes a check; its point is loaded.

        Parameters
        ----------
        complaint : callable
            Says what is wrong with the point in the variables, if anything.

        Raises
        ------
        SolverError
            Neither the warm start nor any solve from scratch ended at an optimum.
        UnboundedError
            Among these if the solver says so.
        OutOfTimeError
            The time limit came first.
        """
        if self._spell == 0:
            self._first = 0
        self._spell = max(0, self._spell - 1)
        troubles: list[str] = []
        count = len(self._settings)
        # The last attempt has the settings of the first, without a warm start.
        for which in range(self._first, self._first + count + 1):
            if self._solver is None or which > self._first:
                self._solver = self._new()
            results = self._run(self._solver, self._settings[which % count])
            ended = results.termination_condition
            if _is_optimal(results):
                results.solution_loader.load_vars()
                trouble = complaint()
                if not trouble:
                    if which > self._first:
                        self._first, self._spell = which % count, self._next_spell
                        self._next_spell *= 2
                    return results
                trouble = f"called a point optimal that {trouble}"
            else:
                trouble = f"ended with {ended.name}"
                if (
                    ended == TerminationCondition.maxTimeLimit
                    and self._time_limit is not None
                ):
                    raise OutOfTimeError
            logger.info("relu.cuts: %s %s", self.name, trouble)
            if trouble not in troubles:
                troubles.append(trouble)
            if ended in _UNBOUNDED:
                break
        kind = UnboundedError if ended in _UNBOUNDED else SolverError
        raise kind(
            f"relu.cuts: solver {self.name!r} {', then '.join(troubles)}, from scratch "
            f"as well.{_advice(ended)} The model is as it was before."
        )

    def solve_from_scratch(self) -> float | None:
        """Return the optimum as anybody finds it; None where it is not found.

        The variables keep their values. The objective of a model without one is zero.

        Raises
        ------
        OutOfTimeError
            The time limit came first.
        """
        settings = _PLAIN.get(self._choice, {}) if isinstance(self._choice, str) else {}
        results = self._run(self._new(), settings)
        if not _is_optimal(results):
            return None
        return results.incumbent_objective or 0.0

    def _new(self) -> Any:
        choice = self._choice
        if isinstance(choice, str):
            return SolverFactory(choice)
        if isinstance(choice, PersistentSolverBase):
            choice.set_instance(self._model)
        return choice

    def _run(self, solver: Any, settings: dict[str, Any]) -> Results:
        options: dict[str, Any] = {"solver_options": settings} if settings else {}
        if self._time_limit is not None:
            if time.monotonic() - self._begin >= self._time_limit:
                raise OutOfTimeError
            # Not what is left of it: HiGHS counts the time of all solves so far.
            options["time_limit"] = self._time_limit
        try:
            results = solver.solve(
                self._model,
                load_solutions=False,
                raise_exception_on_nonoptimal_result=False,
                **options,
            )
        except Exception as error:
            if self._interrupted():
                raise KeyboardInterrupt from error
            raise SolverError(
                f"relu.cuts: solver {self.name!r} failed: {error} The model is as it "
                "was before."
            ) from error
        if self._interrupted():
            # Some solvers catch the signal, and return what they have.
            raise KeyboardInterrupt
        return results


def _is_optimal(results: Results) -> bool:
    return (
        results.termination_condition
        == TerminationCondition.convergenceCriteriaSatisfied
        and results.solution_status == SolutionStatus.optimal
    )


def _advice(ended: TerminationCondition) -> str:
    if ended in _INFEASIBLE:
        return (
            " The linear rows alone are infeasible, and so is the model with its cones."
        )
    if ended in _UNBOUNDED:
        return (
            " The program is infeasible, or unbounded in variables that are in no cone "
            "and in no square of the objective."
        )
    return ""
