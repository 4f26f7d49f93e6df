"""Colour operations on uint8 images, each a table of 256 entries or one or two passes of OpenCV (paper.md, 2.2).

Each takes uint8 [H, W, 3], RGB, and returns a new array of the same shape. They agree with Pillow's ``ImageOps`` and
``ImageEnhance`` to within one grey level.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

LEVELS = np.arange(256)
"""All values of a channel: what a table is made from."""

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Red, green and blue in a pixel's grey value (ITU-R 601)."""

SMOOTHING = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
"""The kernel from which sharpness leads away (paper.md, 2.2)."""


def auto_contrast(image: Image) -> Image:
    """Stretch each channel so that its darkest value becomes 0 and its brightest 255."""
    present = _histograms(image) > 0
    lowest = present.argmax(axis=1)[:, None]
    highest = 255 - present[:, ::-1].argmax(axis=1)[:, None]
    span = np.maximum(highest - lowest, 1)
    stretched = (LEVELS - lowest) * (255 / span)
    return _look_up(image, np.where(highest > lowest, stretched, LEVELS))


def equalize(image: Image) -> Image:
    """Give each channel a flat histogram; a channel of one value stays as it is."""
    counts = _histograms(image)
    brightest = 255 - (counts > 0)[:, ::-1].argmax(axis=1)
    step = (counts.sum(axis=1) - np.take_along_axis(counts, brightest[:, None], axis=1)[:, 0])[:, None] // 255
    below = np.cumsum(counts, axis=1) - counts
    return _look_up(image, np.where(step > 0, (below + step // 2) // np.maximum(step, 1), LEVELS))


def invert(image: Image) -> Image:
    """Subtract every value from 255."""
    inverted: Image = cv2.bitwise_not(image)
    return inverted


def posterize(image: Image, bits: float) -> Image:
    """Keep the highest ``bits`` (1-8) of every channel."""
    kept: Image = np.bitwise_and(image, np.uint8(256 - (1 << (8 - int(bits)))))
    return kept


def solarize(image: Image, threshold: float) -> Image:
    """Invert the values from ``threshold`` (0-256) on."""
    _, bright = cv2.threshold(image, threshold - 1, 255, cv2.THRESH_BINARY)  # 255 where it is above threshold - 1
    inverted: Image = cv2.bitwise_xor(image, bright)
    return inverted


def solarize_add(image: Image, addition: float) -> Image:
    """Add ``addition`` (0-255) to the values below 128."""
    _, added = cv2.threshold(image, 127, addition, cv2.THRESH_BINARY_INV)
    brightened: Image = cv2.add(image, added)
    return brightened


def color(image: Image, factor: float) -> Image:
    """Blend with the grey image: 0 is grey, 1 the image itself, above 1 more colourful."""
    blend = factor * np.eye(3) + (1 - factor) * np.array([GREY_WEIGHTS] * 3)
    blended: Image = cv2.transform(image, blend)
    return blended


def contrast(image: Image, factor: float) -> Image:
    """Blend with the image's mean grey: 0 is one grey, 1 the image itself, above 1 more contrast.

    The released code takes a number that depends on the image's size for the mean; this is the mean (paper.md, 2.2).
    """
    mean = round(float(np.dot(cv2.mean(image)[:3], GREY_WEIGHTS)))
    return _look_up(image, mean + factor * (LEVELS - mean))


def brightness(image: Image, factor: float) -> Image:
    """Blend with black: 0 is black, 1 the image itself, above 1 brighter."""
    return _look_up(image, factor * LEVELS)


def sharpness(image: Image, factor: float) -> Image:
    """Blend with the smoothed image: 0 is smooth, 1 the image itself, above 1 sharper; the outermost pixels stay."""
    kernel = (1 - factor) * SMOOTHING
    kernel[1, 1] += factor
    sharpened: Image = cv2.filter2D(image, -1, kernel)
    sharpened[[0, -1]] = image[[0, -1]]
    sharpened[:, [0, -1]] = image[:, [0, -1]]
    return sharpened


def _histograms(image: Image) -> NDArray[np.int64]:
    """Return how often each value occurs in each channel, [3, 256]."""
    counts = [cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel() for channel in range(3)]
    return np.stack(counts).astype(np.int64)


def _look_up(image: Image, table: NDArray[Any]) -> Image:
    """Return ``table`` ([256], or [3, 256] by channel) at every value of the image, rounded down, clipped to 0-255."""
    entries = np.clip(np.floor(table), 0, 255).astype(np.uint8)
    found: Image = cv2.LUT(image, entries if entries.ndim == 1 else np.ascontiguousarray(entries.T)[None])
    return found
