"""Rays and cells of many arrangements of equal size at once.

A ray of a central arrangement of rank s is the null vector u of s - 1 independent
normals. Its sign is known on every class it does not lie on; the cells around it differ
on the classes that vanish there, and these form an arrangement of rank s - 1 in the
orthogonal complement of u. If exactly s - 1 classes vanish (a *simple* vertex) all
2^(s-1) sign patterns occur; otherwise the recursion finds them, for all vertices with
the same number of vanishing classes together. Design, "Cells".

Which classes vanish is decided by the determinant of s unit normals. As it does not
depend on which s - 1 of them gave u, all subsets that meet in a vertex decide alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np

from pyomo_relu.arrangement.masks import (
    CHUNK_ENTRIES,
    BoolArray,
    ByteArray,
    FloatArray,
    IntArray,
    SignHash,
    complement,
    flip_bit,
    unpack,
)
from pyomo_relu.errors import DegenerateDataError

__all__ = [
    "CONTRADICTION",
    "Incidences",
    "VertexGroup",
    "all_subsets",
    "find_vertices",
    "incidences_of",
    "local_signs",
    "null_vectors",
]

CONTRADICTION = (
    "The rows of X are so close to degenerate that the decisions made with this "
    "tolerance contradict each other. Use a larger tolerance (it merges rows that are "
    "nearly parallel; what that changes is reported as perturbation), a smaller one, "
    "or round the data."
)

# From here on 2^s minors cost more than a QR factorisation.
_LARGEST_LAPLACE = 7


def all_subsets(count: int, size: int) -> IntArray:
    """Return all subsets (comb(count, size), size) of range(count), sorted."""
    subsets = np.zeros((1, 0), dtype=np.int32)
    for used in range(size):
        # Every prefix is continued by all later elements that leave room for the rest.
        last = subsets[:, -1] if used else np.full(1, -1)
        choices = count - (size - used - 1) - 1 - last
        parent = np.repeat(np.arange(len(subsets)), choices)
        first = np.repeat(np.cumsum(choices) - choices, choices)
        step = np.arange(len(parent)) - first
        new = (last[parent] + 1 + step).astype(np.int32)
        subsets = np.column_stack([subsets[parent], new])
    return subsets


def null_vectors(rows: FloatArray) -> FloatArray:
    """Return the vectors of signed maximal minors.

    Parameters
    ----------
    rows : (M, s - 1, s) ndarray
        Unit rows.

    Returns
    -------
    (M, s) ndarray
        w orthogonal to the s - 1 rows, its length their volume, such that
        ``det([rows; h]) = +-w @ h`` for every h.
    """
    m, _, s = rows.shape
    if s > _LARGEST_LAPLACE:
        q, r = np.linalg.qr(np.swapaxes(rows, 1, 2), mode="complete")
        volume = np.abs(np.einsum("mkk->mk", r[:, : s - 1])).prod(axis=1)
        vectors: FloatArray = q[:, :, -1] * volume[:, None]
        return vectors
    # Laplace expansion along the last row, all subsets at once; the minors of each
    # size are kept for the next.
    entry = np.ascontiguousarray(np.moveaxis(rows, 0, 2))
    minors: dict[tuple[int, ...], FloatArray] = {(): np.ones(m)}
    for k in range(s - 1):
        grown = {}
        for columns in combinations(range(s), k + 1):
            total = np.zeros(m)
            for place, column in enumerate(columns):
                rest = columns[:place] + columns[place + 1 :]
                term = entry[k, column] * minors[rest]
                if (k + place) % 2:
                    total -= term
                else:
                    total += term
            grown[columns] = total
        minors = grown
    result = np.empty((m, s))
    for column in range(s):
        rest = (*range(column), *range(column + 1, s))
        result[:, column] = minors[rest] if column % 2 == 0 else -minors[rest]
    return result


@dataclass
class VertexGroup:
    """Vertices (rays up to sign) on the same number z of classes.

    Attributes
    ----------
    owner : (V,) int ndarray
        Which arrangement of the batch.
    direction : (V, s) ndarray
        Unit vectors u; -u is the other ray.
    zeros : (V, z) int ndarray
        The classes that vanish at u.
    positive : (V, B) uint8 ndarray
        Packed classes that are positive at u; zeros have bit 0.
    hashes : (V,) int64 ndarray
        Hash of the sign vector of u.
    """

    owner: IntArray
    direction: FloatArray
    zeros: IntArray
    positive: ByteArray
    hashes: IntArray

    def __len__(self) -> int:
        return len(self.owner)


@dataclass
class Incidences:
    """Pairs (cell, ray +u of the cell) at the vertices of one group.

    Attributes
    ----------
    group : VertexGroup
        The vertices.
    vertex : (T,) int ndarray
        Position in the group.
    local : (T, z) bool ndarray
        Signs of the cell on the classes that vanish at the vertex.
    hashes : (T,) int64 ndarray
        Hash of the sign vector of the cell.
    """

    group: VertexGroup
    vertex: IntArray
    local: BoolArray
    hashes: IntArray

    def packed(self, rows: IntArray | slice) -> ByteArray:
        """Return the packed sign vectors of the cells of some pairs."""
        vertex, local = self.vertex[rows], self.local[rows]
        packed = self.group.positive[vertex]
        zeros = self.group.zeros
        for column in range(zeros.shape[1]):
            flip_bit(packed, zeros[vertex, column], where=local[:, column])
        return packed


def find_vertices(
    normals: FloatArray, tolerance: float, hasher: SignHash
) -> list[VertexGroup]:
    """Return the vertices of every arrangement of a batch, up to sign.

    Temporary memory: a few arrays of at most ``max(CHUNK_ENTRIES, q)`` entries, and for
    each non-simple subset its direction and its packed signs and zeros.

    Parameters
    ----------
    normals : (B, q, s) ndarray
        Unit normals, rank s in every arrangement, no two of them parallel.
    tolerance : float
        A determinant of s unit normals of at most this size is zero.
    hasher : SignHash
        For sign vectors of length q.

    Returns
    -------
    list of VertexGroup
        One group for each number of vanishing classes; first the simple ones, where
        there are any.
    """
    batch, q, s = normals.shape
    subsets = all_subsets(q, s - 1)
    simple: list[tuple[np.ndarray, ...]] = []
    other: list[tuple[np.ndarray, ...]] = []
    owners_step = max(1, CHUNK_ENTRIES // max(len(subsets) * q, 1))
    subsets_step = max(1, CHUNK_ENTRIES // q)
    for first in range(0, batch, owners_step):
        part = normals[first : first + owners_step]
        for start in range(0, len(subsets), subsets_step):
            chosen = subsets[start : start + subsets_step]
            shape = (len(part), len(chosen))
            rows = part[:, chosen].reshape(shape[0] * shape[1], s - 1, s)
            vector = null_vectors(rows)
            # det[t, k]: determinant of subset t and class k
            det = (vector.reshape(*shape, s) @ part.transpose(0, 2, 1)).reshape(-1, q)
            zero = np.abs(det) <= tolerance
            # Of its own subset a vector is the null vector, whatever rounding says.
            place = np.tile(chosen, (shape[0], 1))
            zero[np.arange(len(det))[:, None], place] = True
            volume = np.linalg.norm(vector, axis=1)
            count = zero.sum(axis=1)
            independent = volume > tolerance
            owner = first + np.repeat(np.arange(len(part)), len(chosen))
            det[zero] = 0.0
            for is_simple, store in ((True, simple), (False, other)):
                keep = np.flatnonzero(independent & ((count == s - 1) == is_simple))
                if not len(keep):
                    continue
                signs = np.sign(det[keep])
                store.append(
                    (
                        owner[keep],
                        vector[keep] / volume[keep, None],
                        place[keep] if is_simple else np.packbits(zero[keep], axis=1),
                        np.packbits(signs > 0, axis=1),
                        hasher.of_signs(signs),
                        volume[keep],
                    )
                )
    groups = []
    if simple:
        columns = [np.concatenate(column) for column in zip(*simple, strict=True)]
        groups.append(VertexGroup(*columns[:5]))
    if other:
        columns = [np.concatenate(column) for column in zip(*other, strict=True)]
        for group, members in _group_degenerate(*columns, q=q):
            _check_group(group, members, normals, tolerance)
            groups.append(group)
    return groups


def _group_degenerate(
    owner: IntArray,
    direction: FloatArray,
    zero: ByteArray,
    positive: ByteArray,
    hashes: IntArray,
    volume: FloatArray,
    *,
    q: int,
) -> Iterator[tuple[VertexGroup, IntArray]]:
    """Keep the best conditioned vector of each set of vanishing classes.

    With each group comes the number of subsets that met in each of its vertices.
    """
    key = np.column_stack([owner.astype(">u4").view(np.uint8).reshape(-1, 4), zero])
    key = np.ascontiguousarray(key).view(f"V{key.shape[1]}").reshape(-1)
    best_first = np.argsort(-volume, kind="stable")
    _, first, members = np.unique(
        key[best_first], return_index=True, return_counts=True
    )
    keep = best_first[first]
    bits = unpack(zero[keep], q)
    count = bits.sum(axis=1)
    for z in np.unique(count):
        at = np.flatnonzero(count == z)
        group = VertexGroup(
            owner=owner[keep[at]],
            direction=direction[keep[at]],
            zeros=np.nonzero(bits[at])[1].reshape(-1, z).astype(np.int32),
            positive=positive[keep[at]],
            hashes=hashes[keep[at]],
        )
        yield group, members[at]


def _check_group(
    group: VertexGroup, members: IntArray, normals: FloatArray, tolerance: float
) -> None:
    """Raise unless every independent subset of the vanishing classes met there.

    Otherwise two vertices have independent subsets in common, which no arrangement has.
    """
    z, s = group.zeros.shape[1], normals.shape[2]
    subsets = all_subsets(z, s - 1)
    step = max(1, CHUNK_ENTRIES // (len(subsets) * s))
    for start in range(0, len(group), step):
        part = slice(start, start + step)
        around = normals[group.owner[part, None], group.zeros[part]]
        rows = around[:, subsets].reshape(-1, s - 1, s)
        volume = np.linalg.norm(null_vectors(rows), axis=1)
        expected = (volume > tolerance).reshape(-1, len(subsets)).sum(axis=1)
        if (expected != members[part]).any():
            raise DegenerateDataError(
                f"Of {z} hyperplanes that seem to meet in a ray, some meet elsewhere. "
                f"{CONTRADICTION}"
            )


def incidences_of(
    groups: list[VertexGroup],
    normals: FloatArray,
    tolerance: float,
    hasher: SignHash,
) -> list[Incidences]:
    """Return the cells around every vertex, group by group.

    Parameters
    ----------
    groups : list of VertexGroup
        From `find_vertices` with the same other arguments.
    normals, tolerance, hasher
        See `find_vertices`.
    """
    s = normals.shape[2]
    result = []
    for group in groups:
        z = group.zeros.shape[1]
        weights = hasher.weights[group.zeros]
        if z == s - 1:
            patterns = _all_signs(z)
            vertex = np.repeat(np.arange(len(group), dtype=np.int32), len(patterns))
            local = np.tile(patterns, (len(group), 1))
            signed = (2 * patterns.astype(np.int64) - 1).T
            hashes = (group.hashes[:, None] + weights @ signed).reshape(-1)
        else:
            around = normals[group.owner[:, None], group.zeros]
            vertex, local = local_signs(
                _project_out(around, group.direction), tolerance
            )
            hashes = group.hashes[vertex]
            for column in range(z):
                weight = weights[vertex, column]
                hashes += np.where(local[:, column], weight, -weight)
        result.append(Incidences(group, vertex, local, hashes))
    return result


def local_signs(normals: FloatArray, tolerance: float) -> tuple[IntArray, BoolArray]:
    """Return all cells of each arrangement of a batch as sign vectors.

    Parameters
    ----------
    normals : (B, q, s) ndarray
        Unit normals, rank s in every arrangement, no two of them parallel.
    tolerance : float
        A determinant of s unit normals of at most this size is zero.

    Returns
    -------
    owner : (T,) int ndarray
        Which arrangement, ascending.
    signs : (T, q) bool ndarray
        True where the cell is on the positive side.
    """
    batch, q, s = normals.shape
    if q == s:
        patterns = _all_signs(q)
        owner = np.repeat(np.arange(batch, dtype=np.int32), len(patterns))
        return owner, np.tile(patterns, (batch, 1))
    if s == 2:
        return _signs_in_the_plane(normals)
    hasher = SignHash(q)
    owners, signs = [], []
    step = max(1, CHUNK_ENTRIES // (comb(q, s - 1) * q))
    for first in range(0, batch, step):
        part = normals[first : first + step]
        groups = find_vertices(part, tolerance, hasher)
        pairs = incidences_of(groups, part, tolerance, hasher)
        owner, packed = _distinct_cells(pairs)
        owner = np.concatenate([owner, owner])
        packed = np.concatenate([packed, complement(packed, q)])
        order = np.argsort(owner, kind="stable")
        owners.append((first + owner[order]).astype(np.int32))
        signs.append(unpack(packed[order], q))
    return np.concatenate(owners), np.concatenate(signs)


def _distinct_cells(pairs: list[Incidences]) -> tuple[IntArray, ByteArray]:
    """Return one of each mirror pair of cells, arrangement by arrangement."""
    owner = np.concatenate([p.group.owner[p.vertex] for p in pairs])
    packed = np.concatenate([p.packed(slice(None)) for p in pairs])
    hashes = np.concatenate([p.hashes for p in pairs])
    key = np.where(hashes < 0, -hashes, hashes)
    order = np.lexsort((key, owner))
    # A collision leaves one cell out or one in twice; 2^-63 a pair, and the checks of
    # the enumeration would refuse its result.
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(key[order]) != 0) | (np.diff(owner[order]) != 0)
    keep = order[new]
    return owner[keep], packed[keep]


def _signs_in_the_plane(normals: FloatArray) -> tuple[IntArray, BoolArray]:
    """Return the 2 q cells of q lines in the plane: one counterclockwise of each ray.

    The ray ``u_k = (-h_k2, h_k1)`` is followed, counterclockwise, by a cell in which
    class k is negative and every other class has its sign at u_k.
    """
    batch, q, _ = normals.shape
    ray = np.stack([-normals[..., 1], normals[..., 0]], axis=-1)
    after = (ray @ normals.transpose(0, 2, 1)) > 0
    after[:, np.arange(q), np.arange(q)] = False
    signs = np.concatenate([after, ~after], axis=1).reshape(-1, q)
    return np.repeat(np.arange(batch, dtype=np.int32), 2 * q), signs


def _all_signs(count: int) -> BoolArray:
    """Return all 2^count sign patterns as booleans."""
    codes = np.arange(1 << count)[:, None] >> np.arange(count)
    return (codes & 1).astype(bool)


def _project_out(rows: FloatArray, direction: FloatArray) -> FloatArray:
    """Write rows (B, z, s) in coordinates (B, z, s - 1) orthogonal to (B, s) units.

    The Householder reflection ``I - 2 v v^T`` that takes the direction to -+e_1 has the
    wanted basis in its other columns.
    """
    v = direction.copy()
    v[:, 0] += np.where(v[:, 0] < 0, -1.0, 1.0)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    along = np.einsum("bzs,bs->bz", rows, v)
    return rows[:, :, 1:] - 2.0 * along[:, :, None] * v[:, None, 1:]
