"""From what the head says of each anchor to the detections of each image (paper.md, section 4.6), a batch at once."""

import torch
from torch import Tensor

from lightning_st.models.boxes import clip, decode, has_area
from lightning_st.models.soft_nms import SoftNms, soft_nms
from lightning_st.types import Prediction


def select_detections(
    probabilities: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    canvas: tuple[int, int],
    score_threshold: float,
    nms_iou: float,
    pre_nms_count: int,
    max_detections: int,
    soft: SoftNms | None = None,
) -> list[Prediction]:
    """Return the best detections of each image, best score first.

    Args:
        probabilities: float32 [B, A, C].
        deltas: float32 [B, A, 4], as ``boxes.encode`` returns them.
        anchors: float32 [A, 4], xyxy in pixels.
        canvas: (height, width) in pixels that boxes are clipped to.
        score_threshold: Only scores above it are looked at.
        nms_iou: Of two boxes of one class with a larger IoU only the better stays.
        pre_nms_count: The best of each class and image that are compared with each other.
        max_detections: The most that are returned for one image.
        soft: Lower the scores of boxes that overlap a better one, instead of dropping them: see ``SoftNms``.
    """
    batch_size, _, class_count = probabilities.shape
    image, anchor, label = torch.nonzero(probabilities > score_threshold, as_tuple=True)
    score = probabilities[image, anchor, label]
    group = image * class_count + label
    best = best_of_groups(score, group, pre_nms_count)
    box = clip(decode(deltas[image[best], anchor[best]], anchors[anchor[best]]), *canvas)
    valid = has_area(box)
    best, box = best[valid], box[valid]
    if soft is None:
        kept, new_score = _suppress(box, score[best], group[best], nms_iou)
    else:
        kept, new_score = soft_nms(box, score[best], group[best], soft, nms_iou, score_threshold, max_detections)
    best, box = best[kept], box[kept]
    top = best_of_groups(new_score, image[best], max_detections)
    counts = torch.bincount(image[best][top], minlength=batch_size).tolist()
    parts = [torch.split(values, counts) for values in (box[top], label[best][top], new_score[top])]
    return [Prediction(boxes=b, labels=c, scores=s) for b, c, s in zip(*parts, strict=True)]


def _suppress(boxes: Tensor, scores: Tensor, groups: Tensor, nms_iou: float) -> tuple[Tensor, Tensor]:
    """Return which boxes no better one of their group overlaps too much, int64 [S], ascending, and their scores.

    Ascending, so that equal scores stay in a fixed order. The boxes of a group have to stand together.
    """
    # Under autocast torchvision's would go back to float32.
    with torch.autocast(boxes.device.type, enabled=False):
        suppress = _suppress_each if boxes.device.type == "cpu" else _suppress_all
        kept = suppress(boxes.double(), scores.double(), groups, nms_iou).sort().values
    return kept, scores[kept]


def _suppress_each(boxes: Tensor, scores: Tensor, groups: Tensor, nms_iou: float) -> Tensor:
    """Return the rows that are kept, a group at a time: a call costs less than to search all groups for each."""
    from torchvision.ops import nms  # takes longer to import than all the rest of this room

    counts = torch.unique_consecutive(groups, return_counts=True)[1]
    starts = (counts.cumsum(0) - counts).tolist()
    of_groups = (torch.split(values, counts.tolist()) for values in (boxes, scores))
    kept = [nms(part, score, nms_iou) + start for part, score, start in zip(*of_groups, starts, strict=True)]
    return torch.cat(kept) if kept else groups


def _suppress_all(boxes: Tensor, scores: Tensor, groups: Tensor, nms_iou: float) -> Tensor:
    """Return the rows that are kept, as torchvision does groups on a GPU: at once, up to many thousand boxes.

    In float64, since it moves the groups apart by adding offsets of up to B * C canvases to the coordinates.
    """
    from torchvision.ops import batched_nms

    kept: Tensor = batched_nms(boxes, scores, groups, nms_iou)
    return kept


def restore_detections(predictions: list[Prediction], scales: Tensor, sizes: Tensor) -> list[Prediction]:
    """Return ``predictions`` in pixels of the original images, clipped to them, boxes without area left out.

    Args:
        predictions: One for each image.
        scales: float32 [B, 2], (x, y): pixels of the input for each pixel of the original.
        sizes: int64 [B, 2], (height, width) of the originals.
    """
    restored = []
    for prediction, scale, (height, width) in zip(predictions, scales, sizes.tolist(), strict=True):
        boxes = clip(prediction["boxes"] / scale.to(prediction["boxes"]).repeat(2), height, width)
        kept = has_area(boxes)
        labels, scores = prediction["labels"][kept], prediction["scores"][kept]
        restored.append(Prediction(boxes=boxes[kept], labels=labels, scores=scores))
    return restored


def best_of_groups(scores: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return the rows of the ``count`` best scores of each group, ordered by group, then score, then row.

    Args:
        scores: floating [N].
        groups: int64 [N].
        count: The most rows of one group that are returned.

    Example:
        >>> best_of_groups(torch.tensor([0.1, 0.9, 0.5, 0.7]), torch.tensor([0, 1, 0, 0]), count=2)
        tensor([3, 2, 1])
    """
    order = scores.argsort(descending=True, stable=True)
    order = order[groups[order].argsort(stable=True)]
    sorted_groups = groups[order].contiguous()
    rank = torch.arange(order.shape[0], device=order.device) - torch.searchsorted(sorted_groups, sorted_groups)
    return order[rank < count]
