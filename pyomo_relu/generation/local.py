r"""Training without the cells: where the rank is too high to enumerate them.

Neurons are added in the directions that heuristic pricing finds, and all weights are
improved together by a quasi-Newton method on (NN). A stationary network that pricing
cannot improve is optimal among all networks if pricing missed nothing: that is for the
certificate to say, not for this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import minimize

from pyomo_relu.certificates.zero_network import zero_network
from pyomo_relu.generation.pricing import diverse, heuristic_pricing
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.recovery import improvements
from pyomo_relu.recovery.reduce import reduce_neurons

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["LocalTraining", "quasi_newton"]

#: Starting points of pricing, rounds, and neurons that one of them adds.
_STARTS = 2_000
_MAX_ROUNDS = 60
_NEURONS_A_ROUND = 12
#: Violations of less, relatively, are not worth a round.
_VIOLATED = 1e-4
#: Steps between two rounds, and at the end.
_STEPS, _LAST_STEPS = 300, 3_000
#: Rounds that together win less than this, relatively, are the last ones.
_PATIENCE, _STALLED = 4, 1e-5
#: So many weights are improved by Newton's method at the end.
_FEW_WEIGHTS = 600
#: Neurons with less than this part of the largest penalty are dropped.
_EMPTY = 1e-7
#: A new neuron of penalty one is that much of the size that it may get at most.
_FIRST_LENGTH = 1e-2


def quasi_newton(
    problem: TrainingProblem,
    network: ReLUNetwork,
    steps: int,
    stop: Callable[[], bool] = bool,
) -> ReLUNetwork:
    """Descend on all weights at once (L-BFGS, by SciPy).

    Parameters
    ----------
    problem : TrainingProblem
        With a differentiable loss.
    network : ReLUNetwork
        Where to begin.
    steps : int
        Most iterations.
    stop : callable, optional
        Asked after every iteration whether to stop.

    Returns
    -------
    ReLUNetwork
        No worse than `network`, balanced.

    Examples
    --------
    >>> problem = TrainingProblem([[1.0], [2.0]], [[1.0], [2.0]], beta=0.5)
    >>> start = ReLUNetwork([[0.5]], [[0.5]])
    >>> print(f"{quasi_newton(problem, start, 100).objective(problem):.6f}")
    0.475000
    """
    scaled = problem.scaled
    n, c = problem.Y.shape
    r = scaled.rank
    first, second = scaled.from_user(network.stacked, network.second)
    norms = np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1)
    kept = (norms[0] > 0.0) & (norms[1] > 0.0)
    factor = np.sqrt(norms[1][kept] / norms[0][kept])
    first, second = first[:, kept] * factor, second[kept] / factor[:, None]
    linear = scaled.linear_from_user(network.skip)
    m = first.shape[1]
    if not m and not linear.size:
        return network
    means = scaled.means[:n] if scaled.skip is not None else np.zeros((n, 0))
    decay = np.concatenate(
        [np.full(m * (r + c), scaled.beta), np.full(linear.size, scaled.skip or 0.0)]
    )
    rows = scaled.X[: n * scaled.patches]

    def split(theta: Array) -> tuple[Array, Array, Array]:
        a, b = r * m, (r + c) * m
        return (
            theta[:a].reshape(r, m),
            theta[a:b].reshape(m, c),
            theta[b:].reshape(-1, c),
        )

    def value_and_gradient(theta: Array) -> tuple[float, Array]:
        u, v, C = split(theta)
        inner = rows @ u
        hidden = scaled.pool(scaled.activation(inner))
        F = hidden @ v + means @ C
        slope = scaled.loss.gradient(F, scaled.Y, scaled.weight)
        value = scaled.loss.value(F, scaled.Y, scaled.weight)
        back = scaled.spread(slope @ v.T) * scaled.activation.slopes(inner)
        gradient = np.concatenate(
            [
                (rows.T @ back).ravel(),
                (hidden.T @ slope).ravel(),
                (means.T @ slope).ravel(),
            ]
        )
        penalty = 0.5 * float(np.sum(decay * theta * theta))
        return value + penalty, gradient + decay * theta

    def callback(_: Any) -> None:
        if stop():
            raise StopIteration

    start = np.concatenate([first.ravel(), second.ravel(), linear.ravel()])
    found = minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=callback,
        options={
            "maxiter": steps,
            "maxfun": 2 * steps,
            "maxcor": 20,
            "ftol": 1e-14,
            "gtol": 1e-10,
        },
    )
    u, v, C = split(found.x)
    better = ReLUNetwork.of_problem(
        problem, *scaled.to_user(u, v), skip=scaled.linear_to_user(C)
    ).balance()
    return min((better, network), key=lambda each: each.objective(problem))


class LocalTraining:
    """Neurons by heuristic pricing, and their improvement.

    Parameters
    ----------
    problem : TrainingProblem
        With a differentiable loss.
    report : callable
        Called with a line of text at the start of each stage.
    time_limit : float, optional
        Seconds.

    Attributes
    ----------
    network : ReLUNetwork
        Best so far.
    violation : float
        Largest relative excess that pricing found at the end.
    """

    def __init__(
        self,
        problem: TrainingProblem,
        report: Callable[[str], None],
        time_limit: float | None = None,
    ) -> None:
        self.problem, self.report = problem, report
        self.network: ReLUNetwork = zero_network(problem)
        self.violation = np.inf
        self._end = np.inf if time_limit is None else time.perf_counter() + time_limit
        self._rng = np.random.default_rng(0)

    def out_of_time(self) -> bool:
        """Whether the time limit is over."""
        return time.perf_counter() > self._end

    def run(self, max_rounds: int | None = None) -> None:
        """Add neurons until pricing finds none.

        Parameters
        ----------
        max_rounds : int, optional
            60 by default.
        """
        problem = self.problem
        before: list[float] = []
        for number in range(_MAX_ROUNDS if max_rounds is None else max_rounds):
            self.report(
                f"round {number + 1}: {self.network.n_neurons} neurons, objective "
                f"{self.network.objective(problem):.9g}"
            )
            before.append(self._value(self.network))
            stalled = len(before) > _PATIENCE and (
                before[-1] > before[-1 - _PATIENCE] * (1.0 - _STALLED)
            )
            grown = None if stalled else self._grow()
            if grown is None or self.out_of_time():
                break
            better = quasi_newton(problem, grown, _STEPS, self.out_of_time)
            self._keep(self._pruned(better))
        self.report("improving the network")
        last = quasi_newton(problem, self.network, _LAST_STEPS, self.out_of_time)
        self._keep(self._pruned(last))
        if self.network.n_neurons * (problem.rank + problem.n_outputs) <= _FEW_WEIGHTS:
            # With neurons kept on the hyperplanes on which a gradient jumps.
            for better in improvements(problem, self.network):
                self._keep(better)
                if self.out_of_time():
                    break
        self._grow()

    def _keep(self, network: ReLUNetwork) -> None:
        if self._value(network) <= self._value(self.network):
            self.network = network

    def _pruned(self, network: ReLUNetwork) -> ReLUNetwork:
        sizes = np.linalg.norm(network.stacked, axis=0)
        sizes = sizes * np.linalg.norm(network.second, axis=1)
        kept = sizes > _EMPTY * sizes.max(initial=0.0)
        pruned = network.with_layers(network.stacked[:, kept], network.second[kept])
        pruned = reduce_neurons(self.problem, pruned.merge(1e-6))
        value = self._value(network) * (1.0 + _EMPTY)
        return pruned if self._value(pruned) <= value else network

    def _value(self, network: ReLUNetwork) -> float:
        return network.objective(self.problem)

    def _grow(self) -> ReLUNetwork | None:
        """Return the network with neurons where its dual point is infeasible."""
        problem, scaled = self.problem, self.problem.scaled
        predictions = self.network.predict(problem.X)
        slope = problem.loss.gradient(predictions, problem.Y, problem.weight)
        Z = -slope * (scaled.y_scale / scaled.objective_scale)
        own = (scaled.basis.T @ self.network.stacked).T
        random = self._rng.normal(size=(_STARTS, scaled.rank))
        samples = scaled.X[self._rng.integers(0, len(scaled.X), 200)]
        starts = np.vstack([own, random, samples, -samples])
        found = heuristic_pricing(
            problem, Z, starts, floor=scaled.beta * (1.0 + _VIOLATED)
        )
        best = found.values[0] if len(found.values) else scaled.beta
        self.violation = float(best / scaled.beta - 1.0)
        most = min(_NEURONS_A_ROUND, max(2, problem.Y.size // 4))
        chosen = found.directions[diverse(found, most, cosine=0.95)]
        if not len(chosen):
            return None
        hidden = scaled.hidden(chosen.T)[: problem.n_samples]
        second = hidden.T @ Z
        second /= np.linalg.norm(second, axis=1, keepdims=True)
        # Their common length by a line search on a coarse grid.
        layers = self.network.stacked, self.network.second
        best_network, best_value = None, self._value(self.network)
        longest = problem.loss_value(predictions) / problem.beta / len(chosen)
        for length in longest * _FIRST_LENGTH * 0.3 ** np.arange(12):
            root = np.sqrt(length)
            first = scaled.basis @ chosen.T
            network = self.network.with_layers(
                np.hstack([layers[0], root * first]),
                np.vstack([layers[1], root * second]),
            )
            value = self._value(network)
            if value < best_value:
                best_network, best_value = network, value
        return best_network
