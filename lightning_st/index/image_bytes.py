"""Opening the file of an image: a regular one, so that no pipe is waited for and no device is read without end."""

import errno
import os
import stat
from io import FileIO
from pathlib import Path

MOST_BYTES = 1 << 31
"""Of the file of one image: more than the pixels take of any image that is read."""


def open_regular(path: Path | str) -> FileIO:
    """Open a file to read, unbuffered.

    Raises:
        OSError: If it cannot be opened, or is a folder, a pipe, a socket or a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would wait for who writes to it
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return FileIO(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "not a regular file", str(path))


def read_part(path: Path | str, offset: int = 0, length: int = -1) -> bytes:
    """Return ``length`` bytes of a file from ``offset`` on, to its end for -1; fewer where the file ends before.

    Raises:
        OSError: See `open_regular`; or if it would be more than `MOST_BYTES`.
    """
    with open_regular(path) as file:
        there = max(0, os.fstat(file.fileno()).st_size - offset)
        wanted = there if length < 0 else min(length, there)
        if wanted > MOST_BYTES:
            raise OSError(errno.EFBIG, f"{wanted} bytes are more than any image has", str(path))
        file.seek(offset)
        return file.read(wanted)
