"""What a built model knows of the network that it trains."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pyomo.core.base.block import BlockData
from scipy.linalg import qr

from pyomo_relu.arrangement import Cells, enumerate_cells
from pyomo_relu.errors import InputError, InputTypeError, UnprovableModelError
from pyomo_relu.problem import TrainingProblem

Array = np.ndarray[Any, np.dtype[np.float64]]

#: Under which name a block keeps what belongs to its program.
SCOPE = "pyomo_relu.programs"

#: By default no more cells than this are enumerated into one program: every cell
#: costs a semidefinite cone.
MAX_CELLS = 20_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class TrainingProgram:
    """The problem behind a model.

    Attributes
    ----------
    problem : TrainingProblem
        What is being trained.
    """

    problem: TrainingProblem

    @property
    def n_outputs(self) -> int:
        """Number of outputs ``c``."""
        return self.problem.n_outputs

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Share the immutable arrays when a model is cloned."""
        return self


@dataclass(frozen=True, eq=False)
class WeightProgram(TrainingProgram):
    """A model whose variables are the weights of neurons, not their moments.

    Attributes
    ----------
    is_convex : bool
        Whether the model is a convex program.
    """

    is_convex: ClassVar[bool] = True

    @property
    def cells(self) -> Cells:
        """The arrangement.

        Raises
        ------
        UnprovableModelError
            The model has none, and so nothing to prove a bound with.
        """
        raise UnprovableModelError(
            "the model is built over no cells, without which no bound is proved; "
            "certify its network, or use build_completely_positive."
        )

    def read_neurons(self, model: Any) -> tuple[Array, Array]:
        """Return the neurons of a solved model.

        Parameters
        ----------
        model : Block
            What was built, with values.

        Returns
        -------
        first : (r, m) array
            First layer, scaled and reduced; a neuron may be zero.
        second : (m, c) array
            Second layer, in scaled units.

        Raises
        ------
        SolverError
            The model has no values.
        InputError
            Its solution is no network with the activation of the problem.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no neurons")


@dataclass(frozen=True, eq=False)
class NetworkProgram(TrainingProgram):
    """The problem and cells behind a model, in the model's coordinates.

    Attributes
    ----------
    cells : Cells
        The arrangement.
    active : (P,) int array
        Indices of the cells that have a cone in the model: with ReLU those in which
        some row is active, with the absolute value one of each pair of opposite
        cells.
    description : {"rays", "facets"}
        How the cells enter the cones.
    """

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
    def incompleteness(self) -> str:
        """What there is to say of a program over these cells, which are not all."""
        return (
            f"the program is built over {len(self.cells)} cells, which are not all, "
            "a restriction of the training problem"
        )


def network_program_of(
    problem: Any, cells: Any, description: str | None, block: Any
) -> NetworkProgram:
    """Check what a build function was given, and enumerate cells if there are none.

    Parameters
    ----------
    problem : TrainingProblem
        What is being trained.
    cells : Cells or None
        All of them by default.
    description : {"rays", "facets"} or None
        By default ``"rays"`` for enumerated cells and ``"facets"`` for sampled ones.
    block : Block or None
        Where to build.

    Raises
    ------
    InputError, InputTypeError
        An unknown description, cells of other data, no cell with an active sample, a
        block that is not empty, arguments of a wrong type.
    TooManyCellsError
        There are more than ``MAX_CELLS`` cells and none were given.
    """
    check_place(problem, block)
    if cells is not None and not isinstance(cells, Cells):
        raise InputTypeError(
            "cells must come from enumerate_cells or sample_cells; got "
            f"{type(cells).__name__}."
        )
    if description not in (None, "rays", "facets"):
        raise InputError(
            f"description must be 'rays' or 'facets'; got {description!r}."
        )
    if cells is None:
        cells = enumerate_cells(problem, max_cells=MAX_CELLS)
    elif not np.array_equal(cells.X, problem.rows):
        raise InputError(
            "cells belong to other data than the problem; enumerate or sample the "
            "cells of this problem, for example enumerate_cells(problem)."
        )
    active = _active(problem, cells)
    if len(active) == 0:
        raise InputError("no sample is active in any of the given cells.")
    if cells.rank == problem.rank and problem.scaled.nearly_flat:
        logger.warning(
            "X is nearly rank-deficient (singular values down to %.1e of the largest): "
            "interior points call such programs solved far from their optimum. Give "
            "cells=enumerate_cells(problem, tolerance=%.0e), which leaves that "
            "direction out, and trust only what certify proves.",
            problem.scaled.smallest,
            min(max(10.0 * problem.scaled.smallest, 1e-12), 1e-3),
        )
    if description is None:
        description = "rays" if cells.complete else "facets"
    return NetworkProgram(problem, cells, active, description)


def _active(
    problem: TrainingProblem, cells: Cells
) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the cells that neurons may be in, each neuron in one of them."""
    activation = problem.activation
    if activation.negative == 0.0:
        return np.flatnonzero(cells.masks.any(axis=1))
    if activation.is_even and cells.complete:
        # Opposite cells differ in the sign of the first class.
        return np.flatnonzero(cells.packed[:, 0] >> 7)
    return np.arange(len(cells))


def check_place(problem: Any, block: Any) -> None:
    """Check the problem that a build function was given, and where it is to build.

    Raises
    ------
    InputError, InputTypeError
        No training problem, nothing to train, a block that is not empty.
    """
    if not isinstance(problem, TrainingProblem):
        raise InputTypeError(
            f"problem must be a TrainingProblem; got {type(problem).__name__}."
        )
    if block is not None:
        _check_block(block)
    if problem.rank == 0:
        raise InputError(
            "every sample of X is zero, so every network predicts zero and there is "
            "nothing to train."
        )


def _check_block(block: Any) -> None:
    if not isinstance(block, BlockData):
        raise InputTypeError(
            f"block must be a Pyomo block; got {type(block).__name__}."
        )
    if "program" in block.private_data(SCOPE):
        raise InputError(
            f"block {block.name!r} holds a network program already; give an empty one."
        )


def attach(block: BlockData, program: TrainingProgram) -> None:
    """Keep `program` with the block that was built from it."""
    block.private_data(SCOPE)["program"] = program


def network_program(block: BlockData) -> NetworkProgram | WeightProgram:
    """Return the program behind a built model or block.

    Returns
    -------
    NetworkProgram or WeightProgram
        The first where the model has moment matrices, the second where it has weights.

    Raises
    ------
    InputTypeError
        The block was not built by this package.
    """
    program = (
        block.private_data(SCOPE).get("program")
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
