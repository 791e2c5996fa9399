"""The absolute loss, the sum of absolute residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pyomo_relu.losses.base import Array, weights_of
from pyomo_relu.losses.quantile import write_tilted
from pyomo_relu.losses.separable import SeparableLoss

__all__ = ["AbsoluteLoss"]


@dataclass(frozen=True)
class AbsoluteLoss(SeparableLoss):
    r"""The sum of absolute residuals: least absolute deviations.

    .. math:: \mathrm{loss}(F, Y) = \sum_{kj} w_{kj} |F_{kj} - Y_{kj}|

    The dual value is :math:`\langle Z, Y\rangle` where :math:`|Z_{kj}| \le w_{kj}`
    (design, Certificates).

    Examples
    --------
    >>> import numpy as np
    >>> loss = AbsoluteLoss()
    >>> F, Y = np.array([[1.0, 2.0]]), np.array([[0.0, 5.0]])
    >>> loss.value(F, Y)
    4.0
    >>> loss.dual_value(np.array([[-1.0, 1.0]]), Y)
    5.0
    >>> loss.dual_value(np.array([[-1.0, 1.5]]), Y)
    -inf
    """

    name: ClassVar[str] = "absolute"
    is_smooth: ClassVar[bool] = False
    degree: ClassVar[int] = 1
    has_quadratic_dual: ClassVar[bool] = False

    def value(self, F: Array, Y: Array, weight: Array | None = None) -> float:
        """Return the loss of predictions `F` (n, c), a sum over samples."""
        return float(np.sum(weights_of(weight, Y) * np.abs(F - Y)))

    def gradient(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the weighted sign of the residual (n, c), zero where that is zero."""
        return weights_of(weight, Y) * np.sign(F - Y)

    def dual_limits(self, weight: Array) -> tuple[Array, Array]:
        """Return minus and plus the weight."""
        return -weight, weight

    def write(self, block: Any, F: Any, Y: Array, weight: Array | None = None) -> Any:
        r"""Write ``|r| = 2 p - r`` with ``p >= r``, ``p >= 0``, ``r = F - Y``.

        One variable ``excess`` and one row a sample and output, which has the fewest
        nonzeros.
        """
        return write_tilted(block, F, Y, weights_of(weight, Y), 2.0, -1.0)
