"""NL files, as SCIP and Ipopt read them."""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo
import pytest
from pyomo.common.errors import InfeasibleConstraintException
from pyomo.gdp import Disjunct

from pyomo_relu.cones import ExponentialCone, PSDCone
from pyomo_relu.errors import InputError, UnsupportedConeError
from pyomo_relu.solvers import UnsupportedModelError
from pyomo_relu.solvers.capability import OWN_INTERFACES
from pyomo_relu.writers.nl import write_nl
from tests.writers.random_programs import random_program
from tests.writers.readers import SCIP, Reading, assert_same_optimum, read
from tests.writers.test_lp import with_sos
from tests.writers.test_mps import SEEDS, SENSES, optimum_of


def _ipopt(path) -> Reading:
    """Have Ipopt solve a file by way of AMPL's solver library."""
    from pyomo.contrib.pynumero.algorithms.solvers.cyipopt_solver import CyIpoptSolver
    from pyomo.contrib.pynumero.interfaces.ampl_nlp import AmplNLP
    from pyomo.contrib.pynumero.interfaces.cyipopt_interface import CyIpoptNLP

    names = [str(path.with_suffix(suffix)) for suffix in (".row", ".col")]
    nlp = AmplNLP(str(path), *names)
    options = {"print_level": 0, "sb": "yes", "tol": 1e-9}
    x, info = CyIpoptSolver(CyIpoptNLP(nlp), options=options).solve()
    assert info["status"] == 0
    rows = path.with_suffix(".row").read_text().split()
    return Reading("optimal", None, dict(zip(nlp.primals_names(), x)), rows)  # noqa: B905


IPOPT = pytest.param(
    _ipopt,
    id="ipopt",
    marks=pytest.mark.skipif(
        not OWN_INTERFACES["cyipopt"]().available(), reason="needs cyipopt"
    ),
)
READERS = [*SCIP, IPOPT]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sense", SENSES)
@pytest.mark.parametrize("curved", [False, True])
@pytest.mark.parametrize("quadratic_rows", [False, True])
@pytest.mark.parametrize("reader", READERS)
def test_convex_programs(reader, quadratic_rows, curved, sense, seed, tmp_path):
    options = {"sense": sense, "curved": curved, "quadratic_rows": quadratic_rows}
    m = random_program(seed, **options)
    exported = write_nl(m)
    reading = read(reader, exported, tmp_path / "model.nl")
    assert_same_optimum(m, exported, reading, optimum_of(seed, **options))
    assert exported.sense == ("minimize" if sense == pyo.minimize else "maximize")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("reader", SCIP)
def test_integer_programs(reader, quadratic, seed, tmp_path):
    options = {
        "sense": SENSES[seed],
        "integer": True,
        "curved": quadratic,
        "quadratic_rows": quadratic,
    }
    m = random_program(seed, **options)
    exported = write_nl(m)
    reading = read(reader, exported, tmp_path / "model.nl")
    assert_same_optimum(m, exported, reading, optimum_of(seed, **options))


@pytest.mark.parametrize("reader", READERS)
def test_nonlinear_programs(reader, tmp_path):
    """The largest entropy on a simplex, with a row that is nonlinear as well."""
    m = pyo.ConcreteModel()
    m.p = pyo.Var(["a b", "free", 3], bounds=(1e-6, 1), initialize=0.3)
    m.simplex = pyo.Constraint(expr=sum(m.p.values()) == 1)
    m.first = pyo.Constraint(expr=pyo.exp(m.p["free"]) <= np.exp(0.2))
    m.entropy = pyo.Objective(
        expr=-sum(p * pyo.log(p) for p in m.p.values()) + 2, sense=pyo.maximize
    )
    exported = write_nl(m)
    reading = read(reader, exported, tmp_path / "model.nl")
    optimum = 2.0 - 0.2 * np.log(0.2) - 0.8 * np.log(0.4)
    assert_same_optimum(m, exported, reading, optimum)
    # Nonlinear rows come first, and the names beside the file say so.
    assert exported.beside[".row"] == b"first\nsimplex\nentropy\n"
    assert exported.beside[".col"] == b"p_free\np_a_b\np_3\n"


@pytest.mark.parametrize("reader", READERS)
def test_exponential_cones_are_nonlinear_rows(reader, tmp_path):
    m = pyo.ConcreteModel()
    m.t = pyo.Var(initialize=3.0)
    m.z = pyo.Var([1, 2], initialize=0.5, bounds=(1e-3, None))
    m.K = ExponentialCone([1, 2], rule=lambda m, i: [i - m.t, 1, m.z[i]])
    m.total = pyo.Constraint(expr=m.z[1] + m.z[2] <= 1)
    m.o = pyo.Objective(expr=m.t)
    exported = write_nl(m)
    reading = read(reader, exported, tmp_path / "model.nl")
    assert_same_optimum(m, exported, reading, np.log(np.exp(1) + np.exp(2)))


@pytest.mark.parametrize("reader", SCIP)
def test_no_objective(reader, tmp_path):
    m = random_program(0, objective=False)
    exported = write_nl(m)
    assert_same_optimum(m, exported, read(reader, exported, tmp_path / "m.nl"), 0.0)


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("reader", SCIP)
def test_sos_constraints(reader, level, tmp_path):
    m, optimum = with_sos(level)
    exported = write_nl(m)
    assert_same_optimum(m, exported, read(reader, exported, tmp_path / "m.nl"), optimum)


def test_nothing_is_presolved_or_scaled():
    m = pyo.ConcreteModel("a name, with é")
    m.x = pyo.Var([0, 1], bounds=(0, 4))
    m.tie = pyo.Constraint(expr=m.x[0] == 2 * m.x[1])
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    m.scaling_factor = pyo.Suffix(direction=pyo.Suffix.EXPORT)
    m.scaling_factor[m.tie] = 100.0
    exported = write_nl(m)
    assert len(exported.columns) == 2
    assert [entry.component for entry in exported.rows] == [m.tie]
    assert b"J0 2\n0 1\n1 -2\n" in exported.data
    assert exported.data.startswith(b"g3 1 1 0\t# problem a_name_with_e\n")


def test_the_same_model_gives_the_same_bytes():
    options = {"integer": True, "curved": True, "quadratic_rows": True}
    first, second = (write_nl(random_program(0, **options)) for _ in range(2))
    assert first.data == second.data
    assert first.beside == second.beside


def base():
    m = pyo.ConcreteModel()
    m.x = pyo.Var([0, 1], bounds=(0, 4))
    m.o = pyo.Objective(expr=m.x[0] + m.x[1])
    return m


def test_matrix_cones_are_refused():
    m = base()
    m.K = PSDCone([[m.x[0], 1], [1, m.x[1]]])
    with pytest.raises(UnsupportedConeError, match=r"'K'.*relax\(model.*\.cbf"):
        write_nl(m)


def test_several_objectives_are_refused():
    m = base()
    m.second = pyo.Objective(expr=m.x[0])
    with pytest.raises(UnsupportedModelError, match="'o', 'second'"):
        write_nl(m)


def test_disjuncts_are_refused():
    m = base()
    m.d = Disjunct()
    with pytest.raises(UnsupportedModelError, match="Disjunct 'd'"):
        write_nl(m)


def test_domains_with_gaps_are_refused():
    m = base()
    m.y = pyo.Var(domain=pyo.RangeSet(0, 10, 2))
    m.c = pyo.Constraint(expr=m.y >= 2)
    with pytest.raises(UnsupportedModelError, match=r"'y'.*domain"):
        write_nl(m)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("name", "term"), [("c", lambda x: x), ("c", lambda x: x**3), ("o", pyo.exp)]
)
def test_coefficients_that_are_no_numbers_are_refused(number, name, term):
    m = base()
    body = number * term(m.x[0])
    if name == "o":
        m.o.expr = body
    else:
        m.first = pyo.Constraint(expr=m.x[0] + m.x[1] <= 3)
        m.c = pyo.Constraint(expr=m.x[1] + body <= 1)
    with pytest.raises(InputError, match=f"'{name}'.*finite"):
        write_nl(m)


def test_a_fixed_variable_without_a_value_is_refused():
    m = base()
    m.x[1].fixed = True
    with pytest.raises(InputError, match=r"x\[1\]"):
        write_nl(m)


def test_models_without_free_variables_are_refused():
    m = base()
    m.x.fix(1.0)
    with pytest.raises(UnsupportedModelError, match="no free variables"):
        write_nl(m)
    m.c = pyo.Constraint(expr=m.x[0] >= 2)
    with pytest.raises(InfeasibleConstraintException, match="'c'"):
        write_nl(m)


def test_suffixes_whose_names_would_break_the_file_are_refused():
    m = base()
    m.add_component("two words", pyo.Suffix(direction=pyo.Suffix.EXPORT))
    m.component("two words")[m.x[0]] = 1.0
    with pytest.raises(UnsupportedModelError, match="two words"):
        write_nl(m)
