"""Solutions of CBC: ``cbc MODEL solve solution FILE``.

::

    Optimal - objective value 8.00000000
          0 c_1             0.33333333                     0.8
          1 x_1             0.13333333                       0
    **    3 x_3                     -4                     0.2

Position, name, value and reduced cost of each column, 8 digits of each; after
``printingOptions rows`` or ``all`` those of the rows come first, and positions start
again. Two asterisks stand before a value outside of its bounds. Zeros are left out, and
nothing marks the end.
"""

from __future__ import annotations

import re

import numpy as np

from pyomo_relu.solution_files.solution_file import Lines, SolutionFile, Source, Values

__all__ = ["read_cbc_solution"]

_HEAD = re.compile(r"(\S.*?) - objective value (\S+)")
# A status, and whether there is a point to load.
_STATUSES = (
    (re.compile(r"Optimal( \(within gap tolerance\))?"), True),
    (re.compile(r"Stopped on (time|iterations|nodes|solutions|gap|ctrl-c)"), True),
    (re.compile(r"Infeasible|Integer infeasible|PrimalInfeasible"), False),
    (re.compile(r"Unbounded|DualInfeasible"), False),
    (re.compile(r"Stopped on difficulties|Status unknown"), False),
    (re.compile(r".*\(no integer solution - continuous used\)"), False),
)
_POSITION = re.compile("[0-9]{1,10}")


def read_cbc_solution(source: Source) -> SolutionFile:
    """Read a solution of CBC.

    Parameters
    ----------
    source : path, bytes or Lines
        The file, or its content.

    Returns
    -------
    SolutionFile
        With columns by name and position, and rows where positions start again; zeros
        omitted. Rows that are not followed by a smaller position cannot be told from
        columns, and a truncated file not from one with more zeros: look names up, and
        compare the objective. Its duals are those of a linear program: of an integer
        program they have no meaning.

    Raises
    ------
    InputError
        If it is no solution of CBC, or a name or position stands twice.

    Examples
    --------
    >>> solution = read_cbc_solution(b'''Optimal - objective value 8.00000000
    ...       0 x_1                4                       0
    ...       3 x_3              0.5                       0
    ... ''')
    >>> solution.columns.by_name, solution.columns.positions, solution.is_optimal
    ({'x_1': 4.0, 'x_3': 0.5}, array([0, 3]), True)
    """
    lines = Lines(source)
    lines.skip_comments()
    head = lines.take(_HEAD, "allowed is 'STATUS - objective value NUMBER'")
    status = head[1]
    has_point = next(
        (point for pattern, point in _STATUSES if pattern.fullmatch(status)), None
    )
    if has_point is None:
        lines.fail(
            "a status of CBC is allowed: Optimal, Infeasible, Integer infeasible, "
            "Unbounded, Stopped on ..., Status unknown",
            lines.at - 1,
        )
    objective = lines.number(head[2], "the objective value")
    first = lines.at
    while lines.at < len(lines.lines) and lines.lines[lines.at].strip():
        lines.at += 1
    texts = lines.lines[first : lines.at]
    lines.end()
    marked = sum(text.startswith("** ") for text in texts)
    what = "'position name value reduced-cost', after '**' or not"
    at, words, numbers, costs = lines.fields(
        [text.removeprefix("** ") for text in texts], first, 4, what
    )
    for number, word in enumerate(at):
        if not _POSITION.fullmatch(word):
            lines.fail(f"allowed is {what}", first + number)
    positions = np.array([int(word) for word in at], dtype=np.int64)
    names = lines.names(words, first)
    values = lines.numbers(numbers, first, "a value")
    duals = lines.numbers(costs, first, "a dual")
    restarts = np.flatnonzero(np.diff(positions) <= 0) + 1
    if len(restarts) > 1:
        lines.fail(
            "positions may start again once, after the rows", first + int(restarts[1])
        )
    split = int(restarts[0]) if len(restarts) else 0
    row, column = slice(0, split), slice(split, None)
    is_optimal = status.startswith("Optimal") and has_point and not marked
    if marked:
        status += f" ({marked} values are outside of their bounds)"
    point, has_rows = has_point or None, (has_point and split > 0) or None
    return SolutionFile(
        "cbc",
        status,
        is_optimal=is_optimal,
        objective=objective,
        columns=point and Values(values[column], names[column], positions[column]),
        rows=has_rows and Values(values[row], names[row], positions[row]),
        row_duals=has_rows
        and (Values(duals[row], names[row], positions[row]) if is_optimal else None),
        reduced_costs=point
        and (
            Values(duals[column], names[column], positions[column])
            if is_optimal
            else None
        ),
        zeros_omitted=True,
    )
