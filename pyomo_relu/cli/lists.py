"""The commands that list what there is."""

from __future__ import annotations

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pyomo_relu.solvers import solver_table
from pyomo_relu.tiers import tier_table, tier_table_markdown

__all__ = ["solvers_command", "tiers_command"]


@click.command("tiers")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "markdown"]),
    default="table",
    show_default=True,
)
def tiers_command(style: str) -> None:
    """List the tiers: what they replace, by what, on which side, for which solvers.

    M = [[A, W], [W', G]] is the matrix of a cone, A the block of its cone coordinates.
    The bound is that on the optimum of a minimisation; for a maximisation, such as the
    copositive program, it is the other one.
    """
    if style == "markdown":
        click.echo(tier_table_markdown(), nl=False)
        return
    console = Console()
    rows = tier_table()
    for cone in dict.fromkeys(row.cone for row in rows):
        table = Table(title=f"{cone} cones", title_justify="left", show_lines=True)
        for heading in ("tier", "bound", "solver"):
            table.add_column(heading, no_wrap=True)
        for heading in ("becomes", "exact"):
            table.add_column(heading, ratio=2 if heading == "becomes" else 1)
        for row in rows:
            if row.cone == cone:
                cells = row.tier, row.bound, row.solver_class, row.becomes, row.exact
                table.add_row(*map(escape, cells))
        console.print(table)


@click.command("solvers")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "markdown"]),
    default="table",
    show_default=True,
)
def solvers_command(style: str) -> None:
    """List the solvers: which are here, what they take, how to get them.

    A model goes to the best installed solver that can take it; `solve` says which and
    why.
    """
    table = solver_table()
    if style == "markdown":
        click.echo(table.markdown(), nl=False)
        return
    shown = Table(show_lines=True)
    for heading in ("solver", "version"):
        shown.add_column(heading, no_wrap=True)
    for heading in ("takes", "to install"):
        shown.add_column(heading)
    for row in table:
        version = (row.version or "here") if row.installed else "not here"
        install = "" if row.installed else row.install
        shown.add_row(*map(escape, (row.solver, version, row.takes, install)))
    Console().print(shown)
