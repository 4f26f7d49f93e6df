"""The size of an image, from its header: what fractions of its sides are multiplied by."""

import io
import struct
from pathlib import Path
from typing import IO, NamedTuple

from PIL import Image

from lightning_st.errors import ImageError
from lightning_st.index.image_bytes import open_regular, read_part
from lightning_st.index.picture_file import open_picture, orientation_of

_LYING = (5, 6, 7, 8)  # EXIF orientations of an image that is stored on its side
_HEADER_BYTES = 1 << 12  # most headers end before that
_LEFT_TO_PILLOW = (0xE1, 0xFF)  # JPEG markers: EXIF, which may turn the picture, and filling
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the JPEG markers that the size stands behind


class JpegFrame(NamedTuple):
    """What a JPEG's header says of its picture: sides in pixels, and channels."""

    width: int
    height: int
    channels: int


def read_image_size(path: Path | str, offset: int = 0, length: int = -1, upright: bool = True) -> tuple[int, int]:
    """Return (width, height) in pixels of an image as it is shown: turned upright where EXIF says so.

    The picture is not decoded.

    Args:
        path: The image, or the archive that holds it.
        offset: Of its first byte in the archive.
        length: Its bytes in the archive; -1 for a whole file.
        upright: False for the image as it lies in the file, not turned.

    Raises:
        ImageError: If it cannot be opened, is no image, or promises too many pixels.
    """
    try:
        if length < 0:
            with io.BufferedReader(open_regular(path)) as file:
                # Pillow goes back itself.
                frame = plain_jpeg_frame(file.read(_HEADER_BYTES))
                return frame[:2] if frame else _read_size(file, path, upright)
        return _size_of_member(path, offset, length, upright)
    except OSError as error:
        raise ImageError(path, (error.strerror or str(error)).lower()) from error


def _size_of_member(path: Path | str, offset: int, length: int, upright: bool) -> tuple[int, int]:
    """Look at the first bytes of a member, and at all of it only where the header is longer."""
    begin = read_part(path, offset, min(length, _HEADER_BYTES))
    try:
        frame = plain_jpeg_frame(begin)
        return frame[:2] if frame else _read_size(io.BytesIO(begin), path, upright)
    except ImageError:
        if len(begin) == length:
            raise
        return _read_size(io.BytesIO(read_part(path, offset, length)), path, upright)


def plain_jpeg_frame(begin: bytes) -> JpegFrame | None:
    """Return the frame of a JPEG that is not turned, None for all that Pillow has to look at: a tenth of its work.

    Args:
        begin: The first bytes of a file, or all of them.
    """
    place = 2 if begin.startswith(b"\xff\xd8") else len(begin)
    while place + 10 <= len(begin) and begin[place] == 0xFF and begin[place + 1] not in _LEFT_TO_PILLOW:
        if begin[place + 1] in _FRAMES:
            bits, height, width, channels = struct.unpack_from(">BHHB", begin, place + 4)
            is_ordinary = bits == 8 and 0 < width * height <= (Image.MAX_IMAGE_PIXELS or width * height)
            return JpegFrame(width, height, channels) if is_ordinary else None
        place += 2 + int.from_bytes(begin[place + 2 : place + 4], "big")
    return None


def _read_size(file: IO[bytes], path: Path | str, upright: bool) -> tuple[int, int]:
    with open_picture(file, path) as image:
        width, height = image.size
        lies = upright and orientation_of(image) in _LYING
    return (height, width) if lies else (width, height)
