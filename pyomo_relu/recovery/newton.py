r"""Newton's method for the training problem on faces, with an active set of them.

Optima are seldom isolated (neurons of one cell can be rotated into each other), so a
step is regularised, by a shift that goes to zero with the gradient, after Levenberg
and Marquardt,

.. math:: (J^T J + |B| + \mu I)\, s = -g

with :math:`|B|` the absolute values of the small blocks of the neurons. That is as
many unknowns as weights, or, by Woodbury's identity, as there are predictions,
whatever is fewer.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from pyomo_relu.recovery.faces import Faces, Model

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["TIE", "Descent", "descend"]

#: Gradients, relative to their penalty part, that count as zero, and that no step
#: makes smaller.
_STATIONARY = 1e-9
_ROUNDING = 1e-13
#: Objectives this close, relatively, are equal up to rounding.
TIE = 1e-13
#: Shifts below this part of the decay are lost in rounding.
_LEAST_SHIFT = 1e-7
_SHORTEST = 1e-10
#: First try of a step off a hyperplane, relative to the neuron.
_LEAP = 0.1
#: Times that neurons are taken off hyperplanes.
_RELEASES = 20


class Descent(NamedTuple):
    """Where a descent ended.

    Attributes
    ----------
    faces : Faces
        The problem on the faces there.
    theta : array
        The point.
    is_stationary : bool
        Whether the gradient, on the faces, is zero up to rounding.
    steps : int
        Newton steps taken.
    """

    faces: Faces
    theta: Array
    is_stationary: bool
    steps: int


def descend(faces: Faces, theta: Array, max_steps: int, damping: float) -> Descent:
    """Descend from a point.

    Where a hyperplane stops a step, its neuron stays in it; at a stationary point
    neurons leave the hyperplanes off which there is a way down.

    Parameters
    ----------
    faces : Faces
        The problem on the faces of the start.
    theta : array
        The start.
    max_steps : int
        Newton steps at most.
    damping : float
        The first shift, over the norm of the gradient relative to that of the point.
    """
    first_damping, releases, steps = damping, 0, 0
    model, value = faces.model(theta), faces.value(theta)
    while steps < max_steps and len(theta):
        steps += 1
        moved = _step(faces, theta, model, value, damping)
        if moved is not None:
            faces, theta, is_full = moved
            damping *= 0.3 if is_full else 3.0
        else:
            left = _leave(faces, theta, value) if releases < _RELEASES else None
            if left is None:
                break
            faces, theta = left
            releases += 1
            damping = first_damping
        model, value = faces.model(theta), faces.value(theta)
    size = faces.scaled.beta * _norm(theta)
    return Descent(faces, theta, _norm(model.gradient) <= _STATIONARY * size, steps)


def _step(
    faces: Faces, theta: Array, model: Model, value: float, damping: float
) -> tuple[Faces, Array, bool] | None:
    """Return where a step leads, and whether in full length; None at the end."""
    slope, size = _norm(model.gradient), _norm(theta)
    beta = faces.scaled.beta
    if slope <= _ROUNDING * beta * size:
        return None
    # The point is of order one, but where it starts from nothing.
    shift = max(damping * slope / max(size, 1.0), _LEAST_SHIFT * beta)
    step = newton_step(faces, model, shift)
    slope_along = float(model.gradient @ step)
    length = _length(faces, theta, step, value, slope_along)
    if length < 1.0:
        stopped = _stopped(faces, theta, step, value, length)
        if stopped is not None:
            return *stopped, False
        if length == 0.0:
            return None
    ahead = theta + length * step
    # What is left is rounding where values are flat and slopes do not fall.
    is_flat = -slope_along <= TIE * value
    if is_flat and _norm(faces.gradient(ahead)) >= slope:
        return None
    return faces, ahead, length == 1.0


def _norm(vector: Array) -> float:
    return float(np.linalg.norm(vector))


def _length(
    faces: Faces, theta: Array, step: Array, value: float, slope: float
) -> float:
    """Return a length of the step that is downhill, 0 where none is."""
    # Below rounding of the value every step may be taken.
    allowance = value * (1.0 + 1e-14)
    length = 1.0
    while faces.value(theta + length * step) > allowance + 1e-4 * length * slope:
        length *= 0.5
        if length < _SHORTEST:
            return 0.0
    return length


def _stopped(
    faces: Faces, theta: Array, step: Array, value: float, length: float
) -> tuple[Faces, Array] | None:
    """Return faces and point where a hyperplane stopped a step, if one did."""
    kinks = faces.kinks(theta, step, max(2.0 * length, 1e-9))
    at = [faces.value(theta + kink.length * step) for kink in kinks]
    if not at or min(at) > value * (1.0 + 1e-14):
        return None
    kink = kinks[int(np.argmin(at))]
    return faces.restrict(theta + kink.length * step, kink.neuron, kink.row)


def _leave(faces: Faces, theta: Array, value: float) -> tuple[Faces, Array] | None:
    """Take neurons off hyperplanes where that is downhill; None where it is nowhere."""
    found = sorted(faces.releases(theta), key=lambda each: each.slope)
    for chosen in (found, found[:1]):
        if not chosen:
            return None
        wider, point, way = faces.release(theta, chosen)
        length = _LEAP
        while length > _SHORTEST:
            if wider.value(point + length * way) < value * (1.0 - TIE):
                return wider, point + length * way
            length *= 0.25
    return None


def newton_step(faces: Faces, model: Model, shift: float) -> Array:
    """Return the regularised step.

    Parameters
    ----------
    faces : Faces
        The problem.
    model : Model
        Its derivatives at a point.
    shift : float
        What is added to the diagonal.
    """
    padded, beside = faces.pad(model.gradient)
    m, b = padded.shape
    values, vectors = np.linalg.eigh(model.blocks)
    # Y = (|B| + shift)^-1/2 turns the Hessian into I + A^T A, A = J Y.
    roots = vectors / np.sqrt(np.abs(values) + shift)[:, None, :]
    decay = 1.0 / np.sqrt((faces.scaled.skip or 0.0) + shift)
    rows = len(model.jacobian)
    A = np.hstack(
        [
            np.matmul(model.jacobian.transpose(1, 0, 2), roots)
            .transpose(1, 0, 2)
            .reshape(rows, m * b),
            model.beside * decay,
        ]
    )
    right = -np.concatenate(
        [np.einsum("jpq,jp->jq", roots, padded).ravel(), beside * decay]
    )
    solution = _solve(A, right)
    inner = np.einsum("jpq,jq->jp", roots, solution[: m * b].reshape(m, b))
    return faces.unpad(inner, solution[m * b :] * decay)


def _solve(A: Array, right: Array) -> Array:
    """Solve ``(I + A^T A) x = right`` by the smaller of two Cholesky factors."""
    wide = A.shape[1] > A.shape[0]
    gram = A @ A.T if wide else A.T @ A
    gram[np.diag_indices_from(gram)] += 1.0
    try:
        factor = cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    except LinAlgError:
        return right

    def apply(r: Array) -> Array:
        if not wide:
            return cho_solve(factor, r, check_finite=False)
        return r - A.T @ cho_solve(factor, A @ r, check_finite=False)

    x = apply(right)
    # Once refined: small shifts make for large entries of A.
    return x + apply(right - x - A.T @ (A @ x))
