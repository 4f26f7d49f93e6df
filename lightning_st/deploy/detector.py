"""A detector as one function of uint8 images, of fixed shapes but for the number of images."""

from typing import Any

import torch
from torch import Tensor, nn

from lightning_st.deploy.suppression import Limits, Suppress
from lightning_st.models.boxes import clip, decode

BOX_OUTPUTS = ("boxes", "scores", "labels", "counts")


class DeployedDetector(nn.Module):
    """Computes what ``RetinaNet.predict`` computes, as tensors padded to ``max_detections`` rows.

    Args:
        task: A ``RetinaNet``, in evaluation mode.
        image_size: (height, width) of the images in pixels.
        suppress: What removes the boxes that are found twice.
    """

    anchors: Tensor

    def __init__(self, task: Any, image_size: tuple[int, int], suppress: Suppress) -> None:
        super().__init__()
        self.task, self.image_size, self.suppress = task, image_size, suppress
        self.limits = Limits(task.score_threshold, task.nms_iou, task.pre_nms_count, task.max_detections)
        device = task.normalise.mean.device
        canvas = task.normalise(torch.zeros(1, 3, *image_size, device=device)).shape[-2:]
        self.register_buffer("anchors", task.anchors.boxes(*canvas, device))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the detections of each image, best score first.

        Args:
            images: uint8 [B, 3, H, W], RGB.

        Returns:
            "boxes": float32 [B, K, 4], xyxy in pixels of ``images``; "scores": float32 [B, K], 0-1; "labels": int64 [B,
            K]; "counts": int64 [B], how many of the K = ``max_detections`` rows are detections. In the others boxes and
            scores are 0, and labels -1.
        """
        logits, deltas = self.task(images)
        boxes = clip(decode(deltas.float(), self.anchors), *self.image_size)
        scores = logits.float().sigmoid().transpose(1, 2)
        return self._pad(boxes, scores, self.suppress(boxes, scores, self.limits))

    def _pad(self, boxes: Tensor, scores: Tensor, rows: Tensor) -> dict[str, Tensor]:
        """Return the best of ``rows`` (int64 [M, 3]: image, label, anchor) for each image, and padding."""
        image, label, anchor = rows.unbind(dim=1)
        is_own = image == torch.arange(boxes.shape[0], device=boxes.device).unsqueeze(1)  # [B, M]
        ranked = torch.where(is_own, scores[image, label, anchor], 0.0)
        count = self.limits.max_detections
        # As many more that are nothing, in case there are fewer than that.
        ranked, order = nn.functional.pad(ranked, (0, count)).sort(dim=1, descending=True, stable=True)
        ranked, best = ranked[:, :count], nn.functional.pad(rows, (0, 0, 0, count))[order[:, :count]]
        is_found = ranked > 0
        found = boxes.gather(1, best[..., 2:].expand(-1, -1, 4))
        return {
            "boxes": torch.where(is_found.unsqueeze(-1), found, 0.0),
            "scores": ranked,
            "labels": torch.where(is_found, best[..., 1], -1),
            "counts": is_found.sum(dim=1),
        }
