"""Pieces of the arrangement that contain given directions."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import numpy as np

from pyomo_relu.arrangement import Cells
from pyomo_relu.arrangement.masks import MaskIndex, SignHash
from pyomo_relu.generation.restricted import MasterSolution, Piece, RestrictedProgram
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs.network_program import NetworkProgram
from pyomo_relu.recovery.recover import (
    Moment,
    factor_moments,
    network_of_neurons,
)
from pyomo_relu.tiers.triangulation import triangulate

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Pieces"]

#: Doubly nonnegative matrices of at most this order are completely positive.
_EXACT_ORDER = 4
#: In ranks up to this the doubly nonnegative program is exact whatever the rays.
_EXACT_RANK = 3
#: Cosines with a hyperplane below this leave the side open.
_ON_PLANE = 1e-9
_SHAKES = (0.0, 1e-8, 1e-7, 1e-6)


class Pieces:
    """The cells, each with its simplicial pieces where that makes the program exact.

    Parameters
    ----------
    problem : TrainingProblem
        What is trained.
    cells : Cells
        All cells, or those that are to be used.
    """

    def __init__(self, problem: TrainingProblem, cells: Cells) -> None:
        self.problem, self.cells = problem, cells
        scaled = problem.scaled
        #: From the coordinates of the cells to scaled ones.
        self.rotation = scaled.basis.T @ cells.basis
        self._index = MaskIndex(cells.packed, SignHash(len(cells.normals)))
        self._triangulations: dict[int, np.ndarray] = {}

    def some_rays(self, rng: np.random.Generator, count: int) -> Array:
        """Return some rays (k, r) of cells, scaled coordinates."""
        table = self.cells.ray_table
        chosen = rng.choice(len(table), min(count, len(table)), replace=False)
        return table[chosen] @ self.rotation.T

    def locate(self, directions: Array) -> np.ndarray:
        """Return a cell that contains each direction (m, r), -1 where none is found.

        On a hyperplane the direction is shaken.
        """
        found = np.full(len(directions), -1, dtype=np.int64)
        reduced = directions @ self.rotation
        shakes = np.random.default_rng(1)
        for size in _SHAKES:
            missing = np.flatnonzero(found < 0)
            if not len(missing):
                break
            noise = shakes.normal(size=(len(missing), reduced.shape[1]))
            points = reduced[missing] + size * noise
            positive = points @ self.cells.normals.T > 0.0
            found[missing] = self._index.find(np.packbits(positive, axis=1))
        return found

    def containing(
        self,
        directions: Array,
        known: Container[Any],
        besides: list[Piece] | None = None,
    ) -> list[Piece]:
        """Return pieces that contain directions (m, r) and are not known yet.

        Parameters
        ----------
        directions : (m, r) array
            Scaled coordinates.
        known : container of keys
            Pieces that are not wanted.
        besides : list of Piece, optional
            Further ones.
        """
        made = {piece.key: piece for piece in besides or ()}
        fresh: dict[Any, Piece] = {}
        for cell, u in zip(self.locate(directions).tolist(), directions, strict=True):
            if cell < 0:
                continue
            key = (cell, self._rays_at(cell, u))
            if key in known or key in made or key in fresh:
                continue
            fresh[key] = self.piece(*key)
        return list(fresh.values())

    def _rays_of(self, cell: int) -> np.ndarray:
        start, stop = self.cells.ray_indptr[cell : cell + 2]
        return self.cells.ray_indices[start:stop]

    def _rays_at(self, cell: int, u: Array) -> tuple[int, ...]:
        """Return the rays, as positions in the table, of the piece that u is in."""
        rays = self._rays_of(cell)
        if len(rays) <= _EXACT_ORDER or self.cells.rank <= _EXACT_RANK:
            return tuple(rays.tolist())
        R = self.rotation @ self.cells.ray_table[rays].T
        if cell not in self._triangulations:
            self._triangulations[cell] = triangulate(R)
        simplices = self._triangulations[cell]
        weights = np.linalg.solve(
            R[:, simplices].transpose(1, 0, 2),
            np.broadcast_to(u, (len(simplices), len(u)))[..., None],
        )[..., 0]
        best = int(weights.min(axis=1).argmax())
        return tuple(rays[simplices[best]].tolist())

    def piece(self, cell: int, rays: tuple[int, ...]) -> Piece:
        """Return a piece by its key: a cell, and rays of it as rows of the table."""
        R = self.rotation @ self.cells.ray_table[list(rays)].T
        return Piece((cell, rays), R, len(rays) == len(self._rays_of(cell)))

    def network(
        self, program: RestrictedProgram, answer: MasterSolution
    ) -> ReLUNetwork:
        """Return the network of a solution: factors of its moments.

        Parameters
        ----------
        program : RestrictedProgram
            What was solved.
        answer : MasterSolution
            Its solution.
        """
        problem = self.problem
        network_program = NetworkProgram(problem, self.cells, np.arange(0), "rays")
        c = problem.n_outputs
        moments = [
            Moment(
                A=matrix[:-c, :-c],
                W=matrix[:-c, -c:],
                R=piece.R,
                cell=piece.key[0],
                piece=None if piece.is_cell else piece.R,
                is_network=False,
            )
            for piece, matrix in zip(
                program.pieces.values(), answer.moments, strict=True
            )
        ]
        neurons = factor_moments(moments, network_program)
        return network_of_neurons(problem, neurons, answer.linear)
