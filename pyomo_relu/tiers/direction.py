"""On which side of the model its tiers have put the optimum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyomo.core.base.block import BlockData
from pyomo.core.base.objective import Objective, maximize

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
    tier_of,
)
from pyomo_relu.tiers.visibility import first_seen

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
        minimisation (or no objective) and ``"upper"`` for a maximisation where the
        feasible set has grown, the other way round where it has shrunk (a tier that
        restricts the cones, a program over some of the cells only), and
        ``"neither"`` where both has happened.

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
    semidefinite matrix only, as weight decay does, or, for a copositive cone, when
    that block is a constant semidefinite matrix (design, Tiers). That a cone with
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
    sides = _Sides(_relaxed_side(model))
    for side, reason in _written(model):
        sides.add(side, reason)
    originals = _originals(model)
    _judge_what_is_lost(model, originals, sides)
    _judge_tiers(model, originals, sides)
    return sides.direction()


class _Sides:
    """What is known of a model: clauses by what they do to its feasible set."""

    def __init__(self, relaxed: str) -> None:
        self.name = {
            "outer": relaxed,
            "inner": {"lower": "upper", "upper": "lower"}[relaxed],
        }
        self.clauses: dict[str, list[str]] = {"outer": [], "inner": [], "same": []}

    def add(self, side: str, clause: str) -> None:
        self.clauses[side].append(clause)

    def direction(self) -> BoundDirection:
        outer, inner, same = (self.clauses[s] for s in ("outer", "inner", "same"))
        clauses = outer + inner
        if outer and inner:
            side = "neither"
        elif clauses:
            side = self.name["outer" if outer else "inner"]
        else:
            side, clauses = "exact", same or ["no cone has been replaced"]
        return BoundDirection(side, f"{'; '.join(clauses)}.")


def _written(model: BlockData) -> Iterator[tuple[str, str]]:
    """Yield the sides that a model was marked with when it was written."""
    for block in model.block_data_objects(active=True, descend_into=DESCEND):
        if not isinstance(block, ConeData):
            written = record_of(block).written
            if written is not None:
                yield written


def _judge_what_is_lost(model: BlockData, originals: Any, sides: _Sides) -> None:
    lost = [
        loss
        for root, replacement in originals
        if not root.active
        for loss in _lost(root, replacement, replacement.block)
    ]
    if lost:
        others = f", and so on for {len(lost) - 1} more" if len(lost) > 1 else ""
        sides.add("outer", f"{lost[0]}{others}")
    everything = [r for _, first in originals for r in _replacements(first)]
    stale = next(filter(None, (tier_of(r).stale(r) for r in everything)), None)
    if stale is not None:
        sides.add("outer", stale)
        sides.add("inner", "which puts its optimum on no side")
    unlinked = {
        id(entry): (entry, replacement.tier)
        for replacement in everything
        for entry in replacement.unlinked
    }
    seen = first_seen(model.model(), [entry for entry, _ in unlinked.values()])
    if seen is not None:
        sides.add(
            "outer",
            f"{unlinked[id(seen)][1]} has left {seen.name!r} untied, and something "
            "else in the model sees it",
        )


def _judge_tiers(model: BlockData, originals: Any, sides: _Sides) -> None:
    changed: dict[str, Counter[str]] = {"outer": Counter(), "inner": Counter()}
    exact: Counter[tuple[str, str]] = Counter()
    doubtful: list[tuple[ConeData, str]] = []
    for root, replacement in originals:
        for cone, tier, judged in _history(root, replacement):
            side = tier.bridge(cone).side
            # What somebody has activated again holds beside what replaced it.
            if side == "same" or (side == "outer" and cone.active):
                continue
            reason = tier.loses_nothing(judged)
            if reason is not None:
                exact[tier.name, reason] += 1
            elif (
                side == "outer"
                and tier.exact_if_weighed_by_one_matrix
                and root.free == 1
            ):
                doubtful.append((root, tier.name))
            else:
                changed[side][tier.name] += 1
    narrow = _weighed_by_one_matrix(model, [root for root, _ in doubtful])
    for root, name in doubtful:
        if id(root) in narrow:
            exact[
                name, "one free coordinate, and the model weighs it by one matrix"
            ] += 1
        else:
            changed["outer"][name] += 1
    for side, verb in ("outer", "relaxes"), ("inner", "restricts"):
        for name, count in sorted(changed[side].items()):
            sides.add(side, f"{name} {verb} {_cones(count)}")
    for (name, why), count in exact.items():
        sides.add("same", f"{name} loses nothing on {_cones(count)} with {why}")
    if originals and not exact:
        sides.add("same", "the cones are partitioned, not relaxed")


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
        if key not in made
    ]


def _history(
    cone: ConeData, replacement: Replacement | None
) -> Iterator[tuple[ConeData, type[Tier], ConeData]]:
    """Yield every replacement at and below a cone: cone, tier, and what to judge.

    That is the cone itself, unless the tier commutes with a partition and what replaced
    the cone was split afterwards: then each piece. A doubly nonnegative cone in pieces
    is a partition whose pieces are doubly nonnegative, whichever of the two came first.
    """
    if replacement is None:
        return
    tier = tier_of(replacement)
    pieces = [piece for leaf in replacement.leaves for piece in _pieces(leaf)]
    was_split = len(pieces) > len(replacement.leaves)
    for judged in pieces if was_split and tier.commutes_with_partition else [cone]:
        yield cone, tier, judged
    for leaf in replacement.leaves:
        yield from _history(leaf, replacement_of(leaf))


def _pieces(leaf: ConeData) -> Iterator[ConeData]:
    """Yield what a leaf was split into without loss; the leaf where it was not."""
    later = replacement_of(leaf)
    if later is None or tier_of(later).bridge(leaf).side != "same":
        yield leaf
    else:
        for piece in later.leaves:
            yield from _pieces(piece)


def _replacements(replacement: Replacement) -> Iterator[Replacement]:
    """Yield a replacement and all those below it."""
    yield replacement
    for leaf in replacement.leaves:
        later = replacement_of(leaf)
        if later is not None:
            yield from _replacements(later)


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
    for link, size in zip(replacement.links, replacement.sizes, strict=True):
        fate = fate_of(link, block)
        if fate is None and len(link) < size:
            fate = "has lost members"
        if fate is None and not all(map(_is_in_force, link.values())):
            fate = "is inactive in part"
        if fate is not None:
            yield f"{link.name!r}, which ties {tier}'s cones to {name!r}, {fate}"


def _is_in_force(member: Any) -> bool:
    """Whether a constraint, or a second-order cone with all its rows, is active."""
    return bool(member.active and getattr(member, "is_intact", True))


def _weighed_by_one_matrix(model: BlockData, cones: list[ConeData]) -> set[int]:
    if not cones:
        return set()
    unique = list({id(cone): cone for cone in cones}.values())
    replacements = map(replacement_of, unique)
    links = [link for r in replacements if r is not None for link in r.links]
    return weighed_by_one_matrix(model.model(), unique, links)


def _relaxed_side(model: BlockData) -> str:
    # A block without an objective of its own serves that of the model it is in.
    senses = _senses(model) or _senses(model.model())
    if len(senses) > 1:
        raise InputError(
            "the model has active objectives of both senses, so its bound has no "
            "direction; deactivate all but one."
        )
    return "upper" if senses == {maximize} else "lower"


def _senses(model: Any) -> set[Any]:
    return {
        objective.sense
        for objective in model.component_data_objects(
            Objective, active=True, descend_into=DESCEND
        )
    }


def _cones(count: int) -> str:
    return f"{count} cone" if count == 1 else f"{count} cones"
