"""Affine rows of Pyomo expressions, in coordinate format.

A ``LinearExpression`` is read without a walker, a matrix of variables without looking
at its entries one by one; everything else goes through Pyomo's own visitor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base import value
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.repn.linear import LinearRepnVisitor

from pyomo_relu.errors import InputError, PyomoReluError

__all__ = ["UNREADABLE", "AffineRows", "Columns", "as_float", "as_floats", "unreadable"]


class Columns:
    """Columns of the form, in the order in which variables are met.

    It is also the ``var_recorder`` of Pyomo's visitors, which therefore number the
    variables as the fast path does.
    """

    def __init__(self) -> None:
        self.variables: list[Any] = []
        self.var_map: dict[int, Any] = {}
        self.var_order: dict[int, int] = {}

    def add(self, var: Any) -> int:
        """Give a free variable the next column."""
        column = self.var_order[id(var)] = len(self.variables)
        self.var_map[id(var)] = var
        self.variables.append(var)
        return column


class AffineRows:
    """Affine rows ``sum_j coef_j x_j + constant`` in coordinate format."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._visitor = LinearRepnVisitor({}, var_recorder=columns)
        self._data: list[Any] = []
        self._indices: list[int] = []
        self._lengths: list[int] = []
        self._constants: list[Any] = []

    def add_terms(
        self, constant: Any, coefficients: Sequence[Any], variables: Sequence[Any]
    ) -> None:
        """Append ``constant + sum coefficients * variables``, all of them linear."""
        order = self._columns.var_order
        row = list(map(order.get, map(id, variables)))
        if None in row:
            for var in variables:
                if id(var) not in order and not var.fixed:
                    self._columns.add(var)
            row = list(map(order.get, map(id, variables)))
        if None in row:
            terms = list(zip(coefficients, variables, row, strict=True))
            for coefficient, var, column in terms:
                if column is None:
                    constant = constant + value(coefficient) * _fixed_value(var)
            coefficients = [term[0] for term in terms if term[2] is not None]
            row = [column for column in row if column is not None]
        self._data.extend(coefficients)
        self._indices.extend(row)  # type: ignore[arg-type]
        self._lengths.append(len(row))
        self._constants.append(constant)

    def add_expression(self, expression: Any) -> bool:
        """Append any expression; False, and no row, when it is not affine."""
        if expression.__class__ is LinearExpression:
            self.add_terms(
                expression.constant, expression.linear_coefs, expression.linear_vars
            )
            return True
        if expression.__class__ in native_numeric_types:
            self.add_terms(expression, (), ())
            return True
        repn = self._visitor.walk_expression(expression)
        if repn.nonlinear is not None:
            return False
        order = self._columns.var_order
        self._data.extend(repn.linear.values())
        self._indices.extend(order[vid] for vid in repn.linear)
        self._lengths.append(len(repn.linear))
        self._constants.append(repn.constant)
        return True

    def add_entries(self, entries: Sequence[Any]) -> int:
        """Append entries of a matrix as rows; how many went in before one failed."""
        order = self._columns.var_order
        row = list(map(order.get, map(id, entries)))
        if None in row:
            row = [self._free_column(entry) for entry in entries]
        if None not in row:
            count = len(row)
            self._data.extend([1.0] * count)
            self._indices.extend(row)  # type: ignore[arg-type]
            self._lengths.extend([1] * count)
            self._constants.extend([0.0] * count)
            return count
        for done, (entry, column) in enumerate(zip(entries, row, strict=True)):
            if column is not None:
                self._data.append(1.0)
                self._indices.append(column)
                self._lengths.append(1)
                self._constants.append(0.0)
            elif not self.add_expression(entry):
                return done
        return len(row)

    def _free_column(self, entry: Any) -> int | None:
        """Column of a free variable; None for anything else."""
        column = self._columns.var_order.get(id(entry))
        if (
            column is None
            and entry.__class__ not in native_numeric_types
            and entry.is_variable_type()
            and not entry.fixed
        ):
            column = self._columns.add(entry)
        return column

    def matrix(self) -> tuple[sp.csr_array, np.ndarray]:
        """All rows as ``(E, e)``; the columns are those known by now."""
        indptr = np.concatenate([[0], np.cumsum(self._lengths, dtype=np.int64)])
        shape = (len(self._lengths), len(self._columns.variables))
        data = as_floats(self._data)
        E = sp.csr_array((data, np.array(self._indices, dtype=np.int64), indptr), shape)
        E.sum_duplicates()
        E.eliminate_zeros()
        return E, as_floats(self._constants)


def as_floats(items: list[Any]) -> np.ndarray:
    """Numbers, Params and whatever else has a value, as an array; errors become NaN."""
    try:
        return np.array(items, dtype=float)
    except (TypeError, ValueError):
        return np.array([as_float(item) for item in items], dtype=float)


def as_float(item: Any) -> float:
    """Value of a number, Param or expression; NaN where it has none."""
    try:
        return float(value(item))
    except (TypeError, ValueError, ArithmeticError):
        return float("nan")


#: What Pyomo raises for a Param without a value, a division by zero, a range with
#: variable bounds.
UNREADABLE = (ValueError, TypeError, ArithmeticError)


def unreadable(component: str, error: Exception) -> InputError:
    """Say which component could not be read, and why."""
    if isinstance(error, PyomoReluError):
        return InputError(str(error))
    return InputError(f"{component} cannot be evaluated: {error}")


def _fixed_value(var: Any) -> float:
    """Value of a fixed variable, refused when it has none."""
    if var.value is None:
        raise InputError(
            f"variable '{var.name}' is fixed but has no value; give it one with "
            f"fix(value) or unfix it"
        )
    return float(var.value)
