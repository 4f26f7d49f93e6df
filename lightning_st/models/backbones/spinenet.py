"""SpineNet: a backbone whose blocks stand in a learnt order of scales (paper.md, section 5.1; Du et al., CVPR 2020)."""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from lightning_st.errors import ConfigError
from lightning_st.models.activations import ACTIVATIONS
from lightning_st.models.backbones.staged import StagedBackbone
from lightning_st.models.normalization import EPSILON

STEM_WIDTH = 64
BASE_WIDTHS = {2: 64, 3: 128, 4: 256, 5: 256, 6: 256, 7: 256}
"""Width of a block by its level, before scaling."""

BOTTLENECK_EXPANSION = 4
"""A bottleneck block has this many times its width in output channels, a residual block just its width."""

STEM_LEVEL = 2
STEM_FEATURE_COUNT = 2
"""Features 0 and 1 are the stem's, so the row of ``BLOCKS`` with number n makes feature n + 2."""


class Block(NamedTuple):
    """One scale-permuted block.

    Attributes:
        level: Its maps have ceil(side / 2 ** level) pixels a side.
        kind: Of its residual blocks.
        parents: The two features that are resampled and summed to make its input.
        added: Features of its own shape that are added to that as they are. The architecture search left one feature
            that no block reads; it joins the next output of its level.
        is_output: Whether an endpoint reads it.
    """

    level: int
    kind: Literal["bottleneck", "residual"]
    parents: tuple[int, int]
    added: tuple[int, ...] = ()
    is_output: bool = False


BLOCKS = (
    Block(2, "bottleneck", (0, 1)),
    Block(4, "residual", (0, 1)),
    Block(3, "bottleneck", (2, 3)),
    Block(4, "bottleneck", (2, 4)),
    Block(6, "residual", (3, 5)),
    Block(4, "bottleneck", (3, 5)),
    Block(5, "residual", (6, 7)),
    Block(7, "residual", (6, 8)),
    Block(5, "bottleneck", (8, 9)),
    Block(5, "bottleneck", (8, 10)),
    Block(4, "bottleneck", (5, 10), is_output=True),
    Block(3, "bottleneck", (4, 10), is_output=True),
    Block(5, "bottleneck", (7, 12), added=(11,), is_output=True),
    Block(7, "bottleneck", (5, 14), is_output=True),
    Block(6, "bottleneck", (12, 14), is_output=True),
)
"""The blocks in the order in which they are computed."""

FEATURES = dict(enumerate(BLOCKS, start=STEM_FEATURE_COUNT))
"""The blocks by the number of the feature that each makes."""


class Variant(NamedTuple):
    """How large a SpineNet is.

    Attributes:
        endpoint_width: Channels of every map that it returns.
        width_scale: Factor of all widths but the first convolution's.
        resample_alpha: Width of a resampled parent, as a share of the parent's.
        repeats: Residual blocks in each block.
        drop_rate: Stochastic depth of the last block, as the paper trains it.
    """

    endpoint_width: int
    width_scale: float
    resample_alpha: float
    repeats: int
    drop_rate: float


VARIANTS = {
    "49s": Variant(128, 0.65, 0.5, 1, 0.2),
    "49": Variant(256, 1.0, 0.5, 1, 0.2),
    "96": Variant(256, 1.0, 0.5, 2, 0.2),
    "143": Variant(256, 1.0, 1.0, 3, 0.16),
    "190": Variant(512, 1.3, 1.0, 4, 0.2),
}


class SpineNet(StagedBackbone):
    """SpineNet-49S, 49, 96, 143 or 190: multi-scale features without a pyramid behind it.

    Its stages are the stem and then each block in the order in which they are computed, as no block reads a later one;
    the 1x1 convolutions at the end stand in none.

    Args:
        variant: "49s", "49", "96", "143" or "190".
        min_level: The finest level to return, 3 to 7.
        max_level: The coarsest level to return, at most 7. Blocks that no returned level needs are left out.
        activation: "swish" (the paper's self-training) or "relu".
        drop_rate: Stochastic depth of the last block, 0-1, rising evenly from the first; None for the variant's own.

    Raises:
        ConfigError: If there is no such variant, or it has no such level.
    """

    recomputes: ClassVar[bool] = True

    def __init__(
        self,
        variant: str = "49",
        min_level: int = 3,
        max_level: int = 7,
        activation: Literal["relu", "swish"] = "swish",
        drop_rate: float | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ConfigError.unknown_choice("variant of SpineNet", variant, VARIANTS)
        if not 3 <= min_level <= max_level <= 7:
            raise ConfigError.expected("min_level and max_level", "3 to 7 for SpineNet", (min_level, max_level))
        size = VARIANTS[variant]
        rate = size.drop_rate if drop_rate is None else drop_rate
        self.levels = tuple(range(min_level, max_level + 1))
        self.channels = (size.endpoint_width,) * len(self.levels)
        self.activation = ACTIVATIONS[activation]()
        self.stem = _Stem(size, activation)
        self._outputs = {block.level: number for number, block in FEATURES.items() if block.is_output}
        needed = _ancestors([self._outputs[level] for level in self.levels])
        self.blocks = nn.ModuleDict(
            {
                str(number): _ScalePermutedBlock(number, size, activation, rate * (i + 1) / len(BLOCKS))
                for i, number in enumerate(FEATURES)
                if number in needed
            }
        )
        self.endpoints = nn.ModuleDict(
            {
                str(level): nn.Sequential(
                    *_convolution(_output_width(self._outputs[level], size), size.endpoint_width, 1), self.activation
                )
                for level in self.levels
            }
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of ``images``.

        Args:
            images: Floating [B, 3, H, W], normalised; any size.

        Returns:
            Floating [B, endpoint_width, ceil(H / 2 ** l), ceil(W / 2 ** l)] for each level l, finest first.
        """
        features = dict(enumerate(self.run([self.stem], images)))
        for number, block in self.blocks.items():
            spec = FEATURES[int(number)]
            # Not the dictionary: a recomputation would hold on to it, and it to the result: memory that stays.
            read = [features[other] for other in (*spec.parents, *spec.added)]
            features[int(number)] = self.run([block], images.shape[-2:], *read)
        return [self.run([self.endpoints[str(level)]], features[self._outputs[level]]) for level in self.levels]

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem, then each block, in the order in which they are computed."""
        return [[self.stem], *([block] for block in self.blocks.values())]


class _Stem(nn.Module):
    """A strided convolution, a pool, and two groups of bottleneck blocks at stride 4."""

    def __init__(self, size: Variant, activation: str) -> None:
        super().__init__()
        width = int(BASE_WIDTHS[STEM_LEVEL] * size.width_scale)
        self.convolution = nn.Sequential(*_convolution(3, STEM_WIDTH, 7, stride=2), ACTIVATIONS[activation]())
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        first = _bottlenecks(STEM_WIDTH, width, size.repeats, activation, drop_rate=0.0)
        second = _bottlenecks(width * BOTTLENECK_EXPANSION, width, size.repeats, activation, drop_rate=0.0)
        self.groups = nn.ModuleList([first, second])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return features 0 and 1, floating [B, C, ceil(H / 4), ceil(W / 4)]."""
        first = self.groups[0](self.pool(self.convolution(images)))
        return [first, self.groups[1](first)]


class _ScalePermutedBlock(nn.Module):
    """Sums two resampled parents and whatever is added as it is, then runs its residual blocks."""

    def __init__(self, number: int, size: Variant, activation: str, drop_rate: float) -> None:
        super().__init__()
        self.spec = FEATURES[number]
        width = int(BASE_WIDTHS[self.spec.level] * size.width_scale)
        channels = _output_width(number, size)
        self.resample = nn.ModuleList(
            _Resample(parent, self.spec.level, channels, size, activation) for parent in self.spec.parents
        )
        self.activation = ACTIVATIONS[activation]()
        make = _bottlenecks if self.spec.kind == "bottleneck" else _residuals
        self.group = make(channels, width, size.repeats, activation, drop_rate)

    def forward(self, image_size: Sequence[int], *features: Tensor) -> Tensor:
        """Return this block's feature of images with this height and width, from its parents and what is added."""
        height, width = (math.ceil(side / 2**self.spec.level) for side in image_size)
        parents, added = features[: len(self.resample)], features[len(self.resample) :]
        terms = [resample(x, (height, width)) for resample, x in zip(self.resample, parents, strict=True)]
        total = sum([*terms[1:], *added], start=terms[0])
        grown: Tensor = self.group(self.activation(total))
        return grown


class _Resample(nn.Module):
    """Brings a parent to another level and number of channels."""

    def __init__(self, parent: int, level: int, channels: int, size: Variant, activation: str) -> None:
        super().__init__()
        parent_level, kind = _level_and_kind(parent)
        parent_channels = _output_width(parent, size)
        inner = parent_channels // BOTTLENECK_EXPANSION if kind == "bottleneck" else parent_channels
        inner = int(inner * size.resample_alpha)
        act = ACTIVATIONS[activation]
        steps: list[nn.Module] = [*_convolution(parent_channels, inner, 1), act()]
        if level > parent_level:
            steps += [*_convolution(inner, inner, 3, stride=2), act()]
        stride = 2 ** (level - parent_level - 1)
        if stride >= 2:
            kernel = 3 if stride == 2 else 5
            steps.append(nn.MaxPool2d(kernel, stride, padding=(kernel - 1) // 2))
        self.shrink = nn.Sequential(*steps)
        self.widen = nn.Sequential(*_convolution(inner, channels, 1))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the parent ``x`` with this height and width."""
        x = self.shrink(x)
        if x.shape[-2:] != size:
            x = nn.functional.interpolate(x, size=size, mode="nearest")
        widened: Tensor = self.widen(x)
        return widened


class _ResidualBlock(nn.Module):
    """``act(branch(x) + shortcut(x))``, the branch dropped for some images while it trains (stochastic depth)."""

    def __init__(self, branch: Sequence[nn.Module], shortcut: nn.Module, activation: str, drop_rate: float) -> None:
        super().__init__()
        from torchvision.ops import StochasticDepth  # here, because it takes long to import

        self.branch = nn.Sequential(*branch)
        self.shortcut = shortcut
        self.drop = StochasticDepth(drop_rate, mode="row")
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the size of ``x``."""
        grown: Tensor = self.activation(self.drop(self.branch(x)) + self.shortcut(x))
        return grown


def _bottlenecks(in_width: int, width: int, repeats: int, activation: str, drop_rate: float) -> nn.Sequential:
    """Return ``repeats`` blocks of 1x1, 3x3 and 1x1 convolutions; the first projects where the widths differ."""
    out_width, act = width * BOTTLENECK_EXPANSION, ACTIVATIONS[activation]
    blocks = []
    for count in [in_width] + [out_width] * (repeats - 1):
        branch = [*_convolution(count, width, 1), act(), *_convolution(width, width, 3), act()]
        shortcut = nn.Identity() if count == out_width else nn.Sequential(*_convolution(count, out_width, 1))
        branch += _convolution(width, out_width, 1)
        blocks.append(_ResidualBlock(branch, shortcut, activation, drop_rate))
    return nn.Sequential(*blocks)


def _residuals(in_width: int, width: int, repeats: int, activation: str, drop_rate: float) -> nn.Sequential:
    """Return ``repeats`` blocks of two 3x3 convolutions; ``in_width`` is ``width`` wherever SpineNet has them."""
    assert in_width == width
    act = ACTIVATIONS[activation]
    branches = ([*_convolution(width, width, 3), act(), *_convolution(width, width, 3)] for _ in range(repeats))
    return nn.Sequential(*(_ResidualBlock(branch, nn.Identity(), activation, drop_rate) for branch in branches))


def _convolution(in_width: int, width: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution without bias and its batch normalisation."""
    convolution = nn.Conv2d(in_width, width, kernel, stride, padding=(kernel - 1) // 2, bias=False)
    # Variance scaling by fan-in; a normal distribution cut at two deviations has 0.87962566 of its deviation left.
    deviation = math.sqrt(1 / (in_width * kernel**2)) / 0.87962566
    nn.init.trunc_normal_(convolution.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
    return [convolution, nn.BatchNorm2d(width, eps=EPSILON)]


def _level_and_kind(number: int) -> tuple[int, str]:
    """Return the level of a feature, and of which kind the blocks are that made it."""
    if number < STEM_FEATURE_COUNT:
        return STEM_LEVEL, "bottleneck"
    block = FEATURES[number]
    return block.level, block.kind


def _output_width(number: int, size: Variant) -> int:
    """Return the channels of a feature."""
    level, kind = _level_and_kind(number)
    width = int(BASE_WIDTHS[level] * size.width_scale)
    return width * BOTTLENECK_EXPANSION if kind == "bottleneck" else width


def _ancestors(numbers: Sequence[int]) -> set[int]:
    """Return the features that these ones are made of, and themselves."""
    needed = set(numbers)
    for number, block in reversed(FEATURES.items()):
        if number in needed:
            needed |= {*block.parents, *block.added}
    return needed
