r"""The copositive program of network training (COP), the dual.

In coordinates of the cells' rays, with ``H_i = D_i X R_i``:

.. math::

    \max\ & -\mathrm{loss}^*(-Z) \\
    \text{s.t. } & \begin{bmatrix} \beta R_i^T R_i & H_i^T Z \\ Z^T H_i & \beta I
        \end{bmatrix} \in \mathrm{COP}(R_+^{m_i} \times R^c)

(arXiv:2012.13329; design, The copositive program). For the squared loss the objective
is :math:`\langle Z, Y\rangle - \frac12 \|Z\|_F^2` and the predictions are
:math:`f = Y - Z`. The multipliers of the cones are the second moments of the neurons.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyomo.common.gc_manager import PauseGC
from pyomo.core.expr import LinearExpression
from pyomo.environ import (
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
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.network_program import (
    NetworkProgram,
    attach,
    network_program_of,
)
from pyomo_relu.programs.rows import InOrder, Rows, equal_row, objects
from pyomo_relu.tiers import mark_side

Array = np.ndarray[Any, np.dtype[np.float64]]

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
        With ``dual_point[sample, output]`` (Z, in units of `Y`), ``gradient[cell, row,
        output]`` (``X^T D_i Z``, scaled), ``cone[cell]``, a Suffix ``dual`` that takes
        the multipliers, ``prediction[sample, output]``, which is ``Y - Z`` and the
        network's prediction at the optimum only, ``loss`` and ``penalty`` (the same),
        and ``objective``, in the user's units.

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
    return model


def _write(model: Any, program: NetworkProgram, form: str) -> None:
    problem, active = program.problem, program.active
    scaled = problem.scaled
    n, c = problem.n_samples, problem.n_outputs
    r = scaled.rank

    model.CELLS = Set(initialize=active.tolist())
    model.SAMPLES = RangeSet(0, n - 1)
    model.OUTPUTS = RangeSet(0, c - 1)
    model.scaled_dual_point = Var(model.SAMPLES, model.OUTPUTS)
    Z = objects(model.scaled_dual_point.values(), (n, c))
    model.dual_point = Expression(
        model.SAMPLES,
        model.OUTPUTS,
        rule=InOrder(scaled.y_scale * z for z in Z.flat),
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

    flat, targets = Z.ravel().tolist(), scaled.Y.ravel().tolist()
    scale = scaled.objective_scale
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
    model.objective = Objective(
        expr=scale * problem.loss.dual_expression(flat, targets), sense=maximize
    )
    model.loss = Expression(
        expr=scale * problem.loss.expression(flat, [0.0] * len(flat))
    )
    model.penalty = Expression(expr=model.objective.expr - model.loss)
    model.dual = Suffix(direction=Suffix.IMPORT)


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
    """Write each ``J_i`` as a sum over the active samples."""
    X = program.problem.scaled.X
    for mask in program.cells.masks[program.active]:
        for column in X.T:
            support = np.flatnonzero(mask & (column != 0.0))
            values = column[support].tolist()
            for o in range(Z.shape[1]):
                yield values, Z[support, o].tolist()


def _tree_rows(program: NetworkProgram, Z: Any, gradient: Any) -> Rows:
    r"""Write each ``J_i`` as its parent's plus what the edge flips.

    .. math:: J_j = J_{parent} + \sum_{k \text{ flipped}} \pm x_k z_k^T
    """
    X = program.problem.scaled.X
    tree = program.cells.spanning_tree(program.active)
    mask = program.cells.subset(program.active[[tree.root]]).masks[0]
    for j in range(len(tree)):
        if j == tree.root:
            samples, signs, parent = np.flatnonzero(mask), np.ones(mask.sum()), None
        else:
            edge = slice(tree.sample_indptr[j], tree.sample_indptr[j + 1])
            samples, signs = tree.sample_indices[edge], tree.sample_signs[edge]
            parent = gradient[tree.parent[j]]
        weights = X[samples] * signs[:, None]
        for a, column in enumerate(weights.T):
            support = np.flatnonzero(column)
            values = column[support].tolist()
            for o in range(Z.shape[1]):
                variables = Z[samples[support], o].tolist()
                if parent is None:
                    yield values, variables
                else:
                    yield [*values, 1.0], [*variables, parent[a, o]]
