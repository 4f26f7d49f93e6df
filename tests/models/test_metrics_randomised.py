"""VOC's average precision and the mean IoU against plain programs of the same definitions, on random sets."""

import math

import numpy as np
import pytest
import torch
from random_detections import random_images

from lightning_st.models import MeanIoU, VocMetric

IGNORED = 255


def overlap(box: list[float], other: list[float]) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    area, other_area = ((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
    return width * height / (area + other_area - width * height)


def plain_voc(rows, predictions, targets, label, iou, eleven_points):
    """VOC's AP of one class, one detection after the other."""
    order = sorted(range(len(rows)), key=rows.__getitem__)
    detections, objects = [], {}
    for place in order:
        prediction, target = predictions[place], targets[place]
        own = (target["labels"] == label).nonzero().flatten().tolist()
        objects[place] = [(target["boxes"][k].double().tolist(), bool(target["crowd"][k])) for k in own]
        found = (prediction["labels"] == label).nonzero().flatten().tolist()
        detections += [(float(prediction["scores"][k]), place, prediction["boxes"][k].double().tolist()) for k in found]
    wanted = sum(not difficult for found in objects.values() for _, difficult in found)
    if not wanted:
        return math.nan
    hits = misses = 0
    taken, curve = set(), []
    for _, place, box in sorted(detections, key=lambda detection: -detection[0]):
        overlaps = [overlap(box, other) for other, _ in objects[place]]
        best = max(range(len(overlaps)), key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] < iou:
            misses += 1
        elif objects[place][best][1]:
            continue  # difficult: neither right nor wrong
        elif (place, best) in taken:
            misses += 1
        else:
            taken.add((place, best))
            hits += 1
        curve.append((hits, hits / (hits + misses)))
    if eleven_points:
        return sum(max((p for h, p in curve if 10 * h >= t * wanted), default=0.0) for t in range(11)) / 11
    return sum(max(p for h, p in curve if h >= n) for n in range(1, hits + 1)) / wanted


@pytest.mark.parametrize("eleven_points", [False, True])
@pytest.mark.parametrize("iou", [0.5, 0.75])
def test_voc_on_random_sets(iou, eleven_points):
    for seed in range(75):
        class_count, image_count = (1, 2, 4)[seed % 3], (1, 2, 7, 21)[seed % 4]
        rows, predictions, targets = random_images(seed, image_count, class_count)
        metric = VocMetric([str(label) for label in range(class_count)], eleven_points, iou)
        metric.update(rows, predictions, targets)
        expected = {
            f"AP/{label}": plain_voc(rows, predictions, targets, label, iou, eleven_points)
            for label in range(class_count)
        }
        defined = [value for value in expected.values() if not math.isnan(value)]
        expected["mAP"] = sum(defined) / len(defined) if defined else math.nan
        assert metric.compute() == pytest.approx(expected, rel=0, abs=1e-9, nan_ok=True), f"seed {seed}"


def random_masks(seed: int):
    """Return class count, rows, truths and guesses: also of one pixel, of none that counts, of the most classes."""
    generator = np.random.default_rng(seed)
    class_count = int(generator.choice([1, 2, 5, 21, 255]))
    rows = generator.permutation(100)[: int(generator.integers(1, 9))].tolist()
    truths, guesses = [], []
    for _ in rows:
        size = tuple(generator.integers(1, 33, 2))
        known = generator.permutation(class_count)[: int(generator.integers(1, class_count + 1))]
        truth = generator.choice(known, size)
        guess = np.where(generator.random(size) < 0.5, truth, generator.integers(0, class_count, size))
        truth = np.where(generator.random(size) < generator.choice([0.0, 0.3, 1.0]), IGNORED, truth)
        truths.append(truth.astype(np.uint8))
        guesses.append(guess.astype(np.uint8))
    return class_count, rows, truths, guesses


def plain_iou(class_count, truths, guesses):
    """Count the confusion matrix pixel by pixel."""
    matrix = [[0] * class_count for _ in range(class_count)]
    for truth, guess in zip(truths, guesses, strict=True):
        for true, guessed in zip(truth.ravel().tolist(), guess.ravel().tolist(), strict=True):
            if true != IGNORED:
                matrix[true][guessed] += 1
    rows, columns = [sum(row) for row in matrix], [sum(column) for column in zip(*matrix, strict=True)]
    hits = [matrix[label][label] for label in range(class_count)]
    unions = [row + column - hit for row, column, hit in zip(rows, columns, hits, strict=True)]
    ious = [hit / union if union else math.nan for hit, union in zip(hits, unions, strict=True)]
    recalls = [hit / row for hit, row in zip(hits, rows, strict=True) if row]
    defined = [value for value in ious if not math.isnan(value)]
    return {
        "mIoU": sum(defined) / len(defined) if defined else math.nan,
        "pixel_accuracy": sum(hits) / sum(rows) if sum(rows) else math.nan,
        "mean_accuracy": sum(recalls) / len(recalls) if recalls else math.nan,
        **{f"IoU/{label}": value for label, value in enumerate(ious)},
    }


def masks_metric(class_count, rows, truths, guesses) -> MeanIoU:
    metric = MeanIoU([str(label) for label in range(class_count)])
    predictions = [{"mask": torch.from_numpy(guess), "confidence": torch.ones(guess.shape)} for guess in guesses]
    metric.update(rows, predictions, [{"mask": torch.from_numpy(truth)} for truth in truths])
    return metric


def test_mean_iou_on_random_sets():
    undefined = 0
    for seed in range(120):
        class_count, rows, truths, guesses = random_masks(seed)
        expected = plain_iou(class_count, truths, guesses)
        found = masks_metric(class_count, rows, truths, guesses).compute()
        assert found == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True), f"seed {seed}"
        undefined += math.isnan(expected["mIoU"])
    assert undefined


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_states_of_ranks_in_any_order_give_equal_numbers(ranks):
    """Of VOC's numbers and of the mean IoU; COCO's have a file of their own."""
    for seed in range(12):
        class_count, rows, truths, guesses = random_masks(seed)
        require_equal_shards(ranks, lambda *part, c=class_count: masks_metric(c, *part), rows, truths, guesses)
        require_equal_shards(ranks, voc_metric, *random_images(seed, 9, 3))


def voc_metric(rows, predictions, targets) -> VocMetric:
    metric = VocMetric(["0", "1", "2"])
    metric.update(rows, predictions, targets)
    return metric


def require_equal_shards(ranks, make, *columns) -> None:
    """Deal images to ranks; require the numbers of their states, in two orders, to be those of all, to the last bit."""
    whole = [repr(item) for item in make(*columns).compute().items()]
    states = [make(*(list(column)[rank::ranks] for column in columns)).state() for rank in range(ranks)]
    for order in (states, states[::-1]):
        merged = make(*columns)
        merged.merge(order)
        assert [repr(item) for item in merged.compute().items()] == whole
