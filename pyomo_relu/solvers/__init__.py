"""Solver interfaces for models with matrix cones, on Pyomo's own solver base.

Importing this package registers ``clarabel`` with both of Pyomo's factories.
"""

from pyomo_relu.solvers.clarabel import Clarabel
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.dispatch import solve
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.standard_form import compile_conic

__all__ = [
    "Clarabel",
    "ConicForm",
    "UnsupportedModelError",
    "compile_conic",
    "solve",
]
