"""What is wrong with boxes, and the count of it that an index carries."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXAMPLE_COUNT = 10


class Verdict(IntEnum):
    """What `clean_boxes` says of a box. FINE and CLIPPED ones are used, the others are left out."""

    FINE = 0
    CLIPPED = 1
    """Stands partly outside its image: the part inside is used."""
    NOT_FINITE = 2
    """A coordinate is NaN or infinite."""
    NO_AREA = 3
    """Its width or height is zero or negative."""
    OUTSIDE = 4
    """Stands wholly outside its image."""

    @property
    def kind(self) -> str:
        """The key under which an index counts it, such as "no_area"."""
        return self.name.lower()


UNREADABLE_MASK = "unreadable_mask"
"""Under which kind masks are counted that cannot be read; their images are left out."""

BAD_BOX_KINDS = (*(verdict.kind for verdict in Verdict if verdict > Verdict.CLIPPED), UNREADABLE_MASK)
"""What cannot be used, and costs no more than itself: a mask, like a box."""

Problems = dict[str, dict[str, Any]]
"""A kind of problem to {"count": how many, "examples": the first ten, one line each}."""


def count_problem(problems: Problems, kind: str, count: int, examples: list[str]) -> None:
    """Add `count` problems of one kind, with some of their messages, to `problems`."""
    if count == 0:
        return
    entry = problems.setdefault(kind, {"count": 0, "examples": []})
    entry["count"] += count
    entry["examples"] += examples[: EXAMPLE_COUNT - len(entry["examples"])]


def add_problems(problems: Problems, other: Mapping[str, Mapping[str, Any]]) -> None:
    """Add all that `other` counts to `problems`."""
    for kind, entry in other.items():
        count_problem(problems, kind, entry["count"], entry["examples"])


def count_bad_boxes(problems: Mapping[str, Mapping[str, Any]]) -> int:
    """Return how many boxes were left out."""
    return sum(problems[kind]["count"] for kind in BAD_BOX_KINDS if kind in problems)


def box_areas(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the areas of boxes (float32 [N, 4], xyxy in pixels): float32 [N], square pixels."""
    areas: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def clean_boxes(
    boxes: NDArray[np.float32], widths: NDArray[Any] | int, heights: NDArray[Any] | int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Judge boxes, and clip them to their images.

    Args:
        boxes: float32 [N, 4], xyxy in pixels, as the source has them.
        widths: Of each box's image, [N], or of the one image of all of them, in pixels.
        heights: Likewise.

    Returns:
        The boxes, clipped, float32 [N, 4]; and the `Verdict` of each, uint8 [N].

    Example:
        >>> clean_boxes(np.array([[-5, 0, 5, 5], [20, 0, 30, 5]], np.float32), 10, 10)[1]
        array([1, 4], dtype=uint8)
    """
    left, top, right, bottom = boxes.T
    inside = np.stack(
        [np.maximum(left, 0), np.maximum(top, 0), np.minimum(right, widths), np.minimum(bottom, heights)], axis=1
    ).astype(np.float32)
    conditions = [
        ~np.isfinite(boxes).all(axis=1),
        (right <= left) | (bottom <= top),
        (right <= 0) | (bottom <= 0) | (left >= widths) | (top >= heights),
        (inside != boxes).any(axis=1),
    ]
    verdicts = [Verdict.NOT_FINITE, Verdict.NO_AREA, Verdict.OUTSIDE, Verdict.CLIPPED]
    return inside, np.select(conditions, verdicts, Verdict.FINE).astype(np.uint8)
