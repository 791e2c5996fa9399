"""What a run has found so far, in a file from which another run goes on.

Nothing that is claimed is read from there: the network is evaluated and the dual point
certified again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from pyomo_relu.errors import InputError
from pyomo_relu.files import check_writable, path_text, write_atomically
from pyomo_relu.generation.restricted import Piece
from pyomo_relu.history import TrainingRound
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

if TYPE_CHECKING:
    from pyomo_relu.generation.loop import Generation

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["Checkpoint"]

_LAYOUT = 2
#: No run has more.
_MOST_ROUNDS = 1_000_000


class Checkpoint:
    """A file that is written after every round.

    Parameters
    ----------
    path : path
        Where; by convention it ends in ``.npz``. If it exists it must be of the same
        problem, and the run goes on from there.

    Raises
    ------
    InputTypeError, OutputError
        It is no path, or cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_text(path)
        check_writable(self.path)

    def save(self, run: Generation, Z: Array, active: Array, number: int) -> None:
        """Write down the state after a round.

        Parameters
        ----------
        run : Generation
            The run.
        Z : (n, c) array
            Dual point of its last solution, scaled.
        active : (m, r) array
            Directions of the neurons of its last solution.
        number : int
            Rounds so far.
        """
        network = run.network
        keys, pieces = list(run.program.pieces), run.program.pieces.values()
        state = {
            "layout": _LAYOUT,
            "problem": _digest(run.problem),
            "round": number,
            "rng": run.rng.bit_generator.state,
            "history": [dataclasses.asdict(row) for row in run.history],
        }
        arrays: dict[str, Any] = {
            "first": network.first,
            "second": network.second,
            "Z": Z,
            "active": active,
            "points": run.pieces.points([cell for cell, _ in keys]),
            "counts": np.array([len(rays) for _, rays in keys], dtype=np.int64),
            "rays": np.concatenate(
                [np.zeros((0, run.problem.rank)), *(piece.R.T for piece in pieces)]
            ),
            "state": np.array(json.dumps(state)),
        }
        for name in ("bias", "skip"):
            if getattr(network, name) is not None:
                arrays[name] = getattr(network, name)
        if run.certificate is not None:
            arrays["dual"] = run.certificate.dual

        def write(stream: BinaryIO) -> None:
            np.savez(stream, **arrays)

        write_atomically(self.path, write)

    def load(self, run: Generation) -> tuple[Array, Array, int] | None:
        """Bring a run to the state that was written down.

        Parameters
        ----------
        run : Generation
            One that has not begun.

        Returns
        -------
        tuple of (n, c) array, (m, r) array and int, or None
            The dual point, the directions and the rounds so far; None where there is no
            file.

        Raises
        ------
        InputError
            The file is damaged, or of another problem.
        """
        if not os.path.exists(self.path):
            return None
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            state = json.loads(arrays["state"].item())
            if state["layout"] != _LAYOUT:
                raise ValueError(f"layout {state['layout']!r}")
            if state["problem"] != _digest(run.problem):
                raise InputError(
                    f"the checkpoint {self.path!r} is of another problem; give another "
                    "path, or remove it."
                )
            network = ReLUNetwork(
                arrays["first"],
                arrays["second"],
                activation=run.problem.activation,
                bias=arrays.get("bias"),
                skip=arrays.get("skip"),
            )
            history = [TrainingRound(**row) for row in state["history"]]
            pieces = self._pieces(run, arrays)
            Z, active, number = arrays["Z"], arrays["active"], int(state["round"])
            if active.dtype != np.float64 or not np.isfinite(active).all():
                raise ValueError("directions that are no numbers")
            if active.ndim != 2 or active.shape[1] != run.problem.rank:
                raise ValueError(f"directions of shape {active.shape}")
            if Z.shape != run.problem.Y.shape or not np.isfinite(Z).all():
                raise ValueError(f"a dual point of shape {Z.shape}")
            network.check_fits(run.problem)
            if not 0 <= number <= _MOST_ROUNDS:
                raise ValueError(f"round {number}")
            dual = arrays.get("dual")
            if dual is not None and (
                dual.shape != Z.shape or not np.isfinite(dual).all()
            ):
                raise ValueError(f"a proven dual point of shape {dual.shape}")
            with np.errstate(over="ignore", invalid="ignore"):
                overflows = not np.isfinite(network.objective(run.problem))
            if overflows:
                raise ValueError("a network whose objective overflows")
            run.program.add(pieces)
            run.rng.bit_generator.state = state["rng"]
        except (
            *(EOFError, OSError, KeyError, OverflowError, TypeError, ValueError),
            zipfile.BadZipFile,
        ) as error:
            if isinstance(error, InputError) and "another problem" in str(error):
                raise
            raise InputError(
                f"the checkpoint {self.path!r} cannot be read ({error}); remove it to "
                "begin anew."
            ) from error
        run.network = network
        run.history = history
        if dual is not None:
            run.prove(dual)
        return Z, active, number

    def _pieces(self, run: Generation, arrays: dict[str, Array]) -> list[Piece]:
        points, rays = arrays["points"], arrays["rays"]
        if not len(points) and not len(rays):
            return []
        parts = np.split(rays, np.cumsum(arrays["counts"])[:-1].astype(int))
        if min(len(part) for part in parts) == 0 or rays.ndim != 2:
            raise ValueError("cells without rays")
        if len(points) != len(parts) or not np.isfinite(points).all():
            raise ValueError(f"{len(points)} points of {len(parts)} cells")
        cells = run.pieces.locate(points).tolist()
        return [
            run.pieces.piece(cell, run.pieces.positions(cell, part))
            for cell, part in zip(cells, parts, strict=True)
        ]


def _digest(problem: TrainingProblem) -> str:
    text = json.dumps(problem.to_dict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
