"""Checkpoints of small models whose weights are drawn so that they predict as trained ones do: boxes of many scores."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lightning_st.deploy.export import made_up_images
from lightning_st.modules.checkpoints import KEY, TASK_PREFIX, describe
from lightning_st.modules.task_spec import task_spec

CLASSES = ("cat", "dog", "fox")
SIZE = (64, 80)


def trained_like(task: Any, size: tuple[int, int] = SIZE) -> Any:
    """Give a task predictors that tell places apart, and the batch statistics of images; in evaluation mode.

    A fresh head says the same of all anchors but for rounding; of this one dozens of boxes, with scores from the floor
    to 0.9, reach 0.05 in each image.
    """
    with torch.no_grad():
        if task.target == "boxes":
            for predictor, deviation in ((task.head.class_predictor, 0.1), (task.head.box_predictor, 0.02)):
                weight = [module for module in predictor.modules() if isinstance(module, nn.Conv2d)][-1].weight
                weight.normal_(0, deviation)
            nn.init.constant_(last_bias(task.head.class_predictor), -4.0)
        else:
            task.head.predictor.weight.normal_(0, 1)
        for norm in (module for module in task.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.momentum = None  # a plain mean
            norm.reset_running_stats()
        task.train()(made_up_images(4, size).flip(-1))
    return task.eval()


def last_bias(predictor: nn.Module) -> torch.Tensor:
    return [parameter for name, parameter in predictor.named_parameters() if name.endswith("bias")][-1]


def write_checkpoint(path: Path, kind: type, size: tuple[int, int] = SIZE, **arguments: Any) -> Any:
    """Write the checkpoint of a task with such weights, and return the task."""
    torch.manual_seed(0)
    factory = partial(kind, **arguments)
    task = trained_like(factory(CLASSES), size)
    about = describe(CLASSES, "AP", "raw", task_spec(factory, task), size)
    weights = {f"{TASK_PREFIX}{name}": value for name, value in task.state_dict().items()}
    torch.save({"state_dict": weights, KEY: about}, path)
    return task
