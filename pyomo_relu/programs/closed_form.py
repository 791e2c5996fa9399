r"""The closed form for orthonormal samples and nonnegative orthogonal targets.

If :math:`X X^T = s^2 I` and :math:`Y \ge 0` has orthogonal columns :math:`y_j`, such as
one-hot labels, an optimum has one neuron a column,

.. math::

    u_j \propto X^T y_j, \quad v_j \propto e_j, \quad
    f = \sum_j \Big(1 - \frac{\beta}{s |y_j|}\Big)_+ y_j e_j^T, \qquad
    p^* = \sum_j \begin{cases}
        \frac\beta s |y_j| - \frac12 \big(\frac\beta s\big)^2
            & \text{if } |y_j| > \beta / s \\
        \frac12 |y_j|^2 & \text{otherwise}
    \end{cases}

(design, Closed form; arXiv:2012.13329): the singular value decomposition of Y,
soft-thresholded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["closed_form"]

#: Largest inner product of two rows or columns that count as orthogonal, and largest
#: difference of two squared norms that count as equal, relative to the norms.
TOLERANCE = 1e-9


def closed_form(problem: TrainingProblem) -> ReLUNetwork:
    r"""Return a globally optimal network by a formula, where there is one.

    Parameters
    ----------
    problem : TrainingProblem
        With the squared loss without weights, ReLU, no patches and no linear term;
        the rows of X (with the column of ones, if there are biases) orthogonal and of
        one length, and the columns of Y orthogonal and nonnegative.

    Returns
    -------
    ReLUNetwork
        Balanced; one neuron a column of Y that is longer than beta over the length of
        the rows of X.

    Raises
    ------
    InputError
        One of these conditions does not hold; the message names it.
    InputTypeError
        `problem` is no training problem.

    Notes
    -----
    Conditions on X and Y are decided up to a relative 1e-9, which the optimum is then
    known up to; :func:`~pyomo_relu.certify` proves what is lost.

    Examples
    --------
    >>> from pyomo_relu import TrainingProblem
    >>> problem = TrainingProblem([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0], beta=0.5)
    >>> network = closed_form(problem)
    >>> print(f"{network.objective(problem):.5f}")  # 0.5 sqrt(5) - 0.5**2 / 2
    0.99303
    """
    if not isinstance(problem, TrainingProblem):
        raise InputTypeError(
            f"problem must be a TrainingProblem; got {type(problem).__name__}."
        )
    broken = _broken_condition(problem)
    if broken:
        raise InputError(
            f"there is no closed form: {broken}. Use train, which needs none of this."
        )
    X, Y = problem.rows[: problem.n_samples], problem.Y
    length = float(np.sqrt(np.mean(np.sum(X**2, axis=1))))
    sizes = np.linalg.norm(Y, axis=0)
    shrunk = sizes - problem.beta / length
    kept = np.flatnonzero(shrunk > 0.0)
    # X u = |u| s y / |y|, as X X^T = s^2 I.
    first = X.T @ (Y[:, kept] / (sizes[kept] * length))
    roots = np.sqrt(shrunk[kept] / length)
    second = np.zeros((len(kept), problem.n_outputs))
    second[np.arange(len(kept)), kept] = roots
    return ReLUNetwork.of_problem(problem, first * roots, second).balance()


def _broken_condition(problem: TrainingProblem) -> str | None:
    """Say which condition does not hold, None where all do."""
    if problem.loss.name != "squared":
        return f"the loss must be squared, and is {problem.loss.name!r}"
    if problem.weight is not None:
        return "samples and outputs must not have weights"
    if problem.activation.text != "relu":
        return f"the activation must be ReLU, and is {problem.activation!r}"
    if problem.n_patches > 1:
        return f"samples must not have patches, and have {problem.n_patches}"
    if problem.skip is not None:
        return "there must be no linear term"
    X, Y = problem.rows[: problem.n_samples], problem.Y
    name = "X with its column of ones" if problem.bias else "X"
    gram = X @ X.T
    squares = np.diagonal(gram)
    largest = float(squares.max())
    if np.any(np.abs(squares - largest) > TOLERANCE * largest) or not largest:
        return (
            f"the rows of {name} must have one length, and have lengths from "
            f"{np.sqrt(squares.min()):.6g} to {np.sqrt(largest):.6g}"
        )
    pair = _largest_product(gram)
    if pair is not None:
        return f"the rows of {name} must be orthogonal, and rows {pair} are not"
    if Y.min() < 0.0:
        k, o = np.unravel_index(np.argmin(Y), Y.shape)
        return f"Y must be nonnegative, and Y[{k}, {o}] is {Y.min():.6g}"
    pair = _largest_product(Y.T @ Y)
    if pair is not None:
        return f"the columns of Y must be orthogonal, and columns {pair} are not"
    return None


def _largest_product(gram: Array) -> str | None:
    """Return the two vectors that are least orthogonal, None where all are."""
    norms = np.sqrt(np.diagonal(gram))
    product = np.abs(np.triu(gram, 1))
    scale = np.outer(norms, norms)
    cosine = np.divide(product, scale, where=scale > 0.0, out=np.zeros(gram.shape))
    i, j = np.unravel_index(np.argmax(cosine), cosine.shape)
    return f"{i} and {j}" if cosine[i, j] > TOLERANCE else None
