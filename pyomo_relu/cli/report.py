"""What is said of a network."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from pyomo_relu.certificates import Certificate
from pyomo_relu.network import ReLUNetwork
from pyomo_relu.problem import TrainingProblem

__all__ = ["print_network"]


def print_network(
    name: str,
    problem: TrainingProblem,
    network: ReLUNetwork,
    certificate: Certificate,
    rows: list[tuple[str, str]],
) -> None:
    """Print a network and its certificate as a table.

    Parameters
    ----------
    name : str
        Name of the data.
    problem, network, certificate
        What was trained, what came out and what is proved of it.
    rows : list of (str, str)
        What else is to be said: quantity and value.
    """
    loss = problem.loss_value(network.predict(problem.X))
    click.echo(
        f"{name}: {problem.n_samples} samples, {problem.n_features} features of rank "
        f"{problem.rank}, {problem.n_outputs} outputs, beta {problem.beta:g}"
    )
    table = Table()
    table.add_column("quantity")
    table.add_column("value", justify="right")
    for quantity, value in [
        ("neurons", f"{network.n_neurons}"),
        (f"loss ({problem.loss.name}, sum)", f"{loss:.10g}"),
        ("network objective", f"{certificate.objective:.10g}"),
        ("proven lower bound", f"{certificate.lower_bound:.10g}"),
        ("relative gap", f"{certificate.gap:.1e}"),
        ("cells decided", certificate.coverage),
        *rows,
    ]:
        table.add_row(quantity, value)
    Console().print(table)
