"""Cells made one at a time are those of the enumeration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyomo_relu.arrangement import enumerate_cells
from pyomo_relu.arrangement.located import EnumeratedCells, LocatedCells
from pyomo_relu.errors import InputError


def same_rays(first, second):
    """Whether two sets of unit rays (m, r) are the same."""
    if first.shape != second.shape:
        return False
    products = first @ second.T
    close = np.isclose(products, 1.0, rtol=0.0, atol=1e-9)
    return bool((close.sum(axis=0) == 1).all() and (close.sum(axis=1) == 1).all())


@given(
    st.integers(0, 10_000), st.sampled_from([(5, 2), (8, 3), (9, 4), (4, 4), (10, 3)])
)
@settings(max_examples=25, deadline=None)
def test_located_cells_are_the_enumerated_ones(seed, shape):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=shape)
    if seed % 2:
        # Degenerate: repeated, opposite and integer rows, and a zero row.
        X = np.vstack([X.round(), X[:2], -X[:1], np.zeros(shape[1])])
        if np.linalg.matrix_rank(X) < shape[1]:
            X = np.vstack([X, np.eye(shape[1])])
    cells = enumerate_cells(X)
    known, located = EnumeratedCells(cells), LocatedCells(X)
    order = rng.permutation(len(cells))
    inside = cells.interior_points[order]
    np.testing.assert_array_equal(known.find(inside), order)
    np.testing.assert_array_equal(located.find(inside), np.arange(len(cells)))
    # Nothing is made twice.
    np.testing.assert_array_equal(located.find(3.0 * inside), np.arange(len(cells)))
    assert len(located) == len(known) == len(cells)
    for new, old in enumerate(order.tolist()):
        assert same_rays(located.rays(new), known.rays(old))
        assert same_rays(located.facet_normals(new), known.facet_normals(old))
    np.testing.assert_array_equal(
        located.subset(np.arange(len(cells))).masks, known.subset(order).masks
    )


@pytest.mark.parametrize(
    "source", [LocatedCells, lambda X: EnumeratedCells(enumerate_cells(X))]
)
def test_some_rays_are_where_hyperplanes_meet(source):
    X = np.random.default_rng(0).normal(size=(12, 4))
    rays = source(X).some_rays(np.random.default_rng(1), 50)
    assert rays.shape == (50, 4)
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1.0)
    cosines = np.abs(rays @ (X / np.linalg.norm(X, axis=1, keepdims=True)).T)
    assert ((cosines < 1e-9).sum(axis=1) == 3).all()


def test_a_point_on_a_hyperplane_has_no_cell():
    located = LocatedCells([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(located.find(np.array([[0.0, 1.0]])), [-1])
    assert len(located) == 0


def test_bad_data_are_refused():
    for bad in ([[np.nan]], np.zeros((0, 2)), [1.0, 2.0]):
        with pytest.raises(InputError):
            LocatedCells(bad)
