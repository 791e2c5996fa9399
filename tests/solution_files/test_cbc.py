"""Solution files of CBC, which it prints with eight digits."""

from __future__ import annotations

import numpy as np
import pytest

from pyomo_relu.errors import InputError
from pyomo_relu.solution_files.cbc import read_cbc_solution
from tests.solution_files.solution_cases import by_cbc, make_case, unbounded_lp

SMALL = b"""Optimal - objective value 8.00000000
      0 c_0              0.5                     0.8
      2 c_2             1e10                       0
      0 x_0       0.13333333                       0
      2 x_2                4          -8.8817842e-16
"""


@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("rows", [False, True])
def test_what_cbc_writes(tmp_path, integer, rows):
    case = make_case(integer)
    options = ("printingOptions", "all") if rows else ()
    solution = read_cbc_solution(by_cbc(tmp_path, case.write_lp(tmp_path), *options))
    assert (solution.status, solution.is_optimal) == ("Optimal", True)
    x, duals = case.optimum()
    assert solution.objective == pytest.approx(case.costs @ x, rel=1e-6)
    np.testing.assert_allclose(solution.columns.dense(12), x, rtol=1e-6, atol=1e-6)
    values = solution.columns.by_name
    np.testing.assert_allclose(
        [values.get(name, 0.0) for name in case.names], x, rtol=1e-6, atol=1e-6
    )
    assert solution.zeros_omitted
    if not rows:
        assert solution.rows is None
        return
    assert solution.rows.names == tuple(case.row_names)
    np.testing.assert_allclose(solution.rows.numbers, case.A @ x, rtol=1e-6)
    if not integer:
        np.testing.assert_allclose(solution.row_duals.numbers, duals, rtol=1e-6)
        np.testing.assert_allclose(
            solution.reduced_costs.numbers, case.costs - case.A.T @ duals, atol=1e-6
        )


def test_models_without_a_solution(tmp_path):
    model = make_case(infeasible=True).write_lp(tmp_path)
    path = by_cbc(tmp_path, model)
    solution = read_cbc_solution(path)
    # It prints a point all the same.
    assert len(path.read_text().splitlines()) > 2
    assert (solution.status.split()[0], solution.has_point) == ("Infeasible", False)
    solution = read_cbc_solution(by_cbc(tmp_path, unbounded_lp(tmp_path)))
    assert (solution.status, solution.has_point) == ("Unbounded", False)
    assert not solution.is_optimal


@pytest.mark.parametrize(
    ("status", "has_point", "is_optimal"),
    [
        ("Optimal", True, True),
        ("Optimal (within gap tolerance)", True, True),
        ("Stopped on time", True, False),
        ("Stopped on iterations", True, False),
        ("Stopped on time (no integer solution - continuous used)", False, False),
        ("Optimal (no integer solution - continuous used)", False, False),
        ("Stopped on difficulties", False, False),
        ("Integer infeasible", False, False),
        ("Unbounded", False, False),
        ("Status unknown", False, False),
    ],
)
def test_statuses(status, has_point, is_optimal):
    solution = read_cbc_solution(SMALL.replace(b"Optimal", status.encode()))
    assert (solution.has_point, solution.is_optimal) == (has_point, is_optimal)
    assert solution.status == status
    assert (solution.row_duals is not None) == is_optimal
    assert (solution.rows is not None) == has_point


def test_rows_and_columns_are_told_apart_by_positions():
    solution = read_cbc_solution(SMALL)
    assert solution.rows.by_name == {"c_0": 0.5, "c_2": 1e10}
    assert solution.columns.by_name == {"x_0": 0.13333333, "x_2": 4.0}
    np.testing.assert_array_equal(solution.columns.positions, [0, 2])


def test_a_mark_takes_the_optimum_away():
    solution = read_cbc_solution(SMALL.replace(b"      2 x_2", b"**    2 x_2"))
    assert solution.columns.by_name["x_2"] == 4.0
    assert not solution.is_optimal
    assert solution.status == "Optimal (1 values are outside of their bounds)"


def test_a_cut_within_a_line_is_refused():
    ends = [end for end in range(1, len(SMALL)) if SMALL[end - 1 : end] != b"\n"]
    for end in ends:
        with pytest.raises(InputError):
            read_cbc_solution(SMALL[:end])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"Optimal", b"Optimel", "line 1: .*a status of CBC"),
        (b" - objective", b" objective", "line 1: .*'STATUS - objective"),
        (b"8.00000000", b"8.0000000O", "line 1: .*finite"),
        (b"x_2", b"x_0", "line 5: .*once: 'x_0'"),
        (b"2 x_2", b"0 x_2", "line 5: .*start again once"),
        (b"2 c_2", b"-2 c_2", "line 3: .*'position name"),
        (b"2 c_2", b"2", "line 3: .*'position name"),
        (b"1e10", b"1e1000", "line 3: .*a value"),
        (b"0.8", b"0_8", "line 2: .*a dual"),
        (b"      0 x_0", b"\n      0 x_0", "line 5: .*ended before"),
    ],
)
def test_refused(old, new, message):
    assert SMALL.count(old) == 1
    with pytest.raises(InputError, match=message):
        read_cbc_solution(SMALL.replace(old, new))
