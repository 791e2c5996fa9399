"""Local improvement of a network on the cells and faces its neurons lie in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import ScaledProblem, TrainingProblem
from pyomo_relu.programs.user_rows import no_rows
from pyomo_relu.recovery.faces import Faces
from pyomo_relu.recovery.newton import TIE, descend
from pyomo_relu.recovery.reduce import reduce_neurons
from pyomo_relu.recovery.refit import refit

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["improve_network", "improvements"]

#: An interior point stops short of a face, leaves a neuron on a common face once in
#: each cell, and a little weight in empty cells, all by about its own tolerance, which
#: is not known: each of these is tried, the one of the smallest gradient first. Larger
#: ones are safe, since a network is judged by its own objective.
_TOLERANCES = (1e-5, 1e-4, 1e-6, 1e-3, 1e-7, 1e-8)
#: One round of these tolerances each: what one shift of the Hessian leaves unfinished
#: another may finish.
_DAMPINGS = (1.0, 1e-2, 10.0, 1e-4)
_MAX_STEPS = 60
#: Where a step costs more multiplications, and the gradient is not small beside its
#: penalty part, the second layer is fitted again before the first descent.
_CHEAP = 1e8
_FAR = 1.0
#: No descent begins after so many multiplications, some seconds.
_WORK = 2e10
#: Entries of the Jacobian, predictions times weights.
_MAX_ENTRIES = 3e7
#: Directions of the first network that a fit of the second layer has beside those of
#: the best one, distances below which two of them are one, and fits at most.
_MAX_DIRECTIONS = 600
_NEIGHBOURS = 1e-4
_MAX_REFITS = 2
_WORTH_A_ROUND = 1e-10
#: What fewer neurons may cost at first, relatively.
_WORTH_FEWER = 1e-6
#: Points of faces of the same dimensions this near, relatively, are one point.
_SAME = 1e-9
#: Directions this close are one where that costs nothing.
_PARALLEL = 1e-6
#: Neurons below this, |u||v| in scaled units, are rounding.
_NOTHING = 1e-14


def improve_network(problem: TrainingProblem, network: ReLUNetwork) -> ReLUNetwork:
    """Descend from a network to a local optimum of (NN).

    While every neuron stays in its cell, (NN) is a smooth function of the weights, and
    a neuron on a face of its cell moves in the span of that face: Newton's method with
    an active set of faces (:mod:`pyomo_relu.recovery.newton`). Where that does not end
    at a stationary point the second layer is fitted again, a convex program
    (:mod:`pyomo_relu.recovery.refit`). What results replaces the network only if (NN),
    evaluated at the weights with the true activation, is smaller. For losses that are
    not differentiable parallel neurons are merged, and that is all.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    network : ReLUNetwork
        Where to start.

    Returns
    -------
    ReLUNetwork
        Balanced, with parallel neurons merged; never worse than `network`.

    Examples
    --------
    >>> problem = TrainingProblem([[1.0]], [[1.0]], beta=0.5)
    >>> start = ReLUNetwork([[0.9]], [[0.9]])
    >>> print(f"{improve_network(problem, start).objective(problem):.6f}")
    0.375000
    """
    *_, last = improvements(problem, network)
    return last


def improvements(
    problem: TrainingProblem, network: ReLUNetwork
) -> Iterator[ReLUNetwork]:
    """Yield the steps of :func:`improve_network`, each better than the one before.

    Whoever wants a certificate stops at the first network that is good enough.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    network : ReLUNetwork
        Where to start.
    """
    network.check_fits(problem)
    network = _of_problem(problem, network)
    best = min(
        (network.balance(), _merged(problem, network)),
        key=lambda each: each.objective(problem),
    )
    best_value = best.objective(problem)
    yield best
    if not problem.loss.is_smooth:
        return
    start = _with_fewer_neurons(problem, best)
    points = _points(problem, start)
    refits = 0
    if points and points[0].cost > _CHEAP and points[0].slope > _FAR:
        refits += 1
        start = _refitted(problem, start, network)
        points = _points(problem, start)
    stationary = False
    work = 0.0
    for damping in _DAMPINGS:
        round_value = best_value
        for point in points:
            if work > _WORK:
                break
            end = descend(point.faces, point.theta, _MAX_STEPS, damping)
            work += end.steps * point.cost
            candidate = _network(problem, end.faces, end.theta)
            candidate = _merged(problem, candidate).with_metadata(network.metadata)
            value = candidate.objective(problem)
            # Values are flat to first order: at equal ones the stationary point is the
            # better network, and gives the better dual point.
            tie = TIE if end.is_stationary and not stationary else -TIE
            if value <= best_value * (1.0 + tie):
                best, best_value = candidate, value
                stationary = end.is_stationary
                yield best
        if stationary and best_value >= round_value * (1.0 - _WORTH_A_ROUND):
            break
        if not stationary and refits < _MAX_REFITS:
            refits += 1
            start = _refitted(problem, best, network)
            value = start.objective(problem)
            if value < best_value * (1.0 - TIE):
                best, best_value = start, value
                yield best
        points = _points(problem, best)


def _merged(problem: TrainingProblem, network: ReLUNetwork) -> ReLUNetwork:
    """Merge parallel neurons, those that nearly are where it costs nothing."""
    merged, coarse = network.merge(), network.merge(_PARALLEL)
    allowed = merged.objective(problem) * (1.0 + TIE)
    return coarse if coarse.objective(problem) <= allowed else merged


def _with_fewer_neurons(problem: TrainingProblem, network: ReLUNetwork) -> ReLUNetwork:
    """Return a network of no more neurons than are needed, if that costs little."""
    # The descent makes up for what the reduction costs, at a fraction of the work.
    fewer = reduce_neurons(problem, network.merge(min(_TOLERANCES)))
    most = network.objective(problem) * (1.0 + _WORTH_FEWER)
    return fewer if fewer.objective(problem) <= most else network


def _refitted(
    problem: TrainingProblem, best: ReLUNetwork, network: ReLUNetwork
) -> ReLUNetwork:
    """Return the best network with the directions of two networks."""
    merged = network.merge(_NEIGHBOURS)
    first, second = problem.scaled.from_user(merged.stacked, merged.second)
    size = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=1)
    largest = np.argsort(-size, kind="stable")[:_MAX_DIRECTIONS]
    more = first[:, largest[size[largest] > 0.0]]
    found = refit(problem, best, no_rows(problem), more)
    return found.with_metadata(network.metadata)


def _of_problem(problem: TrainingProblem, network: ReLUNetwork) -> ReLUNetwork:
    """Return the network with biases exactly where the problem has them."""
    if problem.bias == (network.bias is not None):
        return network
    skip = network.skip
    if problem.bias:
        bias = np.zeros(network.n_neurons)
        if skip is not None:
            skip = np.vstack([skip, np.zeros(network.n_outputs)])
    else:
        # They are zero: a network with others does not fit the problem.
        bias = None
        if skip is not None:
            skip = skip[:-1]
    return ReLUNetwork(
        network.first,
        network.second,
        activation=network.activation,
        bias=bias,
        skip=skip,
        metadata=network.metadata,
    )


class _Point(NamedTuple):
    """Where a descent starts.

    Attributes
    ----------
    faces, theta
        The point.
    slope : float
        Norm of the gradient over that of its penalty part.
    cost : float
        Multiplications of a Newton step.
    """

    faces: Faces
    theta: Array
    slope: float
    cost: float


def _points(problem: TrainingProblem, network: ReLUNetwork) -> list[_Point]:
    """Return a network's points on faces, one a tolerance, the flattest first."""
    points: list[_Point] = []
    for tolerance in _TOLERANCES:
        point = _on_faces(problem.scaled, network.merge(tolerance), tolerance)
        if point is None or any(_is_same(point, other) for other in points):
            continue
        points.append(point)
    return sorted(points, key=lambda point: point.slope)


def _is_same(one: _Point, other: _Point) -> bool:
    return one.faces.sizes == other.faces.sizes and np.allclose(
        one.theta, other.theta, rtol=0.0, atol=_SAME * np.abs(other.theta).max()
    )


def _on_faces(
    scaled: ScaledProblem, network: ReLUNetwork, tolerance: float
) -> _Point | None:
    """Return the point on the faces near a network; None where it is too large."""
    first, second = scaled.from_user(network.stacked, network.second)
    u_norm, v_norm = np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1)
    size = u_norm * v_norm
    keep = size > tolerance * size.max(initial=0.0)
    if not keep.any() and scaled.skip is None:
        return None
    # Balanced in scaled units, where the penalty is the scaled one.
    factor = np.sqrt(v_norm[keep] / u_norm[keep])
    first, second = first[:, keep] * factor, second[keep] / factor[:, None]
    linear = scaled.linear_from_user(network.skip)
    faces, theta = Faces.through(scaled, first, second, linear, tolerance)
    if faces.size * scaled.Y.size > _MAX_ENTRIES:
        return None
    size = scaled.beta * (float(np.linalg.norm(theta)) or 1.0)
    slope = float(np.linalg.norm(faces.gradient(theta))) / size
    predictions = scaled.Y.size
    cost = float(predictions * faces.size * min(predictions, faces.size))
    return _Point(faces, theta, slope, cost)


def _network(problem: TrainingProblem, faces: Faces, theta: Array) -> ReLUNetwork:
    first, second = faces.layers(theta)
    size = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=1)
    used = size > _NOTHING
    linear = faces.split(theta)[2]
    return ReLUNetwork.of_scaled(problem, first[:, used], second[used], linear)
