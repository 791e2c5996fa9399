"""The cones as Pyomo components: matrices, margins, copies, errors."""

from __future__ import annotations

import io
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyomo.core.expr.numeric_expr import LinearExpression
from pyomo.core.expr.visitor import identify_variables
from pyomo.environ import (
    AbstractModel,
    Block,
    ConcreteModel,
    Constraint,
    Expression,
    Param,
    RangeSet,
    Var,
    value,
)

from pyomo_relu.cones import (
    CompletelyPositiveCone,
    CopositiveCone,
    DoublyNonnegativeCone,
    PSDCone,
    cone_data_objects,
)
from pyomo_relu.errors import InputError, InputTypeError

KINDS = [PSDCone, DoublyNonnegativeCone, CompletelyPositiveCone, CopositiveCone]


def numeric_cone(kind, matrix, **options):
    m = ConcreteModel()
    m.K = kind(np.asarray(matrix, float).tolist(), **options)
    return m.K


def random_symmetric(seed, k):
    B = np.random.default_rng(seed).normal(size=(k, k))
    return B + B.T


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.data())
def test_margins_agree_with_their_definitions(seed, k, data):
    free = data.draw(st.integers(0, k - 1))
    M = random_symmetric(seed, k)
    m = k - free
    # Definition: the least of x'Mx over unit x, and the least entry.
    least = np.linalg.svd(M + 100 * np.eye(k), compute_uv=False)[-1] - 100
    assert numeric_cone(PSDCone, M).margin() == pytest.approx(least, abs=1e-9)
    entries = min(M[i, j] for i in range(m) for j in range(m))
    for kind in (DoublyNonnegativeCone, CompletelyPositiveCone):
        margin = numeric_cone(kind, M, free=free).margin()
        assert margin == pytest.approx(min(least, entries), abs=1e-9)
    F = np.random.default_rng(seed + 1).normal(size=(m + 1, m))
    pairs = min(f @ M[:m, :m] @ g for f in F for g in F)
    margin = numeric_cone(DoublyNonnegativeCone, M, free=free, facets=F).margin()
    assert margin == pytest.approx(min(least, pairs), abs=1e-8)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 3))
def test_sums_of_outer_products_are_inside(seed, m, free):
    rng = np.random.default_rng(seed)
    Z = rng.normal(size=(m + free, 9))
    Z[:m] = np.abs(Z[:m])
    assert numeric_cone(CompletelyPositiveCone, Z @ Z.T, free=free).margin() > -1e-12
    R = rng.normal(size=(m, m)) + 3 * np.eye(m)
    U = Z.copy()
    U[:m] = np.linalg.solve(R, Z[:m])  # R u >= 0
    cone = numeric_cone(CompletelyPositiveCone, U @ U.T, free=free, facets=R)
    assert cone.margin() > -1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_entries_of_all_admitted_types(kind):
    m = ConcreteModel()
    m.x = Var([0, 1, 2], initialize=lambda m, i: i + 1.0)
    m.s = Var(initialize=7.0)
    m.p = Param(initialize=11.0, mutable=True)
    m.e = Expression(expr=m.x[0] + 1)
    linear = LinearExpression(linear_coefs=[2.0], linear_vars=[m.x[2]], constant=1.0)
    upper = [
        m.x[0],
        m.s,
        m.p,
        3 * m.x[1],
        m.x[0] - m.x[1],
        m.e,
        4,
        np.float64(5),
        linear,
    ]
    upper.append(m.p * m.x[0])
    rows = [[None] * 4 for _ in range(4)]
    for entry, (i, j) in zip(
        upper, itertools.combinations_with_replacement(range(4), 2), strict=True
    ):
        rows[i][j] = rows[j][i] = entry
    m.K = kind(rows)
    expected = [[value(entry) for entry in row] for row in rows]
    np.testing.assert_array_equal(m.K.numeric(), expected)
    assert all(m.K.matrix[i, j] is rows[i][j] for i in range(4) for j in range(4))
    assert m.K.upper_triangle == tuple(upper)
    assert value(m.K.guard.body) == m.K.margin()
    m.x[0].value = 100.0
    assert value(m.K.guard.body) == m.K.margin()
    assert m.K.guard.slack() == m.K.margin()


@pytest.mark.parametrize(
    "index",
    [
        [(i, j) for i in "abc" for j in "abc" if i <= j],
        [(i, j) for i in "abc" for j in "abc" if i >= j],
    ],
)
def test_a_var_indexed_by_half_of_the_pairs(index):
    m = ConcreteModel()
    m.M = Var(index, initialize=lambda m, i, j: "abc".index(i) + 10 * "abc".index(j))
    m.K = PSDCone(m.M)
    for a, b in index:
        i, j = "abc".index(a), "abc".index(b)
        assert m.K.matrix[i, j] is m.M[a, b]
        assert m.K.matrix[j, i] is m.M[a, b]


def test_equal_expressions_may_stand_for_each_other():
    m = ConcreteModel()
    m.x, m.y = Var(), Var()
    m.p = Param(initialize=2.0, mutable=True)
    m.K = PSDCone([[1, m.x + m.y], [m.y + m.x, 1]])
    m.L = PSDCone([[1, m.p * m.x], [m.p * m.x, 1]])
    m.N = PSDCone([[1, 2.0], [2, 1]])
    with pytest.raises(InputError, match="not symmetric"):
        m.O = PSDCone([[1, m.p * m.x], [2.0 * m.x, 1]])


def test_indexed_cones_with_options_of_their_own():
    m = ConcreteModel()
    m.I = RangeSet(2)
    m.x = Var(m.I, initialize=1.0)
    F, R = np.eye(2), np.array([[1.0, -1.0], [1.0, 1.0]])

    def rule(m, i):
        matrix = [[2, m.x[i], 0], [m.x[i], 2, 0], [0, 0, 1]]
        return {"matrix": matrix, **({"facets": F} if i == 1 else {"rays": R})}

    m.K = CompletelyPositiveCone(m.I, rule=rule, free=1)
    assert [c.name for c in cone_data_objects(m)] == ["K[1]", "K[2]"]
    assert [(c.order, c.free) for c in m.K.values()] == [(3, 1), (3, 1)]
    np.testing.assert_array_equal(m.K[1].facets, F)
    assert m.K[1].rays is None
    np.testing.assert_array_equal(m.K[2].rays, R)
    assert m.K[2].facets is None
    with pytest.raises(ValueError, match="read-only"):
        m.K[2].rays[0, 0] = 5.0
    with pytest.raises(KeyError):
        m.K[3]


def test_scalar_rule_and_abstract_model():
    a = AbstractModel()
    a.x = Var(initialize=0.25)
    a.K = PSDCone(rule=lambda m: [[1, m.x], [m.x, 1]])
    with pytest.raises(InputError, match="no matrix yet"):
        a.K.order  # noqa: B018
    m = a.create_instance()
    assert m.K.margin() == pytest.approx(0.75)
    assert m.K.matrix[0, 1] is m.x


@pytest.mark.parametrize("copy", ["clone", "pickle"])
@pytest.mark.parametrize("kind", KINDS)
def test_copies_hold_their_own_variables(kind, copy):
    m = ConcreteModel()
    m.x = Var([0, 1], initialize=-0.5)
    held = {"big": object()}
    m.b = Block()
    m.b.K = kind([0, 1], rule=lambda b, i: [[1, m.x[i]], [m.x[i], held and 1]])
    other = m.clone() if copy == "clone" else pickle.loads(pickle.dumps(m))
    assert other.b.K[1].matrix[0, 1] is other.x[1]
    assert other.b.K[1].guard.body.args is other.b.K[1].upper_triangle
    other.x[1].value = -0.25
    assert value(other.b.K[1].guard.body) == other.b.K[1].margin()
    assert other.b.K[1].margin() != m.b.K[1].margin()
    assert m.b.K[1].margin() == numeric_cone(kind, [[1, -0.5], [-0.5, 1]]).margin()


def test_cloning_a_block_keeps_variables_from_outside():
    m = ConcreteModel()
    m.x = Var(initialize=0.5)
    m.b = Block()
    m.b.K = PSDCone([[1, m.x], [m.x, 1]])
    m.c = m.b.clone()
    assert m.c.K.matrix[0, 1] is m.x
    assert m.c.K.guard.cone is m.c.K


def test_people_may_look():
    m = ConcreteModel()
    m.x = Var([0, 1], initialize=0.5)
    m.K = PSDCone([0, 1], rule=lambda m, i: [[1, m.x[i]], [m.x[i], 1]])
    out = io.StringIO()
    m.pprint(ostream=out)
    assert "margin(K[1])" in out.getvalue()
    out = io.StringIO()
    m.display(ostream=out)
    assert "guard" in out.getvalue()
    assert str(m.K[0].guard.expr) == "0  <=  margin(K[0])"
    assert [v.name for v in identify_variables(m.K[1].guard.body)] == ["x[1]"]
    assert m.K[0].guard() == 0.5
    assert m.K[0].guard.body.polynomial_degree() is None
    m.x[0].value = None
    assert value(m.K[0].guard.body, exception=False) is None
    with pytest.raises(ValueError, match=r"x\[0\]"):
        m.K[0].margin()


def test_iteration_follows_activity():
    m = ConcreteModel()
    m.b = Block([0, 1])
    for i in (0, 1):
        m.b[i].K = PSDCone([[1]])
    m.L = DoublyNonnegativeCone([0, 1], rule=lambda m, i: [[1]])
    assert [c.name for c in cone_data_objects(m)] == [
        "b[0].K",
        "b[1].K",
        "L[0]",
        "L[1]",
    ]
    m.b[0].deactivate()
    m.L[1].deactivate()
    assert [c.name for c in cone_data_objects(m)] == ["b[1].K", "L[0]"]
    assert len(list(cone_data_objects(m, active=None))) == 4
    assert [c.name for c in cone_data_objects(m.L)] == ["L[0]"]
    m.L.deactivate()
    assert [c.name for c in cone_data_objects(m)] == ["b[1].K"]
    m.L.activate()
    assert [c.name for c in cone_data_objects(m)] == ["b[1].K", "L[0]", "L[1]"]


def bad_matrices():
    m = ConcreteModel()
    m.x, m.y = Var(initialize=1.0), Var(initialize=1.0)
    m.v = Var([0, 1])
    m.full = Var([0, 1], [0, 1])
    m.hole = Var([(0, 0), (1, 1)])
    m.off = Var([(0, 0), (0, 1)])
    m.single = Var([0, 1])
    m.c = Constraint(expr=m.x >= 0)
    return [
        ([[1, 2]], InputError, "square"),
        ([[1, 2], [2]], InputError, "square"),
        ([], InputError, "empty"),
        (np.zeros((0, 0)), InputError, "empty"),
        (np.zeros(3), InputError, "two dimensions"),
        ([[1, m.x], [m.y, 1]], InputError, "not symmetric"),
        ([[1, m.x], [1.0, 1]], InputError, "not symmetric"),
        ([[1, 2.0], [2.5, 1]], InputError, "not symmetric"),
        (m.full, InputError, "not symmetric"),
        (m.hole, InputError, "lacks the entry"),
        (m.off, InputError, "lacks its diagonal"),
        (m.single, InputError, "pairs"),
        ({}, InputError, "empty"),
        ([[m.x * m.y]], InputError, "nonlinear"),
        ([[m.x**2]], InputError, "nonlinear"),
        ([[float("nan")]], InputError, "finite"),
        ([[1, float("nan")], [float("nan"), 1]], InputError, "finite"),
        ([[float("inf")]], InputError, "finite"),
        ([[1j]], InputTypeError, "complex"),
        ([[True]], InputTypeError, "bool"),
        ([["x"]], InputTypeError, "str"),
        ([[None]], InputTypeError, "NoneType"),
        ([[m.v]], InputTypeError, "IndexedVar"),
        ([[m.x >= 0]], InputTypeError, "Inequality"),
        ([[m.c]], InputTypeError, "Constraint"),
        ([1, 2], InputTypeError, "row 0"),
        ("ab", InputTypeError, "nested lists"),
        (3, InputTypeError, "nested lists"),
        (m.x, InputTypeError, "nested lists"),
    ]


@pytest.mark.parametrize("case", range(len(bad_matrices())))
def test_bad_matrices_are_refused_by_name(case):
    matrix, error, words = bad_matrices()[case]
    m = ConcreteModel()
    with pytest.raises(error, match=f"'K'.*{words}"):
        m.K = PSDCone(matrix)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"free": -1}, "free must be"),
        ({"free": 3}, "free must be"),
        ({"free": 1.0}, "free must be"),
        ({"free": True}, "free must be"),
        ({"facets": np.eye(2)}, "facets must have shape"),
        ({"free": 1, "facets": np.eye(3)}, "facets must have shape"),
        ({"facets": np.zeros((0, 3))}, "facets must have shape"),
        ({"facets": np.ones(3)}, "facets must have shape"),
        ({"facets": [[1, 2, float("nan")]]}, "finite"),
        ({"facets": [[0, 0, 0]]}, "row 0 of facets is zero"),
        ({"rays": [[1, 0, float("inf")]]}, "finite"),
        ({"rays": [[1, 0, 1], [1, 0, 1]]}, "column 1 of rays is zero"),
        ({"rays": [[1, 1]]}, "rays must have shape"),
        ({"rays": "abc"}, "rays must be"),
        ({"rays": np.eye(3), "facets": np.eye(3)}, "exclude"),
    ],
)
@pytest.mark.parametrize(
    "kind", [DoublyNonnegativeCone, CompletelyPositiveCone, CopositiveCone]
)
def test_bad_options_are_refused(kind, options, words):
    m = ConcreteModel()
    with pytest.raises((InputError, InputTypeError), match=words):
        m.K = kind(np.eye(3), **options)


def test_bad_calls_are_refused():
    m = ConcreteModel()
    with pytest.raises(InputTypeError, match="one matrix"):
        PSDCone()
    with pytest.raises(InputTypeError, match="one matrix"):
        PSDCone([[1]], [[1]])
    with pytest.raises(InputTypeError, match="function"):
        PSDCone([0], rule=3)
    with pytest.raises(InputTypeError, match="from its rule"):
        CompletelyPositiveCone([0], rule=lambda m, i: [[1]], rays=[[1]])
    with pytest.raises(ValueError, match="free"):
        PSDCone([[1]], free=1)
    with pytest.raises(InputTypeError, match="None"):
        m.K = PSDCone([0], rule=lambda m, i: None)
    with pytest.raises(InputError, match="unknown keys"):
        m.L = PSDCone([0], rule=lambda m, i: {"matrix": [[1]], "rays": [[1]]})
