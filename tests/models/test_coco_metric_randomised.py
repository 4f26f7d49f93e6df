"""Our COCO numbers against pycocotools itself: all twelve, and AP of each class, on what evaluators stumble over."""

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from random_detections import EDGES, TWELVE, by_pycocotools, random_images

from lightning_st.models import CocoMetric

SEEDS_EACH = 25
IMAGES = (1, 2, 21, 60)
CLASSES = (1, 2, 5)


def case(seed: int) -> tuple[list[int], list[Any], list[Any], int]:
    class_count = CLASSES[seed % len(CLASSES)]
    # Large sets take most of the time, and small ones have the odd cases.
    image_count = IMAGES[seed % len(IMAGES)] if seed % 2 else IMAGES[seed % 3]
    return *random_images(seed, image_count, class_count), class_count


def metric_of(
    rows: list[int], predictions: list[Any], targets: list[Any], class_count: int, most: int = 100
) -> CocoMetric:
    metric = CocoMetric([str(label) for label in range(class_count)], most)
    metric.update(rows, predictions, targets)
    return metric


def all_numbers(rows: list[int], predictions: list[Any], targets: list[Any], class_count: int) -> dict[str, float]:
    """Return what pycocotools reports; the numbers that the metric has no name for are in the same arrays."""
    metric = metric_of(rows, predictions, targets, class_count)
    reported = metric.compute()
    names = {"AP_small": "APs", "AP_medium": "APm", "AP_large": "APl", "AR": "AR100"}
    numbers = {names.get(name, name): value for name, value in reported.items()}
    for most in (1, 10):
        numbers[f"AR{most}"] = metric_of(rows, predictions, targets, class_count, most).compute()["AR"]
    recall = metric._evaluate()[1]
    for place, letter in enumerate("sml", 1):
        defined = recall[..., place][recall[..., place] > -1]
        numbers[f"AR{letter}"] = float(defined.mean()) if defined.size else math.nan
    return numbers


@pytest.mark.parametrize("part", range(16))
def test_four_hundred_random_sets(part):
    for seed in range(SEEDS_EACH * part, SEEDS_EACH * (part + 1)):
        rows, predictions, targets, class_count = case(seed)
        expected = by_pycocotools(rows, predictions, targets, class_count)
        found = all_numbers(rows, predictions, targets, class_count)
        assert found.keys() == expected.keys() == {*TWELVE, *(f"AP/{label}" for label in range(class_count))}
        assert found == pytest.approx(expected, rel=0, abs=1e-6, nan_ok=True), f"seed {seed}"


def test_the_random_sets_hold_what_they_are_made_for():
    """Or the test above would say less than it seems to."""
    found = dict.fromkeys(
        ("crowd", "edge", "many", "ties", "no objects", "no detections", "no area", "same box", "class without objects",
         "class without detections", "nan", "moved edge", "one class"), 0,
    )  # fmt: skip
    for seed in range(60):
        _, predictions, targets, class_count = case(seed)
        objects, detections = set(), set()
        for prediction, target in zip(predictions, targets, strict=True):
            areas, boxes = target["areas"].tolist(), prediction["boxes"]
            objects |= set(target["labels"].tolist())
            detections |= set(prediction["labels"].tolist())
            found["crowd"] += bool(target["crowd"].any())
            found["edge"] += any(area == edge**2 for area in areas for edge in EDGES)
            found["moved edge"] += any(0 < abs(area - edge**2) < 0.01 for area in areas for edge in EDGES)
            found["many"] += len(boxes) > 100
            found["ties"] += len(prediction["scores"].unique()) < len(prediction["scores"])
            found["no objects"] += not areas
            found["no detections"] += not len(boxes)
            found["no area"] += bool(((boxes[:, 2:] - boxes[:, :2]).prod(1) == 0).any())
            found["same box"] += len(boxes.unique(dim=0)) < len(boxes)
        found["class without objects"] += len(objects) < class_count
        found["class without detections"] += len(detections) < class_count
        found["one class"] += class_count == 1
        found["nan"] += not objects
    assert all(found.values()), found


@pytest.mark.parametrize("left", ["nothing", "objects", "detections"])
def test_nothing_to_find_and_nothing_found(left):
    """Where pycocotools says -1 there is nothing to say: NaN."""
    rows, predictions, targets = random_images(7, 5, 2)
    empty = {"objects": (True, False), "detections": (False, True), "nothing": (True, True)}[left]
    for is_empty, images in zip(empty, (predictions, targets), strict=True):
        for image in images if is_empty else []:
            image.update({name: value[:0] for name, value in image.items()})
    expected = by_pycocotools(rows, predictions, targets, 2)
    found = all_numbers(rows, predictions, targets, 2)
    assert found == pytest.approx(expected, rel=0, abs=1e-6, nan_ok=True)
    if left == "objects":
        assert found["AP"] == found["AR100"] == 0
    else:
        assert all(math.isnan(value) for value in found.values())


def exactly(numbers: dict[str, float]) -> dict[str, str]:
    """Return numbers as text: NaN is the same as NaN, and a last bit counts."""
    return {name: repr(value) for name, value in numbers.items()}


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_the_states_of_any_number_of_ranks_in_any_order_give_equal_numbers(ranks):
    for seed in range(40, 52):
        rows, predictions, targets, class_count = case(seed)
        whole = exactly(metric_of(rows, predictions, targets, class_count).compute())
        states = []
        for rank in range(ranks):
            # As a sampler deals: the last images twice, where they do not go round.
            share = [place % len(rows) for place in range(rank, -(-len(rows) // ranks) * ranks, ranks)]
            part = [[values[place] for place in share] for values in (rows, predictions, targets)]
            states.append(metric_of(*part, class_count).state())
        orders = list(itertools.permutations(range(ranks)))
        for order in [orders[0], orders[-1], orders[seed % len(orders)]]:
            merged = CocoMetric([str(label) for label in range(class_count)])
            merged.merge([states[rank] for rank in order])
            assert exactly(merged.compute()) == whole, f"seed {seed}, ranks {order}"


def read_reference(shared_data, truth: str, results: str):
    """Return a set of the reference as rows, predictions, targets, and the ids of its classes."""
    folder = shared_data / "eval_reference"
    content = json.loads((folder / "annotations" / truth).read_text())
    found = json.loads((folder / "results" / results).read_text())
    ids = [category["id"] for category in content["categories"]]
    rows = [image["id"] for image in content["images"]]
    predictions, targets = [], []
    for row in rows:
        objects = [record for record in content["annotations"] if record["image_id"] == row]
        own = [record for record in found if record["image_id"] == row and record["category_id"] in ids]
        columns = []
        for records in (objects, own):
            boxes = np.array([record["bbox"] for record in records], float).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            columns.append({"boxes": boxes, "labels": np.array([ids.index(r["category_id"]) for r in records], int)})
        columns[0] |= {"crowd": np.array([bool(r.get("iscrowd")) for r in objects], bool),
                       "areas": np.array([r["area"] for r in objects], np.float32)}  # fmt: skip
        columns[1]["scores"] = np.array([record["score"] for record in own], np.float32)
        targets.append({name: _tensor(name, value) for name, value in columns[0].items()})
        predictions.append({name: _tensor(name, value) for name, value in columns[1].items()})
    return rows, predictions, targets, ids


def _tensor(name: str, value: np.ndarray) -> Any:
    import torch

    return torch.tensor(value, dtype=torch.float32) if name == "boxes" else torch.tensor(value)


REFERENCE = {
    "val2014_100": ("instances_val2014_100.json", "instances_val2014_fakebbox100_results.json"),
    "voc100": ("voc100_gt.json", "voc100_dets.json"),
}


@pytest.mark.data
@pytest.mark.parametrize("name", REFERENCE)
def test_the_twelve_published_numbers(shared_data, name):
    """Of boxes; the reference's `segm` numbers are of instance masks, which no model of this package predicts."""
    rows, predictions, targets, ids = read_reference(shared_data, *REFERENCE[name])
    published = json.loads((shared_data / "eval_reference" / "expected.json").read_text())[name]["bbox"]
    found = all_numbers(rows, predictions, targets, len(ids))
    assert {key: found[key] for key in TWELVE} == pytest.approx({key: published[key] for key in TWELVE}, abs=1e-6)
    for label, category in enumerate(ids):
        value = published["AP_per_category"][str(category)]
        assert found[f"AP/{label}"] == pytest.approx(math.nan if value is None else value, abs=1e-6, nan_ok=True)


@pytest.mark.data
def test_an_image_without_detections_counts(shared_data):
    """Who evaluates only images with detections gets another number, which the reference has, too."""
    rows, predictions, targets, ids = read_reference(shared_data, *REFERENCE["val2014_100"])
    record = json.loads((shared_data / "eval_reference" / "expected.json").read_text())
    wrong = record["WRONG_val2014_99_bbox"]
    kept = [place for place, prediction in enumerate(predictions) if len(prediction["boxes"])]
    assert len(kept) == wrong["images"] == len(rows) - 1
    part = [[values[place] for place in kept] for values in (rows, predictions, targets)]
    found = all_numbers(*part, len(ids))
    assert {key: found[key] for key in TWELVE} == pytest.approx({key: wrong[key] for key in TWELVE}, abs=1e-6)
    assert found["AP"] > record["val2014_100"]["bbox"]["AP"] + 0.002
