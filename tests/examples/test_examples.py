"""The examples run as a reader runs them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyomo_relu import (
    TrainingProblem,
    build_completely_positive,
    relax,
    solve,
    train,
)

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_spiral_runs():
    done = subprocess.run(
        [sys.executable, EXAMPLES / "spiral.py"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("lower bound") == 2


@pytest.mark.parametrize("beta", [0.1, 0.01])
def test_the_spiral_is_solved(beta):
    X, Y = load("spiral").make_spiral()
    assert X.shape == (60, 2)
    assert not X[0].any()
    assert (np.linalg.norm(X[1:], axis=1) > 0).all()
    result = train(X, Y, beta, gap=1e-8)
    certificate = result.certificate
    assert result.converged
    assert certificate.complete
    problem = TrainingProblem(X, Y, beta)
    model = build_completely_positive(problem)
    relax(model, "dnn")
    optimum = solve(model).incumbent_objective
    assert certificate.objective == pytest.approx(optimum, rel=1e-6)
    assert certificate.lower_bound == pytest.approx(optimum, rel=1e-6)
    objective = result.network.objective(problem)
    assert objective == pytest.approx(certificate.objective, rel=1e-13)
