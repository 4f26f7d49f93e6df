"""Pseudo-masks laid over their images: classes in colour, what the student is not shown hatched."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

from lightning_st.index import AnnotationIndex, ignore_unsure
from lightning_st.types import IGNORE_INDEX, ScoreThresholds

BACKGROUND = ("background", "_background_", "class 0")
"""Classes that stay uncoloured: they would hide every picture. The last is what masks without names call it."""

_OPACITY = 0.5
_CHOSEN_OPACITY = 0.75
_HATCH_PERIOD = 8  # pixels
_HATCH_OPACITY = 0.6


def draw_mask(
    image: Image.Image,
    index: AnnotationIndex,
    row: int,
    thresholds: ScoreThresholds,
    chosen: int,
    colours: Sequence[str],
) -> Image.Image:
    """Return ``image`` with the pseudo-mask of a row over it.

    Args:
        image: RGB, of any size.
        index: A store's, of masks.
        row: The image's row in it.
        thresholds: Pixels below that of their class are hatched.
        chosen: The class that the picture was chosen for: less transparent than others.
        colours: ``#rrggbb`` of each class.
    """
    mask, confidence = index.mask(row), index.confidence(row)
    if mask is None or confidence is None:
        return image
    return lay_over(image, ignore_unsure(mask, confidence, thresholds.keep), index.classes, colours, chosen)


def lay_over(
    image: Image.Image,
    mask: NDArray[np.uint8],
    classes: Sequence[str],
    colours: Sequence[str],
    chosen: int | None = None,
) -> Image.Image:
    """Return ``image`` with a mask over it: classes in colour, ignored pixels hatched.

    Args:
        image: RGB, of any size.
        mask: uint8 [H, W], of the size of the original image: class indices and ``IGNORE_INDEX``.
        classes: Their names; a background stays uncoloured.
        colours: ``#rrggbb`` of each class.
        chosen: The class that is less transparent than others.
    """
    resized = np.asarray(Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST))
    pixels = np.asarray(image).astype(np.float32)
    for label, colour in enumerate(colours):
        if classes[label] not in BACKGROUND:
            opacity = _CHOSEN_OPACITY if label == chosen else _OPACITY
            _tint(pixels, resized == label, ImageColor.getrgb(colour), opacity)
    y, x = np.indices(resized.shape)
    stripes = (x + y) % _HATCH_PERIOD < _HATCH_PERIOD // 2
    _tint(pixels, (resized == IGNORE_INDEX) & stripes, (0, 0, 0), _HATCH_OPACITY)
    return Image.fromarray(pixels.round().astype(np.uint8))


def _tint(pixels: NDArray[np.float32], where: NDArray[np.bool_], colour: tuple[int, ...], opacity: float) -> None:
    """Mix a colour into some pixels of float32 [H, W, 3]."""
    pixels[where] += opacity * (np.array(colour[:3], np.float32) - pixels[where])
