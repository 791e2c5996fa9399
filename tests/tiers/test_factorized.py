"""`relu.factorized`: products of few columns, for nonlinear solvers."""

import numpy as np
import pyomo.environ as pyo
import pytest

from examples.spiral import make_spiral
from pyomo_relu import (
    CompletelyPositiveCone,
    TrainingProblem,
    bound_direction,
    build_completely_positive,
    recover_network,
    relax,
    train,
)
from pyomo_relu.errors import InputError
from pyomo_relu.tiers.replacement import replacement_of, tier_of
from tests.instances import REFERENCE, reference_data
from tests.tiers.forms import HORN, primal, random_form


@pytest.fixture
def ipopt():
    solver = pyo.SolverFactory("cyipopt")
    if not solver.available(exception_flag=False):
        pytest.skip("Ipopt is not installed; run tools/install_ipopt.sh")
    return solver


def factors_of(cone):
    replacement = replacement_of(cone)
    return tier_of(replacement).factors(cone, replacement)


def residuals(model):
    return [
        abs(pyo.value(row.body) - pyo.value(row.upper))
        for row in model.K_factorized.product.values()
    ]


@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("options", [{}, {"facets": [[1.0, 0.0], [-0.5, 1.0]]}])
def test_the_start_obeys_the_rows(columns, options):
    model = primal(random_form(np.random.default_rng(0), 4), free=2, **options)
    relax(model, "factorized", columns=columns, seed=4)
    assert max(residuals(model)) < 1e-14
    B, C = factors_of(model.K)
    assert B.shape == (2, columns)
    assert C.shape == (columns, 2)
    F = np.array(options.get("facets", np.eye(2)))
    assert (F @ B >= -1e-12).all()
    M = model.K.numeric()
    np.testing.assert_allclose(B @ B.T, M[:2, :2], atol=1e-14)
    np.testing.assert_allclose(B @ C, M[:2, 2:], atol=1e-14)
    np.testing.assert_allclose(C.T @ C, M[2:, 2:], atol=1e-14)
    assert bound_direction(model) == "upper"


def test_facets_are_rows_and_signs_are_bounds():
    plain, faceted = primal(np.eye(2)), primal(np.eye(2), facets=[[-1.0, 2.0]])
    for model in (plain, faceted):
        relax(model, "factorized")
    factor = plain.K_factorized.factor
    assert [factor[i, 0].lb for i in range(2)] == [0.0, 0.0]
    assert len(plain.K_factorized.facet) == 0
    factor = faceted.K_factorized.factor
    assert [factor[i, 0].lb for i in range(2)] == [None, None]
    (row,) = faceted.K_factorized.facet.values()
    factor[0, 0].value, factor[1, 0].value = 3.0, 5.0
    assert pyo.value(row.body) == 7.0
    assert row.lower == 0.0
    faceted.K_factorized.facet[0, 0].deactivate()
    assert bound_direction(faceted) == "neither"


def starts(seed, names=("K",)):
    model = pyo.ConcreteModel()
    for name in names:
        model.add_component(name, CompletelyPositiveCone(HORN))
    relax(model, "factorized", seed=seed)
    return [
        [v.value for v in model.component(f"{name}_factorized").factor.values()]
        for name in names
    ]


def test_seeds_repeat_and_differ():
    assert starts(1) == starts(1)
    assert starts(1) != starts(2)
    assert starts(None) != starts(None)
    first, second = starts(1, ["K", "L"])
    # Alike they would stay alike, at a saddle point.
    assert first != second


@pytest.mark.parametrize(
    ("option", "wrong"), [("columns", 0), ("columns", 1.5), ("seed", -1)]
)
def test_wrong_options_are_refused(option, wrong):
    model = primal(HORN)
    with pytest.raises(InputError, match=rf"relu\.factorized.*{option}"):
        relax(model, "factorized", **{option: wrong})
    assert model.K.active


def test_entries_of_all_kinds_and_fixed_values():
    model = pyo.ConcreteModel()
    model.x, model.y = pyo.Var(), pyo.Var()
    model.p = pyo.Param(initialize=2.0, mutable=True)
    model.y.fix(3.0)
    model.K = CompletelyPositiveCone([[model.p, 1 + model.x], [1 + model.x, model.y]])
    relax(model, "factorized", columns=2)
    assert model.y.value == 3.0
    rows = model.K_factorized.product
    factor = model.K_factorized.factor
    for (i, p), variable in factor.items():
        variable.value = float(1 + i + 2 * p)
    model.x.value = 0.5
    # Columns (1, 2) and (3, 4).
    values = {(0, 0): 10 - 2, (0, 1): 14 - 1.5, (1, 1): 20 - 3}
    assert {index: pyo.value(row.body) for index, row in rows.items()} == values


def test_ipopt_ends_at_the_reference_optimum_with_a_network(ipopt):
    problem = TrainingProblem(*reference_data(1), beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "factorized")
    ipopt.solve(model)
    objective = pyo.value(model.objective)
    assert objective == pytest.approx(REFERENCE[1], rel=1e-4)
    assert objective >= REFERENCE[1] - 1e-6
    network = recover_network(model, improve=False)
    assert network.objective(problem) == pytest.approx(objective, abs=1e-6)
    assert network.merge().objective(problem) <= objective + 1e-6


def test_ipopt_ends_at_the_optimum_in_facet_form(ipopt):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    model = build_completely_positive(
        TrainingProblem(X, Y, beta=0.2), description="facets"
    )
    relax(model, "factorized", seed=1)
    ipopt.solve(model)
    optimum = train(X, Y, 0.2).certificate.objective
    assert pyo.value(model.objective) == pytest.approx(optimum, rel=1e-4)


def test_ipopt_ends_at_the_proven_optimum_of_the_spiral(ipopt):
    X, Y = make_spiral()
    certificate = train(X, Y, 0.1).certificate
    assert certificate.gap < 1e-6
    model = build_completely_positive(TrainingProblem(X, Y, beta=0.1))
    relax(model, "factorized", seed=5)
    ipopt.solve(model)
    objective = pyo.value(model.objective)
    assert objective == pytest.approx(certificate.lower_bound, rel=1e-4)
    assert objective >= certificate.lower_bound - 1e-6


def test_more_columns_restrict_less(ipopt):
    """One column cannot have two coordinates that are equal and orthogonal."""
    Q = random_form(np.random.default_rng(7), 4)
    Q = Q @ Q.T
    values = []
    for columns in (1, 4):
        model = primal(Q)
        model.corner = pyo.Constraint(expr=model.M[0, 0] == model.M[1, 1])
        model.apart = pyo.Constraint(expr=model.M[0, 1] == 0)
        relax(model, "factorized", columns=columns, seed=1)
        ipopt.solve(model)
        values.append(pyo.value(model.o))
    assert values[1] <= values[0] - 1e-3


def test_scip_reads_the_nl_file_and_proves_the_optimum(tmp_path):
    pyscipopt = pytest.importorskip("pyscipopt")
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(3, 1)), rng.normal(size=(3, 2))
    problem = TrainingProblem(X, Y, beta=0.2)
    model = build_completely_positive(problem)
    relax(model, "factorized")
    # A global solver needs bounds: no network beats zero by costing more than it.
    largest = 1.0 / problem.scaled.beta
    for entry in model.moment.values():
        entry.setlb(-largest)
        entry.setub(largest)
    path = str(tmp_path / "training.nl")
    model.write(path)
    scip = pyscipopt.Model()
    scip.hideOutput()
    scip.readProblem(path)
    scip.setParam("limits/gap", 1e-6)
    scip.optimize()
    proven = train(X, Y, 0.2, gap=1e-8).certificate.lower_bound
    assert scip.getDualbound() == pytest.approx(proven, rel=1e-5)
    assert scip.getPrimalbound() == pytest.approx(proven, rel=1e-5)
