"""Certificates: how far a network can be from the global optimum, proved."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from pyomo_relu.arrangement import Cells
from pyomo_relu.arrays import as_matrix
from pyomo_relu.certificates.arguments import power_of_two
from pyomo_relu.certificates.dual_point import solve_for_dual
from pyomo_relu.certificates.linear_term import (
    make_orthogonal,
    slope_of_dual_value,
)
from pyomo_relu.certificates.proofs import CellProof, Proof, prove_rho
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import ScaledProblem, TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Certificate", "certify", "certify_by"]


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
    cones : int
        Cones of the sphere of directions that were bounded in place of cells.
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
    cones: int = 0

    @property
    def gap(self) -> float:
        """Relative gap ``(objective - lower_bound) / objective``, at least 0."""
        difference = self.objective - self.lower_bound
        if difference <= 0.0:
            return 0.0
        return difference / abs(self.objective)

    @property
    def coverage(self) -> str:
        """How many cells were decided, in words."""
        if self.cells:
            return f"{self.decided} of {self.cells}"
        if self.complete and self.cones:
            return "all: the sphere is covered"
        return "none: not enumerated"

    def __str__(self) -> str:
        lines = [
            f"objective       {self.objective:.10g}",
            f"lower bound     {self.lower_bound:.10g}  ({self.reason})",
            f"relative gap    {self.gap:.1e}",
            f"cells decided   {self.coverage}",
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
    max_solved: int = 5_000,
    executor: Executor | None = None,
) -> Certificate:
    r"""Prove a lower bound on the global optimum and compare a network with it.

    For any `Z` with :math:`\rho(Z) \le \beta` the value
    :math:`-\mathrm{loss}^*(-Z)` bounds (NN) from below for networks of every
    width. The canonical point is minus the gradient of the loss, ``Z = Y - f(X)`` for
    the squared one, scaled by the best feasible multiple (design, Certificates). Where
    the loss is not differentiable (absolute, quantile, hinge) the network does not
    determine it: the dual program is solved for it, if it has at most `max_solved`
    cells. The network may come from anywhere.

    Parameters
    ----------
    problem : TrainingProblem
        Data, loss and penalty.
    network : ReLUNetwork
        The network; its balanced form is evaluated.
    dual : (n, c) array_like, optional
        Dual point: minus a derivative of the loss by the predictions of the samples.
        By default the network's own, or that of the solved dual program.
    cells : Cells, optional
        All cells, if they are at hand; cells that do not cover the space
        prove nothing and are not used.
    max_solved : int
        See above.
    executor : concurrent.futures.Executor, optional
        Who looks at blocks of cells, as for :func:`bound_rho`: with the same result.

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
    if cells is not None and not np.array_equal(cells.X, problem.rows):
        raise InputError(
            "cells belong to other data than the problem; enumerate the cells of "
            "this problem, enumerate_cells(problem)."
        )
    network.check_fits(problem)
    if dual is None and not problem.loss.is_smooth:
        dual = solve_for_dual(problem, cells, max_cells=max_solved)
    return certify_by(problem, network, dual, CellProof(cells, executor))


def certify_by(
    problem: TrainingProblem,
    network: ReLUNetwork,
    dual: ArrayLike | None,
    proof: Proof,
) -> Certificate:
    """Certify a network by a given proof of the bound on rho; see :func:`certify`.

    Parameters
    ----------
    problem : TrainingProblem
        Data, loss and penalty.
    network : ReLUNetwork
        The network.
    dual : (n, c) array_like or None
        Dual point; None is minus a derivative of the loss at the network.
    proof : Proof
        What proves the bound.

    Raises
    ------
    InputError
        Shapes that do not match, NaN or infinity.
    """
    network.check_fits(problem)
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
        predictions = network.predict(problem.X)
        Z = -problem.loss.gradient(predictions, problem.Y, problem.weight)
    else:
        Z = as_matrix(dual, "dual", allow_vector=True)
        if Z.shape != problem.Y.shape:
            raise InputError(
                f"dual must have the shape of Y, {problem.Y.shape}; got {Z.shape}."
            )
    Z = problem.loss.repair(Z, problem.Y, problem.weight)
    moved, longest = 0.0, np.inf
    if scaled.skip == 0.0 and scaled.rank:
        Z, moved, whole_line = make_orthogonal(problem, Z)
        longest = np.inf if whole_line else 1.0
    # Only the direction of the dual point matters: the best multiple is found below. A
    # power of two leaves the point where it was, also at the border of a domain.
    size = power_of_two(float(np.abs(Z).max()))
    Z = Z / size
    norm = power_of_two(float(np.linalg.norm(Z)))
    Z, size = Z / norm, size * norm
    moved, longest = moved / size, longest * size
    spread = scaled.spread(scaled.with_anchors(Z))
    units = scaled.objective_scale / scaled.y_scale
    proven = prove_rho(problem, spread, proof, scaled.beta * units / size)
    rho, trivial, reason = proven.value, proven.trivial, proven.reason
    complete = proven.complete
    if moved:
        # What the dual point is away from one that is exactly orthogonal.
        rho += moved * proven.steepness
        trivial += moved * proven.steepness
        if not np.isfinite(moved):
            reason = (
                "no dual point but zero is known that is orthogonal to the linear term"
            )
            complete = False
    lower, s = _best_bound(problem, Z, rho, moved, longest)
    return Certificate(
        objective=objective,
        lower_bound=lower,
        complete=complete,
        dual=problem.loss.repair(s * Z * units, problem.Y, problem.weight),
        rho=float(rho * scaled.x_scale * size),
        violation=max(float(rho * size / units / scaled.beta) - 1.0, 0.0),
        trivial_bound=_best_bound(problem, Z, trivial, moved, longest)[0],
        cells=proven.cells,
        decided=proven.decided,
        cones=proven.cones,
        reason=reason,
    )


def _best_bound(
    problem: TrainingProblem, Z: Array, rho: float, moved: float, longest: float
) -> tuple[float, float]:
    scaled = problem.scaled
    if not np.isfinite(moved):
        return 0.0, 0.0
    # Units of the scaled loss.
    longest *= scaled.y_scale / scaled.objective_scale
    largest = min(scaled.beta / rho if rho > 0.0 else np.inf, longest)
    bound, s = scaled.loss.dual_bound(Z, scaled.Y, largest, scaled.weight)
    if scaled.skip:
        bound, s = _with_linear_penalty(scaled, Z, s)
    point = s * Z
    # Inner products of n c terms, rounded: what is printed must not exceed the bound.
    # Where that is positive the squares are no larger than twice the products.
    scale = 3.0 * float(np.sum(np.abs(point * scaled.Y)))
    if scaled.loss.is_classification:
        # Entropies do not vanish with Z.
        weight = scaled.Y if scaled.weight is None else scaled.weight * scaled.Y
        scale += float(np.sum(weight)) * np.log(1.0 + scaled.Y.shape[1])
    if scaled.skip:
        slope = np.linalg.norm(scaled.means[: len(Z)].T @ point) / scaled.skip
        scale += 2.0 * float(np.linalg.norm(point)) * float(slope)
    rounding = np.finfo(float).eps * (Z.size + 8) * scale
    if moved and s:
        distance = abs(s) * moved
        part = abs(s) / longest
        rounding += distance * slope_of_dual_value(scaled, point, distance, part)
    # No loss is negative, which zero proves.
    if not bound > rounding:
        return 0.0, 0.0
    return float(bound - rounding) * scaled.objective_scale, s


def _with_linear_penalty(
    scaled: ScaledProblem, Z: Array, largest: float
) -> tuple[float, float]:
    r"""Return the best bound with :math:`-|X^T Z|^2 / 2 \gamma`, and the multiple.

    The sum is concave in the multiple and the second part falls with it: the best one
    is between zero and that of the first part.
    """
    assert scaled.skip is not None
    cost = 0.5 * float(np.sum((scaled.means[: len(Z)].T @ Z) ** 2)) / scaled.skip

    def bound(s: float) -> float:
        repaired = scaled.loss.repair(s * Z, scaled.Y, scaled.weight)
        value = scaled.loss.dual_value(repaired, scaled.Y, scaled.weight)
        return value - s * s * cost

    found = minimize_scalar(
        lambda t: -bound(t * largest),
        bounds=(0.0, 1.0),
        method="bounded",
        options={"xatol": 1e-10},
    )
    best = max((0.0, float(found.x), 1.0), key=lambda t: bound(t * largest))
    return bound(best * largest), best * largest
