"""Linear and quadratic programs row by row, as MPS and LP files hold them.

Other than in a conic form nothing is turned round: a quadratic row need not be convex,
a row keeps both its sides, a variable its bounds and its integrality.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base import (
    Constraint,
    Objective,
    SortComponents,
    SOSConstraint,
    minimize,
)
from pyomo.repn.quadratic import QuadraticRepnVisitor
from pyomo.repn.util import categorize_valid_components

from pyomo_relu.cones import ExponentialConeData, cone_data_objects
from pyomo_relu.cones.membership import replace_first
from pyomo_relu.errors import InputError, UnsupportedConeError
from pyomo_relu.solvers.affine_rows import (
    UNREADABLE,
    AffineRows,
    Columns,
    as_float,
    as_floats,
    unreadable,
)
from pyomo_relu.solvers.assembly import CONSTANT_ROW_TOLERANCE
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.linear_program import INTEGRALITY_TOLERANCE
from pyomo_relu.solvers.reading import (
    make_plain,
    read_bounds,
    refuse_crossing,
    sole_objective,
)
from pyomo_relu.solvers.standard_form import KNOWN_CTYPES, check_model

__all__ = [
    "Products",
    "RowProgram",
    "compile_rows",
    "numerals",
    "refuse_unknown",
    "sos_members",
]

_ORDER = SortComponents.deterministic


class Products(NamedTuple):
    """A sum of ``coefficient * x_first * x_second``.

    Attributes
    ----------
    first, second : (k,) ndarray of int
        Columns, ``first <= second``, in lexicographic order, no pair twice.
    coefficient : (k,) ndarray
    """

    first: np.ndarray
    second: np.ndarray
    coefficient: np.ndarray


@dataclass(frozen=True)
class RowProgram:
    """Optimise ``c'x + c0 + products`` over rows, bounds and integrality.

    Attributes
    ----------
    model : Block
        The model.
    variables : list of VarData
        Its n free variables that are in a row or in the objective, in the order in
        which they are met; fixed ones have been substituted.
    lower, upper : (n,) ndarray
        Bounds, infinite where there are none; those of integers are integers.
    is_integer : (n,) ndarray of bool
    objective : ObjectiveData or None
    maximises : bool
    c : (n,) ndarray
    c0 : float
    products : Products
        Quadratic part of the objective.
    constraints : list of ConstraintData
        That of each of the m rows; rows of numbers are left out.
    A : (m, n) csr_array
        Linear parts of the rows, indices sorted.
    row_lower, row_upper : (m,) ndarray
        Sides, infinite where there is none.
    row_products : dict of int to Products
        Quadratic parts, by the number of the row.
    sos : list of SOSConstraintData
    """

    model: Any
    variables: list[Any]
    lower: np.ndarray
    upper: np.ndarray
    is_integer: np.ndarray
    objective: Any
    maximises: bool
    c: np.ndarray
    c0: float
    products: Products
    constraints: list[Any]
    A: sp.csr_array
    row_lower: np.ndarray
    row_upper: np.ndarray
    row_products: Mapping[int, Products]
    sos: list[Any] = field(default_factory=list)


def refuse_unknown(model: Any, title: str, known: frozenset[Any]) -> None:
    """Refuse what a file would drop: unknown components, and matrix cones.

    Parameters
    ----------
    model : Block
        The model.
    title : str
        What people call a file of the format, with its article.
    known : frozenset of component types
        What it can say, besides what conic forms are compiled of.

    Raises
    ------
    UnsupportedConeError
        A matrix cone is active.
    UnsupportedModelError
        Another component is, of a type that is not known.
    InputError, InputTypeError
        `model` is no constructed block.
    """
    check_model(model)
    _, unknown = categorize_valid_components(
        model, active=True, sort=_ORDER, valid=KNOWN_CTYPES | known
    )
    for ctype, components in unknown.items():
        advice = (
            "write it to an .lp or .nl file, or with binary variables"
            if ctype is SOSConstraint
            else "transform it first (gdp.bigm for disjuncts), or deactivate it"
        )
        raise UnsupportedModelError(
            f"{title} cannot hold the {ctype.__name__} '{components[0].name}'; {advice}"
        )
    for cone in cone_data_objects(model):
        raise UnsupportedConeError(
            f"the {cone.kind} cone '{cone.name}' (order {cone.order}) cannot be "
            f"written to {title}, which has no matrix cones; {replace_first(cone)}"
            + (", or write a .cbf or .dat-s file, which has it" * cone.is_conic)
        )


def compile_rows(
    model: Any, title: str, known: frozenset[Any] = frozenset()
) -> RowProgram:
    """Compile a model to rows.

    Parameters
    ----------
    model : Block
        A constructed Pyomo model or block; it is not changed.
    title : str
        What people call a file of the format, with its article, for messages.
    known : frozenset of component types
        What the format has besides constraints: ``SOSConstraint``.

    Returns
    -------
    RowProgram

    Raises
    ------
    UnsupportedModelError
        A row or the objective is neither linear nor quadratic, the domain of a
        variable is neither an interval nor one of integers, there are several
        objectives, or an active component of another type.
    UnsupportedConeError
        A matrix cone is active.
    InputError
        A coefficient is not finite, or a fixed variable has no value.
    pyomo.common.errors.InfeasibleConstraintException
        Sides or bounds cross, or a constraint without variables is violated.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, 4))
    >>> m.y = pyo.Var(domain=pyo.Integers)
    >>> m.o = pyo.Objective(expr=m.x * m.y + 1)
    >>> m.c = pyo.Constraint(expr=(1, 3 * m.x + 1 + m.y**2, 5))
    >>> program = compile_rows(m, "an LP file")
    >>> program.A.toarray().tolist(), program.row_lower.tolist()
    ([[3.0, 0.0]], [0.0])
    >>> program.products.coefficient.tolist(), program.row_products[0].first.tolist()
    ([1.0], [1])
    """
    refuse_unknown(model, title, known)
    # The compile makes many small objects and drops few: the collector would only walk.
    with PauseGC():
        return _Compiler(model, title).compile()


class _Compiler:
    def __init__(self, model: Any, title: str) -> None:
        self.model = model
        self.title = title
        self.columns = Columns()
        self.visitor = QuadraticRepnVisitor({}, var_recorder=self.columns)

    def compile(self) -> RowProgram:
        objective = sole_objective(
            list(self.model.component_data_objects(Objective, active=True, sort=_ORDER))
        )
        linear, c0, products = self._read_objective(objective)
        constraints, C, k, lower, upper, row_products = self._read_constraints()
        sos = list(
            self.model.component_data_objects(SOSConstraint, active=True, sort=_ORDER)
        )
        for data in sos:
            for var, _ in sos_members(data):
                if id(var) not in self.columns.var_order:
                    self.columns.add(var)

        variables = self.columns.variables
        n = len(variables)
        is_integer = self._are_integer()
        bounds = _rounded(variables, is_integer, *read_bounds(variables))
        c = np.zeros(n)
        c[list(linear)] = as_floats(list(linear.values()))
        if not (
            np.isfinite(c).all()
            and math.isfinite(c0)
            and np.isfinite(products.coefficient).all()
        ):
            raise InputError(
                f"objective '{objective.name}' has a coefficient that is not finite"
            )
        kept = self._check_rows(constraints, C, k, lower, upper, row_products)
        numbers = {int(old): new for new, old in enumerate(kept)}
        return RowProgram(
            model=self.model,
            variables=variables,
            lower=bounds[0],
            upper=bounds[1],
            is_integer=is_integer,
            objective=objective,
            maximises=objective is not None and objective.sense != minimize,
            c=c,
            c0=c0,
            products=products,
            constraints=[constraints[i] for i in kept.tolist()],
            A=sp.csr_array((C.data, C.indices, C.indptr), shape=(C.shape[0], n))[kept],
            # No negative zeros.
            row_lower=(lower - k)[kept] + 0.0,
            row_upper=(upper - k)[kept] + 0.0,
            row_products={numbers[i]: part for i, part in row_products.items()},
            sos=sos,
        )

    def _read_objective(self, objective: Any) -> tuple[dict[int, Any], float, Products]:
        if objective is None:
            return {}, 0.0, self._products({})
        try:
            repn = self.visitor.walk_expression(objective.expr)
        except UNREADABLE as error:
            raise unreadable(f"objective '{objective.name}'", error) from error
        if repn.nonlinear is not None:
            raise UnsupportedModelError(
                f"objective '{objective.name}' is neither linear nor quadratic, and "
                f"{self.title} has no other; write a .nl file"
            )
        order = self.columns.var_order
        linear = {order[i]: coefficient for i, coefficient in repn.linear.items()}
        return linear, as_float(repn.constant), self._products(repn.quadratic or {})

    def _read_constraints(
        self,
    ) -> tuple[
        list[Any],
        sp.csr_array,
        np.ndarray,
        np.ndarray,
        np.ndarray,
        dict[int, Products],
    ]:
        rows = AffineRows(self.columns)
        constraints: list[Any] = []
        lower: list[float] = []
        upper: list[float] = []
        row_products: dict[int, Products] = {}
        for constraint in self.model.component_data_objects(
            Constraint, active=True, sort=_ORDER
        ):
            make_plain(constraint)
            try:
                low, body, up = constraint.to_bounded_expression(True)
                if low is None and up is None:
                    continue
                if not rows.add_expression(body):
                    products = self._add_quadratic(rows, constraint, body)
                    if products.first.size:
                        row_products[len(constraints)] = products
            except UnsupportedModelError:
                raise
            except UNREADABLE as error:
                raise unreadable(f"constraint '{constraint.name}'", error) from error
            constraints.append(constraint)
            lower.append(-math.inf if low is None else low)
            upper.append(math.inf if up is None else up)
        C, k = rows.matrix()
        return (
            constraints,
            C,
            k,
            np.array(lower, float),
            np.array(upper, float),
            row_products,
        )

    def _add_quadratic(self, rows: AffineRows, constraint: Any, body: Any) -> Products:
        """Add the affine part of a quadratic row, and return the rest."""
        repn = self.visitor.walk_expression(body)
        if repn.nonlinear is not None:
            cone = constraint.parent_block()
            if isinstance(cone, ExponentialConeData):
                raise UnsupportedModelError(
                    f"the exponential cone '{cone.name}' cannot be written to "
                    f"{self.title}; write a .cbf file, which has it, or a .nl file"
                )
            raise UnsupportedModelError(
                f"constraint '{constraint.name}' is neither linear nor quadratic, and "
                f"{self.title} has no other; write a .nl file"
            )
        variable = self.columns.var_map
        rows.add_terms(
            repn.constant,
            list(repn.linear.values()),
            [variable[i] for i in repn.linear],
        )
        return self._products(repn.quadratic or {})

    def _products(self, quadratic: Mapping[tuple[int, int], Any]) -> Products:
        order = self.columns.var_order
        pairs = np.array(
            [(order[i], order[j]) for i, j in quadratic], dtype=np.int64
        ).reshape(-1, 2)
        pairs.sort(axis=1)
        coefficient = as_floats(list(quadratic.values()))
        # NaN is to be seen, zero is nothing.
        kept = np.flatnonzero(coefficient != 0.0)
        pairs, coefficient = pairs[kept], coefficient[kept]
        turn = np.lexsort((pairs[:, 1], pairs[:, 0]))
        return Products(pairs[turn, 0], pairs[turn, 1], coefficient[turn])

    def _are_integer(self) -> np.ndarray:
        known: dict[int, tuple[Any, bool]] = {}
        flags = []
        for var in self.columns.variables:
            domain = var.domain
            if id(domain) not in known:
                if not (var.is_continuous() or var.is_integer()):
                    raise UnsupportedModelError(
                        f"variable '{var.name}' has the domain {domain}, which is "
                        f"neither an interval nor one of integers; write it with "
                        f"binary variables"
                    )
                known[id(domain)] = domain, not var.is_continuous()
            flags.append(known[id(domain)][1])
        return np.array(flags, dtype=bool)

    def _check_rows(
        self,
        constraints: list[Any],
        C: sp.csr_array,
        k: np.ndarray,
        lower: np.ndarray,
        upper: np.ndarray,
        row_products: Mapping[int, Products],
    ) -> np.ndarray:
        """Return the numbers of the rows with variables; equal sides are made equal."""
        finite = np.isfinite(k) & ~np.isnan(lower) & ~np.isnan(upper)
        lengths = np.diff(C.indptr)
        finite[np.repeat(np.arange(len(k)), lengths)[~np.isfinite(C.data)]] = False
        for row, products in row_products.items():
            finite[row] &= np.isfinite(products.coefficient).all()
        for row in np.flatnonzero(~finite)[:1]:
            raise InputError(
                f"constraint '{constraints[row].name}' has a coefficient that is not "
                f"finite (a fixed variable or Param without a value, NaN or inf)"
            )
        for row in np.flatnonzero(lower > upper).tolist():
            refuse_crossing(
                lower[row], upper[row], f"constraint '{constraints[row].name}'"
            )
            upper[row] = lower[row]
        constant = lengths == 0
        constant[list(row_products)] = False
        excess = np.maximum(lower - k, k - upper)
        violated = constant & (excess > CONSTANT_ROW_TOLERANCE * (1.0 + np.abs(k)))
        for row in np.flatnonzero(violated)[:1]:
            raise InfeasibleConstraintException(
                f"constraint '{constraints[row].name}' has no variables, and its body "
                f"{k[row]:.6g} is outside of [{lower[row]:.6g}, {upper[row]:.6g}]"
            )
        return np.flatnonzero(~constant)


def sos_members(data: Any) -> list[tuple[Any, float]]:
    """Return the variables of an SOS constraint and their weights.

    Parameters
    ----------
    data : SOSConstraintData
        The constraint.

    Raises
    ------
    UnsupportedModelError
        A variable is fixed: without it others would become neighbours. Or the level
        is neither 1 nor 2.
    """
    if data.level not in (1, 2):
        raise UnsupportedModelError(
            f"SOSConstraint '{data.name}' has the level {data.level}; files have SOS1 "
            f"and SOS2"
        )
    members = list(data.get_items())
    for var, _ in members:
        if var.fixed:
            raise UnsupportedModelError(
                f"SOSConstraint '{data.name}' has the fixed variable '{var.name}'; "
                f"unfix it and give it two equal bounds"
            )
    return [(var, as_float(weight)) for var, weight in members]


def numerals(data: np.ndarray, write: Callable[[float], str]) -> Iterator[str]:
    """Numbers as text: each value is written once, for most of them come again.

    Parameters
    ----------
    data : (n,) float array
        The numbers; minus zero is zero.
    write : callable
        ``repr``, for example.

    Examples
    --------
    >>> list(numerals(np.array([0.1, -2.0, 0.1]), repr))
    ['0.1', '-2.0', '0.1']
    """
    different, places = np.unique(data + 0.0, return_inverse=True)
    texts = list(map(write, different.tolist()))
    return map(texts.__getitem__, places.ravel().tolist())


def _rounded(
    variables: list[Any], is_integer: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Round the bounds of integers: GLPK refuses those that are none."""
    lower[is_integer] = np.ceil(lower[is_integer] - INTEGRALITY_TOLERANCE) + 0.0
    upper[is_integer] = np.floor(upper[is_integer] + INTEGRALITY_TOLERANCE) + 0.0
    for j in np.flatnonzero(lower > upper)[:1]:
        raise InfeasibleConstraintException(
            f"there is no integer between the bounds of variable '{variables[j].name}'"
        )
    return lower, upper
