"""The multiclass hinge loss of Crammer and Singer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pyomo_relu.losses.base import Array
from pyomo_relu.losses.classification import ClassificationLoss, write_balance
from pyomo_relu.losses.separable import entries_of

__all__ = ["HingeLoss"]


@dataclass(frozen=True)
class HingeLoss(ClassificationLoss):
    r"""How far the score of the class is from leading all others by one.

    .. math::
        \mathrm{loss}(F, Y) = \sum_k w_k
        \Bigl(\max_j (F_{kj} + 1 - Y_{kj}) - \langle Y_k, F_k\rangle\Bigr)

    for one-hot rows :math:`Y_k` (Crammer and Singer, On the Algorithmic Implementation
    of Multiclass Kernel-based Vector Machines, JMLR 2001). The dual value is
    :math:`\langle Z, Y\rangle` with :math:`Y - Z / w` in the simplex (design,
    Certificates).

    Examples
    --------
    >>> import numpy as np
    >>> loss = HingeLoss()
    >>> F, Y = np.array([[3.0, 0.0], [0.5, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> loss.value(F, Y)
    0.5
    >>> loss.gradient(F, Y).tolist()
    [[0.0, 0.0], [-1.0, 1.0]]
    """

    name: ClassVar[str] = "hinge"
    is_smooth: ClassVar[bool] = False

    def value(self, F: Array, Y: Array, weight: Array | None = None) -> float:
        """Return the loss of scores `F` (n, c), a sum over samples."""
        w = self.sample_weights(Y, weight)
        return float(w @ _lags(F, Y).max(axis=1))

    def gradient(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return a subgradient (n, c), the mean of those of the leading scores."""
        lags = _lags(F, Y)
        leads = (lags == lags.max(axis=1, keepdims=True)).astype(np.float64)
        q = leads / leads.sum(axis=1, keepdims=True)
        return self.sample_weights(Y, weight)[:, None] * (q - Y)

    def curvature(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return zeros (n, c, c): the loss is piecewise linear."""
        n, c = Y.shape
        return np.zeros((n, c, c))

    def _value_inside(self, Z: Array, Y: Array, w: Array) -> float:
        """Return the sum of the entries of the classes."""
        return float(np.sum(Z * Y))

    def _best_multiple(
        self, Z: Array, Y: Array, w: Array, most: float, largest: float
    ) -> float:
        """Return the largest: the value is linear, and positive off zero."""
        return min(most, largest)

    def has_one_zero_dual(self, Y: Array, weight: Array | None = None) -> bool:
        """Whether there are two classes, or no weights: otherwise scores are tied."""
        return Y.shape[1] == 2 or not self.sample_weights(Y, weight).any()

    def write_zero_duals(
        self, block: Any, Z: Any, Y: Array, weight: Array | None = None
    ) -> None:
        """Add rows: Z is w on the class, nonpositive off it, and sums to zero."""
        w = self.sample_weights(Y, weight)
        write_balance(block, Z, w)
        _write_limits(block, "zero_dual", Z, Y, w, on_class=True)

    def write(self, block: Any, F: Any, Y: Array, weight: Array | None = None) -> Any:
        r"""Write :math:`w_k (t_k - F_{k y_k})` with t above what it leads.

        .. math:: t_k \ge F_{kj} + 1 - Y_{kj}

        Variables ``lead`` for t and rows ``lead_row``.
        """
        from pyomo_relu.losses.rows import add_index, add_rows, add_variables, linear

        w = self.sample_weights(Y, weight)
        kept = np.flatnonzero(w > 0.0)
        c = Y.shape[1]
        scores, targets, weights = F[kept], Y[kept], w[kept]
        samples = add_index(block, "samples", kept.tolist())
        index = add_index(
            block, "entries", entries_of(np.broadcast_to(w[:, None] > 0.0, Y.shape))
        )
        leads = add_variables(block, "lead", samples)
        rows = zip(
            scores.ravel(),
            (t for t in leads for _ in range(c)),
            (1.0 - targets).ravel().tolist(),
            strict=True,
        )
        add_rows(
            block,
            "lead_row",
            index,
            ((d, linear(0.0, [1.0, -1.0], [t, f]), None) for f, t, d in rows),
        )
        own = scores[np.arange(len(kept)), targets.argmax(axis=1)].tolist()
        return linear(0.0, [*weights.tolist(), *(-weights).tolist()], [*leads, *own])

    def write_dual(
        self, block: Any, Z: Any, Y: Array, weight: Array | None = None
    ) -> Any:
        """Write the sum of the entries of the classes.

        Rows ``balance`` (rows of Z sum to zero), ``unweighted`` (Z is zero where the
        weight is) and ``domain`` (Z is nonpositive off the class, at most w on it).
        """
        from pyomo_relu.losses.rows import linear

        w = self.sample_weights(Y, weight)
        write_balance(block, Z, w)
        _write_limits(block, "domain", Z, Y, w, on_class=False)
        own = Z[np.arange(len(Z)), Y.argmax(axis=1)].tolist()
        return linear(0.0, [1.0] * len(own), own)


def _lags(F: Array, Y: Array) -> Array:
    """Return by how much each score, and the margin of one, exceeds the class's."""
    return F - np.sum(F * Y, axis=1, keepdims=True) + (1.0 - Y)


def _write_limits(
    block: Any, name: str, Z: Any, Y: Array, w: Array, *, on_class: bool
) -> None:
    """Add rows: at most zero off the class; on it at most w, or w `on_class`."""
    from pyomo_relu.losses.rows import add_index, add_rows

    kept = np.broadcast_to(w[:, None] > 0.0, Y.shape)
    index = add_index(block, f"{name}_entries", entries_of(kept))
    upper = (w[:, None] * Y)[kept].tolist()
    lower = [u if on_class and u > 0.0 else None for u in upper]
    add_rows(block, name, index, zip(lower, Z[kept], upper, strict=True))
