r"""Upper bounds on rho from a semidefinite program: no cell is enumerated.

With the two parts of a direction's products, :math:`p = (Xu)_+` and
:math:`q = (-Xu)_+`, an activation of two slopes is
:math:`\sigma(Xu) = s_+ p - s_- q`, and with :math:`g = (p, q)`

.. math:: \rho(Z)^2 = \max \; g^T C g
          \quad \text{s.t.} \quad p - q = Xu, \; g \ge 0, \; p_k q_k = 0, \;
          |u| \le 1, \qquad C = H H^T, \; H = (s_+ Z, \, -s_- Z).

Shor's relaxation of it, with all products of the nonnegative terms, is the first line
below; its dual, the second. There X has the singular value decomposition
:math:`U \Sigma V^T`, and :math:`g = Q v` with :math:`v = (w, y) / \sqrt 2`,
:math:`w = p + q`, :math:`y = U^T (p - q)`, which has orthonormal columns:

.. math:: Q = \frac{1}{\sqrt 2} \begin{pmatrix} I & U \\ I & -U \end{pmatrix}, \qquad
          u^T u \ge v^T B v, \quad B = \mathrm{diag}(0, \, 2 \Sigma^{-2}).

.. math:: & \max \; \langle C, G \rangle \quad \text{s.t.} \quad
          G = Q W Q^T, \; W \succeq 0, \; \langle B, W \rangle \le 1, \; G \ge 0, \;
          G_{p_k q_k} = 0 \\
          & \min \; t \quad \text{s.t.} \quad
          t B - Q^T (C + N) Q \succeq 0, \quad N \ge 0 \text{ except on the pairs }
          (p_k, q_k)

Products with :math:`|u|` itself, which the Lorentz cone would allow, were tried and
change nothing. *Any* multipliers `N` prove a bound: with :math:`|w|^2 = |y|^2 =
|Xu|^2`, what they lack of being feasible is repaired at a known cost
(:func:`repaired_bound`). So the solver, an alternating direction method of multipliers,
need not be believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from pyomo_relu.activations import Activation
from pyomo_relu.arrays import as_matrix
from pyomo_relu.certificates.arguments import read_dual_point
from pyomo_relu.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "RhoUpperBound",
    "bound_by_norms",
    "repaired_bound",
    "semidefinite_bound",
]

_EPS = float(np.finfo(float).eps)
#: Samples in the semidefinite program; the matrix is of their order. A step takes about
#: 0.1 s and 15 arrays of n^2 floats at 600.
_MAX_SAMPLES = 600
#: Iterations between two repaired bounds, each of about the cost of two.
_CHECK = 25
#: B's entries are cut at this multiple of the least in the iteration, where wide
#: spectra are slow, and in the proof, where they would only add to rounding.
_SPREAD, _PROOF_SPREAD = 100.0, 1e6
#: Over-relaxation, and how the penalty follows the residuals.
_RELAXATION, _FACTOR, _BALANCE = 1.6, 1.25, 3.0
#: First penalty, and that for each sample: the fastest on iris, wine, breast cancer.
_PENALTY, _PENALTY_EACH = 2.0, 1.0 / 30.0


@dataclass(frozen=True)
class RhoUpperBound:
    """A proven upper bound on rho, rounding and perturbation included.

    Attributes
    ----------
    value : float
        No unit vector u has ``|Z^T sigma(X u)|`` above it.
    method : str
        What proved it: ``"norms"`` or ``"semidefinite"``.
    norms : float
        The bound by norms alone, :math:`|m| |Z^T X|_2 + |h| |Z|_2 |X|_2` with m the
        mean of the two slopes and h half their difference.
    relaxation : float
        About where more iterations would end; an estimate, not a bound.
    iterations : int
        Of the solver.
    samples : int
        How many were in the semidefinite program; the others by norms.
    history : tuple of (int, float)
        Iterations and the bound that they had proved.
    """

    value: float
    method: str
    norms: float
    relaxation: float
    iterations: int
    samples: int
    history: tuple[tuple[int, float], ...] = ()


class _Blocks(NamedTuple):
    """A symmetric matrix of order 2n as its blocks pp, pq and qq, each (n, n)."""

    pp: Array
    pq: Array
    qq: Array


class _Instance:
    """Rows of length one, their decomposition and C, scaled."""

    def __init__(self, X: Array, Z: Array, activation: Activation) -> None:
        lengths = np.linalg.norm(X, axis=1)
        # Scaling rows changes neither the products' signs nor Z^T sigma(Xu).
        rows = np.flatnonzero(lengths > 0.0)
        self.rows = rows
        X = X[rows] / lengths[rows, None]
        Z = Z[rows] * lengths[rows, None]
        self.n = len(X)
        left, singular, right = np.linalg.svd(X, full_matrices=False)
        rank = int(np.sum(singular > singular[0] * len(X) * _EPS))
        self.U, self.singular = left[:, :rank], singular[:rank]
        steepest = activation.lipschitz
        size = steepest * float(np.linalg.norm(Z))
        # What the factors are away from X, and the rounding of the scaled rows.
        product = (self.U * self.singular) @ right[:rank]
        self.error = size * (
            float(np.linalg.norm(X - product))
            + 8.0 * _EPS * (X.shape[1] + 4) * float(np.linalg.norm(X))
        )
        H = np.vstack([activation.positive * Z, -activation.negative * Z])
        # In units of |Z|_F |X|_2 rho is of order one.
        self.size = size if size > 0.0 else 1.0
        H = H / self.size
        top, bottom = H[: self.n], H[self.n :]
        self.C = _Blocks(top @ top.T, top @ bottom.T, bottom @ bottom.T)
        self.unit = self.size * float(self.singular[0])
        ratios = (self.singular[0] / self.singular) ** 2
        # v is measured in units of |X|_2: then v^T B v <= |u|^2 with these.
        self.B = 2.0 * np.minimum(ratios, _PROOF_SPREAD)
        self.B_step = 2.0 * np.minimum(ratios, _SPREAD)

    def compress(self, A: _Blocks) -> Array:
        """Return ``Q^T A Q`` of order n + rank."""
        diagonal, off = A.pp + A.qq, A.pq + A.pq.T
        n, U = self.n, self.U
        W = np.empty((n + U.shape[1],) * 2)
        W[:n, :n] = 0.5 * (diagonal + off)
        W[:n, n:] = (0.5 * (A.pp - A.qq - A.pq + A.pq.T)) @ U
        W[n:, :n] = W[:n, n:].T
        W[n:, n:] = 0.5 * (U.T @ ((diagonal - off) @ U))
        return W

    def expand(self, factor: Array) -> _Blocks:
        """Return ``Q F F^T Q^T`` for F (n + rank, columns)."""
        w, y = factor[: self.n], self.U @ factor[self.n :]
        p, q = math.sqrt(0.5) * (w + y), math.sqrt(0.5) * (w - y)
        return _Blocks(p @ p.T, p @ q.T, q @ q.T)

    def prove(self, N: _Blocks) -> float:
        """Return an upper bound on rho that given multipliers prove.

        The least t is sought with ``K = t B + delta (I, -I) - M`` positive
        semidefinite, ``M = Q^T (C + N) Q``. What the least eigenvalue of K lacks, and
        all that was rounded, is paid for by ``|v|^2 = 2 |y|^2 <= 1`` (units of |X|_2).
        """
        n = self.n
        A = _Blocks(*(c + x for c, x in zip(self.C, N, strict=True)))
        M = self.compress(A)
        size = _length(A)
        if not math.isfinite(size):
            return math.inf
        values, vectors = np.linalg.eigh(M[:n, :n])
        mixed = vectors.T @ M[:n, n:]
        root = 1.0 / np.sqrt(self.B)

        def least(delta: float) -> float:
            """Return the least t for one delta above the eigenvalues: a complement."""
            schur = M[n:, n:] + (mixed.T / (delta - values)) @ mixed
            schur[np.diag_indices_from(schur)] += delta
            return float(np.linalg.eigvalsh(root[:, None] * schur * root)[-1])

        top = float(values[-1])
        scale = max(float(np.abs(values).max()), 1e-3 * size, 1e-300)
        found = minimize_scalar(
            lambda x: least(top + scale * math.exp(x)),
            bounds=(-16.0, 6.0),
            method="bounded",
            options={"xatol": 0.02},
        )
        delta = top + scale * math.exp(float(found.x))
        t = max(float(found.fun), 0.0)
        K = -M
        diagonal = np.diag_indices_from(K)
        shift = np.concatenate([np.full(n, delta), t * self.B - delta])
        K[diagonal] += shift
        # Eigenvalues, sums of n products in M, and |Uy| for |y|: all of this order.
        rounding = (
            8.0
            * _EPS
            * (len(K) + 8)
            * math.sqrt(self.U.shape[1] + 1)
            * (size + abs(delta) + float(np.abs(shift).max()))
        )
        lacking = max(-float(np.linalg.eigvalsh(K)[0]), 0.0)
        square = t * (1.0 + 16.0 * _EPS * len(K)) + lacking + rounding
        return math.sqrt(square) * self.unit * (1.0 + 16.0 * _EPS) + self.error


def semidefinite_bound(
    X: ArrayLike,
    Z: ArrayLike,
    activation: Activation | None = None,
    *,
    max_iterations: int = 500,
    target: float = 0.0,
    tolerance: float = 1e-3,
    max_samples: int = _MAX_SAMPLES,
    perturbation: float = 0.0,
) -> RhoUpperBound:
    r"""Bound rho from above by the relaxation with products, in any rank.

    The best repaired bound of all iterations is kept, and the bound by norms where
    that is better. Memory is about 15 arrays of (samples, samples) floats.

    Parameters
    ----------
    X : (N, r) array_like
        Rows of the arrangement.
    Z : (N, c) array_like
        Dual point, a row for each of them.
    activation : Activation, optional
        ReLU by default.
    max_iterations : int
        Of the solver; 0 leaves the bound by norms.
    target : float
        Stop once the bound is no larger.
    tolerance : float
        Stop once fifty iterations lower the bound by less than this part of it.
    max_samples : int
        With more samples than this, those of the largest :math:`|z_k| |x_k|` enter the
        semidefinite program and the rest add their bound by norms.
    perturbation : float
        Spectral norm of a change of `X` that the bound must allow for.

    Returns
    -------
    RhoUpperBound

    Raises
    ------
    InputError
        Shapes that do not match, NaN or infinity, a number out of range.

    Examples
    --------
    Samples at right angles are never better than all together:

    >>> bound = semidefinite_bound([[1, 0], [0, 1]], [[3], [4]])
    >>> print(f"{bound.value:.3f} by {bound.method}, {bound.norms:.3f} by norms")
    5.000 by norms, 5.000 by norms

    Samples that point away from each other are never active together:

    >>> bound = semidefinite_bound([[1], [-1]], [[3], [4]])
    >>> print(f"{bound.value:.2f} by {bound.method}, {bound.norms:.2f} by norms")
    4.00 by semidefinite, 4.04 by norms
    """
    X, Z, activation = read_dual_point(X, Z, activation)
    for name, number in (("target", target), ("tolerance", tolerance)):
        if not number >= 0.0:
            raise InputError(f"{name} must be zero or more; got {number!r}.")
    if max_iterations < 0 or max_samples < 0:
        raise InputError(
            "max_iterations and max_samples must be zero or more; got "
            f"{max_iterations!r} and {max_samples!r}."
        )
    if not 0.0 <= perturbation < math.inf:
        raise InputError(
            f"perturbation must be a finite norm, zero or more; got {perturbation!r}."
        )
    steepest = max(activation.lipschitz, abs(activation.step))
    moved = steepest * _norm(Z) * perturbation
    norms = bound_by_norms(X, Z, activation)
    weights = np.linalg.norm(X, axis=1) * np.linalg.norm(Z, axis=1)
    order = np.argsort(-weights, kind="stable")[: int(np.count_nonzero(weights))]
    chosen, rest = np.sort(order[:max_samples]), np.sort(order[max_samples:])
    outside = bound_by_norms(X[rest], Z[rest], activation) if len(rest) else 0.0
    best, relaxation, history = norms, norms, [(0, norms + moved)]
    done = 0
    if len(chosen) and max_iterations > 0:
        solver = _Splitting(_Instance(X[chosen], Z[chosen], activation))
        before = math.inf
        while done < max_iterations and best + moved > target:
            steps = min(_CHECK, max_iterations - done)
            solver.advance(steps)
            done += steps
            best = min(best, solver.instance.prove(solver.multipliers()) + outside)
            history.append((done, best + moved))
            relaxation = solver.value() + outside
            if done % (2 * _CHECK) == 0:
                if best < norms and best > before * (1.0 - tolerance):
                    break
                before = best
    return RhoUpperBound(
        value=best + moved,
        method="semidefinite" if best < norms else "norms",
        norms=norms + moved,
        relaxation=min(relaxation, best) + moved,
        iterations=done,
        samples=len(chosen) if done else 0,
        history=tuple(history),
    )


def repaired_bound(
    X: ArrayLike,
    Z: ArrayLike,
    multipliers: ArrayLike,
    activation: Activation | None = None,
) -> float:
    r"""Return the upper bound on rho that given multipliers prove, whatever they are.

    Negative ones of products are replaced by zero, and t and the multiple of
    :math:`|w|^2 - |y|^2 = 0` chosen best:

    .. math:: \rho^2 \le t + \max(0, -\lambda_{\min}(K)) \, |X|_2^2, \qquad
              K = t B + \delta \, \mathrm{diag}(I, -I) - Q^T (C + N) Q

    with rounding accounted for. `C` here is that of rows of length one, ``x_k / |x_k|``
    and ``z_k |x_k|``, divided by the Frobenius norm of the latter times the larger
    slope; so `multipliers` are in these units. No bound is worse than that by norms.

    Parameters
    ----------
    X : (N, r) array_like
        Rows of the arrangement.
    Z : (N, c) array_like
        Dual point.
    multipliers : (2 N, 2 N) array_like
        Of the products of ``(p, q)``, of any sign on the pairs ``(p_k, q_k)``; the
        symmetric part counts.
    activation : Activation, optional
        ReLU by default.

    Examples
    --------
    >>> import numpy as np
    >>> X, Z = [[1.0], [-1.0]], [[3.0], [4.0]]
    >>> N = np.zeros((4, 4))
    >>> N[0, 2] = N[2, 0] = N[1, 3] = N[3, 1] = -1.0
    >>> repaired_bound(X, Z, N) >= 4.0
    True
    """
    X, Z, activation = read_dual_point(X, Z, activation)
    N = as_matrix(multipliers, "multipliers")
    if N.shape != (2 * len(X), 2 * len(X)):
        raise InputError(
            f"multipliers must have the shape {(2 * len(X), 2 * len(X))}, p before "
            f"q; got {N.shape}."
        )
    norms = bound_by_norms(X, Z, activation)
    if not X.any():
        return norms
    instance = _Instance(X, Z, activation)
    n, rows = len(X), instance.rows
    N = 0.5 * (N + N.T)
    blocks = _Blocks(
        np.maximum(N[np.ix_(rows, rows)], 0.0),
        N[np.ix_(rows, n + rows)],
        np.maximum(N[np.ix_(n + rows, n + rows)], 0.0),
    )
    pairs = np.diag(blocks.pq).copy()
    np.maximum(blocks.pq, 0.0, out=blocks.pq)
    np.fill_diagonal(blocks.pq, pairs)
    return min(norms, instance.prove(blocks))


def bound_by_norms(X: Array, Z: Array, activation: Activation) -> float:
    r"""Bound rho by :math:`|m| |Z^T X|_2 + |h| |Z|_2 |X|_2`.

    With :math:`\sigma(Xu) = m Xu + h |Xu|`, m the mean of the slopes and h half their
    difference. For ReLU no more than the usual :math:`|Z|_2 |X|_2`, and half of it
    where Z is orthogonal to X.

    Examples
    --------
    >>> from pyomo_relu.activations import ReLU
    >>> X, Z = np.array([[1.0], [1.0]]), np.array([[1.0], [-1.0]])
    >>> print(f"{bound_by_norms(X, Z, ReLU()):.6f}")
    1.000000
    """
    mean = 0.5 * abs(activation.positive + activation.negative)
    half = 0.5 * abs(activation.step)
    x_norm, z_norm = _norm(X), _norm(Z)
    # The product is rounded by at most that of the Frobenius norms.
    product = _norm(Z.T @ X)
    product += 2.0 * _EPS * len(X) * float(np.linalg.norm(X)) * float(np.linalg.norm(Z))
    split = (mean * product + half * z_norm * x_norm) * (1.0 + 8.0 * _EPS)
    return min(split, activation.lipschitz * z_norm * x_norm * (1.0 + 8.0 * _EPS))


class _Splitting:
    r"""Alternating directions between the cone of `W` and the entries of `G`.

    .. math:: G &\leftarrow \mathrm{proj}_{\{G \ge 0, \, G_{p_k q_k} = 0, \,
              \langle B, Q^T G Q \rangle = 1\}} (P + \Lambda + C / \sigma) \\
              P &\leftarrow Q \, \mathrm{proj}_{S_+} (Q^T (G - \Lambda) Q) \, Q^T \\
              \Lambda &\leftarrow \Lambda + P - G

    The first projection is one on an orthant and a hyperplane, by Newton's method on
    the multiplier of the latter; the second is exact because Q is orthonormal. The
    multipliers of the entries are those of the first.
    """

    def __init__(self, instance: _Instance) -> None:
        self.instance = instance
        n = instance.n
        pad = np.zeros((n + len(instance.B_step), len(instance.B_step)))
        pad[n:] = np.diag(np.sqrt(instance.B_step))
        self.B = np.stack(instance.expand(pad))
        self.C = np.stack(instance.C)
        self.P = np.zeros_like(self.C)
        self.scaled_dual = np.zeros_like(self.C)
        self.entries = np.zeros_like(self.C)
        self.point = np.zeros_like(self.C)
        self.penalty, self.tau = max(_PENALTY, _PENALTY_EACH * n), 0.0
        self.point_penalty = self.penalty
        self.count = 0

    def advance(self, steps: int) -> None:
        """Do some iterations."""
        for _ in range(steps):
            self.point = self.P + self.scaled_dual
            self.point += self.C / self.penalty
            self.point_penalty = self.penalty
            self.entries = self._project_entries(self.point)
            relaxed = _RELAXATION * self.entries + (1.0 - _RELAXATION) * self.P
            self.scaled_dual -= relaxed
            W = self.instance.compress(_Blocks(*-self.scaled_dual))
            factor = _positive_factor(W)
            P = np.stack(self.instance.expand(factor))
            self.scaled_dual += P
            primal = _length(P - self.entries) / max(_length(self.entries), 1e-300)
            dual = _length(P - self.P) / max(_length(self.scaled_dual), 1e-300)
            self.P = P
            self.count += 1
            if self.count % 20 == 0:
                self._balance(primal, dual)

    def multipliers(self) -> _Blocks:
        """Return the multipliers of the entries, nonnegative off the pairs."""
        N = self.entries - self.point + self.tau * self.B
        N *= self.point_penalty
        pairs = np.diag(N[1]).copy()
        np.maximum(N, 0.0, out=N)
        np.fill_diagonal(N[1], pairs)
        return _Blocks(*N)

    def value(self) -> float:
        """Return the relaxation's value at the entries, which need not be feasible."""
        square = _inner(self.C, self.entries)
        return math.sqrt(max(square, 0.0)) * self.instance.unit

    def _project_entries(self, point: Array) -> Array:
        """Project on the entries' cone and the hyperplane ``<B, G> = 1``."""
        for _ in range(50):
            G = point - self.tau * self.B
            np.maximum(G, 0.0, out=G)
            np.fill_diagonal(G[1], 0.0)
            excess = _inner(self.B, G) - 1.0
            if abs(excess) < 1e-9:
                break
            free = np.where(G > 0.0, self.B, 0.0)
            slope = _inner(free, free)
            # Where nothing is positive, any step down makes something so.
            self.tau += excess / slope if slope > 0.0 else -1.0
        return G

    def _balance(self, primal: float, dual: float) -> None:
        factor = 1.0
        if primal > _BALANCE * dual:
            factor = _FACTOR
        elif dual > _BALANCE * primal:
            factor = 1.0 / _FACTOR
        self.penalty *= factor
        self.scaled_dual /= factor
        self.tau /= factor


def _positive_factor(W: Array) -> Array:
    """Return F with ``F F^T`` the projection of a symmetric matrix on the PSD cone."""
    values, vectors = scipy.linalg.eigh(
        W, subset_by_value=(0.0, np.inf), driver="evr", check_finite=False
    )
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _inner(A: Array | _Blocks, B: Array | _Blocks) -> float:
    """Inner product of two symmetric matrices given as blocks."""
    return float(np.vdot(A[0], B[0]) + 2.0 * np.vdot(A[1], B[1]) + np.vdot(A[2], B[2]))


def _length(A: Array | _Blocks) -> float:
    return math.sqrt(max(_inner(A, A), 0.0))


def _norm(A: Array) -> float:
    """Spectral norm, rounded up."""
    return float(np.linalg.norm(A, 2)) * (1.0 + 8.0 * max(A.shape) * _EPS)
