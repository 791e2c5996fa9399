"""What all matrix cones share: a Block that holds a symmetric matrix and a guard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from pyomo.core.base.block import Block, BlockData
from pyomo.core.base.global_set import UnindexedComponent_index
from pyomo.core.base.initializer import Initializer
from pyomo.core.expr.numvalue import value
from pyomo.gdp import Disjunct

from pyomo_relu.cones.entries import ConeContent, read_content, upper_index
from pyomo_relu.cones.membership import ConeGuard, unsupported
from pyomo_relu.errors import InputError, InputTypeError

Array = np.ndarray[Any, np.dtype[np.float64]]

#: What cones may be inside of.
DESCEND = (Block, Disjunct)

__all__ = ["DESCEND", "Cone", "ConeData", "cone_data_objects", "is_cone_guard"]


class ConeData(BlockData):
    """One matrix in one cone: the data of a cone component.

    Attributes
    ----------
    guard : ConeGuard
        The constraint that stops whoever cannot take the cone; its body evaluates
        to the membership margin.
    """

    #: Field-standard name of the cone.
    kind: ClassVar[str]
    #: Keys that a rule's dict may have.
    options: ClassVar[tuple[str, ...]] = ("matrix",)
    #: Tiers that replace this cone by a simpler one.
    tiers: ClassVar[tuple[str, ...]] = ()
    #: Whether semidefinite solvers take the cone as it is.
    is_conic: ClassVar[bool] = False

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

    def clear(self) -> None:
        """Refuse: a cone without matrix and guard would be dropped in silence.

        Raises
        ------
        InputError
            Always.
        """
        raise _not_cleared(self)

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


class _ConeRule:
    """Read what the user gave for each member; called by `Block.construct`."""

    def __init__(self, source: Any, free: Any, *, call: bool) -> None:
        self.source = Initializer(source) if call else source
        self.free = free
        self.call = call

    def __call__(self, cone: ConeData, index: Any) -> None:
        source = self.source
        if self.call:
            source = source(cone.parent_component().parent_block(), index)
        cone.fill(read_content(source, self.free, cone))


class _ContentRule:
    """Hand out matrices that have passed the door before."""

    def __init__(self, contents: Mapping[Any, ConeContent]) -> None:
        self.contents = contents

    def __call__(self, cone: ConeData, index: Any) -> None:
        cone.fill(self.contents[index])


class Cone(Block):
    """Base of the cone components; see the classes that derive from it."""

    _ComponentDataClass = ConeData
    _scalar: ClassVar[type[Cone]]
    _indexed: ClassVar[type[Cone]]

    def __new__(cls, *args: Any, **kwds: Any) -> Any:
        """Return the scalar or the indexed version of the class."""
        if "_scalar" not in cls.__dict__:
            return super().__new__(cls)
        indexed = kwds.get("rule") is not None and len(args) > 0
        return object.__new__(cls._indexed if indexed else cls._scalar)

    def __init__(self, *args: Any, rule: Any = None, **kwds: Any) -> None:
        options = {
            key: kwds.pop(key)
            for key in self._ComponentDataClass.options
            if key in kwds
        }
        free = options.pop("free", 0)
        name = type(self).__name__
        name = name.removeprefix("Scalar").removeprefix("Indexed")
        reader: Any
        if rule is None:
            if len(args) + ("matrix" in options) != 1:
                raise InputTypeError(
                    f"{name} takes one matrix, {name}(matrix), or index sets and a "
                    f"rule, {name}(index, rule=...); got {len(args)} positional "
                    "arguments and no rule."
                )
            if args:
                options["matrix"], args = args[0], ()
            reader = _ConeRule(options, free, call=False)
        elif isinstance(rule, _ContentRule):
            reader = rule
        else:
            if options:
                raise InputTypeError(
                    f"{name} takes {sorted(options)} from its rule: return "
                    "dict(matrix=..., ...) from the rule instead."
                )
            if not callable(rule):
                raise InputTypeError(
                    f"rule must be a function; got {type(rule).__name__}."
                )
            reader = _ConeRule(rule, free, call=True)
        super().__init__(*args, **kwds)
        self._rule: Any = reader

    @classmethod
    def from_contents(cls, contents: Mapping[Any, ConeContent], *index: Any) -> Cone:
        """Return a component of matrices that have passed the door before.

        Parameters
        ----------
        contents : mapping
            Content of each member; the key of a scalar cone is None.
        *index : index sets
            Those of an indexed component.
        """
        return cls(*index, rule=_ContentRule(contents))

    def construct(self, data: Any = None) -> None:
        """Read the matrices, and let go of the rule and of what it holds."""
        if self._constructed:
            return
        super().construct(data)
        self._rule = None
        # Pyomo makes the members of an infinite set when they are asked for; what
        # nobody asks for would constrain nothing.
        if self.is_indexed() and not self.index_set().isfinite():
            raise InputError(
                f"cone {self.name!r} is indexed by {self.index_set().name}, which is "
                "not finite; give the members a finite index set."
            )

    def clear(self) -> None:
        """Refuse: an active component without members says nothing.

        Raises
        ------
        InputError
            Always.
        """
        raise _not_cleared(self)

    def _getitem_when_not_present(self, index: Any) -> Any:
        if self._rule is None:
            raise KeyError(index)
        return super()._getitem_when_not_present(index)


class ScalarConeMixin:
    """Makes a scalar component out of cone data and cone component."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        BlockData.__init__(self, component=self)
        Cone.__init__(self, *args, **kwds)  # type: ignore[arg-type]
        self._data[None] = self  # type: ignore[attr-defined]
        self._index = UnindexedComponent_index

    display = Block.display


def _not_cleared(cone: Cone | ConeData) -> InputError:
    return InputError(
        f"cone {cone.name!r} cannot be cleared: cones never change. Deactivate it, "
        f"{cone.name}.deactivate(), or delete it from its block."
    )


def cone_data_objects(
    block: Any, active: bool | None = True, kinds: Any = ConeData
) -> Iterator[ConeData]:
    """Iterate over the cone data below a block, in order of declaration.

    Parameters
    ----------
    block : Block, block data or cone component
        Where to look; sub-blocks and Disjuncts included.
    active : bool or None
        True: only cones that are active and so are all blocks above them, up to and
        including `block`. None: all.
    kinds : class or tuple of classes
        Data classes to look for.

    Yields
    ------
    ConeData

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
