"""Soft-NMS: boxes that overlap a better one lose score, instead of being dropped.

Bodla et al., Soft-NMS: Improving Object Detection With One Line of Code, ICCV 2017, arXiv 1704.04503.
"""

from typing import Literal

import torch
from torch import Tensor

SoftNms = Literal["gaussian", "linear"]
"""How a score falls with the IoU with a better box of its class: "gaussian", by ``exp(-IoU^2 / SIGMA)``; "linear", by
``1 - IoU`` where that is larger than ``nms_iou``."""

SIGMA = 0.5
"""That of the paper, and of the self-training paper's evaluation (paper.md, section 7)."""


def soft_nms(
    boxes: Tensor, scores: Tensor, groups: Tensor, method: SoftNms, nms_iou: float, lowest: float, most: int
) -> tuple[Tensor, Tensor]:
    """Return which boxes stay, int64 [S], ascending, and their new scores, floating [S].

    In each group the best box is taken, then the scores of those that are left fall by how much they overlap it, and so
    on. All groups take their next box together: as many passes as the largest takes boxes, each over the boxes that are
    left.

    Args:
        boxes: floating [N, 4], xyxy in pixels, each of positive area.
        scores: floating [N], above 0.
        groups: int64 [N]; boxes of different groups do not touch each other.
        method: See ``SoftNms``.
        nms_iou: Of "linear": up to this IoU nothing falls.
        lowest: Boxes whose score has fallen to this, or lower, are dropped.
        most: Boxes of one group that are taken at most.

    Example:
        >>> boxes = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 3.0], [9.0, 9.0, 12.0, 12.0]])
        >>> soft_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.long), "linear", 0.5, 0.05, 100)
        (tensor([0, 1, 2]), tensor([0.9000, 0.2000, 0.7000]))
    """
    group_count = int(groups.max()) + 1 if len(groups) else 0
    left = (scores > lowest).nonzero()[:, 0]
    scores = scores.clone()
    taken: list[Tensor] = []
    for _ in range(most):
        if not len(left):
            break
        best = _first_best(scores[left], groups[left], group_count)  # [G], places in `left`
        taken.append(left[best[best < len(left)]])
        rival = left[best[groups[left]]]
        left, rival = left[left != rival], rival[left != rival]
        scores[left] *= _decay(_iou(boxes[left], boxes[rival]), method, nms_iou)
        left = left[scores[left] > lowest]
    kept = torch.cat([left[:0], *taken]).sort().values
    return kept, scores[kept]


def _first_best(scores: Tensor, groups: Tensor, group_count: int) -> Tensor:
    """Return the first row with the best score of each group, int64 [G]; N of a group that has no row."""
    best = scores.new_zeros(group_count).scatter_reduce(0, groups, scores, "amax")
    rows = torch.arange(len(scores), device=scores.device).masked_fill(scores < best[groups], len(scores))
    return rows.new_full((group_count,), len(scores)).scatter_reduce(0, groups, rows, "amin")


def _iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the IoU of each of ``boxes`` with the one of ``others`` in the same row, floating [N]."""
    low, high = torch.maximum(boxes[:, :2], others[:, :2]), torch.minimum(boxes[:, 2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (others[:, 2:] - others[:, :2]).prod(dim=1)
    return shared / (areas - shared)


def _decay(iou: Tensor, method: SoftNms, nms_iou: float) -> Tensor:
    """Return what scores fall to, as a part of what they were."""
    if method == "gaussian":
        return torch.exp(-(iou**2) / SIGMA)
    return torch.where(iou > nms_iou, 1 - iou, 1.0)
