"""Checks of a complete arrangement, and what is measured on the way.

Half of the arrangement is checked, one cell of each mirror pair; the other half is its
mirror image by construction. The checks together show that no cell is missing: each
cell's interior point satisfies the cell's signs strictly (so every cell exists), and
beyond each of its facets there is another cell of the list. As cells are connected
through facets, the list is all of them: of the arrangement in which the classes that
were decided to meet in a ray do meet there. Splinters of cells that rounding of X
opens around such rays are not cells of it; `Cells.perturbation` bounds what they could
change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from pyomo_relu.arrangement.batch import CONTRADICTION
from pyomo_relu.arrangement.masks import (
    CHUNK_ENTRIES,
    ByteArray,
    FloatArray,
    IntArray,
    MaskIndex,
    SignHash,
    count_bits,
    has_bit,
    unpack,
)
from pyomo_relu.errors import DegenerateDataError

__all__ = [
    "HalfArrangement",
    "check_count",
    "check_perturbation",
    "find_facets",
    "incidence_error",
    "interior_points",
]

_EPS = float(np.finfo(np.float64).eps)


@dataclass
class HalfArrangement:
    """One cell of each mirror pair, with its rays.

    Attributes
    ----------
    normals : (N, r) ndarray
        Unit normals of the classes.
    packed : (P / 2, B) uint8 ndarray
        Packed signs of the cells.
    directions : (V, r) ndarray
        One unit ray of each pair +-u.
    zeros : (V, B) uint8 ndarray
        Packed classes that vanish at each of them.
    indptr, rays : int ndarray
        CSR from cells to rays: v is +directions[v], v + V is -directions[v].
    """

    normals: FloatArray
    packed: ByteArray
    directions: FloatArray
    zeros: ByteArray
    indptr: IntArray
    rays: IntArray

    def incidence_matrix(self) -> csr_matrix:
        """Return the (P / 2, V) matrix with +1 for a ray u and -1 for a ray -u."""
        vertices = len(self.directions)
        sign = np.where(self.rays < vertices, 1.0, -1.0)
        shape = (len(self.packed), vertices)
        return csr_matrix((sign, self.rays % vertices, self.indptr), shape=shape)


def interior_points(half: HalfArrangement) -> tuple[FloatArray, FloatArray]:
    """Return a unit point (P / 2, r) of each open cell, and how pointed the cell is.

    Returns
    -------
    points : (P / 2, r) ndarray
        The direction of the sum of the cell's unit rays.
    pointedness : (P / 2,) ndarray
        ``g_i > 0`` such that some unit vector has an inner product of at least g_i with
        each ray of cell i. Two are tried, the interior point and the direction of the
        sum of the cell's inward normals, which is positive on every ray.

    Raises
    ------
    DegenerateDataError
        If the sum of a cell's unit rays is not strictly inside the cell, or its rays
        do not span the space.
    """
    incidence = half.incidence_matrix()
    points = _unit(incidence @ half.directions)
    inward = np.empty_like(points)
    normals, (count, rank) = half.normals, half.normals.shape
    floor = 4 * rank * _EPS
    step = max(1, CHUNK_ENTRIES // count)
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        signs = 2.0 * unpack(half.packed[part], count) - 1.0
        inward[part] = signs @ normals
        inside = ((points[part] @ normals.T) * signs).min(axis=1) > floor
        if not inside.all():
            raise DegenerateDataError(
                f"The rays of {np.count_nonzero(~inside)} cells do not surround a "
                f"point inside the cell. {CONTRADICTION}"
            )
    _check_rank(half, incidence)
    pointedness = np.maximum(
        _least_cosines(half, points), _least_cosines(half, _unit(inward))
    )
    if not (pointedness > floor).all():
        raise DegenerateDataError(
            f"{np.count_nonzero(~(pointedness > floor))} cells contain a line. "
            f"{CONTRADICTION}"
        )
    return points, pointedness


def check_count(half: HalfArrangement) -> None:
    """Compare the number of cells with Zaslavsky's theorem (rank at most 4).

    An arrangement of rank r has ``2 sum |mu(F)|`` cells, the sum over the flats F whose
    rank is r - 1, r - 3, ...: in rank 4 the N hyperplanes (``|mu| = 1``) and the
    vertices. A vertex with z hyperplanes and c cells around it has ``|mu| = c / 2 - z``
    in rank 4, ``z - 1`` in rank 3. So a lost ray shows, not only a lost cell.

    Raises
    ------
    DegenerateDataError
        If the two differ.
    """
    count, rank = half.normals.shape
    zeros = int(count_bits(half.zeros).sum())
    expected = {
        1: 1,
        2: count,
        3: 1 + zeros - len(half.zeros),
        4: count + len(half.rays) // 2 - zeros,
    }.get(rank, len(half.packed))
    if len(half.packed) != expected:
        raise DegenerateDataError(
            f"{2 * len(half.packed)} cells were found, but their rays belong to "
            f"{2 * expected}. {CONTRADICTION}"
        )


def _unit(vectors: FloatArray) -> FloatArray:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatArray = vectors / np.where(length > 0, length, 1.0)
    return unit


def _least_cosines(half: HalfArrangement, units: FloatArray) -> FloatArray:
    """Return the least inner product of each cell's vector with the cell's rays."""
    vertices, rank = half.directions.shape
    owner = np.repeat(np.arange(len(units), dtype=np.int32), np.diff(half.indptr))
    cosine = np.empty(len(half.rays))
    step = max(1, CHUNK_ENTRIES // rank)
    for start in range(0, len(half.rays), step):
        part = slice(start, start + step)
        ray = half.rays[part]
        inner = np.einsum(
            "tr,tr->t", half.directions[ray % vertices], units[owner[part]]
        )
        cosine[part] = np.where(ray < vertices, inner, -inner)
    return np.minimum.reduceat(cosine, half.indptr[:-1])


def _check_rank(half: HalfArrangement, incidence: csr_matrix) -> None:
    """Raise unless the rays of every cell span the space."""
    directions, rank = half.directions, half.directions.shape[1]
    products = (directions[:, :, None] * directions[:, None, :]).reshape(-1, rank**2)
    step = max(1, CHUNK_ENTRIES // rank**2)
    magnitude = abs(incidence)
    for start in range(0, len(half.packed), step):
        gram = (magnitude[start : start + step] @ products).reshape(-1, rank, rank)
        eigenvalues = np.linalg.eigvalsh(gram)
        # The Gram matrix squares the singular values: ask the thin cells again.
        thin = eigenvalues[:, 0] <= 1e-10 * eigenvalues[:, -1]
        for cell in start + np.flatnonzero(thin):
            at = half.rays[half.indptr[cell] : half.indptr[cell + 1]]
            rays = directions[at % len(directions)]
            singular = np.linalg.svd(rays, compute_uv=False)
            if len(rays) < rank or singular[-1] <= 4 * rank * _EPS * singular[0]:
                raise DegenerateDataError(
                    f"The {len(rays)} rays of a cell do not span rank {rank}. "
                    f"{CONTRADICTION}"
                )


def find_facets(
    half: HalfArrangement, hasher: SignHash
) -> tuple[IntArray, IntArray, IntArray]:
    """Return the facets of each cell and the cells beyond them.

    Only classes that vanish on one of a cell's rays can be facets. Such a class is a
    facet exactly when flipping it gives another cell. If it is none, the face it cuts
    off the cell has to lie on a second class as well, or a cell is missing.

    Returns
    -------
    indptr : (P / 2 + 1,) int64 ndarray
    classes : (F,) int32 ndarray
        CSR from cells to facet classes, ascending in each cell.
    neighbours : (F,) int32 ndarray
        The cell beyond: i of this half, or ``i + P / 2`` for its mirror image.

    Raises
    ------
    DegenerateDataError
        If a cell is missing.
    """
    count, pairs = half.normals.shape[0], len(half.packed)
    rows, classes = _candidates(half)
    index = MaskIndex(half.packed, hasher, mirrored=True)
    neighbour = index.find_flips(rows, classes)
    missing = neighbour < 0
    _check_no_facets(half, rows[missing], classes[missing])
    rows, classes = rows[~missing], classes[~missing]
    degree = np.bincount(rows, minlength=pairs)
    if degree.min() < half.normals.shape[1]:
        raise DegenerateDataError(
            f"A cell has {degree.min()} facets, fewer than the rank "
            f"{half.normals.shape[1]}; {count} classes. {CONTRADICTION}"
        )
    indptr = np.concatenate([[0], np.cumsum(degree)]).astype(np.int64)
    return indptr, classes.astype(np.int32), neighbour[~missing].astype(np.int32)


def _candidates(half: HalfArrangement) -> tuple[IntArray, IntArray]:
    """Return all pairs of a cell and a class that vanishes on one of its rays."""
    count, pairs = half.normals.shape[0], len(half.packed)
    if half.normals.shape[1] == 1:  # a half-line ends at the origin, not on a ray
        return np.zeros(pairs, dtype=np.int64), np.zeros(pairs, dtype=np.int64)
    rows, classes = [], []
    per_cell = max(1, int(half.indptr[-1]) // pairs)
    step = max(1, CHUNK_ENTRIES // (count + per_cell * half.zeros.shape[1]))
    for start in range(0, pairs, step):
        stop = min(start + step, pairs)
        bounds = half.indptr[start : stop + 1]
        zeros = half.zeros[half.rays[bounds[0] : bounds[-1]] % len(half.zeros)]
        union = np.bitwise_or.reduceat(zeros, bounds[:-1] - bounds[0], axis=0)
        row, column = np.nonzero(unpack(union, count))
        rows.append(start + row)
        classes.append(column)
    return np.concatenate(rows), np.concatenate(classes)


def _check_no_facets(half: HalfArrangement, rows: IntArray, classes: IntArray) -> None:
    """Raise if one of these classes bounds its cell in a whole facet."""
    sizes = np.diff(half.indptr)[rows]
    ends = np.cumsum(sizes)
    first = 0
    while first < len(rows):
        done = ends[first - 1] if first else 0
        room = done + 8 * CHUNK_ENTRIES // half.zeros.shape[1]
        stop = max(first + 1, int(np.searchsorted(ends, room, side="right")))
        size = sizes[first:stop]
        begin = np.cumsum(size) - size
        pick = np.repeat(half.indptr[rows[first:stop]] - begin, size) + np.arange(
            int(size.sum())
        )
        ray = half.rays[pick] % len(half.zeros)
        on = has_bit(half.zeros, ray, np.repeat(classes[first:stop], size))
        zeros = half.zeros[ray]
        zeros[~on] = 255
        shared = count_bits(np.bitwise_and.reduceat(zeros, begin, axis=0))
        if (shared < 2).any():
            raise DegenerateDataError(
                f"{np.count_nonzero(shared < 2)} cells next to known ones are "
                f"missing. {CONTRADICTION}"
            )
        first = stop


def incidence_error(
    half: HalfArrangement, pointedness: FloatArray, weight: FloatArray
) -> float:
    """Return how wrong the cells' signs can be on their rays' cones.

    A ray counts as lying on the classes that vanish there, yet in floating point it
    violates them by a residual. With ``e_j`` the Euclidean norm over the samples of
    those residuals at ray j, and c a unit vector with ``c @ ray_j >= g_i > 0`` for the
    rays of cell i, a unit point ``u = sum_j a_j ray_j``, ``a >= 0``, of the cone of the
    cell's rays has ``g_i sum_j a_j <= c @ u <= 1``. Hence

        |(X u)_+ - D_i X u|_2 <= max_j e_j / g_i .

    Parameters
    ----------
    half : HalfArrangement
        The cells.
    pointedness : (P / 2,) ndarray
        ``g_i``, see `interior_points`.
    weight : (N,) ndarray
        Norm of the samples of each class; the result has their units.
    """
    count, rank = half.normals.shape
    error = np.empty(len(half.directions))
    step = max(1, CHUNK_ENTRIES // count)
    for start in range(0, len(error), step):
        part = slice(start, start + step)
        # The dot product is known to within this floor only.
        residual = np.abs(half.directions[part] @ half.normals.T) + rank * _EPS
        residual *= unpack(half.zeros[part], count)
        error[part] = np.linalg.norm(residual * weight, axis=1)
    worst = np.maximum.reduceat(error[half.rays % len(error)], half.indptr[:-1])
    return float((worst / pointedness).max())


def check_perturbation(perturbation: float, size: float, tolerance: float) -> None:
    """Refuse cells whose decisions may have changed X noticeably.

    Parameters
    ----------
    perturbation : float
        See `Cells`.
    size : float
        Frobenius norm of the rows of X that have a class, in the same units.
    tolerance : float
        The relative change allowed is its square root.
    """
    if perturbation > np.sqrt(tolerance) * size:
        raise DegenerateDataError(
            f"The decisions made with tolerance={tolerance:g} may have changed X by as "
            f"much as {perturbation / size:.1e} of its norm. {CONTRADICTION}"
        )
