"""Cells of hyperplane arrangements: enumeration, sampling, rays, facets, trees."""

from pyomo_relu.arrangement.cells import Cells
from pyomo_relu.arrangement.counting import count_cells_general_position
from pyomo_relu.arrangement.enumerate import enumerate_cells
from pyomo_relu.arrangement.sample import sample_cells
from pyomo_relu.arrangement.tree import Tree

__all__ = [
    "Cells",
    "Tree",
    "count_cells_general_position",
    "enumerate_cells",
    "sample_cells",
]
