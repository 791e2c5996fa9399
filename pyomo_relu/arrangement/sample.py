"""Some cells of an arrangement, by drawing directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyomo_relu.arrangement.cells import Cells
from pyomo_relu.arrangement.classes import (
    RowClasses,
    as_data_matrix,
    check_tolerance,
    classify_rows,
)
from pyomo_relu.arrangement.counting import count_cells_general_position
from pyomo_relu.arrangement.geometry import REDUNDANCY_TOLERANCE
from pyomo_relu.arrangement.masks import CHUNK_ENTRIES, ByteArray, FloatArray
from pyomo_relu.errors import InputError, InputTypeError

__all__ = ["cells_at", "sample_cells"]

# Closer to a hyperplane than this a direction is drawn again: its sign may be rounding.
_CLEARANCE = 1e-13

# So many directions are always worth a try.
_PATIENCE = 10_000


def sample_cells(
    problem_or_X: Any,
    size: int,
    seed: int | np.random.Generator | None = None,
    *,
    max_draws: int | None = None,
    tolerance: float = 1e-9,
) -> Cells:
    """Return distinct cells of the arrangement of the rows of X, found by sampling.

    Directions are drawn uniformly from the unit sphere of the row space until `size`
    distinct cells are found, so wide cells come first. A cell's mirror image is
    included only if it is drawn itself.

    Parameters
    ----------
    problem_or_X : array_like (n, d) or object with ``rows`` or ``X``
        Data matrix, one sample a row, or a training problem.
    size : int
        How many cells to find; there are never more than
        `count_cells_general_position` says of the merged rows, so no more are sought.
    seed : int or numpy.random.Generator, optional
        The same seed gives the same cells in the same order.
    max_draws : int, optional
        Stop after this many directions. By default after ``max(10_000, 100 * size)``,
        and before that as soon as ``max(10_000, 20 * found)`` directions in a row have
        brought nothing new to the `found` cells. Then fewer cells are returned, and
        their ``repr`` and `Cells.note` say so.
    tolerance : float, optional
        As in `enumerate_cells`.

    Returns
    -------
    Cells
        Not complete. Facets are found by removing redundant rows, rays from the facets,
        both when first asked for.

    Raises
    ------
    InputError, InputTypeError
        If an argument is not allowed; see `enumerate_cells` for X.

    Examples
    --------
    >>> cells = sample_cells([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], 4, seed=0)
    >>> len(cells), cells.complete
    (4, False)
    """
    size = _positive(size, "size")
    if max_draws is not None:
        max_draws = _positive(max_draws, "max_draws")
    tolerance = check_tolerance(tolerance)
    classes = classify_rows(as_data_matrix(problem_or_X), tolerance)
    try:
        generator = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"seed is {seed!r}; give a non-negative whole number, a numpy Generator or "
            "None."
        ) from error

    count, rank = classes.count, classes.rank
    most = count_cells_general_position(count, rank)
    target = min(size, most)
    budget = max(_PATIENCE, 100 * target) if max_draws is None else max_draws
    seen: set[bytes] = set()
    packed, points = [], []
    # Independent of `size`, so that a longer sample continues a shorter one.
    step = int(np.clip(CHUNK_ENTRIES // (count + rank), 1, 4096))
    drawn = idle = 0
    tired = False
    while len(seen) < target and drawn < budget and not tired:
        directions = generator.standard_normal((min(step, budget - drawn), rank))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        height = directions @ classes.normals.T
        clear = (np.abs(height) > _CLEARANCE).all(axis=1)
        bits = np.packbits(height > 0, axis=1)
        for row in range(len(directions)):
            drawn += 1
            idle += 1
            key = bits[row].tobytes()
            if not clear[row] or key in seen:
                tired = max_draws is None and idle >= max(_PATIENCE, 20 * len(seen))
                if tired:
                    break
                continue
            idle = 0
            seen.add(key)
            packed.append(bits[row])
            points.append(directions[row])
            if len(seen) == target:
                break
    found = len(seen)
    if not found:
        raise InputError(
            f"None of {drawn} directions was clear of every hyperplane; use a larger "
            "max_draws."
        )
    note = f"sampled with {drawn:,} draws"
    if found < size:
        note += f", {size:,} cells were asked for"
        if found == most:
            note += " and there are no more"
    return cells_at(classes, np.array(packed), np.array(points), tolerance, note)


def cells_at(
    classes: RowClasses,
    packed: ByteArray,
    points: FloatArray,
    tolerance: float,
    note: str = "",
) -> Cells:
    """Return the cells of some points.

    Parameters
    ----------
    classes : RowClasses
        The hyperplanes.
    packed : (P, ceil(N / 8)) uint8 array
        On which sides of them the points are.
    points : (P, r) array
        Unit points, reduced coordinates, each in another cell.
    tolerance : float
        As in `enumerate_cells`.
    note : str, optional
        What a user should know of them.
    """
    dropped = REDUNDANCY_TOLERANCE * float(np.linalg.norm(classes.weight))
    return Cells(
        classes,
        packed=packed,
        interior_points=points,
        complete=False,
        perturbation=classes.scale * (classes.deviation + dropped),
        tolerance=tolerance,
        note=note,
    )


def _positive(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InputTypeError(f"{name} is {value!r}; give a positive whole number.")
    if value < 1:
        raise InputError(f"{name} is {value}; it must be at least 1.")
    return int(value)
