r"""What a dual point makes of every cell, in chunks: the maps J_i.

.. math:: J_i = X^T (s_- I + (s_+ - s_-) D_i) Z

so that :math:`|J_i^T u|` is :math:`|Z^T \sigma(X u)|` for u in the cell.

Large sets of cells are cut into blocks of neighbours once, and every dual point is
looked at block by block: neighbours share rays, and what a block needs fits into the
cache of a processor.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4
from weakref import WeakKeyDictionary

import numpy as np

from pyomo_relu.activations import Activation
from pyomo_relu.arrangement import Cells
from pyomo_relu.arrangement.cells import take_rows

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = [
    "CellBlock",
    "CellBlocks",
    "CellMaps",
    "DualPoint",
    "cell_blocks",
    "cheap_bounds",
    "entrywise_bound",
    "first_look",
    "ray_bound",
    "spectral_bound",
]

#: Floats that one chunk of cells may take: 64 MB.
CHUNK_FLOATS = 8_000_000
#: Floats that one chunk of hidden layers may take: a quarter of a megabyte, a cache.
_CACHE_FLOATS = 32_768
#: Most cells of a block; the smallest has half as many.
BLOCK_CELLS = 40_000
#: Rays of a first look, and how many of the best are climbed from, with how many steps.
_LOOKS, _CLIMBS, _STEPS = 4_096, 64, 30


@dataclass(frozen=True, eq=False)
class CellBlock:
    """Some cells with tables of their own: what :class:`CellMaps` needs of `Cells`.

    About 150 bytes a cell in rank 4.

    Attributes
    ----------
    positions : (B,) int array
        Where these cells are among all.
    spread : (B,) array
        ``1 / g_i`` where some unit vector has inner products of at least g_i > 0 with
        all rays of the cell: a unit vector ``sum_j a_j ray_j`` of the cell has
        ``sum_j a_j <= spread``. Infinite where no such vector is known.
    normals, sample_class, sample_sign, packed : arrays
        As in `Cells`.
    ray_table, ray_indptr, ray_indices, facet_indptr, facet_indices : arrays
        As in `Cells`; only the rays of these cells.
    """

    positions: Indices
    spread: Array
    normals: Array
    sample_class: Indices
    sample_sign: np.ndarray[Any, np.dtype[np.int8]]
    packed: np.ndarray[Any, np.dtype[np.uint8]]
    ray_table: Array
    ray_indptr: Indices
    ray_indices: Indices
    facet_indptr: Indices
    facet_indices: Indices

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class CellBlocks:
    """Blocks that cover a set of cells, under a name that no other set has.

    Attributes
    ----------
    token : str
        The name.
    blocks : tuple of CellBlock
        The blocks.
    """

    token: str
    blocks: tuple[CellBlock, ...]


@dataclass(frozen=True, eq=False)
class DualPoint:
    """A dual point, the samples and what joins them: small, unlike the cells.

    Attributes
    ----------
    X, Z, rotation, activation
        As for :class:`CellMaps`.
    """

    X: Array
    Z: Array
    rotation: Array
    activation: Activation

    def maps(self, block: CellBlock) -> CellMaps:
        """Return the maps of a block."""
        return CellMaps(block, self.X, self.Z, self.rotation, self.activation)


_blocks: WeakKeyDictionary[Cells, CellBlocks] = WeakKeyDictionary()


def cell_blocks(cells: Cells) -> CellBlocks:
    """Return the cells in blocks, made once and kept as long as the cells.

    Parameters
    ----------
    cells : Cells
        All cells or some. Up to `BLOCK_CELLS` of them are one block.
    """
    found = _blocks.get(cells)
    if found is None:
        parts = _neighbourhoods(cells.interior_points)
        found = CellBlocks(uuid4().hex, tuple(_block(cells, part) for part in parts))
        _blocks[cells] = found
    return found


def _neighbourhoods(points: Array) -> list[Indices]:
    """Cut points (P, r) into parts of neighbours: halves along a wide axis."""
    done = []
    stack = [np.arange(len(points))]
    while stack:
        part = stack.pop()
        if len(part) <= BLOCK_CELLS:
            done.append(np.sort(part))
            continue
        some = points[part[:: 1 + len(part) // 1_000]]
        half = len(part) // 2
        order = np.argpartition(points[part, np.ptp(some, axis=0).argmax()], half)
        stack += [part[order[half:]], part[order[:half]]]
    return done


def _block(cells: Cells, part: Indices) -> CellBlock:
    table, rays = cells.ray_table, (cells.ray_indptr, cells.ray_indices)
    packed, facets = cells.packed, (cells.facet_indptr, cells.facet_indices)
    if len(part) < len(cells):
        packed, facets = packed[part], take_rows(*facets, part)
        indptr, indices = take_rows(*rays, part)
        used = np.zeros(len(table), dtype=bool)
        used[indices] = True
        kept = np.flatnonzero(used)
        place = np.empty(len(table), dtype=np.int32)
        place[kept] = np.arange(len(kept), dtype=np.int32)
        table, rays = table[kept], (indptr, place[indices])
    return CellBlock(
        part,
        _spread(table, *rays),
        cells.normals,
        cells.sample_class,
        cells.sample_sign,
        packed,
        table,
        *rays,
        *facets,
    )


def _spread(table: Array, indptr: Indices, indices: Indices) -> Array:
    """Return the spread of each cell, by the middle of its rays."""
    spread = np.full(len(indptr) - 1, np.inf)
    counts = np.diff(indptr)
    some = np.flatnonzero(counts)
    if not some.size:
        return spread
    vectors = table[indices]
    middle = np.add.reduceat(vectors, indptr[some], axis=0)
    middle /= np.maximum(np.linalg.norm(middle, axis=1), 1e-300)[:, None]
    products = np.einsum("kr,kr->k", vectors, np.repeat(middle, counts[some], axis=0))
    # Inner products of unit vectors, rounded.
    rounding = 8.0 * (table.shape[1] + 2) * np.finfo(float).eps
    least = np.minimum.reduceat(products, indptr[some]) - rounding
    wide = least > 0.0
    spread[some[wide]] = 1.0 / least[wide]
    return spread


class CellMaps:
    """The maps ``J_i`` of a dual point, and the rays, in given coordinates.

    Nothing is kept for each cell: maps are made in chunks of bounded memory.

    Parameters
    ----------
    cells : Cells or CellBlock
        The cells.
    X : (N, r) array
        Rows of the arrangement, in the coordinates of `rotation`.
    Z : (N, c) array
        Dual point, a row for each of them.
    rotation : (r, r') array
        Maps the cells' reduced coordinates to those of `X`.
    activation : Activation
        The activation.
    """

    def __init__(
        self,
        cells: Cells | CellBlock,
        X: Array,
        Z: Array,
        rotation: Array,
        activation: Activation,
    ) -> None:
        self.cells = cells
        self.X, self.Z, self.activation = X, Z, activation
        self.rotation = rotation
        self.shape = (X.shape[1], Z.shape[1])
        products = np.einsum("kr,kc->krc", X, Z).reshape(len(X), -1)
        # J_i sums x_k z_k^T over active samples: those on the positive side of their
        # class and, where they point against its normal, those on the negative side.
        sign = cells.sample_sign
        self.by_class = np.zeros((len(cells.normals), products.shape[1]))
        used = sign != 0
        np.add.at(
            self.by_class, cells.sample_class[used], sign[used, None] * products[used]
        )
        self.offset = products[sign < 0].sum(axis=0)
        if activation.step != 1.0:
            self.by_class *= activation.step
            self.offset = activation.step * self.offset
        if activation.negative != 0.0:
            self.offset = self.offset + activation.negative * products.sum(axis=0)
        self.rays = cells.ray_table @ rotation.T
        self.normals = cells.normals @ rotation.T

    def maps(self, indices: Indices) -> Array:
        """Return ``J_i`` (cells, r, c) of the given cells."""
        signs = np.unpackbits(
            self.cells.packed[indices], axis=1, count=len(self.by_class)
        )
        return (signs @ self.by_class + self.offset).reshape(-1, *self.shape)

    def chunks(self, indices: Indices) -> Iterator[tuple[Indices, Array]]:
        """Yield ``J_i`` over the given cells in pieces of bounded memory."""
        width = len(self.by_class) + 2 * self.by_class.shape[1]
        size = max(1, CHUNK_FLOATS // width)
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            yield part, self.maps(part)

    def values(self, directions: Array) -> Array:
        """Return ``|Z^T sigma(X u)|`` at vectors (m, r), in chunks."""
        values = np.empty(len(directions))
        floats = min(CHUNK_FLOATS, max(_CACHE_FLOATS, 64 * len(self.X)))
        size = max(1, floats // max(len(self.X), 1))
        for start in range(0, len(directions), size):
            part = slice(start, start + size)
            images = self.Z.T @ self.activation(self.X @ directions[part].T)
            np.einsum("cm,cm->m", images, images, out=values[part])
        return np.sqrt(values, out=values)

    def best_at_rays(self) -> tuple[Array, Indices]:
        """Return the largest value at a ray of each cell, and which ray that is.

        Neighbours share rays: each is looked at once.
        """
        cells = self.cells
        at_rays = self.values(self.rays)
        counts = np.diff(cells.ray_indptr)
        found = at_rays[cells.ray_indices]
        best = np.zeros(len(cells))
        ray = np.zeros(len(cells), dtype=np.intp)
        some = np.flatnonzero(counts)
        if some.size:
            best[some] = np.maximum.reduceat(found, cells.ray_indptr[some])
            owners = np.repeat(np.arange(len(cells)), counts)
            place = np.flatnonzero(found == best[owners])
            owner = owners[place]
            # The first of equal ones: assigned last.
            ray[owner[::-1]] = cells.ray_indices[place[::-1]]
        return best, ray

    def ray_pairs(self, indices: Indices) -> tuple[Indices, Indices]:
        """Return (position in `indices`, ray) for every ray of the given cells."""
        start = self.cells.ray_indptr[indices]
        count = self.ray_counts(indices)
        owner = np.repeat(np.arange(len(indices)), count)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        return owner, self.cells.ray_indices[start[owner] + within]

    def ray_counts(self, indices: Indices) -> Indices:
        """Return the number of rays of the given cells."""
        indptr = self.cells.ray_indptr
        return indptr[indices + 1] - indptr[indices]

    def geometry(self, i: int) -> tuple[Array, Array]:
        """Return rays (r, m) and oriented unit facet normals (k, r) of one cell."""
        cells = self.cells
        rays = cells.ray_indices[cells.ray_indptr[i] : cells.ray_indptr[i + 1]]
        facets = cells.facet_indices[cells.facet_indptr[i] : cells.facet_indptr[i + 1]]
        signs = np.unpackbits(cells.packed[i], count=len(self.by_class))[facets]
        oriented = np.where(signs, 1.0, -1.0)[:, None] * self.normals[facets]
        return self.rays[rays].T, oriented


def first_look(blocks: CellBlocks, point: DualPoint, *, climb: bool) -> float:
    r"""Return a value of ``|Z^T sigma(X u)|`` that few cells exceed.

    The best of some rays, and of a power iteration from them if wanted,
    :math:`u \leftarrow J J^T u / |J J^T u|` with the J of the cell that u is in.

    Parameters
    ----------
    blocks : CellBlocks
        The cells.
    point : DualPoint
        The dual point.
    climb : bool
        Whether to iterate, which may leave the cells if they are not all.
    """
    total = sum(len(block.ray_table) for block in blocks.blocks)
    step = max(1, total // _LOOKS)
    tables = [block.ray_table[::step] for block in blocks.blocks]
    if not sum(map(len, tables)):
        return 0.0
    u = np.concatenate(tables) @ point.rotation.T
    hidden = point.activation(point.X @ u.T)
    values = np.linalg.norm(point.Z.T @ hidden, axis=0)
    best = float(values.max())
    u = u[np.argsort(-values, kind="stable")[:_CLIMBS]].T
    for _ in range(_STEPS if climb else 0):
        inner = point.X @ u
        slopes = point.activation.slopes(inner)
        images = point.Z.T @ (slopes * inner)
        u = point.X.T @ (slopes * (point.Z @ images))
        u /= np.maximum(np.linalg.norm(u, axis=0), 1e-300)
        hidden = point.activation(point.X @ u)
        best = max(best, float(np.linalg.norm(point.Z.T @ hidden, axis=0).max()))
    return best


def cheap_bounds(
    context: CellMaps, best: Array, error: float, threshold: Array | float
) -> Array:
    """Bound every cell of a block by the cheapest test that decides it.

    The rays', then the Frobenius norm, the spectral norm and the entrywise test, each
    of the cells that are still above a threshold.

    Parameters
    ----------
    context, best, error
        As for :func:`ray_bound`.
    threshold : (B,) array or float
        What a bound need not be less than.
    """
    upper = ray_bound(context, best, error)
    for refine in (
        lambda _, J: np.linalg.norm(J, axis=(1, 2)),
        lambda _, J: spectral_bound(J),
        lambda part, J: entrywise_bound(context, part, J),
    ):
        for part, J in context.chunks(np.flatnonzero(upper > threshold)):
            upper[part] = np.minimum(upper[part], refine(part, J))
    return upper


def ray_bound(context: CellMaps, best: Array, error: float) -> Array:
    """Bound by the largest value at a ray, times what a unit vector sums up of rays.

    Parameters
    ----------
    context : CellMaps
        Maps of a block.
    best : (B,) array
        Largest value at a ray of each cell.
    error : float
        How far these may be from ``|J_i^T r|``.
    """
    block = context.cells
    assert isinstance(block, CellBlock)
    # A rotation into the coordinates of X that shortens vectors is paid for.
    rotation = context.rotation
    shortest = 0.0
    if 0 < rotation.shape[1] <= rotation.shape[0]:
        shortest = float(np.linalg.svd(rotation, compute_uv=False)[-1])
    shortest -= 8.0 * len(rotation) * np.finfo(float).eps
    if shortest <= 0.0:
        return np.full(len(block), np.inf)
    bound = np.full(len(block), np.inf)
    known = np.isfinite(block.spread)
    bound[known] = (best[known] + error) * block.spread[known] / shortest
    return bound


def spectral_bound(J: Array) -> Array:
    """Bound by the largest singular value: the cone forgotten.

    It is the root of an eigenvalue of the smaller Gram matrix, which costs a third of
    a singular value; rounding, a few units of the Frobenius norm squared, is added.

    Parameters
    ----------
    J : (k, r, c) array
        Maps of some cells.
    """
    _, r, c = J.shape
    if min(r, c) == 0:
        return np.zeros(len(J))
    transposed = np.swapaxes(J, 1, 2)
    grams = transposed @ J if c < r else J @ transposed
    largest = np.linalg.eigvalsh(grams)[:, -1]
    rounding = 8.0 * (r + c) * np.finfo(float).eps
    return np.sqrt(
        np.maximum(largest, 0.0) + rounding * np.trace(grams, axis1=1, axis2=2)
    )


def entrywise_bound(context: CellMaps, part: Indices, J: Array) -> Array:
    r"""Bound by the least t with ``t G - S >= 0`` entrywise, where there is one.

    Parameters
    ----------
    context : CellMaps
        The maps.
    part : (k,) int array
        Cells.
    J : (k, r, c) array
        Their maps.

    With ``G = R^T R`` and ``S = R^T J J^T R``, nonnegative combinations ``u = R a``
    then have ``|J^T u|^2 = a^T S a <= t a^T G a = t |u|^2``.
    """
    bound = np.full(len(part), np.inf)
    counts = context.ray_counts(part)
    for m in np.unique(counts):
        rows = np.flatnonzero(counts == m)
        _, ray = context.ray_pairs(part[rows])
        R = context.rays[ray].reshape(len(rows), m, -1)
        G = R @ R.transpose(0, 2, 1)
        at_rays = R @ J[rows]
        S = at_rays @ at_rays.transpose(0, 2, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = S / G
        # Products of unit vectors this small have no trusted sign.
        flat = np.abs(G) <= 1e-12
        least = np.where((G > 0) & ~flat, quotient, 0.0).max(axis=(1, 2))
        most = np.where((G < 0) & ~flat, quotient, np.inf).min(axis=(1, 2))
        # A nonpositive S with G about zero needs -S >= t |G|: ask for a margin.
        blocked = (flat & (-1e-12 * np.abs(least)[:, None, None] < S)).any(axis=(1, 2))
        fits = (least <= most) & ~blocked
        bound[rows] = np.where(fits, np.sqrt(np.maximum(least, 0.0)), np.inf)
    return bound
