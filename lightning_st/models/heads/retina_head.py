"""The head of RetinaNet: a class tower and a box tower, shared by all levels (paper.md, section 4.3)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn

from lightning_st.models.activations import ACTIVATIONS
from lightning_st.models.heads.convolutions import normal_convolution
from lightning_st.models.normalization import EPSILON

PRIOR_PROBABILITY = 0.01
"""What a fresh head believes of each class at each anchor, so that the many negatives do not swamp the first steps."""


class RetinaHead(nn.Module):
    """Predicts class logits and box deltas for each anchor of each level.

    Args:
        class_count: Classes; there is no background class.
        anchors_per_location: Anchors at each location of each map.
        level_count: How many maps there are; convolutions are shared between them, batch normalisation is not.
        in_width: Channels of the maps.
        width: Channels of the towers.
        depth: 3x3 convolutions in each tower, before the predictor.
        activation: After each convolution and normalisation of the towers.
        separable: Depthwise 3x3 and pointwise 1x1 convolutions instead of full ones, in towers and predictors: an
            eighth of the weights at a width of 256. The paper's detectors have full ones.
    """

    def __init__(
        self,
        class_count: int,
        anchors_per_location: int,
        level_count: int,
        in_width: int = 256,
        width: int = 256,
        depth: int = 4,
        activation: Literal["relu", "swish"] = "relu",
        separable: bool = False,
    ) -> None:
        super().__init__()
        self.class_count = class_count
        self.class_tower = _Tower(level_count, in_width, width, depth, activation, separable)
        self.box_tower = _Tower(level_count, in_width, width, depth, activation, separable)
        predictor_width = width if depth else in_width
        prior = -math.log((1 - PRIOR_PROBABILITY) / PRIOR_PROBABILITY)
        self.class_predictor = normal_convolution(
            predictor_width, anchors_per_location * class_count, 3, std=1e-5, separable=separable, bias=prior
        )
        self.box_predictor = normal_convolution(
            predictor_width, anchors_per_location * 4, 3, std=1e-5, separable=separable
        )

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what is predicted of each anchor, in the order of ``AnchorGrid``.

        Args:
            maps: Floating [B, in_width, H, W] each, finest first.

        Returns:
            Class logits, floating [B, A, C], and box deltas, floating [B, A, 4] (see ``boxes.encode``).
        """
        logits, deltas = [], []
        for level, x in enumerate(maps):
            logits.append(_by_anchor(self.class_predictor(self.class_tower(x, level)), self.class_count))
            deltas.append(_by_anchor(self.box_predictor(self.box_tower(x, level)), 4))
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)


class _Tower(nn.Module):
    """``depth`` times convolution, normalisation of the level, activation."""

    def __init__(
        self, level_count: int, in_width: int, width: int, depth: int, activation: str, separable: bool
    ) -> None:
        super().__init__()
        widths = [in_width] + [width] * depth
        self.convolutions = nn.ModuleList(
            normal_convolution(a, b, 3, std=0.01, separable=separable) for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.BatchNorm2d(width, eps=EPSILON) for _ in range(depth)) for _ in range(level_count)
        )
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor, level: int) -> Tensor:
        """Return the tower's map of the map ``x`` of the level with this number."""
        for convolve, normalise in zip(self.convolutions, cast(nn.ModuleList, self.norms[level]), strict=True):
            x = self.activation(normalise(convolve(x)))
        return x


def _by_anchor(x: Tensor, count: int) -> Tensor:
    """Return a map [B, K * count, H, W] as [B, H * W * K, count]."""
    anchor_count = x.shape[1:].numel() // count  # not -1, which cannot be told where there are no images
    return x.permute(0, 2, 3, 1).reshape(x.shape[0], anchor_count, count)
