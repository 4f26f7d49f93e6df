"""What an index says of a mask without its pixels: a row for each class, where a box would be."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.index.masks import CONFIDENCE_STEPS, LEVELS, pixel_histogram
from lightning_st.types import IGNORE_INDEX


def segments_of(mask: NDArray[np.uint8], confidence: NDArray[np.uint8] | None = None) -> dict[str, Any]:
    """Return the segments of a mask, one for each class in it, as `IndexWriter.add` takes boxes.

    Args:
        mask: uint8 [H, W], class indices and `IGNORE_INDEX`.
        confidence: uint8 [H, W] in hundredths.

    Returns:
        "boxes": float32 [S, 4], the hull of all pixels of the class, xyxy; "labels": int64 [S], ascending; "areas":
        int64 [S], its pixels; and with a confidence "scores": float32 [S], 0-1, the highest among them, so that a
        threshold above it leaves nothing of the segment.

    Example:
        >>> segments_of(np.array([[0, 1], [255, 1]], np.uint8))["areas"].tolist()
        [1, 2]
    """
    by_row, by_column = _counts_along(mask), _counts_along(mask.T)
    areas = by_row.sum(axis=1)
    labels = np.flatnonzero(areas)
    (top, bottom), (left, right) = (_first_and_last(counts[labels] > 0) for counts in (by_row, by_column))
    boxes = np.stack([left, top, right, bottom], axis=1).astype(np.float32)
    segments: dict[str, Any] = {"boxes": boxes, "labels": labels, "areas": areas[labels]}
    if confidence is not None:
        found = pixel_histogram(mask, confidence, IGNORE_INDEX)[labels] > 0
        best = LEVELS - 1 - found[:, ::-1].argmax(axis=1)
        segments["scores"] = best / np.float32(CONFIDENCE_STEPS)
    return segments


def _counts_along(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many pixels each class has in each row of a mask [H, W], int64 [255, H]."""
    height = mask.shape[0]
    cells = mask.astype(np.int32) * height + np.arange(height, dtype=np.int32)[:, None]
    counts: NDArray[np.int64] = np.bincount(cells.reshape(-1), minlength=(IGNORE_INDEX + 1) * height)
    return counts.reshape(-1, height)[:IGNORE_INDEX]


def _first_and_last(found: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where in each row of [S, N] the first True is, and where after the last; int64 [S] each."""
    return found.argmax(axis=1), found.shape[1] - found[:, ::-1].argmax(axis=1)
