"""The whole path in one call: data to a network with a proven gap."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pyomo.contrib.solver.common.results import Results, TerminationCondition
from pyomo.contrib.solver.common.util import NoDualsError, NoSolutionError
from pyomo.environ import value

from pyomo_relu.activations import Activation
from pyomo_relu.arrangement import Cells
from pyomo_relu.certificates import (
    Certificate,
    beta_max,
    certify,
    covering_cells,
)
from pyomo_relu.certificates.directions import best_ray_value
from pyomo_relu.certificates.proofs import (
    MANY_IN_HIGH_RANK,
    SPHERE_RANK,
    may_be_more_cells,
)
from pyomo_relu.certificates.zero_network import check_cells, zero_network
from pyomo_relu.deadline import Deadline
from pyomo_relu.errors import (
    InputError,
    InputTypeError,
    SolverError,
    TooManyCellsError,
)
from pyomo_relu.generation import (
    Checkpoint,
    Generation,
    LocalTraining,
    generate,
    heuristic_pricing,
)
from pyomo_relu.history import TrainingRound
from pyomo_relu.losses import Loss
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs import build_completely_positive, build_copositive
from pyomo_relu.programs.network_program import MAX_CELLS
from pyomo_relu.programs.user_rows import no_rows
from pyomo_relu.recovery import improvements, recover_network
from pyomo_relu.recovery.refit import refit
from pyomo_relu.solvers import solve
from pyomo_relu.tiers import relax

Array = np.ndarray[Any, np.dtype[np.float64]]

logger = logging.getLogger(__name__)

__all__ = [
    "METHODS",
    "MOST_CELLS",
    "TrainingResult",
    "TrainingRound",
    "train",
    "train_problem",
]

#: Accuracy costs an interior point two or three steps more, and tells the faces that
#: neurons lie on from mere neighbours.
_ACCURACY = "tight"
#: Doubly nonnegative relaxations are refined by bisection at most this often.
_MAX_LEVEL = 3
#: Cells with a second moment below this part of the largest hold no neuron.
_EMPTY = 1e-6
#: From so many cells on most of them stay out of the program; at most so many are
#: enumerated.
_GENERATE_FROM = 500
MOST_CELLS = 2_000_000
METHODS = ("auto", "enumeration", "generation", "local")
#: Status of a round whose solver converged.
_CONVERGED = TerminationCondition.convergenceCriteriaSatisfied.name


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What :func:`train` returns.

    Attributes
    ----------
    network : ReLUNetwork
        The best network, in the user's units.
    certificate : Certificate
        How far from the global optimum it can be.
    history : tuple of TrainingRound
        A row a solve.
    problem : TrainingProblem
        What was trained.
    converged : bool
        Whether the gap asked for was proved.
    interrupted : bool
        Whether Ctrl-C ended the work early.
    """

    network: ReLUNetwork
    certificate: Certificate
    history: tuple[TrainingRound, ...]
    problem: TrainingProblem = field(repr=False)
    converged: bool
    interrupted: bool = False

    def __str__(self) -> str:
        return f"{self.network!r}\n{self.certificate}"


def train(
    X: ArrayLike,
    Y: ArrayLike,
    beta: float,
    *,
    loss: str | Loss = "squared",
    activation: str | Activation = "relu",
    bias: bool = False,
    sample_weight: ArrayLike | None = None,
    output_weight: ArrayLike | None = None,
    skip: bool | float = False,
    gap: float = 1e-6,
    cells: Cells | None = None,
    method: str = "auto",
    time_limit: float | None = None,
    max_rounds: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    progress: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Train a two-layer network to a proven gap.

    Solves the doubly nonnegative relaxation of the completely positive program over
    the cells, recovers a network and certifies it. Of many cells only those enter the
    program that pricing over all of them asks for (design, Cell generation). Where the
    relaxation is not exact (rank above three) simplicial pieces of the cells take
    their place.

    Parameters
    ----------
    X : (n, d) array_like, or (n, K, d) for patches
        Samples.
    Y : (n, c) or (n,) array_like
        Targets.
    beta : float
        Weight decay, positive.
    loss, activation, bias, sample_weight, output_weight, skip
        What is trained, as for :class:`TrainingProblem`.
    gap : float
        Relative gap to prove.
    cells : Cells, optional
        Train over these cells only, for example from :func:`sample_cells`, where
        all are too many. The certificate still speaks of all cells, so the gap may
        stay large.
    method : {"auto", "enumeration", "generation", "local"}
        Whether all cells enter one program, or those that pricing asks for. By default
        generation from a few hundred cells on; above two million, in rank up to seven,
        nothing is enumerated, and the pricing is branch and bound over the sphere.
        ``"local"``, the default in higher rank, needs no cells: neurons are added by
        heuristic pricing and improved together, and the bound is what can be proved
        without cells.
    time_limit : float, optional
        Seconds from the call, after which the best network and bound so far are
        returned. Solvers, descents and branch and bound end in time; what has begun of
        the enumeration of cells and of a proof over them is finished, and where
        nothing was proved yet the first proof may take a quarter more. The certificate
        of ``"local"`` comes on top.
    max_rounds : int, optional
        Most solves of cell generation, or rounds of local training, for runs that can
        be repeated exactly. Those before a run was resumed count.
    checkpoint : path, optional
        A file in which cell generation keeps its state after every round. If it exists
        the run goes on from there.
    executor : concurrent.futures.Executor, optional
        Who prices the cells, in parts: a ``ProcessPoolExecutor``, the
        ``client.get_executor()`` of Dask, or that of mpi4py. The result is the same.
    progress : callable, optional
        Called with a line of text at the start of each stage.

    Returns
    -------
    TrainingResult
        Check ``converged``: the gap may not have been reached.

    Raises
    ------
    InputError, InputTypeError
        Bad data (see :class:`TrainingProblem`) or a gap that is not positive.
    TooManyCellsError
        More cells than can be enumerated, or for enumeration than one program can
        hold; the message has the alternatives.
    SolverError
        The solver returned no point.

    Examples
    --------
    >>> result = train([[1.0], [2.0]], [[1.0], [2.0]], beta=0.5)
    >>> result.network
    ReLUNetwork(inputs=1, neurons=1, outputs=1)
    >>> print(f"{result.certificate.objective:.6f}", result.converged)
    0.475000 True
    """
    problem = TrainingProblem(
        X,
        Y,
        beta,
        loss=loss,
        activation=activation,
        bias=bias,
        sample_weight=sample_weight,
        output_weight=output_weight,
        skip=skip,
    )
    return train_problem(
        problem,
        gap=gap,
        cells=cells,
        method=method,
        time_limit=time_limit,
        max_rounds=max_rounds,
        checkpoint=checkpoint,
        executor=executor,
        progress=progress,
    )


def train_problem(
    problem: TrainingProblem,
    *,
    gap: float = 1e-6,
    cells: Cells | None = None,
    method: str = "auto",
    time_limit: float | None = None,
    max_rounds: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    progress: Callable[[str], None] | None = None,
    start: ReLUNetwork | None = None,
    start_dual: Array | None = None,
) -> TrainingResult:
    """Train what is stated as a problem; see :func:`train`.

    Parameters
    ----------
    problem : TrainingProblem
        What is to be trained.
    gap, cells, method, time_limit, max_rounds, checkpoint, executor, progress
        As for :func:`train`.
    start : ReLUNetwork, optional
        A network to begin with; the result is no worse. If it is good enough nothing
        is solved.
    start_dual : (n, c) array, optional
        A dual point that may prove a bound, together with `start`.
    """
    check_options(gap, progress)
    check_cells(problem, cells)
    _check_budgets(method, time_limit, max_rounds)
    deadline = Deadline(time_limit)
    max_rounds = None if max_rounds is None else int(max_rounds)
    kept = None if checkpoint is None else Checkpoint(checkpoint)
    report = progress or (lambda _: None)
    if problem.rank == 0:
        network = zero_network(problem)
        return TrainingResult(network, certify(problem, network), (), problem, True)
    if kept is not None and method not in ("auto", "generation"):
        raise InputError(
            f"checkpoint is for cell generation, and method is {method!r}; leave one "
            "of them out."
        )
    if method != "local":
        method, cells = _method_and_cells(
            problem, method, cells, report, generate_few=kept is not None
        )
    if method == "local":
        return _train_locally(problem, gap, report, deadline, max_rounds, start)
    run: _Run | Generation
    if method == "generation":
        run = Generation(problem, cells, gap, report, deadline, kept, executor)
        work = partial(generate, run, max_rounds=max_rounds)
    else:
        assert cells is not None
        run = _Run(problem, cells, gap, report, deadline)
        work = partial(_solve_rounds, run)
    interrupted = False
    try:
        if start is not None:
            run.start(start, start_dual)
        if run.gap > gap and _zero_may_be_optimal(problem, cells):
            run.start(zero_network(problem), None)
        if run.gap > gap:
            work()
        if run.gap > gap:
            run.compare_with_zero()
    except KeyboardInterrupt:
        if not run.has_result:
            raise
        interrupted = True
        if isinstance(run, Generation):
            run.hurry()
    except SolverError as error:
        # A finer partition may be beyond the solver, or the time over; what was proved
        # stays proved.
        if not run.has_result and not deadline.is_over:
            raise
        logger.warning("training ends early: %s", error)
    if run.certificate is None:
        run.start(run.network or zero_network(problem), run.dual)
    assert run.network is not None
    assert run.certificate is not None
    return TrainingResult(
        run.network,
        run.certificate,
        tuple(run.history),
        problem,
        converged=run.gap <= gap,
        interrupted=interrupted,
    )


def _method_and_cells(
    problem: TrainingProblem,
    method: str,
    cells: Cells | None,
    report: Callable[[str], None],
    *,
    generate_few: bool,
) -> tuple[str, Cells | None]:
    """Choose how to train, and enumerate the cells where that helps.

    Raises
    ------
    TooManyCellsError
        For enumeration, or for cell generation.
    """
    if cells is None:
        if method != "enumeration" and may_be_more_cells(problem, MOST_CELLS):
            return "generation", None
        report("enumerating cells")
        most = MAX_CELLS if method == "enumeration" else MOST_CELLS
        if method == "auto" and not generate_few and problem.rank > SPHERE_RANK:
            # A cell has so many faces there that few of them are decided.
            most = MANY_IN_HIGH_RANK
        try:
            cells = covering_cells(problem, max_cells=most)
        except TooManyCellsError as error:
            if method == "auto" and not generate_few:
                return "local", None
            without = " and without a checkpoint" if generate_few else ""
            raise TooManyCellsError(
                error.finding,
                f"{error.advice} train(..., method='local') trains "
                f"without cells{without}, and proves what it can.",
            ) from error
    if method == "auto":
        many = len(cells) > _GENERATE_FROM and cells.complete
        method = "generation" if many or generate_few else "enumeration"
    return method, cells


def _train_locally(
    problem: TrainingProblem,
    gap: float,
    report: Callable[[str], None],
    deadline: Deadline,
    max_rounds: int | None,
    start: ReLUNetwork | None,
) -> TrainingResult:
    """Train without cells, and prove what can be proved."""
    work = LocalTraining(problem, report, deadline)
    interrupted = False
    try:
        if start is not None:
            work.start(start)
        work.run(max_rounds)
    except KeyboardInterrupt:
        interrupted = True
    certificate = work.prove()
    return TrainingResult(
        work.network,
        certificate,
        tuple(work.history),
        problem,
        converged=certificate.gap <= gap,
        interrupted=interrupted or work.interrupted,
    )


def _check_budgets(method: Any, time_limit: Any, max_rounds: Any) -> None:
    """Refuse methods and budgets that are none.

    Raises
    ------
    InputError, InputTypeError
        See above.
    """
    if method not in METHODS:
        raise InputError(
            f"method must be one of {', '.join(map(repr, METHODS))}; got {method!r}."
        )
    for name, given, kind, words in (
        ("time_limit", time_limit, Real, "a number of seconds"),
        ("max_rounds", max_rounds, Integral, "a whole number"),
    ):
        if given is None:
            continue
        if isinstance(given, bool) or not isinstance(given, kind):
            raise InputTypeError(f"{name} must be {words}; got {given!r}.")
        if not float(given) > 0.0:
            raise InputError(f"{name} must be positive; got {given!r}.")


def _zero_may_be_optimal(problem: TrainingProblem, cells: Cells | None) -> bool:
    """Whether no direction at hand shows that neurons are worth their penalty.

    From ``beta_max`` on an interior point leaves nothing but noise, from which a
    descent takes long.
    """
    if problem.skip is not None or not problem.loss.is_smooth:
        return False
    scaled = problem.scaled
    Z = problem.loss.zero_duals(problem.Y, problem.weight)
    Z = Z * scaled.y_scale / scaled.objective_scale
    if cells is None:
        starts = np.vstack([scaled.X, -scaled.X])
        found = heuristic_pricing(problem, Z, starts, floor=scaled.beta)
        return not len(found.values)
    return cells.complete and best_ray_value(problem, cells, Z) <= scaled.beta


def check_options(gap: Any, progress: Any) -> None:
    """Refuse a gap that is not positive, and what cannot be called.

    Parameters
    ----------
    gap, progress
        As for :func:`train`.

    Raises
    ------
    InputError, InputTypeError
        See above.
    """
    try:
        allowed = 0.0 < float(gap) < np.inf
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"gap must be a number; got {gap!r}.") from error
    if not allowed:
        raise InputError(f"gap must be positive and finite; got {gap!r}.")
    if progress is not None and not callable(progress):
        raise InputTypeError(f"progress must be callable; got {progress!r}.")


def _solve_rounds(run: _Run) -> None:
    """Solve ever finer programs until the gap is proved, or no longer falls."""
    model = run.round()
    stuck = run.gap > run.target and run.history[-1].status != _CONVERGED
    if stuck and not run.deadline.is_over:
        # Where narrow cells stop an interior point on one side of the duality, it
        # often gets through on the other.
        run.round(build=build_copositive)
    active: set[int] = set()
    for level in range(_MAX_LEVEL + 1):
        if run.gap <= run.target or not run.cells.complete or run.deadline.is_over:
            break
        before = run.gap
        active |= _active_cells(model)
        model = run.round(level=level, targets=sorted(active))
        if level and run.gap >= before:
            break


def _active_cells(model: Any) -> set[int]:
    """Return the cells of a solved model that hold neurons."""
    traces = {}
    for i in model.CELLS:
        m = model.cone[i].order - model.cone[i].free
        traces[i] = float(np.trace(model.cone[i].numeric()[:m, :m]))
    largest = max(traces.values())
    return {i for i, trace in traces.items() if trace > _EMPTY * largest}


class _Run:
    """Best network and best bound over the rounds of one training."""

    def __init__(
        self,
        problem: TrainingProblem,
        cells: Cells,
        target: float,
        report: Callable[[str], None],
        deadline: Deadline,
    ) -> None:
        self.problem, self.cells, self.target = problem, cells, target
        self.report, self.deadline = report, deadline
        self.network: ReLUNetwork | None = None
        self.certificate: Certificate | None = None
        self.dual: Array | None = None
        self.history: list[TrainingRound] = []

    @property
    def gap(self) -> float:
        return np.inf if self.certificate is None else self.certificate.gap

    @property
    def has_result(self) -> bool:
        return self.network is not None

    def round(
        self,
        level: int = 0,
        targets: list[int] | None = None,
        build: Callable[[TrainingProblem, Cells], Any] = build_completely_positive,
    ) -> Any:
        """Build, relax, solve, recover and certify once."""
        self.report("building the program")
        model = build(self.problem, self.cells)
        tier = "dnn" if build is build_completely_positive else "dnn of the dual"
        if targets is not None:
            tier = f"partition(level={level}) + dnn"
            relax(
                model,
                "partition",
                targets=[model.cone[i] for i in targets],
                level=level,
            )
        relax(model, "dnn")
        self.report(f"solving {tier} over {len(model.CELLS)} cells")
        # The point serves as a start for the network whatever the solver says of it:
        # what is claimed is claimed by the certificate.
        results = solve(
            model,
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
            accuracy=_ACCURACY,
            time_limit=self.deadline.for_solver,
            # The other side of the duality is a better second try than a slow solver.
            fallback=False,
        )
        try:
            results.solution_loader.load_solution()
        except NoSolutionError as error:
            raise SolverError(
                f"{results.solver_name} returned no point: "
                f"{results.termination_condition.name}. Rescale the data or change "
                "beta; the model is build_completely_positive(problem) with relu.dnn."
            ) from error
        self.report("recovering and certifying the network")
        raw = recover_network(model, improve=False)
        duals = _dual_points(self.problem, model, results)
        self.descend(raw, duals)
        is_primal = build is build_completely_positive
        if not self.problem.loss.is_smooth and is_primal and self.gap > self.target:
            # Where there is no descent, the best second layer for these directions.
            self.keep(refit(self.problem, raw, no_rows(self.problem)), duals)
        assert self.certificate is not None
        self.history.append(
            TrainingRound(
                tier=tier,
                cells=len(model.CELLS),
                status=results.termination_condition.name,
                model_objective=float(value(model.objective)),
                network_objective=self.certificate.objective,
                lower_bound=self.certificate.lower_bound,
                gap=self.certificate.gap,
                seconds=self.deadline.elapsed,
            )
        )
        return model

    def start(self, network: ReLUNetwork, dual: Array | None) -> None:
        """Begin with a network, and perhaps a dual point, from elsewhere."""
        self.report("certifying the network to start with")
        self.keep(network, [] if dual is None else [dual])

    def compare_with_zero(self) -> None:
        """Take the zero network where nothing better was found, and its proof."""
        assert self.certificate is not None
        zero = zero_network(self.problem)
        best = self.certificate.objective * (1.0 + self.target)
        if zero.objective(self.problem) > best:
            return
        self.keep(zero, [])
        if self.gap > self.target and self.problem.skip is None:
            self.keep(zero, [beta_max(self.problem, cells=self.cells).dual])

    def descend(self, network: ReLUNetwork, duals: list[Array]) -> None:
        """Keep a network and what descents from it lead to, until the gap is proved."""
        for descents, better in enumerate(improvements(self.problem, network)):
            self.keep(better, duals)
            duals = []
            # Before the first descent a network has many neurons to no purpose.
            if (descents and self.gap <= self.target) or self.deadline.is_over:
                break

    def keep(self, network: ReLUNetwork, duals: list[Array]) -> None:
        """Keep what is better: the network, the bound, or both."""
        candidates: list[Array | None] = [*duals]
        if self.problem.loss.is_smooth or not candidates:
            candidates.append(None)
        for dual in candidates:
            new = certify(self.problem, network, dual, cells=self.cells, max_solved=0)
            old = self.certificate
            if old is None:
                self.network, self.certificate = network, new
                continue
            if new.objective < old.objective:
                self.network = network
            proof = max(old, new, key=lambda certificate: certificate.lower_bound)
            objective = min(old.objective, new.objective)
            self.certificate = replace(proof, objective=objective)


def _dual_points(problem: TrainingProblem, model: Any, results: Results) -> list[Array]:
    """Return the dual point of a solved program, if the loss is not differentiable.

    A differentiable loss has a better one in every network.
    """
    if problem.loss.is_smooth:
        return []
    dual_point = model.component("dual_point")
    if dual_point is not None:
        numbers = [value(point) for point in dual_point.values()]
    else:
        try:
            duals = results.solution_loader.get_duals()
        except NoDualsError:
            return []
        scaled = problem.scaled
        numbers = [duals[row] / scaled.y_scale for row in model.prediction_row.values()]
    Z = np.array(numbers, dtype=float).reshape(-1, problem.n_outputs)
    return [Z[: problem.n_samples]] if np.isfinite(Z).all() else []
