"""All cells of a hyperplane arrangement, with their rays and facets.

From the rays up: every ray is a null vector of r - 1 independent classes, and the cells
around it are known from its signs and the arrangement of the classes that vanish there
(`batch`). Sorting the pairs (cell, ray) by the cell's sign vector gives the cells, each
with its rays. Only one ray of each pair +-u and one cell of each mirror pair are
sorted. Nothing is returned before it has been checked (`validate`). Design, "Cells".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyomo_relu.arrangement.batch import (
    CONTRADICTION,
    Incidences,
    find_vertices,
    incidences_of,
)
from pyomo_relu.arrangement.cells import Cells
from pyomo_relu.arrangement.classes import (
    RowClasses,
    as_data_matrix,
    check_tolerance,
    classify_rows,
    incidence_tolerance,
)
from pyomo_relu.arrangement.counting import (
    count_cells_general_position,
    count_incidences_general_position,
)
from pyomo_relu.arrangement.masks import (
    CHUNK_ENTRIES,
    ByteArray,
    IntArray,
    SignHash,
    complement,
)
from pyomo_relu.arrangement.validate import (
    HalfArrangement,
    check_count,
    check_perturbation,
    find_facets,
    incidence_error,
    interior_points,
)
from pyomo_relu.errors import (
    DegenerateDataError,
    InputError,
    InputTypeError,
    TooManyCellsError,
)

__all__ = ["enumerate_cells"]

# Beyond this many bytes of packed signs, or this many pairs (cell, ray), an arrangement
# is refused like one of too many cells. A larger max_cells allows so many pairs a cell.
_LARGEST_PACKED = 4 << 30
_LARGEST_PAIRS = 1 << 27
_PAIRS_PER_CELL = 64


def enumerate_cells(
    problem_or_X: Any, *, max_cells: int = 2_000_000, tolerance: float = 1e-9
) -> Cells:
    """Return every cell of the arrangement of the rows of X, with rays and facets.

    The hyperplanes ``{u : x_k^T u = 0}`` cut the space of first-layer weights into
    cells, on each of which the same samples are active. The data may be degenerate in
    any way: zero rows, duplicate, parallel and antiparallel rows, many rows in one
    hyperplane, integer grids, rank below d. Cells in which no sample is active are
    returned too.

    Parameters
    ----------
    problem_or_X : array_like (n, d) or object with ``rows`` or ``X``
        Data matrix, one sample a row, or a training problem.
    max_cells : int, optional
        Refuse, before anything large is allocated, if the merged classes in general
        position would have more cells than this.
    tolerance : float, optional
        Angle (radians, 1e-12 to 1e-3) up to which rows are merged and directions
        truncated; a determinant of r unit normals of at most a hundredth of it counts
        as zero. What these decisions can change is measured: `Cells.perturbation`.

    Returns
    -------
    Cells
        Complete; cells i and ``i + len(cells) // 2`` are mirror images. The same data
        give the same order.

    Raises
    ------
    TooManyCellsError
        If the count exceeds `max_cells`, or the rays or the packed signs of so many
        cells could not be kept.
    DegenerateDataError
        If the data are so close to degenerate that the decisions made with the
        tolerance contradict each other; nothing inconsistent is returned.
    InputError, InputTypeError
        If X is empty, not finite, zero, or not a matrix.

    Notes
    -----
    "Every cell" is meant up to the tolerance. Degenerate data that were rounded have
    splinters of cells, as thin as rounding, where hyperplanes should meet in one ray;
    they are left out, and `Cells.perturbation` bounds what that can change.

    Memory beyond the result is a few chunks of 16 MiB, and about 30 bytes for each of
    the at most ``2^(r-1) comb(N, r-1)`` pairs (cell, ray) up to sign, with N classes in
    rank r.

    References
    ----------
    Sahiner, Ergen, Pauly and Pilanci, "Vector-output ReLU Neural Network Problems are
    Copositive Programs", ICLR 2021, arXiv:2012.13329.

    Examples
    --------
    >>> cells = enumerate_cells([[1, 0], [0, 1], [1, 1]])
    >>> len(cells)
    6
    >>> cells.masks.astype(int)[cells.masks.all(axis=1)]
    array([[1, 1, 1]])
    >>> cells.rays[0].shape
    (2, 2)
    """
    limit = _check_limit(max_cells)
    tolerance = check_tolerance(tolerance)
    classes = classify_rows(as_data_matrix(problem_or_X), tolerance)
    _refuse_too_many(classes, limit)

    threshold = incidence_tolerance(tolerance)
    hasher = SignHash(classes.count)
    normals = classes.normals[None]
    groups = find_vertices(normals, threshold, hasher)
    pairs = incidences_of(groups, normals, threshold, hasher)
    if not any(len(group.hashes) for group in pairs):
        raise DegenerateDataError(
            f"No {classes.rank - 1} of {classes.count} hyperplanes in rank "
            f"{classes.rank} are clearly independent, so no ray was found. "
            f"{CONTRADICTION}"
        )
    half = _collect(pairs, classes)
    del pairs
    check_count(half)
    points, pointedness = interior_points(half)
    facet_indptr, facets, neighbours = find_facets(half, hasher)
    perturbation = classes.deviation + incidence_error(
        half, pointedness, classes.weight
    )
    check_perturbation(perturbation, float(np.linalg.norm(classes.weight)), tolerance)

    count, vertices = len(half.packed), len(half.directions)
    mirror = np.where(half.rays < vertices, half.rays + vertices, half.rays - vertices)
    return Cells(
        classes,
        packed=np.concatenate([half.packed, complement(half.packed, classes.count)]),
        interior_points=np.concatenate([points, -points]),
        complete=True,
        perturbation=classes.scale * perturbation,
        tolerance=tolerance,
        rays=(
            np.concatenate([half.directions, -half.directions]),
            np.concatenate([half.indptr, half.indptr[1:] + half.indptr[-1]]),
            np.concatenate([half.rays, mirror]),
        ),
        facets=(
            np.concatenate([facet_indptr, facet_indptr[1:] + facet_indptr[-1]]),
            np.concatenate([facets, facets]),
        ),
        neighbours=np.concatenate([neighbours, (neighbours + count) % (2 * count)]),
    )


def _check_limit(max_cells: int) -> int:
    if isinstance(max_cells, bool) or not isinstance(max_cells, (int, np.integer)):
        raise InputTypeError(
            f"max_cells is {max_cells!r}; give a positive whole number of cells."
        )
    if max_cells < 1:
        raise InputError(f"max_cells is {max_cells}; it must be at least 1.")
    return int(max_cells)


def _refuse_too_many(classes: RowClasses, limit: int) -> None:
    count, rank = classes.count, classes.rank
    cells = count_cells_general_position(count, rank)
    pairs = count_incidences_general_position(count, rank)
    size = cells * -(-count // 8)
    where = (
        f"{count} distinct hyperplanes (from {len(classes.X)} samples) of rank {rank} "
        f"have up to {cells:,} cells"
    )
    advice = (
        "sample_cells(X, size, seed) for some of the cells, or fewer features "
        "(select some, or project X on its leading principal components)."
    )
    if cells > limit:
        raise TooManyCellsError(
            f"{where}, more than max_cells={limit:,}",
            f"Use enumerate_cells(..., max_cells={cells}) if memory and time allow "
            f"(about {(size + 24 * pairs) / 2**30:.1f} GiB), or {advice}",
        )
    if pairs > max(_LARGEST_PAIRS, _PAIRS_PER_CELL * limit):
        raise TooManyCellsError(
            f"{where}, which are allowed, but up to {pairs:,} pairs of a cell and one "
            f"of its rays, more than {_LARGEST_PAIRS:,}",
            f"Use enumerate_cells(..., max_cells={-(-pairs // _PAIRS_PER_CELL)}) if "
            "memory and time allow "
            f"(about {(size + 24 * pairs) / 2**30:.1f} GiB), or {advice}",
        )
    if size > _LARGEST_PACKED:
        raise TooManyCellsError(
            f"{where}, whose signs alone would take {size / 2**30:.1f} GiB",
            f"Use {advice}",
        )


def _collect(pairs: list[Incidences], classes: RowClasses) -> HalfArrangement:
    """Sort the pairs (cell, ray) into cells; one cell of each mirror pair.

    A pair (sigma, u) and its mirror (-sigma, -u) have opposite hashes; both are kept as
    the one with the non-negative hash.
    """
    hashes = np.concatenate([p.hashes for p in pairs])
    swap = hashes < 0
    np.negative(hashes, out=hashes, where=swap)
    order = np.argsort(hashes, kind="stable")
    new = np.ones(len(order), dtype=bool)
    new[1:] = np.diff(hashes[order]) != 0
    indptr = np.append(np.flatnonzero(new), len(order))
    cell = np.empty(len(order), dtype=np.int64)
    cell[order] = np.cumsum(new) - 1
    del hashes

    directions = np.concatenate([p.group.direction for p in pairs])
    offset = np.cumsum([0] + [len(p.group) for p in pairs])
    ray = np.concatenate(
        [p.vertex + first for p, first in zip(pairs, offset, strict=False)]
    ).astype(np.int32)
    ray[swap] += len(directions)

    packed = _packed_cells(pairs, order[indptr[:-1]], swap, classes.count)
    _verify(pairs, packed, cell, swap, classes.count)
    return HalfArrangement(
        normals=classes.normals,
        packed=packed,
        directions=directions,
        zeros=_packed_zeros(pairs, classes.count),
        indptr=indptr,
        rays=ray[order],
    )


def _packed_cells(
    pairs: list[Incidences], chosen: IntArray, swap: np.ndarray, count: int
) -> ByteArray:
    """Return the packed signs of the chosen pairs (positions in all the groups)."""
    packed = np.empty((len(chosen), -(-count // 8)), dtype=np.uint8)
    first = 0
    for group in pairs:
        inside = np.flatnonzero(
            (chosen >= first) & (chosen < first + len(group.hashes))
        )
        packed[inside] = group.packed(chosen[inside] - first)
        first += len(group.hashes)
    mirrored = swap[chosen]
    packed[mirrored] = complement(packed[mirrored], count)
    return packed


def _verify(
    pairs: list[Incidences],
    packed: ByteArray,
    cell: IntArray,
    swap: np.ndarray,
    count: int,
) -> None:
    """Compare the bits of every pair with those of its cell.

    A pair agrees exactly if its ray lies weakly in the cell: it has the sign of the
    cell on each class that does not vanish there.
    """
    step = max(1, 8 * CHUNK_ENTRIES // max(packed.shape[1], 8))
    first = 0
    for group in pairs:
        for start in range(0, len(group.hashes), step):
            part = slice(start, start + step)
            there = slice(first + start, first + min(start + step, len(group.hashes)))
            signs = group.packed(part)
            turned = swap[there]
            signs[turned] = complement(signs[turned], count)
            if not np.array_equal(signs, packed[cell[there]]):
                raise RuntimeError(
                    "Two different cells have the same 64-bit hash, an event of "
                    "probability below 1e-6; please report this data set."
                )
        first += len(group.hashes)


def _packed_zeros(pairs: list[Incidences], count: int) -> ByteArray:
    """Return for each vertex the packed classes that vanish there."""
    packed = np.zeros(
        (sum(len(p.group) for p in pairs), -(-count // 8)), dtype=np.uint8
    )
    first = 0
    for group in pairs:
        zeros = group.group.zeros
        rows = np.arange(first, first + len(zeros))
        for column in range(zeros.shape[1]):
            packed[rows, zeros[:, column] >> 3] |= np.uint8(128) >> (
                zeros[:, column] & 7
            ).astype(np.uint8)
        first += len(zeros)
    return packed
