"""What tiers leave behind: which cones stand for which, in `private_data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyomo.common.collections import ComponentMap
from pyomo.core.base.block import Block
from pyomo.core.base.transformation import TransformationFactory

from pyomo_relu.cones import ConeData
from pyomo_relu.errors import InputError, InputTypeError

__all__ = [
    "DELETED",
    "Replacement",
    "fate_of",
    "forget_replacement",
    "keep_replacement",
    "leaf_cones",
    "mark_side",
    "record_of",
    "replacement_of",
    "source_cone",
    "stands_for",
    "tier_of",
]

_SCOPE = "pyomo_relu"

#: What `fate_of` says of a component that is in no model.
DELETED = "has been deleted"


@dataclass(frozen=True)
class Replacement:
    """How one cone data was replaced.

    Attributes
    ----------
    tier : str
        Name of the transformation.
    leaves : tuple of cone data
        What stands for the cone now.
    block : block data
        The block of the cone, below which the leaves are.
    component : component
        What the tier has added beside the cone's component.
    components : tuple of components
        Those of the cone and of the leaves. Data refer to their component weakly, so
        this keeps a component that somebody deletes within reach of questions.
    links : tuple of components
        Constraints that tie the leaves to the cone's matrix, or stand for it.
    sizes : tuple of int
        How many members each of them had.
    unlinked : tuple of variables
        Entries of the matrices that nothing ties any more.
    """

    tier: str
    leaves: tuple[ConeData, ...]
    block: Any
    component: Any
    components: tuple[Any, ...]
    links: tuple[Any, ...] = ()
    sizes: tuple[int, ...] = ()
    unlinked: tuple[Any, ...] = ()


class BlockRecord:
    """The private data of a block: what became of the cones that it holds."""

    def __init__(self) -> None:
        self.replacements: Any = ComponentMap()
        #: The way back: leaf to the cone that it was put in place of.
        self.sources: Any = ComponentMap()
        #: Of a block that relu.cuts made, for cones or for tangents: the objective, and
        #: what it was when its tangents took its place.
        self.frozen: tuple[Any, Any] | None = None
        #: Which side the model as it was written is on of the problem that it stands
        #: for ("inner" or "outer"), and why; None if it is that problem.
        self.written: tuple[str, str] | None = None


Block.register_private_data_initializer(BlockRecord, scope=_SCOPE)


def record_of(block: Any) -> BlockRecord:
    """Return the private data of a block."""
    return block.private_data(_SCOPE)


def keep_replacement(cone: ConeData, replacement: Replacement) -> None:
    """Record how a cone was replaced."""
    record = record_of(cone.parent_block())
    record.replacements[cone] = replacement
    for leaf in replacement.leaves:
        record.sources[leaf] = cone


def forget_replacement(cone: ConeData) -> None:
    """Forget how a cone was replaced."""
    record = record_of(cone.parent_block())
    for leaf in record.replacements.pop(cone).leaves:
        record.sources.pop(leaf, None)


def stands_for(objective: Any) -> Any:
    """Return the objective that relu.cuts put another in the place of, or None.

    Parameters
    ----------
    objective : objective data
        An active one, which may be that of tangents.
    """
    frozen = record_of(objective.parent_block()).frozen
    return None if frozen is None else frozen[0]


def mark_side(block: Any, side: str, reason: str) -> None:
    """Say that a model, as it was written, is not quite the problem it stands for.

    Parameters
    ----------
    block : Block
        The model or block.
    side : {"inner", "outer"}
        Whether its feasible set is smaller or larger.
    reason : str
        Why, as a clause.
    """
    record_of(block).written = side, reason


def replacement_of(cone: ConeData) -> Replacement | None:
    """Return how a cone was replaced, None if it was not.

    Parameters
    ----------
    cone : cone data
        A member of the model as it was written, or a leaf.
    """
    block = cone.parent_block()
    return None if block is None else record_of(block).replacements.get(cone)


def tier_of(replacement: Replacement) -> Any:
    """Return the class of the tier that made a replacement."""
    return TransformationFactory.get_class(replacement.tier)


def fate_of(component: Any, block: Any) -> str | None:
    """Return what has taken a component out of force, None while it is in force.

    Parameters
    ----------
    component : component or component data
        What a tier has put below the block.
    block : block data
        The block of the cone that it stands for.

    Returns
    -------
    str or None
        ``"has been deleted"``, ``"is inactive"`` or None.
    """
    active = True
    while component is not None and component is not block:
        active = active and component.active
        component = component.parent_block()
    if component is None:
        return DELETED
    return None if active else "is inactive"


def leaf_cones(cone: ConeData) -> list[ConeData]:
    """Return the cone data that stand for a cone after any chain of tiers.

    Parameters
    ----------
    cone : cone data
        A member of the model as it was written.

    Returns
    -------
    list of cone data
        The cone itself when nothing replaced it, none where rows alone stand for it.
        Each leaf has a matrix and rays or facets of its own.

    Raises
    ------
    InputTypeError
        `cone` is not one cone data.
    InputError
        What a tier had put in its place has been deleted.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> from pyomo_relu.tiers import leaf_cones, relax
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> relax(m, "dnn")
    >>> [leaf.name for leaf in leaf_cones(m.K)]
    ['K_dnn']
    """
    if not isinstance(cone, ConeData):
        raise InputTypeError(
            f"leaf_cones takes one cone data, for example model.K[1]; got "
            f"{type(cone).__name__}."
        )
    replacement = replacement_of(cone)
    if replacement is None:
        return [cone]
    for leaf in replacement.leaves:
        if fate_of(leaf, replacement.block) == DELETED:
            raise InputError(
                f"{leaf.name!r}, which {replacement.tier} put in place of "
                f"{cone.name!r}, has been deleted from the model; nothing stands for "
                "the cone now."
            )
    return [end for leaf in replacement.leaves for end in leaf_cones(leaf)]


def source_cone(leaf: ConeData) -> ConeData:
    """Return the cone of the model as it was written for which a cone data stands.

    Parameters
    ----------
    leaf : cone data
        What tiers have put into the model.

    Returns
    -------
    cone data
        The cone itself when no tier made it.

    Raises
    ------
    InputTypeError
        `leaf` is not one cone data.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> from pyomo_relu.tiers import relax, source_cone
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> relax(m, "dnn")
    >>> source_cone(m.K_dnn).name
    'K'
    """
    if not isinstance(leaf, ConeData):
        raise InputTypeError(
            f"source_cone takes one cone data, for example model.K[1]; got "
            f"{type(leaf).__name__}."
        )
    block = leaf.parent_block()
    while block is not None:
        source = record_of(block).sources.get(leaf)
        if source is not None:
            return source_cone(source)
        block = block.parent_block()
    return leaf
