r"""A matrix and others in its place: in other coordinates, or as a sum.

.. math:: M = \sum_T \begin{bmatrix} P_T & \\ & I \end{bmatrix} M_T
          \begin{bmatrix} P_T & \\ & I \end{bmatrix}^T
          \qquad\text{and the mirror}\qquad
          M_T = \begin{bmatrix} P_T & \\ & I \end{bmatrix}^T M
          \begin{bmatrix} P_T & \\ & I \end{bmatrix}

The first needs new variables and rows that link them to M; the second is written into
the entries of the new cones.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate, chain
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.environ import Constraint, Var

from pyomo_relu.cones import Cone, ConeData
from pyomo_relu.cones.entries import ConeContent
from pyomo_relu.tiers.affine import AffineEntries, congruence, triangle_places

Array = np.ndarray[Any, np.dtype[np.float64]]
#: Each cone with the matrices P_T (m, k_T) of its new coordinates.
Parts = list[tuple[ConeData, list[Array]]]

__all__ = [
    "entries_of",
    "link",
    "member_index",
    "split_triangles",
    "write_congruent",
    "write_linked",
]


def write_linked(block: Any, parts: Parts, kind: type[Cone]) -> list[list[Any]]:
    """Fill a block with new matrices, their cones, and the rows that link them.

    Parameters
    ----------
    block : Block
        Empty; gets the components ``moment``, ``cone`` and ``linking``.
    parts : list of (cone data, list of (m, k_T) arrays)
        Each cone with its matrices P_T.
    kind : cone component class
        In which cones the new matrices are.

    Returns
    -------
    list of lists of cone data
        The new cones of each cone, with ``R P_T`` for rays.
    """
    block.moment = Var(
        [
            (*member_index(cone), t, p, q)
            for cone, cover in parts
            for t, P in enumerate(cover)
            for p, q in zip(
                *(place.tolist() for place in triangle_places(P.shape[1] + cone.free)),
                strict=True,
            )
        ]
    )
    weights = sp.block_diag(
        [
            np.hstack([congruence(P.T, cone.free) for P in cover])
            for cone, cover in parts
        ],
        format="csr",
    )
    variables = list(block.moment.values())
    link(block, [cone for cone, _ in parts], weights, variables)
    return _add_cones(block, parts, kind, variables)


def write_congruent(block: Any, parts: Parts, kind: type[Cone]) -> list[list[Any]]:
    """Fill a block with the cones of the matrices in new coordinates.

    Parameters
    ----------
    block : Block
        Empty; gets the component ``cone``.
    parts : list of (cone data, list of (m, k_T) arrays)
        Each cone with its matrices P_T.
    kind : cone component class
        In which cones the matrices ``diag(P_T, I)^T M diag(P_T, I)`` are.

    Returns
    -------
    list of lists of cone data
        The new cones of each cone, with ``R P_T`` for rays.
    """
    weights = sp.block_diag(
        [np.vstack([congruence(P, cone.free) for P in cover]) for cone, cover in parts],
        format="csr",
    )
    entries = entries_of(cone for cone, _ in parts).map(weights)
    return _add_cones(block, parts, kind, entries.expressions())


def _add_cones(
    block: Any, parts: Parts, kind: type[Cone], entries: list[Any]
) -> list[list[Any]]:
    """Add the cones of matrices whose triangles stand in one list."""
    orders = [P.shape[1] + cone.free for cone, cover in parts for P in cover]
    triangles = iter(split_triangles(entries, orders))
    contents = {}
    for cone, cover in parts:
        owner = member_index(cone)
        for t, P in enumerate(cover):
            rays = P.copy() if cone.rays is None else cone.rays @ P
            rays.flags.writeable = False
            contents[(*owner, t) if owner else t] = ConeContent(
                next(triangles), P.shape[1] + cone.free, cone.free, None, rays
            )
    block.cone = kind.from_contents(contents, list(contents))
    members = iter(block.cone.values())
    return [[next(members) for _ in cover] for _, cover in parts]


def link(block: Any, cones: list[ConeData], weights: Any, variables: list[Any]) -> None:
    """Add the rows ``weights @ variables == upper triangles`` to a block.

    Parameters
    ----------
    block : Block
        Gets the component ``linking``, indexed by the member, the row and the column
        of its matrix.
    cones : list of cone data
        Whose upper triangles follow one another on the right.
    weights : (t, v) array or sparse array
        The left-hand sides.
    variables : list of v variables
        None of which is in the cones' matrices.
    """
    # Unscaled: in a narrow cone the entries of M are far larger than those that they
    # are made of; a row divided by its largest weight would leave them imprecise.
    entries = entries_of(cones)
    negative = -sp.eye_array(len(entries.constant))
    rows = entries.map(negative).plus(weights, variables).expressions()
    places = [
        (*member_index(cone), a, b)
        for cone in cones
        for a, b in zip(
            *(place.tolist() for place in triangle_places(cone.order)), strict=True
        )
    ]
    block.linking = Constraint(places)
    for place, body in zip(places, rows, strict=True):
        if isinstance(body, float):
            if body == 0.0:
                continue
            body = LinearExpression(constant=body, linear_coefs=[], linear_vars=[])
        block.linking[place] = (0.0, body, 0.0)


def entries_of(cones: Iterable[ConeData]) -> AffineEntries:
    """Return the upper triangles of some cones, one after another.

    Parameters
    ----------
    cones : iterable of cone data
        Any.
    """
    return AffineEntries.read(
        list(chain.from_iterable(cone.upper_triangle for cone in cones))
    )


def split_triangles(entries: list[Any], orders: Iterable[int]) -> list[tuple[Any, ...]]:
    """Cut a list of entries into upper triangles that follow one another.

    Parameters
    ----------
    entries : list
        All of them.
    orders : iterable of int
        Number of rows of each matrix.

    Examples
    --------
    >>> split_triangles([1, 2, 3, 4], [1, 2])
    [(1,), (2, 3, 4)]
    """
    ends = list(accumulate(k * (k + 1) // 2 for k in orders))
    return [tuple(entries[a:b]) for a, b in zip([0, *ends], ends, strict=False)]


def member_index(cone: ConeData) -> tuple[Any, ...]:
    """Return the index of a member of a component as a tuple, empty for a scalar.

    Parameters
    ----------
    cone : cone data
        Any.
    """
    index = cone.index()
    if index is None:
        return ()
    return index if isinstance(index, tuple) else (index,)
