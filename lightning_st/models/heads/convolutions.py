"""How the convolutions of the heads begin."""

from typing import cast

from torch import Tensor, nn


def normal_convolution(
    in_width: int, width: int, kernel: int, std: float, separable: bool = False, bias: float = 0.0
) -> nn.Module:
    """Return a convolution that keeps the size, with normal weights of deviation ``std`` and this bias.

    Where it is separable, its pointwise half has these weights and the bias; the depthwise half has none, and weights
    that keep the variance of its input (ours: the official code leaves them at its library's default).
    """
    pointwise = 1 if separable else kernel
    convolution = nn.Conv2d(in_width, width, pointwise, padding=pointwise // 2)
    nn.init.normal_(convolution.weight, std=std)
    nn.init.constant_(cast(Tensor, convolution.bias), bias)
    if not separable:
        return convolution
    depthwise = nn.Conv2d(in_width, in_width, kernel, padding=kernel // 2, groups=in_width, bias=False)
    nn.init.normal_(depthwise.weight, std=1 / kernel)
    return nn.Sequential(depthwise, convolution)
