"""AMPL's solution files: against Pyomo's reader and SciPy, and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
from pyomo.contrib.solver.solvers.asl_sol_reader import parse_asl_sol_file

from pyomo_relu.errors import InputError
from pyomo_relu.solution_files.ampl import read_ampl_solution
from tests.solution_files.solution_cases import IPOPT, by_scip_for_ampl, make_case


def by_pyomo(data: bytes):
    return parse_asl_sol_file(io.StringIO(data.decode()))


@pytest.mark.parametrize("integer", [False, True])
def test_what_scip_writes(tmp_path, integer):
    case = make_case(integer)
    path = by_scip_for_ampl(tmp_path, case.write_nl(tmp_path))
    solution = read_ampl_solution(path)
    truth = by_pyomo(path.read_bytes())
    np.testing.assert_array_equal(solution.columns.numbers, truth.primals)
    # Integer variables are the last ones of an .nl file.
    order = np.argsort(case.is_integer, kind="stable")
    np.testing.assert_allclose(
        solution.columns.numbers, case.optimum()[0][order], atol=1e-6
    )
    assert solution.columns.names is None
    assert solution.columns.positions.tolist() == list(range(12))
    assert (solution.n_columns, solution.n_rows) == (12, 5)
    assert solution.is_optimal
    assert solution.has_point
    assert solution.status == "optimal solution found (0: solved)"
    assert solution.row_duals is None
    data = path.read_bytes()
    for end in range(len(data)):
        with pytest.raises(InputError):
            read_ampl_solution(data[:end])


def test_an_infeasible_model(tmp_path):
    case = make_case(infeasible=True)
    solution = read_ampl_solution(by_scip_for_ampl(tmp_path, case.write_nl(tmp_path)))
    assert solution.status == "infeasible (200: infeasible)"
    assert not solution.has_point
    assert not solution.is_optimal


def test_duals_and_multipliers_of_bounds_as_ipopt_writes_them():
    solution, truth = read_ampl_solution(IPOPT), by_pyomo(IPOPT)
    np.testing.assert_array_equal(solution.columns.numbers, truth.primals)
    np.testing.assert_array_equal(solution.row_duals.numbers, truth.duals)
    lower, upper = (
        truth.var_suffixes[name] for name in ("ipopt_zL_out", "ipopt_zU_out")
    )
    np.testing.assert_array_equal(
        solution.reduced_costs.numbers,
        [lower.get(j, 0.0) + upper.get(j, 0.0) for j in range(3)],
    )
    assert solution.status == "Ipopt 3.14.16: Optimal Solution Found (0: solved)"


def test_a_suffix_rc_goes_first():
    data = IPOPT + b"suffix 4 1 3 0 0\nrc\n2 5.5\n"
    costs = read_ampl_solution(data).reduced_costs.numbers
    np.testing.assert_array_equal(costs, [0.0, 0.0, 5.5])


def test_a_tolerance_among_the_options():
    data = b"m\nOptions\n4\n1\n3\n1\n0\n1\n1\n0.25\n7\nobjno 0 0\n"
    np.testing.assert_array_equal(read_ampl_solution(data).columns.numbers, [7.0])
    assert by_pyomo(data).primals == [7.0]


@pytest.mark.parametrize(
    ("code", "has_point", "is_optimal"),
    [
        (0, True, True),
        (99, True, True),
        (100, True, False),
        (199, True, False),
        (200, False, False),
        (300, False, False),
        (400, True, False),
        (499, True, False),
        (500, False, False),
        (599, False, False),
        (-1, True, False),
    ],
)
def test_results(code, has_point, is_optimal):
    solution = read_ampl_solution(IPOPT.replace(b"objno 0 0", b"objno 0 %d" % code))
    assert (solution.has_point, solution.is_optimal) == (has_point, is_optimal)
    assert (solution.row_duals is not None) == is_optimal


def test_solved_without_values_is_no_point():
    data = b"m\n\nOptions\n3\n1\n1\n0\n2\n0\n3\n0\nobjno 0 0\n"
    solution = read_ampl_solution(data)
    assert (solution.has_point, solution.is_optimal) == (False, False)
    assert (solution.n_columns, solution.n_rows) == (3, 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"Options", b"Option", "'Options'"),
        (b"Options\n3", b"Options\n1", "line 4: .*from 2 to 11"),
        (b"Options\n3", b"Options\n300", "line 4: .*not so many"),
        (b"0\n2\n2\n3\n3\n", b"0\n2\n1\n3\n3\n", "line 9: .*0 or 2"),
        (b"0\n2\n2\n3\n3\n", b"0\n2\n2\n3\n4\n", "line 11: .*0 or 3"),
        (b"0\n2\n2\n3\n3\n", b"0\n2\n2\n4\n4\n", "line 17: .*a value"),
        (b"0\n2\n2\n3\n3\n", b"0\n2\n2\n2\n2\n", "line 16: .*'objno"),
        (b"0\n2\n2\n3\n3\n", b"0\n900\n900\n3\n3\n", "ends at line"),
        (b"\n-7\n", b"\nnan\n", "line 16: .*finite"),
        (b"\n-7\n", b"\ninf\n", "line 16: .*finite"),
        (b"\n-7\n", b"\n1e999\n", "line 16: .*finite"),
        (b"\n-7\n", b"\n1_0\n", "line 16: .*finite"),
        (b"\n-7\n", b"\n0x1F\n", "line 16: .*finite"),
        (b"\n-7\n", "\n\u0663\n".encode(), "line 16: .*finite"),
        (b"\n-7\n", b"\n-7 8\n", "line 16"),
        (b"objno 0 0", b"objno 0", "line 17: .*'objno"),
        (b"objno 0 0", b"objno 0 600", "0 to 599"),
        (b"suffix 4 3 13 0 0", b"suffix 4 4 13 0 0", "line 23: .*a suffix"),
        (b"suffix 4 3 13 0 0", b"suffix 4 3 12 0 0", "11 bytes"),
        (b"ipopt_zL_out", b"ipopt_zU_out", "each suffix is allowed once"),
        (b"0 0.25", b"3 0.25", "below 3"),
        (b"0 0.25", b"2 0.25", "each position"),
        (b"\n1 1\n", b"\n1 1.5\n", "an integer"),
        (b"1 bas basic\n0 3\n1 1\n", b"1 bas basic\n0 3\n", "ends at line"),
        (b"1 bas basic\n0 3\n1 1\n", b"1 bas basic\n0 3\n1 1\nmore\n", "'suffix'"),
    ],
)
def test_refused(old, new, message):
    assert IPOPT.count(old) == 1
    with pytest.raises(InputError, match=message):
        read_ampl_solution(IPOPT.replace(old, new))


def test_a_binary_file_is_refused_by_name():
    with pytest.raises(InputError, match="binary AMPL"):
        read_ampl_solution(b"\x06\x00\x00\x00binary\x06\x00\x00\x00\x13\x00")
