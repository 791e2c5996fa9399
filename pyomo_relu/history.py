"""A row a round: what training has to say of its way."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TrainingRound"]


@dataclass(frozen=True)
class TrainingRound:
    """One round of :func:`pyomo_relu.train`: a solve, or without cells a descent.

    Attributes
    ----------
    tier : str
        Relaxation that was solved.
    cells : int
        Cells in the program; without one, cells that hold neurons.
    status : str
        What the solver said; the certificate does not depend on it.
    model_objective : float
        Optimal value of the relaxed program, as the solver gave it: no bound. Without
        a program, the network's.
    network_objective : float
        Best objective of a network so far.
    lower_bound : float
        Best proven lower bound so far.
    gap : float
        Relative gap between the two, infinite until something is proved.
    seconds : float
        Since the call.
    priced : int
        Cells over which the bound was proved in this round, or cones of the sphere;
        zero where pricing was heuristic.

    Examples
    --------
    >>> print(TrainingRound("dnn", 12, "solved", 2.0, 2.5, 2.25, 0.1, 3.0, priced=1234))
    network 2.5, bound 2.25, gap 1.0e-01, 12 cells active, 1,234 priced, 3.0 s
    """

    tier: str
    cells: int
    status: str
    model_objective: float
    network_objective: float
    lower_bound: float
    gap: float
    seconds: float
    priced: int = 0

    def __str__(self) -> str:
        priced = f", {self.priced:,} priced" if self.priced else ""
        return (
            f"network {self.network_objective:.8g}, bound {self.lower_bound:.8g}, gap "
            f"{self.gap:.1e}, {self.cells:,} cells active{priced}, {self.seconds:.1f} s"
        )
