"""Quadratic constraints of a Pyomo model, as vectors of second-order cones."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.repn.quadratic import QuadraticRepnVisitor

from pyomo_relu.cones import SecondOrderConeData
from pyomo_relu.errors import InputError
from pyomo_relu.solvers.affine_rows import Columns, as_float, as_floats
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.quadratic_cones import (
    Inequalities,
    QuadraticForm,
    cone_vector,
)

__all__ = ["QuadraticRows", "QuadraticVectors"]


class QuadraticVectors(NamedTuple):
    """The cones of all quadratic constraints, one after the other.

    Attributes
    ----------
    constraints : list of ConstraintData
        One a cone.
    is_upper : (count,) ndarray of bool
        Whether it bounds its body from above.
    sizes : (count,) ndarray of int
        Numbers of rows.
    V : (rows, n) csr_array
        ``s = V x + v``.
    v : (rows,) ndarray
        The same.
    """

    constraints: list[Any]
    is_upper: np.ndarray
    sizes: np.ndarray
    V: sp.csr_array
    v: np.ndarray


class _Row(NamedTuple):
    constraint: Any
    is_upper: bool
    quadratic: dict[tuple[int, int], Any]
    linear: dict[int, Any]
    constant: Any


class QuadraticRows:
    """Quadratic constraints, collected as they are met.

    Parameters
    ----------
    columns : Columns
        Columns of the form; variables that are met here are added.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._visitor = QuadraticRepnVisitor({}, var_recorder=columns)
        self._rows: list[_Row] = []

    def add(self, constraint: Any, lower: Any, body: Any, upper: Any) -> None:
        """Read one constraint whose body is not affine.

        Parameters
        ----------
        constraint : ConstraintData
            What it is called in errors.
        lower, body, upper : number or None, expression, number or None
            Its parts.

        Raises
        ------
        UnsupportedModelError
            The body is not quadratic, or is bounded on both sides.
        """
        repn = self._visitor.walk_expression(body)
        if repn.nonlinear is not None:
            raise UnsupportedModelError(
                f"constraint '{constraint.name}' is neither linear nor quadratic; a "
                f"conic form takes linear and convex quadratic constraints and cones. "
                f"Write it with a SecondOrderCone or an ExponentialCone, or use a "
                f"nonlinear solver"
            )
        if lower is not None and upper is not None:
            raise UnsupportedModelError(
                f"constraint '{constraint.name}' bounds a quadratic body on both "
                f"sides, which is not convex; a conic form takes one side. Relax it to "
                f"an inequality, or use a nonlinear solver"
            )
        is_upper = upper is not None
        sign = 1.0 if is_upper else -1.0
        order = self._columns.var_order
        self._rows.append(
            _Row(
                constraint,
                is_upper,
                {
                    (order[i], order[j]): sign * as_float(coefficient)
                    for (i, j), coefficient in repn.quadratic.items()
                },
                {
                    order[i]: sign * as_float(coefficient)
                    for i, coefficient in repn.linear.items()
                },
                sign * (as_float(repn.constant) - (upper if is_upper else lower)),
            )
        )

    def vectors(self, n: int, known: Inequalities) -> QuadraticVectors:
        """Return the cones of all rows.

        Parameters
        ----------
        n : int
            Number of columns.
        known : Inequalities
            Bounds and linear rows, which choose between the nappes of a cone.

        Raises
        ------
        UnsupportedModelError
            A row is not recognised as convex.
        InputError
            A coefficient is not finite.
        pyomo.common.errors.InfeasibleConstraintException
            A sum of squares is asked to be less than zero.
        """
        matrices, constants = [sp.csr_array((0, n))], [np.zeros(0)]
        for row in self._rows:
            form = _form(row)
            vector = cone_vector(form, known)
            if vector is None:
                raise UnsupportedModelError(_not_convex(row))
            if np.isnan(vector.constant[0]):
                raise InfeasibleConstraintException(
                    f"constraint '{row.constraint.name}' asks a sum of squares to be "
                    f"negative"
                )
            i, j = np.nonzero(vector.matrix)
            matrices.append(
                sp.csr_array(
                    (vector.matrix[i, j], (i, form.columns[j])),
                    shape=(len(vector.matrix), n),
                )
            )
            constants.append(vector.constant)
        return QuadraticVectors(
            constraints=[row.constraint for row in self._rows],
            is_upper=np.array([row.is_upper for row in self._rows], dtype=bool),
            sizes=np.array([len(part) for part in constants[1:]], dtype=np.int64),
            V=sp.csr_array(sp.vstack(matrices, format="csr")),
            v=np.concatenate(constants),
        )


def _form(row: _Row) -> QuadraticForm:
    """Return the left-hand side of ``form <= 0`` in the variables that it has."""
    pairs = np.array(list(row.quadratic), dtype=np.int64).reshape(-1, 2)
    coefficients = as_floats(list(row.quadratic.values()))
    linear = as_floats(list(row.linear.values()))
    if not (
        np.isfinite(coefficients).all()
        and np.isfinite(linear).all()
        and np.isfinite(row.constant)
    ):
        raise InputError(
            f"constraint '{row.constraint.name}' has a coefficient that is not finite "
            f"(a fixed variable or Param without a value, NaN or inf)"
        )
    own = np.fromiter(row.linear, dtype=np.int64, count=len(row.linear))
    columns = np.unique(np.concatenate([pairs.ravel(), own]))
    i, j = np.searchsorted(columns, pairs).T
    k = len(columns)
    half = sp.coo_array((0.5 * coefficients, (i, j)), shape=(k, k))
    Q = sp.csr_array(half + half.T)
    Q.eliminate_zeros()
    q = np.zeros(k)
    q[np.searchsorted(columns, own)] = linear
    return QuadraticForm(columns, Q, q, float(row.constant))


def _not_convex(row: _Row) -> str:
    """Say what cannot be taken, and what helps."""
    constraint = row.constraint
    cone = constraint.parent_block()
    if isinstance(cone, SecondOrderConeData):
        return (
            f"constraint '{constraint.name}' is not convex by itself, and the "
            f"second-order cone '{cone.name}' is not taken in place of its rows, "
            f"because one of them has been deactivated, changed or deleted; put that "
            f"right, or deactivate the cone"
        )
    return (
        f"constraint '{constraint.name}' is quadratic and not recognised as convex: "
        f"its form is neither positive semidefinite nor a second-order cone "
        f"|s| <= t with t >= 0 by the bounds of the variables or a linear row. State "
        f"the sign that you know, write it as a SecondOrderCone, or use a nonlinear "
        f"solver"
    )
