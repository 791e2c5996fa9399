"""What all matrix cones share: a Block that holds a symmetric matrix and a guard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from pyomo.core.base.block import Block, BlockData
from pyomo.core.expr.numvalue import value
from pyomo.gdp import Disjunct

from pyomo_relu.cones.component import ConeComponent, MemberData
from pyomo_relu.cones.entries import ConeContent, read_content, upper_index
from pyomo_relu.cones.membership import ConeGuard, unsupported
from pyomo_relu.errors import InputError, InputTypeError

Array = np.ndarray[Any, np.dtype[np.float64]]

#: What cones may be inside of.
DESCEND = (Block, Disjunct)

__all__ = ["DESCEND", "Cone", "ConeData", "cone_data_objects", "is_cone_guard"]


class ConeData(MemberData):
    """One matrix in one cone: the data of a cone component.

    Attributes
    ----------
    guard : ConeGuard
        The constraint that stops whoever cannot take the cone; its body evaluates
        to the membership margin.
    """

    options: ClassVar[tuple[str, ...]] = ("matrix",)
    common: ClassVar[tuple[str, ...]] = ("free",)
    #: Tiers that replace this cone by a simpler one.
    tiers: ClassVar[tuple[str, ...]] = ()
    #: Whether semidefinite solvers take the cone as it is.
    is_conic: ClassVar[bool] = False

    def read(self, source: Any, common: Mapping[str, Any]) -> ConeContent:
        """Check what a user gave for this cone, and return its content."""
        return read_content(source, common.get("free", 0), self)

    def fill(self, content: ConeContent) -> None:
        """Give an empty cone its matrix and its guard; cones never change after.

        Parameters
        ----------
        content : ConeContent
            What :func:`~pyomo_relu.cones.entries.read_content` let through.
        """
        self._content = content
        self.add_component("guard", ConeGuard(self, content.entries))

    def del_component(self, name_or_object: Any) -> None:
        """Delete a component that somebody added to the cone; never its guard.

        Parameters
        ----------
        name_or_object : str or component
            The component.

        Raises
        ------
        UnsupportedConeError
            It is the guard of an active cone, which would be dropped in silence
            without it. Transformations that rename constraints do this.
        InputError
            It is the guard of a cone that is not active, but may be again.
        """
        guard = self.component("guard")
        if guard is not None and (name_or_object is guard or name_or_object == "guard"):
            if self.active:
                raise unsupported(self)
            raise InputError(
                f"{guard.name!r} guards cone {self.name!r} and stays as long as the "
                "cone does; delete the cone from its block instead."
            )
        super().del_component(name_or_object)

    @property
    def content(self) -> ConeContent:
        """Matrix, free coordinates, facets and rays, as one immutable tuple."""
        try:
            return self._content
        except AttributeError:
            raise InputError(
                f"cone {self.name!r} has no matrix yet; construct its model first."
            ) from None

    @property
    def upper_triangle(self) -> tuple[Any, ...]:
        """The entries on and above the diagonal, row by row; k (k + 1) / 2 of them."""
        return self.content.entries

    @property
    def matrix(self) -> np.ndarray[Any, np.dtype[np.object_]]:
        """The symmetric (k, k) object array of the entries, new each time."""
        entries = np.empty(len(self.content.entries), dtype=object)
        entries[:] = self.content.entries
        return entries[upper_index(self.order)]

    @property
    def order(self) -> int:
        """Number of rows k of the matrix."""
        return self.content.order

    @property
    def free(self) -> int:
        """Number of last coordinates that are free."""
        return self.content.free

    @property
    def facets(self) -> Array | None:
        """F (k, m), read-only: the cone is ``{u : F u >= 0}``, not the orthant."""
        return self.content.facets

    @property
    def rays(self) -> Array | None:
        """R (r, m), read-only: the model sees the matrix only through R."""
        return self.content.rays

    def numeric(self) -> Array:
        """Return the (k, k) values of the matrix, each entry evaluated once.

        Raises
        ------
        ValueError
            A variable has no value.
        """
        values = np.array([value(entry) for entry in self.content.entries], float)
        return values[upper_index(self.order)]

    def margin(self) -> float:
        """Return the membership margin at the current values: negative is outside.

        Raises
        ------
        ValueError
            A variable has no value.
        """
        return self._margin(self.numeric())

    def margin_at(self, values: Array) -> float:
        """Return the membership margin at given values of the upper triangle.

        Parameters
        ----------
        values : (k (k + 1) / 2,) float array
            The entries on and above the diagonal, row by row.
        """
        return self._margin(values[upper_index(self.order)])

    def _margin(self, matrix: Array) -> float:
        raise NotImplementedError

    def _entrywise_margin(self, matrix: Array) -> float:
        """Return the smallest entry of A, or of ``F A F^T`` where facets are given."""
        m = self.order - self.free
        A = matrix[:m, :m]
        F = self.facets
        return float((A if F is None else F @ A @ F.T).min())


class Cone(ConeComponent):
    """Base of the matrix cone components; see the classes that derive from it."""

    _ComponentDataClass = ConeData


def cone_data_objects(
    block: Any, active: bool | None = True, kinds: Any = ConeData
) -> Iterator[Any]:
    """Iterate over the cone data below a block, in order of declaration.

    Parameters
    ----------
    block : Block, block data or cone component
        Where to look; sub-blocks and Disjuncts included.
    active : bool or None
        True: only cones that are active and so are all blocks above them, up to and
        including `block`. None: all.
    kinds : class or tuple of classes
        Data classes to look for: by default those of all matrix cones.

    Yields
    ------
    cone data
        Of these classes.

    Raises
    ------
    InputTypeError
        `block` is none of these.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Var
    >>> from pyomo_relu.cones import PSDCone, cone_data_objects
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = PSDCone([[1, m.x], [m.x, 1]])
    >>> [cone.name for cone in cone_data_objects(m)]
    ['K']
    """
    if not isinstance(block, (BlockData, Block)):
        raise InputTypeError(
            f"cones are looked for in blocks and cone components; got "
            f"{type(block).__name__}."
        )
    members = [block] if isinstance(block, BlockData) else list(block.values())
    for member in members:
        for data in member.block_data_objects(active=active, descend_into=DESCEND):
            if isinstance(data, kinds):
                yield data


def is_cone_guard(constraint: Any) -> bool:
    """Whether a constraint data is the guard of a cone.

    A solver that takes the cones themselves skips the guards.

    Parameters
    ----------
    constraint : constraint data
        Any.
    """
    return isinstance(constraint, ConeGuard)
