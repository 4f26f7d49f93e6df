"""Opening annotations from 10^4 to 10^7 images: this package's index against pycocotools and torchvision on the JSON.

The index is there already, as it is from the second run on; the peers read their JSON each time. Every turn is a
process of its own, in which a set of one image has been opened before, for the imports. Memory is what Linux counts in
smaps_rollup: private, of this process alone, and PSS, in which those who share a page share its size. The processes
are forked, as a loader forks its workers, and look at every byte of the index, or at every annotation. One record is an
image with its annotations, at random.
"""

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.generated import make_image_folder, write_index, write_json
from benchmarks.measuring import OURS, Comparison, Settings, memory_kb, optional
from benchmarks.peak import PAGE_KB
from lightning_st.index import AnnotationIndex

SIZES = (10**4, 10**5, 1_281_167, 10**7)
LARGEST_OF_PEERS = 10**5
"""More than this takes them minutes and gigabytes: at 1.28 million pycocotools took 51 s and 6.6 GB."""
IMAGENET = 1_281_167
PROCESSES = (1, 5)  # a training's, alone and with four workers
RECORDS = 2000
NOTE = f"peers up to {LARGEST_OF_PEERS:,} images"

Opened = tuple[Any, Callable[[int], object], int]
"""What was opened, what returns a record of it, and how many there are."""


def open_index(path: Path) -> Opened:
    index = AnnotationIndex.open(path)
    return index, lambda row: (index.image(row), index.annotations(row)), len(index)


def open_pycocotools(path: Path) -> Opened:
    from pycocotools.coco import COCO

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        coco = COCO(path)
    ids = coco.getImgIds()
    return coco, lambda row: (coco.loadImgs(ids[row]), coco.loadAnns(coco.getAnnIds(ids[row]))), len(ids)


def open_torchvision(path: Path) -> Opened:
    from torchvision.datasets import CocoDetection

    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        dataset = CocoDetection(path.parent, path)
    return dataset, lambda row: (dataset.coco.loadImgs(dataset.ids[row]), dataset._load_target(row)), len(dataset)


OPENERS = {OURS: open_index, "pycocotools": open_pycocotools, "torchvision CocoDetection": open_torchvision}


def take_turn(name: str, small: Path, path: Path, queue: Any) -> None:
    """Open and read records: milliseconds of the wall, MB that are private, and microseconds of the processor."""
    opened = OPENERS[name](small)
    opened[1](0)
    before = memory_kb("Private")
    begun = time.perf_counter()
    opened, record, count = OPENERS[name](path)
    seconds = time.perf_counter() - begun
    private = max(PAGE_KB, memory_kb("Private") - before) / 1e3
    rows = np.random.default_rng(0).integers(0, count, RECORDS).tolist()
    begun = time.process_time()
    for row in rows:
        record(row)
    queue.put((seconds * 1e3, private, (time.process_time() - begun) / len(rows) * 1e6))


def look_at_all(opened: Any, barrier: Any, queue: Any) -> None:
    """Be one of several processes that look at everything; give the PSS when all have."""
    if isinstance(opened, AnnotationIndex):
        total = sum(int(column.view("u1").max(initial=0)) for column in opened.columns.values() if column.size)
    else:
        total = sum(len(annotation) for annotation in opened.anns.values())
    barrier.wait()
    queue.put((memory_kb("Pss:"), total))
    barrier.wait()


def measure_processes(name: str, path: Path, count: int, queue: Any) -> None:
    """Give the PSS of ``count`` processes together, in MB: one that opened, and others that it forked."""
    context = multiprocessing.get_context("fork")
    opened, _, _ = OPENERS[name](path)
    barrier, answers = context.Barrier(count), context.Queue()
    processes = [context.Process(target=look_at_all, args=(opened, barrier, answers)) for _ in range(count - 1)]
    for process in processes:
        process.start()
    look_at_all(opened, barrier, answers)
    total = sum(answers.get()[0] for _ in range(count))
    for process in processes:
        process.join()
    queue.put(total / 1e3)


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield opening, memory, a record, and processes, at each size."""
    present = {OURS: True, "pycocotools": optional("pycocotools") is not None}
    present["torchvision CocoDetection"] = present["pycocotools"] and optional("torchvision") is not None
    sizes = (100,) if settings.tiny else SIZES
    make_image_folder(settings.folder / "images")
    write_index(settings.folder / "small.index", 1)
    write_json(settings.folder / "small.json", 1)
    for size in sizes:
        print(f"{size:,} images", file=sys.stderr, flush=True)
        paths = {name: settings.folder / ("large.index" if name == OURS else "large.json") for name in OPENERS}
        write_index(paths[OURS], size)
        names = [OURS]
        if size <= LARGEST_OF_PEERS:
            write_json(paths["pycocotools"], size)
            names = [name for name in OPENERS if present[name]]
        missing = {name: None for name in OPENERS if not present[name]} if size <= LARGEST_OF_PEERS else {}
        yield from compare(settings, paths, names, missing, size)
        for path in paths.values():
            path.unlink(missing_ok=True)


def compare(
    settings: Settings, paths: dict[str, Path], names: list[str], missing: dict[str, None], size: int
) -> Iterator[Comparison]:
    """Yield the comparisons at one size."""
    turns: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for _ in range(settings.repetitions):
        for name in names:
            small = paths[name].with_stem("small")
            turns[name].append(settings.in_process(take_turn, name, small, paths[name]))
    limits = {"ms": 5.0, "MB": 10.0} if size == IMAGENET else {}
    whats = ("opening", "ms"), ("private memory that opening adds", "MB"), ("one record", "us")
    for place, (what, unit) in enumerate(whats):
        values = {name: [turn[place] for turn in turns[name]] for name in names}
        ours = values.pop(OURS)
        case, peers = f"{size:,} images: {what}", {**values, **missing}
        yield Comparison(case, unit, "less", ours, peers, limit=limits.get(unit), note=NOTE if peers else "")
    for count in (1, 2) if settings.tiny else PROCESSES:
        measured = {name: [settings.in_process(measure_processes, name, paths[name], count)] for name in names[:2]}
        ours = measured.pop(OURS)
        case = f"{size:,} images: PSS of {count} process{'es' * (count > 1)}, all of it looked at"
        yield Comparison(case, "MB", "less", ours, {**measured, **missing})
