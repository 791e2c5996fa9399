r"""The positive semidefinite cone.

.. math:: S_+^k = \{M = M^T : x^T M x \ge 0 \text{ for all } x\}
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from pyomo_relu.cones.base import Cone, ConeData
from pyomo_relu.cones.component import ScalarConeMixin

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["IndexedPSDCone", "PSDCone", "PSDConeData", "ScalarPSDCone"]


class PSDConeData(ConeData):
    """One matrix in the positive semidefinite cone."""

    kind = "positive semidefinite"
    tiers: ClassVar[tuple[str, ...]] = (
        "relu.minors",
        "relu.cuts",
        "relu.dd",
        "relu.sdd",
    )
    is_conic: ClassVar[bool] = True

    def _margin(self, matrix: Array) -> float:
        return float(np.linalg.eigvalsh(matrix)[0])


class PSDCone(Cone):
    r"""A symmetric matrix in the positive semidefinite cone :math:`S_+^k`.

    Parameters
    ----------
    *args : matrix, or index sets
        The matrix of a scalar cone: nested lists or an array (k, k), or a Pyomo
        component or mapping indexed by pairs (i, j), of which each needs to be there
        only once. Entries are variables, affine expressions, parameters or numbers.
        With a `rule`: the index sets.
    rule : callable, optional
        ``rule(block, *index)`` returns the matrix of one member, or a dict with the
        key ``matrix``.
    **kwds
        `name` and `doc`, as for any component.

    Raises
    ------
    InputError, InputTypeError
        The matrix is not square, not symmetric, not affine or not finite.

    See Also
    --------
    DoublyNonnegativeCone, CompletelyPositiveCone

    Notes
    -----
    While active, the cone stops every writer and solver that cannot take it with
    :class:`~pyomo_relu.errors.UnsupportedConeError`. The membership margin is the
    smallest eigenvalue.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Var, value
    >>> from pyomo_relu.cones import PSDCone
    >>> m = ConcreteModel()
    >>> m.x = Var(initialize=0.5)
    >>> m.K = PSDCone([[1, m.x], [m.x, 1]])
    >>> m.K.margin()
    0.5
    >>> value(m.K.guard.body)
    0.5
    >>> m.K.pprint()
    K : Size=1, Index=None, Active=True
        1 Constraint Declarations
            guard : Size=1, Index=None, Active=True
                Key  : Lower : Body      : Upper : Active
                None :     0 : margin(K) :  +Inf :   True
    <BLANKLINE>
        1 Declarations: guard
    """

    _ComponentDataClass = PSDConeData


class ScalarPSDCone(ScalarConeMixin, PSDConeData, PSDCone):
    """A single matrix in the positive semidefinite cone."""


class IndexedPSDCone(PSDCone):
    """Several matrices in positive semidefinite cones."""


PSDCone._scalar = ScalarPSDCone
PSDCone._indexed = IndexedPSDCone
