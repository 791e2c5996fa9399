r"""Dual points that an unpenalised linear term asks to be orthogonal to the samples.

A bound holds for a dual point Z with :math:`X^T Z = 0` exactly, which no floating-point
array satisfies. It is enough that such a point is near: a change :math:`\Delta` of the
entries that are off the border of the domain solves :math:`X^T \Delta = -X^T Z` with
:math:`|\Delta| \le |X^T Z| / \sigma_{\min}`, and stays in the domain where they are as
far off it as that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyomo_relu.problem import ScaledProblem, TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

__all__ = ["OrthogonalPoint", "make_orthogonal", "slope_of_dual_value"]

#: Entries nearer to the border of the domain than this part of their own width, or of
#: the largest, stay where they are.
_BORDER = 1e-6
#: Projections on the subspace and on the domain in turn.
_ROUNDS = 20


class OrthogonalPoint(NamedTuple):
    """A dual point, and how far an exactly orthogonal one may be.

    Attributes
    ----------
    Z : (n, c) array
        In the domain of the loss.
    distance : float
        Norm of the change that makes it orthogonal and leaves it in the domain; inf
        where none is known.
    whole_line : bool
        Whether every multiple of it can be changed like this; otherwise those between
        zero and one.
    """

    Z: Array
    distance: float
    whole_line: bool


def make_orthogonal(problem: TrainingProblem, Z: Array) -> OrthogonalPoint:
    """Return a dual point with ``X^T Z = 0`` up to rounding.

    Parameters
    ----------
    problem : TrainingProblem
        With a linear term that is not penalised.
    Z : (n, c) array
        A dual point in the user's units.
    """
    loss, Y, weight = problem.loss, problem.Y, problem.weight
    means = problem.scaled.means[: len(Z)]
    left, values, _ = np.linalg.svd(means, full_matrices=False)
    # The rows of the arrangement have norm one: the rule of their rank.
    rank = int(np.sum(values > max(means.shape) * np.finfo(float).eps))
    if rank == 0:
        return OrthogonalPoint(Z, 0.0, True)
    left = left[:, :rank]
    slack = loss.dual_slack(Z, Y, weight)
    # Entries without a weight are zero, and stay so.
    whole_line = bool((np.isinf(slack) | ((slack == 0.0) & (Z == 0.0))).all())
    exponent = 0
    if whole_line:
        # So that squares are floats, and sums of the largest floats as well.
        exponent = int(np.frexp(np.abs(Z).max())[1])
        Z = np.ldexp(Z, -exponent)
        exponent = min(exponent, 1014)
    for _ in range(_ROUNDS):
        Z = Z - left @ (left.T @ Z)
        before, Z = Z, loss.repair(Z - left @ (left.T @ Z), Y, weight)
        if np.array_equal(before, Z):
            break
    slack = loss.dual_slack(Z, Y, weight)
    residual = float(np.linalg.norm(left.T @ Z))
    rounding = np.finfo(float).eps * Z.size * float(np.linalg.norm(Z))
    own = np.maximum(np.abs(Z), np.where(np.isfinite(slack), slack, 0.0))
    if loss.is_classification:
        own = own.max(axis=1, keepdims=True)
    distances = [np.inf]
    # Where weights differ by much, entries of small ones may be free, or better not.
    for width in (own, own.max()):
        free = slack > _BORDER * width
        least = _least_value(left, free, zero_sums=loss.is_classification)
        distance = (residual + rounding) / least if least > 0.0 else np.inf
        if distance <= 0.5 * float(slack[free].min(initial=np.inf)):
            distances.append(distance)
    distance = float(np.ldexp(min(distances), exponent))
    return OrthogonalPoint(np.ldexp(Z, exponent), distance, whole_line)


def slope_of_dual_value(
    scaled: ScaledProblem, Z: Array, distance: float, part: float
) -> float:
    """Bound the slope of the dual value between Z and the orthogonal point next to it.

    Parameters
    ----------
    scaled : ScaledProblem
        The problem.
    Z : (n, c) array
        A dual point in scaled units.
    distance : float
        How far that point is, in the same units.
    part : float
        Which part Z is of the point that was made orthogonal, between zero and one;
        for classification only.
    """
    slope = float(np.linalg.norm(scaled.Y))
    if scaled.loss.is_classification:
        # Of w q log q: of that point q is at least a quarter of _BORDER where it may
        # change (w is at most twice the largest entry or slack), of Z a part of that.
        steepest = 2.0 + np.log(4.0 / (_BORDER * part))
        return slope + steepest * np.sqrt(Z.size)
    weight = np.ones(Z.shape) if scaled.weight is None else scaled.weight
    kept = weight > 0.0
    slope += float(np.linalg.norm(Z[kept] / weight[kept]))
    return slope + distance / float(weight[kept].min())


def _least_value(left: Array, free: Mask, *, zero_sums: bool) -> float:
    """Return the least singular value of ``D -> left^T D`` over free entries of D.

    Zero where the map is not onto. With `zero_sums` the rows of D sum to zero, and so
    do those of its image.
    """
    rank, c = left.shape[1], free.shape[1]
    if not zero_sums:
        blocks = [left[free[:, o]] for o in range(c)]
        if any(len(block) < rank for block in blocks):
            return 0.0
        return min(float(np.linalg.svd(b, compute_uv=False)[-1]) for b in blocks)
    # An orthonormal basis of the vectors with sum zero.
    basis = np.linalg.qr(np.column_stack([np.ones(c), np.eye(c)[:, 1:]]))[0][:, 1:]
    columns = []
    for row, on in zip(left, free, strict=True):
        count = int(on.sum())
        if count < 2:
            continue
        centred = np.eye(count) - 1.0 / count
        directions = np.zeros((c, count - 1))
        directions[on] = np.linalg.svd(centred)[0][:, : count - 1]
        columns.append(np.kron(row[:, None], basis.T @ directions))
    if not columns:
        return 0.0
    matrix = np.hstack(columns)
    if matrix.shape[1] < matrix.shape[0]:
        return 0.0
    return float(np.linalg.svd(matrix, compute_uv=False)[-1])
