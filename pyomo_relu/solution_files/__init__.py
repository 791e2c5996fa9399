"""Solutions that other programs wrote, read back into the model.

The readers of the formats know names, positions and numbers only;
:mod:`~pyomo_relu.solution_files.reading` brings them to a model.
"""

from pyomo_relu.solution_files.detect import detect, read_solution_file
from pyomo_relu.solution_files.reading import ReadSolution, read_solution
from pyomo_relu.solution_files.solution_file import SolutionFile

__all__ = [
    "ReadSolution",
    "SolutionFile",
    "detect",
    "read_solution",
    "read_solution_file",
]
