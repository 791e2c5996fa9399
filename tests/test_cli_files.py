"""``pyomo-relu build`` and ``recover``: to solvers elsewhere and back."""

import json

import numpy as np
import pandas as pd
import pytest

from pyomo_relu import ReLUNetwork, TrainingProblem, train
from tests.solution_files.solution_cases import by_scip
from tests.solution_files.solution_cases import run as run_program

OPTIONS = ("--targets", "y,z", "--beta", "0.2")


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(4)
    frame = pd.DataFrame(rng.normal(size=(7, 4)).round(3), columns=["a", "b", "y", "z"])
    frame["kind"] = list("uvuvuvu")
    frame.to_csv(tmp_path / "data.csv", index=False)
    return tmp_path / "data.csv", frame


def features(*more):
    return (*OPTIONS, "--features", "a,b", *more)


def test_a_semidefinite_program_there_and_back(run, data, tmp_path):
    path, frame = data
    model, out = tmp_path / "model.dat-s", tmp_path / "net.json"
    done = run("build", path, *features("--standardize", "--out", model))
    assert done.returncode == 0, done.stderr
    assert "exact" in done.stdout
    assert "model.names.json" in done.stdout
    run_program(tmp_path, "csdp", "model.dat-s", "solution.txt")
    done = run(
        *("recover", tmp_path / "model.names.json", tmp_path / "solution.txt"),
        *("--out", out),
    )
    assert done.returncode == 0, done.stderr
    network = ReLUNetwork.load(out)
    assert network.metadata["inputs"] == ["a", "b"]
    numbers = (frame.iloc[:, :4] - frame.iloc[:, :4].mean()) / frame.iloc[:, :4].std(
        ddof=0
    )
    X, Y = numbers[["a", "b"]], numbers[["y", "z"]]
    expected = train(X, Y, 0.2)
    found = network.objective(TrainingProblem(X, Y, 0.2))
    assert found == pytest.approx(expected.certificate.objective, rel=1e-6)
    assert f"{found:.6g}" in done.stdout


@pytest.mark.parametrize(
    "more",
    [
        ("--loss", "huber:0.5", "--bias", "--tier", "dd"),
        ("--loss", "absolute", "--activation", "leaky_relu:0.1", "--tier", "dd"),
        ("--program", "group_lasso", "--skip", "0.5"),
        ("--tier", "partition", "--tier", "rays"),
    ],
)
def test_other_programs_and_tiers(run, data, tmp_path, more):
    path, _ = data
    done = run("build", path, *features(*more, "--out", tmp_path / "model.lp"))
    assert done.returncode == 0, done.stderr
    solution = by_scip(tmp_path, tmp_path / "model.lp")
    done = run(
        "recover", tmp_path / "model.names.json", solution, "--tolerance", "1e-3"
    )
    assert done.returncode == 0, done.stderr
    assert "proven lower bound" in done.stdout


def test_classes(run, data, tmp_path):
    path, _ = data
    out = tmp_path / "model.cbf"
    done = run(
        *("build", path, "--labels", "kind", "--features", "a,b", "--beta", "0.1"),
        *("--loss", "logistic", "--out", out),
    )
    assert done.returncode == 0, done.stderr
    assert "\nEXP 3\n" in out.read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--out", "model.xyz"), "suffix"),
        (("--out", "model.mps"), "cone"),
        (("--tier", "xyz", "--out", "model.cbf"), "tier"),
        (("--program", "gated", "--tier", "dnn", "--out", "model.cbf"), ""),
        (("--format", "xyz", "--out", "model.cbf"), "format"),
        (("--out", "missing/model.cbf"), "folder"),
    ],
)
def test_what_build_refuses(run, data, tmp_path, monkeypatch, more, message):
    monkeypatch.chdir(tmp_path)
    done = run("build", data[0], *features(*more))
    assert done.returncode == 2
    assert done.stderr.startswith("pyomo-relu: ")
    assert message in done.stderr
    assert sorted(f.name for f in tmp_path.iterdir()) == ["data.csv"]


def test_what_recover_refuses(run, data, tmp_path):
    names = tmp_path / "model.names.json"
    done = run(
        "build", data[0], *features("--tier", "dd", "--out", tmp_path / "model.mps")
    )
    assert done.returncode == 0, done.stderr
    solution = tmp_path / "solution.csv"
    solution.write_text("name,value\nx,1\n")
    done = run("recover", names, solution)
    assert done.returncode == 2
    assert "'x'" in done.stderr
    assert run("recover", names, tmp_path / "missing.txt").returncode == 2
    assert run("recover", data[0], solution).returncode == 2
    # Another model than that of the map.
    content = json.loads(names.read_text())
    content["metadata"]["recipe"]["tiers"] = ["rays"]
    names.write_text(json.dumps(content))
    done = run("recover", names, solution)
    assert "not the one that was exported" in done.stderr
    content["metadata"] = {}
    names.write_text(json.dumps(content))
    assert "read_solution" in run("recover", names, solution).stderr
