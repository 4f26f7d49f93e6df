"""How timm's models are divided into stages: by what they say of their feature maps, not by their names."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn


class Stage(NamedTuple):
    """One stage of a model of timm.

    Attributes:
        modules: What it computes, one after the other.
        end: The name of the last of them.
    """

    modules: list[nn.Module]
    end: str


def divide(model: Any) -> list[Stage]:
    """Return the stages of a model of timm with ``features_only``, the stem first; what no map needs is left out.

    The stem is what comes before the container of the blocks or, where the blocks have none, what leads to the first
    map; a further stage is what leads from one map of the model's pyramid to the next.

    Returns:
        An empty list if the model does not compute one module after the other, or a map is made within a stage.
    """
    if not _is_row(model):
        return []
    info = model.feature_info.info
    units = _units(model, {tap["module"].partition(".")[0] for tap in info if "." in tap["module"]})
    made = [_joined(tap["module"]) for tap in info]
    stages: list[Stage] = []
    current: list[nn.Module] = []
    stem_end = _stem_end(list(units), info)
    for number, (name, module) in enumerate(units.items()):
        current.append(module)
        if number == stem_end or (number > stem_end and name in made):
            stages.append(Stage(current, name))
            current = []
    return stages if map_names(model) <= {stage.end for stage in stages} else []


def cut(model: Any) -> None:
    """Remove the blocks that no map needs, which timm's EfficientNets keep: DDP stops at what gets no gradient."""
    container, _, member = model.feature_info.module_name()[-1].partition(".")
    blocks = getattr(model, container, None)
    if _is_row(model) and isinstance(blocks, nn.Sequential) and member:
        del blocks[int(member.partition(".")[0]) + 1 :]


def map_names(model: Any) -> set[str]:
    """Return the names of the modules that make the maps that ``model`` returns, as in ``Stage.end``."""
    return {_joined(name) for name in model.feature_info.module_name()}


def _is_row(model: nn.Module) -> bool:
    """Return whether ``model`` computes its children, or the members of its container, one after the other."""
    from timm.models._features import FeatureDictNet
    from timm.models.efficientnet import EfficientNetFeatures
    from timm.models.mobilenetv3 import MobileNetV3Features

    is_row = isinstance(model, FeatureDictNet | EfficientNetFeatures | MobileNetV3Features)
    return is_row and getattr(model, "feature_hooks", None) is None


def _units(model: nn.Module, containers: set[str]) -> dict[str, nn.Module]:
    """Return the modules that ``model`` computes, in order; those of a container by themselves."""
    units: dict[str, nn.Module] = {}
    for name, child in model.named_children():
        members = child.named_children() if name in containers else ()
        units |= {f"{name}_{member}": module for member, module in members} or {name: child}
    return units


def _stem_end(names: Sequence[str], info: Sequence[Any]) -> int:
    """Return the place of the stem's last module among ``names``."""
    # The first map may be the stem's own; the second is made by blocks.
    container, _, member = info[min(1, len(info) - 1)]["module"].partition(".")
    start = next((number for number, name in enumerate(names) if name.startswith(f"{container}_")), 0)
    if member and start:
        return start - 1
    first_map = _joined(info[0]["module"])
    return names.index(first_map) if first_map in names else -1


def _joined(name: str) -> str:
    """Return a module's name as timm writes it where it makes a container's members the model's own."""
    return "_".join(name.split(".")[:2])
