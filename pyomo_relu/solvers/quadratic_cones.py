r"""Convex quadratic constraints as second-order cones.

Two kinds of :math:`x^T Q x + q^T x + r \le 0` are convex on sight:

* Q is positive semidefinite. With :math:`Q = L L^T`, completed to squares as far as q
  is in the range of Q, it is :math:`|L^T (x - x_0)|^2 + g(x) \le 0` with g affine; that
  is :math:`|L^T (x - x_0)| \le \sqrt{-g}` where g is constant, and otherwise, for any
  :math:`\sigma > 0`,

  .. math:: \left|\left(\frac{g / \sigma + \sigma}{2}, \, L^T (x - x_0)\right)\right|
            \le \frac{\sigma - g / \sigma}{2}.

* In homogeneous coordinates :math:`y = (1, x)` the form :math:`y^T M y \le 0` has one
  negative eigenvalue, :math:`M = V \Lambda V^T - \mu v v^T`: a cone of two nappes
  :math:`|\Lambda^{1/2} V^T y| \le \sqrt \mu \, |v^T y|`, of which the bounds of the
  variables and the linear rows leave one. An inequality :math:`w^T y \ge 0` is
  nonnegative on a whole nappe when w is in the range of M and :math:`w^T M^+ w \le 0`;
  the sum of those of one orientation decides if it is less than zero.

(S. Boyd and L. Vandenberghe, "Convex Optimization", section 4.4.2; A. Mahajan and T.
Munson, "Exploiting second-order cone structure for global optimization", 2010.)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from pyomo_relu.solvers.convexity import CURVATURE_TOLERANCE, natural_units

__all__ = ["ConeVector", "Inequalities", "QuadraticForm", "cone_vector"]

#: A square is completed along the eigenvectors of values above this part of the
#: largest: along others the centre is far away, and the constants cancel.
_SQUARE_TOLERANCE = 1e-6

#: Rounding in what decides between two nappes, relative to the size of its summands.
_NAPPE_TOLERANCE = 1e-9


class QuadraticForm(NamedTuple):
    """``x'Qx + q'x + r`` in some of the variables.

    Attributes
    ----------
    columns : (k,) ndarray of int
        Their columns, ascending.
    Q : (k, k) csr_array
        Symmetric.
    q : (k,) ndarray
        Linear part.
    r : float
        Constant.
    """

    columns: np.ndarray
    Q: sp.csr_array
    q: np.ndarray
    r: float


class Inequalities(NamedTuple):
    """What is known of the variables: ``W y >= 0`` with ``y = (1, x)``.

    Attributes
    ----------
    lower, upper : (n,) ndarray
        Bounds, infinite where there is none.
    rows : (m, n) csc_array
        ``rows @ x >= sides``.
    sides : (m,) ndarray
        Right-hand sides, finite.
    """

    lower: np.ndarray
    upper: np.ndarray
    rows: sp.csc_array
    sides: np.ndarray

    def among(self, columns: np.ndarray) -> np.ndarray:
        """Return those in the given columns alone, as rows ``w`` (k + 1,) of W."""
        k = len(columns)
        identity = np.eye(k)
        below, above = self.lower[columns], self.upper[columns]
        parts = [
            np.column_stack([-below, identity])[np.isfinite(below)],
            np.column_stack([above, -identity])[np.isfinite(above)],
        ]
        m = self.rows.shape[0]
        inside = self.rows[:, columns]
        count = np.bincount(inside.indices, minlength=m)
        whole = np.bincount(self.rows.indices, minlength=m)
        only = np.flatnonzero((count == whole) & (whole > 0))
        if only.size:
            dense = sp.csr_array(inside)[only].toarray()
            parts.append(np.column_stack([-self.sides[only], dense]))
        return np.vstack(parts)


class ConeVector(NamedTuple):
    """A vector s with ``|s[1:]|^2 - s[0]^2`` equal to the form and ``s[0] >= 0``.

    Attributes
    ----------
    matrix : (m, k) ndarray
        ``s = matrix @ x[columns] + constant``.
    constant : (m,) ndarray
        The same.
    """

    matrix: np.ndarray
    constant: np.ndarray


def cone_vector(form: QuadraticForm, known: Inequalities) -> ConeVector | None:
    """Return the second-order cone that says ``form <= 0``.

    Parameters
    ----------
    form : QuadraticForm
        The left-hand side.
    known : Inequalities
        What may be used to choose between two nappes.

    Returns
    -------
    ConeVector or None
        None where the set is not recognised as convex. A form without a linear part
        may have a negative constant bound on a sum of squares: then the first entry is
        the constant nan, and nothing satisfies the row.

    Examples
    --------
    ``x^2 <= t^2`` where ``t >= 0``:

    >>> unknown = sp.csc_array((0, 2))
    >>> known = Inequalities(
    ...     np.array([-np.inf, 0.0]), np.full(2, np.inf), unknown, np.zeros(0)
    ... )
    >>> Q = sp.csr_array(np.diag([1.0, -1.0]))
    >>> vector = cone_vector(QuadraticForm(np.arange(2), Q, np.zeros(2), 0.0), known)
    >>> np.abs(vector.matrix).tolist(), vector.constant.tolist()
    ([[0.0, 1.0], [1.0, 0.0]], [0.0, 0.0])
    """
    # In units in which the diagonal is one: variables of other sizes count as much, and
    # the signs of the eigenvalues stay (Sylvester's law of inertia).
    units = natural_units(form.Q)
    scaled = sp.csr_array(sp.diags_array(1.0 / units) @ form.Q) @ sp.diags_array(
        1.0 / units
    )
    values, vectors = _spectrum(sp.csr_array(scaled))
    if (values < -CURVATURE_TOLERANCE).any():
        return _one_nappe(form, known)
    kept = values > len(values) * np.finfo(float).eps
    vector = _sum_of_squares(
        form._replace(q=form.q / units), values[kept], sp.csr_array(vectors[:, kept])
    )
    return ConeVector(vector.matrix * units, vector.constant)


def _spectrum(Q: sp.csr_array) -> tuple[np.ndarray, sp.csc_array]:
    """Eigenvalues and eigenvectors of a symmetric matrix, component by component."""
    values, blocks, order = [], [], []
    for members in _components(Q):
        if len(members) == 1:
            value, vector = Q[members][:, members].toarray().ravel(), np.ones((1, 1))
        else:
            value, vector = np.linalg.eigh(Q[members][:, members].toarray())
        values.append(value)
        blocks.append(vector)
        order.append(members)
    vectors = sp.csr_array(sp.block_diag(blocks, format="csr"))
    back = np.argsort(np.concatenate(order), kind="stable")
    return np.concatenate(values), sp.csc_array(vectors[back])


def _components(Q: sp.csr_array) -> Iterator[np.ndarray]:
    count, label = connected_components(Q, directed=False)
    order = np.argsort(label, kind="stable")
    yield from np.split(order, np.cumsum(np.bincount(label, minlength=count))[:-1])


def _sum_of_squares(
    form: QuadraticForm, values: np.ndarray, vectors: sp.csr_array
) -> ConeVector:
    """Return the cone of a positive semidefinite form."""
    along = vectors.T @ form.q
    squared = values >= _SQUARE_TOLERANCE * values.max(initial=0.0)
    # Half the linear part along an eigenvector, over its eigenvalue, is the centre.
    centre = np.where(squared, along / (2.0 * values), 0.0)
    root = np.sqrt(values)
    norm = np.asarray((sp.diags_array(root) @ vectors.T).toarray())
    shift = root * centre
    rest = form.q - vectors @ np.where(squared, along, 0.0)
    rest[np.abs(rest) <= 1e-14 * np.abs(form.q).max(initial=0.0)] = 0.0
    constant = form.r - float(values @ centre**2)
    if not rest.any():
        radius = math.sqrt(-constant) if constant <= 0.0 else math.nan
        first = np.zeros((1, len(form.q)))
        return ConeVector(np.vstack([first, norm]), np.append(radius, shift))
    scale = math.sqrt(max(1.0, abs(constant)))
    affine = 0.5 / scale * rest
    half, offset = 0.5 * scale, 0.5 / scale * constant
    return ConeVector(
        np.vstack([-affine, affine, norm]),
        np.concatenate([[half - offset, half + offset], shift]),
    )


def _one_nappe(form: QuadraticForm, known: Inequalities) -> ConeVector | None:
    """Return the cone of an indefinite form of which one nappe is left."""
    Q = form.Q.toarray()
    k = len(Q)
    M = np.empty((k + 1, k + 1))
    M[0, 0] = form.r
    M[0, 1:] = M[1:, 0] = 0.5 * form.q
    M[1:, 1:] = Q
    units = natural_units(sp.csr_array(M))
    values, vectors = np.linalg.eigh(M / np.outer(units, units))
    threshold = CURVATURE_TOLERANCE * np.abs(values).max()
    if values[0] >= -threshold or values[1] < -threshold:
        return None
    W = known.among(form.columns) / units
    orientation = _orientation(W, values, vectors, threshold)
    if orientation == 0.0:
        return None
    positive = values > threshold
    root = np.sqrt(np.append(-values[0], values[positive]))
    directions = np.column_stack([orientation * vectors[:, 0], vectors[:, positive]])
    matrix = root[:, None] * directions.T * units
    return ConeVector(matrix[:, 1:], matrix[:, 0])


def _orientation(
    W: np.ndarray, values: np.ndarray, vectors: np.ndarray, threshold: float
) -> float:
    """Return 1 or -1 where ``v'y`` has this sign on ``W y >= 0``, else 0."""
    regular = np.abs(values) > threshold
    kernel, roots = vectors[:, ~regular], np.sqrt(np.abs(values[regular]))
    one = kernel[0]
    if one @ one > _NAPPE_TOLERANCE:
        # The homogeneous coordinate is positive and may be added; here that is the
        # only way into the range.
        missing = -(W @ kernel) @ one / (one @ one)
        W[:, 0] += np.maximum(missing, 0.0)
    else:
        # As much of it as leaves the least of W M^+ W.
        unit = vectors[0, regular] / roots
        lorentz = unit * np.append(-1.0, np.ones(len(unit) - 1))
        products = (W @ vectors[:, regular] / roots) @ lorentz
        square = unit @ lorentz
        more = np.maximum(-products / square, 0.0) if square > 0.0 else 0.0
        W = np.vstack([W, np.eye(1, W.shape[1])])
        W[:-1, 0] += more
    size = np.linalg.norm(W, axis=1)
    W = W[size > 0.0] / size[size > 0.0, None]
    in_range = (np.abs(W @ kernel) <= _NAPPE_TOLERANCE).all(axis=1)
    along = W[in_range] @ vectors[:, regular] / roots
    # In these coordinates the nappes are |a[1:]| <= |a[0]|, and their duals the same.
    length = np.linalg.norm(along[:, 1:], axis=1)
    causal = length <= np.abs(along[:, 0]) * (1.0 + _NAPPE_TOLERANCE)
    for sign in (1.0, -1.0):
        total = (sign * along[causal & (sign * along[:, 0] > 0.0)]).sum(axis=0)
        if total.size and total[0] > 0.0:
            inside = np.linalg.norm(total[1:]) < total[0] * (1.0 - _NAPPE_TOLERANCE)
            if inside:
                return sign
    return 0.0
