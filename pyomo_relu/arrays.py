"""Arrays that users hand in, checked at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.errors import InputError, InputTypeError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["as_matrix"]


def as_matrix(
    values: ArrayLike,
    name: str,
    *,
    allow_vector: bool = False,
    allow_empty: bool = False,
) -> Array:
    """Return `values` as a new read-only (rows, columns) array of finite floats.

    Parameters
    ----------
    values : array_like or pandas frame or series
        The data.
    name : str
        What the errors call it.
    allow_vector : bool
        Whether a one-dimensional array stands for one column.
    allow_empty : bool
        Whether there may be no rows or no columns.

    Raises
    ------
    InputTypeError
        The entries are not real numbers.
    InputError
        Wrong number of dimensions, no rows or columns, NaN, infinity or numbers
        that no float can hold.
    """
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise InputError(f"{name} has masked entries; fill them in or drop their rows.")
    try:
        raw = np.asarray(values)
        if np.iscomplexobj(raw):
            raise TypeError("complex numbers")
        if raw.dtype.kind not in "biuf" and raw.dtype.kind != "O":
            raise TypeError(f"dtype {raw.dtype}")
        if raw.dtype.kind == "O" and any(isinstance(x, (str, bytes)) for x in raw.flat):
            raise TypeError("text among the entries")
        array = np.array(raw, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"{name} must hold real numbers; got {type(values).__name__} "
            f"({error}). Encode text and categories as numbers first."
        ) from error
    except OverflowError as error:
        raise InputError(
            f"{name} must hold numbers that a float can hold, up to "
            f"{np.finfo(float).max:.2g} in magnitude; got a larger one. Rescale the "
            "data."
        ) from error
    if array.ndim == 1 and allow_vector:
        array = array[:, None]
    if array.ndim != 2:
        allowed = "one or two" if allow_vector else "two"
        raise InputError(
            f"{name} must have {allowed} dimensions (rows, columns); got shape "
            f"{array.shape}. Use reshape(-1, 1) for a single column or reshape(1, -1) "
            "for a single row."
        )
    if array.size == 0 and not allow_empty:
        raise InputError(
            f"{name} must have at least one row and one column; got shape "
            f"{array.shape}."
        )
    bad = ~np.isfinite(array)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{name} must be finite; {int(bad.sum())} entries are not, the first "
            f"is {array[row, column]} in row {row}, column {column}. Remove or "
            "impute such rows."
        )
    array.flags.writeable = False
    return array
