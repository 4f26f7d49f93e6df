"""Draws to training batches, and rows to evaluation batches; a whole batch at a time, in a worker."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, default_collate

from lightning_st.data.decoding import Size
from lightning_st.data.image_file import ImageFile
from lightning_st.data.labels import EvaluationLabels, TrainingSet
from lightning_st.data.sampling import Draw, StreamName, generator
from lightning_st.errors import ConfigError, DataError, ImageError
from lightning_st.transforms import Policy, centre_crop, fit
from lightning_st.types import Batch, BoxKind, EvalBatch, Sample

_BOXES_MULTIPLE = 32
"""Batches pad their boxes to a multiple of this, so that few shapes occur and each is compiled once."""

_SECOND_STREAMS = ("pseudo", "joint")
"""Streams whose images are ``pseudo`` in a batch: those that come beside the human-labelled ones."""

_MOST_TRIES = 100
"""Neighbours that are tried in place of an image that cannot be read."""


class TrainDataset(Dataset[Batch]):
    """Turns the draws of one batch into the batch.

    Args:
        sets: The set of each stream.
        policy: The augmentation, the same for all (paper.md, section 0).
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
        samples = [image.views[0] for image in chosen]
        boxes, labels, kinds = _pad_boxes(samples)
        batch: Batch = {
            "images": _stack([sample.image for sample in samples]),
            "boxes": boxes,
            "labels": labels,
            "kinds": kinds,
            "pseudo": torch.tensor([draw.stream in _SECOND_STREAMS for draw in draws]),
            "rows": torch.tensor([image.row for image in chosen]),
            "positions": torch.tensor([draw.position for draw in draws]),
            "bad_images": bad_images,
        }
        masks = [sample.mask for sample in samples if sample.mask is not None]
        if masks:
            batch["masks"] = default_collate([torch.from_numpy(mask) for mask in masks])
        others = [view.image for image in chosen for view in image.views[1:]]
        if others:
            batch["other_views"] = _stack(others)
        sets = [self._sets[draw.stream] for draw in draws]
        self._add_image_labels(batch, sets)
        self._add_marks_of_doubt(batch, samples, sets)
        return batch

    def _add_marks_of_doubt(self, batch: Batch, samples: Sequence[Sample], sets: Sequence[TrainingSet]) -> None:
        """Add how far pseudo-labels are believed where some stream has labels that are not believed in full."""
        thresholds = [each.thresholds for each in self._sets.values() if each.thresholds is not None]
        if any(each.weight_power for each in thresholds):
            if any(each.target == "masks" for each in self._sets.values()):
                batch["mask_weights"] = _stack_mask_weights(samples)
            else:
                batch["weights"] = _pad_weights(samples, batch["boxes"].shape[1])
        unknown = next((each.unknown for each in thresholds if each.unknown is not None), None)
        if unknown is not None:
            nothing = np.zeros_like(unknown)
            doubts = [nothing if each.thresholds is None else each.thresholds.unknown for each in sets]
            batch["unknown_classes"] = torch.from_numpy(np.stack([nothing if d is None else d for d in doubts]))

    def _add_image_labels(self, batch: Batch, sets: Sequence[TrainingSet]) -> None:
        """Add the classes of whole images where some stream has them; ``sets`` is that of each image."""
        if all(training_set.image_labels is None for training_set in self._sets.values()):
            return
        rows = zip(sets, batch["rows"].tolist(), strict=True)
        batch["image_labels"] = torch.tensor([training_set.image_label(row) for training_set, row in rows])
        if any(training_set.target == "boxes" for training_set in self._sets.values()):
            batch["has_boxes"] = torch.tensor([training_set.target == "boxes" for training_set in sets])

    def _choose(self, draw: Draw, bad_images: list[str]) -> "_Chosen":
        """Return the image of a draw, and add what could not be read to ``bad_images``."""
        stream = self._sets[draw.stream].stream
        row = draw.row
        for skip in range(1, min(len(stream), _MOST_TRIES) + 1):
            try:
                return _Chosen(row, self._load(draw, row))
            except ImageError as error:
                bad_images.append(str(error))
            row = int(stream.draw(np.array([draw.position]), skip)[0])
        raise DataError(f"None of {skip} images in a row can be read, the last because: {bad_images[-1]}.")

    def _load(self, draw: Draw, row: int) -> list[Sample]:
        """Return the image of ``row``, augmented as the draw's position says; decoded once, however many views."""
        training_set = self._sets[draw.stream]
        file = ImageFile.open(training_set.index.image(row), training_set.index.is_labeled)
        height, width = file.size
        generators = (generator(self._seed, draw.stream, draw.position, view) for view in range(training_set.views))
        drawn = [self._policy.draw(each, height, width) for each in generators]
        sample = training_set.sample(row, file, min(each.reduction for each in drawn))
        views = [self._policy.apply(sample, each) for each in drawn]
        if any(_weighs(sample) and not _weighs(view) for view in views):
            raise ConfigError(
                f"{type(self._policy).__name__} (data.augment) loses how much each label counts: make what it returns "
                "with dataclasses.replace(sample, ...) and Sample.keep, or set pseudo_label.weight_power to 0."
            )
        return views


class _Chosen(NamedTuple):
    """One image of a training batch: its row, and the views that are made of it."""

    row: int
    views: list[Sample]


class _Fitted(NamedTuple):
    """One image of an evaluation batch; see ``types.EvalBatch``."""

    row: int
    size: Size
    pixels: NDArray[np.uint8]
    scales: tuple[float, float]


class EvalDataset(Dataset[EvalBatch]):
    """Turns rows of an index into a batch for evaluation or labelling.

    Args:
        labels: The images and their labels.
        image_size: (height, width) of the batch in pixels.
    """

    def __init__(self, labels: EvaluationLabels, image_size: Size) -> None:
        self._labels = labels
        self._index = labels.index
        self._image_size = image_size

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
            "targets": [self._labels.of(image.row) for image in fitted],
            "bad_images": bad_images,
        }

    def _fit(self, row: int, bad_images: list[str]) -> "_Fitted":
        """Return the image of a row, or a blank one after adding to ``bad_images`` what is wrong with it."""
        if row >= 0:
            try:
                file = ImageFile.open(self._index.image(row), self._index.is_labeled)
                place = centre_crop if self._labels.target == "classes" else fit
                return _Fitted(row, file.size, *place(file.decode(), self._image_size))
            except ImageError as error:
                bad_images.append(str(error))
        return _Fitted(-1, self._image_size, np.zeros((*self._image_size, 3), np.uint8), (1.0, 1.0))


def _stack(images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Return images of one size, each uint8 [H, W, 3], as uint8 [B, 3, H, W] in channels-last memory.

    In a worker, PyTorch's own collation writes straight to the memory that the main process will read.
    """
    stacked: torch.Tensor = default_collate([torch.from_numpy(image) for image in images])
    return stacked.permute(0, 3, 1, 2)


def _weighs(sample: Sample) -> bool:
    return sample.weights is not None or sample.mask_weights is not None


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


def _pad_weights(samples: Sequence[Sample], width: int) -> torch.Tensor:
    """Return the weights of ``types.Batch``; labels of people count in full."""
    weights = np.ones((len(samples), width), np.float32)
    for row, sample in zip(weights, samples, strict=True):
        if sample.weights is not None:
            row[: len(sample.weights)] = sample.weights
    return torch.from_numpy(weights)


def _stack_mask_weights(samples: Sequence[Sample]) -> torch.Tensor:
    """Return the mask weights of ``types.Batch``, likewise."""
    full = np.full(samples[0].image.shape[:2], 255, np.uint8)
    weights = [full if sample.mask_weights is None else sample.mask_weights for sample in samples]
    stacked: torch.Tensor = default_collate([torch.from_numpy(each) for each in weights])
    return stacked
