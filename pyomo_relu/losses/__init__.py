"""Losses, one file each: value, derivatives, dual, scaling rule and Pyomo form."""

from __future__ import annotations

import dataclasses
import re

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


_TEXT = re.compile(r"([a-z]+)(?:\(([^()]*)\))?")


def get_loss(loss: str | Loss) -> Loss:
    """Return the loss object that a name or an object stands for.

    Parameters
    ----------
    loss : str or Loss
        ``"squared"``, ``"absolute"``, ``"huber"`` (width 1), ``"huber(0.5)"``,
        ``"quantile"`` (the median), ``"quantile(0.9)"``, ``"logistic"`` or
        ``"hinge"``; or an object.

    Raises
    ------
    InputError
        The name is unknown, the parameter not allowed, or it is no loss.

    Examples
    --------
    >>> get_loss("huber")
    Huber(width=1.0)
    >>> get_loss("quantile(0.9)")
    Quantile(tau=0.9)
    """
    if isinstance(loss, Loss):
        return loss
    match = _TEXT.fullmatch(loss) if isinstance(loss, str) else None
    if match and match[1] in _LOSSES:
        kind = _LOSSES[match[1]]
        if match[2] is None:
            return kind()
        try:
            parameters = [float(match[2])]
        except ValueError:
            parameters = []
        if parameters and dataclasses.fields(kind):  # type: ignore[arg-type]
            return kind(*parameters)
    raise InputError(
        f"loss must be one of {sorted(_LOSSES)} or a loss object such as Huber(0.5); "
        f"got {loss!r}."
    )
