"""The vocabulary that all rooms share: a sample, a batch, a prediction, a task.

Boxes are ``xyxy`` (left, top, right, bottom) in pixels, continuous coordinates: a box over the whole image is
``[0, 0, width, height]``. Labels are class indices ``0 .. C-1`` in the order of the data's class names. Images are
RGB, uint8, until the model normalises them on its device. Nothing here imports torch at run time, so that ``index`` and
``reports`` stay light.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import NotRequired

IMAGE_MEAN = (0.485, 0.456, 0.406)
"""Mean of the three channels in 0-1 (paper.md, section 2.1)."""

IMAGE_STD = (0.229, 0.224, 0.225)
"""Standard deviation of the three channels in 0-1 (paper.md, section 2.1)."""

PADDING_COLOUR = (124, 116, 104)
"""The uint8 colour that is nearest to zero after normalisation: the canvas outside the image."""

IGNORE_INDEX = 255
"""The value of a mask's pixel that nothing is said of: it is neither learnt nor judged."""

TargetName = Literal["boxes", "masks", "classes", "views"]
"""What a task learns of an image: objects, the class of each pixel, the one class of the whole image, or, without any
label, that two views of it are of one image."""


class BoxKind(IntEnum):
    """What a row of a batch's padded boxes is. Only OBJECT rows are learnt as objects."""

    PADDING = 0
    """No box: fills a row up to the batch's longest."""
    OBJECT = 1
    """A labelled object, or a pseudo-label that is trusted."""
    CROWD = 2
    """A region of objects not boxed one by one (COCO ``iscrowd``, Open Images ``IsGroupOf``): no negatives inside."""
    UNSURE = 3
    """A pseudo-label in the ignore band: neither positive nor negative."""


@dataclass(slots=True)
class Sample:
    """One image with its labels while it is transformed, in numpy.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        boxes: float32 [N, 4], xyxy in pixels of ``image``.
        labels: int64 [N], class indices.
        kinds: uint8 [N], ``BoxKind``.
        mask: uint8 [H, W] class indices with 255 for ignore, or None where the task has no masks.
        weights: float32 [N], how much each box counts in the loss, 0-1; None where each counts in full.
        mask_weights: uint8 [H, W], how much each pixel of the mask counts, in 255ths; None likewise.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    mask: NDArray[np.uint8] | None = None
    weights: NDArray[np.float32] | None = None
    mask_weights: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Refuse per-box arrays of different lengths (a silent mismatch would mislabel every later box)."""
        if not len(self.boxes) == len(self.labels) == len(self.kinds):
            lengths = f"{len(self.boxes)} boxes, {len(self.labels)} labels, {len(self.kinds)} kinds"
            raise ValueError(f"Expected as many labels and kinds as boxes, got {lengths}.")
        if self.weights is not None and len(self.weights) != len(self.boxes):
            raise ValueError(f"Expected a weight for each of {len(self.boxes)} boxes, got {len(self.weights)}.")

    def keep(self, rows: NDArray[Any]) -> Sample:
        """Return the sample with only ``rows`` (bool [N] or indices) of every per-box array."""
        weights = None if self.weights is None else self.weights[rows]
        return replace(self, boxes=self.boxes[rows], labels=self.labels[rows], kinds=self.kinds[rows], weights=weights)

    def move_masks(self, move: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> Sample:
        """Return the sample with ``mask`` and ``mask_weights``, where there are such, moved alike."""
        mask, weights = (None if each is None else move(each) for each in (self.mask, self.mask_weights))
        return replace(self, mask=mask, mask_weights=weights)


class Batch(TypedDict):
    """A training batch of one rank: B images of one size, M the most boxes, rounded up to a multiple of 32."""

    images: Tensor
    """uint8 [B, 3, H, W], RGB, padded at the bottom and right with ``PADDING_COLOUR``."""
    boxes: Tensor
    """float32 [B, M, 4], xyxy in pixels of ``images``; zeros in padding rows."""
    labels: Tensor
    """int64 [B, M], class indices; -1 in padding rows."""
    kinds: Tensor
    """uint8 [B, M], ``BoxKind``."""
    pseudo: Tensor
    """bool [B], True for pseudo-labelled images."""
    rows: Tensor
    """int64 [B], the image's row in its index (labelled or pseudo-labelled)."""
    positions: Tensor
    """int64 [B], the draw's number in its stream: with the seed, all that decides what the image looks like."""
    bad_images: list[str]
    """One "<file>: <problem>" for each image that could not be read and was replaced by the next that can."""
    masks: NotRequired[Tensor]
    """uint8 [B, H, W], the class index of each pixel, ``IGNORE_INDEX`` where nothing is said; only where the target is
    "masks", and then no row of ``boxes`` holds a box."""
    image_labels: NotRequired[Tensor]
    """int64 [B], the class of the whole image, -1 where it is not known; only where some stream has such classes: the
    target "classes", and the second stream of joint training, whose classes are not those of the boxes."""
    has_boxes: NotRequired[Tensor]
    """bool [B], beside ``image_labels`` where the target is "boxes": False for images of which only the class is known.
    Their rows of ``boxes`` are padding and say nothing; they are no background."""
    other_views: NotRequired[Tensor]
    """uint8 [B, 3, H, W], another augmentation of each image of ``images``; only where the target is "views"."""
    weights: NotRequired[Tensor]
    """float32 [B, M], how much the loss of each OBJECT counts, 0-1, and 1 for the labels of people; only where
    pseudo-labels weigh by their scores. So with the next two, see ``MARKS_OF_DOUBT``."""
    mask_weights: NotRequired[Tensor]
    """uint8 [B, H, W], how much the loss of each pixel counts, in 255ths; likewise where the target is "masks"."""
    unknown_classes: NotRequired[Tensor]
    """bool [B, C], the classes that the teacher of an image hardly knows: that nothing is labelled so does not say that
    it is not there, so they are no negatives. False for images that people labelled."""


MARKS_OF_DOUBT = ("weights", "mask_weights", "unknown_classes")
"""Entries of a batch that say how far its pseudo-labels are believed: a task that leaves them unread would learn
something else than was asked for, so it is refused them unless it names them in ``understands``."""


class Target(TypedDict):
    """The human labels of one evaluation image, in pixels of the original image."""

    boxes: Tensor
    """float32 [N, 4], xyxy."""
    labels: Tensor
    """int64 [N]."""
    crowd: Tensor
    """bool [N]."""
    areas: Tensor
    """float32 [N], COCO's ``area`` (of the segmentation where there is one), in square pixels."""


class MaskTarget(TypedDict):
    """The human labels of the pixels of one evaluation image."""

    mask: Tensor
    """uint8 [H, W] at the size of the original image, class indices and ``IGNORE_INDEX``."""


class ClassTarget(TypedDict):
    """The human label of one evaluation image as a whole."""

    label: Tensor
    """int64 [], its class index; -1 where it is not known."""


class EvalBatch(TypedDict):
    """Images of one rank's share for evaluation or labelling; every image of the set stands on exactly one rank."""

    images: Tensor
    """uint8 [B, 3, H, W], resized to fit with the aspect ratio kept, at the top left of the canvas."""
    scales: Tensor
    """float32 [B, 2], (x, y): pixels of ``images`` for each pixel of the original image."""
    sizes: Tensor
    """int64 [B, 2], (height, width) of the original image."""
    rows: Tensor
    """int64 [B], the image's row in its index; -1 where the image cannot be read: skip it."""
    targets: list[Target] | list[MaskTarget] | list[ClassTarget]
    """The labels, as long as the batch; for unlabelled images empty ones, made without reading any label."""
    bad_images: list[str]
    """One "<file>: <problem>" for each image that cannot be read."""


class Prediction(TypedDict):
    """What a detector believes of one image, best score first."""

    boxes: Tensor
    """float32 [N, 4], xyxy in pixels."""
    labels: Tensor
    """int64 [N]."""
    scores: Tensor
    """float32 [N], 0-1."""


class MaskPrediction(TypedDict):
    """What a segmenter believes of one image, at the size of the original image."""

    mask: Tensor
    """uint8 [H, W], the most probable class of each pixel."""
    confidence: Tensor
    """float32 [H, W], its probability, 0-1."""


class ClassPrediction(TypedDict):
    """What a classifier believes of one image."""

    probabilities: Tensor
    """float32 [C], which sum to 1."""


class Metric(Protocol):
    """Judges predictions against targets; keyed by image, so that merging ranks can neither lose nor repeat one."""

    primary: str
    """The key of ``compute()`` that decides which of two models is better, such as "AP"; higher is better."""

    def update(self, rows: Sequence[int], predictions: Sequence[Any], targets: Sequence[Any]) -> None:
        """Add images (by row in their index) with predictions and targets in pixels of the original image."""

    def state(self) -> dict[int, Any]:
        """Return what was added, by row, as plain picklable arrays: what ranks exchange."""

    def merge(self, states: Iterable[dict[int, Any]]) -> None:
        """Replace what was added by the union of ``states``; an image in several of them counts once."""

    def compute(self) -> dict[str, float]:
        """Return the numbers, 0-1; NaN where nothing can be said.

        Per class as "<name>/<class>", where a mean over the classes loses its "m": "mIoU" and "IoU/cat", "AP" and
        "AP/cat".
        """

    def reset(self) -> None:
        """Forget everything that was added."""


class Task(Protocol):
    """A model that answers three questions; an ``nn.Module``. The modules know tasks only through this.

    Its class may have an attribute ``understands``: which of ``MARKS_OF_DOUBT`` its losses honour; none without it.
    """

    classes: tuple[str, ...]
    target: TargetName
    """What it learns: which labels its batches have to hold."""

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each image, float32 [B], and its named parts, each [B], for the log.

        The mean over the images of one stream (human or pseudo, over all ranks) is the paper's loss of that stream.
        """

    def predict(self, images: Tensor, flip: bool = False, scales: Sequence[float] = (1.0,)) -> list[Any]:
        """Return a prediction for each of ``images`` (uint8 [B, 3, H, W]), in pixels of ``images``.

        Args:
            images: The images as they stand in a batch.
            flip: Join with the predictions on the mirrored images.
            scales: Join the predictions on the images at each of these sizes; 1 is their own.

        A task whose boxes compete may take ``soft_nms`` besides, "gaussian" or "linear": see ``models.soft_nms``.
        """

    def restore(self, predictions: list[Any], scales: Tensor, sizes: Tensor) -> list[Any]:
        """Return ``predictions`` in pixels of the original images (see ``EvalBatch`` for scales and sizes)."""

    def metric(self) -> Metric | None:
        """Return a new, empty metric; None where nothing can be judged, as of a model that learns without labels."""


@dataclass(frozen=True, slots=True)
class ScoreThresholds:
    """How far a teacher's labels are believed, by class: the answer of a confidence rule.

    Attributes:
        keep: float32 [C]; a box with ``score >= keep[label]`` is an OBJECT. Above 1 for a class that is never trusted.
        ignore: float32 [C]; a box below ``keep`` with ``score >= ignore[label]`` is UNSURE, one below is dropped.
            Equal to ``keep`` where there is no ignore band.
        weight_power: The loss of a label that is kept weighs its score to this power; 0 and all count in full.
        unknown: bool [C], the classes that the teacher hardly knows: images that it labelled teach where they are, not
            where they are not. None where there is none.
    """

    keep: NDArray[np.float32]
    ignore: NDArray[np.float32]
    weight_power: float = 0.0
    unknown: NDArray[np.bool_] | None = None

    @classmethod
    def uniform(cls, class_count: int, keep: float, ignore: float | None = None) -> ScoreThresholds:
        """Return the same thresholds for every class; without ``ignore`` there is no ignore band."""
        band = keep if ignore is None else ignore
        return cls(np.full(class_count, keep, np.float32), np.full(class_count, band, np.float32))

    def kinds(self, labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the ``BoxKind`` of each box, uint8 [N]; PADDING for boxes that are dropped.

        Example:
            >>> ScoreThresholds.uniform(1, keep=0.5, ignore=0.1).kinds(np.zeros(3, int), np.array([0.5, 0.3, 0.05]))
            array([1, 3, 0], dtype=uint8)
        """
        unsure = np.where(scores >= self.ignore[labels], BoxKind.UNSURE, BoxKind.PADDING)
        return np.where(scores >= self.keep[labels], BoxKind.OBJECT, unsure).astype(np.uint8)

    def weights(self, scores: NDArray[Any]) -> NDArray[np.float32] | None:
        """Return how much the loss of each label counts, float32 of the shape of ``scores`` (0-1); None for in full.

        Example:
            >>> replace(ScoreThresholds.uniform(1, keep=0.5), weight_power=2.0).weights(np.array([0.5, 1.0]))
            array([0.25, 1.  ], dtype=float32)
        """
        return None if self.weight_power == 0 else (scores**self.weight_power).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, for a manifest: the shortest numbers that ``from_json`` makes the same float32 of.

        What is off is left out.
        """
        record: dict[str, Any] = {name: [float(str(x)) for x in getattr(self, name)] for name in ("keep", "ignore")}
        if self.weight_power:
            record["weight_power"] = self.weight_power
        if self.unknown is not None:
            record["unknown"] = self.unknown.tolist()
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> ScoreThresholds:
        """Return what ``to_json`` wrote."""
        keep, ignore = (np.asarray(record[name], np.float32) for name in ("keep", "ignore"))
        unknown = np.asarray(record["unknown"], bool) if "unknown" in record else None
        return cls(keep, ignore, record.get("weight_power", 0.0), unknown)
