"""The command that certifies a network."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console

from pyomo_relu.activations import get_activation
from pyomo_relu.certificates import certify
from pyomo_relu.cli.data import read_training_data
from pyomo_relu.cli.options import read_loss, split_names
from pyomo_relu.cli.report import print_network
from pyomo_relu.errors import InputError
from pyomo_relu.losses import get_loss
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

__all__ = ["certify_command"]


def _loss_if_given(context: Any, option: click.Parameter, value: str | None) -> Any:
    return None if value is None else read_loss(context, option, value)


@click.command("certify")
@click.argument("network", type=click.Path(dir_okay=False))
@click.argument("data", type=click.Path(dir_okay=False))
@click.option("--targets", callback=split_names, help="Numeric columns to predict.")
@click.option("--labels", help="Column of class labels to predict.")
@click.option("--features", callback=split_names, help="Columns to predict from.")
@click.option("--beta", type=float, help="Weight decay.")
@click.option("--loss", callback=_loss_if_given, help="As for train.")
@click.option("--weights", help="Column of sample weights in the loss.")
@click.option(
    "--gap", type=float, help="Exit with 3 if no relative gap of this size is proved."
)
def certify_command(network: str, data: str, gap: float | None, **given: Any) -> None:
    """Prove how far the NETWORK is from the best one for the table DATA.

    NETWORK is a .json or .npz file. What it was trained for is in there if 'pyomo-relu
    train' or 'recover' wrote it; options say it for others, and go before. Columns are
    brought to the network's scale as they were in training.
    """
    loaded = ReLUNetwork.load(network)
    known = loaded.metadata.get("options")
    options: dict[str, Any] = dict(known) if isinstance(known, dict) else {}
    if given["targets"] or given["labels"]:
        options |= {"targets": given["targets"], "labels": given["labels"]}
    for name in ("features", "beta", "weights"):
        if given[name]:
            options[name] = given[name]
    if options.get("beta") is None or not (
        options.get("targets") or options.get("labels")
    ):
        raise InputError(
            f"{network!r} does not say what it was trained for; give --beta, and "
            "--targets or --labels."
        )
    loss = given["loss"] or get_loss(options.get("loss", "squared"))
    skip = options.get("skip", False)
    table = read_training_data(
        data,
        targets=list(options.get("targets") or []),
        labels=options.get("labels"),
        features=list(options.get("features") or []),
        beta=options["beta"],
        loss=loss,
        activation=get_activation(loaded.activation.text),
        bias=loaded.bias is not None,
        skip=skip if skip or loaded.skip is None else True,
        weights=options.get("weights"),
        scaling=loaded.metadata,
    )
    problem = TrainingProblem(table.X, table.Y, **table.options)
    with Console(stderr=True).status("certifying"):
        certificate = certify(problem, loaded)
    rows = [("proof", certificate.reason)] if certificate.reason else []
    print_network(table.name, problem, loaded, certificate, rows)
    if gap is not None and not certificate.gap <= gap:
        click.echo(f"the gap {gap:g} was not proved", err=True)
        sys.exit(3)
