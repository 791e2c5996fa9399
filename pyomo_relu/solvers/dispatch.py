"""One door to the solvers."""

from __future__ import annotations

from typing import Any

from pyomo.contrib.solver.common.base import SolverBase
from pyomo.contrib.solver.common.factory import SolverFactory
from pyomo.contrib.solver.common.results import Results

from pyomo_relu.cones import cone_data_objects
from pyomo_relu.cones.membership import replace_first
from pyomo_relu.errors import (
    InputError,
    InputTypeError,
    SolverError,
    UnsupportedConeError,
)
from pyomo_relu.solvers.conic_solver import ConicSolver
from pyomo_relu.solvers.standard_form import check_model

__all__ = ["DEFAULT_SOLVER", "solve"]

#: Takes linear, quadratic, second-order and semidefinite programs.
DEFAULT_SOLVER = "clarabel"


def solve(
    model: Any, solver: str | SolverBase | None = None, **options: Any
) -> Results:
    """Solve a model.

    Parameters
    ----------
    model : Block
        A Pyomo model; its matrix cones relaxed to what the solver takes, for Clarabel
        PSD or DNN cones.
    solver : str or SolverBase, optional
        A name that ``pyomo.contrib.solver``'s ``SolverFactory`` knows, or an instance
        of it. Default: ``"clarabel"``. Models without matrix cones may go to any
        solver, second-order cones as the quadratic constraints that they are.
    **options
        Options of the solver interface: ``tee``, ``time_limit``, ``threads``,
        ``load_solutions``, ``raise_exception_on_nonoptimal_result``,
        ``solver_options``, ...

    Returns
    -------
    Results
        Pyomo's; the solution is loaded into the model.

    Raises
    ------
    SolverError
        If the solver is unknown or not available.
    UnsupportedConeError
        If the model has cones that the solver cannot take.
    InputError
        If an option is unknown, or the model is not constructed.
    InputTypeError
        If `model` is no block, or `solver` is neither a name nor a solver.

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
    """
    check_model(model)
    interface = _interface(DEFAULT_SOLVER if solver is None else solver)
    if not isinstance(interface, ConicSolver):
        cone = next(cone_data_objects(model), None)
        if cone is not None:
            raise UnsupportedConeError(
                f"solver '{interface.name}' cannot take the {cone.kind} cone "
                f"'{cone.name}'; {replace_first(cone)}, or leave solver=None, which "
                f"takes '{DEFAULT_SOLVER}'"
            )
    known = set(interface.config)
    unknown = sorted(set(options) - known)
    if unknown:
        raise InputError(
            f"solver '{interface.name}' has no option {unknown[0]!r}; it has "
            f"{', '.join(sorted(known))}. Settings of the solver itself go into "
            f"solver_options={{...}}"
        )
    return interface.solve(model, **options)


def _interface(solver: str | SolverBase) -> Any:
    if isinstance(solver, SolverBase):
        interface: Any = solver
    elif isinstance(solver, str):
        names = sorted(SolverFactory)
        if solver not in names:
            raise SolverError(
                f"there is no solver '{solver}' among those with Pyomo's solver "
                f"interface; there are {', '.join(names)}"
            )
        interface = SolverFactory(solver)
    else:
        raise InputTypeError(
            f"solver must be a name or a solver of pyomo.contrib.solver, not "
            f"{type(solver).__name__}"
        )
    if not interface.available():
        usable = [name for name in sorted(SolverFactory) if _is_available(name)]
        raise SolverError(
            f"solver '{interface.name}' is not available here; available are "
            f"{', '.join(usable)}"
        )
    return interface


def _is_available(name: str) -> bool:
    return bool(SolverFactory(name).available())
