r"""The smallest weight decay for which the network without neurons is optimal.

.. math::

    \beta_{\max} = \min \{\rho(Z) : Z \in -\partial\,\mathrm{loss}(0)\},
    \qquad \rho(Z) = \max_{|u| \le 1} |Z^T \sigma(X u)|

A network of penalty one, :math:`\sum_j |u_j||v_j| = 1`, with predictions f is its
dual:

.. math::

    \min_{Z \in -\partial\,\mathrm{loss}(0)} \langle Z, f\rangle
    = -\mathrm{loss}'(0; f) \le \beta_{\max},

with equality for the best one (minimax; design, Certificates). Where the loss is
differentiable at zero that is one neuron; where it has a kink there, the best Z and the
best network are found by cutting planes, the two sides of one program.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from pyomo.common.gc_manager import PauseGC
from pyomo.contrib.solver.common.results import TerminationCondition
from pyomo.contrib.solver.common.util import NoDualsError, NoSolutionError
from pyomo.core.expr import LinearExpression
from pyomo.environ import (
    Block,
    ConcreteModel,
    Objective,
    RangeSet,
    Suffix,
    Var,
    value,
)

from pyomo_relu.activations import Activation
from pyomo_relu.arrangement import Cells
from pyomo_relu.arrays import as_matrix
from pyomo_relu.certificates.certificate import certify
from pyomo_relu.certificates.covering import covering_cells
from pyomo_relu.certificates.directions import best_directions
from pyomo_relu.cones import SecondOrderCone
from pyomo_relu.errors import (
    DegenerateDataError,
    InputError,
    InputTypeError,
    SolverError,
    TooManyCellsError,
)
from pyomo_relu.losses import Loss, get_loss
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import ScaledProblem, TrainingProblem
from pyomo_relu.programs.rows import objects
from pyomo_relu.solvers import solve

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["BetaMax", "beta_max", "check_cells", "zero_network"]

logger = logging.getLogger(__name__)

#: Bounds this close, relatively, are taken for equal.
_GAP = 1e-8
#: A direction is a cut where it exceeds the bound by this part.
_VIOLATED = 1e-10
#: Cuts that one round may add, one a cell.
_CUTS_A_ROUND = 20
_MAX_ROUNDS = 60
#: Cuts whose cosine is this near to one are the same.
_SAME = 1e-12
#: Cuts below this part of the bound are idle.
_IDLE = 0.9


@dataclass(frozen=True, eq=False)
class BetaMax:
    r"""The smallest beta for which no neurons are optimal, between proven bounds.

    ``float(result)`` is `value`.

    Attributes
    ----------
    value : float
        Proven upper bound: for this beta and all larger ones the network without
        neurons is optimal, and `dual` is the proof.
    lower : float
        Proven lower bound: for every smaller beta some small multiple of `witness` is
        better than the network without neurons.
    complete : bool
        Whether all cells of the arrangement were bounded and every one decided.
    dual : (n, c) array
        A point of minus the subdifferential of the loss at zero, with
        ``rho(dual) <= value``.
    witness : ReLUNetwork
        A network of penalty one along which the objective changes at the rate
        ``beta - lower`` or less. Where the loss is differentiable at zero it is one
        neuron of unit weights.
    reason : str
        How the upper bound was proved.

    Examples
    --------
    >>> result = beta_max([[1.0], [2.0]], [[1.0], [2.0]])
    >>> print(result)
    beta_max 5 (proved over 2 cells; lower bound 5, relative gap ...e-1...)
    >>> result.witness
    ReLUNetwork(inputs=1, neurons=1, outputs=1)
    """

    value: float
    lower: float
    complete: bool
    dual: Array = field(repr=False)
    witness: ReLUNetwork = field(repr=False)
    reason: str

    @property
    def gap(self) -> float:
        """Relative gap ``(value - lower) / value``, at least 0."""
        return (self.value - self.lower) / self.value if self.value > 0.0 else 0.0

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return (
            f"beta_max {self.value:.10g} ({self.reason}; lower bound "
            f"{self.lower:.10g}, relative gap {self.gap:.1e})"
        )


def beta_max(
    X: ArrayLike | TrainingProblem,
    Y: ArrayLike | None = None,
    *,
    loss: str | Loss = "squared",
    activation: str | Activation = "relu",
    bias: bool = False,
    sample_weight: ArrayLike | None = None,
    output_weight: ArrayLike | None = None,
    cells: Cells | None = None,
) -> BetaMax:
    r"""Return the smallest beta for which the network without neurons is optimal.

    .. math::

        \beta_{\max} = \min_{Z \in -\partial\,\mathrm{loss}(0)} \;
        \max_{|u| \le 1} |Z^T \sigma(X u)|

    over all cells of the arrangement, not over samples of directions. Where the loss is
    differentiable at zero there is one Z. For the absolute and quantile losses with
    targets that are zero, and the hinge loss of three classes or more, there are
    many. Second-order cone programs over directions that the cells ask for find the
    best one, and the bounds are proved from it without believing the solver.

    Parameters
    ----------
    X : (n, d) array_like, or (n, K, d) for patches, or TrainingProblem
        Samples; or a problem, whose beta does not matter, and nothing else.
    Y : (n, c) or (n,) array_like
        Targets.
    loss, activation, bias, sample_weight, output_weight
        What is trained, as for :class:`TrainingProblem`.
    cells : Cells, optional
        All cells, if they are at hand.

    Returns
    -------
    BetaMax
        Check ``gap``: where the arrangement has too many cells, or rounding hides them,
        the bounds are those of norms and of a few directions, proved but weak.

    Raises
    ------
    InputError, InputTypeError
        Bad data (see :class:`TrainingProblem`); a problem with a linear term, where no
        neurons means the best linear model and not the zero network.

    Examples
    --------
    The one-hot closed form: neurons vanish from the largest norm of a class on, here
    of two samples.

    >>> result = beta_max([[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 0], [1, 0], [0, 1]])
    >>> print(f"{result.value:.9f}")
    1.414213562
    """
    problem = _problem_of(
        X,
        Y,
        loss=loss,
        activation=activation,
        bias=bias,
        sample_weight=sample_weight,
        output_weight=output_weight,
    )
    check_cells(problem, cells)
    point = problem.loss.zero_duals(problem.Y, problem.weight)
    if problem.rank == 0:
        nothing = "every sample is zero"
        return BetaMax(0.0, 0.0, True, point, zero_network(problem), nothing)
    if cells is None or not cells.complete:
        cells = _cells_of(problem)
    search = _Search(problem, cells)
    search.add_dual(point)
    search.add_witness(_best_neuron(problem, cells, point))
    one_point = problem.loss.has_one_zero_dual(problem.Y, problem.weight)
    if cells is not None and not one_point and search.gap > _GAP:
        search.solve()
    return search.result()


def check_cells(problem: TrainingProblem, cells: Any) -> None:
    """Refuse what are no cells, or those of other data.

    Parameters
    ----------
    problem : TrainingProblem
        The problem.
    cells : Cells or None
        What a user gave.

    Raises
    ------
    InputError, InputTypeError
        See above.
    """
    if cells is not None and not isinstance(cells, Cells):
        raise InputTypeError(
            "cells must come from enumerate_cells or sample_cells; got "
            f"{type(cells).__name__}."
        )
    if cells is not None and not np.array_equal(cells.X, problem.rows):
        raise InputError(
            "cells belong to other data than the problem; enumerate the cells of "
            "this problem, enumerate_cells(problem)."
        )


def zero_network(problem: TrainingProblem) -> ReLUNetwork:
    """Return the network without neurons for a problem.

    Parameters
    ----------
    problem : TrainingProblem
        Where it has a linear term, that is zero as well.

    Examples
    --------
    >>> zero_network(TrainingProblem([[1.0, 2.0]], [[1.0]], 0.1))
    ReLUNetwork(inputs=2, neurons=0, outputs=1)
    """
    inputs = problem.rows.shape[1]
    skip = None
    if problem.skip is not None:
        skip = np.zeros((inputs, problem.n_outputs))
    return ReLUNetwork.of_problem(
        problem, np.zeros((inputs, 0)), np.zeros((0, problem.n_outputs)), skip=skip
    )


def _network(
    problem: TrainingProblem, first: Array, second: Array | None = None
) -> ReLUNetwork:
    if second is None:
        second = np.zeros((first.shape[1], problem.n_outputs))
    return ReLUNetwork.of_problem(problem, first, second)


def _problem_of(
    X: ArrayLike | TrainingProblem, Y: ArrayLike | None, **options: Any
) -> TrainingProblem:
    if isinstance(X, TrainingProblem):
        defaults = dict.fromkeys(options)
        defaults |= {"loss": "squared", "activation": "relu", "bias": False}
        given = sorted(k for k, v in options.items() if v is not defaults[k])
        if Y is not None or given:
            raise InputTypeError(
                f"beta_max takes a TrainingProblem alone, or data; got a problem and "
                f"{', '.join(['Y'] * (Y is not None) + given)}."
            )
        problem = X
    elif Y is None:
        raise InputTypeError(
            "beta_max takes X and Y, or a TrainingProblem; got X alone, a "
            f"{type(X).__name__}."
        )
    else:
        # Any beta will do, if it is in proportion.
        samples = as_matrix(X, "X", allow_patches=True)
        targets = as_matrix(Y, "Y", allow_vector=True)
        scale = get_loss(options["loss"]).beta_scale(
            float(np.abs(samples).max()) or 1.0, float(np.abs(targets).max()) or 1.0
        )
        problem = TrainingProblem(samples, targets, scale, **options)
    if problem.skip is not None:
        raise InputError(
            "beta_max is about the zero network, and this problem has a linear term: "
            "without neurons its best network is the best linear model, not zero. Give "
            "a problem without skip."
        )
    return problem


class _Search:
    """The best dual point and the best witness so far."""

    def __init__(self, problem: TrainingProblem, cells: Cells | None) -> None:
        self.problem, self.cells = problem, cells
        self.value, self.lower = np.inf, 0.0
        self.witness = zero_network(problem)
        self.dual = np.zeros(problem.Y.shape)
        self.complete, self.reason = False, ""

    @property
    def gap(self) -> float:
        return (self.value - self.lower) / self.value if self.value > 0.0 else 0.0

    def add_dual(self, Z: Array) -> None:
        """Bound rho at a point of the set (n, c), in the user's units, over all cells.

        This is an upper bound on beta_max.
        """
        zero = zero_network(self.problem)
        proof = certify(self.problem, zero, Z, cells=self.cells)
        # Scaled points, the change to the user's units and the rows of the set are
        # rounded, a few last bits each.
        scaled = self.problem.scaled
        size = float(np.linalg.norm(Z)) * scaled.x_scale * scaled.activation.lipschitz
        bound = proof.rho + 8.0 * np.finfo(float).eps * (1 + Z.shape[1]) * size
        if bound < self.value:
            self.value, self.dual = bound, Z
            self.complete, self.reason = proof.complete, proof.reason

    def add_witness(self, network: ReLUNetwork) -> None:
        """Take the slope along a network, over its penalty, if it is the best.

        This is a lower bound on beta_max.
        """
        network = network.balance()
        penalty = network.penalty()
        if penalty == 0.0:
            return
        network = network.with_layers(
            network.stacked / np.sqrt(penalty), network.second / np.sqrt(penalty)
        )
        f = network.predict(self.problem.X)
        Z = _least_member(self.problem, f)
        rounding = 4.0 * np.finfo(float).eps * (Z.size + self.problem.rows.shape[1])
        sizes = np.abs(network.second).T @ np.linalg.norm(network.stacked, axis=0)
        rows = np.linalg.norm(self.problem.rows, axis=1).max()
        rounding *= float(np.abs(Z).sum() * rows * np.max(sizes, initial=0.0))
        rounding *= self.problem.activation.lipschitz
        bound = float(np.sum(Z * f)) - rounding
        if bound > self.lower:
            self.lower, self.witness = bound, network

    def result(self) -> BetaMax:
        return BetaMax(
            value=float(self.value),
            lower=float(min(self.lower, self.value)),
            complete=self.complete,
            dual=self.dual,
            witness=self.witness,
            reason=self.reason,
        )

    def solve(self) -> None:
        """Cut off dual points by directions, until the bounds meet.

        Each round adds, for the worst cells, the direction in which the dual point is
        too large. The multipliers of the directions are a network, the next witness.
        """
        assert self.cells is not None
        problem, cells = self.problem, self.cells
        scaled = problem.scaled
        units = scaled.y_scale / scaled.objective_scale
        Z, bound, pool = self.dual, 0.0, np.zeros((0, scaled.rank))
        answer: _Answer | None = None
        for _ in range(_MAX_ROUNDS):
            found = best_directions(
                problem, cells, Z * units, floor=bound * (1.0 - _VIOLATED)
            )
            worst = np.argsort(-found.values, kind="stable")[:_CUTS_A_ROUND]
            worst = worst[found.values[worst] > bound * (1.0 + _VIOLATED)]
            known = len(pool)
            pool = _different(scaled, np.vstack([pool, found.directions[worst]]))
            used = pool
            if len(pool) == known:
                # All cuts are there. Without idle ones an interior point that gave up
                # may get further.
                if answer is None or answer.converged:
                    break
                used = pool[answer.cuts > _IDLE * answer.cuts.max()]
            try:
                answer = _solve_master(problem, used)
            except SolverError as error:
                # What was proved stays proved.
                logger.warning("beta_max keeps a gap of %.1e: %s", self.gap, error)
                break
            bound, Z = answer.bound, _member(problem, answer.Z / units)
            self.add_dual(Z)
            self.add_witness(_network(problem, scaled.basis @ used.T, answer.second))
            if self.gap <= _GAP or len(pool) == known:
                break


def _different(scaled: ScaledProblem, directions: Array) -> Array:
    """Return directions (m, r) without repeated cuts, in their order.

    Cells share rays, and with the absolute value opposite directions are one. What is
    equal up to rounding would leave the multipliers undetermined.
    """
    hidden = scaled.hidden(directions.T)[: len(scaled.Y)].T
    hidden = hidden / np.maximum(np.linalg.norm(hidden, axis=1), 1e-300)[:, None]
    cosines = np.tril(hidden @ hidden.T, -1)
    return directions[cosines.max(axis=1, initial=-1.0) < 1.0 - _SAME]


class _Answer(NamedTuple):
    """Solution of a master program, in scaled units: what the solver says."""

    bound: float
    Z: Array
    second: Array
    cuts: Array
    converged: bool


def _solve_master(problem: TrainingProblem, directions: Array) -> _Answer:
    r"""Solve for the best dual point over some directions.

    .. math::

        \min\ t \quad \text{s.t. } Z \in -\partial\,\mathrm{loss}(0), \quad
        |Z^T \sigma(X u_k)| \le t

    By duality the multipliers of the cones, turned round, are the second layer of the
    best network of these directions.

    Parameters
    ----------
    problem : TrainingProblem
        The problem.
    directions : (m, r) array
        First layers, scaled.
    """
    scaled = problem.scaled
    n, c = problem.Y.shape
    hidden = scaled.hidden(directions.T)[:n]
    model = ConcreteModel(name="beta_max")
    with PauseGC():
        model.bound = Var()
        model.scaled_dual_point = Var(RangeSet(0, n - 1), RangeSet(0, c - 1))
        Z = objects(model.scaled_dual_point.values(), (n, c))
        model.subdifferential = Block()
        scaled.loss.write_zero_duals(model.subdifferential, Z, scaled.Y, scaled.weight)
        columns = [Z[:, o].tolist() for o in range(c)]
        vectors = {
            k: (
                model.bound,
                *(
                    LinearExpression(linear_coefs=h, linear_vars=column)
                    for column in columns
                ),
            )
            for k, h in enumerate(hidden.T.tolist())
        }
        model.cone = SecondOrderCone.from_vectors(vectors, list(vectors))
        model.objective = Objective(expr=model.bound)
        model.dual = Suffix(direction=Suffix.IMPORT)
    results = solve(
        model,
        accuracy="tight",
        # The bounds are proved from any point: a second solver adds nothing.
        fallback=False,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
    )
    try:
        results.solution_loader.load_solution()
        multipliers = [model.dual[cone] for cone in model.cone.values()]
    except (NoSolutionError, NoDualsError, KeyError) as error:
        raise SolverError(
            f"{results.solver_name} returned no point for beta_max: "
            f"{results.termination_condition.name}. Rescale the data, or leave out "
            "nearly parallel samples."
        ) from error
    numbers = [z.value for z in model.scaled_dual_point.values()]
    point = np.array(numbers, dtype=float).reshape(n, c)
    return _Answer(
        bound=float(value(model.bound)),
        Z=point,
        second=-np.array(multipliers, dtype=float)[:, 1:],
        cuts=np.linalg.norm(hidden.T @ point, axis=1),
        converged=results.termination_condition
        == TerminationCondition.convergenceCriteriaSatisfied,
    )


def _least_member(problem: TrainingProblem, f: Array) -> Array:
    """Return the Z of minus the subdifferential at zero with the least ``<Z, f>``.

    Where the loss has kinks it is piecewise linear, and the set at zero knows targets
    by their signs only. With these for targets no other kink is between zero and
    predictions below one half, where the derivative is that along f.
    """
    loss, Y, weight = problem.loss, problem.Y, problem.weight
    if loss.is_smooth:
        return loss.zero_duals(Y, weight)
    largest = float(np.abs(f).max()) or 1.0
    return -loss.gradient(f / (4.0 * largest), np.sign(Y), weight)


def _member(problem: TrainingProblem, Z: Array) -> Array:
    """Return a point (n, c) of minus the subdifferential at zero next to Z.

    In the user's units; exactly inside of the domain of the dual.
    """
    loss, Y, weight = problem.loss, problem.Y, problem.weight
    if loss.is_classification:
        # Beyond the weight on the class the projection is on the face where it is met.
        return loss.repair(Z + 4.0 * (1.0 + np.abs(Z).max()) * Y, Y, weight)
    repaired = loss.repair(Z, Y, weight)
    return np.where(Y == 0.0, repaired, loss.zero_duals(Y, weight))


def _cells_of(problem: TrainingProblem) -> Cells | None:
    try:
        return covering_cells(problem)
    except (TooManyCellsError, DegenerateDataError):
        return None


def _best_neuron(
    problem: TrainingProblem, cells: Cells | None, Z: Array
) -> ReLUNetwork:
    """Return the neuron of unit weights with the largest ``<Z, f>``.

    Without cells the best of a few directions: samples and principal axes.
    """
    scaled = problem.scaled
    dual = Z * (scaled.y_scale / scaled.objective_scale)
    if cells is None:
        norms = np.linalg.norm(scaled.X, axis=1, keepdims=True)
        half = np.vstack([(scaled.X / np.maximum(norms, 1e-300)), np.eye(scaled.rank)])
        directions = np.vstack([half, -half])
        hidden = scaled.hidden(directions.T)[: len(Z)]
        best = int(np.linalg.norm(hidden.T @ dual, axis=1).argmax())
        u = directions[best]
    else:
        found = best_directions(problem, cells, dual)
        u = found.directions[int(found.values.argmax())]
    first = scaled.basis @ u[:, None]
    v = dual.T @ scaled.hidden(u[:, None])[: len(Z)]
    size = float(np.linalg.norm(v))
    return _network(problem, first, v.T / size if size > 0.0 else v.T)
