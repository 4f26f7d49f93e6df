"""Names of images: the path below the root, with `/` between folders, as an archive would write it."""

import os
import posixpath
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError, quoted

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


def is_image_name(name: str) -> bool:
    """Say whether `name` has the extension of an image, in any case, and nothing on its path is hidden.

    Example:
        >>> [is_image_name(name) for name in ("a/B.JPG", "a/._B.jpg", ".cache/B.jpg", "B.txt")]
        [True, False, False, False]
    """
    return name.lower().endswith(IMAGE_EXTENSIONS) and not any(part.startswith(".") for part in name.split("/"))


def normal_name(name: str) -> str | None:
    """Return `name` without `.`, `..` and doubled slashes, or None where it leaves the root or is no file name.

    Example:
        >>> normal_name("./a//b.jpg"), normal_name("../b.jpg"), normal_name("/b.jpg")
        ('a/b.jpg', None, None)
    """
    normal = posixpath.normpath(name)
    leaves = normal.startswith(("../", "/")) or normal in ("..", ".")
    return None if leaves or not name or "\0" in name else normal


def encode_name(name: str) -> bytes:
    """Return `name` in UTF-8; bytes that a file system holds and UTF-8 does not know survive both ways."""
    return name.encode("utf-8", "surrogateescape")


def decode_name(name: bytes) -> str:
    """Return what `encode_name` encoded."""
    return name.decode("utf-8", "surrogateescape")


def has_encoding(name: str) -> bool:
    """Say whether a name can be written in UTF-8: half a surrogate pair, which JSON and YAML can write, cannot."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def hash_name(name: bytes) -> int:
    """Return a 64-bit hash of an encoded name, the same on every machine."""
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "little")


def match_names(wanted: Sequence[str], available: Iterable[str], list_file: Path) -> NDArray[np.int64]:
    """Find each of `wanted` among `available`, as a path below the root, or by its bare file name where that is unique.

    A bare name may go without its extension, as the lists of PASCAL VOC and Open Images have it.

    Memory grows with `wanted`, not with `available`.

    Args:
        wanted: Names, normal or as a user wrote them.
        available: Names in the order of the source.
        list_file: Where `wanted` stands, for the message.

    Returns:
        int64, as long as `wanted`: the position in `available`; -1 where there is none.

    Raises:
        AnnotationError: If a bare file name fits several images.
    """
    exact = {normal_name(name): -1 for name in wanted}
    bare = {name: -1 for name in wanted if "/" not in name}
    twice = {}
    for position, name in enumerate(available):
        if exact.get(name, 0) == -1:
            exact[name] = position
        last = posixpath.basename(name)
        if last not in bare:
            last = posixpath.splitext(last)[0]
        if last in bare:
            if bare[last] >= 0:
                twice[last] = name
            bare[last] = position
    places = [exact[normal_name(name)] for name in wanted]
    for number, name in enumerate(wanted):
        if places[number] == -1 and name in bare:
            if name in twice:
                advice = "Write the path below the folder of the images."
                raise AnnotationError(
                    list_file, f"{quoted(name)} fits several images, {quoted(twice[name])} is one", advice=advice
                )
            places[number] = bare[name]
    return np.array(places, np.int64)


def refuse_missing(
    wanted: Sequence[str], positions: NDArray[np.int64], available: Iterable[str], list_file: Path, images: Path
) -> None:
    """Raise AnnotationError where `match_names` found no place for a name."""
    missing = [name for name, position in zip(wanted, positions, strict=True) if position < 0]
    if missing:
        shown = ", ".join(quoted(name) for name in missing[:3]) + (", ..." if len(missing) > 3 else "")
        problem = f"{len(missing)} of {len(wanted)} images are not in {images}: {shown}"
        advice = f"Names are paths below it, or unique bare file names.{_hint(missing[0], available)}"
        raise AnnotationError(list_file, problem, advice=advice)


def _hint(missing: str, available: Iterable[str]) -> str:
    """Return " Did you mean ...?" for a name that differs in upper and lower case only, as a path or a bare name."""
    lower = missing.casefold()
    for name in available:
        last = posixpath.basename(name).casefold()
        if lower in (name.casefold(), last, posixpath.splitext(last)[0]):
            return f" Did you mean {quoted(name)}?"
    return ""


def hint_of_case(folder: Path, name: str) -> str:
    """Return " Did you mean ...?" where ``folder`` has what differs from ``name`` in upper and lower case only.

    Args:
        folder: A folder; one that cannot be listed gives no hint.
        name: Of a file, or its path below the folder.
    """
    first, _, rest = name.partition("/")
    try:
        names = os.listdir(folder)
    except (OSError, ValueError):  # ValueError: of a NUL
        return ""
    for found in sorted(names):
        if found.casefold() == first.casefold():
            if rest:
                return hint_of_case(folder / found, rest)
            return f" Did you mean {quoted(str(folder / found))}?"
    return ""


def class_of(name: str, root: Path | str) -> str:
    """Return the class of an image, the first folder of its name.

    Args:
        name: Its path below ``root``, or in its archive.
        root: For the message.

    Raises:
        AnnotationError: If it lies in no folder.
    """
    folder, slash, _ = name.partition("/")
    if not slash:
        advice = "Classes are the folders just below the images, or the tars in the tar."
        raise AnnotationError(root, "the image lies in no folder, so it has no class", record=name, advice=advice)
    return folder
