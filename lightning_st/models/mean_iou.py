"""Mean intersection over union, from the confusion matrix of all pixels."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_st.types import IGNORE_INDEX, MaskPrediction, MaskTarget

ConfusionCells = dict[str, NDArray[np.int64]]
"""The cells of an image's confusion matrix that are not zero: "cells" int64 [N], truth * classes + prediction, and
"counts" int64 [N], pixels. An image holds few of the classes, so this is small."""


class MeanIoU:
    """How well the classes of pixels are predicted, over all pixels of all images together.

    ``compute()`` returns "mIoU" (the mean over the classes that are in the truth or predicted), "pixel_accuracy",
    "mean_accuracy" (of the pixels of each class in the truth, the share that is found; the mean over those classes) and
    "IoU/<class>" for each class. Pixels of ``IGNORE_INDEX`` in the truth do not count.

    Args:
        classes: The names of the classes, in the order of the masks' values.
    """

    primary = "mIoU"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._images: dict[int, ConfusionCells] = {}

    def update(self, rows: Sequence[int], predictions: Sequence[MaskPrediction], targets: Sequence[MaskTarget]) -> None:
        """Add images.

        Args:
            rows: The images' rows in their index; an image that is added again replaces itself.
            predictions: At the size of the original images.
            targets: The human labels, at the size of the original images.

        Raises:
            ValueError: If a prediction and its target differ in size, or hold a class that there is not.
        """
        for row, prediction, target in zip(rows, predictions, targets, strict=True):
            self._images[int(row)] = self._count(int(row), prediction["mask"], target["mask"])

    def state(self) -> dict[int, ConfusionCells]:
        """Return what was added, by row."""
        return dict(self._images)

    def merge(self, states: Iterable[dict[int, ConfusionCells]]) -> None:
        """Replace what was added by the union of ``states``; an image in several of them counts once."""
        self._images = {row: image for state in states for row, image in state.items()}

    def reset(self) -> None:
        """Forget everything that was added."""
        self._images = {}

    def compute(self) -> dict[str, float]:
        """Return the numbers, 0-1; NaN where there is no pixel to judge."""
        confusion = self.confusion_matrix()
        hits, truths, found = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
        ious = _ratios(hits, truths + found - hits)
        numbers = {
            "mIoU": _mean(ious),
            "pixel_accuracy": float(_ratios(hits.sum(keepdims=True), truths.sum(keepdims=True))[0]),
            "mean_accuracy": _mean(_ratios(hits, truths)),
        }
        return numbers | {f"IoU/{name}": float(iou) for name, iou in zip(self.classes, ious, strict=True)}

    def confusion_matrix(self) -> NDArray[np.int64]:
        """Return the pixels of all images by class, int64 [C, C]: rows are the truth, columns the prediction."""
        matrix = np.zeros(len(self.classes) ** 2, np.int64)
        for image in self._images.values():
            matrix[image["cells"]] += image["counts"]
        return matrix.reshape(len(self.classes), len(self.classes))

    def _count(self, row: int, predicted: Tensor, truth: Tensor) -> ConfusionCells:
        """Return the confusion of one image; the work is done where the prediction lies."""
        if predicted.shape != truth.shape:
            sizes = f"{tuple(truth.shape)}, got {tuple(predicted.shape)}"
            raise ValueError(f"Expected the predicted mask of image {row} to be of its target's size {sizes}.")
        truth = truth.to(predicted.device)
        is_judged = truth != IGNORE_INDEX
        true_class, predicted_class = truth[is_judged].int(), predicted[is_judged].int()
        for name, labels in (("target", true_class), ("predicted mask", predicted_class)):
            if labels.numel() and labels.max() >= len(self.classes):
                allowed = f"classes below {len(self.classes)}, got {int(labels.max())}"
                raise ValueError(f"Expected the {name} of image {row} to hold {allowed}.")
        class_count = len(self.classes)
        counts = torch.bincount(true_class * class_count + predicted_class, minlength=class_count**2).cpu().numpy()
        cells = np.flatnonzero(counts)
        return {"cells": cells.astype(np.int64), "counts": counts[cells].astype(np.int64)}


def _ratios(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return ``part / whole``, NaN where ``whole`` is 0."""
    ratios: NDArray[np.float64] = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
    return ratios


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is defined, NaN if nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")
