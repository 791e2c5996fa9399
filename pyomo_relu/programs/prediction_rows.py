"""Predictions and the penalty as linear sums over the moments of the cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.environ import Constraint, RangeSet, Var

from pyomo_relu.programs.network_program import NetworkProgram
from pyomo_relu.programs.rows import InOrder, Rows, equal_row, objects

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["penalty_terms", "plain_rows", "tree_rows", "with_linear_term"]


def plain_rows(
    model: Any, program: NetworkProgram, frames: list[Array], cross: list[Any]
) -> Rows:
    """Write each prediction as ``sum_i s_ik x_k^T R_i W_i``, s the slopes."""
    scaled = program.problem.scaled
    masks = program.cells.masks[program.active]
    slopes = np.where(masks.T, scaled.activation.positive, scaled.activation.negative)
    owner = np.repeat(np.arange(len(frames)), [R.shape[1] for R in frames])
    coefficients = scaled.pool(slopes[:, owner] * (scaled.X @ np.hstack(frames)))
    variables = np.vstack(cross)
    for row in coefficients:
        columns = np.flatnonzero(row)
        values = row[columns].tolist()
        for o in range(variables.shape[1]):
            yield values, variables[columns, o].tolist()


def tree_rows(
    model: Any, program: NetworkProgram, frames: list[Array], cross: list[Any]
) -> Rows:
    r"""Write each prediction over the tree edges that flip its sample.

    With ``S_i = V_i + sum of S over the children of i`` and ``V_i = R_i W_i``,

    .. math::

        f(x_k) = x_k^T \Big(D_{root,k} S_{root}
                 + \sum_{\text{edges } i \to j \text{ that flip } k} \pm S_j\Big)

    (design, Tree sums). Other slopes than 0 and 1 multiply the edges by
    ``s_+ - s_-`` and add ``s_- S_root``; patches are averaged.
    """
    cells, active = program.cells, program.active
    scaled = program.problem.scaled
    activation, X = scaled.activation, scaled.X
    r = X.shape[1]
    c = cross[0].shape[1]
    tree = cells.spanning_tree(active)
    model.subtree = Var(model.CELLS, RangeSet(0, r - 1), model.OUTPUTS)
    subtree = objects(model.subtree.values(), (len(active), r, c))

    children: list[list[int]] = [[] for _ in active]
    for j in tree.order[1:]:
        children[tree.parent[j]].append(int(j))
    model.subtree_row = Constraint(
        model.CELLS,
        RangeSet(0, r - 1),
        model.OUTPUTS,
        rule=InOrder(
            equal_row(total, *row)
            for total, row in zip(
                subtree.flat,
                _subtree_sums(frames, cross, subtree, children),
                strict=True,
            )
        ),
    )
    # Of each row of the arrangement: the subtree sums that it sees, and how.
    root_mask = cells.subset(active[[tree.root]]).masks[0]
    at_root = np.where(root_mask, activation.positive, activation.negative)
    below = np.repeat(np.arange(len(tree)), np.diff(tree.sample_indptr))
    shape = (len(X), len(tree))
    edges = sp.csr_array(
        (activation.step * tree.sample_signs, (tree.sample_indices, below)), shape
    )
    root = sp.csr_array(
        (at_root, (np.arange(len(X)), np.full(len(X), tree.root))), shape
    )
    seen = sp.csr_array(edges + root)
    for point in range(scaled.n_points):
        members = np.arange(point * scaled.patches, (point + 1) * scaled.patches)
        weights = seen[members]
        positions = np.unique(weights.indices)
        coefficients = weights[:, positions].T @ X[members] / scaled.patches
        support = coefficients != 0.0
        values = coefficients[support].tolist()
        sums = subtree[positions][support]
        for o in range(c):
            yield values, sums[:, o].tolist()


def with_linear_term(rows: Rows, means: Array, terms: Any) -> Rows:
    """Add ``means @ terms`` to the rows of all points and outputs."""
    c = terms.shape[1]
    for number, (values, variables) in enumerate(rows):
        mean = means[number // c]
        support = np.flatnonzero(mean)
        yield (
            [*values, *mean[support].tolist()],
            [*variables, *terms[support, number % c]],
        )


def _subtree_sums(
    frames: list[Array], cross: list[Any], subtree: Any, children: list[list[int]]
) -> Rows:
    """Write each ``S_i`` as ``R_i W_i`` plus the sums of the children of i."""
    for R, W, branches in zip(frames, cross, children, strict=True):
        tail = [1.0] * len(branches)
        for a, row in enumerate(R):
            support = np.flatnonzero(row)
            values = [*row[support].tolist(), *tail]
            for o in range(W.shape[1]):
                yield values, [*W[support, o], *subtree[branches, a, o]]


def penalty_terms(
    frames: list[Array], matrices: list[Any], c: int
) -> tuple[Array, list[Any]]:
    """Return coefficients and variables of ``sum_i <R_i^T R_i, A_i> + tr G_i``."""
    coefficients, variables = [], []
    for R, matrix in zip(frames, matrices, strict=True):
        m = R.shape[1]
        gram = R.T @ R
        rows, columns = np.triu_indices(m)
        coefficients.append(gram[rows, columns] * np.where(rows == columns, 1.0, 2.0))
        variables.extend(matrix[rows, columns])
        coefficients.append(np.ones(c))
        variables.extend(np.diagonal(matrix)[m:])
    return np.concatenate(coefficients), variables
