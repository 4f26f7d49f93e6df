"""PASCAL VOC's average precision, as the development kits of VOC2007 and of VOC2010 and later define it.

Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010, section 4.2; the devkit's ``VOCevaldet.m``
and ``VOCap.m``.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_st.models.arguments import require
from lightning_st.models.image_records import ImageRecords, ImageState

ELEVEN_POINTS = np.arange(11) / 10
"""The recalls at which VOC2007 looks at the precision. Quotients, as recalls are: equal where they should be."""


class Judged(NamedTuple):
    """The detections of all images, or of one class, best score first.

    Attributes:
        labels: int64 [N].
        right: bool [N], found an object that no better detection had found.
        wrong: bool [N]; neither, where it found a difficult object.
    """

    labels: NDArray[np.int64]
    right: NDArray[np.bool_]
    wrong: NDArray[np.bool_]


class VocMetric(ImageRecords):
    """Average precision at one IoU threshold, as PASCAL VOC defines it.

    A detection belongs to the object of its class that it overlaps most, whoever else has found that object, if their
    IoU is at least ``iou``. The best detection of an object is right, each further one is wrong; a detection of a
    difficult object (``Target.crowd``) is neither, and difficult objects need not be found. The devkit's boxes hold
    their last pixel, so its sides are longer by 1; in the continuous coordinates of ``types`` that is the same IoU.

    ``compute()`` returns "mAP", the mean over the classes that have objects, and "AP/<class>" for each class.

    Args:
        classes: The names of the classes, in the order of the labels.
        eleven_points: True for VOC2007's mean of the precision at the recalls 0, 0.1 ... 1; False for the area under
            the whole curve (VOC2010 and later).
        iou: From this IoU on an object is found, above 0, at most 1.

    Raises:
        ConfigError: If ``iou`` is out of range.
    """

    primary = "mAP"

    def __init__(self, classes: Sequence[str], eleven_points: bool = False, iou: float = 0.5) -> None:
        super().__init__()
        require("above 0, at most 1", lambda v: 0 < v <= 1, iou=iou)
        self.classes = tuple(classes)
        self.eleven_points = eleven_points
        self.iou = iou

    def compute(self) -> dict[str, float]:
        """Return the numbers, 0-1; NaN where there is nothing to find."""
        judged = self._judge()
        average = _eleven_points if self.eleven_points else _area
        precisions = []
        for label, object_count in enumerate(self._object_counts()):
            own = judged.labels == label
            recall, precision = _curve(judged.right[own], judged.wrong[own], object_count)
            precisions.append(average(recall, precision) if object_count else float("nan"))
        defined = [value for value in precisions if not np.isnan(value)]
        mean = float(np.mean(defined)) if defined else float("nan")
        return {"mAP": mean} | {f"AP/{name}": value for name, value in zip(self.classes, precisions, strict=True)}

    def _object_counts(self) -> NDArray[np.int64]:
        """Return how many objects of each class there are to find, int64 [C]."""
        labels = [image["true_labels"][~image["true_crowd"]] for image in self._images.values()]
        return np.bincount(np.concatenate([*labels, np.empty(0, np.int64)]), minlength=len(self.classes))

    def _judge(self) -> Judged:
        """Return what all detections are, best score first."""
        columns: list[tuple[NDArray[Any], ...]] = [(np.empty(0), *(np.empty(0, np.int64) for _ in range(3)))]
        first_object = 0
        for row in sorted(self._images):
            image = self._images[row]
            best, is_found = self._match(image)
            difficult = np.append(image["true_crowd"], False)[best]
            outcome = np.where(is_found, np.where(difficult, _DIFFICULT, _OBJECT), _NOTHING)
            columns.append((image["scores"], image["labels"], best + first_object, outcome))
            first_object += len(image["true_labels"])
        scores, labels, found, outcomes = (np.concatenate(column) for column in zip(*columns, strict=True))
        order = np.argsort(-scores, kind="stable")
        labels, found, outcomes = labels[order], found[order], outcomes[order]
        hits = np.flatnonzero(outcomes == _OBJECT)
        right = np.zeros(len(order), bool)
        right[hits[np.unique(found[hits], return_index=True)[1]]] = True
        return Judged(labels, right, ~right & (outcomes != _DIFFICULT))

    def _match(self, image: ImageState) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the object of its class that each detection overlaps most, int64 [N], and whether enough, bool [N].

        -1 is no object: without any in the image.
        """
        if not len(image["true_labels"]):
            return np.full(len(image["labels"]), -1), np.zeros(len(image["labels"]), bool)
        overlaps = _ious(image["boxes"].astype(np.float64), image["true_boxes"].astype(np.float64))
        overlaps[image["labels"][:, None] != image["true_labels"][None, :]] = 0
        return overlaps.argmax(axis=1), overlaps.max(axis=1) >= self.iou


_NOTHING, _OBJECT, _DIFFICULT = range(3)
"""What a detection found."""


def _ious(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the IoU of each of ``boxes`` ([N, 4], xyxy) with each of ``others`` ([M, 4]), [N, M]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared: NDArray[np.float64] = (high - low).clip(min=0).prod(axis=2)
    areas, other_areas = ((each[:, 2:] - each[:, :2]).prod(axis=1) for each in (boxes, others))
    union: NDArray[np.float64] = np.maximum(areas[:, None] + other_areas[None, :] - shared, 1e-12)
    return shared / union


def _curve(
    right: NDArray[np.bool_], wrong: NDArray[np.bool_], object_count: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return recall and the best precision at that recall or more, [N] each, with each further detection."""
    hits = np.cumsum(right)
    precision = hits / np.maximum(hits + np.cumsum(wrong), 1)
    return hits / max(object_count, 1), np.maximum.accumulate(precision[::-1])[::-1]


def _eleven_points(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return the mean precision at eleven recalls; 0 at those that are not reached."""
    places = np.searchsorted(recall, ELEVEN_POINTS)
    return float(np.append(precision, 0.0)[places].mean())


def _area(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Return the area under the curve."""
    return float((np.diff(recall, prepend=0.0) * precision).sum())
