"""The commands for solvers elsewhere: a model to a file, and a solution back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from rich.console import Console

from pyomo_relu.certificates import certify
from pyomo_relu.cli.data import data_options, read_training_data
from pyomo_relu.cli.report import print_network
from pyomo_relu.cli.train import check_network_path
from pyomo_relu.errors import InputError, TooManyCellsError
from pyomo_relu.problem import TrainingProblem
from pyomo_relu.programs import (
    build_completely_positive,
    build_copositive,
    build_gated,
    build_group_lasso,
)
from pyomo_relu.recovery import recover_network
from pyomo_relu.solution_files import read_solution
from pyomo_relu.tiers import bound_direction, relax
from pyomo_relu.writers import export, find_format, read_name_map

__all__ = ["build_command", "recover_command"]

_PROGRAMS: dict[str, Callable[[TrainingProblem], Any]] = {
    "completely_positive": build_completely_positive,
    "copositive": build_copositive,
    "gated": build_gated,
    "group_lasso": build_group_lasso,
}
#: Programs whose cones a tier has to replace.
_WITH_CONES = ("completely_positive", "copositive")


@click.command("build")
@data_options
@click.option(
    "--program",
    type=click.Choice(list(_PROGRAMS)),
    default="completely_positive",
    show_default=True,
    help="Which program of the training problem.",
)
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    help="Relaxation of its cones, as 'pyomo-relu tiers' lists them; may be repeated, "
    "as in --tier partition --tier dnn.  [default: dnn where there are cones]",
)
@click.option(
    "--format",
    "form",
    help="nl, mps, lp, dat-s, cbf or npz, where the ending of --out is another.",
)
@click.option(
    "--out",
    type=click.Path(),
    required=True,
    help="Where to write the model: .nl, .mps, .mps.gz, .lp, .dat-s, .cbf or .npz.",
)
def build_command(
    data: str,
    program: str,
    tiers: tuple[str, ...],
    form: str | None,
    out: str,
    **options: Any,
) -> None:
    """Write the training of a network on the table DATA to a file, for other solvers.

    No solver is needed. Beside the model goes a name map, model.names.json beside
    model.cbf, from which 'pyomo-relu recover' makes a network of a solution.
    """
    find_format(out, form)
    table = read_training_data(data, **options)
    if not tiers and program in _WITH_CONES:
        tiers = ("dnn",)
    problem = TrainingProblem(table.X, table.Y, **table.options)
    recipe = {
        "program": program,
        "tiers": list(tiers),
        "problem": problem.to_dict(),
        "network": table.metadata,
        "data": table.name,
    }
    with Console(stderr=True).status("building the program"):
        try:
            model = _build(problem, program, tiers)
        except TooManyCellsError as error:
            raise TooManyCellsError(error.finding, table.advise_features()) from error
        names = export(model, out, format=form, metadata={"recipe": recipe})
    direction = bound_direction(model)
    click.echo(str(names))
    click.echo(f"its optimum and the global one: {direction}, {direction.reason}")
    click.echo(f"model written to {out}, names to {_names_path(out, form)}")


@click.command("recover")
@click.argument("names", type=click.Path(dir_okay=False))
@click.argument("solution", type=click.Path(dir_okay=False))
@click.option(
    "--tolerance",
    type=float,
    help="Largest violation of a constraint, relative to its side.  [default: 1e-4; "
    "1e-2 for cones that are rows of the file]",
)
@click.option(
    "--out", type=click.Path(), help="Where to write the network, .json or .npz."
)
def recover_command(
    names: str, solution: str, tolerance: float | None, out: str | None
) -> None:
    """Make a network of a SOLUTION that another program found, and certify it.

    NAMES is the name map that 'pyomo-relu build' wrote beside the model. Solutions are
    those of AMPL solvers, HiGHS, SCIP, CBC, GLPK, CSDP, SDPA, or CSV of name,value.
    """
    if out is not None:
        check_network_path(out)
    map_ = read_name_map(names)
    recipe = map_.metadata.get("recipe")
    if not isinstance(recipe, dict):
        raise InputError(
            f"{names!r} does not say how its model was built: it is not from "
            "'pyomo-relu build'. In Python, build the model again and use "
            "read_solution(model, path)."
        )
    try:
        problem = TrainingProblem.from_dict(recipe["problem"])
        program, tiers = recipe["program"], tuple(recipe["tiers"])
        metadata, name = dict(recipe["network"]), str(recipe["data"])
        if program not in _PROGRAMS:
            raise KeyError(program)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{names!r} is damaged: its recipe lacks {error}. Build the model again."
        ) from error
    with Console(stderr=True).status("building the program") as status:
        model = _build(problem, program, tiers)
        status.update("reading the solution")
        read = read_solution(model, solution, names=names, tolerance=tolerance)
        status.update("recovering and certifying the network")
        network = recover_network(model)
        certificate = certify(problem, network)
    print_network(
        name,
        problem,
        network,
        certificate,
        [
            ("read from", ", ".join(filter(None, (read.format, read.status)))),
            ("objective of the model", f"{read.objective:.10g}"),
            ("violation of the model", f"{read.violation:.1e}"),
        ],
    )
    if out is not None:
        network.with_metadata(metadata).save(out)
        click.echo(f"network written to {out}")


def _build(problem: TrainingProblem, program: str, tiers: tuple[str, ...]) -> Any:
    model = _PROGRAMS[program](problem)
    for tier in tiers:
        relax(model, tier)
    return model


def _names_path(out: str, form: str | None) -> str:
    return f"{find_format(out, form)[1]}.names.json"
