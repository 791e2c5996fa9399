"""Every tier and every program: what goes to which format, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu import (
    ExponentialCone,
    PSDCone,
    TrainingProblem,
    build_completely_positive,
    build_copositive,
    build_gated,
    build_group_lasso,
    build_nonconvex,
    export,
    relax,
)
from pyomo_relu.errors import InputError, InputTypeError, OutputError, PyomoReluError
from pyomo_relu.tiers import tier_table
from pyomo_relu.writers import FORMATS, find_format, read_name_map

rng = np.random.default_rng(2)
X, Y = rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
LABELS = np.eye(2)[[0, 1, 1, 0]]

ALGEBRA = {"nl", "mps", "lp"}
CONIC = {"dat-s", "cbf", "npz"}
#: What a class of programs can be written to.
HOLDS = {
    "LP": ALGEBRA | CONIC,
    "QP": ALGEBRA | CONIC,
    "SOCP": ALGEBRA | CONIC,
    "SDP": CONIC,
    "exponential": {"nl", "cbf", "npz"},
    "nonconvex quadratic": ALGEBRA,
    "copositive": set(),
}
#: Class of the completely positive program, squared loss, after each tier.
PRIMAL_TIERS = {
    "psd": "SDP",
    "dnn": "SDP",
    "sos": "SDP",
    "partition": "copositive",
    "minors": "SOCP",
    "cuts": "LP",
    "dd": "QP",
    "rays": "SOCP",
    "ray_pairs": "SDP",
    "factorized": "nonconvex quadratic",
}
DUAL_TIERS = {
    "psd": "SDP",
    "dnn": "SDP",
    "sos": "SDP",
    "partition": "copositive",
    "dd": "QP",
    "sdd": "SOCP",
    "rays": "SDP",
    "ray_pairs": "SDP",
}
DNN_TIERS = {"psd": "SDP", "partition": "SDP", "minors": "SOCP", "cuts": "LP"}
LOSSES = {
    "squared": "QP",
    "absolute": "LP",
    "huber": "QP",
    "quantile": "LP",
    "logistic": "exponential",
    "hinge": "LP",
}


def tiered(build, *tiers, loss="squared"):
    targets = LABELS if loss in ("logistic", "hinge") else Y
    model = build(TrainingProblem(X, targets, 0.2, loss=loss))
    for tier in tiers:
        relax(model, tier)
    return model


def program(name):
    problem = TrainingProblem(X, Y, 0.2)
    one = TrainingProblem(X, Y[:, 0], 0.2)
    return {
        "group lasso": lambda: build_group_lasso(one),
        "dictionary": lambda: build_group_lasso(problem),
        "one-vs-all": lambda: build_group_lasso(problem, form="one_vs_all"),
        "gated": lambda: build_gated(problem),
        "gated, one output": lambda: build_gated(one),
        "patterns": lambda: build_nonconvex(problem, 2, form="patterns", seed=0),
        "complementarity": lambda: build_nonconvex(
            problem, 2, form="complementarity", seed=0
        ),
        "big-M": lambda: build_nonconvex(problem, 2, form="big_m", seed=0),
    }[name]()


PROGRAMS = {
    "group lasso": "SOCP",
    "dictionary": "SOCP",
    "one-vs-all": "SOCP",
    "gated": "SDP",
    "gated, one output": "SOCP",
    "patterns": "nonconvex quadratic",
    "complementarity": "nonconvex quadratic",
    "big-M": "nonconvex quadratic",
}
TABLE = {
    "primal": (lambda: tiered(build_completely_positive), "copositive"),
    "dual": (lambda: tiered(build_copositive), "copositive"),
    **{
        f"primal {tier}": (lambda t=tier: tiered(build_completely_positive, t), kind)
        for tier, kind in PRIMAL_TIERS.items()
    },
    **{
        f"dual {tier}": (lambda t=tier: tiered(build_copositive, t), kind)
        for tier, kind in DUAL_TIERS.items()
    },
    **{
        f"dnn {tier}": (
            lambda t=tier: tiered(build_completely_positive, "dnn", t),
            kind,
        )
        for tier, kind in DNN_TIERS.items()
    },
    **{
        f"dd, {loss}": (
            lambda w=loss: tiered(build_completely_positive, "dd", loss=w),
            kind,
        )
        for loss, kind in LOSSES.items()
    },
    **{name: (lambda n=name: program(n), kind) for name, kind in PROGRAMS.items()},
}


def test_no_tier_is_forgotten():
    named = {
        "completely positive": set(PRIMAL_TIERS),
        "copositive": set(DUAL_TIERS),
        "doubly nonnegative": set(DNN_TIERS),
    }
    for row in tier_table():
        if row.cone in named:
            assert row.tier.removeprefix("relu.") in named[row.cone]


@pytest.mark.parametrize("name", TABLE)
def test_the_table(name, tmp_path):
    make, kind = TABLE[name]
    model = make()
    for key, form in FORMATS.items():
        path = tmp_path / f"{key}{form.suffixes[0]}"
        beside = tmp_path / f"{key}.names.json"
        if key not in HOLDS[kind]:
            with pytest.raises(PyomoReluError) as caught:
                export(model, path)
            message = str(caught.value)
            assert "'" in message, "names the component"
            assert "tier" in message or "Formats that can" in message
            assert not path.exists()
            assert not beside.exists()
            continue
        names = export(model, path)
        assert path.stat().st_size > 0
        assert read_name_map(beside) == names
        again = tmp_path / f"again{form.suffixes[0]}"
        export(model, again)
        assert again.read_bytes() == path.read_bytes()
    # A second model of the same data is the same file.
    other = make()
    for key in HOLDS[kind]:
        suffix = FORMATS[key].suffixes[0]
        export(other, tmp_path / f"other{suffix}")
        first = (tmp_path / f"{key}{suffix}").read_bytes()
        assert (tmp_path / f"other{suffix}").read_bytes() == first


@pytest.mark.parametrize("key", HOLDS["LP"])
def test_the_map_names_every_variable_once(key, tmp_path):
    model = tiered(build_completely_positive, "dd", loss="absolute")
    path = tmp_path / f"model{FORMATS[key].suffixes[0]}"
    names = export(model, path)
    of = [component for _, component, role in names.columns if role == "variable"]
    known = {v.name for v in model.component_data_objects(pyo.Var) if not v.fixed}
    assert len(set(of)) == len(of)
    assert set(of) <= known
    if key in ALGEBRA:
        labels = [label for label, _, _ in names.columns]
        assert len({label.lower() for label in labels}) == len(labels)
        text = path.read_bytes().decode()
        assert key == "nl" or all(label in text for label in labels)


def test_cone_blocks_are_in_the_map(tmp_path):
    model = pyo.ConcreteModel()
    model.x = pyo.Var([0, 1, 2])
    model.first = PSDCone([[1.0, model.x[0]], [model.x[0], 2.0]])
    model.second = ExponentialCone([model.x[1], 1.0, model.x[2]])
    model.objective = pyo.Objective(expr=model.x[2] - model.x[0])
    names = export(model, tmp_path / "model.cbf")
    assert {cone["component"] for cone in names.cones} >= {"first", "second"}
    assert names.metadata == {}


def small():
    model = pyo.ConcreteModel()
    model.x = pyo.Var(bounds=(0, 1))
    model.objective = pyo.Objective(expr=model.x)
    return model


def test_names_of_files(tmp_path):
    model = small()
    export(model, tmp_path / "a.mps.gz", metadata={"run": 3})
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.mps.gz", "a.names.json"]
    assert read_name_map(tmp_path / "a.names.json").metadata == {"run": 3}
    export(model, tmp_path / "b.txt", format="lp")
    assert (tmp_path / "b.names.json").exists()
    export(model, tmp_path / "c.nl")
    assert (tmp_path / "c.col").read_text() == "x\n"
    assert find_format("x/y.dat-s")[1] == "x/y"


@pytest.mark.parametrize(
    ("path", "options", "error"),
    [
        ("model.xyz", {}, InputError),
        ("model", {}, InputError),
        ("model.lp", {"format": "xyz"}, InputError),
        ("model.lp", {"metadata": 3}, InputTypeError),
        ("model.lp", {"metadata": {"a": float("nan")}}, InputError),
        ("model.lp", {"metadata": {"a": object()}}, InputError),
        ("missing/model.lp", {}, OutputError),
        ("folder.lp", {}, OutputError),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, path, options, error):
    (tmp_path / "folder.lp").mkdir()
    with pytest.raises(error):
        export(small(), tmp_path / path, **options)
    assert [f.name for f in tmp_path.iterdir()] == ["folder.lp"]


@pytest.mark.parametrize("model", [None, 3, pyo.AbstractModel()])
def test_what_is_no_model(tmp_path, model):
    with pytest.raises((InputError, InputTypeError)):
        export(model, tmp_path / "model.lp")
    with pytest.raises(InputTypeError):
        export(small(), 3)


def test_an_old_file_survives_a_failure(tmp_path, monkeypatch):
    path = tmp_path / "model.lp"
    export(small(), path)
    before = path.read_bytes()
    model = small()
    model.cone = PSDCone([[1.0, model.x], [model.x, 1.0]])
    with pytest.raises(PyomoReluError):
        export(model, path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OutputError, match="full"):
        export(small(), path)
    assert path.read_bytes() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == [
        "model.lp",
        "model.names.json",
    ]


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[1]", '{"what": "pyomo_relu name map", "layout": 9}', "\x00"],
)
def test_damaged_name_maps(tmp_path, content):
    path = tmp_path / "model.names.json"
    path.write_text(content)
    with pytest.raises(InputError):
        read_name_map(path)
    with pytest.raises(InputError):
        read_name_map(tmp_path / "missing.names.json")


def test_name_maps_lose_no_entry(tmp_path):
    export(small(), tmp_path / "model.lp")
    path = tmp_path / "model.names.json"
    content = json.loads(path.read_text())
    for key in content:
        if key in ("what", "layout", "entry"):
            continue
        damaged = {k: v for k, v in content.items() if k != key}
        Path(tmp_path / "bad.json").write_text(json.dumps(damaged))
        with pytest.raises(InputError, match="damaged"):
            read_name_map(tmp_path / "bad.json")
