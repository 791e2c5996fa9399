"""Damaged solution files: refused, or read as they stand; never anything else."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from pyomo_relu.errors import InputError
from pyomo_relu.solution_files.detect import read_solution_file
from pyomo_relu.solution_files.solution_file import SolutionFile, Values
from pyomo_relu.solvers.sdpa_format import (
    SDPAProblem,
    read_csdp_solution,
    read_sdpa_output,
    write,
)
from tests.solution_files.solution_cases import (
    IPOPT,
    by_cbc,
    by_glpsol,
    by_highs,
    by_scip,
    by_scip_for_ampl,
    make_case,
    run,
)
from tests.solvers.test_sdpa_format import mixed_problem

#: How often each file is damaged.
TIMES = 1000


def by_hand(folder, case):
    path = folder / "solution.csv"
    rows = zip(case.names, case.optimum()[0].tolist(), strict=True)
    path.write_text(
        "name,value\n" + "".join(f'"{name}",{value}\n' for name, value in rows)
    )
    return path


def for_ampl(folder, case):
    # This one with duals and suffixes, too.
    path = folder / "ipopt.sol"
    path.write_bytes(IPOPT)
    return path


MAKERS = {
    "ampl of SCIP": lambda folder, case: by_scip_for_ampl(
        folder, case.write_nl(folder)
    ),
    "ampl of Ipopt": for_ampl,
    "highs": lambda folder, case: by_highs(folder, case.write_lp(folder))[0],
    "highs sparse": lambda folder, case: by_highs(folder, case.write_lp(folder), 4)[0],
    "scip": lambda folder, case: by_scip(folder, case.write_lp(folder)),
    "cbc": lambda folder, case: by_cbc(
        folder, case.write_lp(folder), "printingOptions", "all"
    ),
    "glpk": lambda folder, case: by_glpsol(folder, case.write_lp(folder)),
    "csv": by_hand,
}
# What takes the place of a byte, or goes between two: often what belongs there.
_BYTES = b"0123456789+-.eE_ \t\n\r,;#\"'()[]{}xXcijs*nainf\x00\x0c\x1c\x7f\x85\xa0\xff"


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """Return `data` with one to three random corruptions."""
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        at, end = sorted(rng.integers(0, len(damaged) + 1, 2).tolist())
        end = min(end, at + int(rng.integers(1, 200)))
        kind = rng.integers(8)
        if kind == 0 and at < len(damaged):
            damaged[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and at < len(damaged):
            damaged[at] = _BYTES[rng.integers(len(_BYTES))]
        elif kind == 2:
            del damaged[at : at + 1]
        elif kind == 3:
            damaged.insert(at, _BYTES[rng.integers(len(_BYTES))])
        elif kind == 4:
            del damaged[at:end]
        elif kind == 5:
            damaged[at:at] = damaged[at:end]
        elif kind == 6:
            del damaged[at:]
        else:
            # Whole lines, which the eye would miss: one twice, gone, or moved.
            lines = damaged.split(b"\n")
            line = int(rng.integers(len(lines)))
            taken = lines[line : line + 1]
            if rng.integers(2):
                del lines[line]
            if rng.integers(2):
                at = int(rng.integers(len(lines) + 1))
                lines[at:at] = taken
            damaged = bytearray(b"\n".join(lines))
    return bytes(damaged)


def tokens(data: bytes) -> set[float]:
    """Every number that stands in a text, as Python reads it."""
    found = {0.0}
    for word in re.split(r"[\s,{}\"():=]+", data.decode("utf-8", errors="replace")):
        try:
            found.add(float(word))
        except ValueError:
            continue
    return found


def check_values(values: Values, known: set[float], size: int | None) -> None:
    assert np.isfinite(values.numbers).all()
    assert set(values.numbers.tolist()) <= known
    count = len(values.numbers)
    if values.names is not None:
        assert len(set(values.names)) == len(values.names) == count
        assert all(values.names)
    if values.positions is not None:
        assert len(set(values.positions.tolist())) == count == len(values.positions)
        assert (values.positions >= 0).all()
    if size is not None:
        assert count == size
        assert values.positions.tolist() == list(range(size))


def check(solution: SolutionFile, data: bytes) -> None:
    known = tokens(data)
    parts = [
        (solution.columns, solution.n_columns),
        (solution.rows, solution.n_rows),
        (solution.row_duals, solution.n_rows),
    ]
    if b"ipopt_z" in data:
        # Sums of two numbers each.
        if solution.reduced_costs is not None:
            assert np.isfinite(solution.reduced_costs.numbers).all()
            assert len(solution.reduced_costs) == solution.n_columns
    else:
        parts.append((solution.reduced_costs, solution.n_columns))
    for values, size in parts:
        if values is not None:
            check_values(values, known, size)
    if solution.objective is not None:
        assert math.isfinite(solution.objective)
        assert solution.objective in known
    assert solution.has_point == (solution.columns is not None)
    assert solution.has_point or not solution.is_optimal


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_solution_files(tmp_path, kind):
    data = MAKERS[kind](tmp_path, make_case()).read_bytes()
    name = kind.split()[0]
    whole = read_solution_file(data)
    check(whole, data)
    assert whole.has_point
    assert whole.format == name
    rng = np.random.default_rng(sorted(MAKERS).index(kind))
    refused = 0
    for _ in range(TIMES):
        damaged = damage(data, rng)
        # The reader, too, where nothing has looked at the first line before.
        for format in (None, name):
            try:
                solution = read_solution_file(damaged, format)
            except InputError:
                refused += format is not None
            else:
                check(solution, damaged)
    # Digits that became others cannot be told from right ones; most other damage can.
    assert TIMES / 4 < refused < TIMES


def semidefinite(folder) -> SDPAProblem:
    """Write a problem with a point inside, as its dual has: all are solved."""
    problem = mixed_problem()
    rng = np.random.default_rng(2)
    identity = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0])
    F = np.where(rng.random((8, 2)) < 0.7, rng.standard_normal((8, 2)), 0.0)
    problem = SDPAProblem(
        c=F.T @ (problem.weight * identity),
        F=type(problem.F)(F),
        F0=F @ np.array([0.5, -0.25]) - identity,
        blocks=problem.blocks,
    )
    write(problem, folder / "model.dat-s")
    return problem


@pytest.mark.parametrize("program", ["csdp", "sdpa"])
def test_matrices(tmp_path, program):
    problem = semidefinite(tmp_path)
    path = tmp_path / "solution"
    if program == "csdp":
        run(tmp_path, "csdp", "model.dat-s", path.name)
        read = read_csdp_solution
    else:
        run(tmp_path, "sdpa", "-ds", "model.dat-s", "-o", path.name)

        def read(path, problem):
            return read_sdpa_output(path, problem).solution

    data = path.read_bytes()
    start = 0 if program == "csdp" else data.index(b"xVec")
    assert max(read(path, problem).errors(problem)) < 1e-2
    rng = np.random.default_rng(0)
    counts = {"refused": 0, "read": 0}
    for _ in range(TIMES):
        # Of SDPA's output the matrices: the log before them is not read.
        damaged = data[:start] + damage(data[start:], rng)
        path.write_bytes(damaged)
        try:
            solution = read(path, problem)
        except InputError:
            solution = None
        if solution is None:
            counts["refused"] += 1
            continue
        counts["read"] += 1
        known = tokens(damaged)
        for numbers, size in ((solution.x, 2), (solution.S, 8), (solution.Y, 8)):
            assert numbers.shape == (size,)
            assert np.isfinite(numbers).all()
            assert set(numbers.tolist()) <= known
    assert counts["refused"] > TIMES / 4
    assert counts["read"] > 0


def test_every_cut_of_a_csdp_solution_is_refused(tmp_path):
    problem = semidefinite(tmp_path)
    path = tmp_path / "solution"
    run(tmp_path, "csdp", "model.dat-s", path.name)
    data = path.read_bytes()
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(InputError):
            read_csdp_solution(path, problem)


def test_a_cut_sdpa_output_has_no_solution(tmp_path):
    problem = semidefinite(tmp_path)
    path = tmp_path / "solution"
    run(tmp_path, "sdpa", "-ds", "model.dat-s", "-o", path.name)
    data = path.read_bytes()
    for end in range(data.index(b"xVec"), data.index(b"main loop time")):
        path.write_bytes(data[:end])
        assert read_sdpa_output(path, problem).solution is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1 1 2 2 ", "1 1 1 1 "),
        ("1 1 2 2 ", "1 1.5 2 2 "),
        ("1 1 2 2 ", "1 1e300 2 2 "),
        ("1 1 2 2 ", "1 1 2 2 1_"),
        ("1 1 2 2 ", "1 1 2 2 nan\n1 1 2 2 "),
        ("1 1 2 2 ", "1 1 2 2\n"),
    ],
)
def test_places_and_numbers_of_csdp(tmp_path, old, new):
    problem = semidefinite(tmp_path)
    path = tmp_path / "solution"
    run(tmp_path, "csdp", "model.dat-s", path.name)
    text = path.read_text()
    assert text.count(f"\n{old}") == 1
    path.write_text(text.replace(f"\n{old}", f"\n{new}"))
    with pytest.raises(InputError):
        read_csdp_solution(path, problem)


@pytest.mark.parametrize("word", ["nan", "inf", "1_0", "1e999", "0x1"])
def test_numbers_of_sdpa(tmp_path, word):
    problem = semidefinite(tmp_path)
    path = tmp_path / "solution"
    run(tmp_path, "sdpa", "-ds", "model.dat-s", "-o", path.name)
    text = path.read_text()
    head, tail = text.split("yMat = \n{\n{")
    path.write_text(f"{head}yMat = \n{{\n{{{word},{tail.partition(',')[2]}")
    with pytest.raises(InputError, match="SDPA"):
        read_sdpa_output(path, problem)
    path.write_text(text + text[text.index("xVec") :])
    with pytest.raises(InputError, match="twice"):
        read_sdpa_output(path, problem)
