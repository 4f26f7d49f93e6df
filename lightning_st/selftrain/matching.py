"""What a teacher's boxes are worth: each one matched with the human labels of val, in numpy."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_st.errors import StageError
from lightning_st.index import AnnotationIndex, Annotations

MATCH_IOU = 0.5
"""A box is right where it overlaps an object of its class by at least this, as in AP50."""

CROWD_OVERLAP = 0.5
"""A box with at least this share of its area in a crowd region is neither right nor wrong."""


@dataclass(frozen=True)
class Matched:
    """The boxes of a set of images, without those that a crowd region makes undecidable; or its pixels.

    Attributes:
        labels: int64 [N], class indices.
        scores: float32 [N], 0-1.
        is_correct: bool [N], whether a labelled object of that class lies there, or the pixel is labelled so.
        truth_counts: int64 [C], how many objects, or pixels, of each class are labelled.
        counts: int64 [N], how many pixels a row stands for; None for boxes, where it is one each.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    is_correct: NDArray[np.bool_]
    truth_counts: NDArray[np.int64]
    counts: NDArray[np.int64] | None = None

    def rows_of(self, label: int) -> "Matched":
        """Return the rows of one class, with their counts."""
        rows = self.labels == label
        counts = np.ones(len(rows), np.int64) if self.counts is None else self.counts
        return Matched(self.labels[rows], self.scores[rows], self.is_correct[rows], self.truth_counts, counts[rows])


@dataclass(frozen=True)
class Reliability:
    """Precision and recall of every class against the score threshold: what a plot shows.

    Attributes:
        thresholds: float32 [C, T], scores.
        counts: int64 [C, T], boxes, or pixels, with at least that score.
        precision: float64 [C, T], share of them that is right; NaN where there is none.
        recall: float64 [C, T], share of the labelled objects that they find; NaN where none is labelled.
    """

    thresholds: NDArray[np.float32]
    counts: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def match_detections(predictions: AnnotationIndex, truths: AnnotationIndex) -> Matched:
    """Match a teacher's boxes with the labels of the same images; images and classes are found by their names.

    Within an image and a class, best score first, each box takes the free object that it overlaps most, if by at least
    ``MATCH_IOU``. Images of ``truths`` that ``predictions`` lacks do not count: they could not be read.

    Args:
        predictions: Boxes with scores, such as a pseudo-label store's index made on the val images.
        truths: The labels of people; their classes may stand in another order, and some may be missing.

    Returns:
        Labels as in ``predictions``.

    Raises:
        StageError: If ``truths`` has a class that ``predictions`` lacks, or the other way round an image.
    """
    class_map, pairs = paired_rows(predictions, truths)
    labels, scores, correct = [], [], []
    truth_counts = np.zeros(len(predictions.classes), np.int64)
    for row, truth_row in pairs:
        found, truth = predictions.annotations(row), truths.annotations(truth_row)
        truth = replace(truth, labels=class_map[truth.labels])
        is_correct, is_undecided = match_image(found, truth)
        labels.append(found.labels[~is_undecided])
        scores.append(found.scores[~is_undecided])
        correct.append(is_correct[~is_undecided])
        truth_counts += np.bincount(truth.labels[~truth.crowd], minlength=len(truth_counts))
    return Matched(
        np.concatenate([np.zeros(0, np.int64), *labels]),
        np.concatenate([np.zeros(0, np.float32), *scores]),
        np.concatenate([np.zeros(0, np.bool_), *correct]),
        truth_counts,
    )


def paired_rows(
    predictions: AnnotationIndex, truths: AnnotationIndex
) -> tuple[NDArray[np.int32], list[tuple[int, int]]]:
    """Return what each class of ``truths`` is among those of ``predictions``, and the rows of each image in both.

    Raises:
        StageError: If ``truths`` has a class that ``predictions`` lacks, or the other way round an image.
    """
    class_map = _class_map(truths, predictions)
    truth_rows = truths.find(list(predictions.iterate_names()))
    if (truth_rows < 0).any():
        name = predictions.name(int(np.flatnonzero(truth_rows < 0)[0]))
        raise StageError(f"{name}: predicted, but not among the labelled images. Predict on the val images.")
    return class_map, list(enumerate(truth_rows.tolist()))


def match_image(found: Annotations, truth: Annotations) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Match the N boxes of one image with its M labels.

    Returns:
        bool [N], whether the box is right; bool [N], whether a crowd region makes that undecidable.
    """
    same_class = found.labels[:, None] == truth.labels[None, :]  # [N, M]
    shared = np.where(same_class, _shared_areas(found.boxes, truth.boxes), 0.0)
    areas, truth_areas = _areas(found.boxes), _areas(truth.boxes)
    iou = shared / np.maximum(areas[:, None] + truth_areas[None, :] - shared, 1e-12)
    free_iou = np.where(truth.crowd[None, :], 0.0, iou)

    is_correct = np.zeros(len(found.labels), np.bool_)
    if len(truth.labels):
        for box in np.argsort(-found.scores, kind="stable"):
            best = int(free_iou[box].argmax())
            if free_iou[box, best] >= MATCH_IOU:
                is_correct[box] = True
                free_iou[:, best] = 0.0
    in_crowd = shared / np.maximum(areas[:, None], 1e-12) >= CROWD_OVERLAP
    return is_correct, ~is_correct & (in_crowd & truth.crowd[None, :]).any(axis=1)


def precision_recall_by_threshold(matched: Matched, thresholds: ArrayLike) -> Reliability:
    """Return precision and recall of every class for what is found from ``thresholds`` (0-1, [T] or [C, T]) up."""
    given = np.asarray(thresholds, np.float32)
    by_class = np.broadcast_to(given, (len(matched.truth_counts), given.shape[-1]))
    shape = by_class.shape
    counts, correct = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for label in range(shape[0]):
        found = matched.rows_of(label)
        assert found.counts is not None
        reached = found.scores[:, None] >= by_class[label][None, :]
        counts[label] = found.counts @ reached
        correct[label] = (found.counts * found.is_correct) @ reached
    truths = np.broadcast_to(matched.truth_counts[:, None], shape)
    precision = np.divide(correct, counts, out=np.full(shape, np.nan), where=counts > 0)
    recall = np.divide(correct, truths, out=np.full(shape, np.nan), where=truths > 0)
    return Reliability(by_class, counts, precision, recall)


def _class_map(truths: AnnotationIndex, predictions: AnnotationIndex) -> NDArray[np.int32]:
    """Return what each class of ``truths`` is among those of ``predictions``, int32 [C]."""
    unknown = [name for name in truths.classes if name not in predictions.classes]
    if unknown:
        raise StageError(
            f"{predictions.path}: the predictions are of the classes {', '.join(predictions.classes)}, "
            f"the labels also of {', '.join(unknown)}. Predict with a teacher of all classes of val."
        )
    return np.array([predictions.classes.index(name) for name in truths.classes], np.int32)


def _shared_areas(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the area that each of [N, 4] boxes shares with each of [M, 4], float64 [N, M], in square pixels."""
    first, second = boxes[:, None].astype(np.float64), others[None, :].astype(np.float64)
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared: NDArray[np.float64] = sides.clip(min=0).prod(axis=-1)
    return shared


def _areas(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1)
    return areas
