"""Copies among 1.28 million images: the search among their hashes, and how fast images are read for them.

    python benchmarks/duplicates.py [--images 1281167] [--folder DIR]

The search compares a set with itself, the hardest case. Half of the hashes are random; the other half are those of
others with up to seven bits flipped. Reading is measured on the images of a folder, by one process. What it makes of an
image (8 bytes of hash, 256 of thumbnail) is kept on the disk; only the thumbnails of close hashes are read again.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
from processes import in_process

from lightning_st.checks.hamming import close_pairs
from lightning_st.checks.look import look_at
from lightning_st.index import build_index


def make_hashes(count):
    generator = np.random.default_rng(0)
    own = generator.integers(0, 2**64, count - count // 2, dtype=np.uint64)
    copies = own[: count // 2].copy()
    for _ in range(7):
        copies ^= np.uint64(1) << generator.integers(0, 64, len(copies), dtype=np.uint64)
    return np.concatenate([own, copies])


def measure_search(count, queue):
    hashes = make_hashes(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, cpu = time.perf_counter(), time.process_time()
    found = sum(int((pairs.found < pairs.queries).sum()) for pairs in close_pairs(hashes, hashes))
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    queue.put((found, *seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before))


def measure_reading(folder, queue):
    index = build_index(folder, progress=False)
    rows = range(min(len(index), 300))
    look_at(index.image(0), is_labeled=False)
    sizes = []
    begun = time.process_time()
    for row in rows:
        look, _, _ = look_at(index.image(row), is_labeled=False)
        sizes.append((int(look["height"]) * int(look["width"]), int(look["bytes"])))
    seconds = (time.process_time() - begun) / len(rows)
    queue.put((len(rows), seconds, *np.median(sizes, axis=0)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--folder", type=Path, help="of images to read")
    arguments = parser.parse_args()
    print("| figure | value |\n|---|---|")
    found, wall, cpu, memory = in_process(measure_search, arguments.images)
    print(
        f"| {arguments.images:,} hashes with themselves | {wall:.0f} s wall, {cpu:.0f} s CPU, {memory / 1e3:.0f} MB |"
    )
    print(f"| pairs | {found:,} |")
    if arguments.folder is not None:
        count, seconds, pixels, size = in_process(measure_reading, arguments.folder)
        print(f"| reading, CPU, mean of {count} | {seconds * 1e3:.2f} ms ({1 / seconds:.0f} images/s) |")
        print(f"| their median | {pixels / 1e6:.2f} megapixels, {size / 1e3:.0f} kB |")
        print(f"| {arguments.images:,} of them | {arguments.images * seconds / 3600:.1f} h of one core |")


if __name__ == "__main__":
    main()
