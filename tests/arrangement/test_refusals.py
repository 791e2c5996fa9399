import sys
from dataclasses import fields
from functools import partial
from itertools import product

import numpy as np
import pytest

from pyomo_relu.arrangement import enumerate_cells, sample_cells
from pyomo_relu.arrangement.masks import SignHash
from pyomo_relu.errors import (
    DegenerateDataError,
    InputError,
    InputTypeError,
    TooManyCellsError,
)


@pytest.mark.parametrize(
    ("X", "error", "words"),
    [
        (np.zeros((3, 2)), InputError, "Every row of X"),
        (np.empty((0, 2)), InputError, "at least one row"),
        (np.empty((2, 0)), InputError, "at least one row"),
        ([1.0, 2.0], InputError, "two dimensions"),
        ([[1.0, np.nan]], InputError, "row 0, column 1"),
        ([[np.inf, 1.0]], InputError, "must be finite"),
        ([[1.0], [1.0, 2.0]], InputTypeError, "real numbers"),
        ([["a", "b"]], InputTypeError, "real numbers"),
        ([[1j, 2.0]], InputTypeError, "complex"),
        (None, InputTypeError, "NoneType"),
        (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), InputError, "masked"),
    ],
)
@pytest.mark.parametrize("function", [enumerate_cells, lambda X: sample_cells(X, 2)])
def test_bad_data(function, X, error, words):
    with pytest.raises(error, match=words):
        function(X)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, 0.1, np.nan])
def test_bad_tolerance(tolerance):
    with pytest.raises(InputError, match="tolerance"):
        enumerate_cells(np.eye(2), tolerance=tolerance)
    with pytest.raises(InputTypeError, match="tolerance"):
        enumerate_cells(np.eye(2), tolerance="small")


def test_bad_numbers():
    with pytest.raises(InputError, match="max_cells"):
        enumerate_cells(np.eye(2), max_cells=0)
    with pytest.raises(InputTypeError, match="max_cells"):
        enumerate_cells(np.eye(2), max_cells=2.5)
    with pytest.raises(InputError, match="size"):
        sample_cells(np.eye(2), 0)
    with pytest.raises(InputTypeError, match="size"):
        sample_cells(np.eye(2), True)
    with pytest.raises(InputTypeError, match="seed"):
        sample_cells(np.eye(2), 1, seed="x")


def test_bad_positions():
    cells = enumerate_cells(np.eye(2))
    with pytest.raises(InputError, match="4 cells"):
        cells.subset([4])
    with pytest.raises(InputError, match="twice"):
        cells.subset([0, -4])
    with pytest.raises(InputTypeError, match="whole numbers"):
        cells.subset([0.5])
    with pytest.raises(InputError, match="length 2"):
        cells.subset([True, False])
    with pytest.raises(InputError, match="at least one cell"):
        cells.spanning_tree([])
    with pytest.raises(InputError, match="one neuron a column"):
        cells.locate(np.eye(3))


def test_too_many_cells_names_the_count_and_the_ways_out():
    X = np.random.default_rng(0).normal(size=(75, 4))
    with pytest.raises(TooManyCellsError) as caught:
        enumerate_cells(X, max_cells=135_199)
    for words in ("135,200", "sample_cells", "max_cells=135200", "principal comp"):
        assert words in str(caught.value)
    assert len(enumerate_cells(X[:9], max_cells=2 * (1 + 8 + 28 + 56))) == 186


@pytest.mark.parametrize(
    ("n", "d", "words"),
    [
        (3000, 20, "more than max_cells"),
        (20, 10, "pairs of a cell and one of its rays"),
        (200_000, 2, "whose signs alone"),
    ],
)
def test_refuses_before_allocating(monkeypatch, n, d, words):
    X = np.random.default_rng(0).normal(size=(n, d))

    def allocate(*_):
        raise AssertionError("the enumeration began")

    module = sys.modules["pyomo_relu.arrangement.enumerate"]
    monkeypatch.setattr(module, "find_vertices", allocate)
    with pytest.raises(TooManyCellsError, match=words):
        enumerate_cells(X)


def test_duplicates_do_not_count():
    X = np.tile(np.random.default_rng(1).normal(size=(6, 4)), (500, 1))
    assert len(enumerate_cells(X, max_cells=100)) == 52


def test_contradictory_decisions_are_refused():
    # Noise of the size of the tolerance on a grid: some incidences survive and others
    # do not. Whatever is returned instead of an error must be honest.
    generator = np.random.default_rng(0)
    refused = 0
    for _ in range(40):
        X = generator.integers(-1, 2, size=(10, 4)) + 1e-10 * generator.normal(
            size=(10, 4)
        )
        U = generator.normal(size=(4, 100))
        try:
            cells = enumerate_cells(X)
        except DegenerateDataError:
            refused += 1
            continue
        at = cells.locate(U)
        height = X @ (U / np.linalg.norm(U, axis=0))
        clear = (np.abs(height) > cells.perturbation).all(axis=0)
        known = cells.sample_class >= 0
        assert (at[clear] >= 0).all()
        masks = cells.masks[at[clear]]
        assert (masks[:, known] == (height[:, clear] > 0).T[:, known]).all()
    assert 0 < refused < 40


@pytest.mark.parametrize("d", [2, 3, 4])
def test_no_lost_ray_goes_unnoticed(monkeypatch, d):
    # A grid, so that simple and other vertices are lost in turn.
    X = np.array(list(product((0, 1), repeat=d)))[1:]
    module = sys.modules["pyomo_relu.arrangement.enumerate"]
    find_vertices = module.find_vertices
    groups = find_vertices(normalised(X)[None], 1e-11, SignHash(len(X)))

    def without(which, lost, *arguments):
        found = find_vertices(*arguments)
        group = found[which]
        keep = np.arange(len(group)) != lost
        for field in fields(group):
            setattr(group, field.name, getattr(group, field.name)[keep])
        return found

    assert len(enumerate_cells(X)) == {2: 6, 3: 32, 4: 370}[d]
    for which, group in enumerate(groups):
        for lost in range(len(group)):
            monkeypatch.setattr(module, "find_vertices", partial(without, which, lost))
            with pytest.raises(DegenerateDataError, match="tolerance"):
                enumerate_cells(X)


def normalised(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def test_a_chain_around_the_circle_is_refused():
    angle = np.linspace(0, np.pi, 4000)
    with pytest.raises(DegenerateDataError, match="its own negative"):
        enumerate_cells(np.column_stack([np.cos(angle), np.sin(angle)]), tolerance=1e-3)


@pytest.mark.parametrize(("rows", "copies"), [(1, 5), (2, 3), (2, 5)])
@pytest.mark.parametrize("noise", [1e-8, 1e-7])
def test_a_rank_that_is_noise_is_refused(rows, copies, noise):
    """All of the rank above the number of distinct rows is in the perturbation."""
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(rows, 5))] * copies)
    X += noise * rng.normal(size=X.shape)
    with pytest.raises(DegenerateDataError, match=r"no ray was found.*tolerance"):
        enumerate_cells(X)
