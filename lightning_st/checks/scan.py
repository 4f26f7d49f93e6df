"""Looking at the images of a set, by several processes, and what was seen of them kept for the next time.

What was seen lies beside the indexes, two numpy files for a set, filled in as the images are looked at: a check that
was cut goes on, and one that is repeated reads no image whose file is as old and as long as it was. They are found
again by the names and places of the images, not by the index's fingerprint: a label that changes changes no image.
"""

import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from lightning_st.checks.look import LOOK, NOT_YET, READABLE, look_at
from lightning_st.checks.perceptual import SIDE
from lightning_st.data import Split
from lightning_st.index import AnnotationIndex, default_cache_folder
from lightning_st.index.cache import make_cache_folder, refuse_foreign

_CHUNK = 64  # images that a worker looks at before it answers

Advance = Callable[[int], None]
"""Called with the number of images that were looked at since the last call."""


@dataclass(frozen=True)
class Scan:
    """What was seen of a set.

    Attributes:
        split: The set.
        rows: int64 [N], the rows of its index that were looked at, ascending.
        looks: `LOOK` [P].
        thumbs: uint8 [P, 256], grey thumbnails.
        places: int64 [N], where in these two each row stands.
    """

    split: Split
    rows: NDArray[np.int64]
    looks: NDArray[np.void]
    thumbs: NDArray[np.uint8]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of images that were looked at."""
        return len(self.rows)

    def column(self, name: str) -> NDArray[Any]:
        """Return a field of `LOOK` of every image, [N]."""
        column: NDArray[Any] = self.looks[name][self.places]
        return column

    def thumbs_of(self, images: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the thumbnails of some of the N images, uint8 [len(images), 256]."""
        return self.thumbs[self.places[images]]

    def name(self, image: int) -> str:
        """Return the name of one of the N images."""
        return self.split.index.name(int(self.rows[image]))

    def problem(self, image: int) -> str:
        """Return why an image cannot be read; it is tried again, for only that it cannot was kept."""
        index = self.split.index
        return look_at(index.image(int(self.rows[image])), index.is_labeled)[2] or f"{self.name(image)}: changed since"

    def readable(self) -> NDArray[np.bool_]:
        """Return which of the N images can be read, bool [N]."""
        readable: NDArray[np.bool_] = self.column("state") == READABLE
        return readable


def scan_kept(
    split: Split, rows: NDArray[np.int64], cache_folder: str | Path | None, workers: int, advance: Advance
) -> Scan:
    """Look at images, unless they were looked at before and have not changed.

    Args:
        split: The set.
        rows: int64 [N], which of its index.
        cache_folder: Where what is seen is kept; with the indexes in the user's cache folder where missing.
        workers: Processes that read; 0 for this one alone.
        advance: See `Advance`.
    """
    folder = default_cache_folder() if cache_folder is None else Path(cache_folder)
    path = folder / f"{_key(split.index)}.looks.npy"
    looks = _open_array(path, LOOK, (len(split.index),))
    thumbs = _open_array(path.with_suffix(".thumbs.npy"), np.dtype("u1"), (len(split.index), SIDE * SIDE))
    known = looks[rows]
    states = known["state"].copy()
    seen = np.flatnonzero(states != NOT_YET)
    lengths, times = _states_of_files(split.index, rows[seen])
    changed = (known["time"][seen] != times) | (known["bytes"][seen] != lengths)
    states[seen[changed]] = NOT_YET
    todo = rows[states == NOT_YET]
    advance(len(rows) - len(todo))
    chunks = _Chunks(split.index, [todo[start : start + _CHUNK] for start in range(0, len(todo), _CHUNK)])
    loader = DataLoader(chunks, batch_size=None, num_workers=min(workers, len(chunks)), collate_fn=_as_it_is)
    for chunk, found, pictures in loader:
        state = found["state"].copy()
        found["state"] = NOT_YET
        looks[chunk], thumbs[chunk] = found, pictures
        looks["state"][chunk] = state  # last, so that what is cut between is looked at again
        advance(len(chunk))
    return Scan(split, rows, looks, thumbs, rows)


def scan_at_once(splits: dict[str, tuple[Split, NDArray[np.int64]]], seconds: float) -> list[Scan]:
    """Look at images of several sets in turn, in this process, until the time is up; nothing is kept.

    Args:
        splits: By name a set and the rows of its index, in the order in which they are to be looked at.
        seconds: The most that it may take.
    """
    end = time.monotonic() + seconds
    scans = {
        name: Scan(split, rows, np.zeros(len(rows), LOOK), np.zeros((len(rows), SIDE * SIDE), np.uint8), np.arange(0))
        for name, (split, rows) in splits.items()
    }
    for number in range(max((len(scan.rows) for scan in scans.values()), default=0)):
        for scan in scans.values():
            if number < len(scan.rows) and time.monotonic() < end:
                index = scan.split.index
                scan.looks[number], scan.thumbs[number], _ = look_at(
                    index.image(int(scan.rows[number])), index.is_labeled
                )
    return [_ascending(scan) for scan in scans.values()]


def _ascending(scan: Scan) -> Scan:
    """Return what was looked at of a scan, in the order of the rows."""
    seen = np.flatnonzero(scan.looks["state"] != NOT_YET)
    seen = seen[np.argsort(scan.rows[seen])]
    return replace(scan, rows=scan.rows[seen], places=seen)


class _Chunks(Dataset[tuple[NDArray[np.int64], NDArray[np.void], NDArray[np.uint8]]]):
    """Looks at a chunk of rows at a time, in a worker."""

    def __init__(self, index: AnnotationIndex, chunks: list[NDArray[np.int64]]) -> None:
        self._index = index
        self._chunks = chunks

    def __len__(self) -> int:
        return len(self._chunks)

    def __getitem__(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.void], NDArray[np.uint8]]:
        rows = self._chunks[number]
        lengths, times = _states_of_files(self._index, rows)  # before reading: a later change is noticed next time
        looks, thumbs = np.zeros(len(rows), LOOK), np.zeros((len(rows), SIDE * SIDE), np.uint8)
        for place, row in enumerate(rows.tolist()):
            looks[place], thumbs[place], _ = look_at(self._index.image(row), self._index.is_labeled)
        looks["bytes"], looks["time"] = lengths, times
        return rows, looks, thumbs


def _as_it_is(seen: Any) -> Any:
    """Return what a worker saw, which torch would make tensors of."""
    return seen


def _states_of_files(index: AnnotationIndex, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the bytes of images and when their files last changed, int64 [N] each; -1 where there is no file.

    The time is the system's own, which no copying tool sets back.
    """
    lengths, times = np.full(len(rows), -1, np.int64), np.full(len(rows), -1, np.int64)
    archives: dict[str, int] = {}
    for place, row in enumerate(rows.tolist()):
        record = index.image(row)
        try:
            if record.length < 0:
                status = os.stat(record.path)
                lengths[place], times[place] = status.st_size, status.st_ctime_ns
                continue
            if record.path not in archives:
                archives[record.path] = os.stat(record.path).st_ctime_ns
            lengths[place], times[place] = record.length, archives[record.path]
        except OSError:
            continue
    return lengths, times


def file_lengths(index: AnnotationIndex, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bytes of images without reading them, int64 [N]; -1 where there is no file."""
    return _states_of_files(index, rows)[0]


def _key(index: AnnotationIndex) -> str:
    """Return a name that changes where the images of an index, or the sizes that it says of them, change."""
    digest = blake2b(repr((index.containers, index.is_labeled)).encode("utf-8", "surrogateescape"), digest_size=12)
    for name in ("names", "containers", "offsets", "lengths", "widths", "heights"):
        digest.update(np.ascontiguousarray(index.columns[name]).tobytes())
    return digest.hexdigest()


def _open_array(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Map a numpy file for reading and writing, made of zeros where there is none of this kind."""
    refuse_foreign(path)
    try:
        kept: NDArray[Any] = np.load(path, mmap_mode="r+", allow_pickle=False)
        if kept.dtype == dtype and kept.shape == shape:
            return kept
    except (OSError, ValueError, EOFError):
        pass
    make_cache_folder(path.parent)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    partial.touch(exist_ok=False)  # numpy would follow a link that lies there
    np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape).flush()  # a file with holes: no disk yet
    os.replace(partial, path)
    made: NDArray[Any] = np.load(path, mmap_mode="r+", allow_pickle=False)
    return made
