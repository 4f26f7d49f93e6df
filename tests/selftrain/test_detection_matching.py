"""Matching of boxes with labels, against pycocotools' own."""

import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lightning_st.errors import StageError
from lightning_st.index import AnnotationIndex, IndexWriter
from lightning_st.selftrain import Matched, match_detections, precision_recall_by_threshold

CLASSES = ("cat", "dog", "cow")


def random_boxes(rng, count):
    corners = rng.uniform(0, 60, (count, 2))
    return np.hstack([corners, corners + rng.uniform(4, 40, (count, 2))]).astype(np.float32)


def random_case(seed, image_count=12):
    """Return truths and predictions of each image: predictions are truths that were moved, and boxes of nothing."""
    rng = np.random.default_rng(seed)
    truths, predictions = [], []
    for _ in range(image_count):
        count = int(rng.integers(0, 6))
        truth = {
            "boxes": random_boxes(rng, count),
            "labels": rng.integers(0, 3, count),
            "crowd": rng.random(count) < 0.25,
        }
        moved = truth["boxes"].repeat(2, 0) + rng.normal(0, 4, (2 * count, 4)).astype(np.float32)
        moved = moved[(moved[:, 2] > moved[:, 0]) & (moved[:, 3] > moved[:, 1])]
        boxes = np.concatenate([moved, random_boxes(rng, int(rng.integers(0, 4)))])
        truths.append(truth)
        scores = rng.random(len(boxes)).astype(np.float32)
        predictions.append({"boxes": boxes, "labels": rng.integers(0, 3, len(boxes)), "scores": scores})
    return truths, predictions


def write_index(path, images, names=None, classes=CLASSES):
    with IndexWriter(path, classes, source={"root": "/images"}) as writer:
        for number, image in enumerate(images):
            writer.add(f"{number}.jpg" if names is None else names[number], 100, 100, **image)
    return AnnotationIndex.open(path)


def coco_matches(truths, predictions):
    """Return (label, score, is_correct) of every box that pycocotools does not ignore, at IoU 0.5."""

    def records(images):
        for number, image in enumerate(images):
            for row, (x0, y0, x1, y1) in enumerate(image["boxes"].tolist()):
                box = {"image_id": number, "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
                yield box | {"category_id": int(image["labels"][row]) + 1, "row": row}, image

    labels = [
        {**box, "id": number, "iscrowd": int(image["crowd"][box["row"]])}
        for number, (box, image) in enumerate(records(truths), 1)
    ]
    found = [{**box, "score": float(image["scores"][box["row"]])} for box, image in records(predictions)]
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": number, "width": 100, "height": 100} for number in range(len(truths))],
        "annotations": labels,
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
    return sorted(
        (record["category_id"] - 1, score, bool(match))
        for record in evaluation.evalImgs
        if record is not None
        for score, match, ignored in zip(record["dtScores"], record["dtMatches"][0], record["dtIgnore"][0], strict=True)
        if not ignored
    )


@pytest.mark.parametrize("seed", range(5))
def test_matching_equals_pycocotools(tmp_path, seed):
    truths, predictions = random_case(seed)
    # In another order: images are found by name.
    names = [f"{number}.jpg" for number in range(len(truths))]
    matched = match_detections(
        write_index(tmp_path / "p.index", predictions[::-1], names[::-1]), write_index(tmp_path / "t.index", truths)
    )
    triples = zip(matched.labels.tolist(), matched.scores.tolist(), matched.is_correct.tolist(), strict=True)
    assert sorted(triples) == coco_matches(truths, predictions)
    assert any(matched.is_correct)
    assert not all(matched.is_correct)
    counts = [sum((t["labels"] == label)[~t["crowd"]].sum() for t in truths) for label in range(3)]
    assert matched.truth_counts.tolist() == counts


def test_classes_are_found_by_name(tmp_path):
    """The labels know the classes in another order, and one of them not at all."""
    boxes = [[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]]
    predictions = write_index(tmp_path / "p.index", [{"boxes": boxes, "labels": [0, 1, 2], "scores": [0.9, 0.8, 0.7]}])
    truth = {"boxes": [*boxes[:2], [70, 70, 80, 80]], "labels": [1, 0, 0]}
    truths = write_index(tmp_path / "t.index", [truth], classes=("dog", "cat"))
    matched = match_detections(predictions, truths)
    assert matched.labels.tolist() == [0, 1, 2]
    assert matched.is_correct.tolist() == [True, True, False]
    assert matched.truth_counts.tolist() == [1, 2, 0]


def test_images_without_boxes_or_labels(tmp_path):
    empty = {"boxes": np.zeros((0, 4)), "labels": [], "scores": []}
    one = {"boxes": [[0, 0, 9, 9]], "labels": [1], "scores": [0.7]}
    predictions = write_index(tmp_path / "p.index", [empty, one, empty])
    truths = write_index(tmp_path / "t.index", [one, empty, empty])
    matched = match_detections(predictions, truths)
    assert matched.is_correct.tolist() == [False]
    assert matched.truth_counts.tolist() == [0, 1, 0]


def test_two_boxes_of_one_object_are_one_right_and_one_wrong(tmp_path):
    truth = {"boxes": [[0, 0, 10, 10]], "labels": [0]}
    twice = {"boxes": [[0, 0, 10, 10], [0, 0, 10, 9]], "labels": [0, 0], "scores": [0.4, 0.8]}
    matched = match_detections(write_index(tmp_path / "p.index", [twice]), write_index(tmp_path / "t.index", [truth]))
    order = np.argsort(matched.scores)
    assert matched.is_correct[order].tolist() == [False, True]


def test_a_right_box_stays_right_within_a_crowd_region(tmp_path):
    truth = {"boxes": [[0, 0, 10, 10], [0, 0, 50, 50]], "labels": [0, 0], "crowd": [False, True]}
    found = {
        "boxes": [[0, 0, 10, 10], [20, 20, 30, 30], [45, 45, 60, 60]],
        "labels": [0] * 3,
        "scores": [0.9, 0.8, 0.7],
    }
    matched = match_detections(write_index(tmp_path / "p.index", [found]), write_index(tmp_path / "t.index", [truth]))
    # The second lies in the crowd: undecidable. The third hardly: wrong.
    assert matched.is_correct.tolist() == [True, False]
    assert matched.truth_counts.tolist() == [1, 0, 0]


def test_images_and_classes_that_do_not_fit_are_refused(tmp_path):
    truths = write_index(tmp_path / "t.index", [{"boxes": [], "labels": []}])
    with pytest.raises(StageError, match=r"other\.jpg: predicted, but not among"):
        match_detections(write_index(tmp_path / "p.index", [{"boxes": [], "labels": []}], ["other.jpg"]), truths)
    predictions = write_index(tmp_path / "c.index", [{"boxes": [], "labels": []}], classes=["cat"])
    with pytest.raises(StageError, match=r"classes cat, the labels also of dog, cow\. Predict with"):
        match_detections(predictions, truths)


def test_precision_and_recall_against_the_threshold():
    matched = Matched(
        np.array([0, 0, 0, 1]),
        np.array([0.9, 0.5, 0.3, 0.95], np.float32),
        np.array([True, False, True, True]),
        np.array([4, 0]),
    )
    curve = precision_recall_by_threshold(matched, [0.25, 0.5, 0.75])
    assert curve.thresholds.tolist() == [[0.25, 0.5, 0.75]] * 2
    assert curve.counts.tolist() == [[3, 2, 1], [1, 1, 1]]
    np.testing.assert_allclose(curve.precision, [[2 / 3, 0.5, 1], [1, 1, 1]])
    np.testing.assert_allclose(curve.recall, [[0.5, 0.25, 0.25], [np.nan] * 3])


def test_each_class_may_have_thresholds_of_its_own():
    matched = Matched(np.array([0, 1]), np.array([0.5, 0.5], np.float32), np.array([True, True]), np.array([1, 1]))
    assert precision_recall_by_threshold(matched, [[0.4], [0.6]]).counts.tolist() == [[1], [0]]
