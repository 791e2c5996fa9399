"""`relax`: the tiers by name."""

from __future__ import annotations

from typing import Any

from pyomo.core.base.block import BlockData
from pyomo.core.base.transformation import TransformationFactory

from pyomo_relu.cones import cone_data_objects
from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.tiers.table import tier_names

__all__ = ["relax"]


def relax(model: Any, tier: str, **options: Any) -> None:
    """Replace the cones of a model by simpler ones, in place.

    The face of ``TransformationFactory(tier).apply_to(model, **options)``, which also
    returns the token to reverse it, and lets pass that there is nothing to replace.

    Parameters
    ----------
    model : Block
        The model.
    tier : str
        A name of :func:`~pyomo_relu.tiers.tier_table`, with or without the prefix:
        ``"relu.dnn"`` or ``"dnn"``.
    **options
        ``targets``: cones or blocks, all by default; and the tier's own.

    Raises
    ------
    InputError
        There is no such tier or option, a target is none of the model's cones that the
        tier takes, or without targets there is no such cone; the model is not
        constructed.
    InputTypeError
        `model` is not a block, or `tier` is not text.

    Examples
    --------
    >>> from pyomo.environ import ConcreteModel, Objective, Var
    >>> from pyomo_relu.cones import CompletelyPositiveCone
    >>> m = ConcreteModel()
    >>> m.x = Var()
    >>> m.K = CompletelyPositiveCone([[2, m.x], [m.x, 1]])
    >>> relax(m, "dnn")
    >>> m.K_dnn.active
    True
    """
    if not isinstance(tier, str):
        raise InputTypeError(f"tier must be a name; got {type(tier).__name__}.")
    name = tier if tier.startswith("relu.") else f"relu.{tier}"
    known = tier_names()
    if name not in known:
        raise InputError(f"there is no tier {tier!r}; choose from {', '.join(known)}.")
    if not isinstance(model, BlockData):
        raise InputTypeError(
            f"relax takes a model or block; got {type(model).__name__}."
        )
    if not model.is_constructed():
        raise InputError(
            f"model {model.name!r} is not constructed, so its cones have no matrices "
            "yet; call create_instance() and relax what it returns."
        )
    chosen = {**(options.get("options") or {}), **options}
    if chosen.get("targets") is None and chosen.get("reverse") is None:
        chosen_tier = TransformationFactory.get_class(name)
        takes = chosen_tier.takes()
        found = cone_data_objects(model, kinds=takes)
        if not any(map(chosen_tier.applies_to, found)):
            kinds = " or ".join(sorted(kind.kind for kind in takes))
            raise InputError(
                f"model {model.name!r} has no active {kinds} cone that {name} "
                f"replaces. {_what_applies(model)}TransformationFactory({name!r})"
                ".apply_to(model) lets that pass."
            )
    TransformationFactory(name).apply_to(model, **options)


def _what_applies(model: Any) -> str:
    """Return a sentence for each kind of cone that a model has, for an error."""
    kinds = {cone.kind: cone.tiers for cone in cone_data_objects(model)}
    return "".join(
        f"To its {kind} cones these tiers apply: {', '.join(tiers) or 'none'}. "
        for kind, tiers in sorted(kinds.items())
    )
