"""SCS: a first-order solver for linear to semidefinite and exponential programs.

B. O'Donoghue, "Operator splitting for a homogeneous embedding of the linear
complementarity problem", SIAM Journal on Optimization 31, 2021. It factors one matrix
once and can start from a near-by solution; where digits count and memory does not, an
interior-point method is the better choice.
"""

from __future__ import annotations

import io
import math
import signal
import threading
from contextlib import ExitStack
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import Bool, ConfigValue
from pyomo.common.dependencies import attempt_import
from pyomo.common.tee import TeeStream, capture_output
from pyomo.contrib.solver.common.base import Availability
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.conic_solver import ConicAnswer, ConicSolver, ConicSolverConfig
from pyomo_relu.solvers.interface import package_availability, package_version
from pyomo_relu.solvers.settings import chosen_iteration_limit, refuse_unknown_settings

__all__ = ["CERTIFICATE_TOLERANCE", "DEFAULT_SETTINGS", "SCS", "SCSConfig"]

scs, scs_available = attempt_import("scs")

# Conventions. The cones come in the order of ConicForm; a second-order cone is
# |s[1:]| <= s[0], an exponential cone (x, y, z) with y exp(x / y) <= z. A semidefinite
# block is its *lower* triangle, column by column, off-diagonal entries times sqrt(2):
# the dot product of two such vectors is the inner product of the matrices. P is its
# upper triangle; P and A must be CSC, and A must have a row.
_OFF_DIAGONAL_FACTOR = math.sqrt(2.0)

#: Settings that differ from SCS's own. Its tolerances of 1e-4 leave two digits in a
#: dual; the last digits are cheap once the iteration converges linearly. That of a
#: certificate stays: a smaller one multiplies the iterations of infeasible programs.
DEFAULT_SETTINGS: dict[str, Any] = {
    "eps_abs": 1e-9,
    "eps_rel": 1e-9,
    "max_iters": 100_000,
}

#: Largest residual of a normalised certificate at which it is believed. SCS measures
#: in norms of its own scaling of the data, and has no number beside the answer that
#: says what it is worth on the data as they are.
CERTIFICATE_TOLERANCE = 1e-6

# What SCS 3.3 knows and no option of Pyomo sets. An older one refuses by itself what it
# does not know.
_SETTINGS = (
    "acceleration_interval",
    "acceleration_lookback",
    "acceleration_regularization",
    "acceleration_relaxation",
    "acceleration_type_1",
    "adaptive_diag_scale",
    "adaptive_scale",
    "alpha",
    "eps_abs",
    "eps_infeas",
    "eps_rel",
    "linear_solver",
    "log_csv_filename",
    "max_iters",
    "normalize",
    "rho_x",
    "scale",
    "write_data_filename",
)

# Set through an option of Pyomo instead: a second way would be a silent conflict.
_PYOMO_OPTIONS = {
    "verbose": "tee",
    "time_limit_secs": "time_limit",
    "warm_start": "warm_start",
}

_SOLVED, _SOLVED_INACCURATE, _INTERRUPTED = 1, 2, -5

_TERMINATION = {
    _SOLVED: TerminationCondition.convergenceCriteriaSatisfied,
    # The next, -6 and -7 are guesses of what would have come out, made where the
    # iterations or the time ran out; then _LIMITS says which.
    _SOLVED_INACCURATE: TerminationCondition.unknown,
    -1: TerminationCondition.infeasibleOrUnbounded,
    -2: TerminationCondition.provenInfeasible,
    -3: TerminationCondition.unknown,
    -4: TerminationCondition.error,
    _INTERRUPTED: TerminationCondition.interrupted,
    -6: TerminationCondition.unknown,
    -7: TerminationCondition.unknown,
}

# What the text of a status says beside its number.
_LIMITS = {
    "reached max_iters": TerminationCondition.iterationLimit,
    "reached time_limit_secs": TerminationCondition.maxTimeLimit,
}

# A limit of zero seconds is none to SCS.
_SHORTEST_TIME = 1e-9


class SCSConfig(ConicSolverConfig):
    """The options of a conic solver, and where to start."""

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
        self.warm_start: bool = self.declare(
            "warm_start",
            ConfigValue(
                domain=Bool,
                default=False,
                description="Start from the current values of the variables and from "
                "the multipliers and slacks of the last optimum that this solver found "
                "for a model of the same shape. Where it has found none the start is "
                "cold: a point without multipliers saves no iterations.",
            ),
        )


class _Optimum(NamedTuple):
    """The end of a solve in SCS's order of rows, to start another one from."""

    shape: tuple[Any, ...]
    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    scale: float


@SolverFactory.register(
    name="scs",
    legacy_name="scs",
    doc="SCS: linear, convex quadratic, second-order cone, semidefinite and "
    "exponential cone programs, by a first-order method",
)
class SCS(ConicSolver):
    """Pyomo interface to SCS.

    It takes what :func:`~pyomo_relu.solvers.standard_form.compile_conic` takes, and
    gives primal values, duals (vectors and matrices for cones) and reduced costs with
    Pyomo's signs. Of SCS's answers only ``solved`` is called optimal; one of
    infeasibility or unboundedness counts only where its certificate is one on the data
    as they are, to :data:`CERTIFICATE_TOLERANCE`.

    ``results.extra_info`` has the entries that it has for
    :class:`~pyomo_relu.solvers.clarabel.Clarabel`, all of them computed from the
    returned point, and ``results.objective_bound`` stays None.

    Tolerances and iterations are :data:`DEFAULT_SETTINGS`; ``solver_options`` takes
    the settings of SCS by their names, for instance ``eps_abs``. From 3.3 on SCS may
    factor with other libraries; here it is ``linear_solver="qdldl"`` unless asked for
    another, which is everywhere and gives the same iterates twice.

    With ``warm_start=True`` an instance that solves a model again, its data a little
    changed, starts from where it ended. Data that change the optimum by a per cent
    leave a half to three quarters of the iterations of small programs; hard programs
    may gain nothing.

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
    >>> solver = SCS()
    >>> results = solver.solve(m)
    >>> round(m.x.value, 6), round(m.y.value, 6)
    (1.0, 2.0)
    >>> round(results.solution_loader.get_duals()[m.c], 6)
    2.0
    >>> again = solver.solve(m, warm_start=True).extra_info.iteration_count
    >>> again < results.extra_info.iteration_count
    True
    """

    CONFIG = SCSConfig()

    # First version whose settings and cones are called as they are here.
    _minimum_version = (3, 2)

    _last: _Optimum | None = None

    def available(self) -> Availability:
        """Whether SCS is installed, in a version that has what is used here."""
        return package_availability(self.version(), self._minimum_version)

    def version(self) -> tuple[int, ...]:
        """Version of the installed SCS, () where there is none."""
        return package_version(scs) if scs_available else ()

    def minimise(self, form: ConicForm, config: Any) -> ConicAnswer:
        """Hand a conic form to SCS, and bring its answer back unscaled.

        Parameters
        ----------
        form : ConicForm
            The problem, with at least one variable.
        config : SCSConfig
            Options of this solve.

        Returns
        -------
        ConicAnswer

        Raises
        ------
        InputError
            If ``solver_options`` names no setting of SCS, a value does not fit, or
            more than one thread is asked for.
        SolverError
            If SCS fails without an answer.
        KeyboardInterrupt
            If SIGINT came, and has its usual handler.
        """
        settings = _settings(config)
        order = _row_order(form)
        row_scale = np.where(form.is_off_diagonal, _OFF_DIAGONAL_FACTOR, 1.0)
        objective_scale = form.objective_size
        shape = _shape(form)
        start = None
        if config.warm_start and self._last is not None and self._last.shape == shape:
            last = self._last
            start = last._replace(x=_values(form, last.x), y=last.y / objective_scale)
            settings.setdefault("scale", last.scale)

        data = {
            "P": _csc(sp.triu(form.P) / objective_scale),
            "A": _csc((sp.diags_array(row_scale) @ form.A).tocsr()[order]),
            "b": (form.b * row_scale)[order],
            "c": form.c / objective_scale,
        }
        cone = {
            "z": form.n_zero,
            "l": form.n_nonnegative,
            "q": form.soc_orders.tolist(),
            "s": form.psd_orders.tolist(),
            "ep": form.n_exponential,
        }
        if not len(form.b):
            # SCS wants a row; this one, 0 x <= 1, says nothing.
            data |= {"A": sp.csc_matrix((1, len(form.c))), "b": np.ones(1)}
            cone["l"] = 1
        solution, log = _run(data, cone, settings, start, config)

        info = solution["info"]
        if info["status_val"] == _INTERRUPTED:
            # SCS had taken the signal's handler away; the usual one raises.
            signal.raise_signal(signal.SIGINT)
        x = np.array(solution["x"])
        y = np.array(solution["y"])[: len(form.b)] * objective_scale
        if info["status_val"] == _SOLVED:
            self._last = _Optimum(
                shape, x, y, np.array(solution["s"])[: len(y)], info["scale"]
            )
        z = np.empty(len(form.b))
        z[order] = y
        z /= row_scale
        return ConicAnswer(
            status=info["status"],
            termination=_termination(form, info, x, z),
            x=x,
            z=z,
            has_point=info["status_val"] in (_SOLVED, _SOLVED_INACCURATE),
            iterations=info["iter"],
            seconds=(info["setup_time"] + info["solve_time"]) / 1000.0,
            log=log,
        )


def _settings(config: Any) -> dict[str, Any]:
    """SCS's settings from ours, Pyomo's and the user's, names checked."""
    options = config.solver_options.value()
    refuse_unknown_settings(options, _SETTINGS, _PYOMO_OPTIONS, "SCS")
    if config.threads is not None and config.threads > 1:
        raise InputError(
            f"SCS works in one thread; threads={config.threads} cannot be had. Leave "
            f"threads=None, or take a solver that uses them, such as 'clarabel'"
        )
    settings = dict(DEFAULT_SETTINGS)
    if hasattr(scs, "LinearSolver"):
        settings["linear_solver"] = scs.LinearSolver.QDLDL.value
    limit = chosen_iteration_limit(config, options, "max_iters")
    if limit is not None:
        settings["max_iters"] = limit
    if config.time_limit is not None:
        settings["time_limit_secs"] = max(config.time_limit, _SHORTEST_TIME)
    return settings | options


def _row_order(form: ConicForm) -> np.ndarray:
    """Row of the form that each of SCS's rows is."""
    order = np.arange(len(form.b))
    first = form.n_linear + form.n_vector
    for k in form.psd_orders.tolist():
        # The lower triangle column by column is the upper one row by row.
        row, column = np.triu_indices(k)
        size = len(row)
        order[first : first + size] = first + column * (column + 1) // 2 + row
        first += size
    return order


def _shape(form: ConicForm) -> tuple[Any, ...]:
    """Return what forms must share for the end of one solve to start the other."""
    return (
        form.A.shape,
        form.n_zero,
        form.n_nonnegative,
        tuple(form.soc_orders.tolist()),
        tuple(form.psd_orders.tolist()),
        form.n_exponential,
    )


def _values(form: ConicForm, instead: np.ndarray) -> np.ndarray:
    """Values of the variables, and something else where they have none."""
    values = np.array([var.value for var in form.variables], dtype=float)
    return np.where(np.isfinite(values), values, instead)


def _csc(matrix: Any) -> sp.csc_matrix:
    """Return a matrix in the format that every version of SCS knows."""
    result = sp.csc_matrix(matrix)
    result.sort_indices()
    return result


def _run(
    data: dict[str, Any],
    cone: dict[str, Any],
    settings: dict[str, Any],
    start: _Optimum | None,
    config: Any,
) -> tuple[dict[str, Any], str]:
    """Solve; print to the streams if there are any, and to a log."""
    streams = config.tee
    log = io.StringIO()
    # SCS prints to sys.stdout, which all threads share: beside the main thread it is
    # redirected only for a caller who asked for output.
    listens = bool(streams) or threading.current_thread() is threading.main_thread()
    with ExitStack() as stack:
        if listens:
            stack.enter_context(capture_output(TeeStream(log, *streams)))
        try:
            solver = scs.SCS(data, cone, verbose=listens, **settings)
        except (TypeError, ValueError, OverflowError) as error:
            options = config.solver_options.value()
            if not options:
                raise SolverError(f"SCS cannot be set up: {error}") from error
            raise InputError(
                f"SCS refuses the settings {options} of solver_options: {error}"
            ) from error
        try:
            if start is None:
                solution = solver.solve(warm_start=False)
            else:
                solution = solver.solve(
                    warm_start=True, x=start.x, y=start.y, s=start.s
                )
        except (ValueError, RuntimeError, MemoryError) as error:
            raise SolverError(f"SCS failed without an answer: {error}") from error
    return solution, log.getvalue()


def _termination(
    form: ConicForm, info: dict[str, Any], x: np.ndarray, z: np.ndarray
) -> TerminationCondition:
    """Pyomo's word for how SCS ended, its certificates checked."""
    for text, limit in _LIMITS.items():
        if text in info["status"]:
            return limit
    termination = _TERMINATION.get(info["status_val"], TerminationCondition.unknown)
    # Infeasible here may be "feasible, far out": with badly scaled data SCS meets its
    # tolerance with a vector that proves no more than that.
    if termination == TerminationCondition.provenInfeasible:
        residual = form.infeasibility_residual(z)
    elif termination == TerminationCondition.infeasibleOrUnbounded:
        residual = form.unboundedness_residual(x)
    else:
        return termination
    return (
        termination
        if residual <= CERTIFICATE_TOLERANCE
        else TerminationCondition.unknown
    )
