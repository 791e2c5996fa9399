r"""The Conic Benchmark Format, version 3.

H. A. Friberg, "CBLIB 2014: a benchmark library for conic mixed-integer and continuous
optimization", Math. Program. Comput. 8, 2016; version 3 adds exponential cones.

.. math::

    \min / \max\ c^T x + c_0, \quad A x + b \in K, \quad x \in K_x, \quad
    \sum_j x_j H_{ij} + D_i \succeq 0

with the variables and the sense of the model. A row is written as the user wrote it,
less its side. A quadratic objective is a column t and, in the rotated cone of the
format (QR), ``2 t 1 >= |L'x|^2``.
"""

# Conventions.
#
# Counts start from 0. K is a list of cones of consecutive rows: L= (zero), L- and L+,
# Q (first entry at least the norm of the others), QR (twice the product of the first
# two at least the squared norm of the others), EXP (x_1 >= x_2 exp(x_3 / x_2): the
# reverse of the order of ConicForm). H and D have their lower triangles, entries as
# they are. In a ConicForm b - A x is in the cone.

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from pyomo_relu.solvers.conic_form import ConicForm, triangle
from pyomo_relu.writers.conic_entries import (
    EPIGRAPH,
    column_entries,
    cones_of,
    lines,
    row_entries,
    squares,
)
from pyomo_relu.writers.exported import ConeEntry, Entry, Exported

__all__ = ["write_cbf"]


def write_cbf(form: ConicForm) -> Exported:
    r"""Write a conic form as a file of the Conic Benchmark Format.

    Parameters
    ----------
    form : ConicForm

    Returns
    -------
    Exported
        Its rows are those of ``CON``; a bound of a variable at zero is no row but the
        cone of the variable. Its cones are those of ``CON``, where each run of linear
        rows is one, and of ``PSDCON``, both counted from 0.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu.solvers.standard_form import compile_conic
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, 4))
    >>> m.o = pyo.Objective(expr=3 - m.x**2, sense=pyo.maximize)
    >>> print(write_cbf(compile_conic(m)).data.decode().replace("\n", " / "))
    VER / 3 /  / OBJSENSE / MAX /  / VAR / 2 2 / L+ 1 / F 1 /  / CON / 4 2 / L- 1 /
    QR 3 /  / OBJACOORD / 1 / 1 -1 /  / OBJBCOORD / 3 /  / ACOORD / 3 / 0 0 1 /
    1 1 1 / 3 0 1.4142135623730951 /  / BCOORD / 2 / 0 -4 / 2 1 /
    """
    domains, is_domain = _domains(form)
    rows = _form_rows(form, is_domain)
    root, _ = squares(form.P)
    columns = np.arange(len(form.c))
    if root.shape[0]:
        columns = np.append(columns, len(form.c))
        domains = np.append(domains, "F")
        rows = _with_epigraph(rows, root)
    cost = form.sense * np.append(form.c, 1.0)[: len(columns)]
    priced, shifted = np.flatnonzero(cost), np.flatnonzero(rows.b)
    A = rows.A
    of_entry = np.repeat(np.arange(len(rows.b)), np.diff(A.indptr))
    orders = form.psd_orders.tolist()
    constant = [form.sense * form.c0] if form.c0 else []
    sections = [
        "VER\n3\n",
        f"OBJSENSE\n{'MIN' if form.sense > 0 else 'MAX'}\n",
        f"VAR\n{_cone_list(_runs(domains))}",
        "\n".join(["PSDCON", str(len(orders)), *map(str, orders), ""])
        if orders
        else "",
        f"CON\n{_cone_list([cone.size for cone in rows.cones])}" if rows.cones else "",
        _table("OBJACOORD", "%d %.17g", priced, cost[priced]),
        *(f"OBJBCOORD\n{value:.17g}\n" for value in constant),
        _table("ACOORD", "%d %d %.17g", of_entry, A.indices, A.data),
        _table("BCOORD", "%d %.17g", shifted, rows.b[shifted]),
        *_semidefinite(form),
    ]
    return Exported(
        data="\n".join(filter(None, sections)).encode(),
        columns=column_entries(form, columns),
        rows=rows.entries,
        cones=_cone_entries(form, rows.cones),
        sense="minimize" if form.sense > 0 else "maximize",
    )


class _Cone(NamedTuple):
    """A cone of the file: its name and length, and what it is of the model."""

    size: tuple[str, int]
    component: Any


class _Rows(NamedTuple):
    """``A x + b`` in a list of cones."""

    A: sp.csr_array
    b: np.ndarray
    entries: list[Entry]
    cones: list[_Cone]


def _domains(form: ConicForm) -> tuple[np.ndarray, np.ndarray]:
    """Return the domain of each variable, and a mask of the rows that it replaces."""
    domains = np.full(len(form.variables), "F ")
    is_domain = np.zeros(len(form.b), dtype=bool)
    for rows, domain in ((form.lower_bound_rows, "L+"), (form.upper_bound_rows, "L-")):
        at_zero = (rows >= 0) & (np.append(form.b, 1.0)[rows] == 0.0)
        domains[at_zero] = np.where(rows[at_zero] < form.n_zero, "L=", domain)
        is_domain[rows[at_zero]] = True
    return np.char.strip(domains), is_domain


def _form_rows(form: ConicForm, is_domain: np.ndarray) -> _Rows:
    """Return the rows of a form but for its semidefinite blocks, in their order."""
    linear = np.flatnonzero(~is_domain[: form.n_linear])
    outside = form.n_linear + form.n_vector
    first = len(form.b) - 3 * form.n_exponential
    reverse = np.tile([2, 0, -2], form.n_exponential)
    numbers = np.concatenate(
        [
            linear,
            np.arange(form.n_linear, outside),
            np.arange(first, len(form.b)) + reverse,
        ]
    )
    # The slack b - A x, or A x - b where the user's body is on the smaller side.
    is_upper = np.zeros(len(form.b) + 1, dtype=bool)
    is_upper[: form.n_zero] = True
    is_upper[form.upper_rows] = is_upper[form.upper_bound_rows] = True
    sign = np.where(is_upper[numbers], -1.0, 1.0)
    A = sp.csr_array(sp.diags_array(-sign) @ sp.csr_array(form.A)[numbers])
    A.eliminate_zeros()
    A.sort_indices()
    kinds = np.where(is_upper[linear], "L-", "L+")
    kinds[linear < form.n_zero] = "L="
    entries, components = row_entries(form), cones_of(form)
    vectors = zip(form.soc_orders.tolist(), components.second_order, strict=True)
    return _Rows(
        A,
        sign * form.b[numbers],
        [entries[row] for row in linear.tolist()] + entries[form.n_linear :],
        [_Cone(run, None) for run in _runs(kinds)]
        + [_Cone(("Q", order), component) for order, component in vectors]
        + [_Cone(("EXP", 3), component) for component in components.exponential],
    )


def _with_epigraph(rows: _Rows, root: sp.csr_array) -> _Rows:
    """Add a column t, and ``2 t 1 >= |root x|^2``."""
    n = root.shape[1]
    rows.A.resize(rows.A.shape[0], n + 1)
    root.resize(root.shape[0], n + 1)
    head = sp.csr_array(([1.0], ([0], [n])), shape=(2, n + 1))
    A = sp.csr_array(sp.vstack([rows.A, head, root]))
    A.sort_indices()
    length = 2 + root.shape[0]
    return _Rows(
        A,
        np.concatenate([rows.b, [0.0, 1.0], np.zeros(root.shape[0])]),
        rows.entries + [Entry("", None, EPIGRAPH)] * length,
        [*rows.cones, _Cone(("QR", length), None)],
    )


def _semidefinite(form: ConicForm) -> list[str]:
    """Return the entries of the matrices H and D."""
    start = form.n_linear + form.n_vector
    end = len(form.b) - 3 * form.n_exponential
    none = np.zeros(0, dtype=np.int64)
    places = [triangle(int(order)) for order in form.psd_orders]
    # The upper triangle column by column is the lower one row by row.
    column = np.concatenate([none, *(rows for rows, _ in places)])
    row = np.concatenate([none, *(columns for _, columns in places)])
    sizes = form.psd_orders * (form.psd_orders + 1) // 2
    block = np.repeat(np.arange(len(sizes)), sizes)
    H = sp.csc_array(-form.A[start:end])
    H.eliminate_zeros()
    variable = np.repeat(np.arange(H.shape[1]), np.diff(H.indptr))
    # MOSEK 11 takes neighbours of one place for one entry, though they are of different
    # blocks: every block starts at its first place and ends at its last.
    last = np.cumsum(sizes) - 1
    ends = np.concatenate([last - sizes + 1, last])
    ends = np.setdiff1d(ends, H.indices) if H.nnz else none
    place = np.concatenate([H.indices, ends])
    variable = np.concatenate([variable, np.zeros(len(ends), dtype=np.int64)])
    data = np.concatenate([H.data, np.zeros(len(ends))])
    order = np.lexsort((place, variable, block[place]))
    place, variable = place[order], variable[order]
    D = form.b[start:end]
    there = np.flatnonzero(D)
    return [
        _table(
            "HCOORD",
            "%d %d %d %d %.17g",
            *(block[place], variable, row[place], column[place], data[order]),
        ),
        _table(
            "DCOORD",
            "%d %d %d %.17g",
            *(block[there], row[there], column[there], D[there]),
        ),
    ]


def _cone_entries(form: ConicForm, cones: list[_Cone]) -> list[ConeEntry]:
    result = []
    first = 0
    for number, ((kind, length), component) in enumerate(cones):
        rows = (first, first + length)
        result.append(ConeEntry(component, kind, length, number, rows))
        first += length
    matrices = zip(form.psd_orders.tolist(), cones_of(form).semidefinite, strict=True)
    for number, (order, component) in enumerate(matrices):
        result.append(ConeEntry(component, "PSDCON", order, number))
    return result


def _runs(kinds: np.ndarray) -> list[tuple[str, int]]:
    """Return what is repeated, and how often."""
    starts = np.flatnonzero(np.append(True, kinds[1:] != kinds[:-1])[: len(kinds)])
    lengths = np.diff(np.append(starts, len(kinds)))
    return list(zip(kinds[starts].tolist(), lengths.tolist(), strict=True))


def _cone_list(cones: list[tuple[str, int]]) -> str:
    total = sum(length for _, length in cones)
    head = f"{total} {len(cones)}\n"
    return head + "".join(f"{kind} {length}\n" for kind, length in cones)


def _table(keyword: str, pattern: str, *columns: np.ndarray) -> str:
    if not len(columns[0]):
        return ""
    return f"{keyword}\n{len(columns[0])}\n{lines(pattern, *columns)}"
