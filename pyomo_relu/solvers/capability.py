"""What each solver takes, whether it is here, and how to get it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyomo.common.errors import ApplicationError
from pyomo.contrib.solver.common.base import SolverBase
from pyomo.contrib.solver.common.factory import SolverFactory

from pyomo_relu.errors import InputError, InputTypeError
from pyomo_relu.solvers.acceptance import SEMIDEFINITE, Acceptance
from pyomo_relu.solvers.cbc import CBC
from pyomo_relu.solvers.cyipopt import CyIpopt
from pyomo_relu.solvers.glpk import GLPK
from pyomo_relu.solvers.scip import SCIP

__all__ = [
    "ALIASES",
    "CAPABILITIES",
    "OWN_INTERFACES",
    "Capability",
    "SolverRow",
    "SolverTable",
    "make_solver",
    "solver_table",
]


@dataclass(frozen=True, kw_only=True)
class Capability(Acceptance):
    """What one solver takes, and how it is called.

    Attributes
    ----------
    name : str
        Its name at the door.
    title : str
        What people call it.
    classes : str
        Classes of programs, for people.
    install : str
        How to get it.
    finds : {"global", "local"}
        Which optimum it finds of a model that is not convex; of a convex one every
        optimum is global.
    dense_above : int or None
        Numbers of variables above this are not for it, unless it is named: its work
        grows with their cube, its memory with their square.
    iteration_option : str or tuple of str
        Names of its settings for the largest number of iterations; empty where
        ``iteration_limit`` is an option of the interface, or there is none.
    accuracy : dict
        Settings of the presets ``fast`` and ``tight``.
    settings : dict
        Settings that it needs to be right.
    unnamed : dict
        Settings where nobody named the solver, so that one that goes in circles gives
        way to the next.
    """

    name: str
    title: str
    classes: str
    install: str
    finds: str = "global"
    dense_above: int | None = None
    iteration_option: tuple[str, ...] = ()
    accuracy: dict[str, dict[str, Any]] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    unnamed: dict[str, Any] = field(default_factory=dict)


_IPOPT_ACCURACY = {
    "fast": {"tol": 1e-6},
    "tight": {"tol": 1e-10, "constr_viol_tol": 1e-10, "compl_inf_tol": 1e-10},
}

CAPABILITIES: dict[str, Capability] = {
    capability.name: capability
    for capability in (
        Capability(
            name="clarabel",
            title="Clarabel",
            classes="LP, QP, QCQP, SOCP, SDP, exponential cones",
            install="pip install clarabel",
            conic=True,
            needs_convex=True,
            cones=SEMIDEFINITE | {"exponential"},
            rows="quadratic",
            objective="quadratic",
            accuracy={
                "fast": {"tol_gap_abs": 1e-6, "tol_gap_rel": 1e-6, "tol_feas": 1e-6},
                "tight": {
                    "tol_gap_abs": 1e-10,
                    "tol_gap_rel": 1e-10,
                    "tol_feas": 1e-10,
                },
            },
        ),
        Capability(
            name="highs",
            title="HiGHS",
            classes="LP, convex QP, MILP",
            install="pip install highspy",
            needs_convex=True,
            objective="quadratic",
            integer="linear",
            iteration_option=(
                "simplex_iteration_limit",
                "ipm_iteration_limit",
                "qp_iteration_limit",
            ),
            accuracy={
                "fast": {
                    "primal_feasibility_tolerance": 1e-6,
                    "dual_feasibility_tolerance": 1e-6,
                    "mip_rel_gap": 1e-3,
                },
                "tight": {
                    "primal_feasibility_tolerance": 1e-9,
                    "dual_feasibility_tolerance": 1e-9,
                    "ipm_optimality_tolerance": 1e-10,
                    "mip_rel_gap": 1e-9,
                },
            },
            # It adds this to the Hessian of a QP; with its own 1e-7 it calls unbounded
            # programs optimal.
            settings={
                "qp_regularization_value": 1e-9,
                "qp_iteration_limit": 100_000,
            },
            # Its active-set method for QPs ends within about 1.5 steps a variable, or
            # may go in circles.
            unnamed={"qp_iteration_limit": 3_000},
        ),
        Capability(
            name="csdp",
            title="CSDP",
            classes="LP, QP, QCQP, SOCP, SDP",
            install="apt-get install coinor-csdp",
            conic=True,
            needs_convex=True,
            cones=SEMIDEFINITE,
            rows="quadratic",
            objective="quadratic",
            dense_above=5_000,
            # Its default is as tight as it gets.
            accuracy={"fast": {"objtol": 1e-6, "axtol": 1e-6, "atytol": 1e-6}},
        ),
        Capability(
            name="sdpa",
            title="SDPA",
            classes="LP, QP, QCQP, SOCP, SDP",
            install="apt-get install sdpa",
            conic=True,
            needs_convex=True,
            cones=SEMIDEFINITE,
            rows="quadratic",
            objective="quadratic",
            dense_above=30_000,
            accuracy={"fast": {"epsilonStar": 1e-6}},
        ),
        Capability(
            name="scs",
            title="SCS",
            classes="LP, QP, QCQP, SOCP, SDP, exponential cones; first order",
            install="pip install 'pyomo-relu[scs]'",
            conic=True,
            needs_convex=True,
            cones=SEMIDEFINITE | {"exponential"},
            rows="quadratic",
            objective="quadratic",
            accuracy={
                "fast": {"eps_abs": 1e-5, "eps_rel": 1e-5},
                "tight": {"eps_abs": 1e-10, "eps_rel": 1e-10},
            },
        ),
        Capability(
            name="ipopt",
            title="Ipopt",
            classes="NLP, local optima",
            install="conda install -c conda-forge ipopt",
            rows="nonlinear",
            objective="nonlinear",
            finds="local",
            iteration_option=("max_iter",),
            accuracy=_IPOPT_ACCURACY,
        ),
        Capability(
            name="cyipopt",
            title="Ipopt by cyipopt",
            classes="NLP, local optima",
            install="apt-get install coinor-libipopt-dev pkg-config; pip install "
            "'pyomo-relu[ipopt]'; then Pyomo's ASL interface (docs/solvers.md)",
            rows="nonlinear",
            objective="nonlinear",
            finds="local",
            accuracy=_IPOPT_ACCURACY,
        ),
        Capability(
            name="scip",
            title="SCIP",
            classes="LP, MILP, MINLP, global optima",
            install="pip install 'pyomo-relu[scip]'",
            rows="nonlinear",
            objective="nonlinear",
            integer="nonlinear",
            other=frozenset({"SOSConstraint"}),
            accuracy={
                "fast": {"numerics/feastol": 1e-5, "limits/gap": 1e-3},
                "tight": {"numerics/feastol": 1e-9, "numerics/dualfeastol": 1e-9},
            },
        ),
        Capability(
            name="cbc",
            title="CBC",
            classes="LP, MILP",
            install="apt-get install coinor-cbc",
            integer="linear",
            accuracy={
                "fast": {"primalTolerance": 1e-6, "dualTolerance": 1e-6},
                "tight": {"primalTolerance": 1e-9, "dualTolerance": 1e-9},
            },
        ),
        Capability(
            name="glpk",
            title="GLPK",
            classes="LP, MILP",
            install="apt-get install glpk-utils",
            integer="linear",
        ),
    )
}

#: Names of Pyomo's that mean a solver here.
ALIASES = {"scip_direct": "scip", "glpsol": "glpk", "appsi_highs": "highs"}

#: Interfaces of this package that are not in Pyomo's factories, by name: registered
#: there, they would take the place of Pyomo's own.
OWN_INTERFACES: dict[str, type[SolverBase]] = {
    "cyipopt": CyIpopt,
    "glpk": GLPK,
    "cbc": CBC,
    "scip": SCIP,
}


def make_solver(name: str) -> Any:
    """Return a new instance of the interface of a solver.

    Parameters
    ----------
    name : str
        A key of `CAPABILITIES`, or a name that pyomo.contrib.solver's factory knows.

    Returns
    -------
    SolverBase
        Perhaps not available.
    """
    name = ALIASES.get(name, name)
    if name in OWN_INTERFACES:
        return OWN_INTERFACES[name]()
    return SolverFactory(name)


def is_available(name: str) -> bool:
    """Whether a solver can be used on this machine."""
    try:
        return bool(make_solver(name).available())
    except (ApplicationError, ImportError, OSError):
        return False


@dataclass(frozen=True)
class SolverRow:
    """One solver on this machine.

    Attributes
    ----------
    solver : str
        Its name at the door.
    installed : bool
        Whether it can be used.
    version : str
        Its version, empty where it is not installed.
    takes : str
        Classes of programs.
    install : str
        How to get it.
    """

    solver: str
    installed: bool
    version: str
    takes: str
    install: str


class SolverTable(tuple[SolverRow, ...]):
    """Rows of :func:`solver_table`, which print as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        cells = [("solver", "version", "takes", "install")] + [
            (
                row.solver,
                row.version if row.installed else "not here",
                row.takes,
                "-" if row.installed else row.install,
            )
            for row in self
        ]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) for cell, width in zip(row, widths, strict=True)
            )
            for row in cells
        ]
        return "\n".join(line.rstrip() for line in lines)

    def markdown(self) -> str:
        """Return the table as Markdown, without what differs between machines."""
        lines = ["| solver | takes | install |", "|---|---|---|"]
        lines += [f"| `{row.solver}` | {row.takes} | `{row.install}` |" for row in self]
        return "\n".join(lines) + "\n"


def solver_table(names: Sequence[str] | None = None) -> SolverTable:
    """Return a row for each solver: whether it is here, and what it takes.

    Parameters
    ----------
    names : sequence of str, optional
        Only these.

    Returns
    -------
    SolverTable
        A tuple of `SolverRow` that prints as a table.

    Raises
    ------
    InputError
        A name is unknown.
    InputTypeError
        `names` is a string.

    Examples
    --------
    >>> row = solver_table(["clarabel"])[0]
    >>> row.installed, row.takes
    (True, 'LP, QP, QCQP, SOCP, SDP, exponential cones')
    """
    if isinstance(names, str):
        raise InputTypeError(f"names must be a sequence of names; got {names!r}.")
    rows = []
    for name in CAPABILITIES if names is None else names:
        key = ALIASES.get(name, name)
        if key not in CAPABILITIES:
            raise InputError(
                f"there is no solver {name!r} in the table; it has "
                f"{', '.join(CAPABILITIES)}."
            )
        capability = CAPABILITIES[key]
        installed = is_available(key)
        rows.append(
            SolverRow(
                key,
                installed,
                version_text(make_solver(key)) if installed else "",
                capability.classes,
                capability.install,
            )
        )
    return SolverTable(rows)


def version_text(interface: Any) -> str:
    """Version of a solver as people write it, empty where it is not known."""
    try:
        return ".".join(map(str, interface.version() or ()))
    except (ApplicationError, OSError, RuntimeError, TypeError, ValueError):
        return ""
