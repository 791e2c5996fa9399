"""Which format a file has, and files that have none."""

from __future__ import annotations

import os

import numpy as np
import pytest

from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.solution_files import solution_file
from pyomo_relu.solution_files.detect import CONIC_FORMATS, detect, read_solution_file
from pyomo_relu.solution_files.solution_file import FORMATS
from pyomo_relu.solvers.sdpa_format import write
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
from tests.solvers.test_sdpa_format import manual_example


def by_csdp(folder, case):
    write(manual_example(), folder / "model.dat-s")
    run(folder, "csdp", "model.dat-s", "csdp.sol")
    return folder / "csdp.sol"


def by_sdpa(folder, case):
    write(manual_example(), folder / "model.dat-s")
    run(folder, "sdpa", "-ds", "model.dat-s", "-o", "sdpa.result")
    return folder / "sdpa.result"


MAKERS = {
    "ampl": lambda folder, case: by_scip_for_ampl(folder, case.write_nl(folder)),
    "highs": lambda folder, case: by_highs(folder, case.write_lp(folder))[0],
    "scip": lambda folder, case: by_scip(folder, case.write_lp(folder)),
    "cbc": lambda folder, case: by_cbc(folder, case.write_lp(folder)),
    "glpk": lambda folder, case: by_glpsol(folder, case.write_lp(folder)),
    "csdp": by_csdp,
    "sdpa": by_sdpa,
}


@pytest.mark.parametrize("kind", sorted(MAKERS))
@pytest.mark.parametrize("integer", [False, True])
def test_what_programs_write(tmp_path, kind, integer):
    data = MAKERS[kind](tmp_path, make_case(integer)).read_bytes()
    # No suffix says it.
    path = tmp_path / "solution.sol"
    for content in (
        data,
        b"\xef\xbb\xbf" + data,
        b"\n\n" + data,
        b"# a note\n\n" + data,
        data.replace(b"\n", b"\r\n"),
    ):
        path.write_bytes(content)
        assert detect(path) == kind
        assert detect(content) == kind
        if kind in CONIC_FORMATS:
            with pytest.raises(InputError, match="conic problem"):
                read_solution_file(path)
            continue
        solution = read_solution_file(path)
        assert (solution.format, solution.is_optimal) == (kind, True)
        numbers = solution.columns.numbers
        np.testing.assert_array_equal(
            numbers, read_solution_file(data, kind).columns.numbers
        )


@pytest.mark.parametrize(
    "style", [pytest.param(k, id=f"style {k}") for k in (-1, 1, 3)]
)
def test_styles_of_highs_that_are_not_read(tmp_path, style):
    path, _ = by_highs(tmp_path, make_case().write_lp(tmp_path), style)
    with pytest.raises(InputError, match="raw"):
        read_solution_file(path)


def test_the_suffix_decides_only_where_the_content_does_not(tmp_path):
    path = tmp_path / "solution.csv"
    path.write_bytes(IPOPT)
    assert detect(path) == "ampl"
    path.write_text("x,one\ny,2\n")
    with pytest.raises(InputError, match="'one' is not a value"):
        read_solution_file(path)
    path.write_text("nothing of this\n")
    assert detect(path) == "csv"


def test_formats_by_name():
    data = b"name,value\nx,1\n"
    with pytest.raises(InputError, match="'Model status'"):
        read_solution_file(data, "highs")
    for name in ("mosek", "csdp"):
        with pytest.raises(InputError, match=", ".join(FORMATS)):
            read_solution_file(data, name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf\n", "is empty"),
        (b"x,1\ny,\xe4\n", "byte 6 is no UTF-8"),
        (b"x,1\n\x00,2\n", "line 2: the control character '\\\\x00'"),
        (b"x,1\ry,2\r", "line 1: the control character '\\\\r'"),
        (b"\x89PNG\r\n\x1a\n", "no UTF-8"),
        (b'<?xml version = "1.0"?>\n<CPLEXSolution>\n', "no solution file.*<.xml"),
        (b"just a note\n", "HiGHS.*CBC.*CSDP"),
        (b"\x06\x00\x00\x00binary\x06\x00\x00\x00", "binary AMPL"),
    ],
)
def test_files_without_a_format(tmp_path, content, message):
    path = tmp_path / "file.sol"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(InputError, match=message):
            read_solution_file(source)


def test_paths_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_solution_file(tmp_path / "nowhere.sol")
    with pytest.raises(InputError, match="a folder"):
        read_solution_file(tmp_path)
    with pytest.raises(InputError, match="null"):
        read_solution_file("a\x00b")
    with pytest.raises(InputTypeError, match="path or bytes"):
        read_solution_file(3)
    with pytest.raises(InputError, match="cannot read"):
        read_solution_file("a" * 5000)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(InputError, match="regular"):
            read_solution_file(tmp_path / "pipe")


def test_a_file_that_is_too_large(tmp_path, monkeypatch):
    path = tmp_path / "file.csv"
    path.write_text("x,1\n")
    monkeypatch.setattr(solution_file, "LARGEST", 4)
    assert read_solution_file(path).has_point
    monkeypatch.setattr(solution_file, "LARGEST", 3)
    with pytest.raises(InputError, match="more than 3 bytes"):
        read_solution_file(path)


@pytest.mark.parametrize(
    "line",
    [
        b"1",
        b" ",
        b"\t",
        b"a",
        b'"',
        b"a,",
        b"1 ",
        b"- objective value ",
        b"[]",
        b"1.",
        b"1e",
        b"\n",
        b"c\n",
        b"# \n",
        b"1 1 1 1 1\n",
        b"Options\n1\n",
    ],
)
@pytest.mark.parametrize("head", [b"", b"x,1\n", b"Optimal - objective value 1\n"])
def test_long_lines_and_many_lines_end(line, head):
    # Whatever took time with the square of the length would not end.
    data = head + line * (1_000_000 // len(line)) + b"!\n"
    for kind in (None, *FORMATS):
        with pytest.raises(InputError):
            read_solution_file(data, kind)
