"""Pictures of pseudo-labels across the scores: what the teacher believed, to be judged by eye."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from lightning_st.errors import ImageError
from lightning_st.index import AnnotationIndex, Annotations, ImageRecord, open_picture, orientation_of, read_part
from lightning_st.reports.outlines import class_colour, draw_outlines
from lightning_st.reports.overlays import BACKGROUND, draw_mask
from lightning_st.types import BoxKind, ScoreThresholds

PICTURE_COUNT = 24
BANDS = (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0)
"""Ends of the score bands; the store keeps no box below the first."""

_SIDE = 320
_MOST_BOXES = 200_000
_MOST_UNREADABLE = 24
_ROTATING_EXIF = (5, 6, 7, 8)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a stored picture upright, by EXIF's orientation."""


@dataclass(frozen=True)
class Picture:
    """A picture in the report.

    Attributes:
        file: Its path relative to the report.
        image: The image's name in its index.
        class_name: The class of the box that it was chosen for.
        colour: That class's colour.
        score: That box's score.
        fate: What the student is told of that box: "kept", "ignored" or "dropped".
        size: (width, height) in pixels.
    """

    file: str
    image: str
    class_name: str
    colour: str
    score: float
    fate: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Gallery:
    """The pictures, by falling band, and the images that could not be drawn."""

    pictures: list[Picture] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


_FATES = {BoxKind.OBJECT: "kept", BoxKind.UNSURE: "ignored", BoxKind.PADDING: "dropped"}


def draw_gallery(index: AnnotationIndex, thresholds: ScoreThresholds, report: Path) -> Gallery:
    """Draw pictures of pseudo-labels, spread over score bands and classes, into ``report / "pictures"``.

    Each picture is chosen for one box, drawn thick. The image's other boxes are solid if they are kept, dashed if they
    are ignored, and not drawn if they are dropped. Of masks it is chosen for one class, whose score is the highest
    among its pixels: see ``draw_mask``. The choice follows from the store alone.

    Args:
        index: The pseudo-labels; boxes or masks in pixels of the original image, upright as its EXIF says.
        thresholds: Which boxes, or pixels, the student is shown.
        report: The report's folder.
    """
    drawn: list[tuple[int, str, Image.Image]] = []
    unreadable: list[str] = []
    background = [label for label, name in enumerate(index.classes) if index.has_masks and name in BACKGROUND]
    for row, box in candidates(index.scores, index.labels, index.box_offsets, background):
        record = index.image(row)
        try:
            image, original_size = load_thumbnail(record)
        except ImageError as error:
            # A picture more or less is no reason to fail: the page names it.
            unreadable.append(str(error))
        else:
            if index.has_masks:
                colours = [class_colour(label) for label in range(len(index.classes))]
                image = draw_mask(image, index, row, thresholds, int(index.labels[box]), colours)
            else:
                chosen = box - int(index.box_offsets[row])
                draw_boxes(image, index.annotations(row), thresholds, chosen, image.width / original_size[0])
            drawn.append((box, record.name, image))
        if len(drawn) == PICTURE_COUNT or len(unreadable) == _MOST_UNREADABLE:
            break
    drawn.sort(key=lambda item: (-index.scores[item[0]], item[0]))
    (report / "pictures").mkdir(parents=True)
    pictures = [_save(number, *item, index, thresholds, report) for number, item in enumerate(drawn)]
    return Gallery(pictures, unreadable)


def candidates(
    scores: NDArray[np.float32],
    labels: NDArray[np.int32],
    box_offsets: NDArray[np.int64],
    left_out: Sequence[int] = (),
) -> Iterator[tuple[int, int]]:
    """Yield (row of the image, number of the box) in the order in which pictures are wanted, every image once.

    Score bands take turns; within a band classes take turns, so that rare ones show; a fixed shuffle does the rest.

    Args:
        scores: float32 [N], of all boxes.
        labels: int32 [N].
        box_offsets: int64 [images + 1]; the boxes of image i are ``box_offsets[i]`` to ``box_offsets[i + 1] - 1``.
        left_out: Classes that no picture is chosen for.
    """
    sample = np.unique(np.linspace(0, len(scores) - 1, min(len(scores), _MOST_BOXES)).astype(np.int64))
    shuffled = np.random.default_rng(0).permutation(sample)
    shuffled = shuffled[~np.isin(labels[shuffled], left_out)]
    bands = band_of(scores[shuffled])
    turns = [iter(_classes_in_turn(shuffled[bands == band], labels).tolist()) for band in range(len(BANDS) - 1)]
    used: set[int] = set()
    while turns:
        for turn in list(turns):
            for box in turn:
                row = int(np.searchsorted(box_offsets, box, side="right")) - 1
                if row not in used:
                    used.add(row)
                    yield row, box
                    break
            else:
                turns.remove(turn)


def load_thumbnail(record: ImageRecord, side: int = _SIDE) -> tuple[Image.Image, tuple[int, int]]:
    """Return an image upright and small, RGB, and its (width, height) in full.

    Args:
        record: Where it lies.
        side: The most pixels along its longer side.

    Raises:
        ImageError: If it cannot be read.
    """
    try:
        content = read_part(record.path, record.offset, record.length)
    except OSError as error:
        raise ImageError(record.name, (error.strerror or str(error)).lower()) from error
    with open_picture(content, record.name) as image:
        width, height = image.size
        orientation = orientation_of(image)
        if orientation in _ROTATING_EXIF:
            width, height = height, width
        image.draft("RGB", (side, side))  # a JPEG is decoded at 1/2, 1/4 or 1/8 where that is still large enough
        turn = _TURNS.get(orientation)
        upright = _to_rgb(image if turn is None else image.transpose(turn))
    upright.thumbnail((side, side))
    return upright, (width, height)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Return an image as the models see it: 16 bits become 8 by range, and transparent pixels lie over white."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return image.convert("RGB")


def draw_boxes(
    image: Image.Image, annotations: Annotations, thresholds: ScoreThresholds, chosen: int, scale: float
) -> None:
    """Draw pseudo-labels into ``image``.

    Args:
        image: RGB.
        annotations: The pseudo-labels, in pixels of the original image.
        thresholds: Kept boxes are solid, ignored ones dashed, dropped ones not drawn.
        chosen: Which box is drawn thick, and drawn even if it is dropped: dotted.
        scale: Pixels of ``image`` for each pixel of the original.
    """
    kinds = thresholds.kinds(annotations.labels, annotations.scores)
    draw_outlines(image, annotations.boxes, annotations.labels, kinds, scale, [chosen])


def band_of(score: ArrayLike) -> NDArray[np.int64]:
    """Return the number of the band, 0 for the lowest, that each score lies in.

    Example:
        >>> band_of([0.05, 0.2, 1.0]).tolist()
        [0, 1, 5]
    """
    return np.searchsorted(BANDS[1:-1], score, side="right")


def _classes_in_turn(boxes: NDArray[np.int64], labels: NDArray[np.int32]) -> NDArray[np.int64]:
    """Reorder shuffled ``boxes`` so that the first of every class come first, then the second of every class."""
    own = labels[boxes]
    by_class = np.argsort(own, kind="stable")
    starts = np.searchsorted(own[by_class], own[by_class], side="left")
    rank = np.empty(len(boxes), np.int64)
    rank[by_class] = np.arange(len(boxes)) - starts
    return boxes[np.argsort(rank, kind="stable")]


def _save(
    number: int,
    box: int,
    name: str,
    image: Image.Image,
    index: AnnotationIndex,
    thresholds: ScoreThresholds,
    report: Path,
) -> Picture:
    """Write a picture of the report, and return what its caption says."""
    file = f"pictures/{number:02d}.jpg"
    image.save(report / file, quality=85)
    labels, scores = index.labels[box : box + 1], index.scores[box : box + 1]
    label = int(labels[0])
    fate = _FATES[BoxKind(int(thresholds.kinds(labels, scores)[0]))]
    return Picture(file, name, index.classes[label], class_colour(label), float(scores[0]), fate, image.size)
