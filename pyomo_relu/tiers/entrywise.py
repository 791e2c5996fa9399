"""What the tiers share that replace matrix cones by rows on their entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.environ import Constraint

from pyomo_relu.cones import ConeData, CopositiveConeData
from pyomo_relu.errors import InputError
from pyomo_relu.tiers.affine import AffineEntries, triangle_places
from pyomo_relu.tiers.linking import entries_of, member_index

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "Triangles",
    "off_diagonal",
    "pick",
    "refuse_facets",
    "write_rows",
]


class Triangles:
    """The upper triangles of some cones of one component, one after another.

    Parameters
    ----------
    cones : list of cone data
        Any.

    Attributes
    ----------
    entries : AffineEntries
        All t of them.
    row, column : (t,) int arrays
        Where each stands; the rows of all matrices are counted through.
    leading, cross : (t,) bool arrays
        Whether it stands in the leading block, that of the cone coordinates, or beside
        it in the columns of the free ones.
    index : list of t tuples
        Member of the component, row and column in its matrix.
    row_index : list of tuples
        Member and row, of all rows of all matrices.
    """

    def __init__(self, cones: list[ConeData]) -> None:
        self.entries = entries_of(cones)
        orders = [cone.order for cone in cones]
        rows, columns = zip(*map(triangle_places, orders), strict=True)
        start = np.repeat(np.cumsum([0, *orders[:-1]]), list(map(len, rows)))
        self.row = start + np.concatenate(rows)
        self.column = start + np.concatenate(columns)
        above, left = (
            np.concatenate(
                [
                    place < cone.order - cone.free
                    for cone, place in zip(cones, which, strict=True)
                ]
            )
            for which in (rows, columns)
        )
        self.leading, self.cross = left, above & ~left
        self.row_index = [
            (*member_index(cone), i) for cone in cones for i in range(cone.order)
        ]
        self.index = [
            (*self.row_index[row], j)
            for row, j in zip(
                self.row.tolist(), np.concatenate(columns).tolist(), strict=True
            )
        ]

    def __len__(self) -> int:
        return len(self.row)

    @property
    def diagonal(self) -> Any:
        """The places of the diagonal entries, in order of the rows."""
        return np.flatnonzero(self.row == self.column)

    def index_of(self, places: Any) -> list[Any]:
        """Return the indices of the entries at some places."""
        return [self.index[place] for place in places]

    def add_up(self, rows: Any) -> sp.csr_array:
        """Return the matrix that adds up, for each row of the matrices, some terms.

        Parameters
        ----------
        rows : (s,) int array
            To which row each term belongs, for example ``row[places]``.

        Returns
        -------
        (rows of all matrices, s) csr_array
        """
        shape = len(self.row_index), len(rows)
        return sp.csr_array(
            (np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=shape
        )


def off_diagonal(triangles: Triangles, entries: AffineEntries, relieved: Any) -> Any:
    """Return the places beside the diagonals of entries that can make a difference.

    Not those that are zero whatever the variables are, nor numbers of which a
    nonnegative matrix may take away all.

    Parameters
    ----------
    triangles : Triangles
        Where the entries stand.
    entries : AffineEntries
        t of them.
    relieved : (t,) bool array
        From which of the entries a nonnegative matrix may be taken.

    Returns
    -------
    (s,) int array
    """
    nonzeros = np.diff(entries.matrix.indptr)
    vanishes = (nonzeros == 0) & (
        (entries.constant == 0.0) | (relieved & (entries.constant >= 0.0))
    )
    return np.flatnonzero((triangles.row < triangles.column) & ~vanishes)


def pick(places: Any, length: int, weight: float = 1.0) -> sp.csr_array:
    """Return the (s, length) matrix that picks some entries, each times a weight.

    Parameters
    ----------
    places : (s,) int array
        Which.
    length : int
        Number of entries.
    weight : float
        The same for all.
    """
    data = np.full(len(places), weight)
    return sp.csr_array(
        (data, (np.arange(len(places)), places)), shape=(len(places), length)
    )


def write_rows(
    block: Any,
    name: str,
    index: list[Any],
    entries: AffineEntries,
    upper: float | None = None,
) -> Any:
    """Add the rows ``0 <= entry <= upper`` to a block, and return them.

    Parameters
    ----------
    block : Block
        Gets the component.
    name : str
        Of the component.
    index : list of s indices
        Of the rows.
    entries : AffineEntries
        s of them. A number that obeys needs no row.
    upper : float, optional
        Zero for equations.
    """
    rows = Constraint(index)
    block.add_component(name, rows)
    for place, body in zip(index, entries.expressions(), strict=True):
        if type(body) in native_numeric_types:
            if body == 0.0 or (body > 0.0 and upper is None):
                continue
            # Pyomo refuses a number here; of an expression the solver says that it
            # makes the model infeasible, and which row it is.
            body = LinearExpression(constant=body)
        rows[place] = (0.0, body, upper)
    return rows


def refuse_facets(cones: Iterable[ConeData], tier: str) -> None:
    """Refuse cones given by facets, for a tier that builds on rays.

    Parameters
    ----------
    cones : iterable of cone data
        Completely positive or copositive ones.
    tier : str
        Name of the transformation.

    Raises
    ------
    InputError
        One of them has facets.
    """
    for cone in cones:
        if cone.facets is not None:
            others = (
                "relu.dnn, relu.psd, relu.dd or relu.sdd"
                if isinstance(cone, CopositiveConeData)
                else "relu.dnn, relu.psd, relu.minors, relu.cuts or relu.factorized"
            )
            raise InputError(
                f"cone {cone.name!r} is given by facets; {tier} builds on its rays. "
                f"Give the cone rays=..., leave it out of targets, or use {others}, "
                "which take facets."
            )
