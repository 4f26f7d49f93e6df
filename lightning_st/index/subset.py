"""Parts of an index: nested random subsets, and the images that stand in two of them."""

import os
from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import ConfigError
from lightning_st.index.layout import rows_in_chunks
from lightning_st.index.names import encode_name
from lightning_st.index.table import AnnotationIndex


def nested_subset(index: AnnotationIndex, fraction: float, seed: int) -> NDArray[np.int64]:
    """Return the rows of a random subset that is the same on every machine.

    Images are ranked by a hash of their name, keyed by the seed, and the first of them are taken. So the subset of a
    smaller fraction lies in that of a larger one, and it depends neither on the order of the images nor, for the images
    that stay, on others that are added.

    Args:
        index: The images.
        fraction: How many of them, above 0 and at most 1; rounded, at least one.
        seed: Another seed, another subset.

    Returns:
        int64, ascending.

    Raises:
        ConfigError: If `fraction` is out of range.
    """
    if not 0 < fraction <= 1:
        raise ConfigError.expected("fraction", "above 0 and at most 1", fraction)
    if len(index) == 0:
        return np.zeros(0, np.int64)
    key = blake2b(str(seed).encode(), digest_size=8).digest()
    ranks = _mix(index.columns["name_hashes"] ^ np.frombuffer(key, "<u8"))
    return np.sort(np.argsort(ranks, kind="stable")[: max(1, round(fraction * len(index)))])


def common_images(first: AnnotationIndex, second: AnnotationIndex) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows, in each index, of the images that stand in both: the same file, or the same bytes of an archive.

    Links are followed, so a folder of links to the images of another has them all in common.

    Returns:
        int64 rows of `first`, and of `second`, ascending. Both are empty where the indexes are disjoint.
    """
    one, two = _identities(first), _identities(second)
    return np.flatnonzero(np.isin(one, two)), np.flatnonzero(np.isin(two, one))


def same_image_rows(first: AnnotationIndex, second: AnnotationIndex) -> NDArray[np.int64]:
    """Return for each image of ``first`` its row in ``second``, int64 [N]; -1 where it is not there.

    Images are the same in the sense of ``common_images``.
    """
    one, two = _identities(first), _identities(second)
    order = np.argsort(two)
    places = np.searchsorted(two, one, sorter=order).clip(max=len(two) - 1)
    rows = order[places]
    return np.where(two[rows] == one, rows, -1)


def _identities(index: AnnotationIndex) -> NDArray[np.bytes_]:
    """Return 16 bytes for each image that tell it from every other, wherever its index stands; S16 [N]."""
    folders: dict[str, tuple[str, frozenset[str]]] = {}

    def real_path(path: str) -> str:
        """Return `path` without links; each folder is read once, because asking after every file takes far longer."""
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder), _links_in(folder)
        real_folder, links = folders[folder]
        return os.path.realpath(path) if name in links else os.path.join(real_folder, name)

    def digest(path: str, offset: int) -> bytes:
        # The last byte is not zero: numpy would take zeros at the end of a string for padding.
        return blake2b(encode_name(f"{real_path(path)}:{offset}"), digest_size=15).digest() + b"\1"

    return np.fromiter((digest(path, offset) for path, offset in _places(index)), "S16", len(index))


def _places(index: AnnotationIndex) -> Iterator[tuple[str, int]]:
    """Yield the path and offset of every image; millions of `ImageRecord` would take twice as long."""
    for rows in rows_in_chunks(len(index)):
        columns = [index.columns[name][rows].tolist() for name in ("containers", "offsets", "lengths")]
        for row, container, offset, length in zip(range(rows.start, rows.stop), *columns, strict=True):
            folder = index.containers[container]
            yield os.path.join(folder, index.name(row)) if length < 0 else folder, offset


def _links_in(folder: str) -> frozenset[str]:
    """Return the names in a folder that are links; none where there is no such folder."""
    if not os.path.isdir(folder):
        return frozenset()
    with os.scandir(folder) as entries:
        return frozenset(entry.name for entry in entries if entry.is_symlink())


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a pseudo-random permutation of the 64-bit integers at `values` (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
