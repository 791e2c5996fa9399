"""What the cones of vectors share: rows that say the same in plain Pyomo.

Other than a matrix cone, a member *is* plain Pyomo constraints: whoever takes quadratic
or nonlinear constraints takes it, and whoever does not, stops on them. Conic solvers
take the vector in place of the rows as long as these are as they were built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pyomo.core.base.constraint import ScalarConstraint
from pyomo.core.expr.numvalue import value

from pyomo_relu.cones.component import MemberData
from pyomo_relu.cones.entries import VectorContent, read_vector
from pyomo_relu.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = ["CONSTANT_TOLERANCE", "VectorConeData"]

#: Numbers may miss the cone by this much, times 1 + the largest of them.
CONSTANT_TOLERANCE = 1e-8


class VectorConeData(MemberData):
    """One vector in one cone: the data of a vector cone component."""

    def read(self, source: Any, common: Mapping[str, Any]) -> VectorContent:
        """Check what a user gave for this cone, and return its content."""
        return read_vector(source, common, self)

    def check_length(self, length: int, *, rotated: bool) -> None:
        """Refuse a vector of a length that the cone does not have.

        Raises
        ------
        InputError
            It is too short or too long.
        """
        raise NotImplementedError

    def rows_of(self, content: VectorContent) -> dict[str, Any]:
        """Return name and relational expression of each row, numbers checked.

        Raises
        ------
        InputError
            Constant entries put the vector outside, whatever the variables are.
        """
        raise NotImplementedError

    def fill(self, content: VectorContent) -> None:
        """Give an empty cone its vector and its rows.

        Parameters
        ----------
        content : VectorContent
            What :func:`~pyomo_relu.cones.entries.read_vector` let through.

        Raises
        ------
        InputError
            Constant entries put the vector outside, whatever the variables are.
        """
        self._content = content
        self._built: tuple[tuple[ScalarConstraint, Any], ...] = ()
        rows = self.rows_of(content)
        self._built = tuple(
            (self._add_row(name, expression), expression)
            for name, expression in rows.items()
        )

    def _add_row(self, name: str, expression: Any) -> ScalarConstraint:
        """Add a constraint without the detour of a rule."""
        row = ScalarConstraint()
        row._data[None] = row
        row._expr = expression
        row._constructed = True
        self.add_component(name, row)
        return row

    def _outside(self) -> InputError:
        """Return the error for numbers that no value of the variables puts inside."""
        return InputError(
            f"cone {self.name!r}: the vector ({', '.join(map(str, self.vector))}) is "
            "outside of the cone whatever the variables are."
        )

    @property
    def content(self) -> VectorContent:
        """Vector and whether the cone is rotated, as one immutable tuple."""
        try:
            return self._content
        except AttributeError:
            raise InputError(
                f"cone {self.name!r} has no vector yet; construct its model first."
            ) from None

    @property
    def vector(self) -> tuple[Any, ...]:
        """The k entries."""
        return self.content.entries

    @property
    def rows(self) -> tuple[ScalarConstraint, ...]:
        """The constraints that say the same as the cone."""
        return tuple(row for row, _ in self._built)

    @property
    def is_intact(self) -> bool:
        """Whether all rows are in force and say what they said when they were built.

        Transformations deactivate rows, move them elsewhere or rewrite them; then the
        rows that are left speak for themselves, and conic solvers no longer take the
        vector in place of them.
        """
        return all(
            row._active
            and row._expr is expression
            and row._parent is not None
            and row._parent() is self
            for row, expression in self._built
        )

    def numeric(self) -> Array:
        """Return the (k,) values of the vector, each entry evaluated once.

        Raises
        ------
        ValueError
            A variable has no value.
        InputError
            The rows have been rewritten in other variables or units, so that the
            vector is no longer what they are about.
        """
        entries = self.vector
        if any(row._expr is not expression for row, expression in self._built):
            raise InputError(
                f"the rows of cone {self.name!r} have been rewritten since it was "
                "built, and no longer say what its vector does; look at the rows."
            )
        return np.array([value(entry) for entry in entries], float)
