"""What the keyed permutation costs: microseconds a draw by set size and draws at a time, against numpy's shuffle.

python benchmarks/permutation.py
"""

import argparse
import time
import tracemalloc

import numpy as np

from lightning_st.data.permutation import KeyedPermutation
from lightning_st.data.sampling import GlobalBatchSampler, Stream

SIZES = (22, 10**3, 10**6, 10**9, 2**30 + 1, 2**40)
AT_ONCE = (8, 256, 4096)


def seconds_of(function, repeats: int) -> float:
    """Return the seconds of one call: the best of five runs of ``repeats`` calls."""
    best = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(repeats):
            function()
        best = min(best, (time.perf_counter() - begun) / repeats)
    return best


def permutation_cost(size: int, count: int) -> float:
    """Return the microseconds that one of ``count`` draws costs."""
    permutation = KeyedPermutation(size, (0, 1))
    generator = np.random.default_rng(0)
    positions, orders = generator.integers(0, size, count), generator.integers(0, 100, count)
    return seconds_of(lambda: permutation(positions, orders), max(3, 20_000 // count)) / count * 1e6


def start_cost(size: int, position: int) -> float:
    """Return the milliseconds from a sampler's ``iter`` at a global batch to its first batch of 8 + 8."""
    rows = np.broadcast_to(np.int64(0), size)  # the rows of a set of any size, without its memory
    streams = [Stream(name, rows, seed=0) for name in ("labeled", "pseudo")]
    sampler = GlobalBatchSampler(streams[0], 8, streams[1], 8, epoch_batches=10**6, position=lambda: position)
    return seconds_of(lambda: next(iter(sampler)), 3) * 1e3


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print("microseconds a draw     " + "".join(f"{f'{count} at once':>16}" for count in AT_ONCE))
    for size in SIZES:
        print(f"{f'{size:,}':>22}  " + "".join(f"{permutation_cost(size, count):16.3f}" for count in AT_ONCE))
    tracemalloc.start()
    KeyedPermutation(10**9, 0)(np.arange(4096))
    print(f"peak memory of 4096 draws from 1e9: {tracemalloc.get_traced_memory()[1] / 1e6:.2f} MB")
    tracemalloc.stop()
    shuffle = seconds_of(lambda: np.random.default_rng(0).permutation(10**7), 1)
    print(f"numpy's permutation of 1e7: {shuffle:.2f} s and 80 MB before the first draw")
    print(f"first batch after a resume at batch 1e9 of a set of 1e9: {start_cost(10**9, 10**9):.2f} ms")


if __name__ == "__main__":
    main()
