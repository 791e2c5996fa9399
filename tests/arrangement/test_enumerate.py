from itertools import combinations, product
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import nnls

from pyomo_relu.arrangement import count_cells_general_position, enumerate_cells

from .oracles import count_cells, masks_by_lp
from .strategies import integer_data


def mask_set(cells):
    return {mask.tobytes() for mask in cells.masks}


@pytest.mark.parametrize(
    ("n", "d"),
    [
        *((1, 1), (3, 1), (1, 2), (2, 2), (9, 2), (3, 3), (10, 3), (40, 3)),
        *((4, 4), (12, 4), (9, 5), (9, 6), (10, 8), (9, 9)),
    ],
)
def test_counting_formula_in_general_position(n, d):
    cells = enumerate_cells(np.random.default_rng(n).normal(size=(n, d)))
    rank = min(n, d)
    classes = 1 if d == 1 else n
    expected = 2 * sum(comb(classes - 1, k) for k in range(rank))
    assert len(cells) == expected == count_cells_general_position(classes, rank)
    assert len(mask_set(cells)) == expected
    assert cells.complete


def test_random_instances_of_the_design():
    assert len(enumerate_cells(np.random.default_rng(0).normal(size=(10, 3)))) == 92
    assert len(enumerate_cells(np.random.default_rng(0).normal(size=(75, 4)))) == 135200


# Numbers of chambers: Stanley, "An introduction to hyperplane arrangements"; the
# resonance arrangement: OEIS A034997.
def braid(n):
    return [np.eye(n)[i] - np.eye(n)[j] for i, j in combinations(range(n), 2)]


def type_d(n):
    return braid(n) + [
        np.eye(n)[i] + np.eye(n)[j] for i, j in combinations(range(n), 2)
    ]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6])
def test_braid_arrangement_has_n_factorial_cells_in_rank_n_minus_1(n):
    cells = enumerate_cells(braid(n))
    assert cells.rank == n - 1
    assert len(cells) == factorial(n)
    # Each cell is a Weyl chamber: a simplicial cone.
    assert (np.diff(cells.facet_indptr) == n - 1).all()
    assert (np.diff(cells.ray_indptr) == n - 1).all()


@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_reflection_arrangements_of_type_b_and_d(n):
    assert len(enumerate_cells(type_d(n) + list(np.eye(n)))) == 2**n * factorial(n)
    assert len(enumerate_cells(type_d(n))) == 2 ** (n - 1) * factorial(n)


@pytest.mark.parametrize(("n", "chambers"), [(2, 6), (3, 32), (4, 370), (5, 11292)])
def test_resonance_arrangement(n, chambers):
    assert len(enumerate_cells(list(product((0, 1), repeat=n)))) == chambers


@settings(max_examples=25, deadline=None)
@given(integer_data(max_rows=5, max_rank=4))
def test_masks_are_those_of_brute_force(X):
    assert mask_set(enumerate_cells(X)) == masks_by_lp(X)


@settings(max_examples=150, deadline=None)
@given(integer_data(max_rows=14, max_rank=5))
def test_count_is_zaslavskys_in_any_position(X):
    cells = enumerate_cells(X)
    assert len(cells) == len(mask_set(cells)) == count_cells(X.tolist())


@settings(max_examples=40, deadline=None)
@given(integer_data(max_rows=12, max_rank=5, size=3))
def test_rounding_of_degenerate_data_changes_nothing(X):
    generator = np.random.default_rng(X.shape[0])
    d = X.shape[1]
    moved = X @ generator.normal(size=(d, d)) * generator.normal(size=(len(X), 1))
    assert len(enumerate_cells(moved)) == count_cells(X.tolist())
    scaled = X * 10.0 ** generator.integers(-4, 5, size=(len(X), 1))
    assert mask_set(enumerate_cells(scaled)) == mask_set(enumerate_cells(X))


def test_integer_grid_and_standardised_grid():
    grid = np.array(list(product(range(4), range(4), range(2))))
    rows = np.column_stack([grid, np.ones(len(grid), dtype=int)])
    expected = count_cells(rows.tolist())
    assert len(enumerate_cells(rows)) == expected
    far = grid + 2000.0
    standard = (far - far.mean(axis=0)) / far.std(axis=0)
    assert len(enumerate_cells(np.column_stack([standard, rows[:, -1]]))) == expected


def test_a_third_of_iris():
    load_iris = pytest.importorskip("sklearn.datasets").load_iris
    X = load_iris().data
    X = ((X - X.mean(axis=0)) / X.std(axis=0))[::3]
    raw = np.rint(10 * 150 * (load_iris().data - load_iris().data.mean(axis=0)))[::3]
    cells = enumerate_cells(X)
    # 1500 (x - mean) is integer; scaling columns does not change an arrangement.
    assert len(cells) == count_cells(raw.astype(int).tolist())
    assert len(cells) < count_cells_general_position(len(cells.normals), 4)


@settings(max_examples=60, deadline=None)
@given(integer_data(max_rows=10, max_rank=4))
def test_every_sampled_mask_is_enumerated(X):
    cells = enumerate_cells(X)
    known = mask_set(cells)
    U = np.random.default_rng(1).normal(size=(X.shape[1], 200))
    masks = (X @ U > 0).T
    assert all(mask.tobytes() in known for mask in masks)
    assert (cells.masks[cells.locate(U)] == masks).all()


@settings(max_examples=60, deadline=None)
@given(integer_data(max_rows=10, max_rank=4))
def test_rays_and_facets_describe_the_cell(X):
    cells = enumerate_cells(X)
    masks = cells.masks
    scale = np.linalg.norm(X, axis=1)
    row_space = np.linalg.matrix_rank(X)
    for i in range(min(len(cells), 12)):
        rows = np.where(masks[i], 1, -1)[:, None] * X
        rays, facets = cells.rays[i], cells.facets[i]
        assert np.linalg.norm(rays, axis=0) == pytest.approx(1)
        assert np.linalg.matrix_rank(rays) == row_space == cells.rank
        assert (rows @ rays).min() >= -1e-12 * scale.max()
        assert (rows @ cells.interior(i))[scale > 0].min() > 1e-9
        # Each row is a nonnegative combination of the facets, and no facet is one of
        # the others.
        for row in rows:
            assert nnls(facets.T, row)[1] <= 1e-9 * (1 + scale.max())
        for k in range(len(facets)):
            others = np.delete(facets, k, axis=0)
            if len(others):
                assert nnls(others.T, facets[k])[1] > 1e-6
        # Each ray is extreme: the rows that vanish there have rank r - 1.
        for ray in rays.T:
            tight = rows[np.abs(rows @ ray) <= 1e-9 * scale.max()]
            assert np.linalg.matrix_rank(tight) == row_space - 1


@settings(max_examples=60, deadline=None)
@given(integer_data(max_rows=10, max_rank=4))
def test_facets_are_the_flips_that_give_cells(X):
    cells = enumerate_cells(X)
    signs = cells.signs
    known = {row.tobytes(): i for i, row in enumerate(signs)}
    for i in range(len(cells)):
        part = slice(cells.facet_indptr[i], cells.facet_indptr[i + 1])
        beyond = {}
        for k in range(len(cells.normals)):
            flipped = signs[i].copy()
            flipped[k] ^= True
            if flipped.tobytes() in known:
                beyond[k] = known[flipped.tobytes()]
        found = zip(cells.facet_indices[part], cells.neighbours[part], strict=True)
        assert {int(k): int(j) for k, j in found} == beyond


@settings(max_examples=40, deadline=None)
@given(integer_data(max_rows=9, max_rank=4))
def test_cones_of_the_rays_cover_the_space(X):
    cells = enumerate_cells(X)
    U = np.random.default_rng(2).normal(size=(cells.rank, 5))
    for u, i in zip((cells.basis @ U).T, cells.locate(cells.basis @ U), strict=True):
        assert nnls(cells.rays[i], u)[1] <= 1e-10


def test_mirror_images_and_inactive_cells():
    X = np.vstack([np.random.default_rng(3).normal(size=(6, 3)), np.zeros((1, 3))])
    X[0] = np.abs(X[0])
    X[1:6] *= np.where(X[1:6] @ X[0] > 0, 1, -1)[:, None]
    cells = enumerate_cells(X)
    half = len(cells) // 2
    masks = cells.masks
    moving = X.any(axis=1)
    assert (masks[:half, moving] == ~masks[half:, moving]).all()
    assert not masks[:, ~moving].any()
    # All rows lie in one half-space, so both extreme masks are cells.
    assert (~masks.any(axis=1)).sum() == 1
    assert masks[:, moving].all(axis=1).sum() == 1


def test_parallel_and_antiparallel_rows_are_one_class():
    X = np.array([[1.0, 2], [2, 4], [-3, -6], [0, 0], [0, 1], [1e-3, 2e-3]])
    cells = enumerate_cells(X)
    assert cells.sample_class.tolist() == [0, 0, 0, -1, 1, 0]
    assert cells.sample_sign[[0, 1, 2, 3, 5]].tolist() in (
        [1, 1, -1, 0, 1],
        [-1, -1, 1, 0, -1],
    )
    assert cells.class_sample[0] == 2  # the longest
    assert len(cells) == 4
    assert (cells.masks[:, 0] != cells.masks[:, 2]).all()


def test_rank_deficient_data_are_reduced_and_rays_lifted_back():
    generator = np.random.default_rng(4)
    thin = generator.normal(size=(9, 2))
    lift = generator.normal(size=(2, 5))
    cells = enumerate_cells(thin @ lift)
    assert cells.rank == 2
    assert cells.basis.shape == (5, 2)
    assert mask_set(cells) == mask_set(enumerate_cells(thin))
    assert cells.rays[0].shape == (5, 2)
    assert cells.facets[0].shape == (2, 5)
    assert np.linalg.matrix_rank(np.hstack([cells.rays[0], lift.T]), tol=1e-9) == 2
    full = enumerate_cells(thin)
    assert (full.basis == np.eye(2)).all()


def test_extreme_scales():
    X = np.random.default_rng(5).normal(size=(6, 3))
    expected = mask_set(enumerate_cells(X))
    for factor in (1e-300, 1e300):
        assert mask_set(enumerate_cells(X * factor)) == expected


def test_same_data_same_order_and_arrays_are_read_only():
    X = np.random.default_rng(6).normal(size=(12, 3))
    first, second = enumerate_cells(X), enumerate_cells(X)
    assert (first.packed == second.packed).all()
    assert (first.ray_indices == second.ray_indices).all()
    for array in (first.packed, first.X, first.ray_table, first.facet_indices):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    X[0] = 0.0
    assert first.X[0].any()


def test_subset_keeps_rays_facets_and_order():
    cells = enumerate_cells(np.random.default_rng(7).normal(size=(9, 3)))
    chosen = [5, 0, -1]
    part = cells.subset(chosen)
    assert not part.complete
    assert len(part) == 3
    assert (part.masks == cells.masks[chosen]).all()
    for new, old in enumerate(chosen):
        assert (part.rays[new] == cells.rays[old]).all()
        assert (part.facets[new] == cells.facets[old]).all()
    active = cells.masks.any(axis=1)
    assert len(cells.subset(active)) == active.sum()
    assert len(cells.subset([])) == 0
    assert len(cells.rays[1:3]) == 2
    with pytest.raises(IndexError):
        cells.rays[len(cells)]


def test_a_problem_is_asked_for_its_data():
    class Problem:
        X = np.eye(3)

    assert len(enumerate_cells(Problem())) == 8
