"""From the values of a solved program to a network."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from pyomo.environ import value

from pyomo_relu.cones import PSDConeData
from pyomo_relu.cones.factor import factor_in_cone
from pyomo_relu.errors import SolverError
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.programs.network_program import (
    NetworkProgram,
    network_program,
    unit_rows,
)
from pyomo_relu.recovery.improve import improve_network
from pyomo_relu.tiers import leaf_cones

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["recover_network"]

#: Cells whose second moment is smaller than this part of the largest hold only
#: what an interior point leaves in an empty cell.
_EMPTY = 1e-6


def recover_network(model: Any, *, improve: bool = True) -> ReLUNetwork:
    r"""Return the network that the values of a solved model stand for.

    Every moment matrix is factored over its cell, ``U = sum u u^T`` with
    ``u in K``, which gives neurons ``(u, v)`` with ``v`` from the cross moment;
    parallel neurons are merged, layers balanced, and the network is improved on
    its cells (design, From a solution to a network). Where a relaxed solution has
    no such factors the network is a projection of it: evaluate it, or
    :func:`pyomo_relu.certify` it, before you trust it.

    Parameters
    ----------
    model : ConcreteModel or Block
        What :func:`build_completely_positive` returned, solved.
    improve : bool
        Whether to descend from the factors to a local optimum. Leave it out if
        you have added constraints of your own.

    Returns
    -------
    ReLUNetwork
        In the user's units.

    Raises
    ------
    InputTypeError
        The model is no network program.
    SolverError
        The model has no values.

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
    scaled = program.problem.scaled
    moments = _moments(model, program)
    largest = max(float(np.trace(moment.U)) for moment in moments)
    first, second = [np.empty((scaled.rank, 0))], [np.empty((0, program.n_outputs))]
    for moment in moments:
        size = float(np.trace(moment.U))
        if size <= _EMPTY * largest:
            continue
        # An interior point leaves about as much in empty directions as in empty cells.
        tolerance = _EMPTY * largest / size
        factors, _ = factor_in_cone(
            moment.U, moment.facets(program), tolerance=tolerance
        )
        first.append(factors)
        # v_k from V = sum u_k v_k^T: U^+ V, read off at each factor.
        inverse = np.linalg.pinv(moment.U, rcond=tolerance, hermitian=True)
        second.append(factors.T @ inverse @ moment.V)
    layers = scaled.to_user(np.hstack(first), np.vstack(second))
    network = ReLUNetwork(*layers).balance()
    return improve_network(program.problem, network) if improve else network


class _Moment(NamedTuple):
    """Second and cross moment (U, V) of the neurons in a leaf cone of a cell."""

    U: Array
    V: Array
    cell: int
    piece: Array | None

    def facets(self, program: NetworkProgram) -> Array:
        """Return unit facet normals of the cell, or of the simplicial piece."""
        if self.piece is not None:
            normals = np.asarray(np.linalg.inv(self.piece), dtype=np.float64)
            return unit_rows(normals)
        return unit_rows(program.cells.facets[self.cell] @ program.problem.scaled.basis)


def _moments(model: Any, program: NetworkProgram) -> list[_Moment]:
    """Return the moments of every leaf cone, in scaled, reduced coordinates."""
    found = []
    for i in program.active.tolist():
        leaves = leaf_cones(model.cone[i])
        for leaf in leaves:
            values = _values(leaf)
            m = leaf.order - leaf.free
            A, W = values[:m, :m], values[:m, m:]
            R = program.frame(i)[0] if leaf.rays is None else leaf.rays
            # A simplicial piece of a partition is smaller than its cell; the rays of
            # a semidefinite cone are a basis and bound nothing.
            simplicial = R.shape[1] == len(R) and not isinstance(leaf, PSDConeData)
            piece = R if len(leaves) > 1 and simplicial else None
            found.append(_Moment(R @ A @ R.T, R @ W, i, piece))
    return found


def _values(cone: Any) -> Array:
    unset = any(value(entry, exception=False) is None for entry in cone.upper_triangle)
    if unset or not np.isfinite(matrix := cone.numeric()).all():
        raise SolverError(
            f"cone {cone.name!r} has variables without a finite value: solve the "
            "model before its network is recovered."
        )
    return matrix
