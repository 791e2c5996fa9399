r"""The doubly nonnegative cone.

.. math:: \mathrm{DNN}_m = S_+^m \cap \{A : A_{ij} \ge 0\} \supseteq \mathrm{CP}_m

with equality for m <= 4. Over :math:`R_+^m \times R^c`:
:math:`[[A, W], [W^T, G]] \in S_+^{m + c}` and :math:`A \ge 0`; over a polyhedral cone
:math:`\{u : F u \ge 0\}` the entries of :math:`F A F^T` are nonnegative instead
(design, Tiers).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pyomo_relu.cones.base import Cone, ConeData
from pyomo_relu.cones.component import ScalarConeMixin

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "DoublyNonnegativeCone",
    "DoublyNonnegativeConeData",
    "IndexedDoublyNonnegativeCone",
    "ScalarDoublyNonnegativeCone",
]


class DoublyNonnegativeConeData(ConeData):
    """One matrix in a doubly nonnegative cone."""

    kind = "doubly nonnegative"
    options: ClassVar[tuple[str, ...]] = ("matrix", "free", "facets", "rays")
    tiers: ClassVar[tuple[str, ...]] = (
        "relu.psd",
        "relu.partition",
        "relu.minors",
        "relu.cuts",
    )
    is_conic: ClassVar[bool] = True

    def _margin(self, matrix: Array) -> float:
        return min(float(np.linalg.eigvalsh(matrix)[0]), self._entrywise_margin(matrix))


class DoublyNonnegativeCone(Cone):
    r"""A symmetric matrix, positive semidefinite and nonnegative off its free part.

    Parameters
    ----------
    *args : matrix, or index sets
        As for :class:`PSDCone`.
    rule : callable, optional
        ``rule(block, *index)`` returns the matrix of one member, or a dict with the
        key ``matrix`` and any of ``free``, ``facets``, ``rays``.
    free : int
        The last `free` coordinates are free: only the leading block A of order
        ``m = k - free`` is nonnegative.
    facets : (f, m) array_like, optional
        F: the entries of ``F A F^T`` are nonnegative instead of those of A.
    rays : (r, m) array_like, optional
        As for :class:`CompletelyPositiveCone`; it changes nothing here.
    **kwds
        `name` and `doc`, as for any component.

    Raises
    ------
    InputError, InputTypeError
        The matrix is not square, not symmetric, not affine or not finite, or `free`,
        `facets` or `rays` do not fit it.

    See Also
    --------
    CompletelyPositiveCone, PSDCone

    Notes
    -----
    The membership margin is the smaller of the smallest eigenvalue and the smallest
    of the nonnegative entries.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Var
    >>> from pyomo_relu.cones import DoublyNonnegativeCone
    >>> m = ConcreteModel()
    >>> m.A = Var([(1, 1), (1, 2), (2, 2)], initialize=1.0)
    >>> m.A[1, 2] = -0.5
    >>> m.K = DoublyNonnegativeCone(m.A)
    >>> m.K.margin()
    -0.5
    """

    _ComponentDataClass = DoublyNonnegativeConeData


class ScalarDoublyNonnegativeCone(
    ScalarConeMixin, DoublyNonnegativeConeData, DoublyNonnegativeCone
):
    """A single matrix in a doubly nonnegative cone."""


class IndexedDoublyNonnegativeCone(DoublyNonnegativeCone):
    """Several matrices in doubly nonnegative cones."""


DoublyNonnegativeCone._scalar = ScalarDoublyNonnegativeCone
DoublyNonnegativeCone._indexed = IndexedDoublyNonnegativeCone
