"""The whole training loader, labelled and pseudo-labelled JPEG files to batches: ahead of torchvision's CocoDetection.

Ours is the loader of SelfTrainingDataModule with S4, half of each batch pseudo-labelled. The peer has the same files
and boxes in one CocoDetection, torchvision.transforms.v2 with as many operations (on pixels alone), and a DataLoader.
Wall time, from asking for the first batch to having the last; workers are there already. More workers than cores wait
for each other.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader
from torchvision.datasets import CocoDetection, wrap_dataset_for_transforms_v2
from torchvision.transforms import v2

from benchmarks.measuring import OURS, Comparison, Settings, interleave
from benchmarks.pipelines import BOX_COUNT, HEIGHT, SIDE, WIDTH, Photograph, make_photographs
from lightning_st.data import SelfTrainingDataModule
from lightning_st.data.source import Source
from lightning_st.types import PADDING_COLOUR

BATCH = 8  # images, half of them pseudo-labelled
JITTER = (0.5, 2.0)


def write_files(photographs: list[Photograph], folder: Path) -> None:
    """Write COCO files of all photographs, of the labelled half, and the results of a teacher on the other half."""
    images, boxes = [], []
    for number, photograph in enumerate(photographs):
        image = {"id": number, "file_name": photograph.path.name, "width": WIDTH, "height": HEIGHT}
        images.append(image)
        for left, top, right, bottom in photograph.boxes.tolist():
            bounds = [left, top, right - left, bottom - top]
            box = {"image_id": number, "category_id": 1, "bbox": bounds, "iscrowd": 0, "id": len(boxes) + 1}
            boxes.append(box | {"area": bounds[2] * bounds[3]})
    half = len(images) // 2
    categories = [{"id": 1, "name": "thing"}]
    parts = {
        "all": (images, boxes),
        "labeled": (images[:half], boxes[: half * BOX_COUNT]),
        "unlabeled": (images[half:], []),
    }
    for name, (some_images, some_boxes) in parts.items():
        content = {"images": some_images, "annotations": some_boxes, "categories": categories}
        (folder / f"{name}.json").write_text(json.dumps(content))
    results = [
        {name: box[name] for name in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for box in boxes[half * BOX_COUNT :]
    ]
    (folder / "results.json").write_text(json.dumps(results))


def make_ours(folder: Path, images: Path, batches: int, workers: int) -> Any:
    """Return our loader of ``batches`` batches."""
    data = SelfTrainingDataModule(
        labeled=Source(images=str(images), annotations=str(folder / "labeled.json")),
        unlabeled=Source(images=str(images), list=str(folder / "unlabeled.json")),
        pseudo_labels=str(folder / "results.json"),
        image_size=SIDE,
        batch_size=BATCH // 2,
        augment="S4",
        num_workers=workers,
        epoch_batches=batches,
        cache_folder=str(folder / "cache"),
        seed=0,
    )
    data.prepare_data()
    return data.train_dataloader()


def make_torchvision(folder: Path, images: Path, batches: int, workers: int) -> Any:
    """Return torchvision's loader of as many batches."""
    crop = v2.RandomCrop((SIDE, SIDE), pad_if_needed=True, fill=PADDING_COLOUR)
    geometry = [v2.RandomHorizontalFlip(), v2.ScaleJitter((SIDE, SIDE), JITTER), crop, v2.SanitizeBoundingBoxes()]
    transforms = OperationThenGeometry(v2.RandAugment(num_ops=1, magnitude=30), v2.Compose(geometry))
    dataset = CocoDetection(images, folder / "all.json", transforms=transforms)
    dataset = wrap_dataset_for_transforms_v2(dataset, target_keys=("boxes", "labels"))
    sampler = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=batches * BATCH)
    more = {"num_workers": workers, "persistent_workers": workers > 0, "worker_init_fn": begin_worker}
    return DataLoader(dataset, BATCH, sampler=sampler, collate_fn=collate, **more)


class OperationThenGeometry:
    """RandAugment on the image alone (it refuses boxes), then the geometry on both."""

    def __init__(self, operation: Any, geometry: Any) -> None:
        self.operation = operation
        self.geometry = geometry
        self.to_image = v2.ToImage()

    def __call__(self, image: Any, target: Any) -> Any:
        """Return image and target as they are trained on."""
        return self.geometry(self.operation(self.to_image(image)), target)


def collate(samples: list[tuple[torch.Tensor, dict[str, Any]]]) -> tuple[torch.Tensor, list[dict[str, Any]]]:
    """Stack the images, list the targets."""
    return torch.stack([image for image, _ in samples]), [target for _, target in samples]


def begin_worker(worker: int) -> None:
    """Keep a worker to one thread, as ours are."""
    torch.set_num_threads(1)


def side(loader: Any, batches: int) -> Callable[[int], float]:
    def images_per_second(turn: int) -> float:
        start, count = time.perf_counter(), 0
        for batch in loader:
            images = batch["images"] if isinstance(batch, dict) else batch[0]
            if images.shape != (BATCH, 3, SIDE, SIDE) or images.dtype != torch.uint8:
                raise ValueError(f"a batch is {images.dtype} {list(images.shape)}")
            count += 1
        if count != batches:
            raise ValueError(f"{count} batches came, not {batches}")
        return count * BATCH / (time.perf_counter() - start)

    return images_per_second


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield 0, 1, 2 and 4 workers."""
    photographs = make_photographs(settings, 16 if settings.tiny else 64)
    write_files(photographs, settings.folder)
    batches = 2 if settings.tiny else 12
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    for workers in (0, 1) if settings.tiny else (0, 1, 2, 4):
        places = settings.folder, photographs[0].path.parent, batches, workers
        loaders = {OURS: make_ours(*places), "torchvision": make_torchvision(*places)}
        values = interleave({name: side(loader, batches) for name, loader in loaders.items()}, settings.repetitions)
        loaders[OURS].close()
        cores = len(os.sched_getaffinity(0))
        case = f"S4, batches of {BATCH}, 640 x 480 to {SIDE} x {SIDE}, {workers} workers"
        yield Comparison.of(values, case=case, unit="images/s", better="more", note=f"{cores} cores, wall time")
