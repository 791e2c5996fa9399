"""What a user has added to a program, told from what was built."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyomo.core.base.constraint import Constraint
from pyomo.core.base.objective import Objective

from pyomo_relu.cones import (
    ConeData,
    VectorConeData,
    cone_data_objects,
    is_cone_guard,
)
from pyomo_relu.cones.base import DESCEND
from pyomo_relu.programs.network_program import SCOPE
from pyomo_relu.tiers.replacement import replacement_of, stands_for

__all__ = ["changed_objective", "is_own_of", "keep_state", "user_rows"]


def keep_state(block: Any) -> None:
    """Remember what a program consists of, at the end of building it.

    Parameters
    ----------
    block : Block
        The model or block, with `loss`, `penalty` and `objective`.
    """
    block.private_data(SCOPE)["state"] = (
        set(block.component_map()),
        tuple(_expressions(block)),
    )


def _expressions(block: Any) -> Iterator[Any]:
    for name in ("objective", "loss", "penalty"):
        component = block.component(name)
        yield None if component is None else component.expr


def changed_objective(block: Any) -> str | None:
    """Say how the objective differs from the one that was built.

    Parameters
    ----------
    block : Block
        A program.

    Returns
    -------
    str or None
        A clause that names the component; None where it is the same.
    """
    active = list(
        block.model().component_data_objects(
            Objective, active=True, descend_into=DESCEND
        )
    )
    built = block.component("objective")
    if len(active) == 1 and stands_for(active[0]) is built:
        active = [built]
    if [id(o) for o in active] != [id(built)]:
        names = ", ".join(repr(o.name) for o in active) or "none"
        return f"its active objective is {names}, not the one that was built"
    _, expressions = block.private_data(SCOPE)["state"]
    for name, before, now in zip(
        ("objective", "loss", "penalty"), expressions, _expressions(block), strict=True
    ):
        if before is not now:
            return f"its {block.component(name).name!r} has been changed"
    return None


def is_own_of(block: Any) -> Callable[[Any], bool]:
    """Return a function that tells data of a program from what somebody added.

    Parameters
    ----------
    block : Block
        A program, relaxed or not.
    """
    own, _ = block.private_data(SCOPE)["state"]
    made = {id(component) for component in _made_by_tiers(block)}

    def is_own(data: Any) -> bool:
        while data is not None:
            parent = data.parent_block()
            component = data.parent_component()
            if id(component) in made:
                return True
            if parent is block:
                return component.local_name in own
            data = parent
        return False

    return is_own


def user_rows(block: Any) -> list[Any]:
    """Return the active constraints and cones that somebody added to a program.

    Parameters
    ----------
    block : Block
        A program, relaxed or not; rows anywhere in its model count.

    Returns
    -------
    list of constraint data and cone data
        In order of declaration. Rows of vector cones are not listed by themselves.
    """
    is_own = is_own_of(block)
    model = block.model()
    cones = [
        cone
        for cone in cone_data_objects(model, kinds=(ConeData, VectorConeData))
        if not is_own(cone)
    ]
    inside = {
        id(row)
        for cone in cones
        if isinstance(cone, VectorConeData) and cone.is_intact
        for row in cone.rows
    }
    rows = [
        row
        for row in model.component_data_objects(
            Constraint, active=True, descend_into=DESCEND
        )
        if not is_cone_guard(row) and id(row) not in inside and not is_own(row)
    ]
    return [*rows, *cones]


def _made_by_tiers(block: Any) -> Iterator[Any]:
    """Components that tiers have put beside the cones of a program."""
    pending = list(block.cone.values()) if block.component("cone") is not None else []
    while pending:
        replacement = replacement_of(pending.pop())
        if replacement is not None:
            yield replacement.component
            yield from replacement.components
            yield from replacement.links
            pending.extend(replacement.leaves)
    for objective in block.model().component_data_objects(
        Objective, active=True, descend_into=DESCEND
    ):
        if stands_for(objective) is not None:
            yield objective.parent_block().parent_component()
