"""Checkpoints of small models whose weights are drawn so that they predict as trained ones do: boxes of many scores."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from lightning_st.cli.shipped_configs import SHIPPED
from lightning_st.deploy.export import made_up_images
from lightning_st.deploy.onnx_file import require_exporter
from lightning_st.errors import ConfigError
from lightning_st.modules.checkpoints import KEY, TASK_PREFIX, describe
from lightning_st.modules.task_spec import task_spec

CLASSES = ("cat", "dog", "fox")
SIZE = (64, 80)

NARROW = yaml.safe_load((SHIPPED / "detection" / "cpu_small.yaml").read_text())["model"]["init_args"]
"""The small recipe's detector."""


def skip_without_exporter() -> None:
    """Skip a test that exports, saying so, where PyTorch is too old."""
    try:
        require_exporter()
    except ConfigError as error:
        pytest.skip(str(error))


@torch.no_grad()
def trained_like(task: Any, size: tuple[int, int], deviation: float, mean: float) -> Any:
    """Give a task the batch statistics of images, and predictors that tell places apart; in evaluation mode.

    A fresh head says the same of all anchors but for rounding. The logits of this one spread by ``deviation`` around
    ``mean``, so that some boxes of each image reach 0.05 and a few 0.5; those of a segmenter by 2 around 0, and the
    deltas of boxes by 0.2.
    """
    images = made_up_images(32, size).flip(-1)  # so many, as coarse maps have one place
    for norm in (module for module in task.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = None  # a plain mean
        norm.reset_running_stats()
    task.train()(images)
    task.eval()
    if task.target == "masks":
        spread(task.head.predictor, lambda: task(images), 2.0, 0.0)
    else:
        spread(task.head.class_predictor, lambda: task(images)[0], deviation, mean)
        spread(task.head.box_predictor, lambda: task(images)[1], 0.2, 0.0)
    return task


def spread(predictor: nn.Module, predict: Any, deviation: float, mean: float) -> None:
    """Draw the weights of a predictor so that what it predicts has this deviation around this mean."""
    last = [module for module in predictor.modules() if isinstance(module, nn.Conv2d)][-1]
    last.weight.normal_()
    last.bias.zero_()
    last.weight *= deviation / predict().std()
    last.bias += mean - predict().mean()


def write_checkpoint(
    path: Path,
    kind: type,
    size: tuple[int, int] = SIZE,
    logits: tuple[float, float] = (1.5, -5.0),
    **arguments: Any,
) -> Any:
    """Write the checkpoint of a task with such weights, and return the task."""
    torch.manual_seed(0)
    factory = partial(kind, **arguments)
    task = trained_like(factory(CLASSES), size, *logits)
    save(path, factory, task, size)
    return task


def save(path: Path, factory: Any, task: Any, size: tuple[int, int]) -> None:
    """Write the checkpoint of a task that `factory` made, trained on images of `size`."""
    about = describe(task.classes, "AP", "raw", task_spec(factory, task), size)
    weights = {f"{TASK_PREFIX}{name}": value for name, value in task.state_dict().items()}
    torch.save({"state_dict": weights, KEY: about}, path)
