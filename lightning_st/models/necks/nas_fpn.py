"""NAS-FPN: a feature pyramid network found by architecture search (paper.md, section 5.2; Ghiasi et al., CVPR 2019)."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lightning_st.errors import ConfigError
from lightning_st.models.activations import ACTIVATIONS
from lightning_st.models.normalization import EPSILON

MAP_COUNT = 5
"""A cell reads and makes this many maps; maps 0 to 4 of a cell are its inputs, finest first."""


class Node(NamedTuple):
    """One merging cell; the row of ``NODES`` with number n makes map n + 5.

    Attributes:
        level: Of its map, counted from the finest level of the pyramid.
        merge: "sum", or "attention": the coarser input gates the finer one.
        inputs: The two maps that are merged.
        added: Maps of the same level that are added as they are, for no node reads them.
    """

    level: int
    merge: Literal["sum", "attention"]
    inputs: tuple[int, int]
    added: tuple[int, ...] = ()


NODES = (
    Node(1, "attention", (1, 3)),
    Node(1, "sum", (1, 5)),
    Node(0, "sum", (0, 6)),
    Node(1, "sum", (6, 7)),
    Node(2, "attention", (7, 8), added=(2,)),
    Node(4, "attention", (6, 9), added=(4,)),
    Node(3, "attention", (9, 10)),
)
"""The nodes of a cell in the order in which they are computed; the last five are what it returns."""


class NASFPN(nn.Module):
    """A pyramid of five levels, merged by the same cell again and again, each time with weights of its own.

    Args:
        levels: The levels of the backbone's maps, consecutive, finest first.
        channels: Their channels.
        max_level: The coarsest level to return; five levels in all.
        width: Channels of every returned map.
        repeats: Cells; the paper's models have 7.
        activation: Before the convolution of each node.
        separable: Depthwise and pointwise convolutions instead of full ones, as in the paper's segmentation models.

    Raises:
        ConfigError: If there are not five levels, or no cell.
    """

    def __init__(
        self,
        levels: Sequence[int],
        channels: Sequence[int],
        max_level: int,
        width: int = 256,
        repeats: int = 7,
        activation: Literal["relu", "swish"] = "relu",
        separable: bool = False,
    ) -> None:
        super().__init__()
        if max_level - levels[0] + 1 != MAP_COUNT:
            advice = f"NAS-FPN merges {MAP_COUNT} levels, in the paper 3 to 7."
            raise ConfigError.expected("min_level and max_level", "five levels", (levels[0], max_level), advice)
        if repeats < 1:
            raise ConfigError.expected("repeats of nas-fpn", "at least 1", repeats)
        self.width = width
        self.lateral = nn.ModuleList(
            nn.Identity() if count == width else nn.Sequential(*_convolution(count, width, 1, separable))
            for count in channels
        )
        self.cells = nn.ModuleList(_Cell(width, activation, separable) for _ in range(repeats))

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return the pyramid.

        Args:
            features: Floating [B, C, H, W] each, of the backbone's levels.

        Returns:
            Floating [B, width, H, W] each, five of them, finest first, without activation.
        """
        maps = [project(x) for project, x in zip(self.lateral, features, strict=True)]
        while len(maps) < MAP_COUNT:
            maps.append(_shrink(maps[-1], 2))
        for cell in self.cells:
            maps = cell(maps)
        return maps


class _Cell(nn.Module):
    """Seven merges of two maps, each followed by activation, convolution and normalisation."""

    def __init__(self, width: int, activation: str, separable: bool) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[activation]()
        self.convolutions = nn.ModuleList(nn.Sequential(*_convolution(width, width, 3, separable)) for _ in NODES)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return five maps of the sizes of these five, finest first."""
        maps = list(maps)
        levels = [*range(MAP_COUNT), *(node.level for node in NODES)]
        sizes = [x.shape[-2:] for x in maps]
        for node, convolve in zip(NODES, self.convolutions, strict=True):
            # Coarser first, the first of two equal ones.
            coarse, fine = sorted(node.inputs, key=lambda number: -levels[number])
            first, second = (
                _resample(maps[number], node.level - levels[number], sizes[node.level]) for number in (coarse, fine)
            )
            if node.merge == "attention":
                second = second * torch.sigmoid(first.amax(dim=(2, 3), keepdim=True))
            total = sum((maps[number] for number in node.added), start=first + second)
            maps.append(convolve(self.activation(total)))
        made = range(len(maps) - MAP_COUNT, len(maps))
        return [maps[number] for number in sorted(made, key=lambda number: levels[number])]


def _resample(x: Tensor, coarser_by: int, size: Sequence[int]) -> Tensor:
    """Return ``x`` at another level: pooled by maximum, or enlarged to ``size`` by the nearest pixel."""
    if coarser_by > 0:
        return _shrink(x, 2**coarser_by)
    return x if coarser_by == 0 else nn.functional.interpolate(x, size=tuple(size), mode="nearest")


def _shrink(x: Tensor, factor: int) -> Tensor:
    """Return the maxima of squares of ``factor`` pixels; a map's last ones may be cut off by its border."""
    return nn.functional.max_pool2d(x, factor, factor, ceil_mode=True)


def _convolution(in_width: int, width: int, kernel: int, separable: bool) -> list[nn.Module]:
    """Return a convolution with bias and its batch normalisation."""
    padding, norm = kernel // 2, nn.BatchNorm2d(width, eps=EPSILON)
    if not separable:
        return [nn.Conv2d(in_width, width, kernel, padding=padding), norm]
    depthwise = nn.Conv2d(in_width, in_width, kernel, padding=padding, groups=in_width, bias=False)
    return [depthwise, nn.Conv2d(in_width, width, 1), norm]
