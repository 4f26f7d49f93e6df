"""VOC's average precision: by hand, against the devkit's rules written out, and where COCO's AP50 has to agree."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from test_coco_metric import NOTHING, make_prediction, make_target, random_sets

from lightning_st.errors import ConfigError
from lightning_st.models import RetinaNet, VocMetric, voc_metric

BOX, FAR = [10.0, 10.0, 50.0, 60.0], [100.0, 100.0, 140.0, 150.0]


def moved(box, x: float = 1.0):
    return [box[0] + x, box[1], box[2] + x, box[3]]


def judge(predictions, targets, classes=("cat",), **options) -> dict[str, float]:
    metric = VocMetric(classes, **options)
    metric.update(range(len(targets)), predictions, targets)
    return metric.compute()


def score(boxes, scores, target, **options) -> float:
    return judge([make_prediction(boxes, [0] * len(boxes), scores)], [target], **options)["mAP"]


def test_the_best_of_two_detections_of_an_object_is_right():
    target = make_target([BOX, FAR], [0, 0])
    # Right at recall 0.5, wrong, right at recall 1 with precision 2/3.
    boxes, scores = [BOX, moved(BOX), FAR], [0.9, 0.8, 0.7]
    assert score(boxes, scores, target) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert score(boxes, scores, target, eleven_points=True) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    # The better overlap does not matter, the score does: here the first is right, too.
    assert score([moved(BOX), BOX, FAR], scores, target) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_a_detection_belongs_to_the_object_that_it_overlaps_most():
    """COCO would give the second detection the other object, which it overlaps enough, too."""
    target = make_target([[0.0, 0.0, 100.0, 100.0], [30.0, 0.0, 130.0, 100.0]], [0, 0])
    boxes = [[2.0, 0.0, 102.0, 100.0], [10.0, 0.0, 110.0, 100.0]]
    assert score(boxes, [0.9, 0.8], target) == pytest.approx(0.5)


@pytest.mark.parametrize(("iou", "expected"), [(0.5, 1.0), (0.51, 0.0)])
def test_half_is_enough(iou, expected):
    assert score([[0.0, 0.0, 10.0, 20.0]], [0.9], make_target([[0.0, 0.0, 20.0, 20.0]], [0]), iou=iou) == expected


def test_difficult_objects_count_for_nothing():
    target = make_target([BOX, FAR], [0, 0], crowd=[True, False])
    assert score([FAR], [0.5], target) == 1  # it need not be found
    assert score([BOX, moved(BOX), FAR], [0.9, 0.8, 0.7], target) == 1  # and may be, more than once
    assert score([moved(FAR, 300), FAR], [0.9, 0.5], target) == 0.5  # what is nowhere is wrong
    numbers = judge([make_prediction([BOX], [0], [0.9])], [make_target([BOX], [0], crowd=[True])])
    assert math.isnan(numbers["mAP"])


def test_a_detection_between_a_difficult_and_another_object_belongs_to_the_nearer():
    target = make_target([[0.0, 0.0, 100.0, 100.0], [30.0, 0.0, 130.0, 100.0]], [0, 0], crowd=[True, False])
    assert score([[10.0, 0.0, 110.0, 100.0]], [0.9], target) == 0
    assert score([[20.0, 0.0, 120.0, 100.0]], [0.9], target) == 1


def test_classes():
    targets = [make_target([BOX, FAR], [0, 1]), make_target([], [])]
    predictions = [make_prediction([BOX, FAR], [0, 0], [0.9, 0.8]), make_prediction([BOX], [2], [0.9])]
    numbers = judge(predictions, targets, classes=("cat", "dog", "cow"))
    assert numbers == pytest.approx({"mAP": 0.5, "AP/cat": 1, "AP/dog": 0, "AP/cow": math.nan}, nan_ok=True)


def test_eleven_points_count_a_recall_that_is_just_reached():
    """0.1 * 3 is more than 0.3 in floating point."""
    boxes = [[i * 100.0, 0.0, i * 100.0 + 50, 50.0] for i in range(10)]
    target = make_target(boxes, [0] * 10)
    for count in range(11):
        found = score(boxes[:count], [0.9] * count, target, eleven_points=True)
        assert found == pytest.approx((count + 1) / 11 if count else 0)


@pytest.mark.parametrize("eleven_points", [False, True])
def test_nothing(eleven_points):
    assert all(math.isnan(value) for value in VocMetric(["cat"], eleven_points).compute().values())
    assert judge([NOTHING], [make_target([BOX], [0])], eleven_points=eleven_points)["mAP"] == 0
    assert math.isnan(judge([make_prediction([BOX], [0], [1.0])], [make_target([], [])])["mAP"])


def devkit_overlap(box, other) -> float:
    """The IoU of boxes that hold their last pixel, of ours that end behind it."""
    (left, top, right, bottom), (x1, y1, x2, y2) = (
        (each.double() - torch.tensor([0, 0, 1, 1])).tolist() for each in (box, other)
    )
    width = min(right, x2) - max(left, x1) + 1
    height = min(bottom, y2) - max(top, y1) + 1
    areas = (right - left + 1) * (bottom - top + 1) + (x2 - x1 + 1) * (y2 - y1 + 1)
    return width * height / (areas - width * height) if width > 0 and height > 0 else -math.inf


def devkit(predictions, targets, label, eleven_points):
    """The devkit's rules, one detection after the other."""
    found = [(float(p["scores"][i]), row, i) for row, p in enumerate(predictions) for i in range(len(p["scores"]))]
    found = [entry for entry in found if predictions[entry[1]]["labels"][entry[2]] == label]
    wanted = sum(int(((t["labels"] == label) & ~t["crowd"]).sum()) for t in targets)
    hits, misses, taken, curve = 0, 0, set(), []
    for _, row, i in sorted(found, key=lambda entry: -entry[0]):
        best, place = -math.inf, None
        for k in (targets[row]["labels"] == label).nonzero().flatten().tolist():
            overlap = devkit_overlap(predictions[row]["boxes"][i], targets[row]["boxes"][k])
            if overlap > best:
                best, place = overlap, (row, k)
        if best < 0.5:
            misses += 1
        elif not targets[row]["crowd"][place[1]]:
            hits, misses = (hits, misses + 1) if place in taken else (hits + 1, misses)
            taken.add(place)
        curve.append((hits / wanted if wanted else 0.0, hits / (hits + misses) if hits + misses else 0.0))
    if not wanted:
        return math.nan
    if eleven_points:
        return sum(max([p for r, p in curve if r >= t / 10], default=0.0) for t in range(11)) / 11
    total, before = 0.0, 0.0
    for recall in sorted({r for r, _ in curve}):
        total += (recall - before) * max(p for r, p in curve if r >= recall)
        before = recall
    return total


@pytest.mark.parametrize("eleven_points", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_the_devkits_rules(seed, eleven_points):
    predictions, targets = random_sets(seed)
    numbers = judge(predictions, targets, [str(label) for label in range(4)], eleven_points=eleven_points)
    expected = {f"AP/{label}": devkit(predictions, targets, label, eleven_points) for label in range(4)}
    expected["mAP"] = np.nanmean(list(expected.values()))
    assert numbers == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert 0.3 < expected["mAP"] < 0.9


def read_voc100(shared_data, difficult_counts: bool):
    """Real photos of VOC 2012 and what a detector said of them."""
    folder = shared_data / "eval_reference"
    truth = json.loads((folder / "annotations" / "voc100_gt.json").read_text())
    results = json.loads((folder / "results" / "voc100_dets.json").read_text())

    def columns(records):
        boxes = np.array([r["bbox"] for r in records], float).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes, [r["category_id"] - 1 for r in records]

    predictions, targets = [], []
    for image in truth["images"]:
        objects, found = ([r for r in part if r["image_id"] == image["id"]] for part in (truth["annotations"], results))
        predictions.append(make_prediction(*columns(found), [r["score"] for r in found]))
        crowd = [bool(r["difficult"]) and not difficult_counts for r in objects]
        targets.append(make_target(*columns(objects), crowd))
    return predictions, targets, json.loads((folder / "expected.json").read_text())["voc100"]["bbox"]


@pytest.mark.data
@pytest.mark.parametrize("eleven_points", [False, True])
def test_equals_the_devkits_rules_on_real_photos(shared_data, eleven_points):
    predictions, targets, _ = read_voc100(shared_data, difficult_counts=False)
    numbers = judge(predictions, targets, [str(label) for label in range(20)], eleven_points=eleven_points)
    assert numbers["mAP"] == pytest.approx(0.6011 if eleven_points else 0.60755, abs=5e-5)
    for label in range(20):
        expected = devkit(predictions, targets, label, eleven_points)
        assert numbers[f"AP/{label}"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.data
def test_at_cocos_recalls_it_is_cocos_ap50(shared_data, monkeypatch):
    """The matching by itself: here no detection is matched otherwise by COCO, which averages over 101 recalls."""

    def at_101_recalls(recall, precision):
        return np.append(precision, 0)[np.searchsorted(recall, np.linspace(0, 1, 101))].mean()

    predictions, targets, expected = read_voc100(shared_data, difficult_counts=True)
    monkeypatch.setattr(voc_metric, "_area", at_101_recalls)
    numbers = judge(predictions, targets, [str(label) for label in range(20)])
    assert numbers["mAP"] == pytest.approx(expected["AP50"], abs=1e-6)


def test_shards_of_ranks_merge_to_the_whole():
    predictions, targets = random_sets(3)
    whole = VocMetric([str(label) for label in range(4)])
    whole.update(range(12), predictions, targets)
    states = []
    for rows in (range(7, 12), range(7), range(5, 9)):
        shard = VocMetric(whole.classes)
        shard.update(rows, [predictions[row] for row in rows], [targets[row] for row in rows])
        states.append(pickle.loads(pickle.dumps(shard.state())))
    merged = VocMetric(whole.classes)
    merged.merge(states)
    assert merged.compute() == whole.compute() | {"AP/3": pytest.approx(math.nan, nan_ok=True)}


@pytest.mark.parametrize(("evaluator", "primary"), [("coco", "AP"), ("voc", "mAP"), ("voc07", "mAP")])
def test_a_model_is_judged_as_its_config_says(evaluator, primary):
    with torch.device("meta"):
        metric = RetinaNet(["cat"], "resnet10t", evaluator=evaluator).metric()
    assert metric.primary == primary
    boxes, scores = [BOX, moved(BOX), FAR], [0.9, 0.8, 0.7]
    metric.update([0], [make_prediction(boxes, [0] * 3, scores)], [make_target([BOX, FAR], [0, 0])])
    numbers = metric.compute()
    assert {primary, "AP/cat"} <= numbers.keys()
    if primary == "mAP":
        assert numbers["mAP"] == pytest.approx((6 + 5 * 2 / 3) / 11 if evaluator == "voc07" else 5 / 6)


def test_refusals():
    with torch.device("meta"), pytest.raises(ConfigError, match=r"Unknown evaluator 'voc7'\. Did you mean 'voc07'"):
        RetinaNet(["cat"], "resnet10t", evaluator="voc7")
    with pytest.raises(ConfigError, match="iou to be above 0, at most 1, got 0"):
        VocMetric(["cat"], iou=0)
