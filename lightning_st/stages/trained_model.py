"""The model in a checkpoint: made again from what the checkpoint says, or from a config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from lightning_st.data.options import read_size
from lightning_st.errors import ConfigError
from lightning_st.modules import load_weights, read_checkpoint, rebuildable_spec
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
        about = read_checkpoint(checkpoint)["lightning_st"]
        spec = rebuildable_spec(about, checkpoint) if model is None else dict(model)
        size = about.get("image_size") if image_size is None else image_size
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
