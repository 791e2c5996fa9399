"""Relaxations of the matrix cones, each a Pyomo transformation.

``relu.dnn``, ``relu.psd`` and ``relu.partition`` are registered by import; they
compose, and can be reversed.
"""

from pyomo_relu.tiers.direction import BoundDirection, bound_direction
from pyomo_relu.tiers.dnn import DoublyNonnegativeTier
from pyomo_relu.tiers.partition import PartitionTier
from pyomo_relu.tiers.psd import PSDTier
from pyomo_relu.tiers.relax import relax
from pyomo_relu.tiers.replacement import leaf_cones, mark_side, source_cone
from pyomo_relu.tiers.table import TierRow, tier_table, tier_table_markdown

__all__ = [
    "BoundDirection",
    "DoublyNonnegativeTier",
    "PSDTier",
    "PartitionTier",
    "TierRow",
    "bound_direction",
    "leaf_cones",
    "mark_side",
    "relax",
    "source_cone",
    "tier_table",
    "tier_table_markdown",
]
