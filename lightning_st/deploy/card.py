"""What a deployed model says of itself, inside its file: enough to use it without this package."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from lightning_st.errors import CheckpointError, ConfigError, quoted
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
        try:
            values = {name: json.loads(text) for name, text in strings.items() if name in _FIELDS}
        except (ValueError, RecursionError) as error:
            raise CheckpointError(f"{path}: damaged: what it says of itself is no JSON ({error}).") from error
        if values["schema"] != SCHEMA:
            raise CheckpointError(
                f"{path}: written by lightning_st {quoted(values.get('version'))} in schema "
                f"{quoted(values['schema'])}, this version reads schema {SCHEMA}."
            )
        for name, (is_right, expected) in _FIELDS.items():
            if name not in values or not is_right(values[name]):
                found = quoted(values[name]) if name in values else "nothing"
                raise CheckpointError(f"{path}: damaged: expected {name} to be {expected}, got {found}.")
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_triple(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(map(_is_number, value))


def _is_size(value: Any) -> bool:
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(side) is int and side > 0 for side in value)
    return is_pair and value[0] * value[1] <= (Image.MAX_IMAGE_PIXELS or value[0] * value[1])


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_NUMBER_OR_NONE = (lambda value: value is None or _is_number(value), "a number or null")

_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model": (_is_text, "a name"),
    "target": (lambda value: value in ("boxes", "masks"), "boxes or masks"),
    "classes": (_are_names, "a list of names"),
    "image_size": (_is_size, "[height, width] in pixels"),
    "score_threshold": _NUMBER_OR_NONE,
    "nms_iou": _NUMBER_OR_NONE,
    "max_detections": _NUMBER_OR_NONE,
    "checkpoint": (_is_text, "a fingerprint"),
    "mean": (_is_triple, "three numbers"),
    "std": (_is_triple, "three numbers"),
    "padding_colour": (_is_triple, "three numbers"),
    "resize": (_is_text, "a sentence"),
    "version": (_is_text, "a version"),
    "schema": (_is_number, "a number"),
}
"""What `Card.to_strings` writes in each field, as JSON; and how to say that."""
