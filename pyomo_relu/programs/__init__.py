"""Convex programs equivalent to network training, as ordinary Pyomo models."""

from pyomo_relu.programs.completely_positive import build_completely_positive
from pyomo_relu.programs.copositive import build_copositive
from pyomo_relu.programs.network_program import NetworkProgram, network_program

__all__ = [
    "NetworkProgram",
    "build_completely_positive",
    "build_copositive",
    "network_program",
]
