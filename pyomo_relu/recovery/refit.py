r"""The second layer of a network, fitted again under the user's constraints.

With the directions of the neurons given, training is the group lasso

.. math:: \min_v\ \mathrm{loss}\Big(\sum_j \sigma(X \hat u_j) v_j^T\Big)
          + \beta \sum_j |v_j|, \qquad |\hat u_j| = 1

(design, Group lasso), a small convex program that keeps the constraints to a solver's
accuracy: what a factorisation of moments leaves of them is gone.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.contrib.solver.common.results import TerminationCondition

from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.user_rows import UserRows
from pyomo_relu.solvers import Clarabel
from pyomo_relu.solvers.refinement import refine

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["refit", "violation"]

_TIGHT = {"tol_gap_abs": 1e-11, "tol_gap_rel": 1e-11, "tol_feas": 1e-11}
#: Neurons with less than this part of the largest second layer are left out.
_EMPTY = 1e-7
#: Violations below this are those of rounding and of a solver's last digits.
_FEASIBLE = 1e-9

logger = logging.getLogger(__name__)


def refit(
    problem: TrainingProblem,
    network: ReLUNetwork,
    rows: UserRows,
    more: Array | None = None,
) -> ReLUNetwork:
    """Return the best network with the same directions that satisfies the user's rows.

    Parameters
    ----------
    problem : TrainingProblem
        What was trained.
    network : ReLUNetwork
        Where the directions come from.
    rows : UserRows
        The constraints; there may be none.
    more : (r, k) array, optional
        Further directions, scaled.

    Returns
    -------
    ReLUNetwork
        Balanced; the network as it was where these directions cannot satisfy the rows,
        or where it is better.
    """
    scaled = problem.scaled
    merged = network.merge(1e-7)
    first, _ = scaled.from_user(merged.stacked, merged.second)
    norms = np.linalg.norm(first, axis=0)
    first = first[:, norms > 0.0] / norms[norms > 0.0]
    if more is not None:
        first = np.hstack([first, more / np.linalg.norm(more, axis=0)])
    m, c = first.shape[1], problem.n_outputs
    if m == 0 and scaled.skip is None:
        return network
    inner = rows.inner
    n_points = scaled.n_points * c
    features = scaled.hidden(first)
    skip = scaled.means if scaled.skip is not None else features[:, :0]
    # f = H v + means C, point by point and output by output. Predictions as variables
    # keep the factors of a solver as small as there are predictions.
    to_points = sp.csr_array(
        sp.kron(sp.csr_array(np.hstack([features, skip])), sp.eye_array(c))
    )
    # Columns: second layer, linear term, the variables of the rows (predictions and
    # what else they have), one norm a neuron.
    columns = to_points.shape[1]
    theirs = inner.A.shape[1]
    scale = scaled.objective_scale
    ridge = np.zeros(columns)
    ridge[m * c :] = scale * (scaled.skip or 0.0)
    P = sp.csc_array(
        sp.block_diag([sp.diags_array(ridge), inner.P, sp.csc_array((m, m))])
    )
    predictions = sp.hstack(
        [-to_points, sp.eye_array(n_points, theirs), sp.csr_array((n_points, m))]
    )
    cones = _norms(m, c, columns + theirs)
    first_rows = inner.n_linear
    A = sp.csr_array(
        sp.hstack(
            [
                sp.csr_array((inner.A.shape[0], columns)),
                inner.A,
                sp.csr_array((inner.A.shape[0], m)),
            ]
        )
    )
    form = dataclasses.replace(
        inner,
        variables=[None] * P.shape[0],
        P=P,
        c=np.concatenate([np.zeros(columns), inner.c, np.full(m, scale * scaled.beta)]),
        A=sp.csc_array(sp.vstack([predictions, A[:first_rows], cones, A[first_rows:]])),
        b=np.concatenate(
            [
                np.zeros(n_points),
                inner.b[:first_rows],
                np.zeros(cones.shape[0]),
                inner.b[first_rows:],
            ]
        ),
        n_zero=inner.n_zero + n_points,
        soc_orders=np.concatenate(
            [np.full(m, c + 1, dtype=np.int64), inner.soc_orders]
        ),
        upper_bound_rows=np.full(P.shape[0], -1),
        lower_bound_rows=np.full(P.shape[0], -1),
    )
    solver = Clarabel()
    config = solver.config(value={"solver_options": _TIGHT}, preserve_implicit=True)
    answer = solver.minimise(form, config)
    solved = TerminationCondition.convergenceCriteriaSatisfied
    if answer.termination != solved and not answer.has_point:
        logger.warning("the second layer was not fitted again: %s", answer.status)
        return network
    x, _, _ = refine(form, answer.x, answer.z)
    second = x[: m * c].reshape(m, c)
    linear = x[m * c : columns].reshape(-1, c)
    size = np.linalg.norm(second, axis=1)
    kept = size > _EMPTY * size.max(initial=0.0)
    found = [
        ReLUNetwork.of_scaled(problem, first[:, some], second[some], linear)
        for some in (kept, size > 0.0)
    ]

    violations = {
        id(each): violation(problem, each, rows) for each in (*found, network)
    }
    least = min(violations.values())
    kept_ones = [
        each
        for each in (*found, network)
        if violations[id(each)] <= max(least, _FEASIBLE)
    ]
    return min(kept_ones, key=lambda each: each.objective(problem))


def violation(problem: TrainingProblem, network: ReLUNetwork, rows: UserRows) -> float:
    """Return how far the predictions of a network, scaled, violate the user's rows.

    Parameters
    ----------
    problem, network, rows
        As for :func:`refit`.
    """
    return rows.violation(network.predict_points(problem) / problem.scaled.y_scale)


def _norms(m: int, c: int, before: int) -> sp.csr_array:
    """Return the rows of ``(t_j, v_j)`` in the second-order cone, ``-s``."""
    blocks = np.arange(m * (c + 1)).reshape(m, c + 1)
    t = sp.coo_array(
        (-np.ones(m), (blocks[:, 0], before + np.arange(m))),
        shape=(m * (c + 1), before + m),
    )
    v = sp.coo_array(
        (-np.ones(m * c), (blocks[:, 1:].ravel(), np.arange(m * c))),
        shape=(m * (c + 1), before + m),
    )
    return sp.csr_array(t + v)
