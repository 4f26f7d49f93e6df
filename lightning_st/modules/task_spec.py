"""What a checkpoint says of the task in it, and what can be made of that again without a config."""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from lightning_st.errors import CheckpointError
from lightning_st.models.backbones import BACKBONES
from lightning_st.models.backbones.timm_backbone import is_timm_name
from lightning_st.models.backbones.weights import is_weights_file
from lightning_st.models.necks import NECKS
from lightning_st.modules.tasks import COUNT


def task_spec(factory: Callable[..., Any], task: object, image_class_count: int = 0) -> dict[str, Any]:
    """Return what a checkpoint keeps of a task.

    Args:
        factory: What made it: the class, or a partial of it, as a config makes.
        task: What it made.
        image_class_count: What the data said besides the classes; 0 for nothing.

    Returns:
        "class_path"; "init_args", those arguments that JSON can hold; "complete", whether these are all.

    Example:
        >>> task_spec(partial(dict, size=(2, 3), name=print), {})
        {'class_path': 'builtins.dict', 'init_args': {'size': [2, 3]}, 'complete': False}
    """
    bound: Mapping[str, Any] = factory.keywords if isinstance(factory, partial) else {}
    # jsonargparse binds the class to a function of its own that calls it.
    makers = [factory.func, *factory.args] if isinstance(factory, partial) else [factory]
    kept = {name: _as_json(value) for name, value in bound.items() if _is_json(value)}
    kind = type(task)
    more = {COUNT: image_class_count} if image_class_count else {}
    return {
        "class_path": f"{kind.__module__}.{kind.__qualname__}",
        "init_args": kept | more,
        "complete": kind in makers and len(kept) == len(bound),
    }


def rebuildable_spec(about: Mapping[str, Any], path: Path | str) -> dict[str, Any]:
    """Return the ``class_path`` and ``init_args`` from which the task of a checkpoint can be made again.

    Only models of this package are made on a file's word, and of these only with parts that it names itself: a
    checkpoint from a stranger cannot say which code runs. Weights that training started from are not asked for again.

    Args:
        about: What the checkpoint says about itself.
        path: For the message.

    Raises:
        CheckpointError: If that is not possible: then a config has to say what the model is.
    """
    spec = about["task"]
    arguments = dict(spec["init_args"])
    reason = _why_not(spec, arguments)
    if reason is not None:
        raise CheckpointError(f"{path}: {reason}. Give the config that it was trained with: --config FILE.")
    if "pretrained" in arguments:
        arguments["pretrained"] = False
    return {"class_path": spec["class_path"], "init_args": arguments}


def portable_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``class_path`` and ``init_args`` of a task, a file of weights named by its content, not by its place.

    So what was made from it stays the same where folders are moved, and is another where the file was made anew.

    Raises:
        CheckpointError: If there is no such file.
    """
    arguments = spec.get("init_args") or {}
    weights = arguments.get("pretrained")
    if not isinstance(weights, str) or not is_weights_file(weights):
        return dict(spec)
    return {**spec, "init_args": {**arguments, "pretrained": f"sha256:{_file_digest(Path(weights))}"}}


def _file_digest(path: Path) -> str:
    digest = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: there is no such file of weights.") from error
    return digest.hexdigest()


def _why_not(spec: Mapping[str, Any], arguments: Mapping[str, Any]) -> str | None:
    """Return why the task of a checkpoint cannot be made from what it says; None where it can."""
    known = {
        f"{kind.__module__}.{kind.__qualname__}"
        for kind in vars(import_module("lightning_st.models")).values()
        if _is_model(kind)
    }
    if spec["class_path"] not in known:
        return f"its model is a class of your own ({spec['class_path']}), which is not run on a file's word"
    if not spec.get("complete", False):
        return "it does not say all that its model was made with"
    if not _names_a_part(arguments.get("neck", "fpn"), NECKS):
        return f"its neck is a class of your own ({arguments['neck']}), which is not run on a file's word"
    backbone = arguments.get("backbone", "resnet50")
    if not (_names_a_part(backbone, BACKBONES) or (isinstance(backbone, str) and is_timm_name(backbone))):
        return f"its backbone is a class of your own ({backbone}), which is not run on a file's word"
    named = class_within(arguments)
    if named is not None:
        return f"an argument of its model is a class ({named}), which is not run on a file's word"
    opened = [name for name in arguments.get("backbone_options") or () if str(name).startswith(_OPENS_FILES)]
    if opened:
        return f"its backbone_options.{opened[0]} names other files, which are not opened on a file's word"
    return None


_OPENS_FILES = ("pretrained", "checkpoint", "cache_dir")
"""How the options of timm begin that name files or places to load from."""


def class_within(value: object) -> str | None:
    """Return the first ``class_path`` that stands anywhere in ``value``: whoever builds it would import it."""
    if isinstance(value, Mapping):
        if "class_path" in value:
            return str(value["class_path"])
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next((found for item in value if (found := class_within(item)) is not None), None)
    return None


def _is_model(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, nn.Module)


def _names_a_part(value: object, known: Mapping[str, Any]) -> bool:
    return isinstance(value, str) and value in known


def _is_json(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_json(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    # A subclass of str or int, as an enum's member, would not load from a checkpoint as plain data.
    return value is None or type(value) in (bool, int, float, str)


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value
