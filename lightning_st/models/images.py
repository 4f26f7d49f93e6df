"""Images on their way to a backbone: normalised and padded, at their own size and at others."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_st.models.arguments import require
from lightning_st.types import IMAGE_MEAN, IMAGE_STD


class ImageNormalization(nn.Module):
    """Normalises images, then pads them with the mean colour at the bottom and right.

    Args:
        stride: The sides become multiples of it, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        # Constants, so that no checkpoint has to hold them; buffers, so that they follow the weights' device and type.
        self.register_buffer("mean", 255 * torch.tensor(IMAGE_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGE_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor, stride: int | None = None) -> Tensor:
        """Return the canvas that a backbone sees, floating [B, 3, H', W'], of the type of the weights.

        Args:
            images: [B, 3, H, W], RGB, 0-255: uint8, or floating where they were resized.
            stride: In the place of the constructor's.
        """
        stride = stride or self.stride
        height, width = images.shape[-2:]
        normalised = (images.float() - self.mean.float()) / self.std.float()
        # Not `-width % stride`: torch.compile cannot take that remainder of a size that changes.
        missing = [(stride - side % stride) % stride for side in (width, height)]
        padded = nn.functional.pad(normalised, (0, missing[0], 0, missing[1]))
        # The type of the weights, which "bf16-true" changes.
        return padded.to(self.mean.dtype)


class View(NamedTuple):
    """The images of a batch at one size.

    Attributes:
        images: [B, 3, h, w], RGB, 0-255: uint8 at their own size, float32 where they are resized.
        ratios: (x, y), pixels of the view for each pixel of the images, after the sides are rounded to whole pixels.
    """

    images: Tensor
    ratios: tuple[float, float]


def views_at(images: Tensor, scales: Sequence[float]) -> Iterator[View]:
    """Yield ``images`` resized bilinearly to each of ``scales``; at scale 1 they are handed on as they are.

    Args:
        images: uint8 [B, 3, H, W].
        scales: Sides of the view over sides of the images.

    Raises:
        ConfigError: If there is no scale, or one is not above 0.
    """
    allowed = "one finite number above 0 or more"
    require(allowed, lambda v: len(v) > 0 and all(0 < scale < math.inf for scale in v), scales=scales)
    height, width = images.shape[-2:]
    for scale in scales:
        size = max(1, round(height * scale)), max(1, round(width * scale))
        if size == (height, width):
            yield View(images, (1.0, 1.0))
            continue
        # Antialiased, as the data are when they are shrunk; it changes nothing where images grow.
        resized = nn.functional.interpolate(images.float(), size, mode="bilinear", antialias=scale < 1)
        yield View(resized, (size[1] / width, size[0] / height))
