"""Model files for other programs, with name maps.

Of any Pyomo model: no network needed.
"""

from pyomo_relu.writers.exporting import export
from pyomo_relu.writers.formats import FORMATS, FileFormat, find_format
from pyomo_relu.writers.name_map import NameMap, read_name_map

__all__ = [
    "FORMATS",
    "FileFormat",
    "NameMap",
    "export",
    "find_format",
    "read_name_map",
]
