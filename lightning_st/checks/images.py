"""What is odd about images: unreadable, blank, tiny, long and thin, and kinds that are a minority in their set."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lightning_st.checks.findings import EXAMPLE_COUNT, Finding, Severity, counted, part_of
from lightning_st.checks.look import CMYK, DEEP, GREY, TURNED, UNREADABLE
from lightning_st.checks.scan import Scan
from lightning_st.data.split import is_too_many

_MOST_ENLARGED = 4
"""An image that training enlarges more than this shows little but interpolation."""

_MOST_ASPECT = 5
"""Times that an image may be longer than wide; beyond, most of a training batch's canvas is padding."""

_LEAST_SPREAD = 1.5
"""Grey levels: with less standard deviation an image is taken for one of a single colour, saved with some loss."""

_MOST_PIXELS = 40_000_000
"""An image of more takes about a second to decode, each time that it is drawn."""


def image_findings(scan: Scan, image_size: tuple[int, int], max_bad_fraction: float) -> Iterator[Finding]:
    """Yield what is odd about the images of a set.

    Args:
        scan: The set.
        image_size: (height, width) of a batch.
        max_bad_fraction: Of unreadable images, beyond which a training stops.
    """
    yield from _unreadable(scan, max_bad_fraction)
    readable, flags = scan.readable(), scan.column("flags")
    height, width = (scan.column(name).clip(min=1).astype(np.float64) for name in ("height", "width"))
    enlarged = np.minimum(image_size[0] / height, image_size[1] / width)
    aspect = np.maximum(height / width, width / height)
    grey = readable & ((flags & GREY) > 0)
    is_colour_set = 0 < grey.sum() < readable.sum() / 2
    rules: list[tuple[NDArray[np.bool_], Severity, str, str, str]] = [
        (
            scan.column("spread") < _LEAST_SPREAD,
            "warning",
            "blank",
            "of one colour or nearly so",
            "Leave them out, unless empty images are to be learnt.",
        ),
        (
            enlarged > _MOST_ENLARGED,
            "warning",
            "small_images",
            f"enlarged more than {_MOST_ENLARGED} times at data.image_size {image_size[0]} x {image_size[1]}",
            "Leave out thumbnails, or choose a smaller data.image_size.",
        ),
        (
            aspect > _MOST_ASPECT,
            "warning",
            "long_images",
            f"more than {_MOST_ASPECT} times as long as wide",
            "Cut them into tiles: fitted into a batch they are a thin strip.",
        ),
        (
            height * width > _MOST_PIXELS,
            "info",
            "large_images",
            f"of more than {_MOST_PIXELS // 10**6} megapixels",
            "Smaller copies, or tiles, are read many times faster.",
        ),
        (grey & is_colour_set, "info", "grey_images", "without colour, in a set of colour", ""),
        ((flags & TURNED) > 0, "info", "turned_images", "turned or mirrored by EXIF, which is followed", ""),
        ((flags & DEEP) > 0, "info", "deep_images", "of 16 bits, read as 8 by range", ""),
        ((flags & CMYK) > 0, "info", "cmyk_images", "of printing colours (CMYK), read as RGB", ""),
    ]
    for odd, severity, kind, what, advice in rules:
        yield from _odd(scan, odd & readable, severity, kind, what, advice)


def _odd(
    scan: Scan, odd: NDArray[np.bool_], severity: Severity, kind: str, what: str, advice: str
) -> Iterator[Finding]:
    images = np.flatnonzero(odd)
    if not len(images):
        return
    text = f"{counted(len(images), 'image')} ({part_of(len(images), len(scan))}) {_are(len(images))} {what}."
    height, width = scan.column("height"), scan.column("width")
    examples = [f"{scan.name(image)} ({width[image]} x {height[image]})" for image in images[:EXAMPLE_COUNT].tolist()]
    yield Finding(severity, kind, scan.split.name, len(images), len(scan), text, examples, advice)


def _unreadable(scan: Scan, max_bad_fraction: float) -> Iterator[Finding]:
    bad = np.flatnonzero(scan.column("state") == UNREADABLE)
    if not len(bad):
        return
    ends_a_run = is_too_many(len(bad), len(scan), max_bad_fraction)
    advice = "Mend or remove them; a training leaves them out."
    if ends_a_run:
        advice = f"Mend or remove them: a training stops at more than data.max_bad_fraction={max_bad_fraction:g}."
    yield Finding(
        "error" if ends_a_run else "warning",
        "unreadable_images",
        scan.split.name,
        len(bad),
        len(scan),
        f"{counted(len(bad), 'image')} ({part_of(len(bad), len(scan))}) cannot be read.",
        [scan.problem(image) for image in bad[:EXAMPLE_COUNT].tolist()],
        advice,
    )


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
