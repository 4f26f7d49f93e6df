"""Boxes drawn into pictures: a colour for each class, and a line for what a box is."""

from collections.abc import Collection, Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw

from lightning_st.types import BoxKind

COLOURS = ("#ff8c1a", "#1e90ff", "#e0218a", "#00b34d", "#8f4dff", "#e6c800", "#00bcd4", "#ff4b3e", "#9c6b4a", "#b0b0b0")
"""Of the classes, in turn; the first two are apart for colour-blind eyes too. Captions name the class as well."""

_DASHES = {BoxKind.OBJECT: 0, BoxKind.UNSURE: 6, BoxKind.PADDING: 2, BoxKind.CROWD: 10}
"""Pixels; 0 for a solid line."""

_SIDE_FOR_EACH_WIDTH = 160
"""A picture of so many pixels a side has lines of one pixel more: it is likely to be shown smaller."""

_HATCH_STEP = 12
"""Pixels between the slanted lines that fill a crowd region."""


def class_colour(label: int) -> str:
    """Return the colour of a class as ``#rrggbb``."""
    return COLOURS[label % len(COLOURS)]


def draw_outlines(
    image: Image.Image,
    boxes: ArrayLike,
    labels: ArrayLike,
    kinds: ArrayLike,
    scale: float,
    chosen: Collection[int] = (),
) -> None:
    """Draw boxes into ``image``: objects solid, unsure ones dashed, crowd regions in long dashes and hatched.

    Args:
        image: RGB.
        boxes: [N, 4], xyxy in pixels of the original image.
        labels: [N], class indices.
        kinds: [N], ``BoxKind``; PADDING is not drawn.
        scale: Pixels of ``image`` for each pixel of the original.
        chosen: Which boxes are drawn last and thick, and drawn even if they are PADDING: dotted.
    """
    draw = ImageDraw.Draw(image)
    width = max(2, round(max(image.size) / _SIDE_FOR_EACH_WIDTH))
    corners = np.asarray(boxes, np.float64).reshape(-1, 4) * scale
    names, sorts = np.asarray(labels).tolist(), np.asarray(kinds).tolist()
    for box in sorted(range(len(corners)), key=lambda box: box in chosen):
        kind = BoxKind(sorts[box])
        if kind == BoxKind.PADDING and box not in chosen:
            continue
        colour = class_colour(names[box])
        if kind == BoxKind.CROWD:
            _hatch(draw, corners[box], colour)
        is_thick = box in chosen
        _rectangle(draw, corners[box].tolist(), colour, 2 * width if is_thick else width, _DASHES[kind], is_thick)


def _rectangle(
    draw: ImageDraw.ImageDraw, corners: list[float], colour: str, width: int, dash: int, has_rim: bool
) -> None:
    """Draw the outline of a box, in dashes of ``dash`` pixels or solid for 0."""
    left, top, right, bottom = corners
    edges = (
        (left, top, right, top),
        (right, top, right, bottom),
        (right, bottom, left, bottom),
        (left, bottom, left, top),
    )
    pieces = [piece for edge in edges for piece in (_dashes(*edge, dash) if dash else [edge])]
    pens = [("black", width + 2), (colour, width)] if has_rim else [(colour, width)]
    for pen, size in pens:
        for piece in pieces:
            draw.line(piece, fill=pen, width=size)


def _dashes(x1: float, y1: float, x2: float, y2: float, dash: int) -> Iterator[tuple[float, float, float, float]]:
    """Yield the dashes of a line, each about ``dash`` pixels long."""
    count = max(1, round((abs(x2 - x1) + abs(y2 - y1)) / (2 * dash)))
    for start in np.arange(count) / count:
        end = start + 0.5 / count
        yield x1 + start * (x2 - x1), y1 + start * (y2 - y1), x1 + end * (x2 - x1), y1 + end * (y2 - y1)


def _hatch(draw: ImageDraw.ImageDraw, corners: NDArray[np.float64], colour: str) -> None:
    """Fill a box with thin slanted lines, x + y constant along each."""
    left, top, right, bottom = corners.tolist()
    for total in np.arange(left + top + _HATCH_STEP, right + bottom, _HATCH_STEP):
        x1, x2 = max(left, total - bottom), min(right, total - top)
        draw.line((x1, total - x1, x2, total - x2), fill=colour, width=1)
