"""From a Pyomo model to a :class:`~pyomo_relu.solvers.conic_form.ConicForm`.

Nothing active is dropped: what the form cannot hold is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.enums import ObjectiveSense
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base import (
    Block,
    Constraint,
    Expression,
    ExternalFunction,
    Objective,
    Param,
    RangeSet,
    Set,
    SortComponents,
    Suffix,
    Var,
)
from pyomo.core.base.block import BlockData
from pyomo.network import Port
from pyomo.repn.quadratic import QuadraticRepnVisitor
from pyomo.repn.util import categorize_valid_components

from pyomo_relu.cones import (
    ConeData,
    DoublyNonnegativeConeData,
    ExponentialConeData,
    PSDConeData,
    SecondOrderConeData,
    VectorConeData,
    cone_data_objects,
    is_cone_guard,
)
from pyomo_relu.cones.membership import replace_first
from pyomo_relu.errors import InputError, InputTypeError, UnsupportedConeError
from pyomo_relu.solvers.affine_rows import (
    UNREADABLE,
    AffineRows,
    Columns,
    as_float,
    as_floats,
    unreadable,
)
from pyomo_relu.solvers.assembly import assemble
from pyomo_relu.solvers.conic_form import ConicForm, triangle
from pyomo_relu.solvers.convexity import most_negative_curvature
from pyomo_relu.solvers.errors import UnsupportedModelError
from pyomo_relu.solvers.quadratic_cones import Inequalities
from pyomo_relu.solvers.quadratic_rows import QuadraticRows
from pyomo_relu.solvers.reading import make_plain

__all__ = ["KNOWN_CTYPES", "check_model", "compile_conic"]

_ORDER = SortComponents.deterministic

#: Ctypes that state no requirement of their own, or whose requirement is compiled (a
#: cone is a Block).
KNOWN_CTYPES = {
    Block,
    Constraint,
    Expression,
    ExternalFunction,
    Objective,
    Param,
    Port,
    RangeSet,
    Set,
    Suffix,
    Var,
}


def compile_conic(model: Any) -> ConicForm:
    """Compile a Pyomo model to conic standard form.

    Taken are one linear or convex quadratic objective (or none: a feasible point is
    asked for), linear constraints of any kind, quadratic constraints that are seen to
    be convex (:mod:`~pyomo_relu.solvers.quadratic_cones`), bounds on continuous
    variables, and active ``PSDCone``, ``DoublyNonnegativeCone``, ``SecondOrderCone``
    and ``ExponentialCone`` components whose entries are affine. The vector of a cone
    is taken in place of its rows, as long as they are as they were built. A DNN cone
    becomes a semidefinite block and one nonnegative row for each entry above the
    diagonal of its leading block (of ``F A F'`` when it has facets): the diagonal is
    nonnegative already.

    Parameters
    ----------
    model : Block
        A constructed Pyomo model or block; it is not changed.

    Returns
    -------
    ConicForm
        The matrices and the way back.

    Raises
    ------
    UnsupportedModelError
        If the model has integer variables, constraints that are neither linear nor
        convex quadratic, a nonconvex or higher-order objective, several objectives, or
        any other active component that the form cannot hold. The message names it.
    UnsupportedConeError
        If a completely positive or another unrelaxed cone is active.
    InputError
        If the model is not constructed, a coefficient is not finite or a fixed
        variable has no value.
    InputTypeError
        If `model` is no block.
    pyomo.common.errors.InfeasibleConstraintException
        If a constraint without variables is violated, or a sum of squares is to be
        negative.

    Examples
    --------
    >>> import pyomo.environ as pyo
    >>> m = pyo.ConcreteModel()
    >>> m.x = pyo.Var(bounds=(0, None))
    >>> m.y = pyo.Var()
    >>> m.o = pyo.Objective(expr=m.x**2 + 3 * m.y)
    >>> m.c = pyo.Constraint(expr=m.x + m.y == 1)
    >>> form = compile_conic(m)
    >>> form.P.toarray().tolist(), form.c.tolist()
    ([[2.0, 0.0], [0.0, 0.0]], [0.0, 3.0])
    >>> form.A.toarray().tolist(), form.b.tolist()
    ([[1.0, 1.0], [-1.0, 0.0]], [1.0, 0.0])
    """
    check_model(model)
    # The compile makes many small objects and drops few: the collector would only walk.
    with PauseGC():
        return _Compiler(model).compile()


def check_model(model: Any) -> None:
    """Refuse what is no constructed model or block.

    Parameters
    ----------
    model : Any
        What a user gave.

    Raises
    ------
    InputTypeError
        It is no block.
    InputError
        It is not constructed.
    """
    if not isinstance(model, BlockData):
        raise InputTypeError(
            f"solvers take a Pyomo model or block; got {type(model).__name__}."
        )
    if not model.is_constructed():
        raise InputError(
            f"model {model.name!r} is not constructed; call create_instance() and "
            "solve what it returns."
        )


class _Compiler:
    def __init__(self, model: Any) -> None:
        self.model = model
        self.columns = Columns()

    def compile(self) -> ConicForm:
        self._refuse_unknown()
        objective = self._objective()
        found = list(cone_data_objects(self.model, kinds=(ConeData, VectorConeData)))
        cones = [cone for cone in found if isinstance(cone, ConeData)]
        self._refuse_unrelaxed(cones)
        intact = [c for c in found if isinstance(c, VectorConeData) and c.is_intact]
        vectors = [cone for cone in intact if isinstance(cone, SecondOrderConeData)]
        triples = [cone for cone in intact if isinstance(cone, ExponentialConeData)]

        sense, quadratic, linear, c0 = self._read_objective(objective)
        quadratics = QuadraticRows(self.columns)
        constraints, rows, lower, upper = self._read_constraints(
            {id(row) for cone in intact for row in cone.rows}, quadratics
        )
        triangles = [_by_columns(cone.order)(cone.upper_triangle) for cone in cones]
        entries = self._read_cones(cones, triangles)
        vector_entries = self._read_cones(vectors, [cone.vector for cone in vectors])
        triple_entries = self._read_cones(triples, [cone.vector for cone in triples])
        n = len(self.columns.variables)
        bounds = self._read_bounds()

        c = np.zeros(n)
        c[list(linear)] = as_floats(list(linear.values()))
        P = _hessian(quadratic, n)
        if not (np.isfinite(c).all() and np.isfinite(P.data).all() and np.isfinite(c0)):
            raise InputError(
                f"objective '{objective.name}' has a coefficient that is not finite"
            )
        self._refuse_nonconvex(objective, P, sense)

        C, k = rows.matrix()
        self._check_finite(constraints, C, k)
        return assemble(
            model=self.model,
            variables=self.columns.variables,
            objective=(P, c, c0, sense, objective is not None),
            constraints=(constraints, C, k, lower, upper),
            bounds=bounds,
            cones=(cones, *entries),
            second_order_cones=(vectors, *vector_entries),
            quadratics=quadratics.vectors(n, _known(n, bounds, C, k, lower, upper)),
            exponential_cones=(triples, *triple_entries),
        )

    def _refuse_unknown(self) -> None:
        _, unknown = categorize_valid_components(
            self.model, active=True, sort=_ORDER, valid=KNOWN_CTYPES
        )
        if unknown:
            listed = "; ".join(
                f"{ctype.__name__} {', '.join(repr(d.name) for d in data[:5])}"
                f"{', ...' if len(data) > 5 else ''}"
                for ctype, data in unknown.items()
            )
            raise UnsupportedModelError(
                f"the model has active components that a conic form cannot hold: "
                f"{listed}. Transform them (gdp.bigm for disjuncts, or "
                f"gdp.fix_disjuncts where cones are inside of them), or deactivate "
                f"them"
            )

    def _objective(self) -> Any:
        objectives = list(
            self.model.component_data_objects(Objective, active=True, sort=_ORDER)
        )
        if len(objectives) > 1:
            names = ", ".join(repr(o.name) for o in objectives)
            raise UnsupportedModelError(
                f"the model has {len(objectives)} active objectives ({names}); "
                f"deactivate all but one"
            )
        return objectives[0] if objectives else None

    def _refuse_unrelaxed(self, cones: Iterable[Any]) -> None:
        for cone in cones:
            if isinstance(cone, (PSDConeData, DoublyNonnegativeConeData)):
                continue
            raise UnsupportedConeError(
                f"the {cone.kind} cone '{cone.name}' cannot be written in conic form, "
                f"which has second-order, exponential, positive semidefinite and "
                f"doubly nonnegative cones; {replace_first(cone)}"
            )

    def _read_objective(
        self, objective: Any
    ) -> tuple[int, dict[tuple[int, int], Any], dict[int, Any], float]:
        """Sense, and the minimisation's quadratic, linear and constant parts."""
        if objective is None:
            return 1, {}, {}, 0.0
        visitor = QuadraticRepnVisitor({}, var_recorder=self.columns)
        try:
            repn = visitor.walk_expression(objective.expr)
        except UNREADABLE as error:
            raise unreadable(f"objective '{objective.name}'", error) from error
        if repn.nonlinear is not None:
            raise UnsupportedModelError(
                f"objective '{objective.name}' is neither linear nor quadratic; a "
                f"conic form takes convex quadratic objectives only"
            )
        sense = 1 if objective.sense == ObjectiveSense.minimize else -1
        order = self.columns.var_order
        quadratic = {
            (order[i], order[j]): sense * coefficient
            for (i, j), coefficient in (repn.quadratic or {}).items()
        }
        linear = {order[i]: sense * coef for i, coef in repn.linear.items()}
        return sense, quadratic, linear, sense * as_float(repn.constant)

    def _read_constraints(
        self, skip: Container[int], quadratics: QuadraticRows
    ) -> tuple[list[Any], AffineRows, np.ndarray, np.ndarray]:
        """Rows of all constraints but guards and those whose id is to be skipped.

        What is not linear goes to the quadratic rows.
        """
        rows = AffineRows(self.columns)
        constraints: list[Any] = []
        lower: list[float] = []
        upper: list[float] = []
        for constraint in self.model.component_data_objects(
            Constraint, active=True, sort=_ORDER
        ):
            if id(constraint) in skip or is_cone_guard(constraint):
                continue
            make_plain(constraint)
            try:
                low, body, up = constraint.to_bounded_expression(True)
                if low is None and up is None:
                    continue
                if not rows.add_expression(body):
                    quadratics.add(constraint, low, body, up)
                    continue
            except UnsupportedModelError:
                raise
            except UNREADABLE as error:
                raise unreadable(f"constraint '{constraint.name}'", error) from error
            constraints.append(constraint)
            lower.append(-np.inf if low is None else low)
            upper.append(np.inf if up is None else up)
        return constraints, rows, np.array(lower, float), np.array(upper, float)

    def _check_finite(
        self, constraints: list[Any], C: sp.csr_array, k: np.ndarray
    ) -> None:
        bad = np.flatnonzero(~np.isfinite(k))
        if bad.size == 0 and not np.isfinite(C.data).all():
            entry = np.flatnonzero(~np.isfinite(C.data))[0]
            bad = np.searchsorted(C.indptr, [entry], side="right") - 1
        if bad.size:
            raise InputError(
                f"constraint '{constraints[bad[0]].name}' has a coefficient that is "
                f"not finite (a fixed variable or Param without a value, NaN or inf)"
            )

    def _read_cones(
        self, cones: list[Any], contents: list[Sequence[Any]]
    ) -> tuple[sp.csr_array, np.ndarray]:
        """Affine rows of what is in the cones, one after the other."""
        rows = AffineRows(self.columns)
        for cone, entries in zip(cones, contents, strict=True):
            try:
                done = rows.add_entries(entries)
            except UNREADABLE as error:
                raise unreadable(f"cone '{cone.name}'", error) from error
            if done < len(entries):
                raise UnsupportedModelError(
                    f"entry {entries[done]} of cone '{cone.name}' is not linear in the "
                    f"variables"
                )
        E, e = rows.matrix()
        if not (np.isfinite(E.data).all() and np.isfinite(e).all()):
            ends = np.cumsum([len(entries) for entries in contents])
            row = ~np.isfinite(e) | ~np.isfinite(np.abs(E).sum(axis=1))
            first = int(np.flatnonzero(row)[0])
            cone = cones[int(np.searchsorted(ends, first, side="right"))]
            raise InputError(f"cone '{cone.name}' has an entry that is not finite")
        return E, e

    def _read_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds of the columns; refuse variables that are not continuous."""
        n = len(self.columns.variables)
        lower, upper = np.full(n, -np.inf), np.full(n, np.inf)
        continuous: dict[int, bool] = {}
        for column, var in enumerate(self.columns.variables):
            domain = var.domain
            if id(domain) not in continuous:
                continuous[id(domain)] = var.is_continuous()
            if not continuous[id(domain)]:
                raise UnsupportedModelError(
                    f"variable '{var.name}' has the domain {domain}; a conic form "
                    f"takes continuous variables only. Fix it, relax it with "
                    f"core.relax_integer_vars, or use a mixed-integer solver"
                )
            try:
                low, up = var.bounds
            except UNREADABLE as error:
                raise unreadable(f"a bound of variable '{var.name}'", error) from error
            if low is not None:
                lower[column] = low
            if up is not None:
                upper[column] = up
        return lower, upper

    def _refuse_nonconvex(self, objective: Any, P: sp.csc_array, sense: int) -> None:
        curvature, column = most_negative_curvature(P)
        if curvature < 0.0:
            name = self.columns.variables[column].name
            verb, shape = (
                ("minimise", "convex") if sense > 0 else ("maximise", "concave")
            )
            raise UnsupportedModelError(
                f"objective '{objective.name}' is not {shape}: to {verb} it, its "
                f"Hessian has the curvature {sense * curvature:.6g} along a direction "
                f"that moves '{name}' most. A conic solver would return a saddle "
                f"point as optimal; use a global or a local nonlinear solver"
            )


def _known(
    n: int,
    bounds: tuple[np.ndarray, np.ndarray],
    C: sp.csr_array,
    k: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> Inequalities:
    """Return bounds and rows ``lower <= C x + k <= upper`` as inequalities."""
    C = sp.csr_array((C.data, C.indices, C.indptr), shape=(C.shape[0], n))
    below, above = np.isfinite(lower), np.isfinite(upper)
    return Inequalities(
        *bounds,
        sp.csc_array(sp.vstack([C[below], -C[above]], format="csc")),
        np.concatenate([(lower - k)[below], (k - upper)[above]]),
    )


@lru_cache(maxsize=256)
def _by_columns(order: int) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return what reorders a triangle by rows into one by columns."""
    if order == 1:
        return tuple
    i, j = triangle(order)
    return itemgetter(*(i * order - i * (i - 1) // 2 + j - i).tolist())


def _hessian(quadratic: dict[tuple[int, int], Any], n: int) -> sp.csc_array:
    """``P`` of ``1/2 x'Px`` from the coefficients of the products ``x_i x_j``."""
    pairs = np.array(list(quadratic), dtype=np.int64).reshape(-1, 2)
    coefficient = as_floats(list(quadratic.values()))
    i, j = pairs.T
    half = np.where(i == j, 2.0 * coefficient, coefficient)
    mirror = i != j
    data = np.concatenate([half, half[mirror]])
    rows, columns = np.concatenate([i, j[mirror]]), np.concatenate([j, i[mirror]])
    return sp.csc_array((data, (rows, columns)), shape=(n, n))
