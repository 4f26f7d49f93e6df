"""How a task is computed faster where the device rewards it: compiled, channels last. Names of weights stay."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_st.types import Batch, Task

SPEED_OPTIONS = ("compile_task", "channels_last")
"""Arguments of ``TaskModule`` that say how fast a model is computed and not what it is: rounding apart."""

Losses = Callable[[Batch], tuple[Tensor, dict[str, Tensor]]]


def prepare(task: Task, compiled: bool, channels_last: bool) -> None:
    """Change in place how a task is computed, and neither its values nor their names.

    Args:
        task: An ``nn.Module``.
        compiled: Compile the modules that it is made of. Not the task itself: how many boxes are found differs from
            image to image, so non-maximum suppression is no graph of one shape.
        channels_last: Lay the kernels of convolutions out as the images of a batch are; so a device that convolves that
            way, as the tensor cores of a GPU do, need not turn them around.
    """
    module = cast("nn.Module", task)
    if channels_last:
        cast("Any", module).to(memory_format=torch.channels_last)
    for part in module.children() if compiled else ():
        part.compile()


def compiled_losses(task: Task) -> Losses:
    """Return ``task.losses`` as a compiled graph, forward and backward.

    Images have one size in a run and boxes are padded to multiples, so few shapes occur. The graph gets the tensors of
    a batch alone: it would be made anew for every other list of images that cannot be read.
    """
    compiled = torch.compile(task.losses)
    return lambda batch: compiled(cast("Batch", {key: each for key, each in batch.items() if isinstance(each, Tensor)}))
