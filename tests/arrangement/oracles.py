"""Independent truths about small arrangements, in exact arithmetic or by LPs."""

from __future__ import annotations

from itertools import product
from math import gcd

import numpy as np
from scipy.optimize import linprog


def count_cells(rows: list[list[int]]) -> int:
    """Zaslavsky's count for integer rows in any position, by deletion-restriction.

    Adding the hyperplane h to an arrangement A cuts as many cells in two as A has on
    h: r(A + h) = r(A) + r(A restricted to h). Python integers, so exact.
    """
    distinct = sorted({_primitive(row) for row in rows if any(row)})
    return 1 + sum(
        count_cells(_restrict(distinct[:k], h)) for k, h in enumerate(distinct)
    )


def _primitive(row) -> tuple[int, ...]:
    divisor = gcd(*row)
    if next(v for v in row if v) < 0:
        divisor = -divisor
    return tuple(v // divisor for v in row)


def _restrict(rows, h) -> list[list[int]]:
    """Coordinates on h^T u = 0: the variable of the first nonzero is eliminated."""
    at = next(k for k, v in enumerate(h) if v)
    return [
        [
            h[at] * v - row[at] * w
            for k, (v, w) in enumerate(zip(row, h, strict=True))
            if k != at
        ]
        for row in rows
    ]


def masks_by_lp(X: np.ndarray) -> set[bytes]:
    """Every mask of strictly separated samples, one LP each; zero rows inactive."""
    moving = X.any(axis=1)
    rows = X[moving]
    d = X.shape[1]
    found = set()
    for signs in product((-1.0, 1.0), repeat=len(rows)):
        # max t subject to sign_k x_k^T u >= t, |u| <= 1
        A = np.column_stack([-np.array(signs)[:, None] * rows, np.ones(len(rows))])
        result = linprog(
            np.r_[np.zeros(d), -1.0],
            A_ub=A,
            b_ub=np.zeros(len(rows)),
            bounds=[(-1, 1)] * d + [(None, 1)],
        )
        if -result.fun > 1e-7:
            mask = np.zeros(len(X), dtype=bool)
            mask[moving] = np.array(signs) > 0
            found.add(mask.tobytes())
    return found
