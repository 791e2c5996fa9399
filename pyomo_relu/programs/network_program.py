"""What a built model knows of the network that it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pyomo.core.base.block import BlockData
from scipy.linalg import qr

from pyomo_relu.arrangement import Cells
from pyomo_relu.errors import InputTypeError
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

_SCOPE = "pyomo_relu.programs"


@dataclass(frozen=True, eq=False)
class NetworkProgram:
    """The problem and cells behind a model, in the model's coordinates.

    Attributes
    ----------
    problem : TrainingProblem
        What is being trained.
    cells : Cells
        The arrangement.
    active : (P,) int array
        Indices of the cells that have a cone in the model: those in which some
        sample is active.
    description : {"rays", "facets"}
        How the cells enter the cones.
    """

    problem: TrainingProblem
    cells: Cells
    active: np.ndarray[Any, np.dtype[np.intp]]
    description: str

    def frame(self, i: int) -> tuple[Array, Array | None]:
        """Return the coordinates in which the cone of cell i is written.

        Returns
        -------
        R : (r, m) array
            ``u = R a`` takes coordinates to first-layer weights (scaled, reduced).
        facets : (k, m) array or None
            None if the cell is ``a >= 0`` (its rays are the columns of R); otherwise
            it is ``facets @ a >= 0``.
        """
        scaled, cells = self.problem.scaled, self.cells
        if self.description == "rays":
            return scaled.basis.T @ cells.rays[i], None
        # In coordinates of the cells, whose rank may have been decided lower.
        facets = unit_rows(cells.facets[i] @ cells.basis)
        # Any basis will do; the cone over r independent facets keeps a narrow cell
        # wide. In the plain basis solvers stop short of their tolerance.
        _, _, pivots = qr(facets.T, mode="economic", pivoting=True)
        R = np.linalg.inv(facets[pivots[: facets.shape[1]]])
        R = R / np.linalg.norm(R, axis=0)
        return scaled.basis.T @ (cells.basis @ R), unit_rows(facets @ R)

    @property
    def n_outputs(self) -> int:
        """Number of outputs ``c``."""
        return self.problem.n_outputs

    def __deepcopy__(self, memo: dict[int, Any]) -> NetworkProgram:
        """Share the immutable arrays when a model is cloned."""
        return self


def attach(block: BlockData, program: NetworkProgram) -> None:
    """Keep `program` with the block that was built from it."""
    block.private_data(_SCOPE)["program"] = program


def network_program(block: BlockData) -> NetworkProgram:
    """Return the network program behind a built model or block.

    Raises
    ------
    InputTypeError
        The block was not built by this package.
    """
    program = (
        block.private_data(_SCOPE).get("program")
        if isinstance(block, BlockData)
        else None
    )
    if program is None:
        raise InputTypeError(
            f"{getattr(block, 'name', block)!r} is not a network program; give the "
            "model or block that a build function of this package returned."
        )
    return program


def unit_rows(rows: Array) -> Array:
    """Return `rows` (k, r) with each row of Euclidean norm one."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
