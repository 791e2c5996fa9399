"""Networks for many values of the weight decay, each with its proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from pyomo_relu.activations import Activation
from pyomo_relu.arrangement import Cells
from pyomo_relu.certificates import (
    BetaMax,
    Certificate,
    beta_max,
    certify,
    covering_cells,
)
from pyomo_relu.certificates.directions import best_directions
from pyomo_relu.certificates.zero_network import check_cells, zero_network
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.losses import Loss
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.network_program import MAX_CELLS
from pyomo_relu.recovery import improvements
from pyomo_relu.training import check_options, train_problem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["PathPoint", "PathResult", "train_path"]

#: Neurons that one round of a warm start may add, descents in it, and rounds.
_NEURONS_A_ROUND = 4
_DESCENTS = 1
_MAX_ROUNDS = 20
#: A descent over more neurons than one for so many cells costs more than the program
#: over these cells.
_CELLS_A_NEURON = 16
#: The last round is one that leaves more than this of the gap three rounds before.
_STALLED = 0.9
#: Cosines above this belong to one new neuron.
_SAME = 0.999


@dataclass(frozen=True, eq=False)
class PathPoint:
    """One network of a path.

    Attributes
    ----------
    beta : float
        Weight decay.
    network : ReLUNetwork
        The best network, in the user's units.
    certificate : Certificate
        How far from the global optimum it can be.
    loss : float
        Its loss, without penalty.
    source : {"zero", "warm start", "solved"}
        Whether beta is at least ``beta_max``, the network before was improved, or a
        program was solved.
    converged : bool
        Whether the gap asked for was proved.
    seconds : float
        What this point took.
    """

    beta: float
    network: ReLUNetwork
    certificate: Certificate = field(repr=False)
    loss: float
    source: str
    converged: bool
    seconds: float

    @property
    def objective(self) -> float:
        """Objective of the network."""
        return self.certificate.objective

    @property
    def gap(self) -> float:
        """Proven relative gap."""
        return self.certificate.gap

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.network.n_neurons


@dataclass(frozen=True, eq=False)
class PathResult(Sequence[PathPoint]):
    """What :func:`train_path` returns: a sequence of points, printed as a table.

    Attributes
    ----------
    points : tuple of PathPoint
        In the order in which the betas were given.
    beta_max : BetaMax or None
        From where on the network is zero; None with a linear term, or where the cells
        are not all.
    interrupted : bool
        Whether Ctrl-C ended the work early; points that were not reached are missing.
    """

    points: tuple[PathPoint, ...]
    beta_max: BetaMax | None
    interrupted: bool = False

    @property
    def converged(self) -> bool:
        """Whether the gap asked for was proved at every point."""
        return not self.interrupted and all(each.converged for each in self.points)

    def __len__(self) -> int:
        return len(self.points)

    @overload
    def __getitem__(self, index: int) -> PathPoint: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[PathPoint, ...]: ...
    def __getitem__(self, index: int | slice) -> PathPoint | tuple[PathPoint, ...]:
        return self.points[index]

    def __iter__(self) -> Iterator[PathPoint]:
        return iter(self.points)

    def __str__(self) -> str:
        head = (
            f"{'beta':>12} {'objective':>14} {'loss':>14} {'neurons':>7} "
            f"{'gap':>7} {'seconds':>7}  how"
        )
        rows = [
            f"{p.beta:>12.6g} {p.objective:>14.8g} {p.loss:>14.8g} {p.neurons:>7} "
            f"{p.gap:>7.1e} {p.seconds:>7.2f}  {p.source}"
            for p in self.points
        ]
        foot = [str(self.beta_max)] if self.beta_max is not None else []
        if self.interrupted:
            foot.append("interrupted: points are missing")
        return "\n".join([head, *rows, *foot])


def train_path(
    X: ArrayLike,
    Y: ArrayLike,
    betas: Iterable[float],
    *,
    loss: str | Loss = "squared",
    activation: str | Activation = "relu",
    bias: bool = False,
    sample_weight: ArrayLike | None = None,
    output_weight: ArrayLike | None = None,
    skip: bool | float = False,
    gap: float = 1e-6,
    cells: Cells | None = None,
    progress: Callable[[str], None] | None = None,
) -> PathResult:
    r"""Train networks for many values of beta, each to a proven gap.

    From the largest beta down. The cells are enumerated once; from ``beta_max`` on the
    network is zero. Below, the network before is the start: it is improved, neurons
    are added in the directions u in which its dual point is infeasible,

    .. math:: |Z^T \sigma(X u)| > \beta |u|, \qquad Z = -\nabla\,\mathrm{loss}(f)

    (design, Cell generation), and only where that does not prove the gap is the program
    of :func:`pyomo_relu.train` solved. Losses that are not differentiable are always
    solved: their networks have no dual points.

    Parameters
    ----------
    X : (n, d) array_like, or (n, K, d) for patches
        Samples.
    Y : (n, c) or (n,) array_like
        Targets.
    betas : iterable of float
        Weight decays, positive, in any order.
    loss, activation, bias, sample_weight, output_weight, skip, gap, cells, progress
        As for :func:`pyomo_relu.train`.

    Returns
    -------
    PathResult
        The points in the order of `betas`; print it. Check ``converged``.

    Raises
    ------
    InputError, InputTypeError
        No betas, or one that is not positive and finite; bad data or options.
    TooManyCellsError
        More cells than one program can hold; the message has the alternatives.
    SolverError
        The solver returned no point, and there was no network to start from.

    Examples
    --------
    >>> path = train_path([[1.0], [2.0]], [[1.0], [2.0]], [0.5, 8.0, 2.0])
    >>> for point in path:
    ...     print(f"{point.beta} {point.neurons} {point.loss:.3f} {point.source}")
    0.5 1 0.025 warm start
    8.0 0 2.500 zero
    2.0 1 0.400 warm start
    >>> print(f"{path.beta_max.value:.6f}")
    5.000000
    """
    values = _read_betas(betas)
    check_options(gap, progress)
    problem_at = partial(
        TrainingProblem,
        X,
        Y,
        loss=loss,
        activation=activation,
        bias=bias,
        sample_weight=sample_weight,
        output_weight=output_weight,
        skip=skip,
    )
    falling = sorted(set(values), reverse=True)
    problems = {beta: problem_at(beta) for beta in falling}
    path = _Path(problems[falling[0]], cells, gap, progress or (lambda _: None))
    points: dict[float, PathPoint] = {}
    interrupted = False
    for beta in falling:
        try:
            points[beta] = path.point(problems[beta])
        except KeyboardInterrupt:
            if not points:
                raise
            interrupted = True
        if interrupted or path.interrupted:
            break
    return PathResult(
        tuple(points[beta] for beta in values if beta in points),
        path.beta_max,
        interrupted or path.interrupted,
    )


def _read_betas(betas: Any) -> list[float]:
    if isinstance(betas, (str, bytes)) or not isinstance(betas, Iterable):
        raise InputTypeError(
            f"betas must be a sequence of numbers; got {betas!r}. For one beta use "
            "train."
        )
    given = list(betas)
    try:
        values = [float(beta) for beta in given]
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"betas must be a sequence of numbers; got {given!r}."
        ) from error
    if not values:
        raise InputError("betas must have at least one number; got none.")
    bad = [beta for beta in values if not 0.0 < beta < np.inf]
    if bad:
        raise InputError(
            f"betas must be positive and finite; {len(bad)} of {len(values)} are not, "
            f"the first is {bad[0]!r}."
        )
    return values


class _Path:
    """The cells, and the network of the beta before."""

    def __init__(
        self,
        problem: TrainingProblem,
        cells: Cells | None,
        gap: float,
        progress: Callable[[str], None],
    ) -> None:
        self.gap, self.progress = gap, progress
        self.previous: ReLUNetwork | None = None
        self.dual: Array | None = None
        self.beta_max: BetaMax | None = None
        self.interrupted = False
        check_cells(problem, cells)
        if cells is None and problem.rank:
            progress("enumerating cells")
            cells = covering_cells(problem, max_cells=MAX_CELLS)
        self.cells = cells
        if problem.skip is None and (cells is None or cells.complete):
            progress("bounding beta_max")
            self.beta_max = beta_max(problem, cells=cells)
            self.previous = zero_network(problem)

    def point(self, problem: TrainingProblem) -> PathPoint:
        """Train for the next smaller beta."""
        begin = time.perf_counter()
        found = self._zero(problem) or self._warm_start(problem)
        if found is not None:
            network, certificate, source = found
            converged = certificate.gap <= self.gap
        else:
            result = train_problem(
                problem,
                gap=self.gap,
                cells=self.cells,
                progress=lambda text: self._report(problem, text),
                start=self.previous,
                start_dual=self.dual,
            )
            network, certificate = result.network, result.certificate
            source = "solved" if result.history else "warm start"
            converged, self.interrupted = result.converged, result.interrupted
        self.previous = network
        self.dual = None if problem.loss.is_smooth else certificate.dual
        return PathPoint(
            beta=problem.beta,
            network=network,
            certificate=certificate,
            loss=problem.loss_value(network.predict(problem.X)),
            source=source,
            converged=converged,
            seconds=time.perf_counter() - begin,
        )

    def _report(self, problem: TrainingProblem, text: str) -> None:
        self.progress(f"beta {problem.beta:g}: {text}")

    def _zero(
        self, problem: TrainingProblem
    ) -> tuple[ReLUNetwork, Certificate, str] | None:
        if self.beta_max is None or problem.beta < self.beta_max.value:
            return None
        network = zero_network(problem)
        proof = certify(problem, network, self.beta_max.dual, cells=self.cells)
        return network, proof, "zero"

    def _warm_start(
        self, problem: TrainingProblem
    ) -> tuple[ReLUNetwork, Certificate, str] | None:
        """Improve the network before, and add neurons to it, until the gap is proved.

        What falls short is left to be the start of a solve.
        """
        network, cells = self.previous, self.cells
        if network is None or cells is None or not problem.loss.is_smooth:
            return None
        if not cells.complete:
            return None
        self._report(problem, "improving the network before")
        most = max(_NEURONS_A_ROUND, len(cells) // _CELLS_A_NEURON)
        gaps: list[float] = []
        for _ in range(_MAX_ROUNDS):
            for better in islice(improvements(problem, network), 1 + _DESCENTS):
                proof = certify(problem, better, cells=cells)
                if proof.gap <= self.gap:
                    return better, proof, "warm start"
            network = self.previous = better
            gaps.append(proof.gap)
            stalled = len(gaps) > 3 and gaps[-1] > _STALLED * gaps[-4]
            if stalled or network.n_neurons > most:
                break
            network = _grow(problem, network, cells)
        return None


def _grow(problem: TrainingProblem, network: ReLUNetwork, cells: Cells) -> ReLUNetwork:
    """Add neurons where the dual point of a network exceeds beta the most."""
    scaled = problem.scaled
    predictions = network.predict(problem.X)
    Z = -problem.loss.gradient(predictions, problem.Y, problem.weight)
    found = best_directions(
        problem, cells, Z * (scaled.y_scale / scaled.objective_scale), floor=scaled.beta
    )
    order = np.argsort(-found.values, kind="stable")
    chosen: list[Array] = []
    for i in order[found.values[order] > scaled.beta].tolist():
        u = found.directions[i]
        if all(float(u @ other) < _SAME for other in chosen):
            chosen.append(u)
        if len(chosen) == _NEURONS_A_ROUND:
            break
    first, second = [network.stacked], [network.second]
    for u in chosen:
        hidden = scaled.hidden(u[:, None])[: problem.n_samples] * scaled.x_scale
        Z = -problem.loss.gradient(predictions, problem.Y, problem.weight)
        v = Z.T @ hidden
        size = float(np.linalg.norm(v))
        if size <= problem.beta:
            continue
        step = hidden @ (v / size).T
        length = _line_search(problem, predictions, step)
        predictions = predictions + length * step
        first.append(np.sqrt(length) * (scaled.basis @ u)[:, None])
        second.append(np.sqrt(length) * (v / size).T)
    return network.with_layers(np.hstack(first), np.vstack(second))


def _line_search(problem: TrainingProblem, predictions: Array, step: Array) -> float:
    """Return the best multiple of a neuron of penalty one."""

    def objective(length: float) -> float:
        value = problem.loss_value(predictions + length * step)
        return value + problem.beta * length

    # A longer one would cost more penalty than there is loss.
    longest = problem.loss_value(predictions) / problem.beta
    found = minimize_scalar(
        objective,
        bounds=(0.0, longest),
        method="bounded",
        options={"xatol": 1e-6 * longest},
    )
    return float(found.x)
