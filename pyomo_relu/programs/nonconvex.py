r"""The training problem itself, nonconvex, for local and global solvers.

.. math::

    f = \sum_{j=1}^m h_j v_j^T + X C, \qquad h_j = \sigma(X u_j)
        = s_+ p_j - s_- q_j, \quad p_j - q_j = X u_j, \quad p_j, q_j \ge 0

(design, Network and objective), averaged over patches. One of ``p`` and ``q`` is zero

- ``"patterns"``: because every neuron stays in a cell, which is known: a smooth
  program, :math:`h_j = D_i X u_j` with :math:`u_j \in K_i`;
- ``"complementarity"``: by rows :math:`p_{kj} q_{kj} \le 0`;
- ``"big_m"``: by binaries, :math:`p_{kj} \le |x_k| z_{kj}` and
  :math:`q_{kj} \le |x_k| (1 - z_{kj})`.

The first has the penalty :math:`\frac\beta2 \sum_j (|u_j|^2 + |v_j|^2)` of (NN). A
neuron has the same function at :math:`(t u, v / t)`, and the least penalty of these is
:math:`\beta |u| |v|`. The other two fix that scale,

.. math:: |u_j| \le 1, \qquad \text{penalty} = \beta \sum_j t_j,
    \quad |v_j| \le t_j,

so that :math:`|x_k^T u_j| \le |x_k|` is a big M that no objective value enters. Global
solvers need finite bounds on v as well: where a network is known whose objective is
:math:`p`, as the zero network's is :math:`\mathrm{loss}(0)`, an optimum has

.. math:: \beta \sum_j |v_j| \le p, \qquad \text{so} \quad
    |v_{jo}| \le t_j \le \sum_j t_j \le L = p / \beta,

losses being nonnegative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pyomo.common.gc_manager import PauseGC
from pyomo.core.expr import LinearExpression
from pyomo.core.expr.numeric_expr import SumExpression
from pyomo.environ import Binary, ConcreteModel, Constraint, RangeSet, Set, Var
from scipy.optimize import nnls

from pyomo_relu.arrangement import Cells
from pyomo_relu.errors import InputError, InputTypeError
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
    values_of,
)
from pyomo_relu.programs.rows import InOrder, Rows, equal_row, objects
from pyomo_relu.tiers import mark_side

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["build_nonconvex"]

#: Terms of the sum that the network predicts, of one point and output after another.
Predictions = Iterator[list[Any]]

_FORMS = ("patterns", "complementarity", "big_m")


def build_nonconvex(
    problem: TrainingProblem,
    width: int,
    *,
    form: str = "patterns",
    cells: Cells | None = None,
    incumbent: float | None = None,
    seed: int | np.random.Generator | None = None,
    block: Any = None,
) -> Any:
    """Write the training of a network of given width as a nonconvex program.

    For local solvers (Ipopt), global ones (SCIP) and export to ``.nl``.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    width : int
        Number of neurons.
    form : {"patterns", "complementarity", "big_m"}
        ``"patterns"``: smooth, every neuron in a cell drawn at random, each cell once
        before any twice. ``"complementarity"``: products of nonnegative variables at
        most zero. ``"big_m"``: a binary a neuron and row.
    cells : Cells, optional
        Cells to draw from, for ``"patterns"``; all by default.
    incumbent : float, optional
        An objective that some network of this width attains, an upper bound on the
        optimum; that of the zero network by default. Weights of the second layer are
        bounded by it (not for ``"patterns"``). **If you add constraints that the zero
        network violates, give one that a network under them attains**: bounds from a
        lower value may cut off the optimum.
    seed : int or numpy.random.Generator, optional
        The same seed draws the same cells and the same initial point.
    block : Block, optional
        Where to build; a new ``ConcreteModel`` by default.

    Returns
    -------
    ConcreteModel or the given block
        With ``first[row, neuron]`` and ``second[neuron, output]`` (scaled),
        ``hidden[point, neuron]``, ``prediction[point, output]``, ``loss``, ``penalty``
        and ``objective`` in the user's units, all at a random network. Its optimum
        bounds that of networks of any width from above; with complementarity or
        binaries it is that optimum if `width` is at least the number of predictions,
        and often long before.

    Raises
    ------
    InputError, InputTypeError
        An unknown form, a width or incumbent that is not positive, arguments that do
        not go with the form, cells of other data, a block that is not empty.
    TooManyCellsError
        There are too many cells to draw from and none were given.

    Notes
    -----
    As many neurons as predictions are enough: those of an optimum lie in a proper face
    of a multiple of the convex hull of the predictions of neurons with
    ``|u| = |v| = 1``, and a face of dimension ``points * outputs - 1`` needs no more
    (Caratheodory). Neurons are ordered by their first weight, which halves what a
    global solver has to search for every two of them.

    Examples
    --------
    >>> from pyomo_relu import TrainingProblem, recover_network, solve
    >>> problem = TrainingProblem([[1.0], [2.0]], [[1.0], [2.0]], beta=0.5)
    >>> model = build_nonconvex(problem, width=1, form="big_m")
    >>> results = solve(model, "scip")
    >>> print(f"{results.incumbent_objective:.4f}")
    0.4750
    >>> print(f"{recover_network(model).objective(problem):.4f}")
    0.4750
    """
    check_place(problem, block)
    _check(width, form, cells, incumbent)
    try:
        rng = np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"seed must be a nonnegative whole number or a numpy Generator; got "
            f"{seed!r}."
        ) from error
    model = ConcreteModel(name="nonconvex") if block is None else block
    program: _Nonconvex
    if form == "patterns":
        network = network_program_of(problem, cells, None, None)
        program = _Patterns(problem, width, network, _draw(network, width, rng))
        mark_side(
            model,
            "inner",
            f"each of {width} neurons stays in the cell that was drawn for it",
        )
    else:
        limit = _limit(problem, incumbent)
        program = _Switched(problem, width, form, limit)
        if width < problem.n_points * problem.n_outputs:
            mark_side(
                model,
                "inner",
                f"networks have {width} neurons only (and none is lost if one of these "
                "is optimal among all)",
            )
    attach(model, program)
    with PauseGC():
        _write(model, program, rng)
    keep_state(model)
    return model


def _check(width: Any, form: Any, cells: Any, incumbent: Any) -> None:
    if isinstance(width, bool) or not isinstance(width, (int, np.integer)):
        raise InputTypeError(f"width must be a whole number; got {width!r}.")
    if width < 1:
        raise InputError(f"width must be at least one neuron; got {width}.")
    if form not in _FORMS:
        raise InputError(
            f"form must be 'patterns', 'complementarity' or 'big_m'; got {form!r}."
        )
    if form != "patterns" and cells is not None:
        raise InputError(
            f"cells are those of form='patterns'; form={form!r} finds its own. Leave "
            "them out."
        )
    if form == "patterns" and incumbent is not None:
        raise InputError(
            "form='patterns' needs no bounds on its weights; leave incumbent out."
        )


def _draw(network: NetworkProgram, width: int, rng: np.random.Generator) -> list[int]:
    """Return a cell a neuron, each cell once before any twice."""
    count = len(network.active)
    rounds = [rng.permutation(network.active) for _ in range(-(-width // count))]
    drawn: list[int] = np.concatenate(rounds)[:width].tolist()
    return drawn


def _limit(problem: TrainingProblem, incumbent: Any) -> float:
    """Return a bound on ``sum_j |v_j|`` at an optimum, where ``|u_j| <= 1``."""
    scaled = problem.scaled
    zero = scaled.loss_value(np.zeros(scaled.Y.shape))
    if incumbent is None:
        return zero / scaled.beta
    try:
        value = float(incumbent)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"incumbent must be a number; got {incumbent!r}."
        ) from error
    if not (math.isfinite(value) and value > 0.0):
        raise InputError(f"incumbent must be positive and finite; got {incumbent!r}.")
    return value / scaled.objective_scale / scaled.beta


@dataclass(frozen=True, eq=False)
class _Nonconvex(WeightProgram):
    """A network of given width: what its forms share."""

    is_convex: ClassVar[bool] = False

    width: int

    @property
    def size(self) -> float:
        """Frobenius norm of the second layer to start from."""
        return 0.3

    def read_neurons(self, model: Any) -> tuple[Array, Array]:
        """Return the weights as they are."""
        shapes = (self.problem.rank, self.width), (self.width, self.n_outputs)
        first, second = (
            values_of(variables.values(), shape)
            for variables, shape in zip(
                (model.first, model.second), shapes, strict=True
            )
        )
        return first, second

    def draw(self, rng: np.random.Generator) -> Array:
        """Return a first layer (r, m) to start from."""
        raise NotImplementedError

    def write_hidden(self, model: Any, first: Any, start: Array) -> Rows:
        """Tie the first layer (r, m) and yield the hidden layer, linear sums."""
        raise NotImplementedError

    def write_second(self, model: Any, first: Any, second: Any) -> None:
        """Write what bounds the second layer: nothing."""

    def write_predictions(self, model: Any, hidden: Any, second: Any) -> Predictions:
        """Yield ``sum_j h_kj v_jo``, as terms of a sum."""
        for h in hidden:
            for v in second.T:
                yield [a * b for a, b in zip(h, v, strict=True)]

    def penalty(self, model: Any, first: Any, second: Any, scale: float) -> Any:
        """Return the weight decay of (NN), times `scale`."""
        squares = [0.5 * scale * w * w for w in (*first.flat, *second.flat)]
        return SumExpression(squares)


@dataclass(frozen=True, eq=False)
class _Patterns(_Nonconvex):
    """Every neuron in a cell of its own."""

    network: NetworkProgram
    cell_of: list[int]

    @property
    def cells(self) -> Cells:
        """The arrangement."""
        return self.network.cells

    def draw(self, rng: np.random.Generator) -> Array:
        """Return a unit vector in each cell."""
        scaled, cells = self.problem.scaled, self.network.cells
        columns = []
        for i in self.cell_of:
            if self.network.description == "rays":
                R, _ = self.network.frame(i)
                u = R @ rng.uniform(0.1, 1.0, size=R.shape[1])
            else:
                u = scaled.basis.T @ cells.interior(i)
            columns.append(u / np.linalg.norm(u))
        return np.column_stack(columns)

    def write_hidden(self, model: Any, first: Any, start: Array) -> Rows:
        r"""Write ``u = R a``, in the cell, and ``h = D X u``."""
        scaled, network = self.problem.scaled, self.network
        frames = [network.frame(i) for i in self.cell_of]
        model.coordinate = Var(
            Set(
                initialize=[
                    (k, j) for j, (R, _) in enumerate(frames) for k in range(R.shape[1])
                ],
                dimen=2,
            ),
            bounds=(0.0 if network.description == "rays" else None, None),
        )
        entries = iter(model.coordinate.values())
        coordinates = [
            objects([next(entries) for _ in R.T], (1, R.shape[1])) for R, _ in frames
        ]
        for (R, facets), a, u in zip(frames, coordinates, start.T, strict=True):
            solve = nnls if facets is None else np.linalg.lstsq
            _initialise(a, solve(R, u)[0])
        model.first_row = Constraint(
            model.NEURONS,
            RangeSet(0, len(first) - 1),
            rule=InOrder(
                equal_row(weight, row.tolist(), a[0].tolist())
                for (R, _), a, u in zip(frames, coordinates, first.T, strict=True)
                for weight, row in zip(u, R, strict=True)
            ),
        )
        self._keep_inside(model, frames, coordinates)
        cells, place = np.unique(self.cell_of, return_inverse=True)
        activation = scaled.activation
        slopes = np.where(
            network.cells.subset(cells).masks, activation.positive, activation.negative
        )
        features = [scaled.pool(each[:, None] * scaled.X) for each in slopes]
        for point in range(scaled.n_points):
            for j in range(self.width):
                row = features[place[j]][point]
                support = np.flatnonzero(row)
                yield row[support].tolist(), first[support, j].tolist()

    def _keep_inside(self, model: Any, frames: list[Any], coordinates: Any) -> None:
        """Write ``F a >= 0`` where the cells are known by facets."""
        rows = [
            (j, k, row.tolist())
            for j, (_, facets) in enumerate(frames)
            if facets is not None
            for k, row in enumerate(facets)
        ]
        if rows:
            model.facet_row = Constraint(
                Set(initialize=[(j, k) for j, k, _ in rows], dimen=2),
                rule=InOrder(
                    (
                        0.0,
                        LinearExpression(
                            linear_coefs=row, linear_vars=coordinates[j][0].tolist()
                        ),
                        None,
                    )
                    for j, _, row in rows
                ),
            )

    def read_neurons(self, model: Any) -> tuple[Array, Array]:
        """Return the weights, rays combined with nonnegative coordinates."""
        first, second = super().read_neurons(model)
        if self.network.description == "rays":
            frames = [self.network.frame(i)[0] for i in self.cell_of]
            sizes = [R.shape[1] for R in frames]
            a = np.maximum(values_of(model.coordinate.values(), (sum(sizes),)), 0.0)
            parts = np.split(a, np.cumsum(sizes)[:-1])
            first = np.column_stack(
                [R @ part for R, part in zip(frames, parts, strict=True)]
            )
        return first, second


@dataclass(frozen=True, eq=False)
class _Switched(_Nonconvex):
    """Active and inactive parts, one of which complementarity or a binary removes."""

    form: str
    limit: float

    @property
    def size(self) -> float:
        """Frobenius norm of the second layer to start from, within its bounds."""
        return 0.3 * min(1.0, self.limit)

    def draw(self, rng: np.random.Generator) -> Array:
        """Return unit vectors in the order that the rows ask for."""
        first = rng.normal(size=(self.problem.rank, self.width))
        first /= np.linalg.norm(first, axis=0)
        return first[:, np.argsort(-first[0], kind="stable")]

    def write_hidden(self, model: Any, first: Any, start: Array) -> Rows:
        r"""Write ``p - q = X u`` and ``h = s_+ p - s_- q``."""
        scaled = self.problem.scaled
        X, activation, m = scaled.X, scaled.activation, self.width
        lengths = np.linalg.norm(X, axis=1)
        seen = np.flatnonzero(lengths)
        model.ROWS = Set(initialize=seen.tolist())
        index = (model.ROWS, model.NEURONS)
        model.positive_part = Var(*index, bounds=(0.0, None))
        model.negative_part = Var(*index, bounds=(0.0, None))
        parts = (model.positive_part, model.negative_part)
        p, q = (objects(part.values(), (len(seen), m)) for part in parts)
        inner = X[seen] @ start
        for variables, values in ((p, inner), (q, -inner)):
            _initialise(variables, np.maximum(values, 0.0))
            for row, length in zip(variables, lengths[seen].tolist(), strict=True):
                for variable in row:
                    variable.setub(length)
        model.inner_row = Constraint(
            model.ROWS,
            model.NEURONS,
            rule=InOrder(
                equal_row(active, [1.0, *x], [inactive, *first[:, j]])
                for x, actives, inactives in zip(X[seen].tolist(), p, q, strict=True)
                for j, (active, inactive) in enumerate(
                    zip(actives, inactives, strict=True)
                )
            ),
        )
        self._switch(model, p, q, lengths[seen], inner)
        model.unit_row = Constraint(
            model.NEURONS,
            rule=InOrder(
                (None, SumExpression([u * u for u in column]), 1.0)
                for column in first.T
            ),
        )
        if m > 1:
            model.order_row = Constraint(
                RangeSet(0, m - 2),
                rule=InOrder(
                    (0.0, first[0, j] - first[0, j + 1], None) for j in range(m - 1)
                ),
            )
        position = np.full(len(X), -1)
        position[seen] = np.arange(len(seen))
        for point in range(scaled.n_points):
            members = position[point * scaled.patches : (point + 1) * scaled.patches]
            members = members[members >= 0]
            for j in range(m):
                yield self._mean(activation, p[members, j], q[members, j])

    def _mean(self, activation: Any, p: Any, q: Any) -> tuple[list[float], list[Any]]:
        """Return the mean over patches of the activation, as a sum."""
        share = 1.0 / self.problem.scaled.patches
        values = [share * activation.positive] * len(p)
        variables = p.tolist()
        if activation.negative:
            values += [-share * activation.negative] * len(q)
            variables += q.tolist()
        return values, variables

    def _switch(self, model: Any, p: Any, q: Any, lengths: Array, inner: Array) -> None:
        index = (model.ROWS, model.NEURONS)
        if self.form == "complementarity":
            model.complementarity = Constraint(
                *index,
                rule=InOrder(
                    (None, a * b, 0.0) for a, b in zip(p.flat, q.flat, strict=True)
                ),
            )
            return
        model.is_active = Var(*index, domain=Binary)
        z = objects(model.is_active.values(), p.shape)
        _initialise(z, (inner > 0.0).astype(float))
        big = np.broadcast_to(lengths[:, None], p.shape).ravel().tolist()
        model.positive_row = Constraint(
            *index,
            rule=InOrder(
                (
                    None,
                    LinearExpression(linear_coefs=[1.0, -M], linear_vars=[a, b]),
                    0.0,
                )
                for a, b, M in zip(p.flat, z.flat, big, strict=True)
            ),
        )
        model.negative_row = Constraint(
            *index,
            rule=InOrder(
                (None, LinearExpression(linear_coefs=[1.0, M], linear_vars=[a, b]), M)
                for a, b, M in zip(q.flat, z.flat, big, strict=True)
            ),
        )

    def write_second(self, model: Any, first: Any, second: Any) -> None:
        """Write the lengths of the output weights, and their bounds."""
        model.norm = Var(model.NEURONS, bounds=(0.0, self.limit))
        norms = list(model.norm.values())
        for t, v in zip(norms, second, strict=True):
            for variable in v:
                variable.setlb(-self.limit)
                variable.setub(self.limit)
            t.set_value(math.hypot(*(variable.value for variable in v)))
        model.norm_row = Constraint(
            model.NEURONS,
            rule=InOrder(
                _no_longer(v, 1.0, t) for t, v in zip(norms, second, strict=True)
            ),
        )
        model.limit_row = Constraint(
            expr=(
                None,
                LinearExpression(linear_coefs=[1.0] * len(norms), linear_vars=norms),
                self.limit,
            )
        )

    def penalty(self, model: Any, first: Any, second: Any, scale: float) -> Any:
        """Return the lengths of the output weights, times `scale`."""
        norms = list(model.norm.values())
        return LinearExpression(linear_coefs=[scale] * len(norms), linear_vars=norms)

    def write_predictions(self, model: Any, hidden: Any, second: Any) -> Predictions:
        r"""Write what each row and neuron contributes, and bound it on both sides.

        With :math:`W_j = u_j v_j^T` and :math:`c_{kj} = \sigma(x_k^T u_j) v_j`, the
        binary says which of two maps of W the contribution is:

        .. math::

            |c_{kj} - s_+ W_j^T x_k|_\infty &\le |x_k| \, |s_+ - s_-| \, L
                (1 - z_{kj}) \\
            |c_{kj} - s_- W_j^T x_k|_\infty &\le |x_k| \, |s_+ - s_-| \, L z_{kj} \\
            |W_j|_F \le t_j, &\quad |c_{kj}| \le \max(|s_+|, |s_-|) \, |x_k| \, t_j

        All of that follows from the products, but a global solver that relaxes them
        sees nothing of it.
        """
        if self.form != "big_m":
            yield from super().write_predictions(model, hidden, second)
            return
        scaled, limit = self.problem.scaled, self.limit
        activation, m, c = scaled.activation, self.width, self.n_outputs
        first = objects(model.first.values(), (scaled.rank, m))
        model.product = Var(
            model.NEURONS,
            RangeSet(0, scaled.rank - 1),
            model.OUTPUTS,
            bounds=(-limit, limit),
        )
        W = objects(model.product.values(), (m, scaled.rank, c))
        start, outputs = (_values(weights) for weights in (first, second))
        _initialise(W, start.T[:, :, None] * outputs[:, None, :])
        model.product_row = Constraint(
            *model.product.index_set().subsets(),
            rule=InOrder(
                (
                    0.0,
                    SumExpression([first[a, j] * second[j, o], -1.0 * W[j, a, o]]),
                    0.0,
                )
                for j in range(m)
                for a in range(scaled.rank)
                for o in range(c)
            ),
        )
        norms = list(model.norm.values())
        model.product_norm_row = Constraint(
            model.NEURONS,
            rule=InOrder(
                _no_longer(w.flat, 1.0, t) for w, t in zip(W, norms, strict=True)
            ),
        )
        rows = list(model.ROWS)
        X = scaled.X[rows]
        lengths = np.linalg.norm(X, axis=1)
        index = (model.ROWS, model.NEURONS, model.OUTPUTS)
        model.contribution = Var(*index)
        C = objects(model.contribution.values(), (len(rows), m, c))
        shape = (len(rows), m)
        p = objects(model.positive_part.values(), shape)
        q = objects(model.negative_part.values(), shape)
        z = objects(model.is_active.values(), shape)
        slopes = [(activation.positive, p), (-activation.negative, q)]
        slopes = [(slope, part) for slope, part in slopes if slope]
        most = activation.lipschitz * lengths
        _initialise(C, activation(X @ start)[:, :, None] * outputs)
        for contributions, bound in zip(C, (most * limit).tolist(), strict=True):
            for variable in contributions.flat:
                variable.setlb(-bound)
                variable.setub(bound)
        model.contribution_row = Constraint(
            *index,
            rule=InOrder(
                (
                    0.0,
                    SumExpression(
                        [
                            *(
                                slope * part[k, j] * second[j, o]
                                for slope, part in slopes
                            ),
                            -1.0 * C[k, j, o],
                        ]
                    ),
                    0.0,
                )
                for k, j, o in np.ndindex(C.shape)
            ),
        )
        model.contribution_norm_row = Constraint(
            model.ROWS,
            model.NEURONS,
            rule=InOrder(
                _no_longer(C[k, j], most[k], norms[j]) for k, j in np.ndindex(shape)
            ),
        )
        big = lengths * abs(activation.step) * limit

        def sides() -> Iterator[Any]:
            for k, j, o in np.ndindex(C.shape):
                M = float(big[k])
                for slope, at_one in (
                    (activation.positive, M),
                    (activation.negative, -M),
                ):
                    # M (1 - z) where the slope is the positive one, M z otherwise.
                    constant = max(at_one, 0.0)
                    for sign in (1.0, -1.0):
                        yield (
                            None,
                            LinearExpression(
                                linear_coefs=[
                                    sign,
                                    *(-sign * slope * X[k]).tolist(),
                                    at_one,
                                ],
                                linear_vars=[C[k, j, o], *W[j, :, o], z[k, j]],
                            ),
                            constant,
                        )

        model.side_row = Constraint(
            *index, ["positive", "negative"], [1, -1], rule=InOrder(sides())
        )
        position = np.full(len(scaled.X), -1)
        position[rows] = np.arange(len(rows))
        for point in range(scaled.n_points):
            members = position[point * scaled.patches : (point + 1) * scaled.patches]
            members = members[members >= 0]
            for o in range(c):
                yield [
                    LinearExpression(
                        linear_coefs=[1.0 / scaled.patches] * (len(members) * m),
                        linear_vars=list(C[members, :, o].flat),
                    )
                ]


def _no_longer(vector: Any, factor: float, norm: Any) -> Any:
    """Return the row ``|vector| <= factor * norm`` of a nonnegative norm."""
    squares = [x * x for x in vector]
    return None, SumExpression([*squares, -(float(factor) ** 2) * norm * norm]), 0.0


def _write(model: Any, program: _Nonconvex, rng: np.random.Generator) -> None:
    problem = program.problem
    scaled = problem.scaled
    r, m, c = scaled.rank, program.width, problem.n_outputs
    predictions = add_predictions(model, problem)
    model.NEURONS = RangeSet(0, m - 1)
    model.first = Var(RangeSet(0, r - 1), model.NEURONS)
    first = objects(model.first.values(), (r, m))
    start = program.draw(rng)
    _initialise(first, start)
    model.second = Var(model.NEURONS, model.OUTPUTS)
    second = objects(model.second.values(), (m, c))
    outputs = rng.normal(size=(m, c))
    outputs *= program.size / np.linalg.norm(outputs)
    _initialise(second, outputs)
    model.hidden = Var(model.POINTS, model.NEURONS)
    hidden = objects(model.hidden.values(), (problem.n_points, m))
    values = scaled.hidden(start)
    _initialise(hidden, values)
    _initialise(predictions, values @ outputs)
    # A list, so that what it adds is there before the rows that refer to it.
    rows = list(program.write_hidden(model, first, start))
    model.hidden_row = Constraint(
        model.POINTS,
        model.NEURONS,
        rule=InOrder(
            equal_row(h, *row) for h, row in zip(hidden.flat, rows, strict=True)
        ),
    )
    terms = add_linear_term(model, problem)
    if terms is not None:
        _initialise(terms, np.zeros(terms.shape))
    program.write_second(model, first, second)
    sums = list(program.write_predictions(model, hidden, second))
    model.prediction_row = Constraint(
        model.POINTS,
        model.OUTPUTS,
        rule=InOrder(_prediction_rows(scaled.means, predictions, sums, terms)),
    )
    scale = scaled.objective_scale * scaled.beta
    penalty = program.penalty(model, first, second, scale)
    add_objective(model, problem, predictions, terms, penalty)


def _prediction_rows(
    means: Array, predictions: Any, sums: list[list[Any]], terms: Any
) -> Iterator[Any]:
    """Yield ``sum of the network + x_k^T C_o == f_ko``."""
    for number, (f, network) in enumerate(zip(predictions.flat, sums, strict=True)):
        k, o = divmod(number, predictions.shape[1])
        coefficients, variables = [-1.0], [f]
        if terms is not None:
            coefficients += means[k].tolist()
            variables += terms[:, o].tolist()
        linear = LinearExpression(linear_coefs=coefficients, linear_vars=variables)
        yield 0.0, SumExpression([*network, linear]), 0.0


def _initialise(variables: Any, values: Array) -> None:
    for variable, value in zip(variables.flat, values.ravel().tolist(), strict=True):
        variable.set_value(value, skip_validation=True)


def _values(variables: Any) -> Array:
    numbers = [variable.value for variable in variables.flat]
    return np.array(numbers, dtype=float).reshape(variables.shape)
