"""LP files (CPLEX's format): linear and quadratic programs, SOS constraints.

Conventions, each as all of HiGHS, GLPK, CBC and SCIP read it:

- one term a line, because lines have a longest length;
- a space in front of everything but keywords: GLPK takes ``b`` at the start of a line
  for ``bounds``;
- the quadratic part of the objective is in ``[ ] / 2``, that of a row in ``[ ]``;
- the constant of the objective is the coefficient of a column fixed at one;
- a row with two different sides is two rows, because GLPK knows no ranges;
- an integer is ``general`` with its bounds, because ``binary`` puts the bounds back to
  zero and one.

Numbers have as many digits as make them exact.

Pyomo's own ``lp_v2`` writer is not used: it calls a binary variable with other bounds
binary, an interval with a gap continuous, no objective the constant 1, and needs
several times longer.
"""

from __future__ import annotations

import math
from itertools import chain
from operator import add
from typing import Any

import numpy as np
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base import SOSConstraint

from pyomo_relu.writers.exported import Entry, Exported
from pyomo_relu.writers.labels import Labels, model_title
from pyomo_relu.writers.mps import CONSTANT, NO_OBJECTIVE, NO_ROW
from pyomo_relu.writers.rows import (
    Products,
    RowProgram,
    compile_rows,
    numerals,
    sos_members,
)

__all__ = ["write_lp"]


def write_lp(model: Any) -> Exported:
    r"""Make an LP file of a model.

    Parameters
    ----------
    model : Block
        A constructed Pyomo model or block: linear and quadratic rows, a linear or
        quadratic objective or none, integer variables, SOS constraints.

    Returns
    -------
    Exported

    Raises
    ------
    UnsupportedModelError, UnsupportedConeError, InputError
        The model has something that an LP file cannot hold; the message names it.
    pyomo.common.errors.InfeasibleConstraintException
        Sides or bounds cross, or a constraint without variables is violated.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel("example")
    >>> m.x = pyo.Var([1, 2], bounds=(0, 4))
    >>> m.profit = pyo.Objective(expr=2 * m.x[1] - m.x[2] ** 2, sense=pyo.maximize)
    >>> m.row = pyo.Constraint(expr=(1, m.x[1] - 0.1 * m.x[2], 5))
    >>> print(write_lp(m).data.decode())
    \ example
    maximize
     profit:
     +2.0 x_1
     + [
     -2.0 x_2 ^2
     ] / 2
    subject to
     row__lower:
     +1.0 x_1
     -0.1 x_2
     >= 1.0
     row__upper:
     +1.0 x_1
     -0.1 x_2
     <= 5.0
    bounds
     0.0 <= x_1 <= 4.0
     0.0 <= x_2 <= 4.0
    end
    """
    program = compile_rows(model, "an LP file", frozenset({SOSConstraint}))
    # Only lists of text are made from here: the collector would walk them in vain.
    with PauseGC():
        return _write(program, Labels(model))


def _write(program: RowProgram, labels: Labels) -> Exported:
    columns = [Entry(labels.of(var), var, "variable") for var in program.variables]
    names = [entry.name for entry in columns]
    rows: list[Entry] = []

    lines = [f"\\ {model_title(program.model)}"]
    lines.append("maximize" if program.maximises else "minimize")
    objective = (
        NO_OBJECTIVE if program.objective is None else labels.of(program.objective)
    )
    lines.append(f" {objective}:")
    lines += _objective(program, names)
    with_constant = program.c0 != 0.0 or not names or not program.constraints
    if with_constant:
        lines.append(f" {program.c0:+} {CONSTANT}")
        columns.append(Entry(CONSTANT, None, "constant of the objective"))
    if program.products.first.size:
        lines += _products(program.products, 2.0, names)
        lines[-1] = " ] / 2"
    lines.append("subject to")
    lines += _rows(program, labels, names, rows)
    if not rows:
        lines += [f" {NO_ROW}:", f" +1.0 {CONSTANT}", " = 1.0"]
        rows.append(Entry(NO_ROW, None, "a row, because there is no other"))
    lines.append("bounds")
    lines += _bounds(program, names)
    if with_constant:
        lines.append(f" 1.0 <= {CONSTANT} <= 1.0")
    if program.is_integer.any():
        lines.append("general")
        lines += [f" {names[j]}" for j in np.flatnonzero(program.is_integer).tolist()]
    if program.sos:
        lines.append("sos")
        for data in program.sos:
            lines.append(f" {labels.of(data)}: S{data.level}::")
            lines += [
                f" {labels.of(var)}:{weight!r}" for var, weight in sos_members(data)
            ]
    lines += ["end", ""]
    return Exported(
        data="\n".join(lines).encode("ascii"),
        columns=columns,
        rows=rows,
        sense="maximize" if program.maximises else "minimize",
    )


def _terms(
    coefficients: np.ndarray, columns: np.ndarray, names: list[str]
) -> list[str]:
    return list(
        map(
            add,
            numerals(coefficients, " {:+} ".format),
            map(names.__getitem__, columns.tolist()),
        )
    )


def _objective(program: RowProgram, names: list[str]) -> list[str]:
    """Linear terms, with a zero for a column that is in no row."""
    used = np.zeros(len(names), dtype=bool)
    used[program.A.indices] = True
    columns = np.flatnonzero((program.c != 0.0) | ~used)
    if not columns.size and names and program.c0 == 0.0:
        columns = np.zeros(1, dtype=np.int64)
    return _terms(program.c[columns], columns, names)


def _products(products: Products, factor: float, names: list[str]) -> list[str]:
    lines = [" + ["]
    lines += [
        f"{coefficient}{names[i]} {'^2' if i == j else f'* {names[j]}'}"
        for i, j, coefficient in zip(
            products.first.tolist(),
            products.second.tolist(),
            numerals(factor * products.coefficient, " {:+} ".format),
            strict=True,
        )
    ]
    return [*lines, " ]"]


def _rows(
    program: RowProgram, labels: Labels, names: list[str], entries: list[Entry]
) -> list[str]:
    """Lines of the rows; their entries are added to the list."""
    starts = program.A.indptr.tolist()
    terms = _terms(program.A.data, program.A.indices, names)
    parts: list[list[str]] = []
    sides = zip(
        program.constraints,
        program.row_lower.tolist(),
        program.row_upper.tolist(),
        strict=True,
    )
    for number, (constraint, low, up) in enumerate(sides):
        name = labels.of(constraint)
        body = terms[starts[number] : starts[number + 1]]
        if number in program.row_products:
            body += _products(program.row_products[number], 1.0, names)
        if low == up:
            stated = [(name, "constraint", f" = {up!r}")]
        elif low == -math.inf:
            stated = [(name, "constraint", f" <= {up!r}")]
        elif up == math.inf:
            stated = [(name, "constraint", f" >= {low!r}")]
        else:
            stated = [
                (f"{name}__lower", "lower side", f" >= {low!r}"),
                (f"{name}__upper", "upper side", f" <= {up!r}"),
            ]
        for label, role, side in stated:
            parts += [[f" {label}:"], body, [side]]
            entries.append(Entry(label, constraint, role))
    return list(chain.from_iterable(parts))


def _bounds(program: RowProgram, names: list[str]) -> list[str]:
    lines = []
    for name, low, up, is_integer in zip(
        names,
        program.lower.tolist(),
        program.upper.tolist(),
        program.is_integer.tolist(),
        strict=True,
    ):
        if low == -math.inf and up == math.inf:
            lines.append(f" {name} free")
        elif low != 0.0 or up != math.inf or is_integer:
            below = "-inf" if low == -math.inf else repr(low)
            above = "+inf" if up == math.inf else repr(up)
            lines.append(f" {below} <= {name} <= {above}")
    return lines
