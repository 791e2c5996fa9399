"""Rows of Pyomo components, written many at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pyomo.core.expr import LinearExpression

__all__ = ["InOrder", "Rows", "equal_row", "objects"]


def objects(items: Iterable[Any], shape: tuple[int, ...]) -> Any:
    """Return Pyomo objects as an object array; numpy must not look into them."""
    array = np.empty(math.prod(shape), dtype=object)
    array[:] = list(items)
    return array.reshape(shape)


#: Coefficients and variables of one linear sum after another.
Rows = Iterator[tuple[list[float], list[Any]]]


def equal_row(variable: Any, values: list[float], variables: list[Any]) -> Any:
    """Return the row ``sum of values * variables == variable``."""
    body = LinearExpression(
        linear_coefs=[-1.0, *values], linear_vars=[variable, *variables]
    )
    return 0.0, body, 0.0


class InOrder:
    """A rule that hands out rows in the order of the index set.

    Pyomo calls rules in that order, and without checking each index again, which
    would cost more than the rows themselves. Used up, it is pickled as nothing.
    """

    def __init__(self, rows: Iterable[Any] = ()) -> None:
        self._rows = iter(rows)

    def __call__(self, *_: Any) -> Any:
        """Return the next row."""
        return next(self._rows)

    def __reduce__(self) -> Any:
        return InOrder, ()
