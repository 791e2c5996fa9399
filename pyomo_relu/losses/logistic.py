"""The multiclass logistic loss, the cross entropy of a softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pyomo_relu.losses.base import Array
from pyomo_relu.losses.classification import ClassificationLoss, write_balance
from pyomo_relu.losses.separable import entries_of

__all__ = ["LogisticLoss"]


@dataclass(frozen=True)
class LogisticLoss(ClassificationLoss):
    r"""The negative log-likelihood of the softmax of the scores.

    .. math::
        \mathrm{loss}(F, Y) = \sum_k w_k
        \Bigl(\log \sum_j e^{F_{kj}} - \langle Y_k, F_k\rangle\Bigr)

    for one-hot rows :math:`Y_k`. The dual value is the entropy
    :math:`-\sum_k w_k \sum_j q_{kj} \log q_{kj}` with :math:`q = Y - Z / w` in the
    simplex (design, Certificates); the q of a prediction is its softmax.

    Examples
    --------
    >>> import numpy as np
    >>> loss = LogisticLoss()
    >>> F, Y = np.array([[0.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> print(f"{loss.value(F, Y):.4f}")
    2.8201
    >>> print(loss.canonical_dual(F, Y).round(4))
    [[ 0.5    -0.5   ]
     [-0.8808  0.8808]]
    """

    name: ClassVar[str] = "logistic"
    is_smooth: ClassVar[bool] = True

    def value(self, F: Array, Y: Array, weight: Array | None = None) -> float:
        """Return the loss of scores `F` (n, c), a sum over samples."""
        w = self.sample_weights(Y, weight)
        off, top, own = _exponentials(F, Y)
        losses = np.where(
            top[:, 0] == 0.0,
            np.log1p(off.sum(axis=1)),
            top[:, 0] + np.log(own[:, 0] + off.sum(axis=1)),
        )
        return float(w @ losses)

    def gradient(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the gradient (n, c), ``w (softmax(F) - Y)``."""
        w = self.sample_weights(Y, weight)[:, None]
        off, _, own = _exponentials(F, Y)
        off = w * (off / (own + off.sum(axis=1, keepdims=True)))
        return np.where(Y == 0.0, off, -off.sum(axis=1, keepdims=True))

    def curvature(self, F: Array, Y: Array, weight: Array | None = None) -> Array:
        """Return the Hessian ``w (diag(p) - p p^T)``, p the softmax, a sample."""
        p = np.exp(F - F.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        blocks = p[:, :, None] * (np.eye(Y.shape[1]) - p[:, None, :])
        return self.sample_weights(Y, weight)[:, None, None] * blocks

    def _value_inside(self, Z: Array, Y: Array, w: Array) -> float:
        """Return the entropy."""
        r = np.divide(Z, w[:, None], where=w[:, None] > 0.0, out=np.zeros(Z.shape))
        own = np.sum(r * Y, axis=1)
        q = np.where(Y == 0.0, -r, 0.0)
        logs = np.log(q, where=q > 0.0, out=np.zeros(q.shape))
        own_log = np.log1p(-own, where=own < 1.0, out=np.zeros(own.shape))
        return -float(w @ (np.sum(q * logs, axis=1) + (1.0 - own) * own_log))

    def _best_multiple(
        self, Z: Array, Y: Array, w: Array, most: float, largest: float
    ) -> float:
        """Return where the derivative along the ray changes sign.

        Up to half of `most` every class has at least the probability 1/2 that its
        sample is of it, so that the entropy of every sample grows.
        """
        kept = w > 0.0
        r = Z[kept] / w[kept, None]
        off = np.where(Y[kept] == 0.0, -r, 0.0)
        own = np.sum(r * Y[kept], axis=1)
        weights = w[kept]
        moves = off > 0.0

        def derivative(s: float) -> float:
            logs = np.log(s * off, where=moves, out=np.zeros(off.shape))
            with np.errstate(divide="ignore", invalid="ignore"):
                rest = np.log1p(-np.minimum(s * own, 1.0))
            terms = np.where(own > 0.0, own * rest, 0.0) - np.sum(off * logs, axis=1)
            return float(weights @ terms)

        low, high = 0.5 * most, min(most, largest)
        if high <= low or not np.isfinite(high) or derivative(high) >= 0.0:
            return high
        for _ in range(60):
            middle = 0.5 * (low + high)
            if derivative(middle) >= 0.0:
                low = middle
            else:
                high = middle
        return low

    def has_one_zero_dual(self, Y: Array, weight: Array | None = None) -> bool:
        """Return True: the loss is differentiable."""
        return True

    def write(self, block: Any, F: Any, Y: Array, weight: Array | None = None) -> Any:
        r"""Write :math:`w_k (t_k - F_{k y_k})` with :math:`t_k` above the log-sum-exp.

        .. math::
            (F_{kj} - t_k, 1, u_{kj}) \in K_{\exp}, \qquad \sum_j u_{kj} \le 1

        (MOSEK Modeling Cookbook, 5.2.6): variables ``log_sum_exp`` and ``share``,
        cones ``share_cone`` and rows ``share_row``.
        """
        from pyomo_relu.cones import ExponentialCone
        from pyomo_relu.losses.rows import add_index, add_rows, add_variables, linear

        w = self.sample_weights(Y, weight)
        kept = np.flatnonzero(w > 0.0)
        c = Y.shape[1]
        scores = F[kept]
        samples = add_index(block, "samples", kept.tolist())
        index = add_index(
            block, "entries", entries_of(np.broadcast_to(w[:, None] > 0.0, Y.shape))
        )
        tops = add_variables(block, "log_sum_exp", samples)
        shares = add_variables(block, "share", index, initialize=1.0)
        vectors = (
            (linear(0.0, [1.0, -1.0], [f, t]), 1.0, u)
            for f, t, u in zip(
                scores.ravel(),
                (t for t in tops for _ in range(c)),
                shares,
                strict=True,
            )
        )
        block.add_component(
            "share_cone",
            ExponentialCone.from_vectors(dict(zip(index, vectors, strict=True)), index),
        )
        add_rows(
            block,
            "share_row",
            samples,
            (
                (None, linear(0.0, [1.0] * c, shares[i : i + c]), 1.0)
                for i in range(0, len(shares), c)
            ),
        )
        own = scores[np.arange(len(kept)), Y[kept].argmax(axis=1)].tolist()
        weights = w[kept]
        return linear(0.0, [*weights.tolist(), *(-weights).tolist()], [*tops, *own])

    def write_dual(
        self, block: Any, Z: Any, Y: Array, weight: Array | None = None
    ) -> Any:
        r"""Write the entropy of :math:`p = w q = w Y - Z` as a sum of variables.

        .. math::
            (e_{kj}, p_{kj}, w_k) \in K_{\exp} \iff e_{kj} \le -p_{kj} \log(p_{kj}/w_k)

        Variables ``entropy``, cones ``entropy_cone``, rows ``balance`` (rows of Z sum
        to zero) and ``unweighted`` (Z is zero where the weight is).
        """
        from pyomo_relu.cones import ExponentialCone
        from pyomo_relu.losses.rows import add_index, add_variables, linear

        w = self.sample_weights(Y, weight)
        has_weight = np.broadcast_to(w[:, None] > 0.0, Y.shape)
        write_balance(block, Z, w)
        index = add_index(block, "entries", entries_of(has_weight))
        entropies = add_variables(block, "entropy", index)
        weights = np.broadcast_to(w[:, None], Y.shape)
        vectors = (
            (e, linear(p, [-1.0], [z]), mass)
            for e, z, p, mass in zip(
                entropies,
                Z[has_weight],
                (weights * Y)[has_weight].tolist(),
                weights[has_weight].tolist(),
                strict=True,
            )
        )
        block.add_component(
            "entropy_cone",
            ExponentialCone.from_vectors(dict(zip(index, vectors, strict=True)), index),
        )
        return linear(0.0, [1.0] * len(entropies), entropies)


def _exponentials(F: Array, Y: Array) -> tuple[Array, Array, Array]:
    """Return scaled exponentials of scores less that of the class.

    Returns
    -------
    off : (n, c) array
        ``exp(F_j - F_y - top)``, zero on the class.
    top : (n, 1) array
        Largest of the ``F_j - F_y``, that of the class, zero, included.
    own : (n, 1) array
        ``exp(-top)``.
    """
    above = F - np.sum(F * Y, axis=1, keepdims=True)
    above = np.where(Y == 0.0, above, 0.0)
    top = above.max(axis=1, keepdims=True)
    off = np.where(Y == 0.0, np.exp(above - top), 0.0)
    return off, top, np.exp(-top)
