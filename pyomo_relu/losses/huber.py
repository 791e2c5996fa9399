"""The Huber loss: quadratic near the target, linear far from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pyomo_relu.errors import InputError
from pyomo_relu.losses.base import Array, weights_of
from pyomo_relu.losses.parameters import number
from pyomo_relu.losses.separable import SeparableLoss, entries_of, product_within

__all__ = ["Huber"]


@dataclass(frozen=True)
class Huber(SeparableLoss):
    r"""The Huber loss, which outliers pull with a bounded force.

    .. math::
        \mathrm{loss}(F, Y) = \sum_{kj} w_{kj} h(F_{kj} - Y_{kj}), \qquad
        h(r) = \begin{cases} r^2 / 2 & |r| \le \delta \\
        \delta (|r| - \delta / 2) & \text{otherwise} \end{cases}

    with the width :math:`\delta` (Huber, Robust Estimation of a Location Parameter,
    1964). The dual value is that of the squared loss where
    :math:`|Z_{kj}| \le \delta w_{kj}` (design, Certificates).

    Parameters
    ----------
    width : float
        The residual from which on the loss is linear, in the units of the targets;
        positive and finite.

    Raises
    ------
    InputError, InputTypeError
        `width` is not positive and finite, or no number.

    Examples
    --------
    >>> import numpy as np
    >>> F, Y = np.array([[0.5], [3.0]]), np.zeros((2, 1))
    >>> Huber(1.0).value(F, Y)
    2.625
    >>> Huber(1.0).canonical_dual(F, Y).ravel().tolist()
    [-0.5, -1.0]
    >>> Huber(1.0).in_units(10.0)
    Huber(width=0.1)
    """

    width: float = 1.0

    name: ClassVar[str] = "huber"
    is_smooth: ClassVar[bool] = True
    degree: ClassVar[int] = 2
    has_quadratic_dual: ClassVar[bool] = True

    def __post_init__(self) -> None:
        width = number("width of the Huber loss", self.width)
        if not (np.isfinite(width) and width > 0.0):
            raise InputError(
                "width of the Huber loss must be positive and finite, a residual in "
                f"the units of the targets; got {self.width!r}. Use the squared loss "
                "for an infinite width."
            )
        object.__setattr__(self, "width", width)

    def in_units(self, y_scale: float) -> Huber:
        """Return the loss for targets divided by `y_scale`: so is the width."""
        return Huber(self.width / y_scale)

    def value(self, F: Array, Y: Array, weight: Array | None = None) -> float:
        """Return the loss of predictions `F` (n, c), a sum over samples."""
        r = np.abs(F - Y)
        near = np.minimum(r, self.width)
        losses = near * (r - 0.5 * near)
        return float(np.sum(weights_of(weight, Y) * losses))

    def gradient(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the gradient (n, c), the weighted residual clipped to the width."""
        return weights_of(weight, Y) * np.clip(F - Y, -self.width, self.width)

    def second_derivative(self, residual: Array) -> Array:
        """Return one up to the width, zero beyond."""
        return (np.abs(residual) <= self.width).astype(np.float64)

    def dual_limits(self, weight: Array) -> tuple[Array, Array]:
        """Return minus and plus the weight times the width."""
        upper = product_within(weight, self.width)
        return -upper, upper

    def write(self, block: Any, F: Any, Y: Array, weight: Array | None = None) -> Any:
        r"""Write ``a^2 / 2 + width |b|`` with ``a + b = r``, ``r = F - Y``.

        Here ``|b| = 2 p - b`` with ``p >= b``, ``p >= 0``: two variables, ``near`` for
        a and ``excess`` for p, and one row a sample and output.
        """
        from pyomo_relu.losses.rows import (
            add_index,
            add_rows,
            add_variables,
            linear,
            quadratic,
        )

        w = weights_of(weight, Y)
        kept = w > 0.0
        terms, targets, weights = F[kept].tolist(), Y[kept], w[kept]
        index = add_index(block, "entries", entries_of(kept))
        near = add_variables(block, "near", index)
        excess = add_variables(block, "excess", index, bounds=(0.0, None))
        rows = zip(near, excess, terms, targets.tolist(), strict=True)
        add_rows(
            block,
            "excess_row",
            index,
            (
                (-y, linear(0.0, [1.0, 1.0, -1.0], [a, p, f]), None)
                for a, p, f, y in rows
            ),
        )
        slopes = self.width * weights
        tail = linear(
            float(np.sum(slopes * targets)),
            [*(2.0 * slopes).tolist(), *(-slopes).tolist()],
            [*excess, *terms],
        )
        return tail + quadratic(0.0, slopes.tolist(), (0.5 * weights).tolist(), near)
