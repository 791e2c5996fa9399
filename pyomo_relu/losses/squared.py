"""The squared loss, half the sum of squared residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pyomo_relu.losses.base import Array, weights_of
from pyomo_relu.losses.separable import SeparableLoss

__all__ = ["SquaredLoss"]


@dataclass(frozen=True)
class SquaredLoss(SeparableLoss):
    r"""Half the squared Frobenius norm of the residual, a sum over samples.

    .. math:: \mathrm{loss}(F, Y) = \tfrac12 \sum_{kj} w_{kj} (F_{kj} - Y_{kj})^2

    Its conjugate at :math:`-Z` gives the dual bound
    :math:`\langle Z, Y\rangle - \tfrac12 \sum Z_{kj}^2 / w_{kj}`, with
    :math:`Z_{kj} = 0` where the weight is zero (design, Certificates).

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss()
    >>> F, Y = np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]])
    >>> loss.value(F, Y), loss.value(F, Y, weight=np.array([[1.0, 3.0]]))
    (2.5, 6.5)
    >>> loss.canonical_dual(F, Y).tolist()
    [[-1.0, -2.0]]
    """

    name: ClassVar[str] = "squared"
    is_smooth: ClassVar[bool] = True
    degree: ClassVar[int] = 2
    has_quadratic_dual: ClassVar[bool] = True

    def value(self, F: Array, Y: Array, weight: Array | None = None) -> float:
        """Return the loss of predictions `F` (n, c), a sum over samples."""
        return 0.5 * float(np.sum(weights_of(weight, Y) * (F - Y) ** 2))

    def gradient(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the gradient (n, c), the weighted residual."""
        return weights_of(weight, Y) * (F - Y)

    def second_derivative(self, residual: Array) -> Array:
        """Return one."""
        return np.ones(residual.shape)

    def dual_limits(self, weight: Array) -> tuple[Array, Array]:
        """Return infinite limits, but zero where the weight is zero."""
        upper = np.where(weight > 0.0, np.inf, 0.0)
        return -upper, upper

    def write(self, block: Any, F: Any, Y: Array, weight: Array | None = None) -> Any:
        """Write the loss, a quadratic of the predictions that needs nothing else."""
        from pyomo_relu.losses.rows import are_variables, quadratic

        w = weights_of(weight, Y)
        kept = w > 0.0
        terms, targets, weights = F[kept].tolist(), Y[kept], w[kept]
        if are_variables(terms):
            return quadratic(
                0.5 * float(np.sum(weights * targets**2)),
                (-weights * targets).tolist(),
                (0.5 * weights).tolist(),
                terms,
            )
        from pyomo.core.expr.numeric_expr import SumExpression

        rows = zip(terms, targets.tolist(), (0.5 * weights).tolist(), strict=True)
        return SumExpression([q * (f - y) ** 2 for f, y, q in rows])
