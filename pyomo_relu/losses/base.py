"""What every loss offers; a loss is a sum over samples, never a mean."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Array", "Loss", "weights_of"]


def weights_of(weight: Array | None, Y: Array) -> Array:
    """Return the weight of every entry of `Y`, ones by default.

    Parameters
    ----------
    weight : (n, c) array or None
        Nonnegative; anything that broadcasts to the shape of `Y` will do, so that
        (n, 1) is a weight a sample.
    Y : (n, c) array
        The targets.

    Examples
    --------
    >>> import numpy as np
    >>> weights_of(np.array([[2.0], [0.5]]), np.zeros((2, 2))).tolist()
    [[2.0, 2.0], [0.5, 0.5]]
    """
    if weight is None:
        return np.ones(Y.shape)
    return np.broadcast_to(np.asarray(weight, dtype=np.float64), Y.shape)


class Loss(ABC):
    r"""A convex loss of predictions F (n, c) against targets Y (n, c).

    The dual point is :math:`Z \in -\partial\,\mathrm{loss}(F)`, and what it proves is

    .. math:: -\mathrm{loss}^*(-Z) = \inf_F \mathrm{loss}(F, Y) + \langle Z, F\rangle

    (design, Certificates). Zero is in the domain of the dual of every loss here, and
    proves zero.

    `weight` is an (n, c) array of nonnegative weights, or None for ones. A separable
    loss weighs every entry; a classification loss gives sample k the weight of the
    entry of its class, :math:`\sum_j Y_{kj} w_{kj}`.

    Attributes
    ----------
    name : str
        What the loss is called.
    is_smooth : bool
        Whether the loss is differentiable, so that a prediction has one dual point.
    is_classification : bool
        Whether the targets are one-hot rows.
    degree : int
        d, where ``loss(t F, t Y) = t^d loss(F, Y)`` (with :meth:`in_units`).
    """

    name: ClassVar[str]
    is_smooth: ClassVar[bool]
    is_classification: ClassVar[bool] = False
    degree: ClassVar[int]

    @property
    def text(self) -> str:
        """How files name it; :func:`~pyomo_relu.losses.get_loss` reads it back."""
        parameters = dataclasses.astuple(self)  # type: ignore[call-overload]
        return f"{self.name}({parameters[0]!r})" if parameters else self.name

    def check_targets(self, Y: Array) -> None:  # noqa: B027
        """Refuse targets that the loss is not defined for.

        Parameters
        ----------
        Y : (n, c) array
            The targets, finite.

        Raises
        ------
        InputError
            They are no one-hot rows, and the loss is one of classification.
        """

    @abstractmethod
    def target_scale(self, Y: Array) -> float:
        """Return the positive number that `Y` is divided by."""

    def objective_scale(self, y_scale: float) -> float:
        """Return the factor from the scaled objective to the user's."""
        return y_scale**self.degree

    def beta_scale(self, x_scale: float, y_scale: float) -> float:
        """Return the number that `beta` is divided by."""
        return x_scale * y_scale ** (self.degree - 1)

    def in_units(self, y_scale: float) -> Loss:
        """Return the loss for targets and predictions divided by `y_scale`.

        It times :meth:`objective_scale` is the loss before.
        """
        return self

    @abstractmethod
    def value(self, F: Array, Y: Array, weight: Array | None = None) -> float:
        """Return the loss of predictions `F` (n, c), a sum over samples."""

    @abstractmethod
    def gradient(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the gradient (n, c) in `F`; a subgradient where there is a kink."""

    @abstractmethod
    def curvature(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the (generalised) Hessian in `F`, one block (c, c) a sample."""

    def canonical_dual(
        self, F: Array, Y: Array, weight: Array | None = None
    ) -> Array | None:
        """Return the dual point (n, c) of a prediction, minus the gradient.

        Returns
        -------
        (n, c) array or None
            Inside of the domain; None for a loss with kinks, where a prediction does
            not determine its dual point.
        """
        if not self.is_smooth:
            return None
        return self.repair(-self.gradient(F, Y, weight), Y, weight)

    @abstractmethod
    def repair(self, Z: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the nearest point (n, c) of the domain of the dual, but for rounding.

        It is inside of the domain exactly, without any tolerance, and a point that is
        inside is returned as it is.
        """

    @abstractmethod
    def dual_slack(self, Z: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return how far each entry (n, c) may move before it leaves the domain.

        For classification entries of a row move together, so that its sum stays zero.
        """

    @abstractmethod
    def dual_value(self, Z: Array, Y: Array, weight: Array | None = None) -> float:
        """Return minus the conjugate at ``-Z``; minus infinity outside of its domain.

        No tolerance: what is outside by the last bit proves nothing.
        """

    @abstractmethod
    def dual_bound(
        self, Z: Array, Y: Array, largest: float, weight: Array | None = None
    ) -> tuple[float, float]:
        """Return the best bound over multiples of `Z`, and the multiplier.

        Parameters
        ----------
        Z : (n, c) array
            A dual point some multiple of which is in the domain: for classification,
            what :meth:`repair` returned, times a power of two at most. Of other points
            zero is the only such multiple.
        Y : (n, c) array
            The targets.
        largest : float
            Largest admissible ``|s|``: ``beta / rho(Z)``. It may be infinite.
        weight : (n, c) array, optional
            The weights.

        Returns
        -------
        bound, s : float
            The bound is ``dual_value(repair(s * Z))``, at least zero. The repair is a
            matter of the last bits of ``s * Z``; where s is zero, so is the bound.
        """

    def zero_duals(self, Y: Array, weight: Array | None = None) -> Array:
        """Return a point (n, c) of minus the subdifferential of the loss at F = 0.

        The network is zero at an optimum exactly when beta is at least the least rho
        over that set. A member of it that is inside of the domain, exactly.
        """
        return self.repair(-self.gradient(np.zeros(Y.shape), Y, weight), Y, weight)

    @abstractmethod
    def has_one_zero_dual(self, Y: Array, weight: Array | None = None) -> bool:
        """Whether the loss is differentiable at F = 0, so that the set is one point."""

    @abstractmethod
    def write_zero_duals(
        self, block: Any, Z: Any, Y: Array, weight: Array | None = None
    ) -> None:
        """Add rows that say that `Z` is in minus the subdifferential at F = 0.

        Parameters
        ----------
        block : Block
            An empty Pyomo block for the rows.
        Z : (n, c) object array
            Pyomo variables.
        Y : (n, c) array
            The targets.
        weight : (n, c) array, optional
            The weights.
        """

    @abstractmethod
    def write(self, block: Any, F: Any, Y: Array, weight: Array | None = None) -> Any:
        """Write the loss as a Pyomo expression, for a model that minimises it.

        Parameters
        ----------
        block : Block
            An empty Pyomo block for what the loss needs: variables, rows and cones.
        F : (n, c) object array
            Predictions: Pyomo variables or affine expressions.
        Y : (n, c) array
            The targets.
        weight : (n, c) array, optional
            The weights; entries of weight zero are left out.

        Returns
        -------
        expression
            Linear or convex quadratic. It is the loss where the variables of the
            block are optimal, and above it elsewhere.
        """

    @abstractmethod
    def write_dual(
        self, block: Any, Z: Any, Y: Array, weight: Array | None = None
    ) -> Any:
        """Write minus the conjugate at ``-Z``, for a model that maximises it.

        Parameters
        ----------
        block : Block
            An empty Pyomo block for the rows and cones of the domain.
        Z : (n, c) object array
            Pyomo variables.
        Y : (n, c) array
            The targets.
        weight : (n, c) array, optional
            The weights.

        Returns
        -------
        expression
            Linear or concave quadratic; :meth:`dual_value` where the variables of the
            block are optimal, and below it elsewhere.
        """
