r"""Branch and bound for rho over the unit sphere, cone by cone, for low ranks.

The sphere is covered by simplicial cones :math:`\{R^T \lambda : \lambda \ge 0\}`, the
unit rays being the rows :math:`r_j` of R. On one of them, with
:math:`\sigma(t) = s_- t + s (t)_+` and :math:`u = R^T \lambda`,

.. math:: Z^T \sigma(Xu) = \sum_j \lambda_j v_j - \sum_k s z_k \delta_k, \qquad
          v_j = Z^T \sigma(X r_j), \qquad
          0 \le \delta_k \le \min\Big(\sum_j \lambda_j (x_k^T r_j)_+, \;
          \sum_j \lambda_j (-x_k^T r_j)_+\Big)

for :math:`\delta_k`, what the chord is above the hinge, vanishes unless the sign of
sample k changes in the cone. Along a unit vector a, near the outputs of the cone, only
the :math:`\delta_k` that add to the product count. That gives nonnegative
:math:`D_j` and :math:`e_j` with

.. math:: |a^T Z^T \sigma| \le D^T \lambda, \qquad
          |(I - a a^T) Z^T \sigma| \le |V_\perp^T \lambda| + e^T \lambda.

Three bounds follow for :math:`|u| \le 1`, and the least one counts: an entrywise
comparison of the square with :math:`|u|^2 = \lambda^T R R^T \lambda`; the norm of the
linear form :math:`D^T \lambda` of u, and the rest by its largest ray; the spectral norm
of :math:`J = X^T \mathrm{diag}(\text{slopes}) Z`, undecided slopes at their mean, and
what they may differ. The last is exact where a maximiser lies inside a cell; near the
best directions on hyperplanes stars of cells are decided as a whole
(:mod:`pyomo_relu.certificates.stars`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pyomo_relu.activations import Activation
from pyomo_relu.certificates.arguments import power_of_two, read_dual_point
from pyomo_relu.certificates.stars import INDEPENDENT, Star, star_at, star_bound
from pyomo_relu.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]
Indices = np.ndarray[Any, np.dtype[np.intp]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

__all__ = ["SphereBound", "sphere_bound"]

_EPS = float(np.finfo(float).eps)
#: Floats that one chunk of cones may take in an array: 16 MB.
_CHUNK_FLOATS = 2_000_000
#: Cones that one round splits: this part of the open ones, between these numbers.
_PART, _FEWEST, _MOST = 4, 256, 16_384
#: Where the limit is clearly exceeded, bounds need be no closer than a part of that.
_CLEARLY, _PART_OF_EXCESS = 1e-5, 1.0 / 3.0
#: Cross polytopes have 2^r cones.
_LARGEST_RANK = 16
#: A cone of at most `_FEW` undecided samples is split where one changes its sign, if
#: that leaves both parts of the edge a share, and the edge is long enough: thin cones
#: are bounded badly.
_FEW, _SHARE, _LONG = 4, 0.1, 0.5
#: What an edge's length counts beside the height of the chords along it.
_LENGTH = 0.02
#: Directions in the first ascent and from a chunk of cones, and steps of each.
_STARTS, _START_STEPS, _TOP, _TOP_STEPS = 200, 40, 8, 6
#: Directions that are kept: unit vectors of a larger product are the same one.
_KEPT, _SAME = 100, 0.9999
#: Stars are looked for at directions whose value is this part of the largest.
_STAR_VALUE = 0.95
#: A search that gets long decides a star for so many cones, from this count on: of the
#: open cones of highest bounds that so few hyperplanes cross.
_CONES_A_STAR, _LONG_SEARCH, _LOOKED_AT, _FEW_OPEN = 1_000, 50_000, 2_000, 3
#: Products of unit vectors that are zero up to rounding.
_TINY = 32.0 * _EPS


@dataclass(frozen=True)
class SphereBound:
    """What branch and bound over the sphere found.

    Attributes
    ----------
    value : float
        Proven upper bound on rho, rounding and perturbation included.
    attained : float
        ``|Z^T sigma(X u)|`` at `direction`: no more than rho.
    direction : (r,) array
        A unit vector.
    directions : (m, r) array
        Distinct unit vectors that ascents ended at, `direction` first, by falling
        value; 100 at most.
    values : (m,) array
        ``|Z^T sigma(X u)|`` at them.
    cones : int
        How many were bounded.
    open : int
        How many were left above what was asked for; 0 if the search is complete.
    closeness : float
        How close to the largest attained value bounds had to be, relatively.
    """

    value: float
    attained: float
    direction: Array = field(repr=False)
    directions: Array = field(repr=False)
    values: Array = field(repr=False)
    cones: int
    open: int
    closeness: float

    @property
    def complete(self) -> bool:
        """Whether the bound is as close as was asked for."""
        return self.open == 0


def sphere_bound(
    X: ArrayLike,
    Z: ArrayLike,
    activation: Activation | None = None,
    *,
    target: float = 0.0,
    tolerance: float = 1e-3,
    max_cones: int = 1_000_000,
    perturbation: float = 0.0,
    upper: float = math.inf,
    limit: float = math.inf,
    stop: Callable[[], bool] | None = None,
) -> SphereBound:
    r"""Bound rho from above and below by branch and bound.

    Cones of the largest bounds are bisected at their longest edge. Memory is
    ``8 r^2`` bytes for each open cone.

    Parameters
    ----------
    X : (N, r) array_like
        Rows of the arrangement.
    Z : (N, c) array_like
        Dual point, a row for each of them.
    activation : Activation, optional
        ReLU by default.
    target : float
        Bounds need not be less than this.
    tolerance : float
        Nor than the largest attained value times one plus this.
    max_cones : int
        How many cones may be bounded.
    perturbation : float
        Spectral norm of a change of `X` that the upper bound must allow for.
    upper : float
        An upper bound on rho that is proved already, `perturbation` included.
    limit : float
        What rho should not exceed. Where it does, bounds need be no closer to the
        largest attained value than a third of the excess.
    stop : callable, optional
        Asked before every round whether to end with what is proved until then.

    Returns
    -------
    SphereBound

    Raises
    ------
    InputError
        Shapes that do not match, NaN or infinity, a number out of range, a rank
        above 16.

    Examples
    --------
    >>> bound = sphere_bound([[1.0, 0.0], [0.0, 1.0]], [[3.0], [4.0]], tolerance=1e-6)
    >>> print(f"{bound.attained:.5f} {bound.value:.5f} {bound.complete}")
    5.00000 5.00000 True
    """
    X, Z, activation = read_dual_point(X, Z, activation)
    for name, number in (
        ("target", target),
        ("tolerance", tolerance),
        ("max_cones", max_cones),
        ("perturbation", perturbation),
    ):
        if not 0.0 <= number < math.inf:
            raise InputError(f"{name} must be finite and zero or more; got {number!r}.")
    for name, number in (("upper", upper), ("limit", limit)):
        if not number >= 0.0:
            raise InputError(f"{name} must be zero or more; got {number!r}.")
    # Powers of two: squares must neither vanish nor overflow.
    x_size = power_of_two(float(np.abs(X).max(initial=0.0)))
    z_size = power_of_two(float(np.abs(Z).max(initial=0.0)))
    X, Z = X / x_size, Z / z_size
    search = _Search(X, Z, activation)
    if search.rank > _LARGEST_RANK:
        raise InputError(
            f"branch and bound over the sphere is for ranks up to {_LARGEST_RANK}; got "
            f"rank {search.rank}. Use semidefinite_bound."
        )
    margin = search.margin + search.steepest * search.dual_norm * (
        perturbation / x_size
    )
    size = x_size * z_size
    search.run(
        max(target / size - margin, 0.0), tolerance, limit / size, int(max_cones), stop
    )
    directions = search.found @ search.right.T
    if not len(directions):
        directions = np.eye(X.shape[1])[:1]
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    values = np.linalg.norm(activation(directions @ X.T) @ Z, axis=1)
    order = np.argsort(-values, kind="stable")
    return SphereBound(
        value=min((max(search.upper, search.attained) + margin) * size, upper),
        attained=float(values[order[0]]) * size,
        direction=directions[order[0]],
        directions=directions[order],
        values=values[order] * size,
        cones=search.count,
        open=len(search.bounds),
        closeness=search.closeness,
    )


class _Search:
    """Open cones with their bounds, and the best direction so far."""

    def __init__(self, X: Array, Z: Array, activation: Activation) -> None:
        self.activation = activation
        self.steepest = max(
            activation.lipschitz,
            abs(activation.step),
            abs(activation.negative) + abs(activation.step),
        )
        _, singular, right = np.linalg.svd(X, full_matrices=False)
        self.rank = int(np.sum(singular > singular[0] * max(X.shape) * _EPS))
        self.right = right[: self.rank].T
        self.X = X @ self.right
        self.lengths = np.linalg.norm(self.X, axis=1)
        divisors = np.where(self.lengths > 0.0, self.lengths, 1.0)
        self.unit_rows = self.X / divisors[:, None]
        weights = self.lengths * np.linalg.norm(Z, axis=1)
        self.weights = weights / max(float(weights.sum()), 1e-300)
        self.Z = Z
        n, c = Z.shape
        z_norm = float(np.linalg.norm(Z))
        self.dual_norm = float(np.linalg.norm(Z, 2)) * (1.0 + 8.0 * max(n, c) * _EPS)
        x_norm = float(singular[0]) if len(singular) else 0.0
        self.norms = activation.lipschitz * self.dual_norm * x_norm * (1.0 + 1e-12)
        dropped = float(np.linalg.norm(X - self.X @ self.right.T))
        # Products with rays and sums over samples, each carried by some more; slivers
        # of a rounding's width between neighbours that were bisected at other points.
        self.margin = self.steepest * (
            self.dual_norm * dropped
            + 16.0
            * _EPS
            * (n + X.shape[1] * (c + 4) + 64)
            * float(np.linalg.norm(X))
            * z_norm
        )
        self.products = np.einsum("kr,kc->krc", self.X, Z).reshape(n, -1)
        self.z_squares = np.einsum("kc,kc->k", Z, Z)
        self.attained = 0.0
        self.found, self.found_values = np.empty((0, self.rank)), np.empty(0)
        self.count, self.upper, self.closeness = 0, 0.0, 0.0
        self.cones = np.empty((0, self.rank, self.rank))
        self.bounds = np.empty(0)
        self.star_above = np.empty((n, 0), dtype=np.float32)
        self.star_below = np.empty((n, 0), dtype=np.float32)
        self.star_bounds = np.empty(0)

    def run(
        self,
        target: float,
        tolerance: float,
        limit: float,
        max_cones: int,
        stop: Callable[[], bool] | None,
    ) -> None:
        """Split cones until every bound is low enough, or there are too many."""
        if self.rank == 0 or not self.Z.any():
            return
        self._ascend(_starts(self.rank), _START_STEPS)
        self._find_stars(stop)
        star_count = _LONG_SEARCH
        cones = _orthants(self.rank, half=self.activation.is_even)
        self._enter(cones, np.full(len(cones), self.norms))
        while True:
            if self.count > star_count and len(self.bounds):
                self._decide_cones((self.count - star_count) // _CONES_A_STAR)
                star_count = self.count
            self.closeness = tolerance
            if self.attained > limit * (1.0 + _CLEARLY):
                excess = 1.0 - limit / self.attained
                self.closeness = max(tolerance, _PART_OF_EXCESS * excess)
            floor = max(target, self.attained * (1.0 + self.closeness))
            low = self.bounds <= floor
            if low.any():
                self.upper = max(self.upper, float(self.bounds[low].max()))
                self.cones, self.bounds = self.cones[~low], self.bounds[~low]
            open_cones = len(self.bounds)
            size = min(max(open_cones // _PART, _FEWEST), _MOST, open_cones)
            size = min(size, (max_cones - self.count) // 2)
            if size <= 0 or self.rank == 1 or (stop is not None and stop()):
                break
            chosen = np.argpartition(self.bounds, open_cones - size)[-size:]
            parents, limits = self.cones[chosen], self.bounds[chosen]
            kept = np.ones(open_cones, dtype=bool)
            kept[chosen] = False
            self.cones, self.bounds = self.cones[kept], self.bounds[kept]
            self._enter(
                _bisect(parents, self.unit_rows, self.weights),
                np.concatenate([limits, limits]),
            )
        self.upper = max(self.upper, float(self.bounds.max(initial=0.0)))

    def _enter(self, cones: Array, limits: Array) -> None:
        """Bound cones, none above what is known of its parent, and keep them."""
        bounds = np.empty(len(cones))
        step = max(1, _CHUNK_FLOATS // (self.rank * len(self.X)))
        for start in range(0, len(cones), step):
            part = slice(start, start + step)
            bounds[part] = self._bound(cones[part])
        self.count += len(cones)
        self.cones = np.concatenate([self.cones, cones])
        self.bounds = np.concatenate([self.bounds, np.minimum(bounds, limits)])

    def _bound(self, R: Array) -> Array:
        """Return the least of the bounds for cones R (P, r, r), rays as rows."""
        step = self.activation.step
        at_rays = R @ self.X.T
        positive = np.maximum(at_rays, 0.0)
        negative = positive - at_rays
        V = (self.activation.negative * at_rays + step * positive) @ self.Z
        values = np.linalg.norm(V, axis=2)
        self._keep(R, values)
        up, down = positive.sum(axis=1), negative.sum(axis=1)
        # Of the two linear bounds on what a chord is above its hinge, the smaller one.
        excess = np.where((up < down)[:, None, :], positive, negative)
        centre = V.sum(axis=1)
        length = np.linalg.norm(centre, axis=1, keepdims=True)
        axis = np.where(length > 0.0, centre / np.where(length > 0.0, length, 1.0), 0.0)
        along = axis @ self.Z.T
        across = self._across(axis, along)
        along = step * along
        on_axis = np.einsum("pjc,pc->pj", V, axis)
        V_across = V - on_axis[:, :, None] * axis[:, None, :]
        weights = np.stack(
            [np.maximum(-along, 0.0), np.maximum(along, 0.0), abs(step) * across], 2
        )
        added, taken, sideways = np.moveaxis(excess @ weights, 2, 0)
        D = np.maximum(np.maximum(on_axis + added, taken - on_axis), 0.0)
        G = R @ R.transpose(0, 2, 1)
        # Convex combinations of the rays are no shorter than its root.
        shortest = _shortest(G)
        lengths = np.linalg.norm(V_across, axis=2)
        S = D[:, :, None] * D[:, None, :] + V_across @ V_across.transpose(0, 2, 1)
        mixed = lengths[:, :, None] * sideways[:, None, :]
        S += mixed + mixed.transpose(0, 2, 1)
        S += sideways[:, :, None] * sideways[:, None, :]
        bound = _entrywise(S, G)
        rest = (lengths + sideways).max(axis=1)
        bound = np.minimum(bound, _linear(R, D, rest, shortest))
        # The spectral bound is the dearest: for those that are not yet low enough.
        high = np.flatnonzero(bound > self.attained)
        if len(high):
            low_sign = at_rays[high].min(axis=1)
            high_sign = at_rays[high].max(axis=1)
            tiny = _TINY * self.lengths
            share = np.where(
                low_sign >= -tiny, 1.0, np.where(high_sign > tiny, 0.5, 0.0)
            )
            slopes = self.activation.negative + step * share
            J = (slopes @ self.products).reshape(len(high), self.rank, -1)
            if J.shape[2] <= J.shape[1]:
                gram = J.transpose(0, 2, 1) @ J
            else:
                gram = J @ J.transpose(0, 2, 1)
            top = np.sqrt(np.maximum(np.linalg.eigvalsh(gram)[:, -1], 0.0))
            # Rounded squares: what a root makes of them.
            top += 1e-12 * np.sqrt(np.einsum("prc,prc->p", J, J))
            undecided = np.where(share == 0.5, np.sqrt(self.z_squares), 0.0)
            doubt = np.einsum("pjk,pk->pj", np.abs(at_rays[high]), undecided)
            with np.errstate(divide="ignore"):
                doubt = 0.5 * abs(step) * doubt.max(axis=1) / shortest[high]
            doubt = np.where(undecided.any(axis=1), doubt, 0.0)
            bound[high] = np.minimum(bound[high], top + doubt)
            if len(self.star_bounds):
                within = self._star_bound(low_sign >= -tiny, high_sign <= tiny)
                bound[high] = np.minimum(bound[high], within)
        return bound

    def _across(self, axis: Array, along: Array) -> Array:
        """Return the norms of the parts (P, n) of the z_k that are off unit axes."""
        squares = self.z_squares - along**2
        across = np.sqrt(np.maximum(squares, 0.0))
        # Where these cancel, the difference of vectors does not.
        cones, samples = np.nonzero(squares <= 1e-6 * self.z_squares)
        size = max(1, _CHUNK_FLOATS // self.Z.shape[1])
        for start in range(0, len(cones), size):
            p, k = cones[start : start + size], samples[start : start + size]
            rest = self.Z[k] - along[p, k, None] * axis[p]
            across[p, k] = np.linalg.norm(rest, axis=1)
        return across

    def _star_bound(self, above: Bools, below: Bools) -> Array:
        """Return the least bound of the stars that cones are in, inf without one."""
        least = np.full(len(above), np.inf)
        # Samples that must be on one side and may be on the other.
        wrong = (~above).astype(np.float32) @ self.star_above
        wrong += (~below).astype(np.float32) @ self.star_below
        rows, columns = np.nonzero(wrong == 0.0)
        np.minimum.at(least, rows, self.star_bounds[columns])
        return least

    def _find_stars(self, stop: Callable[[], bool] | None) -> None:
        """Decide the stars of the best directions, best first."""
        for direction, value in zip(self.found, self.found_values, strict=True):
            if value < _STAR_VALUE * self.attained or (stop is not None and stop()):
                break
            if self.activation.is_even and direction[-1] < 0.0:
                # Only half of the sphere is searched.
                direction = -direction
            inner = (self.X @ direction)[None]
            if np.isinf(self._star_bound(inner >= 0.0, inner <= 0.0)[0]):
                self._decide(star_at(self.X, direction))

    def _decide(self, star: Star) -> None:
        bound, direction = star_bound(
            self.X, self.Z, self.activation, star, self.attained
        )
        self.star_above = np.column_stack([self.star_above, star.above])
        self.star_below = np.column_stack([self.star_below, star.below])
        # A cone that is in a star up to rounding is as little outside of each face.
        outside = self.norms * _TINY / INDEPENDENT
        self.star_bounds = np.append(self.star_bounds, bound + outside)
        self._ascend(direction[None], 1)

    def _decide_cones(self, count: int) -> None:
        """Decide the stars of open cones that few hyperplanes cross, highest first."""
        size = min(_LOOKED_AT, len(self.bounds))
        chosen = np.argpartition(self.bounds, len(self.bounds) - size)[-size:]
        chosen = chosen[np.argsort(-self.bounds[chosen], kind="stable")]
        at_rays = self.cones[chosen] @ self.X.T
        tiny = _TINY * self.lengths
        above, below = at_rays.min(axis=1) >= -tiny, at_rays.max(axis=1) <= tiny
        crossing = ~above & ~below
        is_open = crossing.sum(axis=1) <= _FEW_OPEN
        while count and is_open.any():
            count -= 1
            i = int(is_open.argmax())
            centre = self.cones[chosen[i]].sum(axis=0)
            self._decide(star_at(self.X, centre / np.linalg.norm(centre), crossing[i]))
            wrong = ~above @ self.star_above[:, -1] + ~below @ self.star_below[:, -1]
            within = chosen[wrong == 0.0]
            self.bounds[within] = np.minimum(self.bounds[within], self.star_bounds[-1])
            is_open[wrong == 0.0] = False

    def _keep(self, R: Array, values: Array) -> None:
        """Ascend from the best rays, if they are near what there was."""
        flat = values.ravel()
        size = min(_TOP, flat.size)
        best = np.argpartition(flat, flat.size - size)[-size:]
        best = best[flat[best] > 0.9 * self.attained]
        if len(best):
            self._ascend(R.reshape(-1, self.rank)[best], _TOP_STEPS)

    def _ascend(self, directions: Array, steps: int) -> None:
        """Ascend from unit vectors (m, r) by ``u <- J J^T u``, or shorter steps."""
        activation, values = self.activation, np.zeros(len(directions))
        for _ in range(steps):
            products = directions @ self.X.T
            outputs = activation(products) @ self.Z
            slopes = activation.slopes(products)
            gradient = (slopes * (outputs @ self.Z.T)) @ self.X
            size = np.linalg.norm(gradient, axis=1, keepdims=True)
            whole = gradient / np.where(size > 0.0, size, 1.0)
            # A full step may leave the cell and lose.
            tried = np.stack(
                [directions + x * (whole - directions) for x in (1.0, 0.3, 0.03, 0.0)]
            )
            tried /= np.linalg.norm(tried, axis=2, keepdims=True) + 1e-300
            reached = np.linalg.norm(activation(tried @ self.X.T) @ self.Z, axis=2)
            choice = reached.argmax(axis=0)
            everyone = np.arange(len(directions))
            directions, values = tried[choice, everyone], reached[choice, everyone]
        self._collect(directions, values)

    def _collect(self, directions: Array, values: Array) -> None:
        """Keep the best distinct ones of some directions and those kept so far."""
        directions = np.concatenate([self.found, directions])
        values = np.concatenate([self.found_values, values])
        kept: list[int] = []
        for i in np.argsort(-values, kind="stable").tolist():
            if len(kept) == _KEPT or values[i] <= 0.0:
                break
            products = directions[kept] @ directions[i]
            if self.activation.is_even:
                products = np.abs(products)
            if products.max(initial=-1.0) <= _SAME:
                kept.append(i)
        self.found, self.found_values = directions[kept], values[kept]
        self.attained = float(self.found_values.max(initial=0.0))


def _starts(rank: int) -> Array:
    """Return unit vectors from which to ascend, the same ones every time."""
    directions = np.random.default_rng(0).normal(size=(_STARTS, rank))
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


def _orthants(rank: int, *, half: bool) -> Array:
    """Return the cones (2^r, r, r) of the axes, or those with a positive last axis."""
    count = 1 << (rank - 1 if half else rank)
    signs = np.where(np.arange(count)[:, None] >> np.arange(rank) & 1, -1.0, 1.0)
    return np.asarray(signs[:, :, None] * np.eye(rank))


def _bisect(R: Array, unit_rows: Array, weights: Array) -> Array:
    r"""Split cones (P, r, r) at a point of an edge: (2 P, r, r).

    That is where an undecided sample changes its sign, if few are undecided, so that
    the cones end up inside cells. Otherwise it is the middle of the edge along which
    chords are highest above their hinges,

    .. math:: \max_{ij} \sum_k w_k \big(\min((x_k^T r_i)_+, (-x_k^T r_j)_+)
              + \min((-x_k^T r_i)_+, (x_k^T r_j)_+)\big) + \epsilon (1 - r_i^T r_j)

    with the small multiple of its length, so that no edge stays long.
    """
    P, r = R.shape[:2]
    cosines = R @ R.transpose(0, 2, 1)
    first, second = np.triu_indices(r, 1)
    cosines = cosines[:, first, second]
    at_rays = R @ unit_rows.T
    # Half the digits for twice the speed: this only chooses.
    weighted = (at_rays * weights).astype(np.float32)
    over, under = np.maximum(weighted, 0.0), np.maximum(-weighted, 0.0)
    length = (_LENGTH * (1.0 - cosines)).astype(np.float32)
    for e, (i, j) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        height = np.minimum(over[:, i], under[:, j])
        height += np.minimum(under[:, i], over[:, j])
        length[:, e] += height.sum(axis=1)
    edge = length.argmax(axis=1)
    share = np.full(P, 0.5)
    undecided = (at_rays.min(axis=1) < -_TINY) & (at_rays.max(axis=1) > _TINY)
    count = undecided.sum(axis=1)
    few = np.flatnonzero((count > 0) & (count <= _FEW))
    if len(few):
        sample = undecided[few].argmax(axis=1)
        values = np.take_along_axis(at_rays[few], sample[:, None, None], axis=2)[..., 0]
        ends, others = values[:, first], values[:, second]
        crossing = ends * others < 0.0
        place = ends / np.where(crossing, ends - others, 1.0)
        central = crossing & (place > _SHARE) & (place < 1.0 - _SHARE)
        cosine = np.where(central, cosines[few], np.inf)
        best = cosine.argmin(axis=1)
        everyone = np.arange(len(few))
        longest = cosines[few, edge[few]]
        usable = 1.0 - cosine[everyone, best] >= _LONG * (1.0 - longest)
        edge[few[usable]] = best[usable]
        share[few[usable]] = place[everyone, best][usable]
    one, other = first[edge], second[edge]
    everything = np.arange(P)
    point = (1.0 - share)[:, None] * R[everything, one]
    point += share[:, None] * R[everything, other]
    point /= np.linalg.norm(point, axis=1, keepdims=True)
    children = np.concatenate([R, R])
    children[everything, one] = point
    children[P + everything, other] = point
    return children


def _shortest(G: Array) -> Array:
    """Return lower bounds on the norms of convex combinations of rays."""
    # Their squares are at least the least entry of the Gram matrix, and its least
    # eigenvalue over the order.
    least = G.min(axis=(1, 2))
    wide = np.flatnonzero(least <= 0.1)
    if len(wide):
        eigenvalue = np.linalg.eigvalsh(G[wide])[:, 0] - 1e-13
        least[wide] = np.maximum(least[wide], eigenvalue / G.shape[1])
    return np.sqrt(np.maximum(least, 0.0))


def _entrywise(S: Array, G: Array) -> Array:
    """Return the root of the least t with ``t G - S >= 0`` entrywise, inf if none."""
    flat = np.abs(G) <= 1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = S / G
    least = np.where((G > 0.0) & ~flat, quotient, 0.0).max(axis=(1, 2))
    most = np.where((G < 0.0) & ~flat, quotient, np.inf).min(axis=(1, 2))
    blocked = (flat & (-1e-12 * np.abs(least)[:, None, None] < S)).any(axis=(1, 2))
    fits = (least <= most) & ~blocked
    return np.where(fits, np.sqrt(np.maximum(least, 0.0)), np.inf)


def _linear(R: Array, D: Array, rest: Array, shortest: Array) -> Array:
    """Bound by the norm of the form ``D^T lambda`` of u, and the rest by its rays."""
    # Rays of split cones are independent but for rounding; any form will do that
    # is corrected by what it lacks on the rays.
    regular = np.abs(np.linalg.det(R)) > 1e-200
    form = np.zeros_like(D)
    if regular.any():
        form[regular] = np.linalg.solve(R[regular], D[regular][:, :, None])[:, :, 0]
    lacking = np.maximum(D - np.einsum("pjr,pr->pj", R, form), 0.0).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.linalg.norm(form, axis=1) + np.where(
            lacking > 0.0, lacking / shortest, 0.0
        )
        across = np.where(rest > 0.0, rest / shortest, 0.0)
    return np.asarray(np.hypot(along, across))
