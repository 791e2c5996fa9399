r"""The copositive cone.

.. math:: \mathrm{COP}(K) = \{M = M^T : x^T M x \ge 0 \text{ for all } x \in K\}

for the orthant, for a polyhedral cone :math:`\{u : F u \ge 0\}`, and for their products
with free coordinates; the dual cone of the completely positive one
(arXiv:2012.13329; design, The copositive program).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pyomo_relu.cones.base import Cone, ConeData
from pyomo_relu.cones.component import ScalarConeMixin
from pyomo_relu.cones.least_value import least_on_cone

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "CopositiveCone",
    "CopositiveConeData",
    "IndexedCopositiveCone",
    "ScalarCopositiveCone",
]


class CopositiveConeData(ConeData):
    """One matrix in a copositive cone."""

    kind = "copositive"
    options: ClassVar[tuple[str, ...]] = ("matrix", "free", "facets", "rays")
    tiers: ClassVar[tuple[str, ...]] = (
        "relu.psd",
        "relu.dnn",
        "relu.partition",
        "relu.sos",
        "relu.dd",
        "relu.sdd",
        "relu.rays",
        "relu.ray_pairs",
    )

    def _margin(self, matrix: Array) -> float:
        F = np.eye(self.order - self.free) if self.facets is None else self.facets
        return least_on_cone(matrix, F)


class CopositiveCone(Cone):
    r"""A symmetric matrix that is copositive on :math:`R_+^m \times R^c`.

    ``x^T M x >= 0`` for all ``x = (u, v)`` with ``u >= 0``, v free.

    Parameters
    ----------
    *args : matrix, or index sets
        As for :class:`PSDCone`.
    rule : callable, optional
        ``rule(block, *index)`` returns the matrix of one member, or a dict with the
        key ``matrix`` and any of ``free``, ``facets``, ``rays``.
    free : int
        c: the last c coordinates are free. The leading block has order
        ``m = k - c``.
    facets : (f, m) array_like, optional
        F: the cone is ``{(u, v) : F u >= 0}`` instead of the orthant's.
    rays : (r, m) array_like, optional
        R, nonzero columns. A promise about the model, not a part of the cone: the
        matrix is ``diag(R, I)^T M' diag(R, I)`` for some ``M'``, whatever the values
        of its variables. The partition tier and the statements on exactness rely on
        it.
    **kwds
        `name` and `doc`, as for any component.

    Raises
    ------
    InputError, InputTypeError
        The matrix is not square, not symmetric, not affine or not finite, or `free`,
        `facets` or `rays` do not fit it.

    See Also
    --------
    CompletelyPositiveCone : the dual cone
    pyomo_relu.relax : the tiers that replace the cone by one that solvers take

    Notes
    -----
    To decide membership is co-NP-hard. The margin is the least of ``x^T M x`` over unit
    vectors x of the cone, which is looked for on its faces. A negative one (beyond
    rounding, 1e-12 of the size of M) proves that the matrix is outside. For m <= 12
    (with facets: for at most twelve of them) all faces are looked at, and a nonnegative
    one proves that it is inside; above that, faces of middle dimension are left out,
    and a nonnegative one proves nothing.

    Examples
    --------
    The Horn matrix is copositive, though it is no sum of a semidefinite and a
    nonnegative matrix:

    >>> import numpy as np
    >>> from pyomo.environ import ConcreteModel, Var
    >>> from pyomo_relu.cones import CopositiveCone
    >>> cycle = np.roll(np.eye(5), 1, axis=0)
    >>> horn = 1 - 2 * (cycle + cycle.T)
    >>> m = ConcreteModel()
    >>> m.t = Var(initialize=0.0)
    >>> matrix = [[horn[i, j] - (m.t if i == j else 0) for j in range(5)]
    ...           for i in range(5)]
    >>> m.K = CopositiveCone(matrix)
    >>> abs(m.K.margin()) < 1e-12
    True
    >>> m.t.value = 0.01
    >>> print(f"{m.K.margin():.4f}")
    -0.0100
    """

    _ComponentDataClass = CopositiveConeData


class ScalarCopositiveCone(ScalarConeMixin, CopositiveConeData, CopositiveCone):
    """A single matrix in a copositive cone."""


class IndexedCopositiveCone(CopositiveCone):
    """Several matrices in copositive cones."""


CopositiveCone._scalar = ScalarCopositiveCone
CopositiveCone._indexed = IndexedCopositiveCone
