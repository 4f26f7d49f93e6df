"""Decoding against a version that goes class by class (paper.md, section 4.6)."""

import pytest
import torch
from torchvision.ops import nms

from lightning_st.models.anchors import AnchorGrid
from lightning_st.models.boxes import clip, decode, has_area
from lightning_st.models.detections import _suppress_all, _suppress_each, best_of_groups, select_detections

ANCHORS = AnchorGrid(3, 5, 2.0, 1, (1.0,)).boxes(64, 96, torch.device("cpu"))
CANVAS = (60, 90)


def random_outputs(image_count: int = 3, class_count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    probabilities = torch.rand(image_count, len(ANCHORS), class_count, generator=generator) ** 3
    return probabilities, torch.randn(image_count, len(ANCHORS), 4, generator=generator) / 3


def select(probabilities: torch.Tensor, deltas: torch.Tensor, **changes: float) -> list:
    settings = {"score_threshold": 0.05, "nms_iou": 0.5, "pre_nms_count": 5000, "max_detections": 100} | changes
    return select_detections(probabilities, deltas, ANCHORS, CANVAS, **settings)


def select_class_by_class(probabilities, deltas, score_threshold, nms_iou, pre_nms_count, max_detections):
    """The paper's order of operations, for one image."""
    boxes, rows = clip(decode(deltas, ANCHORS), *CANVAS), []
    for label in range(probabilities.shape[1]):
        scores, order = probabilities[:, label].sort(descending=True)
        order = order[:pre_nms_count][scores[:pre_nms_count] > score_threshold]
        order = order[has_area(boxes[order])]
        kept = order[nms(boxes[order], probabilities[order, label], nms_iou)]
        rows += [(probabilities[row, label].item(), label, boxes[row].tolist()) for row in kept[:max_detections]]
    return sorted(rows, reverse=True)[:max_detections]


def test_equals_class_by_class():
    probabilities, deltas = random_outputs()
    for changes in ({}, {"nms_iou": 0.2}, {"pre_nms_count": 7}, {"max_detections": 9}, {"score_threshold": 0.6}):
        settings = {"score_threshold": 0.05, "nms_iou": 0.5, "pre_nms_count": 5000, "max_detections": 100} | changes
        found = select(probabilities, deltas, **changes)
        for number, prediction in enumerate(found):
            expected = select_class_by_class(probabilities[number], deltas[number], **settings)
            assert prediction["scores"].tolist() == [score for score, _, _ in expected]
            assert prediction["labels"].tolist() == [label for _, label, _ in expected]
            assert torch.allclose(prediction["boxes"], torch.tensor([box for _, _, box in expected]))


def test_suppression_of_all_groups_at_once_equals_that_of_each():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(400, 2, generator=generator, dtype=torch.float64) * 60
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(400, 2, generator=generator, dtype=torch.float64)], dim=1)
    scores = torch.rand(400, generator=generator, dtype=torch.float64)
    groups = torch.randint(9, (400,), generator=generator).sort().values * 7
    each, together = (
        suppress(boxes, scores, groups, 0.3).sort().values for suppress in (_suppress_each, _suppress_all)
    )
    assert torch.equal(each, together)
    assert 9 < len(each) < 400


def test_images_do_not_touch_each_other():
    probabilities, deltas = random_outputs()
    together = select(probabilities, deltas)
    for number, prediction in enumerate(together):
        (alone,) = select(probabilities[number : number + 1], deltas[number : number + 1])
        assert all(torch.equal(prediction[key], alone[key]) for key in ("boxes", "labels", "scores"))


def test_nothing_above_the_threshold():
    probabilities, deltas = random_outputs()
    probabilities[1] = 0
    assert [len(p["scores"]) > 0 for p in select(probabilities, deltas)] == [True, False, True]
    for prediction in select(probabilities * 0, deltas):
        assert prediction["boxes"].shape == (0, 4)
        assert prediction["labels"].dtype == torch.int64


def test_boxes_outside_the_canvas_are_left_out():
    probabilities, deltas = random_outputs(image_count=1)
    deltas[..., 0] = 50  # far to the right
    assert len(select(probabilities, deltas)[0]["scores"]) == 0


def test_equal_scores_keep_their_order():
    probabilities = torch.full((1, len(ANCHORS), 2), 0.5)
    (first,) = select(probabilities, torch.zeros(1, len(ANCHORS), 4), max_detections=5)
    # By class, then by anchor; these anchors suppress none of each other.
    assert first["labels"].tolist() == [0, 0, 0, 0, 0]
    assert torch.equal(first["boxes"], clip(ANCHORS[:5], *CANVAS))


@pytest.mark.parametrize("autocast", [False, True])
def test_nms_is_exact_for_the_last_of_many_groups(autocast):
    """Offsets of groups must not eat the precision of coordinates: here the IoUs are 0.5 -+ 1e-4."""
    anchors = torch.tensor([[0.0, 0.0, 64.0, 64.0], [0.0, 0.0, 64.0, 32.006], [0.0, 0.0, 64.0, 31.994]])
    probabilities = torch.zeros(40, 3, 80)
    probabilities[:, 0, 79] = 0.9
    probabilities[:, 1:, 79] = torch.tensor([0.8, 0.7])
    settings = {"score_threshold": 0.05, "nms_iou": 0.5, "pre_nms_count": 5000, "max_detections": 100}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        predictions = select_detections(probabilities, torch.zeros(40, 3, 4), anchors, (64, 64), **settings)
    for prediction in predictions:
        assert prediction["scores"].tolist() == torch.tensor([0.9, 0.7]).tolist()


def test_best_of_groups():
    scores = torch.tensor([0.5, 0.5, 0.9, 0.1, 0.5])
    groups = torch.tensor([3, 1, 3, 3, 3])
    assert best_of_groups(scores, groups, 2).tolist() == [1, 2, 0]
    assert best_of_groups(scores[:0], groups[:0], 2).tolist() == []
