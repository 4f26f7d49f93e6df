"""A trained model, whatever file it lies in, as one function of images."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lightning_st.deploy.card import Card
from lightning_st.errors import ConfigError


class Model(Protocol):
    """What all files have in common."""

    card: Card

    def predict(self, images: Tensor) -> list[Any]:
        """Return for each image a ``Prediction``, or a ``ScoreMap``, in pixels of ``images``.

        Args:
            images: uint8 [B, 3, H, W], RGB, of the card's size.
        """


def open_model(path: Path | str, device: str | None = None) -> Model:
    """Open a checkpoint, or a file that ``lightning_st export`` wrote; which of them, the name's ending says.

    Args:
        path: ``*.ckpt``, ``*.onnx`` or ``*.pt2``.
        device: Such as "cpu" or "cuda:1"; None for a GPU where there is one.

    Raises:
        CheckpointError: If the file cannot be read, or is none of these.
        ConfigError: If there is no such device, or a package is missing that reads such a file.
    """
    # Each needs another library, which takes seconds to import.
    match Path(path).suffix.lower():
        case ".onnx":
            from lightning_st.deploy.onnx_file import OnnxModel

            return OnnxModel(Path(path), device)
        case ".pt2":
            from lightning_st.deploy.program_file import ProgramModel

            return ProgramModel(Path(path), torch_device(device))
        case ".ckpt":
            from lightning_st.deploy.checkpoint_file import CheckpointModel

            return CheckpointModel(Path(path), torch_device(device))
    raise ConfigError.expected("model", "a file named *.ckpt, *.onnx or *.pt2", str(path))


def torch_device(name: str | None) -> torch.device:
    """Return PyTorch's device of this name; without one a GPU where there is one.

    Raises:
        ConfigError: If there is none of this name.
    """
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # the latter where PyTorch was built without it
        reason = str(error).partition("\n")[0]
        raise ConfigError.expected("device", "one that PyTorch finds here", name, reason) from error
    return device
