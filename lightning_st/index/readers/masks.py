"""Masks: a folder of index or palette images, named as the images that they belong to."""

import io
import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError, ImageError
from lightning_st.index.image_bytes import open_regular
from lightning_st.index.masks import encode_mask
from lightning_st.index.picture_file import open_picture
from lightning_st.index.problems import UNREADABLE_MASK, count_problem
from lightning_st.index.readers.boxes import UNREADABLE
from lightning_st.index.readers.class_files import read_class_names
from lightning_st.index.readers.pairs import MISSING, refuse_unlabeled, wanted_pairs
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.readers.sources import Sources
from lightning_st.index.segments import segments_of
from lightning_st.index.writer import IndexWriter
from lightning_st.types import IGNORE_INDEX

VOC_FOLDER = "SegmentationClass"
"""What PASCAL VOC calls its folder of masks."""

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
"""The class indices of its masks."""

SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif")
"""Of masks: formats that keep every pixel's value."""

_WIDE_MODES = ("I", "I;16", "I;16B", "I;16L")  # grey levels of 16 or 32 bits
_FLAT_MODES = ("1", "L", "P")

logger = logging.getLogger(__name__)


def read_masks(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images that have a mask, in the order of the masks' names; masks are kept in the index.

    Images without mask are left out; a mask without image is counted, and so is one that cannot be read.

    Raises:
        AnnotationError: If a mask is of another size than its image, holds a class index above the list, is a picture
            in colours, or gives a class another colour than others do; if no image has a mask, or one of a list none.
    """
    paths = mask_files(sources)
    ignored = sources.options.ignore_index
    names = _class_names(sources, paths)
    writer.set_classes(names)
    table = _class_table(len(names), ignored)
    palette = _Palette()
    places = ImagePlaces(sources)
    is_added = np.zeros(len(places.names), bool)
    for path, position in wanted_pairs(sources, paths, places, writer):
        try:
            raw, colours = read_mask(path)
        except ImageError as error:
            count_problem(writer.problems, UNREADABLE_MASK, 1, [str(error)])
            is_added[position] = True  # it has one, so a list that names it is not wrong
            continue
        palette.check(path, raw, colours)
        _refuse_values(path, raw, table, names, sources)
        _add(writer, places, position, path, table[raw])
        is_added[position] = True
    refuse_unlabeled(sources, places, is_added, "mask")
    if MISSING in writer.problems:
        logger.warning("%s: %d masks have no image.", sources.label_path, writer.problems[MISSING]["count"])


def mask_files(sources: Sources) -> list[Path]:
    """Return the masks of a set, sorted.

    Raises:
        AnnotationError: If there is none.
    """
    folder = sources.label_path
    if not folder.is_dir():
        raise AnnotationError(folder, "expected a folder of masks, this is a file")
    paths = sorted(path for path in folder.rglob("[!.]*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise AnnotationError(folder, "the folder holds no mask", advice=f"Looked for {', '.join(SUFFIXES)}.")
    return paths


def read_mask(path: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint8] | None]:
    """Read the values of a mask, not the colours that its palette gives them.

    Returns:
        uint16 [H, W]; and the palette, uint8 [K, 3], of an image that has one.

    Raises:
        ImageError: If it cannot be read.
        AnnotationError: If it is a picture in colours, or holds a value above 65535.
    """
    try:
        with io.BufferedReader(open_regular(path)) as file, open_picture(file, path) as image:
            values, mode = np.asarray(image), image.mode
            palette = image.getpalette() if mode == "P" else None
    except OSError as error:
        raise ImageError(path, (error.strerror or str(error)).lower()) from error
    if mode not in (*_FLAT_MODES, *_WIDE_MODES):
        problem = f"expected class indices, in a palette image or in grey levels; got colours (mode {mode})"
        raise AnnotationError(path, problem, advice="Save each pixel's class index, with Pillow in mode P or L.")
    if values.min() < 0 or values.max() > np.iinfo(np.uint16).max:
        raise AnnotationError(path, f"expected class indices, got {values.min()} to {values.max()}")
    return values.astype(np.uint16), None if palette is None else np.array(palette, np.uint8).reshape(-1, 3)


@dataclass
class _Palette:
    """The colours that the masks of a folder give their values: one colour a value, or it is no one list of classes."""

    colours: dict[int, tuple[int, ...]] = field(default_factory=dict)
    first: dict[int, Path] = field(default_factory=dict)

    def check(self, path: Path, values: NDArray[np.uint16], palette: NDArray[np.uint8] | None) -> None:
        """Refuse a mask whose palette differs from those before it in a value that it uses."""
        if palette is None:
            return
        for value in np.flatnonzero(np.bincount(values.reshape(-1))).tolist():
            colour = tuple(palette[value].tolist()) if value < len(palette) else ()
            known = self.colours.setdefault(value, colour)
            first = self.first.setdefault(value, path)
            if known != colour:
                problem = f"its palette gives the class index {value} the colour {colour}, that of {first} {known}"
                advice = "With mixed palettes an index means several classes: save all masks with one."
                raise AnnotationError(path, problem, advice=advice)


def _class_names(sources: Sources, paths: list[Path]) -> list[str]:
    """Return the names that the user gives; else PASCAL's in its own folder, else as many as there are values."""
    if sources.options.classes is not None:
        names = read_class_names(sources.options.classes)
        if len(names) > IGNORE_INDEX:
            problem = f"masks hold at most {IGNORE_INDEX} classes, the file names {len(names)}"
            raise AnnotationError(sources.options.classes, problem)
        return names
    if sources.label_path.name == VOC_FOLDER:
        return list(VOC_CLASSES)
    highest = max(_highest(path, sources.options.ignore_index) for path in paths)
    if highest < 1:
        problem = f"none of {len(paths)} masks holds another class index than 0 (and {IGNORE_INDEX}, which is ignored)"
        advice = "A mask of one class has 0 for the background and 1 for the class."
        raise AnnotationError(sources.label_path, problem, advice=advice)
    names = [f"class {number}" for number in range(highest + 1)]
    logger.info("%s: no file of class names is given: %s to %s.", sources.label_path, names[0], names[-1])
    return names


def _highest(path: Path, ignored: tuple[int, ...]) -> int:
    """Return the highest class index of a mask; -1 where there is none, or it cannot be read."""
    try:
        values, _ = read_mask(path)
    except ImageError:
        return -1
    found = np.flatnonzero(np.bincount(values.reshape(-1)))
    kept = found[~np.isin(found, (*ignored, IGNORE_INDEX))]
    if len(kept) and kept[-1] > IGNORE_INDEX:
        raise AnnotationError(path, f"masks hold class indices up to {IGNORE_INDEX - 1}, this one {kept[-1]}")
    return int(kept[-1]) if len(kept) else -1


def _class_table(class_count: int, ignored: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return for each value of a mask its class index, uint8 [65536]; values above the list become 255, too."""
    table = np.full(np.iinfo(np.uint16).max + 1, IGNORE_INDEX, np.uint8)
    table[:class_count] = np.arange(class_count)
    table[list(ignored)] = IGNORE_INDEX
    return table


def _refuse_values(
    path: Path, values: NDArray[np.uint16], table: NDArray[np.uint8], names: list[str], sources: Sources
) -> None:
    is_allowed = table != IGNORE_INDEX
    is_allowed[[IGNORE_INDEX, *sources.options.ignore_index]] = True
    is_wrong = ~is_allowed[values]
    if not is_wrong.any():
        return
    y, x = (int(place) for place in np.argwhere(is_wrong)[0])
    named = sources.options.classes or f"PASCAL VOC, for a folder {VOC_FOLDER},"
    problem = f"expected a class index from 0 to {len(names) - 1}, got {values[y, x]}"
    advice = f"{named} names {len(names)} classes; a value that means none is named in ignore_index."
    raise AnnotationError(path, problem, record=f"pixel x={x}, y={y}", advice=advice)


def _add(writer: IndexWriter, places: ImagePlaces, position: int, path: Path, mask: NDArray[np.uint8]) -> None:
    """Add an image with its mask, which is as people see it or as the image lies in its file: EXIF may turn it."""
    name, place = places.names[position], places.place(position)
    height, width = mask.shape
    try:
        upright = places.read_size(position)
        stored = upright if upright == (width, height) else places.read_size(position, upright=False)
    except ImageError as error:  # loading the image will say so again
        count_problem(writer.problems, UNREADABLE, 1, [str(error)])
    else:
        if (width, height) not in (upright, stored):
            problem = f"the mask is {width} x {height} pixels, its image {name} is {upright[0]} x {upright[1]}"
            raise AnnotationError(path, problem, advice="A mask has a pixel for each pixel of its image.")
    writer.add(name, width, height, mask=encode_mask(mask), **place, **segments_of(mask))
