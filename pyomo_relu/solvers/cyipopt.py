"""Ipopt: local optima of nonlinear programs, by the Python package ``cyipopt``."""

from __future__ import annotations

import dataclasses
import io
import math
import os
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pyomo.common.dependencies import attempt_import
from pyomo.common.env import CtypesEnviron
from pyomo.common.modeling import unique_component_name
from pyomo.common.tee import TeeStream, capture_output
from pyomo.contrib.solver.common.base import Availability
from pyomo.contrib.solver.common.config import SolverConfig
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.common.solution_loader import NoSolutionSolutionLoader
from pyomo.core.base import Objective, SOSConstraint, minimize, value
from pyomo.core.expr.visitor import identify_variables
from pyomo.repn.plugins.nl_writer import NLWriter
from pyomo.solvers.amplfunc_merge import amplfunc_merge

from pyomo_relu.errors import InputError, PyomoReluError, SolverError
from pyomo_relu.interrupts import deferred_interrupt
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.executable import working_directory
from pyomo_relu.solvers.interface import iteration_limit_entry
from pyomo_relu.solvers.point_loader import PointLoader
from pyomo_relu.solvers.point_solver import (
    SOLVED,
    PointAnswer,
    PointSolver,
    constant_answer,
    point_status,
    side_violation,
)
from pyomo_relu.solvers.reading import (
    compiler_errors,
    read_bounds,
    refuse_crossing,
    sole_objective,
)
from pyomo_relu.solvers.settings import refuse_pyomo_options

__all__ = ["CyIpopt"]

cyipopt, cyipopt_available = attempt_import("cyipopt")
_pynumero_asl, _ = attempt_import("pyomo.contrib.pynumero.asl")
_ampl_nlp, _ = attempt_import("pyomo.contrib.pynumero.interfaces.ampl_nlp")
_cyipopt_interface, _ = attempt_import(
    "pyomo.contrib.pynumero.interfaces.cyipopt_interface"
)


_STATUS = {
    0: ("Solve_Succeeded", SOLVED),
    # It met the loose tolerances and got stuck: not an optimum.
    1: ("Solved_To_Acceptable_Level", TerminationCondition.unknown),
    # A local minimum of the violation; elsewhere there may be feasible points.
    2: ("Infeasible_Problem_Detected", TerminationCondition.locallyInfeasible),
    3: ("Search_Direction_Becomes_Too_Small", TerminationCondition.minStepLength),
    # The infimum may be attained at infinity, and finite.
    4: ("Diverging_Iterates", TerminationCondition.unknown),
    5: ("User_Requested_Stop", TerminationCondition.interrupted),
    # As many equations as variables: no multipliers, no test of optimality.
    6: ("Feasible_Point_Found", TerminationCondition.unknown),
    -1: ("Maximum_Iterations_Exceeded", TerminationCondition.iterationLimit),
    -2: ("Restoration_Failed", TerminationCondition.unknown),
    -3: ("Error_In_Step_Computation", TerminationCondition.error),
    -4: ("Maximum_CpuTime_Exceeded", TerminationCondition.maxTimeLimit),
    -5: ("Maximum_WallTime_Exceeded", TerminationCondition.maxTimeLimit),
    -10: ("Not_Enough_Degrees_Of_Freedom", TerminationCondition.error),
    -11: ("Invalid_Problem_Definition", TerminationCondition.error),
    -12: ("Invalid_Option", TerminationCondition.error),
    -13: ("Invalid_Number_Detected", TerminationCondition.error),
    -100: ("Unrecoverable_Exception", TerminationCondition.error),
    -101: ("NonIpopt_Exception_Thrown", TerminationCondition.error),
    -102: ("Insufficient_Memory", TerminationCondition.error),
    -199: ("Internal_Error", TerminationCondition.error),
}

#: At and below this Ipopt has not started: its point is the initial one.
_NOT_STARTED = -10

#: Statuses whose multipliers are none of the model.
_NO_MULTIPLIERS = (2, 6, -2)


class _IpoptConfig(SolverConfig):
    """Pyomo's common solver options and an iteration limit."""

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


class CyIpopt(PointSolver):
    """Interface to Ipopt by ``cyipopt``: nonlinear programs, local optima.

    Duals and reduced costs have Pyomo's signs, derivatives of the optimum by
    right-hand sides and bounds. (Ipopt's own multipliers are those of the
    minimisation ``f + <lambda, g>``, which PyNumero hands through.)

    What is called optimal is a point at which Ipopt's tests hold: a local optimum, the
    global one where the model is convex. A point at which it detects infeasibility
    proves none. ``solver_options`` takes Ipopt's options; ``print_level`` is that of
    the log. The time limit is wall-clock time, looked at once an iteration.
    ``working_dir`` keeps the NL file and Ipopt's log. Ipopt starts at the values of
    the variables, at zero where there are none.

    Parameters
    ----------
    **kwds
        Initial values of the configuration.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(initialize=1.0)
    >>> m.o = pyo.Objective(expr=pyo.exp(m.x))
    >>> m.c = pyo.Constraint(expr=m.x >= 2)
    >>> solver = CyIpopt()
    >>> if solver.available():
    ...     results = solver.solve(m)
    ...     assert round(results.solution_loader.get_duals()[m.c], 4) == 7.3891
    """

    name = "cyipopt"
    title = "Ipopt"
    install = (
        "pip install cyipopt, then pyomo build-extensions for PyNumero's library, or "
        "conda install -c conda-forge cyipopt pynumero_libraries"
    )

    CONFIG = _IpoptConfig()

    _pyomo_options: ClassVar[dict[str, str]] = {
        "max_iter": "iteration_limit",
        "max_cpu_time": "time_limit",
        "max_wall_time": "time_limit",
        "output_file": "working_dir",
        "file_print_level": "print_level of solver_options",
    }

    def available(self) -> Availability:
        """Whether cyipopt and PyNumero's library are there."""
        if not cyipopt_available:
            return Availability.NotFound
        if not _pynumero_asl.AmplInterface.available():
            return Availability.NeedsCompiledExtension
        return Availability.FullLicense

    def version(self) -> tuple[int, ...]:
        """Version of Ipopt, () where there is no cyipopt."""
        return tuple(cyipopt.IPOPT_VERSION) if cyipopt_available else ()

    def _answer(self, model: Any, config: Any) -> PointAnswer:
        objective = sole_objective(
            list(model.component_data_objects(Objective, active=True))
        )
        sos = next(model.component_data_objects(SOSConstraint, active=True), None)
        if sos is not None:
            raise UnsupportedModelError(
                f"Ipopt takes no SOSConstraint such as '{sos.name}'; use SCIP"
            )
        options = self._options(config)
        with working_directory(config.working_dir, "ipopt") as folder:
            config.timer.start("write")
            try:
                info = _write_nl(model, objective, folder / "model.nl")
            finally:
                config.timer.stop("write")
            if not info.variables:
                return _constant(model, objective)
            _refuse_discrete(info.variables)
            # The NL file has the bounds: here those that cross are refused.
            read_bounds(info.variables)
            for row in info.constraints:
                low, up = row.lb, row.ub
                if low is not None and up is not None:
                    refuse_crossing(low, up, f"constraint '{row.name}'")
            config.timer.start("optimize")
            try:
                return self._minimise(model, objective, info, options, config, folder)
            except PyomoReluError:
                raise
            except (
                ArithmeticError,
                AttributeError,
                LookupError,
                RuntimeError,
                TypeError,
                ValueError,
                _ampl_nlp_error(),
            ) as error:
                raise SolverError(
                    f"Ipopt failed without an answer: {error}. If a function or a "
                    f"derivative cannot be evaluated, give the variables initial "
                    f"values at which it can"
                ) from error
            finally:
                config.timer.stop("optimize")

    def _options(self, config: Any) -> dict[str, Any]:
        options = config.solver_options.value()
        refuse_pyomo_options(options, self._pyomo_options)
        if config.iteration_limit is not None:
            options["max_iter"] = config.iteration_limit
        return options

    def _minimise(
        self,
        model: Any,
        objective: Any,
        info: Any,
        options: dict[str, Any],
        config: Any,
        folder: Path,
    ) -> PointAnswer:
        libraries = amplfunc_merge(os.environ, *info.external_function_libraries)
        with CtypesEnviron(AMPLFUNC=libraries):
            nlp = _ampl_nlp.AslNLP(str(folder / "model.nl"))
        start = time.perf_counter()
        limit = math.inf if config.time_limit is None else start + config.time_limit
        count = 0
        late = False
        log = folder / "ipopt.log"
        with ExitStack() as stack:
            interrupted = stack.enter_context(deferred_interrupt())

            def look(nlp: Any, mode: Any, iteration: int, *rest: Any) -> bool:
                nonlocal count, late
                count = iteration
                late = time.perf_counter() >= limit
                return not (late or interrupted())

            problem = _cyipopt_interface.CyIpoptNLP(nlp, intermediate_callback=look)
            stack.callback(problem.close)
            _set_options(problem, options, log, bool(config.tee))
            if config.tee:
                # Ipopt prints to the descriptor itself.
                stack.enter_context(
                    capture_output(TeeStream(*config.tee), capture_fd=True)
                )
            x, found = problem.solve(problem.x_init())
        code = int(found["status"])
        name, termination = _STATUS.get(
            code, (f"status {code}", TerminationCondition.unknown)
        )
        if code == 5 and late:
            termination = TerminationCondition.maxTimeLimit
        if code == 6 and (objective is None or not _has_variables(objective)):
            termination = SOLVED
        message = f"{name} ({termination.name})"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        seconds = time.perf_counter() - start
        answer = PointAnswer(
            status=name,
            termination=termination,
            loader=NoSolutionSolutionLoader(model, message),
            iterations=count,
            seconds=seconds,
            log=text,
        )
        if code <= _NOT_STARTED or not np.isfinite(x).all():
            return answer
        return _ipopt_point(model, objective, info, nlp, x, found, answer)


def _ampl_nlp_error() -> type[Exception]:
    """PyNumero's own error, which is imported with the library."""
    from pyomo.contrib.pynumero.exceptions import PyNumeroEvaluationError

    return PyNumeroEvaluationError


def _has_variables(objective: Any) -> bool:
    return (
        next(identify_variables(objective.expr, include_fixed=False), None) is not None
    )


def _write_nl(model: Any, objective: Any, path: Path) -> Any:
    """Write an NL file; PyNumero ends the process where that has no objective."""
    added = None
    if objective is None:
        added = Objective(expr=0.0)
        model.add_component(unique_component_name(model, "no_objective"), added)
    try:
        with (
            compiler_errors(model),
            path.open("w", newline="\n", encoding="utf-8") as file,
        ):
            return NLWriter().write(
                model,
                file,
                None,
                None,
                linear_presolve=False,
                scale_model=False,
                skip_trivial_constraints=True,
            )
    finally:
        if added is not None:
            model.del_component(added)


def _refuse_discrete(variables: Iterable[Any]) -> None:
    for var in variables:
        if not var.is_continuous():
            raise UnsupportedModelError(
                f"variable '{var.name}' has the domain {var.domain}; Ipopt takes "
                f"continuous variables only. Fix it, relax it with "
                f"core.relax_integer_vars, or use SCIP"
            )


def _constant(model: Any, objective: Any) -> PointAnswer:
    """Return the answer for a model without free variables, its rows satisfied."""
    number = None if objective is None else float(value(objective))
    nothing = np.zeros(0)
    loader = PointLoader(
        model, x=nothing, duals=nothing, reduced_costs=nothing, message="constant"
    )
    return constant_answer(loader, number)


def _set_options(problem: Any, options: dict[str, Any], log: Path, tee: bool) -> None:
    options = dict(options)
    level = options.pop("print_level", 5)
    settings = {
        "print_level": level if tee else 0,
        "sb": "yes",
        "file_print_level": level,
        "output_file": str(log),
        **options,
    }
    said = io.StringIO()
    name = ""
    try:
        # Ipopt says by a print what it does not like.
        with capture_output(said, capture_fd=True):
            for name, setting in settings.items():
                _add_option(problem, name, setting)
    except (TypeError, ValueError, OverflowError) as error:
        reason = " ".join(said.getvalue().split()) or str(error)
        raise InputError(
            f"Ipopt does not take {settings[name]!r} for {name!r} in solver_options: "
            f"{reason}"
        ) from error


def _add_option(problem: Any, name: str, setting: Any) -> None:
    if isinstance(setting, bool):
        problem.add_option(name, "yes" if setting else "no")
        return
    try:
        problem.add_option(name, setting)
    except TypeError:
        # Ipopt tells 1 from 1.0.
        if not isinstance(setting, (int, np.integer)):
            raise
        problem.add_option(name, float(setting))


def _ipopt_point(
    model: Any,
    objective: Any,
    info: Any,
    nlp: Any,
    x: np.ndarray,
    found: dict[str, Any],
    answer: PointAnswer,
) -> PointAnswer:
    """Say what Ipopt's point is, by what is measured on it."""
    sense = -1 if objective is not None and objective.sense != minimize else 1
    nlp.set_primals(x)
    number = sense * float(nlp.evaluate_objective())
    low, up = nlp.primals_lb(), nlp.primals_ub()
    violation = max(
        side_violation(x, low, up),
        side_violation(
            nlp.evaluate_constraints(), nlp.constraints_lb(), nlp.constraints_ub()
        ),
    )
    solution = point_status(answer.termination, violation)
    duals = costs = None
    if found["status"] not in _NO_MULTIPLIERS:
        multipliers = np.asarray(found["mult_g"])
        pull = np.asarray(found["mult_x_L"]) - np.asarray(found["mult_x_U"])
        # Ipopt takes variables between equal bounds out and gives them no multiplier.
        gradient = nlp.evaluate_grad_objective()
        if len(multipliers):
            gradient = gradient + nlp.evaluate_jacobian().T @ multipliers
        costs = sense * np.where(low == up, gradient, pull)
        duals = -sense * multipliers
    usable = objective is not None and solution != SolutionStatus.infeasible
    return dataclasses.replace(
        answer,
        loader=PointLoader(
            model,
            info.variables,
            x,
            info.constraints,
            duals,
            costs,
            f"{answer.status} ({answer.termination.name})",
        ),
        solution=solution,
        objective=number if usable else None,
        violation=violation,
    )
