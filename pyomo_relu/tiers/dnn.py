r"""`relu.dnn`: doubly nonnegative instead of completely positive, and its dual.

.. math:: \mathrm{CP}_m \subseteq \mathrm{DNN}_m = S_+^m \cap \{A \ge 0\}, \qquad
          \mathrm{COP}_m \supseteq \mathrm{DNN}_m^* = S_+^m + \{N \ge 0\}

On :math:`R_+^m \times R^c` the sign is that of the leading block only; with facets F
it is :math:`F A F^T \ge 0`, and :math:`F^T N F` in the dual (design, Tiers). The
multiplier of ``M - [[N, 0], [0, 0]]`` positive semidefinite is doubly nonnegative: it
is the multiplier of the copositive cone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import ConfigDict
from pyomo.environ import Block, NonNegativeReals, Var

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    CopositiveConeData,
    DoublyNonnegativeCone,
    PSDCone,
)
from pyomo_relu.cones.entries import upper_index
from pyomo_relu.tiers.affine import congruence
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    replace_by,
    tier_config,
)
from pyomo_relu.tiers.exactness import reason_of_exactness
from pyomo_relu.tiers.linking import entries_of, member_index, split_triangles

__all__ = ["DoublyNonnegativeTier", "doubly_nonnegative"]

_EXACT = "rays of rank <= 3, or at most 4 rays or facets"


@register_tier(
    "relu.dnn",
    "Replace completely positive cones by doubly nonnegative ones, and copositive "
    "cones by the dual of that.",
)
class DoublyNonnegativeTier(Tier):
    """Replace completely positive by doubly nonnegative, copositive by its dual.

    A lower bound for a minimisation over completely positive cones, an upper bound
    for one over copositive cones; in many cases exact: see
    :func:`~pyomo_relu.tiers.bound_direction`. Semidefinite solvers take the result.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, TransformationFactory, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone, CopositiveCone
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> token = TransformationFactory("relu.dnn").apply_to(m)
    >>> m.K.active, m.K_dnn.kind
    (False, 'doubly nonnegative')
    >>> TransformationFactory("relu.dnn").apply_to(m, reverse=token)
    >>> m.K.active, m.component("K_dnn")
    (True, None)

    The nonnegative matrix of a copositive cone is a variable:

    >>> m.C = CopositiveCone([[2, m.x], [m.x, 1]])
    >>> token = TransformationFactory("relu.dnn").apply_to(m, targets=m.C)
    >>> print(m.C_dnn.cone.matrix[0, 1])
    x - C_dnn.nonnegative[0,1]
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            "M positive semidefinite, A >= 0 entrywise (F A F' >= 0 with facets)",
            "outer",
            "SDP",
            f"{_EXACT}, or one output",
        ),
        CopositiveConeData: Bridge(
            "M - [[N, 0], [0, 0]] positive semidefinite, N >= 0 (F' N F with facets)",
            "inner",
            "SDP",
            _EXACT,
        ),
    }
    exact_if_weighed_by_one_matrix = True
    commutes_with_partition = True
    CONFIG: ClassVar[ConfigDict] = tier_config("relu.dnn")

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why the doubly nonnegative form of a cone is exact."""
        return reason_of_exactness(cone)

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Put the same matrices into doubly nonnegative cones, or less N into PSD."""
        return doubly_nonnegative("dnn", component, cones)


def doubly_nonnegative(suffix: str, component: Any, cones: list[ConeData]) -> Created:
    """Replace cones of one component by doubly nonnegative ones or by their dual.

    Parameters
    ----------
    suffix : str
        Ending of the new component's name.
    component : Cone
        The component of the cones.
    cones : list of cone data
        Completely positive or copositive members of it.
    """
    if isinstance(cones[0], CompletelyPositiveConeData):
        return replace_by(DoublyNonnegativeCone, suffix, component, cones)
    block = add_beside(component, suffix, Block(concrete=True))
    pairs = [np.triu_indices(_sides(cone), 1) for cone in cones]
    # The diagonal of N is positive semidefinite, and so is F' N F for a diagonal N: it
    # is a part of S_+ already, and N needs none.
    block.nonnegative = Var(
        [
            (*member_index(cone), i, j)
            for cone, (rows, columns) in zip(cones, pairs, strict=True)
            for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
        ],
        domain=NonNegativeReals,
    )
    weights = sp.block_diag([_placed(cone) for cone in cones], format="csr")
    entries = entries_of(cones).plus(-weights, list(block.nonnegative.values()))
    triangles = split_triangles(entries.expressions(), [cone.order for cone in cones])
    contents = {
        cone.index(): cone.content._replace(entries=triangle)
        for cone, triangle in zip(cones, triangles, strict=True)
    }
    index = [list(contents)] if component.is_indexed() else []
    block.cone = PSDCone.from_contents(contents, *index)
    return Created(block, [[leaf] for leaf in block.cone.values()])


def _sides(cone: ConeData) -> int:
    """Return how many half-spaces make the cone: facets, or its m coordinates."""
    return cone.order - cone.free if cone.facets is None else len(cone.facets)


def _placed(cone: ConeData) -> Any:
    """Return ``N -> [[N, 0], [0, 0]]``, or ``F' N F``, N without its diagonal."""
    m = cone.order - cone.free
    if cone.facets is None:
        lifted = sp.eye_array(m * (m + 1) // 2, format="csc")
    else:
        lifted = sp.csc_array(congruence(cone.facets, 0))
    rows, columns = np.triu_indices(_sides(cone))
    off_diagonal = sp.coo_array(lifted[:, np.flatnonzero(rows != columns)])
    places = upper_index(cone.order)[:m, :m][np.triu_indices(m)]
    return sp.csr_array(
        (off_diagonal.data, (places[off_diagonal.row], off_diagonal.col)),
        shape=(cone.order * (cone.order + 1) // 2, off_diagonal.shape[1]),
    )
