"""From what the user names to an index: recognise the format, and read it once."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_st.errors import visible
from lightning_st.index.cache import build_once, cache_key, default_cache_folder
from lightning_st.index.readers import ReaderOptions, Sources, reader_of, traits_of
from lightning_st.index.readers.sources import ignore_progress
from lightning_st.index.recognise import recognise_sources
from lightning_st.index.table import AnnotationIndex
from lightning_st.index.writer import IndexWriter

_MOST_OF_A_NAME = 40  # characters, of four bytes at most

logger = logging.getLogger(__name__)


def build_index(
    images: str | Path,
    annotations: str | Path | None = None,
    format: str | None = None,
    list_file: str | Path | None = None,
    cache_folder: str | Path | None = None,
    progress: bool = True,
    labeled: bool | None = None,
    options: ReaderOptions | None = None,
) -> AnnotationIndex:
    """Return the index of a set of images; it is built where the cache does not have it.

    Args:
        images: The folder of the images, searched recursively; an uncompressed tar archive of them, or of such
            archives; or the root of a PASCAL VOC or YOLO data set.
        annotations: The labels; without them the images have none, and nothing can leak one.
        format: One of `READERS`: "coco" (a JSON file), "voc" (a folder of XML), "openimages" (a CSV), "yolo" (text
            files), "folder", "tar"; or the import path of a reader of one's own; recognised where missing.
        list_file: Use these images only: a name a line, or a COCO JSON (its images; its annotations are not read).
            Names are paths below `images`, or bare file names where those are unique, with or without extension. In
            a root also the name of one of its splits, such as "train".
        cache_folder: Where indexes are kept; the user's cache folder, or `LIGHTNING_ST_CACHE`, where missing.
        progress: Show a bar on a terminal.
        labeled: Whether to read labels: so a root can serve as both; by `annotations` and `format` where missing.
        options: What else there is to say of the format.

    Raises:
        AnnotationError: If something is missing or wrong in the data: which file, which record, which field.
        ConfigError: If the format is unknown, cannot be recognised or does not go with the rest, or the cache folder
            cannot be written.
    """
    sources, name = recognise_sources(images, annotations, format, list_file, labeled, options or ReaderOptions())
    folder = default_cache_folder() if cache_folder is None else Path(cache_folder).absolute()
    # Beside it lie files of longer names, and a name has 255 bytes at most.
    path = folder / f"{sources.images.name[:_MOST_OF_A_NAME]}-{cache_key(sources, name)}.index"
    return build_once(path, lambda: _build(path, sources, name, progress))


def _build(path: Path, sources: Sources, format_name: str, progress: bool) -> None:
    """Read the sources and write their index."""
    begun = time.perf_counter()
    source = {
        "format": format_name,
        "root": str(sources.images),
        "annotations": None if sources.annotations is None else str(sources.annotations),
        "list": None if sources.list_file is None else str(sources.list_file),
        **sources.options.said(),
    }
    with (
        _bar(f"Indexing {sources.annotations or sources.images}", progress) as advance,
        IndexWriter(path, source=source, is_labeled=traits_of(format_name).is_labeled) as writer,
    ):
        reader_of(format_name)(sources.with_progress(advance), writer)
    logger.info("Built %s in %.1f s", path, time.perf_counter() - begun)


@contextmanager
def _bar(title: str, is_shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal while a reader reads; it is gone afterwards."""
    if not is_shown or not sys.stderr.isatty():
        yield ignore_progress
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(visible(title)), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
