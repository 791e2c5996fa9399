r"""The completely positive program over some cells, which grows and shrinks.

.. math::

    \min\ & \mathrm{loss}\Big(\sum_i D_i X R_i W_i + X C, Y\Big)
        + \frac\beta2 \sum_i \big(\langle R_i^T R_i, A_i\rangle
        + \mathrm{tr}\, G_i\big) \\
    \text{s.t. } & \begin{bmatrix} A_i & W_i \\ W_i^T & G_i \end{bmatrix}
        \in \mathrm{DNN}

(design, The completely positive program), in scaled units, over *pieces*: cells, or
simplicial cones of some of their rays, for which doubly nonnegative matrices are
completely positive up to rank four.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pyomo.common.gc_manager import PauseGC
from pyomo.contrib.solver.common.util import NoDualsError, NoSolutionError
from pyomo.core.expr import LinearExpression
from pyomo.environ import (
    Any as AnyIndex,
)
from pyomo.environ import (
    Block,
    ConcreteModel,
    Constraint,
    Expression,
    Objective,
    RangeSet,
    Set,
    Var,
    value,
)

from pyomo_relu.arrangement.located import CellSource
from pyomo_relu.cones import DoublyNonnegativeCone
from pyomo_relu.errors import SolverError
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.network_program import NetworkProgram
from pyomo_relu.programs.prediction_rows import (
    penalty_terms,
    plain_rows,
    with_linear_term,
)
from pyomo_relu.programs.rows import equal_row, objects
from pyomo_relu.solvers import solve

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["MasterSolution", "Piece", "RestrictedProgram"]


@dataclass(frozen=True, eq=False)
class Piece:
    """A cone of first-layer weights in which the network is linear.

    Attributes
    ----------
    key : tuple
        The number of the cell, and which of its rays span the piece.
    R : (r, m) array
        Its rays, scaled coordinates.
    is_cell : bool
        Whether it is the whole cell.
    """

    key: tuple[int, tuple[int, ...]]
    R: Array
    is_cell: bool


class MasterSolution(NamedTuple):
    """What the solver says of the restricted program, scaled.

    Attributes
    ----------
    objective : float
        Its optimal value: no bound.
    Z : (n, c) array
        Dual point.
    moments : list of (m + c, m + c) arrays
        Of the pieces, in their order.
    linear : (r or 0, c) array
        The linear term.
    status : str
        The solver's own words.
    """

    objective: float
    Z: Array
    moments: list[Array]
    linear: Array
    status: str


class RestrictedProgram:
    """A Pyomo model of the program over pieces that come and go.

    Parameters
    ----------
    problem : TrainingProblem
        What is trained.
    source : CellSource
        Where the pieces are from.

    Attributes
    ----------
    model : ConcreteModel
        With a block a piece, and the rows of the predictions.
    pieces : dict
        Those that are in the model, by key.
    """

    def __init__(self, problem: TrainingProblem, source: CellSource) -> None:
        self.problem, self.source = problem, source
        self.pieces: dict[tuple[int, tuple[int, ...]], Piece] = {}
        self._numbers: dict[tuple[int, tuple[int, ...]], int] = {}
        #: Moment matrices of the pieces, as variables.
        self._matrices: dict[tuple[int, tuple[int, ...]], Any] = {}
        self._next = 0
        scaled = problem.scaled
        n, c = problem.Y.shape
        model = ConcreteModel(name="restricted")
        model.piece = Block(AnyIndex)
        model.prediction = Var(RangeSet(0, n - 1), RangeSet(0, c - 1))
        self._predictions = objects(model.prediction.values(), (n, c))
        linear: Any = np.zeros((0, c), dtype=object)
        if scaled.skip is not None:
            model.linear_term = Var(RangeSet(0, scaled.rank - 1), RangeSet(0, c - 1))
            linear = objects(model.linear_term.values(), (scaled.rank, c))
            for term in linear[~scaled.means[:n].any(axis=0)].flat:
                term.fix(0.0)
        self._linear = linear
        model.row = Constraint(
            RangeSet(0, n - 1), RangeSet(0, c - 1), rule=lambda *_: Constraint.Skip
        )
        model.loss_parts = Block()
        loss = scaled.loss.write(
            model.loss_parts, self._predictions, scaled.Y, scaled.weight
        )
        model.penalty = Expression(expr=0.0)
        self._ridge = (
            [0.5 * scaled.skip * t * t for t in linear.flat] if scaled.skip else []
        )
        model.objective = Objective(expr=loss + model.penalty)
        self.model = model

    def add(self, pieces: Iterable[Piece]) -> int:
        """Add pieces that are not there yet; return how many.

        Parameters
        ----------
        pieces : iterable of Piece
        """
        before = len(self.pieces)
        c = self.problem.n_outputs
        with PauseGC():
            for piece in pieces:
                if piece.key in self.pieces:
                    continue
                number = self._next
                self._next += 1
                order = piece.R.shape[1] + c
                block = self.model.piece[number]
                rows, columns = np.triu_indices(order)
                block.moment = Var(Set(initialize=range(len(rows))))
                matrix = np.empty((order, order), dtype=object)
                entries = list(block.moment.values())
                matrix[rows, columns] = entries
                matrix[columns, rows] = entries
                block.cone = DoublyNonnegativeCone(matrix, free=c)
                self.pieces[piece.key] = piece
                self._numbers[piece.key] = number
                self._matrices[piece.key] = matrix
        return len(self.pieces) - before

    def drop(self, keys: Iterable[tuple[int, tuple[int, ...]]]) -> None:
        """Take pieces out.

        Parameters
        ----------
        keys : iterable of tuple
            Of pieces that are there.
        """
        for key in keys:
            del self.pieces[key], self._matrices[key]
            del self.model.piece[self._numbers.pop(key)]

    def solve(self, time_limit: float | None = None) -> MasterSolution:
        """Solve the program as it is.

        Parameters
        ----------
        time_limit : float, optional
            Seconds, after which the point reached is returned.

        Raises
        ------
        SolverError
            The solver returned no point.
        """
        with PauseGC():
            self._write_rows()
        results = solve(
            self.model,
            accuracy="tight",
            fallback=False,
            time_limit=time_limit,
            load_solutions=False,
            raise_exception_on_nonoptimal_result=False,
        )
        try:
            results.solution_loader.load_vars()
            duals = results.solution_loader.get_duals()
        except (NoSolutionError, NoDualsError) as error:
            raise SolverError(
                f"{results.solver_name} returned no point: "
                f"{results.termination_condition.name}. Rescale the data or change "
                "beta."
            ) from error
        shape = self.problem.Y.shape
        Z = np.array([duals[row] for row in self.model.row.values()]).reshape(shape)
        moments = []
        for matrix in self._matrices.values():
            numbers = [variable.value for variable in matrix.flat]
            moments.append(np.array(numbers, dtype=float).reshape(matrix.shape))
        linear = np.array([term.value for term in self._linear.flat], dtype=float)
        return MasterSolution(
            objective=float(value(self.model.objective)),
            Z=Z,
            moments=moments,
            linear=linear.reshape(self._linear.shape),
            status=results.termination_condition.name,
        )

    def _write_rows(self) -> None:
        """State predictions and penalty over the pieces that are there.

        In plain sums: the cells are few and far from each other, and where a tree has
        no neighbours to join, its sums cost the solver its last digits.
        """
        problem, scaled = self.problem, self.problem.scaled
        n, c = problem.Y.shape
        frames: dict[int, list[Array]] = {}
        cross: dict[int, list[Any]] = {}
        for key, piece in self.pieces.items():
            frames.setdefault(key[0], []).append(piece.R)
            cross.setdefault(key[0], []).append(self._matrices[key][:-c, -c:])
        model = self.model
        cells = sorted(frames)
        chosen = self.source.subset(np.array(cells))
        program = NetworkProgram(problem, chosen, np.arange(len(cells)), "rays")
        sums = plain_rows(
            model,
            program,
            [np.hstack(frames[i]) for i in cells],
            [np.vstack(cross[i]) for i in cells],
        )
        if scaled.skip is not None:
            sums = with_linear_term(sums, scaled.means, self._linear)
        indices = [(k, o) for k in range(n) for o in range(c)]
        for index, prediction, row in zip(
            indices, self._predictions.flat, sums, strict=True
        ):
            stated = equal_row(prediction, *row)
            if index in model.row:
                model.row[index].set_value(stated)
            else:
                model.row.add(index, stated)
        coefficients, variables = penalty_terms(
            [piece.R for piece in self.pieces.values()],
            [self._matrices[key] for key in self.pieces],
            c,
        )
        penalty: Any = LinearExpression(
            linear_coefs=(0.5 * scaled.beta * coefficients).tolist(),
            linear_vars=variables,
        )
        model.penalty.set_value(sum(self._ridge, penalty))
