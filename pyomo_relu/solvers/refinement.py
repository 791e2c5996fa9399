r"""Newton refinement of a solver's point, down to rounding.

An interior point with the duality gap g may be :math:`\sqrt{g}` away from the optimum
along a curved cone, and its multipliers with it. Every vector v is the difference of
complementary :math:`s = \Pi_K(v)` and :math:`z = \Pi_K(v) - v \in K^*` (J.-J. Moreau,
1962), so that a point is optimal exactly where

.. math::

    F(x, v) = \begin{bmatrix} P x + c + A^T (\Pi_K(v) - v) \\
    A x + \Pi_K(v) - b \end{bmatrix} = 0,

and Newton's method finds the last digits in two or three steps where the optimum and
its multipliers are unique and strictly complementary (S. M. Robinson, "Normal maps
induced by linear transformations", Mathematics of Operations Research 17, 1992; E.
Busseti, W. M. Moursi and S. Boyd, "Solution refinement at regular points of conic
problems", Computational Optimization and Applications 74, 2019). The derivative of a
projection is symmetric with eigenvalues :math:`d_i \in [0, 1]`; with the eigenvectors
in the rows of T, a step is the solution of

.. math::

    \begin{bmatrix} P & (TA)^T \\ TA & -\mathrm{diag}(d_i / (1 - d_i)) \end{bmatrix}
    \begin{bmatrix} \Delta x \\ T \Delta z \end{bmatrix}
    = -\begin{bmatrix} I & \\ & T \end{bmatrix} F,

without the rows with :math:`d_i = 1`, in which :math:`\Delta z` vanishes. A little
damping, :math:`+\varepsilon` in the first rows and :math:`-\varepsilon` in the last
ones, holds the directions in which the optimum is not unique.

The rows of semidefinite blocks are scaled in this file so that the dot product of two
vectors is the inner product of the matrices: the projections are Euclidean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.linalg.lapack import dgetrf, dgetrs
from scipy.sparse.linalg import splu

from pyomo_relu.cones.exponential import (
    dual_exponential_violation,
    exponential_violation,
)
from pyomo_relu.solvers.conic_form import ConicForm, triangle

__all__ = ["MAX_SIZE", "Projection", "Refined", "merit", "project", "refine"]

#: Largest number of rows and columns together of a form that is refined by default.
#: Up to here it takes about ten milliseconds, or a quarter of an interior-point
#: method's time where one large cone makes both slow; of larger forms, with their fill,
#: it may take as long as the solver.
MAX_SIZE = 500

#: Systems that are factored at most.
MAX_FACTORISATIONS = 5

#: A residual of this size, relative to the terms that it is the sum of, is rounding.
ROUNDING = 1e-15

#: One of this size that a step does not halve is rounding too, and no damping helps.
STALLED = 1e-12

#: Errors, relative to the data, that a refined point may have more than the given one.
HARMLESS = 1e-12

#: First damping, relative to the largest entry of a row of the system, and what it is
#: multiplied by where a step does not halve the residual.
DAMPING = 1e-8
DAMPING_GROWTH = 100.0

#: Corrections of a step by the residual of the system without damping.
CORRECTIONS = 2

# Above it the multiplier does not move.
_INACTIVE = 1.0 - 1e-13
_SQRT_HALF = np.sqrt(0.5)
# Systems with a larger share of non-zeros are factored as dense ones.
_DENSE = 0.02
# The same for A.
_DENSE_ROWS = 0.2
# Beyond it exp(rho) and exp(-rho) cannot be added to anything; a violation that needs
# them, relative to the vector, and entries whose squares are not there.
_LARGEST_EXPONENT = 100.0
_NOUGHT = 1e-30
_SMALLEST = 1e-140
_MAX_BISECTIONS = 100
_ROOT_ROUNDING = 1e-15


class Refined(NamedTuple):
    """A refined point.

    Attributes
    ----------
    x : (n,) ndarray
        The point.
    z : (rows,) ndarray
        Its multipliers.
    steps : int
        Newton steps that lead to it; 0 where it is the point that came in.
    """

    x: np.ndarray
    z: np.ndarray
    steps: int


class _Cones(NamedTuple):
    """Projections on m cones of one kind, in k rows each.

    ``rows``, ``points`` and ``eigenvalues`` are (m, k). ``vectors`` returns the
    eigenvectors (l, k) of the derivatives, their cones (l,) and numbers (l,) given; it
    is not asked for those of a multiple of the identity.
    """

    rows: np.ndarray
    points: np.ndarray
    eigenvalues: np.ndarray
    vectors: Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Projection:
    """The nearest point of a product of cones, and the derivative ``T' diag(d) T``.

    Attributes
    ----------
    point : (rows,) ndarray
        The nearest point.
    eigenvalues : (rows,) ndarray
        ``d``, between 0 and 1.
    cones : list of _Cones
        Cones of more than one row.
    """

    point: np.ndarray
    eigenvalues: np.ndarray
    cones: list[_Cones]

    def rotation(self, rows: np.ndarray) -> sp.csr_array:
        """Rows of the orthogonal matrix T, the eigenvectors of the derivative.

        Parameters
        ----------
        rows : (rows,) ndarray of bool
            Which of them.

        Returns
        -------
        (count, rows) csr_array
        """
        plain = rows.copy()
        entries = []
        for cones in self.cones:
            turned = np.ptp(cones.eigenvalues, axis=1) > 0.0
            cone, number = np.nonzero(rows[cones.rows] & turned[:, None])
            if not len(cone):
                continue
            plain[cones.rows[turned]] = False
            vectors = cones.vectors(cone, number)
            numbers = np.repeat(cones.rows[cone, number], vectors.shape[1])
            entries.append((vectors.ravel(), numbers, cones.rows[cone].ravel()))
        numbers = np.flatnonzero(plain)
        entries.append((np.ones(len(numbers)), numbers, numbers))
        data, i, j = (np.concatenate(part) for part in zip(*entries, strict=True))
        place = np.cumsum(rows) - 1
        return sp.csr_array((data, (place[i], j)), shape=(int(rows.sum()), len(rows)))


def project(form: ConicForm, v: np.ndarray) -> Projection:
    """Project a vector on the cone of a form.

    Parameters
    ----------
    form : ConicForm
        The form.
    v : (rows,) ndarray
        The vector, off-diagonal entries of a semidefinite block times sqrt(2).

    Returns
    -------
    Projection
        In the same scaling. Where the projection has no derivative, the limit of some
        of those near by.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> from pyomo_relu.solvers.standard_form import compile_conic
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, 1))
    >>> m.o = pyo.Objective(expr=m.x)
    >>> projection = project(compile_conic(m), np.array([-2.0, 3.0]))
    >>> projection.point.tolist(), projection.eigenvalues.tolist()
    ([0.0, 3.0], [0.0, 1.0])
    """
    point, eigenvalues = np.zeros(len(v)), np.zeros(len(v))
    nonnegative = slice(form.n_zero, form.n_linear)
    point[nonnegative] = np.maximum(v[nonnegative], 0.0)
    eigenvalues[nonnegative] = v[nonnegative] > 0.0
    found = list(_cones(form, v))
    for cones in found:
        point[cones.rows] = cones.points
        eigenvalues[cones.rows] = cones.eigenvalues
    return Projection(point, eigenvalues, found)


def _cones(form: ConicForm, v: np.ndarray) -> Iterator[_Cones]:
    numbers = np.arange(len(v))
    v = np.where(np.abs(v) < _SMALLEST, 0.0, v)
    for rows, vectors in zip(form.vectors(numbers), form.vectors(v), strict=True):
        yield _second_order(rows, vectors)
    entries = v / np.sqrt(form.weight)
    for numbered, blocks in zip(
        form.blocks(numbers), form.blocks(entries), strict=True
    ):
        i, j = triangle(blocks.shape[1])
        yield _semidefinite(numbered[:, i, j].astype(int), blocks)
    if form.n_exponential:
        yield _exponential(form.triples(numbers), form.triples(v))


def _second_order(rows: np.ndarray, v: np.ndarray) -> _Cones:
    """Project on ``|u| <= t`` (H. H. Bauschke, "Projection algorithms", 1996)."""
    t, u = v[:, 0], v[:, 1:]
    norm = np.linalg.norm(u, axis=1)
    curved = norm > np.abs(t)
    safe = np.where(curved, norm, 1.0)
    w = u / safe[:, None]
    eigenvalues = np.where(curved, 0.5 * (1.0 + t / safe), norm <= t)
    eigenvalues = np.repeat(eigenvalues[:, None], v.shape[1], axis=1)
    eigenvalues[curved, 0], eigenvalues[curved, 1:2] = 1.0, 0.0
    points = np.where((norm <= t)[:, None], v, 0.0)
    points[curved, 0] = 0.5 * (norm + t)[curved]
    points[curved, 1:] = points[curved, :1] * w[curved]

    def vectors(cone: np.ndarray, number: np.ndarray) -> np.ndarray:
        # (1, w), (1, -w), and the columns of a reflection that takes w to the first
        # axis, but the first.
        axis = w[cone]
        result = np.empty((len(cone), v.shape[1]))
        result[:, 0] = np.where(number < 2, _SQRT_HALF, 0.0)
        result[:, 1:] = axis * np.where(number == 0, _SQRT_HALF, -_SQRT_HALF)[:, None]
        other = np.flatnonzero(number >= 2)
        column, normal = number[other] - 1, axis[other]
        normal[:, 0] += np.where(normal[:, 0] < 0.0, -1.0, 1.0)
        factor = -2.0 / np.einsum("ij,ij->i", normal, normal)
        factor *= normal[np.arange(len(other)), column]
        result[other, 1:] = normal * factor[:, None]
        result[other, 1 + column] += 1.0
        return result

    return _Cones(rows, points, eigenvalues, vectors)


def _semidefinite(rows: np.ndarray, blocks: np.ndarray) -> _Cones:
    """Project on the semidefinite matrices.

    The derivative in the direction ``q_i q_j' + q_j q_i'`` of two eigenvectors is the
    divided difference of ``max(., 0)`` at their eigenvalues (K. Loewner, 1934).
    """
    i, j = triangle(blocks.shape[1])
    values, Q = np.linalg.eigh(blocks)
    scale = np.where(i == j, 1.0, np.sqrt(2.0))
    positive = np.maximum(values, 0.0)[:, None, :]
    points = ((Q * positive) @ Q.transpose(0, 2, 1))[:, i, j] * scale
    # They ascend, and i <= j.
    smaller, larger = values[:, i], values[:, j]
    mixed = (smaller <= 0.0) & (larger > 0.0)
    eigenvalues = np.where(
        mixed, larger / np.where(mixed, larger - smaller, 1.0), larger > 0.0
    )

    def vectors(cone: np.ndarray, number: np.ndarray) -> np.ndarray:
        a, b = Q[cone, :, i[number]], Q[cone, :, j[number]]
        result = a[:, i] * b[:, j]
        result += a[:, j] * b[:, i]
        # Of the norm one, and in the scaling of the rows.
        result *= np.outer(np.where(i == j, 0.5, _SQRT_HALF)[number], scale)
        return result

    return _Cones(rows, points, eigenvalues, vectors)


def _exponential(rows: np.ndarray, v: np.ndarray) -> _Cones:
    """Project on the exponential cone."""
    x, y, _ = v.T
    points, eigenvalues = np.zeros(v.shape), np.zeros(v.shape)
    nought = _NOUGHT * np.abs(v).max(axis=1)
    inside = exponential_violation(v) <= nought
    opposite = ~inside & (dual_exponential_violation(-v) <= nought)
    # On the face y = 0, or so near to its edges that exp is nought.
    flat = (x <= 0.0) & (_LARGEST_EXPONENT * y <= -x)
    flat |= (y <= 0.0) & (_LARGEST_EXPONENT * x <= -y)
    flat &= ~(inside | opposite)
    curved = ~(inside | opposite | flat)
    points[inside], eigenvalues[inside] = v[inside], 1.0
    points[flat] = np.maximum(v[flat], 0.0)
    points[flat, 0] = np.minimum(x[flat], 0.0)
    eigenvalues[flat] = points[flat] != 0.0
    bases = np.tile(np.eye(3), (len(v), 1, 1))
    if curved.any():
        points[curved], eigenvalues[curved], bases[curved] = _curved(v[curved])
    return _Cones(
        rows, points, eigenvalues, lambda cone, number: bases[cone, :, number]
    )


def _curved(v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Project on the curved part of the exponential cone.

    .. math:: v = y \, (\rho, 1, e^\rho) - w \, (-e^\rho, (\rho - 1) e^\rho, 1)

    The first two rows give y and w in terms of :math:`\rho`. Where both are positive,
    the third one increases with it and has its only root (H. A. Friberg, "Projection
    onto the exponential cone: a univariate root-finding problem", Optimization Methods
    and Software 38, 2023).

    Returns
    -------
    points, eigenvalues : (m, 3) ndarray
        Projections and eigenvalues of their derivatives.
    bases : (m, 3, 3) ndarray
        Eigenvectors in the columns: along the two vectors above, in which the
        projection is linear, and normal to both.
    """
    size = np.linalg.norm(v, axis=1)
    a, b, c = (v / size[:, None]).T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Where y and w vanish.
        first, second = 1.0 - b / a, a / b
    low = np.full(len(v), -_LARGEST_EXPONENT)
    low = np.where(a > 0.0, np.maximum(low, first), low)
    low = np.where(b < 0.0, np.maximum(low, second), low)
    high = np.full(len(v), _LARGEST_EXPONENT)
    high = np.where(a < 0.0, np.minimum(high, first), high)
    high = np.where(b > 0.0, np.minimum(high, second), high)
    rho = trial = np.clip(0.0, low, high)
    smallest = np.full(len(v), np.inf)
    found = np.zeros(len(v), dtype=bool)
    for _ in range(_MAX_BISECTIONS):
        value, slope = _third_row(trial, a, b, c)
        excess = np.abs(value)
        low, high = (
            np.where(value < 0.0, trial, low),
            np.where(value < 0.0, high, trial),
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            newton = trial - value / slope
        works = (excess < 0.5 * smallest) & (low <= newton) & (newton <= high)
        rho = np.where(excess < smallest, trial, rho)
        smallest = np.minimum(excess, smallest)
        step = np.minimum(np.abs(newton - trial), high - low)
        found |= step <= _ROOT_ROUNDING * (1.0 + np.abs(rho))
        if found.all():
            break
        trial = np.where(works, newton, 0.5 * (low + high))
        trial = np.where(found, rho, trial)
    e, one = np.exp(rho), np.ones(len(v))
    bases = np.empty((len(v), 3, 3))
    bases[:, :, 0] = np.stack([rho, one, e], axis=1)
    bases[:, :, 2] = np.stack([-e, (rho - 1.0) * e, one], axis=1)
    bases[:, :, 1] = np.cross(bases[:, :, 0], bases[:, :, 2])
    lengths = np.linalg.norm(bases, axis=1)
    bases /= lengths[:, None, :]
    # Rather than from the first two rows, which cancel where y or w are small.
    along = np.einsum("mi,mij->mj", v, bases)
    y, w = along[:, 0] / lengths[:, 0], -along[:, 2] / lengths[:, 2]
    # The Hessian of y exp(x / y) is exp(rho) / y (1, -rho, 0) (1, -rho, 0)'.
    curvature = w * e / y * (bases[:, 0, 1] - rho * bases[:, 1, 1]) ** 2
    eigenvalues = np.stack([one, 1.0 / (1.0 + curvature), 0.0 * one], axis=1)
    return along[:, :1] * bases[:, :, 0], eigenvalues, bases


def _third_row(
    rho: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Excess of the third row, and its derivative by rho."""
    e = np.exp(rho)
    square, slope = rho**2 - rho + 1.0, 2.0 * rho - 1.0
    # y, and w exp(rho).
    y, we = ((rho - 1.0) * a + b) / square, (a - rho * b) / square
    dy, dwe = (a - slope * y) / square, -(b + slope * we) / square
    return y * e - we / e - c, (dy + y) * e - (dwe - we) / e


def merit(form: ConicForm, x: np.ndarray, z: np.ndarray) -> float:
    """How far a point and its multipliers are from optimal.

    Parameters
    ----------
    form : ConicForm
        The problem.
    x : (n,) ndarray
        A point.
    z : (rows,) ndarray
        Multipliers.

    Returns
    -------
    float
        The largest one of three: the violation of row i divided by ``1 + |b_i|``; the
        dual residual divided by ``1 + max |c|``; the gap divided by one plus the
        size of the objective.
    """
    return float(_errors(form, x, z).max())


def _errors(form: ConicForm, x: np.ndarray, z: np.ndarray) -> np.ndarray:
    objective = form.objective(x)
    gap = objective - form.dual_objective(x, z)
    return np.array(
        [
            form.primal_residual(x, relative=True),
            form.dual_residual(x, z) / (1.0 + np.abs(form.c).max(initial=0.0)),
            abs(gap) / (1.0 + abs(objective)),
        ]
    )


def refine(
    form: ConicForm, x: np.ndarray, z: np.ndarray, *, max_size: int = MAX_SIZE
) -> Refined:
    """Bring a nearly optimal point and its multipliers nearer to optimal.

    Parameters
    ----------
    form : ConicForm
        The problem.
    x : (n,) ndarray
        A point.
    z : (rows,) ndarray
        Its multipliers.
    max_size : int
        Larger forms, in rows and columns together, are left alone.

    Returns
    -------
    Refined
        With a smaller :func:`merit` than what came in, and none of the three errors
        larger but by rounding; otherwise what came in.

    Notes
    -----
    What comes out is as accurate as rounding and the condition of the problem allow.
    Where the optimum or the multipliers are not unique, it is one near by. With too
    little damping for such a problem a step goes astray; its residual says so, and it
    is done again.

    Examples
    --------
    The smallest x + y + z with ``|(x, y, z)| <= 1``, from four digits:

    >>> import pyomo.environ as pyo
    >>> from pyomo_relu import SecondOrderCone
    >>> from pyomo_relu.solvers.standard_form import compile_conic
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(range(3))
    >>> m.K = SecondOrderCone([1, m.x[0], m.x[1], m.x[2]])
    >>> m.o = pyo.Objective(expr=pyo.quicksum(m.x.values()))
    >>> x, z = np.array([-0.5774, -0.5773, -0.5774]), np.array([1.732, 1.0, 1.0, 1.0])
    >>> refined = refine(compile_conic(m), x, z)
    >>> float(np.abs(refined.x + 3 ** -0.5).max()) < 1e-15
    True
    >>> refined.steps
    2
    """
    given = Refined(x, z, 0)
    if sum(form.A.shape) > max_size:
        return given
    if not (np.isfinite(x).all() and np.isfinite(z).all()):
        return given
    # A step that goes astray may overflow: it is measured before it is taken.
    with np.errstate(over="ignore", invalid="ignore"):
        refined = _newton(_Problem.of(form, x, z), given)
    if not refined.steps:
        return given
    before, after = _errors(form, x, z), _errors(form, refined.x, refined.z)
    improved = after.max() < before.max() and (after <= before + HARMLESS).all()
    return refined if improved else given


class _Problem(NamedTuple):
    """A form with Euclidean rows, and with its objective in units of s to z.

    Its multipliers are those of the form times ``factor``.
    """

    form: ConicForm
    P: sp.csc_array
    c: np.ndarray
    A: sp.csc_array
    b: np.ndarray
    factor: np.ndarray
    dense: np.ndarray | None

    @classmethod
    def of(cls, form: ConicForm, x: np.ndarray, z: np.ndarray) -> _Problem:
        root = np.sqrt(form.weight)
        A = form.A.copy()
        A.data *= root[A.indices]
        b = form.b * root
        # v = s - z tells what is active: that takes an s and a z of one size. Where
        # everything is active, or nothing is, the data know what that is, and where
        # there are none it is one.
        Ax, Px = A @ x, form.P @ x
        s_size = max(_largest(u[form.n_zero :]) for u in (b, Ax, b - Ax))
        z_size = max(_largest(form.c), _largest(Px)) / (_largest(A.data) or 1.0)
        z_size = max(z_size, _largest((root * z)[form.n_zero :]))
        s_size = max(s_size, 0.0 if b.any() else 1.0) or 1.0
        z_size = max(z_size, 0.0 if form.c.any() else 1.0) or 1.0
        scale = float(np.ldexp(1.0, round(math.log2(s_size) - math.log2(z_size))))
        dense = A.toarray() if A.nnz > _DENSE_ROWS * np.prod(A.shape) else None
        return cls(form, scale * form.P, scale * form.c, A, b, scale * root, dense)


def _largest(vector: np.ndarray) -> float:
    return float(np.abs(vector).max(initial=0.0))


class _Iterate:
    """A pair (x, v) with its residual F."""

    def __init__(self, problem: _Problem, x: np.ndarray, v: np.ndarray) -> None:
        self.problem, self.x, self.v = problem, x, v
        self.projection = project(problem.form, v)
        point = self.projection.point
        self.z = point - v
        Ax, Px, Az = problem.A @ x, problem.P @ x, problem.A.T @ self.z
        self.F = np.concatenate([Px + problem.c + Az, Ax + point - problem.b])
        self.norm = float(np.linalg.norm(self.F))
        terms = (Px, problem.c, Az, Ax, point, problem.b)
        self.size = max(float(np.linalg.norm(term)) for term in terms)

    def step(self, damping: float) -> _Iterate:
        """Return the next one, by a damped step of Newton's method."""
        problem, n = self.problem, len(self.x)
        moves = self.projection.eigenvalues < _INACTIVE
        d = self.projection.eigenvalues[moves]
        T = self.projection.rotation(moves)
        TA = T @ problem.A if problem.dense is None else T @ problem.dense
        system = _System(problem.P, TA, d / (1.0 - d), damping)
        y = system.solve(-np.concatenate([self.F[:n], T @ self.F[n:]]))
        x, z = self.x + y[:n], self.z + T.T @ y[n:]
        return _Iterate(problem, x, problem.b - problem.A @ x - z)


class _System:
    """The symmetric system ``[[P, B'], [B, -diag(D)]]``.

    Raises
    ------
    RuntimeError
        It is singular, its damping notwithstanding.
    """

    def __init__(
        self,
        P: sp.csc_array,
        B: sp.csr_array | np.ndarray,
        D: np.ndarray,
        damping: float,
    ) -> None:
        n, size = P.shape[0], P.shape[0] + len(D)
        count = B.size if isinstance(B, np.ndarray) else B.nnz
        if P.nnz + 2 * count > _DENSE * size**2:
            self.matrix = np.zeros((size, size))
            self.matrix[:n, :n] = P.toarray()
            self.matrix[n:, :n] = B if isinstance(B, np.ndarray) else B.toarray()
            self.matrix[:n, n:] = self.matrix[n:, :n].T
            self.damp(np.abs(self.matrix).max(axis=1), damping, n)
            self.matrix.flat[:: size + 1] += self.damped
            self.matrix.flat[n * (size + 1) :: size + 1] -= D
            lu, pivots, singular = dgetrf(self.matrix)
            if singular:
                raise RuntimeError("the system is singular")
            self.factors = lambda right: dgetrs(lu, pivots, right)[0]
            return
        P, B = P.tocoo(), sp.coo_array(B)
        i = np.concatenate([P.row, B.row + n, B.col])
        j = np.concatenate([P.col, B.col, B.row + n])
        data = np.concatenate([P.data, B.data, B.data])
        largest = np.zeros(size)
        np.maximum.at(largest, i, np.abs(data))
        self.damp(largest, damping, n)
        diagonal = self.damped.copy()
        diagonal[n:] -= D
        every = np.arange(size)
        data = np.concatenate([data, diagonal])
        i, j = np.concatenate([i, every]), np.concatenate([j, every])
        self.matrix = sp.csc_array((data, (i, j)), shape=(size, size))
        self.factors = splu(self.matrix).solve

    def damp(self, largest: np.ndarray, damping: float, n: int) -> None:
        """Set the damping, relative to the largest entries of the rows."""
        self.damped = damping * np.where(largest > 0.0, largest, 1.0)
        self.damped[n:] *= -1.0

    def solve(self, right: np.ndarray) -> np.ndarray:
        """Return a solution that a few corrections make one without damping."""
        solution = self.factors(right)
        for _ in range(CORRECTIONS):
            left = right - self.matrix @ solution + self.damped * solution
            solution += self.factors(left)
        return solution


def _newton(problem: _Problem, given: Refined) -> Refined:
    """Levenberg-Marquardt: a step is taken where it halves the residual."""
    v = problem.b - problem.A @ given.x - problem.factor * given.z
    iterate = _Iterate(problem, given.x, v)
    damping, steps = DAMPING, 0
    for _ in range(MAX_FACTORISATIONS):
        if not iterate.norm > ROUNDING * iterate.size:
            break
        try:
            following = iterate.step(damping)
        except (RuntimeError, np.linalg.LinAlgError):
            # A singular system; eigenvalues that are not found.
            following = None
        if following is not None and following.norm < 0.5 * iterate.norm:
            iterate, steps = following, steps + 1
        elif iterate.norm < STALLED * iterate.size:
            break
        else:
            damping *= DAMPING_GROWTH
    return Refined(iterate.x, iterate.z / problem.factor, steps)
