"""What each stage costs as data grow, from 10^3 to 10^6 images: time, memory, and their exponents.

An exponent is the slope of a straight line through the logarithms: 1 where twice the images take twice as long, below 1
where a part does not grow. Each stage at each size is a process of its own; time is that of the processor, memory the
peak beyond what the process had before the stage, resident pages of mapped files among it. Images are of 64 x 64 pixels
and 2 kB, in one tar, and a stub stands for the model, so that what is left is the package's own work. Up to 10^4
images each stage has several turns, as what does not grow wavers most; beyond, where a turn takes minutes, one.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.generated import make_image_folder, write_index, write_json
from benchmarks.measuring import Comparison, Settings
from benchmarks.peak import megabytes_since, reset_peak
from benchmarks.tiny_sets import TRAINER, recipe_of, write_sets

Stage = Callable[[Path, int], Callable[[], object]]
"""From a folder and a number of images to what is to be timed."""


def build(folder: Path, count: int) -> Callable[[], object]:
    from lightning_st.index import build_index

    images = make_image_folder(folder / "images")
    write_json(folder / "instances.json", count)
    return lambda: build_index(images, folder / "instances.json", cache_folder=folder / "cache", progress=False)


def open_(folder: Path, count: int) -> Callable[[], object]:
    from lightning_st.index import AnnotationIndex

    write_index(folder / "set.index", count)
    return lambda: AnnotationIndex.open(folder / "set.index")


def tar(folder: Path, count: int) -> Callable[[], object]:
    from lightning_st.index import build_index

    data = write_sets(folder, unlabeled=count)
    return lambda: build_index(data["unlabeled"]["images"], cache_folder=folder / "cache", progress=False)


def check(folder: Path, count: int) -> Callable[[], object]:
    from lightning_st.checks import Settings as CheckSettings
    from lightning_st.checks import check_splits, open_splits
    from lightning_st.data import SelfTrainingDataModule

    data = SelfTrainingDataModule(**write_sets(folder, unlabeled=count))
    data.prepare_data()
    return lambda: check_splits(open_splits(data), CheckSettings((64, 64), sample=300, seconds=8))


def label(folder: Path, count: int) -> Callable[[], object]:
    """Decode, fit, "predict", write shards and merge, as the stage does."""
    import logging

    import torch

    from benchmarks.stub import Stub
    from lightning_st.data import SelfTrainingDataModule
    from lightning_st.modules import TeacherModule
    from lightning_st.stages.labelling import label_split
    from lightning_st.stages.recipe import Recipe

    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    arguments = write_sets(folder, unlabeled=count)
    recipe = Recipe(**recipe_of({**arguments, "batch_size": 32}) | {"trainer": TRAINER})
    data = SelfTrainingDataModule(**arguments | {"batch_size": 32})
    data.prepare_data()
    data.setup("predict")
    module = TeacherModule(Stub, data.classes)
    return lambda: label_split(recipe, module, data, "unlabeled", folder / "store", "job")


def write_store(folder: Path, count: int) -> Callable[[], object]:
    from lightning_st.index import AnnotationIndex
    from lightning_st.selftrain import ImageLabels, PseudoLabelWriter

    write_index(folder / "set.index", count, is_labeled=False)
    images = AnnotationIndex.open(folder / "set.index")
    boxes = np.tile(np.array([4, 4, 40, 40], np.float32), (7, 1))
    labels, scores = np.arange(7), np.linspace(0.9, 0.1, 7, dtype=np.float32)

    def write() -> None:
        writer = PseudoLabelWriter(folder / "store", images, [str(label) for label in range(80)], "job")
        for number in writer.missing_shards():
            rows = writer.shard_rows(number).tolist()
            writer.write_shard(number, (ImageLabels(row, 500, 375, boxes, labels, scores) for row in rows))
        writer.merge()

    return write


def calibrate(folder: Path, count: int) -> Callable[[], object]:
    """Count scores by class, as every rule needs; val, which is matched, does not grow with the unlabelled images."""
    from lightning_st.index import AnnotationIndex
    from lightning_st.selftrain.evidence import count_scores

    write_index(folder / "set.index", count)
    return lambda: count_scores(AnnotationIndex.open(folder / "set.index"))


def match(folder: Path, count: int) -> Callable[[], object]:
    from lightning_st.index import AnnotationIndex
    from lightning_st.selftrain.matching import match_detections

    write_index(folder / "set.index", count)
    index = AnnotationIndex.open(folder / "set.index")
    return lambda: match_detections(index, index)


def sample(folder: Path, count: int) -> Callable[[], object]:
    from lightning_st.data.sampling import GlobalBatchSampler, Stream

    streams = [Stream(name, np.arange(count), seed=0) for name in ("labeled", "pseudo")]
    sampler = GlobalBatchSampler(streams[0], 8, streams[1], 8, epoch_batches=count // 8, position=lambda: 0)
    return lambda: sum(1 for _ in sampler)


def report(folder: Path, count: int) -> Callable[[], object]:
    """Write a run's report; its store is one of many images, which the tiny run did not label."""
    import logging

    from lightning_st.index import AnnotationIndex
    from lightning_st.reports import write_report
    from lightning_st.stages import self_train

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    self_train(recipe_of(write_sets(folder)), folder / "run")
    (store,) = (path for path in folder.glob("run/round_*/**/labels.index") if path.parent.name != "val")
    label_many(folder, store, AnnotationIndex.open(store), count)
    shutil.rmtree(folder / "run" / "report", ignore_errors=True)
    return lambda: write_report(folder / "run")


def label_many(folder: Path, path: Path, few: Any, count: int) -> None:
    """Put a store of ``count`` images, all of them the first of ``few``, in the place of ``few``."""
    from lightning_st.index import IndexWriter

    image = few.image(0)
    boxes = np.tile(np.array([4, 4, 40, 40], np.float32), (7, 1))
    with IndexWriter(folder / "many.index", few.classes, few.class_ids, few.source) as writer:
        for row in range(count):
            place = {"path": image.path, "offset": image.offset, "length": image.length, "image_id": row}
            scores = np.linspace(0.9, 0.1, 7, dtype=np.float32)
            writer.add(f"{row:09d}.jpg", 64, 64, boxes=boxes, labels=[0] * 7, scores=scores, **place)
    (folder / "many.index").replace(path)


STAGES: dict[str, Stage] = {
    "building the index from COCO JSON": build,
    "building the index from a tar": tar,
    "opening the index": open_,
    "check, quick form": check,
    "labelling with a stub model": label,
    "writing and merging a store": write_store,
    "counting scores for a confidence rule": calibrate,
    "matching predictions with labels": match,
    "an epoch's sampler": sample,
    "report": report,
}
SIZES = (10**3, 10**4, 10**5, 10**6)
FEW = 10**4
"""The largest size that has several turns."""

TOPS = {"opening the index": 0.1, "check, quick form": 0.5, "report": 0.7}
"""The largest exponents of time that we accept of stages which should hardly grow; 1.05 of others."""
MEMORY_TOPS = {"labelling with a stub model": 0.1}
"""The largest exponents of memory that we accept."""


def take_turn(stage: str, folder: Path, count: int, queue: Any) -> None:
    """Give the seconds of the processor that a stage takes, and the MB that it adds at its peak."""
    prepare = STAGES[stage]
    (folder / "warm").mkdir(parents=True)
    prepare(folder / "warm", 16)()  # for the imports
    (folder / "own").mkdir()
    run = prepare(folder / "own", count)
    before, begun = reset_peak(), time.process_time()
    run()
    queue.put((time.process_time() - begun, megabytes_since(before)))


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Return the slope of the line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield each stage's time and memory at each size, and their exponents."""
    sizes = (16, 32) if settings.tiny else SIZES
    for place, stage in enumerate(STAGES):
        found: dict[int, list[tuple[float, float]]] = {size: [] for size in sizes}
        for size in sizes:
            for turn in range(settings.few_repetitions if size <= FEW else 1):
                folder = settings.folder / f"{place}_{size}_{turn}"
                found[size].append(settings.in_process(take_turn, stage, folder, size))
                shutil.rmtree(folder)
                said = f"{stage}, {size:,} images: {found[size][-1][0]:.3g} s, {found[size][-1][1]:.3g} MB"
                print(said, file=sys.stderr, flush=True)
        yield from compare(stage, found)


def compare(stage: str, found: Mapping[int, Sequence[tuple[float, float]]]) -> Iterator[Comparison]:
    """Yield the comparisons of one stage, from the seconds and MB of each turn at each size."""
    for size, turns in found.items():
        seconds, memory = zip(*turns, strict=True)
        note = "one turn" if len(turns) == 1 else ""
        yield Comparison(f"{stage}, {size:,} images", "s", "less", [*seconds], note=note)
        yield Comparison(f"{stage}, {size:,} images: memory", "MB", "less", [*memory], note=note)
    middle = {size: [median(values) for values in zip(*turns, strict=True)] for size, turns in found.items()}
    slope = exponent([*middle], [max(seconds, 1e-5) for seconds, _ in middle.values()])
    yield Comparison(f"{stage}: exponent of time", "", "less", [max(slope, 0.0)], limit=TOPS.get(stage, 1.05))
    slope = exponent([*middle], [max(memory, 0.1) for _, memory in middle.values()])
    top, note = MEMORY_TOPS.get(stage), "0.1 MB at least"
    yield Comparison(f"{stage}: exponent of memory", "", "less", [max(slope, 0.0)], limit=top, note=note)
