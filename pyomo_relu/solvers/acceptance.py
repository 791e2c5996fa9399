"""What a program or a file format accepts of a model."""

from __future__ import annotations

from dataclasses import dataclass

from pyomo_relu.solvers.content import ModelContent

__all__ = ["SEMIDEFINITE", "Acceptance"]

_DEGREES = ("none", "linear", "quadratic", "nonlinear")

#: Kinds of cones that semidefinite solvers and formats take.
SEMIDEFINITE = frozenset(
    {"second-order", "positive semidefinite", "doubly nonnegative"}
)


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What one solver takes, or what one file format can say.

    Attributes
    ----------
    conic : bool
        Whether it takes convex conic programs, compiled by this package.
    cones : frozenset of str
        Kinds of cones that it takes as they are.
    rows, objective : {"linear", "quadratic", "nonlinear"}
        Highest degree that it takes.
    integer : {"", "linear", "quadratic", "nonlinear"}
        Highest degree of a model with integer variables; empty: takes none.
    needs_convex : bool
        Whether a model that is not convex is not for it.
    other : frozenset of str
        Component types beyond constraints, ``SOSConstraint``.
    """

    conic: bool = False
    cones: frozenset[str] = frozenset()
    rows: str = "linear"
    objective: str = "linear"
    integer: str = ""
    needs_convex: bool = False
    other: frozenset[str] = frozenset()

    def refusal(self, content: ModelContent) -> str:
        """Say why it cannot take a model.

        Parameters
        ----------
        content : ModelContent
            The model.

        Returns
        -------
        str
            Empty when it can.

        Examples
        --------
        >>> import pyomo.environ as pyo
        >>> from pyomo_relu.solvers.content import model_content
        >>> m = pyo.ConcreteModel()
        >>> m.x = pyo.Var(domain=pyo.Integers)
        >>> m.o = pyo.Objective(expr=m.x**2)
        >>> accepts = Acceptance(objective="quadratic", integer="linear")
        >>> accepts.refusal(model_content(m))
        'it takes integer variables in linear models only'
        """
        if content.objectives > 1:
            return "it takes one objective; deactivate all but one"
        for kind in content.other:
            if kind not in self.other:
                return f"it takes no {kind}"
        for kind in content.cones:
            if not self.takes_cone(kind):
                return f"it takes no {kind} cones"
        if content.integer_variables:
            return self._integer_refusal(content)
        if self.conic:
            return content.obstacle
        if _exceeds(content.objective, self.objective):
            return f"it takes no {content.objective} objective"
        highest = _highest_row(content)
        if _exceeds(highest, self.rows):
            return f"it takes no {highest} constraints"
        if self.needs_convex and content.form is None:
            return f"it is for convex models: {content.obstacle}"
        return ""

    def takes_cone(self, kind: str) -> bool:
        """Whether it takes cones of a kind, as they are or as the rows they stand for.

        Parameters
        ----------
        kind : str
            As in the cones' class attribute ``kind``.
        """
        plain = _PLAIN_ROWS.get(kind)
        as_rows = plain is not None and not _exceeds(plain, self.rows)
        return kind in self.cones or as_rows

    def _integer_refusal(self, content: ModelContent) -> str:
        if not self.integer:
            return "it takes no integer variables"
        degree = max(content.objective, _highest_row(content), key=_DEGREES.index)
        plain = [_PLAIN_ROWS[kind] for kind in content.cones if kind in _PLAIN_ROWS]
        degree = max([degree, *plain], key=_DEGREES.index)
        if _exceeds(degree, self.integer):
            return f"it takes integer variables in {self.integer} models only"
        return ""


#: Degree of the rows that say the same as a cone.
_PLAIN_ROWS = {"second-order": "quadratic", "exponential": "nonlinear"}


def _exceeds(degree: str, limit: str) -> bool:
    return _DEGREES.index(degree) > _DEGREES.index(limit)


def _highest_row(content: ModelContent) -> str:
    if content.nonlinear_rows:
        return "nonlinear"
    return "quadratic" if content.quadratic_rows else "linear"
