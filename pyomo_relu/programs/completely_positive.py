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
from pyomo_relu.programs.prediction_rows import (
    penalty_terms,
    plain_rows,
    tree_rows,
    with_linear_term,
)
from pyomo_relu.programs.rows import InOrder, equal_row, objects
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
    write_rows = tree_rows if form == "tree" else plain_rows
    rows = write_rows(model, program, frames, cross)
    if scaled.skip is not None:
        model.linear_term = Var(RangeSet(0, scaled.rank - 1), model.OUTPUTS)
        terms = objects(model.linear_term.values(), (scaled.rank, c))
        # What no point sees is in no row, and its least square is zero.
        for term in terms[~scaled.means.any(axis=0)].flat:
            term.fix(0.0)
        rows = with_linear_term(rows, scaled.means, terms)
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
    coefficients, variables = penalty_terms(frames, matrices, c)
    penalty: Any = LinearExpression(
        linear_coefs=(0.5 * scale * scaled.beta * coefficients).tolist(),
        linear_vars=variables,
    )
    if scaled.skip:
        squares = [0.5 * scale * scaled.skip * term * term for term in terms.flat]
        penalty = SumExpression([*squares, penalty])
    model.penalty = Expression(expr=penalty)
    model.objective = Objective(expr=model.loss + model.penalty, sense=minimize)
