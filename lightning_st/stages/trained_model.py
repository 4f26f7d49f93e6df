"""The model in a checkpoint: made again from what the checkpoint says, or from a config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor

from lightning_st.data.options import read_size
from lightning_st.errors import CheckpointError, ConfigError
from lightning_st.modules import load_weights, read_checkpoint, rebuildable_spec
from lightning_st.modules.checkpoints import require_fit, task_weights
from lightning_st.stages.building import build_factory
from lightning_st.types import Task


@dataclass(frozen=True)
class TrainedModel:
    """What a checkpoint holds.

    Attributes:
        checkpoint: The file.
        spec: The task by ``class_path`` and ``init_args``.
        classes: The names of its classes.
        image_size: (height, width) in pixels.
    """

    checkpoint: Path
    spec: dict[str, Any]
    classes: tuple[str, ...]
    image_size: tuple[int, int]

    @classmethod
    def describe(
        cls,
        checkpoint: Path | str,
        model: Mapping[str, Any] | None = None,
        image_size: int | tuple[int, int] | None = None,
    ) -> "TrainedModel":
        """Return what a checkpoint holds.

        Args:
            checkpoint: Of a teacher or a student.
            model: The task by ``class_path`` and ``init_args``; None for what the checkpoint says.
            image_size: (height, width), or one number for both; None for that of the training.

        Raises:
            CheckpointError: If the checkpoint cannot be read, or does not say what its model is.
            ConfigError: If the size of the images is not known, or none.
        """
        content = read_checkpoint(checkpoint)
        about = content["lightning_st"]
        if model is None:
            spec = rebuildable_spec(about, checkpoint)
            _refuse_unlike(spec, about["classes"], task_weights(content), checkpoint)
        else:
            spec = dict(model)
        size = _said_size(about, checkpoint) if image_size is None else image_size
        if size is None:
            advice = "The checkpoint does not say on which size of images it was trained."
            raise ConfigError.expected("image_size", "given: a number of pixels, or [height, width]", None, advice)
        return cls(Path(checkpoint), spec, tuple(about["classes"]), read_size(size))

    def build(self) -> Task:
        """Return the task with the checkpoint's weights, in evaluation mode on the CPU.

        Raises:
            CheckpointError: If the weights are of another model.
        """
        task = build_factory(self.spec)(self.classes)
        load_weights(task, self.checkpoint)
        return cast(Task, task.eval())


def _refuse_unlike(
    spec: Mapping[str, Any], classes: Sequence[str], weights: Mapping[str, Tensor], checkpoint: Path | str
) -> None:
    """Refuse a checkpoint that says of its model what its weights are not, before a byte of such a model is taken.

    Raises:
        CheckpointError: If no such model can be made, or it has other weights.
    """
    try:
        with torch.device("meta"):
            weightless: Any = build_factory(spec)(classes)
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:  # arguments of a wrong type, say
        reason = str(error).partition("\n")[0]
        raise CheckpointError(f"{checkpoint}: its model cannot be made from what it says ({reason}).") from error
    require_fit(weights, weightless.state_dict(), checkpoint)
    repeated = [name for name, value in weights.items() if not _is_whole(value)]
    if repeated:
        raise CheckpointError(
            f"{checkpoint}: expected whole tensors, got one whose elements it repeats: {repeated[0]}."
        )


def _is_whole(value: Tensor) -> bool:
    """Return whether a file holds all elements of a tensor: one that repeats a few of them can claim any size."""
    return value.layout == torch.strided and value.untyped_storage().nbytes() >= value.numel() * value.element_size()


def _said_size(about: Mapping[str, Any], checkpoint: Path | str) -> Any:
    """Return the size of the images as the checkpoint says it, None where it does not.

    Raises:
        CheckpointError: If no image of that size is read.
    """
    size, most = about.get("image_size"), Image.MAX_IMAGE_PIXELS
    if size is not None and most is not None and size[0] * size[1] > most:
        raise CheckpointError(f"{checkpoint}: expected its image_size to have at most {most} pixels, got {size}.")
    return size
