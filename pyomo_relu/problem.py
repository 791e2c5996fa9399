"""What is being trained: data, loss and penalty, validated and scaled once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.activations import Activation, get_activation
from pyomo_relu.arrays import as_matrix, as_weights
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.losses import Loss, get_loss

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["ScaledProblem", "TrainingProblem"]

_SMALLEST, _LARGEST = 1e-100, 1e100
_NEARLY_FLAT = 1e-5


@dataclass(frozen=True, eq=False)
class ScaledProblem:
    """A training problem in reduced, scaled coordinates, and the way back.

    ``X = rows basis / x_scale``, ``Y = Y_user / y_scale`` and ``beta`` in proportion
    (design, Reduction and scaling).

    Attributes
    ----------
    X : (N, r) array
        The rows of the arrangement, in an orthonormal basis of their row space;
        spectral norm 1. Those of one point are next to each other, ``patches`` of
        them; the n samples come first, anchor points after them.
    Y : (n, c) array
        Targets, Frobenius norm 1 (with the roots of the weights) but for
        classification; zero where the weight is.
    weight : (n, c) array or None
        Weights of the entries in the loss, over a power of two next to the largest;
        None for ones.
    loss : Loss
        The loss in scaled units.
    activation : Activation
        The activation.
    beta : float
        Weight decay that goes with the scaled data.
    skip : float or None
        Weight of half the squared norm of the linear term, in scaled units; None where
        there is no such term.
    patches : int
        Rows a point.
    basis : (d, r) array
        Orthonormal basis of the row space; the identity when ``r == d``.
    x_scale, y_scale, objective_scale : float
        What the user's data and objective were divided by.
    truncation : float
        Spectral norm, in scaled units, of what the rank decision left out.
    smallest : float
        Smallest singular value that was kept, in scaled units (1 is the largest).
    """

    X: Array
    Y: Array
    weight: Array | None
    loss: Loss
    activation: Activation
    beta: float
    skip: float | None
    patches: int
    basis: Array
    x_scale: float
    y_scale: float
    objective_scale: float
    truncation: float
    smallest: float

    @property
    def rank(self) -> int:
        """Rank ``r`` of the data."""
        return self.X.shape[1]

    @property
    def n_points(self) -> int:
        """Number of predictions: samples, then anchor points."""
        return len(self.X) // self.patches

    @property
    def nearly_flat(self) -> bool:
        """Whether some direction hardly matters: singular values below 1e-5.

        Along it the rays of cells have coordinates of size one over that value,
        beyond what an interior point can tell.
        """
        return self.rank > 1 and self.smallest < _NEARLY_FLAT

    def pool(self, rows: Array) -> Array:
        """Return the mean over the patches of each point, (N, ...) to (points, ...)."""
        if self.patches == 1:
            return rows
        points = len(rows) // self.patches
        return rows.reshape(points, self.patches, *rows.shape[1:]).mean(axis=1)

    def spread(self, Z: Array) -> Array:
        """Return the adjoint of :meth:`pool`, (points, ...) to (N, ...)."""
        if self.patches == 1:
            return Z
        return np.repeat(Z / self.patches, self.patches, axis=0)

    def hidden(self, first: Array) -> Array:
        """Return the pooled activations (points, m) of a first layer (r, m)."""
        return self.pool(self.activation(self.X @ first))

    @property
    def means(self) -> Array:
        """The mean row of each point (points, r): what the linear term sees."""
        means = self.pool(self.X)
        if self.patches == 1:
            return means
        # Patches that cancel leave rounding, from which any prediction could be made.
        noise = max(self.X.shape) * np.finfo(float).eps
        return np.where(np.abs(means) > noise, means, 0.0)

    @property
    def linear_means(self) -> Array:
        """Mean rows of the samples (n, r) for the linear term, (n, 0) without one."""
        n = len(self.Y)
        return np.zeros((n, 0)) if self.skip is None else self.means[:n]

    def decay(self, weights: int) -> Array:
        """Return the weight of half the square of each weight.

        Parameters
        ----------
        weights : int
            How many neurons have; those of the linear term, if any, come after them.
        """
        size = 0 if self.skip is None else self.rank * self.Y.shape[1]
        return np.repeat([self.beta, self.skip or 0.0], [weights, size])

    def loss_value(self, F: Array) -> float:
        """Return the loss of predictions (points, c)."""
        return self.loss.value(F[: len(self.Y)], self.Y, self.weight)

    def with_anchors(self, Z: Array) -> Array:
        """Return a dual point of the samples (n, c) with zeros at the anchors."""
        missing = self.n_points - len(Z)
        return Z if not missing else np.pad(Z, ((0, missing), (0, 0)))

    def to_user(self, first: Array, second: Array) -> tuple[Array, Array]:
        """Return both layers of a network in the user's units.

        Parameters
        ----------
        first : (r, m) array
            First layer in reduced, scaled coordinates.
        second : (m, c) array
            Second layer in scaled units.
        """
        return self.basis @ first, second * (self.y_scale / self.x_scale)

    def linear_to_user(self, linear: Array) -> Array | None:
        """Return the linear term (r, c) in the user's units; None without one."""
        if self.skip is None:
            return None
        return self.basis @ linear * (self.y_scale / self.x_scale)

    def linear_from_user(self, linear: Array | None) -> Array:
        """Return a linear term in scaled coordinates, (0, c) where there is none."""
        c = self.Y.shape[1]
        if self.skip is None:
            return np.zeros((0, c))
        if linear is None:
            return np.zeros((self.rank, c))
        return self.basis.T @ linear * (self.x_scale / self.y_scale)

    def from_user(self, first: Array, second: Array) -> tuple[Array, Array]:
        """Return both layers of a user's network in scaled coordinates.

        The part of the first layer that is orthogonal to every row is dropped: it
        only costs penalty.

        Parameters
        ----------
        first : (d, m) array
            First layer.
        second : (m, c) array
            Second layer.
        """
        return self.basis.T @ first, second * (self.x_scale / self.y_scale)


class TrainingProblem:
    r"""Training a two-layer network with weight decay, problem (NN).

    .. math::

        p^* = \min_{m, u, v} \mathrm{loss}\Big(\sum_{j=1}^m \sigma(X u_j) v_j^T,
              Y\Big) + \frac\beta2 \sum_j \big(|u_j|^2 + |v_j|^2\big)

    (arXiv:2012.13329; design, Network and objective). The loss is a sum over
    samples, not a mean.

    Parameters
    ----------
    X : (n, d) array_like, or (n, K, d) for patches
        Samples; numpy array, nested list or pandas frame. With K patches a sample the
        network is ``1/K sum_k sigma(X_k u) v^T``, a convolution with average pooling.
    Y : (n, c) or (n,) array_like
        Targets; a vector is one output. For logistic and hinge one-hot labels.
    beta : float
        Weight decay, positive.
    loss : {"squared", "absolute", "huber", "quantile", "logistic", "hinge"} or Loss
        The loss; an object such as ``Huber(0.5)`` has parameters.
    activation : {"relu", "leaky_relu", "absolute"} or Activation
        The activation; an object such as ``LeakyReLU(0.1)`` has parameters.
    bias : bool
        Whether neurons have a bias: a column of ones, with the same weight decay.
    sample_weight : (n,) array_like, optional
        Weight of each sample in the loss, nonnegative.
    output_weight : (c,) array_like, optional
        Weight of each output in the loss; for logistic and hinge of each class.
    anchors : (a, d) or (a, K, d) array_like, optional
        Anchor points: no samples, but constraints on their predictions hold exactly.
    skip : bool or float
        A linear term ``X C`` beside the network (with a row of biases if ``bias``).
        True: unpenalised; a positive number g adds ``g/2 |C|^2``.

    Raises
    ------
    InputError, InputTypeError
        NaN, infinity, no rows, wrong shapes, ``beta <= 0``, unknown loss or
        activation, targets that do not suit the loss, negative weights.

    Examples
    --------
    >>> problem = TrainingProblem([[1.0, 0.0], [0.0, 2.0]], [1.0, 3.0], beta=0.1)
    >>> problem
    TrainingProblem(samples=2, features=2, outputs=1, rank=2, beta=0.1, loss='squared')
    >>> problem.scaled.x_scale
    2.0
    """

    def __init__(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        beta: float,
        *,
        loss: str | Loss = "squared",
        activation: str | Activation = "relu",
        bias: bool = False,
        sample_weight: ArrayLike | None = None,
        output_weight: ArrayLike | None = None,
        anchors: ArrayLike | None = None,
        skip: bool | float = False,
    ) -> None:
        self.X = as_matrix(X, "X", allow_patches=True)
        self.Y = as_matrix(Y, "Y", allow_vector=True)
        if len(self.X) != len(self.Y):
            raise InputError(
                f"X and Y must have the same number of rows; X has {len(self.X)} "
                f"and Y has {len(self.Y)}."
            )
        self.anchors: Array | None = None
        if anchors is not None:
            self.anchors = as_matrix(anchors, "anchors", allow_patches=True)
            if self.anchors.shape[1:] != self.X.shape[1:]:
                raise InputError(
                    f"anchors must be points like those of X, of shape "
                    f"(a, {', '.join(map(str, self.X.shape[1:]))}); got shape "
                    f"{self.anchors.shape}."
                )
        self.beta = _positive(beta, "beta")
        self.loss = get_loss(loss)
        self.loss.check_targets(self.Y)
        self.activation = get_activation(activation)
        if not isinstance(bias, (bool, np.bool_)):
            raise InputTypeError(f"bias must be True or False; got {bias!r}.")
        self.bias = bool(bias)
        self.sample_weight = as_weights(
            sample_weight, "sample_weight", len(self.X), "sample"
        )
        self.output_weight = as_weights(
            output_weight, "output_weight", self.n_outputs, "output"
        )
        self.skip: float | None = _read_skip(skip)
        arrays = [("X", self.X), ("Y", self.Y)]
        if self.anchors is not None:
            arrays.append(("anchors", self.anchors))
        for name, array in arrays:
            largest = float(np.abs(array).max())
            # Norms square the entries, and scaling divides by products of norms.
            if largest and not _SMALLEST <= largest <= _LARGEST:
                raise InputError(
                    f"the largest entry of {name} is {largest:.3g} in size; the "
                    f"allowed range is {_SMALLEST:.0e} to {_LARGEST:.0e}. Rescale the "
                    "data."
                )
        self._check_weights()
        scaled = self.scaled
        for name, given, number in (
            ("beta", self.beta, scaled.beta),
            ("skip", self.skip, scaled.skip),
        ):
            if given and number is not None and not _SMALLEST <= number <= _LARGEST:
                raise InputError(
                    f"{name} = {given:.3g} is out of proportion to these data: in "
                    "units of the norms of X and Y and the weights it is "
                    f"{number:.3g}."
                )

    def _check_weights(self) -> None:
        """Refuse weights whose products no float holds."""
        given = [w for w in (self.sample_weight, self.output_weight) if w is not None]
        for name, pick in (("smallest", np.min), ("largest", np.max)):
            with np.errstate(over="ignore", under="ignore"):
                product = float(np.prod([pick(w[w > 0.0]) for w in given]))
            if not _SMALLEST <= product <= _LARGEST:
                raise InputError(
                    f"the {name} weight in the loss that is not zero, that of a sample "
                    f"times that of an output, is {product:.3g}; the allowed range is "
                    f"{_SMALLEST:.0e} to {_LARGEST:.0e}. Rescale weights and beta."
                )

    def to_dict(self) -> dict[str, Any]:
        """Return all that the problem was made from, as JSON can hold it.

        Returns
        -------
        dict
            Arguments of the class; :meth:`from_dict` reads it back, bit by bit.

        Examples
        --------
        >>> record = TrainingProblem([[1.0]], [2.0], 0.1, loss="huber").to_dict()
        >>> record["loss"], record["Y"]
        ('huber(1.0)', [[2.0]])
        """
        arrays = {
            "X": self.X,
            "Y": self.Y,
            "sample_weight": self.sample_weight,
            "output_weight": self.output_weight,
            "anchors": self.anchors,
        }
        return {
            **{
                name: None if array is None else array.tolist()
                for name, array in arrays.items()
            },
            "beta": self.beta,
            "loss": self.loss.text,
            "activation": self.activation.text,
            "bias": self.bias,
            "skip": False if self.skip is None else self.skip or True,
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> TrainingProblem:
        """Return the problem that :meth:`to_dict` wrote down.

        Parameters
        ----------
        record : dict
            What it returned.

        Raises
        ------
        InputError, InputTypeError
            Entries are missing, unknown or not allowed.
        """
        try:
            return cls(**record)
        except TypeError as error:
            if isinstance(error, InputTypeError):
                raise
            raise InputTypeError(f"no record of a training problem: {error}") from error

    @property
    def n_samples(self) -> int:
        """Number of samples ``n``."""
        return self.X.shape[0]

    @property
    def n_points(self) -> int:
        """Number of predictions: samples and anchor points."""
        return self.n_samples + (0 if self.anchors is None else len(self.anchors))

    @property
    def n_patches(self) -> int:
        """Number of patches ``K`` a sample, 1 without."""
        return 1 if self.X.ndim == 2 else self.X.shape[1]

    @property
    def n_features(self) -> int:
        """Number of inputs ``d``, of a patch where there are patches."""
        return self.X.shape[-1]

    @property
    def n_outputs(self) -> int:
        """Number of outputs ``c``."""
        return self.Y.shape[1]

    @property
    def rank(self) -> int:
        """Numerical rank of the rows."""
        return self.scaled.rank

    @cached_property
    def rows(self) -> Array:
        """Rows of the arrangement ``((n + a) K, d)``, or ``d + 1`` with biases.

        The patches of each sample, then those of each anchor point; the last column is
        one if there are biases.
        """
        points = [self.X] if self.anchors is None else [self.X, self.anchors]
        rows = np.concatenate(points).reshape(-1, self.n_features)
        if self.bias:
            rows = np.column_stack([rows, np.ones(len(rows))])
        rows.flags.writeable = False
        return rows

    @cached_property
    def weight(self) -> Array | None:
        """Weights (n, c) of the entries in the loss, None for ones."""
        if self.sample_weight is None and self.output_weight is None:
            return None
        weight = np.ones(self.Y.shape)
        if self.sample_weight is not None:
            weight *= self.sample_weight[:, None]
        if self.output_weight is not None:
            weight *= self.output_weight
        weight.flags.writeable = False
        return weight

    def loss_value(self, predictions: Array) -> float:
        """Return the loss of predictions (n, c) of the samples."""
        return self.loss.value(predictions, self.Y, self.weight)

    @cached_property
    def scaled(self) -> ScaledProblem:
        """The same problem in reduced, scaled coordinates."""
        rows = self.rows
        _, values, directions = np.linalg.svd(rows, full_matrices=False)
        x_scale = float(values[0])
        # numpy.linalg.matrix_rank's rule: what is below is rounding of the rows.
        tolerance = x_scale * max(rows.shape) * np.finfo(float).eps
        rank = int(np.sum(values > tolerance))
        if rank == 0:
            x_scale = 1.0
        full = rank == rows.shape[1]
        basis = np.eye(rank) if full else directions[:rank].T
        truncation = float(values[rank]) / x_scale if rank < len(values) else 0.0
        Y, weight, weight_scale = self.Y, self.weight, 1.0
        if weight is not None:
            # A power of two, which leaves the border of a domain where it is.
            weight_scale = float(2.0 ** np.ceil(np.log2(weight.max())))
            weight = weight / weight_scale
            if not self.loss.is_classification:
                Y = np.where(weight > 0.0, Y, 0.0)
        y_scale = self.loss.target_scale(Y if weight is None else np.sqrt(weight) * Y)
        objective_scale = self.loss.objective_scale(y_scale) * weight_scale
        skip = self.skip
        if skip is not None:
            # C is in units of Y over X.
            skip *= (y_scale / x_scale) ** 2 / objective_scale
        scaled = ScaledProblem(
            X=rows @ basis / x_scale,
            Y=Y / y_scale,
            weight=weight,
            loss=self.loss.in_units(y_scale),
            activation=self.activation,
            beta=self.beta / self.loss.beta_scale(x_scale, y_scale) / weight_scale,
            skip=skip,
            patches=self.n_patches,
            basis=basis,
            x_scale=x_scale,
            y_scale=y_scale,
            objective_scale=objective_scale,
            truncation=truncation,
            smallest=float(values[rank - 1]) / x_scale if rank else 1.0,
        )
        for array in (scaled.X, scaled.Y, scaled.weight, scaled.basis):
            if array is not None:
                array.flags.writeable = False
        return scaled

    def __repr__(self) -> str:
        parts = [
            f"samples={self.n_samples}",
            f"features={self.n_features}",
            f"outputs={self.n_outputs}",
            f"rank={self.rank}",
            f"beta={self.beta:g}",
            f"loss={self.loss.name!r}",
        ]
        if self.activation.text != "relu":
            parts.append(f"activation={self.activation.text!r}")
        if self.n_patches > 1:
            parts.append(f"patches={self.n_patches}")
        if self.bias:
            parts.append("bias=True")
        if self.anchors is not None:
            parts.append(f"anchors={len(self.anchors)}")
        if self.skip is not None:
            parts.append(f"skip={self.skip or True}")
        return f"TrainingProblem({', '.join(parts)})"


def _positive(value: Any, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise InputTypeError(f"{name} must be a number; got {value!r}.") from error
    except OverflowError:
        number = math.inf
    if not (math.isfinite(number) and number > 0.0):
        raise InputError(f"{name} must be positive and finite; got {value!r}.")
    return number


def _read_skip(skip: Any) -> float | None:
    """Return the weight of the linear term: None without, 0 unpenalised."""
    if isinstance(skip, (bool, np.bool_)):
        return 0.0 if skip else None
    return _positive(skip, "skip, unless it is True or False,")
