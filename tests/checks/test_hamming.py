"""The search for close hashes, against every pair counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_st.checks import hamming
from lightning_st.checks.hamming import close_pairs


def flipped(values, generator, most):
    """Return hashes with up to `most` bits changed in each."""
    values = values.copy()
    for place in range(len(values)):
        for bit in generator.choice(64, generator.integers(0, most + 1), replace=False):
            values[place] ^= np.uint64(1) << np.uint64(bit)
    return values


def brute_force(queries, hashes, radius):
    counts = np.array([[int(one ^ two).bit_count() for two in hashes] for one in queries])
    return {(int(q), int(h)): int(counts[q, h]) for q, h in np.argwhere(counts <= radius)} if counts.size else {}


def searched(queries, hashes, radius):
    found = {}
    for pairs in close_pairs(queries, hashes, radius):
        for query, place, distance in zip(*(column.tolist() for column in pairs), strict=True):
            assert (query, place) not in found, "each pair comes once"
            found[query, place] = distance
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(st.integers(0, 30), st.integers(0, 30)),
    radius=st.integers(0, 7),
    few_values=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_search_finds_what_counting_finds(seed, sizes, radius, few_values):
    generator = np.random.default_rng(seed)
    bases = generator.integers(0, 2 if few_values else 2**64, max(1, sizes[0]), dtype=np.uint64)
    queries = bases[: sizes[0]]
    hashes = flipped(generator.choice(bases, sizes[1]), generator, 10)
    assert searched(queries, hashes, radius) == brute_force(queries, hashes, radius)


def test_blocks_do_not_change_what_is_found(monkeypatch):
    generator = np.random.default_rng(0)
    queries = generator.integers(0, 2**64, 200, dtype=np.uint64)
    hashes = flipped(queries, generator, 9)
    whole = searched(queries, hashes, 7)
    monkeypatch.setattr(hamming, "_CHUNK", 3)
    assert searched(queries, hashes, 7) == whole


def test_bits_are_counted_alike_without_numpy_2():
    values = np.random.default_rng(0).integers(0, 2**64, 1000, dtype=np.uint64)
    assert hamming._count_bits(values).tolist() == [int(value).bit_count() for value in values]


def test_a_radius_that_bands_cannot_promise_is_refused():
    with pytest.raises(AssertionError):
        next(close_pairs(np.zeros(1, np.uint64), np.zeros(1, np.uint64), 8))
