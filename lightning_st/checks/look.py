"""What one image is, found by reading it once: whether it can be read, its size, its kind, and what it looks like."""

from hashlib import blake2b

import cv2
import numpy as np
from numpy.typing import NDArray

from lightning_st.checks.perceptual import SIDE, perceptual_hash, thumbnail
from lightning_st.data.image_file import ImageFile
from lightning_st.errors import ImageError
from lightning_st.index import ImageRecord

NOT_YET, READABLE, UNREADABLE = 0, 1, 2
"""Values of the field "state"."""

GREY, TURNED, DEEP, CMYK = 1, 2, 4, 8
"""Bits of the field "flags": no colour in it; EXIF turns it; 16 bits a channel; printing colours."""

LOOK = np.dtype(
    [
        ("state", "u1"),
        ("flags", "u1"),
        ("height", "<i4"),  # pixels, upright unless the labels are of the stored image
        ("width", "<i4"),
        ("spread", "<f4"),  # standard deviation of the pixels, in grey levels
        ("bytes", "<i8"),  # of the file, or of the member of an archive
        ("time", "<i8"),  # when the file last changed, in nanoseconds
        ("content", "<u8"),  # a hash of the bytes
        ("hash", "<u8"),  # what it looks like: see perceptual
    ]
)
"""What is kept of an image besides its thumbnail."""

_LEAST_SIDE = 48
"""A picture is decoded no smaller than this, in pixels: three for each of the thumbnail's."""

_COLOURLESS = 2
"""Grey levels by which the channels of a thumbnail may differ where an image has no colour: JPEG's rounding."""


def look_at(record: ImageRecord, is_labeled: bool) -> tuple[np.void, NDArray[np.uint8], str]:
    """Read an image as training would, only smaller.

    Returns:
        A `LOOK` without its time; the grey thumbnail, uint8 [256]; and why it cannot be read, "" where it can.
    """
    look = np.zeros(1, LOOK)[0]
    thumb = np.zeros(SIDE * SIDE, np.uint8)
    try:
        file = ImageFile.open(record, is_labeled)
        look["bytes"], look["content"] = len(file.data), content_hash(file.data)
        look["height"], look["width"] = file.size
        image = file.decode(_reduction(min(file.size)))
    except ImageError as error:
        look["state"] = UNREADABLE
        return look, thumb, str(error)
    colour = thumbnail(image)
    grey: NDArray[np.uint8] = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    has_colour = np.ptp(colour.astype(np.int16), axis=2).max() > _COLOURLESS
    look["flags"] = (
        GREY * (not has_colour)
        | TURNED * (file.header.orientation != 1)
        | DEEP * file.header.mode.startswith("I")
        | CMYK * (file.header.mode == "CMYK")
    )
    look["spread"] = cv2.meanStdDev(image)[1].max()
    look["hash"] = perceptual_hash(grey)
    look["state"] = READABLE
    return look, grey.ravel(), ""


def content_hash(data: bytes) -> int:
    """Return 64 bits that tell these bytes from all others: two of a million files meet once in 20 million sets."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _reduction(side: int) -> int:
    """Return how far a decoder may shrink an image whose shorter side has ``side`` pixels."""
    return next((reduction for reduction in (8, 4, 2) if side >= reduction * _LEAST_SIDE), 1)
