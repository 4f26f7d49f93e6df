"""A neck of your own: from the backbone's maps to maps of one width, which the head reads.

    python toy_data.py toy
    lightning_st self_train --config toy/toy.yaml --output runs/own_neck \
        --model.neck own_neck.PathAggregation --model.neck_options '{rounds: 2}'

It is made with the backbone's `levels` and `channels`, the `max_level` and `width` that the model wants, and its own
options, and says its width in the attribute `width`.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_st.models.necks import FPN


class PathAggregation(nn.Module):
    """An FPN, after which the fine maps also tell the coarse ones (Liu et al., arXiv 1803.01534).

    Args:
        levels: The levels of the backbone's maps, consecutive.
        channels: Their channels.
        max_level: The coarsest level to return.
        width: Channels of every returned map.
        rounds: How many times the fine maps tell the coarse ones. Its own option, from `--model.neck_options`.
    """

    def __init__(
        self, levels: Sequence[int], channels: Sequence[int], max_level: int, width: int, rounds: int = 1
    ) -> None:
        super().__init__()
        self.width = width
        self.top_down = FPN(levels, channels, max_level, width)
        steps = max_level - levels[0]
        self.bottom_up = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(steps)) for _ in range(rounds)
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps of levels `levels[0]` to `max_level`, floating [B, width, H, W] each, finest first."""
        maps = self.top_down(features)
        for convolutions in self.bottom_up:
            told = [maps[0]]
            for convolve, coarse in zip(convolutions, maps[1:], strict=True):
                told.append(coarse + convolve(told[-1]).relu())
            maps = told
        return maps
