"""Clarabel: an interior-point solver for linear to semidefinite programs.

P. J. Goulart and Y. Chen, "Clarabel: An interior-point solver for conic programs with
quadratic objectives", arXiv:2405.12762.
"""

from __future__ import annotations

import io
import math
from contextlib import ExitStack
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.dependencies import attempt_import
from pyomo.common.tee import TeeStream, capture_output
from pyomo.contrib.solver.common.base import Availability
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.interrupts import deferred_interrupt
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.conic_solver import ConicAnswer, ConicSolver, ConicSolverConfig
from pyomo_relu.solvers.interface import package_availability, package_version
from pyomo_relu.solvers.settings import chosen_iteration_limit, refuse_unknown_settings

__all__ = ["DEFAULT_SETTINGS", "Clarabel"]

clarabel, clarabel_available = attempt_import("clarabel")

# Conventions. A second-order cone is |s[1:]| <= s[0]. A semidefinite block is its upper
# triangle, column by column (the order of ConicForm), off-diagonal entries times
# sqrt(2): the dot product of two such vectors is the inner product of the matrices. An
# exponential cone is (x, y, z) with y exp(x / y) <= z. P is its upper triangle; P and A
# must be CSC.
_OFF_DIAGONAL_FACTOR = math.sqrt(2.0)

#: Settings that differ from Clarabel's own. Chordal decomposition makes the set-up of
#: a thousand small blocks some fifty times slower and gains nothing on them.
DEFAULT_SETTINGS: dict[str, Any] = {"chordal_decomposition_enable": False}

#: The same where there are exponential cones. With Clarabel's own step lengths it stops
#: with InsufficientProgress on softmax training programs of a few hundred cells.
EXPONENTIAL_SETTINGS: dict[str, Any] = {"min_switch_step_length": 1e-2}

# Set through an option of Pyomo instead: a second way would be a silent conflict.
_PYOMO_OPTIONS = {
    "verbose": "tee",
    "time_limit": "time_limit",
    "max_threads": "threads",
}

_TERMINATION = {
    "Solved": TerminationCondition.convergenceCriteriaSatisfied,
    # It met the loose tolerances (5e-5 by default) and got stuck: not an optimum.
    "AlmostSolved": TerminationCondition.unknown,
    "PrimalInfeasible": TerminationCondition.provenInfeasible,
    "AlmostPrimalInfeasible": TerminationCondition.locallyInfeasible,
    "DualInfeasible": TerminationCondition.infeasibleOrUnbounded,
    "AlmostDualInfeasible": TerminationCondition.unknown,
    "MaxIterations": TerminationCondition.iterationLimit,
    "MaxTime": TerminationCondition.maxTimeLimit,
    "NumericalError": TerminationCondition.error,
    "InsufficientProgress": TerminationCondition.minStepLength,
    "CallbackTerminated": TerminationCondition.interrupted,
    "Unsolved": TerminationCondition.unknown,
}


@SolverFactory.register(
    name="clarabel",
    legacy_name="clarabel",
    doc="Clarabel: linear, convex quadratic, second-order cone and semidefinite "
    "programs",
)
class Clarabel(ConicSolver):
    """Pyomo interface to Clarabel.

    It takes what :func:`~pyomo_relu.solvers.standard_form.compile_conic` takes, and
    gives primal values, duals (vectors and matrices for cones) and reduced costs with
    Pyomo's signs. Of Clarabel's answers only ``Solved`` is called optimal.

    ``results.objective_bound`` stays None: the dual objective of an interior-point
    method is a bound only up to a dual residual that nobody has multiplied by the
    size of the feasible set. ``results.extra_info`` holds it as ``dual_objective``,
    with residuals of the returned point that are computed here:

    - ``primal_residual``: largest violation of a row or cone;
    - ``dual_residual``: largest entry of the gradient of the Lagrangian, or of what
      the multipliers lack to be in the dual cone;
    - ``gap``: primal minus dual objective of the minimisation;
    - ``certificate_residual``: where the model was found infeasible or unbounded,
      how far the normalised certificate is from being one;
    - ``refinement_steps``: Newton steps from Clarabel's point to the returned one
      (:mod:`~pyomo_relu.solvers.refinement`; ``refine=False`` leaves them out);
    - ``solver_status``, ``iteration_count``, and ``warning`` where Clarabel said
      ``Solved`` and the point violates a row by more than ``residual_tolerance``.

    Tolerances are Clarabel's own (1e-8); ``solver_options`` takes every name of
    ``clarabel.DefaultSettings``, for instance ``tol_gap_rel``.

    Parameters
    ----------
    **kwds
        Initial values of the configuration.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, None))
    >>> m.y = pyo.Var(bounds=(0, None))
    >>> m.o = pyo.Objective(expr=m.x**2 + m.y**2)
    >>> m.c = pyo.Constraint(expr=m.x + 2 * m.y >= 5)
    >>> results = Clarabel().solve(m)
    >>> round(m.x.value, 6), round(m.y.value, 6)
    (1.0, 2.0)
    >>> round(results.solution_loader.get_duals()[m.c], 6)
    2.0
    """

    CONFIG = ConicSolverConfig()

    # First version with print_to_buffer and set_termination_callback.
    _minimum_version = (0, 11)

    def available(self) -> Availability:
        """Whether Clarabel is installed, in a version that has what is used here."""
        return package_availability(self.version(), self._minimum_version)

    def version(self) -> tuple[int, ...]:
        """Version of the installed Clarabel, () where there is none."""
        return package_version(clarabel) if clarabel_available else ()

    def minimise(self, form: ConicForm, config: Any) -> ConicAnswer:
        """Hand a conic form to Clarabel, and bring its answer back unscaled.

        Parameters
        ----------
        form : ConicForm
            The problem, with at least one variable.
        config : ConicSolverConfig
            Options of this solve.

        Returns
        -------
        ConicAnswer

        Raises
        ------
        InputError
            If ``solver_options`` names no setting of Clarabel, or a value does not
            fit.
        SolverError
            If Clarabel fails without an answer.
        """
        settings = _settings(config, exponential=form.n_exponential > 0)
        # SciPy's LAPACK is imported at the first use: an interrupt in there aborts.
        clarabel.force_load_blas_lapack()
        objective_scale = form.objective_size
        row_scale = np.where(form.is_off_diagonal, _OFF_DIAGONAL_FACTOR, 1.0)
        A = sp.csc_matrix(form.A, copy=True)
        A.data *= row_scale[A.indices]
        cones = [
            clarabel.ZeroConeT(form.n_zero),
            clarabel.NonnegativeConeT(form.n_nonnegative),
            *(clarabel.SecondOrderConeT(int(order)) for order in form.soc_orders),
            *(clarabel.PSDTriangleConeT(int(order)) for order in form.psd_orders),
            *(clarabel.ExponentialConeT() for _ in range(form.n_exponential)),
        ]
        try:
            solver = clarabel.DefaultSolver(
                sp.csc_matrix(sp.triu(form.P)) / objective_scale,
                form.c / objective_scale,
                A,
                form.b * row_scale,
                cones,
                settings,
            )
            solution, log = _run(solver, config.tee)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            # A panic of the compiled code derives from BaseException alone.
            raise SolverError(f"Clarabel failed without an answer: {error}") from error
        status = str(solution.status)
        return ConicAnswer(
            status=status,
            termination=_TERMINATION.get(status, TerminationCondition.unknown),
            x=np.array(solution.x),
            z=np.array(solution.z) * (objective_scale / row_scale),
            has_point=not status.endswith("Infeasible"),
            iterations=solution.iterations,
            seconds=solution.solve_time,
            log=log,
        )


def _settings(config: Any, *, exponential: bool) -> Any:
    """Clarabel's settings from ours, Pyomo's and the user's, names checked."""
    settings = clarabel.DefaultSettings()
    options = config.solver_options.value()
    allowed = sorted(
        name
        for name in dir(settings)
        if not name.startswith("_") and not callable(getattr(settings, name))
    )
    refuse_unknown_settings(options, allowed, _PYOMO_OPTIONS, "Clarabel")
    settings.verbose = True
    if config.time_limit is not None:
        settings.time_limit = config.time_limit
    if config.threads is not None:
        settings.max_threads = config.threads
    limit = chosen_iteration_limit(config, options, "max_iter")
    if limit is not None:
        settings.max_iter = limit
    special = EXPONENTIAL_SETTINGS if exponential else {}
    for name, setting in {**DEFAULT_SETTINGS, **special, **options}.items():
        try:
            setattr(settings, name, setting)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(
                f"{setting!r} does not fit Clarabel's setting {name!r}, whose default "
                f"is {getattr(clarabel.DefaultSettings(), name)!r}"
            ) from error
    return settings


def _run(solver: Any, streams: list[Any]) -> tuple[Any, str]:
    """Solve; print to the streams as it goes if there are any, else to a buffer."""
    with ExitStack() as stack:
        interrupted = stack.enter_context(deferred_interrupt())
        log = io.StringIO()
        if streams:
            stack.enter_context(capture_output(TeeStream(log, *streams)))
        else:
            solver.print_to_buffer()
        solver.set_termination_callback(lambda info: interrupted())
        solution = solver.solve()
    return solution, log.getvalue() if streams else solver.get_print_buffer()
