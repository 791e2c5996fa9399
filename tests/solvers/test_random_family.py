"""Every solver against programs whose optimum, duals and verdict were chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
from pyomo.contrib.solver.solvers.highs import Highs

from pyomo_relu.solvers.clarabel import Clarabel
from pyomo_relu.solvers.csdp import CSDP
from pyomo_relu.solvers.scs import SCS
from pyomo_relu.solvers.sdpa import SDPA
from tests.solvers.conic_family import (
    CLASSES,
    Instance,
    infeasible,
    solvable,
    unbounded,
)

SEEDS = range(6)
QUIET = {"load_solutions": False, "raise_exception_on_nonoptimal_result": False}

OPTIMAL = TerminationCondition.convergenceCriteriaSatisfied
VERDICTS = {
    "infeasible": TerminationCondition.provenInfeasible,
    "unbounded": TerminationCondition.unbounded,
}
CLAIMS = {OPTIMAL, *VERDICTS.values(), TerminationCondition.locallyInfeasible}


@dataclass(frozen=True)
class Solver:
    """What may be asked of a solver.

    Attributes
    ----------
    interface : type
        The solver.
    classes : set of str
        Classes of programs that it takes.
    accuracy : float
        Largest error of the objective, the point, duals and reduced costs, relative to
        one plus the largest entry.
    unrefined : float or None
        The same of the point as the solver returned it; None where there is no other.
        Refinement repairs what the translation of an answer spoils.
    options : dict
        Options of the solve.
    """

    interface: type
    classes: set[str]
    accuracy: float = 1e-9
    unrefined: float | None = 1e-5
    options: dict[str, Any] = field(default_factory=dict)


#: The same of the objective without refinement.
OBJECTIVE_ACCURACY = 1e-7

SEMIDEFINITE = set(CLASSES) - {"exponential"}

SOLVERS = {
    # An iterate with the gap g may be sqrt(g) off along a curved cone; Clarabel's are
    # not central and up to 3e-4 off.
    "clarabel": Solver(Clarabel, set(CLASSES), unrefined=1e-3),
    "scs": Solver(SCS, set(CLASSES)),
    "csdp": Solver(CSDP, SEMIDEFINITE),
    # SDPA's last digits, and now and then its verdict, depend on the number of threads.
    "sdpa": Solver(SDPA, SEMIDEFINITE, options={"threads": 1}),
    # With its own 1e-7 it calls unbounded QPs optimal; `solve` sets this as well.
    "highs": Solver(
        Highs,
        {"lp", "qp"},
        accuracy=1e-6,
        unrefined=None,
        options={"solver_options": {"qp_regularization_value": 1e-9}},
    ),
}

#: Where a solver may end without a verdict, (solver, class, kind): the infeasible
#: interior-point methods of CSDP and SDPA get stuck on the way to infinity now and
#: then. A wrong verdict is a failure there too.
MAY_GIVE_UP = {
    (name, program, "unbounded")
    for name in ("csdp", "sdpa")
    for program in SEMIDEFINITE - {"lp"}
}


def cases(kinds: list[str]) -> list[Any]:
    """Every solver with every class that it takes, and each kind of it."""
    found = []
    for name, solver in SOLVERS.items():
        for program in CLASSES:
            if program not in solver.classes:
                continue
            for kind in kinds:
                name_of_case = f"{name}-{program}-{kind}"
                found.append(pytest.param(name, program, kind, id=name_of_case))
    return found


def solver_of(name: str) -> Any:
    solver = SOLVERS[name].interface()
    if not solver.available():
        pytest.skip(f"solver '{name}' is not installed")
    return solver


def error(got: Any, expected: Any) -> float:
    """Largest error relative to one plus the largest entry."""
    got, expected = np.asarray(got, dtype=float), np.asarray(expected, dtype=float)
    assert got.shape == expected.shape
    return float(np.abs(got - expected).max() / (1.0 + np.abs(expected).max()))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("name", "program", "kind"), cases(["solvable"]))
def test_the_optimum_and_its_duals_are_found(name, program, kind, seed):
    asked, instance = SOLVERS[name], solvable(program, seed)
    results = solver_of(name).solve(instance.model, **QUIET, **asked.options)
    assert_optimum(instance, results, asked.accuracy, asked.accuracy)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "program", "kind"),
    [case for case in cases(["solvable"]) if SOLVERS[case.values[0]].unrefined],
)
def test_they_are_found_without_refinement(name, program, kind, seed):
    asked, instance = SOLVERS[name], solvable(program, seed)
    results = solver_of(name).solve(
        instance.model, **QUIET, **asked.options, refine=False
    )
    assert_optimum(instance, results, asked.unrefined, OBJECTIVE_ACCURACY)


def assert_optimum(
    instance: Instance, results: Any, tolerance: float, objective_tolerance: float
) -> None:
    assert results.termination_condition == OPTIMAL
    assert results.solution_status == SolutionStatus.optimal
    assert error(results.incumbent_objective, instance.objective) < objective_tolerance
    loader = results.solution_loader
    duals, costs = loader.get_duals(), loader.get_reduced_costs()
    values = loader.get_vars()
    x = instance.model.x
    assert error([values[x[j]] for j in x], instance.x) < tolerance
    assert error([costs[x[j]] for j in x], instance.reduced_costs) < tolerance
    for component, expected in instance.duals:
        assert error(duals[component], expected) < tolerance


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("name", "program", "kind"), cases(["infeasible", "unbounded"])
)
def test_the_verdict_is_right(name, program, kind, seed):
    asked, solver = SOLVERS[name], solver_of(name)
    build = {"infeasible": infeasible, "unbounded": unbounded}[kind]
    results = solver.solve(build(program, seed).model, **QUIET, **asked.options)
    assert results.solution_status != SolutionStatus.optimal
    if (name, program, kind) in MAY_GIVE_UP:
        assert results.termination_condition not in CLAIMS - {VERDICTS[kind]}
    else:
        assert results.termination_condition == VERDICTS[kind]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("program", CLASSES)
def test_the_family_is_what_it_says(program, seed):
    """The chosen point satisfies every row, bound and cone, and has the value."""
    instance = solvable(program, seed)
    m = instance.model
    for j in m.x:
        m.x[j].set_value(instance.x[j])
    assert pyo.value(m.objective) == pytest.approx(instance.objective)
    # The guards of the cones are among the constraints: their body is the margin.
    slacks = [
        slack
        for row in m.component_data_objects(pyo.Constraint, active=True)
        for slack in (row.lslack(), row.uslack())
    ]
    slacks += [x.value - x.lb for x in m.x.values() if x.has_lb()]
    slacks += [x.ub - x.value for x in m.x.values() if x.has_ub()]
    assert min(slacks) > -1e-9
    # At least one of them is strict, and one is not.
    assert max(slack for slack in slacks if np.isfinite(slack)) > 0.1
    assert min(np.abs(slacks)) < 1e-9
