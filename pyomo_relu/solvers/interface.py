"""What every solver interface does the same way, whatever its solver takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from pyomo.common.config import ConfigValue, PositiveInt
from pyomo.common.timing import HierarchicalTimer
from pyomo.contrib.solver.common.base import Availability, SolverBase
from pyomo.contrib.solver.common.results import Results, SolutionStatus
from pyomo.contrib.solver.common.util import (
    NoFeasibleSolutionError,
    NoOptimalSolutionError,
)
from pyomo.core.staleflag import StaleFlagManager

from pyomo_relu.errors import InputError

__all__ = [
    "SolverInterface",
    "iteration_limit_entry",
    "package_availability",
    "package_version",
]

logger = logging.getLogger(__name__)


class SolverInterface(SolverBase):
    """Base of the interfaces: options, what is raised, what is loaded, and times.

    A subclass has a ``solve`` that calls :meth:`_solve`, and overrides
    :meth:`_refuse_missing`.
    """

    def _solve(
        self,
        model: Any,
        options: dict[str, Any],
        run: Callable[[Any, Results], str],
    ) -> Results:
        """Solve a model, and raise or load as the options say.

        Parameters
        ----------
        model : Block
            The model.
        options : dict
            Options of this solve, the entries of ``CONFIG``.
        run : callable
            ``run(config, results)`` solves; it fills the results, their solution loader
            and statuses, and returns one sentence about them.

        Returns
        -------
        Results
        """
        start = datetime.now(timezone.utc)
        tick = time.perf_counter()
        config = self._configure(options)
        self._refuse_missing(config)
        if config.timer is None:
            config.timer = HierarchicalTimer()
        StaleFlagManager.mark_all_as_stale()
        results = Results()
        results.solver_name = self.name
        results.solver_version = self._version_of(config)
        results.solver_config = config
        message = run(config, results)
        _raise_or_load(model, results, message)
        results.timing_info.start_timestamp = start
        results.timing_info.wall_time = time.perf_counter() - tick
        results.timing_info.timer = config.timer
        return results

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

    def _refuse_missing(self, config: Any) -> None:
        """Raise where the solver is not available."""
        raise NotImplementedError(
            f"{type(self).__name__} does not override _refuse_missing"
        )

    def _version_of(self, config: Any) -> tuple[int, ...]:
        """Version of the solver that the options of a solve lead to."""
        return self.version()


def _raise_or_load(model: Any, results: Results, message: str) -> None:
    """Raise for what is no optimum or no point if that is asked for; load."""
    config = results.solver_config
    optimal = results.solution_status == SolutionStatus.optimal
    if config.raise_exception_on_nonoptimal_result and not optimal:
        raise NoOptimalSolutionError(
            f"{message}. Set raise_exception_on_nonoptimal_result=False to get "
            f"the results all the same"
        )
    if not config.load_solutions:
        return
    if results.solution_status == SolutionStatus.noSolution:
        raise NoFeasibleSolutionError(
            f"{message}. There is no point to load: set load_solutions=False "
            f"and look at results.termination_condition"
        )
    if not optimal:
        logger.warning("%s: %s; its point is loaded", model.name, message)
    config.timer.start("load solution")
    results.solution_loader.load_solution()
    config.timer.stop("load solution")


def iteration_limit_entry() -> ConfigValue:
    """Return the entry ``iteration_limit`` of a configuration."""
    return ConfigValue(
        domain=PositiveInt,
        default=None,
        description="Largest number of iterations; None is the solver's own.",
    )


def package_version(package: Any) -> tuple[int, ...]:
    """Return the version of a Python package.

    Parameters
    ----------
    package : module
        With a ``__version__``.

    Returns
    -------
    tuple of int
        Without what may follow the numbers.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> package_version(SimpleNamespace(__version__="3.2.7+mkl"))
    (3, 2, 7)
    """
    numbers = package.__version__.split("+")[0].split("-")[0].split(".")
    return tuple(int(number) for number in numbers)


def package_availability(
    version: tuple[int, ...], minimum: tuple[int, ...]
) -> Availability:
    """Say whether a Python package can be used.

    Parameters
    ----------
    version : tuple of int
        Its version, () where there is none.
    minimum : tuple of int
        The first one that has what is used here.

    Returns
    -------
    Availability

    Examples
    --------
    >>> package_availability((0, 9), (0, 11)).name
    'BadVersion'
    """
    if not version:
        return Availability.NotFound
    if version < minimum:
        return Availability.BadVersion
    return Availability.FullLicense
