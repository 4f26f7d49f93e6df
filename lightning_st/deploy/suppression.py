"""Non-maximum suppression that can be written to a file: the one of ``detections.select_detections``, twice.

``torch.export`` keeps torchvision's operator, on the candidates alone, as training's evaluation does. ONNX has an
operator of its own, which looks at the scores of all anchors; it stands in the graph of PyTorch under a name of ours,
and is translated when the file is written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_st.models.boxes import has_area
from lightning_st.models.detections import best_of_groups


@dataclass(frozen=True)
class Limits:
    """What decides which boxes stay; see ``RetinaNet``."""

    score_threshold: float
    nms_iou: float
    pre_nms_count: int
    max_detections: int


Suppress = Callable[[Tensor, Tensor, Limits], Tensor]
"""Takes boxes, float32 [B, A, 4], clipped; scores, float32 [B, C, A], 0-1; and the limits. Returns which (image, label,
anchor) stay, int64 [M, 3]: ordered by image and label, and where scores are equal by anchor."""


def suppress_with_torchvision(boxes: Tensor, scores: Tensor, limits: Limits) -> Tensor:
    """Return what stays, see ``Suppress``; for eager PyTorch and ``torch.export``."""
    # Here, because it takes longer to import than all the rest; the operator is there from then on.
    import torchvision  # noqa: F401

    image, label, anchor = torch.nonzero(scores > limits.score_threshold, as_tuple=True)
    score = scores[image, label, anchor]
    group = image * scores.shape[1] + label
    best = best_of_groups(score, group, limits.pre_nms_count)
    best = best[has_area(boxes[image[best], anchor[best]])]
    # Groups are moved apart, so that boxes of two of them never overlap; in float64, as the offsets become large.
    apart = group[best].double() * (boxes.max().double() + 1)
    moved = boxes[image[best], anchor[best]].double() + apart.unsqueeze(1)
    kept = torch.ops.torchvision.nms(moved, score[best].double(), limits.nms_iou).sort().values
    return torch.stack([image, label, anchor], dim=1)[best[kept]]


def suppress_with_onnx(boxes: Tensor, scores: Tensor, limits: Limits) -> Tensor:
    """Return what stays, see ``Suppress``; for ONNX."""
    scores = scores.contiguous()  # as what the two branches return has to be
    if limits.pre_nms_count < scores.shape[2]:
        # Few images have so many candidates, and finding the best of all anchors takes longer than all the rest.
        most = (scores > limits.score_threshold).sum(dim=2).max()
        scores = torch.cond(most > limits.pre_nms_count, _only_best(limits.pre_nms_count), torch.clone, (scores,))
    scores = torch.where(has_area(boxes).unsqueeze(1), scores, 0.0)
    suppressed: Tensor = torch.ops.lightning_st.non_max_suppression(
        boxes, scores, limits.max_detections, limits.nms_iou, limits.score_threshold
    )
    return suppressed


def _only_best(count: int) -> Callable[[Tensor], Tensor]:
    """Return what sets all but the ``count`` best scores of each image and class to zero."""

    def only_best(scores: Tensor) -> Tensor:
        values, places = scores.topk(count, dim=2)
        return torch.zeros_like(scores).scatter(2, places, values)

    return only_best


@torch.library.custom_op("lightning_st::non_max_suppression", mutates_args=())
def _non_max_suppression(
    boxes: Tensor, scores: Tensor, max_per_class: int, nms_iou: float, score_threshold: float
) -> Tensor:
    """Stand for ONNX's NonMaxSuppression, whose order is that of ``Suppress``."""
    limits = Limits(score_threshold, nms_iou, scores.shape[2], max_per_class)
    return suppress_with_torchvision(boxes, scores, limits)


@_non_max_suppression.register_fake
def _(boxes: Tensor, scores: Tensor, max_per_class: int, nms_iou: float, score_threshold: float) -> Tensor:
    return boxes.new_empty((torch.library.get_ctx().new_dynamic_size(), 3), dtype=torch.int64)


def onnx_translations() -> dict[Any, Callable[..., Any]]:
    """Return what ``torch.onnx.export`` makes of the operators that it does not know. Needs onnxscript."""
    from onnxscript import opset18 as onnx

    def non_max_suppression(boxes: Any, scores: Any, max_per_class: int, nms_iou: float, score_threshold: float) -> Any:
        most = onnx.Constant(value_int=max_per_class)
        limits = onnx.Constant(value_float=nms_iou), onnx.Constant(value_float=score_threshold)
        return onnx.NonMaxSuppression(boxes, scores, most, *limits)

    def sort(x: Any, *, stable: bool, dim: int = -1, descending: bool = False) -> Any:
        # Of equal values the first comes first, as in a stable sort.
        return onnx.TopK(x, onnx.Shape(x, start=dim, end=dim + 1), axis=dim, largest=int(descending))

    operators = torch.ops.lightning_st.non_max_suppression.default, torch.ops.aten.sort.stable
    return dict(zip(operators, (non_max_suppression, sort), strict=True))
