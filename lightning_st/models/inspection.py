"""What a model costs - parameters, multiply-adds, memory - without computing anything: on the meta device."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

_PROBE_IMAGES = 2
"""Batch normalisation cannot train on one image whose coarsest map is a single pixel."""


@dataclass(frozen=True)
class Part:
    """One of the modules that a model is made of, or the whole model.

    Attributes:
        name: Its attribute's name in the model; "all" for the model.
        parameters: Trainable ones.
        multiply_adds: Of its convolutions and matrix products, for one image.
        outputs: The shapes of the tensors that it returns, without the batch; empty if it is not a part of the forward
            pass.
    """

    name: str
    parameters: int
    multiply_adds: float
    outputs: list[tuple[int, ...]]


@dataclass(frozen=True)
class Inspection:
    """What a model costs at one size of image.

    Attributes:
        parts: In the order in which the model holds them; the last is the whole.
        kept_bytes: What a training step keeps of one image for its backward pass, in float32, without the loss's own.
    """

    parts: list[Part]
    kept_bytes: float


def inspect_model(build: Callable[[], nn.Module], height: int, width: int) -> Inspection:
    """Return what the model costs that ``build`` makes; its ``forward`` takes images, uint8 [B, 3, H, W].

    Args:
        build: Makes the model; called on the meta device, where tensors have shapes and no values.
        height: Of the images, in pixels.
        width: Likewise.
    """
    with torch.device("meta"):
        model = build()
        images = torch.empty(_PROBE_IMAGES, 3, height, width, dtype=torch.uint8)
    outputs: dict[str, list[tuple[int, ...]]] = {}
    for name, child in model.named_children():
        child.register_forward_hook(lambda module, given, found, name=name: outputs.update({name: _shapes(found)}))
    saved: dict[Any, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        kept.append(tensor)  # or another tensor's storage might get the same address
        return tensor

    kept: list[Tensor] = []
    weights = {parameter.untyped_storage()._cdata for parameter in (*model.parameters(), *model.buffers())}
    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        found = model.train()(images)
    counts = {name: sum(by_kind.values()) / 2 for name, by_kind in counter.get_flop_counts().items()}
    whole = type(model).__name__
    parts = [
        Part(name, _parameter_count(child), counts.get(f"{whole}.{name}", 0) / _PROBE_IMAGES, outputs.get(name, []))
        for name, child in model.named_children()
    ]
    parts.append(Part("all", _parameter_count(model), counts.get(whole, 0) / _PROBE_IMAGES, _shapes(found)))
    activations = sum(size for storage, size in saved.items() if storage not in weights)
    return Inspection(parts, activations / _PROBE_IMAGES)


def _parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _shapes(value: Any) -> list[tuple[int, ...]]:
    """Return the shapes of the tensors in what a module returned, without the batch."""
    return [tuple(tensor.shape[1:]) for tensor in _tensors(value)]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
