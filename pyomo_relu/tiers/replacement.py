"""What tiers leave behind: which cones stand for which, in `private_data`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyomo.common.collections import ComponentMap
from pyomo.core.base.block import Block

from pyomo_relu.cones import ConeData
from pyomo_relu.errors import InputTypeError

__all__ = ["Replacement", "leaf_cones", "replacement_of"]

_SCOPE = "pyomo_relu"


@dataclass(frozen=True)
class Replacement:
    """How one cone data was replaced.

    Attributes
    ----------
    tier : str
        Name of the transformation.
    leaves : tuple of cone data
        What stands for the cone now.
    links : tuple of components
        Constraints that tie the leaves to the cone's matrix.
    """

    tier: str
    leaves: tuple[ConeData, ...]
    links: tuple[Any, ...] = ()


class BlockRecord:
    """The private data of a block: what became of the cones that it holds."""

    def __init__(self) -> None:
        self.replacements: Any = ComponentMap()


Block.register_private_data_initializer(BlockRecord, scope=_SCOPE)


def record_of(block: Any) -> BlockRecord:
    """Return the private data of a block."""
    return block.private_data(_SCOPE)


def replacement_of(cone: ConeData) -> Replacement | None:
    """Return how a cone was replaced, None if it was not.

    Parameters
    ----------
    cone : cone data
        A member of the model as it was written, or a leaf.
    """
    return record_of(cone.parent_block()).replacements.get(cone)


def leaf_cones(cone: ConeData) -> list[ConeData]:
    """Return the cone data that stand for a cone after any chain of tiers.

    Parameters
    ----------
    cone : cone data
        A member of the model as it was written.

    Returns
    -------
    list of cone data
        The cone itself when nothing replaced it. Each leaf has a matrix and rays or
        facets of its own.

    Raises
    ------
    InputTypeError
        `cone` is not one cone data.

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
    return [end for leaf in replacement.leaves for end in leaf_cones(leaf)]
