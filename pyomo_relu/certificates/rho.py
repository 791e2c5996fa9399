r"""Upper bounds on the dual norm of the training problem, over all cells.

.. math:: \rho(Z) = \max_{|u| \le 1} |Z^T \sigma(X u)|
                  = \max_i \max_{u \in K_i, |u| \le 1} |J_i^T u|,
          \qquad J_i = X^T (s_- I + (s_+ - s_-) D_i) Z

(design, Certificates and Tree sums).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyomo_relu.activations import Activation, ReLU
from pyomo_relu.arrangement import Cells
from pyomo_relu.certificates.cell_maps import (
    CellMaps,
    entrywise_bound,
    spectral_bound,
)
from pyomo_relu.certificates.faces import maximum_over_cone

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["RhoBound", "bound_rho"]

#: Faces that one call may look at, some tens of microseconds each. In high rank a cell
#: has very many; cells that are left keep their cheaper bounds and count as undecided.
_FACE_BUDGET = 200_000
#: A cell is decided when its bound exceeds the largest attained value by no more.
_DECIDED = 2e-9


@dataclass(frozen=True)
class RhoBound:
    """An upper bound on rho over a set of cells.

    Attributes
    ----------
    value : float
        The bound over all given cells, rounding and perturbation included.
    attained : float
        Largest value met at a point: a lower bound on rho.
    decided, cells : int
        Cells whose bound is the largest attained value or less, up to a relative
        2e-9 and rounding; of how many.
    """

    value: float
    attained: float
    decided: int
    cells: int


def bound_rho(
    cells: Cells,
    X: Array,
    Z: Array,
    *,
    rotation: Array | None = None,
    perturbation: float = 0.0,
    activation: Activation | None = None,
) -> RhoBound:
    r"""Bound rho from above over the given cells, cheapest test first.

    The tests, each applied to what the earlier ones left above the largest
    attained value: the Frobenius norm of ``J_i``; its spectral norm; the entrywise
    test ``t R^T R - R^T J J^T R >= 0``; the exact maximum by faces.

    Parameters
    ----------
    cells : Cells
        The cells. The result bounds rho itself only if they are all cells.
    X : (N, r) array
        Rows of the arrangement in the coordinates of `rotation`.
    Z : (N, c) array
        Dual point, a row for each of them.
    rotation : (r, r) array, optional
        Maps the cells' reduced coordinates to those of `X`.
    perturbation : float
        Spectral norm of the change of `X` for which the cells are exact; enters
        by ``rho(X) <= rho(X + E) + |Z|_2 |E|_2`` (design, What exact means), times
        the largest slope or jump of slopes.
    activation : Activation, optional
        ReLU by default.

    Returns
    -------
    RhoBound

    Examples
    --------
    >>> import numpy as np
    >>> from pyomo_relu.arrangement import enumerate_cells
    >>> X, Z = np.eye(2), np.array([[3.0], [4.0]])
    >>> bound = bound_rho(enumerate_cells(X), X, Z)
    >>> print(f"{bound.value:.6f}, {bound.decided} of {bound.cells} cells decided")
    5.000000, 4 of 4 cells decided
    """
    if rotation is None:
        rotation = np.eye(X.shape[1])
    activation = ReLU() if activation is None else activation
    steepest = max(activation.lipschitz, abs(activation.step))
    context = CellMaps(cells, X, Z, rotation, activation)
    dual_norm = float(np.linalg.norm(Z, 2))
    # Each J_i is a sum of n products, each singular value carries a few more.
    rounding = (
        4.0
        * max(steepest, abs(activation.negative) + abs(activation.step))
        * np.finfo(float).eps
        * (len(X) + X.shape[1] * Z.shape[1])
        * float(np.linalg.norm(X, 2))
        * float(np.linalg.norm(Z))
    )
    attained = float(context.values(context.rays).max(initial=0.0))
    upper = np.full(len(cells), np.inf)
    for part, J in context.chunks(np.arange(len(cells))):
        upper[part] = np.linalg.norm(J, axis=(1, 2))
    open_cells = np.flatnonzero(upper > attained + rounding)
    for part, J in context.chunks(open_cells):
        upper[part] = np.minimum(upper[part], spectral_bound(J))
    open_cells = np.flatnonzero(upper > attained + rounding)
    for part, J in context.chunks(open_cells):
        upper[part] = np.minimum(upper[part], entrywise_bound(context, part, J))
    budget = _FACE_BUDGET
    open_cells = np.flatnonzero(upper > attained + rounding)
    for i in open_cells[np.argsort(-upper[open_cells], kind="stable")]:
        if upper[i] <= attained + rounding or budget <= 0:
            break
        J = context.maps(np.array([i]))[0]
        search = maximum_over_cone(
            J, *context.geometry(i), floor=attained, max_faces=budget
        )
        budget -= search.visited
        attained = max(attained, search.attained)
        if search.upper is not None:
            upper[i] = min(upper[i], search.upper)
    # Cells are decided up to what rounding leaves of an eigenvector.
    decided = int(np.sum(upper <= attained * (1.0 + _DECIDED) + rounding))
    largest = max(float(upper.max(initial=0.0)), attained)
    value = largest + rounding + steepest * dual_norm * perturbation
    return RhoBound(float(value), float(attained), decided, len(cells))
