"""Opening the file of an image: a regular one, so that no pipe is waited for and no device is read without end."""

import errno
import os
import stat
from io import FileIO
from pathlib import Path

MOST_BYTES = 1 << 31
"""Of the file of one image: more than the pixels take of any image that is read."""


def open_regular(path: Path | str) -> tuple[FileIO, int]:
    """Open a file for reading.

    Returns:
        The file, unbuffered, and its bytes.

    Raises:
        OSError: If it cannot be opened, or is a pipe, a socket or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        is_folder = stat.S_ISDIR(status.st_mode)
        raise OSError(errno.EINVAL, "is a directory" if is_folder else "not a regular file", str(path))
    return FileIO(descriptor, "rb"), status.st_size


def read_part(path: Path | str, offset: int = 0, length: int = -1) -> bytes:
    """Return ``length`` bytes of a file from ``offset`` on, to its end for -1; fewer where the file ends before.

    Raises:
        OSError: See `open_regular`; or if it would be more than `MOST_BYTES`.
    """
    file, size = open_regular(path)
    with file:
        there = max(0, size - offset)
        wanted = there if length < 0 else min(length, there)
        if wanted > MOST_BYTES:
            raise OSError(errno.EFBIG, f"{wanted} bytes are more than any image has", str(path))
        file.seek(offset)
        return file.read(wanted)
