r"""When the doubly nonnegative cone loses nothing (design, Tiers).

Over the orthant :math:`\mathrm{CP}_m = \mathrm{DNN}_m` for m <= 4, and in facet form
for at most four facets. In coordinates of rays of rank at most three the model sees
:math:`R A R^T`, and :math:`\{R A R^T : A \in \mathrm{DNN}\} = \mathrm{CP}(K)`.

With one free coordinate it is exact where the model weighs A by one matrix S >= 0 only,
as weight decay does. The dual asks for

.. math:: [[\beta S, h], [h^T, \beta]] \in \mathrm{COP}(R_+^m \times R)
          \iff \beta |a|_S \ge |h^T a| \text{ for all } a \ge 0.

By Farkas there are p, q of norm at most :math:`\beta` with
:math:`s = S^{1/2} p - h \ge 0` and :math:`t = S^{1/2} q + h \ge 0`; with
:math:`N = (s t^T + t s^T)/2 \ge 0` and a suitable :math:`\nu > 1`,
:math:`\beta^2 S - h h^T - \nu N` is positive semidefinite: the same bound. The same
argument shows that a copositive matrix with a constant S >= 0 for its leading block and
one free coordinate is in :math:`S_+ + N`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.constraint import Constraint
from pyomo.core.base.objective import Objective
from pyomo.core.expr.visitor import identify_variables
from pyomo.repn import generate_standard_repn

from pyomo_relu.cones import (
    ConeData,
    CopositiveConeData,
    cone_data_objects,
    is_cone_guard,
)
from pyomo_relu.cones.base import DESCEND
from pyomo_relu.cones.entries import upper_index
from pyomo_relu.tiers.replacement import leaf_cones
from pyomo_relu.tiers.triangulation import rank
from pyomo_relu.tiers.visibility import is_unrestricted, sees_in_other_ways

__all__ = ["reason_of_exactness", "weighed_by_one_matrix"]

#: Relative difference up to which weights count as proportional, and eigenvalues as
#: zero.
_ROUNDING = 1e-9


def reason_of_exactness(cone: ConeData) -> str | None:
    """Return why the doubly nonnegative form of a cone is exact.

    Parameters
    ----------
    cone : cone data
        A completely positive or copositive cone, or a doubly nonnegative one that
        stands for the former.

    Returns
    -------
    str or None
        The reason, None if it need not be exact.
    """
    m = cone.order - cone.free
    if isinstance(cone, CopositiveConeData) and cone.free == 1 and _is_constant(cone):
        return "one free coordinate beside a constant semidefinite block"
    if cone.facets is not None:
        return "at most four facets" if len(cone.facets) <= 4 else None
    if m <= 4:
        return "at most four cone coordinates"
    if cone.rays is not None and rank(cone.rays) <= 3:
        return "rays of rank at most three"
    return None


def _is_constant(cone: ConeData) -> bool:
    """Whether the leading block is a constant positive semidefinite matrix."""
    m = cone.order - 1
    entries = cone.matrix[:m, :m]
    if not all(type(entry) in native_numeric_types for entry in entries.flat):
        return False
    eigenvalues = np.linalg.eigvalsh(entries.astype(float))
    return bool(eigenvalues[0] >= -_ROUNDING * np.abs(eigenvalues).max())


def weighed_by_one_matrix(
    model: Any, cones: list[ConeData], ignored: list[Any]
) -> set[int]:
    """Return the ids of those cones whose leading block is seen through one matrix.

    Every row and objective of the model must weigh the entries of A by a multiple of
    one positive semidefinite matrix, linearly, and no other cone or bound may see them.

    Parameters
    ----------
    model : Block
        The whole model.
    cones : list of cone data
        Replaced cones with one free coordinate each.
    ignored : list of constraint components
        Rows that do not count: those that tie a cone to its pieces.
    """
    if sees_in_other_ways(model):
        return set()
    watch = _Watch(cones)
    for cone in cone_data_objects(model):
        watch.see_cone(cone)
    for expression in _expressions(model, {id(component) for component in ignored}):
        watch.see_expression(expression)
    return {id(c) for position, c in enumerate(cones) if watch.is_fine(position)}


class _Watch:
    """Records how a model sees the leading blocks of some cones.

    `owner` maps the id of each variable in such a block to the position of its cone,
    its place in the triangle of the block and its place in that of the matrix.
    """

    def __init__(self, cones: list[ConeData]) -> None:
        self.cones = cones
        self.owner: dict[int, tuple[int, int, int]] = {}
        self.suspect: set[int] = set()
        #: What the first row to see a block weighs it by.
        self.weights: dict[int, np.ndarray] = {}
        self.leaf_of = {
            id(leaf): position
            for position, cone in enumerate(cones)
            for leaf in leaf_cones(cone)
        }
        for position, cone in enumerate(cones):
            m = cone.order - 1
            places = upper_index(cone.order)[:m, :m][np.triu_indices(m)].tolist()
            for place, position_in_matrix in enumerate(places):
                entry = cone.upper_triangle[position_in_matrix]
                if id(entry) in self.owner:
                    self.suspect.update({position, self.owner[id(entry)][0]})
                elif is_unrestricted(entry, lower_zero=cone.facets is None):
                    self.owner[id(entry)] = position, place, position_in_matrix
                else:
                    self.suspect.add(position)

    def see_cone(self, cone: ConeData) -> None:
        """Look for the variables in a cone, unless it is theirs and they in place."""
        own = self.leaf_of.get(id(cone))
        for place, entry in enumerate(cone.upper_triangle):
            if type(entry) in native_numeric_types:
                continue
            for variable in identify_variables(entry):
                if id(variable) in self.owner:
                    position, _, home = self.owner[id(variable)]
                    if own != position or place != home or entry is not variable:
                        self.suspect.add(position)

    def see_expression(self, expression: Any) -> None:
        """Compare the weights of a row or objective with those seen before."""
        repn = generate_standard_repn(expression)
        curved = [*repn.nonlinear_vars, *chain.from_iterable(repn.quadratic_vars)]
        self.suspect.update(
            self.owner[id(variable)][0]
            for variable in curved
            if id(variable) in self.owner
        )
        rows: dict[int, np.ndarray] = {}
        for variable, weight in zip(repn.linear_vars, repn.linear_coefs, strict=True):
            if id(variable) in self.owner:
                position, place, _ = self.owner[id(variable)]
                m = self.cones[position].order - 1
                row = rows.setdefault(position, np.zeros(m * (m + 1) // 2))
                row[place] = weight
        for position, row in rows.items():
            first = self.weights.setdefault(position, row)
            square = float(first @ first)
            scale = float(row @ first) / square if square else 0.0
            if np.abs(row - scale * first).max() > _ROUNDING * np.abs(row).max():
                self.suspect.add(position)

    def is_fine(self, position: int) -> bool:
        """Whether what has been seen is one matrix, semidefinite up to its sign."""
        if position in self.suspect:
            return False
        weights = self.weights.get(position)
        if weights is None:
            return True
        m = self.cones[position].order - 1
        S = weights[upper_index(m)] * np.where(np.eye(m, dtype=bool), 1.0, 0.5)
        eigenvalues = np.linalg.eigvalsh(S)
        tolerance = _ROUNDING * float(np.abs(eigenvalues).max())
        return bool(eigenvalues[0] >= -tolerance or eigenvalues[-1] <= tolerance)


def _expressions(model: Any, ignored: set[int]) -> Iterator[Any]:
    for objective in model.component_data_objects(
        Objective, active=True, descend_into=DESCEND
    ):
        yield objective.expr
    for constraint in model.component_data_objects(
        Constraint, active=True, descend_into=DESCEND
    ):
        if is_cone_guard(constraint):
            continue
        if id(constraint.parent_component()) not in ignored:
            yield constraint.body
