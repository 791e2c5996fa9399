"""Losses, one file each: value, dual bound, scaling rule and Pyomo form."""

from __future__ import annotations

from pyomo_relu.errors import InputError
from pyomo_relu.losses.squared import SquaredLoss

__all__ = ["SquaredLoss", "get_loss"]

_LOSSES = {SquaredLoss.name: SquaredLoss}


def get_loss(loss: str | SquaredLoss) -> SquaredLoss:
    """Return the loss object that a name or an object stands for.

    Raises
    ------
    InputError
        The name is unknown.

    Examples
    --------
    >>> get_loss("squared")
    SquaredLoss()
    """
    if isinstance(loss, SquaredLoss):
        return loss
    if isinstance(loss, str) and loss in _LOSSES:
        return _LOSSES[loss]()
    raise InputError(
        f"loss must be one of {sorted(_LOSSES)} or a loss object; got {loss!r}."
    )
