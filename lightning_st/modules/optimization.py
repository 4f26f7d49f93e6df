"""Optimisers with the paper's weight decay (facts: paper.md, sections 4.4 and 4.5)."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from lightning_st.errors import ConfigError

OptimizerName = Literal["sgd", "adamw"]


def parameter_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Split parameters into those that decay and those that do not.

    Only the kernels of convolutions and linear layers decay, which are the parameters of two and more axes; biases and
    the scales and shifts of normalisation do not (paper.md, section 4.4). Frozen parameters are left out.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def make_optimizer(
    name: OptimizerName,
    parameters: Iterable[nn.Parameter],
    momentum: float,
    weight_decay: float,
    fused: bool = False,
) -> Optimizer:
    """Return the optimiser ``name`` over ``parameters``, with a learning rate of 1, which a scheduler multiplies.

    So the scheduler's factors are the learning rates themselves, and a resumed run follows its config, not the rate
    that a checkpoint remembers.

    Args:
        name: "sgd" (the paper's: with momentum, not Nesterov's) or "adamw".
        parameters: What it moves.
        momentum: For "sgd"; "adamw" keeps its own two betas.
        weight_decay: Of the kernels; for "sgd" the gradient of ``0.5 * weight_decay * sum(w ** 2)``, which is the
            paper's.
        fused: Whether one kernel of the device moves all weights; PyTorch's own choice where False.

    Raises:
        ConfigError: If there is no such optimiser.
    """
    groups = parameter_groups(parameters, weight_decay)
    if name == "sgd":
        return torch.optim.SGD(groups, lr=1.0, momentum=momentum, fused=fused or None)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=1.0, fused=fused or None)
    raise ConfigError.unknown_choice("optimizer", name, ("sgd", "adamw"))
