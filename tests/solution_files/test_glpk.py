"""Raw solution files of GLPK, and of HiGHS in this style."""

from __future__ import annotations

import numpy as np
import pytest

from pyomo_relu.errors import InputError
from pyomo_relu.solution_files.glpk import read_glpk_solution
from tests.solution_files.solution_cases import (
    by_glpsol,
    by_highs,
    make_case,
    unbounded_lp,
)

SMALL = b"""c Problem:    small
c
s bas 1 2 f f 8
i 1 l 4 2
j 1 b 4 0
j 2 u -0 1
e o f
"""


@pytest.mark.parametrize("kind", ["simplex", "interior", "integer"])
def test_what_glpsol_writes(tmp_path, kind):
    case = make_case(kind == "integer")
    options = ("--interior",) if kind == "interior" else ()
    path = by_glpsol(tmp_path, case.write_lp(tmp_path), *options)
    solution = read_glpk_solution(path)
    x, duals = case.optimum()
    assert solution.is_optimal
    assert solution.status.endswith("optimal")
    assert (solution.n_columns, solution.n_rows) == (12, 5)
    assert solution.objective == pytest.approx(case.costs @ x, rel=1e-6)
    np.testing.assert_allclose(solution.columns.numbers, x, atol=1e-5)
    np.testing.assert_allclose(solution.rows.numbers, case.A @ x, atol=1e-5)
    if kind == "integer":
        assert solution.row_duals is None
    else:
        np.testing.assert_allclose(solution.row_duals.numbers, duals, atol=1e-5)
        np.testing.assert_allclose(
            solution.reduced_costs.numbers, case.costs - case.A.T @ duals, atol=1e-5
        )
    data = path.read_bytes()
    for end in range(len(data)):
        with pytest.raises(InputError):
            read_glpk_solution(data[:end])


@pytest.mark.parametrize("integer", [False, True])
def test_what_highs_writes_in_this_style(tmp_path, integer):
    case = make_case(integer)
    solution = read_glpk_solution(by_highs(tmp_path, case.write_lp(tmp_path), 2)[0])
    x, _ = case.optimum()
    np.testing.assert_allclose(solution.columns.numbers, x, atol=1e-6)
    # It counts the objective as a row, of a model in LP format as the last.
    np.testing.assert_allclose(
        solution.rows.numbers, [*(case.A @ x), case.costs @ x], atol=1e-6
    )
    assert solution.n_rows == 6


def test_models_without_a_solution(tmp_path):
    for model in (
        make_case(infeasible=True).write_lp(tmp_path),
        make_case(integer=True, infeasible=True).write_lp(tmp_path),
        unbounded_lp(tmp_path),
    ):
        solution = read_glpk_solution(by_glpsol(tmp_path, model))
        assert (solution.has_point, solution.is_optimal) == (False, False)
    # Without its presolver it goes as far as a feasible point.
    solution = read_glpk_solution(by_glpsol(tmp_path, model, "--nopresol"))
    assert (solution.status, solution.has_point) == ("unbounded", False)


@pytest.mark.parametrize(
    ("letters", "status", "has_point"),
    [
        (b"f f", "optimal", True),
        (b"f i", "feasible", True),
        (b"f u", "feasible", True),
        (b"f n", "unbounded", False),
        (b"u u", "undefined", False),
        (b"i f", "no feasible solution", False),
        (b"n u", "no feasible solution", False),
    ],
)
def test_statuses(letters, status, has_point):
    solution = read_glpk_solution(SMALL.replace(b"f f", letters))
    assert (solution.status, solution.has_point) == (status, has_point)
    assert solution.is_optimal == (status == "optimal")
    assert (solution.row_duals is not None) == solution.is_optimal


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"f f", b"f o", "line 3: .*'s bas"),
        (b"s bas 1 2", b"s bas 1 3", "line 7: .*'j number status"),
        (b"s bas 1 2", b"s bas 1 1", "line 6: .*'e o f'"),
        (b"s bas 1 2", b"s bas 2 2", "line 5: .*'i number status"),
        (b"s bas 1 2", b"s bas 1 222", "ends at line 7"),
        (b"f f 8", b"f f infinity", "line 3: .*the objective"),
        (b"j 2", b"j 1", "line 6: .*the number 2"),
        (b"u -0", b"x -0", "line 6: .*b, l, u, f or s"),
        (b"b 4 0", b"b 4_1 0", "line 5: .*a value"),
        (b"e o f", b"e o f\nj 3 b 1 1", "line 8: .*ended before"),
    ],
)
def test_refused(old, new, message):
    assert SMALL.count(old) == 1
    with pytest.raises(InputError, match=message):
        read_glpk_solution(SMALL.replace(old, new))


def test_the_printable_solution_is_refused_by_name(tmp_path):
    by_glpsol(tmp_path, make_case().write_lp(tmp_path), "--output", "printed.txt")
    with pytest.raises(InputError, match="--write"):
        read_glpk_solution(tmp_path / "printed.txt")
