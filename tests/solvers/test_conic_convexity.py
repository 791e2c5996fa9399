"""Curvature of sparse Hessians against the dense spectrum."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from pyomo_relu.solvers import convexity
from pyomo_relu.solvers.convexity import most_negative_curvature


def spread(rng: np.random.Generator, blocks: list[np.ndarray]) -> sp.csc_array:
    """Blocks on the diagonal, rows and columns shuffled together."""
    P = sp.block_diag(blocks, format="csr")
    order = rng.permutation(P.shape[0])
    return sp.csc_array(P[order][:, order])


def gram(rng: np.random.Generator, order: int, rank: int) -> np.ndarray:
    B = rng.normal(size=(rank, order))
    return B.T @ B


@pytest.mark.parametrize("dense_order", [400, 5])
@pytest.mark.parametrize("seed", range(5))
def test_semidefinite_blocks_of_any_rank_are_convex(seed, dense_order, monkeypatch):
    monkeypatch.setattr(convexity, "_DENSE_ORDER", dense_order)
    rng = np.random.default_rng(seed)
    blocks = [gram(rng, 1, 1), np.zeros((2, 2)), gram(rng, 12, 12), gram(rng, 20, 7)]
    assert most_negative_curvature(spread(rng, blocks)) == (0.0, -1)


@pytest.mark.parametrize("dense_order", [400, 5])
@pytest.mark.parametrize("shift", [1e-6, 1e-3, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_negative_eigenvalue_anywhere_is_found(seed, shift, dense_order, monkeypatch):
    monkeypatch.setattr(convexity, "_DENSE_ORDER", dense_order)
    rng = np.random.default_rng(seed)
    bad = gram(rng, 20, 7) - shift * np.eye(20)
    P = spread(rng, [gram(rng, 12, 12), bad, gram(rng, 3, 1)])
    curvature, column = most_negative_curvature(P)
    diagonal = P.diagonal()
    assert curvature < 0.0
    assert curvature == pytest.approx(-shift) or curvature == diagonal.min()
    assert 0 <= column < P.shape[0]


def test_an_indefinite_matrix_with_positive_diagonal_is_found():
    P = sp.csc_array([[1.0, 2.0], [2.0, 1.0]])
    assert most_negative_curvature(P)[0] == pytest.approx(-1.0)


def test_rounding_is_no_curvature():
    P = sp.csc_array([[1.0, 1.0], [1.0, 1.0 - 1e-13]])
    assert most_negative_curvature(P) == (0.0, -1)
