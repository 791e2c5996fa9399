"""The command line: the main job, bad input, exit statuses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyomo_relu import ReLUNetwork, TrainingProblem, certify
from pyomo_relu.__main__ import main

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
