r"""Upper bounds on the dual norm of the training problem, over all cells.

.. math:: \rho(Z) = \max_{|u| \le 1} |Z^T \sigma(X u)|
                  = \max_i \max_{u \in K_i, |u| \le 1} |J_i^T u|,
          \qquad J_i = X^T (s_- I + (s_+ - s_-) D_i) Z

(design, Certificates and Tree sums).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyomo_relu.activations import Activation, ReLU
from pyomo_relu.arrangement import Cells
from pyomo_relu.certificates.faces import maximum_over_cone

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["RhoBound", "bound_rho"]

#: Floats that one chunk of cells may take: 64 MB.
_CHUNK_FLOATS = 8_000_000
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


class _CellMaps:
    """The maps ``J_i`` of a dual point, and the rays, in given coordinates."""

    def __init__(
        self,
        cells: Cells,
        X: Array,
        Z: Array,
        rotation: Array,
        activation: Activation,
    ) -> None:
        self.cells = cells
        self.shape = (X.shape[1], Z.shape[1])
        products = np.einsum("kr,kc->krc", X, Z).reshape(len(X), -1)
        # J_i sums x_k z_k^T over active samples: those on the positive side of their
        # class and, where they point against its normal, those on the negative side.
        sign = cells.sample_sign
        self.by_class = np.zeros((len(cells.normals), products.shape[1]))
        used = sign != 0
        np.add.at(
            self.by_class, cells.sample_class[used], sign[used, None] * products[used]
        )
        self.offset = products[sign < 0].sum(axis=0)
        if activation.step != 1.0:
            self.by_class *= activation.step
            self.offset = activation.step * self.offset
        if activation.negative != 0.0:
            self.offset = self.offset + activation.negative * products.sum(axis=0)
        self.rays = cells.ray_table @ rotation.T
        self.normals = cells.normals @ rotation.T

    def maps(self, indices: Indices) -> Array:
        """Return ``J_i`` (cells, r, c) of the given cells."""
        signs = np.unpackbits(
            self.cells.packed[indices], axis=1, count=len(self.by_class)
        )
        return (signs @ self.by_class + self.offset).reshape(-1, *self.shape)

    def chunks(self, indices: Indices) -> Iterator[tuple[Indices, Array]]:
        """Yield ``J_i`` over the given cells in pieces of bounded memory."""
        width = len(self.by_class) + 2 * self.by_class.shape[1]
        size = max(1, _CHUNK_FLOATS // width)
        for start in range(0, len(indices), size):
            part = indices[start : start + size]
            yield part, self.maps(part)

    def ray_pairs(self, indices: Indices) -> tuple[Indices, Indices]:
        """Return (position in `indices`, ray) for every ray of the given cells."""
        start = self.cells.ray_indptr[indices]
        count = self.ray_counts(indices)
        owner = np.repeat(np.arange(len(indices)), count)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
        return owner, self.cells.ray_indices[start[owner] + within]

    def ray_counts(self, indices: Indices) -> Indices:
        """Return the number of rays of the given cells."""
        indptr = self.cells.ray_indptr
        return indptr[indices + 1] - indptr[indices]

    def geometry(self, i: int) -> tuple[Array, Array]:
        """Return rays (r, m) and oriented unit facet normals (k, r) of one cell."""
        cells = self.cells
        rays = cells.ray_indices[cells.ray_indptr[i] : cells.ray_indptr[i + 1]]
        facets = cells.facet_indices[cells.facet_indptr[i] : cells.facet_indptr[i + 1]]
        signs = np.unpackbits(cells.packed[i], count=len(self.by_class))[facets]
        oriented = np.where(signs, 1.0, -1.0)[:, None] * self.normals[facets]
        return self.rays[rays].T, oriented


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
    context = _CellMaps(cells, X, Z, rotation, activation)
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
    attained = _largest_on_rays(context)
    upper = np.full(len(cells), np.inf)
    for part, J in context.chunks(np.arange(len(cells))):
        upper[part] = np.linalg.norm(J, axis=(1, 2))
    for refine in (_spectral, _entrywise):
        open_cells = np.flatnonzero(upper > attained + rounding)
        for part, J in context.chunks(open_cells):
            upper[part] = np.minimum(upper[part], refine(context, part, J))
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


def _largest_on_rays(context: _CellMaps) -> float:
    """Return the largest ``|J_i^T r|`` over the rays of all cells."""
    largest = 0.0
    for part, J in context.chunks(np.arange(len(context.cells))):
        owner, ray = context.ray_pairs(part)
        at_rays = np.einsum("jrc,jr->jc", J[owner], context.rays[ray])
        largest = max(largest, float(np.linalg.norm(at_rays, axis=1).max(initial=0.0)))
    return largest


def _spectral(context: _CellMaps, part: Indices, J: Array) -> Array:
    """Bound by the largest singular value: the cone forgotten."""
    return np.linalg.norm(J, ord=2, axis=(1, 2))


def _entrywise(context: _CellMaps, part: Indices, J: Array) -> Array:
    """Bound by the least t with ``t G - S >= 0`` entrywise, where there is one.

    With ``G = R^T R`` and ``S = R^T J J^T R``, nonnegative combinations ``u = R a``
    then have ``|J^T u|^2 = a^T S a <= t a^T G a = t |u|^2``.
    """
    bound = np.full(len(part), np.inf)
    counts = context.ray_counts(part)
    for m in np.unique(counts):
        rows = np.flatnonzero(counts == m)
        _, ray = context.ray_pairs(part[rows])
        R = context.rays[ray].reshape(len(rows), m, -1)
        G = R @ R.transpose(0, 2, 1)
        at_rays = R @ J[rows]
        S = at_rays @ at_rays.transpose(0, 2, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient = S / G
        # Products of unit vectors this small have no trusted sign.
        flat = np.abs(G) <= 1e-12
        least = np.where((G > 0) & ~flat, quotient, 0.0).max(axis=(1, 2))
        most = np.where((G < 0) & ~flat, quotient, np.inf).min(axis=(1, 2))
        # A nonpositive S with G about zero needs -S >= t |G|: ask for a margin.
        blocked = (flat & (-1e-12 * np.abs(least)[:, None, None] < S)).any(axis=(1, 2))
        fits = (least <= most) & ~blocked
        bound[rows] = np.where(fits, np.sqrt(np.maximum(least, 0.0)), np.inf)
    return bound
