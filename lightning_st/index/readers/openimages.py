"""Open Images V4 to V7: the boxes CSV, with the class descriptions beside it. Memory does not grow with its rows.

What it says of whole images ("no bird was seen here") is no box: `image_labels.read_image_labels` reads that.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np

from lightning_st.errors import AnnotationError, quoted
from lightning_st.index.readers.boxes import RawBoxes, add_measured_image
from lightning_st.index.readers.openimages_classes import OpenImagesClasses, read_classes
from lightning_st.index.readers.openimages_rows import Row, read_number, stream_images
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.readers.sources import Sources
from lightning_st.index.writer import IndexWriter

# xyxy, as an index has them; the file has XMin, XMax, YMin, YMax.
_NUMBERS = ("XMin", "YMin", "XMax", "YMax", "Confidence")
_COLUMNS = ("LabelName", *_NUMBERS, "IsGroupOf")
_ROUNDING = 0.01  # what a coordinate may lie outside 0-1: the box is clipped then, and counted

logger = logging.getLogger(__name__)


def read_openimages(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images of a boxes CSV, in its order.

    Images that are not in the folder are passed over: few have all 1.7 million. So are images without a box of a wanted
    class: annotators looked for some classes only in each image, so that nothing says that there is none.

    Raises:
        AnnotationError: If the file, a line or a field is not as it should be, a class is not described, the rows of an
            image are not together, or no image is there.
    """
    classes = read_classes(sources)
    writer.set_classes(classes.names)
    places = ImagePlaces(sources)
    is_done = np.zeros(len(places.names), bool)
    seen = added = 0
    for image_id, line, rows in stream_images(sources.label_path, _COLUMNS, sources.advance):
        seen += 1
        position = places.find(image_id)
        if position < 0 or not places.is_wanted[position]:
            continue
        if is_done[position]:
            advice = "Sort the lines behind the header by ImageID."
            problem = f"rows of the image {quoted(image_id)} also stand further above"
            raise AnnotationError(sources.label_path, problem, record=f"line {line}", advice=advice)
        is_done[position] = True
        raw = _boxes_of(sources, classes, rows, line)
        if raw is not None:
            describe = partial("{}: line {}".format, sources.label_path.name)
            add_measured_image(writer, places, position, raw, describe, is_scaled=True)
            added += 1
    if not added:
        advice = f"It has {seen} images; a file is named by its ImageID."
        problem = f"no image with a box of a wanted class is in {sources.images}"
        raise AnnotationError(sources.label_path, problem, advice=advice)
    logger.info("%s: %d of %d images are there and have a box of a wanted class.", sources.label_path, added, seen)


def _boxes_of(sources: Sources, classes: OpenImagesClasses, rows: Iterable[Row], first_line: int) -> RawBoxes | None:
    """Return the boxes of one image, in fractions of its sides; None where it has none of a wanted class."""
    corners, labels, crowd, lines = [], [], [], []
    for line, (name, *numbers, is_group) in enumerate(rows, first_line):
        box, is_present = _read_numbers(sources, line, numbers)
        if name not in classes.labels:
            problem = f"the class {quoted(name)} is not described in {classes.described_in}"
            raise AnnotationError(sources.label_path, problem, record=f"line {line}: LabelName")
        if is_present:  # else the class was verified to be absent
            for label in classes.labels[name]:
                corners.append(box)
                labels.append(label)
                crowd.append(is_group == "1")  # -1 is unknown
                lines.append(line)
    return RawBoxes(corners, labels, crowd, numbers=lines) if lines else None


def _read_numbers(sources: Sources, line: int, texts: Sequence[str]) -> tuple[list[float], bool]:
    """Return the corners of a row, checked, and whether its confidence is above 0."""
    try:
        left, top, right, bottom, confidence = map(float, texts)
    except ValueError:
        left, top, right, bottom, confidence = (
            read_number(sources.label_path, line, name, text) for name, text in zip(_NUMBERS, texts, strict=True)
        )
    box = [left, top, right, bottom]
    if not (min(box) >= -_ROUNDING and max(box) <= 1 + _ROUNDING) or math.isnan(sum(box)):
        for name, value in zip(_NUMBERS, box, strict=False):
            if not -_ROUNDING <= value <= 1 + _ROUNDING:
                problem = f"expected a fraction of the image's side from 0 to 1, got {value:g}"
                raise AnnotationError(sources.label_path, problem, record=f"line {line}: {name}")
    return box, confidence != 0
