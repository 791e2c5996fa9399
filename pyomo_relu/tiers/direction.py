"""On which side of the model its tiers have put the optimum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyomo.core.base.block import BlockData
from pyomo.core.base.objective import Objective, maximize
from pyomo.core.base.transformation import TransformationFactory

from pyomo_relu.cones import ConeData
from pyomo_relu.cones.base import DESCEND
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.tiers.base import Tier
from pyomo_relu.tiers.exactness import weighed_by_one_matrix
from pyomo_relu.tiers.replacement import (
    Replacement,
    fate_of,
    record_of,
    replacement_of,
)

__all__ = ["BoundDirection", "bound_direction"]


@dataclass(frozen=True, eq=False)
class BoundDirection:
    """The side of a model after its tiers; equal to and printed as its name.

    Attributes
    ----------
    side : {"lower", "upper", "exact", "neither"}
        Whether the optimum of the model as it stands is a lower or an upper bound on
        the optimum of what the model stands for, or that optimum itself.
    reason : str
        Why.

    Examples
    --------
    >>> direction = BoundDirection("lower", "relu.psd relaxes 3 cones")
    >>> print(direction, direction == "lower")
    lower True
    """

    side: str
    reason: str

    def __str__(self) -> str:
        return self.side

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            return self.side == other
        if isinstance(other, BoundDirection):
            return (self.side, self.reason) == (other.side, other.reason)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.side)


def bound_direction(model: Any) -> BoundDirection:
    """Return the side of a model after its tiers, and why.

    Parameters
    ----------
    model : Block
        A model, relaxed or not. What counts is its state now.

    Returns
    -------
    BoundDirection
        ``"exact"`` while nothing is relaxed, or where what was relaxed loses nothing
        and all that stands for it is in force; otherwise ``"lower"`` for a
        minimisation (or no objective) and ``"upper"`` for a maximisation. A program
        over some of the cells only is a restriction: the other side where nothing is
        relaxed, ``"neither"`` where something is.

    Raises
    ------
    InputTypeError
        `model` is not a block.
    InputError
        Objectives of both senses are active.

    Notes
    -----
    ``relu.partition`` never changes the side. ``relu.dnn`` is exact for a cone with
    at most four cone coordinates, with rays of rank at most three, with at most four
    facets, or with one free coordinate when the model weighs the leading block by one
    semidefinite matrix only, as weight decay does (design, Tiers). That a cone with
    rays is seen through them is what its author promised. A cone that its owner
    deactivated without a tier is not a part of the model.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Objective, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> from pyomo_relu.tiers import bound_direction, relax
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> m.o = Objective(expr=m.x)
    >>> relax(m, "dnn")
    >>> bound_direction(m)
    BoundDirection(side='exact', reason='relu.dnn loses nothing on 1 cone ...')
    """
    if not isinstance(model, BlockData):
        raise InputTypeError(
            f"bound_direction takes a model or block; got {type(model).__name__}."
        )
    direction = _direction_of_tiers(model)
    restriction = _restriction(model)
    if restriction is None:
        return direction
    if direction.side != "exact":
        return BoundDirection(
            "neither", f"{restriction}, a restriction, and {direction.reason}"
        )
    opposite = {"lower": "upper", "upper": "lower"}[_relaxed_side(model)]
    return BoundDirection(opposite, f"{restriction}, a restriction; {direction.reason}")


def _restriction(model: BlockData) -> str | None:
    """Return why the model as it was written is a restriction, None if it is not."""
    for block in model.block_data_objects(active=True, descend_into=DESCEND):
        if not isinstance(block, ConeData):
            reason = record_of(block).restriction
            if reason is not None:
                return reason
    return None


def _direction_of_tiers(model: BlockData) -> BoundDirection:
    """Return the side of a model beside the model as it was written."""
    originals = _originals(model)
    lost = [
        loss
        for root, replacement in originals
        for loss in _lost(root, replacement, replacement.block)
    ]
    if lost:
        others = f", and so on for {len(lost) - 1} more" if len(lost) > 1 else ""
        return BoundDirection(_relaxed_side(model), f"{lost[0]}{others}.")
    outer: Counter[str] = Counter()
    exact: Counter[tuple[str, str]] = Counter()
    doubtful: list[tuple[ConeData, str]] = []
    for root, replacement in originals:
        for cone, tier in _history(root, replacement):
            if tier.side == "same":
                continue
            reason = tier.loses_nothing(cone)
            if reason is not None:
                exact[tier.name, reason] += 1
            elif tier.exact_if_weighed_by_one_matrix and root.free == 1:
                doubtful.append((root, tier.name))
            else:
                outer[tier.name] += 1
    narrow = _weighed_by_one_matrix(model, [root for root, _ in doubtful])
    for root, name in doubtful:
        if id(root) in narrow:
            exact[
                name, "one free coordinate, and the model weighs it by one matrix"
            ] += 1
        else:
            outer[name] += 1
    if outer:
        parts = (f"{tier} relaxes {_cones(n)}" for tier, n in sorted(outer.items()))
        return BoundDirection(_relaxed_side(model), f"{' and '.join(parts)}.")
    if exact:
        parts = (
            f"{tier} loses nothing on {_cones(n)} with {why}"
            for (tier, why), n in exact.items()
        )
        return BoundDirection("exact", f"{'; '.join(parts)}.")
    if originals:
        return BoundDirection("exact", "the cones are partitioned, not relaxed.")
    return BoundDirection("exact", "no cone has been replaced.")


def _originals(model: BlockData) -> list[tuple[ConeData, Replacement]]:
    """Return the cones that some tier replaced and none made, and by what."""
    replaced: dict[int, tuple[ConeData, Replacement]] = {}
    made: set[int] = set()
    for block in model.block_data_objects(active=True, descend_into=DESCEND):
        if isinstance(block, ConeData):
            continue
        for cone, replacement in record_of(block).replacements.items():
            replaced[id(cone)] = cone, replacement
            made.update(map(id, replacement.leaves))
    return [
        (cone, replacement)
        for key, (cone, replacement) in replaced.items()
        if key not in made and not cone.active
    ]


def _history(
    cone: ConeData, replacement: Replacement | None
) -> Iterator[tuple[ConeData, type[Tier]]]:
    """Yield every replacement at and below a cone, with the tier that made it."""
    if replacement is not None:
        yield cone, TransformationFactory.get_class(replacement.tier)
        for leaf in replacement.leaves:
            yield from _history(leaf, replacement_of(leaf))


def _lost(cone: ConeData, replacement: Replacement, block: Any) -> Iterator[str]:
    """Yield what stood for a cone and is not in force any more, as clauses.

    `block` is that of the original cone: all that replaced it is below.
    """
    tier, name = replacement.tier, cone.name
    for leaf in replacement.leaves:
        later = replacement_of(leaf)
        if later is not None:
            yield from _lost(leaf, later, block)
        elif (fate := fate_of(leaf, block)) is not None:
            yield f"{leaf.name!r}, which {tier} put in place of {name!r}, {fate}"
    for link in replacement.links:
        fate = fate_of(link, block)
        if fate is None and not all(row.active for row in link.values()):
            fate = "is inactive in part"
        if fate is not None:
            yield f"{link.name!r}, which ties {tier}'s cones to {name!r}, {fate}"


def _weighed_by_one_matrix(model: BlockData, cones: list[ConeData]) -> set[int]:
    if not cones:
        return set()
    unique = list({id(cone): cone for cone in cones}.values())
    replacements = map(replacement_of, unique)
    links = [link for r in replacements if r is not None for link in r.links]
    return weighed_by_one_matrix(model.model(), unique, links)


def _relaxed_side(model: BlockData) -> str:
    senses = {
        objective.sense
        for objective in model.component_data_objects(
            Objective, active=True, descend_into=DESCEND
        )
    }
    if len(senses) > 1:
        raise InputError(
            "the model has active objectives of both senses, so its bound has no "
            "direction; deactivate all but one."
        )
    return "upper" if senses == {maximize} else "lower"


def _cones(count: int) -> str:
    return f"{count} cone" if count == 1 else f"{count} cones"
