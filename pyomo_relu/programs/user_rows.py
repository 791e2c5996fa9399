"""Constraints of the user's own on a program's predictions, as matrices."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from pyomo.environ import Block, ConcreteModel, Objective, Var

from pyomo_relu.errors import UnprovableModelError
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.additions import is_own_of, user_rows
from pyomo_relu.programs.network_program import network_program
from pyomo_relu.programs.rows import objects
from pyomo_relu.solvers import (
    Clarabel,
    ConicForm,
    UnsupportedModelError,
    compile_conic,
)
from pyomo_relu.solvers.refinement import refine

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["UserRows", "no_rows", "read_user_rows"]


class UserRows(NamedTuple):
    """What a user has added to a program, in the predictions and their own variables.

    Attributes
    ----------
    form : ConicForm
        The rows ``A f + B y + s = b``, s in a cone, bounds of y among them.
    points, others : int arrays
        Columns of f, point by point, and of y.
    names : list of str
        Names of y.
    lower, upper : (others,) array
        Bounds of y, infinite where there is none.
    inner : ConicForm
        The same rows and those of the loss, in f, y and the variables of the loss;
        its objective is the loss, in the user's units.
    inner_rows : int array
        Where in it the rows of `form` are.
    number : int
        Constraints and cones.
    """

    form: ConicForm
    points: Indices
    others: Indices
    names: list[str]
    lower: Array
    upper: Array
    inner: ConicForm
    inner_rows: Indices
    number: int

    @property
    def of_points(self) -> sp.csc_array:
        """A."""
        return self.form.A[:, self.points]

    @property
    def of_others(self) -> sp.csc_array:
        """B."""
        return self.form.A[:, self.others]

    def pull(self, z: Array) -> Array:
        """Return ``A^T z``."""
        return np.asarray(self.of_points.T @ (self.form.weight * z))

    def violation(self, F: Array) -> float:
        """Return how far predictions F (points, c), scaled, violate the rows.

        The other variables are as they suit best.
        """
        form = self.form
        if not len(form.b):
            return 0.0
        slack = form.b - self.of_points @ F.ravel()
        if not len(self.others):
            return form.cone_violation(slack)
        return form.cone_violation(slack - self.of_others @ self._best(slack))

    def _best(self, slack: Array) -> Array:
        """Return the y for which ``slack - B y`` is least outside of the cone.

        That is the least t for which it is inside after a step of t along the middle
        of each cone, both ways for equations.
        """
        form, p = self.form, self.form.n_zero
        middle = np.ones(len(form.b))
        place = form.n_linear
        for order in form.soc_orders.tolist():
            middle[place + 1 : place + order] = 0.0
            place += order
        for order in form.psd_orders.tolist():
            columns, rows = np.tril_indices(order)
            middle[place : place + len(rows)] = rows == columns
            place += len(rows)
        for start in range(place, len(middle), 3):
            middle[start : start + 2] = 0.0
        B = sp.csr_array(self.of_others)
        ends = sp.csr_array(sp.vstack([B[:p], -B[:p], B[p:]]))
        k = len(self.others)
        A = sp.hstack([ends, -np.concatenate([middle[:p], middle])[:, None]])
        part = dataclasses.replace(
            form,
            variables=[None] * (k + 1),
            P=sp.csc_array((k + 1, k + 1)),
            c=np.append(np.zeros(k), 1.0),
            A=sp.csc_array(
                sp.vstack([sp.csr_array(([-1.0], ([0], [k])), (1, k + 1)), A])
            ),
            b=np.concatenate([[0.0], slack[:p], -slack[:p], slack[p:]]),
            n_zero=0,
            n_nonnegative=1 + 2 * p + form.n_nonnegative,
            upper_bound_rows=np.full(k + 1, -1),
            lower_bound_rows=np.full(k + 1, -1),
        )
        solver = Clarabel()
        answer = solver.minimise(part, solver.config(value={}, preserve_implicit=True))
        x, _, _ = refine(part, answer.x, answer.z)
        return x[:k]


def read_user_rows(model: Any) -> UserRows:
    """Compile a model, and take from it what the user has added.

    Parameters
    ----------
    model : Block
        A completely positive program, relaxed; rows anywhere in its model count.

    Raises
    ------
    UnprovableModelError
        The rows are no convex constraints on predictions. The message names them.
    """
    try:
        form = compile_conic(model.model())
    except UnsupportedModelError as error:
        raise UnprovableModelError(f"no bound can be proved: {error}") from error
    added = user_rows(model)
    is_own = is_own_of(model)
    column = {id(variable): j for j, variable in enumerate(form.variables)}
    predictions = list(model.scaled_prediction.values())
    fixed = next((v for v in predictions if id(v) not in column), None)
    if fixed is not None:
        raise UnprovableModelError(
            f"{fixed.name!r} is fixed; say it by a constraint on model.prediction "
            "instead."
        )
    points = np.array([column[id(v)] for v in predictions], dtype=np.intp)
    named = {id(data): data.name for data in added}
    owned = _rows_of(form, set(named))
    _refuse_other_variables(form, added, points, is_own)
    used = np.unique(sp.csr_array(form.A)[np.sort(owned)].indices)
    others = np.setdiff1d(used, points)
    bounds = np.concatenate(
        [
            *(form.upper_bound_rows[c] for c in (points, others)),
            *(form.lower_bound_rows[c] for c in (points, others)),
        ]
    )
    user = np.union1d(owned, bounds[bounds >= 0]).astype(np.intp)
    part = _part(form, user, np.concatenate([points, others]))
    # Bounds of the user's variables, which close what the multipliers leave open.
    low = np.full(len(others), -np.inf)
    high = np.full(len(others), np.inf)
    for place, j in enumerate(others.tolist()):
        below, above = form.variables[j].bounds
        low[place] = -np.inf if below is None else below
        high[place] = np.inf if above is None else above
    inner, inner_rows = _with_loss(part, len(points), network_program(model).problem)
    return UserRows(
        form=part,
        points=np.arange(len(points)),
        others=len(points) + np.arange(len(others)),
        names=[form.variables[j].name for j in others.tolist()],
        lower=low,
        upper=high,
        inner=inner,
        inner_rows=inner_rows,
        number=len(added),
    )


def no_rows(problem: TrainingProblem) -> UserRows:
    """Return what a program holds to which nobody has added anything.

    Parameters
    ----------
    problem : TrainingProblem
        What is trained.
    """
    model = ConcreteModel()
    model.scaled_prediction = Var(range(problem.n_points * problem.n_outputs))
    model.objective = Objective(expr=0.0 * model.scaled_prediction[0])
    count = len(model.scaled_prediction)
    nothing = np.zeros(0, dtype=np.intp)
    whole = dataclasses.replace(
        compile_conic(model),
        variables=list(model.scaled_prediction.values()),
        P=sp.csc_array((count, count)),
        c=np.zeros(count),
        A=sp.csc_array((0, count)),
        upper_bound_rows=np.full(count, -1),
        lower_bound_rows=np.full(count, -1),
    )
    inner, inner_rows = _with_loss(whole, count, problem)
    return UserRows(
        form=whole,
        points=np.arange(count),
        others=nothing,
        names=[],
        lower=np.zeros(0),
        upper=np.zeros(0),
        inner=inner,
        inner_rows=inner_rows,
        number=0,
    )


def _with_loss(
    rows: ConicForm, count: int, problem: TrainingProblem
) -> tuple[ConicForm, Indices]:
    """Return rows with those of the loss, which is the objective, and where they are.

    Parameters
    ----------
    rows : ConicForm
        In the predictions, `count` of them, and other variables.
    """
    scaled = problem.scaled
    n, c = problem.Y.shape
    model = ConcreteModel()
    model.prediction = Var(range(count))
    model.parts = Block()
    F = objects(model.prediction.values(), (count // c, c))[:n]
    model.objective = Objective(
        expr=scaled.objective_scale
        * scaled.loss.write(model.parts, F, scaled.Y, scaled.weight)
    )
    loss = compile_conic(model)
    column = {id(v): j for j, v in enumerate(model.prediction.values())}
    beyond = len(rows.variables)
    places = []
    for variable in loss.variables:
        if id(variable) not in column:
            column[id(variable)] = beyond
            beyond += 1
        places.append(column[id(variable)])
    to = sp.csr_array(
        (np.ones(len(places)), (np.arange(len(places)), places)),
        shape=(len(places), beyond),
    )
    first = sp.csr_array(rows.A)
    first.resize(first.shape[0], beyond)
    second = sp.csr_array(loss.A @ to)
    parts = list(zip(_segments(rows), _segments(loss), strict=True))
    A = sp.vstack(
        [m[s] for mine, its in parts for m, s in ((first, mine), (second, its))]
    )
    b = np.concatenate([v for mine, its in parts for v in (rows.b[mine], loss.b[its])])
    before = np.cumsum([0] + [i.stop - i.start for _, i in parts])[:-1]
    moved = [
        np.arange(m.start, m.stop) + k for (m, _), k in zip(parts, before, strict=True)
    ]
    padding = np.full(beyond, -1)
    inner = dataclasses.replace(
        rows,
        variables=[*rows.variables, *[None] * (beyond - len(rows.variables))],
        P=sp.csc_array(to.T @ loss.P @ to),
        c=np.asarray(to.T @ loss.c),
        c0=loss.c0,
        sense=1,
        has_objective=True,
        A=sp.csc_array(A),
        b=b,
        n_zero=rows.n_zero + loss.n_zero,
        n_nonnegative=rows.n_nonnegative + loss.n_nonnegative,
        soc_orders=np.concatenate([rows.soc_orders, loss.soc_orders]),
        psd_orders=np.concatenate([rows.psd_orders, loss.psd_orders]),
        n_exponential=rows.n_exponential + loss.n_exponential,
        upper_bound_rows=padding,
        lower_bound_rows=padding,
    )
    return inner, np.concatenate(moved).astype(np.intp)


def _segments(form: ConicForm) -> list[slice]:
    """Rows of each kind of cone, in order."""
    last = len(form.b) - 3 * form.n_exponential
    ends = [0, form.n_zero, form.n_linear, form.n_linear + form.n_vector, last]
    ends.append(len(form.b))
    return [slice(start, end) for start, end in pairwise(ends)]


def _rows_of(form: ConicForm, wanted: set[int]) -> Indices:
    """Return the rows of constraints and cones, given by their ids."""
    found: list[Any] = []
    for constraint, *places in zip(
        form.constraints, form.upper_rows, form.lower_rows, strict=True
    ):
        if id(constraint) in wanted:
            found += [place for place in places if place >= 0]
    for part in form.vector_cones:
        found += part.rows.tolist() if id(part.cone) in wanted else []
    for row in form.quadratics:
        found += row.rows.tolist() if id(row.constraint) in wanted else []
    for block in form.cones:
        if id(block.cone) in wanted:
            entries = block.entry_rows
            found += [*block.rows.tolist(), *entries[entries >= 0].tolist()]
    return np.array(found, dtype=np.intp)


def _refuse_other_variables(
    form: ConicForm, added: Iterable[Any], points: Indices, is_own: Any
) -> None:
    """Refuse rows of the user's in the program's variables other than predictions."""
    allowed = set(points.tolist())
    A = sp.csr_array(form.A)
    for data in added:
        for j in np.unique(A[_rows_of(form, {id(data)})].indices).tolist():
            if j not in allowed and is_own(form.variables[j]):
                raise UnprovableModelError(
                    f"{data.name!r} is a row on {form.variables[j].name!r}, a variable "
                    "of the program other than a prediction; constraints on "
                    "model.prediction alone leave the bound provable."
                )


def _part(form: ConicForm, rows: Indices, columns: Indices) -> ConicForm:
    """Return some rows, whole cones in ascending order, and columns of a form."""
    nothing = np.zeros(0, dtype=np.int64)
    first = form.n_linear
    soc = first + np.cumsum(form.soc_orders) - form.soc_orders
    sizes = form.psd_orders * (form.psd_orders + 1) // 2
    psd = first + form.n_vector + np.cumsum(sizes) - sizes
    last = len(form.b) - 3 * form.n_exponential
    A = sp.csr_array(form.A)[rows]
    return dataclasses.replace(
        form,
        variables=[form.variables[j] for j in columns.tolist()],
        P=sp.csc_array(form.P[:, columns][columns]),
        c=form.c[columns],
        c0=0.0,
        A=sp.csc_array(A[:, columns]),
        b=form.b[rows],
        n_zero=int(np.sum(rows < form.n_zero)),
        n_nonnegative=int(np.sum((rows >= form.n_zero) & (rows < first))),
        soc_orders=form.soc_orders[np.isin(soc, rows)],
        psd_orders=form.psd_orders[np.isin(psd, rows)],
        n_exponential=int(np.sum(rows >= last)) // 3,
        constraints=[],
        upper_rows=nothing,
        lower_rows=nothing,
        upper_bound_rows=np.full(len(columns), -1),
        lower_bound_rows=np.full(len(columns), -1),
        cones=[],
        vector_cones=[],
        quadratics=[],
    )
