from itertools import combinations

import numpy as np
import pytest

from pyomo_relu.arrangement.batch import all_subsets, local_signs, null_vectors
from pyomo_relu.arrangement.masks import MaskIndex, SignHash, count_bits


@pytest.mark.parametrize(("q", "k"), [(1, 0), (3, 0), (5, 1), (6, 3), (7, 7), (9, 4)])
def test_subsets_are_those_of_itertools(q, k):
    expected = [list(subset) for subset in combinations(range(q), k)]
    assert all_subsets(q, k).tolist() == expected


@pytest.mark.parametrize("s", [1, 2, 3, 4, 6, 7, 8, 10])
def test_null_vectors_give_determinants(s):
    generator = np.random.default_rng(s)
    rows = generator.normal(size=(20, s - 1, s))
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    last = generator.normal(size=(20, s))
    vectors = null_vectors(rows)
    inner = np.einsum("ms,ms->m", vectors, last)
    full = np.concatenate([rows, last[:, None]], axis=1)
    assert np.abs(inner) == pytest.approx(np.abs(np.linalg.det(full)), abs=1e-12)
    assert np.einsum("mks,ms->mk", rows, vectors) == pytest.approx(0, abs=1e-13)


def test_a_batch_is_its_members():
    generator = np.random.default_rng(0)
    batch = np.concatenate(
        [generator.normal(size=(4, 7, 3)), generator.integers(-1, 2, size=(1, 7, 3))]
    )
    batch[-1] = [*np.eye(3), [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 1, 1]]
    batch /= np.linalg.norm(batch, axis=2, keepdims=True)
    owner, signs = local_signs(batch, 1e-11)
    # 2 (1 + 6 + 15) in general position; the last has fewer.
    assert np.bincount(owner).tolist() == [44, 44, 44, 44, 32]
    for k, normals in enumerate(batch):
        own, alone = local_signs(normals[None], 1e-11)
        assert not own.any()
        assert {s.tobytes() for s in alone} == {s.tobytes() for s in signs[owner == k]}


# A mirrored table tells a row from its mirror image by the sign of the hash.
@pytest.mark.parametrize(
    ("mirrored", "colliding"), [(False, False), (False, True), (True, False)]
)
def test_lookup_compares_bits_even_if_every_hash_is_equal(mirrored, colliding):
    generator = np.random.default_rng(1)
    signs = np.unique(generator.random((40, 13)) < 0.5, axis=0)
    if mirrored:
        signs = signs[signs[:, 0]]
    hasher = SignHash(13)
    if colliding:
        hasher._columns[:] = 0
        hasher.weights[:] = 0
    packed = np.packbits(signs, axis=1)
    index = MaskIndex(packed, hasher, mirrored=mirrored)
    assert index.find(packed).tolist() == list(range(len(packed)))
    other = index.find(np.packbits(~signs, axis=1))
    known = {row.tobytes(): k for k, row in enumerate(signs)}
    if mirrored:
        assert other.tolist() == list(range(len(signs), 2 * len(signs)))
    else:
        assert other.tolist() == [known.get(row.tobytes(), -1) for row in ~signs]
    flips = index.find_flips(np.arange(len(signs)), np.full(len(signs), 5))
    for k, found in enumerate(flips):
        row = signs[k].copy()
        row[5] ^= True
        mirror = known.get((~row).tobytes()) if mirrored else None
        beyond = -1 if mirror is None else mirror + len(signs)
        assert found == known.get(row.tobytes(), beyond)


def test_hash_is_linear_and_counts_bits():
    signs = np.random.default_rng(2).random((6, 300)) < 0.5
    packed = np.packbits(signs, axis=1)
    hasher = SignHash(300)
    expected = (2 * signs.astype(np.int64) - 1) @ hasher.weights
    assert (hasher.of_packed(packed) == expected).all()
    assert (count_bits(packed) == signs.sum(axis=1)).all()
