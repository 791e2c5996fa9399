"""Solutions in AMPL's format: Ipopt, SCIP and all other solvers that read ``.nl``.

::

    Ipopt 3.14.16: Optimal Solution Found       message, any number of lines

    Options
    3                                           how many options follow
    1
    1
    0
    1                                           rows
    1                                           duals: of all rows or of none
    2                                           columns
    2                                           values: of all columns or of none
    -1.5
    4
    0
    objno 0 0                                   objective, and solve_result_num
    suffix 4 2 13 0 0                           type, entries, length of the name, ...
    ipopt_zL_out
    0 1e-9
    1 2.5

D. M. Gay, "Hooking your solver to AMPL", Bell Laboratories, 1997; "Writing .nl files",
Sandia National Laboratories, 2005; solve_result_num: R. Fourer, D. M. Gay and B. W.
Kernighan, AMPL, second edition, section 14.2.
"""

# Pyomo has a reader of this format. It takes what Python takes for a number (nan,
# 1_000), asserts what a file must fulfil, and has a loop for each line; so this is one
# of our own, and Pyomo's is what the tests compare it with.

from __future__ import annotations

import re

import numpy as np

from pyomo_relu.solution_files.solution_file import Lines, SolutionFile, Source, Values

__all__ = ["read_ampl_solution"]

_OPTION = re.compile(r"-?[0-9]{1,10}")
_END = re.compile(r"objno ([0-9]{1,9}) (-1|[0-9]{1,9})")
_SUFFIX = re.compile(
    r"suffix ([0-9]{1,2}) ([0-9]{1,9}) ([0-9]{1,5}) ([0-9]{1,9}) ([0-9]{1,9})"
)
_POSITION = re.compile("[0-9]{1,10}")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
# First code of each hundred: what AMPL calls it, and whether there is a point to load.
_RESULTS = (
    ("solved", True),
    ("solved?", True),
    ("infeasible", False),
    ("unbounded", False),
    ("limit", True),
    ("failure", False),
)


def read_ampl_solution(source: Source) -> SolutionFile:
    """Read a solution in AMPL's text format.

    Parameters
    ----------
    source : path, bytes or Lines
        The file, or its content.

    Returns
    -------
    SolutionFile
        With columns, and duals of the rows where there are some, by position.
        Reduced costs are the suffix ``rc``, or the sum of those that Ipopt writes for
        lower and upper bounds. The format has no objective value.

    Raises
    ------
    InputError
        If it is no solution of AMPL's text format, truncated, or its counts do not
        agree with its lines.

    Examples
    --------
    >>> solution = read_ampl_solution(b'''optimal solution found
    ...
    ... Options
    ... 3
    ... 1
    ... 1
    ... 0
    ... 1
    ... 0
    ... 2
    ... 2
    ... 4
    ... 0.5
    ... objno 0 0
    ... ''')
    >>> solution.columns.numbers, solution.is_optimal, solution.status
    (array([4. , 0.5]), True, 'optimal solution found (0: solved)')
    """
    lines = Lines(source)
    message = []
    while lines.at < len(lines.lines) and lines.lines[lines.at].rstrip() != "Options":
        message.append(lines.lines[lines.at].strip())
        lines.at += 1
    if lines.at == len(lines.lines):
        lines.fail("a line 'Options' and the counts after it")
    lines.at += 1
    has_tolerance = _skip_options(lines)
    most = 10**9
    n_rows = lines.take_count("the number of rows", most)
    n_duals = lines.take_count("the number of duals", most)
    if n_duals not in (0, n_rows):
        lines.fail(f"allowed is 0 or {n_rows}, the number of rows", lines.at - 1)
    n_columns = lines.take_count("the number of columns", most)
    n_values = lines.take_count("the number of values", most)
    if n_values not in (0, n_columns):
        lines.fail(f"allowed is 0 or {n_columns}, the number of columns", lines.at - 1)
    if has_tolerance:
        _dense(lines, 1, "a tolerance")
    duals = _dense(lines, n_duals, "a dual")
    values = _dense(lines, n_values, "a value")
    code = int(
        lines.take(_END, "allowed is 'objno OBJECTIVE CODE' after the values")[2]
    )
    if code >= 100 * len(_RESULTS):
        lines.fail("codes from 0 to 599 are allowed", lines.at - 1)
    # -1: the solver said nothing.
    word, has_point = ("unknown", True) if code < 0 else _RESULTS[code // 100]
    reduced_costs = _reduced_costs(lines, n_columns, n_rows)
    has_point = has_point and n_values == n_columns
    is_optimal = has_point and word == "solved"
    return SolutionFile(
        "ampl",
        f"{' '.join(filter(None, message))} ({code}: {word})".strip(),
        is_optimal=is_optimal,
        columns=values if has_point else None,
        row_duals=duals if is_optimal and n_duals == n_rows else None,
        reduced_costs=reduced_costs if is_optimal else None,
        n_columns=n_columns,
        n_rows=n_rows,
    )


def _skip_options(lines: Lines) -> bool:
    """Skip the options; return whether a tolerance follows the counts."""
    count = lines.take_count("the number of options", 11)
    if count < 2:
        lines.fail("from 2 to 11 options are allowed", lines.at - 1)
    options: list[str] = []
    allowed = "an option, which is an integer, is allowed"
    while len(options) < count:
        options.append(lines.take(_OPTION, allowed)[0])
        if len(options) == 2 and options[1] == "3":
            # Two of those that it counts are one, and that is not with the others.
            count -= 2
    return options[1] == "3"


def _dense(lines: Lines, count: int, what: str) -> Values:
    first = lines.at
    (words,) = lines.take_fields(count, 1, what)
    return Values(lines.numbers(words, first, what), None, np.arange(count))


def _suffixes(lines: Lines, n_columns: int, n_rows: int) -> dict[str, Values]:
    """Read all suffixes; return those of columns."""
    kept = {}
    seen = set()
    lines.skip_blank()
    while lines.at < len(lines.lines):
        head = lines.take(_SUFFIX, "allowed is 'suffix' and five counts")
        kind, count, length, _, n_table = (int(word) for word in head.groups())
        name = lines.take(re.compile(r"\S+"), "the name of a suffix")[0]
        if len(name.encode()) + 1 != length:
            lines.fail(f"a name of {length - 1} bytes is allowed", lines.at - 1)
        if (kind & 3, name) in seen:
            lines.fail("each suffix is allowed once", lines.at - 1)
        seen.add((kind & 3, name))
        if n_table > len(lines.lines) - lines.at:
            lines.fail(f"{n_table} lines of a table", len(lines.lines))
        lines.at += n_table
        first = lines.at
        places, words = lines.take_fields(count, 2, "'position value' of a suffix")
        for number, place in enumerate(places):
            if not _POSITION.fullmatch(place):
                lines.fail("the position must be a whole number", first + number)
        for number, word in enumerate([] if kind & 4 else words):
            if not _INTEGER.fullmatch(word):
                lines.fail("the value must be an integer", first + number)
        positions = np.array([int(place) for place in places], dtype=np.int64)
        size = (n_columns, n_rows, 10**9, 10**9)[kind & 3]
        wrong = np.flatnonzero(positions >= size)
        if len(wrong):
            lines.fail(f"positions below {size} are allowed", first + int(wrong[0]))
        if len(np.unique(positions)) < count:
            lines.fail("each position is allowed once in a suffix", first)
        values = lines.numbers(words, first, "a value")
        if kind & 3 == 0:
            kept[name] = Values(values, None, positions)
        lines.skip_blank()
    return kept


def _reduced_costs(lines: Lines, n_columns: int, n_rows: int) -> Values | None:
    """Take the suffixes; return the reduced costs that are among them."""
    suffixes = _suffixes(lines, n_columns, n_rows)
    if "rc" in suffixes:
        parts = ["rc"]
    else:
        parts = [name for name in ("ipopt_zL_out", "ipopt_zU_out") if name in suffixes]
    if not parts:
        return None
    costs = np.sum([suffixes[name].dense(n_columns) for name in parts], axis=0)
    if not np.isfinite(costs).all():
        lines.fail("the reduced costs are too large", lines.at - 1)
    return Values(costs, None, np.arange(n_columns))
