"""The activations that a config can name."""

from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "swish": nn.SiLU}
"""ReLU in the paper's ResNets, swish in its SpineNets and EfficientNets."""
