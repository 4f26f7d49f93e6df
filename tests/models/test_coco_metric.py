"""The metric against pycocotools."""

import contextlib
import io
import json
import math
import pickle

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_st.models import CocoMetric


def make_target(boxes, labels, crowd=None, areas=None):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "boxes": boxes,
        "labels": torch.as_tensor(labels, dtype=torch.int64),
        "crowd": torch.zeros(len(boxes), dtype=torch.bool) if crowd is None else torch.as_tensor(crowd),
        "areas": (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) if areas is None else torch.as_tensor(areas),
    }


def make_prediction(boxes, labels, scores):
    return {
        "boxes": torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.as_tensor(labels, dtype=torch.int64),
        "scores": torch.as_tensor(scores, dtype=torch.float32),
    }


def random_sets(seed: int, image_count: int = 12, class_count: int = 4):
    """Boxes of all sizes, some crowds; predictions that are those boxes moved, and some made up."""
    generator = np.random.default_rng(seed)
    predictions, targets = [], []
    for _ in range(image_count):
        count = int(generator.integers(0, 9))
        corners = generator.uniform(0, 300, (count, 2))
        boxes = np.concatenate([corners, corners + np.exp(generator.uniform(1.5, 5.5, (count, 2)))], axis=1)
        labels = generator.integers(0, class_count - 1, count)  # the last class has no objects
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) * generator.uniform(0.5, 1, count)
        targets.append(make_target(boxes, labels, generator.random(count) < 0.2, areas.astype(np.float32)))
        copies = np.repeat(np.arange(count), 3)
        moved = boxes[copies] + generator.normal(0, 2, (len(copies), 4))
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 1)
        wrong = generator.integers(0, class_count, len(copies))
        guesses = np.where(generator.random(len(copies)) < 0.8, labels[copies], wrong)
        # Rounded, so that equal scores occur.
        predictions.append(make_prediction(moved, guesses, generator.random(len(copies)).round(1)))
    return predictions, targets


def evaluate_by_pycocotools(predictions, targets, class_count, max_detections=100):
    images = [{"id": row + 1} for row in range(len(targets))]
    categories = [{"id": label + 1, "name": str(label)} for label in range(class_count)]
    truth, found = [], []
    for row, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
        for i, box in enumerate(target["boxes"].double().tolist()):
            record = {"bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]], "image_id": row + 1}
            record |= {"category_id": target["labels"][i].item() + 1, "area": target["areas"][i].item()}
            truth.append(record | {"iscrowd": int(target["crowd"][i]), "id": len(truth) + 1})
        for i, box in enumerate(prediction["boxes"].double().tolist()):
            record = {"bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]], "image_id": row + 1}
            record |= {"category_id": prediction["labels"][i].item() + 1, "score": prediction["scores"][i].item()}
            found.append(record)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {"images": images, "categories": categories, "annotations": truth}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.params.maxDets = [1, 2, max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = evaluation.eval["precision"][..., 2], evaluation.eval["recall"][..., 2]

    def mean(values):
        return values[values > -1].mean() if (values > -1).any() else math.nan

    numbers = {"AP": precision[..., 0], "AP50": precision[0, ..., 0], "AP75": precision[5, ..., 0]}
    numbers |= {f"AP_{name}": precision[..., i] for i, name in enumerate(["small", "medium", "large"], start=1)}
    numbers |= {"AR": recall[..., 0]} | {f"AP/{i}": precision[:, :, i, 0] for i in range(class_count)}
    return {name: mean(values) for name, values in numbers.items()}


@pytest.mark.parametrize("max_detections", [100, 3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_pycocotools(seed, max_detections):
    predictions, targets = random_sets(seed)
    metric = CocoMetric([str(label) for label in range(4)], max_detections)
    metric.update(range(12), predictions, targets)
    expected = evaluate_by_pycocotools(predictions, targets, 4, max_detections)
    assert metric.compute() == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert 0.2 < expected["AP"] < 0.8
    assert math.isnan(expected["AP/3"])


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "truth_file", "results_file"),
    [
        ("val2014_100", "instances_val2014_100.json", "instances_val2014_fakebbox100_results.json"),
        ("voc100", "voc100_gt.json", "voc100_dets.json"),
    ],
)
def test_equals_the_reference_numbers(shared_data, name, truth_file, results_file):
    folder = shared_data / "eval_reference"
    truth = json.loads((folder / "annotations" / truth_file).read_text())
    results = json.loads((folder / "results" / results_file).read_text())
    expected = json.loads((folder / "expected.json").read_text())[name]["bbox"]
    ids = sorted(category["id"] for category in truth["categories"])
    metric = CocoMetric([str(category_id) for category_id in ids])

    def corners(record):
        left, top, width, height = record["bbox"]
        return [left, top, left + width, top + height]

    for image in truth["images"]:
        objects = [record for record in truth["annotations"] if record["image_id"] == image["id"]]
        found = [r for r in results if r["image_id"] == image["id"] and r["category_id"] in ids]
        prediction = make_prediction(
            [corners(r) for r in found], [ids.index(r["category_id"]) for r in found], [r["score"] for r in found]
        )
        target = make_target(
            [corners(r) for r in objects],
            [ids.index(r["category_id"]) for r in objects],
            [bool(r.get("iscrowd", 0)) for r in objects],
            [float(r["area"]) for r in objects],
        )
        metric.update([image["id"]], [prediction], [target])
    numbers = metric.compute()
    theirs = {"AP_small": "APs", "AP_medium": "APm", "AP_large": "APl", "AR": "AR100"}
    for key in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR"):
        assert numbers[key] == pytest.approx(expected[theirs.get(key, key)], abs=1e-6), key
    for category_id, value in expected["AP_per_category"].items():
        assert numbers[f"AP/{category_id}"] == pytest.approx(
            math.nan if value is None else value, abs=1e-6, nan_ok=True
        )


NOTHING = make_prediction([], [], [])
BOX = [10.0, 10.0, 50.0, 60.0]


def test_perfect_predictions():
    metric = CocoMetric(["cat", "dog"])
    targets = [make_target([BOX, [80, 80, 90, 95]], [0, 1]), make_target([BOX], [1])]
    metric.update(
        [4, 9], [make_prediction(t["boxes"], t["labels"], torch.ones(len(t["labels"]))) for t in targets], targets
    )
    numbers = metric.compute()
    assert numbers["AP"] == numbers["AP/cat"] == numbers["AP/dog"] == pytest.approx(1)
    assert math.isnan(numbers["AP_large"])
    assert metric.primary in numbers


def test_wrong_class_is_no_hit():
    metric = CocoMetric(["cat", "dog"])
    metric.update([0], [make_prediction([BOX], [1], [0.9])], [make_target([BOX], [0])])
    assert metric.compute()["AP"] == 0


def test_an_image_with_objects_and_no_predictions_counts():
    metric = CocoMetric(["cat"])
    metric.update([0, 1], [make_prediction([BOX], [0], [0.9]), NOTHING], [make_target([BOX], [0])] * 2)
    assert metric.compute()["AR"] == pytest.approx(0.5)


def test_no_predictions_at_all():
    metric = CocoMetric(["cat", "dog"])
    metric.update([0], [NOTHING], [make_target([BOX], [0])])
    numbers = metric.compute()
    assert numbers["AP"] == numbers["AR"] == 0
    assert math.isnan(numbers["AP/dog"])


@pytest.mark.parametrize("prediction", [NOTHING, make_prediction([BOX], [0], [0.9])], ids=["nothing", "a box"])
def test_nothing_to_find(prediction):
    metric = CocoMetric(["cat"])
    metric.update([0], [prediction], [make_target([], [])])
    assert all(math.isnan(value) for value in metric.compute().values())


def test_no_images():
    assert all(math.isnan(value) for value in CocoMetric(["cat"]).compute().values())


def test_a_detection_in_a_crowd_is_neither_right_nor_wrong():
    metric = CocoMetric(["cat"])
    target = make_target([[100.0, 100.0, 300.0, 300.0], BOX], [0, 0], crowd=[True, False])
    metric.update([0], [make_prediction([[120, 120, 140, 140], BOX], [0, 0], [0.9, 0.8])], [target])
    assert metric.compute()["AP"] == pytest.approx(1)


def test_shards_of_ranks_merge_to_the_whole():
    predictions, targets = random_sets(3)
    whole = CocoMetric([str(label) for label in range(4)])
    whole.update(range(12), predictions, targets)
    states = []
    for rows in (range(7), range(7, 12), range(5, 9)):  # of different lengths, and two images twice
        shard = CocoMetric(whole.classes)
        shard.update(rows, [predictions[row] for row in rows], [targets[row] for row in rows])
        states.append(pickle.loads(pickle.dumps(shard.state())))
    merged = CocoMetric(whole.classes)
    merged.update([99], [NOTHING], [targets[0]])
    merged.merge(states)
    assert merged.compute() == pytest.approx(whole.compute(), abs=1e-12, nan_ok=True)
    merged.reset()
    assert merged.state() == {}


def test_half_precision_predictions_are_taken():
    metric = CocoMetric(["cat"])
    prediction = {"boxes": torch.tensor([BOX]).bfloat16(), "labels": torch.tensor([0]), "scores": torch.ones(1).half()}
    metric.update([0], [prediction], [make_target([BOX], [0])])
    assert metric.compute()["AP"] == pytest.approx(1)
