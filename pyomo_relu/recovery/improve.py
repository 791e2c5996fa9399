"""Local improvement of a network on the cells and faces its neurons lie in."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import block_diag, null_space

from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import ScaledProblem, TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["improve_network"]

#: An interior point stops short of a face, leaves a neuron on a common face once in
#: each cell, and a little weight in empty cells, all by about its own tolerance, which
#: is not known: each of these is tried, the likeliest first. Larger ones are safe,
#: since a network is judged by its own objective.
_TOLERANCES = (1e-4, 1e-5, 1e-3, 1e-6, 1e-7, 1e-8)
_MAX_STEPS = 60
#: Objectives this close, relatively, are equal up to rounding.
_TIE = 1e-13


def improve_network(problem: TrainingProblem, network: ReLUNetwork) -> ReLUNetwork:
    """Descend from a network while its activation patterns stay fixed.

    On fixed patterns (NN) is a smooth function of the weights, and a neuron on a
    face of its cell moves in the span of that face. Newton's method on it; the
    result replaces the network only if (NN), evaluated at the weights with true
    ReLUs, is smaller.

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
    best = network.merge()
    best_value = best.objective(problem)
    start = network.balance()
    if start.objective(problem) < best_value:
        best, best_value = start, start.objective(problem)
    while True:
        round_value = best_value
        # A start is not stationary: at equal values (they are flat to first order)
        # a point that Newton's method has reached is the better one.
        slack = _TIE
        for tolerance in _TOLERANCES:
            candidate = best.merge(tolerance)
            candidate = _descend(problem.scaled, candidate, tolerance).merge()
            value = candidate.objective(problem)
            if value <= best_value * (1.0 + slack):
                best, best_value = candidate, min(value, best_value)
                slack = -_TIE
        if best_value >= round_value * (1.0 - _TIE):
            return best


def _descend(
    scaled: ScaledProblem, network: ReLUNetwork, tolerance: float
) -> ReLUNetwork:
    first, second = scaled.from_user(network)
    u_norm, v_norm = np.linalg.norm(first, axis=0), np.linalg.norm(second, axis=1)
    size = u_norm * v_norm
    keep = size > tolerance * size.max(initial=0.0)
    if not keep.any():
        return network
    # Balanced in scaled units, where the penalty is the scaled one.
    factor = np.sqrt(v_norm[keep] / u_norm[keep])
    first, second = first[:, keep] * factor, second[keep] / factor[:, None]
    smooth = _FixedPatterns(scaled, first, tolerance)
    start = np.concatenate([*smooth.coordinates(first), second.ravel()])
    a, v = smooth.split(_newton(smooth, start))
    u = np.column_stack([Q @ x for Q, x in zip(smooth.spans, a, strict=True)])
    return scaled.to_user(u, v)


class _FixedPatterns:
    r"""(NN) in scaled units with every neuron's pattern and face fixed.

    With ``H_j = D_j X Q_j`` (n, k_j), ``u_j = Q_j a_j``:

    .. math:: \tfrac12\|\sum_j H_j a_j v_j^T - Y\|^2
              + \tfrac\beta2 \sum_j (|a_j|^2 + |v_j|^2)
    """

    def __init__(self, scaled: ScaledProblem, first: Array, tolerance: float) -> None:
        X, self.Y, self.beta = scaled.X, scaled.Y, scaled.beta
        self.X = X
        values = X @ first
        sizes = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(first, axis=0)
        near = (np.abs(values) <= tolerance * sizes) & (sizes > 0.0)
        self.spans: list[Array] = []
        self.features: list[Array] = []
        for j in range(first.shape[1]):
            span = np.eye(X.shape[1])
            if near[:, j].any():
                face = null_space(X[near[:, j]], rcond=1e-6)
                span = face if face.shape[1] else span
            self.spans.append(span)
            self.features.append((values[:, j] > 0.0)[:, None] * (X @ span))
        self.sizes = [Q.shape[1] for Q in self.spans]
        self.outputs = self.Y.shape[1]

    def coordinates(self, first: Array) -> list[Array]:
        return [Q.T @ u for Q, u in zip(self.spans, first.T, strict=True)]

    def split(self, theta: Array) -> tuple[list[Array], Array]:
        total = sum(self.sizes)
        a = np.split(theta[:total], np.cumsum(self.sizes)[:-1])
        return a, theta[total:].reshape(-1, self.outputs)

    def value(self, theta: Array) -> float:
        """Return (NN) with true ReLUs: a step out of a cell pays for it."""
        a, v = self.split(theta)
        u = np.column_stack([Q @ x for Q, x in zip(self.spans, a, strict=True)])
        residual = np.maximum(self.X @ u, 0.0) @ v - self.Y
        return 0.5 * float(np.sum(residual**2) + self.beta * np.sum(theta**2))

    def _hidden(self, a: list[Array]) -> Array:
        return np.column_stack([H @ x for H, x in zip(self.features, a, strict=True)])

    def derivatives(self, theta: Array) -> tuple[Array, Array]:
        """Return gradient and Hessian."""
        a, v = self.split(theta)
        hidden = self._hidden(a)
        residual = hidden @ v - self.Y
        stacked = np.hstack(self.features)
        owner = np.repeat(np.arange(len(a)), self.sizes)
        back = residual @ v.T
        gradient = np.concatenate(
            [np.sum(stacked * back[:, owner], axis=0), (hidden.T @ residual).ravel()]
        )
        aa = (stacked.T @ stacked) * (v @ v.T)[np.ix_(owner, owner)]
        vv = np.kron(hidden.T @ hidden, np.eye(self.outputs))
        # d2/da_j dv_l = H_j^T (H_l a_l) v_j^T, plus H_j^T E where j == l.
        av = np.einsum("pl,po->plo", stacked.T @ hidden, v[owner])
        av = av.reshape(len(owner), -1)
        av += block_diag(*[H.T @ residual for H in self.features])
        hessian = np.block([[aa, av], [av.T, vv]])
        hessian[np.diag_indices_from(hessian)] += self.beta
        return gradient + self.beta * theta, hessian


def _newton(smooth: _FixedPatterns, theta: Array) -> Array:
    """Newton's method with the Hessian's absolute eigenvalues: it descends.

    Steps along null directions (rotations among the neurons of one cell leave the
    function as it is) are left out.
    """
    value = smooth.value(theta)
    gradient, hessian = smooth.derivatives(theta)
    for _ in range(_MAX_STEPS):
        values, vectors = np.linalg.eigh(hessian)
        size = np.abs(values)
        used = size > 1e-11 * size.max()
        step = -vectors[:, used] @ ((vectors[:, used].T @ gradient) / size[used])
        length = 1.0
        slope = float(gradient @ step)
        while True:
            trial = theta + length * step
            trial_value = smooth.value(trial)
            # Below rounding of the value the gradient decides.
            if trial_value <= value + 1e-4 * length * slope + 1e-15 * value:
                break
            length *= 0.5
            if length < 1e-10:
                return theta
        trial_gradient, hessian = smooth.derivatives(trial)
        stalled = trial_value >= value - 1e-15 * value
        if stalled and np.linalg.norm(trial_gradient) >= 0.5 * np.linalg.norm(gradient):
            return theta
        theta, value, gradient = trial, trial_value, trial_gradient
    return theta
