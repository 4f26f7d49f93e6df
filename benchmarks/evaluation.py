"""COCO's AP at the size of val2017: this package's metric against pycocotools, faster-coco-eval and torchmetrics.

5000 images with 7.3 objects each of 80 classes, a few much more often than the rest, and 100 detections each, which
are the objects moved, several times each, and others made up. Ours and torchmetrics are given batches of 16 images as
tensors, as an evaluation gives them, and both update and compute count. pycocotools and faster-coco-eval are given the
lists of records that their `loadRes` takes; making these does not count. Every turn of everybody is a process of its
own, so that the peak of its memory is its own, too. All AP are compared with pycocotools'.
"""

import contextlib
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import OURS, Comparison, Settings, optional
from benchmarks.peak import megabytes_since, reset_peak
from lightning_st.models import CocoMetric

CLASS_COUNT = 80
DETECTIONS = 100
BATCH = 16
NEAR = {"torchmetrics": 1e-3}
"""How far from pycocotools' AP one may be, which takes sides of boxes in float32; 1e-6 for others."""

Images = list[dict[str, np.ndarray]]


def make_images(image_count: int) -> tuple[Images, Images]:
    """Return predictions and targets, the fields of `Prediction` and `Target` as arrays."""
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, CLASS_COUNT + 1)
    share /= share.sum()
    predictions, targets = [], []
    for _ in range(image_count):
        count = min(int(generator.geometric(1 / 8.3)) - 1, 60)
        boxes, labels = random_boxes(generator, count), generator.choice(CLASS_COUNT, count, p=share)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * generator.uniform(0.4, 1, count)
        crowd = generator.random(count) < 0.012
        targets.append({"boxes": boxes, "labels": labels, "crowd": crowd, "areas": areas.astype(np.float32)})

        copies = np.repeat(np.arange(count), generator.integers(0, 5, count))[:DETECTIONS]
        sides = np.tile(boxes[copies, 2:] - boxes[copies, :2], 2)
        moved = boxes[copies] + generator.normal(0, 0.08, (len(copies), 4)) * sides
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])
        made_up = DETECTIONS - len(copies)
        guesses = np.concatenate([labels[copies], generator.choice(generator.choice(CLASS_COUNT, 12), made_up)])
        scores = np.concatenate([generator.beta(2, 2, len(copies)), generator.beta(1, 6, made_up)])
        found = np.concatenate([moved, random_boxes(generator, made_up)]).astype(np.float32)
        predictions.append({"boxes": found, "labels": guesses, "scores": scores.astype(np.float32)})
    return predictions, targets


def random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    """Return boxes in an image of 640 x 480, small ones more often, float32 [N, 4]."""
    sides = np.exp(generator.uniform(1.6, np.log([640, 480]), (count, 2)))
    corners = generator.random((count, 2)) * (np.array([640, 480]) - sides)
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


def records_of(images: Images, is_truth: bool) -> list[dict[str, Any]]:
    """Return boxes as records of a COCO file, or of one of results."""
    fields = {"area": "areas", "iscrowd": "crowd"} if is_truth else {"score": "scores"}
    records = []
    for row, image in enumerate(images):
        corners = image["boxes"].astype(float)
        boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1).tolist()
        columns = [(image[field] * 1).tolist() for field in fields.values()]  # a bool as an integer
        for box, label, *values in zip(boxes, image["labels"].tolist(), *columns, strict=True):
            record = {"image_id": row, "category_id": label, "bbox": box, **dict(zip(fields, values, strict=True))}
            records.append(record | {"id": len(records) + 1} if is_truth else record)
    return records


def batches_of(images: Images) -> list[list[dict[str, torch.Tensor]]]:
    """Return images as batches of tensors."""
    tensors = [{name: torch.from_numpy(value) for name, value in image.items()} for image in images]
    return [tensors[start : start + BATCH] for start in range(0, len(tensors), BATCH)]


def prepare_ours(predictions: Images, targets: Images) -> Callable[[], float]:
    """Return what updates and computes this package's metric."""
    found, truth = batches_of(predictions), batches_of(targets)

    def evaluate() -> float:
        metric = CocoMetric([str(label) for label in range(CLASS_COUNT)])
        for number, (some, of) in enumerate(zip(found, truth, strict=True)):
            metric.update(range(BATCH * number, BATCH * number + len(some)), some, of)
        return metric.compute()["AP"]

    return evaluate


def prepare_torchmetrics(predictions: Images, targets: Images) -> Callable[[], float]:
    """Return what updates and computes torchmetrics' metric, with its faster engine."""
    from torchmetrics.detection import MeanAveragePrecision

    names = {"crowd": "iscrowd", "areas": "area"}
    found = batches_of(predictions)
    truth = batches_of([{names.get(name, name): value for name, value in image.items()} for image in targets])

    def evaluate() -> float:
        metric = MeanAveragePrecision(backend="faster_coco_eval")
        for some, of in zip(found, truth, strict=True):
            metric.update(some, of)
        return float(metric.compute()["map"])

    return evaluate


def prepare_cocoeval(coco: Any, evaluation: Any, predictions: Images, targets: Images) -> Callable[[], float]:
    """Return what evaluates records by pycocotools, or by what has its interface."""
    dataset = {
        "info": {},
        "images": [{"id": row, "width": 640, "height": 480} for row in range(len(targets))],
        "annotations": records_of(targets, is_truth=True),
        "categories": [{"id": label, "name": str(label)} for label in range(CLASS_COUNT)],
    }
    found = records_of(predictions, is_truth=False)

    def evaluate() -> float:
        truth = coco()
        truth.dataset = dataset
        truth.createIndex()
        judge = evaluation(truth, truth.loadRes(found), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        return float(judge.stats[0])

    return evaluate


def prepare(name: str, predictions: Images, targets: Images) -> Callable[[], float]:
    """Return one side's evaluation, which returns AP."""
    if name == OURS:
        return prepare_ours(predictions, targets)
    if name == "torchmetrics":
        return prepare_torchmetrics(predictions, targets)
    if name == "pycocotools":
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return prepare_cocoeval(COCO, COCOeval, predictions, targets)
    from faster_coco_eval import COCO, COCOeval_faster

    return prepare_cocoeval(COCO, COCOeval_faster, predictions, targets)


def take_turn(name: str, image_count: int, queue: Any) -> None:
    """Evaluate a small set for the imports, then the whole: AP, seconds of the processor, and MB that it adds."""
    torch.set_num_threads(1)
    logging.disable(logging.INFO)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        prepare(name, *make_images(2))()
        evaluate = prepare(name, *make_images(image_count))
        before, begun = reset_peak(), time.process_time()
        precision = evaluate()
        seconds = time.process_time() - begun
    queue.put((precision, seconds, megabytes_since(before)))


def measure(settings: Settings) -> Iterator[Comparison]:
    """Yield time and memory."""
    image_count, turns = (20, 1) if settings.tiny else (5000, settings.few_repetitions)
    modules = {"pycocotools": "pycocotools", "faster-coco-eval": "faster_coco_eval", "torchmetrics": "torchmetrics"}
    names = [OURS, *(name for name, module in modules.items() if optional(module) is not None)]
    if "faster-coco-eval" not in names:  # its engine
        names = [name for name in names if name != "torchmetrics"]
    values: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    order = random.Random(0)
    for turn in range(turns):
        for name in order.sample(names, len(names)):
            values[name].append(settings.in_process(take_turn, name, image_count))
            precision, seconds, memory = values[name][-1]
            said = f"turn {turn + 1} of {turns}: {name}, AP {precision:.6f}, {seconds:.1f} s, {memory:.0f} MB"
            print(said, file=sys.stderr, flush=True)
    reference = values.get("pycocotools", values[OURS])[0][0]
    for name, measured in values.items():
        if abs(measured[0][0] - reference) > NEAR.get(name, 1e-6):
            raise RuntimeError(f"{name} says that AP is {measured[0][0]}, and not {reference}")
    case = f"AP of {image_count:,} images, {CLASS_COUNT} classes, {DETECTIONS} detections an image, one thread"
    for place, unit, what in ((1, "s", case), (2, "MB", f"{case}: memory that it adds at its peak")):
        columns = {
            name: [turn[place] for turn in values[name]] if name in values else None for name in (OURS, *modules)
        }
        yield Comparison.of(
            columns,
            case=what,
            unit=unit,
            better="less",
            goals={"pycocotools": 7.0} if unit == "s" else {},
            note=f"{turns} turns, each a process of its own",
        )
