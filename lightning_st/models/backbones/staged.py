"""A backbone as a row of stages, the stem first: so that the first ones can be frozen, and each be recomputed."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from lightning_st.errors import ConfigError


class StagedBackbone(nn.Module):
    """Base of backbones whose first stages can be frozen and whose activations can be recomputed.

    A subclass says what its stages are; one that computes them through ``run`` sets ``recomputes``.
    """

    recomputes: ClassVar[bool] = False
    """Whether ``forward`` computes its stages through ``run``, so that ``gradient_checkpointing`` saves memory."""

    frozen_stages: int = 0
    """How many stages ``freeze`` has frozen, counted from the image; the stem is the first."""

    gradient_checkpointing: bool = False
    """Whether a training step keeps only the results of what ``run`` runs, and computes the rest once more when the
    gradient needs it."""

    def stages(self) -> list[list[nn.Module]]:
        """Return the modules of each stage, from the image on, the stem first.

        No stage may read what a later one makes. Modules that stand in no stage cannot be frozen.

        Raises:
            ConfigError: If the backbone cannot be divided so.
        """
        raise NotImplementedError

    def freeze(self, count: int) -> None:
        """Freeze the first ``count`` stages.

        Their parameters get no gradient, and they compute as in evaluation mode whatever ``train`` says: the statistics
        of batch normalisation stay as they are, nothing is dropped.

        Raises:
            ConfigError: If there are not that many stages.
        """
        stages = self.stages()
        if not 0 <= count <= len(stages):
            raise ConfigError.expected("frozen_stages", f"0 to {len(stages)} for this backbone", count)
        self.frozen_stages = count
        for module in _flat(stages[:count]):
            module.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "StagedBackbone":
        """Set training or evaluation mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        # Asked anew: a conversion of the batch normalisation may have replaced modules.
        for module in _flat(self.stages()[: self.frozen_stages]) if self.frozen_stages else ():
            module.eval()
        return self

    def run(self, modules: Sequence[nn.Module], *inputs: Any) -> Any:
        """Return what ``modules`` make of ``inputs``, one after the other; the first gets all of ``inputs``.

        With ``gradient_checkpointing``, what they compute on the way is not kept: the backward pass computes it once
        more, with the same random numbers and in the same precision, and without a second update of the running
        statistics. ``inputs`` are kept, and must not be changed in place.
        """
        if not (self.gradient_checkpointing and self.training and torch.is_grad_enabled()):
            return _in_turn(modules, *inputs)
        contexts = partial(_contexts, modules)
        return checkpoint(_in_turn, modules, *inputs, use_reentrant=False, context_fn=contexts)


def freeze_stages(backbone: nn.Module, count: int) -> None:
    """Freeze the first ``count`` stages of ``backbone``; 0 is none.

    Raises:
        ConfigError: If it has not that many stages, or none that it tells of.
    """
    if not count:
        return
    if not isinstance(backbone, StagedBackbone):
        raise _no_stages("frozen_stages", "0", backbone, count)
    backbone.freeze(count)


def enable_checkpointing(backbone: nn.Module) -> None:
    """Have ``backbone`` recompute its activations, stage by stage, in the backward pass.

    Raises:
        ConfigError: If it cannot.
    """
    if not (isinstance(backbone, StagedBackbone) and backbone.recomputes):
        raise _no_stages("gradient_checkpointing", "false", backbone, True)
    backbone.stages()  # refuses a backbone that cannot be divided
    backbone.gradient_checkpointing = True


def _no_stages(argument: str, allowed: str, backbone: nn.Module, got: object) -> ConfigError:
    name = type(backbone).__name__
    advice = "Derive it from lightning_st.models.backbones.StagedBackbone to say what its stages are."
    return ConfigError.expected(argument, f"{allowed} for backbone {name}", got, advice)


def _in_turn(modules: Sequence[nn.Module], *inputs: Any) -> Any:
    """Return what the last of ``modules`` makes of what the one before it makes, and so on."""
    first, *others = modules
    result = first(*inputs)
    for module in others:
        result = module(result)
    return result


def _contexts(modules: Sequence[nn.Module]) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what surrounds the computation of ``modules``, and what surrounds its repetition."""
    return nullcontext(), _running_statistics_kept(modules)


@contextmanager
def _running_statistics_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Have batch normalisation write its running statistics to copies, which are thrown away."""
    norms = [part for module in modules for part in module.modules() if isinstance(part, _BatchNorm) and part.training]
    buffers = [norm._buffers for norm in norms]
    originals = [dict(each) for each in buffers]
    for each in buffers:
        # Copies rather than nothing: what is recomputed has to save as many tensors as before.
        each.update({name: None if buffer is None else buffer.clone() for name, buffer in each.items()})
    try:
        yield
    finally:
        for each, original in zip(buffers, originals, strict=True):
            each.update(original)


def _flat(stages: Sequence[Sequence[nn.Module]]) -> Iterator[nn.Module]:
    return (module for stage in stages for module in stage)
