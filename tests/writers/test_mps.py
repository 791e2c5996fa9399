"""MPS files, as other programs read them."""

from __future__ import annotations

import highspy
import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.gdp import Disjunct
from pyomo.repn.plugins.standard_form import LinearStandardFormCompiler

from pyomo_relu import solve
from pyomo_relu.cones import CompletelyPositiveCone, ExponentialCone, PSDCone
from pyomo_relu.errors import InputError, UnsupportedConeError
from pyomo_relu.solvers import UnsupportedModelError
from pyomo_relu.writers.lp import write_lp
from pyomo_relu.writers.mps import write_mps
from tests.writers.random_programs import random_program
from tests.writers.readers import (
    CANNOT_READ,
    CURVED_READERS,
    LINEAR_READERS,
    SCIP,
    assert_same_optimum,
    read,
)

SENSES = [pyo.minimize, pyo.maximize]
SEEDS = range(2)
#: Both writers share the compiler, so that they refuse the same models.
WRITERS = [write_mps, write_lp]


def suffix(write) -> str:
    return write.__name__.removeprefix("write_")


def optimum_of(seed, **options) -> float:
    """Optimum that the solvers in this process find."""
    results = solve(random_program(seed, ranges=False, **options), load_solutions=False)
    return results.incumbent_objective


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("reader", LINEAR_READERS)
def test_linear_programs(reader, write, integer, sense, seed, tmp_path):
    options = {"sense": sense, "integer": integer}
    m = random_program(seed, **options)
    exported = write(m)
    reading = read(reader, exported, tmp_path / f"model.{suffix(write)}")
    assert_same_optimum(m, exported, reading, optimum_of(seed, **options))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("reader", CURVED_READERS)
def test_quadratic_objectives(reader, write, sense, seed, tmp_path):
    options = {"sense": sense, "curved": True}
    m = random_program(seed, **options)
    exported = write(m)
    reading = read(reader, exported, tmp_path / f"model.{suffix(write)}")
    assert_same_optimum(m, exported, reading, optimum_of(seed, **options))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("integer", [False, True])
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("reader", SCIP)
def test_quadratic_rows(reader, write, integer, curved, seed, tmp_path):
    options = {
        "sense": SENSES[seed],
        "curved": curved,
        "integer": integer,
        "quadratic_rows": True,
    }
    m = random_program(seed, **options)
    exported = write(m)
    reading = read(reader, exported, tmp_path / f"model.{suffix(write)}")
    assert_same_optimum(m, exported, reading, optimum_of(seed, **options))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("reader", SCIP)
def test_quadratic_objective_over_integers(reader, write, tmp_path):
    options = {"curved": True, "integer": True}
    m = random_program(0, **options)
    exported = write(m)
    reading = read(reader, exported, tmp_path / f"model.{suffix(write)}")
    assert_same_optimum(m, exported, reading, optimum_of(0, **options))


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("reader", SCIP)
def test_rows_that_are_not_convex(reader, write, tmp_path):
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(0, 4))
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    m.band = pyo.Constraint(expr=(2, m.x[0] * m.x[1], 3))
    exported = write(m)
    reading = read(reader, exported, tmp_path / f"model.{suffix(write)}")
    assert_same_optimum(m, exported, reading, 2.0 * np.sqrt(2.0))
    assert [entry.name for entry in exported.rows] == ["band__lower", "band__upper"]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("reader", LINEAR_READERS)
@pytest.mark.parametrize("rows", [False, True])
def test_no_objective(reader, write, rows, tmp_path):
    m = random_program(0, objective=False)
    if not rows:
        m.rows.deactivate()
        m.empty.deactivate()
        m.unbounded.deactivate()
    exported = write(m)
    reading = read(reader, exported, tmp_path / f"model.{suffix(write)}")
    assert_same_optimum(m, exported, reading, 0.0)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("reader", LINEAR_READERS)
def test_objective_alone_and_a_constant_objective(reader, write, tmp_path):
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(-3, 5))
    m.o = pyo.Objective(expr=m.x[0] - 2 * m.x[1] + 4, sense=pyo.maximize)
    exported = write(m)
    path = tmp_path / f"model.{suffix(write)}"
    assert_same_optimum(m, exported, read(reader, exported, path), 15.0)
    m.x.fix(1.0)
    exported = write(m)
    assert_same_optimum(m, exported, read(reader, exported, path), 3.0)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("reader", LINEAR_READERS)
def test_variables_that_cancel_keep_their_bounds(reader, write, tmp_path):
    """A column without a coefficient is in the file, and is given a value."""
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1, 2], bounds=(2, 3))
    m.x[1].domain = pyo.Integers
    m.o = pyo.Objective(expr=m.x[0])
    m.c = pyo.Constraint(expr=m.x[0] + 0 * m.x[1] + m.x[2] - m.x[2] >= 2.5)
    exported = write(m)
    reading = read(reader, exported, tmp_path / f"model.{suffix(write)}")
    assert_same_optimum(m, exported, reading, 2.5)
    components = [entry.component for entry in exported.columns]
    assert m.x[0] in components


def lp_of(exported, path):
    path.write_bytes(exported.data)
    highs = highspy.Highs()
    highs.silent()
    assert highs.readModel(str(path)) == highspy.HighsStatus.kOk
    return highs.getLp()


@pytest.mark.parametrize("write", WRITERS)
def test_numbers_are_exact(write, tmp_path):
    """Coefficients as HiGHS reads them are those that Pyomo compiles, to the bit."""
    rng = np.random.default_rng(0)
    m = pyo.ConcreteModel()
    m.x = pyo.Var(range(30), bounds=(-0.1, 1.0 / 3.0))
    coefficients = rng.normal(size=(40, 30)) * 10.0 ** rng.integers(-5, 9, (40, 30))
    coefficients[rng.uniform(size=(40, 30)) < 0.5] = 0.0
    sides = np.sort(rng.normal(size=(40, 2)) * 10.0 ** rng.integers(-9, 9, (40, 2)))
    m.c = pyo.Constraint(
        range(40),
        rule=lambda m, i: (
            float(sides[i, 0]),
            LinearExpression(
                linear_coefs=coefficients[i].tolist(), linear_vars=list(m.x.values())
            ),
            float(sides[i, 1]),
        ),
    )
    m.o = pyo.Objective(expr=pyo.quicksum(m.x[j] / (j + 3) for j in m.x))
    exported = write(m)
    lp = lp_of(exported, tmp_path / f"model.{suffix(write)}")
    column = {name: j for j, name in enumerate(lp.col_names_)}
    row = {name: i for i, name in enumerate(lp.row_names_)}
    matrix = lp.a_matrix_
    dense = np.zeros((lp.num_row_, lp.num_col_))
    for j in range(lp.num_col_):
        part = slice(matrix.start_[j], matrix.start_[j + 1])
        dense[matrix.index_[part], j] = matrix.value_[part]
    low, up = {}, {}
    for entry in exported.rows:
        i, index = row[entry.name], entry.component.index()
        low[index] = max(low.get(index, -np.inf), lp.row_lower_[i])
        up[index] = min(up.get(index, np.inf), lp.row_upper_[i])
        body = dense[i, [column[f"x_{j}"] for j in range(30)]]
        assert np.array_equal(body, coefficients[index])
    read_sides = np.array([[low[i], up[i]] for i in range(40)])
    if write is write_lp:
        assert np.array_equal(read_sides, sides)
    # Readers of ranges add a width to a side.
    error = np.abs(read_sides - sides)
    assert (error.max(axis=1) <= np.spacing(np.abs(sides).max(axis=1))).all()
    assert (error.min(axis=1) == 0.0).all()
    info = LinearStandardFormCompiler().write(m)
    costs = dict(zip([v.index() for v in info.columns], info.c.toarray()[0]))  # noqa: B905
    assert all(lp.col_cost_[column[f"x_{j}"]] == costs[j] for j in m.x)


def test_the_smaller_side_of_a_range_is_exact(tmp_path):
    m = pyo.ConcreteModel()
    m.x = pyo.Var()
    third = 1.0 / 3.0
    m.c = pyo.Constraint(
        [0, 1, 2],
        rule=lambda m, i: [(-1e12, m.x, third), (-third, m.x, 1e12), (-1, m.x, 3)][i],
    )
    m.o = pyo.Objective(expr=m.x)
    exported = write_mps(m)
    assert [entry.role for entry in exported.rows] == ["constraint"] * 3
    lp = lp_of(exported, tmp_path / "model.mps")
    assert list(lp.row_lower_) == pytest.approx([-1e12, -third, -1], rel=1e-15)
    assert (lp.row_upper_[0], lp.row_lower_[1]) == (third, -third)
    assert (lp.row_lower_[2], lp.row_upper_[2]) == (-1.0, 3.0)


def test_a_maximisation_is_negated():
    m = pyo.ConcreteModel()
    m.x = pyo.Var(bounds=(0, 2))
    m.o = pyo.Objective(expr=3 * m.x, sense=pyo.maximize)
    exported = write_mps(m)
    assert (exported.sense, exported.objective_sign) == ("minimize", -1)
    assert b" x o -3.0\n" in exported.data


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_model_gives_the_same_bytes_and_is_left_alone(write):
    def make():
        return random_program(
            3, sense=pyo.maximize, integer=True, curved=True, quadratic_rows=True
        )

    m = make()
    before = [(v.value, v.fixed, v.bounds) for v in m.component_data_objects(pyo.Var)]
    first = write(m)
    assert write(m).data == first.data == write(make()).data
    after = [(v.value, v.fixed, v.bounds) for v in m.component_data_objects(pyo.Var)]
    assert before == after


@pytest.mark.parametrize("write", WRITERS)
def test_a_block_of_a_model(write, tmp_path):
    m = random_program(0)
    m.inner = pyo.Block()
    m.inner.c = pyo.Constraint(expr=m.x["free"] + m.x["x"] >= 1)
    m.inner.o = pyo.Objective(expr=m.x["free"])
    exported = write(m.inner)
    assert [entry.name for entry in exported.columns] == ["x_free", "x_x"]
    assert [entry.name for entry in exported.rows] == ["inner_c"]


def base():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(0, 4))
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    return m


def refused(change, error, match):
    return pytest.param(change, error, match, id=change.__name__)


def psd(m):
    m.K = PSDCone([[m.x[0], 1], [1, m.x[1]]])


def completely_positive(m):
    m.K = CompletelyPositiveCone([[m.x[0], 1], [1, m.x[1]]])


def exponential(m):
    m.K = ExponentialCone([m.x[0], 1, m.x[1]])


def curve(m):
    m.curve = pyo.Constraint(expr=pyo.exp(m.x[0]) <= 3)


def cubic_objective(m):
    m.o.expr = m.x[0] ** 3


def objectives(m):
    m.second = pyo.Objective(expr=m.x[0])


def disjunct(m):
    m.d = Disjunct()


def gap(m):
    m.y = pyo.Var(domain=pyo.Set(initialize=[1, 4, 9]))
    m.c = pyo.Constraint(expr=m.y >= 2)


def steps(m):
    m.y = pyo.Var(domain=pyo.RangeSet(0, 10, 2))
    m.c = pyo.Constraint(expr=m.y >= 2)


def crossing_bounds(m):
    m.x[1].setlb(5)


def crossing_sides(m):
    m.p = pyo.Param(initialize=1.0, mutable=True)
    m.c = pyo.Constraint(expr=(m.p, m.x[0], 2.0))
    m.p.value = 3.0


def no_integer(m):
    m.x[1].domain = pyo.Integers
    m.x[1].setlb(1.2)
    m.x[1].setub(1.8)


def violated_numbers(m):
    m.x[1].fix(3.0)
    m.c = pyo.Constraint(expr=m.x[1] <= 2)


def not_a_number(m):
    m.c = pyo.Constraint(expr=float("nan") * m.x[0] <= 1)


def infinite_square(m):
    m.c = pyo.Constraint(expr=float("inf") * m.x[0] ** 2 <= 1)


def infinite_cost(m):
    m.o.expr = float("inf") * m.x[0]


def fixed_without_value(m):
    m.x[1].fixed = True
    m.c = pyo.Constraint(expr=m.x[0] + m.x[1] <= 1)


REFUSED = [
    refused(psd, UnsupportedConeError, r"'K'.*relax\(model.*\.cbf or \.dat-s"),
    refused(completely_positive, UnsupportedConeError, r"'K'.*relax\(model"),
    refused(exponential, UnsupportedModelError, r"exponential cone 'K'.*\.cbf.*\.nl"),
    refused(curve, UnsupportedModelError, r"'curve'.*\.nl"),
    refused(cubic_objective, UnsupportedModelError, r"'o'.*\.nl"),
    refused(objectives, UnsupportedModelError, "'o', 'second'"),
    refused(disjunct, UnsupportedModelError, r"Disjunct 'd'.*gdp\.bigm"),
    refused(gap, UnsupportedModelError, "'y'.*domain"),
    refused(steps, UnsupportedModelError, "'y'.*domain"),
    refused(crossing_bounds, InfeasibleConstraintException, r"'x\[1\]'"),
    refused(crossing_sides, InfeasibleConstraintException, "'c'"),
    refused(no_integer, InfeasibleConstraintException, r"no integer.*'x\[1\]'"),
    refused(violated_numbers, InfeasibleConstraintException, "'c'"),
    refused(not_a_number, InputError, "'c'.*finite"),
    refused(infinite_square, InputError, "'c'.*finite"),
    refused(infinite_cost, InputError, "'o'.*finite"),
    refused(fixed_without_value, InputError, r"'x\[1\]'.*no value"),
]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("change", "error", "match"), REFUSED)
def test_what_cannot_be_said_is_refused_by_name(change, error, match, write):
    m = base()
    change(m)
    with pytest.raises(error, match=match):
        write(m)


def test_sos_constraints_are_refused():
    m = base()
    m.s = pyo.SOSConstraint(var=m.x, sos=1)
    with pytest.raises(UnsupportedModelError, match=r"SOSConstraint 's'.*\.lp"):
        write_mps(m)


@pytest.mark.parametrize("reader", LINEAR_READERS)
def test_a_reader_without_quadratic_rows_says_so(reader, tmp_path):
    """HiGHS, GLPK and CBC stop at QCMATRIX; nobody solves another program."""
    m = base()
    m.disc = pyo.Constraint(expr=m.x[0] ** 2 + m.x[1] ** 2 + m.x[0] * m.x[1] >= 12)
    reading = read(reader, write_mps(m), tmp_path / "model.mps")
    assert reading.status == CANNOT_READ or reading.objective == pytest.approx(
        np.sqrt(12.0), rel=1e-5
    )
