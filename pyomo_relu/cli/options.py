"""What the options of the commands say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import click

from pyomo_relu.activations import Activation, LeakyReLU, get_activation
from pyomo_relu.errors import InputError
from pyomo_relu.losses import Huber, Loss, Quantile, get_loss

__all__ = ["read_activation", "read_loss", "read_skip", "split_names"]


def split_names(_: Any, option: click.Parameter, value: str | None) -> list[str]:
    """Split a comma-separated option.

    Raises
    ------
    InputError
        The option is given without a name, or with one name twice.
    """
    if value is None:
        return []
    names = [name.strip() for name in value.split(",") if name.strip()]
    if not names:
        raise InputError(
            f"{option.opts[0]} names no column; got {value!r}. Give names like a,b,c."
        )
    if len(set(names)) < len(names):
        repeated = Counter(names).most_common(1)[0][0]
        raise InputError(
            f"{option.opts[0]} names the column {repeated!r} more than once."
        )
    return names


_PARAMETER_OF: dict[str, Callable[[float], Loss]] = {
    "huber": Huber,
    "quantile": Quantile,
}


def read_loss(_: Any, option: click.Parameter, value: str) -> Loss:
    """Return the loss that a name, or a name and its parameter, stand for.

    Raises
    ------
    InputError
        The name is unknown, has no parameter or a bad one.
    """
    name, colon, text = value.strip().partition(":")
    if not colon:
        return get_loss(name)
    if name not in _PARAMETER_OF:
        raise InputError(
            f"{option.opts[0]} {name!r} takes no parameter; got {value!r}. Those that "
            "do are huber:WIDTH and quantile:TAU."
        )
    return _PARAMETER_OF[name](_number_after_colon(option, value, text))


def read_activation(_: Any, option: click.Parameter, value: str) -> Activation:
    """Return the activation that a name, or a name and its slope, stand for.

    Raises
    ------
    InputError
        The name is unknown, has no parameter or a bad one.
    """
    name, colon, text = value.strip().partition(":")
    if not colon:
        return get_activation(name)
    if name != "leaky_relu":
        raise InputError(
            f"{option.opts[0]} {name!r} takes no parameter; got {value!r}. The one "
            "that does is leaky_relu:SLOPE."
        )
    return LeakyReLU(_number_after_colon(option, value, text))


def read_skip(_: Any, option: click.Parameter, value: str | None) -> bool | float:
    """Return the linear term's weight: True where it is free, False without it.

    Raises
    ------
    InputError
        It is neither "free" nor a positive number.
    """
    if value is None:
        return False
    if value.strip() == "free":
        return True
    try:
        weight = float(value)
    except ValueError:
        weight = math.nan
    if not 0.0 < weight < math.inf:
        raise InputError(
            f"{option.opts[0]} must be 'free' or a positive number; got {value!r}."
        )
    return weight


def _number_after_colon(option: click.Parameter, value: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(
            f"{option.opts[0]} needs a number after the colon; got {value!r}."
        ) from error
