"""A convex model as matrices, in nobody's convention but its own.

    minimise    1/2 x'Px + c'x + c0
    subject to  A x + s = b,   s in {0}^p x R_+^q x L x ... x S_+ x ... x K_exp x ...

``L`` is a second-order cone ``{s : |s[1:]| <= s[0]}``. A semidefinite block of order k
takes ``k (k + 1) / 2`` rows: the upper triangle column by column, (0, 0), (0, 1),
(1, 1), (0, 2), ..., with the entries *as they are*. ``K_exp`` is the exponential cone,
the closure of ``{(x, y, z) : y > 0, y exp(x / y) <= z}``. Solvers want other triangles,
orders and factors; those live in the file of the solver.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp

from pyomo_relu.cones.exponential import (
    dual_exponential_violation,
    exponential_violation,
)

__all__ = [
    "ConeRows",
    "ConicForm",
    "QuadraticCone",
    "VectorRows",
    "triangle",
]


@lru_cache(maxsize=256)
def triangle(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of each entry of the upper triangle, column by column.

    Parameters
    ----------
    order : int
        Order k of the symmetric matrix.

    Returns
    -------
    tuple of (k (k + 1) / 2,) ndarray of int
        Read-only; ``M[triangle(k)]`` is the vector of a matrix ``M``.

    Examples
    --------
    >>> triangle(2)
    (array([0, 0, 1]), array([0, 1, 1]))
    """
    columns, rows = np.tril_indices(order)
    rows.flags.writeable = columns.flags.writeable = False
    return rows, columns


@dataclass(frozen=True)
class ConeRows:
    """Where one matrix cone went: its block and, for a DNN cone, its entries.

    Attributes
    ----------
    cone : cone data
        The Pyomo component.
    order : int
        Order k of the matrix.
    rows : (k (k + 1) / 2,) ndarray of int
        Rows of ``A`` that hold the triangle (one nonnegative row when k is 1).
    entry_rows : (e,) ndarray of int
        Nonnegative rows of the entrywise part, -1 for a constant entry.
    pairs : (e, 2) ndarray of int
        The entry (i, j), i < j, that each of them bounds.
    facets : (f, m) ndarray or None
        ``F`` when the pairs are entries of ``F A F'`` and not of ``A``.
    """

    cone: Any
    order: int
    rows: np.ndarray
    entry_rows: np.ndarray
    pairs: np.ndarray
    facets: np.ndarray | None = None


@dataclass(frozen=True)
class VectorRows:
    """Where one second-order or exponential cone went.

    Attributes
    ----------
    cone : cone data
        The Pyomo component.
    rows : (k,) ndarray of int
        Rows of ``A`` that hold its vector, of a rotated cone after
        :func:`~pyomo_relu.cones.second_order.upright`.
    """

    cone: Any
    rows: np.ndarray


@dataclass(frozen=True)
class QuadraticCone:
    """Where one quadratic constraint went: ``body <= upper`` or ``lower <= body``.

    Attributes
    ----------
    constraint : ConstraintData
        The Pyomo component.
    rows : (k,) ndarray of int
        Rows of ``A`` that hold the vector s of a second-order cone, with
        ``|s[1:]|^2 - s[0]^2`` the excess of the body over its side.
    is_upper : bool
        Whether the side is the upper one.
    """

    constraint: Any
    rows: np.ndarray
    is_upper: bool


@dataclass(frozen=True)
class ConicForm:
    """A convex problem in conic form, with its way back to the Pyomo model.

    Attributes
    ----------
    model : Block
        The compiled model.
    variables : list of VarData
        One a column, n of them; fixed ones have been substituted.
    P : (n, n) csc_array
        Hessian of the objective, both triangles; positive semidefinite.
    c : (n,) ndarray
        Linear part.
    c0 : float
        Constant.
    sense : int
        1 to minimise, -1 to maximise: ``P``, ``c``, ``c0`` are already negated.
    has_objective : bool
        False when the model asks for a feasible point only.
    A : (p + q + l + t + 3 e, n) csc_array
        Rows: equalities, nonnegative rows, vectors of the second-order cones,
        triangles of the semidefinite blocks, vectors of the exponential cones.
    b : (p + q + l + t + 3 e,) ndarray
        Right-hand side.
    n_zero, n_nonnegative : int
        p and q.
    soc_orders : (o,) ndarray of int
        Numbers of rows of the second-order cones, in row order; l together.
    psd_orders : (r,) ndarray of int
        Orders of the semidefinite blocks, in row order.
    n_exponential : int
        Number e of exponential cones, three rows each.
    constraints : list of ConstraintData
        The linear constraints of the model.
    upper_rows, lower_rows : (len(constraints),) ndarray of int
        The row in which ``body <= upper`` (or the equality) and ``lower <= body``
        ended; -1 where there is none. One with a constant body has neither.
    upper_bound_rows, lower_bound_rows : (n,) ndarray of int
        The same for the bounds of the variables.
    cones : list of ConeRows
        The matrix cones.
    vector_cones : list of VectorRows
        The second-order and exponential cones of the model.
    quadratics : list of QuadraticCone
        The quadratic constraints, each a second-order cone.
    """

    model: Any
    variables: list[Any]
    P: sp.csc_array
    c: np.ndarray
    c0: float
    sense: int
    has_objective: bool
    A: sp.csc_array
    b: np.ndarray
    n_zero: int
    n_nonnegative: int
    soc_orders: np.ndarray
    psd_orders: np.ndarray
    n_exponential: int
    constraints: list[Any] = field(repr=False)
    upper_rows: np.ndarray = field(repr=False)
    lower_rows: np.ndarray = field(repr=False)
    upper_bound_rows: np.ndarray = field(repr=False)
    lower_bound_rows: np.ndarray = field(repr=False)
    cones: list[ConeRows] = field(repr=False)
    vector_cones: list[VectorRows] = field(repr=False)
    quadratics: list[QuadraticCone] = field(repr=False)

    @property
    def n_linear(self) -> int:
        """Number of rows that are cones by themselves: they come first."""
        return self.n_zero + self.n_nonnegative

    @property
    def n_vector(self) -> int:
        """Number of rows in second-order cones: they come next."""
        return int(self.soc_orders.sum())

    @cached_property
    def is_off_diagonal(self) -> np.ndarray:
        """Mask of the rows that are off-diagonal entries of a block."""
        parts = [np.zeros(self.n_linear + self.n_vector, dtype=bool)]
        for order in self.psd_orders:
            rows, columns = triangle(int(order))
            parts.append(rows != columns)
        parts.append(np.zeros(3 * self.n_exponential, dtype=bool))
        return np.concatenate(parts)

    @cached_property
    def weight(self) -> np.ndarray:
        """Weight of each row in an inner product: 2 off the diagonal of a block."""
        return np.where(self.is_off_diagonal, 2.0, 1.0)

    def vectors(self, vector: np.ndarray) -> Iterator[np.ndarray]:
        """Second-order parts of a row vector, all of one order at a time.

        Parameters
        ----------
        vector : (rows,) ndarray
            A slack or a multiplier.

        Yields
        ------
        (count, k) ndarray
            The parts of order k.
        """
        starts = self.n_linear + np.cumsum(self.soc_orders) - self.soc_orders
        for order in np.unique(self.soc_orders):
            first = starts[self.soc_orders == order]
            yield vector[first[:, None] + np.arange(order)]

    def blocks(self, vector: np.ndarray) -> Iterator[np.ndarray]:
        """Blocks of a row vector as symmetric matrices, all of one order at a time.

        Parameters
        ----------
        vector : (rows,) ndarray
            A slack or a multiplier.

        Yields
        ------
        (count, k, k) ndarray
            The blocks of order k.
        """
        orders = self.psd_orders
        sizes = orders * (orders + 1) // 2
        starts = self.n_linear + self.n_vector + np.cumsum(sizes) - sizes
        for order in np.unique(orders):
            rows, columns = triangle(int(order))
            first = starts[orders == order]
            values = vector[first[:, None] + np.arange(len(rows))]
            matrices = np.empty((len(first), order, order))
            matrices[:, rows, columns] = matrices[:, columns, rows] = values
            yield matrices

    def triples(self, vector: np.ndarray) -> np.ndarray:
        """Return the exponential parts (e, 3) of a row vector."""
        return vector[len(vector) - 3 * self.n_exponential :].reshape(-1, 3)

    def cone_violation(
        self, s: np.ndarray, scale: np.ndarray | None = None, *, dual: bool = False
    ) -> float:
        """How far ``s`` is outside the cone, by its worst row, norm or eigenvalue.

        Parameters
        ----------
        s : (rows,) ndarray
            A slack, or a multiplier.
        scale : (rows,) ndarray, optional
            Divisors of the violations; of a cone the largest one counts.
        dual : bool
            Whether the cone is the dual one, in which the rows of ``{0}`` are free.

        Returns
        -------
        float
            Zero inside.
        """
        scale = np.ones(len(s)) if scale is None else scale
        outside = np.abs(s[: self.n_linear])
        outside[self.n_zero :] = -s[self.n_zero : self.n_linear]
        if dual:
            outside[: self.n_zero] = 0.0
        worst = float((outside / scale[: self.n_linear]).max(initial=0.0))
        for parts, divisors in zip(self.vectors(s), self.vectors(scale), strict=True):
            excess = np.linalg.norm(parts[:, 1:], axis=1) - parts[:, 0]
            worst = max(worst, float((excess / divisors.max(axis=1)).max()))
        for blocks, divisors in zip(self.blocks(s), self.blocks(scale), strict=True):
            smallest = np.linalg.eigvalsh(blocks)[:, 0] / divisors.max(axis=(1, 2))
            worst = max(worst, -float(smallest.min()))
        violation = dual_exponential_violation if dual else exponential_violation
        excess = violation(self.triples(s)) / self.triples(scale).max(
            axis=1, initial=1.0
        )
        return max(worst, float(excess.max(initial=0.0))) + 0.0

    @property
    def objective_size(self) -> float:
        """The power of two next to the largest coefficient of the objective, or 1.

        Solvers' absolute tolerances are in units of the objective they are given;
        dividing it by a power of two costs no accuracy.
        """
        largest = max(
            np.abs(self.c).max(initial=0.0), np.abs(self.P.data).max(initial=0.0)
        )
        return 2.0 ** round(math.log2(largest)) if largest > 0.0 else 1.0

    def objective(self, x: np.ndarray) -> float:
        """Objective of the minimisation at ``x`` (n,)."""
        return float(0.5 * x @ (self.P @ x) + self.c @ x + self.c0)

    def dual_objective(self, x: np.ndarray, z: np.ndarray) -> float:
        """Wolfe dual objective ``-1/2 x'Px - <b, z> + c0`` at ``(x, z)``."""
        return float(-0.5 * x @ (self.P @ x) - self.b @ (self.weight * z) + self.c0)

    def primal_residual(self, x: np.ndarray, *, relative: bool = False) -> float:
        """Largest violation of a row or of a cone at ``x`` (n,).

        With ``relative`` that of row i is divided by ``1 + |b_i|``: by the data, never
        by the size of the iterates.
        """
        scale = 1.0 + np.abs(self.b) if relative else None
        return self.cone_violation(self.b - self.A @ x, scale)

    def dual_residual(self, x: np.ndarray, z: np.ndarray) -> float:
        """Largest entry of ``Px + c + A'z`` and of what ``z`` lacks to be dual."""
        gradient = self.P @ x + self.c + self.A.T @ (self.weight * z)
        return max(
            float(np.abs(gradient).max(initial=0.0)), self.cone_violation(z, dual=True)
        )

    def infeasibility_residual(self, z: np.ndarray) -> float:
        """How far ``z`` is from proving that no ``x`` satisfies the rows.

        A proof is ``z`` in the dual cone with ``A'z = 0`` and ``<b, z> < 0``; it is
        scaled to ``<b, z> = -1`` and its worst residual returned, inf where
        ``<b, z> >= 0``.
        """
        value = float(self.b @ (self.weight * z))
        if not value < 0.0:
            return float("inf")
        z = z / -value
        residual = float(np.abs(self.A.T @ (self.weight * z)).max(initial=0.0))
        return max(residual, self.cone_violation(z, dual=True))

    def unboundedness_residual(self, x: np.ndarray) -> float:
        """How far ``x`` is from a direction of unbounded descent.

        That is ``Px = 0``, ``-Ax`` in the cone and ``c'x < 0``, scaled to
        ``c'x = -1``; inf where ``c'x >= 0``.
        """
        value = float(self.c @ x)
        if not value < 0.0:
            return float("inf")
        x = x / -value
        curvature = float(np.abs(self.P @ x).max(initial=0.0))
        return max(curvature, self.cone_violation(-(self.A @ x)))
