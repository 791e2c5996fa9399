"""The door of the cones: matrices and vectors of affine entries, rays and facets."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple, NoReturn

import numpy as np
from pyomo.common.numeric_types import native_numeric_types
from pyomo.core.base.param import ParamData, ScalarParam
from pyomo.core.base.var import ScalarVar, VarData
from pyomo.core.expr.compare import compare_expressions
from pyomo.core.expr.numeric_expr import LinearExpression, MonomialTermExpression
from pyomo.repn import generate_standard_repn

from pyomo_relu.errors import InputError, InputTypeError, PyomoReluError

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "ConeContent",
    "VectorContent",
    "read_content",
    "read_vector",
    "upper_index",
]

#: Classes of entries that are affine whatever they hold; others are looked into.
_AFFINE = {VarData, ScalarVar, MonomialTermExpression, LinearExpression}
_AFFINE |= {ParamData, ScalarParam}

_INDEX_CACHE: dict[int, np.ndarray[Any, np.dtype[np.intp]]] = {}


class ConeContent(NamedTuple):
    """What a cone holds, once it has passed the door.

    Attributes
    ----------
    entries : tuple
        The upper triangle of the matrix, row by row.
    order : int
        Number of rows of the matrix.
    free : int
        Number of last coordinates that are free.
    facets : (k, m) read-only float array, optional
        Rows of F.
    rays : (r, m) read-only float array, optional
        Columns of R.
    """

    entries: tuple[Any, ...]
    order: int
    free: int = 0
    facets: Array | None = None
    rays: Array | None = None


class VectorContent(NamedTuple):
    """What a cone of vectors holds, once it has passed the door.

    Attributes
    ----------
    entries : tuple
        The vector.
    rotated : bool
        Whether it is in the rotated second-order cone.
    """

    entries: tuple[Any, ...]
    rotated: bool = False


def upper_index(order: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return the (order, order) positions of the entries in a row-wise triangle.

    Parameters
    ----------
    order : int
        Number of rows.

    Examples
    --------
    >>> upper_index(3)
    array([[0, 1, 2],
           [1, 3, 4],
           [2, 4, 5]])
    """
    index = _INDEX_CACHE.get(order)
    if index is None:
        index = np.empty((order, order), dtype=np.intp)
        rows, columns = np.triu_indices(order)
        index[rows, columns] = index[columns, rows] = np.arange(len(rows))
        index.flags.writeable = False
        _INDEX_CACHE[order] = index
    return index


class _NamedErrors:
    """Put the name of a cone before the errors raised inside."""

    __slots__ = ("_cone",)

    def __init__(self, cone: Any) -> None:
        self._cone = cone

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, PyomoReluError) and error.args:
            error.args = (f"cone {self._cone.name!r}: {error.args[0]}",)


def read_content(source: Any, free: Any, cone: Any) -> ConeContent:
    """Check and read what a user gave for one cone.

    Parameters
    ----------
    source : matrix, mapping with "matrix" or ConeContent
        As the cones' docstrings describe it.
    free : int
        Number of free coordinates, unless `source` says otherwise.
    cone : cone data
        Whose content this is; errors carry its name.

    Raises
    ------
    InputError, InputTypeError
        Something is wrong; the message says what and how to mend it.
    """
    if isinstance(source, ConeContent):
        return source
    with _NamedErrors(cone):
        source, options = _split(source, cone)
        order, entries = _read_matrix(source)
        free = _read_free(options.get("free", free), order)
        facets, rays = options.get("facets"), options.get("rays")
        if facets is not None and rays is not None:
            raise InputError(
                "rays and facets exclude each other: with rays the matrix is in ray "
                "coordinates, with facets it is not. Give one of them."
            )
        if facets is not None:
            facets = _read_floats(facets, "facets", order - free)
            _refuse_zero(facets, "facets", "row", 1)
        if rays is not None:
            rays = _read_floats(rays, "rays", order - free)
            _refuse_zero(rays, "rays", "column", 0)
        return ConeContent(entries, order, free, facets, rays)


def read_vector(source: Any, common: Mapping[str, Any], cone: Any) -> VectorContent:
    """Check and read what a user gave for one cone of vectors.

    Parameters
    ----------
    source : vector or mapping with "vector"
        As the docstring of the cone describes it.
    common : mapping
        What was given for all members, unless `source` says otherwise.
    cone : cone data
        Whose content this is; errors carry its name.

    Raises
    ------
    InputError, InputTypeError
        Something is wrong; the message says what and how to mend it.
    """
    with _NamedErrors(cone):
        source, options = _split(source, cone)
        rotated = options.get("rotated", common.get("rotated", False))
        if not isinstance(rotated, (bool, np.bool_)):
            raise InputTypeError(f"rotated must be True or False; got {rotated!r}.")
        entries = _vector_entries(source)
        cone.check_length(len(entries), rotated=bool(rotated))
        _check_entries(entries, "vector")
        return VectorContent(entries, bool(rotated))


def _vector_entries(source: Any) -> tuple[Any, ...]:
    if isinstance(source, Mapping) or getattr(source, "is_indexed", bool)():
        return tuple(source.values())
    if isinstance(source, np.ndarray):
        if source.ndim != 1:
            raise InputError(
                f"the vector must have one dimension; got shape {source.shape}."
            )
        return tuple(source.tolist())
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes)):
        return tuple(source)
    raise InputTypeError(
        "the vector must be a list, a numpy array, or an indexed Pyomo component or "
        f"mapping; got {type(source).__name__}."
    )


def _split(source: Any, cone: Any) -> tuple[Any, Mapping[Any, Any]]:
    """Return what is in a cone, and the mapping that it came in (or an empty one)."""
    held = cone.options[0]
    options: Mapping[Any, Any] = {}
    if isinstance(source, Mapping) and held in source:
        options = source
        unknown = set(options) - set(cone.options)
        if unknown:
            raise InputError(
                f"unknown keys {sorted(map(str, unknown))}; a {cone.kind} cone "
                f"takes {sorted(cone.options)}."
            )
        source = options[held]
    if source is None:
        raise InputTypeError(
            f"the {held} is None; a rule must return a {held} or a dict with the "
            f"key {held!r}."
        )
    return source, options


def _read_matrix(source: Any) -> tuple[int, tuple[Any, ...]]:
    if isinstance(source, Mapping) or getattr(source, "is_indexed", bool)():
        return _from_pairs(dict(source.items()))
    if isinstance(source, np.ndarray):
        if source.ndim != 2:
            raise InputError(
                f"the matrix must have two dimensions; got shape {source.shape}."
            )
        rows = source.tolist()
    elif isinstance(source, Sequence) and not isinstance(source, (str, bytes)):
        rows = [row.tolist() if isinstance(row, np.ndarray) else row for row in source]
    else:
        _refuse_source(source)
    k = len(rows)
    if k == 0:
        raise InputError("the matrix is empty; it must have at least one row.")
    for i, row in enumerate(rows):
        if not isinstance(row, Sequence) or isinstance(row, (str, bytes)):
            raise InputTypeError(
                f"row {i} of the matrix is {type(row).__name__}, not a list of entries."
            )
        if len(row) != k:
            raise InputError(
                f"the matrix must be square; it has {k} rows, but row {i} has "
                f"{len(row)} entries."
            )
    for i in range(k):
        row = rows[i]
        for j in range(i):
            if row[j] is not rows[j][i]:
                _check_equal(rows[j][i], row[j], j, i)
    entries = tuple([entry for i, row in enumerate(rows) for entry in row[i:]])
    _check_entries(entries)
    return k, entries


def _from_pairs(pairs: dict[Any, Any]) -> tuple[int, tuple[Any, ...]]:
    """Read a mapping from pairs of labels; each pair may stand once or twice."""
    labels: dict[Any, int] = {}
    for key in pairs:
        if not isinstance(key, tuple) or len(key) != 2:
            raise InputError(
                f"an indexed matrix must be indexed by pairs (i, j); got index {key!r}."
            )
        for label in key:
            labels.setdefault(label, len(labels))
    # Diagonal keys fix the order of the labels as the user thinks of it.
    diagonal = [i for i, j in pairs if i == j]
    order = len(labels)
    if order == 0:
        raise InputError("the matrix is empty; it must have at least one row.")
    missing = [label for label in labels if (label, label) not in pairs]
    if missing:
        raise InputError(
            f"the matrix lacks its diagonal entry {(missing[0], missing[0])!r}; every "
            "pair (i, j) or its mirror (j, i) must be there."
        )
    entries = []
    for a, i in enumerate(diagonal):
        for j in diagonal[a:]:
            if (i, j) in pairs:
                entry = pairs[i, j]
                mirror = pairs.get((j, i), entry)
                if mirror is not entry:
                    _check_equal(entry, mirror, i, j)
            elif (j, i) in pairs:
                entry = pairs[j, i]
            else:
                raise InputError(
                    f"the matrix lacks the entry {(i, j)!r}; every pair (i, j) or its "
                    "mirror (j, i) must be there."
                )
            entries.append(entry)
    _check_entries(tuple(entries))
    return order, tuple(entries)


def _refuse_source(source: Any) -> NoReturn:
    raise InputTypeError(
        "the matrix must be nested lists, a numpy array, or a Pyomo component or "
        f"mapping indexed by pairs (i, j); got {type(source).__name__}."
    )


def _check_entries(entries: tuple[Any, ...], held: str = "matrix") -> None:
    for kind in set(map(type, entries)) - _AFFINE:
        for entry in entries:
            if type(entry) is kind:
                _check_entry(entry, held)


def _check_entry(entry: Any, held: str = "matrix") -> None:
    kind = type(entry)
    if kind in native_numeric_types and kind is not bool and kind is not np.bool_:
        if not isfinite(entry):
            raise InputError(
                f"the {held} has the entry {entry!r}; constant entries must be finite."
            )
        return
    if (
        kind is bool
        or not getattr(entry, "is_numeric_type", bool)()
        or getattr(entry, "is_indexed", bool)()
    ):
        raise InputTypeError(
            f"the {held} has an entry of type {kind.__name__}; entries must be "
            "variables, affine expressions, parameters or numbers."
        )
    if entry.polynomial_degree() not in (0, 1):
        raise InputError(
            f"the {held} has the nonlinear entry {entry}; entries must be affine. Put "
            "a variable there and constrain it to equal the expression."
        )


def _check_equal(upper: Any, lower: Any, i: Any, j: Any) -> None:
    native = type(upper) in native_numeric_types, type(lower) in native_numeric_types
    if all(native):
        equal = bool(upper == lower)
        if upper != upper:
            return  # NaN: refused as an entry, with a better message
    else:
        equal = _same_expression(upper, lower)
    if not equal:
        raise InputError(
            f"the matrix is not symmetric: entries {(i, j)!r} and {(j, i)!r} are "
            f"{upper} and {lower}. Use the same variable in both places, or index a "
            "Var by the pairs with i <= j only."
        )


def _same_expression(a: Any, b: Any) -> bool:
    """Whether two affine expressions are equal for all values."""
    for entry in (a, b):
        _check_entry(entry)
    if compare_expressions(a, b):
        return True
    difference = generate_standard_repn(a - b, compute_values=False, quadratic=False)
    rest = (difference.constant, *difference.linear_coefs)
    return difference.is_linear() and all(
        type(c) in native_numeric_types and c == 0 for c in rest
    )


def _read_free(free: Any, order: int) -> int:
    try:
        number = operator.index(free)
    except TypeError:
        number = -1
    if isinstance(free, (bool, np.bool_)) or not 0 <= number < order:
        raise InputError(
            f"free must be an integer from 0 to {order - 1} for a matrix of order "
            f"{order}; got {free!r}. (With no cone coordinate left, use PSDCone.)"
        )
    return number


def _read_floats(values: Any, name: str, columns: int) -> Array:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputTypeError(
            f"{name} must be a matrix of real numbers; got {type(values).__name__} "
            f"({error})."
        ) from error
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] != columns:
        raise InputError(
            f"{name} must have shape (any, {columns}), one column for each of the "
            f"{columns} cone coordinates (order minus free); got {array.shape}."
        )
    if not np.isfinite(array).all():
        raise InputError(f"{name} must be finite; it contains NaN or infinity.")
    array.flags.writeable = False
    return array


def _refuse_zero(array: Array, name: str, what: str, axis: int) -> None:
    zero = ~array.any(axis=axis)
    if zero.any():
        raise InputError(
            f"{what} {int(np.flatnonzero(zero)[0])} of {name} is zero; drop it."
        )
