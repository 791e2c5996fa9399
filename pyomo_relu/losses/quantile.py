"""The quantile loss, also called pinball loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pyomo_relu.errors import InputError
from pyomo_relu.losses.base import Array, weights_of
from pyomo_relu.losses.parameters import number
from pyomo_relu.losses.separable import SeparableLoss, entries_of, product_within

__all__ = ["Quantile", "write_tilted"]


@dataclass(frozen=True)
class Quantile(SeparableLoss):
    r"""The quantile (pinball) loss, whose best constant is the `tau`-quantile.

    .. math::
        \mathrm{loss}(F, Y) = \sum_{kj} w_{kj}
        \max\{\tau (Y_{kj} - F_{kj}), (\tau - 1) (Y_{kj} - F_{kj})\}

    A prediction that is too low costs `tau`, one that is too high ``1 - tau`` (Koenker
    and Bassett, Regression Quantiles, Econometrica 1978). The dual value is
    :math:`\langle Z, Y\rangle` where
    :math:`-(1 - \tau) w_{kj} \le Z_{kj} \le \tau w_{kj}` (design, Certificates).

    Parameters
    ----------
    tau : float
        Between 0 and 1, both excluded; 0.5 is half the absolute loss.

    Raises
    ------
    InputError, InputTypeError
        `tau` is not in that interval or no number.

    Examples
    --------
    >>> import numpy as np
    >>> loss = Quantile(0.9)
    >>> F, Y = np.array([[1.0], [3.0]]), np.array([[2.0], [2.0]])
    >>> print(f"{loss.value(F, Y):.2f}")
    1.00
    >>> print(-loss.gradient(F, Y).ravel())
    [ 0.9 -0.1]
    """

    tau: float = 0.5

    name: ClassVar[str] = "quantile"
    is_smooth: ClassVar[bool] = False
    degree: ClassVar[int] = 1
    has_quadratic_dual: ClassVar[bool] = False

    def __post_init__(self) -> None:
        tau = number("tau of the quantile loss", self.tau)
        if not 0.0 < tau < 1.0:
            raise InputError(
                "tau of the quantile loss must be between 0 and 1, both excluded; got "
                f"{self.tau!r}. Give 0.9 for the ninetieth percentile."
            )
        object.__setattr__(self, "tau", tau)

    def value(self, F: Array, Y: Array, weight: Array | None = None) -> float:
        """Return the loss of predictions `F` (n, c), a sum over samples."""
        r = Y - F
        losses = np.maximum(self.tau * r, (self.tau - 1.0) * r)
        return float(np.sum(weights_of(weight, Y) * losses))

    def gradient(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return ``-tau`` where `F` is too low, ``1 - tau`` where it is too high."""
        r = Y - F
        slopes = np.where(r > 0.0, -self.tau, np.where(r < 0.0, 1.0 - self.tau, 0.0))
        return weights_of(weight, Y) * slopes

    def dual_limits(self, weight: Array) -> tuple[Array, Array]:
        """Return ``-(1 - tau) weight`` and ``tau weight``."""
        rest = 1.0 - self.tau
        # Exact where what was subtracted comes back.
        rest = rest if 1.0 - rest == self.tau else float(np.nextafter(rest, 0.0))
        return -product_within(weight, rest), product_within(weight, self.tau)

    def write(self, block: Any, F: Any, Y: Array, weight: Array | None = None) -> Any:
        """Write ``p - tau r`` with ``p >= r``, ``p >= 0``, ``r = F - Y``.

        One variable ``excess`` and one row a sample and output.
        """
        return write_tilted(block, F, Y, weights_of(weight, Y), 1.0, -self.tau)


def write_tilted(
    block: Any, F: Any, Y: Array, weight: Array, positive: float, slope: float
) -> Any:
    """Write the sum of ``weight * (positive * max(r, 0) + slope * r)``, ``r = F - Y``.

    With a variable ``excess`` and a row ``excess >= r`` for each entry of a weight.
    """
    from pyomo_relu.losses.rows import add_index, add_rows, add_variables, linear

    kept = weight > 0.0
    terms, targets, weights = F[kept].tolist(), Y[kept], weight[kept]
    index = add_index(block, "entries", entries_of(kept))
    excess = add_variables(block, "excess", index, bounds=(0.0, None))
    rows = zip(excess, terms, targets.tolist(), strict=True)
    add_rows(
        block,
        "excess_row",
        index,
        ((-y, linear(0.0, [1.0, -1.0], [p, f]), None) for p, f, y in rows),
    )
    return linear(
        -slope * float(np.sum(weights * targets)),
        [*(positive * weights).tolist(), *(slope * weights).tolist()],
        [*excess, *terms],
    )
