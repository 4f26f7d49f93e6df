"""The keyed permutation: what a position costs, whatever the size of the set, and that its order is uniform.

numpy's shuffle has to be made whole before the first position is known, and kept. The chi-square tests of uniformity
stand beside it, at 10^9: of (position, what stands there) on a grid, of differences between neighbours, and of the same
position in successive passes. Their p-values are the figures; one below 0.001 is an error here.
"""

import math
import time
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import OURS, Comparison, Settings, interleave
from lightning_st.data.permutation import KeyedPermutation
from lightning_st.data.sampling import GlobalBatchSampler, Stream

AT_ONCE = 4096
CELLS = 64
LEAST_P = 0.001


def draw_cost(size: int, count: int, draws: int) -> Callable[[int], float]:
    """Return what gives the microseconds of the processor that one of ``count`` positions costs."""
    permutation = KeyedPermutation(size, (0, 1))
    generator = np.random.default_rng(0)
    positions, orders = generator.integers(0, size, count), generator.integers(0, 100, count)
    calls = max(1, draws // count)

    def take_turn(turn: int) -> float:
        begun = time.process_time()
        for _ in range(calls):
            permutation(positions, orders)
        return (time.process_time() - begun) / calls / count * 1e6

    return take_turn


def shuffle_cost(size: int) -> Callable[[int], float]:
    """Return what gives the microseconds of the processor that numpy's shuffle costs a position, all being drawn."""

    def take_turn(turn: int) -> float:
        begun = time.process_time()
        np.random.default_rng(turn).permutation(size)
        return (time.process_time() - begun) / size * 1e6

    return take_turn


def start_cost(size: int, position: int) -> float:
    """Return the milliseconds from a sampler's ``iter`` at a global batch to its first batch of 8 + 8."""
    rows = np.broadcast_to(np.int64(0), size)  # the rows of a set of any size, without its memory
    streams = [Stream(name, rows, seed=0) for name in ("labeled", "pseudo")]
    sampler = GlobalBatchSampler(streams[0], 8, streams[1], 8, epoch_batches=10**6, position=lambda: position)
    begun = time.process_time()
    next(iter(sampler))
    return (time.process_time() - begun) * 1e3


def memory_of(size: int) -> float:
    """Return the MB that making a permutation and drawing a batch take at their peak."""
    tracemalloc.start()
    KeyedPermutation(size, 0)(np.arange(AT_ONCE))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def p_value(cells: NDArray[np.int64], cell_count: int, given: int = 1) -> float:
    """Return the p-value of the chi-square test that cells [N] are uniform over 0 ... cell_count - 1.

    ``given`` sums of cells are known before: one where only the whole is.
    By Wilson and Hilferty's normal approximation, which is good to three digits at thousands of degrees of freedom.
    """
    counts = np.bincount(cells, minlength=cell_count)
    expected = len(cells) / cell_count
    freedom = cell_count - given
    statistic = float(((counts - expected) ** 2).sum() / expected)
    deviation = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    return math.erfc(deviation / math.sqrt(2)) / 2


def uniformity(size: int, count: int, key: int) -> dict[str, float]:
    """Return the p-values of the tests, of ``count`` positions of a permutation."""
    permutation = KeyedPermutation(size, (7, key))
    spread = np.arange(count, dtype=np.int64) * size // count  # as many in each cell
    drawn = permutation(spread)
    pairs = cell_of(spread, size) * CELLS + cell_of(drawn, size)
    neighbours = permutation(np.arange(count, dtype=np.int64))
    differences = (np.diff(neighbours) % size)[::2]  # every other, so that they are independent
    passes = permutation(spread, 1)
    orders = cell_of(drawn, size) * CELLS + cell_of(passes, size)
    return {
        "position and what stands there": p_value(pairs, CELLS**2, given=CELLS),
        "differences of neighbours": p_value(cell_of(differences, size, CELLS**2), CELLS**2),
        "one position in two passes": p_value(orders, CELLS**2),
    }


def cell_of(values: NDArray[np.int64], size: int, cell_count: int = CELLS) -> NDArray[np.int64]:
    """Return in which of equal parts of 0 ... size - 1 each value lies."""
    return values * cell_count // size


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield cost, memory, the start of a run, and uniformity."""
    size, draws = (10**9, 10**4) if settings.tiny else (10**9, 10**6)
    shuffled = 10**4 if settings.tiny else 10**7
    for of, count in ((10**6, AT_ONCE), (size, AT_ONCE), (size, 256), (2**40, AT_ONCE)):
        sides = {OURS: draw_cost(of, count, draws), f"numpy's shuffle of {shuffled:,}": shuffle_cost(shuffled)}
        costs = interleave(sides, settings.repetitions)
        case = f"a position of {of:,}, {count} at once"
        limit = 1.0 if (of, count) == (size, AT_ONCE) else None
        yield Comparison.of(costs, case=case, unit="us", better="less", limit=limit)
    memory = [memory_of(size) for _ in range(settings.repetitions)]
    shuffle = {"a table of int64": [size * 8 / 1e6] * settings.repetitions}
    yield Comparison(f"memory for {size:,}", "MB", "less", memory, shuffle, limit=1.0)
    starts = [start_cost(size, size) for _ in range(settings.repetitions)]
    yield Comparison(f"first batch of 16 of a run that goes on at batch {size:,}", "ms", "less", starts)
    keys = range(3 if settings.tiny else settings.repetitions)
    found = [uniformity(size, 2**16 if settings.tiny else 2**22, key) for key in keys]
    for test in found[0]:
        values = [each[test] for each in found]
        if min(values) < LEAST_P:
            raise RuntimeError(f"the permutation is not uniform: {test}, p-values {values}")
        note = f"{CELLS**2} cells, each turn another key; uniform p-values are what is wanted, none below {LEAST_P}"
        yield Comparison(f"chi-square of {size:,}: {test}", "p-value", "more", values, limit=LEAST_P, note=note)
