"""A dual point where the network does not determine one: that of the dual program."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from pyomo.contrib.solver.common.util import NoSolutionError
from pyomo.environ import value

from pyomo_relu.arrangement import Cells, enumerate_cells
from pyomo_relu.errors import DegenerateDataError, SolverError, TooManyCellsError
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs import build_copositive
from pyomo_relu.solvers import solve
from pyomo_relu.tiers import relax

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["solve_for_dual"]

logger = logging.getLogger(__name__)


def solve_for_dual(
    problem: TrainingProblem, cells: Cells | None, *, max_cells: int
) -> Array | None:
    """Return the dual point of the doubly nonnegative relaxation of the dual program.

    What it proves is for the certificate to say; the solver is not believed.

    Parameters
    ----------
    problem : TrainingProblem
        The problem.
    cells : Cells or None
        All cells, if they are at hand.
    max_cells : int
        Solve no larger program.

    Returns
    -------
    (n, c) array or None
        None where there are too many cells, or the solver returned no point.
    """
    if problem.rank == 0:
        return None
    try:
        if cells is None or not cells.complete:
            cells = enumerate_cells(problem, max_cells=max_cells)
    except (TooManyCellsError, DegenerateDataError):
        return None
    if len(cells) > max_cells:
        return None
    model = build_copositive(problem, cells)
    relax(model, "dnn")
    try:
        results = solve(
            model,
            accuracy="tight",
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
        )
        results.solution_loader.load_vars()
    except (SolverError, NoSolutionError) as error:
        logger.info("the dual program gave no point: %s", error)
        return None
    point = [value(model.dual_point[k]) for k in model.dual_point]
    return np.array(point, dtype=float).reshape(problem.Y.shape)
