r"""The second-order cone, and the rotated one.

.. math::
    L^k &= \{s : |(s_1, ..., s_{k-1})| \le s_0\} \\
    L_r^k &= \{s : |(s_2, ..., s_{k-1})|^2 \le 2 s_0 s_1, \; s_0, s_1 \ge 0\}

Both are their own dual cones. The orthonormal map

.. math:: s \mapsto ((s_0 + s_1)/\sqrt 2, (s_0 - s_1)/\sqrt 2, s_2, ..., s_{k-1})

is its own inverse and takes the second to the first (MOSEK Modeling Cookbook, section
3.1).

Other than a matrix cone, a member *is* plain Pyomo constraints, the quadratic row and
the signs: whoever takes quadratic constraints takes it, and whoever does not, stops on
the quadratic row by itself. Conic solvers take the vector in place of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr.numeric_expr import PowExpression, SumExpression
from pyomo.core.expr.relational_expr import InequalityExpression

from pyomo_relu.cones.component import ConeComponent, ScalarConeMixin
from pyomo_relu.cones.entries import VectorContent
from pyomo_relu.cones.vector import CONSTANT_TOLERANCE, VectorConeData
from pyomo_relu.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "IndexedSecondOrderCone",
    "ScalarSecondOrderCone",
    "SecondOrderCone",
    "SecondOrderConeData",
    "upright",
]

#: Names of the sign rows.
_SIGNS = ("first_nonnegative", "second_nonnegative")


def upright(vectors: Array) -> Array:
    """Take vectors of the rotated cone to the upright one, or back.

    Parameters
    ----------
    vectors : (k, ...) float array
        Vectors along the first axis.

    Returns
    -------
    (k, ...) array
        ``((s_0 + s_1) / sqrt(2), (s_0 - s_1) / sqrt(2), s_2, ...)``.

    Examples
    --------
    >>> import numpy as np
    >>> upright(np.array([2.0, 2.0, 1.0])).round(6).tolist()
    [2.828427, 0.0, 1.0]
    """
    turned = vectors.copy()
    turned[0] = (vectors[0] + vectors[1]) / np.sqrt(2.0)
    turned[1] = (vectors[0] - vectors[1]) / np.sqrt(2.0)
    return turned


class SecondOrderConeData(VectorConeData):
    """One vector in one second-order cone.

    Attributes
    ----------
    quadratic : Constraint
        The quadratic row.
    first_nonnegative, second_nonnegative : Constraint
        The sign of entry 0 and, in a rotated cone, of entry 1. A row of numbers alone
        is left out.
    """

    kind = "second-order"
    options: ClassVar[tuple[str, ...]] = ("vector", "rotated")
    common: ClassVar[tuple[str, ...]] = ("rotated",)

    def check_length(self, length: int, *, rotated: bool) -> None:
        """Refuse a vector of fewer than two entries, rotated three.

        Raises
        ------
        InputError
            It is too short.
        """
        least = 3 if rotated else 2
        if length < least:
            raise InputError(
                f"the vector has {length} entries; a "
                f"{'rotated ' if rotated else ''}second-order cone takes at least "
                f"{least}. For a sign alone use a Constraint or a bound."
            )

    def rows_of(self, content: VectorContent) -> dict[str, Any]:
        """Return the quadratic row and the signs, numbers checked.

        Raises
        ------
        InputError
            Constant entries put the vector outside, whatever the variables are.
        """
        entries, rotated = content
        signed = 2 if rotated else 1
        varies = [entry.__class__ not in native_numeric_types for entry in entries]
        if not all(varies[:signed]):
            self._refuse_outside(signed)
        rows = {
            name: InequalityExpression((0, entry), False)
            for name, entry, has_row in zip(
                _SIGNS[:signed], entries, varies, strict=False
            )
            if has_row
        }
        if any(varies):
            squares = [_square(entry) for entry in entries[signed:]]
            last = -2 * entries[0] * entries[1] if rotated else -_square(entries[0])
            body = SumExpression([*squares, last])
            rows["quadratic"] = InequalityExpression((body, 0), False)
        return rows

    def _refuse_outside(self, signed: int) -> None:
        """Refuse numbers that no value of the variables puts into the cone."""
        entries = self.vector
        numbers = [e for e in entries if e.__class__ in native_numeric_types]
        tolerance = CONSTANT_TOLERANCE * (1.0 + max(map(abs, numbers)))
        worst = min(e for e in entries[:signed] if e.__class__ in native_numeric_types)
        if len(numbers) == len(entries):
            worst = min(worst, self.margin())
        if worst < -tolerance:
            raise self._outside()

    @property
    def rotated(self) -> bool:
        """Whether the cone is the rotated one."""
        return self.content.rotated

    def margin(self) -> float:
        """Return the membership margin at the current values: negative is outside.

        Returns
        -------
        float
            ``s_0 - |(s_1, ..., s_{k-1})|``, of a rotated cone in the coordinates that
            make it an upright one.

        Raises
        ------
        ValueError
            A variable has no value.
        InputError
            As for :meth:`numeric`.
        """
        s = upright(self.numeric()) if self.rotated else self.numeric()
        return float(s[0] - np.linalg.norm(s[1:]))


def _square(entry: Any) -> Any:
    if entry.__class__ in native_numeric_types or not entry.is_potentially_variable():
        return entry**2
    return PowExpression((entry, 2))


class SecondOrderCone(ConeComponent):
    r"""A vector in the second-order cone, or in the rotated one.

    ``|(s_1, ..., s_{k-1})| <= s_0``; rotated ``|(s_2, ..., s_{k-1})|^2 <= 2 s_0 s_1``
    with ``s_0 >= 0`` and ``s_1 >= 0``.

    Parameters
    ----------
    *args : vector, or index sets
        The vector of a scalar cone: a list or array of k entries, or an indexed Pyomo
        component or mapping, in the order of its index. Entries are variables, affine
        expressions, parameters or numbers. k is at least 2, rotated at least 3. With a
        `rule`: the index sets.
    rule : callable, optional
        ``rule(block, *index)`` returns the vector of one member, or a dict with the
        key ``vector`` and perhaps ``rotated``.
    rotated : bool
        Whether the cone is the rotated one.
    **kwds
        `name` and `doc`, as for any component.

    Raises
    ------
    InputError, InputTypeError
        The vector is too short, not affine or not finite, or its constant entries put
        it outside of the cone.

    See Also
    --------
    PSDCone

    Notes
    -----
    Each member is a block with the constraints ``quadratic``, ``first_nonnegative``
    and, if rotated, ``second_nonnegative``: solvers and writers for convex quadratic
    constraints take it as it stands, and so do nonlinear ones. Clarabel takes the
    vector.

    Examples
    --------
    The point of a line next to the origin:

    >>> from pyomo.environ import (
    ...     ConcreteModel, Constraint, Objective, SolverFactory, Var
    ... )
    >>> from pyomo_relu.cones import SecondOrderCone
    >>> m = ConcreteModel()
    >>> m.t, m.x, m.y = Var(), Var(), Var()
    >>> m.line = Constraint(expr=m.x + 2 * m.y == 5)
    >>> m.K = SecondOrderCone([m.t, m.x, m.y])
    >>> m.o = Objective(expr=m.t)
    >>> results = SolverFactory("clarabel").solve(m)
    >>> print(f"{m.x.value:.4f} {m.y.value:.4f}")
    1.0000 2.0000
    >>> m.K.pprint()
    K : Size=1, Index=None, Active=True
        2 Constraint Declarations
            first_nonnegative : Size=1, Index=None, Active=True
                Key  : Lower : Body : Upper : Active
                None :   0.0 :    t :  +Inf :   True
            quadratic : Size=1, Index=None, Active=True
                Key  : Lower : Body               : Upper : Active
                None :  -Inf : x**2 + y**2 - t**2 :   0.0 :   True
    <BLANKLINE>
        2 Declarations: first_nonnegative quadratic
    """

    _ComponentDataClass = SecondOrderConeData

    @classmethod
    def from_vectors(
        cls,
        vectors: Mapping[Any, Sequence[Any]],
        *index: Any,
        rotated: bool = False,
    ) -> Any:
        """Return a component of vectors that are known to be affine and finite.

        Parameters
        ----------
        vectors : mapping
            Entries of each member; the key of a scalar cone is None.
        *index : index sets
            Those of an indexed component.
        rotated : bool
            Whether the cones are rotated ones.

        Examples
        --------
        >>> from pyomo.environ import ConcreteModel, Var
        >>> from pyomo_relu.cones import SecondOrderCone
        >>> m = ConcreteModel()
        >>> m.x = Var([0, 1, 2], initialize=1.0)
        >>> vectors = {i: (m.x[i], 2.0, m.x[2]) for i in (0, 1)}
        >>> m.K = SecondOrderCone.from_vectors(vectors, [0, 1], rotated=True)
        >>> print(f"{m.K[0].margin():.4f}")
        0.8966
        """
        return cls.from_contents(
            {
                key: VectorContent(tuple(entries), rotated)
                for key, entries in vectors.items()
            },
            *index,
        )


class ScalarSecondOrderCone(ScalarConeMixin, SecondOrderConeData, SecondOrderCone):
    """A single vector in a second-order cone."""


class IndexedSecondOrderCone(SecondOrderCone):
    """Several vectors in second-order cones."""


SecondOrderCone._scalar = ScalarSecondOrderCone
SecondOrderCone._indexed = IndexedSecondOrderCone
