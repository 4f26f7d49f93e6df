"""Opening the file of a picture with Pillow: which formats, how many pixels, and what is said of one that is broken."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO

from PIL import ExifTags, Image, UnidentifiedImageError

from lightning_st.errors import ImageError

_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "TIFF", "GIF", "PPM", "JPEG2000", "AVIF")
"""What is read, whatever a file is called. Pillow's other formats are no photographs; for EPS it starts Ghostscript."""

_COUNTED = re.compile(r"\((\d+) pixels\)")


@contextmanager
def open_picture(data: bytes | IO[bytes], name: Path | str) -> Iterator[Image.Image]:
    """Open a picture, of at most ``PIL.Image.MAX_IMAGE_PIXELS``; whatever goes wrong inside is an ``ImageError``.

    Pillow's warnings are not shown: they are of EXIF or an animation that is damaged, and the picture may be whole.

    Args:
        data: The bytes of an image file, or the file.
        name: For messages.

    Raises:
        ImageError: If it is no picture, one that is too large, or broken.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=_formats()) as image:
                yield image
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(name, "not an image, or of an unknown format") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ImageError(name, _too_large(error)) from error
    except Exception as error:  # each of Pillow's plugins has its own, from SyntaxError to struct.error
        raise ImageError(name, f"cannot be decoded: {one_line(error)}") from error


def orientation_of(image: Image.Image) -> int:
    """Return EXIF's orientation, 1-8; 1 where there is none, no legal one, or EXIF is damaged, as viewers do."""
    if image.format == "TIFF":
        return 1  # Pillow turns these itself, and has swapped the sides already
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Not image.getexif(): PNG's own decodes the picture first, in case the orientation stands behind it.
            orientation = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF can raise anything, and is no damage to the picture
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


@cache
def _formats() -> tuple[str, ...]:
    """Return those of the formats that this Pillow has: AVIF came with 11.3."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def one_line(error: Exception) -> str:
    """Return what an exception of another library says, on one line; its type where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def _too_large(error: Exception) -> str:
    """Return what to tell of a picture that Pillow refuses for its size, which its header says."""
    counted = _COUNTED.search(str(error))
    size = f"{int(counted[1]):,} pixels" if counted else "too many pixels"
    return f"its header promises {size}, at most {Image.MAX_IMAGE_PIXELS or 0:,} are decoded; cut it into tiles"
