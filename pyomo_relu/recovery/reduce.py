r"""Networks with fewer neurons and the same predictions.

The predictions of a network are a combination of those of its neurons, and so is its
penalty. By Carathéodory's theorem at most n c of them do as well: from a positive t
with

.. math:: \sum_j t_j\, \sigma(X u_j) v_j^T = f, \qquad
          \mathrm{penalty} = \sum_j t_j |u_j| |v_j|

one goes along null vectors of the left side, in the sense in which the penalty does not
rise, to where the next neuron vanishes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg import qr

from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["reduce_neurons"]

#: Pivots below this part of the largest are zero.
_RANK = 1e-12
#: A null vector with less of the penalty than this part leaves it as it is.
_LEVEL = 1e-9


def reduce_neurons(problem: TrainingProblem, network: ReLUNetwork) -> ReLUNetwork:
    """Return a network with at most n c neurons that predicts the same.

    Parameters
    ----------
    problem : TrainingProblem
        The points, anchor points included, at which predictions stay.
    network : ReLUNetwork
        The network.

    Returns
    -------
    ReLUNetwork
        With a penalty that is no larger, up to rounding; the network as it was if it
        has no more neurons.

    Examples
    --------
    >>> problem = TrainingProblem([[1.0]], [[1.0]], beta=0.5)
    >>> network = ReLUNetwork([[1.0, 2.0, 3.0]], [[0.5], [0.1], [0.2]])
    >>> fewer = reduce_neurons(problem, network)
    >>> print(fewer.n_neurons, fewer.predict([[1.0]]).round(9))
    1 [[1.3]]
    """
    scaled = problem.scaled
    if network.n_neurons <= scaled.n_points * problem.n_outputs:
        return network
    network = network.balance()
    first, second = scaled.from_user(network.stacked, network.second)
    sizes = np.linalg.norm(first, axis=0) * np.linalg.norm(second, axis=1)
    used = np.flatnonzero(sizes > 0.0)
    if not used.size:
        return network
    hidden = scaled.hidden(first[:, used])
    # A column a neuron, of penalty one.
    effects = np.einsum("kj,jc->kcj", hidden, second[used]) / sizes[used]
    kept, amounts = _vertex(effects.reshape(-1, len(used)), sizes[used])
    root = np.sqrt(amounts / sizes[used[kept]])
    return network.with_layers(
        network.stacked[:, used[kept]] * root,
        network.second[used[kept]] * root[:, None],
    )


def _vertex(effects: Array, amounts: Array) -> tuple[np.ndarray[Any, Any], Array]:
    """Return columns, and positive amounts of them, of the same sum of effects.

    Parameters
    ----------
    effects : (k, m) array
        A column for one unit of each.
    amounts : (m,) array
        Positive; their sum does not rise.

    Returns
    -------
    kept : (p,) integer array
        Linearly independent columns.
    amounts : (p,) array
        How much of each.
    """
    rotation, triangle, _ = qr(effects.T, pivoting=True)
    pivots = np.abs(np.diag(triangle))
    rank = int(np.sum(pivots > _RANK * pivots.max(initial=0.0)))
    # Orthonormal null vectors, from which one is taken out at a time.
    null = rotation[:, rank:]
    kept = np.arange(len(amounts))
    while null.shape[1]:
        slope = null.sum(axis=0)
        if np.linalg.norm(slope) <= _LEVEL * np.sqrt(len(kept)):
            slope = np.eye(len(slope))[0]
        direction = -null @ slope
        if direction.min() >= 0.0:
            direction = -direction
        falling = np.flatnonzero(direction < 0.0)
        lengths = amounts[falling] / -direction[falling]
        gone = int(falling[lengths.argmin()])
        amounts = amounts + lengths.min() * direction
        # A reflection leaves one null vector with an entry there, which goes too.
        row = null[gone].copy()
        row[0] += np.copysign(np.linalg.norm(row), row[0])
        null = null - np.outer(null @ row, row) * (2.0 / (row @ row))
        null = np.delete(null[:, 1:], gone, axis=0)
        kept, amounts = np.delete(kept, gone), np.delete(amounts, gone)
        amounts = np.maximum(amounts, 0.0)
    return kept[amounts > 0.0], amounts[amounts > 0.0]
