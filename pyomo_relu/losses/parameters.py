"""Parameters of losses, checked where they are given."""

from __future__ import annotations

from typing import Any

from pyomo_relu.errors import InputTypeError

__all__ = ["number"]


def number(name: str, given: Any) -> float:
    """Return a parameter as a float.

    Raises
    ------
    InputTypeError
        It is no real number; text and truth values are none.
    """
    try:
        if isinstance(given, (str, bytes, bool)):
            raise TypeError("text or truth value")
        return float(given)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"{name} must be a number; got {given!r} ({type(given).__name__})."
        ) from error
