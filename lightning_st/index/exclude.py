"""Images that a user names to be left out of a set, such as copies of those that judge a model."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError
from lightning_st.index.names import match_names
from lightning_st.index.readers.sources import read_list
from lightning_st.index.table import AnnotationIndex


def excluded_rows(index: AnnotationIndex, path: str | Path) -> NDArray[np.int64]:
    """Return the rows of the images that the list at `path` names, int64, ascending.

    Names are those that `data.*.list` takes: a path below the root, a bare file name where that is unique, or the root
    and the path; a name a line, or a COCO JSON. A name that the index does not have is passed over: one list may serve
    several sets, and an image may have been deleted since.

    Raises:
        AnnotationError: If the list cannot be read, none of its names is in the index, or one could be several images.
    """
    path = Path(path)
    names = read_list(path, Path(index.root))
    rows = _rows_of(index, names, path)
    rows = np.unique(rows[rows >= 0])
    if not len(rows):
        advice = "Names are paths below it, or unique bare file names."
        raise AnnotationError(path, f"none of {len(names)} names is an image of {index.root}", advice=advice)
    return rows


def write_exclusions(path: str | Path, found: Sequence[tuple[AnnotationIndex, NDArray[np.int64]]]) -> int:
    """Write one list that leaves exactly these images out of several sets.

    A name stands as its index has it, so that the list fits on another machine; where another of the sets would take it
    for an image that is to stay, the root stands before it.

    Args:
        path: The list, a name a line.
        found: Each set with the rows, int64 [N], that are to be left out.

    Returns:
        The number of names.
    """
    lines: dict[str, None] = {}
    for number, (index, rows) in enumerate(found):
        names = [index.name(row) for row in rows.tolist()]
        others = [other for place, other in enumerate(found) if place != number]
        clashes = np.zeros(len(names), bool)
        for other, left_out in others:
            meant = _rows_meant(other, names, Path(path))
            clashes |= (meant != -1) & ~np.isin(meant, left_out)
        for name, clash in zip(names, clashes.tolist(), strict=True):
            lines[f"{index.root}/{name}" if clash else name] = None
    _write_lines(path, lines)
    return len(lines)


def write_names(path: str | Path, index: AnnotationIndex, rows: NDArray[np.int64]) -> None:
    """Write a list of images, a name a line, as ``data.*.list`` takes it.

    Args:
        path: The list.
        index: The images.
        rows: int64 [N], which of them.
    """
    _write_lines(path, (index.name(row) for row in rows.tolist()))


def _write_lines(path: str | Path, lines: Iterable[str]) -> None:
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", errors="surrogateescape")


def _rows_of(index: AnnotationIndex, names: Sequence[str], path: Path) -> NDArray[np.int64]:
    """Return the row of each name, as a path or else as a bare file name; -1 where there is none, int64 [names]."""
    rows = index.find(names)
    missing = np.flatnonzero(rows < 0)
    if len(missing):
        rows[missing] = match_names([names[place] for place in missing.tolist()], index.iterate_names(), path)
    return rows


def _rows_meant(index: AnnotationIndex, names: Sequence[str], path: Path) -> NDArray[np.int64]:
    """Return the same; -2 for every name where one of them could be several images."""
    try:
        return _rows_of(index, names, path)
    except AnnotationError:
        return np.full(len(names), -2, np.int64)
