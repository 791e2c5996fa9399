"""Certified global training of two-layer ReLU networks inside Pyomo.

Importing the package registers its tiers with Pyomo's ``TransformationFactory`` and
its solvers with both of Pyomo's solver factories.
"""

from pyomo_relu.activations import AbsoluteValue, LeakyReLU, ReLU
from pyomo_relu.arrangement import Cells, enumerate_cells, sample_cells
from pyomo_relu.certificates import Certificate, beta_max, certify, certify_model
from pyomo_relu.cones import (
    CompletelyPositiveCone,
    CopositiveCone,
    DoublyNonnegativeCone,
    ExponentialCone,
    PSDCone,
    SecondOrderCone,
)
from pyomo_relu.errors import PyomoReluError
from pyomo_relu.losses import (
    AbsoluteLoss,
    HingeLoss,
    Huber,
    LogisticLoss,
    Quantile,
    SquaredLoss,
)
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs import (
    GatedWeights,
    build_completely_positive,
    build_copositive,
    build_gated,
    build_group_lasso,
    build_nonconvex,
    closed_form,
    gated_weights,
)
from pyomo_relu.recovery import recover_network
from pyomo_relu.solution_files import read_solution
from pyomo_relu.solvers import solve, solver_table
from pyomo_relu.tiers import bound_direction, relax
from pyomo_relu.training import TrainingResult, train
from pyomo_relu.training_path import PathResult, train_path
from pyomo_relu.writers import export

__version__ = "0.1.0"

__all__ = [
    "AbsoluteLoss",
    "AbsoluteValue",
    "Cells",
    "Certificate",
    "CompletelyPositiveCone",
    "CopositiveCone",
    "DoublyNonnegativeCone",
    "ExponentialCone",
    "GatedWeights",
    "HingeLoss",
    "Huber",
    "LeakyReLU",
    "LogisticLoss",
    "PSDCone",
    "PathResult",
    "PyomoReluError",
    "Quantile",
    "ReLU",
    "ReLUNetwork",
    "SecondOrderCone",
    "SquaredLoss",
    "TrainingProblem",
    "TrainingResult",
    "beta_max",
    "bound_direction",
    "build_completely_positive",
    "build_copositive",
    "build_gated",
    "build_group_lasso",
    "build_nonconvex",
    "certify",
    "certify_model",
    "closed_form",
    "enumerate_cells",
    "export",
    "gated_weights",
    "read_solution",
    "recover_network",
    "relax",
    "sample_cells",
    "solve",
    "solver_table",
    "train",
    "train_path",
]
