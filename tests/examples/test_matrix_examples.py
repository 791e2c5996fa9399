"""The examples without networks give the published bounds."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = ["copositive", "completely positive"]
GRAPHS = ["C5", "C7", "Petersen", "icosahedron"]
ALPHA = np.array([2.0, 3.0, 4.0, 3.0])
#: De Klerk and Pasechnik, Approximation of the stability number of a graph via
#: copositive programming, 2002: theta' of Schrijver is level 0.
THETA = [2.2360680, 3.3176672, 4.0, 3.2360680]
LEVEL_ONE = [2.0, 3.0, 4.0, 3.2360680]


def run(name):
    """Return the printed tables as {title: {row: {column: (sign, value)}}}."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    head, *tables = done.stdout.strip().split("\n\n")
    names, truth = (line[20:].split() for line in head.splitlines())
    printed = {}
    for table in tables:
        title, *rows = table.splitlines()
        printed[title.removesuffix(" program")] = {
            row[:20].strip(): dict(zip(names, cells(row[20:]), strict=True))
            for row in rows
        }
    return dict(zip(names, map(float, truth), strict=True)), printed


def cells(text):
    """Return the pairs of words of a row: sign and number, or no bound or solver."""
    words = text.split()
    return [
        (sign, None if sign == "no" else float(word))
        for sign, word in zip(words[::2], words[1::2], strict=True)
    ]


@pytest.fixture(scope="module")
def stability():
    return run("stability_number")


@pytest.fixture(scope="module")
def quadratic():
    return run("standard_quadratic")


@pytest.mark.parametrize("example", ["stability", "quadratic"])
def test_every_bound_is_on_its_side_of_brute_force(example, request):
    truth, printed = request.getfixturevalue(example)
    assert list(printed) == (PROGRAMS if example == "stability" else PROGRAMS[::-1])
    for rows in printed.values():
        sides = set()
        for tier, row in rows.items():
            for name, (sign, value) in row.items():
                if value is None:
                    assert tier in ("psd", "factorized")
                    continue
                sides.add(sign)
                below = {">=": value, "<=": truth[name]}[sign]
                above = {">=": truth[name], "<=": value}[sign]
                assert below <= above + 1e-5, (tier, name)
        assert sides == {">=", "<="}


@pytest.mark.parametrize("program", PROGRAMS)
def test_stability_numbers_at_both_levels(stability, program):
    truth, printed = stability
    assert list(truth.values()) == ALPHA.tolist()
    rows = printed[program]
    for tier, published in {"dnn (theta')": THETA, "sos (K^1)": LEVEL_ONE}.items():
        for name, expected in zip(GRAPHS, published, strict=True):
            sign, value = rows[tier][name]
            assert sign == "<="
            assert value == pytest.approx(expected, abs=1e-5), (tier, name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_horn_matrix_at_both_levels(quadratic, program):
    rows = quadratic[1][program]
    for tier, expected in {"sos 0 (K^0)": -0.1055728, "sos 1 (K^1)": 0.0}.items():
        sign, value = rows[tier]["Horn"]
        assert sign == ">="
        assert value == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("example", ["stability", "quadratic"])
def test_both_programs_bound_alike(example, request):
    """A tier and its dual are dual to one another, as are sdd and minors."""
    printed = request.getfixturevalue(example)[1]
    alike = {tier: tier for tier in printed["copositive"] if tier != "dd"}
    alike["sdd"] = "minors"
    for ours, theirs in alike.items():
        for name, cell in printed["copositive"][ours].items():
            sign, value = printed["completely positive"][theirs][name]
            assert cell[0] == sign
            if value is not None:
                assert value == pytest.approx(cell[1], abs=1e-5), (ours, name)


def test_the_graphs_are_those_of_their_names():
    graphs = runpy.run_path(str(EXAMPLES / "stability_number.py"))["graphs"]()
    # Vertices, neighbours of each, triangles; the Petersen graph is the only one with
    # ten vertices, three neighbours and no cycle shorter than five.
    expected = {"C5": (5, 2, 0), "C7": (7, 2, 0), "Petersen": (10, 3, 0)}
    for name, A in graphs.items():
        vertices, degree, triangles = expected.get(name, (12, 5, 20))
        assert len(A) == vertices
        assert (A == A.T).all()
        assert (A.sum(axis=0) == degree).all()
        assert np.trace(A @ A @ A) / 6 == triangles
    common = np.linalg.matrix_power(graphs["Petersen"], 2)
    assert common[~np.eye(10, dtype=bool)].max() == 1
