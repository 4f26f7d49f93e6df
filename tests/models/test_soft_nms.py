"""Soft-NMS against the paper's algorithm, written out box by box."""

import math

import pytest
import torch
from test_detections import random_outputs, select

from lightning_st.models.soft_nms import soft_nms


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def one_by_one(boxes, scores, method, nms_iou, lowest, most):
    """Figure 2 of the paper, for the boxes of one group: (number, score) of those that stay, by number."""
    left, taken = {i: score for i, score in enumerate(scores) if score > lowest}, {}
    while left and len(taken) < most:
        best = max(left, key=lambda i: (left[i], -i))
        taken[best] = left.pop(best)
        for i in left:
            overlap = iou(boxes[i], boxes[best])
            if method == "gaussian":
                left[i] *= math.exp(-(overlap**2) / 0.5)
            elif overlap > nms_iou:
                left[i] *= 1 - overlap
        left = {i: score for i, score in left.items() if score > lowest}
    return taken


def random_boxes(count, seed=0):
    """Boxes that overlap much, and scores on a grid, so that equal ones occur."""
    generator = torch.Generator().manual_seed(seed)
    corners = 20 * torch.rand(count, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 15 * torch.rand(count, 2, generator=generator)], dim=1).double()
    return boxes, (1 + torch.randint(0, 20, (count,), generator=generator)).double() / 21


@pytest.mark.parametrize("method", ["gaussian", "linear"])
@pytest.mark.parametrize(("nms_iou", "lowest", "most"), [(0.5, 0.05, 100), (0.2, 0.3, 100), (0.5, 0.05, 3)])
def test_equals_the_paper_box_by_box(method, nms_iou, lowest, most):
    boxes, scores = random_boxes(120)
    groups = torch.arange(120) % 5 * 3  # groups 0, 3, 6 ..., not in order, others empty
    kept, new_scores = soft_nms(boxes, scores, groups, method, nms_iou, lowest, most)
    expected = {}
    for group in groups.unique():
        rows = (groups == group).nonzero()[:, 0].tolist()
        own = one_by_one(boxes[rows].tolist(), scores[rows].tolist(), method, nms_iou, lowest, most)
        expected |= {rows[i]: score for i, score in own.items()}
    assert kept.tolist() == sorted(expected)
    assert new_scores.tolist() == pytest.approx([expected[i] for i in kept.tolist()])


@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_no_boxes(method):
    nothing = torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long)
    assert [len(part) for part in soft_nms(*nothing, method, 0.5, 0.05, 100)] == [0, 0]


def test_given_scores_are_not_written_to():
    boxes, scores = random_boxes(20)
    before = scores.clone()
    soft_nms(boxes, scores, torch.zeros(20, dtype=torch.long), "gaussian", 0.5, 0.05, 100)
    assert torch.equal(scores, before)


@pytest.mark.parametrize("method", ["gaussian", "linear"])
def test_detections_are_the_best_by_their_new_scores(method):
    probabilities, deltas = random_outputs()
    hard, soft = select(probabilities, deltas), select(probabilities, deltas, soft=method, max_detections=1000)
    few = select(probabilities, deltas, soft=method, max_detections=10)
    for one, other, first in zip(hard, soft, few, strict=True):
        assert len(other["scores"]) > len(one["scores"])
        assert (other["scores"].diff() <= 0).all()
        assert (other["scores"] > 0.05).all()
        assert torch.equal(other["scores"][0], one["scores"][0])  # nothing is above the best
        assert torch.equal(first["boxes"], other["boxes"][:10])
        assert torch.equal(first["scores"], other["scores"][:10])
