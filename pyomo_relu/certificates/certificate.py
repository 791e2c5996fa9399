"""Certificates: how far a network can be from the global optimum, proved."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from pyomo_relu.arrangement import Cells, enumerate_cells
from pyomo_relu.arrays import as_matrix
from pyomo_relu.certificates.covering import covering_cells, covering_tolerances
from pyomo_relu.certificates.dual_point import solve_for_dual
from pyomo_relu.certificates.linear_term import (
    make_orthogonal,
    slope_of_dual_value,
)
from pyomo_relu.certificates.rho import RhoBound, bound_rho
from pyomo_relu.certificates.semidefinite import semidefinite_bound
from pyomo_relu.certificates.sphere import sphere_bound
from pyomo_relu.errors import (
    DegenerateDataError,
    InputError,
    InputTypeError,
    TooManyCellsError,
)
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import ScaledProblem, TrainingProblem

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
    network.check_fits(problem)
    if cells is not None and not np.array_equal(cells.X, problem.rows):
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
        predictions = network.predict(problem.X)
        Z = problem.loss.canonical_dual(predictions, problem.Y, problem.weight)
        if Z is None:
            Z = solve_for_dual(problem, cells, max_cells=max_solved)
        if Z is None:
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
    proof = prove_rho(problem, cells, spread, executor=executor)
    rho, trivial, reason = proof.value, proof.trivial, proof.reason
    complete, total, decided = proof.complete, proof.cells, proof.decided
    if moved:
        # What the dual point is away from one that is exactly orthogonal.
        rho += moved * proof.steepness
        trivial += moved * proof.steepness
        if not np.isfinite(moved):
            reason = (
                "no dual point but zero is known that is orthogonal to the linear term"
            )
            complete = False
    lower, s = _best_bound(problem, Z, rho, moved, longest)
    units = scaled.objective_scale / scaled.y_scale
    return Certificate(
        objective=objective,
        lower_bound=lower,
        complete=complete,
        dual=problem.loss.repair(s * Z * units, problem.Y, problem.weight),
        rho=float(rho * scaled.x_scale * size),
        violation=max(float(rho * size / units / scaled.beta) - 1.0, 0.0),
        trivial_bound=_best_bound(problem, Z, trivial, moved, longest)[0],
        cells=total,
        decided=decided,
        reason=reason,
    )


#: Up to this rank branch and bound over the sphere is tried, to this accuracy, with so
#: many cones.
_SPHERE_RANK = 7
_SPHERE_TOLERANCE = 1e-7
_SPHERE_CONES = 300_000


class ProvenRho(NamedTuple):
    """An upper bound on rho, and how it was proved.

    Attributes
    ----------
    value : float
        The bound, scaled.
    trivial : float
        That by norms alone.
    steepness : float
        How fast rho may grow with the Euclidean norm of the dual point.
    complete : bool
        Whether every cell was decided.
    cells, decided : int
        How many cells there are, and of how many rho is known.
    reason : str
        How it was proved.
    """

    value: float
    trivial: float
    steepness: float
    complete: bool
    cells: int
    decided: int
    reason: str


def prove_rho(
    problem: TrainingProblem,
    cells: Cells | None,
    spread: Array,
    *,
    executor: Executor | None = None,
) -> ProvenRho:
    """Bound rho from above by the cheapest of what proves it.

    Parameters
    ----------
    problem : TrainingProblem
        The problem.
    cells : Cells or None
        Its cells, if they are at hand.
    spread : (N, c) array
        A dual point, a row for each row of the arrangement.
    executor : concurrent.futures.Executor, optional
        As for :func:`bound_rho`.
    """
    scaled = problem.scaled
    x_norm = float(np.linalg.norm(scaled.X, 2)) if scaled.rank else 0.0
    # Singular values are rounded: nothing that is proved may rest on the last bits.
    up = 1.0 + 8.0 * max(problem.rows.shape) * np.finfo(float).eps
    lipschitz = scaled.activation.lipschitz
    trivial = float(np.linalg.norm(spread, 2)) * (x_norm + scaled.truncation) * up
    trivial *= lipschitz
    rho, complete, total, decided = trivial, scaled.rank == 0, 0, 0
    reason = "every sample is zero" if complete else ""
    if scaled.rank:
        bound, reason = _cheapest_bound(problem, cells, spread, executor)
        if bound is not None:
            rho = min(trivial, bound.value)
            total, decided = bound.cells, bound.decided
            complete = total > 0 and decided == total
    steepness = (x_norm + scaled.truncation) * up * lipschitz
    return ProvenRho(rho, trivial, steepness, complete, total, decided, reason)


def _cheapest_bound(
    problem: TrainingProblem,
    cells: Cells | None,
    Z: Array,
    executor: Executor | None,
) -> tuple[RhoBound | None, str]:
    """Return the least bound on rho over all cells, and how it was proved."""
    bounds, reason, retry = [], "", True
    try:
        if cells is None or not cells.complete:
            cells = enumerate_cells(problem)
        bound = _bound_over(problem, cells, Z, executor)
        bounds.append(bound)
        # At their first tolerance the covering cells would be these again.
        retry = (
            bound.decided < bound.cells
            and cells.tolerance != covering_tolerances(problem)[0]
        )
    except TooManyCellsError:
        return bound_without_cells(problem, Z)
    except DegenerateDataError:
        pass
    if retry:
        # Rounding hides the cells of nearly flat data; those at a larger tolerance
        # are plain, and what they change is accounted for.
        try:
            covering = covering_cells(problem)
            bounds.append(_bound_over(problem, covering, Z, executor))
        except (TooManyCellsError, DegenerateDataError) as error:
            reason = f"trivial bound only: {error}"
    if not bounds:
        return None, reason
    best = min(bounds, key=lambda each: each.value)
    return best, f"proved over {best.cells} cells"


def bound_without_cells(problem: TrainingProblem, Z: Array) -> tuple[RhoBound, str]:
    """Bound rho where the cells are too many, and say how.

    By a semidefinite relaxation, and in low rank by branch and bound over the sphere
    of directions as well.

    Parameters
    ----------
    problem : TrainingProblem
        The problem.
    Z : (N, c) array
        A dual point, a row for each row of the arrangement, scaled.
    """
    scaled = problem.scaled
    semidefinite = semidefinite_bound(
        scaled.X, Z, scaled.activation, perturbation=scaled.truncation
    )
    value, attained = semidefinite.value, 0.0
    reason = f"without cells, by {semidefinite.method}"
    if scaled.rank <= _SPHERE_RANK:
        sphere = sphere_bound(
            scaled.X,
            Z,
            scaled.activation,
            upper=semidefinite.value,
            tolerance=_SPHERE_TOLERANCE,
            max_cones=_SPHERE_CONES,
            perturbation=scaled.truncation,
        )
        attained = sphere.attained
        if sphere.value < value:
            value = sphere.value
            left = f", {sphere.open:,} left open" if sphere.open else ""
            reason = f"proved over {sphere.cones:,} cones of the sphere{left}"
    return RhoBound(value, attained, 0, 0), reason


def _bound_over(
    problem: TrainingProblem,
    cells: Cells,
    Z: Array,
    executor: Executor | None = None,
) -> RhoBound:
    scaled = problem.scaled
    return bound_rho(
        cells,
        scaled.X,
        Z,
        rotation=scaled.basis.T @ cells.basis,
        perturbation=cells.perturbation / scaled.x_scale + scaled.truncation,
        activation=scaled.activation,
        executor=executor,
    )


def power_of_two(size: float) -> float:
    """Return a power of two next to a size, 1 for zero."""
    return float(2.0 ** min(np.ceil(np.log2(size)), 1023.0)) if size > 0.0 else 1.0


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
