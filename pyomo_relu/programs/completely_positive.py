r"""The completely positive program of network training (CP), the primal.

In coordinates of the cells' rays, one moment matrix a cell:

.. math::

    \min\ & \mathrm{loss}\Big(\sum_i D_i X R_i W_i + X C, Y\Big)
        + \frac\beta2 \sum_i \big(\langle R_i^T R_i, A_i\rangle
        + \mathrm{tr}\, G_i\big) \\
    \text{s.t. } & M_i = \begin{bmatrix} A_i & W_i \\ W_i^T & G_i \end{bmatrix}
        \succeq 0, \quad A_i \in \mathrm{CP}_{m_i}

(arXiv:2012.13329; design, The completely positive program), where ``D_i X`` holds the
slopes of the activation and the mean over patches, and C is the linear term, if there
is one. Where only the facets of the cells are known the same program stands in
``U_i``, the second moment of the first layer's weights, with ``U_i in CP(K_i)``, in a
basis made of facets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.gc_manager import PauseGC
from pyomo.core.expr import LinearExpression
from pyomo.core.expr.numeric_expr import SumExpression
from pyomo.environ import (
    Block,
    ConcreteModel,
    Constraint,
    Expression,
    Objective,
    RangeSet,
    Set,
    Var,
    minimize,
)

from pyomo_relu.arrangement import Cells
from pyomo_relu.cones import CompletelyPositiveCone
from pyomo_relu.errors import InputError
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.additions import keep_state
from pyomo_relu.programs.network_program import (
    NetworkProgram,
    attach,
    network_program_of,
)
from pyomo_relu.programs.rows import InOrder, Rows, equal_row, objects
from pyomo_relu.tiers import mark_side

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["build_completely_positive"]


def build_completely_positive(
    problem: TrainingProblem,
    cells: Cells | None = None,
    *,
    form: str = "tree",
    description: str | None = None,
    block: Any = None,
) -> Any:
    """Write the training problem as a completely positive program.

    Relax its cones (:func:`pyomo_relu.relax`) before it goes to a solver.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    cells : Cells, optional
        The cells to use; all of them by default. Over fewer cells the program is
        a restriction: its optimum bounds the global one from above.
    form : {"tree", "plain"}
        How predictions are written. ``"tree"`` sums cross moments over the
        subtrees of a spanning tree of the cells, which leaves each sample a row
        of few non-zeros (design, Tree sums); ``"plain"`` writes each prediction
        over all cells in which the sample is active. Same program.
    description : {"rays", "facets"}, optional
        Coordinates of the moment matrices. By default ``"rays"`` for enumerated
        cells and ``"facets"`` for sampled ones.
    block : Block, optional
        Where to build; a new ``ConcreteModel`` by default.

    Returns
    -------
    ConcreteModel or the given block
        With ``moment[cell, row, column]`` (upper triangles), ``cone[cell]``,
        ``prediction[point, output]`` in units of `Y`, of the samples and then of the
        anchor points, ``loss``, ``penalty`` and ``objective``, in the user's units.

    Raises
    ------
    InputError, InputTypeError
        An unknown form or description, cells of other data, no cell with an
        active sample, a block that is not empty, arguments of a wrong type.
    TooManyCellsError
        There are more than ``MAX_CELLS`` cells and none were given.

    Examples
    --------
    >>> from pyomo_relu import TrainingProblem, relax, solve
    >>> problem = TrainingProblem([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0], beta=0.5)
    >>> model = build_completely_positive(problem)
    >>> relax(model, "dnn")
    >>> results = solve(model)
    >>> print(f"{results.incumbent_objective:.5f}")
    0.99303
    """
    if form not in ("tree", "plain"):
        raise InputError(f"form must be 'tree' or 'plain'; got {form!r}.")
    program = network_program_of(problem, cells, description, block)
    model = ConcreteModel(name="completely_positive") if block is None else block
    if not program.cells.complete:
        mark_side(model, "inner", program.incompleteness)
    attach(model, program)
    with PauseGC():
        _write(model, program, form)
    keep_state(model)
    return model


def _write(model: Any, program: NetworkProgram, form: str) -> None:
    problem, active = program.problem, program.active
    scaled = problem.scaled
    n, points, c = problem.n_samples, problem.n_points, problem.n_outputs
    described = [program.frame(i) for i in active.tolist()]
    frames = [R for R, _ in described]
    options = [
        {"rays": R} if facets is None else {"facets": facets} for R, facets in described
    ]

    model.CELLS = Set(initialize=active.tolist())
    model.POINTS = RangeSet(0, points - 1)
    model.OUTPUTS = RangeSet(0, c - 1)
    triangles: dict[int, tuple[Any, Any]] = {
        order: np.triu_indices(order) for order in {R.shape[1] + c for R in frames}
    }
    model.moment = Var(
        Set(
            initialize=[
                (i, j, k)
                for i, R in zip(active.tolist(), frames, strict=True)
                for j, k in zip(
                    *(index.tolist() for index in triangles[R.shape[1] + c]),
                    strict=True,
                )
            ],
            dimen=3,
        )
    )
    entries = iter(model.moment.values())
    matrices: list[Any] = []
    for R in frames:
        order = R.shape[1] + c
        matrix = np.empty((order, order), dtype=object)
        rows, columns = triangles[order]
        data = [next(entries) for _ in rows]
        matrix[rows, columns] = data
        matrix[columns, rows] = data
        matrices.append(matrix)
    members = (
        {"matrix": matrix, **option}
        for matrix, option in zip(matrices, options, strict=True)
    )
    model.cone = CompletelyPositiveCone(model.CELLS, rule=InOrder(members), free=c)

    model.scaled_prediction = Var(model.POINTS, model.OUTPUTS)
    predictions = objects(model.scaled_prediction.values(), (points, c))
    cross = [matrix[:-c, -c:] for matrix in matrices]
    write_rows = _tree_rows if form == "tree" else _plain_rows
    rows = write_rows(model, program, frames, cross)
    if scaled.skip is not None:
        model.linear_term = Var(RangeSet(0, scaled.rank - 1), model.OUTPUTS)
        terms = objects(model.linear_term.values(), (scaled.rank, c))
        # What no point sees is in no row, and its least square is zero.
        for term in terms[~scaled.means.any(axis=0)].flat:
            term.fix(0.0)
        rows = _with_linear_term(rows, scaled.means, terms)
    model.prediction_row = Constraint(
        model.POINTS,
        model.OUTPUTS,
        rule=InOrder(
            equal_row(p, *row) for p, row in zip(predictions.flat, rows, strict=True)
        ),
    )
    model.prediction = Expression(
        model.POINTS,
        model.OUTPUTS,
        rule=InOrder(scaled.y_scale * p for p in predictions.flat),
    )
    scale = scaled.objective_scale
    model.loss_parts = Block()
    model.loss = Expression(
        expr=scale
        * scaled.loss.write(model.loss_parts, predictions[:n], scaled.Y, scaled.weight)
    )
    coefficients, variables = _penalty(frames, matrices, c)
    penalty: Any = LinearExpression(
        linear_coefs=(0.5 * scale * scaled.beta * coefficients).tolist(),
        linear_vars=variables,
    )
    if scaled.skip:
        squares = [0.5 * scale * scaled.skip * term * term for term in terms.flat]
        penalty = SumExpression([*squares, penalty])
    model.penalty = Expression(expr=penalty)
    model.objective = Objective(expr=model.loss + model.penalty, sense=minimize)


def _penalty(
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


def _plain_rows(
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


def _tree_rows(
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


def _with_linear_term(rows: Rows, means: Array, terms: Any) -> Rows:
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
