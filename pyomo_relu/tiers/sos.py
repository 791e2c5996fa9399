r"""`relu.sos`: sums of squares, Parrilo's cones K^0 and K^1 on the mixed cone.

Level 0 is :math:`S_+ + N`, the tier `relu.dnn`. Level 1 proves that
:math:`z^T M z \ge 0` for :math:`z = (a, v)`, a in the orthant, after multiplication
with the sum of a:

.. math:: \sum_i a_i\, z^T M z
          = \sum_i a_i\, z^T S_i z + 2 \sum_{i<j<k} n_{ijk}\, a_i a_j a_k,
          \quad S_i \in S_+^{m + c},\ n_{ijk} \ge 0.

With :math:`S_i = M - M^i` and l for a free coordinate, its coefficients say

.. math:: M^i_{ii} = 0, \quad M^i_{jj} + 2 M^j_{ij} = 0, \quad
          M^i_{jk} + M^j_{ik} + M^k_{ij} = n_{ijk}, \quad
          M^i_{il} = 0, \quad M^i_{jl} + M^j_{il} = 0, \quad M^i_{ll'} = 0.

In the dual, for a completely positive M, the multiplier :math:`N_i` of :math:`S_i`
holds the moments of degree three that have the factor :math:`a_i`:

.. math:: M = \sum_i N_i, \quad (N_i)_{jk} = y_{ijk}, \quad N_i \in S_+^{m + c},
          \quad y_{ijk} \ge 0 \text{ for cone coordinates } i < j < k,

y symmetric in its indices, of which at most two are free (P. Parrilo, Structured
semidefinite programs and semialgebraic geometry methods, 2000; E. de Klerk and
D. Pasechnik, Approximation of the stability number of a graph via copositive
programming, 2002; design, Tiers). Another positive combination of a in place of the
sum gives another cone: K^1 is not invariant under diagonal scaling, and the lengths of
rays count.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import permutations
from typing import Any, ClassVar, NamedTuple

import numpy as np
import scipy.sparse as sp
from pyomo.common.config import ConfigDict, ConfigValue, NonNegativeInt
from pyomo.environ import Block, NonNegativeReals, Var

from pyomo_relu.cones import (
    CompletelyPositiveConeData,
    ConeData,
    CopositiveConeData,
    PSDCone,
)
from pyomo_relu.errors import InputError
from pyomo_relu.tiers.affine import triangle_places
from pyomo_relu.tiers.base import (
    Bridge,
    Created,
    Tier,
    add_beside,
    register_tier,
    tier_config,
)
from pyomo_relu.tiers.dnn import doubly_nonnegative
from pyomo_relu.tiers.exactness import reason_of_exactness
from pyomo_relu.tiers.linking import entries_of, link, member_index, split_triangles

Integers = np.ndarray[Any, np.dtype[np.intp]]

__all__ = ["SumOfSquaresTier"]


def _existing_level(value: Any) -> int:
    try:
        level = NonNegativeInt(value)
    except ValueError:
        level = None
    if level not in (0, 1):
        raise ValueError(f"levels 0 and 1 exist; got {value!r}.")
    return level


def _sos_config() -> ConfigDict:
    config = tier_config("relu.sos")
    config.declare(
        "level",
        ConfigValue(
            default=1,
            domain=_existing_level,
            description="level of the hierarchy, 0 or 1",
            doc="""
            Half the degree of the multiplier: at 0 the tier is relu.dnn, at 1 it is
            tighter, with a semidefinite cone for each cone coordinate.""",
        ),
    )
    return config


@register_tier(
    "relu.sos", "Replace completely positive and copositive cones by sums of squares."
)
class SumOfSquaresTier(Tier):
    """Replace copositive by Parrilo's K^0 or K^1, completely positive by its dual.

    A lower bound for a minimisation over completely positive cones, an upper bound for
    one over copositive cones, at least as tight as `relu.dnn`. At level 1 a cone
    becomes m semidefinite ones of its order: the matrix of a completely positive cone,
    and the multiplier of a copositive one, is the sum of theirs.

    Examples
    --------
    The Horn matrix is copositive; at level 0 that cannot be seen:

    >>> from pyomo.environ import ConcreteModel, Objective, Var, maximize, value
    >>> from pyomo_relu import relax, solve
    >>> from pyomo_relu.cones import CopositiveCone
    >>> def least_value_on_simplex(level):
    ...     m = ConcreteModel()
    ...     m.t = Var()
    ...     horn = [[-1 if abs(i - j) in (1, 4) else 1 for j in range(5)]
    ...             for i in range(5)]
    ...     m.K = CopositiveCone([[x - m.t for x in row] for row in horn])
    ...     m.o = Objective(expr=m.t, sense=maximize)
    ...     relax(m, "sos", level=level)
    ...     results = solve(m)
    ...     return round(value(m.o), 6) + 0.0
    >>> least_value_on_simplex(0), least_value_on_simplex(1)
    (-0.105573, 0.0)
    """

    bridges: ClassVar[Mapping[type[ConeData], Bridge]] = {
        CompletelyPositiveConeData: Bridge(
            "dual of Parrilo's K^level: sum of semidefinite matrices of moments of "
            "degree 3 (level 0: relu.dnn)",
            "outer",
            "SDP",
            "where relu.dnn is",
        ),
        CopositiveConeData: Bridge(
            "Parrilo's K^level: a sum of squares times the sum of coordinates "
            "(level 0: relu.dnn)",
            "inner",
            "SDP",
            "where relu.dnn is",
        ),
    }
    exact_if_weighed_by_one_matrix = True
    commutes_with_partition = True
    CONFIG: ClassVar[ConfigDict] = _sos_config()

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why the tier is exact: at both levels it is where relu.dnn is."""
        return reason_of_exactness(cone)

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add the moments or the certificates, and their semidefinite cones."""
        if config.level is None:  # Pyomo lets that pass without asking the domain
            raise InputError("relu.sos: levels 0 and 1 exist; got None.")
        if config.level == 0:
            return doubly_nonnegative("sos", component, cones)
        for cone in cones:
            if cone.facets is not None:
                raise InputError(
                    f"cone {cone.name!r} is given by facets, and relu.sos at level 1 "
                    "multiplies with the coordinates of an orthant. Give the cone "
                    "rays=..., use level=0, or relu.dnn, which takes facets."
                )
        block = add_beside(component, "sos", Block(concrete=True))
        if isinstance(cones[0], CopositiveConeData):
            return Created(block, _certificates(block, cones))
        return Created(block, _moments(block, cones), (block.linking,))


class _Monomials(NamedTuple):
    """Monomials ``z_i z_j z_k``, i <= j <= k, of which at least i is a cone coordinate.

    Attributes
    ----------
    factors : (v, 3) int array
        i, j and k.
    place : (m, m + c, m + c) int array
        Which of them ``z_i z_j z_k`` is, i a cone coordinate, in any order.
    distinct : (w,) int array
        Those of three different cone coordinates.
    """

    factors: Integers
    place: Integers
    distinct: Integers


@lru_cache(maxsize=256)
def _monomials(m: int, free: int) -> _Monomials:
    order = m + free
    i, j, k = np.indices((m, order, order)).reshape(3, -1)
    kept = (i <= j) & (j <= k)
    factors = np.column_stack([i[kept], j[kept], k[kept]])
    place = np.empty((order, order, order), dtype=np.intp)
    for permuted in permutations(factors.T):
        place[permuted] = np.arange(len(factors))
    i, j, k = factors.T
    return _Monomials(factors, place[:m], np.flatnonzero((i < j) & (j < k) & (k < m)))


def _of(cone: ConeData) -> _Monomials:
    return _monomials(cone.order - cone.free, cone.free)


def _indices(cones: list[ConeData], factors: list[Integers]) -> list[tuple[Any, ...]]:
    return [
        (*member_index(cone), *triple)
        for cone, triples in zip(cones, factors, strict=True)
        for triple in triples.tolist()
    ]


def _moments(block: Any, cones: list[ConeData]) -> list[list[Any]]:
    """Write each matrix as the sum of its matrices of moments of degree three."""
    block.moment = Var(_indices(cones, [_of(cone).factors for cone in cones]))
    variables = list(block.moment.values())
    entries: list[Any] = []
    sums = []
    start = 0
    for cone in cones:
        monomials = _of(cone)
        m = cone.order - cone.free
        # y_iij is on the diagonal of N_j, so that its sign needs no bound.
        for position in monomials.distinct.tolist():
            variables[start + position].setlb(0.0)
        rows, columns = triangle_places(cone.order)
        places = monomials.place[:, rows, columns]
        entries.extend(variables[start + place] for place in places.ravel().tolist())
        sums.append(
            sp.coo_array(
                (
                    np.ones(places.size),
                    (np.tile(np.arange(len(rows)), m), places.ravel()),
                ),
                shape=(len(rows), len(monomials.factors)),
            )
        )
        start += len(monomials.factors)
    link(block, cones, sp.block_diag(sums, format="csr"), variables)
    return _add_cones(block, cones, entries)


def _certificates(block: Any, cones: list[ConeData]) -> list[list[Any]]:
    """Write the matrices ``S_i = M - M^i`` of each cone."""
    shifts = [_shift(cone.order - cone.free, cone.free) for cone in cones]
    block.shift = Var(_indices(cones, [shift.entries for shift in shifts]))
    block.surplus = Var(
        _indices(cones, [_of(cone).factors[_of(cone).distinct] for cone in cones]),
        domain=NonNegativeReals,
    )
    copies = sp.block_diag(
        [
            sp.kron(np.ones((cone.order - cone.free, 1)), _identity(cone))
            for cone in cones
        ],
        format="csr",
    )
    by_shift = sp.block_diag([shift.by_entries for shift in shifts], format="csr")
    by_surplus = sp.block_diag([shift.by_surplus for shift in shifts], format="csr")
    entries = (
        entries_of(cones)
        .map(copies)
        .plus(
            -sp.hstack([by_shift, by_surplus]),
            [*block.shift.values(), *block.surplus.values()],
        )
    )
    return _add_cones(block, cones, entries.expressions())


def _identity(cone: ConeData) -> Any:
    return sp.eye_array(len(cone.upper_triangle))


class _Shift(NamedTuple):
    """The matrices ``M^i`` as linear functions of some of their entries.

    Attributes
    ----------
    entries : (e, 3) int array
        The entries ``(j, k)`` of ``M^i`` that are variables, as rows i, j, k.
    by_entries : (m t, e) sparse array
        The upper triangles of all M^i, one after another, over these variables.
    by_surplus : (m t, w) sparse array
        The same over the coefficients ``n_ijk``.
    """

    entries: Integers
    by_entries: Any
    by_surplus: Any


@lru_cache(maxsize=256)
def _shift(m: int, free: int) -> _Shift:
    """Solve the equations of the coefficients, each for one entry.

    A monomial collects the entries ``M^i_jk`` with its factors, those off the diagonal
    twice. The entry that it is solved for is on the diagonal if any is.
    """
    monomials = _monomials(m, free)
    rows, columns = triangle_places(m + free)
    monomial = monomials.place[:, rows, columns].ravel()
    count = np.tile(np.where(rows == columns, 1.0, 2.0), m)
    by_monomial = np.lexsort((count, monomial))
    is_first = np.diff(monomial[by_monomial], prepend=-1) > 0
    solved = by_monomial[is_first]
    free_entries = np.sort(by_monomial[~is_first])
    e = len(free_entries)
    depending = solved[monomial[free_entries]]
    by_entries = sp.csr_array(
        (
            np.concatenate([np.ones(e), -count[free_entries] / count[depending]]),
            (np.concatenate([free_entries, depending]), np.tile(np.arange(e), 2)),
        ),
        shape=(len(monomial), e),
    )
    w = len(monomials.distinct)
    by_surplus = sp.csr_array(
        (np.ones(w), (solved[monomials.distinct], np.arange(w))),
        shape=(len(monomial), w),
    )
    i, place = np.divmod(free_entries, len(rows))
    entries = np.column_stack([i, rows[place], columns[place]])
    return _Shift(entries, by_entries, by_surplus)


def _add_cones(
    block: Any, cones: list[ConeData], entries: list[Any]
) -> list[list[Any]]:
    """Add the m semidefinite cones of each cone, whose triangles stand in one list."""
    owners = [(cone, i) for cone in cones for i in range(cone.order - cone.free)]
    triangles = split_triangles(entries, [cone.order for cone, _ in owners])
    contents = {
        (*member_index(cone), i) if member_index(cone) else i: cone.content._replace(
            entries=triangle
        )
        for (cone, i), triangle in zip(owners, triangles, strict=True)
    }
    block.cone = PSDCone.from_contents(contents, list(contents))
    members = iter(block.cone.values())
    return [[next(members) for _ in range(cone.order - cone.free)] for cone in cones]
