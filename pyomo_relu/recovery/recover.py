"""From the values of a solved program to a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyomo_relu.errors import SolverError
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.programs.network_program import (
    NetworkProgram,
    network_program,
    unit_rows,
)
from pyomo_relu.recovery.factor import factor_in_cone
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
    moments = list(_moments(model, program))
    largest = max((float(np.trace(U)) for U, _, _ in moments), default=0.0)
    first, second = [np.empty((scaled.rank, 0))], [np.empty((0, program.n_outputs))]
    for U, V, facets in moments:
        if np.trace(U) <= _EMPTY * largest:
            continue
        factors, _ = factor_in_cone(U, facets)
        first.append(factors)
        # v_k from V = sum u_k v_k^T: U^+ V, read off at each factor.
        second.append(factors.T @ np.linalg.pinv(U, rcond=1e-6, hermitian=True) @ V)
    network = scaled.to_user(np.hstack(first), np.vstack(second))
    return improve_network(program.problem, network) if improve else network


def _moments(model: Any, program: NetworkProgram) -> list[tuple[Array, Array, Array]]:
    """Return (U, V, facets) of every leaf cone, in scaled, reduced coordinates."""
    scaled = program.problem.scaled
    found = []
    for i in program.active.tolist():
        for leaf in leaf_cones(model.cone[i]):
            values = leaf.numeric()
            if not np.isfinite(values).all():
                raise SolverError(
                    f"cone {leaf.name!r} has variables without a value: solve the "
                    "model before its network is recovered."
                )
            m = leaf.order - leaf.free
            A, W = values[:m, :m], values[:m, m:]
            if leaf.rays is None:
                found.append((A, W, leaf.facets))
                continue
            R = leaf.rays
            if R.shape[1] == len(R):
                facets = np.linalg.inv(R)
            else:
                facets = unit_rows(program.cells.facets[i] @ scaled.basis)
            found.append((R @ A @ R.T, R @ W, facets))
    return found
