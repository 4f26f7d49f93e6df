"""The geometry of evaluation where an image is judged as a whole."""

import cv2
import numpy as np
from numpy.typing import NDArray

from lightning_st.transforms.geometry import Size

_CENTRAL_PART = 0.875
"""Of the shorter side; 224 of 256 pixels, as ImageNet's classifiers are evaluated."""


def centre_crop(image: NDArray[np.uint8], image_size: Size) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """Cut out the middle of an image and resize it: what stands at the borders is not looked at.

    A classifier that was trained on crops has never seen the padded canvas that ``fit`` makes.

    Args:
        image: uint8 [H, W, 3].
        image_size: (height, width) of the output in pixels.

    Returns:
        The crop, uint8 [*image_size, 3]; and the scales (x, y): pixels of it for each pixel of ``image``.

    Example:
        >>> crop, scales = centre_crop(np.zeros((256, 320, 3), np.uint8), (224, 224))
        >>> crop.shape, scales
        ((224, 224, 3), (1.0, 1.0))
    """
    pixel = _CENTRAL_PART * min(side / wanted for side, wanted in zip(image.shape[:2], image_size, strict=True))
    height, width = (max(1, round(pixel * wanted)) for wanted in image_size)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    window = image[top : top + height, left : left + width]
    interpolation = cv2.INTER_AREA if pixel > 1 else cv2.INTER_LINEAR
    resized = cv2.resize(window, image_size[::-1], interpolation=interpolation)
    return np.asarray(resized, np.uint8), (image_size[1] / width, image_size[0] / height)
