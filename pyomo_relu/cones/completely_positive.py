r"""The completely positive cone.

.. math:: \mathrm{CP}(K) = \mathrm{conv}\{z z^T : z \in K\}

for the orthant, for a polyhedral cone :math:`\{u : F u \ge 0\}`, and for their
products with free coordinates (arXiv:2012.13329; design, The completely positive
program). A matrix :math:`[[A, W], [W^T, G]]` is in
:math:`\mathrm{CP}(R_+^m \times R^c)` exactly when it is positive semidefinite and A is
completely positive.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pyomo_relu.cones.base import Cone, ConeData
from pyomo_relu.cones.component import ScalarConeMixin

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "CompletelyPositiveCone",
    "CompletelyPositiveConeData",
    "IndexedCompletelyPositiveCone",
    "ScalarCompletelyPositiveCone",
]


class CompletelyPositiveConeData(ConeData):
    """One matrix in a completely positive cone."""

    kind = "completely positive"
    options: ClassVar[tuple[str, ...]] = ("matrix", "free", "facets", "rays")
    tiers: ClassVar[tuple[str, ...]] = (
        "relu.dnn",
        "relu.psd",
        "relu.partition",
        "relu.sos",
        "relu.minors",
        "relu.cuts",
        "relu.dd",
        "relu.rays",
        "relu.ray_pairs",
        "relu.factorized",
    )

    def _margin(self, matrix: Array) -> float:
        return min(float(np.linalg.eigvalsh(matrix)[0]), self._entrywise_margin(matrix))


class CompletelyPositiveCone(Cone):
    r"""A symmetric matrix in the completely positive cone of :math:`R_+^m \times R^c`.

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
        R, nonzero columns. A promise about the model, not a part of the cone: it sees
        the leading blocks of ``M = [[A, W], [W^T, G]]`` only through ``R A R^T`` and
        ``R W``, because A is in coordinates of the columns of R. The partition tier
        and the statements on exactness rely on it.
    **kwds
        `name` and `doc`, as for any component.

    Raises
    ------
    InputError, InputTypeError
        The matrix is not square, not symmetric, not affine or not finite, or `free`,
        `facets` or `rays` do not fit it.

    See Also
    --------
    CopositiveCone : the dual cone
    pyomo_relu.relax : the tiers that replace the cone by one that solvers take

    Notes
    -----
    To decide membership is NP-hard. The margin is that of the doubly nonnegative
    cone: a negative one proves that the matrix is outside; a nonnegative one proves
    that it is inside for m <= 4 (with facets: for at most four of them).

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, SolverFactory, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> m = ConcreteModel()
    >>> m.x = Var(initialize=1.0)
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> print(f"{m.K.margin():.4f}")
    0.3820

    Several cones at once, the last coordinate free:

    >>> m.N = Var([0, 1], [(0, 0), (0, 1), (1, 1)], initialize=1.0)
    >>> m.C = CompletelyPositiveCone(
    ...     [0, 1],
    ...     rule=lambda m, i: [[m.N[i, 0, 0], m.N[i, 0, 1]],
    ...                        [m.N[i, 0, 1], m.N[i, 1, 1]]],
    ...     free=1,
    ... )
    >>> m.C[1].order, m.C[1].free
    (2, 1)

    Until it is relaxed, whoever cannot take it is stopped:

    >>> SolverFactory("highs").solve(m)
    Traceback (most recent call last):
        ...
    pyomo_relu.errors.UnsupportedConeError: the completely positive cone 'K' ...
    """

    _ComponentDataClass = CompletelyPositiveConeData


class ScalarCompletelyPositiveCone(
    ScalarConeMixin, CompletelyPositiveConeData, CompletelyPositiveCone
):
    """A single matrix in a completely positive cone."""


class IndexedCompletelyPositiveCone(CompletelyPositiveCone):
    """Several matrices in completely positive cones."""


CompletelyPositiveCone._scalar = ScalarCompletelyPositiveCone
CompletelyPositiveCone._indexed = IndexedCompletelyPositiveCone
