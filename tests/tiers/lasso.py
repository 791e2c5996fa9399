"""The lasso problems that upper tiers write, solved by proximal gradients."""

import numpy as np

from pyomo_relu import enumerate_cells


def unique_rays(problem):
    """Return the unit rays (d, q) of all cells of the data."""
    cells = enumerate_cells(problem)
    rays = np.hstack([cells.rays[i] for i in range(len(cells))])
    return np.unique((rays / np.linalg.norm(rays, axis=0)).round(9), axis=1)


def group_lasso(problem):
    r"""Return the least of ``1/2 |(X R)_+ V - Y|^2 + beta sum_k |v_k|``."""
    return _descend(problem, lambda V: np.linalg.norm(V, axis=1, keepdims=True))


def single_output_lasso(problem):
    r"""Return the least of ``1/2 |(X R)_+ V - Y|^2 + beta sum_ko |v_ko|``."""
    return _descend(problem, np.abs)


def _descend(problem, sizes, iterations=200_000):
    """Run FISTA with restarts until the duality gap is 1e-9 of the value.

    A scaled residual Z is dual feasible where no ``|h_k' Z|`` exceeds beta; the dual
    value is ``<Z, Y> - 1/2 |Z|^2``.
    """
    Y, beta = problem.Y, problem.beta
    features = np.maximum(problem.X @ unique_rays(problem), 0.0)
    step = 1.0 / np.linalg.norm(features, 2) ** 2
    V = W = np.zeros((features.shape[1], Y.shape[1]))
    momentum = 1.0
    for k in range(iterations):
        moved = W - step * features.T @ (features @ W - Y)
        shrunk = moved / np.maximum(sizes(moved), 1e-300)
        new = shrunk * np.maximum(sizes(moved) - step * beta, 0.0)
        if np.vdot(W - new, new - V) > 0.0:
            momentum = 1.0
        faster = 0.5 + np.sqrt(0.25 + momentum**2)
        W = new + (momentum - 1.0) / faster * (new - V)
        V, momentum = new, faster
        if k % 100 == 0:
            Z = Y - features @ V
            value = 0.5 * np.vdot(Z, Z) + beta * sizes(V).sum()
            Z = Z / max(1.0, sizes(features.T @ Z).max() / beta)
            if value - np.vdot(Z, Y) + 0.5 * np.vdot(Z, Z) <= 1e-9 * value:
                return float(value)
    raise AssertionError("the lasso was not solved")
