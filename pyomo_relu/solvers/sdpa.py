"""SDPA: an interior-point solver for semidefinite programs.

M. Yamashita, K. Fujisawa and M. Kojima, "Implementation and evaluation of SDPA 6.0",
Optim. Methods Softw. 18, 2003. Debian: ``apt install sdpa``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu.solvers.cone_program import Kind
from pyomo_relu.solvers.conic_solver import ConicSolverConfig
from pyomo_relu.solvers.executable import Run
from pyomo_relu.solvers.sdpa_format import (
    SDPAProblem,
    SDPASolution,
    read_sdpa_output,
    write,
)
from pyomo_relu.solvers.sdpa_interface import Report, SDPASolver

__all__ = ["DEFAULT_PARAMETERS", "SDPA", "SECOND_PARAMETERS"]

#: The parameter file, in the order in which SDPA reads it.
DEFAULT_PARAMETERS: dict[str, Any] = {
    "maxIteration": 200,
    "epsilonStar": 1e-12,
    "lambdaStar": 1e5,
    "omegaStar": 2.0,
    "lowerBound": -1e20,
    "upperBound": 1e20,
    "betaStar": 0.1,
    "betaBar": 0.2,
    "gammaStar": 0.9,
    "epsilonDash": 1e-6,
}

#: For a second attempt: from farther away and in shorter steps, which the manual calls
#: slow and stable.
SECOND_PARAMETERS: dict[str, Any] = {
    "lambdaStar": 1e7,
    "betaStar": 0.2,
    "betaBar": 0.4,
    "gammaStar": 0.7,
}

# It stops, with pdFEAS, where both objectives are within 1e-6 of each other: in units
# in which that is little.
_SCALE = 2.0**10

_FORMAT = "%+.17e"

_TERMINATION = {
    "pdOPT": TerminationCondition.convergenceCriteriaSatisfied,
    "pdFEAS": TerminationCondition.minStepLength,
}

# What a point may be, of problem (P) of the file format.
_KINDS = {
    "pdINF": (Kind.PROOF, Kind.DIRECTION),
    "pINF_dFEAS": (Kind.PROOF,),
    "dUNBD": (Kind.PROOF,),
    "pFEAS_dINF": (Kind.DIRECTION,),
    "pUNBD": (Kind.DIRECTION,),
    "noINFO": (Kind.PROOF, Kind.DIRECTION, Kind.POINT),
    "pFEAS": (Kind.DIRECTION, Kind.POINT),
    "dFEAS": (Kind.PROOF, Kind.POINT),
    "pdFEAS": (Kind.POINT,),
    "pdOPT": (Kind.POINT,),
}


@SolverFactory.register(
    name="sdpa",
    legacy_name="sdpa",
    doc="SDPA: linear, convex quadratic, second-order cone and semidefinite programs",
)
class SDPA(SDPASolver):
    """Pyomo interface to the executable ``sdpa``.

    It takes what :func:`~pyomo_relu.solvers.standard_form.compile_conic` takes, without
    exponential cones, and gives primal values, duals and reduced costs with Pyomo's
    signs, and in ``results.extra_info`` the residuals that
    :class:`~pyomo_relu.solvers.clarabel.Clarabel` describes.

    The phase pdOPT is called optimal. So is a point that SDPA stopped at where all of
    its errors, measured here, are below 1e-8, unless ``solver_options`` sets a
    tolerance: the default parameters ask for more. SDPA calls a problem infeasible
    where it has no solution in a box; a model is called infeasible or unbounded where
    a proof or a direction was found that is one within 1e-6, if need be by a solve of
    its own.

    ``solver_options`` takes the names of SDPA's parameter file, for instance
    ``epsilonStar``; they are about the scaled problem that SDPA sees. Its files are
    kept below ``working_dir`` where that is given.

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
    >>> solver = SDPA()
    >>> if solver.available():
    ...     results = solver.solve(m)
    ...     dual = results.solution_loader.get_duals()[m.c]
    ...     assert round(dual, 6) == 2.0 and round(m.y.value, 6) == 2.0
    """

    CONFIG = ConicSolverConfig()

    executable = "sdpa"
    title = "SDPA"
    parameters = DEFAULT_PARAMETERS
    second_parameters = SECOND_PARAMETERS
    iteration_parameter = "maxIteration"
    tolerances = frozenset({"epsilonStar", "epsilonDash"})

    def _write(
        self,
        problem: SDPAProblem,
        parameters: dict[str, Any],
        config: Any,
        folder: Path,
    ) -> list[str]:
        problem = dataclasses.replace(
            problem, c=_SCALE * problem.c, F0=_SCALE * problem.F0
        )
        write(problem, folder / "problem.dat-s")
        lines = [f"{value!r} {name}\n" for name, value in parameters.items()]
        lines += [f"{_FORMAT} format\n"] * 4
        (folder / "param.sdpa").write_text("".join(lines), encoding="ascii")
        command = ["-ds", "problem.dat-s", "-o", "problem.result", "-p", "param.sdpa"]
        if config.threads:
            command += ["-numThreads", str(config.threads)]
        return command

    def _read(
        self, problem: SDPAProblem, parameters: dict[str, Any], ended: Run, folder: Path
    ) -> Report | None:
        path = folder / "problem.result"
        if ended.code != 0 or not path.exists():
            return None
        output = read_sdpa_output(path, problem)
        if not output.phase or output.solution is None:
            return None
        termination = _TERMINATION.get(output.phase, TerminationCondition.unknown)
        if output.phase != "pdOPT" and output.iterations >= parameters["maxIteration"]:
            termination = TerminationCondition.iterationLimit
        solution = output.solution
        return Report(
            output.phase,
            termination,
            _KINDS.get(output.phase, (Kind.POINT,)),
            SDPASolution(solution.x / _SCALE, solution.S / _SCALE, solution.Y / _SCALE),
            output.iterations,
        )
