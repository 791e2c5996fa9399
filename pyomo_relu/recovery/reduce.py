r"""Networks with fewer neurons and the same predictions.

The predictions of a network are a combination of those of its neurons, and so is its
penalty. By Carathéodory's theorem at most n c of them do as well: a vertex of

.. math::

    \min_{t \ge 0} \sum_j t_j |u_j| |v_j| \quad \text{s.t. }
    \sum_j t_j\, \sigma(X u_j) v_j^T = \sum_j \sigma(X u_j) v_j^T
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linprog

from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["reduce_neurons"]


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
        With a penalty that is no larger, up to the tolerance of a linear program; the
        network as it was if it has no more neurons.

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
    rows = effects.reshape(-1, len(used))
    found = linprog(
        np.ones(len(used)),
        A_eq=rows,
        b_eq=rows @ sizes[used],
        method="highs-ds",
        options={
            "primal_feasibility_tolerance": 1e-10,
            "dual_feasibility_tolerance": 1e-10,
        },
    )
    if found.x is None:
        return network
    kept = found.x > 0.0
    root = np.sqrt(found.x[kept] / sizes[used][kept])
    return network.with_layers(
        network.stacked[:, used[kept]] * root,
        network.second[used[kept]] * root[:, None],
    )
