"""How the convolutions of the heads begin."""

from torch import nn


def normal_convolution(in_width: int, width: int, kernel: int, std: float) -> nn.Conv2d:
    """Return a convolution that keeps the size, with normal weights of deviation ``std`` and zero bias."""
    convolution = nn.Conv2d(in_width, width, kernel, padding=kernel // 2)
    nn.init.normal_(convolution.weight, std=std)
    nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution
