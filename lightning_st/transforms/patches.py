"""Operations on a part of the image: cutouts, and any operation inside the boxes of objects (paper.md, 2.2).

Only boxes of kind OBJECT are worked on: the paper's loader drops crowd regions before it augments, and knows no others.
"""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from lightning_st.transforms.affine import GREY_LEVEL, PixelScale
from lightning_st.types import BoxKind, Sample

Apply = Callable[[Sample, float, int, PixelScale], Sample]
"""(sample, argument, seed, pixel scale) -> a new sample of the same size with as many boxes."""


def cut_out(sample: Sample, half_side: float, seed: int, pixel_scale: PixelScale) -> Sample:
    """Grey out a square around a random pixel of the image, ``half_side`` in pixels of the original image."""
    height, width = sample.image.shape[:2]
    half_width, half_height = round(half_side * pixel_scale[0]), round(half_side * pixel_scale[1])
    return _grey_out(sample, (0, 0, width, height), half_width, half_height, np.random.default_rng(seed))


def cut_out_of_one_box(sample: Sample, fraction: float, seed: int, pixel_scale: PixelScale) -> Sample:
    """Grey out a rectangle around a random pixel of a random box, its sides ``fraction`` (0-1) of the box's."""
    rows = np.flatnonzero(sample.kinds == BoxKind.OBJECT)
    if len(rows) == 0:
        return sample
    generator = np.random.default_rng(seed)
    left, top, right, bottom = _whole_pixels(sample)[generator.choice(rows)].tolist()
    half_width, half_height = int(fraction * (right - left) / 2), int(fraction * (bottom - top) / 2)
    return _grey_out(sample, (left, top, right, bottom), half_width, half_height, generator)


def flip_pixels(sample: Sample, argument: float, seed: int, pixel_scale: PixelScale) -> Sample:
    """Mirror the pixels of the image and of the mask left and right, but no boxes."""
    mirrored = sample.move_masks(lambda mask: cv2.flip(mask, 1))
    return replace(mirrored, image=cv2.flip(sample.image, 1))


def apply_in_boxes(
    apply: Apply, sample: Sample, argument: float, seed: int, pixel_scale: PixelScale, probability: float
) -> Sample:
    """Apply an operation to the pixels inside each box of an object, one box after the other; the boxes stay.

    Args:
        apply: The operation, as it works on a whole image.
        sample: Image, boxes and mask.
        argument: Of the operation, the same in all boxes.
        seed: Decides which boxes, and seeds what is drawn inside each.
        pixel_scale: Pixels of this image for each pixel of the original one.
        probability: 0-1, for each box.
    """
    generator = np.random.default_rng(seed)
    is_drawn = (generator.random(len(sample.boxes)) < probability) & (sample.kinds == BoxKind.OBJECT)
    seeds = generator.integers(2**63, size=len(sample.boxes)).tolist()
    boxes = _whole_pixels(sample).tolist()
    whole = replace(sample, image=sample.image.copy()).move_masks(np.copy)
    without_boxes = whole.keep(np.zeros(0, np.intp))
    for row in np.flatnonzero(is_drawn):
        left, top, right, bottom = boxes[row]
        place = slice(top, bottom), slice(left, right)
        patch = _cut(without_boxes, place)
        changed = apply(patch, argument, seeds[row], pixel_scale)
        for name in ("image", "mask", "mask_weights"):
            if (pixels := getattr(patch, name)) is not None:
                pixels[:] = getattr(changed, name)  # a view of the whole
    return whole


def _cut(sample: Sample, place: tuple[slice, slice]) -> Sample:
    """Return views of a part of the image and of its masks."""
    return replace(sample, image=sample.image[place]).move_masks(lambda mask: mask[place])


def _grey_out(
    sample: Sample, within: tuple[int, int, int, int], half_width: int, half_height: int, generator: np.random.Generator
) -> Sample:
    """Grey out what lies within so many pixels of a random pixel ``within`` (xyxy); labels and mask stay."""
    left, top, right, bottom = within
    x, y = int(generator.integers(left, right)), int(generator.integers(top, bottom))
    image = sample.image.copy()
    image[max(0, y - half_height) : y + half_height, max(0, x - half_width) : x + half_width] = GREY_LEVEL
    return replace(sample, image=image)


def _whole_pixels(sample: Sample) -> NDArray[np.int64]:
    """Return the pixels that each box touches, int64 [N, 4], xyxy inside the image and never empty."""
    height, width = sample.image.shape[:2]
    low = np.clip(np.floor(sample.boxes[:, :2]), 0, (width - 1, height - 1))
    high = np.clip(np.ceil(sample.boxes[:, 2:]), low + 1, (width, height))
    return np.concatenate([low, high], axis=1).astype(np.int64)
