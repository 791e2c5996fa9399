"""Certificates: how far a network can be from the global optimum, proved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.arrangement import Cells, enumerate_cells
from pyomo_relu.arrays import as_matrix
from pyomo_relu.certificates.covering import covering_cells, covering_tolerances
from pyomo_relu.certificates.rho import RhoBound, bound_rho
from pyomo_relu.errors import (
    DegenerateDataError,
    InputError,
    InputTypeError,
    TooManyCellsError,
)
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Certificate", "certify"]


@dataclass(frozen=True, eq=False)
class Certificate:
    """A network's objective and a proven lower bound on every network's.

    Attributes
    ----------
    objective : float
        (NN) at the balanced weights of the network, in the user's units.
    lower_bound : float
        Proven: no network of any width has a smaller objective.
    complete : bool
        Whether all cells of the arrangement were bounded and every one decided.
        If not, the bound is proved all the same, but may be weak.
    dual : (n, c) array
        The dual point that proves `lower_bound`, scaled to feasibility.
    rho : float
        Proven upper bound on ``rho`` at the dual point as it was given.
    violation : float
        ``max(rho / beta - 1, 0)``: how far the dual point had to be scaled.
    trivial_bound : float
        The bound that ``rho <= |Z|_2 |X|_2`` alone would prove.
    cells, decided : int
        Number of cells, and of those that were decided.
    reason : str
        How the bound was proved, or why it is only the trivial one.

    Examples
    --------
    >>> problem = TrainingProblem([[1.0]], [[1.0]], beta=0.5)
    >>> print(certify(problem, ReLUNetwork([[0.5**0.5]], [[0.5**0.5]])))
    objective       0.375
    lower bound     0.375  (proved over 2 cells)
    relative gap    ...e-1...
    cells decided   2 of 2
    """

    objective: float
    lower_bound: float
    complete: bool
    dual: Array = field(repr=False)
    rho: float
    violation: float
    trivial_bound: float
    cells: int
    decided: int
    reason: str

    @property
    def gap(self) -> float:
        """Relative gap ``(objective - lower_bound) / objective``, at least 0."""
        difference = self.objective - self.lower_bound
        if difference <= 0.0:
            return 0.0
        return difference / abs(self.objective)

    def __str__(self) -> str:
        cells = f"{self.decided} of {self.cells}"
        lines = [
            f"objective       {self.objective:.10g}",
            f"lower bound     {self.lower_bound:.10g}  ({self.reason})",
            f"relative gap    {self.gap:.1e}",
            f"cells decided   {cells if self.cells else 'none: not enumerated'}",
        ]
        if not self.complete:
            lines.append(f"trivial bound   {self.trivial_bound:.10g}")
        return "\n".join(lines)


def certify(
    problem: TrainingProblem,
    network: ReLUNetwork,
    dual: ArrayLike | None = None,
    *,
    cells: Cells | None = None,
) -> Certificate:
    r"""Prove a lower bound on the global optimum and compare a network with it.

    For any `Z` with :math:`\rho(Z) \le \beta` the value
    :math:`-\mathrm{loss}^*(-Z)` bounds (NN) from below for networks of every
    width. The canonical point is ``Z = Y - f(X)``, scaled by the best feasible
    multiple (design, Certificates). The network may come from anywhere.

    Parameters
    ----------
    problem : TrainingProblem
        Data, loss and penalty.
    network : ReLUNetwork
        The network; its balanced form is evaluated.
    dual : (n, c) array_like, optional
        Dual point, in units of `Y`; the network's own by default.
    cells : Cells, optional
        All cells, if they are at hand; cells that do not cover the space
        prove nothing and are not used.

    Returns
    -------
    Certificate

    Raises
    ------
    InputError
        Shapes that do not match, NaN or infinity, cells of other data.

    Examples
    --------
    >>> problem = TrainingProblem([[1.0], [-1.0]], [[1.0], [0.0]], beta=0.1)
    >>> zero = certify(problem, ReLUNetwork([[0.0]], [[0.0]]))
    >>> print(f"{zero.objective:.3f} {zero.lower_bound:.3f} {zero.complete}")
    0.500 0.095 True
    """
    if not isinstance(problem, TrainingProblem) or not isinstance(network, ReLUNetwork):
        raise InputTypeError(
            "certify takes a TrainingProblem and a ReLUNetwork; got "
            f"{type(problem).__name__} and {type(network).__name__}."
        )
    if cells is not None and not isinstance(cells, Cells):
        raise InputTypeError(
            f"cells must come from enumerate_cells; got {type(cells).__name__}."
        )
    network.check_fits(problem)
    if cells is not None and not np.array_equal(cells.X, problem.X):
        raise InputError(
            "cells belong to other data than the problem; enumerate the cells of "
            "this problem, enumerate_cells(problem)."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        overflows = not np.isfinite(network.objective(problem))
    if overflows:
        raise InputError(
            "the network's objective overflows at these data; its weights or "
            "predictions are too large to be evaluated."
        )
    network = network.balance()
    objective = network.objective(problem)
    scaled = problem.scaled
    if dual is None:
        Z = problem.loss.canonical_dual(network.predict(problem.X), problem.Y)
    else:
        Z = as_matrix(dual, "dual", allow_vector=True)
        if Z.shape != problem.Y.shape:
            raise InputError(
                f"dual must have the shape of Y, {problem.Y.shape}; got {Z.shape}."
            )
    # Only the direction of the dual point matters: the best multiple is found below.
    size = float(np.abs(Z).max())
    Z = Z / size if size > 0.0 else Z
    size *= float(np.linalg.norm(Z))
    Z = Z / max(float(np.linalg.norm(Z)), 1.0)
    x_norm = float(np.linalg.norm(scaled.X, 2)) if scaled.rank else 0.0
    # Singular values are rounded: nothing that is proved may rest on the last bits.
    up = 1.0 + 8.0 * max(problem.X.shape) * np.finfo(float).eps
    trivial = float(np.linalg.norm(Z, 2)) * (x_norm + scaled.truncation) * up
    rho, complete, total, decided = trivial, scaled.rank == 0, 0, 0
    reason = "every sample is zero" if complete else ""
    if scaled.rank:
        bound, reason = _cheapest_bound(problem, cells, Z)
        if bound is not None:
            rho = min(trivial, bound.value)
            total, decided = bound.cells, bound.decided
            complete = decided == total
    lower, s = _best_bound(problem, Z, rho)
    return Certificate(
        objective=objective,
        lower_bound=lower,
        complete=complete,
        dual=s * Z * scaled.y_scale,
        rho=float(rho * scaled.x_scale * size),
        violation=max(float(rho * size / scaled.y_scale / scaled.beta) - 1.0, 0.0),
        trivial_bound=_best_bound(problem, Z, trivial)[0],
        cells=total,
        decided=decided,
        reason=reason,
    )


def _cheapest_bound(
    problem: TrainingProblem, cells: Cells | None, Z: Array
) -> tuple[RhoBound | None, str]:
    """Return the least bound on rho over all cells, and how it was proved."""
    bounds, reason, retry = [], "", True
    try:
        if cells is None or not cells.complete:
            cells = enumerate_cells(problem)
        bound = _bound_over(problem, cells, Z)
        bounds.append(bound)
        # At their first tolerance the covering cells would be these again.
        retry = (
            bound.decided < bound.cells
            and cells.tolerance != covering_tolerances(problem)[0]
        )
    except TooManyCellsError as error:
        return None, f"trivial bound only: {error}"
    except DegenerateDataError:
        pass
    if retry:
        # Rounding hides the cells of nearly flat data; those at a larger tolerance
        # are plain, and what they change is accounted for.
        try:
            bounds.append(_bound_over(problem, covering_cells(problem), Z))
        except (TooManyCellsError, DegenerateDataError) as error:
            reason = f"trivial bound only: {error}"
    if not bounds:
        return None, reason
    best = min(bounds, key=lambda each: each.value)
    return best, f"proved over {best.cells} cells"


def _bound_over(problem: TrainingProblem, cells: Cells, Z: Array) -> RhoBound:
    scaled = problem.scaled
    return bound_rho(
        cells,
        scaled.X,
        Z,
        rotation=scaled.basis.T @ cells.basis,
        perturbation=cells.perturbation / scaled.x_scale + scaled.truncation,
    )


def _best_bound(problem: TrainingProblem, Z: Array, rho: float) -> tuple[float, float]:
    scaled = problem.scaled
    largest = scaled.beta / rho if rho > 0.0 else np.inf
    bound, s = problem.loss.dual_bound(Z, scaled.Y, largest)
    # Inner products of n c terms, rounded: what is printed must not exceed the bound.
    size = abs(s) * float(np.linalg.norm(Z))
    rounding = np.finfo(float).eps * Z.size * size * (size + np.linalg.norm(scaled.Y))
    return float(bound - rounding) * scaled.objective_scale, s
