"""Building the index from a COCO JSON, once: time and peak memory against what pycocotools needs at each opening.

The JSON is like instances_train2017.json: 100,000 images, 730,000 annotations with polygons, 450 MB. Every turn is a
process of its own, in which a set of one image has been read before, for the imports; the file is in the page cache.
"""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.generated import make_image_folder, write_json
from benchmarks.measuring import OURS, Comparison, Settings, optional
from benchmarks.peak import megabytes_since, reset_peak


def read(name: str, path: Path, folder: Path) -> int:
    """Build or open, and return how many boxes there are."""
    if name == OURS:
        from lightning_st.index import build_index

        return len(build_index(folder / "images", path, cache_folder=folder / "cache", progress=False).boxes)
    from pycocotools.coco import COCO

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return len(COCO(path).anns)


def take_turn(name: str, path: Path, folder: Path, queue: Any) -> None:
    """Give seconds of the processor, MB that it adds at its peak, and ms to open it once more."""
    read(name, path.with_stem("small"), folder)
    before, begun = reset_peak(), time.process_time()
    count = read(name, path, folder)
    seconds, peak = time.process_time() - begun, megabytes_since(before)
    again = 0.0
    if name == OURS:
        begun = time.perf_counter()
        read(name, path, folder)
        again = time.perf_counter() - begun
    queue.put((seconds, peak, again * 1e3, count))


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield time, memory, and opening what is built."""
    image_count = 100 if settings.tiny else 100_000
    path = settings.folder / "instances.json"
    make_image_folder(settings.folder / "images")
    write_json(path.with_stem("small"), 1)
    write_json(path, image_count)
    names = [OURS, *(["pycocotools"] if optional("pycocotools") else [])]
    turns: dict[str, list[tuple[float, float, float, int]]] = {name: [] for name in names}
    for turn in range(settings.repetitions):
        for name in names[:: 1 if turn % 2 else -1]:
            shutil.rmtree(settings.folder / "cache", ignore_errors=True)
            turns[name].append(settings.in_process(take_turn, name, path, settings.folder))
            seconds, peak, _, count = turns[name][-1]
            said = f"turn {turn + 1} of {settings.repetitions}: {name}, {seconds:.1f} s, {peak:.0f} MB, {count:,} boxes"
            print(said, file=sys.stderr, flush=True)
    if len({values[0][3] for values in turns.values()}) > 1:
        raise RuntimeError("the index and pycocotools have different numbers of boxes")
    case = f"COCO JSON of {image_count:,} images, {path.stat().st_size / 1e6:.0f} MB"
    for place, unit, what in ((0, "s", "CPU"), (1, "MB", "memory at the peak")):
        values = {
            name: [turn[place] for turn in turns[name]] if name in turns else None for name in (OURS, "pycocotools")
        }
        yield Comparison.of(values, case=f"{case}: {what}", unit=unit, better="less", goals={"pycocotools": 1.0})
    again = [turn[2] for turn in turns[OURS]]
    yield Comparison(f"{case}: opening it when it is built, without reading the JSON", "ms", "less", again, limit=50.0)
