"""The size of an image, from its header: what fractions of its sides are multiplied by."""

import io
import warnings
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image

from lightning_st.errors import ImageError

_LYING = (5, 6, 7, 8)  # EXIF orientations of an image that is stored on its side
_HEADER_BYTES = 1 << 16  # of a member of an archive: most headers end before that


def read_image_size(path: Path | str, offset: int = 0, length: int = -1) -> tuple[int, int]:
    """Return (width, height) in pixels of an image as it is shown: turned upright where EXIF says so.

    The picture is not decoded.

    Args:
        path: The image, or the archive that holds it.
        offset: Of its first byte in the archive.
        length: Its bytes in the archive; -1 for a whole file.

    Raises:
        ImageError: If it cannot be opened, or is no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a very large picture, or a damaged EXIF: neither is decoded here
            if length < 0:
                with open(path, "rb") as file:
                    return _upright_size(file)
            return _size_in_archive(path, offset, length)
    except OSError as error:  # Pillow's own for what is no image is one of these
        raise ImageError(path, error.strerror or "no image that can be read") from error
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ImageError(path, f"no image that can be read: {error}") from error


def _size_in_archive(path: Path | str, offset: int, length: int) -> tuple[int, int]:
    """Read the first bytes of a member, and all of it only where the header is longer."""
    with open(path, "rb") as archive:
        archive.seek(offset)
        begin = archive.read(min(length, _HEADER_BYTES))
        try:
            return _upright_size(io.BytesIO(begin))
        except OSError:
            if len(begin) == length:
                raise
            return _upright_size(io.BytesIO(begin + archive.read(length - len(begin))))


def _upright_size(file: IO[bytes]) -> tuple[int, int]:
    with Image.open(file) as image:
        width, height = image.size
        # PNG's own getexif() decodes the picture first; TIFFs are turned by Pillow already.
        turns = "exif" in image.info and image.format != "TIFF"
        lies = turns and Image.Image.getexif(image).get(ExifTags.Base.Orientation) in _LYING
    return (height, width) if lies else (width, height)
