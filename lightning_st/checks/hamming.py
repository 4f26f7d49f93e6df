"""Which of millions of 64-bit hashes differ in few bits: multi-index hashing (Norouzi et al., 2012), in numpy.

A hash is cut into four bands of 16 bits. Of two hashes that differ in at most 7 bits one band differs in at most one.
So for each band it is enough to look up, among the hashes sorted by it, the 17 values that differ in at most one bit
from that of the query. Memory grows with the number of hashes (20 bytes each), not with that of pairs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_BITS = 7
"""Pairs at a greater distance are not all found."""

_BANDS, _BAND_BITS = 4, 16
_MASKS = np.concatenate([[0], 1 << np.arange(_BAND_BITS)]).astype(np.uint16)
_CHUNK = 1 << 21  # candidates that are held at once
_ONES = np.array([value.bit_count() for value in range(1 << _BAND_BITS)], np.uint8)


class Pairs(NamedTuple):
    """Pairs of hashes.

    Attributes:
        queries: int64 [N], places among the queries.
        found: int64 [N], places among the hashes that were searched.
        distances: uint8 [N], the number of bits that differ.
    """

    queries: NDArray[np.int64]
    found: NDArray[np.int64]
    distances: NDArray[np.uint8]


def close_pairs(queries: NDArray[np.uint64], hashes: NDArray[np.uint64], radius: int = MOST_BITS) -> Iterator[Pairs]:
    """Yield all pairs of a query and a hash that differ in at most ``radius`` bits (0-7), each once, in no order.

    Args:
        queries: uint64 [Q].
        hashes: uint64 [P].
        radius: The most bits.
    """
    assert 0 <= radius <= MOST_BITS, radius
    query_bands, hash_bands = _bands(queries), _bands(hashes)
    for band in range(_BANDS):
        keys = hash_bands[:, band]
        order = np.argsort(keys, kind="stable").astype(np.uint32)
        starts = np.concatenate([[0], np.cumsum(np.bincount(keys, minlength=1 << _BAND_BITS))])
        for rows in _blocks(query_bands[:, band], starts):
            places, found = _candidates(rows, query_bands[rows, band], order, starts)
            close = _differing_bits(queries[places] ^ hashes[found]) <= radius
            places, found = places[close], found[close]
            bits = _ONES[query_bands[places] ^ hash_bands[found]]
            first = (bits <= 1).argmax(axis=1) == band  # the others are found in an earlier band
            yield Pairs(places[first], found[first], bits[first].sum(axis=1, dtype=np.uint8))


def _bands(hashes: NDArray[np.uint64]) -> NDArray[np.uint16]:
    """Return the four bands of each hash, uint16 [N, 4]."""
    return np.ascontiguousarray(hashes, np.uint64).view(np.uint16).reshape(-1, _BANDS)


def _blocks(keys: NDArray[np.uint16], starts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield all queries in blocks that have about as many candidates as are held at once; one has at least a query."""
    sizes = np.diff(starts)
    counts = np.zeros(len(keys), np.int64)
    for mask in _MASKS:
        counts += sizes[keys ^ mask]
    blocks = np.cumsum(counts) // _CHUNK
    yield from np.split(np.arange(len(keys)), np.flatnonzero(np.diff(blocks)) + 1)


def _candidates(
    rows: NDArray[np.int64], keys: NDArray[np.uint16], order: NDArray[np.uint32], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return every query of ``rows`` with every hash whose band differs from its own in at most one bit."""
    probes = (keys[:, None] ^ _MASKS).ravel()
    begins = starts[probes]
    counts = starts[probes.astype(np.int64) + 1] - begins
    ends = np.cumsum(counts)
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(begins - (ends - counts), counts)
    return np.repeat(np.repeat(rows, len(_MASKS)), counts), order[places].astype(np.int64)


def _differing_bits(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the number of ones in each value, uint8 [N]."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        ones: NDArray[np.uint8] = np.bitwise_count(values)
        return ones
    return _count_bits(values)


def _count_bits(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return the same without numpy 2."""
    ones: NDArray[np.uint8] = _ONES[_bands(values)].sum(axis=1, dtype=np.uint8)
    return ones
