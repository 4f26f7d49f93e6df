"""Indexing ImageNet as it is published, a tar of 1000 tars: time, memory, and images at random; nothing is unpacked.

The archive is generated: as many members as ILSVRC2012_img_train.tar has, each of few bytes, so that it fits (3 GB and
not 138). Reading headers costs as much CPU as there; what is not in the page cache costs an access of the disk each.
Memory is what indexing adds at its peak. What images hold is compared at random places. One turn: it takes a minute.
"""

import io
import random
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measuring import Comparison, Settings
from benchmarks.peak import megabytes_since, reset_peak
from lightning_st.index import build_index

READ_COUNT = 10_000


def content_of(label, number, size):
    """Return the bytes of an image: they say whose they are."""
    return f"{label} {number} ".encode().ljust(size, b".")


def write_archive(path, class_count, image_count, size):
    with tarfile.open(path, "w") as archive:
        for label in range(class_count):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w") as inner:
                for number in range(image_count):
                    add(inner, f"n{label:08d}_{number}.JPEG", content_of(label, number, size))
            add(archive, f"n{label:08d}.tar", buffer.getvalue())


def add(archive, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def take_turn(path, cache, size, queue):
    before = reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    index = build_index(path, cache_folder=cache, progress=False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    memory = megabytes_since(before)
    begun = time.process_time()
    rows = random.Random(0).sample(range(len(index)), min(READ_COUNT, len(index)))
    with open(path, "rb") as archive:
        for row in rows:
            record = index.image(row)
            archive.seek(record.offset)
            label, number = record.name.removesuffix(".JPEG").rpartition("/")[2][1:].split("_")
            if archive.read(record.length) != content_of(int(label), int(number), size):
                raise RuntimeError(f"{record} is not where the index says")
    queue.put((len(index), wall, cpu, memory, (time.process_time() - begun) / len(rows)))


def measure_classes(path, cache, queue):
    begun = time.process_time()
    index = build_index(path, format="classes", cache_folder=cache, progress=False)
    queue.put((len(index.classes), len(index), time.process_time() - begun))


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield indexing, with and without classes, and reading."""
    class_count, image_count, size = (5, 20, 1500) if settings.tiny else (1000, 1281, 1500)
    path, cache = Path(settings.folder, "ILSVRC2012_img_train.tar"), Path(settings.folder, "cache")
    print("making the archive", file=sys.stderr, flush=True)
    write_archive(path, class_count, image_count, size)
    count, wall, cpu, memory, read = settings.in_process(take_turn, path, cache, size)
    case = f"a tar of {class_count:,} tars, {count:,} images"
    yield Comparison(f"{case}: indexing, CPU", "s", "less", [cpu], note=f"wall {wall:.0f} s")
    yield Comparison(f"{case}: memory", "MB", "less", [memory])
    yield Comparison(f"{case}: a record and its bytes at random, CPU", "us", "less", [read * 1e6])
    found, _, seconds = settings.in_process(measure_classes, path, cache)
    if found != class_count:
        raise RuntimeError(f"expected {class_count} classes, got {found}")
    yield Comparison(f"{case}: indexing with the classes, CPU", "s", "less", [seconds])
    left = sum(file.stat().st_size for file in cache.iterdir()) / 1e6
    yield Comparison(f"{case}: on the disk besides the archive", "MB", "less", [left], note="two indexes")
