"""Pieces of the arrangement that contain given directions."""

from __future__ import annotations

from collections.abc import Container
from functools import partial
from typing import Any

import numpy as np

from pyomo_relu.arrangement.located import CellSource
from pyomo_relu.generation.restricted import MasterSolution, Piece, RestrictedProgram
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.recovery.recover import (
    Moment,
    facets_of_simplex,
    factor_moments,
    network_of_neurons,
)
from pyomo_relu.tiers.triangulation import simplex_at

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Pieces"]

#: Doubly nonnegative matrices of at most this order are completely positive.
_EXACT_ORDER = 4
#: In ranks up to this the doubly nonnegative program is exact whatever the rays.
_EXACT_RANK = 3
#: Unit rays whose product is this close to one are the same.
_SAME_RAY = 1e-9
_SHAKES = (0.0, 1e-8, 1e-7, 1e-6)


class Pieces:
    """The cells, each with its simplicial pieces where that makes the program exact.

    Parameters
    ----------
    problem : TrainingProblem
        What is trained.
    source : CellSource
        Where the cells are from.
    """

    def __init__(self, problem: TrainingProblem, source: CellSource) -> None:
        self.problem, self.source = problem, source
        scaled = problem.scaled
        #: From the coordinates of the cells to scaled ones.
        self.rotation = scaled.basis.T @ source.basis

    def some_rays(self, rng: np.random.Generator, count: int) -> Array:
        """Return some rays (k, r) of cells, scaled coordinates."""
        return self.source.some_rays(rng, count) @ self.rotation.T

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
            found[missing] = self.source.find(reduced[missing] + size * noise)
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

    def _rays_at(self, cell: int, u: Array) -> tuple[int, ...]:
        """Return the rays of the cell, by their positions, of the piece u is in."""
        rays = self.source.rays(cell)
        if len(rays) <= _EXACT_ORDER or rays.shape[1] <= _EXACT_RANK:
            return tuple(range(len(rays)))
        normals = self.source.facet_normals(cell)
        return simplex_at(rays.T, normals, u @ self.rotation)

    def points(self, cells: list[int]) -> Array:
        """Return a point (k, r) inside of each cell, scaled coordinates."""
        if not cells:
            return np.zeros((0, self.problem.rank))
        distinct, place = np.unique(cells, return_inverse=True)
        points = self.source.subset(distinct).interior_points[place.reshape(-1)]
        return np.asarray(points @ self.rotation.T)

    def positions(self, cell: int, rays: Array) -> tuple[int, ...]:
        """Return which rays of a cell some vectors (m, r) are, scaled coordinates.

        Raises
        ------
        ValueError
            One of them is none.
        """
        if cell < 0:
            raise ValueError("no cell at one of the points")
        cosines = (rays @ self.rotation) @ self.source.rays(cell).T
        if not (np.abs(cosines.max(axis=1) - 1.0) <= _SAME_RAY).all():
            raise ValueError("rays that are none of their cell")
        return tuple(cosines.argmax(axis=1).tolist())

    def piece(self, cell: int, rays: tuple[int, ...]) -> Piece:
        """Return a piece by its key: a cell, and positions among its rays."""
        known = self.source.rays(cell)
        R = self.rotation @ known[list(rays)].T
        return Piece((cell, rays), R, len(rays) == len(known))

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
        c = self.problem.n_outputs
        moments = [
            Moment(
                A=matrix[:-c, :-c],
                W=matrix[:-c, -c:],
                R=piece.R,
                facet_normals=partial(self._facet_normals, piece),
                is_network=False,
            )
            for piece, matrix in zip(
                program.pieces.values(), answer.moments, strict=True
            )
        ]
        return network_of_neurons(self.problem, factor_moments(moments), answer.linear)

    def _facet_normals(self, piece: Piece) -> Array:
        if piece.is_cell:
            return self.source.facet_normals(piece.key[0]) @ self.rotation.T
        return facets_of_simplex(piece.R)
