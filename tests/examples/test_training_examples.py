"""The examples that train: gaps proved, constraints satisfied, tables and drawings."""

import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, mean_squared_error

from pyomo_relu.errors import MissingExtraError, OutputError

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ["monotone_regression", "fair_classifier", "huber_outliers", "patches"]
GAP = 1e-6
TOLERANCE = 1e-7


@pytest.fixture(scope="module", autouse=True)
def _examples_can_be_imported():
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What main() of an example returns, its file name drawn if that is possible."""
    folder = tmp_path_factory.mktemp("drawn")
    done = {}

    def outcome(name):
        if name not in done:
            path = folder / f"{name}.png"
            arguments = ["--plot", str(path)] if has_matplotlib() else []
            example = importlib.import_module(name)
            done[name] = example, example.main(arguments), path
        return done[name]

    return outcome


def has_matplotlib():
    return importlib.util.find_spec("matplotlib") is not None


def assert_proved(problem, network, certificate):
    assert certificate.gap <= GAP
    assert certificate.complete
    assert certificate.lower_bound <= certificate.objective
    objective = network.objective(problem)
    assert objective == pytest.approx(certificate.objective, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_drawn(outcomes, name):
    if not has_matplotlib():
        pytest.skip("matplotlib is not installed")
    _, _, path = outcomes(name)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000


def test_monotone_regression(outcomes):
    example, fits, _ = outcomes("monotone_regression")
    for each in fits.values():
        assert_proved(each.problem, each.network, each.certificate)
    free, monotone = fits["free"], fits["monotone"]
    steps = {
        name: np.diff(
            each.network.predict(example.grid(example.INDICES)).reshape(
                len(example.PRESSURES), len(example.INDICES)
            )
        )
        for name, each in fits.items()
    }
    assert steps["monotone"].min() >= -TOLERANCE
    # Otherwise the constraint would say nothing.
    assert steps["free"].min() < -0.1
    assert monotone.certificate.lower_bound > free.certificate.objective * 1.01
    assert monotone.certificate.constraints == steps["monotone"].size
    assert monotone.certificate.constraint_violation <= TOLERANCE


def test_the_anchors_of_the_monotone_regression_are_rows_of_equal_pressure(outcomes):
    example, _, _ = outcomes("monotone_regression")
    points = example.grid(np.array([1.0, 2.0]))
    assert points.tolist() == [
        [index, pressure] for pressure in example.PRESSURES for index in (1.0, 2.0)
    ]
    X, y, others, truth = example.make_data()
    assert len(X) + len(others) == len(y) + len(truth) == 442


def test_fair_classifier(outcomes):
    example, fits, _ = outcomes("fair_classifier")
    X, _, group = example.make_data()
    objectives = []
    for limit, each in fits.items():
        assert_proved(each.problem, each.network, each.certificate)
        scores = each.network.predict(X)[:, 0]
        difference = scores[group == 1].mean() - scores[group == 0].mean()
        if limit is not None:
            assert abs(difference) <= limit + TOLERANCE
            # All limits are below the free difference: the constraint is active.
            assert abs(difference) == pytest.approx(limit, abs=1e-6)
            assert each.certificate.constraint_violation <= TOLERANCE
        objectives.append(each.certificate.objective)
    # The limits tighten, and each costs something.
    assert (np.diff(objectives) > 0.1).all()
    assert fits[0.0].certificate.lower_bound > fits[None].certificate.objective


def test_no_other_network_of_the_fair_classifier_is_better(outcomes):
    """The bound holds for mixtures of the fits that satisfy the constraint."""
    example, fits, _ = outcomes("fair_classifier")
    free, tight = fits[None], fits[0.0]
    X, _, group = example.make_data()
    weights = example.weights_of_difference(group)
    ends = [weights @ each.network.predict(X)[:, 0] for each in (free, tight)]
    for limit in (0.6, 0.3):
        part = (limit - ends[1]) / (ends[0] - ends[1])
        mixture = type(free.network)(
            np.hstack([free.network.first, tight.network.first]),
            np.vstack([part * free.network.second, (1 - part) * tight.network.second]),
            bias=np.concatenate([free.network.bias, tight.network.bias]),
        )
        scores = mixture.predict(X)[:, 0]
        assert weights @ scores == pytest.approx(limit, abs=1e-9)
        objective = mixture.balance().objective(free.problem)
        assert objective >= fits[limit].certificate.lower_bound * (1 - 1e-9)


def test_huber_outliers(outcomes):
    example, fits, _ = outcomes("huber_outliers")
    X, y, is_outlier = example.make_data()
    assert is_outlier.sum() == 6
    for each in fits.values():
        assert each.result.converged
        assert_proved(each.problem, each.result.network, each.result.certificate)
        grid = example.GRID
        squares = mean_squared_error(
            example.truth(grid), each.result.network.predict(grid)
        )
        assert each.error == pytest.approx(squares**0.5)
    assert max(fits["Huber"].error, fits["absolute"].error) < 0.2
    assert fits["squared"].error > 0.4
    # Sums, where scikit-learn has means.
    for name, metric, factor in (
        ("squared", mean_squared_error, 0.5),
        ("absolute", mean_absolute_error, 1.0),
    ):
        problem, network = fits[name].problem, fits[name].result.network
        predictions = network.predict(X)
        loss = problem.loss_value(predictions)
        assert loss == pytest.approx(factor * len(y) * metric(y, predictions))


def test_no_loss_of_the_huber_example_beats_another_at_its_own_objective(outcomes):
    _, fits, _ = outcomes("huber_outliers")
    for name, each in fits.items():
        for other in fits.values():
            network = other.result.network
            objective = network.balance().objective(each.problem)
            assert objective >= each.result.certificate.lower_bound, name


def test_patches(outcomes):
    example, outcome, _ = outcomes("patches")
    assert outcome.problem.n_patches == 7
    assert outcome.result.converged
    network = outcome.result.network
    assert_proved(outcome.problem, network, outcome.result.certificate)
    signals, y = example.make_signals(40)
    means = np.zeros(len(y))
    for start in range(signals.shape[1] - 1):
        hidden = np.maximum(signals[:, start : start + 2] @ network.first, 0.0)
        means += (hidden @ network.second)[:, 0] / (signals.shape[1] - 1)
    assert network.predict(example.windows(signals))[:, 0] == pytest.approx(means)
    assert outcome.correct[0] == np.mean(means * y > 0.0)
    assert outcome.correct[1] > 0.85
    assert abs(outcome.linear[1] - 0.5) < 0.05


@pytest.mark.parametrize("name", NAMES)
def test_a_drawing_without_matplotlib_is_refused_before_the_work(name, monkeypatch):
    example = importlib.import_module(name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for work in ("train", "solve"):
        monkeypatch.setattr(example, work, no_work, raising=False)
    with pytest.raises(MissingExtraError, match=r"pyomo-relu\[plot\]"):
        example.main(["--plot", "never.png"])


def test_a_drawing_into_no_folder_is_refused_before_the_work(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    example = importlib.import_module("huber_outliers")
    monkeypatch.setattr(example, "train", no_work)
    with pytest.raises(OutputError, match="does not exist"):
        example.main(["--plot", str(tmp_path / "none" / "never.png")])


def no_work(*_, **__):
    raise AssertionError("something was solved")


def test_it_runs_as_a_reader_runs_it(tmp_path):
    done = subprocess.run(
        [sys.executable, EXAMPLES / "huber_outliers.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "loss",
        "squared",
        "Huber",
        "absolute",
    ]
    assert not list(tmp_path.iterdir())
