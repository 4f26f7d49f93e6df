"""A reader for each source format: a function that streams the images of its sources into an `IndexWriter`.

A new format is a module here with one function `read_x(sources, writer)`, and its entries in `READERS` and `TRAITS`.
What readers share: `Sources` (the paths, the list of wanted images, the bar of progress), `ImagePlaces` (where the
images lie) and `boxes.add_image` (what is wrong with boxes). A reader of the user's own is the same function, in a
module of his, and its import path is the name of the format: see `reader_of`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from inspect import getsourcefile
from os import PathLike
from pydoc import locate
from typing import cast

from lightning_st.errors import ConfigError
from lightning_st.index.readers.boxes import RawBoxes, add_image, add_measured_image
from lightning_st.index.readers.classes import read_classes
from lightning_st.index.readers.coco import read_coco
from lightning_st.index.readers.folder import read_folder
from lightning_st.index.readers.masks import mask_files, read_masks
from lightning_st.index.readers.openimages import read_openimages
from lightning_st.index.readers.openimages_classes import find_descriptions
from lightning_st.index.readers.options import ReaderOptions
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.readers.results import read_results
from lightning_st.index.readers.sources import Sources
from lightning_st.index.readers.tar import read_tar
from lightning_st.index.readers.voc import read_voc, xml_files
from lightning_st.index.readers.yolo import label_files, read_yolo
from lightning_st.index.readers.yolo_names import names_file
from lightning_st.index.writer import IndexWriter

Reader = Callable[[Sources, IndexWriter], None]


def _no_files(sources: Sources) -> Iterable[str | PathLike[str]]:
    return ()


@dataclass(frozen=True, slots=True)
class Traits:
    """What a format is, besides its reader.

    Attributes:
        is_labeled: Whether it reads annotations; else it makes an index of images without labels.
        lists_images: Whether the index follows from which images the folder holds.
        label_files: Returns the files that the index follows from besides those that the user named.
        options: The fields of `ReaderOptions` that it takes.
    """

    is_labeled: bool = True
    lists_images: bool = True
    label_files: Callable[[Sources], Iterable[str | PathLike[str]]] = _no_files
    options: tuple[str, ...] = ()


def _yolo_files(sources: Sources) -> Iterable[str | PathLike[str]]:
    return (names_file(sources), *label_files(sources))


def _openimages_files(sources: Sources) -> Iterable[str | PathLike[str]]:
    return filter(None, [find_descriptions(sources.label_path)])


READERS: dict[str, Reader] = {
    "coco": read_coco,
    "voc": read_voc,
    "openimages": read_openimages,
    "yolo": read_yolo,
    "masks": read_masks,
    "classes": read_classes,
    "folder": read_folder,
    "tar": read_tar,
    "results": read_results,
}
"""Format name to reader: the values of `data.*.format`; "masks", which `data.*.masks` asks for; "classes", which a
model of whole images asks for; and "results", which `data.pseudo_labels` reads."""

TRAITS: dict[str, Traits] = {
    "coco": Traits(lists_images=False),
    "voc": Traits(label_files=xml_files, options=("classes", "first_pixel")),
    "openimages": Traits(label_files=_openimages_files, options=("classes", "hierarchy")),
    "yolo": Traits(label_files=_yolo_files, options=("classes",)),
    "masks": Traits(label_files=mask_files, options=("classes", "ignore_index")),
    "classes": Traits(options=("classes",)),
    "folder": Traits(is_labeled=False),
    "tar": Traits(is_labeled=False, lists_images=False),
    "results": Traits(lists_images=False, options=("categories",)),
}


def reader_of(format_name: str) -> Reader:
    """Return the reader of a format.

    Args:
        format_name: One of `READERS`, or the import path of a reader of the user's own, "my_module.read_mine".

    Raises:
        ConfigError: If there is none.
    """
    found = READERS.get(format_name) or (locate(format_name) if "." in format_name else None)
    if not callable(found):
        raise ConfigError.unknown_choice("format", format_name, READERS)
    return cast(Reader, found)


def traits_of(format_name: str) -> Traits:
    """Return the traits of a format; an own reader may carry them as its attribute `traits`.

    Raises:
        ConfigError: If there is no such format.
    """
    if format_name in TRAITS:
        return TRAITS[format_name]
    own: Traits = getattr(reader_of(format_name), "traits", Traits())
    return own


def code_of(format_name: str) -> str | None:
    """Return the file of an own reader: an index follows from it, too; None for the formats of this package."""
    return None if format_name in READERS else getsourcefile(reader_of(format_name))


__all__ = [
    "READERS",
    "ImagePlaces",
    "RawBoxes",
    "Reader",
    "ReaderOptions",
    "Sources",
    "Traits",
    "add_image",
    "add_measured_image",
    "code_of",
    "reader_of",
    "traits_of",
]
