r"""Cuts that drive a matrix into the semidefinite cone.

For a matrix with an eigenvalue :math:`\lambda < 0` and its unit eigenvector q,
:math:`q^T M q \ge 0` holds for every semidefinite matrix and is violated by
:math:`-\lambda` (Sherali and Fraticelli 2002). One cut for each negative eigenvalue
takes about half the rounds of one for the smallest alone.

Points of a linear program are corners that jump to and fro. As in stabilised column
generation the eigenvectors of a running mean of the points,

.. math:: \bar M \leftarrow \theta \bar M + (1 - \theta) M,

are better cuts than those of the last point (Wentges 1997): those that the last point
violates are added too, which saves two rounds in five.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.environ import Any as AnySet
from pyomo.environ import Constraint

from pyomo_relu.cones import ConeData
from pyomo_relu.cones.entries import upper_index
from pyomo_relu.tiers.affine import triangle_places
from pyomo_relu.tiers.cut_pool import CutPool
from pyomo_relu.tiers.entrywise import Triangles, pick

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["EigenvectorCuts"]

#: Weight of the past in the running mean. From 0.7 to 0.9 the number of rounds is the
#: same up to a tenth.
_MEMORY = 0.8
#: Entries of a unit vector below the first of these are left out that leaves the cut
#: deep enough: it stays valid, and linear solvers are better off with fewer
#: coefficients of like size. Below 1e-9 they drop coefficients in silence, which the
#: last one prevents.
_SMALLEST = (0.1, 0.01, 1e-3, 4e-5)
#: Which part of its depth is enough.
_DEEP = 0.7


class EigenvectorCuts:
    """The cuts of some cones of one component.

    Parameters
    ----------
    block : Block
        Gets the component ``cut``.
    cones : list of cone data
        Any.
    drops : bool
        As for :class:`CutPool`.

    Attributes
    ----------
    block : Block
        The same.
    pool : CutPool
        The rows, on the upper triangles of the cones one after another.
    trace : expression
        Sum of the traces of all matrices.
    """

    def __init__(self, block: Any, cones: list[ConeData], drops: bool) -> None:
        self.block = block
        block.cut = Constraint(AnySet)
        triangles = Triangles(cones)
        M, diagonal = triangles.entries, pick(triangles.diagonal, len(triangles))
        self.pool = CutPool(block.cut, M, drops)
        [self.trace] = M.map(sp.csr_array(diagonal.sum(axis=0)[None])).expressions()
        orders = np.array([cone.order for cone in cones])
        starts = np.concatenate([[0], np.cumsum(orders * (orders + 1) // 2)])[:-1]
        #: For each order the (b, k, k) places of the entries of its b matrices.
        self._places = [
            starts[orders == k][:, None, None] + upper_index(k)
            for k in np.unique(orders).tolist()
        ]
        self._mean: Array | None = None

    def separate(self, tolerance: float) -> tuple[float, int]:
        """Add the cuts that the present point violates.

        Parameters
        ----------
        tolerance : float
            By how much, relative to the larger of one and the trace of its matrix, an
            eigenvalue may be negative.

        Returns
        -------
        violation : float
            Largest ratio of minus the smallest eigenvalue to the larger of one and the
            trace; zero where no cut was needed.
        added : int
            How many cuts were added.
        """
        point = self.pool.values()
        is_first = self._mean is None
        past = point if self._mean is None else self._mean
        mean = self._mean = _MEMORY * past + (1.0 - _MEMORY) * point
        violation = 0.0
        cuts = []
        for places in self._places:
            matrices = point[places]
            scale = np.maximum(np.trace(matrices, axis1=1, axis2=2), 1.0)
            values, vectors = np.linalg.eigh(matrices)
            ratio = -values / scale[:, None]
            violation = max(violation, float(ratio[:, 0].max()))
            bad = ratio > tolerance
            cuts += [
                _cut(places[b], vectors[b, :, i], matrices[b]) for b, i in _pairs(bad)
            ]
            if is_first or not bad.any():
                continue
            values, vectors = np.linalg.eigh(mean[places])
            depth = np.einsum("bji,bjk,bki->bi", vectors, matrices, vectors)
            bad = (values < 0.0) & (-depth > tolerance * scale[:, None])
            cuts += [
                _cut(places[b], vectors[b, :, i], matrices[b]) for b, i in _pairs(bad)
            ]
        self.pool.drop_idle(point)
        if not cuts:
            return 0.0, 0
        self.pool.add(_stack(cuts, len(point)))
        return violation, len(cuts)


def _pairs(mask: Any) -> Iterator[tuple[int, int]]:
    return zip(*(axis.tolist() for axis in np.nonzero(mask)), strict=True)


def _cut(places: Any, q: Array, matrix: Array) -> tuple[Array, Any]:
    """Return coefficients and places of ``q' M q`` on an upper triangle."""
    depth = q @ matrix @ q
    for smallest in _SMALLEST:
        p = np.where(np.abs(q) < smallest, 0.0, q)
        if p @ matrix @ p <= _DEEP * depth:
            break
    i, j = triangle_places(len(q))
    weights = p[i] * p[j] * np.where(i == j, 1.0, 2.0)
    kept = weights != 0.0
    return weights[kept], places[i, j][kept]


def _stack(cuts: list[tuple[Array, Any]], length: int) -> sp.csr_array:
    """Return the rows as one matrix."""
    starts = np.cumsum([0, *(len(weights) for weights, _ in cuts)])
    return sp.csr_array(
        (
            np.concatenate([weights for weights, _ in cuts]),
            np.concatenate([places for _, places in cuts]),
            starts,
        ),
        shape=(len(cuts), length),
    )
