"""Images on their way to a backbone: normalised and padded."""

import torch
from torch import Tensor, nn

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

    def forward(self, images: Tensor) -> Tensor:
        """Return the canvas that a backbone sees, floating [B, 3, H', W'], of the type of the weights.

        Args:
            images: [B, 3, H, W], RGB, 0-255: uint8, or floating where they were resized.
        """
        height, width = images.shape[-2:]
        normalised = (images.float() - self.mean.float()) / self.std.float()
        # Not `-width % stride`: torch.compile cannot take that remainder of a size that changes.
        missing = [(self.stride - side % self.stride) % self.stride for side in (width, height)]
        padded = nn.functional.pad(normalised, (0, missing[0], 0, missing[1]))
        # The type of the weights, which "bf16-true" changes.
        return padded.to(self.mean.dtype)
