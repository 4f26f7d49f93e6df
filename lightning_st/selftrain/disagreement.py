"""How far two models differ on one image, from 0 (not at all) to 1: what there is to look at first."""

import numpy as np
from numpy.typing import NDArray

from lightning_st.index import Annotations
from lightning_st.selftrain.matching import match_image
from lightning_st.types import IGNORE_INDEX


def unmatched_boxes(first: Annotations, second: Annotations) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which boxes of each of two models have no partner in the other; bool [N] and bool [M].

    A partner is of the same class, and overlaps with an IoU of at least ``MATCH_IOU``; each box is one once.
    """
    return ~match_image(first, second)[0], ~match_image(second, first)[0]


def box_disagreement(first: Annotations, second: Annotations) -> tuple[float, int]:
    """Return the share (0-1) of the boxes of two models that ``unmatched_boxes`` finds, 0 of none, and their number."""
    alone = np.concatenate(unmatched_boxes(first, second))
    return (float(alone.mean()) if len(alone) else 0.0), int(alone.sum())


def mask_disagreement(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> tuple[float, int]:
    """Compare the masks of two models.

    Args:
        first: uint8 [H, W], class indices and ``IGNORE_INDEX``.
        second: Likewise, of the same size.

    Returns:
        One minus the mean IoU over the classes that either shows, over pixels that neither ignores; and how many of
        these pixels differ.

    Example:
        >>> mask_disagreement(np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 0]], np.uint8))
        (0.5, 1)
    """
    counted = (first != IGNORE_INDEX) & (second != IGNORE_INDEX)
    one, other = first[counted], second[counted]
    sizes = np.bincount(one, minlength=IGNORE_INDEX) + np.bincount(other, minlength=IGNORE_INDEX)
    shared = np.bincount(one[one == other], minlength=IGNORE_INDEX)
    seen = sizes > 0
    if not seen.any():
        return 0.0, 0
    iou = shared[seen] / (sizes[seen] - shared[seen])
    return float(1 - iou.mean()), int((one != other).sum())
