"""Training by random restarts, in plain numpy: upper bounds that know no cells."""

import numpy as np
from pyomo.contrib.solver.common.util import NoOptimalSolutionError
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax
from threadpoolctl import threadpool_limits

from pyomo_relu import solve


def squared(F, Y, w):
    return 0.5 * np.sum(w * (F - Y) ** 2), w * (F - Y)


def absolute(F, Y, w):
    return np.sum(w * np.abs(F - Y)), w * np.sign(F - Y)


def huber(width):
    def loss(F, Y, w):
        r = F - Y
        near = np.abs(r) <= width
        values = np.where(near, 0.5 * r**2, width * np.abs(r) - 0.5 * width**2)
        return np.sum(w * values), w * np.where(near, r, width * np.sign(r))

    return loss


def quantile(tau):
    def loss(F, Y, w):
        low = F < Y
        values = np.where(low, tau * (Y - F), (1.0 - tau) * (F - Y))
        return np.sum(w * values), w * np.where(low, -tau, 1.0 - tau)

    return loss


def logistic(F, Y, w):
    own = np.sum(w * Y, axis=1)
    values = logsumexp(F, axis=1) - np.sum(F * Y, axis=1)
    return own @ values, own[:, None] * (softmax(F, axis=1) - Y)


def hinge(F, Y, w):
    own = np.sum(w * Y, axis=1)
    margins = F + 1.0 - Y
    leader = np.eye(Y.shape[1])[margins.argmax(axis=1)]
    values = margins.max(axis=1) - np.sum(F * Y, axis=1)
    return own @ values, own[:, None] * (leader - Y)


def objective(theta, rows, Y, beta, w, loss, slopes, skip, width):
    """Return (NN) at a point, and its gradient.

    Rows (n, K, d) have their column of ones already; `skip` is None, or the weight of
    half the square of the linear term.
    """
    _, patches, d = rows.shape
    c = Y.shape[1]
    low, high = slopes
    u = theta[: d * width].reshape(d, width)
    v = theta[d * width : (d + c) * width].reshape(width, c)
    C = theta[(d + c) * width :].reshape(-1, c)
    inner = rows @ u
    slope = np.where(inner > 0.0, high, low)
    hidden = (slope * inner).mean(axis=1)
    means = rows.mean(axis=1)
    F = hidden @ v + (means @ C if skip is not None else 0.0)
    value, G = loss(F, Y, w)
    value += 0.5 * beta * (np.sum(u**2) + np.sum(v**2))
    back = (G @ v.T)[:, None, :] * slope / patches
    parts = [np.einsum("nkd,nkm->dm", rows, back) + beta * u, hidden.T @ G + beta * v]
    if skip is not None:
        value += 0.5 * skip * np.sum(C**2)
        parts.append(means.T @ G + skip * C)
    return value, np.concatenate([part.ravel() for part in parts])


def best_of_restarts(
    X,
    Y,
    beta,
    *,
    loss=squared,
    weight=None,
    slopes=(0.0, 1.0),
    bias=False,
    skip=None,
    width=6,
    starts=30,
    seed=0,
):
    """Return the least objective that L-BFGS meets from random starts."""
    rows = X if X.ndim == 3 else X[:, None, :]
    if bias:
        rows = np.concatenate([rows, np.ones((*rows.shape[:2], 1))], axis=2)
    rng = np.random.default_rng(seed)
    d, c = rows.shape[2], Y.shape[1]
    weight = np.ones(Y.shape) if weight is None else weight
    size = (d + c) * width + (d * c if skip is not None else 0)
    # Threads are slower on arrays this small, much so on a busy machine.
    with threadpool_limits(1):
        return min(
            minimize(
                objective,
                rng.normal(size=size),
                args=(rows, Y, beta, weight, loss, slopes, skip, width),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": 400, "ftol": 1e-10},
            ).fun
            for _ in range(starts)
        )


def optimum_of(model):
    """Solve a model as accurately as the first solver can, and return its value."""
    try:
        results = solve(model, accuracy="tight", fallback=False)
    except NoOptimalSolutionError:
        results = solve(model)
    return results.incumbent_objective


def objective_of(network, problem, loss, weight=None):
    """Return (NN) at a network's weights, by the formulas above."""
    X = problem.X if problem.X.ndim == 3 else problem.X[:, None, :]
    u = network.first
    C = network.skip
    if problem.bias:
        X = np.concatenate([X, np.ones((*X.shape[:2], 1))], axis=2)
        u = np.vstack([u, network.bias])
    theta = [u.ravel(), network.second.ravel()]
    theta += [C.ravel()] if C is not None else []
    slopes = problem.activation.negative, problem.activation.positive
    weight = np.ones(problem.Y.shape) if weight is None else weight
    return objective(
        np.concatenate(theta),
        X,
        problem.Y,
        problem.beta,
        weight,
        loss,
        slopes,
        problem.skip if C is not None else None,
        network.n_neurons,
    )[0]
