r"""What a dual point makes of every cell, in chunks: the maps J_i.

.. math:: J_i = X^T (s_- I + (s_+ - s_-) D_i) Z

so that :math:`|J_i^T u|` is :math:`|Z^T \sigma(X u)|` for u in the cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from pyomo_relu.activations import Activation
from pyomo_relu.arrangement import Cells

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["CellMaps", "entrywise_bound", "spectral_bound"]

#: Floats that one chunk of cells may take: 64 MB.
CHUNK_FLOATS = 8_000_000


class CellMaps:
    """The maps ``J_i`` of a dual point, and the rays, in given coordinates.

    Nothing is kept for each cell: maps are made in chunks of bounded memory.

    Parameters
    ----------
    cells : Cells
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
        cells: Cells,
        X: Array,
        Z: Array,
        rotation: Array,
        activation: Activation,
    ) -> None:
        self.cells = cells
        self.X, self.Z, self.activation = X, Z, activation
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
        size = max(1, CHUNK_FLOATS // (2 * max(len(self.X), 1)))
        for start in range(0, len(directions), size):
            part = slice(start, start + size)
            hidden = self.activation(self.X @ directions[part].T)
            values[part] = np.sqrt(np.sum((self.Z.T @ hidden) ** 2, axis=0))
        return values

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
            place = np.flatnonzero(found == np.repeat(best, counts))
            owner = np.searchsorted(cells.ray_indptr, place, side="right") - 1
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


def spectral_bound(J: Array) -> Array:
    """Bound by the largest singular value: the cone forgotten.

    Parameters
    ----------
    J : (k, r, c) array
        Maps of some cells.
    """
    return np.linalg.norm(J, ord=2, axis=(1, 2))


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
