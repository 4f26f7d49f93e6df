"""What a command asks for beside a checkpoint, which may not say what its model is."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jsonargparse import ArgumentParser

from lightning_st.cli.parsing import add_not_read


def add_model_arguments(parser: ArgumentParser, read: Sequence[str]) -> None:
    """Add what says what a checkpoint's model is, for ``model_of``: a config of ``self_train`` or of ``fit``.

    Args:
        parser: Of the command.
        read: Sections and keys of such configs that the command has arguments for besides.
    """
    parser.add_argument("--config", action="config", help="where the checkpoint does not say what its model is")
    parser.add_subclass_arguments(torch.nn.Module, "model", skip={"classes"}, required=False, instantiate=False)
    parser.add_argument("--data", type=dict[str, Any], default={}, help="image_size is read")
    add_not_read(parser, read)


def model_of(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the task that a config names, None without one; a config of ``fit`` names a LightningModule around it."""
    spec: Mapping[str, Any] | None = config["model"]
    return None if spec is None else (spec.get("init_args") or {}).get("task") or spec


def image_size_of(config: Mapping[str, Any]) -> Any:
    """Return the size of the images that is asked for, else the config's, else None: that of the training."""
    return config["data"].get("image_size") if config["image_size"] is None else config["image_size"]
