r"""The best direction of each cell: where the dual norm is attained.

In the relative interior of a face a maximiser of :math:`|J_i^T u|` over the unit
vectors of :math:`K_i` is the top singular vector of :math:`J_i` projected on the span
of the face, which is what the normals of at most r - 2 facets leave (design,
Certificates). A direction proves that rho is at least its value, whatever was searched.
"""

from __future__ import annotations

from itertools import combinations
from math import comb
from typing import Any, NamedTuple

import numpy as np

from pyomo_relu.arrangement import Cells
from pyomo_relu.arrangement.masks import has_bit
from pyomo_relu.certificates.cell_maps import (
    CHUNK_FLOATS,
    CellMaps,
    entrywise_bound,
    spectral_bound,
)
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["CellDirections", "best_directions", "best_ray_value"]

#: Faces that one call may look at; cells of the largest bounds come first.
_FACE_BUDGET = 1_000_000
#: Unit vectors this little outside of a facet count as inside.
_INSIDE = 1e-9


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
    problem: TrainingProblem, cells: Cells, Z: Array, *, floor: float | None = None
) -> CellDirections:
    """Search the unit vectors of every cell for the largest ``|Z^T sigma(X u)|``.

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
    search = _Search(problem, cells, Z)
    bounds = search.bounds(floor)
    budget = _FACE_BUDGET
    for size in range(max(search.rank - 1, 0)):
        threshold = search.values.max(initial=0.0) if floor is None else floor
        open_cells = np.flatnonzero(bounds > np.maximum(threshold, search.values))
        open_cells = open_cells[np.argsort(-bounds[open_cells], kind="stable")]
        faces = np.array([comb(k, size) for k in search.facet_counts[open_cells]])
        open_cells = open_cells[np.cumsum(faces) <= budget]
        budget -= int(faces.sum())
        search.faces(open_cells, size)
    return CellDirections(search.values, search.directions)


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
    hidden = scaled.hidden(table.T)[: len(Z)]
    return float(np.linalg.norm(hidden.T @ Z, axis=1).max(initial=0.0))


class _Search:
    """Cells, their maps and the best direction of each so far."""

    def __init__(self, problem: TrainingProblem, cells: Cells, Z: Array) -> None:
        scaled = problem.scaled
        self.scaled, self.cells = scaled, cells
        self.rank = cells.rank
        self.rotation = scaled.basis.T @ cells.basis
        self.maps = CellMaps(
            cells,
            scaled.X,
            scaled.spread(scaled.with_anchors(Z)),
            self.rotation,
            scaled.activation,
        )
        self.facet_counts = np.diff(cells.facet_indptr)
        self.values, ray = self.maps.best_at_rays()
        self.directions = (
            self.maps.rays[ray]
            if len(self.maps.rays)
            else (np.zeros((len(cells), scaled.rank)))
        )

    def bounds(self, floor: float | None) -> Array:
        """Return upper bounds of the cells: exact enough for those above the floor."""
        threshold = self.values.max(initial=0.0) if floor is None else floor
        upper = np.empty(len(self.cells))
        for part, J in self.maps.chunks(np.arange(len(self.cells))):
            upper[part] = np.linalg.norm(J, axis=(1, 2))
        for refine in (
            lambda _, J: spectral_bound(J),
            lambda part, J: entrywise_bound(self.maps, part, J),
        ):
            open_cells = np.flatnonzero(upper > np.maximum(threshold, self.values))
            for part, J in self.maps.chunks(open_cells):
                upper[part] = np.minimum(upper[part], refine(part, J))
        return upper

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

    def faces(self, chosen: Indices, size: int) -> None:
        """Look at the faces of some cells on `size` facets each."""
        for count in np.unique(self.facet_counts[chosen]).tolist():
            group = chosen[self.facet_counts[chosen] == count]
            subsets = np.array(list(combinations(range(count), size)), dtype=np.intp)
            if not len(subsets):
                continue
            width = len(subsets) * self.scaled.rank * (self.rank + self.maps.shape[1])
            step = max(1, CHUNK_FLOATS // max(width, 1))
            for start in range(0, len(group), step):
                self._look(group[start : start + step], count, subsets)

    def _look(self, part: Indices, count: int, subsets: Indices) -> None:
        starts = self.cells.facet_indptr[part]
        classes = self.cells.facet_indices[starts[:, None] + np.arange(count)]
        normals = self.maps.normals[classes]
        # The span of a face: within the rank of the cells, off its facets.
        on = normals[:, subsets]
        inside = np.broadcast_to(self.rotation, (*on.shape[:2], *self.rotation.shape))
        if on.shape[2]:
            _, _, right = np.linalg.svd(on @ self.rotation, full_matrices=True)
            inside = self.rotation @ np.swapaxes(right[..., on.shape[2] :, :], -1, -2)
        maps = np.swapaxes(inside, -1, -2) @ self.maps.maps(part)[:, None]
        left = np.linalg.svd(maps, full_matrices=False)[0][..., :1]
        vectors = (inside @ left)[..., 0]
        # Of u and -u the one that lies in the cell, if one does.
        signs = np.where(has_bit(self.cells.packed, part[:, None], classes), 1.0, -1.0)
        oriented = normals * signs[:, :, None]
        products = np.einsum("psr,pkr->psk", vectors, oriented)
        turned = np.where(products.sum(axis=2) < 0.0, -1.0, 1.0)
        inside_cell = (products * turned[..., None]).min(axis=2) >= -_INSIDE
        owner = np.broadcast_to(part[:, None], inside_cell.shape)[inside_cell]
        if len(owner):
            self.keep(owner, (vectors * turned[..., None])[inside_cell])
