"""Classify a three-armed spiral with a globally optimal ReLU network.

The data of arXiv:2012.13329: 20 points an arm, seeded. The first point of the first
arm is the origin, a zero row that no network without biases can move.

Run it with::

    python examples/spiral.py
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from pyomo_relu import train

Array = np.ndarray[Any, np.dtype[np.float64]]


def make_spiral(
    points: int = 20, arms: int = 3, noise: float = 0.2, seed: int = 0
) -> tuple[Array, Array]:
    """Return samples (points * arms, 2) and one-hot labels (points * arms, arms)."""
    rng = np.random.default_rng(seed)
    radius = np.linspace(0.0, 1.0, points)
    samples = []
    for arm in range(arms):
        angle = np.linspace(4.0 * arm, 4.0 * (arm + 1), points)
        angle = angle + noise * rng.normal(size=points)
        samples.append(
            np.column_stack([np.sin(angle), np.cos(angle)]) * radius[:, None]
        )
    X = np.vstack(samples)
    # Every arm starts at the origin; only the first keeps its point there.
    for arm in range(1, arms):
        X[arm * points] = 0.5 * X[arm * points + 1]
    return X, np.repeat(np.eye(arms), points, axis=0)


def main() -> None:
    """Train at two weight decays and print networks and certificates."""
    X, Y = make_spiral()
    for beta in (0.1, 0.01):
        begin = time.perf_counter()
        result = train(X, Y, beta, gap=1e-8)
        seconds = time.perf_counter() - begin
        correct = (result.network.predict(X).argmax(axis=1) == Y.argmax(axis=1)).mean()
        print(f"beta = {beta}, {seconds:.2f} s, {correct:.0%} of the samples right")
        print(f"{result}\n")


if __name__ == "__main__":
    main()
