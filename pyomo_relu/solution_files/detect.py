"""Which format a solution file has: by its content, since ``.sol`` is of many."""

from __future__ import annotations

import os
import re

from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.solution_files.ampl import read_ampl_solution
from pyomo_relu.solution_files.cbc import read_cbc_solution
from pyomo_relu.solution_files.glpk import read_glpk_solution
from pyomo_relu.solution_files.highs import read_highs_solution
from pyomo_relu.solution_files.name_value import read_csv_solution
from pyomo_relu.solution_files.scip import read_scip_solution
from pyomo_relu.solution_files.solution_file import (
    FORMATS,
    Lines,
    SolutionFile,
    Source,
    is_number,
)

__all__ = ["CONIC_FORMATS", "detect", "read_solution_file"]

_READERS = {
    "ampl": read_ampl_solution,
    "highs": read_highs_solution,
    "scip": read_scip_solution,
    "cbc": read_cbc_solution,
    "glpk": read_glpk_solution,
    "csv": read_csv_solution,
}

#: Formats that are recognised here, and read by `pyomo_relu.solvers.sdpa_format`.
CONIC_FORMATS = {
    "csdp": "CSDP solution (csdp PROBLEM FILE)",
    "sdpa": "SDPA output (sdpa -ds PROBLEM -o FILE)",
}

# What the first line, after comments that start with #, looks like.
_FIRST_LINES = (
    ("highs", re.compile(r"Model status|Columns|\d+ \d+ : Number of columns .*")),
    ("scip", re.compile(r"solution status:.*|objective value: .*")),
    ("scip", re.compile(r"no solution available")),
    ("cbc", re.compile(r".* - objective value \S+")),
    ("glpk", re.compile(r"c|c .*|s (bas|ipt|mip) .*|Problem: .*")),
)
_SDPA = re.compile(r"phase\.value\s*=.*|xVec =\s*|xMat =\s*|SDPA (?:library )?start.*")
# Lines that are looked at for marks that have no fixed place.
_MOST = 10_000


def detect(source: Source, name: str | None = None) -> str:
    r"""Return the format of a solution file.

    Parameters
    ----------
    source : path, bytes or Lines
        The file, or its content.
    name : str, optional
        What messages call it, and whose suffix ``.csv`` decides where the content does
        not.

    Returns
    -------
    str
        A key of `FORMATS` or of `CONIC_FORMATS`.

    Raises
    ------
    InputError
        If it cannot be read or has none of these formats.

    Examples
    --------
    >>> detect(b"objective value:     8\nx_1    4 \t(obj:2)\n")
    'scip'
    >>> detect(b"name,value\nx_1,4\n")
    'csv'
    """
    lines = Lines(source, name)
    text = lines.lines
    for number, line in enumerate(text[:_MOST]):
        if line.rstrip() == "Options" and number + 1 < len(text):
            if text[number + 1].strip().isdecimal():
                return "ampl"
            break
    if any(_SDPA.fullmatch(line) for line in text[:_MOST]):
        return "sdpa"
    start = 0
    while start < len(text) and (not text[start].strip() or _is_comment(text[start])):
        start += 1
    first = text[start].rstrip() if start < len(text) else ""
    for kind, pattern in _FIRST_LINES:
        if pattern.fullmatch(first):
            return kind
    entries = [line.split() for line in text[start + 1 : start + 5] if line.strip()]
    if entries and all(map(is_number, first.split())) and all(map(_is_entry, entries)):
        return "csdp"
    name_of_file = lines.name.lower()
    if _is_name_and_value(first) or name_of_file.endswith(".csv"):
        return "csv"
    known = "; ".join({**FORMATS, **CONIC_FORMATS}.values())
    raise InputError(
        f"{lines.name!r} is no solution file that can be read here: its first line is "
        f"{first[:60]!r}. Readable are: {known}."
    )


def _is_comment(line: str) -> bool:
    """Whether a line at the top says nothing about the format."""
    return line.startswith(("#", "*", "%", "//"))


def _is_entry(fields: list[str]) -> bool:
    """Whether fields are those of an entry of a matrix of CSDP."""
    return len(fields) == 5 and fields[0] in ("1", "2") and all(map(is_number, fields))


def _is_name_and_value(line: str) -> bool:
    """Whether a line is a name and a number, or the names of such columns."""
    if "," in line:
        name, _, value = line.rpartition(",")
        value = value.strip().strip('"')
        is_header = value.replace("_", "").replace(" ", "").isalpha()
        return bool(name.strip()) and (is_number(value) or is_header)
    fields = line.split()
    return len(fields) == 2 and is_number(fields[1]) and not is_number(fields[0])


def read_solution_file(
    source: Source, format: str | None = None, name: str | None = None
) -> SolutionFile:
    r"""Read a solution file of any format with names or positions of columns.

    Parameters
    ----------
    source : path, bytes or Lines
        The file, or its content; it is read once.
    format : str, optional
        A key of `FORMATS`. Default: found by content.
    name : str, optional
        What messages call the file.

    Returns
    -------
    SolutionFile

    Raises
    ------
    InputError
        If the file is not readable, damaged, truncated, or of another format.
    InputTypeError
        If `source` is neither a path nor bytes.

    Examples
    --------
    >>> read_solution_file(b"name,value\nx_1,4\n").columns.by_name
    {'x_1': 4.0}
    """
    if not isinstance(source, (str, bytes, os.PathLike, Lines)):
        raise InputTypeError(
            f"a solution file must be a path or bytes; got {type(source).__name__}."
        )
    lines = Lines(source, name)
    kind = detect(lines) if format is None else format
    if kind in CONIC_FORMATS and format is None:
        raise InputError(
            f"{lines.name!r} is a {CONIC_FORMATS[kind]}: it can be read only together "
            "with the conic problem that was solved."
        )
    if kind not in _READERS:
        raise InputError(
            f"unknown format of a solution file {kind!r}; allowed are "
            f"{', '.join(FORMATS)}."
        )
    return _READERS[kind](lines)
