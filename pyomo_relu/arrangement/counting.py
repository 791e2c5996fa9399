"""How many cells an arrangement has, before any cell is built.

N hyperplanes through the origin of R^r in general position cut it into

    2 * sum_{k < r} C(N - 1, k)

cells (Schlaefli; Cover 1965), and every other position has fewer. The same perturbation
argument bounds the pairs (cell, ray of the cell): a vertex on exactly r - 1 hyperplanes
touches 2^(r-1) cells, and there are C(N, r-1) such vertices up to sign.
"""

from __future__ import annotations

from math import comb

__all__ = ["count_cells_general_position", "count_incidences_general_position"]


def count_cells_general_position(n_classes: int, rank: int) -> int:
    """Return the number of cells of hyperplanes in general position.

    Parameters
    ----------
    n_classes : int
        Number N of distinct hyperplanes through the origin.
    rank : int
        Dimension r that their normals span, 1 <= r <= N.

    Returns
    -------
    int
        ``2 * sum(comb(N - 1, k) for k in range(r))``: exact in general position, an
        upper bound in any other.

    Examples
    --------
    >>> count_cells_general_position(75, 4)
    135200
    """
    return 2 * sum(comb(n_classes - 1, k) for k in range(rank))


def count_incidences_general_position(n_classes: int, rank: int) -> int:
    """Return the number of pairs (cell, ray of the cell) in general position.

    Parameters
    ----------
    n_classes : int
        Number N of distinct hyperplanes through the origin.
    rank : int
        Dimension r that their normals span, 1 <= r <= N.

    Returns
    -------
    int
        ``2^r * comb(N, r - 1)``: exact in general position, an upper bound in any
        other.

    Examples
    --------
    Three lines in the plane: six cells with two rays each.

    >>> count_incidences_general_position(3, 2)
    12
    """
    return 2**rank * comb(n_classes, rank - 1)
