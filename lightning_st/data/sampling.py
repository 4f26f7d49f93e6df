"""Which images stand in which batch: a pure function of (seed, number of the global batch, rank, world size).

A stream is an endless row of draws from one set of images: pass after pass over the set, each in an order of its own.
Global batch ``t`` of ``B`` labelled and ``P`` pseudo-labelled images takes the draws ``t*B .. (t+1)*B`` of the
labelled stream and ``t*P .. (t+1)*P`` of the pseudo-labelled one, or of that of joint training. So nothing is dropped
or filled up where a pass ends, a set may be smaller than its part of a batch, and a run can begin at any batch without
knowing those before.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from lightning_st.data.permutation import KeyedPermutation
from lightning_st.errors import ConfigError

StreamName = Literal["labeled", "pseudo", "joint", "unlabeled"]
"""The sets that are trained on: "labeled", with "pseudo" or "joint" as the second part of a batch; or "unlabeled"
alone, for a model that learns from views."""

# Draws that are worked out at a time: enough that numpy's overhead for each call no longer counts.
_BLOCK = 4096


class Draw(NamedTuple):
    """One place of a batch.

    Attributes:
        stream: Which set the image comes from.
        row: The image's row in the index of that set.
        position: The draw's number in its stream; with the seed, all that decides what is drawn for the image.
    """

    stream: StreamName
    row: int
    position: int


class Stream:
    """The endless draws from one set of images.

    Args:
        name: Of the set; streams of different names are independent.
        rows: int64 [N], the rows of the index that make up the set; N >= 1.
        seed: Of the run, 0 to 2**32 - 1.
    """

    def __init__(self, name: StreamName, rows: NDArray[np.int64], seed: int) -> None:
        self.name: StreamName = name
        self.rows = rows
        self._permutation = KeyedPermutation(len(rows), (seed, crc32(name.encode())))

    def __len__(self) -> int:
        """Return the number of images in the set: of draws in one pass."""
        return len(self.rows)

    def draw(self, positions: NDArray[np.int64], skip: int = 0) -> NDArray[np.int64]:
        """Return the row that is drawn at each of ``positions``, int64 [K].

        Args:
            positions: int64 [K], numbers of draws, from 0 on.
            skip: Take the image that many places further on in the same pass instead, going round at its end: what
                replaces an image that cannot be read.
        """
        passes, places = np.divmod(positions, len(self))
        return self.rows[self._permutation((places + skip) % len(self), passes)]


def generator(seed: int, stream: StreamName, position: int, view: int = 0) -> np.random.Generator:
    """Return the generator of all that is drawn for one view of one place of a batch.

    Philox is counter-based: every key opens a sequence of its own, and the key holds the first three arguments
    unhashed. Views take parts of it that lie 2**192 numbers apart.

    Args:
        seed: Of the run, 0 to 2**32 - 1.
        stream: The draw's stream.
        position: The draw's number in its stream.
        view: 0, or 1 for the second view of the same image.

    Example:
        >>> a, b = generator(0, "labeled", 7), generator(0, "labeled", 7)
        >>> a.random() == b.random()
        True
    """
    key = np.array([(seed << 32) | crc32(stream.encode()), position], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, view]))


def share(count: int, rank: int, world_size: int) -> range:
    """Return which of ``count`` places of a global batch belong to ``rank``; the shares differ by one place at most.

    Example:
        >>> [list(share(5, rank, 3)) for rank in range(3)]
        [[0], [1, 2], [3, 4]]
    """
    return range(rank * count // world_size, (rank + 1) * count // world_size)


def pseudo_count(batch_size: int, pseudo_ratio: float) -> int:
    """Return how many pseudo-labelled images go with ``batch_size`` labelled ones.

    Args:
        batch_size: Labelled images in a global batch.
        pseudo_ratio: Pseudo-labelled images for each labelled one; taken as the nearest fraction with a denominator
            up to 1000, so that 0.3333 is a third.

    Raises:
        ConfigError: If that is no whole number; the message names the nearest ratio and batch size that work.

    Example:
        >>> pseudo_count(8, 0.5)
        4
    """
    if pseudo_ratio != 0 and not 0.001 <= pseudo_ratio <= 1000:
        raise ConfigError.expected("data.pseudo_ratio", "0, or from 0.001 to 1000", pseudo_ratio)
    ratio = Fraction(pseudo_ratio).limit_denominator(1000)
    wanted = ratio * batch_size
    if wanted.denominator == 1:
        return int(wanted)
    near_ratio = max(1, round(wanted)) / batch_size
    near_size = max(1, round(batch_size / ratio.denominator)) * ratio.denominator
    allowed = f"such that data.batch_size ({batch_size}) times it is a whole number"
    advice = f"Take data.pseudo_ratio={near_ratio:.8g} or data.batch_size={near_size}."
    raise ConfigError.expected("data.pseudo_ratio", allowed, pseudo_ratio, advice)


def _shares(sizes: Sequence[int], rank: int, world_size: int) -> list[range]:
    """Return the rank's share of the labelled and of the pseudo-labelled places.

    The second counts the ranks from the other end, so that what is left over goes to other ranks than of the first.
    """
    return [share(sizes[0], rank, world_size), share(sizes[1], world_size - 1 - rank, world_size)]


class GlobalBatchSampler:
    """Yields the draws of one rank's share of each global batch, from where the run stands.

    It holds no state that moves. Where iteration starts is asked of ``position`` at that moment, so a resumed run
    goes on with the very batch that it would have seen. Iteration yields ``len(self)`` batches even from the middle
    of an epoch: Lightning counts the batches of a resumed epoch itself and stops in time.

    Args:
        labeled: The labelled stream.
        batch_size: Labelled images in a global batch.
        pseudo: The pseudo-labelled stream; None without one.
        pseudo_size: Pseudo-labelled images in a global batch.
        epoch_batches: Global batches in one epoch of Lightning's.
        rank: Of this process.
        world_size: Number of processes.
        position: Returns the number of the next global batch of the run.

    Raises:
        ConfigError: If some rank would get no image.
    """

    def __init__(
        self,
        labeled: Stream,
        batch_size: int,
        pseudo: Stream | None = None,
        pseudo_size: int = 0,
        *,
        epoch_batches: int,
        rank: int = 0,
        world_size: int = 1,
        position: Callable[[], int] = lambda: 0,
    ) -> None:
        sizes = [batch_size, 0 if pseudo is None else pseudo_size]
        for other in range(world_size):
            if not any(_shares(sizes, other, world_size)):
                advice = f"A global batch of {sum(sizes)} images leaves one of the processes without any."
                allowed = f"at least the number of processes ({world_size})"
                raise ConfigError.expected("data.batch_size", allowed, batch_size, advice)
        shares = _shares(sizes, rank, world_size)
        self._parts = [(labeled, sizes[0], shares[0])]
        if pseudo is not None:
            self._parts.append((pseudo, sizes[1], shares[1]))
        self.epoch_batches = epoch_batches
        self.position = position

    def __len__(self) -> int:
        """Return the number of batches in one epoch."""
        return self.epoch_batches

    def __iter__(self) -> Iterator[list[Draw]]:
        """Yield the draws of this rank's share of one batch after the other."""
        start = self.position()
        largest = max(size for _, size, _ in self._parts)
        block = max(1, _BLOCK // max(1, largest))
        for first in range(start, start + len(self), block):
            yield from self._block(range(first, min(first + block, start + len(self))))

    def _block(self, batches: range) -> Iterator[list[Draw]]:
        """Yield the batches of ``batches``, all worked out at once."""
        numbers = np.arange(batches.start, batches.stop, dtype=np.int64)
        columns: list[tuple[StreamName, Any, Any]] = []
        for stream, size, part in self._parts:
            positions = numbers[:, None] * size + np.asarray(part, np.int64)  # [batches, share]
            rows = stream.draw(positions.ravel()).reshape(positions.shape)
            columns.append((stream.name, rows.tolist(), positions.tolist()))
        for i in range(len(batches)):
            yield [
                Draw(name, row, position)
                for name, rows, positions in columns
                for row, position in zip(rows[i], positions[i], strict=True)
            ]
