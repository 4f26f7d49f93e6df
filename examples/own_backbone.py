"""A backbone of your own: any module that maps images to feature maps and says which.

    python toy_data.py toy
    lightning_st self_train --config toy/toy.yaml --output runs/own_backbone \
        --model.backbone own_backbone.PlainBackbone --model.backbone_options '{width: 12}'

It gets normalised images, floating [B, 3, H, W], and returns a list of maps, finest first. It says what they are in two
attributes: `levels`, consecutive from `min_level` to at most `max_level` (a cell of level l is 2 ** l pixels wide), and
`channels`. The neck makes the levels up to `max_level` that are missing.
"""

from torch import Tensor, nn

from lightning_st.models.backbones import StagedBackbone


def block(in_width: int, width: int) -> nn.Sequential:
    """Return a convolution that halves the map, and one that does not."""
    halve = nn.Conv2d(in_width, width, 3, stride=2, padding=1, bias=False)
    keep = nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(halve, nn.BatchNorm2d(width), nn.ReLU(), keep, nn.BatchNorm2d(width), nn.ReLU())


class PlainBackbone(StagedBackbone):
    """A row of convolutions, each level twice as wide as the one before.

    It could be a plain `nn.Module`; as a `StagedBackbone` it takes `--model.frozen_stages` too.

    Args:
        min_level: The finest level that is wanted.
        max_level: The coarsest one.
        width: Channels of level 1. Its own option, from `--model.backbone_options`.
    """

    def __init__(self, min_level: int, max_level: int, width: int = 16) -> None:
        super().__init__()
        self.levels = tuple(range(min_level, max_level + 1))
        widths = [width * 2**level for level in range(max_level)]
        self.channels = tuple(widths[min_level - 1 :])
        self.blocks = nn.ModuleList(block(a, b) for a, b in zip([3, *widths], widths, strict=False))

    def stages(self) -> list[list[nn.Module]]:
        """Return what can be frozen, from the image on."""
        return [[each] for each in self.blocks]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of `levels`, floating [B, channels, H / 2 ** level, W / 2 ** level] each."""
        maps = []
        for each in self.blocks:
            images = each(images)
            maps.append(images)
        return maps[-len(self.levels) :]
