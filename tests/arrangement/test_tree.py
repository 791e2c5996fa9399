import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import minimum_spanning_tree

from pyomo_relu.arrangement import enumerate_cells, sample_cells

from .strategies import integer_data


def tree_sum(cells, tree, chosen, V):
    """Predictions sum_i D_i X V_i by subtree sums; V is (P, d, c)."""
    S = V.copy()
    for position in tree.order[::-1]:
        if tree.parent[position] >= 0:
            S[tree.parent[position]] += S[position]
    mask = cells.masks[chosen][tree.root]
    prediction = (mask[:, None] * cells.X) @ S[tree.root]
    for position in range(len(tree)):
        part = slice(*tree.sample_indptr[position : position + 2])
        pairs = zip(tree.sample_indices[part], tree.sample_signs[part], strict=True)
        for k, sign in pairs:
            prediction[k] += sign * cells.X[k] @ S[position]
    return prediction


def check(cells, chosen, tree):
    masks = cells.masks[chosen]
    size = len(masks)
    assert sorted(tree.order.tolist()) == list(range(size))
    assert tree.parent[tree.root] == -1
    place = np.empty(size, dtype=int)
    place[tree.order] = np.arange(size)
    children = tree.order[1:]
    assert (place[tree.parent[children]] < place[children]).all()
    signs = cells.signs[chosen]
    for position in children:
        differ = np.flatnonzero(signs[position] ^ signs[tree.parent[position]])
        assert tree.flips(position).tolist() == differ.tolist()
    V = np.random.default_rng(0).normal(size=(size, cells.X.shape[1], 2))
    plain = sum(m[:, None] * (cells.X @ v) for m, v in zip(masks, V, strict=True))
    assert tree_sum(cells, tree, chosen, V) == pytest.approx(plain, abs=1e-9)
    assert masks[tree.root].sum() == masks.sum(axis=1).min()


@settings(max_examples=40, deadline=None)
@given(integer_data(max_rows=9, max_rank=4), st.integers(0, 5))
def test_tree_sums_telescope(X, seed):
    cells = enumerate_cells(X)
    tree = cells.spanning_tree()
    check(cells, np.arange(len(cells)), tree)
    assert (np.diff(tree.flip_indptr)[tree.order[1:]] == 1).all()
    generator = np.random.default_rng(seed)
    chosen = np.flatnonzero(generator.random(len(cells)) < 0.4)
    if len(chosen):
        generator.shuffle(chosen)
        check(cells, chosen, cells.spanning_tree(chosen))
        part = cells.subset(chosen)
        check(part, np.arange(len(part)), part.spanning_tree())


@pytest.mark.parametrize("size", [1, 2, 7, 60])
def test_sampled_cells_have_a_minimum_spanning_tree(size):
    X = np.random.default_rng(size).normal(size=(25, 5))
    cells = sample_cells(X, size, seed=size)
    tree = cells.spanning_tree()
    check(cells, np.arange(size), tree)
    signs = cells.masks.astype(int)
    distance = (signs[:, None] != signs[None]).sum(axis=2)
    assert len(tree.sample_indices) == minimum_spanning_tree(distance).sum()


def test_dropping_the_inactive_cell_keeps_neighbours_joined():
    cells = enumerate_cells(np.random.default_rng(0).normal(size=(15, 3)))
    active = cells.masks.any(axis=1)
    tree = cells.spanning_tree(active)
    assert len(tree) == active.sum()
    assert len(tree.flip_classes) == len(tree) - 1
