"""The loop: a restricted program, pricing, and the network of its solution."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

import numpy as np

from pyomo_relu.arrangement import Cells
from pyomo_relu.certificates import Certificate, beta_max
from pyomo_relu.certificates.rho import DECIDED
from pyomo_relu.certificates.zero_network import zero_network
from pyomo_relu.deadline import Deadline
from pyomo_relu.generation.checkpoint import Checkpoint
from pyomo_relu.generation.full_pricing import (
    CellPricing,
    FullPricing,
    SpherePricing,
)
from pyomo_relu.generation.local import fit_lengths
from pyomo_relu.generation.pieces import Pieces
from pyomo_relu.generation.pricing import diverse, heuristic_pricing
from pyomo_relu.generation.restricted import MasterSolution, RestrictedProgram
from pyomo_relu.history import TrainingRound
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.user_rows import no_rows
from pyomo_relu.recovery import improvements
from pyomo_relu.recovery.refit import refit

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Generation", "generate"]

#: Pieces that one round may add, at least and in units of n c.
_FEWEST, _SHARE = 20, 0.35
#: Relative violations of less are the solver's last digits.
_VIOLATED = 1e-9
#: Heuristic pricing that finds fewer new pieces than this part of a round gives way to
#: full pricing.
_WORTHWHILE = 0.25
#: Random starting points of heuristic pricing.
_STARTS = 512
#: Pieces with a smaller part of the largest moment are dropped; from which round on.
_EMPTY = 1e-7
_FIRST_DROP = 1
_MAX_ROUNDS = 200
#: Descents at the end, each with neurons that the one before lacked, which get their
#: lengths in so many steps.
_MAX_DESCENTS, _STEPS = 4, 300
#: How much longer than its time a run may take for its first proof: relative to that,
#: and seconds at least.
_GRACE, _LEAST_GRACE = 0.25, 5.0
#: Gaps that ask for exact bounds on rho, and what part of larger ones rho may have.
_FINE, _SHARE_OF_GAP = 1e-5, 0.1


class Generation:
    """What the loop knows: the best network, the best bound, and a row a round.

    Attributes
    ----------
    network : ReLUNetwork
        Best so far.
    certificate : Certificate or None
        Best proof so far, with the objective of the best network.
    history : list of TrainingRound
    """

    def __init__(
        self,
        problem: TrainingProblem,
        cells: Cells | None,
        target: float,
        report: Callable[[str], None],
        deadline: Deadline | None = None,
        checkpoint: Checkpoint | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.problem, self.cells, self.target = problem, cells, target
        self.report = report
        self.pricing: FullPricing
        if cells is None:
            tolerance = DECIDED if target <= _FINE else _SHARE_OF_GAP * target
            self.pricing = SpherePricing(problem, tolerance, self._may_stop)
        else:
            self.pricing = CellPricing(problem, cells, executor)
        self.network: ReLUNetwork = zero_network(problem)
        self.certificate: Certificate | None = None
        #: The last solution's dual point, in the user's units.
        self.dual: Array | None = None
        self.history: list[TrainingRound] = []
        self.deadline = deadline or Deadline()
        scaled = problem.scaled
        #: From a dual point in the user's units to a scaled one.
        self.units = scaled.y_scale / scaled.objective_scale
        self.rng = np.random.default_rng(0)
        self.pieces = Pieces(problem, self.pricing.source)
        self.program = RestrictedProgram(problem, self.pricing.source)
        n, c = problem.Y.shape
        self.width = max(_FEWEST, int(_SHARE * n * c))

    @property
    def gap(self) -> float:
        """Proven relative gap."""
        return np.inf if self.certificate is None else self.certificate.gap

    @property
    def has_result(self) -> bool:
        """Whether anything is known of the problem."""
        return bool(self.history) or self.certificate is not None

    @property
    def objective(self) -> float:
        """Objective of the best network."""
        return self.network.objective(self.problem)

    def hurry(self) -> None:
        """Leave a few seconds for a proof that is still to be made."""
        self.deadline = Deadline(_LEAST_GRACE)

    def _may_stop(self) -> bool:
        """Whether a proof may end early: in time, but for the first one."""
        if not self.deadline.is_over:
            return False
        assert self.deadline.seconds is not None
        grace = max(_GRACE * self.deadline.seconds, _LEAST_GRACE)
        late = self.deadline.elapsed > self.deadline.seconds + grace
        return self.certificate is not None or late

    def start(self, network: ReLUNetwork, dual: Array | None) -> None:
        """Begin with a network, and perhaps a dual point, from elsewhere."""
        self.report("certifying the network to start with")
        self.keep(network)
        self.prove(dual)

    def compare_with_zero(self) -> None:
        """Prove that the zero network is optimal, where it is the best."""
        problem = self.problem
        if self.network.n_neurons or problem.skip is not None:
            return
        if problem.loss.is_smooth or self.cells is None:
            self.prove(problem.loss.zero_duals(problem.Y, problem.weight))
        else:
            self.prove(beta_max(problem, cells=self.cells).dual)

    def keep(self, network: ReLUNetwork) -> None:
        """Keep a network if it is the best."""
        if network.objective(self.problem) < self.objective:
            self.network = network
            if self.certificate is not None:
                objective = min(self.objective, self.certificate.objective)
                self.certificate = replace(self.certificate, objective=objective)

    def prove(self, dual: Array | None) -> int:
        """Bound the optimum by a dual point (user's units), and keep the bound.

        None is the point of the best network, where the loss is smooth. Returns how
        much was priced.
        """
        new, priced = self.pricing.prove(self.network, dual)
        old = self.certificate
        if old is not None and old.lower_bound >= new.lower_bound:
            new = replace(old, objective=min(old.objective, new.objective))
        self.certificate = new
        return priced

    def starts(self, active: Array) -> Array:
        """Return starting points of heuristic pricing: known directions and random."""
        random = self.rng.normal(size=(_STARTS, self.problem.scaled.rank))
        rays = self.pieces.some_rays(self.rng, _STARTS)
        return np.vstack([active, rays, random])


def generate(run: Generation, *, max_rounds: int | None = None) -> None:
    """Add cells until the gap is proved, or nothing is left to add.

    Parameters
    ----------
    run : Generation
        Where the best network and bound are kept, also when this is interrupted.
    max_rounds : int, optional
        Most rounds, one solve each; 200 by default.

    Raises
    ------
    SolverError
        The solver returned no point.
    """
    problem, scaled = run.problem, run.problem.scaled
    floor = scaled.beta * (1.0 + _VIOLATED)
    Z = problem.loss.zero_duals(problem.Y, problem.weight) * run.units
    active = np.zeros((0, scaled.rank))
    first = 0
    known = None if run.checkpoint is None else run.checkpoint.load(run)
    if known is not None:
        Z, active, first = known
        if run.gap <= run.target:
            return
    for number in range(first, _MAX_ROUNDS if max_rounds is None else max_rounds):
        run.report(f"round {number + 1}: pricing")
        found = heuristic_pricing(problem, Z, run.starts(active), floor=floor)
        chosen = found.directions[diverse(found, run.width)]
        fresh = run.pieces.containing(chosen, run.program.pieces)
        priced = 0
        if not fresh or (number and len(fresh) < _WORTHWHILE * run.width):
            run.report(f"round {number + 1}: pricing {run.pricing}")
            priced = run.prove(Z / run.units)
            if run.gap <= run.target or run.deadline.is_over:
                break
            full = run.pricing.violated(Z, floor)
            more = full.directions[diverse(full, run.width)]
            fresh += run.pieces.containing(more, run.program.pieces, besides=fresh)
            if not fresh and not run.history:
                # Some cells, so that there is a program whose dual point is better.
                found = heuristic_pricing(problem, Z, run.starts(active), floor=0.0)
                some = found.directions[diverse(found, _FEWEST)]
                fresh = run.pieces.containing(some, run.program.pieces)
            if not fresh:
                break
        run.program.add(fresh)
        run.report(f"round {number + 1}: solving over {len(run.program.pieces)} cells")
        answer = run.program.solve(run.deadline.for_solver)
        Z = answer.Z
        run.dual = Z / run.units
        network = run.pieces.network(run.program, answer)
        run.keep(network)
        active = (scaled.basis.T @ network.stacked).T
        run.history.append(_row(run, answer, priced))
        run.report(f"round {number + 1}: {run.history[-1]}")
        if number >= _FIRST_DROP:
            _drop_empty(run.program, answer)
        if run.checkpoint is not None:
            run.checkpoint.save(run, Z, active, number + 1)
        if run.deadline.is_over:
            break
    _finish(run, Z)


def _row(run: Generation, answer: MasterSolution, priced: int) -> TrainingRound:
    certificate = run.certificate
    scale = run.problem.scaled.objective_scale
    return TrainingRound(
        tier="dnn over generated cells",
        cells=len(run.program.pieces),
        status=answer.status,
        model_objective=answer.objective * scale,
        network_objective=run.objective,
        lower_bound=0.0 if certificate is None else certificate.lower_bound,
        gap=run.gap,
        seconds=run.deadline.elapsed,
        priced=priced,
    )


def _drop_empty(program: RestrictedProgram, answer: MasterSolution) -> None:
    traces = np.array([np.trace(moment) for moment in answer.moments])
    empty = traces <= _EMPTY * traces.max(initial=0.0)
    keys = list(program.pieces)
    program.drop(keys[i] for i in np.flatnonzero(empty).tolist())


def _finish(run: Generation, Z: Array) -> None:
    """Improve the network until the gap is proved."""
    if run.certificate is None:
        run.prove(Z / run.units)
    if run.gap <= run.target or run.deadline.is_over:
        return
    run.report("improving the network")
    problem = run.problem
    if not problem.loss.is_smooth:
        run.keep(refit(problem, run.network, no_rows(problem)))
        return
    start = run.network
    for _ in range(_MAX_DESCENTS):
        for better in improvements(problem, start):
            run.keep(better)
            if run.gap > run.target:
                run.prove(None)
            if run.gap <= run.target or run.deadline.is_over:
                return
        start = _with_violated(run)


def _with_violated(run: Generation) -> ReLUNetwork:
    """Return the best network with neurons where its own dual point is infeasible."""
    problem, scaled = run.problem, run.problem.scaled
    predictions = run.network.predict(problem.X)
    Z = -run.units * problem.loss.gradient(predictions, problem.Y, problem.weight)
    own = (scaled.basis.T @ run.network.stacked).T
    floor = scaled.beta * (1.0 + _VIOLATED)
    found = heuristic_pricing(problem, Z, run.starts(own), floor=floor)
    more = found.directions[diverse(found, run.width)]
    return fit_lengths(problem, run.network, more, _STEPS, lambda: run.deadline.is_over)
