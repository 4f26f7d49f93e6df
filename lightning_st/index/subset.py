"""Parts of an index: nested random subsets, and the images that stand in two of them."""

import os
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import ConfigError
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


def _identities(index: AnnotationIndex) -> NDArray[np.bytes_]:
    """Return 16 bytes for each image that tell it from every other, wherever its index stands; S16 [N]."""
    folders: dict[str, str] = {}

    def real_path(path: str) -> str:
        """Return `path` without links; the folders on the way are looked at once each."""
        folder, name = os.path.split(path)
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        path = os.path.join(folders[folder], name)
        return os.path.realpath(path) if os.path.islink(path) else path

    def identity(row: int) -> bytes:
        record = index.image(row)
        place = encode_name(f"{real_path(record.path)}:{record.offset}")
        # The last byte is not zero: numpy would take zeros at the end of a string for padding.
        return blake2b(place, digest_size=15).digest() + b"\1"

    return np.fromiter((identity(row) for row in range(len(index))), "S16", len(index))


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a pseudo-random permutation of the 64-bit integers at `values` (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
