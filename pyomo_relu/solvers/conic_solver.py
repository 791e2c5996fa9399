"""What every interface to a conic solver does the same way.

A subclass turns a :class:`ConicForm` into a :class:`ConicAnswer`; this base compiles
and presolves the model, checks the answer against the whole of it, fills Pyomo's
``Results`` and loads.
"""

from __future__ import annotations

import dataclasses
import logging
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import Bool, ConfigValue, NonNegativeFloat
from pyomo.common.errors import ApplicationError, InfeasibleConstraintException
from pyomo.contrib.solver.common.config import SolverConfig
from pyomo.contrib.solver.common.results import (
    Results,
    SolutionStatus,
    TerminationCondition,
)
from pyomo.contrib.solver.common.solution_loader import NoSolutionSolutionLoader

from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.interface import SolverInterface, iteration_limit_entry
from pyomo_relu.solvers.presolve import presolve
from pyomo_relu.solvers.refinement import MAX_SIZE, refine
from pyomo_relu.solvers.solution import ConicSolutionLoader
from pyomo_relu.solvers.standard_form import check_model, compile_conic

__all__ = ["ConicAnswer", "ConicSolver", "ConicSolverConfig"]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class ConicAnswer:
    """What a conic solver said, in the conventions of the :class:`ConicForm`.

    Attributes
    ----------
    status : str
        The solver's own word.
    termination : TerminationCondition
        Pyomo's; ``infeasibleOrUnbounded`` stands for a direction of unbounded descent.
    x : (n,) ndarray
        The point; for ``infeasibleOrUnbounded`` the direction.
    z : (rows,) ndarray
        Multipliers; for ``provenInfeasible`` the certificate.
    has_point : bool
        Whether ``x`` and ``z`` are a point rather than a certificate.
    iterations : int
        Number of iterations.
    seconds : float
        The solver's own time.
    log : str
        What it printed.
    refinement_steps : int
        Newton steps from the solver's point to this one.
    """

    status: str
    termination: TerminationCondition
    x: np.ndarray
    z: np.ndarray
    has_point: bool
    iterations: int = 0
    seconds: float = 0.0
    log: str = ""
    refinement_steps: int = 0


class ConicSolverConfig(SolverConfig):
    """Pyomo's common solver options, our presolve and the tolerance of our check."""

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
        self.residual_tolerance: float = self.declare(
            "residual_tolerance",
            ConfigValue(
                domain=NonNegativeFloat,
                default=1e-6,
                description="Largest violation of a row or cone, relative to "
                "1 + |b|, at which a returned point is called feasible. It is "
                "measured on that point: a solver's own test is relative to the size "
                "of its iterates.",
            ),
        )
        self.iteration_limit: int | None = self.declare(
            "iteration_limit",
            iteration_limit_entry(),
        )
        self.presolve: bool = self.declare(
            "presolve",
            ConfigValue(
                domain=Bool,
                default=True,
                description="Substitute free variables that an equation defines before "
                "the solver sees the model, where that makes it sparser. Values, duals "
                "and certificates are those of the whole model.",
            ),
        )
        self.refine: bool = self.declare(
            "refine",
            ConfigValue(
                domain=Bool,
                default=True,
                description="Bring the point that a solver calls optimal down to "
                "rounding by a few Newton steps, where the model after the presolve "
                f"has at most {MAX_SIZE} rows and columns together: it is taken where "
                "its residuals and gap are smaller. results.extra_info has the number "
                "of refinement_steps.",
            ),
        )


class ConicSolver(SolverInterface):
    """Base of the interfaces to conic solvers.

    A subclass says what it needs to be :meth:`available`, its :meth:`version`, and
    overrides :meth:`minimise`.
    """

    CONFIG = ConicSolverConfig()

    def minimise(self, form: ConicForm, config: Any) -> ConicAnswer:
        """Solve a conic form; the only method that knows the solver.

        Parameters
        ----------
        form : ConicForm
            The problem, with at least one variable; after the presolve without a map
            to the constraints and cones of the model.
        config : ConicSolverConfig
            Options of this solve.

        Returns
        -------
        ConicAnswer
        """
        raise NotImplementedError(f"{type(self).__name__} does not override minimise")

    def solve(self, model: Any, **kwds: Any) -> Results:
        """Solve a model.

        Parameters
        ----------
        model : Block
            The Pyomo model or block.
        **kwds
            Options of this solve, the entries of ``CONFIG``.

        Returns
        -------
        Results

        Raises
        ------
        UnsupportedModelError, UnsupportedConeError
            If the model is no convex conic program.
        InputError
            If an option is unknown or does not fit, the model is not constructed, or
            a coefficient is not finite.
        InputTypeError
            If `model` is no block.
        SolverError
            If the solver fails without an answer.
        NoOptimalSolutionError
            If the solve does not end at an optimum, unless
            ``raise_exception_on_nonoptimal_result`` is False.
        NoFeasibleSolutionError
            If there is no point to load, unless ``load_solutions`` is False.
        """
        check_model(model)
        return self._solve(model, kwds, partial(self._run, model, None))

    def solve_form(self, form: ConicForm, **kwds: Any) -> Results:
        """Solve a model that has been compiled and not been changed since.

        Parameters
        ----------
        form : ConicForm
            What :func:`~pyomo_relu.solvers.standard_form.compile_conic` returned.
        **kwds
            Options of this solve, the entries of ``CONFIG``.

        Returns
        -------
        Results
            As those of :meth:`solve`.
        """
        return self._solve(form.model, kwds, partial(self._run, form.model, form))

    def _refuse_missing(self, config: Any) -> None:
        if not self.available():
            raise ApplicationError(
                f"solver '{self.name}' is not available: {self.available()}"
            )

    def _run(
        self, model: Any, form: ConicForm | None, config: Any, results: Results
    ) -> str:
        """Compile and solve; fill the results and return one sentence about them."""
        timer = config.timer
        timer.start("compile")
        try:
            if form is None:
                form = compile_conic(model)
        except InfeasibleConstraintException as error:
            message = f"The model is infeasible as it stands: {error}"
            results.solution_loader = NoSolutionSolutionLoader(model, message)
            results.termination_condition = TerminationCondition.provenInfeasible
            results.extra_info.solver_status = "not called"
            return message
        finally:
            timer.stop("compile")

        timer.start("optimize")
        answer = self._answer(form, config)
        timer.stop("optimize")
        timer.start("check")
        message = _fill(results, form, answer, config.residual_tolerance)
        timer.stop("check")
        return f"{self.name} stopped with {message}"

    def _answer(self, form: ConicForm, config: Any) -> ConicAnswer:
        if not form.variables:
            return _constant_answer(form, config.residual_tolerance)
        if not config.presolve:
            return self._refined_answer(form, config)
        config.timer.start("presolve")
        presolved = presolve(form)
        config.timer.stop("presolve")
        answer = self._refined_answer(presolved.reduced, config)
        x, z = presolved.restore(answer.x, answer.z, certificate=not answer.has_point)
        return dataclasses.replace(answer, x=x, z=z)

    def _refined_answer(self, form: ConicForm, config: Any) -> ConicAnswer:
        """Minimise, and refine an optimum: what the solver said is left as it is."""
        answer = self._minimise_or_tell(form, config)
        if not (
            config.refine
            and answer.has_point
            and answer.termination == TerminationCondition.convergenceCriteriaSatisfied
        ):
            return answer
        config.timer.start("refine")
        x, z, steps = refine(form, answer.x, answer.z)
        config.timer.stop("refine")
        return dataclasses.replace(answer, x=x, z=z, refinement_steps=steps)

    def _minimise_or_tell(self, form: ConicForm, config: Any) -> ConicAnswer:
        """Minimise, and tell unbounded from infeasible where the solver cannot."""
        answer = self.minimise(form, config)
        if answer.termination != TerminationCondition.infeasibleOrUnbounded:
            return answer
        # The direction proves that there is no optimum; whether there is a point to
        # start from, so that the objective is unbounded, is another question.
        if config.time_limit is not None:
            config = config(preserve_implicit=True)
            config.time_limit = max(config.time_limit - answer.seconds, 0.0)
        zero = sp.csc_array(form.P.shape)
        feasible = self.minimise(
            dataclasses.replace(form, P=zero, c=np.zeros(len(form.c))), config
        )
        return dataclasses.replace(
            answer if feasible.has_point else feasible,
            status=f"{answer.status}, and {feasible.status} without objective",
            termination={
                TerminationCondition.convergenceCriteriaSatisfied: (
                    TerminationCondition.unbounded
                ),
                TerminationCondition.provenInfeasible: (
                    TerminationCondition.provenInfeasible
                ),
            }.get(feasible.termination, TerminationCondition.infeasibleOrUnbounded),
            iterations=answer.iterations + feasible.iterations,
            seconds=answer.seconds + feasible.seconds,
            log=answer.log + feasible.log,
        )


def _constant_answer(form: ConicForm, tolerance: float) -> ConicAnswer:
    """Check a model without free variables: there is nothing to solve."""
    x = np.zeros(0)
    feasible = form.primal_residual(x, relative=True) <= tolerance
    return ConicAnswer(
        status="constant",
        termination=(
            TerminationCondition.convergenceCriteriaSatisfied
            if feasible
            else TerminationCondition.provenInfeasible
        ),
        x=x,
        z=np.zeros(len(form.b)),
        has_point=feasible,
    )


def _fill(
    results: Results, form: ConicForm, answer: ConicAnswer, tolerance: float
) -> str:
    """Translate an answer into results; what the point is, is measured here."""
    info = results.extra_info
    info.solver_status = answer.status
    info.iteration_count = answer.iterations
    info.refinement_steps = answer.refinement_steps
    results.timing_info.solver_time = answer.seconds
    results.solver_log = answer.log
    results.termination_condition = answer.termination
    message = f"{answer.status} ({answer.termination.name})"

    if form.variables:
        if answer.termination == TerminationCondition.provenInfeasible:
            info.certificate_residual = form.infeasibility_residual(answer.z)
        elif answer.termination == TerminationCondition.unbounded:
            info.certificate_residual = form.unboundedness_residual(answer.x)
    finite = np.isfinite(answer.x).all() and np.isfinite(answer.z).all()
    if not (answer.has_point and finite):
        if answer.termination == TerminationCondition.convergenceCriteriaSatisfied:
            message = f"{answer.status}, but without a finite point"
            results.termination_condition = TerminationCondition.error
        results.solution_loader = ConicSolutionLoader(form, message=message)
        return message

    x, z = answer.x, answer.z
    results.solution_loader = ConicSolutionLoader(form, x, z, message)
    info.primal_residual = form.primal_residual(x)
    info.dual_residual = form.dual_residual(x, z)
    info.dual_objective = form.sense * form.dual_objective(x, z)
    info.gap = form.objective(x) - form.dual_objective(x, z)
    residual = form.primal_residual(x, relative=True)
    feasible = residual <= tolerance
    if answer.termination == TerminationCondition.convergenceCriteriaSatisfied:
        results.solution_status = SolutionStatus.optimal
        if not feasible:
            info.warning = (
                f"the solver says {answer.status}, but its point violates a row or "
                f"cone by {info.primal_residual:.2g} ({residual:.2g} relative to the "
                f"data, tolerance {tolerance:.2g}); scale the model better or ask "
                f"for tighter tolerances"
            )
            logger.warning("%s: %s", form.model.name, info.warning)
    elif feasible:
        results.solution_status = SolutionStatus.feasible
    else:
        results.solution_status = SolutionStatus.infeasible
        message += f" at a point that violates a row or cone by {residual:.2g}"
    if form.has_objective and results.solution_status != SolutionStatus.infeasible:
        results.incumbent_objective = form.sense * form.objective(x)
    return message
