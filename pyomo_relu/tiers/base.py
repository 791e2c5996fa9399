"""What all tiers share: options, targets, bookkeeping and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from pyomo.common.config import ConfigDict, ConfigValue, IsInstance
from pyomo.common.errors import MouseTrap
from pyomo.common.gc_manager import PauseGC
from pyomo.core.base import (
    ReverseTransformationToken,
    Transformation,
    TransformationFactory,
)
from pyomo.core.base.block import Block, BlockData
from pyomo.core.util import target_list
from pyomo.gdp.util import is_child_of

from pyomo_relu.cones import Cone, ConeData, cone_data_objects
from pyomo_relu.errors import InputError, InputTypeError, PyomoReluError
from pyomo_relu.tiers.replacement import (
    Replacement,
    forget_replacement,
    keep_replacement,
    leaf_cones,
    record_of,
    replacement_of,
)

Array = np.ndarray[Any, np.dtype[np.float64]]

__all__ = [
    "Bridge",
    "Created",
    "Tier",
    "add_beside",
    "register_tier",
    "replace_by",
    "tier_config",
]


@dataclass(frozen=True)
class Bridge:
    """How a tier stands to one kind of cone: a row of the table of tiers.

    Attributes
    ----------
    becomes : str
        What is put in place of the cone.
    side : {"same", "outer", "inner"}
        What becomes of the feasible set: it stays, grows or shrinks.
    solver_class : str
        Which problems a solver must take for what is put there: ``"LP"``, ``"SOCP"``,
        ``"SDP"``, ``"NLP"``, or ``"-"`` where another tier has to follow.
    exact : str
        When nothing is lost, in words; empty where that is not known of any case.
    """

    becomes: str
    side: str
    solver_class: str
    exact: str = ""


class Created(NamedTuple):
    """What a tier made of the cones of one component.

    Attributes
    ----------
    component : component
        The one component added beside the original, None where nothing was.
    leaves : sequence of (sequence of cone data, or None)
        For each cone in turn the cones that stand for it, none where rows alone do;
        None leaves it alone.
    links : tuple of components
        Further components without which the leaves do not stand for the cones.
    unlinked : tuple of variables
        Entries of the cones' matrices that nothing ties any more: the tier is right
        only while the rest of the model does not see them.
    """

    component: Any
    leaves: Sequence[Sequence[ConeData] | None]
    links: tuple[Any, ...] = ()
    unlinked: tuple[Any, ...] = ()


def tier_config(name: str) -> ConfigDict:
    """Return the options that every tier has.

    Parameters
    ----------
    name : str
        Name of the transformation.
    """
    config = ConfigDict(name)
    config.declare(
        "targets",
        ConfigValue(
            default=None,
            domain=target_list,
            description="cone, block or list of these to transform",
            doc="""
            Cone components, single cones, or blocks whose cones are to be replaced.
            By default all cones of the model that this tier takes. A cone that was
            replaced before stands for what replaced it. With `create_using`, targets
            are components of the original model.""",
        ),
    )
    config.declare(
        "reverse",
        ConfigValue(
            default=None,
            domain=IsInstance(ReverseTransformationToken),
            description="token of an earlier call, to be undone",
            doc="""
            The token that `apply_to` returned. The call then removes what that call
            added and activates the cones that it replaced. Tiers applied later to
            the same cones must be reversed first.""",
        ),
    )
    return config


class Tier(Transformation):
    """Base of the tiers; a subclass says what it takes and what it makes of it."""

    #: Name of the transformation.
    name: ClassVar[str]
    #: Kinds of cones that it replaces, and how it stands to each.
    bridges: ClassVar[Mapping[type[ConeData], Bridge]]
    #: Whether nothing is lost where there is one free coordinate and the model weighs
    #: the leading block by one semidefinite matrix only.
    exact_if_weighed_by_one_matrix: ClassVar[bool] = False
    #: Whether pieces of its leaves are its leaves of pieces.
    commutes_with_partition: ClassVar[bool] = False
    #: Whether the leaves' matrices are moments of vectors in the cone of their own
    #: `rays`, so that solutions of a network program are networks.
    leaves_are_networks: ClassVar[bool] = False
    #: Options for which None is a choice, though it is not the default.
    optional: ClassVar[frozenset[str]] = frozenset()
    CONFIG: ClassVar[ConfigDict]

    def replace(self, component: Any, cones: list[ConeData], config: Any) -> Created:
        """Add what replaces some cones of one component beside that component.

        Parameters
        ----------
        component : Cone
            The component.
        cones : list of cone data
            Active members of it.
        config : ConfigDict
            The options.
        """
        raise NotImplementedError

    @classmethod
    def takes(cls) -> tuple[type[ConeData], ...]:
        """Return the data classes of the cones that it replaces."""
        return tuple(cls.bridges)

    @classmethod
    def applies_to(cls, cone: ConeData) -> bool:
        """Whether the tier replaces a cone of a kind that it takes."""
        return True

    @classmethod
    def bridge(cls, cone: ConeData) -> Bridge:
        """Return how the tier stands to a cone that it takes."""
        return next(b for kind, b in cls.bridges.items() if isinstance(cone, kind))

    @classmethod
    def factors(
        cls, cone: ConeData, replacement: Replacement
    ) -> tuple[Array, Array] | None:
        """Read vectors of the cone off the present values, without factorisation.

        Parameters
        ----------
        cone : cone data
            A completely positive cone that the tier has replaced.
        replacement : Replacement
            What by.

        Returns
        -------
        tuple of (m, p) array B and (p, c) array C, or None
            What the tier has made of the matrix ``[[A, W], [W^T, G]]`` in terms of
            vectors of the cone: ``W = B C``, and ``[B; C^T][B; C^T]^T`` weighs no more
            than the matrix. None where the leaves have to be factored.
        """
        return None

    @classmethod
    def stale(cls, replacement: Replacement) -> str | None:
        """Return why a replacement does not stand for its cone any more, as a clause.

        Components that are gone or inactive are looked for by others.

        Parameters
        ----------
        replacement : Replacement
            What the tier has made.
        """
        return None

    @classmethod
    def loses_nothing(cls, cone: ConeData) -> str | None:
        """Return why the tier is exact for a cone, as words after "with".

        Parameters
        ----------
        cone : cone data
            A cone that the tier has replaced or would replace.
        """
        return None

    def _apply_to(self, model: Any, **kwds: Any) -> ReverseTransformationToken | None:
        if not isinstance(model, BlockData):
            raise InputTypeError(
                f"{self.name} takes a model or block; got {type(model).__name__}."
            )
        config = self._configure({**(kwds.pop("options", None) or {}), **kwds})
        if config.reverse is not None:
            self._reverse(model, config)
            return None
        made: dict[str, list[Any]] = {"components": [], "cones": []}
        try:
            # Many small objects are made and few dropped: the collector would only
            # walk.
            with PauseGC():
                for component, cones in self._select(model, config.targets):
                    self._replace_one(component, cones, config, made)
        except BaseException:
            # Ctrl-C too must not leave a model half made.
            _undo(made)
            raise
        return ReverseTransformationToken(
            type(self),
            model,
            (model,) if config.targets is None else config.targets,
            made,
        )

    def _configure(self, options: dict[str, Any]) -> Any:
        """Return the configuration of one call, names and values checked."""
        unknown = sorted(set(options) - set(self.CONFIG))
        if unknown:
            raise InputError(
                f"{self.name} has no option {unknown[0]!r}; its options are "
                f"{', '.join(sorted(self.CONFIG))}."
            )
        config = self.CONFIG()
        for name, choice in options.items():
            entry = config.get(name)
            default = config[name]
            try:
                if choice is None and default is not None and name not in self.optional:
                    raise ValueError("None is no choice here.")
                entry.set_value(choice)
            except PyomoReluError:
                raise
            except (TypeError, ValueError) as error:
                # Pyomo puts the names of functions before what they say.
                reason = str(error).rpartition("Error: ")[2].strip().rstrip(".")
                raise InputError(
                    f"{self.name} cannot take {name}={choice!r}: {reason}. "
                    f"{name}: {entry._description}, by default {default!r}."
                ) from error
        return config

    def _replace_one(
        self, component: Any, cones: list[ConeData], config: Any, made: Any
    ) -> None:
        created = self.replace(component, cones, config)
        if created.component is None:
            return
        made["components"].append(created.component)
        for cone, leaves in zip(cones, created.leaves, strict=True):
            if leaves is not None:
                replacement = Replacement(
                    self.name,
                    tuple(leaves),
                    component.parent_block(),
                    created.component,
                    (component, *{leaf.parent_component(): None for leaf in leaves}),
                    created.links,
                    tuple(map(len, created.links)),
                    created.unlinked,
                )
                keep_replacement(cone, replacement)
                cone.deactivate()
                made["cones"].append(cone)
        if not any(member.active for member in component.values()):
            component.deactivate()

    def _select(
        self, model: Any, targets: list[Any] | None
    ) -> list[tuple[Any, list[ConeData]]]:
        """Return the cones to replace, grouped by component."""
        cones: dict[int, ConeData] = {}
        if targets is None:
            cones = {id(c): c for c in cone_data_objects(model, kinds=self.takes())}
        known: dict[Any, bool] = {}
        for target in targets or ():
            if not is_child_of(parent=model, child=target, knownBlocks=known):
                raise InputError(
                    f"target {target.name!r} is not a component of {model.name!r}."
                )
            cones.update((id(cone), cone) for cone in self._targeted(target))
        groups: dict[int, tuple[Any, list[ConeData]]] = {}
        for cone in cones.values():
            earlier = replacement_of(cone)
            if earlier is not None:
                raise InputError(
                    f"cone {cone.name!r} was replaced by {earlier.tier} and has been "
                    "activated since, so that what replaced it is in force beside it. "
                    f"Deactivate it, or reverse {earlier.tier} by its token."
                )
            component = cone.parent_component()
            groups.setdefault(id(component), (component, []))[1].append(cone)
        return list(groups.values())

    def _targeted(self, target: Any) -> list[ConeData]:
        kinds = " or ".join(sorted(kind.kind for kind in self.takes()))
        if isinstance(target, (Cone, ConeData)):
            members = [target] if isinstance(target, ConeData) else target.values()
            leaves = [leaf for cone in members for leaf in leaf_cones(cone)]
            active = [leaf for leaf in leaves if leaf.active]
            cones = [leaf for leaf in active if isinstance(leaf, self.takes())]
            if active and not cones:
                applies = ", ".join(active[0].tiers) or "none"
                raise InputError(
                    f"{self.name} replaces {kinds} cones; {active[0].name!r}, which "
                    f"is or stands for target {target.name!r}, is a "
                    f"{active[0].kind} cone, to which these tiers apply: {applies}."
                )
        elif isinstance(target, (Block, BlockData)):
            cones = list(cone_data_objects(target, kinds=self.takes()))
        else:
            raise InputError(
                f"target {target.name!r} is a {type(target).__name__}; {self.name} "
                "takes cones, or blocks that contain them."
            )
        if not cones:
            raise InputError(
                f"target {target.name!r} has no active {kinds} cone{_by_rows(target)}."
            )
        return cones

    def _reverse(self, model: Any, config: Any) -> None:
        token = config.reverse
        if token.transformation is not type(self):
            theirs = getattr(token.transformation, "name", token.transformation)
            raise InputError(
                f"this token comes from another transformation, {theirs}; give it to "
                "that one."
            )
        try:
            token.check_token_valid(type(self), model, (model,))
        except MouseTrap as error:
            raise InputError(
                f"this token comes from another model than {model.name!r}; a token "
                "reverses its call on the model that the call was made on, not on a "
                "clone or on a block of it."
            ) from error
        if config.targets is not None:
            raise InputError(
                "a token reverses all that its call did; leave targets out."
            )
        made = token.reverse_dict
        if not made:
            raise InputError(
                "this token has been used before; a token reverses one call, once."
            )
        for cone in made["cones"]:
            if cone.parent_block() is None:
                raise InputError(
                    f"cone {cone.name!r}, which {self.name} replaced, has been deleted "
                    "from the model and cannot be brought back."
                )
            for leaf in record_of(cone.parent_block()).replacements[cone].leaves:
                later = replacement_of(leaf)
                if later is not None:
                    raise InputError(
                        f"{leaf.name!r} was replaced by {later.tier} afterwards; "
                        "reverse that first."
                    )
        _undo(made)
        made.clear()


def _by_rows(target: Any) -> str:
    """Return what to say of a cone for which rows stand, and no cone."""
    for cone in [target] if isinstance(target, ConeData) else target.values():
        replacement = replacement_of(cone) if isinstance(cone, ConeData) else None
        if replacement is not None and not replacement.leaves:
            return (
                f": rows of {replacement.tier} stand for it. Reverse that first, by "
                "the token that it returned"
            )
    return ""


def _undo(made: dict[str, list[Any]]) -> None:
    """Remove what was added and activate what was replaced."""
    for component in made["components"]:
        block = component.parent_block()
        if block is not None:
            block.del_component(component)
    for cone in made["cones"]:
        forget_replacement(cone)
        cone.activate()


def add_beside(component: Any, suffix: str, new: Any) -> Any:
    """Add a component to the block of another, under a name made from its name.

    Parameters
    ----------
    component : component
        The other.
    suffix : str
        Ending of the name, numbered where the name is taken.
    new : component
        What to add.

    Returns
    -------
    component
        `new`.
    """
    block = component.parent_block()
    name = base = f"{component.local_name}_{suffix}"
    number = 0
    while block.component(name) is not None or hasattr(block, name):
        number += 1
        name = f"{base}_{number}"
    block.add_component(name, new)
    return new


def register_tier(name: str, doc: str) -> Any:
    """Return a class decorator that names a tier and registers it with Pyomo.

    Parameters
    ----------
    name : str
        Name of the transformation.
    doc : str
        What ``pyomo help --transformations`` prints.
    """

    def decorate(cls: type[Tier]) -> type[Tier]:
        cls.name = name
        return TransformationFactory.register(name, doc=doc)(cls)

    return decorate


def _index_of(component: Any, cones: list[ConeData]) -> tuple[Any, ...]:
    """Return the index sets for a component that has a member for each cone."""
    if not component.is_indexed():
        return ()
    if len(cones) == len(component):
        return (component.index_set(),)
    return ([cone.index() for cone in cones],)


def replace_by(
    kind: type[Cone], suffix: str, component: Any, cones: list[ConeData]
) -> Created:
    """Put the same matrices into cones of another kind.

    Parameters
    ----------
    kind : cone component class
        The other kind.
    suffix : str
        Ending of the new component's name.
    component : Cone
        The component of the cones.
    cones : list of cone data
        Members of it.
    """
    contents = {cone.index(): cone.content for cone in cones}
    new = kind.from_contents(contents, *_index_of(component, cones))
    add_beside(component, suffix, new)
    return Created(new, [[new[index]] for index in contents])
