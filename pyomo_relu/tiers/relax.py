"""`relax`: the tiers by name."""

from __future__ import annotations

from typing import Any

from pyomo.core.base.transformation import TransformationFactory

from pyomo_relu.errors import InputError, InputTypeError

__all__ = ["relax"]


def relax(model: Any, tier: str, **options: Any) -> None:
    """Replace the cones of a model by simpler ones, in place.

    The face of ``TransformationFactory(tier).apply_to(model, **options)``, which also
    returns the token to reverse it.

    Parameters
    ----------
    model : Block
        The model.
    tier : str
        ``"dnn"``, ``"psd"`` or ``"partition"``, or with the prefix: ``"relu.dnn"``.
    **options
        ``targets``: cones or blocks, all by default; and the tier's own.

    Raises
    ------
    InputError
        There is no such tier or option, or a target is none of the model's cones that
        the tier takes.
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
    known = sorted(n for n in TransformationFactory if n.startswith("relu."))
    if name not in known:
        raise InputError(f"there is no tier {tier!r}; choose from {', '.join(known)}.")
    TransformationFactory(name).apply_to(model, **options)
