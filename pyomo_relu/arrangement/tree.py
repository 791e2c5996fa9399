"""Spanning trees of cells, for sparse sums over them.

A prediction ``sum_i D_i X V_i`` touches every cell in which a sample is active. With
the subtree sums ``S_i = V_i + sum of S_j over the children j`` of a spanning tree it is

    x_k^T (D_root,k S_root + sum over edges (i -> j) that change sample k of +-S_j),

the sign being + where the sample becomes active. Edges between neighbouring cells
change one class only. Design, "Tree sums".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components

from pyomo_relu.arrangement.masks import (
    CHUNK_ENTRIES,
    ByteArray,
    IntArray,
    MaskIndex,
    SignHash,
    unpack,
)

__all__ = ["Tree", "build_tree"]


@dataclass(frozen=True)
class Tree:
    """A rooted spanning tree of P cells; positions count within the given cells.

    Attributes
    ----------
    order : (P,) int64 ndarray
        The positions, the root first and every parent before its children.
    parent : (P,) int64 ndarray
        Position of the parent of each position, -1 for the root.
    flip_indptr : (P + 1,) int64 ndarray
    flip_classes : int64 ndarray
        CSR from positions to the classes whose sign differs from the parent's; none for
        the root.
    sample_indptr : (P + 1,) int64 ndarray
    sample_indices : int64 ndarray
    sample_signs : int8 ndarray
        CSR from positions to the samples of these classes, and +1 where the sample is
        active in the cell and not in its parent, -1 where it is the other way round:
        ``D_position = D_parent + sum of sign e_k e_k^T``.
    """

    order: IntArray
    parent: IntArray
    flip_indptr: IntArray
    flip_classes: IntArray
    sample_indptr: IntArray
    sample_indices: IntArray
    sample_signs: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.order)

    @property
    def root(self) -> int:
        """Position of the root."""
        return int(self.order[0])

    def flips(self, position: int) -> IntArray:
        """Return the classes that differ between a position and its parent."""
        start, stop = self.flip_indptr[position : position + 2]
        return self.flip_classes[start:stop]


def build_tree(
    packed: ByteArray,
    sample_class: IntArray,
    sample_sign: NDArray[np.int8],
    facets: tuple[IntArray, IntArray] | None = None,
) -> Tree:
    """Return a spanning tree of cells with few changes of samples along its edges.

    Cells that differ in one class are joined first (breadth first from the root). If
    that leaves several components they are linked by a minimum spanning tree between
    them, the length of a link being the number of samples that differ (Boruvka's
    rounds; time P^2 n a round, memory 4 P n bytes and chunks).

    Parameters
    ----------
    packed : (P, B) uint8 ndarray
        Distinct packed class signs, P >= 1.
    sample_class, sample_sign : (n,) ndarray
        See `Cells`.
    facets : (indptr, classes), optional
        The classes worth flipping in each cell; all of them by default.
    """
    total, count = len(packed), int(sample_class.max()) + 1
    per_class = np.bincount(sample_class[sample_class >= 0], minlength=count)
    start, stop = _neighbours(packed, count, facets)
    label = connected_components(_graph(start, stop, total), directed=False)[1]
    if label.max() > 0:
        links = _link_components(packed, label, per_class)
        # A tree inside each component plus the links; all of it is one tree after the
        # breadth-first search below only if no other edge is left.
        inside = _forest(start, stop, total, label)
        start, stop = (np.concatenate(pair) for pair in zip(inside, links, strict=True))
    root = _least_active(packed, sample_class, sample_sign, count)
    order, parent = breadth_first_order(
        _graph(start, stop, total), root, directed=False, return_predecessors=True
    )
    parent = parent.astype(np.int64)
    parent[root] = -1
    return _with_changes(packed, order, parent, sample_class, sample_sign, count)


def _graph(start: IntArray, stop: IntArray, total: int) -> csr_matrix:
    ones = np.ones(len(start), dtype=np.int8)
    return coo_matrix((ones, (start, stop)), shape=(total, total)).tocsr()


def _neighbours(
    packed: ByteArray, count: int, facets: tuple[IntArray, IntArray] | None
) -> tuple[IntArray, IntArray]:
    """Return the pairs of cells that differ in one class."""
    index = MaskIndex(packed, SignHash(count))
    starts, stops = [], []
    step = max(1, CHUNK_ENTRIES // count)
    for first in range(0, len(packed), step):
        last = min(first + step, len(packed))
        if facets is None:
            row = np.repeat(np.arange(first, last), count)
            bit = np.tile(np.arange(count), last - first)
        else:
            indptr, classes = facets
            row = np.repeat(np.arange(first, last), np.diff(indptr[first : last + 1]))
            bit = classes[indptr[first] : indptr[last]]
        found = index.find_flips(row, bit)
        once = found > row
        starts.append(row[once])
        stops.append(found[once])
    return np.concatenate(starts), np.concatenate(stops)


def _forest(
    start: IntArray, stop: IntArray, total: int, label: IntArray
) -> tuple[IntArray, IntArray]:
    """Return the edges of a breadth-first tree of each component.

    A node of its own, joined to one cell of each component, makes one search of many.
    """
    entry = np.unique(label, return_index=True)[1]
    graph = _graph(
        np.concatenate([start, np.full(len(entry), total)]),
        np.concatenate([stop, entry]),
        total + 1,
    )
    parent = breadth_first_order(
        graph, total, directed=False, return_predecessors=True
    )[1][:total]
    child = np.flatnonzero(parent < total)
    return parent[child].astype(np.int64), child


def _link_components(
    packed: ByteArray, label: IntArray, per_class: IntArray
) -> tuple[IntArray, IntArray]:
    """Return the shortest links that join all components to one (Boruvka)."""
    total, count = len(packed), len(per_class)
    # Inner products of these are (number of equal samples) - (number of others).
    signs = unpack(packed, count).astype(np.float32)
    signs *= 2
    signs -= 1
    signs *= np.sqrt(per_class, dtype=np.float32)
    step = max(1, 2 * CHUNK_ENTRIES // total)
    links: list[tuple[int, int]] = []
    label = label.copy()
    while label.max() > 0:
        near = np.empty(total, dtype=np.int64)
        alike = np.empty(total, dtype=np.float32)
        for first in range(0, total, step):
            part = slice(first, first + step)
            product = signs[part] @ signs.T
            product[label[part, None] == label[None, :]] = -np.inf
            near[part] = product.argmax(axis=1)
            alike[part] = product[np.arange(len(product)), near[part]]
        by_length = np.lexsort((-alike, label))
        best = by_length[np.unique(label[by_length], return_index=True)[1]]
        # Equal lengths could close a circle: shortest first, as Kruskal does.
        best = best[np.argsort(-alike[best], kind="stable")]
        joined = np.arange(label.max() + 1)
        for cell in best.tolist():
            here, there = _find(joined, label[cell]), _find(joined, label[near[cell]])
            if here != there:
                joined[here] = there
                links.append((cell, int(near[cell])))
        top = np.array([_find(joined, k) for k in range(len(joined))])
        label = np.unique(top[label], return_inverse=True)[1].reshape(-1)
    pairs = np.array(links, dtype=np.int64)
    return pairs[:, 0], pairs[:, 1]


def _find(joined: IntArray, item: int) -> int:
    while joined[item] != item:
        joined[item] = joined[joined[item]]
        item = joined[item]
    return int(item)


def _least_active(
    packed: ByteArray,
    sample_class: IntArray,
    sample_sign: NDArray[np.int8],
    count: int,
) -> int:
    """Return the first cell with the fewest active samples: a sparse root row."""
    # A positive class activates its samples of sign +1, a negative one the others.
    tally = np.bincount(
        sample_class[sample_class >= 0],
        sample_sign[sample_class >= 0].astype(np.float64),
        minlength=count,
    )
    step = max(1, CHUNK_ENTRIES // count)
    active = np.concatenate(
        [
            unpack(packed[first : first + step], count) @ tally
            for first in range(0, len(packed), step)
        ]
    )
    return int(active.argmin())


def _with_changes(
    packed: ByteArray,
    order: IntArray,
    parent: IntArray,
    sample_class: IntArray,
    sample_sign: NDArray[np.int8],
    count: int,
) -> Tree:
    """Add to a tree what changes along its edges."""
    total = len(packed)
    of_class = np.argsort(sample_class, kind="stable")
    of_class = of_class[sample_class[of_class] >= 0]
    bounds = np.searchsorted(sample_class[of_class], np.arange(count + 1))
    positions, classes, after = [], [], []
    step = max(1, CHUNK_ENTRIES // count)
    for first in range(0, total, step):
        part = slice(first, first + step)
        up = np.where(parent[part] < 0, np.arange(total)[part], parent[part])
        position, flipped = np.nonzero(unpack(packed[part] ^ packed[up], count))
        positions.append(first + position)
        classes.append(flipped)
        after.append(unpack(packed[part], count)[position, flipped])
    position, flipped = np.concatenate(positions), np.concatenate(classes)
    became = np.where(np.concatenate(after), 1, -1).astype(np.int8)
    size = np.diff(bounds)[flipped]
    begin = np.cumsum(size) - size
    samples = of_class[np.repeat(bounds[flipped] - begin, size) + np.arange(size.sum())]
    return Tree(
        order=order.astype(np.int64),
        parent=parent,
        flip_indptr=_indptr(position, total),
        flip_classes=flipped,
        sample_indptr=_indptr(np.repeat(position, size), total),
        sample_indices=samples,
        sample_signs=np.repeat(became, size) * sample_sign[samples],
    )


def _indptr(position: IntArray, total: int) -> IntArray:
    counts = np.bincount(position, minlength=total)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
