"""Solutions of SCIP: ``write solution FILE``, or ``writeBestSol`` of PySCIPOpt.

::

    solution status: optimal solution found
    objective value:                                    8
    x_1                                 0.133333333333333 	(obj:2)
    x_3                                 0.533333333333333 	(obj:4)

The first line is missing where another command wrote the file. Columns that are zero
are left out, and nothing marks the end.
"""

from __future__ import annotations

import re

from pyomo_relu.solution_files.solution_file import Lines, SolutionFile, Source, Values

__all__ = ["read_scip_solution"]

# Whether there is a point to load after each status.
_STATUSES = {
    "optimal solution found": True,
    "infeasible": False,
    "unbounded": False,
    "infeasible or unbounded": False,
    "unknown": True,
    "user interrupt": True,
    "termination signal received": True,
    "node limit reached": True,
    "total node limit reached": True,
    "stall node limit reached": True,
    "time limit reached": True,
    "memory limit reached": True,
    "gap limit reached": True,
    "primal limit reached": True,
    "dual limit reached": True,
    "solution limit reached": True,
    "solution improvement limit reached": True,
    "restart limit reached": True,
}
_STATUS = re.compile(r"solution status: *(.*)")
_OBJECTIVE = re.compile(r"objective value: +(\S+)")
_COST = re.compile(r"\(obj:(\S+)\)")


def read_scip_solution(source: Source) -> SolutionFile:
    r"""Read a solution of SCIP.

    Parameters
    ----------
    source : path, bytes or Lines
        The file, or its content.

    Returns
    -------
    SolutionFile
        With columns by name, zeros omitted. A truncated file cannot be told from one
        with more zeros: compare the objective.

    Raises
    ------
    InputError
        If it is no solution of SCIP, a name stands twice, or a value is infinite or
        unknown.

    Examples
    --------
    >>> solution = read_scip_solution(b'''solution status: optimal solution found
    ... objective value:       8
    ... x_1                    4 \t(obj:2)
    ... ''')
    >>> solution.objective, solution.columns.by_name, solution.is_optimal
    (8.0, {'x_1': 4.0}, True)
    """
    lines = Lines(source)
    lines.skip_comments()
    status, allowed = "", "'solution status: ...', or 'objective value: NUMBER'"
    if lines.at < len(lines.lines) and lines.lines[lines.at].startswith("solution"):
        status = lines.take(_STATUS, allowed)[1]
        if status not in _STATUSES:
            lines.fail(
                f"a status of SCIP is allowed: {', '.join(_STATUSES)}", lines.at - 1
            )
        allowed = "'objective value: NUMBER', or 'no solution available'"
    if lines.at < len(lines.lines) and (
        lines.lines[lines.at].rstrip() == "no solution available"
    ):
        lines.at += 1
        lines.end()
        return SolutionFile("scip", status, zeros_omitted=True)
    word = lines.take(_OBJECTIVE, f"allowed is {allowed}")[1]
    objective = lines.number(word, "the objective value")
    first, end = lines.at, len(lines.lines)
    while end > first and not lines.lines[end - 1].strip():
        end -= 1
    what = "'name value (obj:cost)'"
    names, words, last = lines.take_fields(end - first, 3, what)
    costs = [_COST.fullmatch(word) for word in last]
    for number, cost in enumerate(costs):
        if cost is None:
            lines.fail(f"allowed is {what}", first + number)
    lines.numbers([cost[1] for cost in costs if cost], first, "a cost")
    columns = Values(lines.numbers(words, first, "a value"), lines.names(names, first))
    has_point = _STATUSES.get(status, True)
    return SolutionFile(
        "scip",
        status,
        is_optimal=status == "optimal solution found",
        objective=objective,
        columns=columns if has_point else None,
        zeros_omitted=True,
    )
