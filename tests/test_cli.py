"""The command line: the main job, bad input, exit statuses."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyomo_relu import (
    AbsoluteValue,
    Huber,
    LeakyReLU,
    Quantile,
    ReLUNetwork,
    TrainingProblem,
    certify,
    solver_table,
    train,
    training,
)
from pyomo_relu.cli.train import Progress
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


WEIGHTED = "a,b,y,kind,w\n1,0,1,red,1\n0,1,2,blue,2\n1,1,2,red,0\n-1,2,1,blue,0.5\n"


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--loss", "absolute"], {"loss": "absolute"}),
        (["--loss", "huber"], {"loss": Huber(1.0)}),
        (["--loss", "huber:0.5", "--bias"], {"loss": Huber(0.5), "bias": True}),
        (["--loss", "quantile:0.9"], {"loss": Quantile(0.9)}),
        (["--activation", "absolute"], {"activation": AbsoluteValue()}),
        (["--activation", "leaky_relu:-0.2"], {"activation": LeakyReLU(-0.2)}),
        (["--activation", "leaky_relu(0.1)"], {"activation": LeakyReLU(0.1)}),
        (["--skip", "0.5", "--no-bias"], {"skip": 0.5}),
        (["--skip", "free", "--bias"], {"skip": True, "bias": True}),
        (["--weights", "w"], {"sample_weight": [1.0, 2.0, 0.0, 0.5]}),
        (["--labels", "kind", "--loss", "logistic"], {"loss": "logistic"}),
        (
            ["--labels", "kind", "--loss", "hinge", "--weights", "w"],
            {"loss": "hinge", "sample_weight": [1.0, 2.0, 0.0, 0.5]},
        ),
    ],
)
def test_options_of_the_problem(run, tmp_path, arguments, options):
    path, out = tmp_path / "table.csv", tmp_path / "net.json"
    path.write_text(WEIGHTED)
    what = [] if "--labels" in arguments else ["--targets", "y"]
    done = run(
        *("train", path, *what, "--features", "a,b", "--beta", "0.1"),
        *(*arguments, "--out", out),
    )
    assert done.returncode == 0, done.stderr
    X = [[1, 0], [0, 1], [1, 1], [-1, 2]]
    Y = [[0, 1], [1, 0], [0, 1], [1, 0]] if not what else [1, 2, 2, 1]
    problem = TrainingProblem(X, Y, 0.1, **options)
    assert f"loss ({problem.loss.name}, sum)" in done.stdout
    network = ReLUNetwork.load(out)
    assert network.metadata["loss"] == repr(problem.loss)
    assert network.activation == problem.activation
    assert (network.bias is not None) == problem.bias
    assert (network.skip is not None) == (problem.skip is not None)
    expected = train(X, Y, 0.1, **options).certificate
    assert network.objective(problem) <= expected.lower_bound + 1e-5
    printed = float(
        re.search(r"network objective .*? ([0-9][0-9.e+-]*) ", done.stdout)[1]
    )
    assert printed == pytest.approx(network.objective(problem), abs=1e-8)


def test_weights_are_no_feature(run, tmp_path):
    path, out = tmp_path / "table.csv", tmp_path / "net.json"
    path.write_text("a,y,w\n1,1,1\n0,2,2\n2,1,3\n")
    done = run(
        *("train", path, "--targets", "y", "--beta", "0.1", "--weights", " w "),
        *("--out", out),
    )
    assert done.returncode == 0, done.stderr
    metadata = ReLUNetwork.load(out).metadata
    assert (metadata["inputs"], metadata["weights"]) == (["a"], "w")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--targets", "y", "--loss", "mse"], "loss must be one of"),
        (["--targets", "y", "--loss", ""], "loss must be one of"),
        (["--targets", "y", "--loss", "squared:2"], "'squared' takes no parameter"),
        (["--targets", "y", "--loss", "huber:"], "number after the colon"),
        (["--targets", "y", "--loss", "huber:wide"], "number after the colon"),
        (["--targets", "y", "--loss", "huber:-1"], "width of the Huber loss"),
        (["--targets", "y", "--loss", "huber:nan"], "width of the Huber loss"),
        (["--targets", "y", "--loss", "quantile:1"], "tau of the quantile loss"),
        (["--targets", "y", "--loss", "hinge"], "give their column as --labels"),
        (["--targets", "y", "--loss", "logistic"], "give their column as --labels"),
        (["--targets", "y", "--activation", "tanh"], "activation must be"),
        (["--targets", "y", "--activation", "relu:1"], "'relu' takes no parameter"),
        (["--targets", "y", "--activation", "leaky_relu:1"], "not 1"),
        (["--targets", "y", "--activation", "leaky_relu:x"], "after the colon"),
        (["--targets", "y", "--skip", "yes"], "'free' or a positive number"),
        (["--targets", "y", "--skip", "0"], "'free' or a positive number"),
        (["--targets", "y", "--skip", "inf"], "'free' or a positive number"),
        (["--targets", "y", "--weights", "z"], "no column 'z'"),
        (["--targets", "y", "--weights", "kind"], "column 'kind'"),
        (["--targets", "y", "--weights", "y"], "both a weight and"),
        (["--targets", "y", "--weights", "a"], "both a weight and"),
        (["--labels", "kind", "--weights", "kind"], "both a weight and"),
        (["--targets", "y", "--weights", "minus"], "must hold weights"),
        (["--targets", "y", "--weights", "none"], "must hold weights"),
        (["--labels", "none", "--loss", "hinge"], "holds '0' alone"),
    ],
)
def test_bad_options_of_the_problem_are_refused(run, tmp_path, arguments, says):
    path = tmp_path / "table.csv"
    path.write_text("a,b,y,kind,minus,none\n1,0,1,red,1,0\n0,1,2,blue,-1,0\n")
    done = run(
        *("train", path, *arguments, "--features", "a,b", "--beta", "0.1"),
        *("--out", tmp_path / "net.json"),
    )
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


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
    monkeypatch.setattr(
        "pyomo_relu.cli.train.train", lambda *_, **__: pytest.fail("trained")
    )
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
    arguments = ("train", iris, "--labels", "species", "--beta", "0.1", "--bias")
    done = run(*arguments, "--method", "enumeration")
    assert done.returncode == 2
    # 2 (C(148, 0) + C(148, 1) + C(148, 2) + C(148, 3) + C(148, 4))
    assert "39,462,056 cells" in done.stderr
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


def test_rounds_checkpoints_and_processes(run, tmp_path):
    rng = np.random.default_rng(0)
    columns = [*(f"x{i}" for i in range(3)), "y", "z"]
    path, kept = tmp_path / "data.csv", tmp_path / "run.npz"
    pd.DataFrame(rng.normal(size=(20, 5)), columns=columns).to_csv(path, index=False)
    job = ("train", path, "--targets", "y,z", "--beta", "0.2", "--checkpoint", kept)
    short = run(*job, "--max-rounds", "2", "--gap", "1e-300")
    assert short.returncode == 3, short.stderr
    assert kept.exists()
    done = run_process(*job, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    # What is not a terminal gets no progress.
    assert done.stderr == ""
    assert "(proved)" in done.stdout
    other = run(*job[:-2], "--method", "generation")

    def objective(text):
        return float(re.search(r"network objective\D+([\d.]+)", text).group(1))

    assert objective(done.stdout) == pytest.approx(objective(other.stdout), rel=2e-6)
    assert objective(short.stdout) >= objective(done.stdout) * (1.0 - 1e-6)
    refused = run(*job, "--method", "local")
    assert refused.returncode == 2
    assert "checkpoint" in refused.stderr


def test_progress_keeps_the_numbers_of_the_last_round():
    shown = []
    progress = Progress(shown.append)
    progress("enumerating cells")
    progress("round 1: network 2, bound 1, gap 0.5")
    progress("round 2: pricing")
    assert shown == [
        "enumerating cells",
        "round 1: network 2, bound 1, gap 0.5",
        "round 1: network 2, bound 1, gap 0.5\n  round 2: pricing",
    ]


def test_cells_that_were_not_enumerated_are_not_counted(run, table, monkeypatch):
    monkeypatch.setattr(training, "MOST_CELLS", 0)
    done = run(
        *("train", table, "--targets", "y", "--features", "a,b", "--beta", "0.1"),
        *("--method", "generation"),
    )
    assert done.returncode == 0, done.stderr
    assert "all: the sphere is covered" in done.stdout


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
