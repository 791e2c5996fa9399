"""One door: defaults, names, instances and what is refused at it."""

from __future__ import annotations

import pyomo.environ as pyo
import pytest
from pyomo.contrib.solver.common.factory import SolverFactory

from pyomo_relu.cones import CompletelyPositiveCone, PSDCone
from pyomo_relu.errors import (
    InputError,
    InputTypeError,
    SolverError,
    UnsupportedConeError,
)
from pyomo_relu.solvers import Clarabel, compile_conic, solve


def model(cone=None) -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, None))
    m.y = pyo.Var(bounds=(1, None))
    m.o = pyo.Objective(expr=m.x + m.y)
    if cone is not None:
        m.K = cone([[m.x, 2], [2, m.y]])
    return m


def test_the_default_takes_cones():
    results = solve(model(PSDCone))
    assert results.solver_name == "clarabel"
    assert results.incumbent_objective == pytest.approx(4.0, abs=1e-6)


@pytest.mark.parametrize("solver", ["highs", SolverFactory("highs"), Clarabel()])
def test_a_model_without_cones_goes_to_any_solver(solver):
    results = solve(model(), solver, time_limit=60)
    assert results.incumbent_objective == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("cone", [PSDCone, CompletelyPositiveCone])
def test_cones_stop_at_the_door_of_other_solvers(cone):
    with pytest.raises(UnsupportedConeError, match=r"'highs'.*'K'"):
        solve(model(cone), "highs")


def test_an_unrelaxed_cone_stops_at_the_door():
    with pytest.raises(UnsupportedConeError, match=r"relu\.dnn"):
        solve(model(CompletelyPositiveCone))


def test_options_are_passed_on_and_checked():
    results = solve(
        model(), "clarabel", solver_options={"max_iter": 50}, load_solutions=False
    )
    assert "max iter = 50" in results.solver_log
    with pytest.raises(InputError, match=r"'max_iter'.*solver_options"):
        solve(model(), max_iter=50)


@pytest.mark.parametrize(
    ("solver", "error", "message"),
    [
        ("clarabelle", SolverError, "'clarabelle'.*clarabel.*highs"),
        ("knitro_direct", SolverError, "not available here; .*clarabel"),
        (7, InputTypeError, "int"),
    ],
)
def test_solvers_that_are_not_there(solver, error, message):
    with pytest.raises(error, match=message):
        solve(model(), solver)


@pytest.mark.parametrize("given", [5, None, "model", [1]])
@pytest.mark.parametrize("door", [solve, Clarabel().solve, compile_conic])
def test_only_models_are_taken(door, given):
    with pytest.raises(InputTypeError, match=f"got {type(given).__name__}"):
        door(given)


@pytest.mark.parametrize("door", [solve, Clarabel().solve, compile_conic])
def test_a_model_without_data_is_refused(door):
    a = pyo.AbstractModel()
    a.x = pyo.Var(bounds=(0, None))
    a.o = pyo.Objective(rule=lambda m: m.x)
    with pytest.raises(InputError, match="create_instance"):
        door(a)
    door(a.create_instance())


def test_options_of_an_instance_are_checked():
    with pytest.raises(InputError, match=r"'max_iter'.*solver_options"):
        Clarabel().solve(model(), max_iter=50)
    with pytest.raises(InputError, match="time_limit"):
        Clarabel().solve(model(), time_limit="soon")
    # The legacy interface answers as that of any other solver of Pyomo.
    with pytest.raises(TypeError, match="max_iter"):
        pyo.SolverFactory("clarabel").solve(model(), max_iter=50)
    pyo.SolverFactory("clarabel").solve(model(), timelimit=60)
