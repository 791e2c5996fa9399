"""Convex programs equivalent to network training, as ordinary Pyomo models."""

from pyomo_relu.programs.closed_form import closed_form
from pyomo_relu.programs.completely_positive import build_completely_positive
from pyomo_relu.programs.copositive import build_copositive
from pyomo_relu.programs.gated import GatedWeights, build_gated, gated_weights
from pyomo_relu.programs.group_lasso import build_group_lasso
from pyomo_relu.programs.network_program import NetworkProgram, network_program
from pyomo_relu.programs.nonconvex import build_nonconvex

__all__ = [
    "GatedWeights",
    "NetworkProgram",
    "build_completely_positive",
    "build_copositive",
    "build_gated",
    "build_group_lasso",
    "build_nonconvex",
    "closed_form",
    "gated_weights",
    "network_program",
]
