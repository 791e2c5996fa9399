"""Cell generation: the exact program over the few cells that matter.

A restricted program over some cells, pricing over all of them, and the loop between the
two (design, Cell generation).
"""

from pyomo_relu.generation.checkpoint import Checkpoint
from pyomo_relu.generation.local import LocalTraining
from pyomo_relu.generation.loop import Generation, generate
from pyomo_relu.generation.pricing import Candidates, heuristic_pricing
from pyomo_relu.generation.restricted import Piece, RestrictedProgram

__all__ = [
    "Candidates",
    "Checkpoint",
    "Generation",
    "LocalTraining",
    "Piece",
    "RestrictedProgram",
    "generate",
    "heuristic_pricing",
]
