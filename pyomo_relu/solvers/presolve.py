r"""Free variables that an equation defines, substituted before a solver sees them.

A row of the zero cone that holds a free variable is its definition. With the defining
rows R, the variables J they define, and the rest N and K of the rows and columns of

.. math::

    \begin{bmatrix} B & U \\ L & D \end{bmatrix} \begin{bmatrix} x_J \\ x_K
    \end{bmatrix} + \begin{bmatrix} 0 \\ s_N \end{bmatrix} = \begin{bmatrix} b_R \\ b_N
    \end{bmatrix}, \qquad P_{J \cdot} = 0,

the solver gets the Schur complement :math:`D - L B^{-1} U` with the right-hand side
:math:`b_N - L B^{-1} b_R` and the cost :math:`c_K - U^T B^{-T} c_J`; what it left out
comes back from its rows and from stationarity in its columns,

.. math::

    x_J = B^{-1} (b_R - U x_K), \qquad z_R = -B^{-T} (c_J + L^T z_N),

so every residual of the whole is one of the part. It is more than a saving: a solver
measures feasibility relative to the size of its iterates, and defined variables may be
the largest of them.

The pivots are those of a sparse Gaussian elimination (H. M. Markowitz, "The elimination
form of the inverse", Management Science 3, 1957), restricted to definitions, equations
with one variable that may go, and to those that leave fewer non-zeros behind (E. D.
Andersen and K. D. Andersen, "Presolving in linear programming", Math. Programming 71,
1995).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from pyomo_relu.solvers.conic_form import ConicForm

__all__ = ["Presolved", "presolve"]

#: Smallest pivot relative to its row. It only keeps rounding from becoming a pivot: the
#: smallest pivots define the largest variables, which most need to go, and whether
#: the elimination is stable is measured on what it leaves (`GROWTH`).
PIVOT_TOLERANCE = 1e-12

#: No row, nor the cost, may get an entry larger than this times its largest one.
GROWTH = 100.0

#: Pivots that may create more entries than this for each they remove are not tried;
#: entries that several pivots create at one place make the true number smaller.
MAX_FILL = 4

#: Share of the entries that a round must save to be worth its time.
MIN_SAVING = 0.03

#: What is left of an entry of this size relative to its summands is rounding.
CANCELLATION = 1e-14

#: Definitions may be stated in terms of defined variables: each round takes one level.
MAX_ROUNDS = 5

#: Attempts of a round to find a set of pivots all of which pay.
MAX_ATTEMPTS = 10


@dataclass(frozen=True)
class Presolved:
    """A conic form without the variables that its equations define.

    Attributes
    ----------
    form : ConicForm
        The whole.
    reduced : ConicForm
        The part for the solver. It has no map to the constraints and cones of the
        model: an answer goes back through :meth:`restore`.
    rows, columns : (p,) ndarray of int
        R and J: what of the whole is not in the part.
    """

    form: ConicForm
    reduced: ConicForm
    rows: np.ndarray
    columns: np.ndarray

    def restore(
        self, x: np.ndarray, z: np.ndarray, *, certificate: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bring an answer of the part back to the whole.

        Parameters
        ----------
        x : (n - p,) ndarray
            Point, or direction, of the part.
        z : (rows - p,) ndarray
            Multipliers of the part.
        certificate : bool
            Whether ``x`` is a direction and ``z`` a proof of infeasibility, to which
            neither b nor c belongs.

        Returns
        -------
        x : (n,) ndarray
            The same for the whole.
        z : (rows,) ndarray
            Its multipliers.
        """
        form, rows, columns = self.form, self.rows, self.columns
        if not rows.size:
            return x, z
        n_rows, n = form.A.shape
        whole_x, whole_z = np.zeros(n), np.zeros(n_rows)
        whole_x[_others(n, columns)] = x
        whole_z[_others(n_rows, rows)] = z
        # A factorisation of the data rather than the products of the rounds: none of
        # their rounding stays in the answer.
        definitions = sp.csr_array(form.A)[rows]
        value = -(definitions @ whole_x)
        cost = -(form.A[:, columns].T @ whole_z)
        if not certificate:
            value += form.b[rows]
            cost -= form.c[columns]
        B = splu(sp.csc_matrix(definitions[:, columns]))
        whole_x[columns] = B.solve(value)
        whole_z[rows] = B.solve(cost, trans="T")
        return whole_x, whole_z


def presolve(form: ConicForm) -> Presolved:
    """Eliminate free variables that equations define, where it makes A sparser.

    A variable may go if it has no bound, is in no vector or matrix cone and not in the
    quadratic part of the objective.

    Parameters
    ----------
    form : ConicForm
        The whole.

    Returns
    -------
    Presolved
        With the form itself as its part where nothing is gained, or no variable would
        remain.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu.solvers.standard_form import compile_conic
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(range(2), bounds=(0, None))
    >>> m.total = pyo.Var()
    >>> m.o = pyo.Objective(expr=m.x[0] ** 2 + 2 * m.total)
    >>> m.c = pyo.Constraint(expr=m.total == 3 * m.x[0] + m.x[1])
    >>> m.d = pyo.Constraint(expr=m.x[1] + m.total >= 1)
    >>> part = presolve(compile_conic(m)).reduced
    >>> [x.name for x in part.variables], part.c.tolist()
    (['x[0]', 'x[1]'], [6.0, 2.0])
    >>> part.A.toarray().tolist(), part.b.tolist()
    ([[-3.0, -2.0], [-1.0, 0.0], [0.0, -1.0]], [-1.0, 0.0, 0.0])
    """
    n = form.A.shape[1]
    A = sp.csr_array(form.A)
    linear = A[: form.n_linear]
    system = _System(
        A=linear,
        b=form.b[: form.n_linear],
        c=form.c,
        c0=form.c0,
        rows=np.arange(form.n_linear),
        columns=np.arange(n),
        n_zero=form.n_zero,
        removable=_removable(form, A),
    )
    for _ in range(MAX_ROUNDS):
        smaller = _round(system)
        if smaller is None:
            break
        system = smaller
    kept = system.columns
    nothing = np.zeros(0, dtype=np.int64)
    if len(kept) in (0, n):
        return Presolved(form, form, nothing, nothing)
    reduced = dataclasses.replace(
        form,
        variables=[form.variables[column] for column in kept.tolist()],
        P=sp.csc_array(form.P[:, kept][kept]),
        c=system.c,
        c0=system.c0,
        A=sp.csc_array(sp.vstack([system.A, A[form.n_linear :, kept]])),
        b=np.concatenate([system.b, form.b[form.n_linear :]]),
        n_zero=system.n_zero,
        constraints=[],
        upper_rows=nothing,
        lower_rows=nothing,
        upper_bound_rows=np.full(len(kept), -1),
        lower_bound_rows=np.full(len(kept), -1),
        cones=[],
        vector_cones=[],
        quadratics=[],
    )
    return Presolved(
        form, reduced, _others(form.n_linear, system.rows), _others(n, kept)
    )


class _System(NamedTuple):
    """What is left of the rows that are numbers: zero rows, then nonnegative ones."""

    A: sp.csr_array
    b: np.ndarray
    c: np.ndarray
    c0: float
    rows: np.ndarray  # numbers in the whole
    columns: np.ndarray
    n_zero: int
    removable: np.ndarray  # mask of the columns that may be eliminated


def _removable(form: ConicForm, A: sp.csr_array) -> np.ndarray:
    """Mask of the columns that may be eliminated."""
    lengths = np.diff(A.indptr)
    taken = lengths == 1
    # A bound is the sparsest row there is; a fixed value is a definition.
    taken[: form.n_zero] = False
    taken[form.n_linear :] = True
    removable = np.ones(A.shape[1], dtype=bool)
    removable[A.indices[np.repeat(taken, lengths)]] = False
    removable[form.P.nonzero()[1]] = False
    return removable


def _round(system: _System) -> _System | None:
    """Substitute one level of definitions; None where it does not pay."""
    rows, columns = _definitions(system)
    for _ in range(MAX_ATTEMPTS):
        smaller, saving = _eliminate(system, rows, columns)
        pays = saving > 0.0
        if saving[pays].sum() <= MIN_SAVING * system.A.nnz:
            return None
        if pays.all():
            return smaller
        rows, columns = rows[pays], columns[pays]
    return None


def _definitions(system: _System) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of pivots, none of whose columns is in the row of another.

    They are in the zero rows with exactly one column that may be eliminated; a column
    that has several takes the shortest.
    """
    A = system.A
    in_rows = np.diff(A.indptr)
    in_columns = np.bincount(A.indices, minlength=A.shape[1])
    row_of = np.repeat(np.arange(A.shape[0]), in_rows)
    removable = system.removable[A.indices]
    alone = np.bincount(row_of[removable], minlength=A.shape[0]) == 1
    alone[system.n_zero :] = False
    entry = np.flatnonzero(removable & alone[row_of])
    rows, columns = row_of[entry], A.indices[entry]
    fill = (in_rows[rows] - 1) * (in_columns[columns] - 1)
    removed = in_rows[rows] + in_columns[columns] - 1
    size = np.abs(A.data[entry])
    good = (fill <= MAX_FILL * removed) & (size >= PIVOT_TOLERANCE * _largest(A)[rows])
    rows, columns = rows[good], columns[good]
    shortest = np.argsort(in_rows[rows], kind="stable")
    columns, first = np.unique(columns[shortest], return_index=True)
    return rows[shortest[first]], columns


def _eliminate(
    system: _System, rows: np.ndarray, columns: np.ndarray
) -> tuple[_System, np.ndarray]:
    """Return what is left, and each pivot's share in the entries saved.

    The share of a pivot that lets a row or the cost grow is -inf.
    """
    A, b, c = system.A, system.b, system.c
    other_rows, other_columns = _others(A.shape[0], rows), _others(A.shape[1], columns)
    definitions, others = A[rows], A[other_rows]
    pivots = definitions[:, columns].diagonal()
    U = sp.csr_array(sp.diags_array(1.0 / pivots) @ definitions[:, other_columns])
    L, D = others[:, columns], others[:, other_columns]
    value = b[rows] / pivots
    left = _without_rounding(D - L @ U, abs(D) + abs(L) @ abs(U))
    cost = c[other_columns] - U.T @ c[columns]
    smaller = _System(
        A=left,
        b=b[other_rows] - L @ value,
        c=cost,
        c0=system.c0 + float(value @ c[columns]),
        rows=system.rows[other_rows],
        columns=system.columns[other_columns],
        n_zero=system.n_zero - len(rows),
        removable=system.removable[other_columns],
    )

    # What a row saves is shared among the pivots in it.
    in_rows = np.diff(L.indptr)
    saved = np.diff(others.indptr) - np.diff(left.indptr)
    shares = np.repeat(saved / np.maximum(in_rows, 1), in_rows)
    saving = np.diff(definitions.indptr).astype(float)
    saving += np.bincount(L.indices, shares, minlength=len(rows))
    grown_row = _largest(left) > GROWTH * _largest(others)
    saving[L.indices[np.repeat(grown_row, in_rows)]] = -np.inf
    grown_cost = np.abs(cost) > GROWTH * np.abs(c).max(initial=0.0)
    saving[(c[columns] != 0.0) & (abs(U) @ grown_cost > 0.0)] = -np.inf
    return smaller, saving


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


def _without_rounding(difference: sp.csr_array, summands: sp.csr_array) -> sp.csr_array:
    """Drop entries that are nothing next to what they were computed from."""
    kept = abs(difference) > CANCELLATION * summands
    result = sp.csr_array(difference.multiply(kept))
    result.eliminate_zeros()
    return result
