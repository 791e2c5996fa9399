r"""Convex quadratic objectives for linear solvers: squares, and tangents below them.

.. math:: x^T Q x + c^T x + c_0
          = \sum_k y_k^2 + g^T x + g_0, \qquad y = D x + e,

with one row of D for each positive eigenvalue of Q, connected component by connected
component, and e such that the linear part is left with what no square can absorb: the
objective is bounded wherever that rest is. Then :math:`t_k \ge y_k^2` is given up for

.. math:: t_k \ge 2 \bar y y_k - \bar y^2

at some points :math:`\bar y` (Kelley 1960; design, Tiers).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.core.base.objective import maximize
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.environ import Any as AnySet
from pyomo.environ import Constraint, NonNegativeReals, Objective, Var
from pyomo.repn import generate_standard_repn
from scipy.sparse.csgraph import connected_components

from pyomo_relu.errors import InputError
from pyomo_relu.tiers.affine import AffineEntries
from pyomo_relu.tiers.cut_pool import CutPool

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["SumOfSquares", "Tangents", "split_squares"]

#: Eigenvalues below minus this times the largest of their component are refused; a
#: Gram matrix that went through an expression tree carries rounding of some 1e-13.
_CURVATURE_TOLERANCE = 1e-9
#: Eigenvalues up to this times the largest of their component are rounding.
_ROUNDING = 1e-12
#: A gap that a linear solver does not see: it lets rows be violated by as much.
_UNSEEN = 2e-7


@dataclass(frozen=True)
class SumOfSquares:
    """``sense * (sum of (directions @ x + offsets)**2 + linear @ x + constant)``.

    Attributes
    ----------
    sense : int
        1 for a minimisation, -1 for a maximisation.
    variables : list of n variables
        x.
    directions : (s, n) csr_array
        D.
    offsets : (s,) array
        e.
    linear : (n,) array
        g.
    constant : float
        g_0.
    """

    sense: int
    variables: list[Any]
    directions: sp.csr_array
    offsets: Array
    linear: Array
    constant: float

    def equals(self, other: SumOfSquares) -> bool:
        """Whether the two are the same function of the same variables."""
        return (
            self.sense == other.sense
            and list(map(id, self.variables)) == list(map(id, other.variables))
            and self.constant == other.constant
            and np.array_equal(self.linear, other.linear)
            and np.array_equal(self.offsets, other.offsets)
            and self.directions.shape == other.directions.shape
            and (self.directions != other.directions).nnz == 0
        )


def split_squares(objective: Any) -> SumOfSquares | None:
    """Write a convex quadratic objective as a sum of squares.

    Parameters
    ----------
    objective : objective data
        To be minimised if convex, maximised if concave. Fixed variables and parameters
        enter with their present values.

    Returns
    -------
    SumOfSquares or None
        None for a linear objective.

    Raises
    ------
    InputError
        The objective is neither linear nor quadratic, or curved the wrong way.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Objective, Var
    >>> m = ConcreteModel()
    >>> m.x, m.y = Var(), Var()
    >>> m.o = Objective(expr=2 * m.x**2 + 4 * m.x + m.y)
    >>> squares = split_squares(m.o)
    >>> squares.directions.toarray().round(4).tolist(), squares.offsets.round(4)
    ([[1.4142, 0.0]], array([1.4142]))
    >>> squares.linear.tolist(), squares.constant
    ([0.0, 1.0], -2.0)
    """
    sense = -1 if objective.sense == maximize else 1
    repn = generate_standard_repn(objective.expr, quadratic=True)
    if repn.nonlinear_expr is not None:
        raise InputError(
            f"objective {objective.name!r} is neither linear nor quadratic; relu.cuts "
            "leaves a linear program, and takes linear objectives, and quadratic ones "
            "that are convex to minimise or concave to maximise."
        )
    if not repn.quadratic_vars:
        return None
    variables: list[Any] = []
    place: dict[int, int] = {}
    pairs = [variable for pair in repn.quadratic_vars for variable in pair]
    for variable in (*pairs, *repn.linear_vars):
        if place.setdefault(id(variable), len(variables)) == len(variables):
            variables.append(variable)
    n = len(variables)
    linear = np.zeros(n)
    np.add.at(linear, [place[id(v)] for v in repn.linear_vars], list(repn.linear_coefs))
    rows, columns = np.array([place[id(v)] for v in pairs]).reshape(-1, 2).T
    half = 0.5 * np.array(repn.quadratic_coefs, dtype=float)
    Q = sp.csr_array((half, (rows, columns)), shape=(n, n))
    Q = sp.csr_array(Q + Q.T)
    weights, vectors = _spectrum(sense * Q, objective)
    linear *= sense
    directions = sp.csr_array(sp.diags_array(np.sqrt(weights)) @ vectors)
    # (d'x + e)^2 takes 2 e d'x off the linear part.
    along = vectors @ linear
    offsets = along / (2.0 * np.sqrt(weights))
    return SumOfSquares(
        sense,
        variables,
        directions,
        offsets,
        linear - vectors.T @ along,
        sense * float(repn.constant) - float(offsets @ offsets),
    )


def _spectrum(Q: sp.csr_array, objective: Any) -> tuple[Array, sp.csr_array]:
    """Return positive eigenvalues (s,) and orthonormal eigenvectors (s, n)."""
    n = Q.shape[0]
    count, label = connected_components(Q, directed=False)
    order = np.argsort(label, kind="stable")
    sizes = np.bincount(label, minlength=count)
    members = np.split(order, np.cumsum(sizes)[:-1])
    single = order[np.repeat(sizes == 1, sizes)]
    diagonal = Q.diagonal()[single]
    worst = float(diagonal.min(initial=0.0))
    chosen = single[diagonal > 0.0]
    weights = [diagonal[diagonal > 0.0]]
    data, rows, columns = [np.ones(len(chosen))], [np.arange(len(chosen))], [chosen]
    for member in members:
        if len(member) == 1:
            continue
        values, vectors = np.linalg.eigh(Q[member][:, member].toarray())
        largest = float(np.abs(values).max())
        if values[0] < -_CURVATURE_TOLERANCE * largest:
            worst = min(worst, float(values[0]))
        kept = values > _ROUNDING * largest
        start = sum(map(len, weights))
        weights.append(values[kept])
        data.append(vectors[:, kept].T.ravel())
        rows.append(np.repeat(start + np.arange(kept.sum()), len(member)))
        columns.append(np.tile(member, kept.sum()))
    if worst < 0.0:
        kind = "convex" if objective.sense != maximize else "concave"
        raise InputError(
            f"objective {objective.name!r} is not {kind} (curvature {worst:.3g} the "
            "wrong way), and has no tangents that bound it; relu.cuts takes linear "
            "objectives, and quadratic ones that are convex to minimise or concave to "
            "maximise."
        )
    weights_of_all = np.concatenate(weights)
    matrix = sp.csr_array(
        (np.concatenate(data), (np.concatenate(rows), np.concatenate(columns))),
        shape=(len(weights_of_all), n),
    )
    return weights_of_all, matrix


class Tangents:
    """A linear objective in place of a sum of squares, and rows that drive it up.

    Parameters
    ----------
    block : Block
        Empty; gets ``root`` (y), ``root_row``, ``square`` (t), ``tangent`` and
        ``objective``.
    squares : SumOfSquares
        The objective.
    drops : bool
        As for :class:`CutPool`.
    """

    def __init__(self, block: Any, squares: SumOfSquares, drops: bool) -> None:
        s = len(squares.offsets)
        block.root = Var(range(s))
        block.square = Var(range(s), domain=NonNegativeReals)
        root, square = list(block.root.values()), list(block.square.values())
        block.root_row = Constraint(range(s))
        rows = AffineEntries.read(squares.variables).map(squares.directions)
        rows = rows.plus(-sp.eye_array(s), root)
        for k, body in enumerate(rows.expressions()):
            block.root_row[k] = (-squares.offsets[k], body, -squares.offsets[k])
        used = np.flatnonzero(squares.linear)
        block.objective = Objective(
            expr=LinearExpression(
                constant=squares.sense * squares.constant,
                linear_coefs=[
                    *(squares.sense * squares.linear[used]).tolist(),
                    *([float(squares.sense)] * s),
                ],
                linear_vars=[*(squares.variables[i] for i in used), *square],
            ),
            sense=squares.sense,
        )
        block.tangent = Constraint(AnySet)
        self.pool = CutPool(block.tangent, AffineEntries.read([*root, *square]), drops)
        self.variables = square
        # Where x is zero, y is e: tangents about there bound the squares both ways.
        reach = np.where(squares.offsets == 0.0, 1.0, np.abs(squares.offsets))
        for factor in (-1.0, -0.5, 0.5, 1.0):
            self._touch(factor * reach, np.arange(s))

    def _touch(self, points: Array, which: Any) -> None:
        """Add the tangents of some squares at some points."""
        count, s = len(which), len(self.variables)
        weights = sp.hstack(
            [
                sp.csr_array(
                    (-2.0 * points, (np.arange(count), which)), shape=(count, s)
                ),
                sp.csr_array(
                    (np.ones(count), (np.arange(count), which)), shape=(count, s)
                ),
            ]
        )
        self.pool.add(weights, -(points**2))

    def separate(self, allowed: float) -> tuple[float, int]:
        """Add the tangents that the present point wants.

        Parameters
        ----------
        allowed : float
            By how much the squares may lie above their tangents, all together.

        Returns
        -------
        gap : float
            By how much they do; zero where that is allowed, or too little for a linear
            solver to see.
        added : int
            How many tangents were added.
        """
        values = self.pool.values()
        y, t = np.split(values, 2)
        gaps = np.maximum(y**2 - t, 0.0)
        total = float(gaps.sum())
        which = np.flatnonzero(
            (gaps > _UNSEEN * np.maximum(1.0, y**2))
            & (gaps > 0.1 * allowed / len(gaps))
        )
        self.pool.drop_idle(values)
        if total <= allowed or len(which) == 0:
            return 0.0, 0
        self._touch(y[which], which)
        return total, len(which)
