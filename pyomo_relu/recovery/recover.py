"""From the values or the duals of a solved program to a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from pyomo.environ import Suffix, value

from pyomo_relu.cones import ConeData, CopositiveConeData
from pyomo_relu.cones.factor import factor_in_cone
from pyomo_relu.errors import InputError, SolverError
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.additions import changed_objective, user_rows
from pyomo_relu.programs.network_program import (
    NetworkProgram,
    TrainingProgram,
    WeightProgram,
    network_program,
    unit_rows,
)
from pyomo_relu.programs.user_rows import UserRows, no_rows, read_user_rows
from pyomo_relu.recovery.improve import improve_network
from pyomo_relu.recovery.refit import refit, violation
from pyomo_relu.tiers.replacement import Replacement, replacement_of, tier_of

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["recover_network"]

#: Cells whose second moment is smaller than this part of the largest hold only
#: what an interior point leaves in an empty cell.
_EMPTY = 1e-6
#: The same where nothing is factored: all that is read off counts.
_ROUNDING = 1e-12
#: Largest violation of the user's constraints, predictions in units of the targets.
_ALLOWED = 1e-7
#: Directions that one fit of the second layer may have.
_MAX_DIRECTIONS = 2_000


def recover_network(model: Any, *, improve: bool | None = None) -> ReLUNetwork:
    r"""Return the network that a solved model stands for.

    Every moment matrix is factored over its cell, ``U = sum u u^T`` with
    ``u in K``, which gives neurons ``(u, v)`` with ``v`` from the cross moment;
    layers are balanced, and the network is improved on its cells, parallel neurons
    merged (design, From a solution to a network). Tiers that bound a minimum from
    above have networks for solutions, which are read off without factorisation. Where
    a relaxed solution has no such factors the network is a projection of it: evaluate
    it, or :func:`pyomo_relu.certify` it, before you trust it.

    For :func:`~pyomo_relu.build_completely_positive` the moments are values; for
    :func:`~pyomo_relu.build_copositive` they are the multipliers T of the cones,

    .. math:: A = 2 T_{AA}, \quad W = -2 T_{AW}, \quad G = 2 T_{WW},

    which the model's Suffix ``dual`` holds as ``-T``, the model being a maximisation
    (design, The copositive program). The variables of the other programs are the
    weights of neurons, or (:func:`~pyomo_relu.build_gated`) linear maps whose singular
    vectors become neurons. Those of :func:`~pyomo_relu.build_nonconvex` are taken as
    they stand, constraints satisfied as far as the solver satisfies them.

    Parameters
    ----------
    model : ConcreteModel or Block
        What a build function of this package returned, relaxed if it has cones that
        need it, and solved.
    improve : bool, optional
        Whether to descend from the factors to a local optimum; the default, unless
        you have added constraints of your own, or changed the objective. Under
        constraints the second layer is fitted again, with the directions of the
        factors, so that the predictions satisfy them
        (:mod:`pyomo_relu.recovery.refit`), and so it is where the loss has kinks, on
        which no descent leads on. With another objective the factors stay as they are.
        False: the factors as they are in any case, parallel neurons apart
        (:meth:`ReLUNetwork.merge` merges them).

    Returns
    -------
    ReLUNetwork
        In the user's units.

    Raises
    ------
    InputTypeError
        The model is no network program.
    InputError
        Its solution is no network with the activation of the problem: gates of the
        user's own.
    SolverError
        The model has no values, or for the copositive program no multipliers; no
        network with the directions of the solution satisfies your constraints.
    UnprovableModelError
        `improve` is left out or True, and there are constraints that are not convex
        ones on predictions.
    InputError
        `improve` is True, and there are constraints or an objective of your own: a
        descent would leave them.

    Examples
    --------
    >>> from pyomo_relu import TrainingProblem, build_completely_positive, relax, solve
    >>> problem = TrainingProblem([[1.0], [2.0]], [[1.0], [2.0]], beta=0.5)
    >>> model = build_completely_positive(problem)
    >>> relax(model, "dnn")
    >>> results = solve(model)
    >>> network = recover_network(model)
    >>> print(f"{network.n_neurons} neuron, objective {network.objective(problem):.6f}")
    1 neuron, objective 0.475000
    """
    program = network_program(model)
    if isinstance(program, WeightProgram):
        neurons = [program.read_neurons(model)]
    else:
        neurons = _factor(model, program)
    problem = program.problem
    network = network_of_neurons(problem, neurons, _linear_term(model, program))
    if improve is False:
        return network
    constrained = _has_user_rows(model)
    changed = changed_objective(model)
    if improve and (constrained or changed):
        raise InputError(
            f"a descent would leave the constraints or the objective of {model.name!r}"
            f" ({changed or 'constraints of your own'}); leave improve out."
        )
    if isinstance(program, WeightProgram) and not program.is_convex:
        # Its weights are a network that satisfies the constraints as it stands.
        return network if constrained or changed else improve_network(problem, network)
    if not constrained:
        if changed:
            return network
        if not problem.loss.is_smooth or _is_lost(model, network):
            # No descent leads on from there.
            network = _refitted(model, program, network, no_rows(problem))
        return improve_network(problem, network)
    rows = read_user_rows(model)
    if not changed:
        network = _refitted(model, program, network, rows)
    excess = violation(problem, network, rows)
    if not excess <= _ALLOWED:
        raise SolverError(
            f"no network with the directions of this solution satisfies the "
            f"constraints of {model.name!r}: the best one violates them by "
            f"{excess:.1e}, predictions in units of the size of the targets. Use a "
            "tighter tier ('dnn' after 'partition'), solve to a tighter accuracy, or "
            "take the network as it is by improve=False."
        )
    return network


def _refitted(
    model: Any, program: TrainingProgram, network: ReLUNetwork, rows: UserRows
) -> ReLUNetwork:
    """Fit the second layer again; with the rays of the cells where that is needed."""
    problem = program.problem
    best = refit(problem, network, rows)
    lost = _is_lost(model, best)
    if not lost and violation(problem, best, rows) <= _ALLOWED:
        return best
    frames = (
        [program.frame(i)[0] for i in program.active.tolist()]
        if isinstance(program, NetworkProgram)
        else []
    )
    if not frames:
        return best
    return refit(problem, best, rows, _some_directions(np.hstack(frames)))


def _some_directions(rays: Array) -> Array:
    """Return rays (r, m) without repeated ones, as many as one program can take."""
    rays = rays / np.linalg.norm(rays, axis=0)
    _, first = np.unique(rays.round(9), axis=1, return_index=True)
    first = np.sort(first)
    step = -(-len(first) // _MAX_DIRECTIONS)
    return rays[:, first[::step]]


def _is_lost(model: Any, network: ReLUNetwork) -> bool:
    """Whether a solution has moments and its network no neuron."""
    if network.n_neurons or model.component("penalty") is None:
        return False
    penalty = value(model.penalty, exception=False)
    objective = value(model.objective, exception=False)
    if penalty is None or objective is None:
        return False
    return bool(penalty > _EMPTY * abs(objective))


def network_of_neurons(
    problem: TrainingProblem, neurons: list[tuple[Array, Array]], linear: Array
) -> ReLUNetwork:
    """Return the network of neurons in scaled units, those that are zero left out.

    Parameters
    ----------
    problem : TrainingProblem
        What was trained.
    neurons : list of (r, p) and (p, c) arrays
        First and second layers.
    linear : (r or 0, c) array
        The linear term.
    """
    first = np.hstack([np.empty((problem.scaled.rank, 0)), *(u for u, _ in neurons)])
    second = np.vstack([np.empty((0, problem.n_outputs)), *(v for _, v in neurons)])
    kept = first.any(axis=0) & second.any(axis=1)
    return ReLUNetwork.of_scaled(problem, first[:, kept], second[kept], linear)


def _factor(model: Any, program: NetworkProgram) -> list[tuple[Array, Array]]:
    """Return first and second layers, cell by cell."""
    moments, neurons = _read(model, program)
    return neurons + factor_moments(moments)


def factor_moments(moments: list[Moment]) -> list[tuple[Array, Array]]:
    """Return first (r, p) and second layers (p, c) of the moments that are not empty.

    Parameters
    ----------
    moments : list of Moment
        Those of one solution.
    """
    largest = max((moment.size for moment in moments), default=0.0)
    neurons = []
    for moment in moments:
        # An interior point leaves about as much in empty directions as in empty cells.
        empty = _ROUNDING if moment.is_network else _EMPTY
        if moment.size > empty * largest:
            neurons.append(moment.neurons(empty * largest / moment.size))
    return neurons


def _has_user_rows(model: Any) -> bool:
    """Whether somebody added constraints to a completely positive program."""
    if model.component("prediction_row") is None:
        return False
    return bool(user_rows(model)) or any(
        variable.fixed or variable.lower is not None or variable.upper is not None
        for variable in model.scaled_prediction.values()
    )


def _linear_term(model: Any, program: TrainingProgram) -> Array:
    """Return the linear term (r, c) of a solved model, scaled; (0, c) without one."""
    scaled = program.problem.scaled
    shape = (scaled.rank, program.n_outputs)
    if scaled.skip is None:
        return np.zeros((0, shape[1]))
    variables = model.component("linear_term")
    if variables is not None:
        numbers = [term.value for term in variables.values()]
    elif scaled.skip:
        # At the optimum of the inner minimisation C = X^T Z / gamma.
        gradients = model.linear_gradient.values()
        numbers = [
            None if g.value is None else g.value / scaled.skip for g in gradients
        ]
    else:
        scale = scaled.objective_scale
        suffix = model.dual
        numbers = [
            suffix[row] / scale if row in suffix else None
            for row in model.linear_row.values()
        ]
    if any(number is None for number in numbers):
        raise SolverError(
            "the linear term of the model has no values: solve the model before its "
            "network is recovered."
        )
    return np.array(numbers, dtype=float).reshape(shape)


@dataclass
class Moment:
    """Second and cross moment of the neurons in a cell, or in a piece of it.

    Attributes
    ----------
    A, W : (m, m) and (m, c) arrays
        In coordinates of the columns of R.
    R : (r, m) array
        Their first-layer weights, scaled and reduced.
    facet_normals : callable
        Returns inward unit normals (k, r) of the cone that the neurons are in; few are
        ever asked for.
    is_network : bool
        Whether A factors in its own coordinates: the solution is a network.
    """

    A: Array
    W: Array
    R: Array
    facet_normals: Callable[[], Array]
    is_network: bool

    @property
    def size(self) -> float:
        """Return the trace of the second moment of the first-layer weights."""
        return float(np.sum((self.R @ self.A) * self.R))

    def neurons(self, tolerance: float) -> tuple[Array, Array]:
        """Return first (r, p) and second layer (p, c)."""
        if self.is_network and len(self.A) <= 2:
            return self._at_most_two()
        if self.is_network:
            R, U, V, normals = self.R, self.A, self.W, np.eye(len(self.A))
        else:
            R = np.eye(len(self.R))
            U, V = self.R @ self.A @ self.R.T, self.R @ self.W
            normals = self.facet_normals()
        factors, _ = factor_in_cone(U, normals, tolerance=tolerance)
        # v_k from V = sum u_k v_k^T: U^+ V, read off at each factor.
        inverse = np.linalg.pinv(U, rcond=tolerance, hermitian=True)
        return R @ factors, factors.T @ inverse @ V

    def _at_most_two(self) -> tuple[Array, Array]:
        r"""Return the neurons in the cone of one or two rays.

        The square root of a nonnegative 2-by-2 matrix is nonnegative:

        .. math::

            \sqrt A = (A + \sqrt{\det A}\, I)
                / \sqrt{\mathrm{tr} A + 2 \sqrt{\det A}}
        """
        A = np.maximum(self.A, 0.0)
        root = np.sqrt(max(float(np.linalg.det(A)), 0.0)) if len(A) == 2 else 0.0
        B = (A + root * np.eye(len(A))) / np.sqrt(np.trace(A) + 2.0 * root)
        # Directions that carry less than this are an interior point's.
        return self.R @ B, np.linalg.pinv(B, rcond=1e-3) @ self.W


def _facets_of_cell(program: NetworkProgram, cell: int) -> Array:
    return unit_rows(program.cells.facets[cell] @ program.problem.scaled.basis)


def facets_of_simplex(rays: Array) -> Array:
    """Return inward unit normals (s, r) of the cone of independent rays (r, s)."""
    return unit_rows(np.asarray(np.linalg.pinv(rays), dtype=np.float64))


class _Carrier(NamedTuple):
    """A cone that holds moments: a leaf, or one that rows alone stand for.

    `cell` is the cone that bounds the first-layer weights, the whole cell's or that
    of a piece; `replacement` is that by rows.
    """

    cone: ConeData
    cell: ConeData
    replacement: Replacement | None
    is_network: bool


def _carriers(cone: ConeData, cell: ConeData, is_network: bool) -> Iterator[_Carrier]:
    replacement = replacement_of(cone)
    if replacement is None or not replacement.leaves:
        yield _Carrier(cone, cell, replacement, is_network)
        return
    tier = tier_of(replacement)
    for leaf in replacement.leaves:
        piece = leaf if tier.bridge(cone).side == "same" else cell
        yield from _carriers(leaf, piece, is_network or tier.leaves_are_networks)


def _read(
    model: Any, program: NetworkProgram
) -> tuple[list[Moment], list[tuple[Array, Array]]]:
    """Return the moments to be factored, and the neurons that need not be."""
    moments: dict[tuple[int, bytes], Moment] = {}
    neurons: list[tuple[Array, Array]] = []
    for i in program.active.tolist():
        root = model.cone[i]
        is_dual = isinstance(root, CopositiveConeData)
        for carrier in _carriers(root, root, False):
            cone, replacement = carrier.cone, carrier.replacement
            R = program.frame(i)[0] if cone.rays is None else cone.rays
            if replacement is not None and not is_dual:
                factors = tier_of(replacement).factors(cone, replacement)
                if factors is not None:
                    neurons.append((R @ factors[0], factors[1]))
                    continue
            A, W = _moments_of(carrier, root, program)
            # Leaves in the same coordinates are parts of one matrix.
            known = moments.get((i, R.tobytes()))
            if known is None:
                rays = None if carrier.cell is root else carrier.cell.rays
                normals = (
                    partial(_facets_of_cell, program, i)
                    if rays is None
                    else partial(facets_of_simplex, rays)
                )
                moments[i, R.tobytes()] = Moment(A, W, R, normals, carrier.is_network)
            else:
                known.A, known.W = known.A + A, known.W + W
    return list(moments.values()), neurons


def _moments_of(
    carrier: _Carrier, root: ConeData, program: NetworkProgram
) -> tuple[Array, Array]:
    m = carrier.cone.order - carrier.cone.free
    if isinstance(root, CopositiveConeData):
        T = _multiplier(carrier) / -program.problem.scaled.objective_scale
        return 2.0 * T[:m, :m], -2.0 * T[:m, m:]
    values = _values(carrier.cone)
    return values[:m, :m], values[:m, m:]


def _multiplier(carrier: _Carrier) -> Array:
    """Return Pyomo's dual of a cone."""
    cone, replacement = carrier.cone, carrier.replacement
    if replacement is not None:
        raise SolverError(
            f"cone {cone.name!r} was replaced by rows ({replacement.tier}), which have "
            "no matrix for a multiplier. Networks come from the duals of tiers with "
            "semidefinite cones, for example 'dnn'."
        )
    block = cone.parent_block()
    while block is not None:
        suffix = block.component("dual")
        if isinstance(suffix, Suffix) and suffix.active and cone in suffix:
            matrix = np.asarray(suffix[cone], dtype=np.float64)
            if np.isfinite(matrix).all():
                return matrix
        block = block.parent_block()
    raise SolverError(
        f"there is no multiplier of cone {cone.name!r} in the model's Suffix 'dual': "
        "relax and solve the model, by a solver that returns the duals of cones, "
        "before its network is recovered."
    )


def _values(cone: Any) -> Array:
    unset = any(value(entry, exception=False) is None for entry in cone.upper_triangle)
    if unset or not np.isfinite(matrix := cone.numeric()).all():
        raise SolverError(
            f"cone {cone.name!r} has variables without a finite value: solve the "
            "model before its network is recovered."
        )
    return matrix
