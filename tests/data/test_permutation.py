"""The keyed permutation: a bijection for every length, uniform, and another one for every key."""

from collections import Counter
from math import factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_st.data.permutation import KeyedPermutation


@settings(deadline=None)  # machines are busy
@given(length=st.integers(1, 3000), key=st.integers(0, 2**40))
def test_every_number_comes_once(length: int, key: int):
    drawn = KeyedPermutation(length, key)(np.arange(length))
    assert drawn.dtype == np.int64
    assert np.array_equal(np.sort(drawn), np.arange(length))


@pytest.mark.parametrize("length", [2**16 - 1, 2**16, 2**16 + 1])
def test_lengths_around_a_power_of_two(length: int):
    assert len(np.unique(KeyedPermutation(length, 3)(np.arange(length)))) == length


@settings(deadline=None)  # machines are busy
@given(length=st.integers(2**40, 2**62), start=st.integers(0, 2**40 - 2000))
def test_numbers_of_a_long_one_are_in_range_and_differ(length: int, start: int):
    drawn = KeyedPermutation(length, (1, 2))(np.arange(start, start + 1000))
    assert drawn.min() >= 0
    assert drawn.max() < length
    assert len(np.unique(drawn)) == 1000


def test_a_part_is_the_part_of_the_whole():
    whole = KeyedPermutation(1000, 5)(np.arange(1000))
    part = KeyedPermutation(1000, 5)(np.array([999, 7, 7, 0]))
    assert np.array_equal(part, whole[[999, 7, 7, 0]])


def test_orders_of_one_key_are_unrelated_and_can_be_mixed():
    permutation = KeyedPermutation(10_000, 5)
    orders = [permutation(np.arange(10_000), order) for order in range(4)]
    for i, order in enumerate(orders):
        assert np.array_equal(np.sort(order), np.arange(10_000))
        assert all(np.mean(order == other) < 0.001 for other in orders[:i])
    mixed = permutation(np.array([17, 17, 18]), np.array([3, 0, 3]))
    assert mixed.tolist() == [orders[3][17], orders[0][17], orders[3][18]]


def test_positions_are_not_written_to():
    positions = np.arange(10)
    KeyedPermutation(10, 5)(positions)
    assert np.array_equal(positions, np.arange(10))


@pytest.mark.parametrize("length", [7, 64, 100, 1000])
@pytest.mark.parametrize("vary", ["key", "order"])
def test_what_comes_first_is_uniform(length: int, vary: str):
    """Chi-square of the first output; 5 standard deviations of its normal approximation."""
    if vary == "key":
        drawn = [int(KeyedPermutation(length, (key, 1))(np.zeros(1, np.int64))[0]) for key in range(5 * length)]
    else:
        drawn = KeyedPermutation(length, 1)(np.zeros(5 * length, np.int64), np.arange(5 * length)).tolist()
    counts = np.bincount(drawn, minlength=length)
    statistic = ((counts - 5) ** 2 / 5).sum()
    assert abs(statistic - (length - 1)) < 5 * np.sqrt(2 * (length - 1))


def test_every_order_of_six_is_as_likely():
    """A Feistel network as narrow as 6 numbers need would miss this by 25 standard deviations."""
    draws = 40 * factorial(6)
    positions, orders = np.tile(np.arange(6), draws), np.repeat(np.arange(draws), 6)
    counts = Counter(map(tuple, KeyedPermutation(6, 9)(positions, orders).reshape(-1, 6).tolist()))
    freedom = factorial(6) - 1
    statistic = sum((count - 40) ** 2 / 40 for count in counts.values()) + 40 * (factorial(6) - len(counts))
    assert abs(statistic - freedom) < 5 * np.sqrt(2 * freedom)


def test_neighbours_do_not_stay_together():
    drawn = KeyedPermutation(100_000, 11)(np.arange(100_000))
    correlation = np.corrcoef(drawn[:-1], drawn[1:])[0, 1]
    assert abs(correlation) < 0.02
    assert np.mean(np.abs(np.diff(drawn)) == 1) < 1e-3


@pytest.mark.parametrize("key", [1, (0, 1), (1, 0), (0, 0, 1)])
def test_keys_that_differ_anywhere_give_other_orders(key: int | tuple[int, ...]):
    one, other = (KeyedPermutation(10_000, k)(np.arange(10_000)) for k in ((0, 0), key))
    assert np.mean(one == other) < 0.001


def test_positions_outside_are_refused():
    for positions in ([-1], [10], [0, 11]):
        with pytest.raises(IndexError, match="from 0 to 9"):
            KeyedPermutation(10, 0)(np.array(positions))


@pytest.mark.parametrize("length", [0, -1, 2**62 + 1])
def test_lengths_out_of_range_are_refused(length: int):
    with pytest.raises(ValueError, match=f"got {length}"):
        KeyedPermutation(length, 0)


def test_no_positions_no_numbers():
    assert KeyedPermutation(10, 0)(np.zeros(0, np.int64)).shape == (0,)
