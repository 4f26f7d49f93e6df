"""Which anchor is to find which box (paper.md, section 4.2), for all images of a batch at once."""

import torch
from torch import Tensor

from lightning_st.models.blocks import blocks_of
from lightning_st.types import BoxKind

CROWD_COVERAGE = 0.5
"""An anchor with at least this fraction of its area inside a crowd region is not taught to be background."""

# Plain numbers: torch.compile takes a comparison of a tensor with an enum member for one of two objects.
OBJECT, CROWD, UNSURE = int(BoxKind.OBJECT), int(BoxKind.CROWD), int(BoxKind.UNSURE)


def match_anchors(
    anchors: Tensor, boxes: Tensor, kinds: Tensor, positive_iou: float = 0.5, negative_iou: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Return the box that each anchor is to find, and the anchors that are to learn nothing.

    An anchor finds the OBJECT that it overlaps most, if their IoU is at least ``positive_iou``. Every OBJECT also
    claims the anchor that overlaps it most, however little; of several claims to one anchor the first box's counts.
    An anchor that finds nothing learns nothing either where its best IoU is at least ``negative_iou``, where an UNSURE
    box would have been its to find by the same rules, or where it lies mostly in a CROWD region.

    Args:
        anchors: float32 [A, 4], xyxy in pixels.
        boxes: float32 [B, M, 4], xyxy in pixels.
        kinds: uint8 [B, M], ``BoxKind``.
        positive_iou: From this IoU on an anchor is to find a box.
        negative_iou: Below this IoU an anchor is background; the paper has no band between the two.

    Returns:
        matched: int64 [B, A], the row of the box in ``boxes``; M where the anchor is to find none.
        ignored: bool [B, A], True for the anchors that are neither to find a box nor background.
    """
    batch_size, box_count = kinds.shape
    matched = kinds.new_full((batch_size, len(anchors)), box_count, dtype=torch.int64)
    ignored = torch.zeros_like(matched, dtype=torch.bool)
    if box_count == 0:
        return matched, ignored
    edges = anchors.T.contiguous()  # [4, A]
    is_object, is_crowd, is_unsure = (
        (kinds == kind).to(boxes.dtype).unsqueeze(-1)  # [B, M, 1], 0 or 1
        for kind in (OBJECT, CROWD, UNSURE)
    )
    best_overlap = boxes.new_zeros(batch_size, box_count)
    best_anchor = torch.zeros_like(kinds, dtype=torch.int64)
    for block in blocks_of(len(anchors), kinds.numel(), boxes.device):
        overlap = _overlaps(edges[:, block], boxes, is_crowd)  # [B, M, a]
        block_overlap, block_anchor = _first_max(overlap, dim=2)
        is_better = block_overlap > best_overlap
        best_anchor = torch.where(is_better, block_anchor + block.start, best_anchor)
        best_overlap = torch.where(is_better, block_overlap, best_overlap)
        in_crowd = (overlap * is_crowd).amax(dim=1) >= CROWD_COVERAGE
        on_unsure = (overlap * is_unsure).amax(dim=1) >= positive_iou
        iou, row = _first_max(overlap.mul_(is_object), dim=1)
        ignored[:, block] = in_crowd | on_unsure | (iou >= negative_iou)
        matched[:, block] = row.masked_fill(iou < positive_iou, box_count)
    # A box that no anchor overlaps claims none.
    claimed = _first_claims(best_anchor, (kinds == OBJECT) & (best_overlap > 0), len(anchors))
    unsure = _first_claims(best_anchor, (kinds == UNSURE) & (best_overlap > 0), len(anchors)) < box_count
    matched = torch.where(claimed < box_count, claimed, matched)
    return matched, (ignored | unsure) & (matched == box_count)


def _overlaps(edges: Tensor, boxes: Tensor, is_crowd: Tensor) -> Tensor:
    """Return the IoU of boxes and anchors (``edges``, [4, a]), [B, M, a]; of crowds the covered part of the anchor."""
    left, top, right, bottom = edges  # [a]
    box_left, box_top, box_right, box_bottom = boxes.unsqueeze(-1).unbind(2)  # [B, M, 1]
    width = torch.minimum(right, box_right).sub_(torch.maximum(left, box_left)).clamp_(min=0)
    height = torch.minimum(bottom, box_bottom).sub_(torch.maximum(top, box_top)).clamp_(min=0)
    intersection = width.mul_(height)
    # The crowd's own area does not count. (Arithmetic: `where` and comparisons are ten times as slow on a CPU.)
    box_areas = (box_right - box_left) * (box_bottom - box_top) * (1 - is_crowd)
    areas = (right - left) * (bottom - top)
    union = (areas + box_areas).sub_(intersection * (1 - is_crowd))
    return intersection.div_(union)


def _first_max(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return the maximum of ``values`` along ``dim``, and the first index that has it, int64.

    What ``values.max(dim)`` returns, in a quarter of its time on a CPU; for values that differ by at least 1e-30, and
    indices up to 2^24.
    """
    best = values.amax(dim, keepdim=True)
    count = values.shape[dim]
    countdown = torch.arange(count, 0, -1, dtype=values.dtype, device=values.device)
    countdown = countdown.view([count if axis == dim else 1 for axis in range(values.ndim)])
    # The countdown where the value is the maximum, far below zero elsewhere.
    highest = torch.add(countdown, values - best, alpha=1e38).amax(dim)
    return best.squeeze(dim), count - highest.long()


def _first_claims(best_anchor: Tensor, makes_claim: Tensor, anchor_count: int) -> Tensor:
    """Return for each anchor the first box that claims it, int64 [B, A]; M where none does."""
    batch_size, box_count = best_anchor.shape
    rows = torch.arange(box_count, device=best_anchor.device).expand(batch_size, -1)
    # One more column takes the rows that make no claim.
    columns = best_anchor.masked_fill(~makes_claim, anchor_count)
    first = best_anchor.new_full((batch_size, anchor_count + 1), box_count)
    return first.scatter_reduce(1, columns, rows, reduce="amin")[:, :-1]
