"""Cells that cover the space, at the first tolerance that rounding allows."""

from __future__ import annotations

from pyomo_relu.arrangement import Cells, enumerate_cells
from pyomo_relu.errors import DegenerateDataError
from pyomo_relu.problem import TrainingProblem

__all__ = ["covering_cells", "covering_tolerances"]

_TOLERANCES = (1e-9, 1e-7, 1e-5)
_SMALLEST, _LARGEST = 1e-12, 1e-3


def covering_cells(problem: TrainingProblem, *, max_cells: int = 2_000_000) -> Cells:
    """Enumerate all cells, without a direction in which the samples are nearly flat.

    A tolerance that is too small for the data is raised; what it changes is in the
    cells' ``perturbation``, and a certificate accounts for it (design, What exact
    means).

    Parameters
    ----------
    problem : TrainingProblem
        The data.
    max_cells : int
        See :func:`pyomo_relu.enumerate_cells`.

    Returns
    -------
    Cells

    Raises
    ------
    TooManyCellsError
        More cells than `max_cells`.
    DegenerateDataError
        No tolerance will do.

    Examples
    --------
    The rank is two, but hardly; the two cells are those of rank one:

    >>> problem = TrainingProblem([[1, 1], [2, 2 + 1e-8]], [1, 2], 0.1)
    >>> problem.rank, len(covering_cells(problem))
    (2, 2)
    """
    for tolerance in covering_tolerances(problem):
        try:
            return enumerate_cells(problem, max_cells=max_cells, tolerance=tolerance)
        except DegenerateDataError as error:
            failure = error
    raise failure


def covering_tolerances(problem: TrainingProblem) -> tuple[float, ...]:
    """Return the tolerances that :func:`covering_cells` tries, in order.

    Parameters
    ----------
    problem : TrainingProblem
        The data.
    """
    tolerances: tuple[float, ...] = _TOLERANCES
    if problem.scaled.nearly_flat:
        smallest = problem.scaled.smallest
        tolerances = (10.0 * smallest, 1000.0 * smallest, *_TOLERANCES)
    return tuple(min(max(each, _SMALLEST), _LARGEST) for each in tolerances)
