"""What the programs over weights have in common: predictions, loss, penalty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pyomo.core.base.block import Block
from pyomo.core.base.constraint import Constraint
from pyomo.core.base.expression import Expression
from pyomo.core.base.objective import Objective, minimize
from pyomo.core.base.set import RangeSet
from pyomo.core.base.var import Var
from pyomo.core.expr.numeric_expr import SumExpression

from pyomo_relu.errors import SolverError
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.prediction_rows import with_linear_term
from pyomo_relu.programs.rows import InOrder, Rows, equal_row, objects

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["add_linear_term", "add_objective", "add_predictions", "tie", "values_of"]


def add_predictions(model: Any, problem: TrainingProblem) -> Any:
    """Add ``prediction[point, output]`` in the user's units, and what is below it.

    Returns
    -------
    (points, c) object array
        The variables ``scaled_prediction``.
    """
    scaled = problem.scaled
    shape = (problem.n_points, problem.n_outputs)
    model.POINTS = RangeSet(0, shape[0] - 1)
    model.OUTPUTS = RangeSet(0, shape[1] - 1)
    model.scaled_prediction = Var(model.POINTS, model.OUTPUTS)
    predictions = objects(model.scaled_prediction.values(), shape)
    model.prediction = Expression(
        model.POINTS,
        model.OUTPUTS,
        rule=InOrder(scaled.y_scale * p for p in predictions.flat),
    )
    return predictions


def add_linear_term(model: Any, problem: TrainingProblem) -> Any:
    """Add ``linear_term`` if the problem has one; return it (r, c), or None."""
    scaled = problem.scaled
    if scaled.skip is None:
        return None
    model.linear_term = Var(RangeSet(0, scaled.rank - 1), model.OUTPUTS)
    return objects(model.linear_term.values(), (scaled.rank, problem.n_outputs))


def tie(
    model: Any, problem: TrainingProblem, predictions: Any, terms: Any, rows: Rows
) -> None:
    """Add ``prediction_row``: each prediction is its linear sum of the model's weights.

    Parameters
    ----------
    predictions : (points, c) object array
        From :func:`add_predictions`.
    terms : (r, c) object array or None
        From :func:`add_linear_term`.
    rows : iterator
        The network's part, output by output of point after point.
    """
    if terms is not None:
        rows = with_linear_term(rows, problem.scaled.means, terms)
    model.prediction_row = Constraint(
        model.POINTS,
        model.OUTPUTS,
        rule=InOrder(
            equal_row(p, *row) for p, row in zip(predictions.flat, rows, strict=True)
        ),
    )


def add_objective(
    model: Any, problem: TrainingProblem, predictions: Any, terms: Any, penalty: Any
) -> None:
    """Add ``loss``, ``penalty`` and ``objective`` in the user's units.

    Parameters
    ----------
    predictions, terms : object arrays
        As for :func:`tie`.
    penalty : expression
        The penalty of the neurons in the user's units.
    """
    scaled = problem.scaled
    scale = scaled.objective_scale
    model.loss_parts = Block()
    loss = scaled.loss.write(
        model.loss_parts, predictions[: problem.n_samples], scaled.Y, scaled.weight
    )
    model.loss = Expression(expr=scale * loss)
    if scaled.skip:
        squares = [0.5 * scale * scaled.skip * term * term for term in terms.flat]
        penalty = SumExpression([*squares, penalty])
    model.penalty = Expression(expr=penalty)
    model.objective = Objective(expr=model.loss + model.penalty, sense=minimize)


def values_of(variables: Iterable[Any], shape: tuple[int, ...]) -> Array:
    """Return the values of variables as an array of the given shape.

    Raises
    ------
    SolverError
        One of them has no finite value.
    """
    numbers = np.array(
        [np.nan if v.value is None else v.value for v in variables], dtype=float
    )
    if not np.isfinite(numbers).all():
        raise SolverError(
            "the weights of the model have no finite values: solve the model before "
            "its network is recovered."
        )
    return numbers.reshape(shape)
