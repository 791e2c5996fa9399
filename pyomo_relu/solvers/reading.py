"""What interfaces read from a model themselves, and what they refuse in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from pyomo.common.errors import InfeasibleConstraintException

from pyomo_relu.errors import PyomoReluError
from pyomo_relu.solvers.affine_rows import UNREADABLE, unreadable
from pyomo_relu.solvers.errors import UnsupportedModelError

__all__ = [
    "CROSSING_TOLERANCE",
    "compiler_errors",
    "make_plain",
    "read_bounds",
    "refuse_crossing",
    "sole_objective",
]

#: Bounds that cross by this much, relative to 1 + |bound|, are taken to be equal.
CROSSING_TOLERANCE = 1e-8


@contextmanager
def compiler_errors(model: Any) -> Iterator[None]:
    """Turn what Pyomo's compilers and writers raise into errors of this package.

    Parameters
    ----------
    model : Block
        The model that is compiled in the block.

    Yields
    ------
    None

    Raises
    ------
    UnsupportedModelError
        If the model has active components that the compiler does not know.
    InputError
        If something in it cannot be evaluated.
    """
    try:
        yield
    except PyomoReluError:
        raise
    except UNREADABLE as error:
        if isinstance(error, ValueError) and "active components" in str(error):
            raise UnsupportedModelError(str(error)) from error
        raise unreadable(f"model '{model.name}'", error) from error


def sole_objective(objectives: Sequence[Any]) -> Any:
    """Return the only active objective.

    Parameters
    ----------
    objectives : sequence of ObjectiveData
        All that are active.

    Returns
    -------
    ObjectiveData or None
        None where there is none.

    Raises
    ------
    UnsupportedModelError
        If there are several.
    """
    if len(objectives) > 1:
        names = ", ".join(repr(objective.name) for objective in objectives)
        raise UnsupportedModelError(
            f"the model has {len(objectives)} active objectives ({names}); deactivate "
            f"all but one"
        )
    return objectives[0] if objectives else None


def make_plain(constraint: Any) -> None:
    """Turn a templatised constraint into a plain one: reading ``expr`` does that.

    Parameters
    ----------
    constraint : ConstraintData
        Of any kind.
    """
    if hasattr(constraint, "template_expr"):
        _ = constraint.expr


def read_bounds(variables: Iterable[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of variables.

    Parameters
    ----------
    variables : iterable of VarData
        n of them.

    Returns
    -------
    lower, upper : (n,) ndarray
        Infinite where there is no bound; equal where they cross by no more than
        rounding.

    Raises
    ------
    InputError
        If a bound cannot be evaluated.
    pyomo.common.errors.InfeasibleConstraintException
        If the bounds of a variable cross.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(1, None))
    >>> lower, upper = read_bounds([m.x])
    >>> lower.tolist(), upper.tolist()
    ([1.0], [inf])
    """
    low, up = [], []
    for var in variables:
        try:
            lower, upper = var.bounds
        except UNREADABLE as error:
            raise unreadable(f"a bound of variable '{var.name}'", error) from error
        lower = -math.inf if lower is None else lower
        upper = math.inf if upper is None else upper
        refuse_crossing(lower, upper, f"variable '{var.name}'")
        low.append(lower)
        up.append(max(lower, upper))
    return np.array(low, float), np.array(up, float)


def refuse_crossing(lower: float, upper: float, what: str) -> None:
    """Refuse sides or bounds that leave nothing between them.

    Parameters
    ----------
    lower, upper : float
        The sides.
    what : str
        Whose they are.

    Raises
    ------
    pyomo.common.errors.InfeasibleConstraintException
        If they cross by more than :data:`CROSSING_TOLERANCE`.
    """
    if lower - upper > CROSSING_TOLERANCE * (1.0 + abs(upper)):
        raise InfeasibleConstraintException(
            f"{what} has the lower bound {lower:.6g} and the upper bound {upper:.6g}"
        )
