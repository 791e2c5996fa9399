"""Solve, cut, solve again: the rounds of `relu.cuts`."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from pyomo.contrib.solver.common.base import PersistentSolverBase, SolverBase
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import (
    Results,
    SolutionStatus,
    TerminationCondition,
)
from pyomo.core.base.constraint import Constraint
from pyomo.core.base.objective import Objective
from pyomo.core.expr.numvalue import value

from pyomo_relu.cones.base import DESCEND
from pyomo_relu.errors import SolverError
from pyomo_relu.tiers.eigenvector_cuts import EigenvectorCuts
from pyomo_relu.tiers.tangents import Tangents

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["CutLoop", "read_solver"]

#: By how much a point that is called optimal may violate a row, relative to the larger
#: of one and its largest entry: ten times what linear solvers commonly allow.
_FEASIBLE = 1e-5
#: The traces that an unbounded program is tried with.
_BOXES = (1e4, 1e6, 1e8)
_INFEASIBLE = {
    TerminationCondition.provenInfeasible,
    TerminationCondition.locallyInfeasible,
}
_UNBOUNDED = {
    TerminationCondition.unbounded,
    TerminationCondition.infeasibleOrUnbounded,
}

logger = logging.getLogger(__name__)


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
    elif not isinstance(solver, SolverBase):
        raise ValueError(
            "solver must be a name or a solver of pyomo.contrib.solver; got "
            f"{type(solver).__name__}"
        )
    interface = SolverFactory(solver) if isinstance(solver, str) else solver
    if not interface.available():
        raise ValueError(f"solver {interface.name!r} is not available here")
    return solver


class CutLoop:
    """The rounds, and what they have found.

    Parameters
    ----------
    model : Block
        The whole model, without active cones.
    parts : list of EigenvectorCuts
        At least one.
    tangents : Tangents, optional
        Those of a quadratic objective.
    config : ConfigDict
        The options of the tier.
    """

    def __init__(
        self,
        model: Any,
        parts: list[EigenvectorCuts],
        tangents: Tangents | None,
        config: Any,
    ) -> None:
        self._model = model
        self._parts = parts
        self._tangents = tangents
        self._config = config
        self._begin = time.monotonic()
        self._pools = [part.pool for part in parts]
        if tangents is not None:
            self._pools.append(tangents.pool)
        self._box = _Box(parts, tangents)
        self._solver: Any = None
        self._interrupted: Callable[[], bool] = lambda: False
        self._round = 0

    def run(self) -> None:
        """Solve and add cuts until they are enough, or rounds or time run out.

        Raises
        ------
        SolverError
            A linear program did not end at an optimum.
        """
        with _noticing_interrupts() as self._interrupted:
            try:
                ending = self._rounds()
            except KeyboardInterrupt:
                ending = "it was interrupted"
            finally:
                self._box.remove()
        if ending:
            logger.warning(
                "relu.cuts stops in round %d: %s. The cuts so far are valid, and so is "
                "the bound that they give, but it may be loose.",
                self._round,
                ending,
            )
        logger.info(
            "relu.cuts: %d rounds, %.2f s, %d rows added, of which %d are left",
            self._round,
            time.monotonic() - self._begin,
            sum(pool.added for pool in self._pools),
            sum(map(len, self._pools)),
        )

    def _rounds(self) -> str:
        """Return why the rounds ended early, empty if the cuts are enough."""
        tolerance = self._config.tolerance
        before = None
        while self._round < self._config.max_rounds:
            self._round += 1
            point = self._optimum()
            if point is None:
                return f"time_limit is {self._config.time_limit:g} s"
            objective = _objective_value(self._model)
            found = [part.separate(tolerance) for part in self._parts]
            violation = max(worst for worst, _ in found)
            count = sum(added for _, added in found)
            gap, touched = 0.0, 0
            if self._tangents is not None:
                allowed = tolerance * max(1.0, abs(objective))
                gap, touched = self._tangents.separate(allowed)
            logger.info(
                "relu.cuts: round %d, objective %.9g, eigenvalues %.1e below zero, "
                "tangents %.1e below the loss, %d cuts and %d tangents added",
                self._round,
                objective,
                violation,
                gap,
                count,
                touched,
            )
            if count + touched == 0:
                if not self._box.is_binding():
                    self._check_rows()
                    return ""
                self._box.grow()
            elif before is not None and np.array_equal(before, point):
                return (
                    "the solver does not see the last cuts, which its own tolerance "
                    "on rows lets pass; ask for a larger tolerance, or give an "
                    "instance of the solver with a smaller one"
                )
            before = point
        return f"max_rounds is {self._config.max_rounds}"

    def _optimum(self) -> Array | None:
        """Solve, and return the values of all entries; None when time is over."""
        for is_fresh in (self._solver is None, True):
            if is_fresh:
                self._solver = self._new_solver()
            seconds = self._seconds_left()
            if seconds is not None and seconds <= 0.0:
                return None
            results = self._solve(seconds)
            ended = results.termination_condition
            if ended == TerminationCondition.maxTimeLimit and seconds is not None:
                return None
            if ended in _UNBOUNDED and not self._box.is_closed:
                # What a finite number of cuts leaves unbounded need not be so.
                self._box.grow()
                return self._optimum()
            trouble = f"ended with {ended.name}"
            if (
                ended == TerminationCondition.convergenceCriteriaSatisfied
                and results.solution_status == SolutionStatus.optimal
            ):
                results.solution_loader.load_vars()
                values = [pool.values() for pool in self._pools]
                violation = max(
                    pool.violation(v) / max(1.0, float(np.abs(v).max()))
                    for pool, v in zip(self._pools, values, strict=True)
                )
                if violation <= _FEASIBLE:
                    return np.concatenate(values)
                trouble = f"called a point optimal that violates a cut by {violation:g}"
        raise SolverError(
            f"relu.cuts: in round {self._round} solver {self._solver.name!r} "
            f"{trouble}, with and without a warm start.{_advice(ended)} The model is "
            "as it was before."
        )

    def _new_solver(self) -> Any:
        solver = self._config.solver
        if isinstance(solver, str):
            return SolverFactory(solver)
        if isinstance(solver, PersistentSolverBase):
            solver.set_instance(self._model)
        return solver

    def _seconds_left(self) -> float | None:
        limit = self._config.time_limit
        return None if limit is None else limit - (time.monotonic() - self._begin)

    def _solve(self, seconds: float | None) -> Results:
        limit = {} if seconds is None else {"time_limit": seconds}
        try:
            results = self._solver.solve(
                self._model,
                load_solutions=False,
                raise_exception_on_nonoptimal_result=False,
                **limit,
            )
        except Exception as error:
            if self._interrupted():
                raise KeyboardInterrupt from error
            raise SolverError(
                f"relu.cuts: solver {self._solver.name!r} failed in round "
                f"{self._round}: {error} The model is as it was before."
            ) from error
        if self._interrupted():
            # Some solvers catch the signal, and return what they have.
            raise KeyboardInterrupt
        return results

    def _check_rows(self) -> None:
        """Compare the last point with every row of the model."""
        for row in self._model.component_data_objects(
            Constraint, active=True, descend_into=DESCEND
        ):
            violation = -min(row.lslack(), row.uslack())
            if violation > _FEASIBLE * max(1.0, abs(value(row.body))):
                raise SolverError(
                    f"relu.cuts: solver {self._solver.name!r} called a point optimal "
                    f"that violates row {row.name!r} by {violation:.2g}; scale the "
                    "model better. It is as it was before."
                )


class _Box:
    """A row that bounds the traces and squares of a program that is unbounded."""

    def __init__(self, parts: list[EigenvectorCuts], tangents: Tangents | None) -> None:
        self._block = parts[0].block
        squares = [] if tangents is None else tangents.variables
        self._terms = [*(part.trace for part in parts), *squares]
        self._sizes = iter(_BOXES)
        self._size = math.inf

    @property
    def is_closed(self) -> bool:
        return self._size < math.inf

    def is_binding(self) -> bool:
        total = sum(map(value, self._terms))
        return self.is_closed and total > (1.0 - 1e-6) * self._size

    def grow(self) -> None:
        """Bound the program, or bound it less."""
        self.remove()
        self._size = next(self._sizes, math.inf)
        if not self.is_closed:
            raise SolverError(
                "relu.cuts: the objective is unbounded, as far as can be told: with "
                f"all cuts its optimum is where traces and squares sum to {_BOXES[-1]:g}."
                " Bound it, or scale the model. It is as it was before."
            )
        self._block.box = Constraint(expr=sum(self._terms) <= self._size)

    def remove(self) -> None:
        if self._block.component("box") is not None:
            self._block.del_component("box")


def _objective_value(model: Any) -> float:
    """Return the value of the active objective; zero where there is none."""
    objectives = model.component_data_objects(
        Objective, active=True, descend_into=DESCEND
    )
    return float(sum(value(objective) for objective in objectives))


def _advice(ended: TerminationCondition) -> str:
    if ended in _INFEASIBLE:
        return (
            " The program without its cones but for some linear rows is infeasible, "
            "and so is the model."
        )
    if ended in _UNBOUNDED:
        return (
            " The program is infeasible, or unbounded in variables that are in no cone "
            "and in no square of the objective."
        )
    return ""


@contextmanager
def _noticing_interrupts() -> Iterator[Callable[[], bool]]:
    """Tell whether Ctrl-C came, also where a solver caught the exception.

    Outside the main thread, where Python delivers no signals, this does nothing.
    """
    came: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(
        previous
    ):
        yield lambda: False
        return

    def notice(number: int, frame: Any) -> None:
        came.append(number)
        previous(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, previous)
