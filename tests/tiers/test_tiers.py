"""The tiers as Pyomo transformations: targets, copies, chains, the way back."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from pyomo.environ import (
    AbstractModel,
    Block,
    ConcreteModel,
    Constraint,
    Objective,
    TransformationFactory,
    Var,
    maximize,
    value,
)
from pyomo.gdp import Disjunct

from pyomo_relu.cones import (
    CompletelyPositiveCone,
    Cone,
    DoublyNonnegativeCone,
    PSDCone,
    cone_data_objects,
)
from pyomo_relu.errors import InputError, InputTypeError, UnsupportedConeError
from pyomo_relu.tiers import bound_direction, leaf_cones, relax
from pyomo_relu.tiers.base import Tier

SQUARE = np.array([[1.0, 1, -1, -1], [1, -1, -1, 1], [1, 1, 1, 1]])
TIERS = ["relu.dnn", "relu.partition", "relu.psd"]


def pairs(k):
    return [(i, j) for i in range(k) for j in range(i, k)]


def model_of(rays, free=1, members=2):
    """Return a model with an indexed cone in coordinates of `rays`."""
    m = ConcreteModel()
    k = rays.shape[1] + free
    m.M = Var(range(members), pairs(k), initialize=0.0)

    def rule(m, i):
        matrix = [[m.M[i, min(a, b), max(a, b)] for b in range(k)] for a in range(k)]
        return {"matrix": matrix, "rays": rays}

    m.K = CompletelyPositiveCone(range(members), rule=rule, free=free)
    m.o = Objective(expr=sum(m.M.values()))
    return m


def names(model):
    return [cone.name for cone in cone_data_objects(model)]


def solve_row(row, variable):
    """Give a variable the value that satisfies an equality."""
    variable.value = 0.0
    at_zero = value(row.body) - value(row.upper)
    variable.value = 1.0
    variable.value = at_zero / (at_zero - value(row.body) + value(row.upper))
    assert value(row.body) == pytest.approx(value(row.upper), abs=1e-9)


def snapshot(model):
    """Return what a reversal must restore."""
    return [
        (c.name, type(c), c.active)
        for c in model.component_data_objects(active=None, descend_into=True)
    ]


def test_every_tier_is_registered_and_named_in_the_cones_it_takes():
    known = [name for name in TransformationFactory if name.startswith("relu.")]
    assert set(TIERS) <= set(known)
    for name in known:
        tier = TransformationFactory.get_class(name)
        assert issubclass(tier, Tier)
        for kind in tier.takes():
            assert name in kind.tiers, (name, kind)
        for option in tier.CONFIG:
            assert tier.CONFIG.get(option)._description


def test_dnn_keeps_matrix_free_rays_and_facets():
    m = model_of(SQUARE)
    m.L = CompletelyPositiveCone([[1, m.M[0, 0, 0]], [m.M[0, 0, 0], 1]])
    m.F = CompletelyPositiveCone(
        matrix=[[2, 1], [1, m.M[0, 0, 0]]], facets=[[1.0]], free=1
    )
    relax(m, "dnn")
    assert names(m) == ["K_dnn[0]", "K_dnn[1]", "L_dnn", "F_dnn"]
    for old in (m.K[0], m.K[1], m.L, m.F):
        (new,) = leaf_cones(old)
        assert isinstance(new.parent_component(), DoublyNonnegativeCone)
        assert new.upper_triangle is old.upper_triangle
        assert (new.free, new.rays is old.rays) == (old.free, True)
        assert new.facets is old.facets


def test_psd_takes_both_kinds():
    m = model_of(SQUARE)
    m.D = DoublyNonnegativeCone([[1, m.M[0, 0, 0]], [m.M[0, 0, 0], 1]])
    relax(m, "relu.psd")
    expected = ["K_psd.cone[0,0]", "K_psd.cone[1,0]", "D_psd"]
    assert names(m) == expected
    assert all(isinstance(c.parent_component(), PSDCone) for c in cone_data_objects(m))
    assert leaf_cones(m.D)[0].upper_triangle is m.D.upper_triangle
    TransformationFactory("relu.psd").apply_to(m)  # nothing left to do
    assert names(m) == expected


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("r", [2, 3, 5])
def test_psd_in_coordinates_of_rays_is_the_same_program(r, narrow):
    """What the model sees, R A R' and R W, is any U and V in the span of the rays."""
    rng = np.random.default_rng(r)
    R = rng.normal(size=(r, 4)) * rng.uniform(0.1, 10, size=4)
    R[0] += 100 * narrow
    m = ConcreteModel()
    m.M = Var(pairs(6))
    m.K = CompletelyPositiveCone(matrix=m.M, rays=R, free=2)
    relax(m, "psd")
    (leaf,) = leaf_cones(m.K)
    span = min(r, 4)
    assert (leaf.order, leaf.free, leaf.rays.shape) == (span + 2, 2, (r, span))
    np.testing.assert_allclose(leaf.rays.T @ leaf.rays, np.eye(span), atol=1e-9)
    Z = rng.normal(size=(span + 2, 3))
    for entry, x in zip(
        leaf.upper_triangle, (Z @ Z.T)[np.triu_indices(span + 2)], strict=True
    ):
        entry.value = x
    for index, row in m.K_psd.linking.items():
        solve_row(row, m.M[index])
    A, W = m.K.numeric()[:4, :4], m.K.numeric()[:4, 4:]
    U, V = leaf.numeric()[:span, :span], leaf.numeric()[:span, span:]
    Q = leaf.rays
    np.testing.assert_allclose(R @ A @ R.T, Q @ U @ Q.T, atol=1e-6)
    np.testing.assert_allclose(R @ W, Q @ V, atol=1e-8)
    np.testing.assert_allclose(m.K.numeric()[4:, 4:], (Z @ Z.T)[span:, span:])
    assert np.linalg.eigvalsh(m.K.numeric())[0] > -1e-6


def test_targets_of_all_kinds():
    m = model_of(SQUARE, members=3)
    m.b = Block()
    m.b.K = CompletelyPositiveCone([[1.0]])
    m.P = PSDCone([[1.0]])
    relax(m, "dnn", targets=m.K[1])
    assert names(m) == ["K[0]", "K[2]", "b.K", "P", "K_dnn[1]"]
    relax(m, "dnn", targets=[m.K[0], m.b])
    assert names(m) == ["K[2]", "b.K_dnn", "P", "K_dnn[1]", "K_dnn_1[0]"]
    relax(m, "dnn", targets=m.K)
    assert names(m) == ["b.K_dnn", "P", "K_dnn[1]", "K_dnn_1[0]", "K_dnn_2[2]"]
    assert not m.K.active
    assert [leaf_cones(m.K[i])[0].name for i in range(3)] == [
        "K_dnn_1[0]",
        "K_dnn[1]",
        "K_dnn_2[2]",
    ]
    # What stands for a target is meant by it.
    relax(m, "psd", targets=m.K[1])
    assert leaf_cones(m.K[1])[0].name == "K_dnn_psd.cone[1,0]"


def test_bad_targets_and_options_are_refused():
    m = model_of(SQUARE)
    m.P = PSDCone([[1.0]])
    other = model_of(SQUARE)
    before = snapshot(m)
    for targets, words in [
        (m.P, "is a positive semidefinite cone"),
        (m.o, "takes cones, or blocks"),
        (other.K, "not a component of"),
        ("K", "Component"),
    ]:
        with pytest.raises(InputError, match=words):
            relax(m, "dnn", targets=targets)
    with pytest.raises(InputError, match=r"no option 'depth'.*targets"):
        relax(m, "dnn", depth=1)
    with pytest.raises(InputError, match="level"):
        relax(m, "partition", level=-1)
    with pytest.raises(InputError, match=r"relu\.dnn"):
        relax(m, "dmn")
    with pytest.raises(InputTypeError, match="block"):
        relax(m.M, "dnn")
    with pytest.raises(InputTypeError, match="name"):
        relax(m, 3)
    with pytest.raises(InputTypeError, match="one cone data"):
        leaf_cones(m.K)
    assert snapshot(m) == before
    relax(m, "dnn")
    m.b = Block()
    with pytest.raises(InputError, match="has no active"):
        relax(m, "dnn", targets=m.b)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("indexed", [True, False])
def test_reversal_restores_the_model(tier, indexed):
    m = model_of(SQUARE)
    if not indexed:
        m.L = CompletelyPositiveCone(matrix=m.K[0].matrix, rays=SQUARE, free=1)
        m.K.deactivate()
    before = snapshot(m)
    transformation = TransformationFactory(tier)
    token = transformation.apply_to(m)
    assert snapshot(m) != before
    transformation.apply_to(m, reverse=token)
    assert snapshot(m) == before
    assert bound_direction(m).reason == "no cone has been replaced."
    with pytest.raises(InputError, match="used before"):
        transformation.apply_to(m, reverse=token)
    transformation.apply_to(m)
    assert snapshot(m) != before
    with pytest.raises(InputError, match="used before"):
        transformation.apply_to(m, reverse=token)


def test_reversal_minds_the_order_and_the_owner():
    m = model_of(SQUARE)
    partition, dnn = map(TransformationFactory, ("relu.partition", "relu.dnn"))
    first = partition.apply_to(m)
    second = dnn.apply_to(m)
    with pytest.raises(InputError, match=r"relu\.dnn afterwards"):
        partition.apply_to(m, reverse=first)
    with pytest.raises(InputError, match=r"another transformation, relu\.dnn"):
        partition.apply_to(m, reverse=second)
    with pytest.raises(InputError, match="not on a clone"):
        dnn.apply_to(m.clone(), reverse=second)
    with pytest.raises(InputError, match="leave targets out"):
        dnn.apply_to(m, reverse=second, targets=m.K)
    dnn.apply_to(m, reverse=second)
    partition.apply_to(m, reverse=first)
    assert names(m) == ["K[0]", "K[1]"]


def test_create_using_leaves_the_model_alone():
    m = model_of(SQUARE)
    before = snapshot(m)
    new = TransformationFactory("relu.partition").create_using(m, targets=m.K[1])
    assert snapshot(m) == before
    assert names(new) == ["K[0]", "K_partition.cone[1,0]", "K_partition.cone[1,1]"]
    assert leaf_cones(new.K[1])[0].parent_block() is new.K_partition
    assert leaf_cones(m.K[1]) == [m.K[1]]


@pytest.mark.parametrize("copy", ["clone", "pickle"])
def test_copies_know_their_leaves(copy):
    m = model_of(SQUARE)
    relax(m, "partition")
    relax(m, "dnn")
    other = m.clone() if copy == "clone" else pickle.loads(pickle.dumps(m))
    leaves = leaf_cones(other.K[1])
    assert [leaf.name for leaf in leaves] == [
        "K_partition.cone_dnn[1,0]",
        "K_partition.cone_dnn[1,1]",
    ]
    assert all(leaf.model() is other for leaf in leaves)
    assert bound_direction(other) == bound_direction(m)


def test_a_member_may_be_deactivated_before():
    m = model_of(SQUARE)
    m.K[0].deactivate()
    relax(m, "dnn")
    assert names(m) == ["K_dnn[1]"]
    assert leaf_cones(m.K[0]) == [m.K[0]]


def test_an_indexed_index_is_flattened():
    m = ConcreteModel()
    m.M = Var(pairs(4))
    m.K = CompletelyPositiveCone(
        [("a", 1), ("b", 2)], rule=lambda m, s, i: {"matrix": m.M, "rays": SQUARE}
    )
    relax(m, "partition", targets=m.K["b", 2])
    assert [c.index() for c in leaf_cones(m.K["b", 2])] == [("b", 2, 0), ("b", 2, 1)]
    assert m.K_partition.moment["b", 2, 0, 0, 0].value is None


def fill_leaves(cone, B, V):
    """Put sum_k z_k z_k', z_k = (b_k, v_k), into the leaves of a cone."""
    leaves = leaf_cones(cone)
    R = np.eye(len(B)) if cone.rays is None else cone.rays
    totals = [np.zeros((leaf.order, leaf.order)) for leaf in leaves]
    for u, v in zip((R @ B).T, V.T, strict=True):
        for leaf, total in zip(leaves, totals, strict=True):
            a, *_ = np.linalg.lstsq(leaf.rays, u, rcond=None)
            if a.min() > -1e-9 and np.linalg.norm(leaf.rays @ a - u) < 1e-9:
                z = np.concatenate([a, v])
                total += np.outer(z, z)
                break
        else:
            pytest.fail("a point of the cone is in no piece")
    for leaf, total in zip(leaves, totals, strict=True):
        for entry, x in zip(
            leaf.upper_triangle, total[np.triu_indices(leaf.order)], strict=True
        ):
            entry.value = x
    return leaves


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("r", [2, 3, 4, 5, None])
@pytest.mark.parametrize("free", [0, 1, 2])
def test_partition_is_the_same_program(r, level, free):
    rng = np.random.default_rng(7)
    m_rays = 6
    m = ConcreteModel()
    k = m_rays + free
    m.M = Var(pairs(k))
    options = {} if r is None else {"rays": rng.normal(size=(r, m_rays))}
    if r is not None:
        options["rays"][-1] = np.abs(options["rays"][-1]) + 0.5
    R = options.get("rays", np.eye(m_rays))
    m.K = CompletelyPositiveCone(m.M, free=free, **options)
    relax(m, "partition", level=level)
    if r is None and level == 0:
        assert leaf_cones(m.K) == [m.K]
        return
    B, V = rng.exponential(size=(m_rays, 5)), rng.normal(size=(free, 5))
    leaves = fill_leaves(m.K, B, V)
    for leaf in leaves:
        assert leaf.margin() > -1e-9
        np.testing.assert_allclose(np.linalg.norm(leaf.rays, axis=0), 1.0)
        assert leaf.rays.shape[1] == min(m_rays, len(R))
    # The linking rows determine M from the pieces; R M R' must be that of B, V.
    for index, row in m.K_partition.linking.items():
        solve_row(row, m.M[index])
    values = m.K.numeric()
    T = np.block(
        [
            [R, np.zeros((len(R), free))],
            [np.zeros((free, m_rays)), np.eye(free)],
        ]
    )
    Z = np.vstack([R @ B, V])
    np.testing.assert_allclose(T @ values @ T.T, Z @ Z.T, atol=1e-8)
    assert values[:m_rays, :m_rays].min() > -1e-12


def test_partition_of_entries_that_are_no_variables():
    m = ConcreteModel()
    m.x, m.y = Var(), Var()
    rows = [[1.0, 0.0, 2 * m.x], [0.0, m.x - m.y, 3.0], [2 * m.x, 3.0, m.y]]
    m.K = CompletelyPositiveCone(rows)
    relax(m, "partition", level=1)
    rng = np.random.default_rng(0)
    scales = []
    for _ in range(2):
        for variable in m.component_data_objects(Var):
            variable.value = rng.normal()
        total = np.zeros((3, 3))
        for leaf in leaf_cones(m.K):
            total += leaf.rays @ leaf.numeric() @ leaf.rays.T
        scales.append(
            [
                (value(row.body) - value(row.upper)) / (total[i, j] - value(rows[i][j]))
                for (i, j), row in m.K_partition.linking.items()
            ]
        )
    # Each row is, up to a positive factor, the difference of the two sides.
    assert min(scales[0]) > 0
    np.testing.assert_allclose(scales[0], scales[1])
    assert len(scales[0]) == 6
    assert all(row.equality for row in m.K_partition.linking.values())


def test_a_ray_that_is_not_extreme_disappears():
    m = model_of(np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]), members=1)
    relax(m, "partition")
    assert all(leaf.order == 3 for leaf in leaf_cones(m.K[0]))


def test_partition_refuses_facets_and_lines(tmp_path):
    m = ConcreteModel()
    m.A = Var(pairs(2))
    m.K = CompletelyPositiveCone(matrix=m.A, facets=np.eye(2))
    with pytest.raises(InputError, match=r"'K' is given by facets"):
        relax(m, "partition")
    m.L = CompletelyPositiveCone(matrix=m.A, rays=[[1.0, -1.0]])
    with pytest.raises(InputError, match=r"'L'.*contains a line"):
        relax(m, "partition", targets=m.L)
    m.K.deactivate()
    m.S = CompletelyPositiveCone(matrix=m.A, rays=np.eye(2))
    before = snapshot(m)
    with pytest.raises(InputError, match="contains a line"):
        relax(m, "partition", level=1, targets=[m.S, m.L])
    assert snapshot(m) == before
    assert leaf_cones(m.S) == [m.S]
    with pytest.raises(UnsupportedConeError):
        m.write(str(tmp_path / "never.lp"))


def test_a_simplicial_cone_stays():
    m = model_of(np.eye(3))
    relax(m, "partition")
    assert names(m) == ["K[0]", "K[1]"]
    assert m.component("K_partition") is None


def test_transformations_work_on_sub_blocks_and_in_a_chain_of_components():
    m = ConcreteModel()
    m.b = Block([0, 1])
    for i in (0, 1):
        m.b[i].A = Var(pairs(4))
        m.b[i].K = CompletelyPositiveCone(matrix=m.b[i].A, rays=SQUARE)
    relax(m.b[1], "partition")
    relax(m, "dnn")
    assert names(m) == [
        "b[0].K_dnn",
        "b[1].K_partition.cone_dnn[0]",
        "b[1].K_partition.cone_dnn[1]",
    ]
    assert all(isinstance(c.parent_component(), Cone) for c in cone_data_objects(m))


def test_the_model_writes_once_its_cones_are_gone(tmp_path):
    m = model_of(SQUARE)
    relax(m, "partition")
    relax(m, "psd")
    for cone in list(cone_data_objects(m)):
        cone.deactivate()
    m.o.sense = maximize
    m.write(str(tmp_path / "a.lp"))
    rows = list(m.component_data_objects(Constraint, active=True))
    assert len(rows) == 2 * len(pairs(5)) + 4 * len(pairs(4))


def test_relax_says_that_there_is_nothing_to_replace():
    m = model_of(SQUARE)
    token = TransformationFactory("relu.dnn").apply_to(m)
    before = snapshot(m)
    with pytest.raises(InputError, match=r"no active .* cone.*relu\.psd"):
        relax(m, "dnn")
    TransformationFactory("relu.dnn").apply_to(m)
    assert snapshot(m) == before
    relax(m, "dnn", reverse=token)
    relax(m, "dnn", targets=m.K[0])
    assert names(m) == ["K[1]", "K_dnn[0]"]
    with pytest.raises(InputError, match=r"no active .*cone"):
        relax(ConcreteModel(), "psd")


def test_relax_wants_a_constructed_model():
    a = AbstractModel()
    a.x = Var()
    a.K = CompletelyPositiveCone([0], rule=lambda m, i: [[1, m.x], [m.x, 2]])
    with pytest.raises(InputError, match="create_instance"):
        relax(a, "dnn")
    m = a.create_instance()
    relax(m, "dnn")
    assert names(m) == ["K_dnn[0]"]


@pytest.mark.parametrize("model", [5, None, "m", [ConcreteModel()]])
def test_relax_takes_models_only(model):
    with pytest.raises(InputTypeError, match=f"got {type(model).__name__}"):
        relax(model, "dnn")


@pytest.mark.parametrize("tier", TIERS)
def test_cones_inside_disjuncts_are_replaced_there(tier):
    m = ConcreteModel()
    m.A = Var(pairs(4))
    m.d, m.e = Disjunct(), Disjunct([0, 1])
    m.d.b = Block()
    m.d.b.K = CompletelyPositiveCone(matrix=m.A, rays=SQUARE)
    m.e[1].K = CompletelyPositiveCone(matrix=m.A, rays=SQUARE)
    before = snapshot(m)
    token = TransformationFactory(tier).apply_to(m)
    for cone in (m.d.b.K, m.e[1].K):
        leaves = leaf_cones(cone)
        assert not cone.active
        assert leaves != [cone]
        assert all(leaf.name.startswith(f"{cone.name}_") for leaf in leaves)
    if tier == "relu.psd":
        assert bound_direction(m).side == "lower"
    TransformationFactory(tier).apply_to(m, reverse=token)
    assert snapshot(m) == before
    TransformationFactory(tier).apply_to(m, targets=m.e)
    assert m.d.b.K.active
    assert not m.e[1].K.active


def test_reversal_after_deletions():
    m = model_of(SQUARE)
    dnn = TransformationFactory("relu.dnn")
    token = dnn.apply_to(m)
    m.del_component("K_dnn")
    with pytest.raises(InputError, match=r"'K_dnn.*'K\[0\]', has been deleted"):
        leaf_cones(m.K[0])
    with pytest.raises(InputError, match="has been deleted"):
        relax(m, "psd", targets=m.K)
    dnn.apply_to(m, reverse=token)
    assert names(m) == ["K[0]", "K[1]"]
    token = dnn.apply_to(m)
    m.del_component("K")
    with pytest.raises(InputError, match="cannot be brought back"):
        dnn.apply_to(m, reverse=token)
