"""Two-layer networks: weights, prediction, objective, files."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.activations import Activation, get_activation
from pyomo_relu.arrays import as_matrix
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.files import path_text, write_atomically
from pyomo_relu.problem import TrainingProblem

if TYPE_CHECKING:
    from typing import BinaryIO

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["ReLUNetwork"]

_FORMAT = "pyomo_relu.ReLUNetwork"
_VERSION = 1
_SHOWN_NEURONS = 20


class ReLUNetwork:
    r"""A two-layer ReLU network.

    .. math:: f(X) = \sum_{j=1}^m \sigma(X u_j + b_j) v_j^T + X C

    with :math:`\sigma` the activation, ``max(t, 0)`` by default; of a sample of K
    patches the mean over them.

    Parameters
    ----------
    first : (d, m) array_like
        First layer; column ``j`` holds the input weights ``u_j``.
    second : (m, c) array_like
        Second layer; row ``j`` holds the output weights ``v_j``. A network of no
        neurons (``m == 0``) is the zero network.
    activation : str or Activation
        ``"relu"``, ``"leaky_relu(slope)"``, ``"absolute"`` or an object.
    bias : (m,) array_like, optional
        Biases ``b_j`` of the neurons; none by default.
    skip : (d, c) array_like, optional
        The linear term ``C``; with biases (d + 1, c), the last row that of the
        constant.
    metadata : mapping, optional
        What else a file should say, such as column names and units: anything that
        JSON can hold. It changes nothing here and is kept by :meth:`save` and
        :meth:`load`.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes, NaN or infinity, entries that are not real numbers; metadata
        that JSON cannot hold.

    Examples
    --------
    >>> network = ReLUNetwork([[1.0, -1.0]], [[2.0], [3.0]])
    >>> network.predict([[1.0], [-2.0]])
    array([[2.], [6.]])
    >>> network
    ReLUNetwork(inputs=1, neurons=2, outputs=1)
    """

    def __init__(
        self,
        first: ArrayLike,
        second: ArrayLike,
        *,
        activation: str | Activation = "relu",
        bias: ArrayLike | None = None,
        skip: ArrayLike | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.activation = get_activation(activation)
        self.first = as_matrix(first, "the first layer", allow_empty=True)
        self.second = as_matrix(second, "the second layer", allow_empty=True)
        if self.first.shape[1] != self.second.shape[0]:
            raise InputError(
                "the layers must have the same number of neurons: columns of first "
                f"{self.first.shape}, rows of second {self.second.shape}."
            )
        if self.first.shape[0] == 0 or self.second.shape[1] == 0:
            raise InputError(
                "a network needs at least one input and one output; got first "
                f"{self.first.shape}, second {self.second.shape}."
            )
        self.bias: Array | None = None
        if bias is not None:
            column = as_matrix(bias, "bias", allow_vector=True, allow_empty=True)
            if column.shape != (self.n_neurons, 1):
                raise InputError(
                    f"bias must be a vector of one number a neuron, {self.n_neurons} "
                    f"of them; got shape {np.shape(bias)}."
                )
            self.bias = column[:, 0]
        self.skip: Array | None = None
        if skip is not None:
            self.skip = as_matrix(skip, "skip")
            rows = self.n_inputs + (self.bias is not None)
            if self.skip.shape != (rows, self.n_outputs):
                raise InputError(
                    f"skip must have the shape {(rows, self.n_outputs)}, a row an "
                    f"input{' and one for the constant' if bias is not None else ''}; "
                    f"got {self.skip.shape}."
                )
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InputTypeError(
                f"metadata must be a mapping; got {type(metadata).__name__}."
            )
        says = "metadata must be a mapping that JSON can hold"
        try:
            text = json.dumps(dict(metadata or {}), allow_nan=False)
            self.metadata = json.loads(text)
        except TypeError as error:
            raise InputTypeError(f"{says}; {error}.") from error
        except (ValueError, RecursionError) as error:
            # NaN and infinity, or nesting without end.
            raise InputError(f"{says}; {error}.") from error

    @property
    def n_inputs(self) -> int:
        """Number of inputs ``d``."""
        return self.first.shape[0]

    @property
    def n_neurons(self) -> int:
        """Number of neurons ``m``."""
        return self.first.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of outputs ``c``."""
        return self.second.shape[1]

    @classmethod
    def of_problem(
        cls,
        problem: TrainingProblem,
        first: Array,
        second: Array,
        skip: Array | None = None,
    ) -> ReLUNetwork:
        """Return the network of a problem whose first layer holds the biases.

        Parameters
        ----------
        problem : TrainingProblem
            What was trained: its activation, and whether there are biases.
        first : (d, m) array, or (d + 1, m) with biases
            First layer in the columns of ``problem.rows``.
        second : (m, c) array
            Second layer.
        skip : array, optional
            The linear term, likewise.
        """
        bias = None
        if problem.bias:
            first, bias = first[:-1], first[-1]
        return cls(first, second, activation=problem.activation, bias=bias, skip=skip)

    @classmethod
    def of_scaled(
        cls, problem: TrainingProblem, first: Array, second: Array, linear: Array
    ) -> ReLUNetwork:
        """Return the balanced network of layers in scaled units.

        Parameters
        ----------
        problem : TrainingProblem
            What was trained.
        first, second : (r, m) and (m, c) arrays
            Both layers.
        linear : (r or 0, c) array
            The linear term.
        """
        scaled = problem.scaled
        skip = scaled.linear_to_user(linear)
        layers = scaled.to_user(first, second)
        return cls.of_problem(problem, *layers, skip=skip).balance()

    @property
    def stacked(self) -> Array:
        """First layer with the biases as its last row, if there are any."""
        if self.bias is None:
            return self.first
        return np.vstack([self.first, self.bias])

    def predict(self, X: ArrayLike) -> Array:
        """Return the outputs (n, c) at the samples `X`.

        Parameters
        ----------
        X : (n, d) array_like, or (n, K, d) for patches
            Samples.

        Raises
        ------
        InputError, InputTypeError
            `X` is not such a finite array.
        """
        samples = as_matrix(X, "X", allow_patches=True)
        if samples.shape[-1] != self.n_inputs:
            raise InputError(
                f"X must have {self.n_inputs} columns, one an input of the network; "
                f"got shape {samples.shape}."
            )
        inner = samples @ self.first
        if self.bias is not None:
            inner = inner + self.bias
        outputs = self.activation(inner) @ self.second
        if self.skip is not None:
            outputs = outputs + samples @ self.skip[: self.n_inputs]
            if self.bias is not None:
                outputs = outputs + self.skip[-1]
        return outputs if outputs.ndim == 2 else outputs.mean(axis=1)

    def predict_points(self, problem: TrainingProblem) -> Array:
        """Return predictions (points, c) at a problem's samples and anchor points."""
        outputs = self.predict(problem.X)
        if problem.anchors is None:
            return outputs
        return np.vstack([outputs, self.predict(problem.anchors)])

    def penalty(self) -> float:
        r"""Return :math:`\frac12\sum_j (|u_j|^2 + b_j^2 + |v_j|^2)`, no ``beta``."""
        return 0.5 * float(np.sum(self.stacked**2) + np.sum(self.second**2))

    def objective(self, problem: TrainingProblem) -> float:
        """Return the objective of (NN) at these weights, as they are.

        Balance first (:meth:`balance`) for the least penalty of this function.

        Raises
        ------
        InputError, InputTypeError
            The network's inputs or outputs do not match the problem, or it is none.
        """
        self.check_fits(problem)
        value = problem.loss_value(self.predict(problem.X))
        value += problem.beta * self.penalty()
        if problem.skip and self.skip is not None:
            value += 0.5 * problem.skip * float(np.sum(self.skip**2))
        return value

    def check_fits(self, problem: TrainingProblem) -> None:
        """Refuse a problem whose columns do not match this network.

        Raises
        ------
        InputError
            Other numbers of inputs or outputs.
        InputTypeError
            Not a training problem.
        """
        if not isinstance(problem, TrainingProblem):
            raise InputTypeError(
                f"problem must be a TrainingProblem; got {type(problem).__name__}."
            )
        if (self.n_inputs, self.n_outputs) != (problem.n_features, problem.n_outputs):
            raise InputError(
                f"the network has {self.n_inputs} inputs and {self.n_outputs} "
                f"outputs; the problem has {problem.n_features} features and "
                f"{problem.n_outputs} outputs."
            )
        if self.activation != problem.activation:
            raise InputError(
                f"the network has the activation {self.activation!r}, the problem "
                f"{problem.activation!r}."
            )
        if self.bias is not None and self.bias.any() and not problem.bias:
            raise InputError(
                "the network has biases, and the problem none; give the problem "
                "bias=True."
            )
        if self.skip is not None and self.skip.any() and problem.skip is None:
            raise InputError(
                "the network has a linear term, and the problem none; give the problem "
                "skip=True."
            )
        constant = None if self.skip is None else self.skip[self.n_inputs :]
        if constant is not None and constant.any() and not problem.bias:
            raise InputError(
                "the linear term of the network has a constant, and that of the "
                "problem none; give the problem bias=True."
            )

    def balance(self) -> ReLUNetwork:
        """Return the same function with ``|u_j| = |v_j|``, zero neurons dropped.

        Among all rescalings of a neuron this one has the least penalty,
        ``beta |u_j||v_j|``.

        Examples
        --------
        >>> ReLUNetwork([[4.0]], [[1.0]]).balance().first
        array([[2.]])
        """
        u_norm = np.linalg.norm(self.stacked, axis=0)
        v_norm = np.linalg.norm(self.second, axis=1)
        keep = (u_norm > 0.0) & (v_norm > 0.0)
        target = np.sqrt(u_norm[keep]) * np.sqrt(v_norm[keep])
        return self.with_layers(
            self.stacked[:, keep] * (target / u_norm[keep]),
            self.second[keep] * (target / v_norm[keep])[:, None],
        )

    def with_metadata(self, metadata: Mapping[str, Any]) -> ReLUNetwork:
        """Return the same network with other metadata."""
        return ReLUNetwork(
            self.first,
            self.second,
            activation=self.activation,
            bias=self.bias,
            skip=self.skip,
            metadata=metadata,
        )

    def with_layers(self, stacked: Array, second: Array) -> ReLUNetwork:
        """Return a network with other neurons, the rest as it is.

        Parameters
        ----------
        stacked : (d, m) array, or (d + 1, m) with biases
            First layer, the biases its last row.
        second : (m, c) array
            Second layer.
        """
        biased = self.bias is not None
        return ReLUNetwork(
            stacked[:-1] if biased else stacked,
            second,
            activation=self.activation,
            bias=stacked[-1] if biased else None,
            skip=self.skip,
            metadata=self.metadata,
        )

    def merge(self, tolerance: float = 1e-9) -> ReLUNetwork:
        r"""Return the network with parallel neurons merged, balanced.

        Neurons with a common direction ``u`` become one with the output weights
        :math:`\sum_j |u_j| v_j`: the same function, and by the triangle inequality
        no larger penalty. With the absolute value u and -u are one direction.

        Parameters
        ----------
        tolerance : float
            Largest distance between unit directions that count as parallel.

        Examples
        --------
        >>> ReLUNetwork([[1.0, 2.0]], [[1.0], [1.0]]).merge().n_neurons
        1
        """
        network = self.balance()
        if network.n_neurons < 2:
            return network
        norms = np.linalg.norm(network.stacked, axis=0)
        directions = (network.stacked / norms).T
        outputs = network.second * norms[:, None]
        # The largest neuron of a group gives the direction.
        order = np.argsort(-norms, kind="stable")
        kept = np.empty((0, directions.shape[1]))
        merged: list[Array] = []
        for j in order:
            distance = np.linalg.norm(kept - directions[j], axis=1)
            if self.activation.is_even:
                opposite = np.linalg.norm(kept + directions[j], axis=1)
                distance = np.minimum(distance, opposite)
            if len(kept) and distance.min() <= tolerance:
                merged[int(distance.argmin())] += outputs[j]
            else:
                kept = np.vstack([kept, directions[j]])
                merged.append(outputs[j].copy())
        return network.with_layers(kept.T, np.array(merged)).balance()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to a ``.npz`` (no pickle) or ``.json`` file.

        Both keep every bit of the weights. The file is complete or absent.

        Raises
        ------
        InputError
            Another suffix.
        InputTypeError
            `path` is not a path.
        OutputError
            The file cannot be written.
        """
        suffix = _checked_suffix(path)
        if suffix == ".json":
            document = {
                "format": _FORMAT,
                "version": _VERSION,
                "activation": self.activation.text,
                "first": self.first.tolist(),
                "second": self.second.tolist(),
                "bias": None if self.bias is None else self.bias.tolist(),
                "skip": None if self.skip is None else self.skip.tolist(),
                # A network of no neurons has rows that JSON cannot tell apart.
                "inputs": self.n_inputs,
                "outputs": self.n_outputs,
                "metadata": self.metadata,
            }
            text = json.dumps(document, indent=1, allow_nan=False) + "\n"
            write_atomically(path, lambda stream: _discard(stream.write(text.encode())))
        else:
            write_atomically(path, self._write_npz)

    def _write_npz(self, stream: BinaryIO) -> None:
        arrays: dict[str, Any] = {
            name: array
            for name, array in (("bias", self.bias), ("skip", self.skip))
            if array is not None
        }
        np.savez(
            stream,
            format=np.array(_FORMAT),
            version=np.array(_VERSION),
            activation=np.array(self.activation.text),
            first=self.first,
            second=self.second,
            **arrays,
            metadata=np.array(json.dumps(self.metadata)),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReLUNetwork:
        """Read a network that :meth:`save` wrote.

        Raises
        ------
        InputError
            Another suffix, or a file that does not hold such a network.
        InputTypeError
            `path` is not a path.
        FileNotFoundError, PermissionError
            There is no such file, or it may not be read.
        """
        read = _read_json if _checked_suffix(path) == ".json" else _read_npz
        try:
            content = Path(path).read_bytes()
        except IsADirectoryError as error:
            raise InputError(f"{str(path)!r} is a folder, not a network.") from error
        # Python's and numpy's readers raise errors of many types on a damaged file:
        # RecursionError, MemoryError, RuntimeError, zlib.error...
        try:
            return cls(**read(content))
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            reason = kind + str(error).rstrip(".")
            raise InputError(
                f"{str(path)!r} does not hold a network: {reason}. "
                "Give a file that ReLUNetwork.save wrote."
            ) from error

    def __repr__(self) -> str:
        parts = [
            f"inputs={self.n_inputs}",
            f"neurons={self.n_neurons}",
            f"outputs={self.n_outputs}",
        ]
        if self.activation.text != "relu":
            parts.append(f"activation={self.activation.text!r}")
        parts += ["bias"] if self.bias is not None else []
        parts += ["skip"] if self.skip is not None else []
        return f"ReLUNetwork({', '.join(parts)})"

    def __str__(self) -> str:
        """Return a table of the largest neurons by ``|u||v|``."""
        first = self.stacked
        size = np.linalg.norm(first, axis=0) * np.linalg.norm(self.second, axis=1)
        lines = [repr(self)]
        shown = np.argsort(-size, kind="stable")[:_SHOWN_NEURONS]
        for j in shown:
            u = " ".join(f"{x: .4g}" for x in first[:, j])
            v = " ".join(f"{x: .4g}" for x in self.second[j])
            lines.append(f"  |u||v| = {size[j]:.4g}   u = [{u}]   v = [{v}]")
        if len(size) > len(shown):
            lines.append(f"  ... and {len(size) - len(shown)} smaller ones")
        return "\n".join(lines)


def _read_json(content: bytes) -> dict[str, Any]:
    """Return the arguments of a network in a JSON file; any error means a bad one."""
    document = json.loads(content)
    if not isinstance(document, dict):
        raise InputError(f"its top level is no object but {type(document).__name__}.")
    _check_format(document["format"], document["version"])
    inputs, outputs = document["inputs"], document["outputs"]
    for name, count in (("inputs", inputs), ("outputs", outputs)):
        if type(count) is not int or count < 1:
            raise InputError(f"{name} must be a positive integer; got {count!r}.")
    second = document["second"]
    neurons = len(second) if isinstance(second, list) else 0
    bias, skip = document.get("bias"), document.get("skip")
    if bias is not None:
        bias = _rows_to_layer([bias], "bias", (1, neurons))[0]
    if skip is not None:
        skip = _rows_to_layer(skip, "skip", (inputs + (bias is not None), outputs))
    return {
        "first": _rows_to_layer(document["first"], "first", (inputs, neurons)),
        "second": _rows_to_layer(second, "second", (neurons, outputs)),
        "activation": _checked_activation(document["activation"]),
        "bias": bias,
        "skip": skip,
        "metadata": _checked_metadata(document["metadata"]),
    }


def _rows_to_layer(rows: Any, name: str, shape: tuple[int, int]) -> Array:
    """Return a JSON list of rows as an array, of this very shape."""
    if not (
        isinstance(rows, list)
        and len(rows) == shape[0]
        and all(isinstance(row, list) and len(row) == shape[1] for row in rows)
    ):
        raise InputError(
            f"{name} must be a list of {shape[0]} lists of {shape[1]} numbers, to go "
            "with inputs, outputs and the rows of second."
        )
    # A bool is an int to Python, and text a number to numpy.
    bad = [x for row in rows for x in row if type(x) not in (int, float)]
    if bad:
        raise InputError(f"{name} must hold numbers; got {type(bad[0]).__name__}.")
    # Without neurons the second layer is [], whose width only the shape says.
    return np.array(rows, dtype=np.float64).reshape(shape)


def _read_npz(content: bytes) -> dict[str, Any]:
    """Return the arguments of a network in a npz file; any error means a bad one."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        _check_format(*(archive[name].item() for name in ("format", "version")))
        arrays = {
            name: archive[name]
            for name in ("first", "second", "bias", "skip")
            if name in ("first", "second") or name in archive.files
        }
        for name, array in arrays.items():
            if array.dtype.kind not in "iuf":
                raise InputError(f"{name} must hold real numbers; got {array.dtype}.")
        return {
            **arrays,
            "activation": _checked_activation(archive["activation"].item()),
            "metadata": _checked_metadata(json.loads(archive["metadata"].item())),
        }


def _check_format(kind: Any, version: Any) -> None:
    # True == 1 and 1.0 == 1, but neither is a version.
    if (kind, version) != (_FORMAT, _VERSION) or type(version) is not int:
        raise InputError(
            f"it says format {kind!r}, version {version!r}; this version reads "
            f"{_FORMAT!r}, {_VERSION}."
        )


def _checked_activation(activation: Any) -> str:
    if not isinstance(activation, str):
        raise InputError(f"activation must be a name; got {type(activation).__name__}.")
    return activation


def _checked_metadata(metadata: Any) -> dict[str, Any]:
    if not isinstance(metadata, dict):
        raise InputError(f"metadata must be an object; got {type(metadata).__name__}.")
    return metadata


def _discard(_: Any) -> None:
    return None


def _checked_suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path_text(path)).suffix.lower()
    if suffix not in (".json", ".npz"):
        raise InputError(
            f"a network is kept in a .json or .npz file; got {str(path)!r}."
        )
    return suffix
