"""Pictures whose boxes can be found again: a rectangle of its own colour in each box, on black."""

import numpy as np

from lightning_st.types import BoxKind, Sample

COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)


def draw_sample(height, width, boxes, with_mask=True):
    """Boxes: up to three, in whole pixels, that do not overlap. The mask holds the box's row + 1, and 0 elsewhere."""
    image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    for row, (left, top, right, bottom) in enumerate(boxes):
        image[top:bottom, left:right] = COLOURS[row]
        mask[top:bottom, left:right] = row + 1
    image.flags.writeable = mask.flags.writeable = False  # a policy never writes to what it is given
    return Sample(
        image,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.arange(len(boxes), dtype=np.int64),
        np.full(len(boxes), BoxKind.OBJECT, np.uint8),
        mask if with_mask else None,
    )


def find_in_image(image, row):
    """Return where the rectangle of ``row`` is, [4], or None: pixels nearer to its colour than to black or grey."""
    others = [channel for channel in range(3) if channel != row]
    return extent((image[..., row] > 127) & (image[..., others] < 100).all(axis=-1))


def extent(found):
    """Return the box around the true pixels of a bool [H, W], or None where there is none."""
    rows, columns = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) if len(rows) else None


def noise_sample(height, width, boxes, kinds=None, seed=0):
    """A picture of noise, for what only counts or compares pixels."""
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    image.flags.writeable = False
    count = len(boxes)
    kinds = np.full(count, BoxKind.OBJECT, np.uint8) if kinds is None else np.array(kinds, np.uint8)
    return Sample(image, np.array(boxes, np.float32).reshape(-1, 4), np.arange(count, dtype=np.int64), kinds)
