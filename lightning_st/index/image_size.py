"""The size of an image, from its header: what fractions of its sides are multiplied by."""

import io
import struct
from pathlib import Path
from typing import IO

from lightning_st.errors import ImageError
from lightning_st.index.image_bytes import open_regular, read_part
from lightning_st.index.picture_file import open_picture, orientation_of

_LYING = (5, 6, 7, 8)  # EXIF orientations of an image that is stored on its side
_HEADER_BYTES = 1 << 12  # most headers end before that
_MAY_TURN = 0xE1  # the JPEG marker of EXIF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the JPEG markers that the size stands behind


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
                return _plain_jpeg_size(file.read(_HEADER_BYTES)) or _read_size(file, path, upright)
        return _size_of_member(path, offset, length, upright)
    except OSError as error:
        raise ImageError(path, (error.strerror or str(error)).lower()) from error


def _size_of_member(path: Path | str, offset: int, length: int, upright: bool) -> tuple[int, int]:
    """Look at the first bytes of a member, and at all of it only where the header is longer."""
    begin = read_part(path, offset, min(length, _HEADER_BYTES))
    try:
        return _plain_jpeg_size(begin) or _read_size(io.BytesIO(begin), path, upright)
    except ImageError:
        if len(begin) == length:
            raise
        return _read_size(io.BytesIO(read_part(path, offset, length)), path, upright)


def _plain_jpeg_size(begin: bytes) -> tuple[int, int] | None:
    """Return the size of a JPEG that is not turned, None for all else: a tenth of Pillow's work, of millions."""
    place = 2 if begin.startswith(b"\xff\xd8") else len(begin)
    while place + 9 <= len(begin) and begin[place] == 0xFF and begin[place + 1] != _MAY_TURN:
        if begin[place + 1] in _FRAMES:
            height, width = struct.unpack_from(">HH", begin, place + 5)
            return (width, height) if width and height else None
        place += 2 + int.from_bytes(begin[place + 2 : place + 4], "big")
    return None


def _read_size(file: IO[bytes], path: Path | str, upright: bool) -> tuple[int, int]:
    with open_picture(file, path) as image:
        width, height = image.size
        lies = upright and orientation_of(image) in _LYING
    return (height, width) if lies else (width, height)
