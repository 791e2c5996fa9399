"""A run that was stopped goes on, and proves the same."""

import subprocess
import sys
import time

import numpy as np
import pytest

from pyomo_relu import train
from pyomo_relu.errors import InputError, InputTypeError, OutputError
from pyomo_relu.generation.restricted import RestrictedProgram


def data(seed=4, n=22):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 3)), rng.normal(size=(n, 2))


@pytest.mark.parametrize("options", [{}, {"loss": "huber", "bias": True, "skip": 0.5}])
def test_a_resumed_run_is_the_whole_run(tmp_path, options):
    X, Y = data(n=10 if options else 22)
    path = tmp_path / "run.npz"
    whole = train(X, Y, 0.2, method="generation", **options)
    assert len(whole.history) > 2
    part = train(X, Y, 0.2, max_rounds=2, checkpoint=path, **options)
    assert len(part.history) == 2
    resumed = train(X, Y, 0.2, checkpoint=path, **options)
    assert [row.cells for row in resumed.history] == [r.cells for r in whole.history]
    np.testing.assert_allclose(
        [row.model_objective for row in resumed.history],
        [row.model_objective for row in whole.history],
        rtol=1e-7,
    )
    assert resumed.converged
    assert resumed.certificate.lower_bound == pytest.approx(
        whole.certificate.lower_bound, rel=2e-6
    )
    # Once more: there is nothing left to do.
    again = train(X, Y, 0.2, checkpoint=path, **options)
    assert again.converged


def test_a_killed_process_leaves_a_file_to_go_on_from(tmp_path):
    path = tmp_path / "run.npz"
    script = f"""
import numpy as np
from pyomo_relu import train
rng = np.random.default_rng(4)
train(rng.normal(size=(40, 3)), rng.normal(size=(40, 2)), 0.1, gap=1e-9,
      checkpoint={str(path)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    end = time.monotonic() + 120
    while not path.exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    process.kill()
    process.wait()
    X, Y = data(n=40)
    result = train(X, Y, 0.1, gap=1e-6, checkpoint=path)
    assert result.converged
    assert len(list(tmp_path.iterdir())) <= 2


def test_what_is_in_the_file_is_not_believed(tmp_path):
    X, Y = data()
    path = tmp_path / "run.npz"
    train(X, Y, 0.2, max_rounds=2, checkpoint=path)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["first"] = 3.0 * arrays["first"]
    arrays["dual"] = 1e3 * np.ones_like(Y)
    np.savez(path, **arrays)
    result = train(X, Y, 0.2, checkpoint=path)
    full = train(X, Y, 0.2, method="generation")
    assert result.certificate.lower_bound <= full.certificate.objective * (1 + 1e-12)
    assert result.certificate.objective == pytest.approx(
        full.certificate.objective, rel=1e-5
    )


def test_other_problems_and_damaged_files_are_refused(tmp_path):
    X, Y = data()
    path = tmp_path / "run.npz"
    train(X, Y, 0.2, max_rounds=1, checkpoint=path)
    for changed in ((X, Y, 0.3), (X + 1e-9, Y, 0.2)):
        with pytest.raises(InputError, match="another problem"):
            train(*changed, checkpoint=path)
    whole = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        train(X, Y, 0.2, checkpoint=path)
    path.write_bytes(whole)
    with np.load(path) as archive:
        arrays = dict(archive)
    state = arrays["state"].item()
    for name, value in (
        ("active", np.array([["a", "b", "c"]])),
        ("active", np.full((2, 3), np.nan)),
        ("rays", arrays["rays"][:0]),
        ("counts", 0 * arrays["counts"]),
        ("points", np.roll(arrays["points"], 1, axis=0)),
        ("first", 1e300 * arrays["first"]),
        ("dual", np.full((3, 3), 1.0)),
        ("Z", np.full_like(Y, np.inf)),
        ("state", np.array(state.replace('"round": 1', '"round": Infinity'))),
        ("state", np.array(state.replace('"round": 1', '"round": -5'))),
    ):
        np.savez(path, **{**arrays, name: value})
        with pytest.raises(InputError, match="cannot be read"):
            train(X, Y, 0.2, checkpoint=path)
    rng = np.random.default_rng(0)
    for _ in range(20):
        cut = int(rng.integers(len(whole)))
        path.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="cannot be read"):
            train(X, Y, 0.2, checkpoint=path)


def test_an_interrupted_round_is_not_in_the_file(tmp_path, monkeypatch):
    X, Y = data()
    path = tmp_path / "run.npz"
    original = RestrictedProgram.solve
    solves = []

    def interrupted(self, time_limit=None):
        solves.append(1)
        if len(solves) == 3:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(RestrictedProgram, "solve", interrupted)
    assert train(X, Y, 0.2, checkpoint=path).interrupted
    monkeypatch.setattr(RestrictedProgram, "solve", original)
    assert train(X, Y, 0.2, checkpoint=path).converged


def test_bad_paths(tmp_path):
    X, Y = data()
    with pytest.raises(OutputError):
        train(X, Y, 0.2, checkpoint=tmp_path / "missing" / "run.npz")
    with pytest.raises(InputTypeError):
        train(X, Y, 0.2, checkpoint=3)
    with pytest.raises(InputError, match="generation"):
        train(X, Y, 0.2, method="enumeration", checkpoint=tmp_path / "run.npz")
