"""How rho is proved: over all cells, over the sphere of directions, or without both.

A proof takes a dual point and returns an upper bound on rho (design, Certificates),
with what there is to say of it.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, NamedTuple, Protocol

import numpy as np

from pyomo_relu.arrangement import (
    Cells,
    count_cells_general_position,
    enumerate_cells,
)
from pyomo_relu.certificates.covering import covering_cells, covering_tolerances
from pyomo_relu.certificates.rho import DECIDED, RhoBound, bound_rho
from pyomo_relu.certificates.semidefinite import semidefinite_bound
from pyomo_relu.certificates.sphere import SphereBound, sphere_bound
from pyomo_relu.errors import DegenerateDataError, TooManyCellsError
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "MANY_IN_HIGH_RANK",
    "SPHERE_RANK",
    "CellProof",
    "NormProof",
    "Proof",
    "ProvenRho",
    "SphereProof",
    "may_be_more_cells",
    "prove_rho",
]

#: Up to this rank branch and bound over the sphere is tried, with so many cones: before
#: enumeration, where there may be so many cells.
SPHERE_RANK = 7
_MANY_CELLS = 500_000
#: Above that rank so many cells are too many: few are decided, and that slowly.
MANY_IN_HIGH_RANK = 5_000
_SPHERE_CONES = 300_000


class ProvenRho(NamedTuple):
    """An upper bound on rho, and how it was proved.

    Attributes
    ----------
    value : float
        The bound, scaled.
    complete : bool
        Whether every cell was decided: the bound is attained, up to a relative 2e-9
        and rounding.
    cells, decided : int
        How many cells there are, and of how many rho is known.
    cones : int
        How many cones of the sphere were bounded in place of cells.
    reason : str
        How it was proved.
    trivial : float
        The bound by norms alone.
    steepness : float
        How fast rho may grow with the Euclidean norm of the dual point.
    """

    value: float
    complete: bool
    cells: int
    decided: int
    cones: int
    reason: str
    trivial: float = np.inf
    steepness: float = np.inf


def prove_rho(
    problem: TrainingProblem, Z: Array, proof: Proof, limit: float = np.inf
) -> ProvenRho:
    """Bound rho from above, by norms at least.

    Parameters
    ----------
    problem : TrainingProblem
        The problem.
    Z : (N, c) array
        A dual point in scaled units, a row for each row of the arrangement.
    proof : Proof
        What is to prove more than norms do.
    limit : float
        What rho should not exceed: a proof may care less for what is above.
    """
    scaled = problem.scaled
    x_norm = float(np.linalg.norm(scaled.X, 2)) if scaled.rank else 0.0
    # Singular values are rounded: nothing that is proved may rest on the last bits.
    up = 1.0 + 8.0 * max(problem.rows.shape) * np.finfo(float).eps
    steepness = (x_norm + scaled.truncation) * up * scaled.activation.lipschitz
    trivial = float(np.linalg.norm(Z, 2)) * steepness
    if scaled.rank == 0:
        proven = ProvenRho(trivial, True, 0, 0, 0, "every sample is zero")
    else:
        proven = proof.prove(problem, Z, limit)
    return proven._replace(
        value=min(trivial, proven.value), trivial=trivial, steepness=steepness
    )


class Proof(Protocol):
    """What proves an upper bound on rho."""

    def prove(self, problem: TrainingProblem, Z: Array, limit: float) -> ProvenRho:
        """Bound rho.

        Parameters
        ----------
        problem : TrainingProblem
            The problem, of positive rank.
        Z : (N, c) array
            A dual point in scaled units, a row for each row of the arrangement.
        limit : float
            What rho should not exceed.
        """
        ...


class NormProof:
    """Nothing beyond the bound by norms, which every certificate has.

    Parameters
    ----------
    reason : str
        Why.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def prove(self, problem: TrainingProblem, Z: Array, limit: float) -> ProvenRho:
        """Bound rho by infinity: see :class:`Proof`."""
        return ProvenRho(np.inf, False, 0, 0, 0, f"trivial bound only: {self.reason}")


class CellProof:
    """Over all cells, or without them where they are many and not at hand.

    Parameters
    ----------
    cells : Cells, optional
        All cells, if they are at hand.
    executor : concurrent.futures.Executor, optional
        As for :func:`bound_rho`.
    """

    def __init__(
        self, cells: Cells | None = None, executor: Executor | None = None
    ) -> None:
        self.cells, self.executor = cells, executor

    def prove(self, problem: TrainingProblem, Z: Array, limit: float) -> ProvenRho:
        """Bound rho by the cheapest of what proves it: see :class:`Proof`."""
        cells, bounds, reason, retry = self.cells, [], "", True
        if cells is not None and not cells.complete:
            cells = None
        if cells is None and may_be_more_cells(problem, _MANY_CELLS):
            sphere = SphereProof().prove(problem, Z, np.inf)
            if sphere.complete:
                return sphere
        try:
            if cells is None and problem.rank > SPHERE_RANK:
                cells = enumerate_cells(problem, max_cells=MANY_IN_HIGH_RANK)
            elif cells is None:
                cells = enumerate_cells(problem)
            bound = self._bound_over(problem, cells, Z)
            bounds.append(bound)
            # At their first tolerance the covering cells would be these again.
            retry = (
                bound.decided < bound.cells
                and cells.tolerance != covering_tolerances(problem)[0]
            )
        except TooManyCellsError:
            return _without_cells(problem, Z)
        except DegenerateDataError:
            pass
        if retry:
            # Rounding hides the cells of nearly flat data; those at a larger tolerance
            # are plain, and what they change is accounted for.
            try:
                covering = covering_cells(problem)
                bounds.append(self._bound_over(problem, covering, Z))
            except (TooManyCellsError, DegenerateDataError) as error:
                reason = str(error)
        if not bounds:
            return NormProof(reason).prove(problem, Z, limit)
        best = min(bounds, key=lambda each: each.value)
        return ProvenRho(
            value=best.value,
            complete=best.cells > 0 and best.decided == best.cells,
            cells=best.cells,
            decided=best.decided,
            cones=0,
            reason=f"proved over {best.cells} cells",
        )

    def _bound_over(self, problem: TrainingProblem, cells: Cells, Z: Array) -> RhoBound:
        scaled = problem.scaled
        return bound_rho(
            cells,
            scaled.X,
            Z,
            rotation=scaled.basis.T @ cells.basis,
            perturbation=cells.perturbation / scaled.x_scale + scaled.truncation,
            activation=scaled.activation,
            executor=self.executor,
        )


class SphereProof:
    """By branch and bound over the sphere of directions: no cell is enumerated.

    Parameters
    ----------
    max_cones : int
        As for :func:`sphere_bound`.
    tolerance : float
        As for :func:`sphere_bound`; the proof is complete if it is 2e-9 or less.
    stop : callable, optional
        As for :func:`sphere_bound`.
    upper : float
        As for :func:`sphere_bound`.

    Attributes
    ----------
    last : SphereBound or None
        What the last search found, directions included.
    """

    def __init__(
        self,
        max_cones: int = _SPHERE_CONES,
        tolerance: float = DECIDED,
        stop: Callable[[], bool] | None = None,
        upper: float = np.inf,
    ) -> None:
        self.max_cones, self.tolerance = max_cones, tolerance
        self.stop, self.upper = stop, upper
        self.last: SphereBound | None = None

    def prove(self, problem: TrainingProblem, Z: Array, limit: float) -> ProvenRho:
        """Bound rho: see :class:`Proof`."""
        scaled = problem.scaled
        found = sphere_bound(
            scaled.X,
            Z,
            scaled.activation,
            upper=self.upper,
            limit=limit,
            tolerance=self.tolerance,
            max_cones=self.max_cones,
            stop=self.stop,
            perturbation=scaled.truncation,
        )
        self.last = found
        left = f", {found.open:,} left open" if found.open else ""
        return ProvenRho(
            value=found.value,
            complete=found.complete and found.closeness <= DECIDED,
            cells=0,
            decided=0,
            cones=found.cones,
            reason=f"proved over {found.cones:,} cones of the sphere{left}",
        )


def may_be_more_cells(problem: TrainingProblem, than: int) -> bool:
    """Whether the rank is low enough for branch and bound, and the cells may be many.

    Parameters
    ----------
    problem : TrainingProblem
        The problem.
    than : int
        How many cells are few.
    """
    rank, rows = problem.rank, len(problem.rows)
    if not 1 < rank <= SPHERE_RANK:
        return False
    return count_cells_general_position(rows, rank) > than


def _without_cells(problem: TrainingProblem, Z: Array) -> ProvenRho:
    """Bound rho where the cells are too many.

    By a semidefinite relaxation, and in low rank by branch and bound over the sphere
    of directions as well.
    """
    scaled = problem.scaled
    relaxed = semidefinite_bound(
        scaled.X, Z, scaled.activation, perturbation=scaled.truncation
    )
    reason = f"without cells, by {relaxed.method}"
    semidefinite = ProvenRho(relaxed.value, False, 0, 0, 0, reason)
    if scaled.rank > SPHERE_RANK:
        return semidefinite
    sphere = SphereProof(upper=relaxed.value).prove(problem, Z, np.inf)
    return sphere if sphere.value < relaxed.value else semidefinite
