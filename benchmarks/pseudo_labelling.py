"""The labelling stage: its throughput beside forward passes alone, and that of two processes beside one.

Throughput is that of the whole stage - waiting for images, forward pass, NMS, writing and merging the store - from its
first batch on, beside the same model's forward passes alone: each batch has one more over the same images, before and
after in turns, whose time is the peer's and not the stage's, so that both have the same moments of a machine whose
speed wavers, and of a worker that loads. One process computes with one thread; without a worker loading is not hidden.
Two processes have one thread each and no workers. Its memory, from 10^3 to 10^6 images, is in `growth`.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import torch

from benchmarks.inference import write_images
from benchmarks.measuring import OURS, SPAWN, Comparison, Settings, interleave
from lightning_st.index import AnnotationIndex
from lightning_st.models import RetinaNet
from lightning_st.modules import TeacherModule
from lightning_st.stages.labelling import label_split
from lightning_st.stages.recipe import Recipe
from lightning_st.stages.train import make_data

CLASSES = ["one", "two", "three"]
SMALL = {"backbone": "resnet18", "max_level": 5, "neck_width": 64, "head_width": 64, "head_depth": 2}


class Timed(TeacherModule):
    """Notes when its first batch begins, and how long forward passes take where it is asked to do one more a batch."""

    begun = alone = 0.0
    is_compared = False

    def on_predict_batch_start(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Note the time, once, when the model has been warmed up."""
        if not self.begun:
            self.task(batch["images"])
            self.begun = time.perf_counter()
        if batch_idx % 2 == 0:
            self.look_once_more(batch)

    def on_predict_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Let the stage have every other batch before the peer, as a worker loads the next one meanwhile."""
        if batch_idx % 2:
            self.look_once_more(batch)

    def look_once_more(self, batch: Any) -> None:
        """Note the time of a forward pass with nothing else, if it is asked for."""
        if self.is_compared:
            start = time.perf_counter()
            self.task(batch["images"])
            self.alone += time.perf_counter() - start


def make_folder(folder: Path, count: int, side: int) -> Path:
    """Return a folder of ``count`` JPEG files with sides of 4:3."""
    images = folder / f"images_{count}_{side}"
    images.mkdir()
    write_images(images, count, side * 3 // 4, side)
    return images


def label(
    images: Path,
    store: Path,
    task: Any,
    size: int,
    batch_size: int,
    workers: int,
    shard: int = 1024,
    is_compared: bool = False,
    **trainer: Any,
) -> tuple[float, float]:
    """Label ``images`` into ``store`` as the stage does.

    Returns:
        The seconds from the first batch on, and those of one more forward pass a batch, if ``is_compared``.
    """
    data = {"unlabeled": {"images": str(images)}, "image_size": size, "eval_batch_size": batch_size}
    recipe = Recipe(
        data={**data, "num_workers": workers, "cache_folder": str(images.parent / "cache")},
        model={"class_path": "lightning_st.RetinaNet"},
        pseudo_label={"shard_size": shard},
        trainer={"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, **trainer},
    )
    module = Timed(task, CLASSES)
    module.is_compared = is_compared
    label_split(recipe, module, make_data(recipe), "unlabeled", store, "benchmark")
    return time.perf_counter() - module.begun - module.alone, module.alone


def quiet() -> None:
    """One thread, and no warnings of Lightning's about a CPU."""
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def throughput(settings: Settings, images: Path, workers: int) -> Comparison:
    """Compare the stage with forward passes alone."""
    size, batch_size = (64, 4) if settings.tiny else (256, 8)
    count, seconds = len(list(images.iterdir())), []
    for turn in range(settings.repetitions):
        store = settings.folder / f"store_{workers}_{turn}"
        torch.manual_seed(0)
        seconds.append(
            label(
                images,
                store,
                lambda classes: RetinaNet(classes, **SMALL),
                size,
                batch_size,
                workers,
                shard=count // 2,
                is_compared=True,
            )
        )
        if len(AnnotationIndex.open(store / "labels.index")) != count:
            raise RuntimeError("the store does not hold every image")
    stage, alone = zip(*seconds, strict=True)
    return Comparison.of(
        {OURS: [count / each for each in stage], "forward passes alone": [count / each for each in alone]},
        case=f"{count} JPEG of 640 x 480 into a store, {size} px, ResNet-18, batch {batch_size}, workers: {workers}",
        unit="images/s",
        better="more",
        goals={"forward passes alone": 0.95} if workers else {},
    )


def process_of_several(rank: int, count: int, port: int, images: Path, store: Path, size: int, queue: Any) -> None:
    """Label this process's share as torchrun would have it, and put the seconds from its first batch on."""
    quiet()
    if count > 1:
        names = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        names |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "benchmark"}
        os.environ.update({name: str(value) for name, value in names.items()})
    torch.manual_seed(0)
    trainer = {"devices": count, "strategy": "ddp" if count > 1 else "auto"}
    shard = len(list(images.iterdir())) // 4
    queue.put(label(images, store, lambda classes: RetinaNet(classes, **SMALL), size, 4, 0, shard, **trainer)[0])


def processes(settings: Settings) -> Comparison:
    """Compare two processes with one, by the time from the first batch to the merged store."""
    count, size = (8, 64) if settings.tiny else (256, 256)  # what comes once in a run weighs little
    images = make_folder(settings.folder, count, 96 if settings.tiny else 642)

    def run(turn: int, number: int, runs: int = 1) -> float:
        """Return images a second of ``runs`` labellings side by side, each of ``number`` processes."""
        queue = SPAWN.SimpleQueue()
        started = []
        for each in range(runs):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            store = settings.folder / f"processes_{number}_{runs}_{turn}_{each}"
            started += [
                SPAWN.Process(target=process_of_several, args=(rank, number, port, images, store, size, queue))
                for rank in range(number)
            ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        if any(process.exitcode for process in started):
            raise RuntimeError(f"{number} processes ended with {[process.exitcode for process in started]}")
        return runs * count / max(queue.get() for _ in started)

    sides: dict[str, Callable[[int], float]] = {
        OURS: lambda turn: run(turn, 2),
        "one process": lambda turn: run(turn, 1),
        "two that know nothing of each other": lambda turn: run(turn, 1, runs=2),
    }
    if settings.tiny:  # each process imports all that there is
        del sides["two that know nothing of each other"]
        speeds = {name: [side(0)] for name, side in sides.items()}
    else:
        speeds = interleave(sides, settings.few_repetitions)
    return Comparison.of(
        speeds,
        case=f"two processes of one thread each, {count} images, {size} px",
        unit="images/s",
        better="more",
        goals={"one process": 1.9},
        note="the last peer is what two cores of the machine can do",
    )


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield throughput with and without a worker, and that of two processes."""
    quiet()
    print("  throughput", file=sys.stderr, flush=True)
    images = make_folder(settings.folder, *((8, 80) if settings.tiny else (160, 640)))
    yield throughput(settings, images, workers=1)
    yield throughput(settings, images, workers=0)
    print("  two processes", file=sys.stderr, flush=True)
    yield processes(settings)
