"""Local improvement of a network on the cells and faces its neurons lie in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.linalg import null_space

from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import ScaledProblem, TrainingProblem
from pyomo_relu.recovery.reduce import reduce_neurons

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["improve_network", "improvements"]

#: An interior point stops short of a face, leaves a neuron on a common face once in
#: each cell, and a little weight in empty cells, all by about its own tolerance, which
#: is not known: each of these is tried, the likeliest first. Larger ones are safe,
#: since a network is judged by its own objective.
_TOLERANCES = (1e-4, 1e-3, 1e-5, 1e-6, 1e-7, 1e-8)
#: One round of these tolerances each: what one shift of the eigenvalues leaves
#: unfinished another may finish.
_DAMPINGS = (0.0, 1e-2, 1e-4, 1e-3)
_MAX_STEPS = 60
#: Above this many weights the dense Hessian takes minutes and gigabytes; so many are
#: left only where a solver stopped far from the optimum.
_MAX_WEIGHTS = 3_000
_WORTH_A_ROUND = 1e-10
#: What fewer neurons may cost at first, relatively.
_WORTH_FEWER = 1e-6
_MAX_KINKS = 20
#: Gradients, relative to their penalty part, that count as zero, and that no step
#: makes smaller.
_STATIONARY = 1e-9
_ROUNDING = 1e-13
#: Objectives this close, relatively, are equal up to rounding.
_TIE = 1e-13


def improve_network(problem: TrainingProblem, network: ReLUNetwork) -> ReLUNetwork:
    """Descend from a network to a local optimum of (NN).

    While every neuron stays in its cell, (NN) is a smooth function of the weights, and
    a neuron on a face of its cell moves in the span of that face: Newton's method with
    an active set of faces. What results replaces the network only if (NN), evaluated
    at the weights with the true activation, is smaller. For losses that are not
    differentiable parallel neurons are merged, and that is all.

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
        (network.balance(), network.merge()), key=lambda each: each.objective(problem)
    )
    best_value = best.objective(problem)
    yield best
    if not problem.loss.is_smooth:
        return
    fewer = reduce_neurons(problem, best)
    if fewer.objective(problem) <= best_value * (1.0 + _WORTH_FEWER):
        # The descent makes up for what the reduction costs, at a fraction of the work.
        best = fewer
    stationary = False
    for damping in _DAMPINGS:
        round_value = best_value
        for tolerance in _TOLERANCES:
            candidate, ended = _descend(
                problem, best.merge(tolerance), tolerance, damping
            )
            candidate = candidate.merge().with_metadata(network.metadata)
            value = candidate.objective(problem)
            # Values are flat to first order: at equal ones the stationary point is the
            # better network, and gives the better dual point.
            tie = _TIE if ended and not stationary else -_TIE
            if value <= best_value * (1.0 + tie):
                best, best_value, stationary = candidate, value, ended
                yield best
        if stationary and best_value >= round_value * (1.0 - _WORTH_A_ROUND):
            break


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


def _descend(
    problem: TrainingProblem, network: ReLUNetwork, tolerance: float, damping: float
) -> tuple[ReLUNetwork, bool]:
    """Return where the descent ends, and whether that is a stationary point."""
    scaled = problem.scaled
    first, second = scaled.from_user(network.stacked, network.second)
    u_norm, v_norm = np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1)
    size = u_norm * v_norm
    keep = size > tolerance * size.max(initial=0.0)
    if not keep.any() and scaled.skip is None:
        return network, False
    # Balanced in scaled units, where the penalty is the scaled one.
    factor = np.sqrt(v_norm[keep] / u_norm[keep])
    first, second = first[:, keep] * factor, second[keep] / factor[:, None]
    linear = scaled.linear_from_user(network.skip)
    faces, theta = _Faces.through(scaled, first, second, linear, tolerance)
    if len(theta) > _MAX_WEIGHTS:
        return network, False
    faces, theta, ended = _newton(faces, theta, damping)
    layers = scaled.to_user(*faces.layers(theta))
    skip = scaled.linear_to_user(faces.split(theta)[2])
    return ReLUNetwork.of_problem(problem, *layers, skip=skip).balance(), ended


class _Faces:
    r"""(NN) in scaled units, each neuron in the span of a face: ``u_j = Q_j a_j``.

    .. math:: \mathrm{loss}\Big(\sum_j P \sigma(X Q_j a_j) v_j^T + P X C, Y\Big)
              + \tfrac\beta2 \sum_j (|a_j|^2 + |v_j|^2) + \tfrac\gamma2 |C|^2

    with P the mean over patches. Points are vectors ``theta``: all a, then all v, then
    C if there is a linear term.
    """

    def __init__(self, scaled: ScaledProblem, spans: list[Array]) -> None:
        self.scaled, self.spans = scaled, spans
        self.sizes = [Q.shape[1] for Q in spans]
        self.owner = np.repeat(np.arange(len(spans)), self.sizes)
        #: Rows in the coordinates of all faces, side by side (N, sum of sizes).
        self.rows = scaled.X @ np.hstack(spans) if spans else scaled.X[:, :0]
        #: Hyperplanes that do not contain the face, (N, m).
        norms = np.linalg.norm(scaled.X, axis=1)[:, None]
        self.crosses = self._sum(self.rows**2) > 1e-20 * norms**2
        c = scaled.Y.shape[1]
        #: Means of the samples' rows, which the linear term sees.
        self.means = (
            scaled.means[: len(scaled.Y)]
            if scaled.skip is not None
            else np.zeros((len(scaled.Y), 0))
        )
        #: Weight of half the square of each entry of theta.
        self.decay = np.concatenate(
            [
                np.full(len(self.owner) + len(spans) * c, scaled.beta),
                np.full(self.means.shape[1] * c, scaled.skip or 0.0),
            ]
        )

    @classmethod
    def through(
        cls,
        scaled: ScaledProblem,
        first: Array,
        second: Array,
        linear: Array,
        tolerance: float,
    ) -> tuple[_Faces, Array]:
        """Return the faces that neurons lie on up to a tolerance, and the point."""
        X = scaled.X
        sizes = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(first, axis=0)
        near = (np.abs(X @ first) <= tolerance * sizes) & (sizes > 0.0)
        spans = []
        for on in near.T:
            face = null_space(X[on], rcond=1e-6) if on.any() else np.eye(X.shape[1])
            spans.append(face if face.shape[1] else np.eye(X.shape[1]))
        a = [Q.T @ u for Q, u in zip(spans, first.T, strict=True)]
        return cls(scaled, spans), np.concatenate([*a, second.ravel(), linear.ravel()])

    def _sum(self, columns: Array) -> Array:
        """Add up the columns (N, sum of sizes) of each neuron."""
        if not self.sizes:
            return columns
        starts = np.cumsum([0, *self.sizes[:-1]])
        return np.add.reduceat(columns, starts, axis=1)

    def split(self, theta: Array) -> tuple[Array, Array, Array]:
        """Return all a, v (m, c) and the linear term (r or 0, c)."""
        total = len(self.owner)
        c = self.scaled.Y.shape[1]
        end = total + len(self.spans) * c
        return (
            theta[:total],
            theta[total:end].reshape(-1, c),
            theta[end:].reshape(-1, c),
        )

    def layers(self, theta: Array) -> tuple[Array, Array]:
        """Return first (r, m) and second layer (m, c)."""
        a, v, _ = self.split(theta)
        if not self.spans:
            return np.zeros((self.scaled.rank, 0)), v
        parts = np.split(a, np.cumsum(self.sizes)[:-1])
        u = [Q @ x for Q, x in zip(self.spans, parts, strict=True)]
        return np.column_stack(u), v

    def inner(self, theta: Array) -> Array:
        """Return ``X u_j`` (N, m)."""
        return self._sum(self.rows * theta[: len(self.owner)])

    def _pool(self, rows: Array) -> Array:
        """Return means over the patches of the samples, without anchor points."""
        return self.scaled.pool(rows)[: len(self.scaled.Y)]

    def value(self, theta: Array) -> float:
        """Return (NN) at a point."""
        _, v, linear = self.split(theta)
        hidden = self._pool(self.scaled.activation(self.inner(theta)))
        predictions = hidden @ v + self.means @ linear
        loss = self.scaled.loss_value(predictions)
        return loss + 0.5 * float(np.sum(self.decay * theta * theta))

    def derivatives(self, theta: Array) -> tuple[Array, Array]:
        """Return gradient and Hessian on the cells that a point lies in."""
        scaled = self.scaled
        n, c = scaled.Y.shape
        _, v, linear = self.split(theta)
        inner = self.inner(theta)
        hidden = self._pool(scaled.activation(inner))
        slopes = scaled.activation.slopes(inner)
        features = self._pool(self.rows * slopes[:, self.owner])
        predictions = hidden @ v + self.means @ linear
        slope = scaled.loss.gradient(predictions, scaled.Y, scaled.weight)
        # d f_ko / d theta, a block a sample and output.
        jacobian = np.zeros((n, c, len(theta)))
        total = len(self.owner)
        jacobian[:, :, :total] = features[:, None, :] * v[self.owner].T
        beside = np.hstack([hidden, self.means])
        for o in range(c):
            jacobian[:, o, total + o :: c] = beside
        gradient = np.tensordot(slope, jacobian, 2)
        curvature = scaled.loss.curvature(predictions, scaled.Y, scaled.weight)
        curved = np.einsum("kop,kpt->kot", curvature, jacobian)
        flat = (n * c, len(theta))
        hessian = jacobian.reshape(flat).T @ curved.reshape(flat)
        # d2 f / da_j dv_j: the only part of f that is not linear on a cell.
        mixed = features.T @ slope
        rows = np.repeat(np.arange(total), c)
        columns = total + (self.owner[:, None] * c + np.arange(c)).ravel()
        hessian[rows, columns] += mixed.ravel()
        hessian[columns, rows] += mixed.ravel()
        hessian[np.diag_indices_from(hessian)] += self.decay
        return gradient + self.decay * theta, hessian

    def kinks(self, theta: Array, step: Array, largest: float) -> list[Any]:
        """Return (length, neuron, row) where a step meets hyperplanes, in order."""
        here, along = self.inner(theta), self.inner(step)
        with np.errstate(divide="ignore", invalid="ignore"):
            length = -here / along
        meets = self.crosses & (length >= 0.0) & (length <= largest)
        rows, neurons = np.nonzero(meets)
        order = np.argsort(length[rows, neurons], kind="stable")[:_MAX_KINKS]
        pairs = zip(rows[order], neurons[order], strict=True)
        return [(length[k, j], j, k) for k, j in pairs]

    def restrict(self, theta: Array, j: int, k: int) -> tuple[_Faces, Array]:
        """Put neuron j on the hyperplane of row k; drop it if nothing is left."""
        a, v, linear = self.split(theta)
        parts = np.split(a, np.cumsum(self.sizes)[:-1])
        Q = self.spans[j]
        inside = null_space((self.scaled.X[k] @ Q)[None, :])
        spans = [*self.spans[:j], Q @ inside, *self.spans[j + 1 :]]
        parts = [*parts[:j], inside.T @ parts[j], *parts[j + 1 :]]
        if not inside.shape[1]:
            del spans[j], parts[j]
            v = np.delete(v, j, axis=0)
        point = np.concatenate([*parts, v.ravel(), linear.ravel()])
        return _Faces(self.scaled, spans), point


def _newton(faces: _Faces, theta: Array, damping: float) -> tuple[_Faces, Array, bool]:
    """Newton's method with the Hessian's absolute eigenvalues, and an active set.

    Where a hyperplane stops a step, its neuron goes on in that hyperplane. Optima are
    seldom isolated (neurons of one cell can be rotated into each other): steps along
    null directions are left out, and along nearly flat ones shortened by a shift of
    the eigenvalues, `damping` times the gradient's root.
    """
    value = faces.value(theta)
    for _ in range(_MAX_STEPS):
        gradient, hessian = faces.derivatives(theta)
        size = faces.scaled.beta * float(np.linalg.norm(theta))
        slope = float(np.linalg.norm(gradient))
        if slope <= _ROUNDING * size:
            return faces, theta, True
        values, vectors = np.linalg.eigh(hessian)
        largest = float(np.abs(values).max())
        used = np.abs(values) > 1e-11 * largest
        vectors, curvature = vectors[:, used], np.abs(values[used])
        curvature += damping * np.sqrt(slope * largest)
        step = -vectors @ ((vectors.T @ gradient) / curvature)
        # Below rounding of the value every step may be taken.
        allowance = value * (1.0 + 1e-14)
        descent = 1e-4 * float(gradient @ step)
        length = 1.0
        while faces.value(theta + length * step) > allowance + length * descent:
            length *= 0.5
            if length < 1e-10:
                length = 0.0
                break
        if length < 1.0:
            kinks = faces.kinks(theta, step, max(2.0 * length, 1e-9))
            at = [faces.value(theta + kink[0] * step) for kink in kinks]
            if at and min(at) <= allowance:
                length, j, k = kinks[int(np.argmin(at))]
                faces, theta = faces.restrict(theta + length * step, j, k)
                if not len(theta):
                    return faces, theta, True
                value = faces.value(theta)
                continue
        if length == 0.0:
            break
        theta = theta + length * step
        previous, value = value, faces.value(theta)
        if slope <= _STATIONARY * size and value >= previous * (1.0 - _TIE):
            break
    slope = float(np.linalg.norm(faces.derivatives(theta)[0]))
    size = faces.scaled.beta * float(np.linalg.norm(theta))
    return faces, theta, slope <= _STATIONARY * size
