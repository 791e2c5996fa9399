"""The table of all tiers, read off their classes."""

from __future__ import annotations

from dataclasses import dataclass

from pyomo.core.base.transformation import TransformationFactory

from pyomo_relu.tiers.base import Tier

__all__ = ["TierRow", "tier_names", "tier_table", "tier_table_markdown"]

#: From which side the optimum of a minimisation is bounded.
_BOUNDS = {"same": "exact", "outer": "lower", "inner": "upper"}


@dataclass(frozen=True)
class TierRow:
    """How one tier stands to one kind of cone.

    Attributes
    ----------
    tier : str
        Name of the transformation.
    cone : str
        Kind of the cone that it replaces.
    becomes : str
        What is put in its place, for a matrix ``M = [[A, W], [W', G]]`` whose leading
        block A belongs to the cone coordinates.
    side : {"same", "outer", "inner"}
        What becomes of the feasible set.
    bound : {"exact", "lower", "upper"}
        Which bound that gives on the optimum of a minimisation; the other one for a
        maximisation, such as the copositive program.
    solver_class : str
        What a solver must take: linear (LP), second-order cone (SOCP), semidefinite
        (SDP) or nonlinear programs (NLP); ``"-"`` where another tier has to follow.
    exact : str
        When nothing is lost.
    """

    tier: str
    cone: str
    becomes: str
    side: str
    bound: str
    solver_class: str
    exact: str


def tier_names() -> list[str]:
    """Return the names of the registered tiers, sorted."""
    return sorted(name for name in TransformationFactory if name.startswith("relu."))


def tier_table() -> list[TierRow]:
    """Return a row for each tier and each kind of cone that it replaces.

    Examples
    --------
    >>> from pyomo_relu.tiers import tier_table
    >>> row = next(row for row in tier_table() if row.tier == "relu.psd")
    >>> row.cone, row.bound, row.solver_class
    ('completely positive', 'lower', 'SDP')
    """
    rows = []
    for name in tier_names():
        tier: type[Tier] = TransformationFactory.get_class(name)
        for kind, bridge in tier.bridges.items():
            rows.append(
                TierRow(
                    name,
                    kind.kind,
                    bridge.becomes,
                    bridge.side,
                    _BOUNDS[bridge.side],
                    bridge.solver_class,
                    bridge.exact,
                )
            )
    order = {"completely positive": 0, "copositive": 1, "doubly nonnegative": 2}
    side = {"lower": 0, "exact": 1, "upper": 2}
    return sorted(rows, key=lambda r: (order.get(r.cone, 3), r.cone, side[r.bound]))


def tier_table_markdown() -> str:
    """Return the table as Markdown: what docs/tiers.md holds."""
    head = (
        "| tier | cone | becomes | feasible set | bounds a minimum | solver | exact |"
    )
    lines = [head, "|---|---|---|---|---|---|---|"]
    for row in tier_table():
        becomes, exact = (text.replace("|", "\\|") for text in (row.becomes, row.exact))
        cells = (
            f"`{row.tier}`",
            row.cone,
            becomes,
            row.side,
            row.bound,
            row.solver_class,
            exact or "-",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
