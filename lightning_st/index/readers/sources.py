"""What a reader reads: the paths that the user named, and which of the images are wanted."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError, ConfigError, quoted
from lightning_st.index.json_stream import JsonStream, decoder_of, is_list
from lightning_st.index.names import IMAGE_EXTENSIONS, is_image_name, match_names, refuse_missing
from lightning_st.index.readers.options import ReaderOptions

# A line of PASCAL VOC's lists of one class, such as "2007_000027  1": 0 where all its objects are difficult, -1 where
# it has none.
_CLASS_LIST_LINE = re.compile(r"([^.\s]+)\s+(-1|0|1)")


def ignore_progress(done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Sources:
    """The sources of one index; the paths are absolute.

    Attributes:
        images: The folder or archive of the images.
        annotations: The labels, or None for images without labels.
        list_file: Names of the images that are wanted, or None for all.
        advance: To be called with (done, total), in any unit, while a reader reads.
        options: What else the user says of them.
    """

    images: Path
    annotations: Path | None = None
    list_file: Path | None = None
    advance: Callable[[int, int], None] = ignore_progress
    options: ReaderOptions = field(default_factory=ReaderOptions)

    @property
    def label_path(self) -> Path:
        """The annotations, for a format that needs them.

        Raises:
            ConfigError: If there are none.
        """
        if self.annotations is None:
            raise ConfigError.expected("annotations", "the file of the labels", None, "This format holds labels.")
        return self.annotations

    @cached_property
    def listing(self) -> list[str]:
        """The names of all images below the folder `images`, sorted, so that every machine has the same order.

        Raises:
            AnnotationError: If there is none.
        """
        try:
            names = sorted(walk_images(self.images))
        except OSError as error:
            raise AnnotationError(error.filename, f"the folder cannot be searched: {error.strerror}") from error
        if not names:
            tried = ", ".join(IMAGE_EXTENSIONS)
            raise AnnotationError(self.images, "the folder holds no image", advice=f"Looked for {tried}, recursively.")
        return names

    def with_progress(self, advance: Callable[[int, int], None]) -> "Sources":
        """Return the same sources with another bar; a folder of millions is not listed again."""
        other = replace(self, advance=advance)
        if "listing" in vars(self):
            vars(other)["listing"] = self.listing
        return other

    def select(self, names: list[str]) -> NDArray[np.int64]:
        """Return which of `names` are wanted: their positions, ascending, int64.

        Raises:
            AnnotationError: If the list names an image that is not there, or that could be several.
        """
        if self.list_file is None:
            return np.arange(len(names))
        wanted = read_list(self.list_file, self.images)
        positions = match_names(wanted, names, self.list_file)
        refuse_missing(wanted, positions, names, self.list_file, self.images)
        return np.unique(positions)


def walk_images(folder: Path) -> Iterator[str]:
    """Yield the names of the images below `folder`, in no order; links are followed, but not in circles."""

    def walk(path: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        with os.scandir(path) as entries:
            for entry in entries:
                leads_nowhere = entry.is_symlink() and not os.path.exists(entry.path)  # or to itself
                if entry.name.startswith(".") or leads_nowhere:
                    continue
                if entry.is_dir():
                    status = entry.stat()
                    identity = (status.st_dev, status.st_ino)
                    if identity not in above:
                        yield from walk(entry.path, f"{prefix}{entry.name}/", above | {identity})
                elif is_image_name(entry.name) and entry.is_file():
                    yield prefix + entry.name

    status = folder.stat()
    return walk(str(folder), "", frozenset([(status.st_dev, status.st_ino)]))


def read_list(path: Path, images: Path) -> list[str]:
    """Read the names of a list: a name a line, or the file names of a COCO JSON, of which nothing else is looked at.

    Args:
        path: The list.
        images: The folder that absolute names must lie in.

    Raises:
        AnnotationError: If it cannot be read or names nothing.
    """
    try:
        # Not splitlines(): it also cuts at characters that a file name may hold, such as U+2028.
        names = _json_names(path) if begins_json(path) else _text_of_list(path).split("\n")
    except OSError as error:
        raise AnnotationError(path, f"the list cannot be opened: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(path, f"the list is not UTF-8: {error.reason}", advice="Write a name a line.") from error
    names = [_listed_name(name.strip()).removeprefix(f"{images}/") for name in names]
    names = [name for name in names if name]
    if not names:
        raise AnnotationError(path, "the list names no image", advice="Write a name a line, or give a COCO JSON.")
    return names


def _text_of_list(path: Path) -> str:
    """Return a text; a name in it may hold bytes that are no UTF-8, as the file system allows, but not a NUL."""
    data = path.read_bytes()
    is_of_names = b"\0" not in data and not data.startswith((b"\xff\xfe", b"\xfe\xff"))
    return data.decode("utf-8-sig", "surrogateescape" if is_of_names else "strict")


def _listed_name(line: str) -> str:
    """Return the name in a line of a list; nothing where the line says that the image is not meant."""
    match = _CLASS_LIST_LINE.fullmatch(line)
    if match is None:
        return line
    return "" if match[2] == "-1" else match[1]


def begins_json(path: Path) -> bool:
    """Say whether the first character of a file, apart from white space, begins a JSON object or list."""
    with path.open("rb") as file:
        return file.read(64).decode("utf-8-sig", "replace").lstrip().startswith(("{", "["))


def _json_names(path: Path) -> list[str]:
    """Return the file names of the images of a COCO JSON; reading ends with the list of images."""
    with JsonStream(path) as stream:
        for key, value in stream.members({"images": decoder_of(file_name=Any)}):
            if key == "images" and is_list(value):
                return [_file_name(path, number, record) for number, record in enumerate(value)]
    raise AnnotationError(path, "the list 'images' is missing", advice="Give a COCO JSON, or a name a line.")


def _file_name(path: Path, number: int, record: object) -> str:
    name = record.get("file_name") if isinstance(record, dict) else None
    if not isinstance(name, str):
        raise AnnotationError(path, f"expected a file name, got {quoted(name)}", record=f"images[{number}].file_name")
    return name
