"""A segmenter as one function of uint8 images, of fixed shapes but for the number of images."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lightning_st.models.heads.segmentation_head import STRIDE
from lightning_st.models.masks import cells_within
from lightning_st.models.resampling import taps_at

MASK_OUTPUTS = ("masks", "confidences", "scores")


class DeployedSegmenter(nn.Module):
    """Computes what ``SemanticSegmenter.predict`` computes, and the masks at the size of the images.

    Args:
        task: A ``SemanticSegmenter``, in evaluation mode.
        image_size: (height, width) of the images in pixels.
    """

    def __init__(self, task: Any, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.task, self.image_size = task, image_size

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the most probable class of each pixel.

        Args:
            images: uint8 [B, 3, H, W], RGB.

        Returns:
            "masks": uint8 [B, H, W], class indices; "confidences": float32 [B, H, W], their probabilities; "scores":
            float32 [B, C, H / 4, W / 4], sides rounded up, logarithms of the probabilities of all classes in cells of 4
            x 4 pixels, for ``restore_masks``, which makes masks of other sizes of them.
        """
        cells = [math.ceil(side / STRIDE) for side in self.image_size]
        scores = self.task(images).float()[..., : cells[0], : cells[1]].log_softmax(dim=1)
        sampled = scores
        for dim, side in zip((-2, -1), self.image_size, strict=True):
            sampled = taps_at(side, 1 / STRIDE, cells_within(side), scores.device).sample(sampled, dim)
        best, labels = sampled.max(dim=1)
        # The softmax at its maximum.
        confidences = 1 / (sampled - best.unsqueeze(1)).exp().sum(dim=1)
        return {"masks": labels.to(torch.uint8), "confidences": confidences, "scores": scores}
