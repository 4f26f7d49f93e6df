"""How a module makes its task."""

from collections.abc import Callable, Iterable, Sequence
from inspect import signature
from typing import Any, cast

from torch import nn

from lightning_st.errors import ConfigError
from lightning_st.types import MARKS_OF_DOUBT, Task

TaskFactory = Callable[[Sequence[str]], nn.Module]
"""Makes a task (an ``nn.Module`` that implements ``types.Task``) from class names; a config names the class."""

COUNT = "image_class_count"
"""What a task that learns classes of whole images beside its own is told besides their names."""


def make_task(factory: TaskFactory, classes: tuple[str, ...], image_class_count: int = 0) -> Task:
    """Return the task.

    Args:
        factory: Makes it.
        classes: Class names, in the order of the labels.
        image_class_count: How many classes of whole images it learns beside; 0 for none.

    Raises:
        ConfigError: If it is no task, or does not learn such classes.
    """
    if image_class_count and not _takes_count(factory):
        name = getattr(_target(factory), "__name__", type(factory).__name__)
        raise ConfigError(
            f"{name} does not learn the classes of data.joint: it takes no {COUNT}. Leave data.joint out, or take "
            "JointDetector."
        )
    more = {COUNT: image_class_count} if image_class_count else {}
    task = factory(classes, **more)
    missing = [name for name in ("losses", "predict", "restore", "metric") if not hasattr(task, name)]
    if not isinstance(task, nn.Module) or missing:
        lacking = f" without {', '.join(missing)}" if missing else " that is no nn.Module"
        raise ConfigError(f"Expected task to make a lightning_st.types.Task, got a {type(task).__name__}{lacking}.")
    return cast("Task", task)


def refuse_unread(task: object, marks: Iterable[str]) -> None:
    """Refuse to train a task on labels that are not believed in full, if it would take them for what they are not.

    Args:
        task: The student's.
        marks: Entries of a batch, or of all batches to come; only those of ``MARKS_OF_DOUBT`` matter.

    Raises:
        ConfigError: If the task does not name one of them in ``understands``.
    """
    understood = getattr(task, "understands", ())
    unread = [mark for mark in marks if mark in MARKS_OF_DOUBT and mark not in understood]
    if unread:
        key = "min_recall" if unread[0] == "unknown_classes" else "weight_power"
        raise ConfigError(
            f"{type(task).__name__} does not say that its losses honour {unread[0]!r} of a batch, so it would take all "
            f"pseudo-labels for sure. Leave pseudo_label.{key} at 0 and label anew, or let the losses honour it and "
            f"name it: understands = ({unread[0]!r},)."
        )


def _takes_count(factory: TaskFactory) -> bool:
    target = _target(factory)
    calls = [target]
    if isinstance(target, type):  # a class may hand keywords on to the one that it is derived from
        calls = [vars(cls)["__init__"] for cls in target.__mro__ if "__init__" in vars(cls)]
    return any(COUNT in signature(call).parameters for call in calls)


def _target(factory: TaskFactory) -> Any:
    """Return the class that a factory makes, or the function that it calls.

    jsonargparse binds the class to a function of its own, as its first arguments.
    """
    parts = (getattr(factory, "func", factory), *getattr(factory, "args", ()))
    return next((part for part in parts if isinstance(part, type)), parts[0])
