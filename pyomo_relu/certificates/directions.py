r"""The best direction of each cell: where the dual norm is attained.

In the relative interior of a face a maximiser of :math:`|J_i^T u|` over the unit
vectors of :math:`K_i` is the top singular vector of :math:`J_i` projected on the span
of the face, which is what the normals of at most r - 2 facets leave (design,
Certificates). A direction proves that rho is at least its value, whatever was searched.
"""

from __future__ import annotations

from concurrent.futures import Executor
from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np

from pyomo_relu.arrangement import Cells
from pyomo_relu.arrangement.masks import has_bit
from pyomo_relu.certificates.cell_maps import (
    CHUNK_FLOATS,
    CellBlock,
    DualPoint,
    cell_blocks,
    cheap_bounds,
    first_look,
)
from pyomo_relu.certificates.parallel import run_on_blocks
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["CellDirections", "best_directions", "best_ray_value", "values_at"]

#: Faces that one call may look at; cells of the largest bounds come first.
_FACE_BUDGET = 1_000_000
#: Unit vectors this little outside of a facet count as inside.
_INSIDE = 1e-9
#: Without a floor, cells whose bounds fall short of a value by more are not searched.
_SHORT = 1e-7
#: Most cells of one task, and what a face costs in the time of a cell.
_TASK_CELLS, _FACE_WORK = 2_000, 4.0


class CellDirections(NamedTuple):
    """A direction for every cell, and its value.

    Attributes
    ----------
    values : (P,) array
        ``|Z^T sigma(X u)|`` at it, scaled.
    directions : (P, r) array
        Unit vectors in the scaled coordinates.
    """

    values: Array
    directions: Array


def best_directions(
    problem: TrainingProblem,
    cells: Cells,
    Z: Array,
    *,
    floor: float | None = None,
    executor: Executor | None = None,
) -> CellDirections:
    """Search the unit vectors of every cell for the largest ``|Z^T sigma(X u)|``.

    Memory: the result, the cells' blocks, made once (150 bytes a cell in rank 4), and
    some 200 MB.

    Parameters
    ----------
    problem : TrainingProblem
        The data.
    cells : Cells
        Cells of these data, all or some.
    Z : (n, c) array
        A dual point in scaled units.
    floor : float, optional
        Cells that cannot exceed it keep their best ray. By default the largest value
        found so far, so that only the largest of all cells is to be trusted.
    executor : concurrent.futures.Executor, optional
        Who looks at blocks of cells (:mod:`pyomo_relu.certificates.parallel`). The
        result is the same; this process by default.

    Returns
    -------
    CellDirections

    Examples
    --------
    >>> from pyomo_relu import enumerate_cells
    >>> problem = TrainingProblem([[3.0, 0.0], [0.0, 3.0]], [3.0, 4.0], 0.1)
    >>> found = best_directions(problem, enumerate_cells(problem), problem.Y)
    >>> i = found.values.argmax()
    >>> print(f"{found.values[i]:.6f} at {found.directions[i].round(6)}")
    5.000000 at [0.6 0.8]
    """
    scaled = problem.scaled
    rotation = scaled.basis.T @ cells.basis
    rows = scaled.spread(scaled.with_anchors(Z))
    point = DualPoint(scaled.X, rows, rotation, scaled.activation)
    blocks = cell_blocks(cells)
    least = floor
    if least is None:
        least = (1.0 - _SHORT) * first_look(blocks, point, climb=cells.complete)
    parts = run_on_blocks(
        _look_at_rays,
        blocks,
        [(number, ()) for number in range(len(blocks.blocks))],
        (point, least, floor is None),
        executor,
    )
    values = np.zeros(len(cells))
    directions = np.zeros((len(cells), scaled.rank))
    for block, part in zip(blocks.blocks, parts, strict=True):
        values[block.positions] = part.values
        if len(block.ray_table):
            directions[block.positions] = block.ray_table[part.rays] @ rotation.T
    candidates = _Candidates.of(blocks.blocks, parts)
    budget = _FACE_BUDGET
    for size in range(max(cells.rank - 1, 0)):
        threshold = values.max(initial=0.0) if floor is None else floor
        known = values[candidates.positions]
        is_open = candidates.bounds > np.maximum(threshold, known)
        faces = np.array([comb(k, size) for k in range(candidates.most_facets + 1)])
        faces = np.where(is_open, faces[candidates.facet_counts], 0)
        chosen = np.flatnonzero(is_open & (np.cumsum(faces) <= budget))
        budget -= int(faces[chosen].sum())
        tasks, work = candidates.tasks(chosen, known, faces)
        found = run_on_blocks(
            _look_at_faces, blocks, tasks, (point, size), executor, work
        )
        for (number, _), (local, new, vectors) in zip(tasks, found, strict=True):
            better = blocks.blocks[number].positions[local]
            values[better], directions[better] = new, vectors
    return CellDirections(values, directions)


def values_at(problem: TrainingProblem, Z: Array, directions: Array) -> Array:
    """Return ``|Z^T sigma(X u)|`` at unit vectors (m, r), scaled.

    Parameters
    ----------
    problem : TrainingProblem
        The data.
    Z : (n, c) array
        A dual point in scaled units.
    directions : (m, r) array
        Unit vectors.
    """
    hidden = problem.scaled.hidden(directions.T)[: len(Z)]
    return np.linalg.norm(hidden.T @ Z, axis=1)


def best_ray_value(problem: TrainingProblem, cells: Cells, Z: Array) -> float:
    """Return the largest ``|Z^T sigma(X u)|`` at a ray of a cell, scaled.

    Much cheaper than :func:`best_directions`, and no more than rho.

    Parameters
    ----------
    problem, cells, Z
        As for :func:`best_directions`.
    """
    scaled = problem.scaled
    table = cells.ray_table @ (scaled.basis.T @ cells.basis).T
    return float(values_at(problem, Z, table).max(initial=0.0))


class _BlockRays(NamedTuple):
    """What a block's rays say.

    Attributes
    ----------
    values, rays : (B,) arrays
        Largest value at a ray of each cell, and which ray of the block that is.
    open_cells : (k,) int array
        Cells that may exceed both that and the threshold.
    bounds : (k,) array
        Upper bounds of theirs.
    """

    values: Array
    rays: Indices
    open_cells: Indices
    bounds: Array


def _look_at_rays(
    block: CellBlock, point: DualPoint, least: float, only_largest: bool
) -> _BlockRays:
    maps = point.maps(block)
    values, rays = maps.best_at_rays()
    if only_largest:
        least = max(least, float(values.max(initial=0.0)))
    threshold = np.maximum(least, values)
    upper = cheap_bounds(maps, values, 0.0, threshold)
    is_open = np.flatnonzero(upper > threshold)
    return _BlockRays(values, rays.astype(np.int32), is_open, upper[is_open])


class _Candidates(NamedTuple):
    """Cells that are worth a look at their faces, largest bounds first.

    Attributes
    ----------
    blocks, local, positions : (k,) int arrays
        Their blocks, their places in these, and among all cells.
    bounds : (k,) array
        Upper bounds.
    facet_counts : (k,) int array
        Numbers of their facets.
    """

    blocks: Indices
    local: Indices
    positions: Indices
    bounds: Array
    facet_counts: Indices

    @classmethod
    def of(cls, blocks: tuple[CellBlock, ...], parts: list[_BlockRays]) -> _Candidates:
        """Return the open cells of all blocks."""
        none = np.zeros(0, dtype=np.intp)
        owner = np.repeat(np.arange(len(parts)), [len(p.open_cells) for p in parts])
        local = np.concatenate([none, *(part.open_cells for part in parts)])
        both = list(zip(blocks, parts, strict=True))
        positions = np.concatenate(
            [none, *(b.positions[p.open_cells] for b, p in both)]
        )
        bounds = np.concatenate([np.zeros(0), *(part.bounds for part in parts)])
        counts = np.concatenate(
            [none, *(np.diff(b.facet_indptr)[p.open_cells] for b, p in both)]
        )
        order = np.lexsort((positions, -bounds))
        return cls(
            owner[order], local[order], positions[order], bounds[order], counts[order]
        )

    @property
    def most_facets(self) -> int:
        """Largest number of facets."""
        return int(self.facet_counts.max(initial=0))

    def tasks(
        self, chosen: Indices, known: Array, faces: Indices
    ) -> tuple[list[tuple[int, tuple[Indices, Array]]], list[float]]:
        """Return tasks for some of the cells, and their work.

        Parameters
        ----------
        chosen : (m,) int array
            Which.
        known : (k,) array
            Values of all so far.
        faces : (k,) int array
            Faces of all.
        """
        # Cells of one shape together, as they are looked at.
        chosen = chosen[
            np.lexsort((chosen, self.facet_counts[chosen], self.blocks[chosen]))
        ]
        tasks, work = [], []
        starts = np.flatnonzero(np.diff(self.blocks[chosen], prepend=-1))
        for group in np.split(chosen, starts[1:]) if len(chosen) else []:
            for start in range(0, len(group), _TASK_CELLS):
                part = group[start : start + _TASK_CELLS]
                tasks.append(
                    (int(self.blocks[part[0]]), (self.local[part], known[part]))
                )
                work.append(_FACE_WORK * float(faces[part].sum()))
        return tasks, work


def _look_at_faces(
    block: CellBlock, point: DualPoint, size: int, cells: Indices, values: Array
) -> tuple[Indices, Array, Array]:
    """Return better directions on the faces of some cells on `size` facets each.

    Parameters
    ----------
    block, point
        The cells and the dual point.
    size : int
        How many facets.
    cells : (m,) int array
        Which cells of the block.
    values : (m,) array
        Their values so far.

    Returns
    -------
    (k,) int array, (k,) array, (k, r) array
        Which cells have better ones, the values and the unit vectors.
    """
    search = _FaceSearch(block, point, cells, values.copy())
    counts = np.diff(block.facet_indptr)[cells]
    for count in np.unique(counts).tolist():
        subsets = np.array(list(combinations(range(count), size)), dtype=np.intp)
        if not len(subsets):
            continue
        group = np.flatnonzero(counts == count)
        width = len(subsets) * point.rotation.shape[1] * (size + 1 + sum(search.shape))
        step = max(1, CHUNK_FLOATS // (2 * width))
        for start in range(0, len(group), step):
            search.look(group[start : start + step], count, subsets)
    better = np.flatnonzero(search.values > values)
    return cells[better], search.values[better], search.directions[better]


class _FaceSearch:
    """Some cells of a block and the best direction of each so far."""

    def __init__(
        self, block: CellBlock, point: DualPoint, cells: Indices, values: Array
    ) -> None:
        self.block, self.cells, self.values = block, cells, values
        self.rotation = point.rotation
        self.maps = point.maps(block)
        self.shape = self.maps.shape
        self.directions = np.zeros((len(cells), self.shape[0]))

    def look(self, part: Indices, count: int, subsets: Indices) -> None:
        """Look at faces of cells with the same number of facets."""
        block, cells = self.block, self.cells[part]
        starts = block.facet_indptr[cells]
        classes = block.facet_indices[starts[:, None] + np.arange(count)]
        normals = block.normals[classes]
        # J_i projected on the span of each face, in the coordinates of the cells.
        span = _orthonormal(normals[:, subsets])
        maps = (self.rotation.T @ self.maps.maps(cells))[:, None]
        maps = maps - np.swapaxes(span, -1, -2) @ (span @ maps)
        # No face exceeds the norm of its map; those that may are few.
        bound = np.einsum("psrc,psrc->ps", maps, maps)
        owner, face = np.nonzero(bound > self.values[part, None] ** 2)
        top, vectors = _top_singular(maps[owner, face])
        exceeds = top > self.values[part][owner]
        owner, vectors = owner[exceeds], vectors[exceeds]
        # Of u and -u the one that lies in the cell, if one does.
        signs = np.where(has_bit(block.packed, cells[:, None], classes), 1.0, -1.0)
        products = np.einsum("mr,mkr->mk", vectors, (normals * signs[..., None])[owner])
        turned = np.where(products.sum(axis=1) < 0.0, -1.0, 1.0)
        inside = (products * turned[:, None]).min(axis=1, initial=1.0) >= -_INSIDE
        if inside.any():
            vectors = (vectors * turned[:, None])[inside] @ self.rotation.T
            self.keep(part[owner[inside]], vectors)

    def keep(self, owner: Indices, directions: Array) -> None:
        """Keep the best of given unit vectors (m, r) of cells `owner` (m,)."""
        values = self.maps.values(directions)
        # The last of equal owners wins: that of the largest value.
        order = np.argsort(values, kind="stable")
        best = np.full(len(self.values), -1)
        best[owner[order]] = order
        better = np.flatnonzero((best >= 0) & (values[best] > self.values))
        self.values[better] = values[best[better]]
        self.directions[better] = directions[best[better]]


def _orthonormal(rows: Array) -> Array:
    """Return orthonormal rows (..., k, r) with the span of given ones.

    Twice by Gram and Schmidt; rows that depend on others come out as anything.
    """
    result = rows.copy()
    for i in range(rows.shape[-2]):
        row = result[..., i, :]
        for _ in range(2 if i else 0):
            before = result[..., :i, :]
            inner = np.einsum("...kr,...r->...k", before, row)
            row = row - np.einsum("...k,...kr->...r", inner, before)
            size = np.linalg.norm(row, axis=-1, keepdims=True)
            row = row / np.maximum(size, 1e-300)
        result[..., i, :] = row
    return result


def _top_singular(maps: Array) -> tuple[Array, Array]:
    """Return the largest singular value (m,) and its left vector (m, r).

    By the smaller Gram matrix: its eigenvectors are as good, where they are well
    separated, and its eigenvalues cost a third.
    """
    m, r, c = maps.shape
    if not m or not min(r, c):
        return np.zeros(m), np.zeros((m, r))
    transposed = np.swapaxes(maps, 1, 2)
    squares, vectors = np.linalg.eigh(transposed @ maps if c < r else maps @ transposed)
    top = np.sqrt(np.maximum(squares[:, -1], 0.0))
    left = vectors[..., -1]
    if c < r:
        left = np.einsum("mrc,mc->mr", maps, left)
        size = np.linalg.norm(left, axis=1, keepdims=True)
        left = left / np.maximum(size, 1e-300)
    return top, left
