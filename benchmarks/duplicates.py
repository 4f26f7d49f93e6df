"""Copies among 1.28 million images: the search among their hashes, and how fast images are read for them.

The search compares a set with itself, the hardest case. Half of the hashes are random; the other half are those of
others with up to seven bits flipped, and all of those must be found. Reading is measured on the images of the folder
that is given, or on generated ones of 500 x 375 pixels, by one process. What it makes of an image (8 bytes of hash, 256
of thumbnail) is kept on the disk; only the thumbnails of close hashes are read again.
"""

import time
from collections.abc import Iterator

import cv2
import numpy as np

from benchmarks.measuring import Comparison, Settings
from benchmarks.peak import megabytes_since, reset_peak
from lightning_st.checks.hamming import close_pairs
from lightning_st.checks.look import look_at
from lightning_st.index import build_index

IMAGES = 300


def make_hashes(count):
    generator = np.random.default_rng(0)
    own = generator.integers(0, 2**64, count - count // 2, dtype=np.uint64)
    copies = own[: count // 2].copy()
    for _ in range(7):
        copies ^= np.uint64(1) << generator.integers(0, 64, len(copies), dtype=np.uint64)
    return np.concatenate([own, copies])


def measure_search(count, queue):
    hashes = make_hashes(count)
    before, begun = reset_peak(), time.process_time()
    found = sum(int((pairs.found < pairs.queries).sum()) for pairs in close_pairs(hashes, hashes))
    queue.put((found, time.process_time() - begun, megabytes_since(before)))


def measure_reading(folder, cache, queue):
    index = build_index(folder, cache_folder=cache, progress=False)
    rows = range(min(len(index), IMAGES))
    look_at(index.image(0), is_labeled=False)
    sizes = []
    begun = time.process_time()
    for row in rows:
        look, _, _ = look_at(index.image(row), is_labeled=False)
        sizes.append(int(look["height"]) * int(look["width"]))
    queue.put(((time.process_time() - begun) / len(rows), float(np.median(sizes))))


def write_images(folder, count):
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        image = sum(
            cv2.resize(generator.normal(0, 1.45**octave, (max(2, 375 >> octave), max(2, 500 >> octave), 3)), (500, 375))
            for octave in range(8)
        )
        image = np.clip(image * (60 / image.std()) + 128, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{number}.jpg"), image)


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield the search's time and memory, and reading."""
    count, images = (20_000, 20) if settings.tiny else (1_281_167, IMAGES)
    turns = [settings.in_process(measure_search, count) for _ in range(settings.few_repetitions)]
    if turns[0][0] < count // 2:
        raise RuntimeError(f"expected {count // 2} pairs at least, found {turns[0][0]}")
    case = f"all pairs within 7 bits of {count:,} hashes of 64"
    note = f"{turns[0][0]:,} pairs"
    yield Comparison(f"{case}: CPU", "s", "less", [turn[1] for turn in turns], note=note)
    yield Comparison(f"{case}: memory", "MB", "less", [turn[2] for turn in turns], note=note)
    folder = settings.images
    if folder is None:
        folder = settings.folder / "images"
        write_images(folder, images)
    cache = settings.folder / "cache"
    readings = [settings.in_process(measure_reading, folder, cache) for _ in range(settings.repetitions)]
    case = f"looking at an image of {readings[0][1] / 1e6:.2f} megapixels, CPU"
    yield Comparison(case, "ms", "less", [reading[0] * 1e3 for reading in readings])
