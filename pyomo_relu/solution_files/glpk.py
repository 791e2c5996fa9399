"""Solutions of GLPK, raw: ``glpsol ... --write FILE``; HiGHS writes them as style 2.

::

    c Status:     OPTIMAL
    s bas 1 2 f f 8
    i 1 l 4 2
    j 1 b 4 0
    j 2 l 0 1
    e o f

Comments; the kind of solution, numbers of rows and columns, statuses, objective; each
row and column by number, its status, value and dual, of an interior point without the
status, of an integer program without the dual.
"""

from __future__ import annotations

import re

import numpy as np

from pyomo_relu.solution_files.solution_file import Lines, SolutionFile, Source, Values

__all__ = ["read_glpk_solution"]

_PRINTED = re.compile(r"Problem: .*")
_HEAD = re.compile(
    r"s (?:(bas) (\d{1,10}) (\d{1,10}) ([ufin] [ufin]) (\S+)"
    r"|(ipt) (\d{1,10}) (\d{1,10}) ([uoin]) (\S+)"
    r"|(mip) (\d{1,10}) (\d{1,10}) ([uofn]) (\S+))",
    re.ASCII,
)
_END = re.compile("e o f")
# Words for the statuses: optimal, feasible; the others have no point.
_OPTIMAL = {"bas": "f f", "ipt": "o", "mip": "o"}
_WORDS = {
    ("bas", "f f"): "optimal",
    ("bas", "f n"): "unbounded",
    ("bas", "f u"): "feasible",
    ("bas", "f i"): "feasible",
    ("ipt", "o"): "optimal",
    ("ipt", "i"): "infeasible",
    ("mip", "o"): "integer optimal",
    ("mip", "f"): "integer feasible",
}
_POINTS = ("optimal", "feasible", "integer optimal", "integer feasible")


def read_glpk_solution(source: Source) -> SolutionFile:
    """Read a raw solution of GLPK.

    Parameters
    ----------
    source : path, bytes or Lines
        The file, or its content.

    Returns
    -------
    SolutionFile
        With columns and rows by position. Of a model that came as MPS, the objective
        is one of the rows.

    Raises
    ------
    InputError
        If it is no raw solution of GLPK, or truncated.

    Examples
    --------
    >>> solution = read_glpk_solution(b'''c Status:     OPTIMAL
    ... s bas 1 2 f f 8
    ... i 1 l 4 2
    ... j 1 b 4 0
    ... j 2 l 0 1
    ... e o f
    ... ''')
    >>> solution.columns.numbers, solution.row_duals.numbers, solution.status
    (array([4., 0.]), array([2.]), 'optimal')
    """
    lines = Lines(source)
    lines.skip_comments()
    if lines.at < len(lines.lines) and _PRINTED.fullmatch(lines.lines[lines.at]):
        lines.fail(
            "that is the printable solution of GLPK, of 6 digits. Allowed is the raw "
            "one: glpsol --write FILE"
        )
    while lines.at < len(lines.lines) and re.match("c( |$)", lines.lines[lines.at]):
        lines.at += 1
    head = lines.take(
        _HEAD,
        "allowed is 's bas|ipt|mip ROWS COLUMNS STATUS OBJECTIVE'",
    )
    kind, n_rows, n_columns, letters, word = filter(None, head.groups())
    objective = lines.number(word, "the objective")
    rows, row_duals = _values(lines, kind, "i", int(n_rows))
    columns, reduced_costs = _values(lines, kind, "j", int(n_columns))
    lines.take(_END, "allowed is 'e o f' after the last column")
    lines.end()
    undefined = "undefined" if letters.startswith("u") else "no feasible solution"
    status = _WORDS.get((kind, letters), undefined)
    is_optimal = letters == _OPTIMAL[kind]
    has_point = status in _POINTS
    return SolutionFile(
        "glpk",
        status,
        is_optimal=is_optimal,
        objective=objective if has_point else None,
        columns=columns if has_point else None,
        rows=rows if has_point else None,
        row_duals=row_duals if is_optimal else None,
        reduced_costs=reduced_costs if is_optimal else None,
        n_columns=int(n_columns),
        n_rows=int(n_rows),
    )


def _values(
    lines: Lines, kind: str, letter: str, count: int
) -> tuple[Values, Values | None]:
    what = {
        "bas": f"'{letter} number status value dual'",
        "ipt": f"'{letter} number value dual'",
        "mip": f"'{letter} number value'",
    }[kind]
    width = {"bas": 5, "ipt": 4, "mip": 3}[kind]
    first = lines.at
    fields = lines.take_fields(count, width, what)
    for number, (found, place) in enumerate(zip(*fields[:2], strict=True)):
        if found != letter or place != str(number + 1):
            lines.fail(
                f"allowed is {what} with the number {number + 1}", first + number
            )
    if kind == "bas":
        for number, status in enumerate(fields[2]):
            if status not in ("b", "l", "u", "f", "s"):
                lines.fail("the status must be b, l, u, f or s", first + number)
    at = 3 if kind == "bas" else 2
    positions = np.arange(count)
    values = lines.numbers(fields[at], first, "a value")
    if kind == "mip":
        return Values(values, None, positions), None
    duals = lines.numbers(fields[at + 1], first, "a dual")
    return Values(values, None, positions), Values(duals, None, positions)
