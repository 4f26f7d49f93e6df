"""Copies that are found without looking at every image: the same file, or one as long as one that was looked at."""

import numpy as np
from numpy.typing import NDArray

from lightning_st.checks.duplicates import Twins
from lightning_st.checks.look import content_hash
from lightning_st.checks.scan import Scan, file_lengths
from lightning_st.data import Split
from lightning_st.data.decoding import read_bytes
from lightning_st.errors import ImageError
from lightning_st.index import AnnotationIndex, common_images

MOST_FILES = 100_000
"""In a set of more the lengths of files are not asked for: a second on this disk, minutes on a network's."""

MOST_READ = 2_000
"""Files of such lengths that are read; in sets of uncompressed images all have one length."""


def same_path_twins(first: Split, second: Split) -> Twins:
    """Return the images of one set whose very file stands in another too; nothing is read."""
    rows, others = common_images(first.index, second.index)
    rows, others = np.intersect1d(rows, first.rows), np.intersect1d(others, second.rows)
    # Which of them is the twin of which does not matter to whom the file has one name; each gets the first.
    twins = np.full(len(rows), others[0] if len(others) else 0)
    by_name = second.index.find([first.index.name(int(row)) for row in rows])
    twins = np.where(by_name >= 0, by_name, twins)
    rows = rows[: len(rows) if len(others) else 0]
    return Twins(first, second, rows, twins[: len(rows)], np.ones(len(rows), bool), len(first))


def same_bytes_twins(first: Split, seen: Scan) -> Twins:
    """Return the images of ``first`` that have the bytes of one of ``seen``, found by their length before their bytes.

    Large sets, and lengths that very many files have, are passed over: see ``MOST_FILES`` and ``MOST_READ``.
    """
    nothing = np.zeros(0, np.int64)
    if len(first) > MOST_FILES or not len(seen):
        return Twins(first, seen.split, nothing, nothing, np.zeros(0, bool), len(first))
    lengths = file_lengths(first.index, first.rows)
    rows = first.rows[np.isin(lengths, seen.column("bytes")) & (lengths > 0)][:MOST_READ]
    contents = np.array([_content(first.index, row) for row in rows.tolist()], np.uint64)
    known = seen.column("content")
    order = np.argsort(known, kind="stable")
    places = order[np.searchsorted(known, contents, sorter=order).clip(max=len(known) - 1)]
    found = (known[places] == contents) & (contents != 0)
    return Twins(first, seen.split, rows[found], seen.rows[places[found]], np.ones(found.sum(), bool), len(first))


def _content(index: AnnotationIndex, row: int) -> int:
    """Return the hash of the bytes of an image, 0 where it cannot be read."""
    record = index.image(row)
    try:
        return content_hash(read_bytes(record.path, record.offset, None if record.length < 0 else record.length))
    except ImageError:
        return 0


def joined(several: list[Twins]) -> Twins:
    """Return what was found of the same two sets in several ways, each image once, as the first way found it."""
    first = several[0]
    rows: NDArray[np.int64] = np.concatenate([twins.rows for twins in several])
    rows, places = np.unique(rows, return_index=True)
    twin_rows = np.concatenate([twins.twins for twins in several])[places]
    exact = np.concatenate([twins.exact for twins in several])[places]
    return Twins(first.first, first.second, rows, twin_rows, exact, max(twins.total for twins in several))
