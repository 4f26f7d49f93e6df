"""The box code: a box as what a network adds to an anchor (paper.md, section 4.2), in the plain convention both ways.

The official code decodes with another convention than it encodes with (sizes of max - min + 1), which moves boxes by up
to a pixel; here decoding is the inverse of encoding.
"""

import math

import torch
from torch import Tensor

MAX_LOG_SCALE = math.log(1000 / 16)
"""A decoded side is at most 62.5 times the anchor's (paper.md, section 4.2): keeps ``exp`` finite."""

MIN_SIDE = 1e-8
"""Sides are taken to be at least this long, in pixels, so that padding rows encode to finite numbers."""


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Return what leads from ``anchors`` to ``boxes``.

    Args:
        boxes: float32 [..., 4], xyxy in pixels.
        anchors: float32 [..., 4], xyxy in pixels, of positive area.

    Returns:
        float32 [..., 4]: shift of the centre in x and y as fractions of the anchor's sides, logarithms of the ratios
        of width and height.

    Example:
        >>> encode(torch.tensor([[4.0, 0.0, 12.0, 4.0]]), torch.tensor([[0.0, 0.0, 8.0, 4.0]])).tolist()
        [[0.5, 0.0, 0.0, 0.0]]
    """
    anchor_sizes = anchors[..., 2:] - anchors[..., :2]
    sizes = (boxes[..., 2:] - boxes[..., :2]).clamp(min=MIN_SIDE)
    offsets = boxes - anchors
    shifts = (offsets[..., :2] + offsets[..., 2:]) / (2 * anchor_sizes)
    return torch.cat([shifts, torch.log(sizes / anchor_sizes)], dim=-1)


def decode(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes that ``deltas`` mean, float32 [..., 4], xyxy in pixels: the inverse of ``encode``.

    Args:
        deltas: float32 [..., 4], as ``encode`` returns them.
        anchors: float32 [..., 4], xyxy in pixels.
    """
    anchor_sizes = anchors[..., 2:] - anchors[..., :2]
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2 + deltas[..., :2] * anchor_sizes
    halves = anchor_sizes * torch.exp(deltas[..., 2:].clamp(max=MAX_LOG_SCALE)) / 2
    return torch.cat([centres - halves, centres + halves], dim=-1)


def clip(boxes: Tensor, height: float | Tensor, width: float | Tensor) -> Tensor:
    """Return ``boxes`` (float32 [..., 4], xyxy) cut at the borders of an image of ``height`` x ``width`` pixels."""
    limits = torch.as_tensor([width, height, width, height], dtype=boxes.dtype, device=boxes.device)
    return torch.minimum(boxes.clamp(min=0), limits)


def has_area(boxes: Tensor) -> Tensor:
    """Return which of ``boxes`` (float32 [..., 4], xyxy) have a positive area, bool [...]."""
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)
