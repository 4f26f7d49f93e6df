"""A backbone's weights from a file: of timm or torchvision, of self-supervised training, or a checkpoint of ours."""

import logging
import pickle
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_st.errors import CheckpointError

logger = logging.getLogger(__name__)

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
"""What a file of weights is called; any other value of ``pretrained`` is a tag of timm."""


def is_weights_file(name: str) -> bool:
    """Return whether ``name`` is that of a file of weights rather than a tag of timm."""
    return Path(name).suffix in SUFFIXES


def load_weights(module: nn.Module, path: Path | str) -> int:
    """Load those tensors of ``path`` that ``module`` has under the same name.

    The names in the file may begin with a prefix that those of ``module`` lack ("module.", "encoder_q.",
    "task.backbone."); the prefix that matches most tensors is taken. What the file has besides (a classifier) is left.

    Args:
        module: Gets the weights.
        path: A ``state_dict``, plain or under the key "state_dict" or "model"; pickled (read with
            ``weights_only=True``) or safetensors.

    Returns:
        How many tensors were loaded.

    Raises:
        CheckpointError: If the file cannot be read, nothing in it matches, or a tensor has another shape.
    """
    found = _strip_prefix(_read(Path(path)), {_canonical(name) for name in module.state_dict()})
    own = {name: _canonical(name) for name in module.state_dict()}
    matched = {name: found[canonical] for name, canonical in own.items() if canonical in found}
    if not matched:
        raise CheckpointError(f"{path}: none of its tensors has a name that {type(module).__name__} knows.")
    for name, tensor in matched.items():
        shape = tuple(module.state_dict()[name].shape)
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{path}: expected {name} of shape {shape}, found {tuple(tensor.shape)}.")
    module.load_state_dict(matched, strict=False)
    missing = sorted(set(own) - set(matched))
    logger.info("%s: %d of %d tensors loaded; not in the file: %s", path, len(matched), len(own), missing or "none")
    return len(matched)


def _read(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file, by name."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file of weights.") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as a file of weights: {reason}") from error
    for key in ("state_dict", "model"):
        content = content.get(key, content) if isinstance(content, dict) else content
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: expected tensors by name, found a {type(content).__name__}.")
    return {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def _canonical(name: str) -> str:
    """Return a tensor's name without what is only the wrapper's: timm writes "blocks.0" as "blocks_0" for features."""
    return re.sub(r"_(\d+)(?=\.)", r".\1", name.removeprefix("model."))


def _strip_prefix(tensors: dict[str, Tensor], known: set[str]) -> dict[str, Tensor]:
    """Return ``tensors`` by canonical name without the prefix that hides most of the ``known`` names."""
    canonical = {_canonical(name): tensor for name, tensor in tensors.items()}
    counts: dict[str, int] = {}
    for name in canonical:
        parts = name.split(".")
        for cut in range(len(parts)):
            if ".".join(parts[cut:]) in known:
                prefix = "".join(f"{part}." for part in parts[:cut])
                counts[prefix] = counts.get(prefix, 0) + 1
    best = max(counts, key=lambda prefix: counts[prefix], default="")
    return {name.removeprefix(best): tensor for name, tensor in canonical.items() if name.startswith(best)}
