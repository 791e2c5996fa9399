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
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.tiers.base import Tier
from pyomo_relu.tiers.exactness import weighed_by_one_matrix
from pyomo_relu.tiers.replacement import record_of, replacement_of

__all__ = ["BoundDirection", "bound_direction"]


@dataclass(frozen=True, eq=False)
class BoundDirection:
    """The side of a model after its tiers; equal to and printed as its name.

    Attributes
    ----------
    side : {"lower", "upper", "exact"}
        Whether the optimum of the model as it stands is a lower or an upper bound on
        the optimum of the model as it was written, or that optimum itself.
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
        ``"exact"`` while nothing is relaxed, or where what was relaxed loses nothing;
        otherwise ``"lower"`` for a minimisation (or no objective) and ``"upper"`` for
        a maximisation.

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
    rays is seen through them is what its author promised.

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
    originals = _originals(model)
    outer: Counter[str] = Counter()
    exact: Counter[tuple[str, str]] = Counter()
    doubtful: list[tuple[ConeData, str]] = []
    for root in originals:
        for cone, tier in _history(root):
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
        side = "upper" if _maximises(model) else "lower"
        return BoundDirection(side, f"{' and '.join(parts)}.")
    if exact:
        parts = (
            f"{tier} loses nothing on {_cones(n)} with {why}"
            for (tier, why), n in exact.items()
        )
        return BoundDirection("exact", f"{'; '.join(parts)}.")
    if originals:
        return BoundDirection("exact", "the cones are partitioned, not relaxed.")
    return BoundDirection("exact", "no cone has been replaced.")


def _originals(model: BlockData) -> list[ConeData]:
    """Return the cones that some tier replaced and none made."""
    replaced: dict[int, ConeData] = {}
    made: set[int] = set()
    for block in model.block_data_objects(active=True):
        if isinstance(block, ConeData):
            continue
        for cone, replacement in record_of(block).replacements.items():
            replaced[id(cone)] = cone
            made.update(map(id, replacement.leaves))
    return [c for key, c in replaced.items() if key not in made and not c.active]


def _history(cone: ConeData) -> Iterator[tuple[ConeData, type[Tier]]]:
    """Yield every replacement at and below a cone, with the tier that made it."""
    replacement = replacement_of(cone)
    if replacement is not None:
        yield cone, TransformationFactory.get_class(replacement.tier)
        for leaf in replacement.leaves:
            yield from _history(leaf)


def _weighed_by_one_matrix(model: BlockData, cones: list[ConeData]) -> set[int]:
    if not cones:
        return set()
    unique = list({id(cone): cone for cone in cones}.values())
    replacements = map(replacement_of, unique)
    links = [link for r in replacements if r is not None for link in r.links]
    return weighed_by_one_matrix(model.model(), unique, links)


def _maximises(model: BlockData) -> bool:
    senses = {o.sense for o in model.component_data_objects(Objective, active=True)}
    if len(senses) > 1:
        raise InputError(
            "the model has active objectives of both senses, so its bound has no "
            "direction; deactivate all but one."
        )
    return senses == {maximize}


def _cones(count: int) -> str:
    return f"{count} cone" if count == 1 else f"{count} cones"
