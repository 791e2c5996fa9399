"""Matrix cones as Pyomo components, for any model.

An active cone stops every writer and solver that cannot take it with
:class:`~pyomo_relu.errors.UnsupportedConeError`; the tiers (:mod:`pyomo_relu.tiers`)
replace it by simpler ones, and semidefinite solvers take `PSDCone` and
`DoublyNonnegativeCone` as they are.
"""

from pyomo_relu.cones.base import Cone, ConeData, cone_data_objects, is_cone_guard
from pyomo_relu.cones.completely_positive import (
    CompletelyPositiveCone,
    CompletelyPositiveConeData,
)
from pyomo_relu.cones.doubly_nonnegative import (
    DoublyNonnegativeCone,
    DoublyNonnegativeConeData,
)
from pyomo_relu.cones.membership import ConeGuard
from pyomo_relu.cones.psd import PSDCone, PSDConeData

__all__ = [
    "CompletelyPositiveCone",
    "CompletelyPositiveConeData",
    "Cone",
    "ConeData",
    "ConeGuard",
    "DoublyNonnegativeCone",
    "DoublyNonnegativeConeData",
    "PSDCone",
    "PSDConeData",
    "cone_data_objects",
    "is_cone_guard",
]
