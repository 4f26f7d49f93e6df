"""From what the user names to an index: recognise the format, and read it once."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lightning_st.errors import AnnotationError, ConfigError
from lightning_st.index.cache import build_once, cache_key, default_cache_folder
from lightning_st.index.readers import LABELED_FORMATS, READERS, Sources
from lightning_st.index.readers.sources import begins_json, ignore_progress
from lightning_st.index.table import AnnotationIndex
from lightning_st.index.writer import IndexWriter

logger = logging.getLogger(__name__)


def build_index(
    images: str | Path,
    annotations: str | Path | None = None,
    format: str | None = None,
    list_file: str | Path | None = None,
    cache_folder: str | Path | None = None,
    progress: bool = True,
) -> AnnotationIndex:
    """Return the index of a set of images; it is built where the cache does not have it.

    Args:
        images: The folder of the images, searched recursively, or an uncompressed tar archive of them.
        annotations: The labels; without them the images have none, and nothing can leak one.
        format: One of `READERS`: "coco" (a JSON file), "folder", "tar"; recognised where missing.
        list_file: Use these images only: a name a line, or a COCO JSON (its images; its annotations are not read).
            Names are paths below `images`, or bare file names where those are unique.
        cache_folder: Where indexes are kept; the user's cache folder, or `LIGHTNING_ST_CACHE`, where missing.
        progress: Show a bar on a terminal.

    Raises:
        AnnotationError: If something is missing or wrong in the data: which file, which record, which field.
        ConfigError: If the format is unknown, cannot be recognised or does not go with the rest, or the cache folder
            cannot be written.
    """
    sources = Sources(
        images=_existing(images, "images"),
        annotations=None if annotations is None else _existing(annotations, "annotations"),
        list_file=None if list_file is None else _existing(list_file, "list"),
    )
    format_name = _choose_format(sources, format)
    folder = default_cache_folder() if cache_folder is None else Path(cache_folder).absolute()
    path = folder / f"{sources.images.name}-{cache_key(sources, format_name)}.index"
    return build_once(path, lambda: _build(path, sources, format_name, progress))


def _existing(path: str | Path, what: str) -> Path:
    """Return a path without links, so that one folder has one name."""
    resolved = Path(path).resolve()
    if not resolved.exists():
        raise AnnotationError(resolved, f"there is no such file or folder ({what})")
    return resolved


def _choose_format(sources: Sources, chosen: str | None) -> str:
    """Return the format, recognised where none is chosen; one that does not go with the sources is refused."""
    name = chosen or _recognise(sources)
    if name not in READERS:
        raise ConfigError.unknown_choice("format", name, READERS)
    if (name in LABELED_FORMATS) != (sources.annotations is not None):
        allowed = "the file of the labels" if name in LABELED_FORMATS else "left out: it holds images without labels"
        raise ConfigError.expected(f"annotations, for the format {name!r},", allowed, str(sources.annotations))
    if name == "folder" and not sources.images.is_dir():
        raise ConfigError.expected("images", "a folder", str(sources.images), "For a tar archive the format is 'tar'.")
    if name == "tar" and sources.images.is_dir():
        raise ConfigError.expected("images", "a tar archive", str(sources.images), "For a folder it is 'folder'.")
    return name


def _recognise(sources: Sources) -> str:
    """Return the format of what lies there."""
    labels = sources.annotations
    if labels is None:
        return "folder" if sources.images.is_dir() else "tar"
    if labels.is_file() and (labels.suffix == ".json" or begins_json(labels)):
        return "coco"
    seen = "a folder" if labels.is_dir() else "a file that is no JSON"
    raise ConfigError(f"{labels}: the annotations are {seen}: cannot tell their format. Known: {', '.join(READERS)}.")


def _build(path: Path, sources: Sources, format_name: str, progress: bool) -> None:
    """Read the sources and write their index."""
    begun = time.perf_counter()
    source = {
        "format": format_name,
        "root": str(sources.images),
        "annotations": None if sources.annotations is None else str(sources.annotations),
        "list": None if sources.list_file is None else str(sources.list_file),
    }
    with (
        _bar(f"Indexing {sources.annotations or sources.images}", progress) as advance,
        IndexWriter(path, source=source, is_labeled=format_name in LABELED_FORMATS) as writer,
    ):
        READERS[format_name](replace(sources, advance=advance), writer)
    logger.info("Built %s in %.1f s", path, time.perf_counter() - begun)


@contextmanager
def _bar(title: str, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while a reader reads; it is gone afterwards."""
    if not is_shown or not sys.stderr.isatty():
        yield ignore_progress
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
