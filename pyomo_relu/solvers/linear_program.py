"""Linear programs, with integer variables or without, and their files.

Pyomo's own compiler reads the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.errors import (
    InfeasibleConstraintException,
    InvalidExpressionError,
)
from pyomo.core.base import SOSConstraint, minimize
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from pyomo_relu.errors import InputError
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.point_loader import PointLoader
from pyomo_relu.solvers.point_solver import side_violation
from pyomo_relu.solvers.reading import compiler_errors, read_bounds, sole_objective

__all__ = ["LinearProgram", "compile_linear"]

#: A bound of an integer variable this close to an integer is that integer.
INTEGRALITY_TOLERANCE = 1e-9


@dataclass(frozen=True)
class LinearProgram:
    """Minimise ``c'x + c0`` over rows and bounds.

    Attributes
    ----------
    model : Block
        The model that was compiled.
    variables : list of VarData
        Its n free variables, the continuous ones first.
    n_continuous : int
        How many of them are continuous.
    c : (n,) ndarray
    c0 : float
    sense : int
        -1 where the model maximises: ``c`` and ``c0`` have the opposite signs.
    has_objective : bool
    A : (m, n) csc_array
    b : (m,) ndarray
    constraints : list of ConstraintData
        That of each row; a range is two rows.
    sides : (m,) ndarray
        1 for a row ``<= b``, -1 for ``>= b`` and 0 for ``== b``.
    lower, upper : (n,) ndarray
        Bounds, infinite where there are none.
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
        """Whether there are integer variables."""
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
            side_violation(
                self.A @ x,
                np.where(self.sides == 1, -np.inf, self.b),
                np.where(self.sides == -1, np.inf, self.b),
            ),
            side_violation(x, self.lower, self.upper),
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


def compile_linear(model: Any, title: str) -> LinearProgram:
    """Compile a Pyomo model to a linear program.

    Parameters
    ----------
    model : Block
        A constructed Pyomo model or block; it is not changed.
    title : str
        What people call the solver, for messages.

    Returns
    -------
    LinearProgram

    Raises
    ------
    UnsupportedModelError
        If the model is not linear, has several objectives or components that the
        compiler does not know.
    InputError
        If a coefficient is not finite or cannot be evaluated.
    pyomo.common.errors.InfeasibleConstraintException
        If bounds cross, or have no integer between them.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, 4))
    >>> m.o = pyo.Objective(expr=2 * m.x + 1, sense=pyo.maximize)
    >>> m.c = pyo.Constraint(expr=3 * m.x <= 5)
    >>> program = compile_linear(m, "GLPK")
    >>> program.c.tolist(), program.A.toarray().tolist(), program.b.tolist()
    ([-2.0], [[3.0]], [5.0])
    >>> print(program.to_mps())
    NAME MODEL FREE
    ROWS
     N OBJ
     L R0
    COLUMNS
     C0 OBJ -2.0
     C0 R0 3.0
    RHS
     RHS R0 5.0
    BOUNDS
     LO BND C0 0.0
     UP BND C0 4.0
    ENDATA
    """
    sos = next(model.component_data_objects(SOSConstraint, active=True), None)
    if sos is not None:
        raise UnsupportedModelError(
            f"{title} is not given the SOSConstraint '{sos.name}'; write it with "
            f"binary variables, or use SCIP"
        )
    with compiler_errors(model):
        try:
            info = LinearStandardFormCompiler().write(
                model, mixed_form=True, set_sense=minimize
            )
        except InvalidExpressionError as error:
            raise UnsupportedModelError(
                f"{title} takes linear models only: {error} Use a nonlinear solver"
            ) from error
        offsets = [float(offset) for offset in info.c_offset]
        b = np.array([float(side) for side in info.rhs])
    objective = sole_objective(info.objectives)
    has_objective = objective is not None
    sense = -1 if has_objective and objective.sense != minimize else 1
    n = len(info.columns)
    c = info.c.toarray()[0] if has_objective else np.zeros(n)
    c0 = offsets[0] if has_objective else 0.0
    continuous = np.array([_is_continuous(var) for var in info.columns], dtype=bool)
    order = np.argsort(~continuous, kind="stable")
    variables = [info.columns[j] for j in order.tolist()]
    lower, upper = read_bounds(variables)
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
    _refuse_infinite(c, c0, A, b, constraints, objective)
    return LinearProgram(
        model=model,
        variables=variables,
        n_continuous=k,
        c=c[order],
        c0=c0,
        sense=sense,
        has_objective=has_objective,
        A=A,
        b=b,
        constraints=constraints,
        sides=sides,
        lower=lower,
        upper=upper,
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
    objective: Any,
) -> None:
    if not (np.isfinite(c).all() and math.isfinite(c0)):
        raise InputError(
            f"objective '{objective.name}' has a coefficient that is not finite"
        )
    bad = np.concatenate(
        [np.flatnonzero(~np.isfinite(b)), A.indices[~np.isfinite(A.data)]]
    )
    if bad.size:
        raise InputError(
            f"constraint '{constraints[bad[0]].name}' has a coefficient that is not "
            f"finite (a fixed variable or Param without a value, NaN or inf)"
        )
