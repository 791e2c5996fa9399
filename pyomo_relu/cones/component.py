"""What all cones share as Pyomo components: scalar or indexed, members that stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pyomo.core.base.block import Block, BlockData
from pyomo.core.base.global_set import UnindexedComponent_index
from pyomo.core.base.initializer import Initializer

from pyomo_relu.errors import InputError, InputTypeError

__all__ = ["ConeComponent", "MemberData", "ScalarConeMixin"]


class MemberData(BlockData):
    """One member of a cone component: a block that is filled once."""

    #: Field-standard name of the cone.
    kind: ClassVar[str]
    #: Keys that a rule's dict may have, first that of what is in the cone.
    options: ClassVar[tuple[str, ...]]
    #: Which of them may be given once for all members.
    common: ClassVar[tuple[str, ...]] = ()

    def read(self, source: Any, common: Mapping[str, Any]) -> Any:
        """Check what a user gave for this member, and return its content.

        Parameters
        ----------
        source : object
            What is in the cone, or a mapping with the keys of `options`.
        common : mapping
            What was given for all members; `source` goes before.
        """
        raise NotImplementedError

    def fill(self, content: Any) -> None:
        """Give an empty member its content; it never changes after."""
        raise NotImplementedError

    def clear(self) -> None:
        """Refuse: a cone without what it holds would be dropped in silence.

        Raises
        ------
        InputError
            Always.
        """
        raise _not_cleared(self)


class _UserRule:
    """Read what the user gave for each member; called by `Block.construct`."""

    def __init__(self, source: Any, common: Mapping[str, Any], *, call: bool) -> None:
        self.source = Initializer(source) if call else source
        self.common = common
        self.call = call

    def __call__(self, member: MemberData, index: Any) -> None:
        source = self.source
        if self.call:
            source = source(member.parent_component().parent_block(), index)
        member.fill(member.read(source, self.common))


class _ContentRule:
    """Hand out contents that have passed the door before."""

    def __init__(self, contents: Mapping[Any, Any]) -> None:
        self.contents = contents

    def __call__(self, member: MemberData, index: Any) -> None:
        member.fill(self.contents[index])


class ConeComponent(Block):
    """Base of the cone components; see the classes that derive from it."""

    _ComponentDataClass = MemberData
    _scalar: ClassVar[type[ConeComponent]]
    _indexed: ClassVar[type[ConeComponent]]

    def __new__(cls, *args: Any, **kwds: Any) -> Any:
        """Return the scalar or the indexed version of the class."""
        if "_scalar" not in cls.__dict__:
            return super().__new__(cls)
        indexed = kwds.get("rule") is not None and len(args) > 0
        return object.__new__(cls._indexed if indexed else cls._scalar)

    def __init__(self, *args: Any, rule: Any = None, **kwds: Any) -> None:
        data = self._ComponentDataClass
        options = {key: kwds.pop(key) for key in data.options if key in kwds}
        common = {key: options.pop(key) for key in data.common if key in options}
        name = type(self).__name__
        name = name.removeprefix("Scalar").removeprefix("Indexed")
        reader: Any
        if rule is None:
            held = data.options[0]
            if len(args) + (held in options) != 1:
                raise InputTypeError(
                    f"{name} takes one {held}, {name}({held}), or index sets and a "
                    f"rule, {name}(index, rule=...); got {len(args)} positional "
                    "arguments and no rule."
                )
            if args:
                options[held], args = args[0], ()
            reader = _UserRule(options, common, call=False)
        elif isinstance(rule, _ContentRule):
            reader = rule
        else:
            if options:
                raise InputTypeError(
                    f"{name} takes {sorted(options)} from its rule: return "
                    f"dict({data.options[0]}=..., ...) from the rule instead."
                )
            if not callable(rule):
                raise InputTypeError(
                    f"rule must be a function; got {type(rule).__name__}."
                )
            reader = _UserRule(rule, common, call=True)
        super().__init__(*args, **kwds)
        self._rule: Any = reader

    @classmethod
    def from_contents(cls, contents: Mapping[Any, Any], *index: Any) -> Any:
        """Return a component of contents that have passed the door before.

        Parameters
        ----------
        contents : mapping
            Content of each member; the key of a scalar cone is None.
        *index : index sets
            Those of an indexed component.
        """
        return cls(*index, rule=_ContentRule(contents))

    def construct(self, data: Any = None) -> None:
        """Read the members, and let go of the rule and of what it holds."""
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
    """Makes a scalar component out of member data and cone component."""

    def __init__(self, *args: Any, **kwds: Any) -> None:
        BlockData.__init__(self, component=self)
        ConeComponent.__init__(self, *args, **kwds)  # type: ignore[arg-type]
        self._data[None] = self  # type: ignore[attr-defined]
        self._index = UnindexedComponent_index

    display = Block.display


def _not_cleared(cone: ConeComponent | MemberData) -> InputError:
    return InputError(
        f"cone {cone.name!r} cannot be cleared: cones never change. Deactivate it, "
        f"{cone.name}.deactivate(), or delete it from its block."
    )
