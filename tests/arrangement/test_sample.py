import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.optimize import nnls

from pyomo_relu.arrangement import enumerate_cells, sample_cells
from pyomo_relu.arrangement.counting import count_cells_general_position
from pyomo_relu.errors import InputError

from .strategies import integer_data


def test_same_seed_same_cells_and_longer_samples_continue_shorter_ones():
    X = np.random.default_rng(0).normal(size=(30, 4))
    first, second = sample_cells(X, 40, seed=3), sample_cells(X, 40, seed=3)
    assert (first.packed == second.packed).all()
    assert (first.interior_points == second.interior_points).all()
    assert (sample_cells(X, 60, seed=3).packed[:40] == first.packed).all()
    assert (sample_cells(X, 40, seed=4).packed != first.packed).any()
    assert len(np.unique(first.masks, axis=0)) == 40
    assert not first.complete


def test_fewer_cells_are_said_to_be_fewer():
    cells = sample_cells(np.eye(2), 10, seed=0)
    assert len(cells) == 4
    assert "10 cells were asked for" in repr(cells)
    assert "asked" not in repr(sample_cells(np.eye(2), 4, seed=0))
    few = sample_cells(
        np.random.default_rng(0).normal(size=(50, 3)), 40, 0, max_draws=5
    )
    assert len(few) <= 5
    assert "5 draws" in few.note


@settings(max_examples=50, deadline=None)
@given(integer_data(max_rows=10, max_rank=4))
def test_facets_and_rays_are_those_of_enumeration(X):
    complete = enumerate_cells(X)
    sample = sample_cells(X, 6, seed=1, max_draws=200)
    position = complete.locate(sample.basis @ sample.interior_points.T)
    assert (position >= 0).all()
    assert (complete.masks[position] == sample.masks).all()
    for i, j in enumerate(position):
        start, stop = complete.facet_indptr[j : j + 2]
        expected = complete.facet_indices[start:stop]
        got = sample.subset([i]).facet_indices
        assert got.tolist() == expected.tolist()
        mine, theirs = sample.rays[i], complete.rays[j]
        assert mine.shape == theirs.shape
        # Unit columns in another order: every one of mine is one of theirs.
        assert (mine.T @ theirs).max(axis=1) == pytest.approx(1)
        assert np.linalg.norm(mine, axis=0) == pytest.approx(1)
    assert sample.ray_indptr[-1] == sum(r.shape[1] for r in sample.rays)
    assert sample.ray_table.shape[1] == sample.rank


def test_high_rank_has_facets_and_refuses_rays():
    X = np.random.default_rng(0).normal(size=(400, 18))
    cells = sample_cells(X, 3, seed=0)
    facets = cells.facets[0]
    rows = np.where(cells.masks[0], 1, -1)[:, None] * X
    assert 18 <= len(facets) < 400
    assert max(nnls(facets.T, row)[1] for row in rows) < 1e-9
    others = [np.delete(facets, k, axis=0) for k in range(len(facets))]
    assert min(nnls(o.T, f)[1] for o, f in zip(others, facets, strict=True)) > 1e-9
    assert (facets @ cells.interior(0)).min() > 0
    with pytest.raises(InputError, match="Use the facets"):
        cells.rays[0]


def test_rank_one():
    cells = sample_cells([[2.0], [-1.0], [0.0]], 2, seed=0)
    assert sorted(cells.masks.tolist()) == [[False, True, False], [True, False, False]]
    assert sorted(float(r[0, 0]) for r in cells.rays) == [-1, 1]
    assert [f.shape for f in cells.facets] == [(1, 1), (1, 1)]


def test_no_more_cells_are_sought_than_there_can_be():
    X = np.random.default_rng(0).normal(size=(6, 3))
    cells = sample_cells(X, 10**6, seed=0)
    assert len(cells) == len(enumerate_cells(X)) == 32
    assert "there are no more" in cells.note
    drawn = int(cells.note.split()[2].replace(",", ""))
    assert drawn < 10_000
    assert (sample_cells(X, 32, seed=0).packed == cells.packed).all()


def test_sampling_gives_up_when_nothing_new_comes():
    """An integer grid has far fewer cells than its formula allows."""
    X = np.array(list(itertools.product([-1.0, 0, 1], repeat=4)))
    most = count_cells_general_position(40, 4)
    cells = sample_cells(X, 10**9, seed=0)
    expected = len(enumerate_cells(X))
    assert 0.9 * expected < len(cells) <= expected < most / 3
    drawn = int(cells.note.split()[2].replace(",", ""))
    assert drawn < 100 * most / 2
    assert "1,000,000,000 cells were asked for" in cells.note
    assert "no more" not in cells.note
    again = sample_cells(X, 10**9, seed=0)
    assert (again.packed == cells.packed).all()
    # A stated number of draws is taken in full.
    full = sample_cells(np.eye(3)[[0, 1, 2, 2]], 9, seed=0, max_draws=500)
    assert "no more" in full.note
    pairs = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]]
    full = sample_cells(pairs, 99, seed=0, max_draws=30_000)
    assert "30,000 draws" in full.note
