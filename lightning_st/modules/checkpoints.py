"""Checkpoints: reading one safely, taking a model's weights from one, and telling two apart."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lightning_st.errors import CheckpointError
from lightning_st.models.plain_file import UnreadableError, read_plain

KEY = "lightning_st"
"""Where a checkpoint keeps what this package adds to Lightning's."""

SCHEMA = 1
TASK_PREFIX = "task."
"""What the task's weights are called in the state of a module; the rest is the module's own."""


def describe(
    classes: Sequence[str],
    primary: str | None,
    weights: str,
    task: Mapping[str, Any],
    image_size: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Return what a checkpoint says about itself, as plain values.

    Args:
        classes: Class names, in the order of the labels.
        primary: The metric that decides, such as "AP"; None where there is none.
        weights: Which weights ``state_dict`` holds: "ema" for a moving average, "raw" for those of the last step.
        task: See ``task_spec``.
        image_size: (height, width) of the images that it was trained on, pixels; None before it was trained.
    """
    return {
        "schema": SCHEMA,
        "version": version("lightning_st"),
        "classes": list(classes),
        "primary": primary,
        "weights": weights,
        "task": dict(task),
        "image_size": None if image_size is None else list(image_size),
    }


def read_checkpoint(path: Path | str) -> dict[str, Any]:
    """Return a checkpoint of this package, its tensors on the CPU.

    Only tensors and plain values are loaded: a checkpoint from a stranger cannot run code.

    Raises:
        CheckpointError: If the file is missing, cut short, or not a checkpoint of this package.
    """
    try:
        checkpoint = read_plain(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint file.") from error
    except UnreadableError as error:
        raise CheckpointError(f"{path}: not a readable checkpoint ({error}).") from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{path}: not a checkpoint of a TeacherModule or StudentModule.")
    description(checkpoint, path)
    state = checkpoint["state_dict"]
    is_named = isinstance(state, dict) and all(type(name) is str for name in state)
    if not is_named or not all(isinstance(value, Tensor) for value in task_weights(checkpoint).values()):
        raise CheckpointError(f"{path}: expected state_dict to hold tensors by name. Train anew.")
    return checkpoint


def _holds_tensors(state: Any) -> bool:
    """Say whether a value is a state of a module, as far as the task's part goes."""
    return isinstance(state, Mapping) and all(
        isinstance(value, Tensor) for name, value in state.items() if str(name).startswith(TASK_PREFIX)
    )


def description(checkpoint: Mapping[str, Any], path: Path | str = "the checkpoint") -> dict[str, Any]:
    """Return what a loaded checkpoint says about itself, see ``describe``.

    Raises:
        CheckpointError: If it says nothing, or in another schema.
    """
    about = checkpoint.get(KEY)
    if not isinstance(about, dict):
        raise CheckpointError(f"{path}: not a checkpoint of a TeacherModule or StudentModule.")
    if about.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{path}: written by lightning_st {about.get('version')} in schema {about.get('schema')}, "
            f"this version reads schema {SCHEMA}."
        )
    for name, (is_such, expected) in _FIELDS.items():
        if not is_such(about.get(name)):
            raise CheckpointError(f"{path}: expected its lightning_st.{name} to be {expected}. Train anew.")
    return about


def _is_task(value: Any) -> bool:
    is_spec = isinstance(value, dict) and isinstance(value.get("class_path"), str)
    return is_spec and isinstance(value.get("init_args"), dict) and all(type(key) is str for key in value["init_args"])


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


def _is_size(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)


_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "classes": (_is_names, "a list of names"),
    "primary": (lambda value: value is None or isinstance(value, str), "the name of a metric"),
    "weights": (lambda value: isinstance(value, str), "'ema' or 'raw'"),
    "task": (_is_task, "a class_path with its init_args"),
    "image_size": (lambda value: value is None or _is_size(value), "[height, width] in pixels"),
}
"""What others read of a description without looking again: a file can say anything."""


def load_weights(module: nn.Module, path: Path | str) -> dict[str, Any]:
    """Take the weights of a task from a checkpoint of a teacher or a student, all of them or none.

    Args:
        module: A ``TeacherModule`` or ``StudentModule`` (whose ``weights_kind`` follows), or a bare task.
        path: The checkpoint.

    Returns:
        What the checkpoint says about itself, see ``describe``.

    Raises:
        CheckpointError: If the file cannot be read, or is of other classes, or of another model.
    """
    checkpoint = read_checkpoint(path)
    about = description(checkpoint, path)
    require_classes(about["classes"], cast("Sequence[str]", module.classes), path)
    task = cast(nn.Module, getattr(module, "task", module))
    weights = task_weights(checkpoint)
    require_fit(weights, task.state_dict(), path)
    task.load_state_dict(weights)
    if hasattr(module, "weights_kind"):
        module.weights_kind = about["weights"]
    return about


def task_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the weights of the task in a loaded checkpoint, by the names that the task itself gives them."""
    state = checkpoint["state_dict"]
    return {name.removeprefix(TASK_PREFIX): value for name, value in state.items() if name.startswith(TASK_PREFIX)}


def checkpoint_fingerprint(path: Path | str) -> str:
    """Return the sha256 of the task's weights: the same for two files that hold the same model.

    Raises:
        CheckpointError: If the file cannot be read.
    """
    digest = hashlib.sha256()
    for name, value in sorted(task_weights(read_checkpoint(path)).items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def require_classes(found: Sequence[str], expected: Sequence[str], path: Path | str = "the checkpoint") -> None:
    """Refuse weights that were trained on other classes, or on the same in another order.

    Raises:
        CheckpointError: With both lists.
    """
    if list(found) != list(expected):
        raise CheckpointError(
            f"{path}: trained on {len(found)} classes {_short(found)}, but the data have {len(expected)} classes "
            f"{_short(expected)}. Use the data it was trained on, or train anew."
        )


def require_fit(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path | str = "the checkpoint"
) -> None:
    """Refuse weights that are not exactly those of the model.

    Raises:
        CheckpointError: With the names and shapes that differ.
    """
    both = found.keys() & expected.keys()
    shapes = [f"{k} {tuple(found[k].shape)} for {tuple(expected[k].shape)}" for k in sorted(both)
              if found[k].shape != expected[k].shape]  # fmt: skip
    problems = {
        "missing": sorted(expected.keys() - found.keys()),
        "not in the model": sorted(found.keys() - expected.keys()),
        "of another shape": shapes,
    }
    named = [f"{len(keys)} {what} ({_short(keys, 3)})" for what, keys in problems.items() if keys]
    if named:
        raise CheckpointError(
            f"{path}: its weights are of another model: {'; '.join(named)}. Use the model that it was trained with."
        )


def _short(names: Sequence[str], count: int = 20) -> str:
    return f"{', '.join(names[:count])}{', ...' if len(names) > count else ''}"
