"""The feature pyramid network, with batch normalisation a level (paper.md, section 5.3)."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_st.models.normalization import EPSILON


class FPN(nn.Module):
    """Feature pyramid: coarse maps are added to finer ones, further coarse levels are made by strided convolutions.

    Args:
        levels: The levels of the backbone's maps, consecutive, finest first.
        channels: Their channels.
        max_level: The coarsest level to return.
        width: Channels of every returned map.

    Attributes:
        size_divisor: What the sides of images have to be multiples of, pixels: of the stride of the coarsest map that
            is added to another. The further ones round up, and then reach beyond the canvas.
    """

    def __init__(self, levels: Sequence[int], channels: Sequence[int], max_level: int, width: int = 256) -> None:
        super().__init__()
        self.width, self.size_divisor = width, 2 ** levels[-1]
        self.lateral = nn.ModuleList(nn.Conv2d(count, width, 1) for count in channels)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.extra = nn.ModuleList(
            nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(levels[-1], max_level)
        )
        self.norm = nn.ModuleList(nn.BatchNorm2d(width, eps=EPSILON) for _ in range(levels[0], max_level + 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the pyramid.

        Args:
            features: Floating [B, C, H, W] each, of the backbone's levels.

        Returns:
            Floating [B, width, H, W] each, from the backbone's finest level to ``max_level``, without activation.
        """
        laterals = [convolve(x) for convolve, x in zip(self.lateral, features, strict=True)]
        for finer in reversed(range(len(laterals) - 1)):
            upsampled = nn.functional.interpolate(laterals[finer + 1], size=laterals[finer].shape[-2:], mode="nearest")
            laterals[finer] = laterals[finer] + upsampled
        pyramid = [convolve(x) for convolve, x in zip(self.output, laterals, strict=True)]
        for number, convolve in enumerate(self.extra):
            # P6 is made of P5 as it is, P7 of P6 after an activation.
            pyramid.append(convolve(pyramid[-1] if number == 0 else nn.functional.relu(pyramid[-1])))
        return [normalise(x) for normalise, x in zip(self.norm, pyramid, strict=True)]
