"""ReLUNetwork: function, objective, balance, merging, files."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.errors import InputError, InputTypeError, OutputError
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem


def random_network(seed, d=3, m=5, c=2):
    rng = np.random.default_rng(seed)
    return ReLUNetwork(rng.normal(size=(d, m)), rng.normal(size=(m, c)))


def test_prediction_sums_over_neurons():
    network = random_network(0)
    X = np.random.default_rng(1).normal(size=(4, 3))
    expected = np.zeros((4, 2))
    for k in range(4):
        for j in range(5):
            activation = max(float(X[k] @ network.first[:, j]), 0.0)
            expected[k] += activation * network.second[j]
    np.testing.assert_allclose(network.predict(X), expected, rtol=1e-13)


def test_objective_is_a_sum_over_samples_plus_half_beta_weight_decay():
    problem = TrainingProblem([[1.0], [2.0]], [[0.0], [1.0]], beta=0.5)
    network = ReLUNetwork([[2.0]], [[3.0]])
    # Predictions 6 and 12: 1/2 (36 + 121) + 0.5/2 (4 + 9).
    assert network.objective(problem) == pytest.approx(81.75)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_balance_keeps_the_function_and_has_the_least_penalty(seed):
    network = random_network(seed)
    balanced = network.balance()
    X = np.random.default_rng(seed + 1).normal(size=(6, 3))
    np.testing.assert_allclose(balanced.predict(X), network.predict(X), atol=1e-12)
    u = np.linalg.norm(network.first, axis=0)
    v = np.linalg.norm(network.second, axis=1)
    assert balanced.penalty() == pytest.approx(float(u @ v))
    assert balanced.penalty() <= network.penalty() + 1e-12


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), factor=st.floats(0.01, 100.0))
def test_merging_parallel_neurons_keeps_the_function(seed, factor):
    network = random_network(seed)
    doubled = ReLUNetwork(
        np.hstack([network.first, factor * network.first[:, :2]]),
        np.vstack([network.second, network.second[1:3]]),
    )
    merged = doubled.merge()
    X = np.random.default_rng(seed + 1).normal(size=(6, 3))
    assert merged.n_neurons == 5
    np.testing.assert_allclose(merged.predict(X), doubled.predict(X), rtol=1e-8)
    assert merged.penalty() <= doubled.penalty() + 1e-12


def test_antiparallel_neurons_are_not_merged():
    assert ReLUNetwork([[1.0, -1.0]], [[1.0], [1.0]]).merge().n_neurons == 2


def test_neurons_that_cancel_vanish():
    assert ReLUNetwork([[1.0, 2.0]], [[2.0], [-1.0]]).merge().n_neurons == 0


@pytest.mark.parametrize("suffix", [".json", ".npz", ".NPZ"])
@pytest.mark.parametrize("neurons", [0, 1, 5])
def test_files_keep_every_bit(tmp_path, suffix, neurons):
    network = random_network(3, m=neurons)
    network = ReLUNetwork(network.first, network.second, metadata={"columns": ["a"]})
    path = tmp_path / f"net{suffix}"
    network.save(path)
    loaded = ReLUNetwork.load(path)
    np.testing.assert_array_equal(loaded.first, network.first)
    np.testing.assert_array_equal(loaded.second, network.second)
    assert loaded.first.shape == network.first.shape
    assert loaded.metadata == {"columns": ["a"]}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_npz_holds_no_pickle(tmp_path):
    path = tmp_path / "net.npz"
    random_network(0).save(path)
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) >= {"first", "second", "format", "version"}


def test_writing_replaces_the_old_file_or_leaves_it(tmp_path, monkeypatch):
    path = tmp_path / "net.json"
    random_network(0).save(path)
    before = path.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OutputError, match="disk full"):
        random_network(1).save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_output_paths_are_refused_early(tmp_path):
    network = random_network(0)
    with pytest.raises(OutputError, match="does not exist"):
        network.save(tmp_path / "nowhere" / "net.json")
    with pytest.raises(InputError, match=r"\.json or \.npz"):
        network.save(tmp_path / "net.pickle")
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OutputError, match="folder"):
        network.save(tmp_path / "folder.json")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": "other"}', "null", "3"]
)
@pytest.mark.parametrize("suffix", [".json", ".npz"])
def test_unreadable_files_are_refused(tmp_path, content, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_text(content)
    with pytest.raises(InputError, match="does not hold a network"):
        ReLUNetwork.load(path)


def test_a_file_with_nan_is_refused(tmp_path):
    path = tmp_path / "net.json"
    random_network(0).save(path)
    document = json.loads(path.read_text())
    document["first"][0][0] = float("nan")
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="finite"):
        ReLUNetwork.load(path)


def test_a_file_of_another_version_is_refused(tmp_path):
    path = tmp_path / "net.json"
    random_network(0).save(path)
    document = json.loads(path.read_text())
    document["version"] = 99
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="99"):
        ReLUNetwork.load(path)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        ReLUNetwork.load(tmp_path / "net.json")


@pytest.mark.parametrize(
    ("first", "second", "error", "says"),
    [
        ([[1.0]], [[1.0], [2.0]], InputError, "same number of neurons"),
        ([1.0], [[1.0]], InputError, "two dimensions"),
        ([[np.nan]], [[1.0]], InputError, "finite"),
        ([["x"]], [[1.0]], InputTypeError, "real numbers"),
        (np.zeros((0, 1)), [[1.0]], InputError, "at least one input"),
        ([[1.0]], np.zeros((1, 0)), InputError, "at least one"),
    ],
)
def test_bad_weights_are_refused(first, second, error, says):
    with pytest.raises(error, match=says):
        ReLUNetwork(first, second)


def test_bad_metadata_is_refused():
    with pytest.raises(InputTypeError, match="JSON"):
        ReLUNetwork([[1.0]], [[1.0]], metadata={"f": object()})


def test_samples_of_another_width_are_refused():
    with pytest.raises(InputError, match="3 columns"):
        random_network(0).predict([[1.0, 2.0]])
    with pytest.raises(InputError, match="3 inputs"):
        random_network(0).objective(TrainingProblem([[1.0]], [1.0], 0.1))


def test_printing_shows_every_neuron():
    network = random_network(0, m=4)
    assert str(network).count("|u||v|") == 4
    assert repr(network) == "ReLUNetwork(inputs=3, neurons=4, outputs=2)"
