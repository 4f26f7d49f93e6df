"""What an index says of a mask without its pixels: a row for each class, where a box would be."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.index.masks import CONFIDENCE_STEPS
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
    counts = np.bincount(mask.reshape(-1), minlength=IGNORE_INDEX + 1)
    labels = np.flatnonzero(counts[:IGNORE_INDEX])
    boxes = np.array([_hull(mask == label) for label in labels], np.float32).reshape(-1, 4)
    segments: dict[str, Any] = {"boxes": boxes, "labels": labels, "areas": counts[labels]}
    if confidence is not None:
        best = np.zeros(IGNORE_INDEX + 1, np.uint8)
        np.maximum.at(best, mask.reshape(-1), confidence.reshape(-1))
        segments["scores"] = best[labels] / np.float32(CONFIDENCE_STEPS)
    return segments


def _hull(is_inside: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return the smallest box, xyxy, around the True pixels of [H, W], of which there is one at least."""
    rows, columns = np.flatnonzero(is_inside.any(axis=1)), np.flatnonzero(is_inside.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
