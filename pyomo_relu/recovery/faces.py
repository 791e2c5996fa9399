r"""The training problem with every neuron in the span of a face of its cell."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.linalg import null_space

from pyomo_relu.problem import ScaledProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Faces", "Kink", "Model", "Release"]

#: Steps towards more hyperplanes than this, the nearest, are not looked at.
_MAX_KINKS = 20
#: One-sided slopes, relative to the penalty's, that count as descent off a face.
_LEAVES = 1e-7
#: Rows with cosines this close to one in size have one hyperplane.
_PARALLEL = 1e-12


class Kink(NamedTuple):
    """Where a step takes a neuron to a hyperplane: ``theta + length * step``."""

    length: float
    neuron: int
    row: int


class Release(NamedTuple):
    """A hyperplane that a neuron should leave.

    `span` is that of the face without it, `direction` the way off it in u, and `slope`
    the derivative of (NN) that way.
    """

    neuron: int
    span: Array
    direction: Array
    slope: float


class Model(NamedTuple):
    r"""Second-order model of (NN) at a point.

    The Hessian is in parts,

    .. math:: H = J^T J + \mathrm{diag}(B_1, \ldots, B_m, \gamma I)

    Attributes
    ----------
    gradient : (size,) array
        Of everything.
    jacobian : (n c, m, b) array
        Of the predictions in the weights of each neuron, first its a and then its v,
        padded with zeros to one size b, times the root of the curvature of the loss.
    blocks : (m, b, b) array
        Decay and the mixed derivatives in a and v; the identity where it is padded.
    beside : (n c, r c) array
        Of the predictions in the linear term.
    """

    gradient: Array
    jacobian: Array
    blocks: Array
    beside: Array


class _FirstOrder(NamedTuple):
    """The gradient, and what it is made from.

    `features` are the derivatives of the hidden layer in all a, `mixed` those of the
    loss in all a and the v of the same neuron: the only part of the predictions that
    is not linear on a cell.
    """

    gradient: Array
    predictions: Array
    hidden: Array
    features: Array
    mixed: Array


class Faces:
    r"""(NN) in scaled units, each neuron in the span of a face: ``u_j = Q_j a_j``.

    .. math:: \mathrm{loss}\Big(\sum_j P \sigma(X Q_j a_j) v_j^T + P X C, Y\Big)
              + \tfrac\beta2 \sum_j (|a_j|^2 + |v_j|^2) + \tfrac\gamma2 |C|^2

    with P the mean over patches. Points are vectors ``theta``: all a, then all v, then
    C if there is a linear term.

    Parameters
    ----------
    scaled : ScaledProblem
        What is trained.
    spans : list of (r, q_j) arrays
        Orthonormal bases Q_j.
    """

    def __init__(self, scaled: ScaledProblem, spans: list[Array]) -> None:
        self.scaled, self.spans = scaled, spans
        self.sizes = [Q.shape[1] for Q in spans]
        self.owner = np.repeat(np.arange(len(spans)), self.sizes)
        #: Rows in the coordinates of all faces, side by side (N, sum of sizes).
        self.rows = scaled.X @ np.hstack(spans) if spans else scaled.X[:, :0]
        #: Hyperplanes that do not contain the face, (N, m).
        norms = np.linalg.norm(scaled.X, axis=1)[:, None]
        self.crosses = self._sum(self.rows**2) > 1e-20 * norms**2
        c = scaled.Y.shape[1]
        #: Means of the samples' rows, which the linear term sees.
        self.means = scaled.linear_means
        #: Weight of half the square of each entry of theta.
        self.decay = scaled.decay(len(self.owner) + len(spans) * c)

    @classmethod
    def through(
        cls,
        scaled: ScaledProblem,
        first: Array,
        second: Array,
        linear: Array,
        tolerance: float,
    ) -> tuple[Faces, Array]:
        """Return the faces that neurons lie on up to a tolerance, and the point.

        Parameters
        ----------
        scaled : ScaledProblem
            What is trained.
        first, second, linear : (r, m), (m, c) and (r or 0, c) arrays
            The network in scaled coordinates.
        tolerance : float
            Cosines with a normal up to this are zero.
        """
        X = scaled.X
        sizes = np.linalg.norm(X, axis=1)[:, None] * np.linalg.norm(first, axis=0)
        near = (np.abs(X @ first) <= tolerance * sizes) & (sizes > 0.0)
        spans = []
        for on in near.T:
            face = null_space(X[on], rcond=1e-6) if on.any() else np.eye(X.shape[1])
            spans.append(face if face.shape[1] else np.eye(X.shape[1]))
        a = [Q.T @ u for Q, u in zip(spans, first.T, strict=True)]
        return cls(scaled, spans), np.concatenate([*a, second.ravel(), linear.ravel()])

    def _sum(self, columns: Array) -> Array:
        """Add up the columns (N, sum of sizes) of each neuron."""
        if not self.sizes:
            return columns
        starts = np.cumsum([0, *self.sizes[:-1]])
        return np.add.reduceat(columns, starts, axis=1)

    @property
    def size(self) -> int:
        """Number of weights."""
        return len(self.decay)

    def split(self, theta: Array) -> tuple[Array, Array, Array]:
        """Return all a, v (m, c) and the linear term (r or 0, c)."""
        total = len(self.owner)
        c = self.scaled.Y.shape[1]
        end = total + len(self.spans) * c
        return (
            theta[:total],
            theta[total:end].reshape(-1, c),
            theta[end:].reshape(-1, c),
        )

    def parts(self, theta: Array) -> list[Array]:
        """Return a neuron by neuron."""
        return np.split(theta[: len(self.owner)], np.cumsum(self.sizes)[:-1])

    def layers(self, theta: Array) -> tuple[Array, Array]:
        """Return first (r, m) and second layer (m, c)."""
        _, v, _ = self.split(theta)
        if not self.spans:
            return np.zeros((self.scaled.rank, 0)), v
        pairs = zip(self.spans, self.parts(theta), strict=True)
        return np.column_stack([Q @ x for Q, x in pairs]), v

    def inner(self, theta: Array) -> Array:
        """Return ``X u_j`` (N, m)."""
        return self._sum(self.rows * theta[: len(self.owner)])

    def _pool(self, rows: Array) -> Array:
        """Return means over the patches of the samples, without anchor points."""
        return self.scaled.pool(rows)[: len(self.scaled.Y)]

    def _predictions(self, theta: Array) -> Array:
        _, v, linear = self.split(theta)
        hidden = self._pool(self.scaled.activation(self.inner(theta)))
        return hidden @ v + self.means @ linear

    def value(self, theta: Array) -> float:
        """Return (NN) at a point."""
        loss = self.scaled.loss_value(self._predictions(theta))
        return loss + 0.5 * float(np.sum(self.decay * theta * theta))

    def gradient(self, theta: Array) -> Array:
        """Return the gradient on the cells that a point lies in."""
        return self._first_order(theta).gradient

    def _first_order(self, theta: Array) -> _FirstOrder:
        scaled = self.scaled
        m, total, c = len(self.spans), len(self.owner), scaled.Y.shape[1]
        _, v, linear = self.split(theta)
        inner = self.inner(theta)
        hidden = self._pool(scaled.activation(inner))
        slopes = scaled.activation.slopes(inner)
        features = self._pool(self.rows * slopes[:, self.owner])
        predictions = hidden @ v + self.means @ linear
        slope = scaled.loss.gradient(predictions, scaled.Y, scaled.weight)
        mixed = features.T @ slope
        gradient = self.decay * theta
        gradient[:total] += np.sum(mixed * v[self.owner], axis=1)
        gradient[total : total + m * c] += (hidden.T @ slope).ravel()
        gradient[total + m * c :] += (self.means.T @ slope).ravel()
        return _FirstOrder(gradient, predictions, hidden, features, mixed)

    def model(self, theta: Array) -> Model:
        """Return gradient and Hessian on the cells that a point lies in."""
        scaled = self.scaled
        n, c = scaled.Y.shape
        m = len(self.spans)
        b = max(self.sizes, default=0) + c
        _, v, _ = self.split(theta)
        gradient, predictions, hidden, features, mixed = self._first_order(theta)
        # The root of the curvature (c, c) of each sample.
        values, vectors = np.linalg.eigh(
            scaled.loss.curvature(predictions, scaled.Y, scaled.weight)
        )
        roots = np.sqrt(np.maximum(values, 0.0))[:, :, None] * vectors.mT
        j, place = self.owner, self._places()
        jacobian = np.zeros((n, c, m, b))
        curved = np.einsum("kop,jp->koj", roots, v)
        jacobian[:, :, j, place] = features[:, None, :] * curved[:, :, j]
        jacobian[:, :, :, b - c :] = hidden[:, None, :, None] * roots[:, :, None, :]
        blocks = np.zeros((m, b, b))
        blocks[:, np.arange(b), np.arange(b)] = 1.0
        blocks[:, np.arange(b - c, b), np.arange(b - c, b)] = scaled.beta
        blocks[j, place, place] = scaled.beta
        blocks[j, place, b - c :] = mixed
        blocks[j, b - c :, place] = mixed
        beside = np.einsum("kr,kop->korp", self.means, roots)
        return Model(
            gradient,
            jacobian.reshape(n * c, m, b),
            blocks,
            beside.reshape(n * c, self.means.shape[1] * c),
        )

    def _places(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return which entry of the a of its neuron each entry of all a is."""
        starts = np.cumsum([0, *self.sizes])[:-1]
        return np.arange(len(self.owner)) - starts[self.owner]

    def pad(self, theta: Array) -> tuple[Array, Array]:
        """Return the weights of each neuron (m, b), padded, and the linear term."""
        a, v, linear = self.split(theta)
        c = self.scaled.Y.shape[1]
        padded = np.zeros((len(self.spans), max(self.sizes, default=0) + c))
        padded[self.owner, self._places()] = a
        padded[:, padded.shape[1] - c :] = v
        return padded, linear.ravel()

    def unpad(self, padded: Array, linear: Array) -> Array:
        """Return the vector of weights; inverse of :meth:`pad`."""
        c = self.scaled.Y.shape[1]
        a = padded[self.owner, self._places()]
        return np.concatenate([a, padded[:, padded.shape[1] - c :].ravel(), linear])

    def kinks(self, theta: Array, step: Array, largest: float) -> list[Kink]:
        """Return where a step meets hyperplanes, in order."""
        here, along = self.inner(theta), self.inner(step)
        with np.errstate(divide="ignore", invalid="ignore"):
            length = -here / along
        meets = self.crosses & (length >= 0.0) & (length <= largest)
        rows, neurons = np.nonzero(meets)
        order = np.argsort(length[rows, neurons], kind="stable")[:_MAX_KINKS]
        return [
            Kink(float(length[k, j]), int(j), int(k))
            for k, j in zip(rows[order], neurons[order], strict=True)
        ]

    def restrict(self, theta: Array, j: int, k: int) -> tuple[Faces, Array]:
        """Put neuron j on the hyperplane of row k; drop it if nothing is left."""
        _, v, linear = self.split(theta)
        parts = self.parts(theta)
        Q = self.spans[j]
        inside = null_space((self.scaled.X[k] @ Q)[None, :])
        spans = [*self.spans[:j], Q @ inside, *self.spans[j + 1 :]]
        parts = [*parts[:j], inside.T @ parts[j], *parts[j + 1 :]]
        if not inside.shape[1]:
            del spans[j], parts[j]
            v = np.delete(v, j, axis=0)
        point = np.concatenate([*parts, v.ravel(), linear.ravel()])
        return Faces(self.scaled, spans), point

    def releases(self, theta: Array) -> list[Release]:
        r"""Return the hyperplanes that neurons should leave, the worst of each neuron.

        At a stationary point on the faces the derivative in u_j, but for the rows that
        it lies on, is a combination :math:`\sum_h c_h n_h` of their unit normals. Off
        the hyperplane h, and on the others, the slopes of (NN) are

        .. math:: c_h + \sum_k \alpha_k s_k \sigma'(\alpha_k), \qquad
                  -c_h - \sum_k \alpha_k s_k \sigma'(-\alpha_k)

        with the sum over the rows :math:`x_k = \alpha_k n_h` and :math:`s_k` the
        derivative of the loss in :math:`\sigma(x_k u_j)`. Faces in more hyperplanes
        than their codimension are left out.
        """
        scaled = self.scaled
        u, v = self.layers(theta)
        predictions = self._predictions(theta)
        slope = scaled.loss.gradient(predictions, scaled.Y, scaled.weight)
        weights = scaled.spread(scaled.with_anchors(slope)) @ v.T
        slopes = scaled.activation.slopes(self.inner(theta))
        found = []
        for j, Q in enumerate(self.spans):
            if Q.shape[1] == scaled.rank:
                continue
            on = ~self.crosses[:, j]
            touched = on & scaled.X.any(axis=1)
            rows, some = scaled.X[touched], weights[touched, j]
            normals, which = _classes(rows)
            if len(normals) != scaled.rank - Q.shape[1]:
                continue
            rest = scaled.beta * u[:, j] + scaled.X[~on].T @ (
                weights[~on, j] * slopes[~on, j]
            )
            inverse = np.linalg.pinv(normals)
            alpha = np.sum(rows * normals[which], axis=1)
            ahead = alpha * some * scaled.activation.slopes(alpha)
            behind = alpha * some * scaled.activation.slopes(-alpha)
            c = inverse.T @ rest
            off = np.stack(
                [
                    c + np.bincount(which, ahead, len(normals)),
                    -c - np.bincount(which, behind, len(normals)),
                ]
            ) / np.linalg.norm(inverse, axis=0)
            side, h = np.unravel_index(int(off.argmin()), off.shape)
            if off[side, h] >= -_LEAVES * scaled.beta * np.linalg.norm(u[:, j]):
                continue
            direction = inverse[:, h] / np.linalg.norm(inverse[:, h])
            span = np.linalg.qr(np.column_stack([Q, direction]))[0]
            sign = 1.0 - 2.0 * side
            found.append(Release(j, span, sign * direction, float(off[side, h])))
        return found

    def release(
        self, theta: Array, chosen: list[Release]
    ) -> tuple[Faces, Array, Array]:
        """Return the faces without some hyperplanes, the point, and the way off them.

        Parameters
        ----------
        theta : array
            The point.
        chosen : list of Release
            What is released, one a neuron at most. The way off is as long as the
            neuron is.
        """
        spans = list(self.spans)
        u, _ = self.layers(theta)
        way = np.zeros_like(u)
        for each in chosen:
            spans[each.neuron] = each.span
            size = np.linalg.norm(u[:, each.neuron])
            way[:, each.neuron] = each.direction * size
        rest = theta[len(self.owner) :]
        point = [Q.T @ x for Q, x in zip(spans, u.T, strict=True)]
        step = [Q.T @ x for Q, x in zip(spans, way.T, strict=True)]
        return (
            Faces(self.scaled, spans),
            np.concatenate([*point, rest]),
            np.concatenate([*step, np.zeros_like(rest)]),
        )


def _classes(rows: Array) -> tuple[Array, np.ndarray[Any, np.dtype[np.int64]]]:
    """Return unit normals of the hyperplanes of rows, and which is each row's."""
    if not len(rows):
        return rows, np.zeros(0, dtype=np.int64)
    units = rows / np.linalg.norm(rows, axis=1)[:, None]
    same = np.abs(units @ units.T) > 1.0 - _PARALLEL
    first = same.argmax(axis=1)
    kept, which = np.unique(first, return_inverse=True)
    return units[kept], which
