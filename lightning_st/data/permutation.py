"""A shuffle that is computed where it is needed: no table, so a run can start at any position of any pass."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# The multipliers and shifts of splitmix64's finaliser (Steele, Lea, Flood, "Fast splittable pseudorandom number
# generators", OOPSLA 2014; constants of Stafford's variant 13): each input bit flips each output bit half the time.
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_ROUNDS = 8
# In narrower networks the halves have so few values that some orders of 6 things come visibly more often than others.
_MIN_BITS = 6


class KeyedPermutation:
    """Pseudo-random bijections of ``0 .. length-1``, as many as wanted, that a key names.

    A Feistel network permutes the smallest range of a power of two that holds ``length``; an output beyond it is fed
    back in until it falls inside (cycle walking; fewer than two passes on average, more below 64). The network has
    eight rounds, where Luby and Rackoff prove four enough for an ideal round function.

    Args:
        length: How many numbers are permuted, from 1 to 2**62.
        key: One or more integers from 0 on; keys that differ anywhere give unrelated permutations.

    Example:
        >>> sorted(KeyedPermutation(5, key=7)(np.arange(5)).tolist())
        [0, 1, 2, 3, 4]
    """

    def __init__(self, length: int, key: int | Sequence[int]) -> None:
        if not 1 <= length <= 2**62:
            raise ValueError(f"Expected length to be from 1 to 2**62, got {length}.")
        self.length = length
        bits = max(_MIN_BITS, (length - 1).bit_length())
        low_bits = bits // 2
        self._shift = np.uint64(low_bits)
        self._low_mask = np.uint64(2**low_bits - 1)
        self._high_mask = np.uint64(2 ** (bits - low_bits) - 1)
        self._order_key, *self._round_keys = np.random.SeedSequence(key).generate_state(1 + _ROUNDS, np.uint64)

    def __call__(self, positions: NDArray[np.int64], orders: NDArray[np.int64] | int = 0) -> NDArray[np.int64]:
        """Return what stands at each of ``positions``, int64 [K].

        Args:
            positions: int64 [K], each from 0 to ``length - 1``.
            orders: int64 [K], from 0 on, or one for all: in which of the key's permutations. They are unrelated.

        Raises:
            IndexError: If a position lies outside: walking from there need not end inside.
        """
        if positions.size and not (positions.min() >= 0 and positions.max() < self.length):
            raise IndexError(f"Expected positions from 0 to {self.length - 1}.")
        # A Weyl step, so that neighbouring orders lie far apart, then mixed into the input of every round.
        keys = _mix((np.zeros_like(positions) + orders).astype(np.uint64) * _MULTIPLIER_1 + self._order_key)
        values = self._scramble(positions.astype(np.uint64), keys)
        (outside,) = np.nonzero(values >= self.length)
        while outside.size:
            values[outside] = self._scramble(values[outside], keys[outside])
            outside = outside[values[outside] >= self.length]
        return values.astype(np.int64)

    def _scramble(self, values: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Return the Feistel network's image of ``values``: each half in turn takes in a hash of the other."""
        low, high = values & self._low_mask, values >> self._shift
        for low_key, high_key in zip(self._round_keys[::2], self._round_keys[1::2], strict=True):
            low ^= _mix(high + keys + low_key) & self._low_mask
            high ^= _mix(low + keys + high_key) & self._high_mask
        scrambled: NDArray[np.uint64] = (high << self._shift) | low
        return scrambled


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return splitmix64's finaliser of uint64 ``values``; ``values`` is overwritten."""
    values ^= values >> np.uint64(30)
    values *= _MULTIPLIER_1
    values ^= values >> np.uint64(27)
    values *= _MULTIPLIER_2
    values ^= values >> np.uint64(31)
    return values
