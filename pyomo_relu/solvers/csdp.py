"""CSDP: an interior-point solver for semidefinite programs.

B. Borchers, "CSDP, a C library for semidefinite programming", Optim. Methods Softw. 11,
1999. Debian: ``apt install coinor-csdp``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu.solvers.cone_program import Kind
from pyomo_relu.solvers.conic_solver import ConicSolverConfig
from pyomo_relu.solvers.executable import Run
from pyomo_relu.solvers.sdpa_format import SDPAProblem, read_csdp_solution, write
from pyomo_relu.solvers.sdpa_interface import Report, SDPASolver

__all__ = ["CSDP", "DEFAULT_PARAMETERS", "SECOND_PARAMETERS"]

#: The parameter file, in the order in which CSDP reads it. Its own tolerances are 1e-8
#: and it perturbs the objective: an optimum of a quadratic objective then has
#: multipliers with errors of 1e-4, the square root of the gap.
DEFAULT_PARAMETERS: dict[str, Any] = {
    "axtol": 1e-9,
    "atytol": 1e-9,
    "objtol": 1e-13,
    "pinftol": 1e8,
    "dinftol": 1e8,
    "maxiter": 100,
    "minstepfrac": 0.9,
    "maxstepfrac": 0.97,
    "minstepp": 1e-8,
    "minstepd": 1e-8,
    "usexzgap": 1,
    "tweakgap": 0,
    "affine": 0,
    "printlevel": 1,
    "perturbobj": 0.0,
    "fastmode": 0,
}

#: Its own parameters, for a second attempt: without the perturbation it may step onto
#: the boundary and get stuck there.
SECOND_PARAMETERS: dict[str, Any] = {
    "axtol": 1e-8,
    "atytol": 1e-8,
    "objtol": 1e-8,
    "perturbobj": 1.0,
}

# The exit codes of CSDP: its words, what they mean for a point, and what of problem (P)
# of the file format it leaves.
_OUTCOMES: dict[int, tuple[str, TerminationCondition, Kind]] = {
    0: (
        "SDP solved",
        TerminationCondition.convergenceCriteriaSatisfied,
        Kind.POINT,
    ),
    1: ("SDP is primal infeasible", TerminationCondition.unknown, Kind.DIRECTION),
    2: ("SDP is dual infeasible", TerminationCondition.unknown, Kind.PROOF),
    3: (
        "SDP solved with reduced accuracy",
        TerminationCondition.unknown,
        Kind.POINT,
    ),
    4: (
        "maximum iterations reached",
        TerminationCondition.iterationLimit,
        Kind.POINT,
    ),
    5: (
        "stuck at edge of primal feasibility",
        TerminationCondition.minStepLength,
        Kind.POINT,
    ),
    6: (
        "stuck at edge of dual feasibility",
        TerminationCondition.minStepLength,
        Kind.POINT,
    ),
    7: ("lack of progress", TerminationCondition.minStepLength, Kind.POINT),
    8: ("X, Z, or O was singular", TerminationCondition.error, Kind.POINT),
    9: ("detected NaN or Inf values", TerminationCondition.error, Kind.POINT),
}


@SolverFactory.register(
    name="csdp",
    legacy_name="csdp",
    doc="CSDP: linear, convex quadratic, second-order cone and semidefinite programs",
)
class CSDP(SDPASolver):
    """Pyomo interface to the executable ``csdp``.

    It takes what :func:`~pyomo_relu.solvers.standard_form.compile_conic` takes, without
    exponential cones, and gives primal values, duals and reduced costs with Pyomo's
    signs, and in ``results.extra_info`` the residuals that
    :class:`~pyomo_relu.solvers.clarabel.Clarabel` describes.

    Success is called optimal. So is a point that CSDP gave up on where all of its
    errors, measured here, are below 1e-8, its own tolerance, unless ``solver_options``
    sets a tolerance: the default parameters ask for more. An infeasible or an unbounded
    model is called so where a proof or a direction was found that is one within 1e-6.

    ``solver_options`` takes the names of CSDP's parameter file, for instance
    ``objtol``; they are about the scaled problem that CSDP sees. Its files are kept
    below ``working_dir`` where that is given.

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
    >>> solver = CSDP()
    >>> if solver.available():
    ...     results = solver.solve(m)
    ...     dual = results.solution_loader.get_duals()[m.c]
    ...     assert round(dual, 6) == 2.0 and round(m.y.value, 6) == 2.0
    """

    CONFIG = ConicSolverConfig()

    executable = "csdp"
    title = "CSDP"
    parameters = DEFAULT_PARAMETERS
    second_parameters = SECOND_PARAMETERS
    iteration_parameter = "maxiter"
    tolerances = frozenset({"axtol", "atytol", "objtol"})

    def _write(
        self,
        problem: SDPAProblem,
        parameters: dict[str, Any],
        config: Any,
        folder: Path,
    ) -> list[str]:
        write(problem, folder / "problem.dat-s")
        lines = [f"{name}={value!r}\n" for name, value in parameters.items()]
        # The name of this file is fixed: CSDP looks for it where it runs.
        (folder / "param.csdp").write_text("".join(lines), encoding="ascii")
        return ["problem.dat-s", "problem.sol"]

    def _read(
        self, problem: SDPAProblem, parameters: dict[str, Any], ended: Run, folder: Path
    ) -> Report | None:
        path = folder / "problem.sol"
        if ended.code not in _OUTCOMES or not path.exists():
            return None
        status, termination, kind = _OUTCOMES[ended.code]
        iterations = re.findall(r"^Iter:\s*(\d+)", ended.log, re.MULTILINE)
        return Report(
            status,
            termination,
            (kind,) if ended.code < 5 else (Kind.PROOF, Kind.DIRECTION, Kind.POINT),
            read_csdp_solution(path, problem),
            int(iterations[-1]) if iterations else 0,
        )
