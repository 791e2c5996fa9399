"""Solution files of SCIP: what its command line and PySCIPOpt write."""

from __future__ import annotations

import numpy as np
import pytest

from pyomo_relu.errors import InputError
from pyomo_relu.solution_files.scip import _STATUSES, read_scip_solution
from tests.solution_files.solution_cases import by_scip, make_case, unbounded_lp

SMALL = b"""solution status: optimal solution found
objective value:                                    8
x_1                                 0.133333333333333 \t(obj:2)
x_3                                             1e+20 \t(obj:0)
"""


@pytest.mark.parametrize("integer", [False, True])
def test_what_the_command_line_writes(tmp_path, integer):
    case = make_case(integer)
    solution = read_scip_solution(by_scip(tmp_path, case.write_lp(tmp_path)))
    assert (solution.status, solution.is_optimal) == ("optimal solution found", True)
    assert solution.zeros_omitted
    x, _ = case.optimum()
    values = solution.columns.by_name
    assert 0 < len(values) < 12
    np.testing.assert_allclose(
        [values.get(name, 0.0) for name in case.names], x, atol=1e-6
    )
    assert solution.objective == pytest.approx(case.costs @ x)
    assert solution.columns.positions is None


def test_what_pyscipopt_writes(tmp_path):
    pyscipopt = pytest.importorskip("pyscipopt")
    case = make_case(integer=True)
    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(case.write_lp(tmp_path)))
    model.optimize()
    truth = {v.name: model.getVal(v) for v in model.getVars()}
    for zeros in (False, True):
        model.writeBestSol(str(tmp_path / "best.sol"), write_zeros=zeros)
        solution = read_scip_solution(tmp_path / "best.sol")
        values = solution.columns.by_name
        assert set(values) == {n for n, v in truth.items() if zeros or v != 0.0}
        for name, value in values.items():
            assert value == pytest.approx(truth[name], rel=1e-13)
        assert solution.objective == pytest.approx(model.getObjVal(), rel=1e-13)
        # It has no line with the status.
        assert (solution.status, solution.is_optimal) == ("", False)


def test_models_without_a_solution(tmp_path):
    model = make_case(infeasible=True).write_lp(tmp_path)
    solution = read_scip_solution(by_scip(tmp_path, model))
    assert (solution.status, solution.has_point) == ("infeasible", False)
    # A ray as large as it likes is printed for this one.
    path = by_scip(tmp_path, unbounded_lp(tmp_path))
    solution = read_scip_solution(path)
    assert (solution.status, solution.has_point) == ("unbounded", False)
    assert path.read_text().count("obj:") == 2


def test_a_limit_is_no_optimum(tmp_path):
    model = make_case(integer=True).write_lp(tmp_path)
    limit = "set limits solutions 1"
    solution = read_scip_solution(by_scip(tmp_path, model, limit))
    assert solution.status == "solution limit reached"
    assert (solution.has_point, solution.is_optimal) == (True, False)


@pytest.mark.parametrize("status", sorted(_STATUSES))
def test_only_one_status_is_optimal(status):
    data = SMALL.replace(b"optimal solution found", status.encode())
    solution = read_scip_solution(data)
    assert solution.is_optimal == (status == "optimal solution found")
    assert solution.has_point == ("infeasible" not in status and status != "unbounded")


def test_a_cut_within_a_line_is_refused():
    ends = [end for end in range(1, len(SMALL)) if SMALL[end - 1 : end] != b"\n"]
    for end in ends:
        with pytest.raises(InputError):
            read_scip_solution(SMALL[:end])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"optimal", b"maximal", "line 1: .*a status of SCIP"),
        (b"objective value", b"objektive value", "line 2: .*'objective value"),
        (b"   8\n", b"   +infinity\n", "line 2: .*finite"),
        (b"1e+20", b"+infinity", "line 4: .*'\\+infinity'.*finite"),
        (b"1e+20", b"unknown", "line 4: .*'unknown'.*finite"),
        (b"1e+20", b"1 e+20", "line 4: .*'name value"),
        (b"x_3", b"x_1", "line 4: .*once: 'x_1'"),
        (b"(obj:0)", b"(obj:0", "line 4: .*'name value"),
        (b"(obj:0)", b"(obj:zero)", "line 4: .*a cost"),
        (b"x_3", b"\nx_3", "line 4: .*'name value"),
    ],
)
def test_refused(old, new, message):
    assert read_scip_solution(SMALL).columns.by_name["x_3"] == 1e20
    assert SMALL.count(old) == 1
    with pytest.raises(InputError, match=message):
        read_scip_solution(SMALL.replace(old, new))


def test_nothing_may_follow_no_solution():
    data = b"solution status: infeasible\nno solution available\n"
    assert not read_scip_solution(data).has_point
    with pytest.raises(InputError, match="ended before"):
        read_scip_solution(data + SMALL)
