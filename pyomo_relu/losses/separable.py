"""Losses that are sums over entries: their duals are boxes."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from pyomo_relu.losses.base import Array, Loss, weights_of

__all__ = ["SeparableLoss", "entries_of", "product_within"]


def product_within(weight: Array, factor: float) -> Array:
    """Return ``weight * factor``, rounded towards zero: never above the product.

    Examples
    --------
    >>> from fractions import Fraction
    >>> import numpy as np
    >>> limit = product_within(np.array([3.0]), 0.1).item()
    >>> Fraction(limit) <= 3 * Fraction(0.1) < Fraction(3 * 0.1)
    True
    """
    product = weight * factor
    # Powers of two multiply without rounding, unless the product is subnormal.
    exact = (np.frexp(weight)[0] == 0.5) | (np.frexp(factor)[0] == 0.5)
    exact &= product >= np.finfo(float).tiny
    return np.where(exact, product, np.nextafter(product, 0.0))


class SeparableLoss(Loss):
    r"""A loss :math:`\sum_{kj} w_{kj} l(F_{kj} - Y_{kj})`.

    Here its dual value is

    .. math::
        \langle Z, Y\rangle - \tfrac{\kappa}{2} \sum_{kj} Z_{kj}^2 / w_{kj},
        \qquad L_{kj} \le Z_{kj} \le U_{kj}

    with :math:`\kappa = 1` for the smooth ones and 0 for the others.

    Attributes
    ----------
    has_quadratic_dual : bool
        Whether :math:`\kappa` is one.
    """

    has_quadratic_dual: ClassVar[bool]

    @abstractmethod
    def dual_limits(self, weight: Array) -> tuple[Array, Array]:
        """Return lower and upper limits of the dual point, given all weights (n, c).

        They are rounded into the domain, and infinite where there is none.
        """

    def dual_slack(self, Z: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the distance (n, c) of every entry to its nearer limit."""
        lower, upper = self.dual_limits(weights_of(weight, Y))
        return np.maximum(np.minimum(Z - lower, upper - Z), 0.0)

    def target_scale(self, Y: Array) -> float:
        """Return the number that `Y` is divided by: its Frobenius norm."""
        norm = float(np.linalg.norm(Y))
        return norm if norm > 0.0 else 1.0

    def curvature(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the (generalised) Hessian in `F`, one block (c, c) a sample."""
        second = self.second_derivative(F - Y) * weights_of(weight, Y)
        return second[:, :, None] * np.eye(Y.shape[1])

    def second_derivative(self, residual: Array) -> Array:
        """Return the second derivative of l, zero for piecewise linear losses."""
        return np.zeros(residual.shape)

    def repair(self, Z: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the nearest point (n, c) of the box of the dual."""
        lower, upper = self.dual_limits(weights_of(weight, Y))
        return np.clip(Z, lower, upper)

    def dual_value(self, Z: Array, Y: Array, weight: Array | None = None) -> float:
        """Return minus the conjugate at ``-Z``; minus infinity outside of the box."""
        w = weights_of(weight, Y)
        lower, upper = self.dual_limits(w)
        if not (_within(Z, lower, upper) and np.isfinite(Z).all()):
            return -np.inf
        return float(np.sum(Z * Y)) - 0.5 * self._square(Z, w)

    def dual_bound(
        self, Z: Array, Y: Array, largest: float, weight: Array | None = None
    ) -> tuple[float, float]:
        r"""Return the best bound over multiples of `Z`, and the multiplier.

        Parameters
        ----------
        Z : (n, c) array
            A dual point.
        Y : (n, c) array
            The targets.
        largest : float
            Largest admissible ``|s|``: ``beta / rho(Z)``.
        weight : (n, c) array, optional
            The weights.

        Returns
        -------
        bound, s : float
            ``dual_value(s * Z)`` at :math:`s = \langle Z, Y\rangle / \sum Z^2 / w`
            (infinite where the dual is linear) clipped to ``|s| <= largest`` and to
            the multiples that are in the box.
        """
        w = weights_of(weight, Y)
        inner, square = float(np.sum(Z * Y)), self._square(Z, w)
        if inner == 0.0 or (self.has_quadratic_dual and square == 0.0):
            return 0.0, 0.0
        with np.errstate(divide="ignore", over="ignore"):
            s = float(np.divide(inner, square))
        lower, upper = self.dual_limits(w)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            ratios = np.where(Z * s > 0.0, upper, lower) / (Z * np.sign(s))
        most = min(largest, float(np.min(ratios, where=Z != 0.0, initial=np.inf)))
        s = float(np.clip(s, -most, most))
        if not np.isfinite(s):
            return 0.0, 0.0
        # A rounded quotient may be outside by its last bit.
        for _ in range(4):
            if _within(s * Z, lower, upper):
                break
            s = float(np.nextafter(s, 0.0))
        bound = self.dual_value(s * Z, Y, weight)
        return (bound, s) if bound > 0.0 else (0.0, 0.0)

    def _square(self, Z: Array, w: Array) -> float:
        """Return the sum of ``Z^2 / w``, zero where the dual is linear."""
        if not self.has_quadratic_dual:
            return 0.0
        return float(np.sum(np.divide(Z * Z, w, where=w > 0.0, out=np.zeros(Z.shape))))

    def _zero_limits(self, Y: Array, weight: Array | None) -> tuple[Array, Array]:
        """Return the box that is minus the subdifferential at F = 0."""
        point = self.zero_duals(Y, weight)
        kinks = (Y == 0.0) & (not self.is_smooth)
        lower, upper = self.dual_limits(weights_of(weight, Y))
        return np.where(kinks, lower, point), np.where(kinks, upper, point)

    def has_one_zero_dual(self, Y: Array, weight: Array | None = None) -> bool:
        """Whether the loss is differentiable at F = 0: no target is on a kink."""
        lower, upper = self._zero_limits(Y, weight)
        return bool(np.all(lower == upper))

    def write_zero_duals(
        self, block: Any, Z: Any, Y: Array, weight: Array | None = None
    ) -> None:
        """Add rows ``zero_dual``: an entry is given, or between limits on a kink."""
        _write_box(block, "zero_dual", Z, *self._zero_limits(Y, weight))

    def write_dual(
        self, block: Any, Z: Any, Y: Array, weight: Array | None = None
    ) -> Any:
        """Write minus the conjugate at ``-Z``; the box is in rows ``domain``."""
        from pyomo_relu.losses.rows import quadratic

        w = weights_of(weight, Y)
        _write_box(block, "domain", Z, *self.dual_limits(w))
        squares = np.zeros(Y.shape)
        if self.has_quadratic_dual:
            np.divide(-0.5, w, where=w > 0.0, out=squares)
        return quadratic(
            0.0, Y.ravel().tolist(), squares.ravel().tolist(), Z.ravel().tolist()
        )


def _within(Z: Array, lower: Array, upper: Array) -> bool:
    """Whether Z is in the box; what is not a number is not."""
    return bool(np.all((lower <= Z) & (upper >= Z)))


def _write_box(block: Any, name: str, Z: Any, lower: Array, upper: Array) -> None:
    """Add rows ``lower <= Z <= upper`` where these are finite."""
    from pyomo_relu.losses.rows import add_index, add_rows

    has_row = np.isfinite(lower)
    index = add_index(block, f"{name}_entries", entries_of(has_row))
    add_rows(
        block,
        name,
        index,
        zip(lower[has_row].tolist(), Z[has_row], upper[has_row].tolist(), strict=True),
    )


def entries_of(mask: Any) -> list[tuple[int, int]]:
    """Return the entries (k, j) of a mask as plain tuples, row by row."""
    samples, outputs = np.nonzero(mask)
    return list(zip(samples.tolist(), outputs.tolist(), strict=True))
