"""What the interfaces to solvers that return a point do the same way.

A subclass turns a model into a :class:`PointAnswer`; this base looks after options,
fills Pyomo's ``Results``, and loads.

Pyomo's interfaces of the first generation to Ipopt by cyipopt, GLPK and CBC are not
used: they call a linear program that GLPK gave up at its time limit infeasible, one
that GLPK proved infeasible unbounded, and take a setting that CBC does not know for one
that is set. What is used is Pyomo's compiler of linear models, its NL writer and
PyNumero, and what the programs leave in their machine-readable files.

The solvers always minimise: a linear model to maximise is written with the opposite
objective, and so PyNumero hands over a nonlinear one.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.contrib.solver.common.base import Availability
from pyomo.contrib.solver.common.results import (
    Results,
    SolutionStatus,
    TerminationCondition,
)
from pyomo.contrib.solver.common.solution_loader import (
    NoSolutionSolutionLoader,
    SolutionLoader,
)

from pyomo_relu.cones import cone_data_objects
from pyomo_relu.cones.membership import unsupported
from pyomo_relu.errors import SolverError
from pyomo_relu.solvers.interface import SolverInterface
from pyomo_relu.solvers.standard_form import check_model

__all__ = [
    "FEASIBILITY_TOLERANCE",
    "SOLVED",
    "PointAnswer",
    "PointSolver",
    "constant_answer",
    "point_status",
    "side_violation",
]

logger = logging.getLogger(__name__)

#: Largest violation of a row or bound, relative to 1 + |its side|, at which a point
#: that the solver does not call optimal is called feasible.
FEASIBILITY_TOLERANCE = 1e-6

SOLVED = TerminationCondition.convergenceCriteriaSatisfied


@dataclass(frozen=True)
class PointAnswer:
    """What a solver said about a model, in Pyomo's words.

    Attributes
    ----------
    status : str
        The solver's own word.
    termination : TerminationCondition
        Pyomo's.
    loader : SolutionLoader
        The point, or what says that there is none.
    solution : SolutionStatus
        What the point is.
    objective, bound : float or None
        Those of the model as the user wrote it.
    violation : float
        Largest violation of the point, relative to the data.
    iterations : int or None
        Number of iterations, None where it is not known.
    seconds : float
        Wall-clock time of the solver.
    log : str
        What it printed.
    """

    status: str
    termination: TerminationCondition
    loader: SolutionLoader
    solution: SolutionStatus = SolutionStatus.noSolution
    objective: float | None = None
    bound: float | None = None
    violation: float = 0.0
    iterations: int | None = None
    seconds: float = 0.0
    log: str = ""


class PointSolver(SolverInterface):
    """Base of the interfaces to solvers that return a point.

    A subclass says what it needs to be :meth:`available`, its :meth:`version`, and
    overrides :meth:`_answer`.
    """

    #: What people call the solver, and how to get it.
    title = ""
    install = ""

    def solve(self, model: Any, **kwds: Any) -> Results:
        """Solve a model.

        Parameters
        ----------
        model : Block
            The Pyomo model or block. It is as it was until the solution is loaded.
        **kwds
            Options of this solve, the entries of ``CONFIG``.

        Returns
        -------
        Results

        Raises
        ------
        UnsupportedModelError, UnsupportedConeError
            If the model has what the solver does not take.
        InputError
            If an option is unknown or does not fit, the model is not constructed, or
            a coefficient is not finite.
        InputTypeError
            If `model` is no block.
        SolverError
            If the solver is missing or fails without an answer.
        NoOptimalSolutionError
            If the solve does not end at an optimum, unless
            ``raise_exception_on_nonoptimal_result`` is False.
        NoFeasibleSolutionError
            If there is no point to load, unless ``load_solutions`` is False.
        """
        check_model(model)
        return self._solve(model, kwds, partial(self._run, model))

    def _answer(self, model: Any, config: Any) -> PointAnswer:
        """Solve a model without matrix cones; the method that knows the solver."""
        raise NotImplementedError(f"{type(self).__name__} does not override _answer")

    def _refuse_missing(self, config: Any) -> None:
        available = self._available(config)
        if not available:
            raise SolverError(
                f"solver '{self.name}' is not available ({available}); get it with: "
                f"{self.install}"
            )

    def _available(self, config: Any) -> Availability:
        """Whether the solver is there that the options of a solve lead to."""
        return self.available()

    def _run(self, model: Any, config: Any, results: Results) -> str:
        """Solve; fill the results and return one sentence about them."""
        for cone in cone_data_objects(model):
            raise unsupported(cone)
        try:
            answer = self._answer(model, config)
        except InfeasibleConstraintException as error:
            message = f"The model is infeasible as it stands: {error}"
            answer = PointAnswer(
                status="not called",
                termination=TerminationCondition.provenInfeasible,
                loader=NoSolutionSolutionLoader(model, message),
            )
        _fill(results, model, answer)
        return f"{self.name} stopped with {answer.status} ({answer.termination.name})"


def _fill(results: Results, model: Any, answer: PointAnswer) -> None:
    results.solution_loader = answer.loader
    results.termination_condition = answer.termination
    results.solution_status = answer.solution
    results.incumbent_objective = answer.objective
    results.objective_bound = answer.bound
    results.solver_log = answer.log
    results.timing_info.solver_time = answer.seconds
    info = results.extra_info
    info.solver_status = answer.status
    if answer.iterations is not None:
        info.iteration_count = answer.iterations
    if (
        answer.solution == SolutionStatus.optimal
        and answer.violation > FEASIBILITY_TOLERANCE
    ):
        info.warning = (
            f"the solver says {answer.status}, but its point violates a row or "
            f"bound by {answer.violation:.2g} relative to the data; scale the "
            f"model better or ask for tighter tolerances"
        )
        logger.warning("%s: %s", model.name, info.warning)


def constant_answer(
    loader: SolutionLoader, objective: float | None, violation: float = 0.0
) -> PointAnswer:
    """Return the answer for a model without free variables, which is satisfied.

    Parameters
    ----------
    loader : SolutionLoader
        The point without coordinates.
    objective : float or None
        Value of the objective.
    violation : float, optional
        Of its rows.

    Returns
    -------
    PointAnswer
    """
    return PointAnswer(
        status="constant",
        termination=SOLVED,
        loader=loader,
        solution=SolutionStatus.optimal,
        objective=objective,
        bound=objective,
        violation=violation,
    )


def point_status(termination: TerminationCondition, violation: float) -> SolutionStatus:
    """Say what a point is: an optimum where the solver says so, else as measured.

    Parameters
    ----------
    termination : TerminationCondition
        How the solver ended.
    violation : float
        Largest violation, relative to the data.

    Returns
    -------
    SolutionStatus

    Examples
    --------
    >>> point_status(TerminationCondition.maxTimeLimit, 0.0).name
    'feasible'
    """
    if termination == SOLVED:
        return SolutionStatus.optimal
    if violation <= FEASIBILITY_TOLERANCE:
        return SolutionStatus.feasible
    return SolutionStatus.infeasible


def side_violation(values: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Return the largest violation of ``lower <= values <= upper``.

    Parameters
    ----------
    values, lower, upper : (n,) ndarray
        Infinite sides are none.

    Returns
    -------
    float
        Relative to 1 + |side|.

    Examples
    --------
    >>> side_violation(np.array([3.0]), np.array([-np.inf]), np.array([1.0]))
    1.0
    """
    worst = 0.0
    for excess, side in ((lower - values, lower), (values - upper, upper)):
        finite = np.isfinite(side)
        scaled = excess[finite] / (1.0 + np.abs(side[finite]))
        worst = max(worst, float(scaled.max(initial=0.0)))
    return worst
