r"""Upper bounds on the dual norm of the training problem, over all cells.

.. math:: \rho(Z) = \max_{|u| \le 1} |Z^T \sigma(X u)|
                  = \max_i \max_{u \in K_i, |u| \le 1} |J_i^T u|,
          \qquad J_i = X^T (s_- I + (s_+ - s_-) D_i) Z

(design, Certificates and Tree sums).
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pyomo_relu.activations import Activation, ReLU
from pyomo_relu.arrangement import Cells
from pyomo_relu.certificates.cell_maps import (
    CellBlock,
    CellMaps,
    DualPoint,
    cell_blocks,
    cheap_bounds,
    first_look,
)
from pyomo_relu.certificates.faces import maximum_over_cone
from pyomo_relu.certificates.parallel import run_on_blocks

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["RhoBound", "bound_rho"]

#: Faces that one call may look at, some tens of microseconds each. In high rank a cell
#: has very many; cells that are left keep their cheaper bounds and count as undecided.
_FACE_BUDGET = 200_000
#: A cell is decided when its bound exceeds the largest attained value by no more.
DECIDED = 2e-9


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
    executor: Executor | None = None,
) -> RhoBound:
    r"""Bound rho from above over the given cells, cheapest test first.

    The tests, each applied to what the earlier ones left above the largest
    attained value: the values at the rays times what a unit vector may sum up of them;
    the Frobenius norm of ``J_i``; its spectral norm; the entrywise test
    ``t R^T R - R^T J J^T R >= 0``; the exact maximum by faces.

    The first of them decides nearly all cells where they are many, and small: its
    excess falls with the square of their diameter. On the cell
    :math:`|J_i^T u|` is convex, so for ``u = sum_j a_j r_j`` it is no more than
    ``sum_j a_j`` times its largest value at a ray.

    Memory: the cells' blocks, made once (150 bytes a cell in rank 4), and 100 MB.

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
    executor : concurrent.futures.Executor, optional
        Who looks at blocks of cells (:mod:`pyomo_relu.certificates.parallel`). The
        result is the same; this process by default.

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
    inexact = steepest * dual_norm * perturbation
    point = DualPoint(X, Z, rotation, activation)
    blocks = cell_blocks(cells)
    # A climb may leave the cells, if they are not all.
    attained = first_look(blocks, point, climb=cells.complete)
    parts = run_on_blocks(
        _bound_block,
        blocks,
        [(number, ()) for number in range(len(blocks.blocks))],
        (point, attained, rounding, inexact),
        executor,
    )
    attained = max([attained, *(part.attained for part in parts)])
    closed = max((part.closed for part in parts), default=0.0)
    upper, attained = _look_at_faces(blocks.blocks, parts, point, attained, rounding)
    # Cells are decided up to what rounding leaves of an eigenvector.
    undecided = int(np.sum(upper > attained * (1.0 + DECIDED) + rounding))
    largest = max(float(upper.max(initial=0.0)), closed, attained)
    value = largest + rounding + inexact
    return RhoBound(float(value), attained, len(cells) - undecided, len(cells))


class _BlockBounds(NamedTuple):
    """Bounds over a block of cells.

    Attributes
    ----------
    attained : float
        Largest value at a ray.
    closed : float
        Largest bound of the cells whose bounds are values attained here or before.
    open_cells : (k,) int array
        The others, counted within the block.
    upper : (k,) array
        Their bounds.
    """

    attained: float
    closed: float
    open_cells: Indices
    upper: Array


def _bound_block(
    block: CellBlock, point: DualPoint, floor: float, rounding: float, inexact: float
) -> _BlockBounds:
    context = point.maps(block)
    best, _ = context.best_at_rays()
    attained = float(best.max(initial=0.0))
    threshold = max(floor, attained) + rounding
    upper = cheap_bounds(context, best, rounding + inexact, threshold)
    is_open = upper > threshold
    closed = float(upper[~is_open].max(initial=0.0))
    return _BlockBounds(attained, closed, np.flatnonzero(is_open), upper[is_open])


def _look_at_faces(
    blocks: tuple[CellBlock, ...],
    parts: list[_BlockBounds],
    point: DualPoint,
    attained: float,
    rounding: float,
) -> tuple[Array, float]:
    """Return bounds of the open cells, by their faces, and what is attained."""
    owner = np.repeat(np.arange(len(parts)), [len(part.upper) for part in parts])
    local = np.concatenate([np.zeros(0, dtype=np.intp), *(p.open_cells for p in parts)])
    upper = np.concatenate([np.zeros(0), *(part.upper for part in parts)])
    contexts: dict[int, CellMaps] = {}
    budget = _FACE_BUDGET
    for k in np.argsort(-upper, kind="stable").tolist():
        if upper[k] <= attained + rounding or budget <= 0:
            break
        number, i = int(owner[k]), int(local[k])
        if number not in contexts:
            contexts[number] = point.maps(blocks[number])
        context = contexts[number]
        search = maximum_over_cone(
            context.maps(np.array([i]))[0],
            *context.geometry(i),
            floor=attained,
            max_faces=budget,
        )
        budget -= search.visited
        attained = max(attained, search.attained)
        if search.upper is not None:
            upper[k] = min(upper[k], search.upper)
    return upper, float(attained)
