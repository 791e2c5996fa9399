"""Cells that are found by a point of theirs, among all or one at a time.

What asks for the cells of some directions need not know whether all of them have been
enumerated: :class:`EnumeratedCells` looks them up, :class:`LocatedCells` makes each
when it is met for the first time.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyomo_relu.arrangement.cells import Cells
from pyomo_relu.arrangement.classes import as_data_matrix, classify_rows
from pyomo_relu.arrangement.masks import (
    FloatArray,
    MaskIndex,
    SignHash,
)
from pyomo_relu.arrangement.sample import cells_at

__all__ = ["CellSource", "EnumeratedCells", "LocatedCells"]

IntArray = NDArray[np.int64]

#: Cosines below this are rounding: a turn of the coordinates may change their sign.
_CLEARANCE = 1e-12


class CellSource(Protocol):
    """Cells under numbers, by the points that are in them; reduced coordinates.

    Attributes
    ----------
    basis : (d, r) array
        As in `Cells`.
    normals : (N, r) array
        As in `Cells`.
    """

    basis: FloatArray
    normals: FloatArray

    def __len__(self) -> int:
        """Return the number of cells that have a number."""
        ...

    def find(self, points: FloatArray) -> IntArray:
        """Return the cells of points (m, r), -1 where there is none."""
        ...

    def rays(self, cell: int) -> FloatArray:
        """Return the unit rays (m, r) of a cell."""
        ...

    def facet_normals(self, cell: int) -> FloatArray:
        """Return the inward unit normals (k, r) of the facets of a cell."""
        ...

    def subset(self, cells: IntArray) -> Cells:
        """Return some cells."""
        ...

    def some_rays(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Return unit rays (m, r) of some cells, `count` of them at most."""
        ...


class EnumeratedCells:
    """All cells of an arrangement, or some.

    Parameters
    ----------
    cells : Cells
        The cells, which keep their numbers.

    Examples
    --------
    >>> from pyomo_relu.arrangement import enumerate_cells
    >>> source = EnumeratedCells(enumerate_cells([[1.0, 0.0], [0.0, 1.0]]))
    >>> cell = source.find(np.array([[2.0, 3.0]]))[0]
    >>> print(np.sort(source.rays(cell), axis=0) + 0.0)
    [[0. 0.]
     [1. 1.]]
    """

    def __init__(self, cells: Cells) -> None:
        self.cells = cells
        self.basis, self.normals = cells.basis, cells.normals
        self._index = MaskIndex(cells.packed, SignHash(len(cells.normals)))

    def __len__(self) -> int:
        return len(self.cells)

    def find(self, points: FloatArray) -> IntArray:
        """Return the cells of points (m, r), -1 where there is none."""
        signs = np.packbits(points @ self.normals.T > 0.0, axis=1)
        return np.asarray(self._index.find(signs), dtype=np.int64)

    def rays(self, cell: int) -> FloatArray:
        """Return the unit rays (m, r) of a cell."""
        return self.cells.cell_rays(cell)

    def facet_normals(self, cell: int) -> FloatArray:
        """Return the inward unit normals (k, r) of the facets of a cell."""
        return self.cells.facet_normals(cell)

    def subset(self, cells: IntArray) -> Cells:
        """Return some cells."""
        return self.cells.subset(cells)

    def some_rays(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Return unit rays (m, r) of some cells."""
        table = self.cells.ray_table
        return table[rng.choice(len(table), min(count, len(table)), replace=False)]


class LocatedCells:
    """Cells that are made when a point in them is given.

    Parameters
    ----------
    problem_or_X : array_like (n, d) or object with ``rows`` or ``X``
        Data matrix or training problem.
    tolerance : float
        As for :func:`enumerate_cells`.

    Examples
    --------
    >>> source = LocatedCells([[1.0, 0.0], [0.0, 1.0]])
    >>> source.find(np.array([[2.0, 3.0], [-1.0, 4.0], [5.0, 6.0], [0.0, 1.0]]))
    array([ 0,  1,  0, -1])
    >>> len(source)
    2
    """

    def __init__(self, problem_or_X: Any, tolerance: float = 1e-9) -> None:
        self._classes = classify_rows(as_data_matrix(problem_or_X), tolerance)
        self._tolerance = tolerance
        self.basis, self.normals = self._classes.basis, self._classes.normals
        self._numbers: dict[bytes, int] = {}
        self._cells: list[Cells] = []

    def __len__(self) -> int:
        return len(self._cells)

    def find(self, points: FloatArray) -> IntArray:
        """Return the cells of points (m, r), -1 for one that is on a hyperplane.

        That is, up to rounding.
        """
        heights = points @ self.normals.T
        sizes = np.linalg.norm(points, axis=1, keepdims=True)
        clear = (np.abs(heights) > _CLEARANCE * sizes).all(axis=1)
        signs = np.packbits(heights > 0.0, axis=1)
        found = np.full(len(points), -1, dtype=np.int64)
        for i in np.flatnonzero(clear).tolist():
            key = signs[i].tobytes()
            if key not in self._numbers:
                point = points[[i]] / sizes[i]
                self._cells.append(
                    cells_at(self._classes, signs[[i]], point, self._tolerance)
                )
                self._numbers[key] = len(self._cells) - 1
            found[i] = self._numbers[key]
        return found

    def rays(self, cell: int) -> FloatArray:
        """Return the unit rays (m, r) of a cell.

        Raises
        ------
        InputError
            There are too many.
        """
        return self._cells[cell].cell_rays(0)

    def facet_normals(self, cell: int) -> FloatArray:
        """Return the inward unit normals (k, r) of the facets of a cell."""
        return self._cells[cell].facet_normals(0)

    def subset(self, cells: IntArray) -> Cells:
        """Return some cells."""
        chosen = [self._cells[i] for i in np.asarray(cells).tolist()]
        return cells_at(
            self._classes,
            np.concatenate([one.packed for one in chosen]),
            np.concatenate([one.interior_points for one in chosen]),
            self._tolerance,
        )

    def some_rays(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Return unit vectors (m, r) in which r - 1 random hyperplanes meet."""
        N, r = self.normals.shape
        chosen = rng.permuted(np.tile(np.arange(N), (count, 1)), axis=1)[:, : r - 1]
        _, _, right = np.linalg.svd(self.normals[chosen], full_matrices=True)
        return np.asarray(right[:, -1] * rng.choice([-1.0, 1.0], size=(count, 1)))
