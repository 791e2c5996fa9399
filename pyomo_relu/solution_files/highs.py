"""Solutions of HiGHS: ``highs --solution_file FILE``, or ``writeSolution(FILE, 0)``.

::

    Model status
    Optimal

    # Primal solution values
    Feasible
    Objective 8
    # Columns 2
    x_1 0.1333333333333
    x_2 0
    # Rows 1
    c_1 0.3333333333333

    # Dual solution values
    (Feasible and the same again, or None)

    # Basis
    HiGHS_basis_file v2
    (Valid and the same with statuses, or None)

The sparse style ends after its columns, each ``name value position``, with their number
negated in the head.
"""

from __future__ import annotations

import re

import numpy as np

from pyomo_relu.solution_files.solution_file import Lines, SolutionFile, Source, Values

__all__ = ["read_highs_solution"]

# Whether there is a point to load after each status.
_STATUSES = {
    "Optimal": True,
    "Infeasible": False,
    "Unbounded": False,
    "Primal infeasible or unbounded": False,
    "Bound on objective reached": True,
    "Target for objective reached": True,
    "Time limit reached": True,
    "Iteration limit reached": True,
    "Solution limit reached": True,
    "Memory limit reached": True,
    "Interrupted by user": True,
    "Interrupted by HiGHS": True,
    "Unknown": True,
    "Empty": False,
    "Not Set": False,
    "Load error": False,
    "Model error": False,
    "Presolve error": False,
    "Solve error": False,
    "Postsolve error": False,
}
_OTHER_STYLE = re.compile(r"Columns|\d+ \d+ : Number of columns and rows .*")
_ANY = re.compile(r".*")
_VERDICT = re.compile(r"Feasible|Infeasible|None")
_OBJECTIVE = re.compile(r"Objective (\S+)")
_MORE = re.compile(r"[A-Z]\w* \S+", re.ASCII)
_COLUMNS = re.compile(r"# Columns ([0-9]{1,10}|-[0-9]{1,10} sparse)")
_ROWS = re.compile(r"# Rows ([0-9]{1,10})")
_BASIS = re.compile(r"HiGHS(_basis_file)? v[12]")
_VALIDITY = re.compile(r"Valid|None")


def read_highs_solution(source: Source) -> SolutionFile:
    """Read a solution of HiGHS in its raw or its sparse style.

    Parameters
    ----------
    source : path, bytes or Lines
        The file, or its content.

    Returns
    -------
    SolutionFile
        With columns and rows by name and position, 13 digits of each. The sparse style
        omits zeros and has no rows.

    Raises
    ------
    InputError
        If it is no solution of HiGHS, of another style, truncated, or a name stands
        twice.

    Examples
    --------
    >>> solution = read_highs_solution(b'''Model status
    ... Optimal
    ...
    ... # Primal solution values
    ... Feasible
    ... Objective 8
    ... # Columns 2
    ... x 4
    ... y 0
    ... # Rows 1
    ... c 4
    ...
    ... # Dual solution values
    ... None
    ...
    ... # Basis
    ... HiGHS_basis_file v2
    ... None
    ... ''')
    >>> solution.columns.by_name, solution.rows.by_name, solution.is_optimal
    ({'x': 4.0, 'y': 0.0}, {'c': 4.0}, True)
    """
    lines = Lines(source)
    lines.skip_comments()
    if lines.at < len(lines.lines) and _OTHER_STYLE.fullmatch(lines.lines[lines.at]):
        lines.fail(
            "that is another style of HiGHS. Allowed is the raw style: "
            "write_solution_style = 0, or writeSolution(FILE, 0)"
        )
    _title(lines, "Model status")
    status = lines.take(_ANY, "the status of the model")[0]
    if status not in _STATUSES:
        lines.fail(
            f"a status of HiGHS is allowed: {', '.join(_STATUSES)}", lines.at - 1
        )
    lines.skip_blank()
    _title(lines, "# Primal solution values")
    verdict = _verdict(lines)
    objective = columns = rows = None
    sparse = False
    if verdict != "None":
        word = lines.take(_OBJECTIVE, "allowed is 'Objective NUMBER'")[1]
        objective = lines.number(word, "the objective")
        while lines.at < len(lines.lines) and _MORE.fullmatch(lines.lines[lines.at]):
            lines.at += 1
        count = lines.take(_COLUMNS, "allowed is '# Columns NUMBER'")[1]
        sparse = count.endswith(" sparse")
        if sparse:
            columns = _sparse(lines, int(count[1:].removesuffix(" sparse")))
        else:
            columns = _values(lines, int(count))
            rows = _rows(lines)
    costs = duals = None
    if not sparse:
        lines.skip_blank()
        _title(lines, "# Dual solution values")
        dual_verdict = _verdict(lines)
        if dual_verdict != "None":
            count = lines.take(_COLUMNS, "allowed is '# Columns NUMBER'")[1]
            costs = _values(lines, _not_sparse(lines, count))
            duals = _rows(lines)
            _same(lines, (columns, costs), (rows, duals))
            if dual_verdict == "Infeasible":
                costs = duals = None
        _basis(lines, columns, rows)
    lines.end()
    fine = _STATUSES[status] and verdict == "Feasible"
    return SolutionFile(
        "highs",
        status,
        is_optimal=fine and status == "Optimal",
        objective=objective,
        columns=columns if fine else None,
        rows=rows if fine else None,
        row_duals=duals if fine else None,
        reduced_costs=costs if fine else None,
        zeros_omitted=sparse,
        n_columns=None if columns is None or sparse else len(columns),
        n_rows=None if rows is None else len(rows),
    )


def _title(lines: Lines, title: str) -> None:
    lines.take(re.compile(re.escape(title)), f"allowed is {title!r}")


def _verdict(lines: Lines) -> str:
    return lines.take(_VERDICT, "allowed are 'Feasible', 'Infeasible' and 'None'")[0]


def _values(lines: Lines, count: int) -> Values:
    first = lines.at
    names, words = lines.take_fields(count, 2, "'name value'")
    return Values(
        lines.numbers(words, first, "a value"),
        lines.names(names, first),
        np.arange(count),
    )


def _rows(lines: Lines) -> Values:
    return _values(lines, int(lines.take(_ROWS, "allowed is '# Rows NUMBER'")[1]))


def _not_sparse(lines: Lines, count: str) -> int:
    if count.startswith("-"):
        lines.fail("allowed is '# Columns NUMBER'", lines.at - 1)
    return int(count)


def _sparse(lines: Lines, count: int) -> Values:
    first = lines.at
    names, words, at = lines.take_fields(count, 3, "'name value position'")
    for number, word in enumerate(at):
        if not re.fullmatch("[0-9]{1,10}", word):
            lines.fail(f"{word[:60]!r} is no position", first + number)
    positions = np.array([int(word) for word in at], dtype=np.int64)
    falling = np.flatnonzero(np.diff(positions) <= 0)
    if len(falling):
        lines.fail("positions must rise", first + int(falling[0]) + 1)
    return Values(
        lines.numbers(words, first, "a value"),
        lines.names(names, first),
        positions,
    )


def _same(lines: Lines, *pairs: tuple[Values | None, Values | None]) -> None:
    """Two parts of a file must speak of the same columns and rows."""
    for one, other in pairs:
        if one is not None and other is not None and one.names != other.names:
            lines.fail(
                "the primal and the dual solution before this line must have the same "
                "names. The file was altered",
                min(lines.at, len(lines.lines) - 1),
            )


def _basis(lines: Lines, columns: Values | None, rows: Values | None) -> None:
    """Take the basis: nobody needs it, but it shows that the file is whole."""
    lines.skip_blank()
    _title(lines, "# Basis")
    version = lines.take(_BASIS, "allowed is 'HiGHS_basis_file v2'")[0]
    if lines.take(_VALIDITY, "allowed are 'Valid' and 'None'")[0] == "None":
        return
    for pattern, title, values in (
        (_COLUMNS, "Columns", columns),
        (_ROWS, "Rows", rows),
    ):
        word = lines.take(pattern, f"allowed is '# {title} NUMBER'")[1]
        count = _not_sparse(lines, word)
        if values is not None and count != len(values):
            lines.fail(f"{len(values)} are allowed, as in the solution", lines.at - 1)
        if version.endswith("v1"):
            # All statuses in one line.
            lines.take_fields(1, count, f"the {count} statuses of a basis")
        else:
            names, _ = lines.take_fields(count, 2, "'name status'")
            if values is not None and tuple(names) != values.names:
                lines.fail(
                    "the basis must have the names of the solution. The file was "
                    "altered",
                    lines.at - 1,
                )
