"""The fused geometry: flip, scale jitter, crop and padding in one resampling (paper.md, 2.1 step 6).

The window of the image that lands in the output is cut out first, in whole pixels, and resized once. The boxes follow
the map that the pixels of this window take, not the drawn one, so that they agree with the picture at every size. The
drawn numbers are fractions and ratios: they hold for the original image as for one that the decoder made smaller.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from lightning_st.types import IGNORE_INDEX, PADDING_COLOUR, Sample

Size = tuple[int, int]
"""(height, width) in pixels."""

REDUCTIONS = (8, 4, 2, 1)
"""How many times smaller a JPEG decoder can make an image on its way, largest first."""

MASK_PADDING = (IGNORE_INDEX,)
"""The label of pixels outside the image."""

SMALLEST_SIDE = 1e-2
"""In pixels; what remains of a box below this is the rounding of float32 coordinates, not a part of an object."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """What one draw does to the geometry of an image.

    Attributes:
        scale: Pixels of the output for each pixel of the original image, before sizes are rounded to whole pixels.
        offset: (y, x), each 0-1: where the output lies in the scaled image, of the room there is.
        flip: Mirror left and right.
    """

    scale: float
    offset: tuple[float, float] = (0.0, 0.0)
    flip: bool = False

    @property
    def reduction(self) -> int:
        """How many times smaller the decoder may make the image without losing detail that the output shows."""
        return next((times for times in REDUCTIONS if times * self.scale <= 1), 1)


class Span(NamedTuple):
    """Along one axis: pixels ``start .. start + length`` of the image become pixels ``0 .. target`` of the output."""

    start: int
    length: int
    target: int

    @property
    def scale(self) -> float:
        """Pixels of the output for each pixel of the image, exactly as resizing takes it."""
        return self.target / self.length


def draw_geometry(
    generator: np.random.Generator,
    size: Size,
    image_size: Size,
    scale_jitter: tuple[float, float],
    flip_probability: float,
) -> Geometry:
    """Draw a flip, a scale and a crop for an image.

    Args:
        generator: Where the random numbers come from.
        size: (height, width) of the original image in pixels.
        image_size: (height, width) of the output in pixels.
        scale_jitter: The smallest and the largest of the uniform jitter; 1 is where the image just fits the output.
        flip_probability: 0-1.
    """
    flip = bool(generator.random() < flip_probability)
    jitter = generator.uniform(*scale_jitter)
    offset_y, offset_x = generator.random(2).tolist()
    return Geometry(fitting_scale(size, image_size, jitter), (offset_y, offset_x), flip)


def fitting_scale(size: Size, image_size: Size, jitter: float = 1.0) -> float:
    """Return the scale at which an image of ``size`` just fits into ``jitter`` times ``image_size``, aspect kept.

    Example:
        >>> fitting_scale((480, 640), (320, 320))
        0.5
    """
    return min(max(1, round(jitter * room)) / side for side, room in zip(size, image_size, strict=True))


def apply_geometry(sample: Sample, geometry: Geometry, size: Size, image_size: Size) -> Sample:
    """Flip, scale, crop and pad an image with its boxes and its mask.

    Args:
        sample: The image as decoded, at any resolution, and its labels in pixels of it.
        geometry: What was drawn.
        size: (height, width) of the original image in pixels, for which ``geometry`` was drawn.
        image_size: (height, width) of the output in pixels.

    Returns:
        The sample at ``image_size``, padded with ``PADDING_COLOUR`` (the mask with 255) at the bottom and right. Boxes
        are clipped to what is left of the image; those of which nothing is left are gone, with their labels and kinds.
    """
    y, x = (
        _span(decoded, original, output, geometry.scale, offset)
        for decoded, original, output, offset in zip(
            sample.image.shape[:2], size, image_size, geometry.offset, strict=True
        )
    )
    image = _resample(sample.image, y, x, image_size, PADDING_COLOUR, flip=geometry.flip)
    resampled = sample.move_masks(
        lambda mask: _resample(
            mask, y, x, image_size, MASK_PADDING, flip=geometry.flip, interpolation=cv2.INTER_NEAREST_EXACT
        )
    )
    boxes = flip_boxes(sample.boxes, sample.image.shape[1]) if geometry.flip else sample.boxes
    boxes = (boxes - (x.start, y.start) * 2) * ((x.scale, y.scale) * 2)
    moved = replace(resampled, image=image, boxes=boxes)
    return clip_boxes(moved, (y.target, x.target))


def fit(image: NDArray[np.uint8], image_size: Size) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Resize an image to fit, its aspect ratio kept, and place it at the top left: the geometry of evaluation.

    Args:
        image: uint8 [H, W, 3].
        image_size: (height, width) of the output in pixels.

    Returns:
        The image, uint8 [*image_size, 3], padded with ``PADDING_COLOUR`` at the bottom and right; and the scales (x,
        y): pixels of it for each pixel of ``image``.

    Example:
        >>> fitted, scales = fit(np.zeros((48, 64, 3), np.uint8), (32, 32))
        >>> fitted.shape, scales
        ((32, 32, 3), (0.5, 0.5))
    """
    size = image.shape[0], image.shape[1]
    scale = fitting_scale(size, image_size)
    y, x = (_span(side, side, room, scale, 0.0) for side, room in zip(size, image_size, strict=True))
    return _resample(image, y, x, image_size, PADDING_COLOUR), (x.scale, y.scale)


def flip_boxes(boxes: NDArray[np.float32], width: int) -> NDArray[np.float32]:
    """Return boxes (float32 [N, 4], xyxy in pixels) mirrored left and right in an image of ``width`` pixels."""
    mirrored = boxes[:, [2, 1, 0, 3]]
    mirrored[:, [0, 2]] = width - mirrored[:, [0, 2]]
    return mirrored


def clip_boxes(sample: Sample, size: Size) -> Sample:
    """Return the sample with its boxes (any float) clipped to ``size`` pixels, and without those left with no area."""
    height, width = size
    boxes = np.clip(sample.boxes, 0, (width, height, width, height)).astype(np.float32)
    shorter_sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    return replace(sample, boxes=boxes).keep(shorter_sides >= SMALLEST_SIDE)


def _span(decoded: int, original: int, output: int, scale: float, offset: float) -> Span:
    """Return which of ``decoded`` pixels land in the output, and on how many of its pixels, along one axis."""
    scaled = max(1, round(original * scale))
    if scaled <= output:
        return Span(0, decoded, scaled)
    pixel = decoded / scaled  # pixels of the decoded image for each pixel of the output
    length = min(decoded, max(1, round(output * pixel)))
    start = int(offset * (scaled - output)) * pixel  # the crop is drawn in whole pixels of the scaled image
    return Span(min(round(start), decoded - length), length, output)


def _resample(
    image: NDArray[np.uint8],
    y: Span,
    x: Span,
    image_size: Size,
    colour: tuple[int, ...],
    *,
    flip: bool = False,
    interpolation: int | None = None,
) -> NDArray[np.uint8]:
    """Cut the window out, flip it, and resize it into an output that is ``colour`` elsewhere.

    The output is allocated once and each of its pixels written once: for so little work per pixel, fresh memory is what
    costs most.

    Args:
        image: uint8 [H, W] or [H, W, C].
        y: The window and its place.
        x: Likewise; it counts from the right of the image if ``flip``.
        image_size: (height, width) of the output in pixels.
        colour: A value for each channel.
        flip: Mirror left and right.
        interpolation: Of OpenCV; None for what suits a photograph.
    """
    left = image.shape[1] - x.start - x.length if flip else x.start
    window = image[y.start : y.start + y.length, left : left + x.length]
    if interpolation is None:
        # Down to one half a bilinear sample still reads every pixel of the image, at a seventh of the cost of areas.
        interpolation = cv2.INTER_LINEAR if min(y.scale, x.scale) >= 0.5 else cv2.INTER_AREA
    output = np.empty((*image_size, *image.shape[2:]), np.uint8)
    lines, line = output.reshape(image_size[0], -1), np.tile(np.array(colour, np.uint8), image_size[1])
    lines[y.target :] = line
    lines[: y.target, x.target * len(colour) :] = line[x.target * len(colour) :]
    content = output[: y.target, : x.target]
    cv2.resize(cv2.flip(window, 1) if flip else window, (x.target, y.target), dst=content, interpolation=interpolation)
    return output
