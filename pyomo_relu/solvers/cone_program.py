r"""Conic programs with a linear objective: what linear matrix inequalities can say.

A quadratic objective becomes second-order cones, one for each piece of it that has no
variable in common with the others,

.. math::

    \tfrac12 x^T P x = \sum_k \tfrac12 |L_k^T x|^2 \le \sum_k t_k,
    \qquad |(t_k - 1, \sqrt2\, L_k^T x)| \le t_k + 1,

and a program has a dual that is one again, with the multipliers as variables. Writing
:math:`W` for the weights of the rows in an inner product (2 off the diagonal of a
matrix),

.. math::

    \min c^T x : A x + s = b,\ s \in K \qquad\qquad
    \min \langle b, z \rangle_W : A^T W z = -c,\ z \in K^*.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from pyomo_relu.solvers.conic_form import ConicForm, triangle

__all__ = ["ConeProgram", "Dual", "Epigraph", "Kind", "Outcome", "dual", "epigraph"]

#: A piece of the quadratic part takes cones with at most this many squares each: the
#: work for a cone grows with the cube of its size, that for one more variable does not.
LARGEST_PIECE = 32


class Kind(enum.Enum):
    """What a pair of vectors (x, z) is."""

    POINT = "point"
    DIRECTION = "direction of unbounded descent"
    PROOF = "proof of infeasibility"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Outcome:
    """What is known of a program.

    Attributes
    ----------
    kind : Kind
        Whether ``x`` and ``z`` are a point and its multipliers, ``x`` is a direction,
        or ``z`` a proof; the other vector is zero then.
    x : (n,) ndarray
    z : (rows,) ndarray
    """

    kind: Kind
    x: np.ndarray
    z: np.ndarray


@dataclass(frozen=True)
class ConeProgram:
    """Minimise ``c'x`` subject to ``A x + s = b``, ``s`` in a product of cones.

    Attributes
    ----------
    c : (n,) ndarray
    A : (rows, n) csr_array
        Rows in the order of :class:`~pyomo_relu.solvers.conic_form.ConicForm`.
    b : (rows,) ndarray
    n_zero, n_nonnegative : int
        Numbers of equalities and of nonnegative rows.
    soc_orders, psd_orders : ndarray of int
        Orders of the second-order cones and of the semidefinite blocks.
    """

    c: np.ndarray
    A: sp.csr_array
    b: np.ndarray
    n_zero: int
    n_nonnegative: int
    soc_orders: np.ndarray
    psd_orders: np.ndarray

    @property
    def n_linear(self) -> int:
        """Number of rows that are cones by themselves."""
        return self.n_zero + self.n_nonnegative

    @cached_property
    def is_off_diagonal(self) -> np.ndarray:
        """Mask of the rows that are off-diagonal entries of a block."""
        parts = [np.zeros(self.n_linear + int(self.soc_orders.sum()), dtype=bool)]
        for order in self.psd_orders.tolist():
            rows, columns = triangle(order)
            parts.append(rows != columns)
        return np.concatenate(parts)

    @cached_property
    def weight(self) -> np.ndarray:
        """Weight of each row in an inner product: 2 off the diagonal of a block."""
        return np.where(self.is_off_diagonal, 2.0, 1.0)

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of rows of every cone, in row order."""
        return np.concatenate(
            [
                np.ones(self.n_linear, dtype=np.int64),
                self.soc_orders,
                self.psd_orders * (self.psd_orders + 1) // 2,
            ]
        ).astype(np.int64)


@dataclass(frozen=True)
class Epigraph:
    """A conic form with its quadratic part as second-order cones, all of it scaled.

    Attributes
    ----------
    program : ConeProgram
        With one variable more for each new cone.
    new_rows : (r,) ndarray of int
        Rows of the new cones.
    x_scale : (n,) ndarray
        What the variables of the form are divided by.
    z_scale : float
        What its multipliers are divided by.
    """

    program: ConeProgram
    new_rows: np.ndarray
    x_scale: np.ndarray
    z_scale: float

    def restore(self, outcome: Outcome) -> Outcome:
        """Bring an outcome of the program back to the form."""
        return Outcome(
            outcome.kind,
            outcome.x[: len(self.x_scale)] * self.x_scale,
            np.delete(outcome.z, self.new_rows) * self.z_scale,
        )


def epigraph(form: ConicForm) -> Epigraph:
    """Turn the quadratic part of an objective into second-order cones.

    Parameters
    ----------
    form : ConicForm
        Without exponential cones.

    Returns
    -------
    Epigraph

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu.solvers.standard_form import compile_conic
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(range(3), bounds=(1, None))
    >>> m.o = pyo.Objective(expr=m.x[0] ** 2 + (m.x[1] - m.x[2]) ** 2)
    >>> program = epigraph(compile_conic(m)).program
    >>> program.soc_orders.tolist(), program.c.tolist()
    ([3, 3], [0.0, 0.0, 0.0, 1.0, 1.0])
    """
    # All data near one, by powers of two, which cost no accuracy: the columns, with the
    # root of the Hessian, then the sides, then the costs.
    A, P = abs(sp.csc_array(form.A)), form.P
    columns = np.sqrt(np.maximum(P.diagonal(), 0.0))
    if A.shape[0]:
        columns = np.maximum(columns, A.max(axis=0).toarray().ravel())
    row_scale = max(float(_powers_of_two(_largest(form.b))), 2.0**-20)
    x_scale = row_scale / _powers_of_two(columns)
    D = sp.diags_array(x_scale)
    P, c = sp.csr_array(D @ P @ D), x_scale * form.c
    size = float(_powers_of_two(np.maximum(_largest(c), _largest(P.data))))
    roots, squares = _pieces(sp.csr_array(P / size))
    n, count = len(c), len(squares)
    orders = squares + 2
    first = np.cumsum(orders) - orders
    # Rows of ((t + 1) / sqrt 2, (t - 1) / sqrt 2, L'x).
    root = math.sqrt(0.5)
    new_b = np.zeros(int(orders.sum()))
    new_b[first], new_b[first + 1] = root, -root
    heads = np.concatenate([first, first + 1])
    is_body = np.ones(len(new_b), dtype=bool)
    is_body[heads] = False
    body = sp.coo_array(roots)
    new_A = sp.csr_array(
        (
            np.concatenate([-body.data, np.full(2 * count, -root)]),
            (
                np.concatenate([np.flatnonzero(is_body)[body.row], heads]),
                np.concatenate([body.col, n + np.tile(np.arange(count), 2)]),
            ),
        ),
        shape=(len(new_b), n + count),
    )

    before = form.n_zero + form.n_nonnegative + int(form.soc_orders.sum())
    old = sp.csr_array(form.A @ D / row_scale)
    old.resize(old.shape[0], n + count)
    b = form.b / row_scale
    program = ConeProgram(
        c=np.concatenate([c / size, np.ones(count)]),
        A=sp.csr_array(sp.vstack([old[:before], new_A, old[before:]])),
        b=np.concatenate([b[:before], new_b, b[before:]]),
        n_zero=form.n_zero,
        n_nonnegative=form.n_nonnegative,
        soc_orders=np.concatenate([form.soc_orders, orders]).astype(np.int64),
        psd_orders=form.psd_orders,
    )
    new_rows = before + np.arange(len(new_b))
    return Epigraph(program, new_rows, x_scale, size / row_scale)


def _pieces(P: sp.csr_array) -> tuple[sp.csr_array, np.ndarray]:
    """``L'`` with ``P = L L'``, and how many of its rows each piece has, in order."""
    P.eliminate_zeros()
    n = P.shape[0]
    used = np.flatnonzero(np.diff(P.indptr))
    _, label = connected_components(P[used][:, used], directed=False)
    size = np.bincount(label)
    alone = used[size[label] == 1]
    single = sp.csr_array(
        (np.sqrt(P.diagonal()[alone]), (np.arange(len(alone)), alone)),
        shape=(len(alone), n),
    )
    roots, squares = [single], [np.ones(len(alone), dtype=np.int64)]
    order = used[np.argsort(label, kind="stable")]
    members = np.split(order, np.cumsum(size)[:-1])
    for columns in members:
        if len(columns) < 2:
            continue
        block = P[columns][:, columns].toarray()
        # With a diagonal of ones, so that small variables keep their digits.
        scale = np.sqrt(np.maximum(np.diagonal(block), np.finfo(float).tiny))
        values, vectors = np.linalg.eigh(block / np.outer(scale, scale))
        kept = values > len(columns) * np.finfo(float).eps * values[-1]
        root = (scale[:, None] * vectors[:, kept] * np.sqrt(values[kept])).T
        rows = np.repeat(np.arange(len(root)), len(columns))
        places = rows, np.tile(columns, len(root))
        roots.append(sp.csr_array((root.ravel(), places), shape=(len(root), n)))
        parts = np.array_split(np.arange(len(root)), -(-len(root) // LARGEST_PIECE))
        squares.append(np.array([len(part) for part in parts], dtype=np.int64))
    return sp.csr_array(sp.vstack(roots)), np.concatenate(squares)


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))


def _powers_of_two(sizes: np.ndarray | float) -> np.ndarray:
    """Powers of two next to sizes, one for those that are zero."""
    positive = np.where(np.asarray(sizes) > 0.0, sizes, 1.0)
    return np.asarray(np.exp2(np.round(np.log2(positive))))


@dataclass(frozen=True)
class Dual:
    """The dual of a program, as a program.

    Attributes
    ----------
    program : ConeProgram
        Its variables are the multipliers of the whole; its equalities come one for
        each variable of the whole.
    n : int
        Number of variables of the whole.
    """

    program: ConeProgram
    n: int

    def restore(self, outcome: Outcome) -> Outcome:
        """Bring an outcome of the dual back: a direction is a proof of the whole."""
        kinds = {Kind.DIRECTION: Kind.PROOF, Kind.PROOF: Kind.DIRECTION}
        kind = kinds.get(outcome.kind, outcome.kind)
        return Outcome(kind, -outcome.z[: self.n], outcome.x)


def dual(program: ConeProgram) -> Dual:
    """Write the dual of a program as a program of the same kind.

    Parameters
    ----------
    program : ConeProgram
        All of its cones are their own duals, but for the equalities.

    Returns
    -------
    Dual

    Examples
    --------
    Two are the program itself, up to the sign of its variables.

    >>> A = sp.csr_array(np.array([[1.0, 2.0], [-1.0, 0.0], [0.0, -1.0]]))
    >>> none = np.zeros(0, dtype=np.int64)
    >>> program = ConeProgram(np.ones(2), A, np.array([4.0, 0, 0]), 1, 2, none, none)
    >>> one = dual(program).program
    >>> one.A.toarray().tolist(), one.b.tolist(), one.c.tolist()
    ([[1.0, -1.0, 0.0], [2.0, 0.0, -1.0], [-0.0, -1.0, -0.0], [-0.0, -0.0, -1.0]],
     [-1.0, -1.0, 0.0, 0.0], [4.0, 0.0, 0.0])
    """
    rows = len(program.b)
    n = len(program.c)
    equations = sp.csr_array((program.A * program.weight[:, None]).T)
    in_cones = -sp.eye_array(rows, format="csr")[program.n_zero :]
    return Dual(
        ConeProgram(
            c=program.b * program.weight,
            A=sp.csr_array(sp.vstack([equations, in_cones])),
            b=np.concatenate([-program.c, np.zeros(rows - program.n_zero)]),
            n_zero=n,
            n_nonnegative=program.n_nonnegative,
            soc_orders=program.soc_orders,
            psd_orders=program.psd_orders,
        ),
        n,
    )
