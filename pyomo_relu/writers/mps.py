"""MPS files, in free format: linear and quadratic programs.

Conventions, each as all of HiGHS, GLPK, CBC and SCIP read it:

- the objective is minimised (not everybody reads OBJSENSE), and its constant is the
  coefficient of a column fixed at one (the side of the objective row has no sign that
  all agree on);
- a row ``l <= a'x <= u`` has one side and a range: the smaller side is exact, the
  larger one may be off in its last digit, because readers add; a quadratic one is two
  rows;
- QUADOBJ holds one triangle of the Hessian of the objective (so a product ``x y`` has
  its coefficient, a square twice), QCMATRIX all of the matrix Q of ``x'Qx`` (so a
  product has half of its coefficient twice, a square its own).

All other numbers have as many digits as make them exact.
"""

from __future__ import annotations

import math
from operator import add
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.gc_manager import PauseGC

from pyomo_relu.writers.exported import Entry, Exported
from pyomo_relu.writers.labels import Labels, model_title
from pyomo_relu.writers.rows import Products, RowProgram, compile_rows, numerals

__all__ = ["CONSTANT", "NO_OBJECTIVE", "NO_ROW", "write_mps"]

#: What a file has besides the model; no label has ``__``. The column that is one, the
#: objective where there is none, and the row where there is none, as GLPK and CBC want.
CONSTANT = "constant__one"
NO_OBJECTIVE = "zero__objective"
NO_ROW = "constant__row"


def write_mps(model: Any) -> Exported:
    """Make an MPS file of a model.

    A maximisation is written as the minimisation of the negated objective.

    Parameters
    ----------
    model : Block
        A constructed Pyomo model or block: linear and quadratic rows, a linear or
        quadratic objective or none, integer variables.

    Returns
    -------
    Exported

    Raises
    ------
    UnsupportedModelError, UnsupportedConeError, InputError
        The model has something that an MPS file cannot hold; the message names it.
    pyomo.common.errors.InfeasibleConstraintException
        Sides or bounds cross, or a constraint without variables is violated.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel("example")
    >>> m.x = pyo.Var([1, 2], bounds=(0, 4))
    >>> m.profit = pyo.Objective(expr=2 * m.x[1] + 5, sense=pyo.maximize)
    >>> m.row = pyo.Constraint(expr=(1, m.x[1] - 0.1 * m.x[2], 5))
    >>> exported = write_mps(m)
    >>> print(exported.data.decode())
    NAME example FREE
    ROWS
     N profit
     G row
    COLUMNS
     x_1 profit -2.0
     x_1 row 1.0
     x_2 row -0.1
     constant__one profit -5.0
    RHS
     RHS row 1.0
    RANGES
     RNG row 4.0
    BOUNDS
     UP BND x_1 4.0
     UP BND x_2 4.0
     FX BND constant__one 1.0
    ENDATA
    >>> exported.objective_sign
    -1
    """
    program = compile_rows(model, "an MPS file")
    # Only lists of text are made from here: the collector would walk them in vain.
    with PauseGC():
        return _write(program, Labels(model))


def _write(program: RowProgram, labels: Labels) -> Exported:
    columns = [Entry(labels.of(var), var, "variable") for var in program.variables]
    objective = (
        NO_OBJECTIVE if program.objective is None else labels.of(program.objective)
    )
    rows, letters, sides, ranges, numbers = _rows(program, labels)
    sign = -1.0 if program.maximises else 1.0
    names = [entry.name for entry in columns]
    row_names = [entry.name for entry in rows]

    lines = [f"NAME {model_title(program.model)} FREE"]
    lines += ["ROWS", f" N {objective}"]
    lines += map(" %s %s".__mod__, zip(letters, row_names, strict=True))
    if not rows:
        lines.append(f" E {NO_ROW}")
    lines.append("COLUMNS")
    lines += _columns(
        program, sp.csc_array(program.A[numbers]), sign, names, [objective, *row_names]
    )
    with_constant = program.c0 != 0.0 or not names or not rows
    if with_constant:
        lines.append(f" {CONSTANT} {objective} {sign * program.c0 + 0.0!r}")
        columns.append(Entry(CONSTANT, None, "constant of the objective"))
    if not rows:
        lines.append(f" {CONSTANT} {NO_ROW} 1.0")
    lines.append("RHS")
    if not rows:
        lines.append(f" RHS {NO_ROW} 1.0")
        rows.append(Entry(NO_ROW, None, "a row, because there is no other"))
    lines += [
        f" RHS {name} {side!r}"
        for name, side in zip(row_names, sides.tolist(), strict=True)
        if side
    ]
    if np.isfinite(ranges).any():
        lines.append("RANGES")
        lines += [
            f" RNG {row_names[i]} {ranges[i].item()!r}"
            for i in np.flatnonzero(np.isfinite(ranges)).tolist()
        ]
    lines.append("BOUNDS")
    lines += _bounds(program, names)
    if with_constant:
        lines.append(f" FX BND {CONSTANT} 1.0")
    if program.products.first.size:
        lines.append("QUADOBJ")
        lines += _triangle(program.products, sign, names)
    for name, number in zip(row_names, numbers.tolist(), strict=True):
        if number in program.row_products:
            lines.append(f"QCMATRIX {name}")
            lines += _full(program.row_products[number], names)
    lines += ["ENDATA", ""]
    return Exported(
        data="\n".join(lines).encode("ascii"),
        columns=columns,
        rows=rows,
        objective_sign=-1 if program.maximises else 1,
    )


def _rows(
    program: RowProgram, labels: Labels
) -> tuple[list[Entry], list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Entries, letters, sides and ranges of the file's rows, and which row each is."""
    low, up = program.row_lower, program.row_upper
    is_range = np.isfinite(low) & np.isfinite(up) & (low < up)
    with np.errstate(invalid="ignore", over="ignore"):
        width = up - low
        from_low = (low + width == up) | (
            (up - width != low) & (np.abs(low) <= np.abs(up))
        )
    # Nobody reads QCMATRIX and RANGES of one row.
    single = is_range & np.isfinite(width)
    single[list(program.row_products)] = False
    two = is_range & ~single
    letters = np.full(len(low), "E")
    letters[low < up] = "L"
    letters[np.isfinite(low) & (low < up)] = "G"
    letters[single & ~from_low] = "L"
    numbers = np.repeat(np.arange(len(low)), np.where(two, 2, 1))
    letters, ranges = letters[numbers], np.where(single, width, np.nan)
    ranges = ranges[numbers]
    lowers = np.flatnonzero(two[numbers])[::2]
    letters[lowers], letters[lowers + 1] = "G", "L"
    sides = np.where(letters == "L", up[numbers], low[numbers])
    names = list(map(labels.of, program.constraints))
    entries = []
    for letter, number in zip(letters.tolist(), numbers.tolist(), strict=True):
        constraint = program.constraints[number]
        if two[number]:
            side = "lower" if letter == "G" else "upper"
            entries.append(
                Entry(f"{names[number]}__{side}", constraint, f"{side} side")
            )
        else:
            entries.append(Entry(names[number], constraint, "constraint"))
    return entries, letters.tolist(), sides, ranges, numbers


def _columns(
    program: RowProgram,
    A: sp.csc_array,
    sign: float,
    names: list[str],
    row_names: list[str],
) -> list[str]:
    """Text of each column, and the marks around integers."""
    n = len(names)
    if not n:
        return []
    lengths = np.diff(A.indptr)
    # Every column has an entry, or nobody would know that it exists.
    costs = np.flatnonzero((program.c != 0.0) | (lengths == 0))
    rows = np.concatenate([np.zeros(len(costs), dtype=np.int64), A.indices + 1])
    columns = np.concatenate([costs, np.repeat(np.arange(n), lengths)])
    data = np.concatenate([sign * program.c[costs], A.data])
    order = np.argsort(columns, kind="stable")
    starts = np.searchsorted(columns[order], np.arange(n + 1)).tolist()
    spaced = [f"{name} " for name in row_names]
    texts = list(
        map(
            add,
            map(spaced.__getitem__, rows[order].tolist()),
            numerals(data[order], repr),
        )
    )
    flags = np.concatenate([[False], program.is_integer, [False]])
    marks = {
        int(column): f" M{number} 'MARKER' '{'INTEND' if number % 2 else 'INTORG'}'"
        for number, column in enumerate(np.flatnonzero(flags[1:] != flags[:-1]))
    }
    lines = []
    for j, name in enumerate(names):
        if j in marks:
            lines.append(marks[j])
        head = f" {name} "
        lines.append(head + f"\n{head}".join(texts[starts[j] : starts[j + 1]]))
    if n in marks:
        lines.append(marks[n])
    return lines


def _bounds(program: RowProgram, names: list[str]) -> list[str]:
    lines = []
    bounds = zip(
        names,
        program.lower.tolist(),
        program.upper.tolist(),
        program.is_integer.tolist(),
        strict=True,
    )
    for name, low, up, is_integer in bounds:
        if low == up:
            lines.append(f" FX BND {name} {low!r}")
            continue
        if low == -math.inf and up == math.inf:
            lines.append(f" FR BND {name}")
            continue
        # Readers differ in the default bounds of integers alone.
        if low == -math.inf:
            lines.append(f" MI BND {name}")
        elif low or is_integer:
            lines.append(f" LO BND {name} {low!r}")
        if up < math.inf:
            lines.append(f" UP BND {name} {up!r}")
        elif is_integer:
            lines.append(f" PL BND {name}")
    return lines


def _triangle(products: Products, sign: float, names: list[str]) -> list[str]:
    first, second, coefficient = products
    hessian = sign * np.where(first == second, 2.0 * coefficient, coefficient)
    return _entries(first, second, hessian, names)


def _full(products: Products, names: list[str]) -> list[str]:
    first, second, coefficient = products
    mirror = first != second
    half = np.where(mirror, 0.5 * coefficient, coefficient)
    return _entries(
        np.concatenate([first, second[mirror]]),
        np.concatenate([second, first[mirror]]),
        np.concatenate([half, half[mirror]]),
        names,
    )


def _entries(
    rows: np.ndarray, columns: np.ndarray, data: np.ndarray, names: list[str]
) -> list[str]:
    order = np.lexsort((columns, rows))
    return list(
        map(
            " %s %s %s".__mod__,
            zip(
                map(names.__getitem__, rows[order].tolist()),
                map(names.__getitem__, columns[order].tolist()),
                numerals(data[order], repr),
                strict=True,
            ),
        )
    )
