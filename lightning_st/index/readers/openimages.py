"""Open Images V4 to V7: the boxes CSV, with the class descriptions beside it. Memory does not grow with its rows.

What it says of whole images ("no bird was seen here") is no box: `image_labels.read_image_labels` reads that.
"""

import logging
from collections.abc import Iterable
from functools import partial

import numpy as np

from lightning_st.errors import AnnotationError
from lightning_st.index.readers.boxes import RawBoxes, add_scaled_image
from lightning_st.index.readers.openimages_classes import OpenImagesClasses, read_classes
from lightning_st.index.readers.openimages_rows import Row, read_number, stream_images
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.readers.sources import Sources
from lightning_st.index.writer import IndexWriter

_COORDINATES = ("XMin", "YMin", "XMax", "YMax")  # xyxy, as an index has them; the file has XMin, XMax, YMin, YMax
_COLUMNS = ("LabelName", *_COORDINATES, "IsGroupOf")
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
    for image_id, line, rows in stream_images(sources.label_path, _COLUMNS, ["Confidence"], sources.advance):
        seen += 1
        position = places.find(image_id)
        if position < 0 or not places.is_wanted[position]:
            continue
        if is_done[position]:
            advice = "Sort the lines behind the header by ImageID."
            problem = f"rows of the image {image_id!r} also stand further above"
            raise AnnotationError(sources.label_path, problem, record=f"line {line}", advice=advice)
        is_done[position] = True
        raw = _boxes_of(sources, classes, rows, line)
        if raw is not None:
            describe = partial("{}: line {}".format, sources.label_path.name)
            add_scaled_image(writer, places, position, raw, describe)
            added += 1
    if not added:
        advice = f"It has {seen} images; a file is named by its ImageID."
        problem = f"no image with a box of a wanted class is in {sources.images}"
        raise AnnotationError(sources.label_path, problem, advice=advice)
    logger.info("%s: %d of %d images are there and have a box of a wanted class.", sources.label_path, added, seen)


def _boxes_of(sources: Sources, classes: OpenImagesClasses, rows: Iterable[Row], first_line: int) -> RawBoxes | None:
    """Return the boxes of one image, in fractions of its sides; None where it has none of a wanted class."""
    corners, labels, crowd, lines = [], [], [], []
    for line, row in enumerate(rows, first_line):
        box = _box_of(sources, row, line)
        name, confidence = row[0], row[-1]
        if name not in classes.labels:
            problem = f"the class {name!r} is not described in {classes.described_in}"
            raise AnnotationError(sources.label_path, problem, record=f"line {line}: LabelName")
        if confidence and read_number(sources.label_path, line, "Confidence", confidence) == 0:
            continue  # the class was verified to be absent
        for label in classes.labels[name]:
            corners.append(box)
            labels.append(label)
            crowd.append(row[-2] == "1")  # -1 is unknown
            lines.append(line)
    return RawBoxes(corners, labels, crowd, numbers=lines) if lines else None


def _box_of(sources: Sources, row: Row, line: int) -> list[float]:
    """Return the corners of a row, checked."""
    path = sources.label_path
    try:
        box = [float(text) for text in row[1:5]]
    except ValueError:
        box = [read_number(path, line, name, text) for name, text in zip(_COORDINATES, row[1:5], strict=True)]
    for value, name in zip(box, _COORDINATES, strict=True):
        if not -_ROUNDING <= value <= 1 + _ROUNDING:
            problem = f"expected a fraction of the image's side from 0 to 1, got {value:g}"
            raise AnnotationError(path, problem, record=f"line {line}: {name}")
    return box
