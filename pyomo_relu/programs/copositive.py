r"""The copositive program of network training (COP), the dual.

In coordinates of the cells' rays, with ``H_i = D_i X R_i``:

.. math::

    \max\ & -\mathrm{loss}^*(-Z) \\
    \text{s.t. } & \begin{bmatrix} \beta R_i^T R_i & H_i^T Z \\ Z^T H_i & \beta I
        \end{bmatrix} \in \mathrm{COP}(R_+^{m_i} \times R^c)

(arXiv:2012.13329; design, The copositive program), ``D_i X`` with the slopes of the
activation and the mean over patches. For the squared loss the objective is
:math:`\langle Z, Y\rangle - \frac12 \|Z\|_F^2` and the predictions are
:math:`f = Y - Z`. A linear term asks for :math:`X^T Z = 0`, a penalised one subtracts
:math:`|X^T Z|^2 / 2 \gamma`. The multipliers of the cones are the second moments of the
neurons.
"""

from __future__ import annotations

from typing import Any

import numpy as np
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
    Suffix,
    Var,
    maximize,
)

from pyomo_relu.arrangement import Cells
from pyomo_relu.cones import CopositiveCone
from pyomo_relu.errors import InputError
from pyomo_relu.losses import SquaredLoss
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
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["build_copositive"]


def build_copositive(
    problem: TrainingProblem,
    cells: Cells | None = None,
    *,
    form: str = "tree",
    description: str | None = None,
    block: Any = None,
) -> Any:
    """Write the dual of the training problem as a copositive program.

    Relax its cones (:func:`pyomo_relu.relax`) before it goes to a solver. Its maximum
    is the minimum of :func:`build_completely_positive`; a tier that shrinks its cones
    bounds that from below.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    cells : Cells, optional
        The cells to use; all of them by default. With fewer cells the program lacks
        constraints: its optimum bounds the global one from above.
    form : {"tree", "plain"}
        How ``X^T D_i Z`` is written for each cell: ``"tree"`` adds what the edge of a
        spanning tree flips to the neighbour's (design, Tree sums), ``"plain"`` sums
        over all active samples. Same program.
    description : {"rays", "facets"}, optional
        Coordinates of the matrices. By default ``"rays"`` for enumerated cells and
        ``"facets"`` for sampled ones.
    block : Block, optional
        Where to build; a new ``ConcreteModel`` by default.

    Returns
    -------
    ConcreteModel or the given block
        With ``dual_point[sample, output]`` (Z, minus a derivative of the loss by the
        prediction, in the user's units), ``gradient[cell, row, output]`` (``X^T D_i
        Z``, scaled), ``cone[cell]``, a Suffix ``dual`` that takes the multipliers and
        ``objective``, in the user's units. For the squared loss without weights also
        ``prediction[sample, output]``, which is ``Y - Z`` and the network's prediction
        at the optimum only, ``loss`` and ``penalty`` (the same).

    Raises
    ------
    InputError, InputTypeError
        An unknown form or description, cells of other data, no cell with an
        active sample, a block that is not empty, arguments of a wrong type.
    TooManyCellsError
        There are too many cells for one program and none were given.

    Notes
    -----
    Rows added on ``prediction`` constrain the dual point, not the network: add
    constraints of your own to :func:`build_completely_positive`.

    Examples
    --------
    >>> from pyomo_relu import TrainingProblem, recover_network, relax, solve
    >>> problem = TrainingProblem([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0], beta=0.5)
    >>> model = build_copositive(problem)
    >>> relax(model, "dnn")
    >>> results = solve(model)
    >>> print(f"{results.incumbent_objective:.5f}")
    0.99303
    >>> print(f"{recover_network(model).objective(problem):.5f}")
    0.99303
    """
    if form not in ("tree", "plain"):
        raise InputError(f"form must be 'tree' or 'plain'; got {form!r}.")
    program = network_program_of(problem, cells, description, block)
    model = ConcreteModel(name="copositive") if block is None else block
    if not program.cells.complete:
        mark_side(model, "outer", program.incompleteness)
    attach(model, program)
    with PauseGC():
        _write(model, program, form)
    keep_state(model)
    return model


def _write(model: Any, program: NetworkProgram, form: str) -> None:
    problem, active = program.problem, program.active
    scaled = problem.scaled
    n, c = problem.n_samples, problem.n_outputs
    r = scaled.rank
    scale = scaled.objective_scale

    model.CELLS = Set(initialize=active.tolist())
    model.SAMPLES = RangeSet(0, n - 1)
    model.OUTPUTS = RangeSet(0, c - 1)
    model.scaled_dual_point = Var(model.SAMPLES, model.OUTPUTS)
    Z = objects(model.scaled_dual_point.values(), (n, c))
    model.dual_point = Expression(
        model.SAMPLES,
        model.OUTPUTS,
        rule=InOrder(scale / scaled.y_scale * z for z in Z.flat),
    )
    model.gradient = Var(model.CELLS, RangeSet(0, r - 1), model.OUTPUTS)
    gradient = objects(model.gradient.values(), (len(active), r, c))
    write_rows = _tree_rows if form == "tree" else _plain_rows
    model.gradient_row = Constraint(
        model.CELLS,
        RangeSet(0, r - 1),
        model.OUTPUTS,
        rule=InOrder(
            equal_row(J, *row)
            for J, row in zip(
                gradient.flat, write_rows(program, Z, gradient), strict=True
            )
        ),
    )
    members = (
        _member(program, i, J) for i, J in zip(active.tolist(), gradient, strict=True)
    )
    model.cone = CopositiveCone(model.CELLS, rule=InOrder(members))

    model.loss_parts = Block()
    objective = scaled.loss.write_dual(model.loss_parts, Z, scaled.Y, scaled.weight)
    if scaled.skip is not None:
        objective = _linear_term(model, program, Z, objective)
    model.objective = Objective(expr=scale * objective, sense=maximize)
    model.dual = Suffix(direction=Suffix.IMPORT)
    if scaled.loss != SquaredLoss() or scaled.weight is not None:
        return
    flat, targets = Z.ravel().tolist(), scaled.Y.ravel().tolist()
    model.prediction = Expression(
        model.SAMPLES,
        model.OUTPUTS,
        rule=InOrder(
            LinearExpression(
                constant=scaled.y_scale * y,
                linear_coefs=[-scaled.y_scale],
                linear_vars=[z],
            )
            for z, y in zip(flat, targets, strict=True)
        ),
    )
    model.loss = Expression(expr=0.5 * scale * SumExpression([z * z for z in flat]))
    model.penalty = Expression(expr=model.objective.expr - model.loss)


def _linear_term(model: Any, program: NetworkProgram, Z: Any, objective: Any) -> Any:
    r"""Write what the linear term asks of Z, and return the objective with it.

    .. math::

        \inf_C \langle Z, X C\rangle + \tfrac\gamma2 |C|^2
            = -\tfrac1{2\gamma} |X^T Z|^2,

    which is :math:`X^T Z = 0` where :math:`\gamma = 0`.
    """
    scaled = program.problem.scaled
    means = scaled.means[: len(Z)]
    columns = RangeSet(0, scaled.rank - 1)
    shape = (scaled.rank, Z.shape[1])
    supports = [np.flatnonzero(column) for column in means.T]
    sums = [
        (means[support, a].tolist(), Z[support, o].tolist())
        for a, support in enumerate(supports)
        for o in range(shape[1])
    ]
    if scaled.skip == 0.0:
        model.linear_row = Constraint(
            columns,
            model.OUTPUTS,
            rule=InOrder(
                (0.0, LinearExpression(linear_coefs=values, linear_vars=variables), 0.0)
                for values, variables in sums
            ),
        )
        return objective
    assert scaled.skip is not None
    model.linear_gradient = Var(columns, model.OUTPUTS)
    gradients = objects(model.linear_gradient.values(), shape)
    model.linear_row = Constraint(
        columns,
        model.OUTPUTS,
        rule=InOrder(
            equal_row(gradient, *row)
            for gradient, row in zip(gradients.flat, sums, strict=True)
        ),
    )
    squares = [-0.5 / scaled.skip * g * g for g in gradients.flat]
    return SumExpression([*squares, objective])


def _member(program: NetworkProgram, i: int, J: Any) -> dict[str, Any]:
    """Return the content of the cone of cell i, ``J = X^T D_i Z`` (r, c)."""
    beta, c = program.problem.scaled.beta, program.n_outputs
    R, facets = program.frame(i)
    m = R.shape[1]
    matrix = np.zeros((m + c, m + c), dtype=object)
    matrix[:m, :m] = beta * (R.T @ R)
    matrix[m:, m:] = beta * np.eye(c)
    for j, ray in enumerate(R.T):
        support = np.flatnonzero(ray)
        coefficients = ray[support].tolist()
        for o in range(c):
            entry = LinearExpression(
                linear_coefs=coefficients, linear_vars=J[support, o].tolist()
            )
            matrix[j, m + o] = matrix[m + o, j] = entry
    shape = {"rays": R} if facets is None else {"facets": facets}
    return {"matrix": matrix, "free": c, **shape}


def _plain_rows(program: NetworkProgram, Z: Any, gradient: Any) -> Rows:
    """Write each ``J_i`` as a sum over the samples."""
    scaled = program.problem.scaled
    activation = scaled.activation
    for mask in program.cells.masks[program.active]:
        slopes = np.where(mask, activation.positive, activation.negative)
        weights = scaled.pool(slopes[:, None] * scaled.X)[: len(Z)]
        for column in weights.T:
            support = np.flatnonzero(column)
            values = column[support].tolist()
            for o in range(Z.shape[1]):
                yield values, Z[support, o].tolist()


def _tree_rows(program: NetworkProgram, Z: Any, gradient: Any) -> Rows:
    r"""Write each ``J_i`` as its parent's plus what the edge flips.

    .. math:: J_j = J_{parent} + (s_+ - s_-) \sum_{k \text{ flipped}} \pm x_k z_k^T
    """
    scaled = program.problem.scaled
    activation = scaled.activation
    tree = program.cells.spanning_tree(program.active)
    mask = program.cells.subset(program.active[[tree.root]]).masks[0]
    at_root = np.where(mask, activation.positive, activation.negative)
    for j in range(len(tree)):
        if j == tree.root:
            rows, slopes, parent = np.arange(len(mask)), at_root, None
        else:
            edge = slice(tree.sample_indptr[j], tree.sample_indptr[j + 1])
            rows = tree.sample_indices[edge]
            slopes = activation.step * tree.sample_signs[edge]
            parent = gradient[tree.parent[j]]
        samples, weights = _by_sample(program, rows, slopes)
        for a, column in enumerate(weights.T):
            support = np.flatnonzero(column)
            values = column[support].tolist()
            for o in range(Z.shape[1]):
                variables = Z[samples[support], o].tolist()
                if parent is None:
                    yield values, variables
                else:
                    yield [*values, 1.0], [*variables, parent[a, o]]


def _by_sample(
    program: NetworkProgram, rows: Indices, slopes: Array
) -> tuple[Indices, Array]:
    """Return samples (s,) and ``sum of slope x_row / K`` (s, r) over their rows.

    Rows of anchor points have no part in the dual.
    """
    scaled = program.problem.scaled
    own = rows < program.problem.n_samples * scaled.patches
    rows, slopes = rows[own], slopes[own]
    weights = slopes[:, None] * scaled.X[rows] / scaled.patches
    if scaled.patches == 1:
        return rows, weights
    samples, place = np.unique(rows // scaled.patches, return_inverse=True)
    total = np.zeros((len(samples), weights.shape[1]))
    np.add.at(total, place, weights)
    return samples, total
