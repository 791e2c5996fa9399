"""Sign vectors of cells as packed bits, and their 64-bit hashes.

The hash of a sign vector sigma in {-1, 0, +1}^N is the random linear form
``sum_k sigma_k w_k mod 2^64``. Linear means cheap: the hash of ``-sigma`` is minus the
hash, and flipping class k changes it by ``2 w_k``. A hash only ever proposes that two
sign vectors are equal; every use compares the bits.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "MaskIndex",
    "SignHash",
    "complement",
    "count_bits",
    "flip_bit",
    "has_bit",
    "unpack",
]

IntArray = NDArray[np.signedinteger[Any]]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

# Entries of the largest temporary (float64) array: 16 MiB.
CHUNK_ENTRIES = 1 << 21

_MIX = np.int64(-7046029254386353131)  # 2^64 / golden ratio, odd: spreads the high half
_BIT = np.array([128, 64, 32, 16, 8, 4, 2, 1], dtype=np.uint8)  # order of np.packbits
_POPCOUNT = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(
    axis=1, dtype=np.uint8
)


def unpack(packed: ByteArray, count: int) -> BoolArray:
    """Return the first `count` bits of each packed row as booleans."""
    return np.unpackbits(packed, axis=-1, count=count).view(np.bool_)


def count_bits(packed: ByteArray) -> IntArray:
    """Return the number of set bits of each packed row."""
    return _POPCOUNT[packed].sum(axis=-1, dtype=np.int64)


def has_bit(packed: ByteArray, rows: IntArray, bits: IntArray) -> BoolArray:
    """Return whether bit ``bits[t]`` of row ``rows[t]`` is set."""
    return (packed[rows, bits >> 3] & _BIT[bits & 7]) != 0


def flip_bit(packed: ByteArray, bits: IntArray, where: BoolArray | None = None) -> None:
    """Flip in place bit ``bits[t]`` of each row t (only `where` it is True)."""
    values = _BIT[bits & 7]
    if where is not None:
        values = values * where
    packed[np.arange(len(packed)), bits >> 3] ^= values


def complement(packed: ByteArray, count: int) -> ByteArray:
    """Return the packed rows with their first `count` bits flipped."""
    return packed ^ np.packbits(np.ones(count, dtype=bool))


class SignHash:
    """A random linear hash of sign vectors of a fixed length.

    Parameters
    ----------
    count : int
        Length N of the sign vectors.

    Attributes
    ----------
    weights : (N,) int64 ndarray
        What a plus sign of each class adds to the hash.
    """

    def __init__(self, count: int) -> None:
        # Two columns of integers whose signed sums are exact in float64, so that BLAS
        # does the work; together they fill 64 bits.
        bits = 52 - max(count, 1).bit_length()
        columns = np.random.default_rng(20201213).integers(
            1 << bits, size=(count, 2), dtype=np.int64
        )
        self.count = count
        self._columns = columns.astype(np.float64)
        self.weights: IntArray = columns[:, 0] * _MIX + columns[:, 1]

    def of_signs(self, signs: FloatArray) -> IntArray:
        """Return the hashes of sign vectors (..., N) given as floats -1, 0, +1."""
        halves = (signs @ self._columns).astype(np.int64)
        hashes: IntArray = halves[..., 0] * _MIX + halves[..., 1]
        return hashes

    def of_packed(self, packed: ByteArray) -> IntArray:
        """Return the hashes of packed sign vectors without zeros."""
        hashes = np.empty(len(packed), dtype=np.int64)
        step = max(1, CHUNK_ENTRIES // max(self.count, 1))
        for start in range(0, len(packed), step):
            bits = unpack(packed[start : start + step], self.count)
            hashes[start : start + step] = self.of_signs(np.where(bits, 1.0, -1.0))
        return hashes


class MaskIndex:
    """Finds packed sign vectors in a table of distinct ones.

    Parameters
    ----------
    packed : (P, B) uint8 ndarray
        Distinct packed rows.
    hasher : SignHash
        The hash of the rows.
    mirrored : bool, optional
        The table also stands for its mirror images: row i with every sign turned is
        row ``i + P``. It must then not hold a row and its mirror image.
    """

    def __init__(
        self, packed: ByteArray, hasher: SignHash, *, mirrored: bool = False
    ) -> None:
        self._packed = packed
        self._hasher = hasher
        self._mirrored = mirrored
        self._hashes = hasher.of_packed(packed)
        key = self._key(self._hashes)
        self._order = np.argsort(key, kind="stable")
        self._ranked = key[self._order]

    def _key(self, hashes: IntArray) -> IntArray:
        """Return what a row and, if mirrored, its mirror image have in common."""
        return np.abs(hashes) if self._mirrored else hashes

    def find(self, packed: ByteArray, hashes: IntArray | None = None) -> IntArray:
        """Return the position (T,) of each packed row, -1 where it is not there."""
        if hashes is None:
            hashes = self._hasher.of_packed(packed)
        found = np.full(len(packed), -1, dtype=np.int64)
        if not len(self._packed):
            return found
        position = np.searchsorted(self._ranked, self._key(hashes))
        # Rows that share a hash with others are neighbours in the order; walk on until
        # the bits agree (in practice the first row does).
        open_rows = np.arange(len(packed))
        while len(open_rows):
            position = np.minimum(position, len(self._order) - 1)
            hit = self._ranked[position] == self._key(hashes[open_rows])
            open_rows, position = open_rows[hit], position[hit]
            target = self._order[position]
            turned = self._hashes[target] != hashes[open_rows]
            wanted = packed[open_rows]
            wanted[turned] = complement(wanted[turned], self._hasher.count)
            same = (wanted == self._packed[target]).all(axis=1)
            found[open_rows[same]] = (target + len(self._packed) * turned)[same]
            open_rows, position = open_rows[~same], position[~same] + 1
            beyond = position == len(self._order)
            open_rows, position = open_rows[~beyond], position[~beyond]
        return found

    def find_flips(self, rows: IntArray, classes: IntArray) -> IntArray:
        """Return the position of row ``rows[t]`` with the sign of a class turned.

        Parameters
        ----------
        rows, classes : (T,) int ndarray
            Rows of the table and the class to turn in each.

        Returns
        -------
        (T,) int64 ndarray
            Positions in the table, -1 where the flipped vector is not there.
        """
        found = np.empty(len(rows), dtype=np.int64)
        step = max(1, 8 * CHUNK_ENTRIES // max(self._packed.shape[1], 8))
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            row, bit = rows[part], classes[part]
            sign = np.where(has_bit(self._packed, row, bit), 1, -1)
            change: IntArray = 2 * sign * self._hasher.weights[bit]
            flipped = self._packed[row]
            flip_bit(flipped, bit)
            found[part] = self.find(flipped, self._hashes[row] - change)
        return found
