"""Full pricing: the best violated directions, and the proof that there are no more.

Over all cells where they have been enumerated, over the sphere of directions where they
are too many for that. Either way the cells of the restricted program are found by the
directions in them.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, Protocol

import numpy as np

from pyomo_relu.arrangement import Cells
from pyomo_relu.arrangement.located import (
    CellSource,
    EnumeratedCells,
    LocatedCells,
)
from pyomo_relu.certificates.certificate import Certificate, certify_by
from pyomo_relu.certificates.directions import best_directions, values_at
from pyomo_relu.certificates.proofs import CellProof, SphereProof
from pyomo_relu.generation.pricing import Candidates
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["CellPricing", "FullPricing", "SpherePricing"]

#: Cones of the sphere that one proof may bound.
_MAX_CONES = 2_000_000


class FullPricing(Protocol):
    """Looks everywhere.

    Attributes
    ----------
    source : CellSource
        Cells of directions.
    """

    source: CellSource

    def prove(
        self, network: ReLUNetwork, dual: Array | None
    ) -> tuple[Certificate, int]:
        """Certify a network by a dual point in the user's units.

        Returns
        -------
        certificate : Certificate
        priced : int
            How many cells, or cones of the sphere, were looked at.
        """
        ...

    def violated(self, Z: Array, floor: float) -> Candidates:
        """Return directions whose values exceed a floor.

        Parameters
        ----------
        Z : (n, c) array
            The dual point that was proved last, scaled.
        floor : float
        """
        ...


class CellPricing:
    """Over enumerated cells.

    Parameters
    ----------
    problem : TrainingProblem
        What is trained.
    cells : Cells
        Its cells.
    executor : concurrent.futures.Executor, optional
        As for :func:`best_directions`.
    """

    def __init__(
        self,
        problem: TrainingProblem,
        cells: Cells,
        executor: Executor | None = None,
    ) -> None:
        self.problem, self.cells, self.executor = problem, cells, executor
        self.source: CellSource = EnumeratedCells(cells)
        self._proof = CellProof(cells, executor)

    def __str__(self) -> str:
        return f"{len(self.cells):,} cells"

    def prove(
        self, network: ReLUNetwork, dual: Array | None
    ) -> tuple[Certificate, int]:
        """Certify a network; see :class:`FullPricing`."""
        certificate = certify_by(self.problem, network, dual, self._proof)
        return certificate, len(self.cells)

    def violated(self, Z: Array, floor: float) -> Candidates:
        """Return the best direction of every cell that is violated."""
        found = best_directions(
            self.problem, self.cells, Z, floor=floor, executor=self.executor
        )
        return _above(found.values, found.directions, floor)


class SpherePricing:
    """By branch and bound over the sphere; cells are made when they are met.

    Parameters
    ----------
    problem : TrainingProblem
        What is trained.
    tolerance : float
        Relative, of the bound on rho.
    stop : callable, optional
        Whether to end a search early, with what is proved until then.
    """

    def __init__(
        self,
        problem: TrainingProblem,
        tolerance: float,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        self.problem = problem
        self.source: CellSource = LocatedCells(problem)
        self._proof = SphereProof(_MAX_CONES, tolerance, stop)

    def __str__(self) -> str:
        return "the sphere"

    def prove(
        self, network: ReLUNetwork, dual: Array | None
    ) -> tuple[Certificate, int]:
        """Certify a network; see :class:`FullPricing`."""
        certificate = certify_by(self.problem, network, dual, self._proof)
        return certificate, 0 if self._proof.last is None else self._proof.last.cones

    def violated(self, Z: Array, floor: float) -> Candidates:
        """Return the violated ones of the directions that the last proof ended at."""
        if self._proof.last is None:
            return Candidates(np.zeros(0), np.zeros((0, self.problem.rank)))
        directions = self._proof.last.directions
        return _above(values_at(self.problem, Z, directions), directions, floor)


def _above(values: Array, directions: Array, floor: float) -> Candidates:
    order = np.argsort(-values, kind="stable")
    order = order[values[order] > floor]
    return Candidates(values[order], directions[order])
