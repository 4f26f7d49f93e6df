"""Random ground truth and detections with all that evaluators stumble over; and COCO's evaluator on them."""

import contextlib
import io
import math
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

TWELVE = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
"""What pycocotools' `summarize` calls its numbers, in their order."""

EDGES = (32.0, 96.0)
"""Sides of squares whose areas are where COCO's ranges meet."""


def random_images(seed: int, image_count: int, class_count: int) -> tuple[list[int], list[Any], list[Any]]:
    """Return rows in no order, predictions and targets of as many images.

    Among them are images without objects, without detections, and without either; classes with the one and not the
    other; crowd regions, also with smaller ones in them; areas just at, above and below where COCO's ranges meet; equal
    boxes; equal scores, of one image and of several; more than 100 detections of a class in an image; detections
    without area and such outside of everything.
    """
    generator = np.random.default_rng(seed)
    has_objects = generator.random(class_count) < 0.8
    has_detections = generator.random(class_count) < 0.8
    rows = generator.permutation(1000)[:image_count].tolist()
    pairs = [_random_image(generator, class_count, has_objects, has_detections) for _ in rows]
    return rows, [found for found, _ in pairs], [truth for _, truth in pairs]


def _random_image(
    generator: np.random.Generator, class_count: int, has_objects: np.ndarray, has_detections: np.ndarray
) -> tuple[Any, Any]:
    count = 0 if generator.random() < 0.15 else int(generator.integers(1, 9))
    boxes = _random_boxes(generator, count)
    labels = generator.integers(0, class_count, count)
    boxes, labels = boxes[has_objects[labels]], labels[has_objects[labels]]
    count = len(labels)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    # Of a segmentation: smaller than the box; or just at an edge.
    areas = np.where(generator.random(count) < 0.4, areas * generator.uniform(0.4, 1, count), areas)
    at_edge = generator.random(count) < 0.3
    edges = generator.choice(EDGES, count) ** 2
    edges = np.float32(edges + generator.choice([0, 0, 1e-3, -1e-3], count))
    areas = np.where(at_edge, edges, np.float32(areas))
    truth = _target(boxes, labels, generator.random(count) < 0.2, areas)

    copies = np.repeat(np.arange(count), generator.integers(0, 4, count))
    moved = boxes[copies] + generator.normal(0, 1, (len(copies), 4)) * generator.choice(
        [0, 0, 1, 4, 15], (len(copies), 1)
    )
    made_up = _random_boxes(generator, int(generator.integers(0, 6)))
    found = np.concatenate([moved, made_up])
    guesses = np.concatenate([labels[copies], generator.integers(0, class_count, len(made_up))])
    if generator.random() < 0.05 and len(found):  # crowded: more than COCO looks at
        found = np.repeat(found, 130 // len(found) + 1, axis=0) + generator.normal(0, 2, (1, 4))
        guesses = np.repeat(guesses, len(found) // len(guesses))
    if generator.random() < 0.15:
        found, guesses = found[:0], guesses[:0]
    wrong = generator.random(len(guesses)) < 0.1
    guesses = np.where(wrong, generator.integers(0, class_count, len(guesses)), guesses)
    degenerate = generator.random(len(found)) < 0.08
    found[degenerate, 2:] = found[degenerate, :2] + generator.choice([0.0, 3.0], (int(degenerate.sum()), 2))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2])
    kept = has_detections[guesses]
    scores = generator.random(len(found))
    scores = scores.round(1) if generator.random() < 0.6 else scores
    return _prediction(found[kept], guesses[kept], scores[kept]), truth


def _random_boxes(generator: np.random.Generator, count: int) -> np.ndarray:
    """Return boxes of all sizes, some of them squares whose area is where ranges meet, some the same as others."""
    corners = generator.uniform(-20, 300, (count, 2)).round(int(generator.integers(0, 3)))
    sides = np.exp(generator.uniform(1.0, 5.5, (count, 2)))
    is_square = generator.random(count) < 0.3
    sides[is_square] = generator.choice(EDGES, (int(is_square.sum()), 1))
    boxes = np.concatenate([corners, corners + sides], axis=1)
    if count > 1 and generator.random() < 0.3:
        boxes[0] = boxes[1]
    return boxes


def _target(boxes: np.ndarray, labels: np.ndarray, crowd: np.ndarray, areas: np.ndarray) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "crowd": torch.tensor(crowd, dtype=torch.bool),
        "areas": torch.tensor(areas, dtype=torch.float32),
    }


def _prediction(boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
        "scores": torch.tensor(scores, dtype=torch.float32),
    }


def coco_of(rows: list[int], images: list[dict[str, torch.Tensor]], class_count: int) -> COCO:
    """Return predictions or targets as pycocotools holds them."""
    annotations: list[dict[str, Any]] = []
    for row, image in zip(rows, images, strict=True):
        for number, (left, top, right, bottom) in enumerate(image["boxes"].double().tolist()):
            width, height = right - left, bottom - top
            record = {"image_id": row, "category_id": int(image["labels"][number]), "bbox": [left, top, width, height]}
            record |= {"id": len(annotations) + 1, "iscrowd": 0, "area": width * height}
            if "scores" in image:
                record["score"] = float(image["scores"][number])
            else:
                record |= {"iscrowd": int(image["crowd"][number]), "area": float(image["areas"][number])}
            annotations.append(record)
    coco = COCO()
    categories = [{"id": label, "name": str(label)} for label in range(class_count)]
    coco.dataset = {"images": [{"id": row} for row in rows], "categories": categories, "annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def by_pycocotools(rows: list[int], predictions: list[Any], targets: list[Any], class_count: int) -> dict[str, float]:
    """Return pycocotools' twelve numbers, as it computes them itself, and AP of each class; NaN where it says -1."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco_of(rows, targets, class_count), coco_of(rows, predictions, class_count), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = dict(zip(TWELVE, evaluation.stats.tolist(), strict=True))
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    for label in range(class_count):
        own = precision[:, :, label]
        numbers[f"AP/{label}"] = float(own[own > -1].mean()) if (own > -1).any() else -1.0
    return {name: math.nan if value == -1 else value for name, value in numbers.items()}
