"""One picture of a contact sheet: an image, small, with its labels drawn, and what its caption says."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from lightning_st.reports.outlines import class_colour, draw_outlines
from lightning_st.reports.overlays import BACKGROUND, lay_over
from lightning_st.types import IGNORE_INDEX, BoxKind

TILE_SIDE = 480
"""Pixels along the longer side of a picture."""

_MOST_KEYS = 8
_MOST_ENLARGED = 4
_LEAST_SHARE = 0.01
_KIND_WORDS = {BoxKind.CROWD: "crowd", BoxKind.UNSURE: "ignored", BoxKind.PADDING: "dropped"}


@dataclass(frozen=True)
class Tile:
    """A picture and its caption.

    Attributes:
        title: What it shows, such as an image's name.
        image: RGB, the labels drawn.
        note: A few words below the title.
        keys: (words, colour) for each class in the picture; a colour of None for what is not listed.
    """

    title: str
    image: Image.Image
    note: str = ""
    keys: list[tuple[str, str | None]] = field(default_factory=list)


def box_tile(
    title: str,
    image: Image.Image,
    boxes: ArrayLike,
    labels: NDArray[np.integer],
    kinds: NDArray[np.uint8],
    classes: Sequence[str],
    scale: float,
    chosen: Collection[int] = (),
    note: str = "",
) -> Tile:
    """Return an image with its boxes; the caption counts the objects of each class, and the other boxes by kind.

    Args:
        title: See ``Tile``.
        image: RGB; is drawn into.
        boxes: [N, 4], xyxy in pixels of the original image.
        labels: int [N], class indices.
        kinds: uint8 [N], ``BoxKind``; PADDING is not drawn.
        classes: The names of the classes.
        scale: Pixels of ``image`` for each pixel of the original.
        chosen: See ``draw_outlines``.
        note: Stands before the counts.
    """
    draw_outlines(image, boxes, labels, kinds, scale, chosen)
    counts = np.bincount(labels[kinds == BoxKind.OBJECT], minlength=len(classes))
    others = [f"{int((kinds == kind).sum())} {word}" for kind, word in _KIND_WORDS.items() if (kinds == kind).any()]
    words = ", ".join([*([note] if note else []), *others])
    keys = [(f"{classes[label]} {counts[label]}", class_colour(label)) for label in _most_first(counts)]
    return Tile(title, image, words or ("" if counts.any() else "no labels"), _short(keys))


def mask_tile(
    title: str,
    image: Image.Image,
    mask: NDArray[np.uint8],
    classes: Sequence[str],
    chosen: int | None = None,
    note: str = "",
) -> Tile:
    """Return an image with its mask; the caption says which part of the image each class takes.

    Args:
        title: See ``Tile``.
        image: RGB, of any size.
        mask: uint8 [H, W] at the size of the original image: class indices, and ``IGNORE_INDEX``, which is hatched.
        classes: The names of the classes.
        chosen: The class that is less transparent than others.
        note: Stands before the part that is ignored.
    """
    colours = [class_colour(label) for label in range(len(classes))]
    counts = np.bincount(mask.reshape(-1), minlength=IGNORE_INDEX + 1)
    ignored = counts[IGNORE_INDEX] / max(1, mask.size)
    words = [*([note] if note else []), *([f"{_share(ignored)} ignored"] if ignored else [])]
    keys: list[tuple[str, str | None]] = [
        (f"{classes[label]} {_share(counts[label] / mask.size)}", class_colour(label))
        for label in _most_first(counts[: len(classes)])
        if classes[label] not in BACKGROUND
    ]
    return Tile(title, lay_over(image, mask, classes, colours, chosen), ", ".join(words), _short(keys))


def at_tile_size(image: Image.Image) -> Image.Image:
    """Return an image with ``TILE_SIDE`` pixels along its longer side, so that lines are as wide in all pictures.

    A tiny one is made larger by ``_MOST_ENLARGED`` at most.
    """
    factor = min(TILE_SIDE / max(image.size), _MOST_ENLARGED)
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _share(part: float) -> str:
    """Write a part (0-1) of an image, above 0."""
    return f"{part:.0%}" if part >= _LEAST_SHARE else "under 1%"


def _most_first(counts: NDArray[np.int64]) -> list[int]:
    """Return the classes that occur, the most frequent first."""
    order = np.argsort(-counts, kind="stable")
    found: list[int] = order[counts[order] > 0].tolist()
    return found


def _short(keys: Sequence[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    more: list[tuple[str, str | None]] = (
        [(f"and {len(keys) - _MOST_KEYS} more", None)] if len(keys) > _MOST_KEYS else []
    )
    return [*keys[:_MOST_KEYS], *more]
