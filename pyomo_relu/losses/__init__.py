"""Losses, one file each: value, derivatives, dual, scaling rule and Pyomo form."""

from __future__ import annotations

from pyomo_relu.errors import InputError
from pyomo_relu.losses.absolute import AbsoluteLoss
from pyomo_relu.losses.base import Loss
from pyomo_relu.losses.hinge import HingeLoss
from pyomo_relu.losses.huber import Huber
from pyomo_relu.losses.logistic import LogisticLoss
from pyomo_relu.losses.quantile import Quantile
from pyomo_relu.losses.squared import SquaredLoss

__all__ = [
    "AbsoluteLoss",
    "HingeLoss",
    "Huber",
    "LogisticLoss",
    "Loss",
    "Quantile",
    "SquaredLoss",
    "get_loss",
]

_LOSSES: dict[str, type[Loss]] = {
    loss.name: loss
    for loss in (
        SquaredLoss,
        AbsoluteLoss,
        Huber,
        Quantile,
        LogisticLoss,
        HingeLoss,
    )
}


def get_loss(loss: str | Loss) -> Loss:
    """Return the loss object that a name or an object stands for.

    Parameters
    ----------
    loss : str or Loss
        ``"squared"``, ``"absolute"``, ``"huber"`` (width 1), ``"quantile"`` (the
        median), ``"logistic"`` or ``"hinge"``; or an object, which may have
        parameters.

    Raises
    ------
    InputError
        The name is unknown, or it is no loss.

    Examples
    --------
    >>> get_loss("huber")
    Huber(width=1.0)
    >>> get_loss(Quantile(0.9))
    Quantile(tau=0.9)
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str) and loss in _LOSSES:
        return _LOSSES[loss]()
    raise InputError(
        f"loss must be one of {sorted(_LOSSES)} or a loss object such as Huber(0.5); "
        f"got {loss!r}."
    )
