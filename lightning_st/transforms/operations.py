"""The operations of AutoAugment and RandAugment by name: what a level means, and what is done (paper.md, 2.2).

A drawn operation holds its argument as it is for the original image (a shift in its pixels, say); to apply it to an
image that the decoder made smaller takes the ``PixelScale`` between both.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lightning_st.transforms import affine, colour
from lightning_st.transforms.affine import Map, PixelScale
from lightning_st.transforms.colour import Image
from lightning_st.transforms.patches import Apply, apply_in_boxes, cut_out, cut_out_of_one_box, flip_pixels
from lightning_st.types import Sample

HIGHEST_LEVEL = 10
"""Levels go from 0 to this (paper.md, 2.2)."""

BOX_PROBABILITY_DIVISOR = 3
"""An operation inside single boxes is drawn for each box, at this part of its probability (paper.md, 2.2)."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A row of the table.

    Attributes:
        apply: What is done to a sample.
        argument: From the level to the argument.
        is_signed: Whether the argument is negated half of the time.
        is_per_box: Whether it works inside boxes, and is drawn for each of them.
    """

    apply: Apply
    argument: Callable[[float], float]
    is_signed: bool = False
    is_per_box: bool = False


@dataclass(frozen=True, slots=True)
class DrawnOperation:
    """An operation with all that is drawn for it; plain values.

    Attributes:
        name: A key of ``OPERATIONS``.
        argument: With its sign; its unit is that of the table.
        seed: Of the draws that need the sample: which boxes, where in them.
        box_probability: 0-1, for each box, of an operation inside boxes.
    """

    name: str
    argument: float = 0.0
    seed: int = 0
    box_probability: float = 1.0


def draw_operation(
    generator: np.random.Generator, name: str, level: float, probability: float = 1.0
) -> DrawnOperation | None:
    """Draw whether an operation happens, and how.

    Args:
        generator: Where the random numbers come from.
        name: A key of ``OPERATIONS``.
        level: 0 to ``HIGHEST_LEVEL``.
        probability: 0-1, that it happens.

    Returns:
        None if it does not happen. Inside boxes it always may: that is drawn for each box when it is applied.
    """
    operation = OPERATIONS[name]
    if not operation.is_per_box and generator.random() >= probability:
        return None
    sign = -1 if operation.is_signed and generator.random() < 0.5 else 1
    seed = int(generator.integers(2**63))
    box_probability = probability / BOX_PROBABILITY_DIVISOR if operation.is_per_box else 1.0
    return DrawnOperation(name, sign * operation.argument(level), seed, box_probability)


def apply_operation(sample: Sample, drawn: DrawnOperation, pixel_scale: PixelScale = (1.0, 1.0)) -> Sample:
    """Return the sample after an operation: the image has its size, and all boxes are still there."""
    operation = OPERATIONS[drawn.name]
    if operation.is_per_box:
        return apply_in_boxes(operation.apply, sample, drawn.argument, drawn.seed, pixel_scale, drawn.box_probability)
    return operation.apply(sample, drawn.argument, drawn.seed, pixel_scale)


def _recolour(change: Callable[[Image, float], Image]) -> Apply:
    """Return the operation that changes only the colours of the image."""

    def apply(sample: Sample, argument: float, seed: int, pixel_scale: PixelScale) -> Sample:
        return replace(sample, image=change(sample.image, argument))

    return apply


def _move(place: Callable[[float, int, int, PixelScale], Map]) -> Apply:
    """Return the operation that moves the pixels, the boxes and the mask by a map."""

    def apply(sample: Sample, argument: float, seed: int, pixel_scale: PixelScale) -> Sample:
        height, width = sample.image.shape[:2]
        return affine.move(sample, place(argument, height, width, pixel_scale))

    return apply


def _nothing(level: float) -> float:
    """The argument of an operation without one."""
    return 0.0


def _times(highest: float) -> Callable[[float], float]:
    """Return the argument that grows with the level up to ``highest``."""
    return lambda level: level / HIGHEST_LEVEL * highest


def _steps(highest: int) -> Callable[[float], float]:
    """Return the same in whole steps, rounded down."""
    return lambda level: int(level / HIGHEST_LEVEL * highest)


def _bits(level: float) -> float:
    """Bits to keep, up to 4; at least 1, where the released code turns the image black at level 2."""
    return max(1, int(level / HIGHEST_LEVEL * 4))


def _blend(level: float) -> float:
    """The factor of a blend with the degenerate image, 0.1-1.9."""
    return level / HIGHEST_LEVEL * 1.8 + 0.1


_AUTO_CONTRAST = _recolour(lambda image, _: colour.auto_contrast(image))
_EQUALIZE = _recolour(lambda image, _: colour.equalize(image))
_SOLARIZE = _recolour(colour.solarize)
_ROTATE = _move(affine.rotation)
_SHEAR_X, _SHEAR_Y = _move(affine.shear_x), _move(affine.shear_y)
_TRANSLATE_X, _TRANSLATE_Y = _move(affine.translation_x), _move(affine.translation_y)

OPERATIONS: dict[str, Operation] = {
    "AutoContrast": Operation(_AUTO_CONTRAST, _nothing),
    "Equalize": Operation(_EQUALIZE, _nothing),
    "Posterize": Operation(_recolour(colour.posterize), _bits),
    "Solarize": Operation(_SOLARIZE, _steps(256)),
    "SolarizeAdd": Operation(_recolour(colour.solarize_add), _steps(110)),
    "Color": Operation(_recolour(colour.color), _blend),
    "Contrast": Operation(_recolour(colour.contrast), _blend),
    "Brightness": Operation(_recolour(colour.brightness), _blend),
    "Sharpness": Operation(_recolour(colour.sharpness), _blend),
    "Cutout": Operation(cut_out, _steps(100)),  # half a side, pixels
    "BBox_Cutout": Operation(cut_out_of_one_box, _times(0.75)),  # of the box's sides
    "Rotate_BBox": Operation(_ROTATE, _times(30), is_signed=True),  # degrees
    "TranslateX_BBox": Operation(_TRANSLATE_X, _times(250), is_signed=True),  # pixels
    "TranslateY_BBox": Operation(_TRANSLATE_Y, _times(250), is_signed=True),
    "ShearX_BBox": Operation(_SHEAR_X, _times(0.3), is_signed=True),
    "ShearY_BBox": Operation(_SHEAR_Y, _times(0.3), is_signed=True),
    "Rotate_Only_BBoxes": Operation(_ROTATE, _times(30), is_signed=True, is_per_box=True),
    "ShearX_Only_BBoxes": Operation(_SHEAR_X, _times(0.3), is_signed=True, is_per_box=True),
    "ShearY_Only_BBoxes": Operation(_SHEAR_Y, _times(0.3), is_signed=True, is_per_box=True),
    "TranslateX_Only_BBoxes": Operation(_TRANSLATE_X, _times(120), is_signed=True, is_per_box=True),
    "TranslateY_Only_BBoxes": Operation(_TRANSLATE_Y, _times(120), is_signed=True, is_per_box=True),
    "Invert": Operation(_recolour(lambda image, _: colour.invert(image)), _nothing),
    "Rotate": Operation(_ROTATE, _times(30), is_signed=True),  # these move masks; boxes move as well
    "ShearX": Operation(_SHEAR_X, _times(0.3), is_signed=True),
    "ShearY": Operation(_SHEAR_Y, _times(0.3), is_signed=True),
    "TranslateX": Operation(_TRANSLATE_X, _times(100), is_signed=True),
    "TranslateY": Operation(_TRANSLATE_Y, _times(100), is_signed=True),
    "Cutout_40": Operation(cut_out, _steps(40)),
    "Flip_Only_BBoxes": Operation(flip_pixels, _nothing, is_per_box=True),
    "Equalize_Only_BBoxes": Operation(_EQUALIZE, _nothing, is_per_box=True),
    "Solarize_Only_BBoxes": Operation(_SOLARIZE, _steps(256), is_per_box=True),
    "Cutout_Only_BBoxes": Operation(cut_out, _steps(50), is_per_box=True),
}
"""All operations by the name that the policies use, with what their argument grows to at ``HIGHEST_LEVEL``."""
