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
    mask, confidence = _resized(index.mask(row), image.size), _resized(index.confidence(row), image.size)
    if mask is None or confidence is None:
        return image
    is_shown = ignore_unsure(mask, confidence, thresholds.keep) != IGNORE_INDEX
    pixels = np.asarray(image).astype(np.float32)
    for label, colour in enumerate(colours):
        if index.classes[label] not in BACKGROUND:
            opacity = _CHOSEN_OPACITY if label == chosen else _OPACITY
            _tint(pixels, is_shown & (mask == label), ImageColor.getrgb(colour), opacity)
    y, x = np.indices(mask.shape)
    stripes = (x + y) % _HATCH_PERIOD < _HATCH_PERIOD // 2
    _tint(pixels, ~is_shown & stripes, (0, 0, 0), _HATCH_OPACITY)
    return Image.fromarray(pixels.round().astype(np.uint8))


def _tint(pixels: NDArray[np.float32], where: NDArray[np.bool_], colour: tuple[int, ...], opacity: float) -> None:
    """Mix a colour into some pixels of float32 [H, W, 3]."""
    pixels[where] += opacity * (np.array(colour[:3], np.float32) - pixels[where])


def _resized(values: NDArray[np.uint8] | None, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Return uint8 [H, W] at ``size`` (width, height), each pixel the nearest one."""
    return None if values is None else np.asarray(Image.fromarray(values).resize(size, Image.Resampling.NEAREST))
