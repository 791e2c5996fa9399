r"""The Frank-Wolfe algorithm of arXiv:2012.13329, as a yardstick for cell generation.

The paper minimises the loss over a ball of the gauge that the penalty is,

.. math::

    \min_f \tfrac12 |f - Y|_F^2 \quad \text{s.t.} \quad
    f \in t \, \mathrm{conv}\{(X u)_+ v^T : |u| = |v| = 1\},

by steps to the atom that minimises the linearised loss: with :math:`Z = Y - f_k`

.. math::

    u_k &\in \arg\max \{|Z^T (X u)_+| : |u| = 1\}, \quad
    v_k = Z^T (X u_k)_+ / |Z^T (X u_k)_+|, \\
    f_{k+1} &= (1 - \alpha_k) f_k + \alpha_k t (X u_k)_+ v_k^T, \quad
    \alpha_k = 2 / (2 + k), \quad f_0 = 0.

A maximiser in a cell is a generalised nonnegative principal component of
:math:`X^T D_i Z Z^T D_i X`, and the best of all cells is taken.
:math:`g_k = \langle Z, s_k - f_k \rangle`, with :math:`s_k` the atom times t, is the
Frank-Wolfe gap: the loss at :math:`f_k` exceeds the minimum over the ball by no more
(Jaggi, Revisiting Frank-Wolfe, ICML 2013).

Limits of the comparison, all in favour of Frank-Wolfe but the last two:

- The radius t is taken from an optimum that another algorithm found, so that both
  problems have one solution. Who has only beta has to search for t.
- Time ends when the objective is close to an optimum that is known; its own gap would
  end it later. The gap speaks of the ball, not of beta.
- The oracle is exact over all cells and vectorised (``best_directions``), and passes by
  cells whose bounds show that they hold no maximiser. The paper goes through the cells,
  and through the hyperplanes of each.
- Equal directions are one neuron, whose penalty is that of the sum of its outputs; the
  paper states its objective with the radius.
- No line search and no corrective or away steps: the published step only.
- Squared loss only, without sample weights or a linear term.

Run it with::

    python benchmarks/frank_wolfe.py [--beta 0.1] [--steps 3000]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from pyomo_relu import (
    Cells,
    ReLUNetwork,
    SquaredLoss,
    TrainingProblem,
    certify,
    enumerate_cells,
    train,
)
from pyomo_relu.certificates.directions import best_directions
from pyomo_relu.errors import InputError

sys.path.insert(0, str(Path(__file__).parents[1]))

from examples.spiral import make_spiral

Array = np.ndarray[Any, np.dtype[np.float64]]


class Iterate(NamedTuple):
    """A point of the algorithm, in the user's units.

    Attributes
    ----------
    objective : float
        (NN) at the network of the atoms so far.
    loss : float
        Its first part.
    gap : float
        Frank-Wolfe gap: the loss less this bounds the loss over the ball from below.
    seconds : float
        Since the call.
    """

    objective: float
    loss: float
    gap: float
    seconds: float


class FrankWolfeResult(NamedTuple):
    """Network and iterates; the first of these is zero, the last is the network's."""

    network: ReLUNetwork
    history: list[Iterate]


class Atoms:
    """The atoms of the current point: directions, and the sum of outputs of each.

    Attributes
    ----------
    gauge : float
        Sum of the norms of the outputs.
    """

    def __init__(self) -> None:
        self.gauge = 0.0
        # Outputs are kept apart from a factor that they have in common, so that a step
        # costs the same however many there are.
        self._factor = 1.0
        self._outputs: dict[bytes, Array] = {}
        self._directions: dict[bytes, Array] = {}

    def step(self, share: float, direction: Array, output: Array) -> None:
        """Move by a share to an atom; the first step moves all the way."""
        if self._outputs:
            self._factor *= 1.0 - share
            self.gauge *= 1.0 - share
        key = direction.tobytes()
        old = self._outputs.get(key, np.zeros_like(output))
        new = old + share * output / self._factor
        self.gauge += self._factor * float(np.linalg.norm(new) - np.linalg.norm(old))
        self._directions[key], self._outputs[key] = direction, new

    def network(self, problem: TrainingProblem) -> ReLUNetwork:
        """Return the network of the atoms, balanced, in the user's units."""
        scaled = problem.scaled
        if not self._outputs:
            first = np.zeros((scaled.rank, 0))
            second = np.zeros((0, problem.n_outputs))
        else:
            first = np.array(list(self._directions.values())).T
            second = self._factor * np.array(list(self._outputs.values()))
        return ReLUNetwork.of_problem(problem, *scaled.to_user(first, second)).balance()


def frank_wolfe(
    problem: TrainingProblem,
    cells: Cells,
    radius: float,
    *,
    steps: int,
    target: float = -np.inf,
) -> FrankWolfeResult:
    r"""Minimise the squared loss over networks with :math:`\sum |u_j||v_j| \le t`.

    Parameters
    ----------
    problem : TrainingProblem
        Squared loss, no sample weights, no linear term.
    cells : Cells
        All of its cells.
    radius : float
        The radius t in the user's units, for example ``network.penalty()`` of a
        balanced optimal network.
    steps : int
        Most steps.
    target : float
        End once the objective is no larger.

    Returns
    -------
    FrankWolfeResult

    Raises
    ------
    InputError
        Another loss, weights or a linear term, or a radius that is not positive.
    """
    if not isinstance(problem.loss, SquaredLoss) or problem.weight is not None:
        raise InputError(
            f"Frank-Wolfe is for the squared loss without weights; the loss is "
            f"{problem.loss.name}. Train with pyomo_relu.train instead."
        )
    if problem.skip is not None:
        raise InputError(
            "Frank-Wolfe is for networks without a linear term. Leave out `skip`."
        )
    if not 0.0 < radius < np.inf:
        raise InputError(f"radius must be positive and finite; got {radius!r}.")
    begin = time.perf_counter()
    scaled = problem.scaled
    t = radius * scaled.x_scale / scaled.y_scale
    f = np.zeros_like(scaled.Y)
    atoms = Atoms()
    history: list[Iterate] = []
    for k in range(steps + 1):
        Z = scaled.Y - f
        found = best_directions(problem, cells, Z)
        u = found.directions[found.values.argmax()]
        hidden = scaled.hidden(u[:, None])[: len(Z)]
        pulled = Z.T @ hidden[:, 0]
        v = pulled / max(float(np.linalg.norm(pulled)), 1e-300)
        atom = t * hidden * v
        loss = 0.5 * float(np.sum(Z**2))
        history.append(
            Iterate(
                objective=(loss + scaled.beta * atoms.gauge) * scaled.objective_scale,
                loss=loss * scaled.objective_scale,
                gap=float(np.sum(Z * (atom - f))) * scaled.objective_scale,
                seconds=time.perf_counter() - begin,
            )
        )
        if k == steps or history[-1].objective <= target:
            break
        share = 2.0 / (2.0 + k)
        f = (1.0 - share) * f + share * atom
        atoms.step(share, u, t * v)
    return FrankWolfeResult(atoms.network(problem), history)


def main() -> None:
    """Run on the spiral and print a row at each power of two."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beta", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=3000)
    options = parser.parse_args()

    X, Y = make_spiral()
    begin = time.perf_counter()
    optimum = train(X, Y, options.beta, gap=1e-8)
    seconds = time.perf_counter() - begin
    problem, best = optimum.problem, optimum.certificate.objective
    cells = enumerate_cells(problem)
    radius = optimum.network.balance().penalty()
    result = frank_wolfe(problem, cells, radius, steps=options.steps)
    proven = certify(problem, result.network, cells=cells)

    table = Table(
        title=f"spiral, beta {options.beta}, radius {radius:.6g}; "
        f"optimum {best:.10g} (gap {optimum.certificate.gap:.0e}) in {seconds:.2f} s"
    )
    for column in ("steps", "objective", "above optimum", "Frank-Wolfe gap", "seconds"):
        table.add_column(column, justify="right")
    last = len(result.history) - 1
    for k, iterate in enumerate(result.history):
        if k & (k - 1) and k != last:
            continue
        table.add_row(
            f"{k}",
            f"{iterate.objective:.8f}",
            f"{iterate.objective / best - 1.0:.1e}",
            f"{iterate.gap:.3g}",
            f"{iterate.seconds:.3f}",
        )
    console = Console(width=100)
    console.print(table)
    console.print(
        f"{result.network.n_neurons} neurons; certified relative gap {proven.gap:.1e}"
    )


if __name__ == "__main__":
    main()
