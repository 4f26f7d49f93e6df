"""From the feature maps of a backbone to one vector an image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ImagePooling(nn.Module):
    """Stands where a detector has its neck, and is called like one: averages maps over their places.

    Where all maps are of one width, as SpineNet's are, their averages are averaged: so SpineNet's authors classify
    (Du et al., arXiv 1912.05027, section 3.4, who enlarge the maps before), and so every block learns. Else the
    coarsest map is taken, as classifiers do.

    Args:
        levels: The levels of the backbone's maps, finest first.
        channels: Their channels.
        max_level: Not used: a backbone's maps are taken as they are.
        width: Not used: likewise.

    Attributes:
        width: Channels of the vector.
    """

    def __init__(self, levels: Sequence[int], channels: Sequence[int], max_level: int = 0, width: int = 0) -> None:
        super().__init__()
        self.width = channels[-1]
        self._joins_maps = len(set(channels)) == 1

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the vectors, float32 [B, width]; ``maps`` are floating [B, C, H, W] each, finest first."""
        chosen = maps if self._joins_maps else maps[-1:]
        return torch.stack([x.float().mean(dim=(2, 3)) for x in chosen]).mean(dim=0)
