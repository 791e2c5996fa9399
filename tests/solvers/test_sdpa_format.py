"""The SDPA format: text, solutions read back, and cones as matrices."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.common.fileutils import Executable

from pyomo_relu.errors import InputError, OutputError
from pyomo_relu.solvers.cone_program import ConeProgram
from pyomo_relu.solvers.conic_form import triangle
from pyomo_relu.solvers.sdpa_format import (
    SDPAProblem,
    SDPASolution,
    embed,
    read_csdp_solution,
    read_sdpa_output,
    write,
)


def manual_example() -> SDPAProblem:
    """Example 1 of the SDPA manual; its optimum is -41.9."""
    matrices = [
        [[-11.0, 0.0], [0.0, 23.0]],
        [[10.0, 4.0], [4.0, 0.0]],
        [[0.0, 0.0], [0.0, -8.0]],
        [[0.0, -8.0], [-8.0, -2.0]],
    ]
    columns = np.array([np.array(F)[triangle(2)] for F in matrices]).T
    return SDPAProblem(
        c=np.array([48.0, -8.0, 20.0]),
        F=sp.csc_array(columns[:, 1:]),
        F0=columns[:, 0],
        blocks=np.array([2]),
    )


def mixed_problem() -> SDPAProblem:
    """A diagonal block of two and a matrix of order three, in two variables."""
    F = np.zeros((8, 2))
    F[0, 0], F[1, 1], F[2, 0], F[3, 1], F[7, 0] = 1.0, 2.0, 0.1, -3.0, 1e-20
    F0 = np.zeros(8)
    F0[1], F0[6] = 0.5, -1.0 / 3.0
    return SDPAProblem(np.array([1.0, -0.25]), sp.csc_array(F), F0, np.array([-2, 3]))


CSDP_SOLUTION = """\
1.5e+00 -2.0
1 1 1 1 1.0
1 1 2 2 2.0
1 2 1 1 3.0
1 2 1 3 4.0
1 2 2 3 5.0
2 1 2 2 6.0
2 2 1 2 7.0
2 2 3 3 8.0
"""

SDPA_OUTPUT = """\
SDPA start at [Thu Jan  1 00:00:00 1970]
 0 1.0e+04 1.0e+00 1.0e+00 -0.00e+00 -0.00e+00 1.0e+00 9.0e-01 2.00e-01

phase.value  = pdFEAS
   Iteration = 12
          mu = +7.2611392190454558e-08

xVec =
{+1.5e+00,-2.0e+00}
xMat =
{
{+1.0e+00,+2.0e+00}
{ {+3.0e+00,+0.0e+00,+4.0e+00 },
  {+0.0e+00,+0.0e+00,+5.0e+00 },
  {+4.0e+00,+5.0e+00,+0.0e+00 }   }
}
yMat =
{
{+0.0e+00,+6.0e+00}
{ {+0.0e+00,+7.0e+00,+0.0e+00 },
  {+7.0e+00,+0.0e+00,+0.0e+00 },
  {+0.0e+00,+0.0e+00,+8.0e+00 }   }
}
    main loop time = 0.000909
"""

X = [1.5, -2.0]
S = [1.0, 2.0, 3.0, 0.0, 0.0, 4.0, 5.0, 0.0]
Y = [0.0, 6.0, 0.0, 7.0, 0.0, 0.0, 0.0, 8.0]


def test_the_text_of_a_problem(tmp_path):
    path = tmp_path / "a.dat-s"
    write(mixed_problem(), path, comment="two lines\nof text")
    assert path.read_text().splitlines() == [
        "*two lines",
        "*of text",
        "2",
        "2",
        "-2 3",
        "1 -0.25",
        "0 1 2 2 0.5",
        "0 2 2 3 -0.33333333333333331",
        "1 1 1 1 1",
        "1 2 1 1 0.10000000000000001",
        "1 2 3 3 9.9999999999999995e-21",
        "2 1 2 2 2",
        "2 2 1 2 -3",
    ]


def test_a_file_that_cannot_be_written_is_our_error(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write(mixed_problem(), tmp_path / "nowhere" / "a.dat-s")


def test_solutions_are_read_in_the_order_of_the_triangles(tmp_path):
    path = tmp_path / "solution"
    path.write_text(CSDP_SOLUTION)
    solution = read_csdp_solution(path, mixed_problem())
    path.write_text(SDPA_OUTPUT)
    output = read_sdpa_output(path, mixed_problem())
    assert (output.phase, output.iterations) == ("pdFEAS", 12)
    for one in (solution, output.solution):
        np.testing.assert_array_equal(one.x, X)
        np.testing.assert_array_equal(one.S, S)
        np.testing.assert_array_equal(one.Y, Y)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3 1 1 1 1.0", "another problem"),
        ("1 3 1 1 1.0", "another problem"),
        ("1 2 1 4 1.0", "another problem"),
        ("1 1 1 2 1.0", "another problem"),
        ("1 2 3 1 1.0", "another problem"),
        ("1 1 1", "no CSDP solution"),
        ("1 1 1 1 many", "no CSDP solution"),
    ],
)
def test_a_solution_of_something_else_is_refused(tmp_path, line, message):
    path = tmp_path / "solution"
    path.write_text(CSDP_SOLUTION + line + "\n")
    with pytest.raises(InputError, match=message):
        read_csdp_solution(path, mixed_problem())


def test_an_output_for_something_else_is_refused(tmp_path):
    path = tmp_path / "result"
    path.write_text(SDPA_OUTPUT.replace("{+1.5e+00,", "{"))
    with pytest.raises(InputError, match="1 variables"):
        read_sdpa_output(path, mixed_problem())
    path.write_text(SDPA_OUTPUT.replace("+8.0e+00", "eight"))
    with pytest.raises(InputError, match="no output of SDPA"):
        read_sdpa_output(path, mixed_problem())


def test_an_output_that_stops_early_has_no_solution(tmp_path):
    path = tmp_path / "result"
    path.write_text(SDPA_OUTPUT.split("yMat")[0])
    output = read_sdpa_output(path, mixed_problem())
    assert output.solution is None
    assert output.phase == "pdFEAS"
    path.write_text("")
    assert read_sdpa_output(path, mixed_problem()).phase == ""


def test_errors_of_the_solution_of_the_manual():
    # Both from the conditions of feasibility: S is zero.
    problem = manual_example()
    x = np.array([-1.1, -2.7375, -0.55])
    S = problem.F @ x - problem.F0
    np.testing.assert_allclose(S, 0.0, atol=1e-12)
    Y = np.array([5.9, -1.375, 1.0])
    assert max(SDPASolution(x, S, Y).errors(problem)) < 1e-14
    dual, primal, gap = SDPASolution(x, S + 1.0, Y + 0.1).errors(problem)
    assert dual > 1e-3
    assert primal == pytest.approx(2.0 / (1.0 + np.hypot(11.0, 23.0)))
    assert gap == pytest.approx((6.0 - 2 * 1.275 + 1.1) / (1.0 + 41.9 + 40.7))


@pytest.mark.parametrize("program", ["csdp", "sdpa"])
def test_both_programs_read_the_example_of_the_manual(tmp_path, program):
    if not Executable(program).available():
        pytest.skip(f"{program} is not installed")
    problem = manual_example()
    write(problem, tmp_path / "a.dat-s", comment="Example 1")
    if program == "csdp":
        command = ["csdp", "a.dat-s", "solution"]
    else:
        command = ["sdpa", "-ds", "a.dat-s", "-o", "solution"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    path = tmp_path / "solution"
    if program == "csdp":
        solution = read_csdp_solution(path, problem)
    else:
        output = read_sdpa_output(path, problem)
        assert output.phase in ("pdOPT", "pdFEAS")
        solution = output.solution
    # SDPA prints four digits unless it is told otherwise.
    assert problem.c @ solution.x == pytest.approx(-41.9, abs=0.05)
    value = problem.F0 @ (problem.weight * solution.Y)
    assert value == pytest.approx(-41.9, abs=0.05)


def random_program(seed: int) -> ConeProgram:
    rng = np.random.default_rng(seed)
    soc = rng.integers(1, 7, size=rng.integers(0, 6))
    psd = rng.integers(2, 5, size=rng.integers(0, 3))
    zero, nonnegative = rng.integers(0, 3, size=2)
    rows = int(zero + nonnegative + soc.sum() + (psd * (psd + 1) // 2).sum())
    return ConeProgram(
        rng.normal(size=4),
        sp.csr_array(rng.normal(size=(rows, 4))),
        rng.normal(size=rows),
        int(zero),
        int(nonnegative),
        soc,
        psd,
    )


def matrices(problem: SDPAProblem, entries: np.ndarray) -> list[np.ndarray]:
    """Blocks of a matrix, diagonal ones as well, from their entries."""
    blocks = []
    for order, first, last in zip(
        problem.blocks.tolist(), problem.starts, problem.starts[1:], strict=False
    ):
        part = entries[first:last]
        if order < 0:
            blocks.append(np.diag(part))
            continue
        block = np.zeros((order, order))
        rows, columns = triangle(order)
        block[rows, columns] = block[columns, rows] = part
        blocks.append(block)
    return blocks


def smallest_margins(program: ConeProgram, s: np.ndarray) -> float:
    """How far inside the cone a vector is, by definition; equalities aside."""
    margins = [np.inf, *s[program.n_zero : program.n_linear]]
    place = program.n_linear
    for order in program.soc_orders.tolist():
        part = s[place : place + order]
        margins.append(part[0] - np.linalg.norm(part[1:]))
        place += order
    for order in program.psd_orders.tolist():
        block = np.zeros((order, order))
        size = order * (order + 1) // 2
        block[triangle(order)] = s[place : place + size]
        block = np.triu(block) + np.triu(block, 1).T
        margins.append(np.linalg.eigvalsh(block)[0])
        place += size
    return float(min(margins))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_a_slack_is_in_the_cone_where_its_matrices_are_semidefinite(seed):
    program = random_program(seed)
    embedding = embed(program)
    problem = embedding.problem
    rng = np.random.default_rng(seed)
    x = rng.normal(size=4)
    s = program.b - program.A @ x
    np.testing.assert_allclose(
        problem.F @ x - problem.F0, embedding.T @ s, rtol=0.0, atol=1e-12
    )
    # Whether or not, and at the same distance but for the factor of an arrow.
    for _ in range(5):
        s = rng.normal(size=len(program.b))
        starts = program.n_linear + np.cumsum(program.soc_orders) - program.soc_orders
        s[starts] += rng.choice([0.0, 3.0])
        s[: program.n_zero] = 0.0
        s[program.n_zero : program.n_linear] += 1.0
        blocks = matrices(problem, embedding.T @ s)
        smallest = min([np.linalg.eigvalsh(B)[0] for B in blocks], default=np.inf)
        margin = smallest_margins(program, s)
        if program.n_zero:
            margin = min(margin, 0.0)
        assert smallest == pytest.approx(margin, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_multipliers_keep_inner_products_and_are_in_the_dual_cone(seed):
    program = random_program(seed)
    embedding = embed(program)
    problem = embedding.problem
    rng = np.random.default_rng(seed)
    Y = []
    for order in problem.blocks.tolist():
        if order < 0:
            Y.append(rng.uniform(size=-order))
        else:
            root = rng.normal(size=(order, rng.integers(1, order + 1)))
            Y.append((root @ root.T)[triangle(order)])
    Y = np.concatenate([np.zeros(0), *Y])
    z = embedding.multipliers(Y)
    s = rng.normal(size=len(program.b))
    np.testing.assert_allclose(
        s @ (program.weight * z), (embedding.T @ s) @ (problem.weight * Y), atol=1e-10
    )
    assert smallest_margins(program, z) > -1e-10


def test_the_smallest_blocks_are_used():
    none = np.zeros(0, dtype=np.int64)
    orders = np.array([1, 2, 3, 4])
    program = ConeProgram(
        np.ones(1), sp.csr_array(np.ones((13, 1))), np.ones(13), 1, 2, orders, none
    )
    # Two of the equality, two rows, one, two; then a matrix of order two and an arrow.
    assert embed(program).problem.blocks.tolist() == [-7, 2, 4]
