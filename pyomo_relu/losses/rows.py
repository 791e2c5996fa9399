"""Pyomo components of the losses; imported where a loss is written, not before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pyomo.core.base.constraint import Constraint
from pyomo.core.base.set import Set
from pyomo.core.base.var import ScalarVar, Var, VarData
from pyomo.core.expr.numeric_expr import LinearExpression, SumExpression

__all__ = ["add_index", "add_rows", "add_variables", "linear", "quadratic"]

_VARIABLES = {VarData, ScalarVar}


def are_variables(terms: Sequence[Any]) -> bool:
    """Whether all of these are variables, and no expressions of them or numbers."""
    return all(term.__class__ in _VARIABLES for term in terms)


def linear(constant: float, coefficients: Sequence[float], terms: Sequence[Any]) -> Any:
    """Return ``constant + <coefficients, terms>``; the terms are affine.

    Of variables it is the expression that Pyomo's visitors and ours take fastest.
    """
    if are_variables(terms):
        return LinearExpression(
            constant=constant, linear_coefs=coefficients, linear_vars=terms
        )
    products = [a * term for a, term in zip(coefficients, terms, strict=True)]
    return SumExpression([*products, constant])


def quadratic(
    constant: float,
    coefficients: Sequence[float],
    squares: Sequence[float],
    variables: Sequence[Any],
) -> Any:
    """Return ``constant + <coefficients, x> + <squares, x^2>``.

    Expanded by hand: monomials x*x and one linear part are what Pyomo's visitors take
    fastest; (x - y)**2 costs an expansion a sample.
    """
    terms = [q * x * x for q, x in zip(squares, variables, strict=True) if q != 0.0]
    return SumExpression([*terms, linear(constant, coefficients, variables)])


def add_index(block: Any, name: str, members: Sequence[Any]) -> Any:
    """Add a set of samples k, or of entries (k, j)."""
    index = Set(initialize=members)
    block.add_component(name, index)
    return index


def add_variables(block: Any, name: str, index: Any, **options: Any) -> list[Any]:
    """Add a variable a member of `index`, and return them in its order."""
    variables = Var(index, **options)
    block.add_component(name, variables)
    return list(variables.values())


def add_rows(
    block: Any, name: str, index: Any, rows: Iterable[tuple[Any, Any, Any]]
) -> None:
    """Add a row (lower, body, upper) a member of `index`, in its order."""
    # Rows are set, not made by a rule: a rule stays with the component, and would be
    # copied with it.
    constraint = Constraint(index)
    block.add_component(name, constraint)
    for member, row in zip(index, rows, strict=True):
        constraint[member] = row
