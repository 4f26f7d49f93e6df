"""A reader for each source format: a function that streams the images of its sources into an `IndexWriter`.

A new format is a module here with one function `read_x(sources, writer)`, and its name in `READERS`. What readers
share: `Sources` (the paths, the list of wanted images, the bar of progress), `problems.clean_boxes` (what is wrong with
boxes) and `names.match_names` (the user's names to the source's).
"""

from collections.abc import Callable

from lightning_st.index.readers.coco import read_coco
from lightning_st.index.readers.folder import read_folder
from lightning_st.index.readers.sources import Sources
from lightning_st.index.readers.tar import read_tar
from lightning_st.index.writer import IndexWriter

Reader = Callable[[Sources, IndexWriter], None]

READERS: dict[str, Reader] = {"coco": read_coco, "folder": read_folder, "tar": read_tar}
"""Format name to reader: the values of `data.*.format`."""

LABELED_FORMATS = frozenset({"coco"})
"""Formats that read annotations; the others make an index of images without labels."""

__all__ = ["LABELED_FORMATS", "READERS", "Reader", "Sources"]
