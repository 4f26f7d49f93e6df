"""Backbones: from images to feature maps.

A backbone is an ``nn.Module`` that maps normalised images, floating [B, 3, H, W], to a list of feature maps, finest
first, and says what they are in two attributes: ``levels`` (``tuple[int, ...]``; the stride of level l is ``2 ** l``
pixels) and ``channels`` (``tuple[int, ...]``). One that derives from ``StagedBackbone`` also says what its stages are,
so that they can be frozen and recomputed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from lightning_st.errors import ConfigError, did_you_mean
from lightning_st.models.backbones.spinenet import VARIANTS, SpineNet
from lightning_st.models.backbones.staged import StagedBackbone, enable_checkpointing, freeze_stages
from lightning_st.models.backbones.timm_backbone import TimmBackbone, is_timm_name, timm_names
from lightning_st.models.backbones.weights import is_weights_file, load_weights
from lightning_st.models.options import build_part, import_part

__all__ = ["BACKBONES", "SpineNet", "StagedBackbone", "TimmBackbone", "build_backbone", "load_weights"]

BACKBONES: dict[str, Callable[..., nn.Module]] = {f"spinenet-{name}": partial(SpineNet, name) for name in VARIANTS}
"""The backbones that a config can name beside those of timm."""


def build_backbone(
    backbone: str | nn.Module | Callable[..., nn.Module],
    min_level: int,
    max_level: int,
    pretrained: bool | str = False,
    options: dict[str, Any] | None = None,
    frozen_stages: int = 0,
    gradient_checkpointing: bool = False,
) -> Any:
    """Return a backbone that yields consecutive levels from ``min_level`` on, at most up to ``max_level``.

    Args:
        backbone: A name of ``BACKBONES`` or of timm, a backbone, or a callable (or its import path,
            "my_package.MyBackbone") that gets ``min_level``, ``max_level`` and ``options`` by name and returns one.
        min_level: The finest level that is wanted.
        max_level: The coarsest level that is wanted; a neck makes those that the backbone does not have.
        pretrained: True for timm's default weights of a name, a tag of timm ("a1_in1k"), or a file of weights
            (``.pth``, ``.pt``, ``.ckpt``, ``.bin``, ``.safetensors``) for any backbone.
        options: Further arguments of the backbone's constructor.
        frozen_stages: How many stages, counted from the image, are not trained: 0 none, 1 the stem, 2 the stem and the
            first stage ("layer1" of a ResNet, the blocks of stride 2 of an EfficientNet), and so on.
        gradient_checkpointing: Whether a training step keeps only the results of the stages and recomputes the rest.

    Raises:
        ConfigError: If there is no such backbone, it yields other levels, or has not that many stages to freeze, or
            none to recompute.
        CheckpointError: If the weights cannot be had or do not fit.
    """
    from_file = isinstance(pretrained, str) and is_weights_file(pretrained)
    built = _build(backbone, min_level, max_level, False if from_file else pretrained, options or {})
    levels, channels = tuple(getattr(built, "levels", ())), tuple(getattr(built, "channels", ()))
    if not levels or levels != tuple(range(min_level, levels[-1] + 1)) or levels[-1] > max_level:
        allowed = f"consecutive from {min_level} to at most {max_level}"
        raise ConfigError.expected(f"levels of backbone {type(built).__name__}", allowed, levels)
    if len(channels) != len(levels):
        raise ConfigError.expected(f"channels of backbone {type(built).__name__}", "one for each level", channels)
    if from_file:
        load_weights(built, str(pretrained))
    freeze_stages(built, frozen_stages)
    if gradient_checkpointing:
        enable_checkpointing(built)
    return built


def _build(
    backbone: str | nn.Module | Callable[..., nn.Module],
    min_level: int,
    max_level: int,
    pretrained: bool | str,
    options: dict[str, Any],
) -> nn.Module:
    """Return the backbone itself, made by whoever makes it."""
    builder = _find(backbone) if isinstance(backbone, str) else backbone
    if builder is None:
        return TimmBackbone(str(backbone), min_level, max_level, pretrained, **options)
    if pretrained:
        advice = "Only backbones of timm have weights to download."
        raise ConfigError.expected("pretrained", "false or a file of weights", pretrained, advice)
    if not isinstance(builder, nn.Module):
        name = backbone if isinstance(backbone, str) else getattr(backbone, "__name__", type(backbone).__name__)
        return build_part("backbone", name, builder, {"min_level": min_level, "max_level": max_level}, options)
    if options:
        raise ConfigError.expected("backbone_options", "empty for a backbone that is built already", options)
    return builder


def _find(name: str) -> Callable[..., nn.Module] | None:
    """Return the builder of the backbone that ``name`` names; None where it is timm's to know the name."""
    if is_timm_name(name):
        return None
    found = BACKBONES.get(name) or import_part(name)
    if found is None:
        near = did_you_mean(name, [*BACKBONES, *timm_names()])
        known = f"Known are {', '.join(BACKBONES)} and the names that timm.list_models() gives."
        raise ConfigError(f"Unknown backbone {name!r}.{near} {known}")
    return found
