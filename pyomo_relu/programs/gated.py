r"""The gated network: linear maps behind gates, with nuclear norms.

Where the gates are not tied to the weights, all neurons behind one gate add up to one
linear map, and the least weight decay of its factors is its nuclear norm:

.. math::

    \min\ \mathrm{loss}\Big(\sum_i D_i X W_i + X C, Y\Big) + \beta \sum_i |W_i|_*,
    \qquad
    2 |W|_* = \min \Big\{ \mathrm{tr} P + \mathrm{tr} Q :
        \begin{bmatrix} P & W \\ W^T & Q \end{bmatrix} \succeq 0 \Big\}

(design, Group lasso; Recht, Fazel and Parrilo, SIAM Review 52, 2010, for the norm).
The nuclear norm of a vector is its length. Over all cells it is the training problem
without ``u in K_i``, the relaxation ``relu.psd`` of the completely positive program.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pyomo.common.gc_manager import PauseGC
from pyomo.core.expr import LinearExpression
from pyomo.environ import ConcreteModel, RangeSet, Set, Var
from scipy.optimize import nnls

from pyomo_relu.arrangement import Cells
from pyomo_relu.cones import PSDCone, SecondOrderCone
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.additions import keep_state
from pyomo_relu.programs.network_program import (
    NetworkProgram,
    WeightProgram,
    attach,
    check_place,
    network_program,
    network_program_of,
    unit_rows,
)
from pyomo_relu.programs.parts import (
    add_linear_term,
    add_objective,
    add_predictions,
    tie,
    values_of,
)
from pyomo_relu.programs.prediction_rows import tree_rows
from pyomo_relu.programs.rows import InOrder, Rows, objects
from pyomo_relu.tiers import mark_side

Array = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

__all__ = ["GatedWeights", "build_gated", "gated_weights"]

#: Singular values below this part of the largest are what an interior point leaves.
_EMPTY = 1e-6


def build_gated(
    problem: TrainingProblem,
    cells: Cells | None = None,
    *,
    gates: ArrayLike | None = None,
    block: Any = None,
) -> Any:
    """Write the training problem of a gated network, a convex program.

    Its cones are semidefinite for several outputs, second-order cones for one: no tier
    is needed.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained; the activation gives the slopes of open and closed gates.
    cells : Cells, optional
        The cells whose masks are the gates; all of them by default.
    gates : (N, g) array_like of bool, optional
        Gates of the user's own in place of cells, one a column: which rows of
        ``problem.rows`` (samples, or their patches, then anchor points) pass it.
    block : Block, optional
        Where to build; a new ``ConcreteModel`` by default.

    Returns
    -------
    ConcreteModel or the given block
        With ``linear_map[gate, row, output]`` (scaled), ``cone[gate]``,
        ``prediction[point, output]``, ``loss``, ``penalty`` and ``objective`` in the
        user's units. :func:`gated_weights` reads a solution.
        Over all cells the optimum bounds that of the problem from below; over gates it
        is the global optimum of the network with these gates, of any width.

    Raises
    ------
    InputError, InputTypeError
        Cells and gates together, gates of a wrong shape or type or that no sample
        passes, cells of other data, a block that is not empty.
    TooManyCellsError
        There are too many cells for one program and none were given.

    Examples
    --------
    >>> from pyomo_relu import TrainingProblem, bound_direction, solve
    >>> problem = TrainingProblem([[1.0], [-1.0]], [[1.0, 0.0], [0.0, 1.0]], beta=0.5)
    >>> model = build_gated(problem)
    >>> results = solve(model)
    >>> print(f"{results.incumbent_objective:.5f}", bound_direction(model))
    0.75000 lower
    >>> linear = build_gated(problem, gates=[[True], [True]])
    >>> results = solve(linear)
    >>> print(f"{results.incumbent_objective:.5f}", bound_direction(linear))
    0.79105 exact
    """
    check_place(problem, block)
    program = _program(problem, cells, gates)
    model = ConcreteModel(name="gated") if block is None else block
    attach(model, program)
    with PauseGC():
        _write(model, program)
    if program.network is not None:
        _mark(model, program.network)
    keep_state(model)
    return model


def _mark(model: Any, network: NetworkProgram) -> None:
    mark_side(
        model,
        "outer",
        "neurons behind gates may leave their cells, a relaxation of the training "
        "problem",
    )
    if not network.cells.complete:
        # A block keeps one side; that of a part counts as well.
        mark_side(model.loss_parts, "inner", network.incompleteness)


@dataclass(frozen=True, eq=False)
class _GatedProgram(WeightProgram):
    """A gated network, over cells or over gates (N, g) of the user's own."""

    network: NetworkProgram | None
    gates: Mask

    @property
    def cells(self) -> Cells:
        """The arrangement."""
        return super().cells if self.network is None else self.network.cells

    @property
    def indices(self) -> list[int]:
        """What the gates are called in the model: the cells, or the user's columns."""
        if self.network is None:
            return list(range(self.gates.shape[1]))
        indices: list[int] = self.network.active.tolist()
        return indices

    @property
    def slopes(self) -> Array:
        """Slopes (N, g) of the rows behind every gate."""
        activation = self.problem.activation
        return np.where(self.gates, activation.positive, activation.negative)

    def maps(self, model: Any) -> Array:
        """Return the linear maps (g, r, c) of a solved model, scaled."""
        shape = (self.gates.shape[1], self.problem.rank, self.n_outputs)
        return values_of(model.linear_map.values(), shape)

    def factors(self, model: Any) -> tuple[Array, Array, Any]:
        """Return neurons ``sqrt(s) u``, ``sqrt(s) v`` and their gates, by SVD."""
        left, values, right = np.linalg.svd(self.maps(model), full_matrices=False)
        kept = values > _EMPTY * values.max(initial=0.0)
        gate, number = np.nonzero(kept)
        roots = np.sqrt(values[gate, number])
        return (
            left[gate, :, number].T * roots,
            right[gate, number] * roots[:, None],
            gate,
        )

    def read_neurons(self, model: Any) -> tuple[Array, Array]:
        """Return the neurons, each projected on the cell whose gate it has."""
        if self.network is None:
            raise InputError(
                "a network with gates of your own is no network with the activation "
                f"{self.problem.activation!r}; read it by gated_weights(model)."
            )
        first, second, gates = self.factors(model)
        for k, gate in enumerate(gates.tolist()):
            facets = self.cells.facets[self.indices[gate]] @ self.problem.scaled.basis
            # (u, v) and (-u, -v) are one map; the cell decides.
            first[:, k], sign = _into_cone(unit_rows(facets), first[:, k])
            second[k] *= sign
        return first, second


def _into_cone(F: Array, u: Array) -> tuple[Array, float]:
    """Return the larger projection of u and -u on ``{u : F u >= 0}``, and the sign.

    What a projection on a cone leaves is one on its polar, ``{-F^T l : l >= 0}``.
    """
    projections = [
        (sign * u + F.T @ nnls(F.T, -sign * u)[0], sign) for sign in (1.0, -1.0)
    ]
    return max(projections, key=lambda each: float(np.linalg.norm(each[0])))


def _program(
    problem: TrainingProblem, cells: Cells | None, gates: Any
) -> _GatedProgram:
    if gates is None:
        network = network_program_of(problem, cells, "rays", None)
        masks = network.cells.subset(network.active).masks
        return _GatedProgram(problem, network, masks.T)
    if cells is not None:
        raise InputError(
            "the gates are given, or the masks of the given cells; leave out cells or "
            "gates."
        )
    masks = np.asarray(gates)
    if masks.dtype != np.bool_:
        raise InputTypeError(
            f"gates must be True or False, an array of bool; got {masks.dtype}."
        )
    rows = len(problem.rows)
    if masks.ndim != 2 or len(masks) != rows or not masks.shape[1]:
        raise InputError(
            f"gates must have the shape ({rows}, g), a row for each of problem.rows "
            f"and a gate a column; got {masks.shape}."
        )
    program = _GatedProgram(problem, None, masks.copy())
    if not np.any(program.slopes[:, :, None] * problem.rows[:, None, :]):
        raise InputError("no sample passes any of the gates.")
    return program


def _write(model: Any, program: _GatedProgram) -> None:
    problem = program.problem
    scaled = problem.scaled
    indices, r, c = program.indices, scaled.rank, problem.n_outputs
    g = len(indices)
    predictions = add_predictions(model, problem)
    index = Set(initialize=indices)
    model.add_component("GATES" if program.network is None else "CELLS", index)
    model.ROWS = RangeSet(0, r - 1)
    model.linear_map = Var(index, model.ROWS, model.OUTPUTS)
    maps = objects(model.linear_map.values(), (g, r, c))
    write_norm = _lengths if min(r, c) == 1 else _nuclear_norms
    coefficient, variables = write_norm(model, index, maps)
    terms = add_linear_term(model, problem)
    if program.network is None:
        rows = _plain_rows(program, maps)
    else:
        rows = tree_rows(model, program.network, [np.eye(r)] * g, list(maps))
    tie(model, problem, predictions, terms, rows)
    weight = coefficient * scaled.objective_scale * scaled.beta
    penalty = LinearExpression(
        linear_coefs=[weight] * len(variables), linear_vars=variables
    )
    add_objective(model, problem, predictions, terms, penalty)


def _lengths(model: Any, index: Any, maps: Any) -> tuple[float, list[Any]]:
    """Add the lengths of the maps, which are vectors."""
    model.norm = Var(index, bounds=(0.0, None))
    norms = list(model.norm.values())
    model.cone = SecondOrderCone.from_vectors(
        {i: (norm, *W.flat) for i, norm, W in zip(index, norms, maps, strict=True)},
        index,
    )
    return 1.0, norms


def _nuclear_norms(model: Any, index: Any, maps: Any) -> tuple[float, list[Any]]:
    """Add matrices ``[[P, W], [W^T, Q]]``; half their traces are the norms."""
    r, c = maps.shape[1:]
    rows, columns = np.triu_indices(r + c)
    own = (rows < r) == (columns < r)
    pairs = list(zip(rows[own].tolist(), columns[own].tolist(), strict=True))
    model.second_moment = Var(index, Set(initialize=pairs, dimen=2))
    entries = objects(model.second_moment.values(), (len(maps), len(pairs)))
    traces: list[Any] = []

    def matrices() -> Any:
        for W, data in zip(maps, entries, strict=True):
            matrix = np.empty((r + c, r + c), dtype=object)
            matrix[rows[own], columns[own]] = matrix[columns[own], rows[own]] = data
            matrix[:r, r:], matrix[r:, :r] = W, W.T
            traces.extend(np.diagonal(matrix))
            yield matrix

    model.cone = PSDCone(index, rule=InOrder(matrices()))
    return 0.5, traces


def _plain_rows(program: _GatedProgram, maps: Any) -> Rows:
    """Write each prediction as ``sum_i s_ik x_k^T W_i``, s the slopes."""
    scaled = program.problem.scaled
    slopes = program.slopes
    features = scaled.pool(slopes[:, :, None] * scaled.X[:, None, :])
    for point in features:
        support = point != 0.0
        values = point[support].tolist()
        for o in range(maps.shape[2]):
            yield values, maps[:, :, o][support].tolist()


@dataclass(frozen=True, eq=False)
class GatedWeights:
    r"""The neurons of a solved gated network, in the user's units.

    .. math:: f = \sum_j D_{g(j)} X u_j v_j^T + X C

    Attributes
    ----------
    first : (d, m) array, or (d + 1, m) with biases
        First layer, ``|u_j| = |v_j|``.
    second : (m, c) array
        Second layer.
    gate : (m,) int array
        Gate of each neuron: a cell, or a column of the given gates.
    linear_term : array or None
        C, where the problem has one.
    gates : (N, m) bool array
        Which of ``problem.rows`` pass the gate of each neuron.
    problem : TrainingProblem
        What was trained.
    """

    first: Array
    second: Array
    gate: Any
    linear_term: Array | None
    gates: Mask
    problem: TrainingProblem

    def predict(self) -> Array:
        """Return the predictions (points, c) of the samples and anchor points."""
        problem, scaled = self.problem, self.problem.scaled
        activation = problem.activation
        slopes = np.where(self.gates, activation.positive, activation.negative)
        predictions = scaled.pool(slopes * (problem.rows @ self.first)) @ self.second
        if self.linear_term is not None:
            predictions = predictions + scaled.pool(problem.rows) @ self.linear_term
        return predictions

    def objective(self) -> float:
        """Return loss and weight decay at these weights."""
        problem = self.problem
        value = problem.loss_value(self.predict()[: problem.n_samples])
        value += 0.5 * problem.beta * float(np.sum(self.first**2))
        value += 0.5 * problem.beta * float(np.sum(self.second**2))
        if problem.skip and self.linear_term is not None:
            value += 0.5 * problem.skip * float(np.sum(self.linear_term**2))
        return value


def gated_weights(model: Any) -> GatedWeights:
    """Return the gated network that a solved model stands for.

    Parameters
    ----------
    model : ConcreteModel or Block
        What :func:`build_gated` returned, solved.

    Raises
    ------
    InputTypeError
        It is another model.
    SolverError
        It has no values.

    Examples
    --------
    >>> from pyomo_relu import TrainingProblem, solve
    >>> problem = TrainingProblem([[1.0], [-1.0]], [[1.0, 0.0], [0.0, 1.0]], beta=0.5)
    >>> model = build_gated(problem, gates=[[True, False], [False, True]])
    >>> results = solve(model)
    >>> weights = gated_weights(model)
    >>> print(weights.gate, f"{weights.objective():.5f}")
    [0 1] 0.75000
    """
    program = network_program(model)
    if not isinstance(program, _GatedProgram):
        raise InputTypeError(
            f"{model.name!r} is not a gated program; give the model that build_gated "
            "returned."
        )
    first, second, gate = program.factors(model)
    scaled = program.problem.scaled
    first, second = scaled.to_user(first, second)
    # Balanced in scaled units; the user's have another ratio.
    ratio = np.sqrt(scaled.y_scale / scaled.x_scale)
    linear_term = None
    if scaled.skip is not None:
        shape = (scaled.rank, program.n_outputs)
        linear_term = scaled.linear_to_user(
            values_of(model.linear_term.values(), shape)
        )
    return GatedWeights(
        first=first * ratio,
        second=second / ratio,
        gate=np.array(program.indices)[gate],
        linear_term=linear_term,
        gates=program.gates[:, gate],
        problem=program.problem,
    )
