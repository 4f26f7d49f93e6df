"""COCO's precision and recall of one class over all images, as pycocotools counts them, in whole arrays.

pycocotools goes through images, ranges of area and thresholds of IoU one by one. Here only pairs of a detection and an
object that overlap by the least threshold are looked at, and all images, ranges and thresholds at once: in turns, of
which the n-th is that of each image's n-th detection that has such a pair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Of IoU, T of them."""
RECALLS = np.linspace(0, 1, 101)
"""Where precision is read, R of them."""
AREAS = np.array([[0, 1e10], [0, 32**2], [32**2, 96**2], [96**2, 1e10]])
"""The least and the largest area of an object, square pixels, A of them; both are inside."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """The boxes of one class in all images.

    Attributes:
        images: int64 [N], which image each is in; ascending.
        boxes: float64 [N, 4], left, top, width, height in pixels.
        areas: float64 [N], square pixels.
        scores: float [N]; of an object without meaning.
        crowd: bool [N]; of a detection without meaning.
    """

    images: NDArray[np.int64]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    scores: NDArray[np.floating]
    crowd: NDArray[np.bool_]

    def take(self, rows: NDArray[np.int64]) -> "Boxes":
        """Return some of the boxes."""
        return Boxes(self.images[rows], self.boxes[rows], self.areas[rows], self.scores[rows], self.crowd[rows])


def precision_of(
    found: Boxes, truth: Boxes, max_detections: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return precision [T, R, A] and recall [T, A]; -1 for a range without objects, None where no range has any.

    Args:
        found: The detections, those of an image in any order.
        truth: The objects.
        max_detections: The best of each image that count.
    """
    is_ignored = truth.crowd[:, None] | _is_outside(truth.areas)
    object_counts = (~is_ignored).sum(axis=0)
    if not object_counts.any():
        return None
    found = _best(found, max_detections)
    is_true, leaves_out = match(found, truth, is_ignored)
    leaves_out |= ~is_true & _is_outside(found.areas)[:, :, None]
    order = np.argsort(-found.scores, kind="stable")
    counts = np.ascontiguousarray(~leaves_out[order].transpose(1, 2, 0))  # [A, T, N]
    hits = np.ascontiguousarray(is_true[order].transpose(1, 2, 0)) & counts
    precision = np.full((len(THRESHOLDS), len(RECALLS), len(AREAS)), -1.0)
    recall = np.full((len(THRESHOLDS), len(AREAS)), -1.0)
    for area in np.flatnonzero(object_counts):
        for threshold in range(len(THRESHOLDS)):
            curve, end = _read_curve(hits[area, threshold], counts[area, threshold], object_counts[area])
            precision[threshold, :, area], recall[threshold, area] = curve, end
    return precision, recall


def match(found: Boxes, truth: Boxes, is_ignored: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give each detection, the surest of an image first, the object that it overlaps most and no surer one has.

    Args:
        found: N detections, by image and falling score.
        truth: The objects.
        is_ignored: bool [M, A], the objects that count for nothing; a detection takes one where no other is left.

    Returns:
        Two of bool [N, A, T]: whether a detection has an object, and whether that is one that counts for nothing.
    """
    shape = (len(found.images), len(AREAS), len(THRESHOLDS))
    is_matched, is_left_out = np.zeros(shape, bool), np.zeros(shape, bool)
    detections, objects, overlaps = _overlapping_pairs(found, truth)
    is_free = np.ones((len(truth.images), *shape[1:]), bool)
    # A pair's place among those of its detection says which is better; but first come objects that count.
    starts = np.flatnonzero(np.diff(detections, prepend=-1))
    places = np.arange(len(detections)) - np.repeat(starts, np.diff(starts, append=len(detections)))
    ranks = places[:, None] + len(detections) * ~is_ignored[objects]
    reaches = overlaps[:, None, None] >= THRESHOLDS
    for pairs, firsts in _turns(found.images, detections, starts):
        of = objects[pairs]
        rank = np.where(reaches[pairs] & is_free[of], ranks[pairs][:, :, None], -1)
        best = np.maximum.reduceat(rank, firsts, axis=0)
        own, areas, thresholds = np.nonzero(best >= 0)
        chosen = of[firsts[own] + best[own, areas, thresholds] % len(detections)]
        rows = detections[pairs[firsts[own]]]
        is_matched[rows, areas, thresholds] = True
        is_left_out[rows, areas, thresholds] = is_ignored[chosen, areas]
        is_free[chosen, areas, thresholds] = truth.crowd[chosen]  # a crowd region has room for all
    return is_matched, is_left_out


def _turns(
    images: NDArray[np.int64], detections: NDArray[np.int64], starts: NDArray[np.int64]
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return by turn its pairs, and where among them those of each detection begin; each image has one a turn."""
    of_image = images[detections[starts]]
    firsts = np.flatnonzero(np.diff(of_image, prepend=-1))
    turns = np.arange(len(starts)) - np.repeat(firsts, np.diff(firsts, append=len(starts)))
    lengths = np.diff(starts, append=len(detections))
    by_turn = np.argsort(np.repeat(turns, lengths), kind="stable")
    ends = np.cumsum(np.bincount(turns, lengths).astype(np.int64))
    order = np.argsort(turns, kind="stable")
    groups = np.split(lengths[order], np.cumsum(np.bincount(turns))[:-1])
    return [
        (pairs, np.cumsum(group) - group) for pairs, group in zip(np.split(by_turn, ends[:-1]), groups, strict=True)
    ]


def _overlapping_pairs(found: Boxes, truth: Boxes) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the pairs that overlap by the least threshold: detection, object, IoU; by detection and rising IoU.

    Of equal IoU the later object stands later: pycocotools takes the last.
    """
    first, last = (np.searchsorted(truth.images, found.images, side) for side in ("left", "right"))
    counts = last - first
    detections = np.repeat(np.arange(len(counts)), counts)
    objects = np.arange(len(detections)) - np.repeat(np.cumsum(counts) - counts - first, counts)
    overlaps = _overlap(found.boxes[detections], truth.boxes[objects], truth.crowd[objects])
    kept = np.flatnonzero(overlaps >= THRESHOLDS[0])
    detections, objects, overlaps = detections[kept], objects[kept], overlaps[kept]
    order = np.lexsort((objects, overlaps, detections))
    return detections[order], objects[order], overlaps[order]


def _overlap(found: NDArray[np.float64], truth: NDArray[np.float64], crowd: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the IoU of pairs of boxes [P, 4], float64 [P]; of a crowd region the share of the detection inside."""
    ends = np.minimum(found[:, :2] + found[:, 2:], truth[:, :2] + truth[:, 2:])
    sides = np.maximum(ends - np.maximum(found[:, :2], truth[:, :2]), 0)
    shared = sides[:, 0] * sides[:, 1]
    own = found[:, 2] * found[:, 3]
    union = np.where(crowd, own, own + truth[:, 2] * truth[:, 3] - shared)
    overlap: NDArray[np.float64] = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return overlap


def _best(found: Boxes, max_detections: int) -> Boxes:
    """Return the surest detections of each image, by image and falling score."""
    found = found.take(np.lexsort((-found.scores, found.images)))
    places = np.arange(len(found.images)) - np.searchsorted(found.images, found.images)
    return found.take(np.flatnonzero(places < max_detections))


def _is_outside(areas: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return whether areas [N] are outside of each range, bool [N, A]."""
    return (areas[:, None] < AREAS[:, 0]) | (areas[:, None] > AREAS[:, 1])


def _read_curve(
    hits: NDArray[np.bool_], counts: NDArray[np.bool_], object_count: int
) -> tuple[NDArray[np.float64], float]:
    """Return the precision at `RECALLS` [R], and the recall in the end.

    Between two hits precision only falls, so it is read at the hits alone.

    Args:
        hits: bool [N], the detections by falling score that have an object.
        counts: bool [N], those that count.
        object_count: How many objects there are.
    """
    places = np.flatnonzero(hits)
    true = np.arange(1, len(places) + 1)
    precision = true / np.cumsum(counts)[places]
    precision = np.maximum.accumulate(precision[::-1])[::-1]  # the best at this recall or a higher one
    rows = np.searchsorted(true / object_count, RECALLS)
    return np.append(precision, 0.0)[rows], len(places) / object_count
