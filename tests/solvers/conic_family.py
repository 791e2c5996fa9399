r"""Random conic programs whose optimum and duals are known because they were chosen.

.. math::

    \min_x \tfrac12 x^T P x + c^T x \quad \text{s.t.} \quad
    s_i = b_i - G_i x \in K_i, \quad i = 1, \ldots, r

Slacks :math:`s_i^* \in K_i` and multipliers :math:`z_i^* \in K_i^*` are chosen
complementary, strictly so: a face of the cone and the one it exposes have both in
their relative interiors. With any :math:`x^*`, the data :math:`b_i = s_i^* + G_i x^*`
and :math:`c = -P x^* - \sum_i G_i^T z_i^*` make them optimal (F. Alizadeh, J.-P.
Haeberly and M. Overton, "Complementarity and nondegeneracy in semidefinite
programming", Math. Programming 77, 1997). Nothing in here knows how a solver interface
works.

The optimum is unique where no direction but zero has :math:`P d = 0` and every
:math:`G_i d` in the span of the face of :math:`s_i^*`; the multipliers are where no
combination of the :math:`G_i^T` from the spans of the faces of the :math:`z_i^*`
vanishes. The smallest singular value of each of the two linear systems is bounded from
below, and the data are drawn again until it is.

An infeasible program gets a proof inside of the dual cones (:math:`\sum G_i^T z_i = 0`,
:math:`\sum b_i^T z_i = -1`), an unbounded one a direction inside of the cones
(:math:`-G_i d \in \mathrm{int} K_i`, :math:`P d = 0`, :math:`c^T d = -1`); the other
side of each has a point, so that the verdict is one and the same for every solver.

A matrix is a vector of all its entries in this file: no triangles and no factors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr import LinearExpression

from pyomo_relu.cones import ExponentialCone, PSDCone, SecondOrderCone

__all__ = ["CLASSES", "Instance", "infeasible", "solvable", "unbounded"]

#: Smallest singular value, relative to the largest, of the systems that make the
#: optimum and the duals unique.
CONDITION = 0.1

ROWS = ("==", "<=", ">=", "<= <=", "lower bound", "upper bound")
BOUNDS = ("lower bound", "upper bound")

#: Classes of programs: numbers of variables, rank of P, rows and bounds that are active
#: at the optimum (an equation always is), others, and the cones as (kind, order, face).
#: The face is the rank of the slack of a semidefinite block; of the other cones
#: "inside", "boundary" or "apex".
CLASSES: dict[str, dict[str, Any]] = {
    "lp": {
        "n": 6,
        "active": ["==", "==", "<=", ">=", "<= <=", "lower bound"],
        "inactive": ["<=", ">=", "upper bound"],
    },
    "qp": {
        "n": 7,
        "rank": 5,
        "active": ["==", "<=", ">=", "upper bound"],
        "inactive": ["<= <=", ">=", "lower bound"],
    },
    "socp": {
        "n": 8,
        "active": ["==", "<=", "lower bound"],
        "inactive": [">="],
        "cones": [
            ("second-order", 4, "boundary"),
            ("rotated", 5, "boundary"),
            ("second-order", 3, "inside"),
            ("second-order", 2, "apex"),
        ],
    },
    "sdp": {
        "n": 7,
        "active": ["==", ">="],
        "inactive": ["<=", "upper bound"],
        "cones": [("semidefinite", 4, 2), ("semidefinite", 2, 1)],
    },
    "mixed": {
        "n": 9,
        "rank": 4,
        "active": ["==", "<= <=", "lower bound"],
        "inactive": ["<=", "upper bound"],
        "cones": [
            ("second-order", 3, "boundary"),
            ("rotated", 4, "boundary"),
            ("semidefinite", 3, 1),
            ("semidefinite", 1, 1),
        ],
    },
    "exponential": {
        "n": 6,
        "rank": 2,
        "active": ["==", "<="],
        "inactive": ["lower bound", ">="],
        "cones": [
            ("exponential", 3, "boundary"),
            ("exponential", 3, "boundary"),
            ("exponential", 3, "inside"),
            ("semidefinite", 2, 1),
        ],
    },
}


@dataclass(frozen=True)
class Instance:
    """A model and what must come out.

    Attributes
    ----------
    model : ConcreteModel
        With variables ``x``.
    verdict : {"optimal", "infeasible", "unbounded"}
        How a solve must end.
    x : (n,) ndarray
        The optimum.
    objective : float
        Its value, in the sense of the model.
    duals : list of (component data, float or ndarray)
        The derivative of the objective by each right-hand side: ``body <= upper + t``,
        or ``vector - t`` in a cone.
    reduced_costs : (n,) ndarray
        The same for the bounds.
    """

    model: pyo.ConcreteModel
    verdict: str
    x: np.ndarray = field(default_factory=lambda: np.zeros(0))
    objective: float = float("nan")
    duals: list[tuple[Any, Any]] = field(default_factory=list)
    reduced_costs: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass
class _Part:
    """One cone: kind, order, slack, multiplier, the spans of their faces, data."""

    kind: str
    order: int
    s: np.ndarray
    z: np.ndarray
    face_s: np.ndarray
    face_z: np.ndarray
    G: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    b: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def size(self) -> int:
        return self.order**2 if self.kind == "semidefinite" else self.order


def _turn(v: np.ndarray) -> np.ndarray:
    """Between a second-order cone and a rotated one; its own inverse, orthogonal."""
    return np.concatenate([[v[0] + v[1], v[0] - v[1]] / np.sqrt(2.0), v[2:]])


def _row(rng: np.random.Generator, kind: str, active: bool) -> _Part:
    line, point = np.ones((1, 1)), np.zeros((1, 0))
    size = rng.uniform(0.5, 2.0, 1)
    if kind == "==":
        sign = rng.choice([-1.0, 1.0])
        return _Part(kind, 1, np.zeros(1), sign * size, point, line)
    if active:
        return _Part(kind, 1, np.zeros(1), size, point, line)
    return _Part(kind, 1, size, np.zeros(1), line, point)


def _second_order(rng: np.random.Generator, kind: str, order: int, face: str) -> _Part:
    everything, nothing = np.eye(order), np.zeros((order, 0))
    w = rng.normal(size=order - 1)
    w /= np.linalg.norm(w)
    size = rng.uniform(0.5, 2.0, 2)
    inside = np.append(1.5, w) * size[0]
    if face == "boundary":
        s, z = size[0] * np.append(1.0, w), size[1] * np.append(1.0, -w)
        faces = s[:, None], z[:, None]
    elif face == "inside":
        s, z, faces = inside, np.zeros(order), (everything, nothing)
    else:
        s, z, faces = np.zeros(order), inside, (nothing, everything)
    if kind == "rotated":
        s, z = _turn(s), _turn(z)
        faces = tuple(
            np.apply_along_axis(_turn, 0, f) if f.shape[1] else f for f in faces
        )
    return _Part(kind, order, s, z, *faces)


def _semidefinite(rng: np.random.Generator, order: int, rank: int) -> _Part:
    Q = np.linalg.qr(rng.normal(size=(order, order)))[0]
    first, last = Q[:, :rank], Q[:, rank:]

    def inside(U: np.ndarray) -> np.ndarray:
        return (U * rng.uniform(0.5, 2.0, U.shape[1])) @ U.T

    def span(U: np.ndarray) -> np.ndarray:
        """Orthonormal basis of ``U S U'``, S symmetric."""
        k = U.shape[1]
        basis = []
        for i in range(k):
            for j in range(i, k):
                S = np.zeros((k, k))
                S[i, j] = S[j, i] = 1.0 if i == j else np.sqrt(0.5)
                basis.append((U @ S @ U.T).ravel())
        return np.array(basis).reshape(-1, order**2).T

    return _Part(
        "semidefinite",
        order,
        inside(first).ravel(),
        inside(last).ravel(),
        span(first),
        span(last),
    )


def _exponential(rng: np.random.Generator, face: str) -> _Part:
    x, y = rng.uniform(-1.0, 1.0), rng.uniform(0.5, 1.5)
    e = np.exp(x / y)
    s = np.array([x, y, y * e])
    if face == "inside":
        s[2] += 1.0
        return _Part("exponential", 3, s, np.zeros(3), np.eye(3), np.zeros((3, 0)))
    # The gradient of z - y exp(x / y) is normal to the cone and in its dual.
    z = rng.uniform(0.5, 1.5) * np.array([-e, e * (x / y - 1.0), 1.0])
    return _Part("exponential", 3, s, z, s[:, None], z[:, None])


def _parts(rng: np.random.Generator, name: str) -> list[_Part]:
    spec = CLASSES[name]
    parts = [_row(rng, kind, True) for kind in spec["active"]]
    parts += [_row(rng, kind, False) for kind in spec["inactive"]]
    for kind, order, face in spec.get("cones", []):
        if kind == "semidefinite":
            parts.append(_semidefinite(rng, order, face))
        elif kind == "exponential":
            parts.append(_exponential(rng, face))
        else:
            parts.append(_second_order(rng, kind, order, face))
    return parts


def _inside(rng: np.random.Generator, part: _Part, *, dual: bool) -> np.ndarray:
    """Return a vector in the interior of the cone or of its dual."""
    if part.kind == "==":
        return rng.normal(size=1) if dual else np.zeros(1)
    if part.kind == "semidefinite":
        inside = _semidefinite(rng, part.order, part.order)
    elif part.kind == "exponential":
        if dual:
            # -u exp(v / u) < e w
            u, v = -rng.uniform(0.5, 1.5), rng.uniform(-1.0, 1.0)
            return np.array([u, v, -u * np.exp(v / u - 1.0) + 0.5])
        inside = _exponential(rng, "inside")
    elif part.kind in ("second-order", "rotated"):
        inside = _second_order(rng, part.kind, part.order, "inside")
    else:
        inside = _row(rng, part.kind, False)
    return inside.s


def _draw_rows(rng: np.random.Generator, parts: list[_Part], n: int) -> None:
    """Draw every G; bounds are of different variables."""
    free = rng.permutation(n).tolist()
    for part in parts:
        part.G = rng.normal(size=(part.size, n))
        if part.kind == "semidefinite":
            G = part.G.reshape(part.order, part.order, n)
            part.G = (0.5 * (G + G.transpose(1, 0, 2))).reshape(part.size, n)
        if part.kind in BOUNDS:
            part.G = np.zeros((1, n))
            part.G[0, free.pop()] = 1.0 if part.kind == "upper bound" else -1.0


def _hessian(rng: np.random.Generator, name: str, n: int) -> np.ndarray:
    """Return a root M of P = M'M."""
    return rng.normal(size=(CLASSES[name].get("rank", 0), n)) / np.sqrt(n)


def _condition(system: np.ndarray) -> float:
    """Smallest singular value of a system of full column rank by its largest."""
    if system.shape[0] < system.shape[1]:
        return 0.0
    values = np.linalg.svd(system, compute_uv=False)
    return float(values[-1] / values[0])


def _complement(basis: np.ndarray) -> np.ndarray:
    """Projection on the orthogonal complement of a span."""
    Q = np.linalg.qr(basis)[0]
    return np.eye(len(basis)) - Q @ Q.T


def solvable(name: str, seed: int) -> Instance:
    """Build a program of a class, with a unique optimum and unique duals.

    Parameters
    ----------
    name : str
        One of :data:`CLASSES`.
    seed : int
        Even ones minimise, odd ones maximise.

    Returns
    -------
    Instance
    """
    rng = np.random.default_rng([seed, 0])
    n = CLASSES[name]["n"]
    for _ in range(1000):
        parts = _parts(rng, name)
        _draw_rows(rng, parts, n)
        M = _hessian(rng, name, n)
        primal = np.vstack([_complement(p.face_s) @ p.G for p in parts] + [M])
        dual = np.hstack([p.G.T @ p.face_z for p in parts])
        if min(_condition(primal), _condition(dual)) >= CONDITION:
            break
    else:
        raise AssertionError(f"no well-posed instance of {name}: mend its numbers")
    x = rng.normal(size=n)
    P = M.T @ M
    c = -P @ x
    for part in parts:
        part.b = part.s + part.G @ x
        c -= part.G.T @ part.z
    return _instance(rng, "optimal", parts, P, c, seed, x)


def infeasible(name: str, seed: int) -> Instance:
    """Build a program of a class without any point; see :func:`solvable`."""
    rng = np.random.default_rng([seed, 1])
    n = CLASSES[name]["n"]
    parts = _parts(rng, name)
    _draw_rows(rng, parts, n)
    proof = [_inside(rng, part, dual=True) for part in parts]
    for part in parts:
        part.b = rng.normal(size=part.size)
        if part.kind == "semidefinite":
            B = part.b.reshape(part.order, part.order)
            part.b = (0.5 * (B + B.T)).ravel()
    # Any part but a bound can take what is left over; equations are always there.
    last, z = parts[0], proof[0]
    left = sum(p.G.T @ w for p, w in zip(parts, proof, strict=True))
    last.G = last.G - np.outer(z, left) / (z @ z)
    value = sum(p.b @ w for p, w in zip(parts, proof, strict=True))
    last.b = last.b - z * (value + 1.0) / (z @ z)
    M = _hessian(rng, name, n)
    P = M.T @ M
    c = -P @ rng.normal(size=n)
    for part in parts:
        c -= part.G.T @ _inside(rng, part, dual=True)
    return _instance(rng, "infeasible", parts, P, c, seed)


def unbounded(name: str, seed: int) -> Instance:
    """Build a program of a class without a lower bound; see :func:`solvable`."""
    rng = np.random.default_rng([seed, 2])
    n = CLASSES[name]["n"]
    parts = _parts(rng, name)
    _draw_rows(rng, parts, n)
    d = rng.choice([-1.0, 1.0], n) * rng.uniform(0.5, 1.5, n)
    x = rng.normal(size=n)
    for part in parts:
        if part.kind in BOUNDS:
            column = int(np.flatnonzero(part.G[0])[0])
            part.kind = BOUNDS[int(d[column] < 0.0)]
            part.G[0, column] = -np.sign(d[column])
        else:
            wanted = _inside(rng, part, dual=False)
            if part.kind == "<= <=":
                # It has another side.
                wanted = np.zeros(1)
            part.G = part.G - np.outer(part.G @ d + wanted, d) / (d @ d)
        part.b = part.G @ x + _inside(rng, part, dual=False)
    M = _hessian(rng, name, n)
    M = M - np.outer(M @ d, d) / (d @ d)
    c = rng.normal(size=n)
    c -= d * (c @ d + 1.0) / (d @ d)
    return _instance(rng, "unbounded", parts, M.T @ M, c, seed)


def _instance(
    rng: np.random.Generator,
    verdict: str,
    parts: list[_Part],
    P: np.ndarray,
    c: np.ndarray,
    seed: int,
    x: np.ndarray | None = None,
) -> Instance:
    """Write the data as a Pyomo model, and the multipliers as Pyomo's duals."""
    n = len(c)
    sign = -1.0 if seed % 2 else 1.0
    constant = float(rng.normal())
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(n))
    m.part = pyo.Block(range(len(parts)))
    duals: list[tuple[Any, Any]] = []
    costs = np.zeros(n)
    for block, part in zip(m.part.values(), parts, strict=True):
        if part.kind in BOUNDS:
            column = int(np.flatnonzero(part.G[0])[0])
            if part.kind == "lower bound":
                m.x[column].setlb(-part.b[0])
                costs[column] = sign * part.z[0]
            else:
                m.x[column].setub(part.b[0])
                costs[column] = -sign * part.z[0]
        elif part.kind in ROWS:
            duals.append(_write_row(block, part, m.x, sign, rng))
        else:
            block.cone = _CONES[part.kind](part, m.x)
            T = part.z.reshape(part.order, -1) if part.size > part.order else part.z
            if part.kind == "semidefinite":
                T = part.z.reshape(part.order, part.order)
            duals.append((block.cone, sign * T))
    xs = list(m.x.values())
    cost = LinearExpression(linear_coefs=(sign * c).tolist(), linear_vars=xs)
    quadratic = sum(
        sign * 0.5 * P[i, j] * m.x[i] * m.x[j]
        for i in range(n)
        for j in range(n)
        if P[i, j]
    )
    m.objective = pyo.Objective(
        expr=cost + quadratic + sign * constant,
        sense=pyo.minimize if sign > 0.0 else pyo.maximize,
    )
    if x is None:
        return Instance(m, verdict)
    value = sign * float(0.5 * x @ P @ x + c @ x + constant)
    return Instance(m, verdict, x, value, duals, costs)


def _affine(part: _Part, x: Any) -> list[Any]:
    """Entries of ``b - G x``."""
    return [
        LinearExpression(
            constant=float(constant),
            linear_coefs=(-row).tolist(),
            linear_vars=list(x.values()),
        )
        for constant, row in zip(part.b, part.G, strict=True)
    ]


def _write_row(
    block: Any, part: _Part, x: Any, sign: float, rng: np.random.Generator
) -> tuple[Any, float]:
    """Write a row in the way that its kind says; with its dual."""
    coefficients, bound, z = part.G[0], float(part.b[0]), sign * float(part.z[0])
    flipped = part.kind == ">=" or (part.kind == "<= <=" and rng.random() < 0.5)
    if flipped:
        coefficients, bound, z = -coefficients, -bound, -z
    body = LinearExpression(
        linear_coefs=coefficients.tolist(), linear_vars=list(x.values())
    )
    # The other side of a range is too far to matter.
    far = bound + (50.0 if flipped else -50.0)
    if part.kind == "==":
        expression: Any = body == bound
    elif part.kind == "<= <=":
        expression = (bound, body, far) if flipped else (far, body, bound)
    else:
        expression = body >= bound if flipped else body <= bound
    block.row = pyo.Constraint(expr=expression)
    return block.row, -z


def _psd(part: _Part, x: Any) -> Any:
    entries, k = _affine(part, x), part.order
    # One expression for an entry and its mirror image.
    return PSDCone(
        [[entries[min(i, j) * k + max(i, j)] for j in range(k)] for i in range(k)]
    )


_CONES: dict[str, Callable[[_Part, Any], Any]] = {
    "second-order": lambda part, x: SecondOrderCone(_affine(part, x)),
    "rotated": lambda part, x: SecondOrderCone(_affine(part, x), rotated=True),
    "semidefinite": _psd,
    "exponential": lambda part, x: ExponentialCone(_affine(part, x)),
}
