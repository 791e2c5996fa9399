"""ReLUNetwork: function, objective, balance, merging, files."""

import io
import json
import re
import struct
import zipfile

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


def edited(tmp_path, **changes):
    """Return a JSON file of a (2, 2, 1) network, with other entries."""
    path = tmp_path / "net.json"
    random_network(0, d=2, m=2, c=1).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"first": [[1, 2, 3, 4]]},
        {"first": [1, 2, 3, 4]},
        {"first": [[[1, 2], [3, 4]]]},
        {"first": [[1, 2], [3]]},
        {"first": [["1", 2], [3, 4]]},
        {"first": [[True, 2], [3, 4]]},
        {"first": [[None, 2], [3, 4]]},
        {"first": [[10**400, 2], [3, 4]]},
        {"first": None},
        {"second": [1, 2]},
        {"second": [[1, 2]]},
        {"second": 3},
        {"second": [["1"], [2]]},
        {"inputs": 2.7},
        {"inputs": 2.0},
        {"inputs": "2"},
        {"outputs": True},
        {"outputs": 0},
        {"version": True},
        {"version": 1.0},
        {"metadata": None},
        {"metadata": [["a", 1]]},
        {"metadata": {"a": float("nan")}},
    ],
)
def test_json_of_other_shapes_and_types_is_refused(tmp_path, changes):
    assert ReLUNetwork.load(edited(tmp_path)).n_neurons == 2
    with pytest.raises(InputError, match="does not hold a network"):
        ReLUNetwork.load(edited(tmp_path, **changes))


def test_deep_json_is_refused(tmp_path):
    path = tmp_path / "net.json"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match="RecursionError"):
        ReLUNetwork.load(path)


def members(**changes):
    """Return the members of a (1, 1, 1) network in a .npz file."""
    arrays = {
        "format": np.array("pyomo_relu.ReLUNetwork"),
        "version": np.array(1),
        "activation": np.array("relu"),
        "first": np.array([[1.0]]),
        "second": np.array([[1.0]]),
        "metadata": np.array("{}"),
    }
    return arrays | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"first": np.array([[1.0 + 1.0j]])},
        {"first": np.array([["1"]])},
        {"second": np.array([[True]])},
        {"second": np.array([1.0])},
        {"second": np.array([[object()]])},
        {"version": np.array(True)},
        {"version": np.array([1, 1])},
        {"metadata": np.array("3")},
        {"metadata": np.array("{")},
        {"metadata": np.array(3)},
    ],
)
def test_npz_of_other_types_is_refused(tmp_path, changes):
    path = tmp_path / "net.npz"
    np.savez(path, **members())
    assert ReLUNetwork.load(path).n_neurons == 1
    np.savez(path, **members(**changes))
    with pytest.raises(InputError, match="does not hold a network"):
        ReLUNetwork.load(path)


def test_an_npz_with_a_forged_header_is_refused(tmp_path):
    path = tmp_path / "net.npz"
    np.savez(path, **members())
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)}
    )
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in (content | {"first.npy": stream.getvalue()}).items():
            archive.writestr(name, data)
    with pytest.raises(InputError, match="does not hold a network"):
        ReLUNetwork.load(path)


@pytest.mark.parametrize(
    ("offset", "number", "says"),
    # Flags and compression method of a zip member, after its signature.
    [(6, 1, "RuntimeError"), (8, 99, "NotImplementedError")],
)
def test_an_npz_that_cannot_be_unpacked_is_refused(tmp_path, offset, number, says):
    path = tmp_path / "net.npz"
    np.savez(path, **members())
    content = bytearray(path.read_bytes())
    for signature, shift in ((rb"PK\x03\x04", 0), (rb"PK\x01\x02", 2)):
        for found in re.finditer(signature, bytes(content)):
            struct.pack_into("<H", content, found.start() + offset + shift, number)
    path.write_bytes(content)
    with pytest.raises(InputError, match=says):
        ReLUNetwork.load(path)


def test_an_npz_of_damaged_content_is_refused(tmp_path):
    path = tmp_path / "net.npz"
    np.savez_compressed(path, **members())
    assert ReLUNetwork.load(path).n_neurons == 1
    content = bytearray(path.read_bytes())
    # A zip member: 30 bytes, its name, an extra field, its content.
    start = 30 + sum(struct.unpack_from("<HH", content, 26))
    content[start : start + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    with pytest.raises(InputError, match="Error -3 while decompressing"):
        ReLUNetwork.load(path)


def test_a_folder_is_no_network(tmp_path):
    (tmp_path / "net.json").mkdir()
    with pytest.raises(InputError, match="folder"):
        ReLUNetwork.load(tmp_path / "net.json")


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
        ([["1"]], [["2"]], InputTypeError, "the first layer must hold real"),
        ([[1.0]], [["2"]], InputTypeError, "the second layer must hold real"),
        ([[1.0 + 2.0j]], [[1.0]], InputTypeError, "first layer .*complex"),
        ([[1.0]], np.array([[1.0j]]), InputTypeError, "second layer .*complex"),
        ([[10**400]], [[1.0]], InputError, "first layer must hold .* float"),
    ],
)
def test_bad_weights_are_refused(first, second, error, says):
    with pytest.raises(error, match=says):
        ReLUNetwork(first, second)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "error", "says"),
    [
        ({"f": object()}, InputTypeError, "JSON"),
        ({"f": np.nan}, InputError, "JSON"),
        ({"f": [np.inf]}, InputError, "JSON"),
        ({"f": nested(100_000)}, InputError, "JSON"),
        (["f"], InputTypeError, "mapping; got list"),
        ([], InputTypeError, "mapping; got list"),
    ],
)
def test_bad_metadata_is_refused(metadata, error, says):
    with pytest.raises(error, match=says):
        ReLUNetwork([[1.0]], [[1.0]], metadata=metadata)


def test_other_forms_of_a_network_keep_its_metadata():
    network = ReLUNetwork([[1.0, 2.0]], [[1.0], [1.0]], metadata={"columns": ["a"]})
    assert network.balance().metadata == {"columns": ["a"]}
    assert network.merge().n_neurons == 1
    assert network.merge().metadata == {"columns": ["a"]}


@pytest.mark.parametrize("path", [3, None, b"net.json", ["net.json"]])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InputTypeError, match="path"):
        random_network(0).save(path)
    with pytest.raises(InputTypeError, match="path"):
        ReLUNetwork.load(path)


@pytest.mark.parametrize("problem", [None, np.eye(3), "problem"])
def test_what_is_no_problem_is_refused(problem):
    with pytest.raises(InputTypeError, match="must be a TrainingProblem"):
        random_network(0).objective(problem)


def test_samples_of_another_width_are_refused():
    with pytest.raises(InputError, match="3 columns"):
        random_network(0).predict([[1.0, 2.0]])
    with pytest.raises(InputError, match="3 inputs"):
        random_network(0).objective(TrainingProblem([[1.0]], [1.0], 0.1))


def test_printing_shows_every_neuron():
    network = random_network(0, m=4)
    assert str(network).count("|u||v|") == 4
    assert repr(network) == "ReLUNetwork(inputs=3, neurons=4, outputs=2)"


def full_network(seed, activation="leaky_relu(-0.3)", d=3, m=5, c=2):
    """A network with everything: biases, a linear term, another activation."""
    rng = np.random.default_rng(seed)
    return ReLUNetwork(
        rng.normal(size=(d, m)),
        rng.normal(size=(m, c)),
        activation=activation,
        bias=rng.normal(size=m),
        skip=rng.normal(size=(d + 1, c)),
        metadata={"unit": "cm"},
    )


@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu(0.1)", "leaky_relu(-2.0)", "absolute"]
)
@pytest.mark.parametrize("patches", [1, 3])
def test_prediction_of_everything_neuron_by_neuron(activation, patches):
    network = full_network(1, activation)
    low = {"relu": 0.0, "absolute": -1.0}.get(activation)
    low = float(activation[11:-1]) if low is None else low
    X = np.random.default_rng(2).normal(size=(4, patches, 3))
    expected = np.zeros((4, 2))
    for k in range(4):
        for x in X[k]:
            for j in range(5):
                t = float(x @ network.first[:, j]) + network.bias[j]
                expected[k] += (t if t > 0.0 else low * t) * network.second[j] / patches
            expected[k] += (x @ network.skip[:3] + network.skip[3]) / patches
    samples = X if patches > 1 else X[:, 0]
    np.testing.assert_allclose(network.predict(samples), expected, rtol=1e-12)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu(-0.3)", "absolute"])
def test_balance_and_merge_keep_everything(activation):
    network = full_network(3, activation)
    twice = ReLUNetwork(
        np.hstack([network.first, 3.0 * network.first[:, :2]]),
        np.vstack([network.second, network.second[1:3]]),
        activation=activation,
        bias=np.concatenate([network.bias, 3.0 * network.bias[:2]]),
        skip=network.skip,
        metadata=network.metadata,
    )
    X = np.random.default_rng(4).normal(size=(9, 3))
    expected = twice.predict(X)
    for other in (twice.balance(), twice.merge()):
        np.testing.assert_allclose(other.predict(X), expected, rtol=1e-9, atol=1e-12)
        assert other.penalty() <= twice.penalty() + 1e-12
        assert other.activation == network.activation
        assert other.metadata == {"unit": "cm"}
        np.testing.assert_array_equal(other.skip, network.skip)
    assert twice.merge().n_neurons == 5
    norms = np.linalg.norm(twice.stacked, axis=0) * np.linalg.norm(twice.second, axis=1)
    assert twice.balance().penalty() == pytest.approx(norms.sum())


def test_neurons_that_differ_in_their_bias_alone_are_not_merged():
    network = ReLUNetwork([[1.0, 1.0]], [[1.0], [1.0]], bias=[0.0, 0.5])
    assert network.merge().n_neurons == 2


def test_opposite_neurons_are_one_for_the_absolute_value_alone():
    layers = [[1.0, -2.0]], [[1.0], [1.0]]
    merged = ReLUNetwork(*layers, activation="absolute").merge()
    assert merged.n_neurons == 1
    np.testing.assert_allclose(merged.predict([[1.0], [-2.0]]), [[3.0], [6.0]])
    assert ReLUNetwork(*layers, activation="leaky_relu(0.1)").merge().n_neurons == 2


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("neurons", [0, 4])
@pytest.mark.parametrize("activation", ["leaky_relu(0.1)", "absolute"])
def test_files_keep_every_bit_of_everything(tmp_path, suffix, neurons, activation):
    network = full_network(5, activation, m=neurons)
    path = tmp_path / f"net{suffix}"
    network.save(path)
    loaded = ReLUNetwork.load(path)
    for name in ("first", "second", "bias", "skip"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(network, name))
        assert getattr(loaded, name).shape == getattr(network, name).shape
    assert repr(loaded.activation) == repr(network.activation)
    assert loaded.metadata == network.metadata


@pytest.mark.parametrize(
    "changes",
    [
        {"bias": [1.0]},
        {"bias": [1.0, 2.0, 3.0]},
        {"bias": [[1.0, 2.0]]},
        {"bias": 1.0},
        {"bias": ["1", 2.0]},
        {"bias": [True, 2.0]},
        {"bias": [None, 2.0]},
        {"bias": [float("nan"), 2.0]},
        {"bias": {}},
        {"skip": [1.0, 2.0]},
        {"skip": [[1.0], [2.0], [3.0]]},
        {"skip": [[1.0, 2.0], [3.0, 4.0]]},
        {"skip": [["1"], [2.0]]},
        {"skip": [[float("inf")], [2.0]]},
        {"skip": []},
        {"bias": [1.0, 2.0], "skip": [[1.0], [2.0]]},
        {"activation": "tanh"},
        {"activation": "leaky_relu(nan)"},
        {"activation": "leaky_relu(x)"},
        {"activation": None},
        {"activation": ["relu"]},
        {"activation": 0.1},
    ],
)
def test_json_of_other_biases_and_terms_is_refused(tmp_path, changes):
    good = {"bias": [1, 2.0], "skip": [[1.0], [2.0], [3]], "activation": "absolute"}
    assert ReLUNetwork.load(edited(tmp_path, **good)).skip.shape == (3, 1)
    with pytest.raises(InputError, match="does not hold a network"):
        ReLUNetwork.load(edited(tmp_path, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"bias": np.array([1.0, 2.0])},
        {"bias": np.array(1.0)},
        {"bias": np.array(["1"])},
        {"bias": np.array([np.nan])},
        {"bias": np.array([1j])},
        {"bias": np.array([object()])},
        {"skip": np.array([[1.0], [2.0]])},
        {"skip": np.array([1.0])},
        {"bias": np.array([1.0]), "skip": np.array([[1.0]])},
        {"activation": np.array("tanh")},
        {"activation": np.array(3)},
        {"activation": np.array(["relu", "relu"])},
    ],
)
def test_npz_of_other_biases_and_terms_is_refused(tmp_path, changes):
    path = tmp_path / "net.npz"
    np.savez(path, **members(bias=np.array([2.0]), skip=np.array([[1.0], [2.0]])))
    assert ReLUNetwork.load(path).skip.shape == (2, 1)
    np.savez(path, **members(**changes))
    with pytest.raises(InputError, match="does not hold a network"):
        ReLUNetwork.load(path)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"bias": [1.0]}, InputError, "one number a neuron, 2"),
        ({"bias": [[1.0, 2.0]]}, InputError, r"got shape \(1, 2\)"),
        ({"bias": 1.0}, InputError, "bias must have"),
        ({"bias": [np.nan, 1.0]}, InputError, "bias must be finite"),
        ({"bias": ["a", "b"]}, InputTypeError, "bias must hold real numbers"),
        ({"skip": [[1.0]]}, InputError, r"the shape \(3, 1\)"),
        ({"skip": np.ones((4, 1))}, InputError, r"the shape \(3, 1\)"),
        ({"skip": np.ones((3, 1)), "bias": [1, 2]}, InputError, "for the constant"),
        ({"skip": [1.0, 2.0, 3.0]}, InputError, "skip must have two dimensions"),
        ({"activation": "tanh"}, InputError, "activation must be"),
    ],
)
def test_bad_options_are_refused(options, error, says):
    with pytest.raises(error, match=says):
        ReLUNetwork(np.ones((3, 2)), np.ones((2, 1)), **options)


def test_a_problem_that_does_not_fit_is_refused():
    X, Y = np.eye(3), np.eye(3)[:, :2]

    def problem(**options):
        return TrainingProblem(X, Y, 0.1, **options)

    full = full_network(0)
    options = {"activation": "leaky_relu(-0.3)", "bias": True, "skip": True}
    assert full.objective(problem(**options)) > 0.0
    for change, says in [
        ({"activation": "relu"}, "has the activation"),
        ({"bias": False}, "has biases"),
        ({"skip": False}, "has a linear term"),
    ]:
        with pytest.raises(InputError, match=says):
            full.objective(problem(**options | change))
    # The constant of a linear term is a bias as well.
    constant = ReLUNetwork(
        full.first, full.second, bias=np.zeros(5), skip=[[0, 0]] * 3 + [[1, 0]]
    )
    with pytest.raises(InputError, match="constant"):
        constant.objective(problem(skip=True))
    # What is zero fits, and so does an activation by another name.
    plain = ReLUNetwork(
        full.first,
        full.second,
        activation="leaky_relu(0.0)",
        bias=np.zeros(5),
        skip=np.zeros((4, 2)),
    )
    expected = ReLUNetwork(full.first, full.second).objective(problem())
    assert plain.objective(problem()) == pytest.approx(expected)
    assert ReLUNetwork(full.first, full.second).objective(
        problem(bias=True, skip=0.5)
    ) == pytest.approx(expected)


def test_the_penalty_of_biases_and_of_the_linear_term():
    network = ReLUNetwork(
        [[2.0]], [[3.0]], bias=[-1.0], skip=[[0.5], [4.0]], activation="absolute"
    )
    problem = TrainingProblem(
        *([[1.0], [0.0]], [[0.0], [1.0]], 0.5),
        bias=True,
        skip=0.1,
        activation="absolute",
    )
    # Predictions 3 |2 - 1| + 0.5 + 4 and 3 |-1| + 4; weights 4 + 9 + 1; 0.25 + 16.
    expected = 0.5 * (7.5**2 + 6.0**2) + 0.25 * 14.0 + 0.05 * 16.25
    assert network.objective(problem) == pytest.approx(expected)


def test_weights_are_read_only():
    network = full_network(0)
    for array in (network.first, network.second, network.bias, network.skip):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
