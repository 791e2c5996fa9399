r"""`relu.dnn`: doubly nonnegative instead of completely positive.

.. math:: \mathrm{CP}_m \subseteq S_+^m \cap \{A \ge 0\}

and with facets F: :math:`F A F^T \ge 0` (design, Tiers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pyomo.common.config import ConfigDict

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    DoublyNonnegativeCone,
)
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    register_tier,
    replace_by,
    tier_config,
)
from pyomo_relu.tiers.exactness import reason_of_exactness

__all__ = ["DoublyNonnegativeTier"]


@register_tier(
    "relu.dnn", "Replace completely positive cones by doubly nonnegative ones."
)
class DoublyNonnegativeTier(Tier):
    """Replace each completely positive cone by the doubly nonnegative cone.

    A lower bound for a minimisation, in many cases exact: see
    :func:`~pyomo_relu.tiers.bound_direction`. Semidefinite solvers take the result.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, TransformationFactory, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> token = TransformationFactory("relu.dnn").apply_to(m)
    >>> m.K.active, m.K_dnn.kind
    (False, 'doubly nonnegative')
    >>> TransformationFactory("relu.dnn").apply_to(m, reverse=token)
    >>> m.K.active, m.component("K_dnn")
    (True, None)
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            "M positive semidefinite, A >= 0 entrywise (F A F' >= 0 with facets)",
            "outer",
            "SDP",
            "rays of rank <= 3, or at most 4 rays or facets, or one output",
        ),
    }
    exact_if_weighed_by_one_matrix = True
    CONFIG: ClassVar[ConfigDict] = tier_config("relu.dnn")

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why the doubly nonnegative form of a cone is exact."""
        return reason_of_exactness(cone)

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Put the same matrices into doubly nonnegative cones."""
        return replace_by(DoublyNonnegativeCone, "dnn", component, cones)
