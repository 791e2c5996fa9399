"""Cells of a hyperplane arrangement: what enumeration and sampling return."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyomo_relu.arrangement.classes import RowClasses, incidence_tolerance
from pyomo_relu.arrangement.geometry import extreme_rays, irredundant_rows
from pyomo_relu.arrangement.masks import (
    BoolArray,
    ByteArray,
    FloatArray,
    IntArray,
    MaskIndex,
    SignHash,
    unpack,
)
from pyomo_relu.arrangement.tree import Tree, build_tree
from pyomo_relu.errors import InputError, InputTypeError

__all__ = ["Cells", "take_rows"]

CSR = tuple[IntArray, IntArray]
RayTable = tuple[FloatArray, IntArray, IntArray]


class _Matrices(Sequence[FloatArray]):
    """One matrix a cell, made when asked for."""

    def __init__(self, count: int, make: Callable[[int], FloatArray]) -> None:
        self._count = count
        self._make = make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> FloatArray: ...
    @overload
    def __getitem__(self, index: slice) -> list[FloatArray]: ...
    def __getitem__(self, index: int | slice) -> FloatArray | list[FloatArray]:
        if isinstance(index, slice):
            return [self._make(i) for i in range(*index.indices(self._count))]
        position = index + self._count if index < 0 else index
        if not 0 <= position < self._count:
            raise IndexError(f"cell {index} of {self._count}")
        return self._make(int(position))

    def __iter__(self) -> Iterator[FloatArray]:
        return (self._make(i) for i in range(self._count))


class Cells:
    """Cells of the arrangement of the hyperplanes ``{u : x_k^T u = 0}``.

    Made by `enumerate_cells` (all cells) and `sample_cells` (some); not by hand. All
    arrays are read-only. Cell i is the cone ``K_i = {u : (2 D_i - I) X u >= 0}``, where
    the diagonal of ``D_i`` is ``masks[i]``.

    Attributes
    ----------
    X : (n, d) ndarray
        The data.
    basis : (d, r) ndarray
        Orthonormal basis of the row space of X (up to the tolerance); the identity when
        r == d. Reduced coordinates are ``basis.T @ u``.
    rank : int
        Dimension r of the row space.
    normals : (N, r) ndarray
        Unit normals of the distinct hyperplanes (classes), reduced coordinates.
    sample_class : (n,) int64 ndarray
        Class of each sample, -1 for zero rows.
    sample_sign : (n,) int8 ndarray
        +1 where the sample points along the normal of its class, -1 where against it,
        0 for zero rows.
    class_sample : (N,) int64 ndarray
        The sample that stands for each class (its longest row).
    packed : (P, ceil(N / 8)) uint8 ndarray
        Class signs of each cell as bits (``numpy.packbits``); 1 is the positive side.
    interior_points : (P, r) ndarray
        A unit point of each open cell, reduced coordinates.
    complete : bool
        Whether these are all cells of the arrangement.
    neighbours : (F,) int32 ndarray or None
        The cell beyond each facet, in the order of `facet_indices`; None unless
        `complete`.
    perturbation : float
        What the decisions made with the tolerance can change, in units of X (see
        Notes).
    tolerance : float
        The tolerance of the decisions.
    note : str
        What a user should know about a sample, empty otherwise.

    Notes
    -----
    With ``rho(Z) = max over |u| <= 1 of |Z^T (X u)_+|`` and
    ``rho_i(Z) = max of |Z^T D_i X u| over unit vectors u in the cone of rays[i]``,
    complete cells satisfy for every Z

        rho(Z) <= max_i rho_i(Z) + |Z|_2 * perturbation .

    `perturbation` is ``|E|_2 + max_i max_j e_j / g_i``, measured, not read off the
    tolerance (the first term times ``sqrt(2)`` if r < d). E holds the differences
    between the rows of X and the multiples of class normals that replace them: merged
    rows, truncated directions, rows dropped as zero. It covers every sign in which a
    sample and its class disagree, and the part of u outside of the row space. The
    second term covers rays that lie on a class only up to rounding or the tolerance:
    ``e_j`` is the residual at ray j, the Euclidean norm over the samples of the classes
    that vanish there, and ``g_i > 0`` a number such that some unit vector has an inner
    product of at least g_i with every ray of cell i; so a unit vector
    ``sum_j a_j ray_j``, ``a >= 0``, has ``sum_j a_j <= 1 / g_i``.

    That the cones of the rays cover the row space follows from the closure under facet
    flips, which enumeration checks: glued along their common facets they form a closed
    manifold that is mapped to the sphere with odd symmetry, hence onto it. Residuals
    are floating-point numbers with r units of rounding added to each; clean data give
    some 1e-15 times the size of X. For incomplete cells the number speaks of these
    cells only; for sampled ones it includes what their redundant rows may hide.

    Examples
    --------
    >>> from pyomo_relu.arrangement import enumerate_cells
    >>> enumerate_cells([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0], [0.0, 0.0]])
    Cells: all 6 of 3 hyperplanes in rank 2 (4 samples, 2 features; 1 zero row);
    perturbation ...
    """

    def __init__(
        self,
        classes: RowClasses,
        *,
        packed: ByteArray,
        interior_points: FloatArray,
        complete: bool,
        perturbation: float,
        tolerance: float,
        rays: RayTable | None = None,
        facets: CSR | None = None,
        neighbours: IntArray | None = None,
        note: str = "",
    ) -> None:
        self._classes = classes
        self.X: FloatArray = classes.X
        self.basis: FloatArray = classes.basis
        self.normals: FloatArray = classes.normals
        self.sample_class: IntArray = classes.sample_class
        self.sample_sign: NDArray[np.int8] = classes.sample_sign
        self.class_sample: IntArray = classes.representative
        self.packed = packed
        self.interior_points = interior_points
        self.complete = complete
        self.neighbours = neighbours
        self.perturbation = perturbation
        self.tolerance = tolerance
        self.note = note
        self._rays = rays
        self._facets = facets
        self._facet_cache: dict[int, IntArray] = {}
        self._ray_cache: dict[int, FloatArray] = {}
        for array in (
            *(self.X, self.basis, self.normals, self.sample_class, self.sample_sign),
            *(self.class_sample, packed, interior_points, neighbours),
            *(rays or ()),
            *(facets or ()),
        ):
            if array is not None:
                array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.packed)

    def __repr__(self) -> str:
        n, d = self.X.shape
        zero = int(np.count_nonzero(self.sample_class < 0))
        zeros = f"; {zero} zero row{'s' if zero > 1 else ''}" if zero else ""
        many = f"all {len(self)}" if self.complete else f"{len(self)}"
        note = f"; {self.note}" if self.note else ""
        return (
            f"Cells: {many} of {len(self.normals)} hyperplanes in rank {self.rank} "
            f"({n} samples, {d} features{zeros}); "
            f"perturbation {self.perturbation:.1e}{note}"
        )

    @property
    def rank(self) -> int:
        """Dimension r of the row space of X."""
        return int(self.normals.shape[1])

    @property
    def signs(self) -> BoolArray:
        """Class signs (P, N) of the cells, True on the positive side; a new array."""
        return unpack(self.packed, len(self.normals))

    @property
    def masks(self) -> BoolArray:
        """Active samples (P, n) of the cells; zero rows are inactive; a new array."""
        masks = self.signs[:, self.sample_class]
        masks ^= self.sample_sign < 0
        masks[:, self.sample_class < 0] = False
        return masks

    # -- rays ---------------------------------------------------------------------

    @property
    def rays(self) -> Sequence[FloatArray]:
        """Unit rays of each cell: ``rays[i]`` is (d, m_i), ``K_i = {R_i a : a >= 0}``.

        They span the row space. For sampled cells they are computed from the facets
        when asked for.

        Raises
        ------
        InputError
            For sampled cells with too many facets in too high a rank.
        """
        return _Matrices(len(self), lambda i: self.basis @ self.cell_rays(i).T)

    @property
    def ray_table(self) -> FloatArray:
        """Unit rays (V, r) in reduced coordinates that `ray_indices` refers to."""
        return self._all_rays()[0]

    @property
    def ray_indptr(self) -> IntArray:
        """CSR pointer (P + 1,) from cells to `ray_indices`."""
        return self._all_rays()[1]

    @property
    def ray_indices(self) -> IntArray:
        """Rows of `ray_table`, cell by cell."""
        return self._all_rays()[2]

    def cell_rays(self, i: int) -> FloatArray:
        """Return the unit rays (m, r) of cell i, reduced coordinates."""
        if self._rays is not None:
            table, indptr, indices = self._rays
            return table[indices[indptr[i] : indptr[i + 1]]]
        if i not in self._ray_cache:
            self._ray_cache[i] = extreme_rays(
                self.facet_normals(i), incidence_tolerance(self.tolerance)
            )
        return self._ray_cache[i]

    def _all_rays(self) -> RayTable:
        if self._rays is None:
            tables = [self.cell_rays(i) for i in range(len(self))]
            indptr = np.cumsum([0] + [len(table) for table in tables])
            table = np.concatenate([np.empty((0, self.rank)), *tables])
            self._rays = (table, indptr, np.arange(len(table), dtype=np.int32))
            for array in self._rays:
                array.flags.writeable = False
        return self._rays

    # -- facets -------------------------------------------------------------------

    @property
    def facets(self) -> Sequence[FloatArray]:
        """Facets of each cell: ``facets[i]`` is (k_i, d), ``K_i = {u : F_i u >= 0}``.

        Rows of ``(2 D_i - I) X`` without the redundant ones, one sample a class. In
        complete cells a class is a facet exactly when flipping it gives another cell;
        otherwise a row is dropped if it is a nonnegative combination of the others.
        """
        return _Matrices(len(self), self._facet_rows)

    @property
    def facet_indptr(self) -> IntArray:
        """CSR pointer (P + 1,) from cells to `facet_indices`."""
        return self._all_facets()[0]

    @property
    def facet_indices(self) -> IntArray:
        """Classes that are facets, cell by cell."""
        return self._all_facets()[1]

    def _facet_rows(self, i: int) -> FloatArray:
        classes = self._cell_facets(i)
        sample = self.class_sample[classes]
        positive = unpack(self.packed[i], len(self.normals))[classes]
        sign = np.where(positive, 1.0, -1.0) * self.sample_sign[sample]
        rows: FloatArray = sign[:, None] * self.X[sample]
        return rows

    def facet_normals(self, i: int) -> FloatArray:
        """Return the inward unit normals (k, r) of cell i, reduced coordinates."""
        return self._oriented_normals(i)[self._cell_facets(i)]

    def _oriented_normals(self, i: int) -> FloatArray:
        signs = 2.0 * unpack(self.packed[i], len(self.normals)) - 1.0
        return signs[:, None] * self.normals

    def _cell_facets(self, i: int) -> IntArray:
        if self._facets is not None:
            indptr, classes = self._facets
            return classes[indptr[i] : indptr[i + 1]]
        if i not in self._facet_cache:
            self._facet_cache[i] = irredundant_rows(
                self._oriented_normals(i), self.interior_points[i]
            )
        return self._facet_cache[i]

    def _all_facets(self) -> CSR:
        if self._facets is None:
            facets = [self._cell_facets(i) for i in range(len(self))]
            indptr = np.cumsum([0] + [len(f) for f in facets])
            empty = np.empty(0, dtype=np.int64)
            self._facets = (indptr, np.concatenate([empty, *facets]).astype(np.int32))
            for array in self._facets:
                array.flags.writeable = False
        return self._facets

    # -- points, subsets, trees ---------------------------------------------------

    def interior(self, i: int) -> FloatArray:
        """Return a unit point (d,) of the open cell i."""
        point: FloatArray = self.basis @ self.interior_points[i]
        return point

    def locate(self, U: ArrayLike) -> IntArray:
        """Return the cell of each first-layer weight.

        Parameters
        ----------
        U : array_like (d, m)
            Weights, one neuron a column, as in `ReLUNetwork`.

        Returns
        -------
        (m,) int64 ndarray
            Positions, -1 where the cell is not among these. On a hyperplane the cell
            on its negative side (as `normals` points) is taken, so a weight on several
            of them may find none.
        """
        weights = np.asarray(U, dtype=np.float64)
        if weights.ndim != 2 or len(weights) != self.X.shape[1]:
            raise InputError(
                f"U has shape {weights.shape}; it must be (d, m) with d = "
                f"{self.X.shape[1]}, one neuron a column."
            )
        if not np.isfinite(weights).all():
            raise InputError("U has entries that are not finite.")
        positive = (weights.T @ self.basis) @ self.normals.T > 0
        index = MaskIndex(self.packed, SignHash(len(self.normals)))
        return index.find(np.packbits(positive, axis=1))

    def subset(self, indices: ArrayLike) -> Cells:
        """Return some of the cells, in the given order; the result is not complete.

        Parameters
        ----------
        indices : array_like of int or of bool
            Positions without repetition (negative ones count from the end), or a mask
            of length P.
        """
        chosen = self._positions(indices)
        rays = facets = None
        if self._rays is not None:
            table, indptr, indices_ = self._rays
            new, taken = take_rows(indptr, indices_, chosen)
            used, position = np.unique(taken, return_inverse=True)
            rays = (table[used], new, position.reshape(-1).astype(np.int32))
        if self._facets is not None:
            facets = take_rows(*self._facets, chosen)
        result = Cells(
            self._classes,
            packed=self.packed[chosen],
            interior_points=self.interior_points[chosen],
            complete=False,
            perturbation=self.perturbation,
            tolerance=self.tolerance,
            rays=rays,
            facets=facets,
        )
        for new_i, i in enumerate(chosen.tolist()):
            if i in self._facet_cache:
                result._facet_cache[new_i] = self._facet_cache[i]
            if i in self._ray_cache:
                result._ray_cache[new_i] = self._ray_cache[i]
        return result

    def _positions(self, indices: ArrayLike) -> IntArray:
        chosen = np.asarray(indices)
        if chosen.size == 0:
            return np.empty(0, dtype=np.int64)
        if chosen.ndim != 1:
            raise InputError(
                f"indices has shape {chosen.shape}; give one dimension of positions."
            )
        if chosen.dtype == bool:
            if len(chosen) != len(self):
                raise InputError(
                    f"the mask has length {len(chosen)}; there are {len(self)} cells."
                )
            return np.flatnonzero(chosen)
        if chosen.dtype.kind not in "iu":
            raise InputTypeError(
                f"indices are of type {chosen.dtype}; give whole numbers or booleans."
            )
        if chosen.min() < -len(self) or chosen.max() >= len(self):
            raise InputError(
                f"indices run from {chosen.min()} to {chosen.max()}; there are "
                f"{len(self)} cells."
            )
        chosen = chosen.astype(np.int64) % len(self)
        if len(np.unique(chosen)) < len(chosen):
            raise InputError("indices name a cell twice; give each cell once.")
        return chosen

    def spanning_tree(self, indices: ArrayLike | None = None) -> Tree:
        """Return a spanning tree of the cells for sums over them.

        Parameters
        ----------
        indices : array_like of int or of bool, optional
            The cells to span; all by default.

        Returns
        -------
        Tree
            Its positions count within `indices`. The root is a cell with the fewest
            active samples. See `build_tree` for how the edges are chosen.

        Raises
        ------
        InputError
            If there is no cell to span.

        Examples
        --------
        >>> from pyomo_relu.arrangement import enumerate_cells
        >>> tree = enumerate_cells([[1.0, 0.0], [0.0, 1.0]]).spanning_tree()
        >>> [len(tree.flips(p)) for p in tree.order]
        [0, 1, 1, 1]
        """
        chosen = self._positions(range(len(self)) if indices is None else indices)
        if not len(chosen):
            raise InputError("A spanning tree needs at least one cell; none was given.")
        facets = None
        if self._facets is not None:
            facets = take_rows(*self._facets, chosen)
        return build_tree(
            self.packed[chosen], self.sample_class, self.sample_sign, facets
        )


def take_rows(indptr: IntArray, indices: IntArray, rows: IntArray) -> CSR:
    """Return some rows of a CSR structure.

    Parameters
    ----------
    indptr, indices : arrays
        The structure.
    rows : (k,) int array
        Which rows.
    """
    size = np.diff(indptr)[rows]
    new = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    pick = np.repeat(indptr[rows] - new[:-1], size) + np.arange(new[-1])
    return new, indices[pick]
