"""The squared loss, half the sum of squared residuals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class SquaredLoss:
    r"""Half the squared Frobenius norm of the residual, a sum over samples.

    .. math:: \mathrm{loss}(F, Y) = \tfrac12 \|F - Y\|_F^2

    Its conjugate at :math:`-Z` gives the dual bound
    :math:`\langle Z, Y\rangle - \tfrac12\|Z\|_F^2` (design, Certificates).

    Examples
    --------
    >>> import numpy as np
    >>> loss = SquaredLoss()
    >>> float(loss.value(np.array([[1.0, 2.0]]), np.array([[0.0, 0.0]])))
    2.5
    """

    name: ClassVar[str] = "squared"

    def value(self, prediction: Array, Y: Array) -> float:
        """Return the loss of predictions (n, c) against targets `Y` (n, c)."""
        return 0.5 * float(np.sum((prediction - Y) ** 2))

    def target_scale(self, Y: Array) -> float:
        """Return the number that `Y` is divided by: its Frobenius norm."""
        norm = float(np.linalg.norm(Y))
        return norm if norm > 0.0 else 1.0

    def objective_scale(self, y_scale: float) -> float:
        """Return the factor from the scaled objective to the user's."""
        return y_scale**2

    def beta_scale(self, x_scale: float, y_scale: float) -> float:
        """Return the number that `beta` is divided by."""
        return x_scale * y_scale

    def canonical_dual(self, prediction: Array, Y: Array) -> Array:
        """Return the dual point of a network, ``Z = Y - f(X)`` (n, c)."""
        return Y - prediction

    def dual_bound(self, Z: Array, Y: Array, largest: float) -> tuple[float, float]:
        r"""Return the best bound over multiples of `Z`, and the multiplier.

        Parameters
        ----------
        Z : (n, c) array
            A dual point.
        Y : (n, c) array
            The targets.
        largest : float
            Largest admissible ``|s|``: ``beta / rho(Z)``.

        Returns
        -------
        bound, s : float
            :math:`\max_{|s| \le largest} s\langle Z, Y\rangle - s^2|Z|^2/2`
            and its maximiser :math:`\langle Z, Y\rangle / |Z|^2`, clipped.
        """
        square = float(np.sum(Z * Z))
        if square == 0.0:
            return 0.0, 0.0
        inner = float(np.sum(Z * Y))
        s = float(np.clip(inner / square, -largest, largest))
        return s * inner - 0.5 * s * s * square, s

    def expression(self, prediction: Sequence[Any], Y: Sequence[float]) -> Any:
        """Return the loss as a Pyomo expression.

        Parameters
        ----------
        prediction : sequence of Pyomo variables
            Scaled predictions.
        Y : sequence of float
            Scaled targets, in the same order.
        """
        constant = 0.5 * float(np.sum(np.square(Y)))
        return _quadratic(0.5, prediction, [-float(y) for y in Y], constant)

    def dual_expression(self, Z: Sequence[Any], Y: Sequence[float]) -> Any:
        r"""Return minus the conjugate at ``-Z`` as a Pyomo expression.

        That is :math:`\langle Z, Y\rangle - \tfrac12\|Z\|_F^2`.

        Parameters
        ----------
        Z : sequence of Pyomo variables
            Scaled dual point.
        Y : sequence of float
            Scaled targets, in the same order.
        """
        return _quadratic(-0.5, Z, [float(y) for y in Y], 0.0)


def _quadratic(
    square: float, variables: Sequence[Any], linear: list[float], constant: float
) -> Any:
    """Return ``square |x|^2 + <linear, x> + constant``.

    Expanded by hand: monomials x*x and one linear part are what Pyomo's visitors take
    fastest; (x - y)**2 costs an expansion a sample.
    """
    from pyomo.core.expr import LinearExpression
    from pyomo.core.expr.numeric_expr import SumExpression

    squares = [square * x * x for x in variables]
    rest = LinearExpression(
        constant=constant, linear_coefs=linear, linear_vars=list(variables)
    )
    return SumExpression([*squares, rest])
