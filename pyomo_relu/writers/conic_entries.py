r"""What the writers of conic formats share: names of rows, cones, squares and numbers.

The quadratic part of an objective is written as squares,

.. math:: \tfrac12 x^T P x = \sum_k \tfrac12 |L_k^T x|^2,

one piece k for each set of variables that has none in common with the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack
from scipy.sparse.csgraph import connected_components

from pyomo_relu.solvers.conic_form import ConicForm, triangle
from pyomo_relu.writers.exported import Entry

__all__ = [
    "EPIGRAPH",
    "Cones",
    "column_entries",
    "cones_of",
    "lines",
    "row_entries",
    "squares",
    "triangle_entries",
]

#: The role of a column that is above the quadratic part of the objective, and of the
#: rows that put it there.
EPIGRAPH = "epigraph of the objective"


def column_entries(form: ConicForm, columns: np.ndarray) -> list[Entry]:
    """Say what columns are.

    Parameters
    ----------
    form : ConicForm
        With n variables.
    columns : (k,) ndarray of int
        Numbers of variables; from n on they are above the objective.

    Returns
    -------
    list of Entry
    """
    n = len(form.variables)
    return [
        Entry("", form.variables[column], "variable")
        if column < n
        else Entry("", None, EPIGRAPH)
        for column in columns.tolist()
    ]


def row_entries(form: ConicForm) -> list[Entry]:
    """Say what the rows are that are no entries of semidefinite blocks.

    Parameters
    ----------
    form : ConicForm

    Returns
    -------
    list of Entry
        Linear rows, those of second-order cones, then those of exponential cones.
    """
    outside = form.n_linear + form.n_vector
    blocks = len(form.b) - 3 * form.n_exponential - outside
    entries = [Entry("", None, "")] * (outside + 3 * form.n_exponential)

    def fill(components: Sequence[Any], rows: np.ndarray, role: str) -> None:
        for component, row in zip(components, rows.tolist(), strict=True):
            if row >= 0:
                entries[row] = Entry(
                    "", component, role if row >= form.n_zero else equality[role]
                )

    equality = {"upper side": "constraint", "upper bound": "both bounds"}
    fill(form.constraints, form.upper_rows, "upper side")
    fill(form.constraints, form.lower_rows, "lower side")
    fill(form.variables, form.upper_bound_rows, "upper bound")
    fill(form.variables, form.lower_bound_rows, "lower bound")
    for block in form.cones:
        of = "" if block.facets is None else " of F A F'"
        for row, (i, j) in zip(
            block.entry_rows.tolist(), block.pairs.tolist(), strict=True
        ):
            if row >= 0:
                entries[row] = Entry("", block.cone, f"entry ({i}, {j}){of}")
        if block.order == 1:
            entries[block.rows[0]] = Entry("", block.cone, "entry (0, 0)")
    for part in form.vector_cones:
        first, last = int(part.rows[0]), int(part.rows[-1]) + 1
        shift = blocks if first >= outside else 0
        entries[first - shift : last - shift] = [Entry("", part.cone, "cone")] * (
            last - first
        )
    for row in form.quadratics:
        side = "upper side" if row.is_upper else "lower side"
        first, last = int(row.rows[0]), int(row.rows[-1]) + 1
        entries[first:last] = [Entry("", row.constraint, side)] * (last - first)
    return entries


def triangle_entries(component: Any, order: int) -> list[Entry]:
    """Say what the rows of a semidefinite block are."""
    rows, columns = triangle(order)
    return [
        Entry("", component, f"entry ({i}, {j})")
        for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
    ]


class Cones(NamedTuple):
    """The Pyomo components of the cones of a form, each list in row order.

    Attributes
    ----------
    second_order : list
        Second-order cones and quadratic constraints.
    semidefinite : list
        Matrix cones of order two and more.
    exponential : list
    """

    second_order: list[Any]
    semidefinite: list[Any]
    exponential: list[Any]


def cones_of(form: ConicForm) -> Cones:
    """Return the components of the cones of a form."""
    vectors = len(form.vector_cones) - form.n_exponential
    return Cones(
        [part.cone for part in form.vector_cones[:vectors]]
        + [row.constraint for row in form.quadratics],
        [block.cone for block in form.cones if block.order > 1],
        [part.cone for part in form.vector_cones[vectors:]],
    )


def squares(P: sp.csc_array) -> tuple[sp.csr_array, np.ndarray]:
    r"""Write a quadratic form as a sum of squares, :math:`x^T P x = |L^T x|^2`.

    By a Cholesky factorisation with pivoting, which needs no eigenvectors: the signs
    and the order of those are the business of the library that computes them, and a
    file that is read elsewhere has to mean the same.

    Parameters
    ----------
    P : (n, n) csc_array
        Symmetric, both triangles, positive semidefinite up to rounding.

    Returns
    -------
    L' : (r, n) csr_array
        One square a row.
    counts : (pieces,) ndarray of int
        How many of them belong to each piece, in order.

    Examples
    --------
    >>> root, counts = squares(sp.csc_array([[4.0, 0.0, 2.0], [0.0, 9.0, 0.0],
    ...                                      [2.0, 0.0, 1.0]]))
    >>> root.toarray().tolist(), counts.tolist()
    ([[0.0, 3.0, 0.0], [2.0, 0.0, 1.0]], [1, 1])
    """
    P = sp.csr_array(P)
    P.eliminate_zeros()
    n = P.shape[0]
    used = np.flatnonzero(np.diff(P.indptr))
    _, label = connected_components(P[used][:, used], directed=False)
    size = np.bincount(label)
    alone = used[size[label] == 1]
    diagonal = np.sqrt(np.maximum(P.diagonal()[alone], 0.0))
    roots = [sp.csr_array((diagonal, (np.arange(len(alone)), alone)), (len(alone), n))]
    counts = [np.ones(len(alone), dtype=np.int64)]
    order = used[np.argsort(label, kind="stable")]
    for columns in np.split(order, np.cumsum(size)[:-1]):
        if len(columns) < 2:
            continue
        root = _cholesky(P[columns][:, columns].toarray())
        rows, places = np.nonzero(root)
        entries = (root[rows, places], (rows, columns[places]))
        roots.append(sp.csr_array(entries, shape=(len(root), n)))
        counts.append(np.array([len(root)], dtype=np.int64))
    return sp.csr_array(sp.vstack(roots)), np.concatenate(counts)


def _cholesky(P: np.ndarray) -> np.ndarray:
    """``L'`` (rank, n) with ``P = L L'``, of a semidefinite matrix."""
    # With a diagonal of ones, so that small variables keep their digits.
    scale = np.sqrt(np.maximum(np.diagonal(P), np.finfo(float).tiny))
    tolerance = len(P) * np.finfo(float).eps
    factor, pivots, rank, _ = lapack.dpstrf(P / np.outer(scale, scale), tol=tolerance)
    root = np.zeros((rank, len(P)))
    root[:, pivots - 1] = np.triu(factor)[:rank]
    return root * scale


def lines(pattern: str, *columns: np.ndarray) -> str:
    """Format a table, one line a row.

    Parameters
    ----------
    pattern : str
        Of a line, without its end.
    *columns : (k,) ndarray
        What goes into its places.

    Returns
    -------
    str

    Examples
    --------
    >>> print(lines("%d %.17g", np.arange(2), np.array([0.5, 0.1])), end="")
    0 0.5
    1 0.10000000000000001
    """
    table = np.empty((len(columns[0]), len(columns)), dtype=object)
    for place, column in enumerate(columns):
        table[:, place] = column
    # One formatting for all of them: an order of magnitude faster than one for each.
    return ((pattern + "\n") * len(table)) % tuple(table.ravel().tolist())
