"""The head of a segmenter: all levels of the pyramid become one map, which is classified (paper.md, section 6)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, cast

from torch import Tensor, nn

from lightning_st.models.activations import ACTIVATIONS
from lightning_st.models.heads.convolutions import normal_convolution

LEVEL = 2
"""The level that all maps are brought to, though the paper's pyramid begins at 3."""

STRIDE: int = 2**LEVEL
"""Pixels a side of a cell of the logits."""

EPSILON = 1e-3
"""Added to the variance in this head; in detectors it is smaller."""


class SegmentationHead(nn.Module):
    """Fuses a pyramid at stride 4 and predicts the class logits of each cell.

    Args:
        class_count: Classes, the background included where the data have one.
        min_level: Of the finest map, at least 2.
        in_width: Channels of the maps.
        width: Channels of the convolutions.
        depth: 3x3 convolutions, each with normalisation and activation, before the 1x1 predictor.
        activation: After each normalisation.
    """

    def __init__(
        self,
        class_count: int,
        min_level: int,
        in_width: int = 256,
        width: int = 256,
        depth: int = 3,
        activation: Literal["relu", "swish"] = "relu",
    ) -> None:
        super().__init__()
        self.enlargement = 2 ** (min_level - LEVEL)
        widths = [in_width] + [width] * depth
        layers: list[nn.Module] = []
        for a, b in pairwise(widths):
            # With bias, as section 6 speaks of zero ones; the published counts are too coarse to tell 768 parameters.
            layers += [normal_convolution(a, b, 3, std=0.01), nn.BatchNorm2d(b, eps=EPSILON), ACTIVATIONS[activation]()]
        self.tower = nn.Sequential(*layers)
        self.predictor = normal_convolution(widths[-1], class_count, 1, std=0.01)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return class logits, floating [B, class_count, H / 4, W / 4] for a canvas of H x W pixels.

        Args:
            maps: Floating [B, in_width, H, W] each, consecutive levels, finest first.
        """
        size = [side * self.enlargement for side in maps[0].shape[-2:]]
        fused = _resize(maps[0], size)
        for x in maps[1:]:
            fused = fused + _resize(x, size)
        return cast(Tensor, self.predictor(self.tower(fused)))


def _resize(x: Tensor, size: list[int]) -> Tensor:
    """Return ``x`` enlarged bilinearly to ``size``, its corners where they are."""
    return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
