"""Rotation, shear and translation of an image with its boxes and its mask (paper.md, 2.2).

A map is float64 [2, 3]: it takes a place (x, y, 1) of the image to its new place, in pixels and continuous coordinates
(the middle of the first pixel is 0.5, 0.5). The image keeps its size; what comes from outside is grey, and 255 in the
mask.
"""

from dataclasses import replace
from math import cos, radians, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from lightning_st.transforms.geometry import MASK_PADDING
from lightning_st.types import Sample

Map = NDArray[np.float64]
PixelScale = tuple[float, float]
"""(x, y): pixels of the decoded image for each pixel of the original one; below 1 where the decoder made it smaller."""

GREY_LEVEL = 128
"""Of all channels, where an operation uncovers or hides something (paper.md, 2.2)."""

BORDER_FRACTION = 0.05
"""Of a side of the image: how wide a box becomes that has moved out of it, at the border (paper.md, 2.2)."""


def rotation(degrees: float, height: int, width: int, pixel_scale: PixelScale) -> Map:
    """Return the rotation about the image's centre by ``degrees``."""
    c, s = cos(radians(degrees)), sin(radians(degrees))
    x, y = width / 2, height / 2
    return np.array([[c, s, x - c * x - s * y], [-s, c, y + s * x - c * y]])


def shear_x(slope: float, height: int, width: int, pixel_scale: PixelScale) -> Map:
    """Return the map that shifts each row left by ``slope`` times its distance from the top."""
    return np.array([[1.0, -slope, 0.0], [0.0, 1.0, 0.0]])


def shear_y(slope: float, height: int, width: int, pixel_scale: PixelScale) -> Map:
    """Return the map that shifts each column up by ``slope`` times its distance from the left."""
    return np.array([[1.0, 0.0, 0.0], [-slope, 1.0, 0.0]])


def translation_x(pixels: float, height: int, width: int, pixel_scale: PixelScale) -> Map:
    """Return the shift to the left by ``pixels`` of the original image, to a whole pixel of this one."""
    return np.array([[1.0, 0.0, -round(pixels * pixel_scale[0])], [0.0, 1.0, 0.0]])


def translation_y(pixels: float, height: int, width: int, pixel_scale: PixelScale) -> Map:
    """Return the shift upwards by ``pixels`` of the original image, to a whole pixel of this one."""
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, -round(pixels * pixel_scale[1])]])


def move(sample: Sample, place: Map) -> Sample:
    """Move an image with its boxes and its mask; no box is removed, those that leave the image stay at its border."""
    moved = sample.move_masks(lambda mask: move_pixels(mask, place, MASK_PADDING))
    boxes = move_boxes(sample.boxes, place, *sample.image.shape[:2])
    return replace(moved, image=move_pixels(sample.image, place, (GREY_LEVEL,) * 3), boxes=boxes)


def move_pixels(image: NDArray[np.uint8], place: Map, colour: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image (uint8 [H, W] or [H, W, C]) moved, each pixel taken from the nearest one."""
    if (place[:, :2] == np.eye(2)).all():
        return _shift(image, round(place[0, 2]), round(place[1, 2]), colour)
    between_centres = place.copy()  # OpenCV counts from the middle of the first pixel
    between_centres[:, 2] += place[:, :2] @ (0.5, 0.5) - 0.5
    moved: NDArray[np.uint8] = cv2.warpAffine(
        image, between_centres, image.shape[1::-1], flags=cv2.INTER_NEAREST, borderValue=colour
    )
    return moved


def move_boxes(boxes: NDArray[np.float32], place: Map, height: int, width: int) -> NDArray[np.float32]:
    """Return the upright hulls of the moved boxes, clipped to the image.

    Args:
        boxes: float32 [N, 4], xyxy in pixels.
        place: The map.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Returns:
        float32 [N, 4]. A box of which nothing is left is widened at the border that it touches, as the paper's code
        does.
    """
    corners = boxes[:, [[0, 1], [2, 1], [0, 3], [2, 3]]]  # [N, 4, 2]
    moved = np.clip(corners @ place[:, :2].T + place[:, 2], 0, (width, height))
    low, high = moved.min(axis=1), moved.max(axis=1)  # [N, 2]
    sides = np.array([width, height])
    gone = low >= high
    low = np.where(gone, np.minimum(low, sides * (1 - BORDER_FRACTION)), low)
    high = np.where(gone, np.maximum(high, sides * BORDER_FRACTION), high)
    return np.concatenate([low, high], axis=1).astype(np.float32)


def _shift(image: NDArray[Any], right: int, down: int, colour: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return an image moved by whole pixels: a copy, which is ten times as fast as a general map."""
    rows = slice(max(0, -down), max(0, image.shape[0] - max(0, down)))
    columns = slice(max(0, -right), max(0, image.shape[1] - max(0, right)))
    rest = image[rows, columns]
    if rest.size == 0:
        return np.full_like(image, colour)
    before_and_after = max(0, down), max(0, -down), max(0, right), max(0, -right)
    shifted: NDArray[np.uint8] = cv2.copyMakeBorder(rest, *before_and_after, cv2.BORDER_CONSTANT, value=colour)
    return shifted
