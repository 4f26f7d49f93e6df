"""Pictures as heavy to decode as photographs, where none are given."""

import cv2
import numpy as np
from numpy.typing import NDArray


def photo_like(random: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Octaves of noise, each as strong as it is coarse: 640 x 480 take 150 kB at quality 95, as a photograph does."""
    image = np.zeros((height, width, 3), np.float32)
    for octave in range(8):
        size = max(2, height >> octave), max(2, width >> octave), 3
        noise = random.normal(0, 1.45**octave, size).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image * 4 + 128, 0, 255).astype(np.uint8)
