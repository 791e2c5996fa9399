r"""`relu.psd`: positive semidefinite alone; for networks, the gated network.

.. math:: \mathrm{CP}_m \subseteq \mathrm{DNN}_m \subseteq S_+^m \subseteq
          \mathrm{DNN}_m^* \subseteq \mathrm{COP}_m

(design, Tiers).

Without the sign, coordinates of rays become a burden: narrow cells have huge entries,
and more rays than their rank leave A undetermined. The model sees A only through
:math:`R A R^T`, so a semidefinite matrix in an orthonormal basis Q of the span of the
rays serves as well, with P such that :math:`R P = Q`:

.. math:: A = P U P^T, \quad W = P V, \quad [[U, V], [V^T, G]] \in S_+

A copositive matrix is :math:`\mathrm{diag}(R, I)^T M' \mathrm{diag}(R, I)` by the
promise of its rays, and semidefinite exactly when
:math:`\mathrm{diag}(Q, I)^T M' \mathrm{diag}(Q, I)
= \mathrm{diag}(P, I)^T M \mathrm{diag}(P, I)` is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pyomo.common.config import ConfigDict
from pyomo.environ import Block

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    CopositiveConeData,
    DoublyNonnegativeConeData,
    PSDCone,
)
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    replace_by,
    tier_config,
)
from pyomo_relu.tiers.linking import write_congruent, write_linked
from pyomo_relu.tiers.triangulation import TOLERANCE

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["PSDTier"]


@register_tier(
    "relu.psd",
    "Replace completely positive, doubly nonnegative and copositive cones by "
    "semidefinite ones.",
)
class PSDTier(Tier):
    """Replace completely positive and copositive cones by the PSD cone between them.

    A lower bound for a minimisation over completely positive or doubly nonnegative
    cones, an upper bound for one over copositive cones. A cone with `rays` R becomes a
    semidefinite matrix of order ``rank(R) + free`` in an orthonormal basis, which is
    the `rays` of the new cone; unless it is copositive, rows link the two. A cone
    without `rays` keeps its matrix.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> relax(m, "psd")
    >>> m.K_psd.kind
    'positive semidefinite'
    >>> print(bound_direction(m))
    lower
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        **dict.fromkeys(
            (CompletelyPositiveConeData, DoublyNonnegativeConeData),
            Bridge("M positive semidefinite", "outer", "SDP"),
        ),
        CopositiveConeData: Bridge("M positive semidefinite", "inner", "SDP"),
    }
    CONFIG: ClassVar[ConfigDict] = tier_config("relu.psd")

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Put the same matrices, or shorter ones, into semidefinite cones."""
        if all(cone.rays is None for cone in cones):
            return replace_by(PSDCone, "psd", component, cones)
        parts = [(cone, [_orthonormal(cone)]) for cone in cones]
        block = add_beside(component, "psd", Block(concrete=True))
        if isinstance(cones[0], CopositiveConeData):
            return Created(block, write_congruent(block, parts, PSDCone))
        return Created(block, write_linked(block, parts, PSDCone), (block.linking,))


def _orthonormal(cone: ConeData) -> Array:
    """Return P (m, s) with R P orthonormal; the identity for a cone without rays."""
    if cone.rays is None:
        return np.eye(cone.order - cone.free)
    lengths = np.linalg.norm(cone.rays, axis=0)
    _, singular, right = np.linalg.svd(cone.rays / lengths, full_matrices=False)
    kept = singular > TOLERANCE
    return right[kept].T / singular[kept] / lengths[:, None]
