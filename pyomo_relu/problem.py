"""What is being trained: data, loss and penalty, validated and scaled once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.arrays import as_matrix
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.losses import SquaredLoss, get_loss

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["ScaledProblem", "TrainingProblem"]

_SMALLEST, _LARGEST = 1e-100, 1e100
_NEARLY_FLAT = 1e-5


@dataclass(frozen=True, eq=False)
class ScaledProblem:
    """A training problem in reduced, scaled coordinates, and the way back.

    ``X = X_user basis / x_scale``, ``Y = Y_user / y_scale`` and
    ``beta = beta_user / (x_scale y_scale)`` (design, Reduction and scaling).

    Attributes
    ----------
    X : (n, r) array
        Samples in an orthonormal basis of their row space; spectral norm 1.
    Y : (n, c) array
        Targets, Frobenius norm 1 (squared loss).
    beta : float
        Weight decay that goes with the scaled data.
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
    beta: float
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
    def nearly_flat(self) -> bool:
        """Whether some direction hardly matters: singular values below 1e-5.

        Along it the rays of cells have coordinates of size one over that value,
        beyond what an interior point can tell.
        """
        return self.rank > 1 and self.smallest < _NEARLY_FLAT

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

    def from_user(self, first: Array, second: Array) -> tuple[Array, Array]:
        """Return both layers of a user's network in scaled coordinates.

        The part of the first layer that is orthogonal to every sample is
        dropped: it only costs penalty.

        Parameters
        ----------
        first : (d, m) array
            First layer.
        second : (m, c) array
            Second layer.
        """
        return self.basis.T @ first, second * (self.x_scale / self.y_scale)


class TrainingProblem:
    r"""Training a two-layer ReLU network with weight decay, problem (NN).

    .. math::

        p^* = \min_{m, u, v} \mathrm{loss}\Big(\sum_{j=1}^m (X u_j)_+ v_j^T, Y\Big)
              + \frac\beta2 \sum_j \big(|u_j|^2 + |v_j|^2\big)

    (arXiv:2012.13329; design, Network and objective). The loss is a sum over
    samples, not a mean.

    Parameters
    ----------
    X : (n, d) array_like
        Samples; numpy array, nested list or pandas frame.
    Y : (n, c) or (n,) array_like
        Targets; a vector is one output.
    beta : float
        Weight decay, positive.
    loss : {"squared"} or loss object
        The loss.

    Raises
    ------
    InputError, InputTypeError
        NaN, infinity, no rows, wrong shapes, ``beta <= 0``, unknown loss.

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
        loss: str | SquaredLoss = "squared",
    ) -> None:
        self.X = as_matrix(X, "X")
        self.Y = as_matrix(Y, "Y", allow_vector=True)
        if len(self.X) != len(self.Y):
            raise InputError(
                f"X and Y must have the same number of rows; X has {len(self.X)} "
                f"and Y has {len(self.Y)}."
            )
        try:
            self.beta = float(beta)
        except (TypeError, ValueError) as error:
            raise InputTypeError(f"beta must be a number; got {beta!r}.") from error
        if not (np.isfinite(self.beta) and self.beta > 0.0):
            raise InputError(f"beta must be positive and finite; got {beta!r}.")
        self.loss = get_loss(loss)
        for name, array in (("X", self.X), ("Y", self.Y)):
            largest = float(np.abs(array).max())
            # Norms square the entries, and scaling divides by products of norms.
            if largest and not _SMALLEST <= largest <= _LARGEST:
                raise InputError(
                    f"the largest entry of {name} is {largest:.3g} in size; the "
                    f"allowed range is {_SMALLEST:.0e} to {_LARGEST:.0e}. Rescale the "
                    "data."
                )
        if not _SMALLEST <= self.scaled.beta <= _LARGEST:
            raise InputError(
                f"beta = {self.beta:.3g} is out of proportion to these data: divided "
                f"by the norms of X and Y it is {self.scaled.beta:.3g}."
            )

    @property
    def n_samples(self) -> int:
        """Number of samples ``n``."""
        return self.X.shape[0]

    @property
    def n_features(self) -> int:
        """Number of inputs ``d``."""
        return self.X.shape[1]

    @property
    def n_outputs(self) -> int:
        """Number of outputs ``c``."""
        return self.Y.shape[1]

    @property
    def rank(self) -> int:
        """Numerical rank of `X`."""
        return self.scaled.rank

    @cached_property
    def scaled(self) -> ScaledProblem:
        """The same problem in reduced, scaled coordinates."""
        _, values, rows = np.linalg.svd(self.X, full_matrices=False)
        x_scale = float(values[0])
        # numpy.linalg.matrix_rank's rule: what is below is rounding of X.
        tolerance = x_scale * max(self.X.shape) * np.finfo(float).eps
        rank = int(np.sum(values > tolerance))
        if rank == 0:
            x_scale = 1.0
        full = rank == self.n_features
        basis = np.eye(rank) if full else rows[:rank].T
        truncation = float(values[rank]) / x_scale if rank < len(values) else 0.0
        y_scale = self.loss.target_scale(self.Y)
        return ScaledProblem(
            X=self.X @ basis / x_scale,
            Y=self.Y / y_scale,
            beta=self.beta / self.loss.beta_scale(x_scale, y_scale),
            basis=basis,
            x_scale=x_scale,
            y_scale=y_scale,
            objective_scale=self.loss.objective_scale(y_scale),
            truncation=truncation,
            smallest=float(values[rank - 1]) / x_scale if rank else 1.0,
        )

    def __repr__(self) -> str:
        return (
            f"TrainingProblem(samples={self.n_samples}, features={self.n_features}, "
            f"outputs={self.n_outputs}, rank={self.rank}, beta={self.beta:g}, "
            f"loss={self.loss.name!r})"
        )
