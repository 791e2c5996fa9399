r"""Rows that write one matrix as a sum of others in other coordinates.

.. math:: M = \sum_T \begin{bmatrix} P_T & \\ & I \end{bmatrix} M_T
          \begin{bmatrix} P_T & \\ & I \end{bmatrix}^T
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.environ import Constraint, Var

from pyomo_relu.cones import Cone, ConeData
from pyomo_relu.cones.entries import ConeContent

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["write_linked"]


def write_linked(
    block: Any, parts: list[tuple[ConeData, list[Array]]], kind: type[Cone]
) -> list[list[Any]]:
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
    owners = [_as_tuple(cone) for cone, _ in parts]
    orders = [[P.shape[1] + cone.free for P in cover] for cone, cover in parts]
    block.moment = Var(
        [
            (*owner, t, p, q)
            for owner, sizes in zip(owners, orders, strict=True)
            for t, k in enumerate(sizes)
            for p in range(k)
            for q in range(p, k)
        ]
    )
    variables = iter(block.moment.values())
    triangles = [
        [tuple(next(variables) for _ in range(k * (k + 1) // 2)) for k in sizes]
        for sizes in orders
    ]
    contents = {}
    for owner, (cone, cover), entries in zip(owners, parts, triangles, strict=True):
        for t, P in enumerate(cover):
            rays = P if cone.rays is None else cone.rays @ P
            rays.flags.writeable = False
            index = (*owner, t) if owner else t
            contents[index] = ConeContent(
                entries[t], P.shape[1] + cone.free, cone.free, None, rays
            )
    block.cone = kind.from_contents(contents, list(contents))
    block.linking = Constraint(
        [
            (*owner, a, b)
            for owner, (cone, _) in zip(owners, parts, strict=True)
            for a in range(cone.order)
            for b in range(a, cone.order)
        ]
    )
    linking = block.linking
    for owner, (cone, cover), entries in zip(owners, parts, triangles, strict=True):
        flat = [variable for triangle in entries for variable in triangle]
        weights = np.hstack([_lift(P, cone.free) for P in cover])
        rows, columns = np.triu_indices(cone.order)
        for row, a, b, entry in zip(
            weights, rows.tolist(), columns.tolist(), cone.upper_triangle, strict=True
        ):
            support = np.flatnonzero(row)
            place = (*owner, a, b)
            linking[place] = _row(
                row[support].tolist(), [flat[i] for i in support], entry
            )
    members = iter(block.cone.values())
    return [[next(members) for _ in cover] for _, cover in parts]


def _as_tuple(cone: ConeData) -> tuple[Any, ...]:
    index = cone.index()
    if index is None:
        return ()
    return index if isinstance(index, tuple) else (index,)


def _lift(P: Array, free: int) -> Array:
    """Return ``M_T -> diag(P, I) M_T diag(P, I)^T`` as a matrix on upper triangles."""
    m, k = P.shape
    Q = np.zeros((m + free, k + free))
    Q[:m, :k] = P
    Q[m:, k:] = np.eye(free)
    rows, columns = np.triu_indices(m + free)
    p, q = np.triu_indices(k + free)
    weights = Q[rows][:, p] * Q[columns][:, q]
    mirror = Q[rows][:, q] * Q[columns][:, p]
    return weights + np.where(p == q, 0.0, mirror)


def _row(weights: list[float], variables: list[Any], entry: Any) -> Any:
    """Return the constraint ``weights . variables == entry``, its largest weight 1."""
    scale = 1.0 / max(map(abs, weights), default=1.0)
    weights = [scale * weight for weight in weights]
    if type(entry) in native_numeric_types:
        if not variables and entry == 0:
            return Constraint.Skip
        body = LinearExpression(linear_coefs=weights, linear_vars=variables)
        return (body, scale * entry)
    if entry.is_variable_type():
        body = LinearExpression(
            linear_coefs=[*weights, -scale], linear_vars=[*variables, entry]
        )
        return (body, 0.0)
    body = LinearExpression(linear_coefs=weights, linear_vars=variables)
    return (body - scale * entry, 0.0)
