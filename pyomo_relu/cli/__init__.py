"""The command line: ``pyomo-relu train data.csv --targets a,b --beta 0.1``."""

from __future__ import annotations

from pyomo_relu import __version__
from pyomo_relu.errors import MissingExtraError

try:
    import click

    from pyomo_relu.cli.build import build_command, recover_command
    from pyomo_relu.cli.certify import certify_command
    from pyomo_relu.cli.lists import solvers_command, tiers_command
    from pyomo_relu.cli.train import train_command
except ImportError as error:
    if (error.name or "").partition(".")[0] not in ("click", "pandas", "rich"):
        raise
    raise MissingExtraError(
        str(error.name), "cli", "the command line pyomo-relu"
    ) from error

__all__ = ["cli"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pyomo-relu")
def cli() -> None:
    """Train two-layer ReLU networks to a proven gap to the global optimum."""


for _command in (
    train_command,
    certify_command,
    build_command,
    recover_command,
    tiers_command,
    solvers_command,
):
    cli.add_command(_command)
