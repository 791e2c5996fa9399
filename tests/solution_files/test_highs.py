"""Solution files of HiGHS: against what HiGHS itself says."""

from __future__ import annotations

import highspy
import numpy as np
import pytest

from pyomo_relu.errors import InputError
from pyomo_relu.solution_files.highs import read_highs_solution
from tests.solution_files.solution_cases import by_highs, make_case, unbounded_lp


@pytest.mark.parametrize("integer", [False, True])
def test_the_raw_style(tmp_path, integer):
    case = make_case(integer)
    path, highs = by_highs(tmp_path, case.write_lp(tmp_path))
    solution, truth = read_highs_solution(path), highs.getSolution()
    assert (solution.status, solution.is_optimal) == ("Optimal", True)
    assert (solution.n_columns, solution.n_rows) == (12, 5)
    assert solution.objective == pytest.approx(highs.getObjectiveValue(), rel=1e-12)
    assert solution.columns.names == tuple(case.names)
    assert solution.rows.names == tuple(case.row_names)
    assert not solution.zeros_omitted
    pairs = [(solution.columns, truth.col_value), (solution.rows, truth.row_value)]
    if integer:
        assert solution.row_duals is None
        assert solution.reduced_costs is None
    else:
        pairs += [
            (solution.reduced_costs, truth.col_dual),
            (solution.row_duals, truth.row_dual),
        ]
    for values, expected in pairs:
        np.testing.assert_allclose(values.numbers, expected, rtol=1e-12, atol=1e-12)
        assert values.positions.tolist() == list(range(len(expected)))
    np.testing.assert_allclose(solution.columns.numbers, case.optimum()[0], atol=1e-6)
    data = path.read_bytes()
    for end in range(len(data)):
        with pytest.raises(InputError):
            read_highs_solution(data[:end])


def test_the_sparse_style(tmp_path):
    case = make_case()
    path, highs = by_highs(tmp_path, case.write_lp(tmp_path), style=4)
    solution = read_highs_solution(path)
    truth = np.array(highs.getSolution().col_value)
    assert solution.zeros_omitted
    assert len(solution.columns) == np.count_nonzero(truth) < 12
    np.testing.assert_allclose(solution.columns.dense(12), truth, rtol=1e-12)
    with pytest.raises(InputError, match="another model"):
        solution.columns.dense(3)
    data = path.read_bytes()
    for end in range(len(data)):
        with pytest.raises(InputError):
            read_highs_solution(data[:end])


def test_a_basis_without_names():
    # HiGHS up to 1.9 writes all statuses in a line.
    data = b"""Model status
Optimal

# Primal solution values
Feasible
Objective 4
# Columns 2
x 4
y 0
# Rows 1
c 4

# Dual solution values
Feasible
# Columns 2
x 0
y 1
# Rows 1
c 1

# Basis
HiGHS v1
Valid
# Columns 2
1 0 %s
# Rows 1
0
"""
    solution = read_highs_solution(data % b"")
    np.testing.assert_array_equal(solution.reduced_costs.numbers, [0.0, 1.0])
    with pytest.raises(InputError, match="2 statuses"):
        read_highs_solution(data % b"0")


@pytest.mark.parametrize("style", [-1, 1, 3])
def test_other_styles_are_refused_by_name(tmp_path, style):
    path, _ = by_highs(tmp_path, make_case().write_lp(tmp_path), style)
    with pytest.raises(InputError, match=r"raw style|'Model status'"):
        read_highs_solution(path)


def test_models_without_a_solution(tmp_path):
    model = make_case(infeasible=True).write_lp(tmp_path)
    solution = read_highs_solution(by_highs(tmp_path, model)[0])
    assert (solution.status, solution.has_point) == ("Infeasible", False)
    solution = read_highs_solution(by_highs(tmp_path, unbounded_lp(tmp_path))[0])
    assert (solution.status, solution.has_point) == ("Unbounded", False)
    assert not solution.is_optimal


def test_a_limit_is_no_optimum(tmp_path):
    path, _ = by_highs(tmp_path, make_case().write_lp(tmp_path))
    text = path.read_bytes()
    limit = read_highs_solution(text.replace(b"Optimal", b"Time limit reached"))
    assert (limit.has_point, limit.is_optimal) == (True, False)
    wrong = read_highs_solution(
        text.replace(b"values\nFeasible", b"values\nInfeasible", 1)
    )
    assert (wrong.has_point, wrong.is_optimal) == (False, False)


def test_every_status_of_highs_is_known():
    highs = highspy.Highs()
    statuses = [
        highs.modelStatusToString(status)
        for status in highspy.HighsModelStatus.__members__.values()
    ]
    assert len(set(statuses)) > 15
    for status in statuses:
        data = (
            f"Model status\n{status}\n\n# Primal solution values\nNone\n\n# Dual "
            "solution values\nNone\n\n# Basis\nHiGHS_basis_file v2\nNone\n"
        )
        solution = read_highs_solution(data.encode())
        assert (solution.status, solution.has_point) == (status, False)
        assert not solution.is_optimal


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nOptimal\n", "\nOptimaI\n", "line 2: .*a status of HiGHS"),
        ("# Columns 12\nx_0", "# Columns 11\nx_0", "'# Rows NUMBER'"),
        ("# Columns 12\nx_0", "# Columns 13\nx_0", "line 20: .*'name value'"),
        ("# Columns 12\nx_0", "# Columns 9999\nx_0", "ends at line"),
        ("# Columns 12\nx_0", "# Columns 12\nx_1", "line 9: .*once: 'x_1'"),
        ("\nx_3 ", "\nx_3 _", "line 11: .*finite"),
        ("\nx_3 ", "\nx 3 ", "line 11: .*'name value'"),
        ("HiGHS_basis_file v2", "HiGHS_basis_file v3", "'HiGHS_basis_file v2'"),
        ("# Dual solution values\nFeasible", "# Dual", "line 27"),
    ],
)
def test_refused(tmp_path, old, new, message):
    path, _ = by_highs(tmp_path, make_case().write_lp(tmp_path))
    text = path.read_text()
    assert old in text
    with pytest.raises(InputError, match=message):
        read_highs_solution(text.replace(old, new, 1).encode())


def test_more_lines_after_the_end(tmp_path):
    path, _ = by_highs(tmp_path, make_case().write_lp(tmp_path))
    data = path.read_bytes()
    assert read_highs_solution(data + b"\n\n").has_point
    with pytest.raises(InputError, match="ended before"):
        read_highs_solution(data + data)
    # A dual solution of other columns.
    at = data.index(b"# Dual")
    with pytest.raises(InputError, match="the same names"):
        read_highs_solution(data[:at] + data[at:].replace(b"x_3", b"x_33", 1))
    at = data.index(b"# Basis")
    with pytest.raises(InputError, match="the names of the solution"):
        read_highs_solution(data[:at] + data[at:].replace(b"x_3", b"x_33", 1))
