"""The boxes of one image, as a source has them, on their way into the index: cleaned, counted, added."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_st.errors import ImageError
from lightning_st.index.problems import Verdict, clean_boxes, count_problem
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.writer import IndexWriter

UNREADABLE = "unreadable_image"
"""Under which kind `AnnotationIndex.problems` counts images whose header, so whose size, cannot be read."""

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RawBoxes:
    """The boxes of one image, neither clipped nor checked.

    Attributes:
        corners: Numbers [N, 4], xyxy; pixels, or fractions of the image's sides.
        labels: Integers [N], class indices.
        crowd: Booleans [N]; None for no crowd.
        scores: Numbers [N], 0-1; None for human labels.
        numbers: Integers [N], which record or line of the source each is; None for 0, 1, 2 ...
    """

    corners: ArrayLike
    labels: ArrayLike
    crowd: ArrayLike | None = None
    scores: ArrayLike | None = None
    numbers: Sequence[int] | None = None


def add_image(
    writer: IndexWriter,
    name: str,
    size: Size,
    raw: RawBoxes,
    describe: Callable[[int], str],
    place: dict[str, Any] | None = None,
) -> None:
    """Add an image: boxes that cannot be used are left out and counted, those partly outside clipped and counted.

    Args:
        writer: Of the index.
        name: The image's name.
        size: (width, height) in pixels.
        raw: Its boxes, in pixels.
        describe: Says of a number where it stands, such as "a.xml: object[2]".
        place: What `ImagePlaces.place` says of it.
    """
    corners = as_corners(raw.corners)
    width, height = size
    boxes: dict[str, Any] = {"boxes": corners, "labels": raw.labels, "crowd": raw.crowd, "scores": raw.scores}
    if not _are_inside(corners, size):
        boxes["boxes"], verdicts = clean_boxes(corners, width, height)
        for number in np.flatnonzero(verdicts).tolist():
            where = describe(number if raw.numbers is None else raw.numbers[number])
            line = f"{where}: xyxy {[round(float(value), 2) for value in corners[number]]}"
            count_problem(writer.problems, Verdict(verdicts[number]).kind, 1, [line])
        good = verdicts <= Verdict.CLIPPED
        boxes = {key: None if column is None else np.asarray(column)[good] for key, column in boxes.items()}
    writer.add(name, width, height, **(place or {}), **boxes)


def as_corners(values: ArrayLike) -> NDArray[np.float32]:
    """Return corners as float32 [N, 4]; a number beyond its range becomes infinite, and is counted as such."""
    with np.errstate(over="ignore"):
        return np.array(values, np.float32).reshape(-1, 4)


def _are_inside(corners: NDArray[np.float32], size: Size) -> bool:
    """Say whether all boxes are as they should be: mostly so, and a tenth of the work of `clean_boxes`."""
    first, last = corners[:, :2], corners[:, 2:]
    return bool((first >= 0).all() and (last <= size).all() and (first < last).all())


def add_measured_image(
    writer: IndexWriter,
    places: ImagePlaces,
    position: int,
    raw: RawBoxes,
    describe: Callable[[int], str],
    is_scaled: bool = False,
) -> None:
    """Add an image whose size its own header says, where the labels do not.

    One that cannot be read is added without size and boxes, and counted: loading it will say so again, and what the
    user allows (`data.max_bad_fraction`) holds there.

    Args:
        writer: Of the index.
        places: Where the images lie.
        position: Of the image among them.
        raw: Its boxes.
        describe: See `add_image`.
        is_scaled: Whether the boxes are fractions of the image's sides, not pixels.
    """
    name, place = places.names[position], places.place(position)
    try:
        size = places.read_size(position)
    except ImageError as error:
        count_problem(writer.problems, UNREADABLE, 1, [str(error)])
        writer.add(name, **place)
        return
    if is_scaled:
        raw = replace(raw, corners=np.asarray(raw.corners, np.float64).reshape(-1, 4) * (size * 2))
    add_image(writer, name, size, raw, describe, place)
