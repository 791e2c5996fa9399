"""Affine parts of a model, put together in the row order of a conic form."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.errors import InfeasibleConstraintException

from pyomo_relu.cones import DoublyNonnegativeConeData
from pyomo_relu.solvers.conic_form import ConeRows, ConicForm, triangle

__all__ = ["assemble"]

#: A row without variables may miss its side by this much, times 1 + |its body|.
CONSTANT_ROW_TOLERANCE = 1e-8


def _widen(rows: sp.csr_array, n: int) -> sp.csr_array:
    """Return the same rows with columns for the variables that were met later."""
    return sp.csr_array((rows.data, rows.indices, rows.indptr), (rows.shape[0], n))


class _Stack:
    """Rows of ``A x + s = b`` collected segment by segment, numbered as they come."""

    def __init__(self, n: int) -> None:
        self.size = 0
        self._n = n
        self._A: list[sp.csr_array] = []
        self._b: list[np.ndarray] = []

    def push(self, A: sp.csr_array, b: np.ndarray) -> np.ndarray:
        """Append rows and return their numbers."""
        numbers = np.arange(self.size, self.size + len(b))
        self.size += len(b)
        self._A.append(A)
        self._b.append(b)
        return numbers

    def matrix(self) -> tuple[sp.csc_array, np.ndarray]:
        empty = sp.csr_array((0, self._n))
        A = sp.vstack([empty, *self._A], format="csc")
        return sp.csc_array(A), np.concatenate([np.zeros(0), *self._b])


def assemble(
    *,
    model: Any,
    variables: list[Any],
    objective: tuple[sp.csc_array, np.ndarray, float, int, bool],
    constraints: tuple[list[Any], sp.csr_array, np.ndarray, np.ndarray, np.ndarray],
    bounds: tuple[np.ndarray, np.ndarray],
    cones: tuple[list[Any], sp.csr_array, np.ndarray],
) -> ConicForm:
    """Put the affine parts of a model together as a conic form.

    Parameters
    ----------
    model : Block
        The model.
    variables : list of VarData
        Its n columns.
    objective : tuple
        ``P``, ``c``, ``c0``, the sense and whether there is one, as in `ConicForm`.
    constraints : tuple
        The l constraint data, their bodies ``C x + k`` as ``C`` (l, <= n) and ``k``
        (l,), and their sides (l,), infinite where there is none.
    bounds : tuple of (n,) ndarray
        Lower and upper bounds, infinite where there is none.
    cones : tuple
        The cone data, and the triangles of all of them column by column as
        ``E x + e``, ``E`` (t, <= n) and ``e`` (t,).

    Returns
    -------
    ConicForm

    Raises
    ------
    pyomo.common.errors.InfeasibleConstraintException
        If a row or an entry without variables is violated.
    """
    P, c, c0, sense, has_objective = objective
    rows, C, k, lower, upper = constraints
    cone_data, E, e = cones
    n = len(variables)
    C, E = _widen(C, n), _widen(E, n)
    lower, upper = lower - k, upper - k
    identity = sp.csr_array(sp.eye_array(n, format="csr"))
    stack = _Stack(n)

    constant = np.diff(C.indptr) == 0
    _check_constant_rows(rows, constant, np.maximum(lower, -upper), k)
    upper_rows = np.full(len(rows), -1)
    lower_rows = np.full(len(rows), -1)
    upper_bound_rows = np.full(n, -1)
    lower_bound_rows = np.full(n, -1)

    # Zero cone: equalities, and variables whose two bounds coincide.
    equal = (lower == upper) & ~constant
    pinned = bounds[0] == bounds[1]
    upper_rows[equal] = stack.push(C[equal], upper[equal])
    upper_bound_rows[pinned] = stack.push(identity[pinned], bounds[1][pinned])
    n_zero = stack.size

    # Nonnegative cone: upper - body, body - lower, the same for bounds, then cones.
    above = np.isfinite(upper) & ~equal & ~constant
    below = np.isfinite(lower) & ~equal & ~constant
    upper_rows[above] = stack.push(C[above], upper[above])
    lower_rows[below] = stack.push(-C[below], 0.0 - lower[below])
    above = np.isfinite(bounds[1]) & ~pinned
    below = np.isfinite(bounds[0]) & ~pinned
    upper_bound_rows[above] = stack.push(identity[above], bounds[1][above])
    lower_bound_rows[below] = stack.push(-identity[below], 0.0 - bounds[0][below])
    placed, psd_orders = _push_cones(stack, cone_data, E, e)
    A, b = stack.matrix()
    return ConicForm(
        model=model,
        variables=variables,
        P=P,
        c=c,
        c0=c0,
        sense=sense,
        has_objective=has_objective,
        A=A,
        b=b,
        n_zero=n_zero,
        n_nonnegative=len(b) - n_zero - int((psd_orders * (psd_orders + 1) // 2).sum()),
        psd_orders=psd_orders,
        constraints=rows,
        upper_rows=upper_rows,
        lower_rows=lower_rows,
        upper_bound_rows=upper_bound_rows,
        lower_bound_rows=lower_bound_rows,
        cones=placed,
    )


def _check_constant_rows(
    rows: list[Any], constant: np.ndarray, violation: np.ndarray, k: np.ndarray
) -> None:
    """Let rows without variables, whose body is ``k``, hold or fail by themselves."""
    bad = np.flatnonzero(constant & (violation > CONSTANT_ROW_TOLERANCE * (1 + abs(k))))
    if bad.size:
        raise InfeasibleConstraintException(
            f"constraint '{rows[bad[0]].name}' has no free variables and is violated "
            f"by {violation[bad[0]]:.6g}"
        )


def _push_cones(
    stack: _Stack, cones: list[Any], E: sp.csr_array, e: np.ndarray
) -> tuple[list[ConeRows], np.ndarray]:
    """Cone rows: ``s = M`` for a block, ``s = (F A F')_ij`` for an entry of a DNN."""
    orders = np.array([cone.order for cone in cones], dtype=np.int64)
    sizes = orders * (orders + 1) // 2
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    # Entrywise parts: combinations T of the triangle rows of all cones at once.
    pairs: list[np.ndarray] = []
    facets: list[np.ndarray | None] = []
    take: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    n_entries = 0
    for cone, start in zip(cones, starts, strict=False):
        F = None
        pair = np.zeros((0, 2), dtype=np.int64)
        if isinstance(cone, DoublyNonnegativeConeData):
            F = None if cone.facets is None else np.asarray(cone.facets, dtype=float)
            m = cone.order - cone.free
            pair, (r, t, weights) = _entries(m) if F is None else _facet_entries(m, F)
            take.append((r + n_entries, t + start, weights))
        pairs.append(pair)
        facets.append(F)
        n_entries += len(pair)
    entry_numbers = np.full(n_entries, -1)
    if n_entries:
        r, t, weights = (np.concatenate(part) for part in zip(*take, strict=True))
        T = sp.csr_array((weights, (r, t)), shape=(n_entries, E.shape[0]))
        N, f = sp.csr_array(T @ E), T @ e
        N.eliminate_zeros()
        constant = np.diff(N.indptr) == 0
        owner = np.repeat(np.arange(len(cones)), [len(pair) for pair in pairs])
        _check_constant_entries(cones, owner[constant], f[constant])
        entry_numbers[~constant] = stack.push(-N[~constant], f[~constant])

    # A matrix of order one is a number.
    scalar = np.flatnonzero(orders == 1)
    single = starts[scalar]
    scalar_numbers = dict(
        zip(scalar.tolist(), stack.push(-E[single], e[single]), strict=True)
    )
    large = np.repeat(orders > 1, sizes)
    numbers = np.full(len(e), -1)
    numbers[large] = stack.push(-E[large], e[large])

    placed = []
    entry = 0
    for position, cone in enumerate(cones):
        stop = entry + len(pairs[position])
        rows = (
            np.array([scalar_numbers[position]])
            if position in scalar_numbers
            else numbers[starts[position] : starts[position + 1]]
        )
        placed.append(
            ConeRows(
                cone=cone,
                order=int(orders[position]),
                rows=rows,
                entry_rows=entry_numbers[entry:stop],
                pairs=pairs[position],
                facets=facets[position],
            )
        )
        entry = stop
    return placed, orders[orders > 1]


_Combination = tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]


@lru_cache(maxsize=256)
def _entries(m: int) -> _Combination:
    """Return the pairs (i, j), i < j, of A and where its triangle has them.

    The leading triangle of a matrix is the beginning of its triangle, so that the
    positions hold in the whole matrix as well.
    """
    i, j = triangle(m)
    where = np.flatnonzero(i != j)
    count = len(where)
    pairs = np.column_stack([i[where], j[where]])
    return pairs, (np.arange(count), where, np.ones(count))


def _facet_entries(m: int, F: np.ndarray) -> _Combination:
    """Return the entries (i, j), i < j, of ``F A F'`` from the triangle of A.

    ``(F A F')_ij = sum_{p < q} (F_ip F_jq + F_iq F_jp) A_pq + sum_p F_ip F_jp A_pp``.
    """
    i, j = np.triu_indices(len(F), 1)
    p, q = triangle(m)
    weights = F[i][:, p] * F[j][:, q] + F[i][:, q] * F[j][:, p]
    weights[:, p == q] /= 2.0
    r, t = np.nonzero(weights)
    return np.column_stack([i, j]), (r, t, weights[r, t])


def _check_constant_entries(
    cones: list[Any], owner: np.ndarray, entry: np.ndarray
) -> None:
    if entry.size and entry.min() < -CONSTANT_ROW_TOLERANCE:
        name = cones[int(owner[entry.argmin()])].name
        raise InfeasibleConstraintException(
            f"cone '{name}' asks for a nonnegative entry whose value is the constant "
            f"{entry.min():.6g}"
        )
