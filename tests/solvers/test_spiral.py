"""One real program by every semidefinite solver: what each proves is valid."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    certify,
    recover_network,
    relax,
    solve,
    solver_table,
)

EXAMPLES = Path(__file__).parents[2] / "examples"
HERE = {row.solver for row in solver_table() if row.installed}
#: Proved by `train` to a relative gap of 5e-13.
OPTIMUM = 17.0721942


@pytest.mark.parametrize(
    ("solver", "accuracy", "gap"),
    [
        ("clarabel", "default", 1e-5),
        ("csdp", "default", 1e-5),
        ("sdpa", "default", 1e-5),
        # A first-order method: the bound is weak after few iterations, and valid.
        ("scs", "fast", 0.5),
    ],
)
def test_the_bound_after_repair_is_valid(solver, accuracy, gap):
    if solver not in HERE:
        pytest.skip(f"{solver} is not installed")
    X, Y = runpy.run_path(str(EXAMPLES / "spiral.py"))["make_spiral"]()
    problem = TrainingProblem(X, Y, beta=0.1)
    model = build_completely_positive(problem)
    relax(model, "dnn")
    results = solve(model, solver, accuracy=accuracy)
    # Nothing is improved: the network and the dual point are the solver's.
    certificate = certify(problem, recover_network(model, improve=False))
    assert certificate.lower_bound <= OPTIMUM * (1 + 1e-8)
    assert certificate.objective >= OPTIMUM * (1 - 1e-8)
    assert certificate.complete
    assert certificate.gap < gap
    assert results.extra_info.primal_residual < 1e-3
    assert results.incumbent_objective == pytest.approx(OPTIMUM, rel=1e-3)
