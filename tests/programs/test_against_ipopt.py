"""The smooth nonconvex form, solved by Ipopt: an independent road to the optimum."""

import numpy as np
import pyomo.environ as pyo
import pytest

from pyomo_relu import TrainingProblem, enumerate_cells
from tests.instances import REFERENCE, reference_data


def smooth_form(problem, cells, rng):
    """One neuron a cell, u = R a with a >= 0, residuals as equalities (no scaling)."""
    n, c = problem.Y.shape
    masks = cells.masks
    active = np.flatnonzero(masks.any(axis=1)).tolist()
    rays = {i: cells.rays[i] for i in active}
    model = pyo.ConcreteModel()
    model.a = pyo.Var(
        [(i, j) for i in active for j in range(rays[i].shape[1])],
        bounds=(0, None),
        initialize=lambda *_: rng.uniform(0.1, 0.5),
    )
    model.v = pyo.Var(active, range(c), initialize=lambda *_: 0.3 * rng.normal())
    model.residual = pyo.Var(range(n), range(c), initialize=0.0)
    activation = {i: masks[i][:, None] * (problem.X @ rays[i]) for i in active}

    @model.Constraint(range(n), range(c))
    def row(m, k, o):
        prediction = sum(
            activation[i][k, j] * m.a[i, j] * m.v[i, o] for i, j in m.a if masks[i, k]
        )
        return m.residual[k, o] == prediction - problem.Y[k, o]

    first_layer = sum(
        weight * model.a[i, j] * model.a[i, k]
        for i in active
        for (j, k), weight in np.ndenumerate(rays[i].T @ rays[i])
    )
    weights = first_layer + sum(v**2 for v in model.v.values())
    loss = sum(e**2 for e in model.residual.values())
    model.objective = pyo.Objective(expr=0.5 * loss + 0.5 * problem.beta * weights)
    return model


@pytest.mark.parametrize("seed", [0, 2])
def test_ipopt_finds_the_reference_optimum_from_a_random_start(seed):
    solver = pyo.SolverFactory("cyipopt")
    if not solver.available(exception_flag=False):
        pytest.skip("Ipopt is not installed; run tools/install_ipopt.sh")
    problem = TrainingProblem(*reference_data(seed), beta=0.2)
    model = smooth_form(problem, enumerate_cells(problem), np.random.default_rng(seed))
    solver.solve(model)
    assert pyo.value(model.objective) == pytest.approx(REFERENCE[seed], abs=1e-6)
