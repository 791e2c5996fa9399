"""One door to the solvers."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highspy
from pyomo.common.errors import InfeasibleConstraintException, PyomoException
from pyomo.contrib.solver.common.base import LegacySolverWrapper, SolverBase
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import (
    Results,
    SolutionStatus,
    TerminationCondition,
)
from pyomo.contrib.solver.common.solution_loader import NoSolutionSolutionLoader
from pyomo.contrib.solver.common.util import (
    NoFeasibleSolutionError,
    NoOptimalSolutionError,
)

from pyomo_relu.cones import cone_data_objects
from pyomo_relu.cones.membership import replace_first
from pyomo_relu.errors import (
    InputError,
    InputTypeError,
    PyomoReluError,
    SolverError,
    UnsupportedConeError,
)
from pyomo_relu.interrupts import noticing_interrupts
from pyomo_relu.solvers.capability import (
    ALIASES,
    CAPABILITIES,
    Capability,
    is_available,
    make_solver,
)
from pyomo_relu.solvers.checks import NO_MULTIPLIERS, check_solution
from pyomo_relu.solvers.conic_solver import ConicSolver
from pyomo_relu.solvers.content import VECTOR_KINDS, ModelContent, model_content
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.routing import Route, find_route
from pyomo_relu.solvers.standard_form import check_model

__all__ = ["solve"]

logger = logging.getLogger(__name__)

_ACCURACIES = ("fast", "default", "tight")

#: How a solve may end that another solver may do better.
_FAILURES = {
    TerminationCondition.error,
    TerminationCondition.unknown,
    TerminationCondition.minStepLength,
    TerminationCondition.iterationLimit,
}
#: Relative to 1 + |objective|: a "solved" convex program with a larger gap is not.
_GAP_TOLERANCE = 1e-4
#: Largest violation of a point that is called optimal, relative to the data.
_FEASIBILITY_TOLERANCE = 1e-5
#: From here on it is no solution at all.
_NO_SOLUTION = 1e-2


@dataclass(frozen=True)
class Attempt:
    """What one solver made of a model.

    Attributes
    ----------
    solver : str
        Its name.
    outcome : str
        How it ended, or why it did not.
    """

    solver: str
    outcome: str


def solve(
    model: Any,
    solver: str | SolverBase | Sequence[str] | None = None,
    *,
    accuracy: str = "default",
    fallback: bool | None = None,
    iteration_limit: int | None = None,
    **options: Any,
) -> Results:
    """Solve a model by the best installed solver that can take it.

    Parameters
    ----------
    model : Block
        A Pyomo model; its matrix cones relaxed to what some solver takes: PSD or DNN
        cones.
    solver : str, SolverBase or sequence of str, optional
        A name from :func:`solver_table` or any other that ``pyomo.contrib.solver``'s
        ``SolverFactory`` knows, an instance of that interface, or several names in the
        order in which to try them. Default: the solvers that suit the model, best
        first; ``results.extra_info.routing`` says which and why.
    accuracy : {"default", "fast", "tight"}
        Named tolerances, mapped to each solver's settings: about 1e-8, 1e-6 and 1e-10
        for interior points. `solver_options` go before.
    fallback : bool, optional
        Whether the next solver is tried when one fails: by a numerical error, by
        stopping at "almost solved", at its default iteration limit, or with a point
        that our own check refuses. Default: unless a single solver was named.
    iteration_limit : int, optional
        Largest number of iterations; a solve that ends there is not tried elsewhere.
    **options
        Options of the solver interface: ``tee``, ``time_limit`` (seconds, of all
        attempts together), ``threads``, ``load_solutions``,
        ``raise_exception_on_nonoptimal_result``, ``warm_start`` where the solver has
        one; ``solver_options`` of a solver that is named.

    Returns
    -------
    Results
        Pyomo's; the solution is loaded into the model. In ``extra_info``:

        - ``routing``: in words, which solver and why;
        - ``attempts``: a tuple of `Attempt`, the last one that of the results;
        - ``primal_residual``, ``dual_residual``, ``gap``: computed here from the
          returned point, whatever the solver claims;
        - ``optimality``: ``"global"`` or, from a local solver on a model that was not
          seen to be convex, ``"local"``.

    Raises
    ------
    SolverError
        If no solver that takes the model is installed, or the named one is unknown,
        not available or fails without an answer.
    UnsupportedConeError
        If the model has cones that the solver, or every solver, cannot take.
    UnsupportedModelError
        If the model has anything else that the named solver cannot take.
    InputError
        If an option is unknown, or the model is not constructed.
    InputTypeError
        If `model` is no block, or `solver` is none of these.
    NoOptimalSolutionError
        If the solve does not end at an optimum, unless
        ``raise_exception_on_nonoptimal_result`` is False.
    NoFeasibleSolutionError
        If there is no point to load, unless ``load_solutions`` is False.

    Examples
    --------
    The largest correlation of two variables that both correlate by 0.8 with a third
    is 1, the smallest 0.28:

    >>> import pyomo.environ as pyo
    >>> from pyomo_relu.cones import PSDCone
    >>> m = pyo.ConcreteModel()
    >>> m.r = pyo.Var()
    >>> m.K = PSDCone([[1, 0.8, 0.8], [0.8, 1, m.r], [0.8, m.r, 1]])
    >>> m.o = pyo.Objective(expr=m.r)
    >>> results = solve(m)
    >>> round(results.incumbent_objective, 6)
    0.28
    >>> print(results.extra_info.routing)
    clarabel: semidefinite cones: interior points before first-order methods
    """
    check_model(model)
    _check_choice(accuracy, fallback, iteration_limit)
    if isinstance(solver, SolverBase):
        return _Run(model, accuracy, iteration_limit, options).by_instance(solver)
    if solver is None or not isinstance(solver, str):
        names = None if solver is None else _read_names(solver)
        if "solver_options" in options and (names is None or len(names) > 1):
            raise InputError(
                "solver_options are settings of one solver: name it, "
                "solve(model, solver='...', solver_options={...}), or set "
                f"accuracy to one of {', '.join(map(repr, _ACCURACIES))}"
            )
        run = _Run(model, accuracy, iteration_limit, options)
        return run.routed(names, fallback is None or fallback)
    name = ALIASES.get(solver, solver)
    run = _Run(model, accuracy, iteration_limit, options)
    if name in CAPABILITIES and fallback:
        others = [other for other in CAPABILITIES if other != name]
        return run.routed([name, *others], fallback=True)
    return run.by_instance(make_solver(name) if name in CAPABILITIES else _other(name))


def _check_choice(
    accuracy: str, fallback: bool | None, iteration_limit: int | None
) -> None:
    if accuracy not in _ACCURACIES:
        raise InputError(
            f"accuracy must be one of {', '.join(map(repr, _ACCURACIES))}; got "
            f"{accuracy!r}"
        )
    if fallback not in (None, True, False):
        raise InputTypeError(f"fallback must be True or False; got {fallback!r}")
    if iteration_limit is not None:
        if isinstance(iteration_limit, bool) or not isinstance(iteration_limit, int):
            raise InputTypeError(
                f"iteration_limit must be a whole number; got {iteration_limit!r}"
            )
        if iteration_limit < 1:
            raise InputError(
                f"iteration_limit must be at least 1; got {iteration_limit}"
            )


def _read_names(solver: Any) -> list[str]:
    given: list[Any] = list(solver) if isinstance(solver, Sequence) else [None]
    if not all(isinstance(name, str) for name in given):
        raise InputTypeError(
            f"solver must be a name, several names, or a solver of "
            f"pyomo.contrib.solver, not {type(solver).__name__}"
        )
    names: list[str] = [ALIASES.get(name, name) for name in given]
    unknown = [name for name in names if name not in CAPABILITIES]
    if unknown or not names:
        raise InputError(
            f"solver must name some of {', '.join(CAPABILITIES)}; got {given!r}"
        )
    return list(dict.fromkeys(names))


def _other(name: str) -> Any:
    """Return a solver of Pyomo's that this package has no opinion on."""
    if name not in SolverFactory:
        names = sorted({*SolverFactory, *CAPABILITIES})
        raise SolverError(
            f"there is no solver '{name}' among those with Pyomo's solver interface; "
            f"there are {', '.join(names)}"
        )
    return SolverFactory(name)


class _Run:
    """One call of :func:`solve`."""

    def __init__(
        self,
        model: Any,
        accuracy: str,
        iteration_limit: int | None,
        options: dict[str, Any],
    ) -> None:
        self.model = model
        self.accuracy = accuracy
        self.iteration_limit = iteration_limit
        self.options = dict(options)
        self.load = self.options.pop("load_solutions", True)
        self.complain = self.options.pop("raise_exception_on_nonoptimal_result", True)
        self.time_limit = _read_time_limit(self.options.pop("time_limit", None))
        self.begin = time.perf_counter()
        self.attempts: list[Attempt] = []

    def by_instance(self, interface: Any) -> Results:
        """Solve by an instance of Pyomo's interface, whatever it is."""
        if isinstance(interface, LegacySolverWrapper):
            raise InputTypeError(
                "solver must be a name or a solver from the SolverFactory of "
                "pyomo.contrib.solver; this one is from pyomo.environ and answers in "
                "the old way"
            )
        if not interface.available():
            usable = [name for name in CAPABILITIES if is_available(name)]
            raise SolverError(
                f"solver '{interface.name}' is not available here; available are "
                f"{', '.join(usable)}{_how_to_install(interface.name)}"
            )
        capability = CAPABILITIES.get(ALIASES.get(interface.name, interface.name))
        settings = self._settings(interface, capability)
        unknown = sorted(set(self.options) - set(interface.config))
        if unknown:
            raise _no_option(interface, unknown[0])
        content = None
        if not isinstance(interface, ConicSolver):
            # A conic solver compiles the model itself, and refuses by name.
            content = self._content_for(interface.name, capability)
        results = self._solve(interface, settings, content)
        trouble = self._trouble(results, content)
        if trouble and _claims_optimum(results):
            # There is no other solver to ask: say it.
            results.extra_info.warning = trouble
            logger.warning("%s: %s %s", self.model.name, interface.name, trouble)
        self.attempts.append(Attempt(interface.name, _outcome(results, trouble)))
        return self._finish(results, capability, content, "it was named")

    def routed(self, names: Sequence[str] | None, fallback: bool) -> Results:
        """Solve by the best of several solvers."""
        try:
            content = model_content(self.model)
        except InfeasibleConstraintException as error:
            return self._finish(_infeasible(self.model, error), None, None, str(error))
        route = find_route(content, names)
        if not route.solvers:
            raise _nobody(content, route)
        interfaces = {name: make_solver(name) for name in route.solvers}
        for option in sorted(self.options):
            if all(option not in solver.config for solver in interfaces.values()):
                raise _no_option(next(iter(interfaces.values())), option)
        best: tuple[Results, str] | None = None
        for name, interface in interfaces.items():
            if best is not None and (not fallback or self._time_left() == 0.0):
                break
            try:
                settings = self._settings(
                    interface, CAPABILITIES[name], named=names is not None
                )
                results = self._solve(interface, settings, content)
            except KeyboardInterrupt:
                raise
            except Exception as error:
                self.attempts.append(Attempt(name, f"failed: {error}"))
                logger.info("%s failed: %s", name, error)
                if not fallback:
                    raise
                continue
            trouble = self._trouble(results, content)
            self.attempts.append(Attempt(name, _outcome(results, trouble)))
            if best is None or not trouble or _rank(results) > _rank(best[0]):
                best = results, name
            if not trouble:
                break
            logger.info("%s: %s", name, trouble)
        if best is None:
            tried = "; ".join(f"{a.solver} {a.outcome}" for a in self.attempts)
            raise SolverError(
                f"no solver gave an answer for the {content}: {tried}. Rescale the "
                f"model, or name a solver and look at its log with tee=True"
            )
        results, name = best
        reason = route.reason
        if len(self.attempts) > 1:
            before = [a for a in self.attempts if a.solver != name]
            reason += "; " + "; ".join(f"{a.solver} {a.outcome}" for a in before)
        return self._finish(results, CAPABILITIES[name], content, reason)

    def _content_for(
        self, name: str, capability: Capability | None
    ) -> ModelContent | None:
        """Return what the model contains, if a named solver can take that."""
        cone = next(cone_data_objects(self.model), None)
        if cone is not None:
            raise UnsupportedConeError(
                f"solver '{name}' cannot take the {cone.kind} cone '{cone.name}'; "
                f"{replace_first(cone)}, or leave solver=None, which takes a "
                f"semidefinite solver"
            )
        try:
            content = model_content(self.model)
        except InfeasibleConstraintException:
            # What to make of it is for the solver's own interface.
            return None
        refusal = capability.refusal(content) if capability is not None else ""
        if refusal:
            raise UnsupportedModelError(
                f"solver '{name}' cannot take the model, a {content}: {refusal}. "
                f"{_who_can(find_route(content))}"
            )
        return content

    def _settings(
        self, interface: Any, capability: Capability | None, *, named: bool = True
    ) -> dict[str, Any]:
        """Return the options of one solve that depend on the solver."""
        settings: dict[str, Any] = {}
        own: dict[str, Any] = {}
        if capability is not None:
            own.update(capability.settings)
            own.update({} if named else capability.unnamed)
        if self.accuracy != "default":
            if capability is None:
                raise InputError(
                    f"solver '{interface.name}' has no accuracy presets here; set its "
                    f"tolerances in solver_options"
                )
            own.update(capability.accuracy.get(self.accuracy, {}))
        if self.iteration_limit is not None:
            if "iteration_limit" in interface.config:
                settings["iteration_limit"] = self.iteration_limit
            elif capability is not None and capability.iteration_option:
                own.update(
                    dict.fromkeys(capability.iteration_option, self.iteration_limit)
                )
            else:
                raise InputError(
                    f"solver '{interface.name}' has no iteration limit; set time_limit"
                )
        given = self.options.get("solver_options") or {}
        if given and capability is not None and capability.name == "highs":
            _check_highs_settings(given)
        own.update(given)
        if own:
            settings["solver_options"] = own
        left = self._time_left()
        if left is not None:
            settings["time_limit"] = left
        return settings

    def _time_left(self) -> float | None:
        if self.time_limit is None:
            return None
        return max(self.time_limit - (time.perf_counter() - self.begin), 0.0)

    def _solve(
        self, interface: Any, settings: dict[str, Any], content: ModelContent | None
    ) -> Results:
        """Solve once without loading, and measure what came back."""
        known = {k: v for k, v in self.options.items() if k in interface.config}
        options = {
            **known,
            **settings,
            "load_solutions": False,
            "raise_exception_on_nonoptimal_result": False,
        }
        if isinstance(interface, ConicSolver):
            if content is not None and content.form is not None:
                return interface.solve_form(content.form, **options)
            return interface.solve(self.model, **options)
        # HiGHS and SCIP catch Ctrl-C, and return as if they had failed.
        with noticing_interrupts() as interrupted:
            try:
                results = interface.solve(self.model, **options)
            except InfeasibleConstraintException as error:
                return _infeasible(self.model, error)
            except (PyomoReluError, PyomoException):
                raise
            except Exception as error:
                if interrupted():
                    raise KeyboardInterrupt from error
                raise SolverError(
                    f"solver '{interface.name}' failed without an answer: "
                    f"{type(error).__name__}: {error}"
                ) from error
        if interrupted():
            raise KeyboardInterrupt
        if results.solution_status != SolutionStatus.noSolution:
            form = None if content is None else content.form
            check = check_solution(self.model, results, form=form)
            info = results.extra_info
            info.primal_residual = check.primal_residual
            info.dual_residual = check.dual_residual
            info.gap = check.gap
            infeasible = check.relative_residual > _FEASIBILITY_TOLERANCE
            if infeasible and _claims_optimum(results):
                info.warning = (
                    f"it calls a point optimal that violates {check.worst} by "
                    f"{check.primal_residual:.2g}"
                )
                if check.relative_residual > _NO_SOLUTION:
                    # Nobody shall take it for an optimum.
                    results.solution_status = SolutionStatus.infeasible
                    results.termination_condition = TerminationCondition.error
        return results

    def _trouble(self, results: Results, content: ModelContent | None) -> str:
        """Say what another solver may do better, if anything."""
        ended = results.termination_condition
        if ended in _FAILURES:
            limited = self.iteration_limit is not None
            if not (ended == TerminationCondition.iterationLimit and limited):
                status = results.extra_info.get("solver_status")
                return f"ended with {status.value() if status else ended.name}"
        info = results.extra_info
        if "warning" in info and info.warning:
            return str(info.warning)
        gap = info.gap if "gap" in info else None
        if _claims_optimum(results) and gap is not None:
            scale = 1.0 + abs(results.incumbent_objective or 0.0)
            if abs(gap) > _GAP_TOLERANCE * scale:
                return f"it calls a point optimal whose duality gap is {gap:.2g}"
        return ""

    def _finish(
        self,
        results: Results,
        capability: Capability | None,
        content: ModelContent | None,
        reason: str,
    ) -> Results:
        """Say what happened, and load or complain as Pyomo's interfaces do."""
        info = results.extra_info
        info.routing = f"{results.solver_name}: {reason}"
        info.attempts = tuple(self.attempts)
        if results.solution_status == SolutionStatus.optimal and capability is not None:
            convex = capability.needs_convex or (
                content is not None and content.form is not None
            )
            local = capability.finds == "local" and not convex
            info.optimality = "local" if local else "global"
        message = f"{results.solver_name} stopped with {_outcome(results, '')}"
        if self.complain and results.solution_status != SolutionStatus.optimal:
            raise NoOptimalSolutionError(
                f"{message} ({info.routing}). Set "
                f"raise_exception_on_nonoptimal_result=False to get the results all "
                f"the same"
            )
        if not self.load:
            return results
        if not results.solution_loader.get_number_of_solutions():
            raise NoFeasibleSolutionError(
                f"{message}. There is no point to load: set load_solutions=False and "
                f"look at results.termination_condition"
            )
        if results.solution_status != SolutionStatus.optimal:
            logger.warning("%s: %s; its point is loaded", self.model.name, message)
        results.solution_loader.load_vars()
        try:
            results.solution_loader.load_import_suffixes()
        except NO_MULTIPLIERS as error:
            # The Suffix is empty then, as it has to be with integer variables.
            logger.info("%s gives no multipliers: %s", results.solver_name, error)
        return results


def _read_time_limit(limit: Any) -> float | None:
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, (int, float)):
        raise InputTypeError(f"time_limit must be a number of seconds; got {limit!r}")
    if not limit >= 0.0:
        raise InputError(f"time_limit must not be negative; got {limit!r}")
    return float(limit)


def _check_highs_settings(settings: dict[str, Any]) -> None:
    """Refuse what HiGHS does not know; Pyomo's interface passes over it.

    Raises
    ------
    InputError
        A name or a value is not one of HiGHS's.
    """
    probe = highspy.Highs()
    probe.setOptionValue("output_flag", False)
    for name, setting in settings.items():
        status, default = probe.getOptionValue(name)
        if status != highspy.HighsStatus.kOk:
            raise InputError(
                f"HiGHS has no setting {name!r}; see the list of its options, for "
                f"example 'primal_feasibility_tolerance'"
            )
        if probe.setOptionValue(name, setting) != highspy.HighsStatus.kOk:
            raise InputError(
                f"{setting!r} does not fit HiGHS's setting {name!r}, whose default is "
                f"{default!r}"
            )


def _claims_optimum(results: Results) -> bool:
    return bool(results.solution_status == SolutionStatus.optimal)


def _rank(results: Results) -> int:
    return int(results.solution_status.value)


def _outcome(results: Results, trouble: str) -> str:
    info = results.extra_info
    status = info.solver_status if "solver_status" in info else None
    ended = results.termination_condition.name
    return trouble or (f"{status} ({ended})" if status else ended)


def _infeasible(model: Any, error: Exception) -> Results:
    """Return the results of a model that is infeasible as it stands."""
    results = Results()
    results.solver_name = "none"
    message = f"The model is infeasible as it stands: {error}"
    results.solution_loader = NoSolutionSolutionLoader(model, message)
    results.termination_condition = TerminationCondition.provenInfeasible
    results.extra_info.solver_status = "not called"
    return results


def _no_option(interface: Any, option: str) -> InputError:
    common = "accuracy, fallback, iteration_limit, load_solutions, time_limit"
    return InputError(
        f"solver '{interface.name}' has no option {option!r}; it has {common}, "
        f"{', '.join(sorted(interface.config))}. Settings of the solver itself go into "
        f"solver_options={{...}}"
    )


def _how_to_install(name: str) -> str:
    capability = CAPABILITIES.get(ALIASES.get(name, name))
    return f". Install it with: {capability.install}" if capability else ""


def _who_can(route: Route) -> str:
    if route.solvers:
        return f"These take it: {', '.join(route.solvers)}"
    if route.missing:
        return f"These would take it, but are not here: {_installs(route.missing)}"
    return "No solver of the table takes it"


def _installs(names: Sequence[str]) -> str:
    return "; ".join(f"{name} ({CAPABILITIES[name].install})" for name in names)


def _nobody(content: ModelContent, route: Route) -> Exception:
    """Return the error that says why no solver can take a model, and what helps."""
    if route.missing:
        return SolverError(
            f"no solver that can take the model, a {content}, is installed. These can: "
            f"{_installs(route.missing)}"
        )
    reasons: dict[str, list[str]] = {}
    for name, why in route.refused.items():
        reasons.setdefault(why, []).append(name)
    refused = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
    matrix_cones = [kind for kind in content.cones if kind not in VECTOR_KINDS]
    if matrix_cones:
        obstacle = content.obstacle or "the cones are more than any solver takes"
        return UnsupportedConeError(
            f"no solver takes the model, a {content}: {obstacle}. Relax the "
            f"{' and '.join(matrix_cones)} cones with relax(model, tier) to what such "
            f"a model can have ('pyomo-relu tiers' lists what each tier leaves), or "
            f"take out what stands beside them. {refused}"
        )
    return UnsupportedModelError(f"no solver takes the model, a {content}. {refused}")
