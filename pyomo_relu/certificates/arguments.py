"""What bounds on rho are given, checked once for all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.activations import Activation, ReLU
from pyomo_relu.arrays import as_matrix
from pyomo_relu.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["power_of_two", "read_dual_point"]


def power_of_two(size: float) -> float:
    """Return a power of two next to a size, 1 for zero.

    Parameters
    ----------
    size : float
        Finite, zero or more.
    """
    return float(2.0 ** min(np.ceil(np.log2(size)), 1023.0)) if size > 0.0 else 1.0


def read_dual_point(
    X: ArrayLike, Z: ArrayLike, activation: Activation | None
) -> tuple[Array, Array, Activation]:
    """Return rows, dual point and activation, ReLU by default.

    Parameters
    ----------
    X : (N, r) array_like
        Rows of the arrangement.
    Z : (N, c) array_like
        Dual point, a row for each of them.
    activation : Activation or None

    Raises
    ------
    InputError, InputTypeError
        They are no finite matrices, or do not fit each other.
    """
    X, Z = as_matrix(X, "X"), as_matrix(Z, "Z")
    if len(X) != len(Z):
        raise InputError(
            f"Z must have a row for each of the {len(X)} rows of X; got {len(Z)}."
        )
    return X, Z, ReLU() if activation is None else activation
