"""Matrix and vector cones as Pyomo components, for any model.

An active matrix cone stops every writer and solver that cannot take it with
:class:`~pyomo_relu.errors.UnsupportedConeError`; the tiers (:mod:`pyomo_relu.tiers`)
replace it by simpler ones, and semidefinite solvers take `PSDCone` and
`DoublyNonnegativeCone` as they are. Second-order and exponential cones are plain
constraints to whoever does not know them.
"""

from pyomo_relu.cones.base import Cone, ConeData, cone_data_objects, is_cone_guard
from pyomo_relu.cones.completely_positive import (
    CompletelyPositiveCone,
    CompletelyPositiveConeData,
)
from pyomo_relu.cones.copositive import CopositiveCone, CopositiveConeData
from pyomo_relu.cones.doubly_nonnegative import (
    DoublyNonnegativeCone,
    DoublyNonnegativeConeData,
)
from pyomo_relu.cones.exponential import ExponentialCone, ExponentialConeData
from pyomo_relu.cones.membership import ConeGuard
from pyomo_relu.cones.psd import PSDCone, PSDConeData
from pyomo_relu.cones.second_order import SecondOrderCone, SecondOrderConeData
from pyomo_relu.cones.vector import VectorConeData

__all__ = [
    "CompletelyPositiveCone",
    "CompletelyPositiveConeData",
    "Cone",
    "ConeData",
    "ConeGuard",
    "CopositiveCone",
    "CopositiveConeData",
    "DoublyNonnegativeCone",
    "DoublyNonnegativeConeData",
    "ExponentialCone",
    "ExponentialConeData",
    "PSDCone",
    "PSDConeData",
    "SecondOrderCone",
    "SecondOrderConeData",
    "VectorConeData",
    "cone_data_objects",
    "is_cone_guard",
]
