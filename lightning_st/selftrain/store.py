"""A finished store of pseudo-labels: all that a teacher found, and the thresholds that a student sees it through."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.index import CONFIDENCE_STEPS, AnnotationIndex, read_store_manifest, threshold_steps
from lightning_st.selftrain.writer import LABELS_FILE, PIXELS
from lightning_st.types import BoxKind, ScoreThresholds

SCORE_BINS = 20
"""Bins of the score histogram, each 0.05 wide."""

MOST_LABELS = 50
"""The last bin of the histogram of labels for each image: this many and more."""

_IMAGES_AT_ONCE = 1 << 16


class PseudoLabels:
    """A store that ``PseudoLabelWriter`` and the stage ``pseudo_label`` left.

    It holds every box that the teacher found, down to its score floor, or masks with the confidence of every pixel.
    Thresholds are applied when it is read, so another threshold needs no other labelling.

    Attributes:
        index: The boxes, with scores.
        manifest: What the store was made from: the teacher's and the images' fingerprints, settings, versions.
        thresholds: Those that the stage's confidence rule found.
    """

    def __init__(self, index: AnnotationIndex, manifest: dict[str, Any]) -> None:
        """Use ``PseudoLabels.open``."""
        self.index = index
        self.manifest = manifest
        self.thresholds = ScoreThresholds.from_json(manifest["thresholds"])

    @classmethod
    def open(cls, folder: Path | str) -> "PseudoLabels":
        """Open the store in ``folder``.

        Raises:
            StageError: If it is not there, or not complete.
            IndexFileError: If its index cannot be read.
        """
        folder = Path(folder)
        manifest = read_store_manifest(folder)
        return cls(AnnotationIndex.open(folder / LABELS_FILE), manifest)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.index)

    def label_counts(self, thresholds: ScoreThresholds | None = None) -> NDArray[np.int64]:
        """Return how many boxes of each image a student is shown as objects, int64 [number of images].

        Args:
            thresholds: Other thresholds than the store's own.
        """
        parts = [_counts_by_image(kinds == BoxKind.OBJECT, offsets) for _, offsets, kinds in self._parts(thresholds)]
        return np.concatenate([np.zeros(0, np.int64), *parts])

    def rows_with_labels(self, thresholds: ScoreThresholds | None = None) -> NDArray[np.int64]:
        """Return the rows of the images that have at least one object, int64 [K], ascending.

        The others would be shown as pure background, which a missed object makes wrong (paper.md, section 7).
        """
        return np.flatnonzero(self.label_counts(thresholds))

    def statistics(self, thresholds: ScoreThresholds | None = None) -> dict[str, Any]:
        """Count what a student is shown.

        Args:
            thresholds: Other thresholds than the store's own.

        Returns:
            Plain values: "images"; "images_with_labels"; "labels" (boxes kept as objects); "unsure" (boxes in the
            ignore band); "mean_score" of the labels, NaN where there is none; "labels_by_class", by name;
            "labels_per_image", a histogram of 0, 1 ... 49, 50 and more; "score_histogram" of all boxes,
            20 bins from 0 to 1. In a store of masks a label is a class of which an image shows at least a pixel;
            "mean_score" and "score_histogram" are of pixels; "pixels" are all of them, "pixels_by_class" those that
            are shown.
        """
        index = self.index
        unsure, score_sum = 0, 0.0
        by_class = np.zeros(len(index.classes), np.int64)
        histogram = np.zeros(SCORE_BINS, np.int64)
        for boxes, _, kinds in self._parts(thresholds):
            is_object = kinds == BoxKind.OBJECT
            scores = index.scores[boxes]
            unsure += int((kinds == BoxKind.UNSURE).sum())
            score_sum += float(scores[is_object].sum(dtype=np.float64))
            by_class += np.bincount(index.labels[boxes][is_object], minlength=len(by_class))
            histogram += np.histogram(scores, SCORE_BINS, (0, 1))[0]
        counts = self.label_counts(thresholds)
        total = int(counts.sum())
        statistics: dict[str, Any] = {
            "images": len(index),
            "images_with_labels": int((counts > 0).sum()),
            "labels": total,
            "unsure": unsure,
            "mean_score": score_sum / total if total else float("nan"),
            "labels_by_class": dict(zip(index.classes, by_class.tolist(), strict=True)),
            "labels_per_image": np.bincount(counts.clip(max=MOST_LABELS), minlength=MOST_LABELS + 1).tolist(),
            "score_histogram": histogram.tolist(),
        }
        return statistics | self._pixel_statistics(self.thresholds if thresholds is None else thresholds)

    def _pixel_statistics(self, thresholds: ScoreThresholds) -> dict[str, Any]:
        """Return what ``statistics`` says of pixels; nothing where the store holds none."""
        if PIXELS not in self.index.source:
            return {}
        pixels = np.array(self.index.source[PIXELS], np.int64)
        steps = np.arange(pixels.shape[1])
        shown = pixels * (steps >= threshold_steps(thresholds.keep)[:, None])
        total = int(shown.sum())
        bins = np.minimum(steps * SCORE_BINS // CONFIDENCE_STEPS, SCORE_BINS - 1)
        return {
            "pixels": int(pixels.sum()),
            "pixels_by_class": dict(zip(self.index.classes, shown.sum(axis=1).tolist(), strict=True)),
            "mean_score": float((shown @ steps).sum()) / (total * CONFIDENCE_STEPS) if total else float("nan"),
            "score_histogram": np.bincount(bins, pixels.sum(axis=0), SCORE_BINS).astype(int).tolist(),
        }

    def _parts(
        self, thresholds: ScoreThresholds | None
    ) -> Iterator[tuple[slice, NDArray[np.int64], NDArray[np.uint8]]]:
        """Yield, for some images at a time, their boxes' place, offsets of each image therein, and ``BoxKind`` [M]."""
        chosen = self.thresholds if thresholds is None else thresholds
        for start in range(0, len(self.index), _IMAGES_AT_ONCE):
            offsets = self.index.box_offsets[start : start + _IMAGES_AT_ONCE + 1]
            boxes = slice(int(offsets[0]), int(offsets[-1]))
            yield boxes, offsets - offsets[0], chosen.kinds(self.index.labels[boxes], self.index.scores[boxes])


def _counts_by_image(is_counted: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many of the boxes [M] are counted in each image, whose shares end at ``offsets`` [N + 1]."""
    running = np.concatenate([np.zeros(1, np.int64), np.cumsum(is_counted)])
    return np.diff(running[offsets])
