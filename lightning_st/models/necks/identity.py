"""The neck of backbones that need none: SpineNet's maps are a pyramid as they are."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_st.errors import ConfigError


class IdentityNeck(nn.Module):
    """Hands the maps of the backbone on.

    Args:
        levels: The levels of the backbone's maps, consecutive, finest first.
        channels: Their channels, all the same.
        max_level: The coarsest level to return, which the backbone must have.
        width: Not used: the maps are as wide as the backbone makes them.

    Raises:
        ConfigError: If the backbone lacks a level, or its maps differ in width.
    """

    def __init__(self, levels: Sequence[int], channels: Sequence[int], max_level: int, width: int = 256) -> None:
        super().__init__()
        if levels[-1] != max_level or len(set(channels)) != 1:
            have = f"levels {tuple(levels)} of {tuple(channels)} channels"
            allowed = f"one with maps of one width up to level {max_level} for neck=identity"
            raise ConfigError.expected("backbone", allowed, have, "Use neck=fpn with others.")
        self.width = channels[0]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return ``features``, floating [B, width, H, W] each."""
        return list(features)
