"""Solutions as name and value, one column a line: any solver can be made to write them.

::

    name,value                    # Objective value = 8
    x_1,4                         x_1 4
    "x[2,3]",0.5                  x_2_3 0.5

With commas (quotes where a name has some; the first line may be a header), or with
spaces, as Gurobi writes them. Lines that start with ``#`` are allowed before the first
value.
"""

from __future__ import annotations

import csv
import re

import numpy as np

from pyomo_relu.solution_files.solution_file import Lines, SolutionFile, Source, Values

__all__ = ["read_csv_solution"]

_NAMES = ("name", "variable", "variable name", "variable_name", "column")
_VALUES = ("value", "solution value", "solution_value", "level")
_OBJECTIVE = re.compile(r"# *objective value *= *(\S+)", re.IGNORECASE)


def read_csv_solution(source: Source) -> SolutionFile:
    r"""Read values by name.

    Parameters
    ----------
    source : path, bytes or Lines
        The file, or its content.

    Returns
    -------
    SolutionFile
        With columns by name, and without a status. Nothing shows that lines are
        missing: ask for every column.

    Raises
    ------
    InputError
        If a line is not a name and a finite number, or a name stands twice.

    Examples
    --------
    >>> solution = read_csv_solution(b'name,value\n"x[1,2]",4\ny,-1e-3\n')
    >>> solution.columns.by_name
    {'x[1,2]': 4.0, 'y': -0.001}
    """
    lines = Lines(source)
    lines.skip_comments()
    objective = None
    for number, line in enumerate(lines.lines[: lines.at]):
        found = _OBJECTIVE.fullmatch(line.rstrip())
        if found:
            if objective is not None:
                lines.fail("the objective value is allowed once", number)
            objective = float(
                lines.numbers([found[1]], number, "the objective value")[0]
            )
    places, names, words = _fields(lines)
    if places and (names[0].lower() in _NAMES and words[0].lower() in _VALUES):
        del places[0], names[0], words[0]
    if not places:
        lines.fail("a name and a value on each line", len(lines.lines))
    if not all(names) or len(set(names)) < len(names):
        seen: set[str] = set()
        for place, name in zip(places, names, strict=True):
            if not name or name in seen:
                lines.fail("each name is allowed once, and not an empty one", place)
            seen.add(name)
    # Blank lines between them get a zero, so that messages name the right line.
    padded = ["0"] * (places[-1] - places[0] + 1)
    for place, word in zip(places, words, strict=True):
        padded[place - places[0]] = word
    values = lines.numbers(padded, places[0], "a value")
    values = values[np.array(places) - places[0]]
    return SolutionFile(
        "csv", "", objective=objective, columns=Values(values, tuple(names))
    )


def _fields(lines: Lines) -> tuple[list[int], list[str], list[str]]:
    """Return the place, the name and the value of each line that is not blank."""
    first = lines.at
    places = [k for k in range(first, len(lines.lines)) if lines.lines[k].strip()]
    names: list[str] = []
    words: list[str] = []
    commas = bool(places) and "," in lines.lines[places[0]]
    allowed = f"allowed is {'name,value' if commas else 'name value'!r}"
    for place in places:
        line = lines.lines[place]
        if not commas:
            fields = line.split()
        elif '"' not in line:
            fields = line.split(",")
        else:
            # One line at a time: a quote that is left open must not swallow the next.
            try:
                (fields,) = csv.reader([line], strict=True, skipinitialspace=True)
            except csv.Error as error:
                lines.fail(f"{allowed} ({error})", place)
        if len(fields) != 2:
            lines.fail(allowed, place)
        names.append(fields[0].strip())
        words.append(fields[1].strip())
    return places, names, words
