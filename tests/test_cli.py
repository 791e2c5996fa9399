"""The command line: the main job, bad input, exit statuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyomo_relu import ReLUNetwork, TrainingProblem, certify, solver_table
from pyomo_relu.__main__ import main
from pyomo_relu.tiers import tier_table, tier_table_markdown

DATA = Path(__file__).parents[1] / "examples" / "data"
TABLE = "a,b,y,kind\n1,0,1,red\n0,1,2,blue\n1,1,2,red\n-1,2,1,blue\n"


def run_process(*arguments):
    """Run as a person does, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pyomo_relu", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def run(capsys, monkeypatch):
    """Run in this process, which saves the imports."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["pyomo-relu", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as error:
            status = error.code or 0
        output = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, status, *output)

    return call


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    return path


def test_the_main_job_on_the_shipped_data(tmp_path):
    out = tmp_path / "net.json"
    done = run_process(
        *("train", DATA / "linnerud.csv", "--targets", "weight,waist,pulse"),
        *("--beta", "0.1", "--standardize", "--out", out),
    )
    assert done.returncode == 0, done.stderr
    assert "proved" in done.stdout
    network = ReLUNetwork.load(out)
    # The file's weights and units reproduce the certificate.
    frame = pd.read_csv(DATA / "linnerud.csv")
    parts = []
    for group in ("features", "targets"):
        mean = pd.Series(network.metadata[group]["mean"])
        scale = pd.Series(network.metadata[group]["scale"])
        parts.append(((frame[mean.index] - mean) / scale).to_numpy())
    certificate = certify(TrainingProblem(*parts, network.metadata["beta"]), network)
    assert certificate.gap <= 1e-6
    assert network.metadata["outputs"] == ["weight", "waist", "pulse"]


def test_labels_are_one_hot(run, table, tmp_path):
    out = tmp_path / "net.npz"
    done = run(
        *("train", table, "--labels", "kind", "--features", "a,b"),
        *("--beta", "0.1", "--out", out),
    )
    assert done.returncode == 0, done.stderr
    network = ReLUNetwork.load(out)
    assert network.metadata["outputs"] == ["blue", "red"]
    assert network.n_outputs == 2
    X = pd.read_csv(table)[["a", "b"]].to_numpy()
    Y = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    assert certify(TrainingProblem(X, Y, 0.1), network).gap <= 1e-6


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        ("a,y\n1,2\n,3\n", ["--targets", "y"], "missing value"),
        ("a,y\n1,2\nx,3\n", ["--targets", "y"], "column 'a'"),
        ("a,y\n1,2\n2,x\n", ["--targets", "y"], "column 'y'"),
        ("", ["--targets", "y"], "cannot read"),
        ("a,y\n", ["--targets", "y"], "no rows"),
        (TABLE, ["--targets", "z"], "no column 'z'"),
        (TABLE, ["--labels", "z"], "no column 'z'"),
        (TABLE, ["--targets", "y", "--features", "q"], "no column 'q'"),
        (TABLE, ["--targets", "y", "--features", "y"], "both a feature and a target"),
        (TABLE, ["--targets", "y", "--labels", "kind"], "not both"),
        (TABLE, [], "--targets a,b,c or --labels"),
        (TABLE, ["--targets", "y"], "column 'kind'"),
        ("a,y\n1,2\n1,3\n", ["--targets", "y", "--standardize"], "constant"),
        ("y\n1\n2\n", ["--targets", "y"], "no column left"),
        ("a,a,y\n1,2,3\n", ["--targets", "y"], "more than once"),
        ("a,y\n1,inf\n2,3\n", ["--targets", "y"], "finite"),
        ("a,y\n1,inf\n2,3\n", ["--targets", "y", "--standardize"], "finite"),
        # Ragged rows: pandas would make an index of the first column.
        (
            "a,b,y\n1,2,3,4\n5,6,7,8\n",
            ["--targets", "y"],
            "row 1 has 4 fields, the header has 3",
        ),
        (
            "a,b,y\n1,2,3\n\n5,6,7,\n",
            ["--targets", "y"],
            "row 2 has 4 fields, the header has 3. The last one is empty",
        ),
        ("a,b,y\n1,2,3\n5,6\n", ["--targets", "y"], "row 2 has 2 fields"),
        ("a,y,\n1,2,\n", ["--targets", "y"], "no name in field 3 of 3"),
        (",a,y\n0,1,2\n", ["--targets", "y"], "no name in field 1 of 3"),
        ("a, a ,y\n1,2,3\n", ["--targets", "y"], "'a' more than once"),
        # Constant up to rounding: the standard deviation is 1.5e-8.
        (
            "a,b,y\n" + "".join(f"{k},100000000.1,{k}\n" for k in range(20)),
            ["--targets", "y", "--standardize"],
            "column 'b'",
        ),
        (
            "a,b,y\n1,0.3,1\n2,0.30000000000000004,3\n",
            ["--targets", "y", "--standardize"],
            "column 'b'",
        ),
        ("a,y\n1e200,2\n-1e200,3\n", ["--targets", "y", "--standardize"], "overflow"),
        (f"a,y\n1,2\n{400 * '1'},3\n", ["--targets", "y"], "too large"),
        (TABLE, ["--targets", "y,y"], "--targets names the column 'y' more than once"),
        (
            TABLE,
            ["--targets", "y", "--features", "a,a"],
            "--features names the column 'a' more than once",
        ),
        (TABLE, ["--targets", "y", "--features", ","], "--features names no column"),
        (TABLE, ["--targets", "y", "--labels", ""], "not both"),
    ],
)
def test_bad_tables_are_refused_and_nothing_is_written(
    run, tmp_path, content, arguments, says
):
    path = tmp_path / "table.csv"
    path.write_text(content)
    done = run("train", path, *arguments, "--beta", "0.1", "--out", tmp_path / "n.json")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--beta", "0"], "beta must be positive"),
        (["--beta", "-1"], "beta must be positive"),
        (["--beta", "nan"], "beta must be positive"),
        (["--beta", "much"], "not a valid float"),
        ([], "--beta"),
        (["--beta", "0.1", "--gap", "0"], "gap must be positive"),
        (["--beta", "0.1", "--out", "nowhere/net.json"], "does not exist"),
        (["--beta", "0.1", "--out", "net.txt"], ".json or .npz"),
        (["--beta", "0.1", "--out", "net"], ".json or .npz"),
        (["--beta", "0.1", "--out", ""], ".json or .npz"),
        (["--beta", "0.1", "--out", 300 * "n" + ".json"], "cannot write"),
    ],
)
def test_bad_options_are_refused_and_nothing_is_written(
    run, monkeypatch, table, arguments, says
):
    monkeypatch.chdir(table.parent)
    done = run(
        *("train", table, "--targets", "y", "--features", "a,b"),
        *arguments,
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in table.parent.iterdir()] == ["table.csv"]


def test_an_output_is_refused_before_the_training(run, monkeypatch, table):
    monkeypatch.setattr("pyomo_relu.cli.train", lambda *_, **__: pytest.fail("trained"))
    done = run(
        *("train", table, "--targets", "y", "--features", "a,b", "--beta", "0.1"),
        *("--out", ""),
    )
    assert done.returncode == 2


def test_names_may_have_blanks_around_them(run, tmp_path):
    path, out = tmp_path / "table.csv", tmp_path / "net.json"
    path.write_text(" a,b ,y \n1, 0,1\n0, 1,2\n")
    done = run(
        *("train", path, "--targets", "y", "--features", "a,b", "--beta", "0.1"),
        *("--out", out),
    )
    assert done.returncode == 0, done.stderr
    metadata = ReLUNetwork.load(out).metadata
    assert (metadata["inputs"], metadata["outputs"]) == (["a", "b"], ["y"])


def test_quoted_commas_and_lines_are_no_fields(run, tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('a,y,kind\n1,1,"x, z"\n0,2,"two\nlines"\n')
    done = run(
        *("train", path, "--targets", "y", "--features", "a", "--beta", "0.1"),
    )
    assert done.returncode == 0, done.stderr


def test_an_unknown_column_of_many_is_a_short_line(run, tmp_path):
    path = tmp_path / "wide.csv"
    names = [f"column_{k}" for k in range(20_000)]
    path.write_text(f"{','.join(names)}\n{','.join(['1'] * len(names))}\n")
    done = run("train", path, "--targets", "y", "--beta", "0.1")
    assert done.returncode == 2
    assert "'column_9' and 19,990 more" in done.stderr
    assert len(done.stderr) < 500


def test_too_many_cells_are_advised_in_options(run):
    iris = DATA / "iris.csv"
    arguments = ("train", iris, "--labels", "species", "--beta", "0.1")
    done = run(*arguments)
    assert done.returncode == 2
    # 2 (C(148, 0) + C(148, 1) + C(148, 2) + C(148, 3))
    assert "1,080,846 cells" in done.stderr
    assert "enumerate_cells" not in done.stderr
    assert "sample_cells" not in done.stderr
    advice = "--features petal_length,petal_width"
    assert advice in done.stderr
    followed = run(*arguments, *advice.split())
    assert followed.returncode == 0, followed.stderr
    assert "(proved)" in followed.stdout


def test_an_interruption_of_the_imports_is_no_traceback():
    script = """
import sys
import pyomo_relu

class Interrupt:
    def find_spec(self, name, *_):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt())
from pyomo_relu.__main__ import main
from pyomo_relu.tiers import tier_table, tier_table_markdown
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (1, "Aborted!\n")


def test_a_missing_file_is_named(run, tmp_path):
    done = run("train", tmp_path / "none.csv", "--targets", "y", "--beta", "1")
    assert done.returncode == 2
    assert "none.csv" in done.stderr


def test_an_unproved_gap_is_an_exit_status(run, table, tmp_path):
    out = tmp_path / "net.json"
    done = run(
        *("train", table, "--targets", "y", "--features", "a,b"),
        *("--beta", "0.1", "--gap", "1e-300", "--out", out),
    )
    assert done.returncode == 3
    assert "NOT proved" in done.stdout
    assert json.loads(out.read_text())["format"] == "pyomo_relu.ReLUNetwork"


def test_version_and_help(run):
    assert run_process("--version").stdout.startswith("pyomo-relu")
    assert "--standardize" in run("train", "--help").stdout


def test_the_tiers_are_listed(run):
    done = run("tiers")
    assert done.returncode == 0
    for row in tier_table():
        assert row.tier in done.stdout
    assert run("tiers", "--format", "markdown").stdout == tier_table_markdown()


def test_the_solvers_are_listed(run):
    done = run("solvers")
    assert done.returncode == 0
    for row in solver_table():
        assert row.solver in done.stdout
    assert run("solvers", "--format", "markdown").stdout == solver_table().markdown()
    # docs/solvers.md holds the same table.
    docs = Path(__file__).parents[1] / "docs" / "solvers.md"
    assert solver_table().markdown() in docs.read_text()
