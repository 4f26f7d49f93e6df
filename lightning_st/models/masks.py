"""From the class scores of cells to the class of each pixel of the original image (paper.md, section 6)."""

import math
from typing import TypedDict

import torch
from torch import Tensor

from lightning_st.models.blocks import blocks_of
from lightning_st.models.heads.segmentation_head import STRIDE
from lightning_st.models.resampling import taps_at
from lightning_st.types import MaskPrediction


class ScoreMap(TypedDict):
    """What a segmenter believes of the cells of one image, at the size at which it saw it."""

    scores: Tensor
    """float32 [C, h, w], logarithms of probabilities; cell (i, j) covers the ``STRIDE`` pixels a side from
    (STRIDE i, STRIDE j)."""


def cells_within(side: int) -> int:
    """Return how many cells along one axis have their centre within the first ``side`` pixels, at least 1.

    Example:
        >>> [cells_within(side) for side in (1, 4, 6, 7)]
        [1, 1, 1, 2]
    """
    return max(1, math.ceil((side - STRIDE / 2) / STRIDE))


@torch.no_grad()
def restore_masks(score_maps: list[ScoreMap], scales: Tensor, sizes: Tensor) -> list[MaskPrediction]:
    """Return the most probable class of each pixel of the original images, and its probability.

    The scores are a continuous map over the input, which is sampled where the centres of the original's pixels lie. Of
    cells whose centres lie in the padding nothing is used.

    Args:
        score_maps: One for each image.
        scales: float32 [B, 2], (x, y): pixels of the input for each pixel of the original.
        sizes: int64 [B, 2], (height, width) of the originals.
    """
    return [
        _restore(score_map["scores"], scale, size)
        for score_map, scale, size in zip(score_maps, scales.tolist(), sizes.tolist(), strict=True)
    ]


def _restore(scores: Tensor, scale: list[float], size: list[int]) -> MaskPrediction:
    """Return the mask of one image; a block of rows at a time, as all scores of a large one would fill the memory.

    Args:
        scores: floating [C, h, w].
        scale: (x, y).
        size: (height, width).
    """
    height, width = size
    # Channels last: the maximum over them is then four times as fast.
    cells = scores.float().permute(1, 2, 0).contiguous()  # [h, w, C]
    rows, columns = (
        taps_at(side, ratio / STRIDE, min(cell_count, cells_within(round(side * ratio))), cells.device)
        for side, ratio, cell_count in zip(size, reversed(scale), cells.shape[:2], strict=True)
    )
    mask = torch.empty(height, width, dtype=torch.uint8, device=cells.device)
    confidence = torch.empty(height, width, device=cells.device)
    for block in blocks_of(height, width * cells.shape[2], cells.device):
        sampled = columns.sample(rows[block].sample(cells, dim=0), dim=1)  # [rows, width, C]
        best, mask[block] = sampled.max(dim=2)
        confidence[block] = 1 / (sampled - best.unsqueeze(2)).exp_().sum(dim=2)  # the softmax at its maximum
    return MaskPrediction(mask=mask, confidence=confidence)
