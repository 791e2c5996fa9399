"""Tables of numbers from CSV files."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyomo_relu.errors import InputError

__all__ = ["read_table", "select_numbers", "select_weights", "standardize"]

_SHOWN_NAMES = 10


def read_table(path: str) -> pd.DataFrame:
    """Read a CSV file with a header line and no missing value.

    Raises
    ------
    InputError
        The file cannot be read, has no rows or columns, has a row of more or fewer
        fields than its header, a column without a name or two of one name, or has a
        missing value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        names = _check_fields(text, path)
        # Fields beyond the header would make an index of the first column.
        frame = pd.read_csv(io.StringIO(text), skipinitialspace=True, index_col=False)
    except InputError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        reason = str(error).strip().replace("\n", " ")
        raise InputError(
            f"cannot read {path!r} as CSV: {reason}. Give a text file with a header "
            "line and comma-separated rows."
        ) from error
    if frame.empty:
        raise InputError(
            f"{path!r} has no rows of data; it needs a header line and at least one "
            "row."
        )
    frame.columns = pd.Index(names)
    missing = frame.isna()
    if missing.to_numpy().any():
        row, column = next(zip(*missing.to_numpy().nonzero(), strict=True))
        raise InputError(
            f"{path!r} has {int(missing.to_numpy().sum())} missing values, the first "
            f"in data row {row + 1}, column {frame.columns[column]!r}. Fill them or "
            "remove their rows."
        )
    return frame


def _check_fields(text: str, path: str) -> list[str]:
    """Return the column names of a CSV text whose rows have a field for each.

    Raises
    ------
    InputError
        A name is missing or repeated, or a row has more or fewer fields.
    """
    # Like pandas, pass over empty lines.
    lines = (
        fields
        for fields in csv.reader(io.StringIO(text), skipinitialspace=True)
        if len(fields) > 1 or any(field.strip() for field in fields)
    )
    names = [name.strip() for name in next(lines, [])]
    if "" in names:
        raise InputError(
            f"the header of {path!r} has no name in field {names.index('') + 1} of "
            f"{len(names)}; name that column or remove it. A comma at the end of the "
            "line makes one more field."
        )
    if len(set(names)) < len(names):
        repeated = Counter(names).most_common(1)[0][0]
        raise InputError(
            f"{path!r} has the column {repeated!r} more than once; rename one of them."
        )
    for row, fields in enumerate(lines, start=1):
        if len(fields) != len(names):
            comma = (
                " The last one is empty: remove the comma at the end of the line."
                if len(fields) > len(names) and not fields[-1].strip()
                else " Give every row one field a column; quote text with commas."
            )
            raise InputError(
                f"cannot read {path!r} as CSV: data row {row} has {len(fields)} "
                f"fields, the header has {len(names)}.{comma}"
            )
    return names


def select_numbers(frame: pd.DataFrame, columns: list[str], path: str) -> pd.DataFrame:
    """Return numeric columns as floats.

    Raises
    ------
    InputError
        A column does not exist, or holds text, infinity or NaN.
    """
    known = set(frame.columns)
    unknown = [name for name in columns if name not in known]
    if unknown:
        shown = ", ".join(map(repr, frame.columns[:_SHOWN_NAMES]))
        if len(frame.columns) > _SHOWN_NAMES:
            shown += f" and {len(frame.columns) - _SHOWN_NAMES:,} more"
        raise InputError(
            f"{path!r} has no column {unknown[0]!r}; its columns are {shown}."
        )
    numbers = {}
    for name in columns:
        try:
            numbers[name] = pd.to_numeric(frame[name], errors="coerce").astype(float)
        except OverflowError as error:
            raise InputError(
                f"column {name!r} of {path!r} holds an integer that is too large for "
                "a float; rescale it or drop it."
            ) from error
        bad = ~np.isfinite(numbers[name].to_numpy())
        if bad.any():
            row = int(bad.argmax())
            raise InputError(
                f"column {name!r} of {path!r} must hold finite numbers; data row "
                f"{row + 1} holds {str(frame[name].iloc[row])!r}. Encode it as "
                "numbers, drop it, or name the columns to use with --features."
            )
    return pd.DataFrame(numbers)


def select_weights(frame: pd.DataFrame, column: str, path: str) -> pd.Series:
    """Return a column of sample weights.

    Raises
    ------
    InputError
        It does not exist, holds text, infinity or a negative number, or zeros only.
    """
    weights = select_numbers(frame, [column], path)[column]
    if (weights < 0.0).any() or not weights.any():
        raise InputError(
            f"column {column!r} of {path!r} must hold weights, nonnegative and not all "
            f"zero; it holds numbers from {weights.min():g} to {weights.max():g}."
        )
    return weights


def standardize(frame: pd.DataFrame, path: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return columns of mean zero and standard deviation one, and what it took.

    Raises
    ------
    InputError
        A column is constant up to rounding, or too large to be squared.
    """
    with np.errstate(over="ignore"):
        mean, scale = frame.mean(), frame.std(ddof=0)
    # A mean is rounded, so the deviations of a constant column need not vanish.
    rounding = 16.0 * np.finfo(float).eps * frame.abs().max()
    constant = frame.columns[frame.max() - frame.min() <= rounding]
    if len(constant):
        raise InputError(
            f"column {constant[0]!r} of {path!r} is constant and cannot be "
            "standardized; drop it with --features or leave --standardize out."
        )
    large = frame.columns[~np.isfinite(scale)]
    if len(large):
        raise InputError(
            f"column {large[0]!r} of {path!r} has entries up to "
            f"{frame[large[0]].abs().max():.3g}, whose squares overflow; rescale it."
        )
    how = {"mean": mean.to_dict(), "scale": scale.to_dict()}
    return (frame - mean) / scale, how
