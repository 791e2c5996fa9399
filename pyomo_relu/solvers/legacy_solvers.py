"""Ipopt by cyipopt, GLPK and CBC with the interface of ``pyomo.contrib.solver``.

Pyomo has interfaces of its first generation to these three, and they are not used here:
they call a linear program that GLPK gave up at its time limit infeasible, one that GLPK
proved infeasible unbounded, and drop the signs and bounds that these programs print.
What is used is Pyomo's compiler of linear models, its NL writer and PyNumero, and what
the programs leave in their machine-readable files.

The programs always minimise: a linear model to maximise is written with the opposite
objective, and so PyNumero hands over a nonlinear one.
"""

from __future__ import annotations

import io
import logging
import math
import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pyomo.common import Executable
from pyomo.common.collections import ComponentMap
from pyomo.common.config import ConfigValue, PositiveInt
from pyomo.common.dependencies import attempt_import
from pyomo.common.env import CtypesEnviron
from pyomo.common.errors import (
    InfeasibleConstraintException,
    InvalidConstraintError,
    InvalidExpressionError,
)
from pyomo.common.modeling import unique_component_name
from pyomo.common.tee import TeeStream, capture_output
from pyomo.common.timing import HierarchicalTimer
from pyomo.contrib.solver.common.base import Availability, SolverBase
from pyomo.contrib.solver.common.config import BranchAndBoundConfig, SolverConfig
from pyomo.contrib.solver.common.results import (
    Results,
    SolutionStatus,
    TerminationCondition,
)
from pyomo.contrib.solver.common.solution_loader import (
    NoSolutionSolutionLoader,
    SolutionLoader,
)
from pyomo.contrib.solver.common.util import (
    NoDualsError,
    NoFeasibleSolutionError,
    NoOptimalSolutionError,
    NoSolutionError,
)
from pyomo.core.base import Constraint, Objective, SOSConstraint, minimize, value
from pyomo.core.expr.visitor import identify_variables
from pyomo.core.staleflag import StaleFlagManager
from pyomo.repn.plugins.nl_writer import NLWriter
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler
from pyomo.solvers.amplfunc_merge import amplfunc_merge

from pyomo_relu.cones import cone_data_objects
from pyomo_relu.cones.membership import unsupported
from pyomo_relu.errors import InputError, PyomoReluError, SolverError
from pyomo_relu.solvers.affine_rows import UNREADABLE, unreadable
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.executable import Run, run, working_directory
from pyomo_relu.solvers.interrupts import deferred_interrupt
from pyomo_relu.solvers.standard_form import check_model

__all__ = ["CBC", "GLPK", "LEGACY_SOLVERS", "CyIpopt", "PointLoader"]

cyipopt, cyipopt_available = attempt_import("cyipopt")
_pynumero_asl, _ = attempt_import("pyomo.contrib.pynumero.asl")
_ampl_nlp, _ = attempt_import("pyomo.contrib.pynumero.interfaces.ampl_nlp")
_cyipopt_interface, _ = attempt_import(
    "pyomo.contrib.pynumero.interfaces.cyipopt_interface"
)

logger = logging.getLogger(__name__)

#: Largest violation of a row or bound, relative to 1 + |its side|, at which a point
#: that the solver does not call optimal is called feasible.
FEASIBILITY_TOLERANCE = 1e-6

#: Bounds that cross by this much, relative to 1 + |bound|, are taken to be equal.
CROSSING_TOLERANCE = 1e-8

#: A bound of an integer variable this close to an integer is that integer.
INTEGRALITY_TOLERANCE = 1e-9

_Termination = TerminationCondition
_SOLVED = TerminationCondition.convergenceCriteriaSatisfied


class PointLoader(SolutionLoader):
    """One point, with multipliers where the solver has them.

    Parameters
    ----------
    model : Block
        The model.
    variables : list of VarData
    x : (n,) ndarray or None
        Their values; None when there is no point.
    constraints : list of ConstraintData
    duals : (len(constraints),) ndarray or None
        Derivatives of the optimum by the right-hand sides; those of a constraint that
        is listed twice, once for each of its sides, are added. None when there are
        none.
    reduced_costs : (n,) ndarray or None
        Derivatives of the optimum by the active bounds.
    message : str
        What the solver said, for whoever asks for what is not there.
    """

    def __init__(
        self,
        model: Any,
        variables: Sequence[Any] = (),
        x: np.ndarray | None = None,
        constraints: Sequence[Any] = (),
        duals: np.ndarray | None = None,
        reduced_costs: np.ndarray | None = None,
        message: str = "the solver returned no point",
    ) -> None:
        self._pyomo_model = model
        self._variables = variables
        self._x = x
        self._constraints = constraints
        self._duals = duals
        self._reduced_costs = reduced_costs
        self._message = message

    def get_number_of_solutions(self) -> int:
        """1 when there is a point, otherwise 0."""
        return 0 if self._x is None else 1

    def get_vars(
        self, vars_to_load: Sequence[Any] | None = None
    ) -> Mapping[Any, float]:
        """Values of the variables.

        Parameters
        ----------
        vars_to_load : sequence of VarData, optional
            Default: every variable that the solver saw.

        Returns
        -------
        ComponentMap of VarData to float

        Raises
        ------
        NoSolutionError
            If there is no point.
        """
        if self._x is None:
            raise NoSolutionError(self._message)
        values = ComponentMap(zip(self._variables, self._x.tolist(), strict=True))
        return _select(values, vars_to_load, "variable")

    def get_duals(self, cons_to_load: Sequence[Any] | None = None) -> dict[Any, float]:
        """Return the derivative of the optimum by each right-hand side.

        Parameters
        ----------
        cons_to_load : sequence of ConstraintData, optional
            Default: every active constraint with a side; zero for one without free
            variables.

        Returns
        -------
        dict of ConstraintData to float

        Raises
        ------
        NoDualsError
            If there are none: the model has integer variables, or was not solved.
        """
        if self._duals is None:
            raise NoDualsError(f"there are no duals: {self._message}")
        duals = {
            row: 0.0
            for row in self._pyomo_model.component_data_objects(Constraint, active=True)
            if row.has_lb() or row.has_ub()
        }
        for row, dual in zip(self._constraints, self._duals.tolist(), strict=True):
            duals[row] = duals.get(row, 0.0) + dual
        return _select(duals, cons_to_load, "constraint")

    def get_reduced_costs(
        self, vars_to_load: Sequence[Any] | None = None
    ) -> Mapping[Any, float]:
        """Return the derivative of the optimum by the active bound of each variable.

        Parameters
        ----------
        vars_to_load : sequence of VarData, optional
            Default: every variable that the solver saw.

        Returns
        -------
        ComponentMap of VarData to float

        Raises
        ------
        NoDualsError
            As for :meth:`get_duals`.
        """
        if self._reduced_costs is None:
            raise NoDualsError(f"there are no reduced costs: {self._message}")
        costs = ComponentMap(
            zip(self._variables, self._reduced_costs.tolist(), strict=True)
        )
        return _select(costs, vars_to_load, "variable")

    def load_import_suffixes(self) -> None:
        """Fill the import suffixes ``dual`` and ``rc``; empty where there are none."""
        suffixes = self._collect_and_clear_import_suffixes()
        if "dual" in suffixes and self._duals is not None:
            suffixes["dual"].update(self.get_duals())
        if "rc" in suffixes and self._reduced_costs is not None:
            suffixes["rc"].update(self.get_reduced_costs())


def _select(values: Any, wanted: Sequence[Any] | None, kind: str) -> Any:
    if wanted is None:
        return values
    chosen = type(values)()
    for component in wanted:
        if component not in values:
            raise InputError(
                f"{kind} '{component.name}' is not part of the model that was solved: "
                f"it is fixed, inactive or appears in nothing active"
            )
        chosen[component] = values[component]
    return chosen


@dataclass(frozen=True)
class _Outcome:
    """What a solver said about a model, in Pyomo's words.

    ``objective`` and ``bound`` are those of the model as the user wrote it.
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


def _iteration_limit() -> ConfigValue:
    return ConfigValue(
        domain=PositiveInt,
        default=None,
        description="Largest number of iterations; None is the solver's own.",
    )


class _Interface(SolverBase):
    """What the three interfaces do the same way; a subclass overrides ``_outcome``."""

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
        start = datetime.now(timezone.utc)
        tick = time.perf_counter()
        check_model(model)
        config = self._configure(kwds)
        available = self._available(config)
        if not available:
            raise SolverError(
                f"solver '{self.name}' is not available ({available}); get it with: "
                f"{self.install}"
            )
        if config.timer is None:
            config.timer = HierarchicalTimer()
        StaleFlagManager.mark_all_as_stale()
        for cone in cone_data_objects(model):
            raise unsupported(cone)
        try:
            outcome = self._outcome(model, config)
        except InfeasibleConstraintException as error:
            message = f"The model is infeasible as it stands: {error}"
            outcome = _Outcome(
                status="not called",
                termination=_Termination.provenInfeasible,
                loader=NoSolutionSolutionLoader(model, message),
            )
        results = self._results(model, outcome, config)
        results.timing_info.start_timestamp = start
        results.timing_info.wall_time = time.perf_counter() - tick
        results.timing_info.timer = config.timer
        return results

    def _outcome(self, model: Any, config: Any) -> _Outcome:
        raise NotImplementedError(f"{type(self).__name__} does not override _outcome")

    def _available(self, config: Any) -> Availability:
        return self.available()

    def _configure(self, options: dict[str, Any]) -> Any:
        """Return the configuration of one solve, names and values checked."""
        unknown = sorted(set(options) - set(self.config))
        if unknown:
            raise InputError(
                f"solver '{self.name}' has no option {unknown[0]!r}; it has "
                f"{', '.join(sorted(self.config))}. Settings of the solver itself go "
                f"into solver_options={{...}}"
            )
        try:
            return self.config(value=options, preserve_implicit=True)
        except ValueError as error:
            raise InputError(f"solver '{self.name}': {error}") from error

    def _results(self, model: Any, outcome: _Outcome, config: Any) -> Results:
        """Fill Pyomo's results, raise what was asked for, and load."""
        results = Results()
        results.solver_name = self.name
        results.solver_version = self.version()
        results.solver_config = config
        results.solution_loader = outcome.loader
        results.termination_condition = outcome.termination
        results.solution_status = outcome.solution
        results.incumbent_objective = outcome.objective
        results.objective_bound = outcome.bound
        results.solver_log = outcome.log
        results.timing_info.solver_time = outcome.seconds
        info = results.extra_info
        info.solver_status = outcome.status
        if outcome.iterations is not None:
            info.iteration_count = outcome.iterations
        message = (
            f"{self.name} stopped with {outcome.status} ({outcome.termination.name})"
        )
        if (
            outcome.solution == SolutionStatus.optimal
            and outcome.violation > FEASIBILITY_TOLERANCE
        ):
            info.warning = (
                f"the solver says {outcome.status}, but its point violates a row or "
                f"bound by {outcome.violation:.2g} relative to the data; scale the "
                f"model better or ask for tighter tolerances"
            )
            logger.warning("%s: %s", model.name, info.warning)

        if (
            config.raise_exception_on_nonoptimal_result
            and outcome.solution != SolutionStatus.optimal
        ):
            raise NoOptimalSolutionError(
                f"{message}. Set raise_exception_on_nonoptimal_result=False to get "
                f"the results all the same"
            )
        if config.load_solutions:
            if outcome.solution == SolutionStatus.noSolution:
                raise NoFeasibleSolutionError(
                    f"{message}. There is no point to load: set load_solutions=False "
                    f"and look at results.termination_condition"
                )
            if outcome.solution != SolutionStatus.optimal:
                logger.warning("%s: %s; its point is loaded", model.name, message)
            config.timer.start("load solution")
            outcome.loader.load_solution()
            config.timer.stop("load solution")
        return results


def _violation(values: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Largest violation of ``lower <= values <= upper``, relative to 1 + |side|."""
    worst = 0.0
    for excess, side in ((lower - values, lower), (values - upper, upper)):
        finite = np.isfinite(side)
        scaled = excess[finite] / (1.0 + np.abs(side[finite]))
        worst = max(worst, float(scaled.max(initial=0.0)))
    return worst


def _bounds(variables: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of variables, infinite where there is none; refused where they cross."""
    low, up = [], []
    for var in variables:
        try:
            lower, upper = var.bounds
        except UNREADABLE as error:
            raise unreadable(f"a bound of variable '{var.name}'", error) from error
        lower = -math.inf if lower is None else lower
        upper = math.inf if upper is None else upper
        _refuse_crossing(lower, upper, f"variable '{var.name}'")
        low.append(lower)
        up.append(max(lower, upper))
    return np.array(low, float), np.array(up, float)


def _refuse_crossing(lower: float, upper: float, what: str) -> None:
    if lower - upper > CROSSING_TOLERANCE * (1.0 + abs(upper)):
        raise InfeasibleConstraintException(
            f"{what} has the lower bound {lower:.6g} and the upper bound {upper:.6g}"
        )


# Linear programs, with integer variables or without: GLPK and CBC.


@dataclass(frozen=True)
class _LinearProgram:
    """``minimise c'x + c0`` over rows and bounds; continuous columns come first.

    ``sides`` has 1 for a row ``<= b``, -1 for ``>= b`` and 0 for ``== b``; a range is
    two rows.
    """

    model: Any
    variables: list[Any]
    n_continuous: int
    c: np.ndarray
    c0: float
    sense: int
    has_objective: bool
    A: sp.csc_array
    b: np.ndarray
    constraints: list[Any]
    sides: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    @property
    def is_integer(self) -> bool:
        return self.n_continuous < len(self.variables)

    def objective(self, x: np.ndarray) -> float:
        """Objective of the model at ``x``."""
        return self.sense * (float(self.c @ x) + self.c0)

    def bound(self, minimum: float | None) -> float | None:
        """Bound of the model from one of ``c'x``."""
        if minimum is None or not math.isfinite(minimum):
            return None
        return self.sense * (minimum + self.c0)

    def violation(self, x: np.ndarray) -> float:
        """Largest violation of a row, bound or integrality, relative to the data."""
        integers = x[self.n_continuous :]
        return max(
            _violation(
                self.A @ x,
                np.where(self.sides == 1, -np.inf, self.b),
                np.where(self.sides == -1, np.inf, self.b),
            ),
            _violation(x, self.lower, self.upper),
            float(np.abs(integers - np.round(integers)).max(initial=0.0)),
        )

    def loader(
        self,
        x: np.ndarray,
        multipliers: tuple[np.ndarray, np.ndarray] | None,
        message: str,
    ) -> PointLoader:
        """Duals and reduced costs of the minimisation seen from the model."""
        duals, costs = (None, None) if multipliers is None else multipliers
        return PointLoader(
            self.model,
            self.variables,
            x,
            self.constraints,
            None if duals is None else self.sense * duals,
            None if costs is None else self.sense * costs,
            message,
        )

    def to_mps(self) -> str:
        """Return the text of a file in free MPS format, names by number."""
        letters = np.array(["E", "L", "G"])[self.sides]
        lines = ["NAME MODEL FREE", "ROWS", " N OBJ"]
        lines += [f" {letter} R{i}" for i, letter in enumerate(letters.tolist())]
        lines.append("COLUMNS")
        starts = self.A.indptr.tolist()
        rows, data, costs = (
            array.tolist() for array in (self.A.indices, self.A.data, self.c)
        )
        for j, cost in enumerate(costs):
            if j == self.n_continuous:
                lines.append(" M0 'MARKER' 'INTORG'")
            lines.append(f" C{j} OBJ {cost!r}")
            part = slice(starts[j], starts[j + 1])
            lines += [
                f" C{j} R{i} {number!r}"
                for i, number in zip(rows[part], data[part], strict=True)
            ]
        if self.is_integer:
            lines.append(" M1 'MARKER' 'INTEND'")
        lines.append("RHS")
        lines += [f" RHS R{i} {side!r}" for i, side in enumerate(self.b.tolist())]
        lines.append("BOUNDS")
        bounds = zip(self.lower.tolist(), self.upper.tolist(), strict=True)
        for j, (low, up) in enumerate(bounds):
            if low == -math.inf and up == math.inf:
                lines.append(f" FR BND C{j}")
                continue
            lines.append(
                f" MI BND C{j}" if low == -math.inf else f" LO BND C{j} {low!r}"
            )
            lines.append(f" PL BND C{j}" if up == math.inf else f" UP BND C{j} {up!r}")
        lines += ["ENDATA", ""]
        return "\n".join(lines)


def _compile_linear(model: Any, title: str) -> _LinearProgram:
    """Compile a model by Pyomo's own compiler, what it does not take refused."""
    sos = next(model.component_data_objects(SOSConstraint, active=True), None)
    if sos is not None:
        raise UnsupportedModelError(
            f"{title} is not given the SOSConstraint '{sos.name}'; write it with "
            f"binary variables, or use SCIP"
        )
    try:
        info = LinearStandardFormCompiler().write(
            model, mixed_form=True, set_sense=minimize
        )
        offsets = [float(offset) for offset in info.c_offset]
        b = np.array([float(side) for side in info.rhs])
    except PyomoReluError:
        raise
    except (InvalidConstraintError, InvalidExpressionError) as error:
        raise UnsupportedModelError(
            f"{title} takes linear models only: {error} Use a nonlinear solver"
        ) from error
    except ValueError as error:
        if "active components" in str(error):
            raise UnsupportedModelError(str(error)) from error
        raise unreadable(f"model '{model.name}'", error) from error
    except UNREADABLE as error:
        raise unreadable(f"model '{model.name}'", error) from error
    _refuse_several(info.objectives)
    sense = -1 if info.objectives and info.objectives[0].sense != minimize else 1
    n = len(info.columns)
    c = info.c.toarray()[0] if info.objectives else np.zeros(n)
    c0 = offsets[0] if info.objectives else 0.0
    continuous = np.array([_is_continuous(var) for var in info.columns], dtype=bool)
    order = np.argsort(~continuous, kind="stable")
    variables = [info.columns[j] for j in order.tolist()]
    lower, upper = _bounds(variables)
    k = int(continuous.sum())
    # GLPK refuses integer variables with bounds that are none.
    lower[k:] = np.ceil(lower[k:] - INTEGRALITY_TOLERANCE)
    upper[k:] = np.floor(upper[k:] + INTEGRALITY_TOLERANCE)
    for j in np.flatnonzero(lower > upper):
        raise InfeasibleConstraintException(
            f"there is no integer between the bounds of variable '{variables[j].name}'"
        )
    A = sp.csc_array(info.A)[:, order] if n else sp.csc_array(info.A)
    A.sum_duplicates()
    sides = np.array([row.bound_type for row in info.rows], dtype=np.int64)
    # A side at infinity is none; Pyomo's compiler keeps those of mutable parameters.
    kept = np.flatnonzero((sides == 0) | (sides * b != np.inf))
    A, b, sides = sp.csc_array(A[kept]), b[kept], sides[kept]
    constraints = [info.rows[i].constraint for i in kept.tolist()]
    _refuse_infinite(c, c0, A, b, constraints, info.objectives)
    return _LinearProgram(
        model=model,
        variables=variables,
        n_continuous=k,
        c=c[order],
        c0=c0,
        sense=sense,
        has_objective=bool(info.objectives),
        A=A,
        b=b,
        constraints=constraints,
        sides=sides,
        lower=lower,
        upper=upper,
    )


def _refuse_several(objectives: Sequence[Any]) -> None:
    if len(objectives) > 1:
        names = ", ".join(repr(objective.name) for objective in objectives)
        raise UnsupportedModelError(
            f"the model has {len(objectives)} active objectives ({names}); deactivate "
            f"all but one"
        )


def _is_continuous(var: Any) -> bool:
    if not (var.is_continuous() or var.is_integer()):
        raise UnsupportedModelError(
            f"variable '{var.name}' has the domain {var.domain}, which is neither an "
            f"interval nor one of integers"
        )
    return var.is_continuous()


def _refuse_infinite(
    c: np.ndarray,
    c0: float,
    A: sp.csc_array,
    b: np.ndarray,
    constraints: list[Any],
    objectives: list[Any],
) -> None:
    if not (np.isfinite(c).all() and math.isfinite(c0)):
        raise InputError(
            f"objective '{objectives[0].name}' has a coefficient that is not finite"
        )
    bad = np.concatenate(
        [np.flatnonzero(~np.isfinite(b)), A.indices[~np.isfinite(A.data)]]
    )
    if bad.size:
        raise InputError(
            f"constraint '{constraints[bad[0]].name}' has a coefficient that is not "
            f"finite (a fixed variable or Param without a value, NaN or inf)"
        )


@dataclass(frozen=True)
class _Report:
    """What a program left behind, of the minimisation ``c'x``."""

    status: str
    termination: TerminationCondition
    x: np.ndarray | None = None
    multipliers: tuple[np.ndarray, np.ndarray] | None = None
    bound: float | None = None
    iterations: int | None = None


class _ProgramConfig(BranchAndBoundConfig):
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
            "iteration_limit", _iteration_limit()
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


class _LinearInterface(_Interface):
    """Base of the interfaces to programs that read MPS files."""

    #: Usual name of the program, and the arguments that make it print its version.
    program = ""
    version_arguments: ClassVar[tuple[str, ...]] = ()
    #: Patterns of settings that have an option of Pyomo's, or would change what is
    #: solved, and what to do instead.
    reserved: ClassVar[dict[str, str]] = {}

    CONFIG = _ProgramConfig()

    _versions: ClassVar[dict[str, tuple[int, ...]]] = {}

    def available(self) -> Availability:
        """Whether the program is there, and says which version it is."""
        return self._available(self.config)

    def version(self) -> tuple[int, ...]:
        """Version that the program prints, () where there is none."""
        return self._version(self._path(self.config))

    def _available(self, config: Any) -> Availability:
        path = self._path(config)
        if path is None:
            return Availability.NotFound
        good = self._version(path)
        return Availability.FullLicense if good else Availability.BadVersion

    def _path(self, config: Any) -> str | None:
        chosen = config.executable
        executable = Executable(self.program) if chosen is None else chosen
        # Whether it is there is asked anew each time.
        executable.rehash()
        path = executable.path()
        return None if path is None else str(path)

    def _version(self, path: str | None) -> tuple[int, ...]:
        if path is None:
            return ()
        if path not in self._versions:
            with working_directory(None, self.program) as folder:
                try:
                    command = [path, *self.version_arguments]
                    text = run(command, folder, time_limit=10.0).log
                except SolverError:
                    text = ""
            found = re.search(r"(?:Solver|Version:)\D{0,20}(\d+(?:\.\d+)+)", text)
            if found is None:
                return ()
            self._versions[path] = tuple(map(int, found.group(1).split(".")))
        return self._versions[path]

    def _arguments(self, program: _LinearProgram, config: Any) -> list[str]:
        """Arguments of the program, options and file names."""
        raise NotImplementedError(f"{type(self).__name__} does not override _arguments")

    def _read(
        self, program: _LinearProgram, config: Any, ended: Run, folder: Path
    ) -> _Report:
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

    def _outcome(self, model: Any, config: Any) -> _Outcome:
        timer = config.timer
        timer.start("compile")
        try:
            program = _compile_linear(model, self.title)
        finally:
            timer.stop("compile")
        if not program.variables:
            return _constant_outcome(program)
        arguments = self._arguments(program, config)
        with working_directory(config.working_dir, self.program) as folder:
            timer.start("write")
            (folder / "model.mps").write_text(program.to_mps(), encoding="utf-8")
            timer.stop("write")
            timer.start("optimize")
            limit = config.time_limit
            ended = run(
                [self._path(config) or self.program, *arguments],
                folder,
                # It shall stop by itself, and leave what it has.
                time_limit=None if limit is None else 1.1 * limit + 2.0,
                streams=config.tee,
            )
            timer.stop("optimize")
            if ended.timed_out:
                report = _Report("killed at the time limit", _Termination.maxTimeLimit)
            else:
                try:
                    report = self._read(program, config, ended, folder)
                except (OSError, ValueError, IndexError) as error:
                    if isinstance(error, PyomoReluError):
                        raise
                    raise self._failure(ended) from error
        return _linear_outcome(program, report, ended)

    def _failure(self, ended: Run) -> SolverError:
        """Return the error of a program that ended without an answer."""
        last = "; ".join(line for line in ended.log.splitlines()[-5:] if line.strip())
        return SolverError(
            f"{self.title} failed without an answer (exit code {ended.code}): {last}. "
            f"working_dir=... keeps its files"
        )


def _constant_outcome(program: _LinearProgram) -> _Outcome:
    """Return the outcome of a model without variables that are free."""
    x = np.zeros(0)
    violation = program.violation(x)
    if violation > FEASIBILITY_TOLERANCE:
        raise InfeasibleConstraintException("a row without variables is violated")
    objective = program.objective(x) if program.has_objective else None
    duals = (np.zeros(len(program.b)), x)
    return _Outcome(
        status="constant",
        termination=_SOLVED,
        loader=program.loader(x, duals, "constant"),
        solution=SolutionStatus.optimal,
        objective=objective,
        bound=objective,
        violation=violation,
    )


def _linear_outcome(program: _LinearProgram, report: _Report, ended: Run) -> _Outcome:
    """Say what a point is, by what is measured on it."""
    x = report.x
    message = f"{report.status} ({report.termination.name})"
    solution = SolutionStatus.noSolution
    objective = None
    violation = 0.0
    loader: SolutionLoader = NoSolutionSolutionLoader(program.model, message)
    if x is not None and np.isfinite(x).all():
        violation = program.violation(x)
        if report.termination == _SOLVED:
            solution = SolutionStatus.optimal
        elif violation <= FEASIBILITY_TOLERANCE:
            solution = SolutionStatus.feasible
        else:
            solution = SolutionStatus.infeasible
        if program.has_objective and solution != SolutionStatus.infeasible:
            objective = program.objective(x)
        if program.is_integer:
            message = "the model has integer variables"
        loader = program.loader(x, report.multipliers, message)
    return _Outcome(
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


class GLPK(_LinearInterface):
    """Interface to GLPK's program ``glpsol``: linear and mixed-integer linear programs.

    ``solver_options`` takes the options of ``glpsol --help`` without their dashes; one
    that takes no value has the value ``""``. ``rel_gap`` is its ``--mipgap``;
    ``abs_gap`` and ``iteration_limit``, which it has not, are refused. The time limit
    is rounded up to seconds. It has one thread, whatever ``threads`` says.

    ``objective_bound`` is given for models with integer variables, less the
    tolerance with which GLPK compares nodes, or the digits that it does not print.

    Parameters
    ----------
    **kwds
        Initial values of the configuration.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, None))
    >>> m.y = pyo.Var(bounds=(0, 3))
    >>> m.o = pyo.Objective(expr=2 * m.x + m.y)
    >>> m.c = pyo.Constraint(expr=m.x + m.y >= 5)
    >>> results = GLPK().solve(m) # doctest: +SKIP
    >>> m.x.value, results.solution_loader.get_duals()[m.c] # doctest: +SKIP
    (2.0, 2.0)
    """

    name = "glpk"
    title = "GLPK"
    install = "apt-get install glpk-utils, conda install -c conda-forge glpk"
    program = "glpsol"
    version_arguments = ("--version",)
    reserved: ClassVar[dict[str, str]] = {
        "tmlim": "set time_limit=... of the solve instead",
        "mipgap": "set rel_gap=... of the solve instead",
        "(free)?mps|(cpx)?lp|w?glp|math|m(odel)?|d(ata)?|w(rite)?|r(ead)?|ini": (
            "the interface reads and writes these files"
        ),
        "min|max|nomip|check|hide|mincost|maxflow|cnf|objbnd|minisat": (
            "another problem would be solved than the model"
        ),
    }

    def _arguments(self, program: _LinearProgram, config: Any) -> list[str]:
        if config.iteration_limit is not None:
            raise InputError(
                "GLPK has no iteration limit; set time_limit, or use another solver"
            )
        if config.abs_gap is not None:
            raise InputError("GLPK has no absolute gap; set rel_gap")
        arguments = []
        for name, setting in self._settings(config).items():
            arguments.append(f"--{name}")
            if setting is not None and str(setting).strip():
                arguments.append(str(setting))
        if config.time_limit is not None:
            arguments += ["--tmlim", str(math.ceil(config.time_limit))]
        if config.rel_gap is not None:
            arguments += ["--mipgap", repr(config.rel_gap)]
        return [*arguments, "--freemps", "model.mps", "--write", "model.sol"]

    def _read(
        self, program: _LinearProgram, config: Any, ended: Run, folder: Path
    ) -> _Report:
        if re.search("^Invalid ", ended.log, re.MULTILINE):
            raise InputError(f"glpsol: {ended.log.strip().splitlines()[-1]}")
        if ended.code:
            raise self._failure(ended)
        lines = (folder / "model.sol").read_text(encoding="utf-8").splitlines()
        if lines[-1] != "e o f":
            raise self._failure(ended)
        fields = [line.split() for line in lines]
        kind, m, n, *words = next(line for line in fields if line[0] == "s")[1:]
        if (int(m), int(n)) != program.A.shape:
            raise self._failure(ended)
        # The values of a row or column are the last of its line: primal and dual, of an
        # integer program primal only.
        values = 1 if kind == "mip" else 2
        parts = [
            np.array([line[-values:] for line in fields if line[0] == letter], float)
            for letter in "ij"
        ]
        rows, columns = (part.reshape(-1, values) for part in parts)
        status, termination = _glpk_termination(kind, words, ended.log)
        # u: there is none, n and i: it is not feasible.
        x = None if words[0] == "u" else columns[:, 0]
        solved = termination == _SOLVED
        multipliers = (rows[:, 1], columns[:, 1]) if solved and values == 2 else None
        bound = None
        if kind == "mip":
            bound = _glpk_bound(ended.log)
            if words[0] == "o" and x is not None:
                # Nodes that are better by less are not looked at.
                best = float(program.c @ x)
                bound = best - 1e-7 * (1.0 + abs(best))
        if words[0] == "n":
            x = None
        return _Report(status, termination, x, multipliers, bound)


def _glpk_termination(
    kind: str, words: list[str], log: str
) -> tuple[str, TerminationCondition]:
    """Return GLPK's words and Pyomo's; of the log only where the file is silent."""
    if (kind == "bas" and words[:2] == ["f", "f"]) or words[0] == "o":
        return "OPTIMAL", _SOLVED
    if words[0] == "n":
        return "NO FEASIBLE SOLUTION", _Termination.provenInfeasible
    for words_of_log, termination in (
        ("TIME LIMIT EXCEEDED", _Termination.maxTimeLimit),
        ("MIP GAP TOLERANCE REACHED", _SOLVED),
    ):
        if words_of_log in log:
            return words_of_log, termination
    if kind == "bas" and words[:2] == ["f", "n"]:
        return "UNBOUNDED", _Termination.unbounded
    last = re.findall(
        r"^.*HAS (?:NO (?:PRIMAL |INTEGER |DUAL )?FEASIBLE|UNBOUNDED PRIMAL) SOLUTION",
        log,
        re.MULTILINE,
    )
    if not last:
        return "UNDEFINED", _Termination.unknown
    if "UNBOUNDED" in last[-1]:
        # Of an integer program its relaxation is.
        known = kind != "mip"
    elif "DUAL" in last[-1]:
        known = False
    else:
        return last[-1], _Termination.provenInfeasible
    return last[-1], (
        _Termination.unbounded if known else _Termination.infeasibleOrUnbounded
    )


def _glpk_bound(log: str) -> float | None:
    """Return the last bound of the tree, less the digits that are not printed."""
    bounds = re.findall(r"mip =.*>=\s+(-?\d\S*)\s", log)
    if not bounds:
        return None
    bound = float(bounds[-1])
    return bound - 1e-9 * abs(bound)


class CBC(_LinearInterface):
    """Interface to the program ``cbc``: linear and mixed-integer linear programs.

    ``solver_options`` takes the parameters of ``cbc`` without their dash; one that
    takes no value has the value ``""``. ``rel_gap`` and ``abs_gap`` are its
    ``ratioGap`` and ``allowableGap``. ``iteration_limit`` limits the simplex iterations
    of a linear program and is refused where there are integer variables, for which
    CBC ignores it: it has ``maxNodes``.

    ``objective_bound`` is given for models with integer variables, less what CBC asks
    of a better solution, or the digits that it does not print.

    Parameters
    ----------
    **kwds
        Initial values of the configuration.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, None), domain=pyo.Integers)
    >>> m.o = pyo.Objective(expr=2 * m.x)
    >>> m.c = pyo.Constraint(expr=m.x >= 4.5)
    >>> CBC().solve(m).incumbent_objective # doctest: +SKIP
    10.0
    """

    name = "cbc"
    title = "CBC"
    install = "apt-get install coinor-cbc, conda install -c conda-forge coincbc"
    program = "cbc"
    version_arguments = ("-stop",)
    reserved: ClassVar[dict[str, str]] = {
        "sec(onds)?|timemode": "set time_limit=... of the solve instead",
        "ratio(gap)?": "set rel_gap=... of the solve instead",
        "allow(ablegap)?": "set abs_gap=... of the solve instead",
        "maxit(erations)?": "set iteration_limit=... of the solve instead",
        "threads": "set threads=... of the solve instead",
        "import|solv(e)?|solu(tion)?|saves(olution)?|printingoptions": (
            "the interface does that"
        ),
        "direction|max(imize)?|min(imize)?|increment|cutoff": (
            "another problem would be solved than the model"
        ),
    }

    def _arguments(self, program: _LinearProgram, config: Any) -> list[str]:
        if config.iteration_limit is not None and program.is_integer:
            raise InputError(
                "CBC has no iteration limit for models with integer variables; set "
                "time_limit, or solver_options={'maxNodes': ...}"
            )
        arguments = []
        for name, setting in (
            ("seconds", config.time_limit),
            ("timeMode", None if config.time_limit is None else "elapsed"),
            ("ratioGap", config.rel_gap),
            ("allowableGap", config.abs_gap),
            ("maxIterations", config.iteration_limit),
            ("threads", config.threads if program.is_integer else None),
        ):
            if setting is not None:
                arguments += [f"-{name}", str(setting)]
        actions = []
        for name, setting in self._settings(config).items():
            if setting is None or not str(setting).strip():
                actions.append(f"-{name}")
            else:
                arguments += [f"-{name}", str(setting)]
        return [
            *arguments,
            *("-printingOptions", "all", "-import", "model.mps"),
            *actions,
            *("-solve", "-solution", "model.sol", "-saveSolution", "model.bin"),
        ]

    def _read(
        self, program: _LinearProgram, config: Any, ended: Run, folder: Path
    ) -> _Report:
        refused = re.search(
            r"^.*(?:No match for|Multiple matches for|is illegal for|valid range is"
            r"|Possible options for)(?! column| row).*$",
            ended.log,
            re.MULTILINE,
        )
        if refused:
            raise InputError(
                f"cbc does not take what is in solver_options: "
                f"{refused.group().strip()}"
            )
        if ended.code:
            raise self._failure(ended)
        with (folder / "model.sol").open(encoding="utf-8") as file:
            header = file.readline().split(" - objective value")[0].strip()
        if not header:
            raise self._failure(ended)
        rows, x, multipliers = _read_cbc_solution(
            folder / "model.bin", *program.A.shape
        )
        termination = _cbc_termination(header, program, x, rows, ended.log)
        if (
            termination
            in (
                _Termination.provenInfeasible,
                _Termination.unbounded,
                _Termination.infeasibleOrUnbounded,
                _Termination.error,
            )
            or "no integer solution" in header
        ):
            return _Report(
                header, termination, bound=self._bound(program, config, None, ended)
            )
        solved = termination == _SOLVED
        counts = re.findall(
            r"Total iterations:\s+(\d+)|- (\d+) iterations time", ended.log
        )
        return _Report(
            status=header,
            termination=termination,
            x=x,
            multipliers=multipliers if solved and not program.is_integer else None,
            bound=self._bound(
                program, config, x if header == "Optimal" else None, ended
            ),
            iterations=max((int(a or b) for a, b in counts), default=None),
        )

    def _bound(
        self, program: _LinearProgram, config: Any, x: np.ndarray | None, ended: Run
    ) -> float | None:
        if not program.is_integer:
            return None
        if x is not None:
            best = float(program.c @ x)
            # Nodes that are better by less are not looked at: the increment is 1e-5.
            gap = max(1e-5, config.abs_gap or 0.0, (config.rel_gap or 0.0) * abs(best))
            return best - gap - 1e-9 * abs(best)
        # Three digits after the point, of the tree and not of one of its heuristics.
        last = ended.log.rpartition("Result - ")[2]
        found = re.search(r"Lower bound:\s+(-?\d\S*)", last)
        return float(found.group(1)) - 1e-3 if found else None


def _read_cbc_solution(
    path: Path, m: int, n: int
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Read what ``-saveSolution`` writes, in full precision.

    Two integers, m and n, and then doubles: the objective, the activities and duals of
    the rows, the values and reduced costs of the columns.
    """
    data = path.read_bytes()
    numbers = np.frombuffer(data[8:], dtype=np.float64)
    if np.frombuffer(data[:8], np.int32).tolist() != [m, n] or (
        len(numbers) != 1 + 2 * (m + n)
    ):
        raise ValueError(f"{path.name} is no solution of {m} rows and {n} columns")
    rows, duals, x, costs = np.split(numbers[1:], np.cumsum([m, m, n]))
    return rows, x, (duals, costs)


def _cbc_termination(
    header: str, program: _LinearProgram, x: np.ndarray, rows: np.ndarray, log: str
) -> TerminationCondition:
    """Return Pyomo's word for the first line of a solution file of CBC."""
    if header.startswith("Optimal"):
        return _SOLVED
    if header in ("Infeasible", "Integer infeasible", "PrimalInfeasible"):
        return _Termination.provenInfeasible
    if header in ("Unbounded", "DualInfeasible"):
        # Of an integer program its relaxation is; and there must be a feasible point.
        proven = not program.is_integer and program.violation(x) <= 1e-9
        return _Termination.unbounded if proven else _Termination.infeasibleOrUnbounded
    if header.startswith("Stopped on time") or "Stopped on time limit" in log:
        return _Termination.maxTimeLimit
    if "Stopped on solution limit" in log:
        return _Termination.unknown
    if header.startswith(("Stopped on iterations", "Stopped on nodes")):
        return _Termination.iterationLimit
    if header.startswith("Stopped on ctrl-c"):
        return _Termination.interrupted
    if header.startswith("Stopped on difficulties"):
        return _Termination.error
    return _Termination.unknown


# Nonlinear programs: Ipopt.

_IPOPT_STATUS = {
    0: ("Solve_Succeeded", _SOLVED),
    # It met the loose tolerances and got stuck: not an optimum.
    1: ("Solved_To_Acceptable_Level", _Termination.unknown),
    # A local minimum of the violation; elsewhere there may be feasible points.
    2: ("Infeasible_Problem_Detected", _Termination.locallyInfeasible),
    3: ("Search_Direction_Becomes_Too_Small", _Termination.minStepLength),
    # The infimum may be attained at infinity, and finite.
    4: ("Diverging_Iterates", _Termination.unknown),
    5: ("User_Requested_Stop", _Termination.interrupted),
    # As many equations as variables: no multipliers, no test of optimality.
    6: ("Feasible_Point_Found", _Termination.unknown),
    -1: ("Maximum_Iterations_Exceeded", _Termination.iterationLimit),
    -2: ("Restoration_Failed", _Termination.unknown),
    -3: ("Error_In_Step_Computation", _Termination.error),
    -4: ("Maximum_CpuTime_Exceeded", _Termination.maxTimeLimit),
    -5: ("Maximum_WallTime_Exceeded", _Termination.maxTimeLimit),
    -10: ("Not_Enough_Degrees_Of_Freedom", _Termination.error),
    -11: ("Invalid_Problem_Definition", _Termination.error),
    -12: ("Invalid_Option", _Termination.error),
    -13: ("Invalid_Number_Detected", _Termination.error),
    -100: ("Unrecoverable_Exception", _Termination.error),
    -101: ("NonIpopt_Exception_Thrown", _Termination.error),
    -102: ("Insufficient_Memory", _Termination.error),
    -199: ("Internal_Error", _Termination.error),
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
            "iteration_limit", _iteration_limit()
        )


class CyIpopt(_Interface):
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
    >>> results = CyIpopt().solve(m) # doctest: +SKIP
    >>> round(results.solution_loader.get_duals()[m.c], 4) # doctest: +SKIP
    7.3891
    """

    name = "cyipopt"
    title = "Ipopt"
    install = (
        "pip install cyipopt, then pyomo build-extensions for PyNumero's library, or "
        "conda install -c conda-forge cyipopt pynumero_libraries"
    )

    CONFIG = _IpoptConfig()

    _reserved: ClassVar[dict[str, str]] = {
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

    def _outcome(self, model: Any, config: Any) -> _Outcome:
        objectives = list(model.component_data_objects(Objective, active=True))
        _refuse_several(objectives)
        objective = objectives[0] if objectives else None
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
                return _constant_point(model, objective)
            _refuse_discrete(info.variables)
            _bounds(info.variables)
            for row in info.constraints:
                low, up = row.lb, row.ub
                if low is not None and up is not None:
                    _refuse_crossing(low, up, f"constraint '{row.name}'")
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
        for name in options:
            if name in self._reserved:
                raise InputError(
                    f"set {self._reserved[name]}=... of the solve instead of {name!r} "
                    f"in solver_options"
                )
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
    ) -> _Outcome:
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
            x, answer = problem.solve(problem.x_init())
        code = int(answer["status"])
        name, termination = _IPOPT_STATUS.get(
            code, (f"status {code}", _Termination.unknown)
        )
        if code == 5 and late:
            termination = _Termination.maxTimeLimit
        if code == 6 and (objective is None or not _has_variables(objective)):
            termination = _SOLVED
        message = f"{name} ({termination.name})"
        text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
        seconds = time.perf_counter() - start
        outcome = _Outcome(
            status=name,
            termination=termination,
            loader=NoSolutionSolutionLoader(model, message),
            iterations=count,
            seconds=seconds,
            log=text,
        )
        if code <= _NOT_STARTED or not np.isfinite(x).all():
            return outcome
        return _ipopt_point(model, objective, info, nlp, x, answer, outcome)


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
        with path.open("w", newline="\n", encoding="utf-8") as file:
            return NLWriter().write(
                model,
                file,
                None,
                None,
                linear_presolve=False,
                scale_model=False,
                skip_trivial_constraints=True,
            )
    except (PyomoReluError, InfeasibleConstraintException):
        raise
    except ValueError as error:
        if "active components" in str(error):
            raise UnsupportedModelError(str(error)) from error
        raise unreadable(f"model '{model.name}'", error) from error
    except UNREADABLE as error:
        raise unreadable(f"model '{model.name}'", error) from error
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


def _constant_point(model: Any, objective: Any) -> _Outcome:
    """Return the outcome of a model without variables that are free."""
    number = None if objective is None else float(value(objective))
    nothing = np.zeros(0)
    return _Outcome(
        status="constant",
        termination=_SOLVED,
        loader=PointLoader(
            model, x=nothing, duals=nothing, reduced_costs=nothing, message="constant"
        ),
        solution=SolutionStatus.optimal,
        objective=number,
        bound=number,
    )


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
    answer: dict[str, Any],
    outcome: _Outcome,
) -> _Outcome:
    """Say what Ipopt's point is, by what is measured on it."""
    sense = -1 if objective is not None and objective.sense != minimize else 1
    nlp.set_primals(x)
    number = sense * float(nlp.evaluate_objective())
    low, up = nlp.primals_lb(), nlp.primals_ub()
    violation = max(
        _violation(x, low, up),
        _violation(
            nlp.evaluate_constraints(), nlp.constraints_lb(), nlp.constraints_ub()
        ),
    )
    if outcome.termination == _SOLVED:
        solution = SolutionStatus.optimal
    elif violation <= FEASIBILITY_TOLERANCE:
        solution = SolutionStatus.feasible
    else:
        solution = SolutionStatus.infeasible
    duals = costs = None
    if answer["status"] not in _NO_MULTIPLIERS:
        multipliers = np.asarray(answer["mult_g"])
        pull = np.asarray(answer["mult_x_L"]) - np.asarray(answer["mult_x_U"])
        # Ipopt takes variables between equal bounds out and gives them no multiplier.
        gradient = nlp.evaluate_grad_objective()
        if len(multipliers):
            gradient = gradient + nlp.evaluate_jacobian().T @ multipliers
        costs = sense * np.where(low == up, gradient, pull)
        duals = -sense * multipliers
    usable = objective is not None and solution != SolutionStatus.infeasible
    return _Outcome(
        status=outcome.status,
        termination=outcome.termination,
        loader=PointLoader(
            model,
            info.variables,
            x,
            info.constraints,
            duals,
            costs,
            f"{outcome.status} ({outcome.termination.name})",
        ),
        solution=solution,
        objective=number if usable else None,
        violation=violation,
        iterations=outcome.iterations,
        seconds=outcome.seconds,
        log=outcome.log,
    )


#: The interfaces by name. They are not in Pyomo's factories: registering a name there
#: would put them in the place of Pyomo's own.
LEGACY_SOLVERS: dict[str, type[SolverBase]] = {
    "cyipopt": CyIpopt,
    "glpk": GLPK,
    "cbc": CBC,
}
