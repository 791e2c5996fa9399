"""Solve, cut, solve again: the rounds of `relu.cuts`."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import numpy as np
from pyomo.contrib.solver.common.results import Results
from pyomo.contrib.solver.common.util import NoDualsError
from pyomo.core.base.constraint import Constraint
from pyomo.core.base.objective import Objective
from pyomo.core.expr.numvalue import value

from pyomo_relu.cones.base import DESCEND
from pyomo_relu.errors import SolverError
from pyomo_relu.tiers.eigenvector_cuts import EigenvectorCuts
from pyomo_relu.tiers.linear_solver import (
    LinearSolver,
    OutOfTimeError,
    UnboundedError,
    noticing_interrupts,
)
from pyomo_relu.tiers.tangents import Tangents

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["CutLoop"]

#: By how much a point that is called optimal may violate a row, relative to the larger
#: of one and its largest entry: some times what linear solvers commonly allow.
_FEASIBLE = 1e-5
#: The sums of traces and squares that an unbounded program is tried with.
_BOXES = (1e4, 1e6, 1e8)
#: Multipliers, relative to what the objective may be off, below which a row may go if
#: the solver cannot cope with all.
_LIGHT = (1e-3, 0.1, 1.0, 10.0)

logger = logging.getLogger(__name__)


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
        self._pools = [part.pool for part in parts]
        if tangents is not None:
            self._pools.append(tangents.pool)
        self._box = _Box(parts, tangents)
        self._round = 0

    def run(self) -> None:
        """Solve and add cuts until they are enough, or rounds or time run out.

        Raises
        ------
        SolverError
            A linear program did not end at an optimum.
        """
        begin = time.monotonic()
        with noticing_interrupts() as interrupted:
            config = self._config
            self._solver = LinearSolver(
                self._model, config.solver, config.time_limit, interrupted
            )
            try:
                ending = self._rounds()
            except OutOfTimeError:
                ending = f"time_limit is {config.time_limit:g} s"
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
            time.monotonic() - begin,
            sum(pool.added for pool in self._pools),
            sum(map(len, self._pools)),
        )

    def _rounds(self) -> str:
        """Return why the rounds ended early, empty if the cuts are enough."""
        tolerance = self._config.tolerance
        before = None
        while self._round < self._config.max_rounds:
            self._round += 1
            results = self._optimum()
            point = np.concatenate([pool.values() for pool in self._pools])
            objective = _objective_value(self._model)
            allowed = tolerance * max(1.0, abs(objective))
            found = [part.separate(tolerance) for part in self._parts]
            violation = max(worst for worst, _ in found)
            count = sum(added for _, added in found)
            gap, touched = 0.0, 0
            if self._tangents is not None:
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
                    self._box.remove()
                    self._settle(results, objective, allowed)
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

    def _optimum(self) -> Results:
        """Solve; what finitely many rows leave unbounded need not be so."""
        try:
            return self._solver.solve(self._complaint)
        except UnboundedError:
            if self._box.is_closed:
                raise
        self._box.grow()
        return self._solver.solve(self._complaint)

    def _complaint(self) -> str:
        """Return what is wrong with the point in the variables, if anything."""
        for pool in self._pools:
            values = pool.values()
            violation = pool.violation(values)
            if violation > _FEASIBLE * max(1.0, float(np.abs(values).max())):
                return f"violates a cut by {violation:.2g}"
        return ""

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

    def _settle(self, results: Results, objective: float, allowed: float) -> None:
        """See that what is left can be solved from scratch as well.

        Cuts that are nearly parallel make bases that are nearly singular, and a solver
        that comes from outside may fail where one that was led there did not. Rows of
        small multipliers are then given up: the bound hardly falls.
        """
        multipliers = self._multipliers(results)
        for light in (0.0, *_LIGHT):
            if light > 0.0:
                if multipliers is None:
                    break
                self._drop_light(multipliers, light * allowed)
            optimum = self._solver.solve_from_scratch()
            if optimum is not None and abs(optimum - objective) <= 2.0 * allowed:
                return
        logger.warning(
            "relu.cuts: the cuts are enough, but solver %r does not find the optimum "
            "of the model from scratch. Its bound is valid wherever it is attained; a "
            "larger tolerance or another solver may help.",
            self._solver.name,
        )

    def _multipliers(self, results: Results) -> list[Array] | None:
        """Return those of all rows that may go, None where there are none to be had."""
        try:
            duals = results.solution_loader.get_duals()
        except (NoDualsError, NotImplementedError):
            return None
        return [
            np.array([duals.get(row, 0.0) for row in pool.members()])
            for pool in self._pools
        ]

    def _drop_light(self, multipliers: list[Array], weight: float) -> None:
        for i, pool in enumerate(self._pools):
            pool.drop_light(multipliers[i], weight)
            multipliers[i] = multipliers[i][np.abs(multipliers[i]) >= weight]


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
        """Whether there is the row."""
        return self._size < math.inf

    def is_binding(self) -> bool:
        """Whether the present point is at the bound."""
        total = sum(map(value, self._terms))
        return self.is_closed and total > (1.0 - 1e-6) * self._size

    def grow(self) -> None:
        """Bound the program, or bound it less."""
        self.remove()
        self._size = next(self._sizes, math.inf)
        if not self.is_closed:
            raise SolverError(
                "relu.cuts: the objective is unbounded, as far as can be told: with "
                "all cuts its optimum is where traces and squares sum to "
                f"{_BOXES[-1]:g}. Bound it, or scale the model. It is as it was before."
            )
        self._block.box = Constraint(expr=sum(self._terms) <= self._size)

    def remove(self) -> None:
        """Take the row away."""
        if self._block.component("box") is not None:
            self._block.del_component("box")


def _objective_value(model: Any) -> float:
    """Return the value of the active objective; zero where there is none."""
    objectives = model.component_data_objects(
        Objective, active=True, descend_into=DESCEND
    )
    return float(sum(value(objective) for objective in objectives))
