r"""The matrices of a conic form as numpy arrays, for whoever brings a solver.

Read it with ``numpy.load(path)``; nothing is pickled. ``str(arrays["conventions"])``
says in words what is in it, and :func:`write_npz` has an example.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import scipy.sparse as sp

from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.writers.conic_entries import (
    column_entries,
    cones_of,
    row_entries,
    triangle_entries,
)
from pyomo_relu.writers.exported import ConeEntry, Entry, Exported

__all__ = ["CONVENTIONS", "LAYOUT", "write_npz"]

#: Version of the layout: it changes when an array changes its meaning.
LAYOUT = 1

#: What the file says of itself.
CONVENTIONS = """\
minimise 1/2 x'Px + c'x + c0 subject to A x + s = b, s in K; the objective of the model
is sense (1 or -1) times that.
P (n, n, both triangles) and A (rows, n) are in compressed columns, zero based:
scipy.sparse.csc_array((A_data, A_indices, A_indptr), shape=A_shape).
K is a product of cones in the order of the rows:
  n_zero rows that are zero,
  n_nonnegative rows that are not negative,
  a second-order cone s[0] >= |s[1:]| of k rows for each k in soc_orders,
  a semidefinite matrix of order k for each k in psd_orders, as k (k + 1) / 2 rows: its
  upper triangle column by column, (0, 0), (0, 1), (1, 1), (0, 2), ..., entries as they
  are (no factors),
  n_exponential exponential cones of three rows (x, y, z): y exp(x / y) <= z, y > 0, and
  their limits.
column_names and row_names say what the columns and rows are in the model."""


def write_npz(form: ConicForm) -> Exported:
    r"""Write the matrices of a conic form as an uncompressed ``.npz`` file.

    Parameters
    ----------
    form : ConicForm

    Returns
    -------
    Exported
        Its names are those in the file. Its cones are counted from 0, each kind by
        itself.

    Notes
    -----
    The arrays: ``layout`` (version of all this), ``conventions``, ``P_data``,
    ``P_indices``, ``P_indptr``, ``P_shape``, the same of ``A``, ``c`` (n,), ``c0``,
    ``b`` (rows,), ``sense``, ``has_objective``, ``n_zero``, ``n_nonnegative``,
    ``soc_orders``, ``psd_orders``, ``n_exponential``, ``column_names`` (n,) and
    ``row_names`` (rows,).

    Examples
    --------
    A model is written,

    >>> import pyomo.environ as pyo
    >>> from pyomo_relu import PSDCone
    >>> from pyomo_relu.solvers.standard_form import compile_conic
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(None, 5))
    >>> m.K = PSDCone([[1.0, m.x], [m.x, 2.0]])
    >>> m.o = pyo.Objective(expr=m.x, sense=pyo.maximize)
    >>> data = write_npz(compile_conic(m)).data

    and solved without this package. Clarabel has the same triangles, with entries off
    the diagonal times the root of two:

    >>> import io, clarabel, numpy as np, scipy.sparse as sp
    >>> file = np.load(io.BytesIO(data))
    >>> P, A = (
    ...     sp.csc_matrix(
    ...         (file[f"{name}_data"], file[f"{name}_indices"], file[f"{name}_indptr"]),
    ...         shape=file[f"{name}_shape"],
    ...     )
    ...     for name in "PA"
    ... )
    >>> cones = [
    ...     clarabel.ZeroConeT(int(file["n_zero"])),
    ...     clarabel.NonnegativeConeT(int(file["n_nonnegative"])),
    ...     *(clarabel.SecondOrderConeT(int(k)) for k in file["soc_orders"]),
    ...     *(clarabel.PSDTriangleConeT(int(k)) for k in file["psd_orders"]),
    ...     *[clarabel.ExponentialConeT()] * int(file["n_exponential"]),
    ... ]
    >>> factor = np.ones(len(file["b"]))
    >>> start = int(file["n_zero"] + file["n_nonnegative"] + file["soc_orders"].sum())
    >>> for k in file["psd_orders"]:
    ...     column, row = np.tril_indices(k)
    ...     factor[start : start + len(row)] = np.where(row == column, 1.0, 2.0**0.5)
    ...     start += len(row)
    >>> A, b = sp.csc_matrix(sp.diags(factor) @ A), factor * file["b"]
    >>> settings = clarabel.DefaultSettings()
    >>> settings.verbose = False
    >>> solver = clarabel.DefaultSolver(
    ...     sp.triu(P, format="csc"), file["c"], A, b, cones, settings
    ... )
    >>> solution = solver.solve()
    >>> value = file["sense"] * (solution.obj_val + file["c0"])
    >>> print(f"{value:.4f} at {file['column_names'][0]} = {solution.x[0]:.4f}")
    1.4142 at x = 1.4142
    """
    # Pyomo puts the name of a component together whenever it is asked.
    names: dict[int, str] = {}
    rows, cones = _contents(form)
    rows = _named(rows, names)
    columns = _named(column_entries(form, np.arange(len(form.c))), names)
    arrays: dict[str, Any] = {
        "layout": np.int64(LAYOUT),
        "conventions": np.array(CONVENTIONS),
        **_compressed("P", form.P),
        **_compressed("A", form.A),
        "b": form.b.astype(np.float64),
        "c": form.c.astype(np.float64),
        "c0": np.float64(form.c0),
        "sense": np.int64(form.sense),
        "has_objective": np.bool_(form.has_objective),
        "n_zero": np.int64(form.n_zero),
        "n_nonnegative": np.int64(form.n_nonnegative),
        "soc_orders": form.soc_orders.astype(np.int64),
        "psd_orders": form.psd_orders.astype(np.int64),
        "n_exponential": np.int64(form.n_exponential),
        "column_names": _names(columns),
        "row_names": _names(rows),
    }
    stream = io.BytesIO()
    # The members of the archive all have the same date, that of no file.
    np.savez(stream, **arrays)
    return Exported(
        data=stream.getvalue(),
        columns=columns,
        rows=rows,
        cones=cones,
        objective_sign=form.sense,
    )


def _compressed(name: str, matrix: sp.csc_array) -> dict[str, np.ndarray]:
    """Return the parts of a matrix, rows ascending in each column."""
    matrix = sp.csc_array(matrix, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return {
        f"{name}_data": matrix.data.astype(np.float64),
        f"{name}_indices": matrix.indices.astype(np.int64),
        f"{name}_indptr": matrix.indptr.astype(np.int64),
        f"{name}_shape": np.array(matrix.shape, dtype=np.int64),
    }


def _contents(form: ConicForm) -> tuple[list[Entry], list[ConeEntry]]:
    """Say what the rows and the cones are."""
    components, outside = cones_of(form), row_entries(form)
    first = start = form.n_linear + form.n_vector
    rows, tail = outside[:first], outside[first:]
    cones = []
    place = form.n_linear
    for number, (order, component) in enumerate(
        zip(form.soc_orders.tolist(), components.second_order, strict=True)
    ):
        cones.append(
            ConeEntry(component, "second-order", order, number, (place, place + order))
        )
        place += order
    for number, (order, component) in enumerate(
        zip(form.psd_orders.tolist(), components.semidefinite, strict=True)
    ):
        entries = triangle_entries(component, order)
        end = start + len(entries)
        cones.append(ConeEntry(component, "semidefinite", order, number, (start, end)))
        rows += entries
        start = end
    for number, component in enumerate(components.exponential):
        cones.append(ConeEntry(component, "exponential", 3, number, (start, start + 3)))
        start += 3
    rows += tail
    return rows, cones


def _named(entries: list[Entry], names: dict[int, str]) -> list[Entry]:
    """Give entries names: that of the component, and what they are of that."""
    result = []
    for entry in entries:
        key = id(entry.component)
        if key not in names:
            names[key] = entry.component.name
        name = names[key]
        if entry.role not in ("variable", "constraint"):
            name = f"{name} {entry.role}"
        result.append(Entry(name, entry.component, entry.role))
    return result


def _names(entries: list[Entry]) -> np.ndarray:
    return np.array([entry.name for entry in entries], dtype=np.str_)
