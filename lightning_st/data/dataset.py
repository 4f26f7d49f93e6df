"""Draws to training batches, and rows to evaluation batches; a whole batch at a time, in a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from lightning_st.data.decoding import Header, Size, decode, read_bytes, read_header
from lightning_st.data.sampling import Draw, Stream, StreamName, generator
from lightning_st.errors import DataError, ImageError
from lightning_st.index import AnnotationIndex, ImageRecord
from lightning_st.transforms import Policy, fit
from lightning_st.types import Batch, BoxKind, EvalBatch, Sample, ScoreThresholds, Target

_BOXES_MULTIPLE = 32
"""Batches pad their boxes to a multiple of this, so that few shapes occur and each is compiled once."""

_MOST_TRIES = 100
"""Neighbours that are tried in place of an image that cannot be read."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """The bytes of one image, and how it has to be read so that it agrees with its annotations.

    Attributes:
        name: For messages.
        data: The bytes.
        header: What they begin with.
        turn: Whether EXIF's turning is to be followed.
    """

    name: str
    data: bytes
    header: Header
    turn: bool

    @classmethod
    def open(cls, record: ImageRecord, is_labeled: bool) -> "ImageFile":
        """Read the file of ``record``.

        Boxes may have been drawn on the image as it lies in the file, before EXIF turns it: then the annotations give
        its sides in that order, and it is not turned. Where both orders are the same (a square, a turn by 180 degrees)
        the boxes are taken for what a person sees. Without labels there is nothing to agree with.

        Raises:
            ImageError: If it cannot be read, or has another size than its annotations say.
        """
        name = record.path if record.length < 0 else f"{record.path}/{record.name}"
        data = read_bytes(record.path, record.offset, None if record.length < 0 else record.length)
        header = read_header(data, name)
        said = record.height, record.width
        if not is_labeled or 0 in said or said == header.size:
            return cls(name, data, header, turn=True)
        if said == header.stored_size:
            return cls(name, data, header, turn=False)
        height, width = header.size
        raise ImageError(name, f"annotations say {said[1]} x {said[0]}, the file is {width} x {height}")

    @property
    def size(self) -> Size:
        """(height, width) of the image in pixels."""
        return self.header.size if self.turn else self.header.stored_size

    def decode(self, reduction: int = 1) -> NDArray[np.uint8]:
        """Return the image, uint8 [H, W, 3], up to ``reduction`` times smaller; see ``decoding.decode``."""
        return decode(self.data, self.name, header=self.header, reduction=reduction, turn=self.turn)

    def boxes_in(self, image: NDArray[np.uint8], boxes: NDArray[np.float32], reduction: int = 1) -> NDArray[np.float32]:
        """Return boxes of the original image in pixels of what ``decode(reduction)`` made of it.

        Args:
            image: uint8 [H, W, 3], as decoded.
            boxes: float32 [N, 4], xyxy in pixels of the original image.
            reduction: As decoded with.
        """
        if image.shape[:2] == self.size:
            return boxes
        mirrored = self.header.mirrored if self.turn else (False, False)
        # Along a mirrored side the partial pixel, if there is one, comes first.
        y, x = (
            (decoded - side / reduction) * is_mirrored
            for decoded, side, is_mirrored in zip(image.shape[:2], self.size, mirrored, strict=True)
        )
        moved: NDArray[np.float32] = boxes / np.float32(reduction) + np.array([x, y, x, y], np.float32)
        return moved


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The images of one stream, with their labels.

    Attributes:
        stream: In which order they come.
        index: Where they are.
        thresholds: Which of their boxes are shown, where these are pseudo-labels; None for human labels.
    """

    stream: Stream
    index: AnnotationIndex
    thresholds: ScoreThresholds | None = None

    def labels_of(self, row: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.uint8]]:
        """Return the boxes (float32 [N, 4], pixels of the original image), labels (int64 [N]) and kinds (uint8 [N])."""
        found = self.index.annotations(row)
        kinds = np.where(found.crowd, BoxKind.CROWD, BoxKind.OBJECT).astype(np.uint8)
        if self.thresholds is None:
            return found.boxes, found.labels.astype(np.int64), kinds
        kinds = self.thresholds.kinds(found.labels, found.scores)
        shown = kinds != BoxKind.PADDING
        return found.boxes[shown], found.labels[shown].astype(np.int64), kinds[shown]


class TrainDataset(Dataset[Batch]):
    """Turns the draws of one batch into the batch.

    Args:
        sets: The labelled set, and the pseudo-labelled one if there is any.
        policy: The augmentation, the same for both (paper.md, section 0).
        seed: Of the run.
    """

    def __init__(self, sets: Mapping[StreamName, TrainingSet], policy: Policy, seed: int) -> None:
        self._sets = dict(sets)
        self._policy = policy
        self._seed = seed

    def __getitem__(self, draw: Draw) -> Batch:
        """Return a batch of one image."""
        return self.__getitems__([draw])

    def __getitems__(self, draws: Sequence[Draw]) -> Batch:
        """Return the batch of ``draws``; an image that cannot be read is replaced by the next of its pass that can.

        Raises:
            DataError: If none of a hundred neighbours can be read either.
        """
        bad_images: list[str] = []
        chosen = [self._choose(draw, bad_images) for draw in draws]
        boxes, labels, kinds = _pad_boxes([sample for sample, _ in chosen])
        return {
            "images": _stack([sample.image for sample, _ in chosen]),
            "boxes": boxes,
            "labels": labels,
            "kinds": kinds,
            "pseudo": torch.tensor([draw.stream == "pseudo" for draw in draws]),
            "rows": torch.tensor([row for _, row in chosen]),
            "positions": torch.tensor([draw.position for draw in draws]),
            "bad_images": bad_images,
        }

    def _choose(self, draw: Draw, bad_images: list[str]) -> tuple[Sample, int]:
        """Return the sample of a draw and its row, and add what could not be read to ``bad_images``."""
        stream = self._sets[draw.stream].stream
        row = draw.row
        for skip in range(1, min(len(stream), _MOST_TRIES) + 1):
            try:
                return self._load(draw, row), row
            except ImageError as error:
                bad_images.append(str(error))
            row = int(stream.draw(np.array([draw.position]), skip)[0])
        raise DataError(f"None of {skip} images in a row can be read, the last because: {bad_images[-1]}.")

    def _load(self, draw: Draw, row: int) -> Sample:
        """Return the image of ``row``, augmented as the draw's position says."""
        training_set = self._sets[draw.stream]
        file = ImageFile.open(training_set.index.image(row), training_set.index.is_labeled)
        height, width = file.size
        drawn = self._policy.draw(generator(self._seed, draw.stream, draw.position), height, width)
        image = file.decode(drawn.reduction)
        boxes, labels, kinds = training_set.labels_of(row)
        boxes = file.boxes_in(image, boxes, drawn.reduction)
        return self._policy.apply(Sample(image, boxes, labels, kinds), drawn)


class _Fitted(NamedTuple):
    """One image of an evaluation batch; see ``types.EvalBatch``."""

    row: int
    size: Size
    pixels: NDArray[np.uint8]
    scales: tuple[float, float]


class EvalDataset(Dataset[EvalBatch]):
    """Turns rows of an index into a batch for evaluation or labelling.

    Args:
        index: The images.
        image_size: (height, width) of the batch in pixels.
        class_map: int64 [C], what each label of the index is among the classes of the model; None for the same.
    """

    def __init__(self, index: AnnotationIndex, image_size: Size, class_map: NDArray[np.int64] | None = None) -> None:
        self._index = index
        self._image_size = image_size
        self._class_map = class_map

    def __getitem__(self, row: int) -> EvalBatch:
        """Return a batch of one image."""
        return self.__getitems__([row])

    def __getitems__(self, rows: Sequence[int]) -> EvalBatch:
        """Return the batch of ``rows``; an image that cannot be read is blank, and so is one of row -1."""
        bad_images: list[str] = []
        fitted = [self._fit(row, bad_images) for row in rows]
        return {
            "images": _stack([image.pixels for image in fitted]),
            "scales": torch.tensor([image.scales for image in fitted], dtype=torch.float32),
            "sizes": torch.tensor([image.size for image in fitted]),
            "rows": torch.tensor([image.row for image in fitted]),
            "targets": [self._target(image.row) for image in fitted],
            "bad_images": bad_images,
        }

    def _fit(self, row: int, bad_images: list[str]) -> "_Fitted":
        """Return the image of a row, or a blank one after adding to ``bad_images`` what is wrong with it."""
        if row >= 0:
            try:
                file = ImageFile.open(self._index.image(row), self._index.is_labeled)
                return _Fitted(row, file.size, *fit(file.decode(), self._image_size))
            except ImageError as error:
                bad_images.append(str(error))
        return _Fitted(-1, self._image_size, np.zeros((*self._image_size, 3), np.uint8), (1.0, 1.0))

    def _target(self, row: int) -> Target:
        """Return the labels of an image; empty ones, without a look at the index, where there can be none."""
        if row < 0 or not self._index.is_labeled:
            return {
                "boxes": torch.zeros(0, 4),
                "labels": torch.zeros(0, dtype=torch.int64),
                "crowd": torch.zeros(0, dtype=torch.bool),
                "areas": torch.zeros(0),
            }
        found = self._index.annotations(row)
        labels = found.labels.astype(np.int64)
        return {
            "boxes": torch.from_numpy(found.boxes.copy()),
            "labels": torch.from_numpy(labels if self._class_map is None else self._class_map[labels]),
            "crowd": torch.from_numpy(found.crowd.copy()),
            "areas": torch.from_numpy(found.areas.copy()),
        }


def _stack(images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Return images of one size, each uint8 [H, W, 3], as uint8 [B, 3, H, W] in channels-last memory.

    In a worker, PyTorch's own collation writes straight to the memory that the main process will read.
    """
    stacked: torch.Tensor = default_collate([torch.from_numpy(image) for image in images])
    return stacked.permute(0, 3, 1, 2)


def _pad_boxes(samples: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the boxes, labels and kinds of ``types.Batch``."""
    most = max(1, *(len(sample.boxes) for sample in samples))
    width = -(-most // _BOXES_MULTIPLE) * _BOXES_MULTIPLE
    boxes = np.zeros((len(samples), width, 4), np.float32)
    labels = np.full((len(samples), width), -1, np.int64)
    kinds = np.full((len(samples), width), BoxKind.PADDING, np.uint8)
    for i, sample in enumerate(samples):
        count = len(sample.boxes)
        boxes[i, :count], labels[i, :count], kinds[i, :count] = sample.boxes, sample.labels, sample.kinds
    return torch.from_numpy(boxes), torch.from_numpy(labels), torch.from_numpy(kinds)
