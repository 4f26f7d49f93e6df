"""The images of a folder or an archive, found by their names without extension, as annotation files name them."""

import posixpath
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError
from lightning_st.index.image_size import read_image_size
from lightning_st.index.readers.sources import Sources
from lightning_st.index.readers.tar import list_members


class ImagePlaces:
    """Where the images of `sources` lie. Memory grows with them (their names and 16 bytes), not with their boxes.

    Attributes:
        names: The names of all images.
        is_wanted: bool [N], which of them the list names; all, where there is no list.
    """

    def __init__(self, sources: Sources) -> None:
        """List the images.

        Raises:
            AnnotationError: If there is none, or the list does not fit.
        """
        self._images = sources.images
        self._members = None if sources.images.is_dir() else list_members(sources)
        self.names = sources.listing if self._members is None else [member.name for member in self._members]
        self.is_wanted = np.zeros(len(self.names), bool)
        self.is_wanted[sources.select(self.names)] = True
        self._by_stem = StemTable(self.names)

    def find(self, stem: str) -> int:
        """Return the position of an image, -1 where there is none.

        Args:
            stem: Its path below the root without extension, or the last part of it where that is unique.

        Raises:
            AnnotationError: If it fits several images.
        """
        found = self._by_stem.find(posixpath.basename(stem))
        if len(found) > 1:
            found = [position for position in found if _stem(self.names[position]) == stem] or found
        if len(found) > 1:
            first, second = (self.names[position] for position in found[:2])
            raise AnnotationError(self._images, f"{first!r} and {second!r} could both be the image {stem!r}")
        return found[0] if found else -1

    def place(self, position: int) -> dict[str, Any]:
        """Return where an image lies, as `IndexWriter.add` takes it."""
        if self._members is None:
            return {}
        member = self._members[position]
        return {"path": self._images, "offset": member.offset, "length": member.length}

    def read_size(self, position: int, upright: bool = True) -> tuple[int, int]:
        """Return (width, height) of an image in pixels from its header, as it is shown or as it lies in the file.

        Raises:
            ImageError: If it cannot be read.
        """
        if self._members is None:
            return read_image_size(f"{self._images}/{self.names[position]}", upright=upright)
        member = self._members[position]
        return read_image_size(self._images, member.offset, member.length, upright)


class StemTable:
    """Finds names by their last part without extension; 16 bytes a name, where a dict would take 100."""

    def __init__(self, names: Sequence[str]) -> None:
        """Hash the names."""
        self._names = names
        hashes = np.fromiter((hash(_last_stem(name)) for name in names), np.int64, len(names))
        self._order: NDArray[np.int64] = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, stem: str) -> list[int]:
        """Return the positions of the names whose last part is `stem`, ascending."""
        value = hash(stem)
        place = int(self._hashes.searchsorted(value))
        found = []
        while place < len(self._hashes) and self._hashes[place] == value:
            position = int(self._order[place])
            if _last_stem(self._names[position]) == stem:
                found.append(position)
            place += 1
        return found


def _stem(name: str) -> str:
    return posixpath.splitext(name)[0]


def _last_stem(name: str) -> str:
    return _stem(posixpath.basename(name))
