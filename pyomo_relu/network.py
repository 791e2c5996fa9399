"""Two-layer ReLU networks: weights, prediction, objective, files."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.arrays import as_matrix
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.files import write_atomically

if TYPE_CHECKING:
    from typing import BinaryIO

    from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["ReLUNetwork"]

_FORMAT = "pyomo_relu.ReLUNetwork"
_VERSION = 1
_SHOWN_NEURONS = 20


def _as_layer(values: ArrayLike, name: str) -> Array:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"the {name} layer must hold real numbers in a rectangular array; got "
            f"{type(values).__name__} ({error})."
        ) from error
    if array.ndim != 2:
        raise InputError(
            f"the {name} layer must have two dimensions; got shape {array.shape}."
        )
    if not np.isfinite(array).all():
        raise InputError(f"the {name} layer must be finite; it holds NaN or infinity.")
    array.flags.writeable = False
    return array


class ReLUNetwork:
    r"""A two-layer ReLU network without biases.

    .. math:: f(X) = \sum_{j=1}^m (X u_j)_+ v_j^T

    Parameters
    ----------
    first : (d, m) array_like
        First layer; column ``j`` holds the input weights ``u_j``.
    second : (m, c) array_like
        Second layer; row ``j`` holds the output weights ``v_j``. A network of no
        neurons (``m == 0``) is the zero network.
    metadata : mapping, optional
        What else a file should say, such as column names and units: anything that
        JSON can hold. It changes nothing here and is kept by :meth:`save` and
        :meth:`load`.

    Raises
    ------
    InputError, InputTypeError
        Wrong shapes, NaN or infinity, entries that are not numbers.

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
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.first = _as_layer(first, "first")
        self.second = _as_layer(second, "second")
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
        try:
            self.metadata = json.loads(json.dumps(dict(metadata or {})))
        except (TypeError, ValueError) as error:
            raise InputTypeError(
                f"metadata must be a mapping that JSON can hold; {error}."
            ) from error

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

    def predict(self, X: ArrayLike) -> Array:
        """Return the outputs (n, c) at the samples `X` (n, d).

        Raises
        ------
        InputError, InputTypeError
            `X` is not a finite (n, d) array.
        """
        samples = as_matrix(X, "X")
        if samples.shape[1] != self.n_inputs:
            raise InputError(
                f"X must have {self.n_inputs} columns, one an input of the network; "
                f"got shape {samples.shape}."
            )
        return np.maximum(samples @ self.first, 0.0) @ self.second

    def penalty(self) -> float:
        r"""Return :math:`\frac12\sum_j (|u_j|^2 + |v_j|^2)`, without ``beta``."""
        return 0.5 * float(np.sum(self.first**2) + np.sum(self.second**2))

    def objective(self, problem: TrainingProblem) -> float:
        """Return the objective of (NN) at these weights, as they are.

        Balance first (:meth:`balance`) for the least penalty of this function.

        Raises
        ------
        InputError
            The network's inputs or outputs do not match the problem.
        """
        self.check_fits(problem)
        loss = problem.loss.value(self.predict(problem.X), problem.Y)
        return loss + problem.beta * self.penalty()

    def check_fits(self, problem: TrainingProblem) -> None:
        """Refuse a problem whose columns do not match this network.

        Raises
        ------
        InputError
            Other numbers of inputs or outputs.
        """
        if (self.n_inputs, self.n_outputs) != (problem.n_features, problem.n_outputs):
            raise InputError(
                f"the network has {self.n_inputs} inputs and {self.n_outputs} "
                f"outputs; the problem has {problem.n_features} features and "
                f"{problem.n_outputs} outputs."
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
        u_norm = np.linalg.norm(self.first, axis=0)
        v_norm = np.linalg.norm(self.second, axis=1)
        keep = (u_norm > 0.0) & (v_norm > 0.0)
        target = np.sqrt(u_norm[keep]) * np.sqrt(v_norm[keep])
        return ReLUNetwork(
            self.first[:, keep] * (target / u_norm[keep]),
            self.second[keep] * (target / v_norm[keep])[:, None],
        )

    def merge(self, tolerance: float = 1e-9) -> ReLUNetwork:
        r"""Return the network with parallel neurons merged, balanced.

        Neurons with a common direction ``u`` become one with the output weights
        :math:`\sum_j |u_j| v_j`: the same function, and by the triangle inequality
        no larger penalty.

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
        norms = np.linalg.norm(network.first, axis=0)
        directions = (network.first / norms).T
        outputs = network.second * norms[:, None]
        # The largest neuron of a group gives the direction.
        order = np.argsort(-norms, kind="stable")
        kept = np.empty((0, self.n_inputs))
        merged: list[Array] = []
        for j in order:
            distance = np.linalg.norm(kept - directions[j], axis=1)
            if len(kept) and distance.min() <= tolerance:
                merged[int(distance.argmin())] += outputs[j]
            else:
                kept = np.vstack([kept, directions[j]])
                merged.append(outputs[j].copy())
        return ReLUNetwork(kept.T, np.array(merged)).balance()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the weights to a ``.npz`` (no pickle) or ``.json`` file.

        Both keep every bit of the weights. The file is complete or absent.

        Raises
        ------
        InputError
            Another suffix.
        OutputError
            The file cannot be written.
        """
        suffix = _checked_suffix(path)
        if suffix == ".json":
            document = {
                "format": _FORMAT,
                "version": _VERSION,
                "activation": "relu",
                "first": self.first.tolist(),
                "second": self.second.tolist(),
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
        np.savez(
            stream,
            format=np.array(_FORMAT),
            version=np.array(_VERSION),
            activation=np.array("relu"),
            first=self.first,
            second=self.second,
            metadata=np.array(json.dumps(self.metadata)),
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ReLUNetwork:
        """Read a network that :meth:`save` wrote.

        Raises
        ------
        InputError
            Another suffix, or a file that does not hold such a network.
        FileNotFoundError
            There is no such file.
        """
        suffix = _checked_suffix(path)
        name = str(path)
        content = Path(path).read_bytes()
        try:
            if suffix == ".json":
                document = json.loads(content)
                kind, version = document["format"], document["version"]
                activation = document["activation"]
                shape = (int(document["inputs"]), int(document["outputs"]))
                first = np.array(document["first"], float).reshape(shape[0], -1)
                second = np.array(document["second"], float).reshape(-1, shape[1])
                metadata = document["metadata"]
            else:
                with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                    kind, version = str(archive["format"]), int(archive["version"])
                    activation = str(archive["activation"])
                    first, second = archive["first"], archive["second"]
                    metadata = json.loads(str(archive["metadata"]))
        except (
            ValueError,
            KeyError,
            TypeError,
            OSError,
            EOFError,
            zipfile.BadZipFile,
        ) as error:
            raise InputError(
                f"{name!r} does not hold a network: {type(error).__name__}: {error}. "
                "Give a file that ReLUNetwork.save wrote."
            ) from error
        if (kind, version, activation) != (_FORMAT, _VERSION, "relu"):
            raise InputError(
                f"{name!r} says format {kind!r}, version {version!r}, activation "
                f"{activation!r}; this version reads {_FORMAT!r}, {_VERSION}, 'relu'."
            )
        return cls(first, second, metadata=metadata)

    def __repr__(self) -> str:
        return (
            f"ReLUNetwork(inputs={self.n_inputs}, neurons={self.n_neurons}, "
            f"outputs={self.n_outputs})"
        )

    def __str__(self) -> str:
        """Return a table of the largest neurons by ``|u||v|``."""
        size = np.linalg.norm(self.first, axis=0) * np.linalg.norm(self.second, axis=1)
        lines = [repr(self)]
        shown = np.argsort(-size, kind="stable")[:_SHOWN_NEURONS]
        for j in shown:
            u = " ".join(f"{x: .4g}" for x in self.first[:, j])
            v = " ".join(f"{x: .4g}" for x in self.second[j])
            lines.append(f"  |u||v| = {size[j]:.4g}   u = [{u}]   v = [{v}]")
        if len(size) > len(shown):
            lines.append(f"  ... and {len(size) - len(shown)} smaller ones")
        return "\n".join(lines)


def _discard(_: Any) -> None:
    return None


def _checked_suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in (".json", ".npz"):
        raise InputError(
            f"a network is kept in a .json or .npz file; got {str(path)!r}."
        )
    return suffix
