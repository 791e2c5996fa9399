r"""Activations with two slopes: ReLU, leaky ReLU, absolute value.

On the cell with mask D they are the linear map

.. math:: \sigma(X u) = \big(s_- I + (s_+ - s_-) D\big) X u

(design, Convolution and other slopes).
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyomo_relu.errors import InputError, InputTypeError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "AbsoluteValue",
    "Activation",
    "LeakyReLU",
    "ReLU",
    "get_activation",
]


@dataclass(frozen=True, eq=False)
class Activation(ABC):
    """A function of one variable with a slope on each side of zero.

    Two of them with the same slopes are equal.

    Attributes
    ----------
    negative, positive : float
        The slopes.
    """

    negative: float
    positive: float = 1.0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Activation):
            return NotImplemented
        return (self.negative, self.positive) == (other.negative, other.positive)

    def __hash__(self) -> int:
        return hash((self.negative, self.positive))

    def __call__(self, values: Array) -> Array:
        """Return the function of every entry of an array of any shape."""
        return np.where(values > 0.0, self.positive * values, self.negative * values)

    def slopes(self, values: Array) -> Array:
        """Return the slope at every entry, the left one at zero."""
        return np.where(values > 0.0, self.positive, self.negative)

    @property
    def lipschitz(self) -> float:
        """The larger of the absolute slopes."""
        return max(abs(self.negative), abs(self.positive))

    @property
    def is_even(self) -> bool:
        """Whether u and -u are the same neuron."""
        return self.negative == -self.positive

    @property
    def step(self) -> float:
        """What the slope changes by where a sample becomes active."""
        return self.positive - self.negative

    @property
    @abstractmethod
    def text(self) -> str:
        """How files name it; :func:`get_activation` reads it back."""


@dataclass(frozen=True, eq=False)
class ReLU(Activation):
    """``max(t, 0)``.

    Examples
    --------
    >>> ReLU()(np.array([-2.0, 3.0])).tolist()
    [-0.0, 3.0]
    """

    negative: float = 0.0

    def __init__(self) -> None:
        object.__setattr__(self, "negative", 0.0)
        object.__setattr__(self, "positive", 1.0)

    def __call__(self, values: Array) -> Array:
        """Return ``max(t, 0)`` of every entry."""
        return np.maximum(values, 0.0)

    def __repr__(self) -> str:
        return "ReLU()"

    @property
    def text(self) -> str:
        """``"relu"``."""
        return "relu"


@dataclass(frozen=True, eq=False)
class LeakyReLU(Activation):
    """``t`` where positive, ``slope * t`` elsewhere.

    Parameters
    ----------
    slope : float
        The slope on the negative side, not 1: any other finite number.

    Examples
    --------
    >>> LeakyReLU(0.1)(np.array([-2.0, 3.0])).tolist()
    [-0.2, 3.0]
    """

    negative: float = 0.01

    def __init__(self, slope: float = 0.01) -> None:
        try:
            slope = float(slope)
        except (TypeError, ValueError) as error:
            raise InputTypeError(f"slope must be a number; got {slope!r}.") from error
        except OverflowError:
            slope = math.inf
        if not math.isfinite(slope) or slope == 1.0:
            raise InputError(
                f"slope must be finite and not 1, which is a linear network; got "
                f"{slope!r}."
            )
        object.__setattr__(self, "negative", slope)
        object.__setattr__(self, "positive", 1.0)

    def __repr__(self) -> str:
        return f"LeakyReLU({self.negative!r})"

    @property
    def text(self) -> str:
        """``"leaky_relu(slope)"``."""
        return f"leaky_relu({self.negative!r})"


@dataclass(frozen=True, eq=False)
class AbsoluteValue(Activation):
    """``|t|``; a neuron and its mirror image are the same.

    Examples
    --------
    >>> AbsoluteValue()(np.array([-2.0, 3.0])).tolist()
    [2.0, 3.0]
    """

    negative: float = -1.0

    def __init__(self) -> None:
        object.__setattr__(self, "negative", -1.0)
        object.__setattr__(self, "positive", 1.0)

    def __call__(self, values: Array) -> Array:
        """Return ``|t|`` of every entry."""
        return np.abs(values)

    def __repr__(self) -> str:
        return "AbsoluteValue()"

    @property
    def text(self) -> str:
        """``"absolute"``."""
        return "absolute"


_LEAKY = re.compile(r"leaky_relu(?:\(([^()]*)\))?")


def get_activation(activation: str | Activation) -> Activation:
    """Return the activation that a name or an object stands for.

    Parameters
    ----------
    activation : str or Activation
        ``"relu"``, ``"leaky_relu"`` (slope 0.01), ``"leaky_relu(0.1)"``,
        ``"absolute"``, or an object.

    Raises
    ------
    InputError
        The name is unknown, or the slope not allowed.

    Examples
    --------
    >>> get_activation("leaky_relu(0.2)")
    LeakyReLU(0.2)
    """
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        if activation == "relu":
            return ReLU()
        if activation == "absolute":
            return AbsoluteValue()
        match = _LEAKY.fullmatch(activation)
        if match:
            return LeakyReLU() if match[1] is None else LeakyReLU(match[1])  # type: ignore[arg-type]
    raise InputError(
        f"activation must be 'relu', 'leaky_relu', 'leaky_relu(slope)', 'absolute' or "
        f"an Activation, such as LeakyReLU(0.1); got {activation!r}."
    )
