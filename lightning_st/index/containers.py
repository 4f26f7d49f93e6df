"""The folders and archives that hold images, as an index counts them: relative to its root where they are in it."""

import os


class Containers:
    """Numbers containers as they come; 0 is the root.

    Example:
        >>> containers = Containers("/images")
        >>> containers.number_of("/images/a.tar"), containers.number_of("/images"), containers.names
        (1, 0, ['', 'a.tar'])
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._numbers = {"": 0}

    @property
    def names(self) -> list[str]:
        """The containers by number."""
        return list(self._numbers)

    def number_of(self, path: str) -> int:
        """Return the number of a folder or an archive."""
        if not path or (self._root and path == self._root):
            return 0
        is_inside = self._root and path.startswith(self._root + "/")
        relative = path[len(self._root) + 1 :] if is_inside else os.path.abspath(path)
        return self._numbers.setdefault(relative, len(self._numbers))

    def number_of_image(self, path: str, name: str, length: int) -> int:
        """Return the number of what holds an image.

        Args:
            path: The image's file, or the archive.
            name: Of the image.
            length: Of an image in an archive; -1 for a file.

        Raises:
            ValueError: If the path of a file does not end in its name.
        """
        if length >= 0:
            return self.number_of(path)
        if not path.endswith(f"/{name}"):
            raise ValueError(f"Expected the path of image {name!r} to end in its name, got {path!r}.")
        return self.number_of(path[: -len(name) - 1] or "/")
