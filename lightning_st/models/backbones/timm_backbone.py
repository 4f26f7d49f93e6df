"""Every backbone of timm that can return a feature pyramid: ResNet, EfficientNet, ConvNeXt, Swin and hundreds more."""

import socket
from typing import Any, ClassVar, cast
from urllib.parse import urlparse
from urllib.request import getproxies

import torch
from torch import Tensor, nn

from lightning_st.errors import CheckpointError, ConfigError
from lightning_st.models.backbones.staged import StagedBackbone
from lightning_st.models.backbones.timm_stages import Stage, cut, divide, map_names

COARSEST_LEVEL = 5
"""The pyramids of timm's backbones end at stride 32."""


class TimmBackbone(StagedBackbone):
    """A model of timm, cut to the levels that are wanted.

    Its stages are the stem - what comes before the blocks - and then what leads from one map of timm's pyramid to the
    next: of ResNet "layer1" to "layer4", of EfficientNet the blocks of one stride.

    Args:
        name: A name that ``timm.list_models()`` knows, such as "resnet50"; a tag ("resnet50.a1_in1k") may follow.
        min_level: The finest level to return, at least 1.
        max_level: The coarsest level that is wanted; the backbone's own end at 5 (stride 32).
        pretrained: True for the default weights of that name, or a tag of timm ("a1_in1k"); they are downloaded.
        **options: Further arguments of ``timm.create_model``, such as ``drop_path_rate`` or ``channels``.

    Raises:
        ConfigError: If timm has no such model, or it has no such levels, or does not take ``options``.
        CheckpointError: If the weights cannot be downloaded.
    """

    recomputes: ClassVar[bool] = True

    def __init__(
        self, name: str, min_level: int, max_level: int, pretrained: bool | str = False, **options: Any
    ) -> None:
        super().__init__()
        self.name = name
        self.levels = tuple(range(min_level, min(max_level, COARSEST_LEVEL) + 1))
        self.model = _create(name, self.levels, pretrained, options)
        self.channels: tuple[int, ...] = tuple(self.model.feature_info.channels())
        strides = [2**level for level in self.levels]
        if self.model.feature_info.reduction() != strides:
            raise ConfigError.expected("backbone", f"a model of timm with feature maps at strides {strides}", name)
        cut(self.model)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps of ``images`` (floating [B, 3, H, W], normalised), each [B, C, H / s, W / s]."""
        maps: list[Tensor] = self._run_stages(images) if self.gradient_checkpointing else self.model(images)
        # Some of timm's transformers put the channels last.
        return [x if x.shape[1] == c else x.movedim(-1, 1) for x, c in zip(maps, self.channels, strict=True)]

    def stages(self) -> list[list[nn.Module]]:
        """Return the modules of each stage, the stem first.

        Raises:
            ConfigError: If timm's model cannot be divided.
        """
        return [stage.modules for stage in self._divide()]

    def _run_stages(self, images: Tensor) -> list[Tensor]:
        """Return what ``self.model`` returns, computed stage by stage."""
        x: Any = images
        maps, wanted = [], map_names(self.model)
        for stage in self._divide():
            x = self.run(stage.modules, x)
            if stage.end in wanted:
                maps.append(_one_map(x, concatenate=getattr(self.model, "concat", False)))
        return maps

    def _divide(self) -> list[Stage]:
        stages = divide(self.model)
        if not stages:
            advice = "so neither frozen_stages nor gradient_checkpointing goes with it"
            raise ConfigError(f"Backbone {self.name!r} of timm cannot be divided into stages, {advice}.")
        return stages


def is_timm_name(name: str) -> bool:
    """Return whether timm has a model of this name; a tag may follow."""
    import timm

    return bool(timm.is_model(name))


def timm_names() -> list[str]:
    """Return the names of timm's models."""
    import timm

    return list(timm.list_models())


def _one_map(x: Any, concatenate: bool) -> Tensor:
    """Return the map of a stage, of which some of timm's models make several tensors, as timm chooses it."""
    if not isinstance(x, tuple | list):
        return cast(Tensor, x)
    return torch.cat(list(x), 1) if concatenate else x[0]


def _create(name: str, levels: tuple[int, ...], pretrained: bool | str, options: dict[str, Any]) -> Any:
    """Return timm's model, its weights random or downloaded."""
    import timm

    if isinstance(pretrained, str):
        name = f"{name}.{pretrained}"
    # From the end, where the level is known: some models begin at stride 4.
    indices = tuple(level - COARSEST_LEVEL - 1 for level in levels)
    try:
        if pretrained:
            _check_hub(name, timm.get_pretrained_cfg(name))
        return timm.create_model(name, pretrained=bool(pretrained), features_only=True, out_indices=indices, **options)
    except (RuntimeError, OSError) as error:
        if not pretrained:
            raise
        raise CheckpointError(f"{name}: pretrained weights cannot be had: {error}") from error
    except (TypeError, AssertionError, LookupError, AttributeError, ValueError) as error:
        raise ConfigError(f"timm cannot make backbone {name!r} with options {options}: {error}.") from error


def _check_hub(name: str, config: Any) -> None:
    """Refuse a download at once where there is no network: timm would try for most of a minute."""
    from huggingface_hub import constants, try_to_load_from_cache

    repository = getattr(config, "hf_hub_id", None)
    files = ("model.safetensors", "pytorch_model.bin")
    if not repository or any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return
    host = urlparse(constants.ENDPOINT).hostname or ""
    try:
        # Behind a proxy it is the proxy that looks names up.
        if not getproxies():
            socket.getaddrinfo(host, None)
    except OSError as error:
        advice = (
            "Connect, or give a file of weights as `pretrained`, or train from random weights (`pretrained: false`)."
        )
        raise CheckpointError(
            f"{name}: pretrained weights are to come from {host}, which is unreachable. {advice}"
        ) from error
