"""From the bytes of an image file to upright RGB, as a person sees it.

Plain JPEG goes through OpenCV, which can shrink while it decodes; all else through Pillow. Both leave the turning that
EXIF asks for to us, so both turn alike.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import get_worker_info

from lightning_st.errors import ImageError
from lightning_st.index import open_picture, orientation_of, plain_jpeg_frame, read_part

Size = tuple[int, int]
"""(height, width) in pixels."""

_REDUCED = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,  # of which the colour flag makes a picture in colour
    4: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_COLOR_RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
_MODES = {1: "L", 3: "RGB"}  # by the channels of a JPEG, as Pillow calls them
_START_OF_SCAN, _END_OF_JPEG = b"\xff\xda", b"\xff\xd9"

# What turns the stored image upright, by EXIF orientation: (swap rows and columns, mirror rows, mirror columns), in
# this order.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file say.

    Attributes:
        format: Pillow's name of the format, such as "JPEG".
        mode: Pillow's name of the pixel format, such as "RGB".
        stored_size: (height, width) of the pixels as they lie in the file.
        orientation: EXIF's, 1-8; 1 where there is none or no legal one.
    """

    format: str
    mode: str
    stored_size: Size
    orientation: int

    @property
    def size(self) -> Size:
        """(height, width) of the upright image."""
        return self.stored_size[::-1] if _TURNS[self.orientation][0] else self.stored_size

    @property
    def mirrored(self) -> tuple[bool, bool]:
        """Whether the rows, and the columns, of the upright image run against those that are stored for them."""
        return _TURNS[self.orientation][1:]

    @property
    def is_plain_jpeg(self) -> bool:
        """Whether OpenCV decodes it as Pillow does: JPEG (or the first picture of several) in grey or RGB."""
        return self.format in ("JPEG", "MPO") and self.mode in ("L", "RGB")


def read_bytes(path: Path | str, offset: int = 0, length: int | None = None) -> bytes:
    """Return ``length`` bytes of a file from ``offset`` on, to its end without ``length``.

    Raises:
        ImageError: If the file cannot be read, or ends too early.
    """
    try:
        data = read_part(path, offset, -1 if length is None else length)
    except OSError as error:
        raise ImageError(path, (error.strerror or str(error)).lower()) from error
    if length is not None and len(data) < length:
        raise ImageError(path, f"the file ends {length - len(data)} bytes early")
    return data


def read_header(data: bytes, name: Path | str = "image") -> Header:
    """Return the format, size and orientation of an image, without decoding it.

    Args:
        data: The bytes of an image file.
        name: For messages.

    Raises:
        ImageError: If it is no image, or one of more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    frame = plain_jpeg_frame(data)
    if frame is not None and frame.channels in _MODES:
        return Header("JPEG", _MODES[frame.channels], (frame.height, frame.width), orientation=1)
    with open_picture(data, name) as image:
        return Header(image.format or "", image.mode, (image.height, image.width), orientation_of(image))


def decode(
    data: bytes, name: Path | str = "image", *, header: Header | None = None, reduction: int = 1, turn: bool = True
) -> NDArray[np.uint8]:
    """Return the image as RGB, uint8 [H, W, 3], upright.

    A reduced image counts its pixels from the corner that is stored first, and rounds its sides up: only the last
    pixels of a side may stand for less than ``reduction`` of the original.

    Transparent pixels are laid over white. 16 bits become 8 by range (65535 is 255). CMYK and YCCK become RGB as
    Pillow does it, with Adobe's inversion. Of an animation it is the first picture.

    Args:
        data: The bytes of an image file.
        name: For messages.
        header: Of these bytes, if it is known already.
        reduction: 1, 2, 4 or 8: how many times smaller the image may be made; only plain JPEG is.
        turn: Whether to turn the image as EXIF says.

    Raises:
        ImageError: If it is no image, is cut short, or has pixels of an unknown range (32 bits).
    """
    header = read_header(data, name) if header is None else header
    if header.is_plain_jpeg and _is_complete(data, name):
        image = _decode_jpeg(data, name, reduction)
    else:
        image = _decode_with_pillow(data, name)
    return upright(image, header.orientation) if turn else image


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Return ``image`` ([H, W, ...]) turned and mirrored as EXIF ``orientation`` (1-8) says."""
    swap, mirror_rows, mirror_columns = _TURNS[orientation]
    if swap:
        image = image.swapaxes(0, 1)
    turned = image[:: -1 if mirror_rows else 1, :: -1 if mirror_columns else 1]
    return np.ascontiguousarray(turned)


def _is_complete(data: bytes, name: Path | str) -> bool:
    """Say whether a JPEG ends where its picture ends; if not, what follows may be harmless, and Pillow shall judge.

    OpenCV before version 5 fills what is missing with grey and says nothing. Neither it nor Pillow notices a download
    that stopped in a file of its full size: the rest is zeros, which decode to something.

    Raises:
        ImageError: If that is what it looks like.
    """
    written = data.rstrip(b"\0")
    if written.endswith(_END_OF_JPEG):
        return True
    if len(written) < len(data) and written.rfind(_START_OF_SCAN) > written.rfind(_END_OF_JPEG):
        raise ImageError(name, f"cut short: its last {len(data) - len(written)} bytes are zeros")
    return False


def _decode_jpeg(data: bytes, name: Path | str, reduction: int) -> NDArray[np.uint8]:
    flags = _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with _libjpeg_silenced():
            image: NDArray[np.uint8] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(name, f"not decodable ({error.err})") from error
    if image is None:
        raise ImageError(name, "damaged JPEG data")
    return image


def _decode_with_pillow(data: bytes, name: Path | str) -> NDArray[np.uint8]:
    with open_picture(data, name) as image:
        image.load()
        return to_rgb(image, name)


def to_rgb(image: Image.Image, name: Path | str) -> NDArray[np.uint8]:
    """Return the pixels of a loaded image as RGB, uint8 [H, W, 3], not turned; see ``decode``.

    Args:
        image: Of any mode.
        name: For messages.

    Raises:
        ImageError: If its pixels have an unknown range (32 bits).
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)
    if image.mode in ("I", "F"):
        raise ImageError(name, "pixels of 32 bits have no agreed range; save it with 8 or 16 bits")
    if image.has_transparency_data:
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas
    return np.array(image.convert("RGB"))


@contextmanager
def _libjpeg_silenced() -> Iterator[None]:
    """Keep libjpeg's remarks about harmless damage off standard error, in a data loader's worker.

    libjpeg writes to the file descriptor itself. A worker has one thread, so nobody else's lines are lost; elsewhere
    nothing is done.
    """
    if get_worker_info() is None:
        yield
        return
    nowhere, kept = _descriptors(os.getpid())
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)


@lru_cache(maxsize=1)
def _descriptors(process: int) -> tuple[int, int]:
    """Return descriptors of nowhere and of standard error, opened once in a process."""
    return os.open(os.devnull, os.O_WRONLY), os.dup(2)
