"""What a deployed model says of itself, inside its file: enough to use it without this package."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning_st.errors import CheckpointError, ConfigError
from lightning_st.types import IMAGE_MEAN, IMAGE_STD, PADDING_COLOUR, TargetName

SCHEMA = 1

RESIZE = (
    "aspect ratio kept, bilinear (areas where it shrinks to less than half), at the top left, padding_colour elsewhere"
)


@dataclass(frozen=True)
class Card:
    """What a deployed model says of itself.

    Attributes:
        model: The name of its class, such as "RetinaNet".
        target: "boxes" or "masks".
        classes: Their names, in the order of the labels.
        image_size: (height, width) of its input in pixels.
        score_threshold: Of boxes: only scores above it are predicted.
        nms_iou: Of boxes: of two predictions of one class with a larger IoU only the better stays.
        max_detections: Of boxes: the most that are predicted for one image.
        checkpoint: The fingerprint of the weights, see ``checkpoint_fingerprint``; empty where there is no file.
        mean: Of the three channels in 0-1. The model normalises its input itself; this is for the record.
        std: Likewise.
        padding_colour: RGB 0-255, of the canvas outside the image.
        resize: How an image becomes an input.
        version: Of the package that wrote the file.
        schema: Of this record.
    """

    model: str
    target: TargetName
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    score_threshold: float | None = None
    nms_iou: float | None = None
    max_detections: int | None = None
    checkpoint: str = ""
    mean: tuple[float, ...] = IMAGE_MEAN
    std: tuple[float, ...] = IMAGE_STD
    padding_colour: tuple[int, ...] = PADDING_COLOUR
    resize: str = RESIZE
    version: str = ""
    schema: int = SCHEMA

    @classmethod
    def of(cls, task: Any, image_size: tuple[int, int], checkpoint: str = "") -> "Card":
        """Return what is to be said of ``task``.

        Raises:
            ConfigError: If it is neither a detector nor a segmenter of this package's kind.
        """
        if task.target not in ("boxes", "masks"):
            advice = "Detectors (RetinaNet) and segmenters (SemanticSegmenter) are deployed."
            raise ConfigError(f"{type(task).__name__} predicts neither boxes nor masks. {advice}")
        names = ("score_threshold", "nms_iou", "max_detections") if task.target == "boxes" else ()
        limits: dict[str, Any] = {name: getattr(task, name, None) for name in names}
        return cls(
            model=type(task).__name__,
            target=task.target,
            classes=tuple(task.classes),
            image_size=image_size,
            checkpoint=checkpoint,
            version=version("lightning_st"),
            **limits,
        )

    def to_strings(self) -> dict[str, str]:
        """Return each field as JSON: what a file's metadata can hold.

        Example:
            >>> Card("RetinaNet", "boxes", ("cat", "dog"), (256, 320)).to_strings()["classes"]
            '["cat", "dog"]'
        """
        return {name: json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], path: Path | str) -> "Card":
        """Return what ``to_strings`` wrote.

        Raises:
            CheckpointError: If it is not there, or of another schema.
        """
        if "schema" not in strings or "image_size" not in strings:
            raise CheckpointError(f"{path}: not a model that `lightning_st export` wrote: it does not say what it is.")
        if json.loads(strings["schema"]) != SCHEMA:
            raise CheckpointError(
                f"{path}: written by lightning_st {json.loads(strings['version'])} in schema {strings['schema']}, "
                f"this version reads schema {SCHEMA}."
            )
        values = {field.name: json.loads(strings[field.name]) for field in fields(cls)}
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)
