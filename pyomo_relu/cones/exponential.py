r"""The exponential cone.

.. math::
    K_{\exp} &= \mathrm{cl} \{(x, y, z) : y > 0, \; y \, e^{x / y} \le z\} \\
    K_{\exp}^* &= \mathrm{cl} \{(u, v, w) : u < 0, \; -u \, e^{v / u} \le e \, w\}

The closure adds the faces :math:`\{x \le 0, y = 0, z \ge 0\}` and
:math:`\{u = 0, v \ge 0, w \ge 0\}` (MOSEK Modeling Cookbook, chapter 5).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.expr import exp
from pyomo.core.expr.relational_expr import InequalityExpression

from pyomo_relu.cones.component import ConeComponent, ScalarConeMixin
from pyomo_relu.cones.entries import VectorContent
from pyomo_relu.cones.vector import CONSTANT_TOLERANCE, VectorConeData
from pyomo_relu.errors import InputError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "ExponentialCone",
    "ExponentialConeData",
    "IndexedExponentialCone",
    "ScalarExponentialCone",
    "dual_exponential_violation",
    "exponential_violation",
]


def exponential_violation(triples: Array) -> Array:
    """Bound the distance of vectors from the exponential cone from above.

    Parameters
    ----------
    triples : (k, 3) float array
        Vectors (x, y, z).

    Returns
    -------
    (k,) array
        Zero inside. Outside, the distance of the nearest of three points of the cone:
        with x lowered, with z raised, and on the face y = 0; y is made nonnegative
        first.

    Examples
    --------
    >>> import numpy as np
    >>> exponential_violation(np.array([[0.0, 1.0, 1.0], [0.0, 1.0, 0.75]])).tolist()
    [0.0, 0.25]
    """
    x, y, z = triples.T
    face = np.sqrt(np.maximum(x, 0.0) ** 2 + y**2 + np.minimum(z, 0.0) ** 2)
    inner = y > 0.0
    safe = np.where(inner, y, 1.0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        raised = np.maximum(safe * np.exp(x / safe) - z, 0.0)
        bound = np.where(z > 0.0, safe * np.log(np.maximum(z, 0.0) / safe), -np.inf)
        lowered = np.maximum(x - bound, 0.0)
    return np.where(inner, np.minimum(np.minimum(raised, lowered), face), face)


def dual_exponential_violation(triples: Array) -> Array:
    """Bound the distance of vectors from the dual exponential cone from above.

    Parameters
    ----------
    triples : (k, 3) float array
        Vectors (u, v, w).

    Returns
    -------
    (k,) array
        Zero inside; outside, the distance of the nearest of three points of the cone.

    Notes
    -----
    (u, v, w) is in the dual cone exactly when (u - v, -u, e w) is in the cone, for
    ``-u exp((u - v) / -u) = -u exp(v / u - 1)``.

    Examples
    --------
    >>> import numpy as np
    >>> dual_exponential_violation(np.array([[-1.0, 0.0, 1.0], [0.0, -1.0, 1.0]]))
    array([0., 1.])
    """
    u, v, w = triples.T
    face = np.sqrt(u**2 + np.minimum(v, 0.0) ** 2 + np.minimum(w, 0.0) ** 2)
    inner = u < 0.0
    safe = np.where(inner, -u, 1.0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        raised = np.maximum(safe * np.exp(-v / safe - 1.0) - w, 0.0)
        bound = -safe * (1.0 + np.log(np.maximum(w, 0.0) / safe))
        lifted = np.where(w > 0.0, np.maximum(bound - v, 0.0), np.inf)
    return np.where(inner, np.minimum(np.minimum(raised, lifted), face), face)


class ExponentialConeData(VectorConeData):
    """One vector in one exponential cone.

    Attributes
    ----------
    exponential : Constraint
        The row ``y exp(x / y) <= z``.
    second_nonnegative, third_nonnegative : Constraint
        The signs of y and z. A row of numbers alone is left out.
    """

    kind = "exponential"
    options: ClassVar[tuple[str, ...]] = ("vector",)

    def check_length(self, length: int, *, rotated: bool) -> None:
        """Refuse a vector that has not three entries.

        Raises
        ------
        InputError
            It has not.
        """
        if length != 3:
            raise InputError(
                f"the vector has {length} entries; an exponential cone takes three, "
                "(x, y, z) with y exp(x / y) <= z."
            )

    def rows_of(self, content: VectorContent) -> dict[str, Any]:
        """Return the exponential row and the signs, numbers checked.

        Raises
        ------
        InputError
            Constant entries put the vector outside, or y is the number zero.
        """
        x, y, z = content.entries
        varies = [e.__class__ not in native_numeric_types for e in content.entries]
        if not varies[1] and y == 0:
            raise InputError(
                f"cone {self.name!r} has the number 0 as its second entry; there the "
                "cone says x <= 0 and z >= 0: write these two constraints instead."
            )
        if (not varies[1] and y < 0) or (not varies[2] and z < -CONSTANT_TOLERANCE):
            raise self._outside()
        if not any(varies):
            if self.margin() < -CONSTANT_TOLERANCE * (1.0 + max(map(abs, (x, y, z)))):
                raise self._outside()
            return {}
        rows: dict[str, Any] = {}
        for name, entry, has_row in zip(_SIGNS, (y, z), varies[1:], strict=True):
            if has_row:
                rows[name] = InequalityExpression((0, entry), False)
        body = y * exp(x / y) - z
        rows["exponential"] = InequalityExpression((body, 0), False)
        return rows

    def margin(self) -> float:
        """Return the membership margin at the current values: negative is outside.

        Returns
        -------
        float
            ``z - y exp(x / y)`` where that is nonnegative and ``y > 0``; outside minus
            the bound of :func:`exponential_violation` on the distance, on the face
            ``y = 0`` zero.

        Raises
        ------
        ValueError
            A variable has no value.
        InputError
            As for :meth:`numeric`.
        """
        vector = self.numeric()
        violation = float(exponential_violation(vector[None])[0])
        if violation > 0.0 or vector[1] <= 0.0:
            return -violation
        with np.errstate(over="ignore"):
            inside = vector[2] - vector[1] * np.exp(vector[0] / vector[1])
        return max(float(inside), 0.0)


#: Names of the sign rows.
_SIGNS = ("second_nonnegative", "third_nonnegative")


class ExponentialCone(ConeComponent):
    r"""A vector in the exponential cone: ``y exp(x / y) <= z``, ``y >= 0``, ``z >= 0``.

    With y = 1 it is ``exp(x) <= z``; a relative entropy ``a log(a / b) <= t`` is the
    vector (-t, a, b).

    Parameters
    ----------
    *args : vector, or index sets
        The vector (x, y, z) of a scalar cone: a list or array, or an indexed Pyomo
        component or mapping, in the order of its index. Entries are variables, affine
        expressions, parameters or numbers. With a `rule`: the index sets.
    rule : callable, optional
        ``rule(block, *index)`` returns the vector of one member, or a dict with the
        key ``vector``.
    **kwds
        `name` and `doc`, as for any component.

    Raises
    ------
    InputError, InputTypeError
        The vector has not three affine and finite entries, or its constant entries
        put it outside of the cone.

    See Also
    --------
    SecondOrderCone

    Notes
    -----
    Each member is a block with the constraints ``exponential``,
    ``second_nonnegative`` and ``third_nonnegative``: nonlinear solvers and writers
    take it as it stands, away from y = 0. Clarabel and SCS take the vector.

    Examples
    --------
    The smallest softmax bound: ``log(exp(1) + exp(2))`` is 2.313262.

    >>> from pyomo.environ import (
    ...     ConcreteModel, Constraint, Objective, SolverFactory, Var
    ... )
    >>> from pyomo_relu.cones import ExponentialCone
    >>> m = ConcreteModel()
    >>> m.t = Var()
    >>> m.z = Var([1, 2])
    >>> m.K = ExponentialCone([1, 2], rule=lambda m, i: [i - m.t, 1, m.z[i]])
    >>> m.total = Constraint(expr=m.z[1] + m.z[2] <= 1)
    >>> m.o = Objective(expr=m.t)
    >>> results = SolverFactory("clarabel").solve(m)
    >>> print(f"{m.t.value:.4f}")
    2.3133
    """

    _ComponentDataClass = ExponentialConeData

    @classmethod
    def from_vectors(cls, vectors: Any, *index: Any) -> Any:
        """Return a component of vectors that are known to be affine and finite.

        Parameters
        ----------
        vectors : mapping
            The three entries of each member; the key of a scalar cone is None.
        *index : index sets
            Those of an indexed component.

        Examples
        --------
        >>> from pyomo.environ import ConcreteModel, Var
        >>> from pyomo_relu.cones import ExponentialCone
        >>> m = ConcreteModel()
        >>> m.x = Var([0, 1], initialize=0.0)
        >>> vectors = {i: (m.x[i], 1.0, 3.0) for i in (0, 1)}
        >>> m.K = ExponentialCone.from_vectors(vectors, [0, 1])
        >>> m.K[0].margin()
        2.0
        """
        return cls.from_contents(
            {key: VectorContent(tuple(entries)) for key, entries in vectors.items()},
            *index,
        )


class ScalarExponentialCone(ScalarConeMixin, ExponentialConeData, ExponentialCone):
    """A single vector in an exponential cone."""


class IndexedExponentialCone(ExponentialCone):
    """Several vectors in exponential cones."""


ExponentialCone._scalar = ScalarExponentialCone
ExponentialCone._indexed = IndexedExponentialCone
