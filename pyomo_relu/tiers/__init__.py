"""Relaxations of the matrix cones, each a Pyomo transformation.

The tiers are registered by import, compose, and can be reversed; what there is says
:func:`tier_table`.
"""

from pyomo_relu.tiers.cuts import CutsTier
from pyomo_relu.tiers.dd import DiagonallyDominantTier
from pyomo_relu.tiers.direction import BoundDirection, bound_direction
from pyomo_relu.tiers.dnn import DoublyNonnegativeTier
from pyomo_relu.tiers.factorized import FactorizedTier
from pyomo_relu.tiers.minors import MinorsTier
from pyomo_relu.tiers.partition import PartitionTier
from pyomo_relu.tiers.psd import PSDTier
from pyomo_relu.tiers.ray_pairs import RayPairsTier
from pyomo_relu.tiers.rays import RaysTier
from pyomo_relu.tiers.relax import relax
from pyomo_relu.tiers.replacement import leaf_cones, mark_side, source_cone
from pyomo_relu.tiers.sdd import ScaledDiagonallyDominantTier
from pyomo_relu.tiers.sos import SumOfSquaresTier
from pyomo_relu.tiers.table import TierRow, tier_table, tier_table_markdown

__all__ = [
    "BoundDirection",
    "CutsTier",
    "DiagonallyDominantTier",
    "DoublyNonnegativeTier",
    "FactorizedTier",
    "MinorsTier",
    "PSDTier",
    "PartitionTier",
    "RayPairsTier",
    "RaysTier",
    "ScaledDiagonallyDominantTier",
    "SumOfSquaresTier",
    "TierRow",
    "bound_direction",
    "leaf_cones",
    "mark_side",
    "relax",
    "source_cone",
    "tier_table",
    "tier_table_markdown",
]
