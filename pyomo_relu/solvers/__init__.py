"""Solver interfaces, and one door to every open solver that is installed.

Importing this package registers ``clarabel``, ``scs``, ``csdp`` and ``sdpa`` with both
of Pyomo's factories.
"""

from pyomo_relu.solvers.capability import SolverTable, solver_table
from pyomo_relu.solvers.checks import SolutionCheck, check_solution
from pyomo_relu.solvers.clarabel import Clarabel
from pyomo_relu.solvers.conic_form import ConicForm
from pyomo_relu.solvers.content import ModelContent, model_content
from pyomo_relu.solvers.csdp import CSDP
from pyomo_relu.solvers.dispatch import solve
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.scs import SCS
from pyomo_relu.solvers.sdpa import SDPA
from pyomo_relu.solvers.standard_form import compile_conic

__all__ = [
    "CSDP",
    "SCS",
    "SDPA",
    "Clarabel",
    "ConicForm",
    "ModelContent",
    "SolutionCheck",
    "SolverTable",
    "UnsupportedModelError",
    "check_solution",
    "compile_conic",
    "model_content",
    "solve",
    "solver_table",
]
