"""Affine parts of a model, put together in the row order of a conic form."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyomo.common.errors import InfeasibleConstraintException

from pyomo_relu.cones import DoublyNonnegativeConeData
from pyomo_relu.solvers.conic_form import (
    ConeRows,
    ConicForm,
    QuadraticCone,
    VectorRows,
    triangle,
)
from pyomo_relu.solvers.quadratic_rows import QuadraticVectors

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
    second_order_cones: tuple[list[Any], sp.csr_array, np.ndarray],
    quadratics: QuadraticVectors,
    exponential_cones: tuple[list[Any], sp.csr_array, np.ndarray],
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
    second_order_cones, exponential_cones : tuple
        The same of the cones of vectors.
    quadratics : QuadraticVectors
        Second-order cones that constraints have become.

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
    n = len(variables)
    C = _widen(C, n)
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

    # Entries of the DNN cones, and matrices of order one, are numbers as well; vectors
    # and larger matrices follow.
    matrices, E, e = cones
    E = _widen(E, n)
    orders = np.array([cone.order for cone in matrices], dtype=np.int64)
    sizes = orders * (orders + 1) // 2
    single = np.repeat(orders == 1, sizes)
    triangle_rows = np.full(len(e), -1)
    entries = _push_entries(stack, matrices, np.cumsum(sizes) - sizes, E, e)
    triangle_rows[single] = stack.push(-E[single], e[single])
    n_linear = stack.size
    vectors, V, v = second_order_cones
    vector_rows = _push_vectors(stack, vectors, _widen(V, n), v)
    quadratic_rows = _split(
        stack.push(-_widen(quadratics.V, n), quadratics.v), quadratics.sizes
    )
    triangle_rows[~single] = stack.push(-E[~single], e[~single])
    triples, U, u = exponential_cones
    triple_rows = stack.push(-_widen(U, n), u).reshape(-1, 3)
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
        n_nonnegative=n_linear - n_zero,
        soc_orders=np.concatenate(
            [[len(cone.vector) for cone in vectors], quadratics.sizes]
        ).astype(np.int64),
        psd_orders=orders[orders > 1],
        n_exponential=len(triples),
        constraints=rows,
        upper_rows=upper_rows,
        lower_rows=lower_rows,
        upper_bound_rows=upper_bound_rows,
        lower_bound_rows=lower_bound_rows,
        cones=[
            ConeRows(cone, cone.order, block_rows, entry_rows, pairs, facets)
            for cone, block_rows, (entry_rows, pairs, facets) in zip(
                matrices, _split(triangle_rows, sizes), entries, strict=True
            )
        ],
        vector_cones=[
            VectorRows(cone, rows)
            for cone, rows in zip(
                [*vectors, *triples], [*vector_rows, *triple_rows], strict=True
            )
        ],
        quadratics=[
            QuadraticCone(constraint, rows, bool(is_upper))
            for constraint, rows, is_upper in zip(
                quadratics.constraints,
                quadratic_rows,
                quadratics.is_upper,
                strict=True,
            )
        ],
    )


def _split(array: np.ndarray, sizes: Any) -> list[np.ndarray]:
    """Return consecutive parts of an array."""
    return np.split(array, np.cumsum(sizes)[:-1]) if len(sizes) else []


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


_Entries = tuple[np.ndarray, np.ndarray, "np.ndarray | None"]


def _push_entries(
    stack: _Stack, cones: list[Any], starts: np.ndarray, E: sp.csr_array, e: np.ndarray
) -> list[_Entries]:
    """Push ``s = (F A F')_ij`` for the entries that DNN cones bound.

    Returns for each cone the rows, -1 for a constant entry, their pairs (i, j) and F.
    """
    # Combinations T of the triangle rows of all cones at once.
    pairs: list[np.ndarray] = []
    facets: list[np.ndarray | None] = []
    take: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    n_entries = 0
    for cone, start in zip(cones, starts, strict=True):
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
    numbers = np.full(n_entries, -1)
    counts = [len(pair) for pair in pairs]
    if n_entries:
        r, t, weights = (np.concatenate(part) for part in zip(*take, strict=True))
        T = sp.csr_array((weights, (r, t)), shape=(n_entries, E.shape[0]))
        N, f = sp.csr_array(T @ E), T @ e
        N.eliminate_zeros()
        constant = np.diff(N.indptr) == 0
        owner = np.repeat(np.arange(len(cones)), counts)
        _check_constant_entries(cones, owner[constant], f[constant])
        numbers[~constant] = stack.push(-N[~constant], f[~constant])
    return list(zip(_split(numbers, counts), pairs, facets, strict=True))


def _push_vectors(
    stack: _Stack, cones: list[Any], V: sp.csr_array, v: np.ndarray
) -> list[np.ndarray]:
    """Push ``s = V x + v``, turned upright for rotated cones; return rows a cone."""
    sizes = np.array([len(cone.vector) for cone in cones], dtype=np.int64)
    rotated = np.array([cone.rotated for cone in cones], dtype=bool)
    if rotated.any():
        # The map of `cones.second_order.upright`, of all of them at once.
        first = (np.cumsum(sizes) - sizes)[rotated]
        second = first + 1
        half = np.sqrt(0.5)
        diagonal = np.ones(len(v))
        diagonal[first], diagonal[second] = half, -half
        across = (np.append(first, second), np.append(second, first))
        turn = sp.csr_array((np.full(len(across[0]), half), across), (len(v), len(v)))
        turn = sp.csr_array(turn + sp.diags_array(diagonal))
        V, v = sp.csr_array(turn @ V), turn @ v
        V.eliminate_zeros()
    return _split(stack.push(-V, v), sizes)


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
