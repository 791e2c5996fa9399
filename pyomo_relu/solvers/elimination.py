r"""A conic program without equalities, dependent columns and constant cones.

An interior-point method for linear matrix inequalities wants free variables whose
matrices are independent, and a point inside. So an equation is solved for a variable,
a variable that the others can stand in for is put to zero, and a cone without variables
is looked at here. With the pivot rows R and columns J of the equalities, the other rows
N and columns K,

.. math::

    x_J = B^{-1} (b_R - U x_K), \qquad
    \begin{bmatrix} B & U \\ L & D \end{bmatrix}, \qquad
    z_R = -B^{-T} (c_J + L^T W z_N),

and the program that is left has :math:`D - L B^{-1} U`, :math:`b_N - L B^{-1} b_R` and
:math:`c_K - U^T B^{-T} c_J`. An equality that depends on others either holds with them
or proves that there is no point; a column that depends on others either costs as much
as they do or gives a direction of unbounded descent.

Pivots are found in rounds of many that do not meet (a parallel form of H. M. Markowitz,
"The elimination form of the inverse", Management Science 3, 1957), each at least a
tenth of its row; what the rounds leave dense goes through a QR factorisation with
column pivoting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.linalg as la
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from pyomo_relu.solvers.cone_program import ConeProgram, Kind, Outcome
from pyomo_relu.solvers.conic_form import triangle

__all__ = ["Basis", "Elimination", "eliminate", "find_basis"]

#: A pivot is at least this large relative to its row.
PIVOT = 0.1

#: A row that is left with entries below this, relative to what it was computed from,
#: depends on others.
RANK_TOLERANCE = 1e-11

#: What is left of an entry of this size relative to its summands is rounding.
CANCELLATION = 1e-14

#: A dependent row may miss its right-hand side by this much, times 1 + its summands.
CONSISTENCY = 1e-9

#: A share of entries above which rows count as dense.
DENSE = 0.25

#: Multiplications above which the search for dependent columns is given up: it is a
#: precaution, which should not take longer than the solver.
AFFORDABLE = 2e10


@dataclass(frozen=True)
class Basis:
    """A largest independent set of rows of a matrix, with columns to solve them for.

    Attributes
    ----------
    rows, columns : (r,) ndarray of int
        ``M[rows][:, columns]`` is regular.
    dependent : ndarray of int
        The rows that are combinations of those.
    left : csr_array
        The Schur complement in all rows and columns that are not in the basis, without
        the dependent rows.
    """

    rows: np.ndarray
    columns: np.ndarray
    dependent: np.ndarray
    left: sp.csr_array


def find_basis(M: sp.csr_array, count: int, affordable: float = np.inf) -> Basis | None:
    """Find independent rows among the first ``count``, and eliminate them.

    Parameters
    ----------
    M : (rows, columns) csr_array
        The matrix.
    count : int
        Rows from this one on are not in question, only eliminated from.
    affordable : float
        Multiplications that a dense factorisation may take.

    Returns
    -------
    Basis or None
        None where it would cost more.

    Examples
    --------
    >>> M = sp.csr_array(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0], [0.0, 1.0, 1.0]]))
    >>> basis = find_basis(M, 2)
    >>> len(basis.rows), len(basis.dependent), basis.left.shape
    (1, 1, (1, 2))
    """
    rng = np.random.default_rng(0)
    S = M
    row_ids, column_ids = np.arange(M.shape[0]), np.arange(M.shape[1])
    scale = _largest(M)
    rows: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    dependent: list[np.ndarray] = []
    while True:
        size = _largest(S[:count])
        nothing = size <= RANK_TOLERANCE * scale[:count]
        if nothing.any():
            dependent.append(row_ids[:count][nothing])
            kept = np.concatenate([~nothing, np.ones(S.shape[0] - count, dtype=bool)])
            S, row_ids, scale = S[kept], row_ids[kept], scale[kept]
            size, count = size[~nothing], count - int(nothing.sum())
        if not count:
            break
        r, j = _separate_pivots(S, count, size, rng)
        if S[:count].nnz > DENSE * count * S.shape[1] or 50 * len(r) < count:
            if float(count) * count * S.shape[1] > affordable:
                return None
            r, j, rest = _dense_pivots(S[:count].toarray() / scale[:count, None])
            dependent.append(row_ids[rest])
        else:
            rest = np.zeros(0, dtype=np.int64)
        rows.append(row_ids[r])
        columns.append(column_ids[j])
        others = _others(S.shape[0], np.concatenate([r, rest]))
        remaining = _others(S.shape[1], j)
        S, summands = _schur(S[r], S[others], j, remaining)
        scale = np.maximum(scale[others], summands)
        row_ids, column_ids = row_ids[others], column_ids[remaining]
        count -= len(r) + len(rest)
    none = np.zeros(0, dtype=np.int64)
    return Basis(
        np.concatenate([none, *rows]),
        np.concatenate([none, *columns]),
        np.concatenate([none, *dependent]),
        S,
    )


def _separate_pivots(
    S: sp.csr_array, count: int, size: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pivots in the first rows, none of whose columns is in the row of another."""
    top = S[:count]
    in_rows = np.diff(top.indptr)
    in_columns = np.bincount(S.indices, minlength=S.shape[1])
    row_of = np.repeat(np.arange(count), in_rows)
    entry = np.flatnonzero(np.abs(top.data) >= PIVOT * size[row_of])
    rows, columns = row_of[entry], top.indices[entry]
    cost = (in_rows[rows] - 1.0) * (in_columns[columns] - 1.0)
    order = np.lexsort((-np.abs(top.data[entry]), cost, rows))
    rows, first = np.unique(rows[order], return_index=True)
    columns, cost = columns[order][first], cost[order][first]
    cheap = cost <= max(8.0 * cost.min(), 64.0)
    rows, columns, cost = rows[cheap], columns[cheap], cost[cheap]

    # Pivots that meet: an independent set of their graph, after M. Luby, "A simple
    # parallel algorithm for the maximal independent set problem", SIAM J. Comput. 1986.
    rank = np.empty(len(rows))
    rank[np.lexsort((rng.permutation(len(rows)), cost))] = np.arange(len(rows))
    meets = sp.csr_array(abs(top[rows][:, columns]))
    meets = sp.csr_array(meets + meets.T)
    i, k = meets.nonzero()
    i, k = i[i != k], k[i != k]
    chosen = np.zeros(len(rows), dtype=bool)
    free = np.ones(len(rows), dtype=bool)
    while free.any():
        lowest = np.full(len(rows), np.inf)
        both = free[i] & free[k]
        np.minimum.at(lowest, i[both], rank[k[both]])
        new = free & (rank < lowest)
        chosen |= new
        free &= ~new
        free[i[new[k]]] = False
    return rows[chosen], columns[chosen]


def _dense_pivots(E: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Independent rows, as many columns to solve them for, and the dependent rows."""
    triangular, order = la.qr(E.T, mode="r", pivoting=True)
    rank = int((np.abs(np.diagonal(triangular)) > RANK_TOLERANCE).sum())
    _, columns = la.qr(E[order[:rank]], mode="r", pivoting=True)
    return order[:rank], columns[:rank], order[rank:]


def _schur(
    pivot_rows: sp.csr_array,
    others: sp.csr_array,
    columns: np.ndarray,
    remaining: np.ndarray,
) -> tuple[sp.csr_array, np.ndarray]:
    """``D - L B^{-1} U``, and the largest summand in each of its rows."""
    B, U = pivot_rows[:, columns], pivot_rows[:, remaining]
    L, D = others[:, columns], others[:, remaining]
    diagonal = B.diagonal()
    if B.nnz == len(columns) and diagonal.all():
        U = sp.csr_array(sp.diags_array(1.0 / diagonal) @ U)
    else:
        U = sp.csr_array(la.solve(B.toarray(), U.toarray()))
    summands = sp.csr_array(abs(D) + abs(L) @ abs(U))
    left = sp.csr_array(D - L @ U)
    left = sp.csr_array(left.multiply(abs(left) > CANCELLATION * summands))
    left.eliminate_zeros()
    return left, _largest(summands)


@dataclass(frozen=True)
class Elimination:
    """A program, and what is left of it.

    Attributes
    ----------
    program : ConeProgram
        The whole.
    reduced : ConeProgram
        What is left, in the columns `free` and the rows `kept` of the whole.
    decided : Outcome or None
        Of the whole, where nothing is left to solve.
    pivot_rows, pivot_columns : (r,) ndarray of int
        R and J.
    free : (m,) ndarray of int
    kept : (l,) ndarray of int
    """

    program: ConeProgram
    reduced: ConeProgram
    decided: Outcome | None
    pivot_rows: np.ndarray
    pivot_columns: np.ndarray
    free: np.ndarray
    kept: np.ndarray
    factor: Any = field(repr=False)

    def restore(self, outcome: Outcome) -> Outcome:
        """Bring an outcome of what is left back to the whole."""
        program = self.program
        x, z = np.zeros(len(program.c)), np.zeros(len(program.b))
        x[self.free] = outcome.x
        z[self.kept] = outcome.z
        if self.pivot_rows.size:
            sides = -(program.A[self.pivot_rows] @ x)
            costs = -(program.A.T @ (program.weight * z))[self.pivot_columns]
            if outcome.kind != Kind.DIRECTION and outcome.kind != Kind.PROOF:
                sides += program.b[self.pivot_rows]
                costs -= program.c[self.pivot_columns]
            x[self.pivot_columns] = self.factor.solve(sides)
            z[self.pivot_rows] = self.factor.solve(costs, trans="T")
        return Outcome(outcome.kind, x, z)


def eliminate(program: ConeProgram) -> Elimination:
    """Remove equalities, columns that depend on others and constant cones.

    Parameters
    ----------
    program : ConeProgram
        The whole.

    Returns
    -------
    Elimination

    Examples
    --------
    Minimise x + y on the part of a line with x, y >= 0.

    >>> A = sp.csr_array(np.array([[1.0, 2.0], [-1.0, 0.0], [0.0, -1.0]]))
    >>> none = np.zeros(0, dtype=np.int64)
    >>> program = ConeProgram(np.ones(2), A, np.array([4.0, 0, 0]), 1, 2, none, none)
    >>> elimination = eliminate(program)
    >>> elimination.reduced.A.shape, elimination.reduced.n_zero
    ((2, 1), 0)
    >>> point = Outcome(Kind.POINT, np.zeros(1), np.array([0.5, 0.0]))
    >>> elimination.restore(point).x, elimination.restore(point).z
    (array([0., 2.]), array([-0.5, 0.5, 0. ]))
    """
    A, weight, p = program.A, program.weight, program.n_zero
    basis = find_basis(A, p)
    assert basis is not None
    rows, columns = basis.rows, basis.columns
    remaining, kept = _others(A.shape[1], columns), np.arange(p, A.shape[0])
    factor = splu(sp.csc_matrix(A[rows][:, columns])) if rows.size else None
    empty = _part(program, program.c[:0], A[:0, :0], program.b[:0], kept[:0])

    def decided(outcome: Outcome) -> Elimination:
        return Elimination(
            program, empty, outcome, rows, columns, remaining[:0], kept[:0], factor
        )

    proof = _combination(A[:p], program.b[:p], rows, columns, basis.dependent)
    if proof is not None:
        z = np.concatenate([proof, np.zeros(A.shape[0] - p)])
        return decided(Outcome(Kind.PROOF, np.zeros(A.shape[1]), z))

    b, c = program.b[kept], program.c[remaining]
    summands = np.abs(c)
    if factor is not None:
        b = b - A[kept][:, columns] @ factor.solve(program.b[rows])
        price = factor.solve(program.c[columns], trans="T")
        U = A[rows][:, remaining]
        c = c - U.T @ price
        summands = summands + abs(U).T @ np.abs(price)
    reduced = _part(program, c, basis.left, b, kept)
    here = Elimination(program, reduced, None, rows, columns, remaining, kept, factor)

    # Rows of the transpose, weighted as the multipliers are, and the costs.
    transpose = sp.csr_array((reduced.A * weight[kept][:, None]).T)
    transpose.eliminate_zeros()
    columns_basis = find_basis(transpose, len(c), AFFORDABLE)
    if columns_basis is not None and columns_basis.dependent.size:
        direction = _combination(
            transpose,
            c,
            columns_basis.rows,
            columns_basis.columns,
            columns_basis.dependent,
            summands,
        )
        if direction is not None:
            nothing = np.zeros(len(b))
            return decided(here.restore(Outcome(Kind.DIRECTION, direction, nothing)))
        independent = np.sort(columns_basis.rows)
        remaining, c = remaining[independent], c[independent]
        reduced = _part(program, c, reduced.A[:, independent], b, kept)
        here = Elimination(
            program, reduced, None, rows, columns, remaining, kept, factor
        )

    varying, proof = _look_at_constants(reduced)
    if proof is not None:
        return decided(
            here.restore(Outcome(Kind.PROOF, np.zeros(len(remaining)), proof))
        )
    reduced = _part(reduced, c, reduced.A[varying], reduced.b[varying], varying)
    here = Elimination(
        program, reduced, None, rows, columns, remaining, kept[varying], factor
    )
    if not remaining.size:
        return decided(
            here.restore(Outcome(Kind.POINT, np.zeros(0), np.zeros(len(reduced.b))))
        )
    return here


def _part(
    program: ConeProgram,
    c: np.ndarray,
    A: sp.csr_array,
    b: np.ndarray,
    kept: np.ndarray,
) -> ConeProgram:
    """Return the program in whole cones of another; ``kept`` are rows of that."""
    mask = np.zeros(len(program.b), dtype=bool)
    mask[kept] = True
    starts = np.cumsum(program.sizes) - program.sizes
    here = mask[starts]
    ends = np.cumsum([program.n_zero, program.n_nonnegative, len(program.soc_orders)])
    zero, nonnegative, vectors, blocks = np.split(here, ends)
    return ConeProgram(
        c=c,
        A=A,
        b=b,
        n_zero=int(zero.sum()),
        n_nonnegative=int(nonnegative.sum()),
        soc_orders=program.soc_orders[vectors],
        psd_orders=program.psd_orders[blocks],
    )


def _combination(
    M: sp.csr_array,
    sides: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    dependent: np.ndarray,
    summands: np.ndarray | float = 0.0,
) -> np.ndarray | None:
    """``v`` with ``v'M = 0`` and ``v'sides < 0``; None where all rows are consistent.

    ``summands`` are the sizes of what the sides were computed from.
    """
    if not dependent.size:
        return None
    expected = np.zeros(len(dependent))
    size = 1.0 + np.abs(sides)[dependent]
    if np.ndim(summands):
        size = size + np.asarray(summands)[dependent]
    own = M[dependent][:, columns]
    if rows.size:
        factor = splu(sp.csc_matrix(M[rows][:, columns]))
        weights = factor.solve(sides[rows])
        expected = own @ weights
        size = size + abs(own) @ np.abs(weights)
    excess = sides[dependent] - expected
    worst = int(np.argmax(np.abs(excess) / size))
    if abs(excess[worst]) <= CONSISTENCY * size[worst]:
        return None
    v = np.zeros(M.shape[0])
    if rows.size:
        v[rows] = -factor.solve(own[[worst]].toarray()[0], trans="T")
    v[dependent[worst]] = 1.0
    return -np.sign(excess[worst]) * v


def _look_at_constants(program: ConeProgram) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows of the cones that vary, and a proof where a constant one is left.

    A constant cone that holds its point needs no solver; on its boundary it would
    leave none a point inside.
    """
    sizes = program.sizes
    cone_of = np.repeat(np.arange(len(sizes)), sizes)
    entries = np.bincount(cone_of, np.diff(program.A.indptr), minlength=len(sizes))
    varying = np.flatnonzero(entries[cone_of] > 0)
    z = np.zeros(len(program.b))
    ends = np.cumsum(sizes)
    n_scalar, n_vector = program.n_linear, len(program.soc_orders)
    for cone in np.flatnonzero(entries == 0).tolist():
        part = slice(int(ends[cone] - sizes[cone]), int(ends[cone]))
        s = program.b[part]
        if cone < n_scalar:
            worst, witness = s[0], np.ones(1)
        elif cone < n_scalar + n_vector:
            norm = float(np.linalg.norm(s[1:]))
            worst = s[0] - norm
            witness = np.concatenate([[1.0], -s[1:] / max(norm, 1e-300)])
        else:
            order = int(program.psd_orders[cone - n_scalar - n_vector])
            i, j = triangle(order)
            block = np.zeros((order, order))
            block[i, j] = block[j, i] = s
            values, vectors = np.linalg.eigh(block)
            worst, witness = values[0], vectors[i, 0] * vectors[j, 0]
        if worst < -CONSISTENCY * (1.0 + np.abs(s).max()):
            z[part] = witness
            return varying, z
    return varying, None


def _others(count: int, numbers: np.ndarray) -> np.ndarray:
    """Return what of 0, ..., count - 1 is not among the numbers, in order."""
    mask = np.ones(count, dtype=bool)
    mask[numbers] = False
    return np.flatnonzero(mask)


def _largest(A: sp.csr_array) -> np.ndarray:
    """Largest absolute value in each row."""
    largest = np.zeros(A.shape[0])
    filled = np.diff(A.indptr) > 0
    if filled.any():
        starts = A.indptr[:-1][filled]
        largest[filled] = np.maximum.reduceat(np.abs(A.data), starts)
    return largest
