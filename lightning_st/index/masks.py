"""How the mask of an image lies in an index: its class indices, and a teacher's confidence where there is one.

    height, width, bytes of the mask      12 bytes
    mask                                  zlib: uint8 [H, W], class indices and `IGNORE_INDEX`
    confidence                            zlib: uint8 [H, W], hundredths; nothing for labels of people

Deflate alone makes label maps smaller than PNG does, and reads them in a third of the time.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from lightning_st.types import IGNORE_INDEX

CONFIDENCE_STEPS = 100
"""A confidence is kept as so many-ths, rounded down: so thresholds in whole hundredths are exact."""

LEVELS = CONFIDENCE_STEPS + 1
"""How many confidences there are: 0 to 100 hundredths."""

MOST_PIXELS = 1 << 28
"""Of a mask: more than of any image that is read."""

_HEAD = struct.Struct("<III")
_MASK_LEVEL = 6
_CONFIDENCE_LEVEL = 1  # noise hardly gets smaller at higher ones, in five times the time


def encode_mask(mask: NDArray[np.uint8], confidence: NDArray[np.uint8] | None = None) -> bytes:
    """Return a mask, compressed.

    Args:
        mask: uint8 [H, W], class indices and `IGNORE_INDEX`.
        confidence: uint8 [H, W], see `to_hundredths`.

    Raises:
        ValueError: If both differ in shape, or are not uint8 [H, W].
    """
    for array in (mask,) if confidence is None else (mask, confidence):
        if array.dtype != np.uint8 or array.shape != mask.shape or array.ndim != 2:
            raise ValueError(f"Expected uint8 [H, W], both alike, got {array.dtype} {array.shape} and {mask.shape}.")
    labels = zlib.compress(np.ascontiguousarray(mask).data, _MASK_LEVEL)
    rest = b"" if confidence is None else zlib.compress(np.ascontiguousarray(confidence).data, _CONFIDENCE_LEVEL)
    return _HEAD.pack(*mask.shape, len(labels)) + labels + rest


def decode_mask(data: bytes) -> NDArray[np.uint8]:
    """Return the mask in what `encode_mask` made, uint8 [H, W].

    Raises:
        ValueError, struct.error, zlib.error: If it is damaged; it takes no more memory then either.
    """
    height, width, length = _HEAD.unpack_from(data)
    return _inflate(data[_HEAD.size : _HEAD.size + length], height, width)


def decode_confidence(data: bytes) -> NDArray[np.uint8] | None:
    """Return the confidence in what `encode_mask` made, uint8 [H, W] in hundredths; None where there is none."""
    height, width, length = _HEAD.unpack_from(data)
    rest = data[_HEAD.size + length :]
    return _inflate(rest, height, width) if rest else None


def to_hundredths(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return probabilities (0-1) in hundredths, rounded down, uint8.

    The rounding of a float32 is allowed for: 0.29 is 29 of them, though it is stored as a little less.

    Example:
        >>> to_hundredths(np.array([0.5, 0.29, 0.4999, 1.0], np.float32)).tolist()
        [50, 29, 49, 100]
    """
    steps: NDArray[np.uint8] = (values * np.float32(CONFIDENCE_STEPS) + np.float32(1e-4)).astype(np.uint8)
    return steps


def threshold_steps(thresholds: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return for each threshold (0-1) the smallest confidence in hundredths that reaches it, int64; 101 for none.

    Example:
        >>> threshold_steps(np.array([0.5, 0.505, 2.0], np.float32)).tolist()
        [50, 51, 101]
    """
    steps = np.ceil(thresholds.astype(np.float64) * CONFIDENCE_STEPS - 1e-4)
    return np.clip(steps, 0, CONFIDENCE_STEPS + 1).astype(np.int64)


def pixel_histogram(mask: NDArray[np.uint8], confidence: NDArray[np.uint8], class_count: int) -> NDArray[np.int64]:
    """Return how many pixels each class has at each confidence, int64 [C, 101].

    Args:
        mask: uint8, class indices, any shape; pixels of 255 are left out.
        confidence: uint8, of the same shape, hundredths.
        class_count: C.
    """
    cells = mask.reshape(-1).astype(np.int32) * LEVELS + confidence.reshape(-1)
    counts: NDArray[np.int64] = np.bincount(cells, minlength=(IGNORE_INDEX + 1) * LEVELS)
    return counts.reshape(-1, LEVELS)[:class_count]


def ignore_unsure(
    mask: NDArray[np.uint8], confidence: NDArray[np.uint8] | None, keep: NDArray[np.floating]
) -> NDArray[np.uint8]:
    """Return a mask in which the pixels below the threshold of their class are ignored.

    Args:
        mask: uint8 [H, W], class indices and `IGNORE_INDEX`.
        confidence: uint8 [H, W] in hundredths; None for labels of people, which are all sure.
        keep: float [C], the threshold (0-1) of each class.

    Example:
        >>> ignore_unsure(np.array([[0, 0, 1]], np.uint8), np.array([[50, 49, 99]], np.uint8), np.array([0.5, 2.0]))
        array([[  0, 255, 255]], dtype=uint8)
    """
    if confidence is None:
        return mask
    needed = np.full(IGNORE_INDEX + 1, IGNORE_INDEX, np.uint8)
    needed[: len(keep)] = threshold_steps(keep)
    shown: NDArray[np.uint8] = np.where(confidence >= needed[mask], mask, IGNORE_INDEX).astype(np.uint8)
    return shown


def _inflate(data: bytes, height: int, width: int) -> NDArray[np.uint8]:
    # No more than the size that was said: a damaged file shall not fill the memory.
    if not 0 < height * width <= MOST_PIXELS:
        raise ValueError(f"a mask of {height} x {width} pixels")
    raw = zlib.decompressobj().decompress(data, height * width)
    return np.frombuffer(raw, np.uint8).reshape(height, width)
