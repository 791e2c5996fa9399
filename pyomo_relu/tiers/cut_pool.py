"""Rows that come and go while a model is solved again and again."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.core.expr.numvalue import value

from pyomo_relu.tiers.affine import AffineEntries

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["CutPool"]

#: A row leaves when it has been slack in so many rounds on end. With one round only,
#: nearly twice as many are needed; rows that never leave cost more time a round.
PATIENCE = 5
#: How far from its bound a row counts as slack.
_SLACK = 1e-6


class CutPool:
    """Rows ``weights @ entries >= lower`` of one constraint component.

    Parameters
    ----------
    rows : Constraint
        Indexed by any numbers, empty.
    entries : AffineEntries
        t of them.
    drops : bool
        Whether rows leave again: not where the model has integer variables, where a
        row that is slack at an optimum may be needed all the same.

    Attributes
    ----------
    added : int
        How many rows there have been.
    """

    def __init__(self, rows: Any, entries: AffineEntries, drops: bool = True) -> None:
        self._rows = rows
        self._drops = drops
        self._entries = entries
        self._keys: list[int] = []
        self._weights = sp.csr_array((0, len(entries.constant)))
        self._lower = np.zeros(0)
        self._idle = np.zeros(0, dtype=int)
        self.added = 0

    def __len__(self) -> int:
        return len(self._keys)

    def values(self) -> Array:
        """Return the (t,) present values of the entries."""
        atoms = np.array([value(atom) for atom in self._entries.atoms], dtype=float)
        return self._entries.constant + self._entries.matrix @ atoms

    def add(self, weights: Any, lower: Any = 0.0) -> None:
        """Add rows.

        Parameters
        ----------
        weights : (s, t) array or sparse array
            Their coefficients.
        lower : float or (s,) array
            Their bounds.
        """
        weights = sp.csr_array(weights)
        count = weights.shape[0]
        bounds = np.broadcast_to(np.asarray(lower, dtype=float), (count,))
        keys = list(range(self.added, self.added + count))
        bodies = self._entries.map(weights).expressions()
        for key, bound, body in zip(keys, bounds.tolist(), bodies, strict=True):
            if type(body) in native_numeric_types:
                # A matrix of numbers: of an expression the solver says what it is.
                body = LinearExpression(constant=body)
            self._rows[key] = (bound, body, None)
        self._keys += keys
        self._weights = sp.csr_array(sp.vstack([self._weights, weights]))
        self._lower = np.concatenate([self._lower, bounds])
        self._idle = np.concatenate([self._idle, np.zeros(count, dtype=int)])
        self.added += count

    def violation(self, values: Array) -> float:
        """Return by how much the worst row is violated, zero where none is.

        Parameters
        ----------
        values : (t,) array
            Of the entries.
        """
        return float(np.max(self._lower - self._weights @ values, initial=0.0))

    def drop_idle(self, values: Array) -> None:
        """Count another round, and drop rows that have been slack for long.

        An optimum at which a row of a convex program is slack is an optimum without
        that row as well: the bound does not fall.

        Parameters
        ----------
        values : (t,) array
            Of the entries at an optimum.
        """
        slack = self._weights @ values - self._lower > _SLACK
        self._idle = np.where(slack, self._idle + 1, 0)
        self._keep((self._idle < PATIENCE) | (not self._drops))

    def members(self) -> list[Any]:
        """Return the constraint data of the rows that are left."""
        return [self._rows[key] for key in self._keys]

    def drop_light(self, multipliers: Array, weight: float) -> None:
        """Drop the rows that hardly carry the optimum.

        The bound falls by no more than the multipliers of the rows that leave, times
        what an optimum without them violates.

        Parameters
        ----------
        multipliers : (rows,) array
            Of :meth:`members`.
        weight : float
            The smallest that stays.
        """
        self._keep((np.abs(multipliers) >= weight) | (not self._drops))

    def _keep(self, kept: Any) -> None:
        if kept.all():
            return
        for position in np.flatnonzero(~kept):
            del self._rows[self._keys[position]]
        positions = np.flatnonzero(kept)
        self._keys = [self._keys[position] for position in positions]
        self._weights = self._weights[positions]
        self._lower, self._idle = self._lower[positions], self._idle[positions]
