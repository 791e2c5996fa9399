"""Losses of classes, given as one-hot rows: their duals are simplices."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from pyomo_relu.errors import InputError
from pyomo_relu.losses.base import Array, Loss, weights_of

__all__ = ["ClassificationLoss", "write_balance"]


class ClassificationLoss(Loss):
    r"""A loss :math:`\sum_k w_k\, l(F_k, y_k)` of scores, one class a sample.

    The domain of its dual is, with the one-hot rows :math:`Y_k`,

    .. math:: q_k = Y_k - Z_k / w_k \in \{q \ge 0, \textstyle\sum_j q_j = 1\}

    that is: :math:`\sum_j Z_{kj} = 0`, :math:`Z_{kj} \le 0` off the class, and
    :math:`Z_{kj} \le w_k` on it; zero where the weight is zero (design, Certificates).
    """

    is_classification: ClassVar[bool] = True
    degree: ClassVar[int] = 1

    def check_targets(self, Y: Array) -> None:
        """Refuse targets that are no one-hot rows.

        Parameters
        ----------
        Y : (n, c) array
            The targets, finite.

        Raises
        ------
        InputError
            There are fewer than two columns, or a row is not one 1 and zeros.
        """
        how = (
            "Encode a vector of labels with: classes, codes = numpy.unique(labels, "
            "return_inverse=True); Y = numpy.eye(len(classes))[codes]"
        )
        if Y.ndim != 2 or Y.shape[1] < 2:
            raise InputError(
                f"the {self.name} loss needs one-hot targets, a column for each of at "
                f"least two classes; got shape {Y.shape}. {how}"
            )
        bad = np.any((Y != 0.0) & (Y != 1.0), axis=1) | (np.sum(Y, axis=1) != 1.0)
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"the {self.name} loss needs one-hot targets, rows of one 1 and zeros; "
                f"{int(bad.sum())} rows are not, the first is row {row}: "
                f"{Y[row].tolist()}. {how}"
            )

    def target_scale(self, Y: Array) -> float:
        """Return one: classes have no units."""
        return 1.0

    def sample_weights(self, Y: Array, weight: Array | None) -> Array:
        """Return the weight (n,) of each sample, that of the entry of its class."""
        return np.sum(Y * weights_of(weight, Y), axis=1)

    def dual_slack(self, Z: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the distance (n, c) of every ``w q`` to zero."""
        w = self.sample_weights(Y, weight)[:, None]
        return np.maximum(w * Y - Z, 0.0)

    def repair(self, Z: Array, Y: Array, weight: Array | None = None) -> Array:
        r"""Return the nearest point (n, c) of the domain of the dual, but for rounding.

        Rows that are outside become :math:`Z_k = w_k (Y_k - q_k)` with the Euclidean
        projection :math:`q_k` of :math:`Y_k - Z_k / w_k` on the simplex (Held, Wolfe
        and Crowder, Validation of subgradient optimization, 1974), in units in which
        sums are exact.
        """
        w = self.sample_weights(Y, weight)
        outside = ~_rows_inside(Z, Y, w)
        repaired = np.array(Z, dtype=np.float64)
        if outside.any():
            repaired[outside] = _nearest_inside(Z[outside], Y[outside], w[outside])
        return repaired

    def dual_value(self, Z: Array, Y: Array, weight: Array | None = None) -> float:
        """Return minus the conjugate at ``-Z``; minus infinity outside of its domain.

        Rows must sum to zero exactly, in exact arithmetic: see :meth:`repair`.
        """
        w = self.sample_weights(Y, weight)
        if not _rows_inside(Z, Y, w).all():
            return -np.inf
        return self._value_inside(Z, Y, w)

    @abstractmethod
    def _value_inside(self, Z: Array, Y: Array, w: Array) -> float:
        """Return the dual value of a point of the domain."""

    @abstractmethod
    def _best_multiple(
        self, Z: Array, Y: Array, w: Array, most: float, largest: float
    ) -> float:
        """Return the best s in (0, min(most, largest)].

        Z is not zero, and s Z is in the domain exactly for 0 <= s <= most.
        """

    def dual_bound(
        self, Z: Array, Y: Array, largest: float, weight: Array | None = None
    ) -> tuple[float, float]:
        """Return the best bound over multiples of `Z`, and the multiplier.

        Parameters
        ----------
        Z : (n, c) array
            A dual point as :meth:`repair` returns it, or times a power of two.
        Y : (n, c) array
            The targets.
        largest : float
            Largest admissible ``|s|``: ``beta / rho(Z)``.
        weight : (n, c) array, optional
            The weights.

        Returns
        -------
        bound, s : float
            ``dual_value(repair(s * Z))``; zero and zero where no other multiple of Z
            is in the domain, such as where a row does not sum to zero.
        """
        w = self.sample_weights(Y, weight)
        cone = np.where(w > 0.0, np.inf, 0.0)
        for sign in (1.0, -1.0):
            ray = sign * Z
            own = np.sum(ray * Y, axis=1)
            if own.any() and _rows_inside(ray, Y, cone).all():
                with np.errstate(divide="ignore", over="ignore"):
                    ratios = np.divide(
                        w, own, where=own > 0.0, out=np.full(len(own), np.inf)
                    )
                most = float(ratios.min())
                s = self._best_multiple(ray, Y, w, most, largest)
                if not np.isfinite(s):
                    break
                bound = self.dual_value(self.repair(s * ray, Y, weight), Y, weight)
                if bound > 0.0:
                    return bound, sign * s
        return 0.0, 0.0

    def write_zero_duals(
        self, block: Any, Z: Any, Y: Array, weight: Array | None = None
    ) -> None:
        """Add rows ``zero_dual`` that give the one point of the set."""
        from pyomo_relu.losses.rows import add_index, add_rows

        n, c = Y.shape
        index = add_index(
            block, "zero_dual_entries", [(k, j) for k in range(n) for j in range(c)]
        )
        point = self.zero_duals(Y, weight).ravel().tolist()
        add_rows(block, "zero_dual", index, zip(point, Z.ravel(), point, strict=True))


def _rows_inside(Z: Array, Y: Array, w: Array) -> Any:
    """Whether each row is in the domain, exactly: (n,) truth values."""
    off = Y == 0.0
    own = np.sum(np.where(off, 0.0, Z), axis=1)
    inside = (own >= 0.0) & (own <= w) & np.isfinite(own)
    inside &= np.all(np.where(off, (Z <= 0.0) & (own[:, None] >= -Z), True), axis=1)
    # A sum in floating point proves nothing; fsum rounds once, and zero is exact.
    rows = np.flatnonzero(inside)
    inside[rows] = [math.fsum(row) == 0.0 for row in Z[rows].tolist()]
    return inside


def _nearest_inside(Z: Array, Y: Array, w: Array) -> Array:
    """Return the points of the domain that are nearest to the rows, exactly inside.

    With ``p = w q`` these are ``w Y - p``, p the projection of ``w Y - Z`` on the
    simplex of mass w.
    """
    total = w[:, None]
    # Shifts change nothing, nor what is below the largest by more than the mass; the
    # sums are to be of the size of the mass, not of Z.
    Z = np.clip(Z, -1e300, 1e300)
    p = total * Y + (np.sum(Z * Y, axis=1, keepdims=True) - Z)
    p = np.maximum(p - p.max(axis=1, keepdims=True), -total)
    falling = -np.sort(-p, axis=1)
    counts = np.arange(1.0, p.shape[1] + 1.0)
    levels = (np.cumsum(falling, axis=1) - total) / counts
    support = np.sum(falling > levels, axis=1, keepdims=True)
    level = np.take_along_axis(levels, np.maximum(support, 1) - 1, axis=1)
    p = np.maximum(p - level, 0.0)
    # In whole units of two last bits of w all sums are exact.
    unit = 2.0 * np.spacing(total)
    off = np.where(Y == 0.0, np.floor(p / unit), 0.0)
    excess = np.maximum(off.sum(axis=1, keepdims=True) - np.floor(total / unit), 0.0)
    largest = off.argmax(axis=1)[:, None]
    np.put_along_axis(
        off, largest, np.take_along_axis(off, largest, axis=1) - excess, axis=1
    )
    own = off.sum(axis=1, keepdims=True)
    return np.where(Y == 0.0, 0.0 - off * unit, own * unit)


def write_balance(block: Any, Z: Any, w: Array) -> None:
    """Add rows that rows of Z sum to zero, and are zero where the weight is.

    Called ``balance``, one a sample, and ``unweighted``, one an entry.
    """
    from pyomo_relu.losses.rows import add_index, add_rows, linear

    kept, dropped = np.flatnonzero(w > 0.0), np.flatnonzero(w == 0.0)
    c = Z.shape[1]
    add_rows(
        block,
        "balance",
        add_index(block, "balance_samples", kept.tolist()),
        ((0.0, linear(0.0, [1.0] * c, row), 0.0) for row in Z[kept].tolist()),
    )
    entries = [(k, j) for k in dropped.tolist() for j in range(c)]
    add_rows(
        block,
        "unweighted",
        add_index(block, "unweighted_entries", entries),
        ((0.0, z, 0.0) for z in Z[dropped].ravel()),
    )
