"""Entries of a cone's matrix as rows of numbers over variables, and back.

Tiers form new matrices that are linear in an old one. They do so with one sparse
product, never one Python expression an entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import LinearExpression, MonomialTermExpression

from pyomo_relu.cones import ConeData

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["AffineEntries", "congruence", "triangle_places"]


@dataclass(frozen=True)
class AffineEntries:
    """Affine expressions ``constant + matrix @ atoms``.

    Attributes
    ----------
    constant : (t,) float array
        Constant parts.
    matrix : (t, v) csr_array
        Coefficients.
    atoms : list of variables or expressions
        v of them. An entry that is neither number, variable nor a linear expression
        with numbers for coefficients (one with a mutable Param, say) is an atom of its
        own, so that it stays what the user wrote.
    """

    constant: Array
    matrix: sp.csr_array
    atoms: list[Any]

    @classmethod
    def of(cls, cone: ConeData) -> AffineEntries:
        """Return the upper triangle of a cone, row by row.

        Parameters
        ----------
        cone : cone data
            Any.

        Examples
        --------
        >>> from pyomo.environ import ConcreteModel, Var
        >>> from pyomo_relu.cones import PSDCone
        >>> from pyomo_relu.tiers.affine import AffineEntries
        >>> m = ConcreteModel()
        >>> m.x = Var()
        >>> m.K = PSDCone([[1, m.x], [m.x, 2]])
        >>> entries = AffineEntries.of(m.K)
        >>> entries.constant.tolist(), entries.matrix.toarray().tolist()
        ([1.0, 0.0, 2.0], [[0.0], [1.0], [0.0]])
        """
        return cls.read(cone.upper_triangle)

    @classmethod
    def read(cls, entries: Any) -> AffineEntries:
        """Return a sequence of affine entries, each a number, variable or expression.

        Parameters
        ----------
        entries : sequence
            t of them.
        """
        constant = np.zeros(len(entries))
        place: dict[int, int] = {}
        atoms: list[Any] = []
        rows: list[int] = []
        columns: list[int] = []
        data: list[float] = []

        def add(row: int, coefficient: float, atom: Any) -> None:
            column = place.setdefault(id(atom), len(atoms))
            if column == len(atoms):
                atoms.append(atom)
            rows.append(row)
            columns.append(column)
            data.append(coefficient)

        for row, entry in enumerate(entries):
            if type(entry) in native_numeric_types:
                constant[row] = entry
            elif (terms := _terms(entry)) is not None:
                constant[row] = terms[0]
                for coefficient, variable in zip(*terms[1:], strict=True):
                    add(row, coefficient, variable)
            else:
                add(row, 1.0, entry)
        matrix = sp.csr_array(
            (data, (rows, columns)), shape=(len(entries), len(atoms)), dtype=float
        )
        return cls(constant, matrix, atoms)

    def map(self, weights: Any) -> AffineEntries:
        """Return ``weights @ entries``.

        Parameters
        ----------
        weights : (s, t) array or sparse array
            A linear map.
        """
        weights = sp.csr_array(weights)
        return AffineEntries(
            weights @ self.constant, sp.csr_array(weights @ self.matrix), self.atoms
        )

    def plus(self, weights: Any, variables: list[Any]) -> AffineEntries:
        """Return ``entries + weights @ variables``.

        Parameters
        ----------
        weights : (t, w) array or sparse array
            Coefficients.
        variables : list of w variables
            New ones, none of which is an atom of the entries.
        """
        matrix = sp.hstack([self.matrix, sp.csr_array(weights)], format="csr")
        return AffineEntries(
            self.constant, sp.csr_array(matrix), [*self.atoms, *variables]
        )

    def expressions(self) -> list[Any]:
        """Return the t entries: numbers, variables and linear expressions."""
        matrix = self.matrix.copy()
        matrix.eliminate_zeros()
        starts = matrix.indptr.tolist()
        columns, data = matrix.indices.tolist(), matrix.data.tolist()
        return [
            _expression(constant, data[a:b], [self.atoms[j] for j in columns[a:b]])
            for constant, a, b in zip(
                self.constant.tolist(), starts, starts[1:], strict=False
            )
        ]


@lru_cache(maxsize=256)
def triangle_places(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the upper triangle, row by row.

    Parameters
    ----------
    order : int
        Number of rows of the matrix.
    """
    rows, columns = np.triu_indices(order)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


def congruence(P: Array, free: int) -> Array:
    """Return ``M -> diag(P, I)^T M diag(P, I)`` as a matrix on upper triangles.

    Parameters
    ----------
    P : (m, k) array
        Acts on the leading coordinates.
    free : int
        Number of last coordinates, which stay as they are.

    Returns
    -------
    (s, t) array
        s and t are the lengths of the upper triangles of order ``k + free`` and
        ``m + free``.

    Examples
    --------
    >>> import numpy as np
    >>> congruence(np.array([[1.0], [2.0]]), 0)
    array([[1., 4., 4.]])
    """
    m, k = P.shape
    Q = np.zeros((m + free, k + free))
    Q[:m, :k] = P
    Q[m:, k:] = np.eye(free)
    i, j = triangle_places(m + free)
    p, q = triangle_places(k + free)
    direct = Q[i][:, p] * Q[j][:, q]
    mirror = Q[j][:, p] * Q[i][:, q]
    return (direct + np.where((i == j)[:, None], 0.0, mirror)).T


def _terms(entry: Any) -> tuple[float, list[float], list[Any]] | None:
    """Return constant, coefficients and variables; None if they are not numbers."""
    if entry.is_variable_type():
        return 0.0, [1.0], [entry]
    kind = type(entry)
    if kind is MonomialTermExpression:
        coefficient, variable = entry.args
        if type(coefficient) in native_numeric_types:
            return 0.0, [coefficient], [variable]
    if kind is LinearExpression:
        coefficients = entry.linear_coefs
        numbers = [entry.constant, *coefficients]
        if all(type(number) in native_numeric_types for number in numbers):
            return entry.constant, coefficients, entry.linear_vars
    return None


def _expression(constant: float, coefficients: list[float], atoms: list[Any]) -> Any:
    if not atoms:
        return constant
    if constant == 0.0 and coefficients == [1.0]:
        return atoms[0]
    linear = [(w, a) for w, a in zip(coefficients, atoms, strict=True) if _is_plain(a)]
    others = [
        w * a for w, a in zip(coefficients, atoms, strict=True) if not _is_plain(a)
    ]
    expression = LinearExpression(
        constant=constant,
        linear_coefs=[w for w, _ in linear],
        linear_vars=[a for _, a in linear],
    )
    return sum(others, expression) if others else expression


def _is_plain(atom: Any) -> bool:
    return bool(atom.is_variable_type())
