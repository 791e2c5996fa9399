"""Arrays that users hand in, checked at the door."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.errors import InputError, InputTypeError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["as_matrix", "as_weights"]


def as_weights(
    values: ArrayLike | None, name: str, count: int, of_what: str
) -> Array | None:
    """Return weights as a read-only (count,) array of nonnegative floats.

    Parameters
    ----------
    values : (count,) array_like or None
        None stands for ones.
    name : str
        What the errors call it.
    count : int
        How many there must be.
    of_what : str
        What each belongs to.

    Raises
    ------
    InputTypeError
        The entries are not real numbers.
    InputError
        Another number of them, NaN, infinity, a negative one, or all of them zero.
    """
    if values is None:
        return None
    weights = as_matrix(values, name, allow_vector=True)
    if weights.shape != (count, 1):
        raise InputError(
            f"{name} must have one number for each {of_what}, {count} of them; got "
            f"shape {np.asarray(values).shape}."
        )
    if weights.min() < 0.0 or weights.max() == 0.0:
        raise InputError(
            f"{name} must be nonnegative and not all zero; got numbers from "
            f"{weights.min():g} to {weights.max():g}."
        )
    return weights[:, 0]


def as_matrix(
    values: ArrayLike,
    name: str,
    *,
    allow_vector: bool = False,
    allow_empty: bool = False,
    allow_patches: bool = False,
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
    allow_patches : bool
        Whether there may be three dimensions (rows, patches, columns).

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
        # Row by row, whatever it was: the same numbers give the same bits.
        array = np.array(raw, dtype=np.float64, order="C")
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
    if array.ndim != 2 and not (array.ndim == 3 and allow_patches):
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
        place = tuple(np.argwhere(bad)[0].tolist())
        raise InputError(
            f"{name} must be finite; {int(bad.sum())} entries are not, the first "
            f"is {array[place]} in row {place[0]}, column {place[-1]}. Remove or "
            "impute such rows."
        )
    array.flags.writeable = False
    return array
