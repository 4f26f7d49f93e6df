"""Indexes are built once and kept: where, under which key, and by one process while the others wait."""

import json
import logging
import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import platformdirs
from filelock import BaseFileLock, FileLock, Timeout

from lightning_st.errors import ConfigError, IndexFileError
from lightning_st.index.layout import SCHEMA_VERSION
from lightning_st.index.names import encode_name
from lightning_st.index.readers import Sources, code_of, traits_of
from lightning_st.index.table import AnnotationIndex

CACHE_VARIABLE = "LIGHTNING_ST_CACHE"

logger = logging.getLogger(__name__)


def default_cache_folder() -> Path:
    """Return the folder of cached indexes: in `LIGHTNING_ST_CACHE` if it is set, else in the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return (Path(chosen) if chosen else platformdirs.user_cache_path("lightning_st")) / "indexes"


def make_cache_folder(folder: Path) -> None:
    """Make a folder of a cache where it is missing; what is in the user's own nobody else can read.

    Args:
        folder: One that the user names has the permissions that the umask says.
    """
    if not os.environ.get(CACHE_VARIABLE) and folder == default_cache_folder():
        folder.parent.parent.mkdir(parents=True, exist_ok=True)
        folder.parent.mkdir(mode=0o700, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)


def refuse_foreign(path: Path) -> None:
    """Refuse a file of a cache that somebody else has put into a folder that everybody may write, such as /tmp.

    In a folder that a group shares, its members' files are used.

    Raises:
        ConfigError: Naming the file, and what to do.
    """
    try:
        mode, owner = path.parent.stat().st_mode, path.lstat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return
    if mode & stat.S_IWOTH and owner not in (os.geteuid(), 0):
        raise ConfigError(
            f"{path}: the file is another user's, in a folder that everybody may write, so it is not used. Set "
            f"{CACHE_VARIABLE} or data.cache_folder to a folder of your own, or of your group."
        )


def cache_key(sources: Sources, format_name: str) -> str:
    """Return a name for the index of `sources` that changes when they change.

    Files and archives count by path, size and times of change (the second is the system's own, which no copying tool
    sets back); a folder that a reader lists counts by its listing.
    """
    traits, options = traits_of(format_name), sources.options
    parts: list[object] = [SCHEMA_VERSION, format_name, str(sources.images), options.said()]
    archive = None if sources.images.is_dir() else sources.images
    named = sources.annotations, sources.list_file, archive, options.classes, options.hierarchy
    parts += [_state(path) for path in (*named, code_of(format_name), *traits.label_files(sources))]
    digest = blake2b(json.dumps(parts).encode(), digest_size=12)
    if traits.lists_images and archive is None:
        for name in sources.listing:
            digest.update(encode_name(name) + b"\0")
    return digest.hexdigest()


def _state(path: str | os.PathLike[str] | None) -> list[object] | None:
    """Return what tells one state of a file from another; None where there is no file."""
    if path is None:
        return None
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return [str(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def build_once(path: Path, build: Callable[[], None]) -> AnnotationIndex:
    """Return the index at `path`, built first where it is missing or cannot be read.

    Of several processes that come at the same moment one builds and the others wait. The lock is the operating
    system's, so it goes with a process that is killed; what the killed one had written is removed.

    Args:
        path: Where the index is kept.
        build: Writes it there, at once or not at all.

    Raises:
        ConfigError: If the folder cannot be written, or a file there is not to be trusted: see `refuse_foreign`.
    """
    if (index := _open_or_none(path)) is not None:
        return index
    lock = path.with_name(path.name + ".lock")
    try:
        make_cache_folder(path.parent)
        refuse_foreign(lock)  # a link could lead to a file of ours, which taking the lock would empty
        held = _acquire(FileLock(lock), path)
    except OSError as error:
        message = f"{path.parent}: the folder of cached indexes cannot be written: {error.strerror}."
        raise ConfigError(f"{message} Set {CACHE_VARIABLE} to a folder that can.") from error
    with held:
        if (index := _open_or_none(path)) is not None:
            return index
        for partial in path.parent.glob(f".{path.name}.*.partial"):
            partial.unlink()
        build()
        return AnnotationIndex.open(path)


def _acquire(lock: BaseFileLock, path: Path) -> AbstractContextManager[Any]:
    """Take the lock, saying so where that means to wait."""
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        logger.info("Waiting for another process that builds %s", path)
        return lock.acquire()


def _open_or_none(path: Path) -> AnnotationIndex | None:
    """Open a cached index; None where it has to be built."""
    refuse_foreign(path)
    if not path.exists():
        return None
    try:
        return AnnotationIndex.open(path)
    except IndexFileError as error:
        logger.warning("%s", error)
        return None
