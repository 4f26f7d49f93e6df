"""COCO's average precision, as pycocotools defines it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.models.coco_precision import RECALLS, THRESHOLDS, Boxes, precision_of
from lightning_st.models.image_records import ImageRecords

AREA_NAMES = ("all", "small", "medium", "large")
"""COCO's ranges of an object's area: all, below 32^2, up to 96^2, above, in square pixels of the original image."""


class CocoMetric(ImageRecords):
    """Average precision over IoU thresholds 0.50 to 0.95, as COCO defines it.

    ``compute()`` returns "AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR" (the mean recall with at most
    ``max_detections`` detections) and "AP/<class>" for each class.

    Args:
        classes: The names of the classes, in the order of the labels.
        max_detections: The best of each class and image that count; COCO has 100.
    """

    primary = "AP"

    def __init__(self, classes: Sequence[str], max_detections: int = 100) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.max_detections = max_detections

    def compute(self) -> dict[str, float]:
        """Return the numbers, 0-1; NaN where there is nothing to find."""
        precision, recall = self._evaluate()
        numbers = {
            "AP": _mean(precision[..., 0]),
            "AP50": _mean(precision[0, ..., 0]),
            "AP75": _mean(precision[5, ..., 0]),
        }
        numbers |= {f"AP_{name}": _mean(precision[..., i]) for i, name in enumerate(AREA_NAMES) if name != "all"}
        numbers["AR"] = _mean(recall[..., 0])
        return numbers | {f"AP/{name}": _mean(precision[:, :, i, 0]) for i, name in enumerate(self.classes)}

    def _evaluate(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return precision [T, R, K, 4] and recall [T, K, 4] by IoU threshold, recall, class, area; -1 for nothing."""
        shape = (len(THRESHOLDS), len(RECALLS), len(self.classes), len(AREA_NAMES))
        precision, recall = np.full(shape, -1.0), np.full(shape[:1] + shape[2:], -1.0)
        truth, found = self._by_class("true_"), self._by_class("")
        for label in range(len(self.classes)):
            numbers = precision_of(found[label], truth[label], self.max_detections)
            if numbers is not None:
                precision[:, :, label], recall[:, label] = numbers
        return precision, recall

    def _by_class(self, prefix: str) -> list[Boxes]:
        """Return the labels (``prefix`` "true_") or the predictions (no prefix) of each class, by the image's row."""
        rows = sorted(self._images)
        images = [self._images[row] for row in rows]
        counts = [len(image[f"{prefix}labels"]) for image in images]
        corners = _join([image[f"{prefix}boxes"] for image in images], np.float64).reshape(-1, 4)
        corners[:, 2:] -= corners[:, :2]  # sides
        own_areas = corners[:, 2] * corners[:, 3]
        is_truth = bool(prefix)
        boxes = Boxes(
            images=np.repeat(np.arange(len(rows)), counts),
            boxes=corners,
            areas=_join([image["true_areas"] for image in images], np.float64) if is_truth else own_areas,
            scores=np.ones(len(corners)) if is_truth else _join([image["scores"] for image in images], np.float64),
            crowd=_join([image["true_crowd"] for image in images], bool) if is_truth else np.zeros(len(corners), bool),
        )
        labels = _join([image[f"{prefix}labels"] for image in images], np.int64)
        order = np.argsort(labels, kind="stable")
        ends = np.searchsorted(labels[order], np.arange(len(self.classes) + 1))
        return [boxes.take(order[start:end]) for start, end in pairwise(ends)]


def _join(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    """Return arrays one behind the other, of a type."""
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of what is defined, NaN if nothing is."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else float("nan")
