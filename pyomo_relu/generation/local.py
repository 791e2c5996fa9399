r"""Training without the cells: where the rank is too high to enumerate them.

A wide random network is trained, and then improved in rounds: directions in which its
dual point is infeasible are added, by heuristic pricing; how much of each direction
there should be is found while directions stay, a convex problem (design, Group lasso);
and all weights are improved together by a quasi-Newton method on (NN). The middle step
is what makes the others pay: weights that move together get stuck where samples are on
the hyperplanes of neurons, which do not move there.

A stationary network that pricing cannot improve is optimal among all networks if
pricing missed nothing: that is for the certificate to say, not for this.

Losses with kinks are maxima over the domain D of their dual, and smoothed there
(Nesterov, Smooth minimization of non-smooth functions, 2005):

.. math::

    \mathrm{loss}(F) = \max_{Z \in D} \langle Z, Y - F\rangle \approx
    \max_{Z \in D} \langle Z, Y - F\rangle - \tfrac\mu2 |Z|_F^2

The maximiser is the projection of :math:`(Y - F) / \mu` on D: a dual point for the loss
itself. The width :math:`\mu` falls from round to round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from pyomo_relu.certificates import Certificate, certify
from pyomo_relu.certificates.certificate import certify_by
from pyomo_relu.certificates.proofs import NormProof
from pyomo_relu.certificates.zero_network import zero_network
from pyomo_relu.deadline import Deadline
from pyomo_relu.generation.pricing import diverse, heuristic_pricing
from pyomo_relu.history import TrainingRound
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import ScaledProblem, TrainingProblem
from pyomo_relu.programs.user_rows import no_rows
from pyomo_relu.recovery import improvements
from pyomo_relu.recovery.refit import refit

Array = np.ndarray[Any, np.dtype[np.float64]]
Function = Callable[[Array], tuple[float, Array]]

__all__ = ["LocalTraining", "fit_lengths", "quasi_newton"]

#: Neurons of the random start, if there are not fewer predictions, and at least. A wide
#: network has few bad stationary points; one that is grown from nothing ends in worse.
_WIDTH, _LEAST_WIDTH = 300, 20
#: Steps from the random start, of both descents of a round, and at the end.
_FIRST_STEPS, _STEPS, _LAST_STEPS = 1_000, 500, 2_000
#: Rounds at most, and directions that one of them adds, no two of them closer.
_MAX_ROUNDS = 60
_ADDED, _COSINE = 200, 0.98
#: Random starting points of pricing, and samples among the others.
_STARTS, _SAMPLES = 2_000, 500
#: Violations of less, relatively, are not worth a round.
_VIOLATED = 1e-4
#: So many rounds that together win less than this, relatively, are the last ones.
_PATIENCE, _STALLED = 4, 2e-4
#: Directions this close are one, and neurons with less than this part of the largest
#: penalty are dropped; a round that did not pay makes both finer by the factor.
_COARSE, _FINER = 1e-2, 0.1
#: Length of new neurons, beside the longest one there is.
_FIRST_LENGTH = 0.03
#: So many weights are improved by Newton's method at the end.
_FEW_WEIGHTS = 600
#: Widths of smoothing, in units of the targets: the first one, the factor from round
#: to round, and the last one.
_WIDEST, _NARROWER, _NARROWEST = 0.3, 0.5, 1e-3
#: A second layer is fitted to a loss with kinks at the end up to so many predictions,
#: in seconds.
_MAX_REFITTED = 1_500


class _Smoothing(NamedTuple):
    """The loss of a problem in scaled units, smoothed where it has kinks.

    Attributes
    ----------
    scaled : ScaledProblem
        The problem.
    width : float
        The positive mu of a loss with kinks; others are left as they are.
    """

    scaled: ScaledProblem
    width: float

    def __call__(self, F: Array) -> tuple[float, Array]:
        """Return value and gradient at predictions (n, c)."""
        scaled = self.scaled
        Y, weight, loss = scaled.Y, scaled.weight, scaled.loss
        if loss.is_smooth:
            return loss.value(F, Y, weight), loss.gradient(F, Y, weight)
        residual = Y - F
        Z = loss.repair(residual / self.width, Y, weight)
        return float(np.sum(Z * (residual - 0.5 * self.width * Z))), -Z


def quasi_newton(
    problem: TrainingProblem,
    network: ReLUNetwork,
    steps: int,
    stop: Callable[[], bool] = bool,
    *,
    width: float = 0.0,
    keep: Callable[[ReLUNetwork], object] | None = None,
) -> ReLUNetwork:
    """Descend on all weights at once (L-BFGS, by SciPy).

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    network : ReLUNetwork
        Where to begin.
    steps : int
        Most iterations.
    stop : callable, optional
        Asked after every iteration whether to stop.
    width : float
        Width of smoothing, in scaled units; positive where the loss has kinks.
    keep : callable, optional
        Gets the network so far if Ctrl-C ends the descent, before that goes on.

    Returns
    -------
    ReLUNetwork
        Balanced. No worse than `network` for the loss that was descended on.

    Examples
    --------
    >>> problem = TrainingProblem([[1.0], [2.0]], [[1.0], [2.0]], beta=0.5)
    >>> start = ReLUNetwork([[0.5]], [[0.5]])
    >>> print(f"{quasi_newton(problem, start, 100).objective(problem):.6f}")
    0.475000
    """
    scaled, loss = problem.scaled, _Smoothing(problem.scaled, width)
    n, c = problem.Y.shape
    r = scaled.rank
    directions, second, linear = _directions(problem, network)
    m = directions.shape[1]
    lengths = np.sqrt(np.linalg.norm(second, axis=1))
    means, decay = scaled.linear_means, scaled.decay(m * (r + c))
    rows = scaled.X[: n * scaled.patches]

    def split(theta: Array) -> tuple[Array, Array, Array]:
        a, b = r * m, (r + c) * m
        return (
            theta[:a].reshape(r, m),
            theta[a:b].reshape(m, c),
            theta[b:].reshape(-1, c),
        )

    def function(theta: Array) -> tuple[float, Array]:
        u, v, C = split(theta)
        inner = rows @ u
        hidden = scaled.pool(scaled.activation(inner))
        value, slope = loss(hidden @ v + means @ C)
        back = scaled.spread(slope @ v.T) * scaled.activation.slopes(inner)
        parts = rows.T @ back, hidden.T @ slope, means.T @ slope
        gradient = np.concatenate([part.ravel() for part in parts])
        penalty = 0.5 * float(np.sum(decay * theta * theta))
        return value + penalty, gradient + decay * theta

    def network_of(theta: Array) -> ReLUNetwork:
        return ReLUNetwork.of_scaled(problem, *split(theta))

    start = (directions * lengths, second / lengths[:, None], linear)
    theta = np.concatenate([part.ravel() for part in start])
    return _lowest(function, theta, steps, stop, network_of, keep)


def fit_lengths(
    problem: TrainingProblem,
    network: ReLUNetwork,
    more: Array,
    steps: int,
    stop: Callable[[], bool] = bool,
    *,
    width: float = 0.0,
    keep: Callable[[ReLUNetwork], object] | None = None,
) -> ReLUNetwork:
    r"""Descend on the second layer and the lengths of the first; directions stay.

    That is the group lasso

    .. math:: \min_w\ \mathrm{loss}\Big(\sum_j \sigma(X \hat u_j) w_j^T\Big)
              + \beta \sum_j |w_j|

    with :math:`w_j = a_j v_j` and the penalty :math:`(a_j^2 + |v_j|^2) / 2`, which is
    as smooth as the loss. Stationary points where no :math:`w_j` is zero are global
    minima.

    Parameters
    ----------
    problem, network, steps, stop, width, keep
        As for :func:`quasi_newton`.
    more : (k, r) array
        Further directions, unit vectors in scaled coordinates.

    Returns
    -------
    ReLUNetwork
        Balanced.

    Examples
    --------
    >>> problem = TrainingProblem([[1.0], [2.0]], [[1.0], [2.0]], beta=0.5)
    >>> zero = ReLUNetwork([[0.0]], [[0.0]])
    >>> found = fit_lengths(problem, zero, np.array([[1.0], [-1.0]]), 100)
    >>> print(f"{found.objective(problem):.6f}")
    0.475000
    """
    scaled, loss = problem.scaled, _Smoothing(problem.scaled, width)
    n, c = problem.Y.shape
    directions, second, linear = _directions(problem, network)
    lengths = np.sqrt(np.linalg.norm(second, axis=1))
    second = second / lengths[:, None]
    hidden = scaled.hidden(np.hstack([directions, more.T]))[:n]
    k = directions.shape[1]
    m = k + len(more)
    means, decay = scaled.linear_means, scaled.decay(m * (1 + c))
    _, slope = loss((hidden[:, :k] * lengths) @ second + means @ linear)
    # Where they lead down the most.
    fresh = -hidden[:, k:].T @ slope
    fresh /= np.maximum(np.linalg.norm(fresh, axis=1), 1e-300)[:, None]
    if k:
        length = _FIRST_LENGTH * lengths.max()
    else:
        length = _size_of_targets(scaled, hidden @ fresh)
    directions = np.hstack([directions, more.T])

    def split(theta: Array) -> tuple[Array, Array, Array]:
        end = m * (1 + c)
        return theta[:m], theta[m:end].reshape(m, c), theta[end:].reshape(-1, c)

    def function(theta: Array) -> tuple[float, Array]:
        a, v, C = split(theta)
        value, slope = loss((hidden * a) @ v + means @ C)
        back = hidden.T @ slope
        parts = np.sum(back * v, axis=1), a[:, None] * back, means.T @ slope
        gradient = np.concatenate([part.ravel() for part in parts])
        penalty = 0.5 * float(np.sum(decay * theta * theta))
        return value + penalty, gradient + decay * theta

    def network_of(theta: Array) -> ReLUNetwork:
        a, v, C = split(theta)
        return ReLUNetwork.of_scaled(problem, directions, a[:, None] * v, C)

    start = (
        np.concatenate([lengths, np.full(len(more), length)]),
        np.vstack([second, length * fresh]),
        linear,
    )
    theta = np.concatenate([part.ravel() for part in start])
    return _lowest(function, theta, steps, stop, network_of, keep)


def _directions(
    problem: TrainingProblem, network: ReLUNetwork
) -> tuple[Array, Array, Array]:
    """Return unit directions (r, m), a second layer (m, c) and a linear term, scaled.

    Neurons of no penalty are left out.
    """
    scaled = problem.scaled
    first, second = scaled.from_user(network.stacked, network.second)
    norms = np.linalg.norm(first, axis=0)
    kept = (norms > 0.0) & (np.linalg.norm(second, axis=1) * norms > 0.0)
    first, second = first[:, kept] / norms[kept], second[kept] * norms[kept, None]
    return first, second, scaled.linear_from_user(network.skip)


def _size_of_targets(scaled: ScaledProblem, F: Array) -> float:
    """Return the length of both layers with which predictions F are of that size."""
    size = float(np.linalg.norm(F))
    return float(np.sqrt(np.linalg.norm(scaled.Y) / size)) if size > 0.0 else 1.0


def _lowest(
    function: Function,
    start: Array,
    steps: int,
    stop: Callable[[], bool],
    network_of: Callable[[Array], ReLUNetwork],
    keep: Callable[[ReLUNetwork], object] | None,
) -> ReLUNetwork:
    """Return the network of the lowest point on the way down."""
    lowest, best = np.inf, start

    def remembered(theta: Array) -> tuple[float, Array]:
        nonlocal lowest, best
        value, gradient = function(theta)
        if value < lowest:
            lowest, best = value, theta.copy()
        return value, gradient

    def callback(_: Any) -> None:
        if stop():
            raise StopIteration

    options = {
        "maxiter": steps,
        "maxfun": 2 * steps,
        "maxcor": 20,
        "ftol": 1e-14,
        "gtol": 1e-10,
    }
    try:
        if start.size:
            minimize(
                remembered,
                start,
                jac=True,
                method="L-BFGS-B",
                callback=callback,
                options=options,
            )
    except KeyboardInterrupt:
        if keep is not None:
            keep(network_of(best))
        raise
    return network_of(best)


class LocalTraining:
    """Neurons by heuristic pricing, and their improvement.

    Runs with the same budget of rounds, and without a deadline, are the same.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    report : callable
        Called with a line of text at the start of each stage, and with each round.
    deadline : Deadline, optional
        Looked at after every step of a descent; what follows the last one then, and
        the certificate, come on top.

    Attributes
    ----------
    network : ReLUNetwork
        Best so far, also when :meth:`run` is interrupted.
    history : list of TrainingRound
        A row a round, in which nothing is proved, and a last one of the certificate.
        Cells are those that neurons lie in.
    interrupted : bool
        Whether Ctrl-C ended the proof.
    """

    def __init__(
        self,
        problem: TrainingProblem,
        report: Callable[[str], None],
        deadline: Deadline | None = None,
    ) -> None:
        self.problem, self.report = problem, report
        self.network: ReLUNetwork = zero_network(problem)
        self.history: list[TrainingRound] = []
        self.interrupted = False
        self.deadline = deadline or Deadline()
        self._rng = np.random.default_rng(0)
        Y = problem.scaled.Y
        self._unit = 1.0
        if not problem.loss.is_classification and Y.any():
            self._unit = float(np.sqrt(np.mean(Y * Y)))
        self._width = 0.0 if problem.loss.is_smooth else _WIDEST * self._unit
        self._coarse = _COARSE
        self._smoothed: Array | None = None
        self._hoped = 0.0

    @property
    def dual(self) -> Array | None:
        """Most promising dual point (n, c) for a loss with kinks, in the user's units.

        None for a differentiable one, where the network has its own, and before there
        is one.
        """
        if self._smoothed is None:
            return None
        scaled = self.problem.scaled
        return self._smoothed * (scaled.objective_scale / scaled.y_scale)

    def out_of_time(self) -> bool:
        """Whether the time limit is over."""
        return self.deadline.is_over

    def start(self, network: ReLUNetwork) -> None:
        """Begin with a network; what results is no worse."""
        self.network = next(improvements(self.problem, network))

    def prove(self) -> Certificate:
        """Certify the network, by what norms prove if Ctrl-C comes.

        The dual point is that of the network, or of the smoothed loss.
        """
        self.report("certifying the network")
        problem = self.problem
        try:
            certificate = certify(problem, self.network, self.dual)
        except KeyboardInterrupt:
            self.interrupted = True
            certificate = certify_by(
                problem, self.network, self.dual, NormProof("interrupted")
            )
        status = "interrupted" if self.interrupted else certificate.reason
        self._add_row(status, certificate.lower_bound, certificate.gap)
        return certificate

    def run(self, max_rounds: int | None = None) -> None:
        """Improve the network in rounds, until they no longer pay.

        Parameters
        ----------
        max_rounds : int, optional
            60 by default.
        """
        state = self.network
        if not state.n_neurons:
            start = self._random_start()
            self.report(f"training {start.n_neurons} neurons from a random start")
            state = self._descend(start, _FIRST_STEPS)
            self._keep(state)
        values = [self._value(self.network)]
        for number in range(_MAX_ROUNDS if max_rounds is None else max_rounds):
            if self.out_of_time():
                break
            directions, violation = self._price(state)
            state = self._fit(state.merge(self._coarse), directions)
            state = self._descend(self._without_small(state), _STEPS)
            paid = self._keep(state)
            self._add_row(f"violation {violation:.1e}")
            self.report(f"round {number + 1}: {self.history[-1]}")
            values.append(self._value(self.network))
            narrow = self._width <= _NARROWEST * self._unit
            if narrow and (not len(directions) or _is_stalled(values)):
                break
            if not narrow:
                self._width = max(self._width * _NARROWER, _NARROWEST * self._unit)
            elif not paid:
                self._coarse *= _FINER
                state = self.network
        self._finish(state)

    def _finish(self, state: ReLUNetwork) -> None:
        """Improve the last network without new neurons."""
        problem = self.problem
        if self.out_of_time():
            return
        self.report("improving the network")
        if not problem.loss.is_smooth:
            state = self._descend(state, _LAST_STEPS)
            self._price(state)
            for each in (state, self.network):
                if each.n_neurons and problem.Y.size <= _MAX_REFITTED:
                    self._keep(refit(problem, each, no_rows(problem)))
            return
        self._keep(self._descend(self.network, _LAST_STEPS))
        weights = self.network.n_neurons * (problem.rank + problem.n_outputs)
        if weights > _FEW_WEIGHTS:
            return
        # With neurons kept on the hyperplanes on which a gradient jumps.
        for better in improvements(problem, self.network):
            self._keep(better)
            if self.out_of_time():
                break

    def _random_start(self) -> ReLUNetwork:
        """Return a random network whose predictions are as large as the targets."""
        problem, scaled = self.problem, self.problem.scaled
        n, c = problem.Y.shape
        m = max(min(_WIDTH, n * c), _LEAST_WIDTH)
        first = self._rng.normal(size=(scaled.rank, m))
        second = self._rng.normal(size=(m, c))
        root = _size_of_targets(scaled, scaled.hidden(first)[:n] @ second)
        linear = scaled.linear_from_user(self.network.skip)
        return ReLUNetwork.of_scaled(problem, root * first, root * second, linear)

    def _descend(self, network: ReLUNetwork, steps: int) -> ReLUNetwork:
        return quasi_newton(
            self.problem,
            network,
            steps,
            self.out_of_time,
            width=self._width,
            keep=self._keep,
        )

    def _fit(self, network: ReLUNetwork, directions: Array) -> ReLUNetwork:
        return fit_lengths(
            self.problem,
            network,
            directions,
            _STEPS,
            self.out_of_time,
            width=self._width,
            keep=self._keep,
        )

    def _without_small(self, network: ReLUNetwork) -> ReLUNetwork:
        """Return a balanced network without the neurons that only cost time."""
        sizes = np.linalg.norm(network.stacked, axis=0) ** 2
        kept = sizes >= self._coarse * sizes.max(initial=0.0)
        return network.with_layers(network.stacked[:, kept], network.second[kept])

    def _keep(self, network: ReLUNetwork) -> bool:
        """Keep a network if it is the best; return whether it is."""
        better = self._value(network) < self._value(self.network)
        if better:
            self.network = network
        return better

    def _value(self, network: ReLUNetwork) -> float:
        return network.objective(self.problem)

    def _dual_point(self, network: ReLUNetwork) -> Array:
        """Return the dual point (n, c) of a network, scaled."""
        scaled = self.problem.scaled
        F = network.predict(self.problem.X) / scaled.y_scale
        return -_Smoothing(scaled, self._width)(F)[1]

    def _price(self, network: ReLUNetwork) -> tuple[Array, float]:
        """Return directions (k, r) in which a network is to grow.

        With the largest relative excess of the dual point, at least zero.
        """
        problem, scaled = self.problem, self.problem.scaled
        own = (scaled.basis.T @ network.stacked).T
        random = self._rng.normal(size=(_STARTS, scaled.rank))
        samples = scaled.X[self._rng.permutation(len(scaled.X))[:_SAMPLES]]
        Z = self._dual_point(network)
        found = heuristic_pricing(
            problem,
            Z,
            np.vstack([own, random, samples, -samples]),
            floor=scaled.beta * (1.0 + _VIOLATED),
        )
        largest = float(found.values[0]) if len(found.values) else scaled.beta
        if not problem.loss.is_smooth:
            self._note_dual(Z, largest)
        chosen = found.directions[diverse(found, _ADDED, cosine=_COSINE)]
        return chosen, largest / scaled.beta - 1.0

    def _note_dual(self, Z: Array, largest: float) -> None:
        """Keep a dual point by what it would prove if pricing missed nothing."""
        scaled = self.problem.scaled
        hoped, _ = scaled.loss.dual_bound(
            Z, scaled.Y, scaled.beta / largest, scaled.weight
        )
        if hoped > self._hoped:
            self._hoped, self._smoothed = hoped, Z

    def _add_row(self, status: str, bound: float = 0.0, gap: float = np.inf) -> None:
        value = self._value(self.network)
        inner = self.problem.rows @ self.network.stacked
        cells = np.unique(np.packbits(inner > 0.0, axis=0), axis=1).shape[1]
        self.history.append(
            TrainingRound(
                tier="neurons by heuristic pricing",
                cells=cells,
                status=status,
                model_objective=value,
                network_objective=value,
                lower_bound=bound,
                gap=gap,
                seconds=self.deadline.elapsed,
            )
        )


def _is_stalled(values: list[float]) -> bool:
    """Whether the last rounds together won next to nothing."""
    if len(values) <= _PATIENCE:
        return False
    return values[-1] > values[-1 - _PATIENCE] * (1.0 - _STALLED)
