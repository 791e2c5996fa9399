"""NL files (AMPL's format): everything that Pyomo can say in algebra.

Pyomo's own writer makes them, without its presolve and without scaling: the file has
the variables and rows of the model itself. It puts nonlinear rows and variables first.
Names go into two files beside it, a line each: ``.row`` and ``.col``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from pyomo.core.base import Objective, SOSConstraint, Suffix, minimize
from pyomo.repn.plugins.nl_writer import NLWriter
from pyomo.repn.util import FileDeterminism

from pyomo_relu.errors import InputError
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.reading import compiler_errors, sole_objective
from pyomo_relu.writers.exported import Entry, Exported
from pyomo_relu.writers.labels import Labels, model_title
from pyomo_relu.writers.rows import refuse_unknown, sos_members

__all__ = ["write_nl"]

_KNOWN = frozenset({SOSConstraint})


def write_nl(model: Any) -> Exported:
    """Make an NL file of a model.

    Constraints without variables are left out; the sense of the objective is kept.

    Parameters
    ----------
    model : Block
        A constructed Pyomo model or block.

    Returns
    -------
    Exported
        With the files ``.row`` and ``.col`` beside it.

    Raises
    ------
    UnsupportedModelError, UnsupportedConeError, InputError
        The model has something that an NL file cannot hold; the message names it.
    pyomo.common.errors.InfeasibleConstraintException
        Bounds cross, or a constraint without variables is violated.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var([1, 2], bounds=(0, 4))
    >>> m.profit = pyo.Objective(expr=2 * m.x[1], sense=pyo.maximize)
    >>> m.linear = pyo.Constraint(expr=m.x[1] <= 3 * m.x[2])
    >>> m.curved = pyo.Constraint(expr=pyo.exp(m.x[2]) <= 5)
    >>> exported = write_nl(m)
    >>> print(exported.beside[".row"].decode())
    curved
    linear
    profit
    >>> print(exported.beside[".col"].decode())
    x_2
    x_1
    """
    refuse_unknown(model, "an NL file", _KNOWN)
    objective = sole_objective(
        list(model.component_data_objects(Objective, active=True))
    )
    for data in model.component_data_objects(SOSConstraint, active=True):
        sos_members(data)
    _refuse_suffixes(model)
    stream = StringIO()
    with compiler_errors(model), _domain_errors():
        info = NLWriter().write(
            model,
            stream,
            linear_presolve=False,
            scale_model=False,
            skip_trivial_constraints=True,
            file_determinism=FileDeterminism.ORDERED,
        )
    _refuse_infinite(stream.getvalue(), info)
    if not info.variables:
        raise UnsupportedModelError(
            f"model '{model.name}' has no free variables in active constraints or in "
            f"its objective, and NL files have at least one; unfix a variable"
        )
    text = stream.getvalue().replace(
        f"# problem {model.name}\n", f"# problem {model_title(model)}\n", 1
    )
    labels = Labels(model)
    columns = [Entry(labels.of(var), var, "variable") for var in info.variables]
    rows = [Entry(labels.of(row), row, "constraint") for row in info.constraints]
    objectives = map(labels.of, info.objectives)
    maximises = objective is not None and objective.sense != minimize
    return Exported(
        data=text.encode("ascii"),
        columns=columns,
        rows=rows,
        sense="maximize" if maximises else "minimize",
        beside={
            ".row": _lines([*(entry.name for entry in rows), *objectives]),
            ".col": _lines([entry.name for entry in columns]),
        },
    )


def _refuse_suffixes(model: Any) -> None:
    """Refuse suffixes whose names would break the file."""
    for suffix in model.component_objects(Suffix, active=True):
        name = suffix.local_name
        if suffix.export_enabled() and not re.fullmatch(
            r"[A-Za-z_][A-Za-z0-9_]*", name
        ):
            raise UnsupportedModelError(
                f"an NL file cannot hold the Suffix '{suffix.name}': names of suffixes "
                f"there have letters, digits and underscores; rename it, or give it "
                f"the direction Suffix.LOCAL"
            )


def _refuse_infinite(text: str, info: Any) -> None:
    """Refuse coefficients that are no numbers, which Pyomo writes as they are."""
    if "nan" not in text and "inf" not in text:
        return
    found = {
        **dict.fromkeys("CJr", info.constraints),
        **dict.fromkeys("OG", info.objectives),
        "b": info.variables,
    }
    segment, number = " ", 0
    for line in text.splitlines()[10:]:
        header = re.match(r"([A-Zbdrkx])([0-9]*)", line)
        if header:
            segment, number = header[1], int(header[2] or -1)
            continue
        # The lines of the sides and bounds are numbered by themselves.
        number += segment in "rb"
        if segment != "S" and re.search(r"(\b|^n)(nan|inf)\b", line):
            known = found.get(segment, [])
            name = known[number].name if known else "an Expression"
            raise InputError(
                f"'{name}' has a coefficient that is not finite (a fixed variable or "
                f"Param without a value, NaN or inf)"
            )


@contextmanager
def _domain_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        if "has a domain that is not" in str(error):
            raise UnsupportedModelError(
                f"{error} Write it with binary variables"
            ) from error
        raise


def _lines(names: list[str]) -> bytes:
    return "".join(f"{name}\n" for name in names).encode("ascii")
