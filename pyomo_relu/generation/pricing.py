r"""Directions in which a dual point is infeasible.

The dual constraint of a cell is :math:`|Z^T \sigma(X u)| \le \beta` for the unit
vectors u in it (design, Certificates). Heuristic pricing climbs from many starting
points at once: on a cell the value is :math:`|J^T u|` with
:math:`J = X^T D(u) Z`, and

.. math:: u \leftarrow J J^T u / |J J^T u|

is the power iteration for it, with the J of the cell that u is in at the time. What it
finds are violated directions; that there are no more is for full pricing to prove.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyomo_relu.certificates.directions import values_at
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["Candidates", "diverse", "heuristic_pricing", "values_at"]

_STEPS = 30
#: Values that grow by less, relatively, have arrived.
_ARRIVED = 1e-9
#: Steps that do not climb are halved down to this.
_SHORTEST = 1e-3


class Candidates(NamedTuple):
    """Directions and their values, best first.

    Attributes
    ----------
    values : (m,) array
        ``|Z^T sigma(X u)|``, scaled.
    directions : (m, r) array
        Unit vectors, scaled coordinates.
    """

    values: Array
    directions: Array


def heuristic_pricing(
    problem: TrainingProblem, Z: Array, starts: Array, *, floor: float
) -> Candidates:
    """Climb from starting points, and return where values exceed the floor.

    Parameters
    ----------
    problem : TrainingProblem
        The data.
    Z : (n, c) array
        A dual point in scaled units.
    starts : (m, r) array
        Vectors to start from; zero ones are left out.
    floor : float
        Values no larger are not returned.

    Returns
    -------
    Candidates
        Local maxima may be there several times; see :func:`diverse`.

    Examples
    --------
    >>> problem = TrainingProblem([[3.0, 0.0], [0.0, 3.0]], [3.0, 4.0], 0.1)
    >>> start = np.array([[1.0, 1.0]])
    >>> found = heuristic_pricing(problem, problem.Y, start, floor=0.0)
    >>> print(f"{found.values[0]:.6f} at {found.directions[0].round(6)}")
    5.000000 at [0.6 0.8]
    """
    scaled = problem.scaled
    rows = scaled.spread(scaled.with_anchors(Z))
    norms = np.linalg.norm(starts, axis=1)
    u = starts[norms > 0.0] / norms[norms > 0.0, None]
    if not len(u):
        return Candidates(np.zeros(0), np.zeros((0, scaled.rank)))
    values = values_at(problem, Z, u)
    length = np.ones(len(u))
    moving = np.arange(len(u))
    for _ in range(_STEPS):
        v = u[moving]
        inner = scaled.X @ v.T
        images = rows.T @ scaled.activation(inner)
        pulled = scaled.X.T @ (scaled.activation.slopes(inner) * (rows @ images))
        size = np.linalg.norm(pulled, axis=0)
        ahead = pulled.T / np.maximum(size, 1e-300)[:, None]
        v = v + length[moving, None] * (ahead - v)
        v /= np.maximum(np.linalg.norm(v, axis=1), 1e-300)[:, None]
        new = values_at(problem, Z, v)
        gain = new > values[moving] * (1.0 + _ARRIVED)
        better = moving[gain]
        u[better], values[better] = v[gain], new[gain]
        length[moving[~gain]] *= 0.5
        moving = moving[gain | (length[moving] > _SHORTEST)]
        if not len(moving):
            break
    order = np.argsort(-values, kind="stable")
    order = order[values[order] > floor]
    return Candidates(values[order], u[order])


def diverse(found: Candidates, most: int, *, cosine: float = 0.999) -> Indices:
    """Return positions of the best candidates, no two of them close to each other.

    Parameters
    ----------
    found : Candidates
        Best first.
    most : int
        How many at most.
    cosine : float
        Directions with a larger one are one.
    """
    chosen: list[int] = []
    kept = np.zeros((0, found.directions.shape[1]))
    # Of each batch those far from what is kept, one after another.
    for start in range(0, len(found.values), 4 * most):
        part = found.directions[start : start + 4 * most]
        free = (part @ kept.T).max(axis=1, initial=-1.0) < cosine
        for i in np.flatnonzero(free).tolist():
            if len(chosen) == most:
                break
            if len(kept) and float((kept @ part[i]).max()) >= cosine:
                continue
            chosen.append(start + i)
            kept = np.vstack([kept, part[i]])
        if len(chosen) == most:
            break
    return np.array(chosen, dtype=np.intp)
