r"""Group lassos: the exact program of one output, and upper bounds for several.

For one output training is the enumerated group lasso, a second-order cone program,

.. math::

    \min\ & \mathrm{loss}\Big(\sum_i D_i X (w_i - w_i') + X C, y\Big)
        + \beta \sum_i \big(|w_i| + |w_i'|\big) \\
    \text{s.t. } & w_i, w_i' \in K_i

(Pilanci and Ergen, arXiv:2002.10553; design, Group lasso): neurons of one cell whose
output weights have the same sign add up to one. For several outputs that is so only
where each neuron has one output (one-vs-all). Over a dictionary of unit directions

.. math::

    \min\ \mathrm{loss}\Big(\sum_k \sigma(X u_k) v_k^T + X C, Y\Big)
        + \beta \sum_k |v_k|.

Both are networks, and bound the optimum from above.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pyomo.common.gc_manager import PauseGC
from pyomo.core.expr import LinearExpression
from pyomo.environ import ConcreteModel, Constraint, RangeSet, Set, Var

from pyomo_relu.arrangement import Cells
from pyomo_relu.arrays import as_matrix
from pyomo_relu.cones import SecondOrderCone
from pyomo_relu.errors import InputError
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.additions import keep_state
from pyomo_relu.programs.network_program import (
    NetworkProgram,
    WeightProgram,
    attach,
    check_place,
    network_program_of,
)
from pyomo_relu.programs.parts import (
    add_linear_term,
    add_objective,
    add_predictions,
    tie,
    values_of,
)
from pyomo_relu.programs.prediction_rows import tree_rows
from pyomo_relu.programs.rows import InOrder, Rows, equal_row, objects
from pyomo_relu.tiers import mark_side

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["build_group_lasso"]

_FORMS = ("exact", "dictionary", "one_vs_all")
_SIGNS = (1, -1)
#: Weights smaller than this part of the largest are rounding.
_ROUNDING = 1e-12


def build_group_lasso(
    problem: TrainingProblem,
    cells: Cells | None = None,
    *,
    form: str | None = None,
    directions: ArrayLike | None = None,
    description: str | None = None,
    block: Any = None,
) -> Any:
    """Write the training problem, or a restriction of it, as a group lasso.

    Its cones are second-order cones: no tier is needed, and any solver for convex
    quadratic constraints takes it.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    cells : Cells, optional
        The cells, or for a dictionary those whose rays it holds; all by default.
    form : {"exact", "dictionary", "one_vs_all"}, optional
        ``"exact"`` is for one output, and there the default. For several outputs the
        default is ``"dictionary"``, neurons of given directions; ``"one_vs_all"`` is
        an exact program an output, over neurons of one output each.
    directions : (d, m) array_like, or (d + 1, m) with biases, optional
        Directions of a dictionary, one a column; the rays of the cells by default.
        Only their direction within the row space of the data counts: neurons have
        any size, and what is orthogonal to every sample costs penalty for nothing.
    description : {"rays", "facets"}, optional
        How weights are kept in their cells: as nonnegative combinations of its rays
        (the default for enumerated cells) or by its facets (for sampled ones).
    block : Block, optional
        Where to build; a new ``ConcreteModel`` by default.

    Returns
    -------
    ConcreteModel or the given block
        With ``prediction[point, output]``, ``loss``, ``penalty`` and ``objective`` in
        the user's units. Over cells: ``weight[cell, sign, row, output]``, scaled, and
        ``norm[cell, sign, output]``; over directions: ``second[direction, output]``
        and ``norm[direction]``. :func:`pyomo_relu.bound_direction` says on which side
        the optimum is, and why.

    Raises
    ------
    InputError, InputTypeError
        An unknown form, the exact form of several outputs, arguments that do not go
        with the form, directions of a wrong shape or zero, cells of other data, no
        cell or direction with an active sample, a block that is not empty.
    TooManyCellsError
        There are too many cells for one program and none were given.

    Examples
    --------
    >>> from pyomo_relu import TrainingProblem, bound_direction, solve
    >>> problem = TrainingProblem([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0], beta=0.5)
    >>> model = build_group_lasso(problem)
    >>> results = solve(model)
    >>> print(f"{results.incumbent_objective:.5f}", bound_direction(model))
    0.99303 exact
    >>> dictionary = build_group_lasso(problem, form="dictionary")
    >>> results = solve(dictionary)
    >>> print(f"{results.incumbent_objective:.5f}", bound_direction(dictionary))
    1.25000 upper
    """
    check_place(problem, block)
    form = _checked_form(problem, form, directions, description)
    model = ConcreteModel(name="group_lasso") if block is None else block
    with PauseGC():
        if form == "dictionary":
            _write_dictionary(model, problem, cells, directions)
        else:
            _write_cells(model, network_program_of(problem, cells, description, None))
    keep_state(model)
    return model


def _checked_form(
    problem: TrainingProblem, form: Any, directions: Any, description: Any
) -> str:
    if form is None:
        several = problem.n_outputs > 1 or directions is not None
        form = "dictionary" if several else "exact"
    if form not in _FORMS:
        raise InputError(
            f"form must be 'exact', 'dictionary' or 'one_vs_all'; got {form!r}."
        )
    if form == "exact" and problem.n_outputs > 1:
        raise InputError(
            f"a group lasso is exact for one output; the problem has "
            f"{problem.n_outputs}. Take form='dictionary' or 'one_vs_all' for an upper "
            "bound, or build_completely_positive for the exact program."
        )
    if form == "dictionary" and description is not None:
        raise InputError(
            "description says how weights are kept in cells; a dictionary has none. "
            "Leave it out."
        )
    if form != "dictionary" and directions is not None:
        raise InputError(
            f"directions are those of form='dictionary'; form={form!r} has the cells' "
            "own. Leave one of them out."
        )
    return str(form)


# -- over cells ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _CellLasso(WeightProgram):
    """The group lasso over cells."""

    network: NetworkProgram

    @property
    def cells(self) -> Cells:
        """The arrangement."""
        return self.network.cells

    def read_neurons(self, model: Any) -> tuple[Array, Array]:
        """Return ``w / sqrt|w|`` and ``+- sqrt|w|`` of every group."""
        network, c = self.network, self.n_outputs
        frames = [network.frame(i)[0] for i in network.active.tolist()]
        sizes = [R.shape[1] for R in frames]
        stacked = values_of(model.coordinate.values(), (sum(sizes) * len(_SIGNS) * c,))
        if network.description == "rays":
            # What a solver leaves below zero would put the neuron outside its cell.
            stacked = np.maximum(stacked, 0.0)
        ends = np.cumsum(np.array(sizes) * len(_SIGNS) * c)[:-1]
        parts = [
            np.einsum("rm,smo->rso", R, part.reshape(len(_SIGNS), m, c))
            for R, m, part in zip(frames, sizes, np.split(stacked, ends), strict=True)
        ]
        weights = np.concatenate(parts, axis=1)
        outputs = np.zeros((*weights.shape[1:], c))
        outputs[:, np.arange(c), np.arange(c)] = np.tile(_SIGNS, len(frames))[:, None]
        first = weights.reshape(len(weights), -1)
        return _balanced(first, outputs.reshape(-1, c))


def _write_cells(model: Any, program: NetworkProgram) -> None:
    problem = program.problem
    if not program.cells.complete:
        mark_side(model, "inner", program.incompleteness)
    elif problem.n_outputs > 1:
        mark_side(
            model,
            "inner",
            "one-vs-all gives each neuron one output, a restriction of the training "
            "problem",
        )
    attach(model, _CellLasso(problem, program))
    scaled, active = problem.scaled, program.active.tolist()
    r, c = scaled.rank, problem.n_outputs
    frames = [program.frame(i) for i in active]
    predictions = add_predictions(model, problem)
    model.CELLS = Set(initialize=active)
    model.SIGNS = Set(initialize=list(_SIGNS))
    model.ROWS = RangeSet(0, r - 1)
    model.weight = Var(model.CELLS, model.SIGNS, model.ROWS, model.OUTPUTS)
    weights = objects(model.weight.values(), (len(active), len(_SIGNS), r, c))
    model.norm = Var(model.CELLS, model.SIGNS, model.OUTPUTS, bounds=(0.0, None))
    norms = objects(model.norm.values(), (len(active), len(_SIGNS), c))
    model.cone = SecondOrderCone.from_vectors(
        {
            key: (norm, *w)
            for key, norm, w in zip(
                model.norm,
                norms.flat,
                np.moveaxis(weights, 2, 3).reshape(-1, r),
                strict=True,
            )
        },
        model.CELLS,
        model.SIGNS,
        model.OUTPUTS,
    )
    _keep_in_cells(model, program, frames, weights)
    terms = add_linear_term(model, problem)
    # The sum of both signs is w - w'.
    signed = np.hstack([sign * np.eye(r) for sign in _SIGNS])
    cross = list(weights.reshape(len(active), len(_SIGNS) * r, c))
    rows = tree_rows(model, program, [signed] * len(active), cross)
    tie(model, problem, predictions, terms, rows)
    _add_objective_of_norms(model, problem, predictions, terms, norms.ravel().tolist())


def _keep_in_cells(
    model: Any, program: NetworkProgram, frames: list[Any], weights: Any
) -> None:
    """Write ``w = R a`` with ``a >= 0``, or with ``F a >= 0`` for facets."""
    active = program.active.tolist()
    c = weights.shape[-1]
    model.coordinate = Var(
        Set(
            initialize=[
                (i, sign, j, o)
                for i, (R, _) in zip(active, frames, strict=True)
                for sign in _SIGNS
                for j in range(R.shape[1])
                for o in range(c)
            ],
            dimen=4,
        ),
        bounds=(0.0 if program.description == "rays" else None, None),
    )
    variables = iter(model.coordinate.values())
    coordinates = []
    for R, _ in frames:
        shape = (len(_SIGNS), R.shape[1], c)
        coordinates.append(
            objects([next(variables) for _ in range(np.prod(shape))], shape)
        )

    def combinations(matrices: list[Array]) -> Rows:
        for matrix, groups in zip(matrices, coordinates, strict=True):
            for group in groups:
                for row in matrix:
                    support = np.flatnonzero(row)
                    values = row[support].tolist()
                    for o in range(c):
                        yield values, group[support, o].tolist()

    model.weight_row = Constraint(
        model.CELLS,
        model.SIGNS,
        model.ROWS,
        model.OUTPUTS,
        rule=InOrder(
            equal_row(w, *row)
            for w, row in zip(
                weights.flat, combinations([R for R, _ in frames]), strict=True
            )
        ),
    )
    if program.description == "rays":
        return
    facets = [matrix for _, matrix in frames]
    model.facet_row = Constraint(
        Set(
            initialize=[
                (i, sign, k, o)
                for i, matrix in zip(active, facets, strict=True)
                for sign in _SIGNS
                for k in range(len(matrix))
                for o in range(c)
            ],
            dimen=4,
        ),
        rule=InOrder(
            (0.0, LinearExpression(linear_coefs=values, linear_vars=terms), None)
            for values, terms in combinations(facets)
        ),
    )


# -- over directions ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _DictionaryLasso(WeightProgram):
    """The group lasso over unit directions (r, m), scaled and reduced."""

    directions: Array

    def read_neurons(self, model: Any) -> tuple[Array, Array]:
        """Return the directions and their output weights, balanced."""
        shape = (self.directions.shape[1], self.n_outputs)
        second = values_of(model.second.values(), shape)
        norms = np.linalg.norm(second, axis=1)
        kept = norms > _ROUNDING * norms.max(initial=0.0)
        roots = np.sqrt(norms[kept])
        return self.directions[:, kept] * roots, second[kept] / roots[:, None]


def _write_dictionary(
    model: Any, problem: TrainingProblem, cells: Cells | None, directions: Any
) -> None:
    scaled = problem.scaled
    if directions is None:
        units = _rays(network_program_of(problem, cells, None, None))
        whose = "rays of the arrangement"
    else:
        if cells is not None:
            raise InputError(
                "the directions of a dictionary are given, or the rays of the given "
                "cells; leave out cells or directions."
            )
        units = _checked_directions(problem, directions)
        whose = "given directions"
    hidden = scaled.hidden(units)
    seen = hidden.any(axis=0)
    if not seen.any():
        raise InputError("no sample is active in any of the directions.")
    units, hidden = units[:, seen], hidden[:, seen]
    m, c = units.shape[1], problem.n_outputs
    mark_side(
        model,
        "inner",
        f"the neurons have {m} {whose}, a restriction of the training problem",
    )
    attach(model, _DictionaryLasso(problem, units))
    predictions = add_predictions(model, problem)
    model.DIRECTIONS = RangeSet(0, m - 1)
    model.second = Var(model.DIRECTIONS, model.OUTPUTS)
    second = objects(model.second.values(), (m, c))
    model.norm = Var(model.DIRECTIONS, bounds=(0.0, None))
    norms = list(model.norm.values())
    model.cone = SecondOrderCone.from_vectors(
        {k: (norm, *v) for k, (norm, v) in enumerate(zip(norms, second, strict=True))},
        model.DIRECTIONS,
    )
    terms = add_linear_term(model, problem)

    def rows() -> Rows:
        for features in hidden:
            support = np.flatnonzero(features)
            values = features[support].tolist()
            for o in range(c):
                yield values, second[support, o].tolist()

    tie(model, problem, predictions, terms, rows())
    _add_objective_of_norms(model, problem, predictions, terms, norms)


def _rays(program: NetworkProgram) -> Array:
    """Return the rays (r, m) of the cells that neurons may be in."""
    cells = program.cells
    if not cells.complete or len(program.active) < len(cells):
        cells = cells.subset(program.active)
    used = np.unique(cells.ray_indices)
    rays: Array = program.problem.scaled.basis.T @ (
        cells.basis @ cells.ray_table[used].T
    )
    return rays


def _checked_directions(problem: TrainingProblem, directions: Any) -> Array:
    """Return the directions (r, m) of unit length in the row space of the data."""
    matrix = as_matrix(directions, "directions")
    rows = problem.rows.shape[1]
    if len(matrix) != rows:
        raise InputError(
            f"directions must have {rows} rows, one a feature"
            f"{' and one for the bias' if problem.bias else ''}, and a direction a "
            f"column; got shape {matrix.shape}."
        )
    lengths = np.linalg.norm(matrix, axis=0)
    if not lengths.all():
        raise InputError(
            f"direction {int(np.argmin(lengths))} is zero; a neuron needs a direction."
        )
    inside = problem.scaled.basis.T @ (matrix / lengths)
    norms = np.linalg.norm(inside, axis=0)
    # Orthogonal to every sample but for rounding: its predictions are zero.
    seen = norms > np.finfo(float).eps * rows
    if not seen.any():
        raise InputError(
            "all directions are orthogonal to all samples; no network over them "
            "predicts anything but zero."
        )
    units: Array = inside[:, seen] / norms[seen]
    return units


def _add_objective_of_norms(
    model: Any, problem: TrainingProblem, predictions: Any, terms: Any, norms: list[Any]
) -> None:
    weight = problem.scaled.objective_scale * problem.scaled.beta
    penalty = LinearExpression(linear_coefs=[weight] * len(norms), linear_vars=norms)
    add_objective(model, problem, predictions, terms, penalty)


def _balanced(weights: Array, outputs: Array) -> tuple[Array, Array]:
    """Return ``w / sqrt|w|`` (r, m) and ``sqrt|w| v`` for unit output weights v."""
    norms = np.linalg.norm(weights, axis=0)
    kept = norms > _ROUNDING * norms.max(initial=0.0)
    roots = np.sqrt(norms[kept])
    return weights[:, kept] / roots, outputs[kept] * roots[:, None]
