"""PASCAL VOC: a folder of XML files, one an image, and what other tools write in that form.

`difficult` becomes `crowd`, the index's one word for "found or not, it counts for nothing". It is what both evaluators
can make of it: VOC's leaves difficult objects out of recall and their detections out of precision; COCO's does so for
`iscrowd` alone (it overwrites `ignore` by it: cocodataset/cocoapi#123). In training no anchor learns from them.
"""

import logging
from functools import partial
from pathlib import Path

import numpy as np

from lightning_st.errors import AnnotationError
from lightning_st.index.readers.boxes import RawBoxes, add_image, as_corners
from lightning_st.index.readers.class_files import read_class_names
from lightning_st.index.readers.pairs import MISSING, refuse_unlabeled, wanted_pairs
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.readers.sources import Sources
from lightning_st.index.readers.voc_xml import VocImage, read_names, read_xml
from lightning_st.index.writer import IndexWriter

logger = logging.getLogger(__name__)


def read_voc(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images of a folder of XML, in the order of its names.

    Classes are those of all XML in the folder, also of images that the list leaves out, sorted by name: so the train
    and the val list of one folder agree on them. With a file of classes, objects of other classes are left out.
    Images without XML are left out; an XML without image is counted.

    Raises:
        AnnotationError: If a file, a record or a field is not as it should be, or no image is there.
    """
    paths = xml_files(sources)
    names = _class_names(sources, paths)
    writer.set_classes(names)
    labels = {name: label for label, name in enumerate(names)}
    first_pixel = _first_pixel(sources, paths[0])
    places = ImagePlaces(sources)
    is_added = np.zeros(len(places.names), bool)
    for path, position in wanted_pairs(sources, paths, places, writer):
        image = read_xml(path)
        raw = _boxes_of(image, labels, first_pixel)
        describe = partial("{}: object[{}]".format, path.name)
        add_image(writer, places.names[position], image.size, raw, describe, places.place(position))
        is_added[position] = True
    refuse_unlabeled(sources, places, is_added, "XML")
    if MISSING in writer.problems:
        logger.warning("%s: %d XML files have no image.", sources.label_path, writer.problems[MISSING]["count"])


def xml_files(sources: Sources) -> list[Path]:
    """Return the XML files of a set, sorted.

    Raises:
        AnnotationError: If there is none.
    """
    folder = sources.label_path
    paths = [folder] if folder.is_file() else sorted(folder.rglob("[!.]*.xml"))
    if not paths:
        raise AnnotationError(folder, "the folder holds no XML file")
    return paths


def _class_names(sources: Sources, paths: list[Path]) -> list[str]:
    """Return the classes that the user names, else those of all XML, sorted."""
    if sources.options.classes is not None:
        return read_class_names(sources.options.classes)
    names = sorted({name for path in paths for name in read_names(path)})
    if not names:
        raise AnnotationError(sources.label_path, f"none of {len(paths)} XML files holds an object")
    return names


def _first_pixel(sources: Sources, path: Path) -> int:
    """Return what the user says, or what the first XML shows; with the reason in the log."""
    if sources.options.first_pixel is not None:
        return sources.options.first_pixel
    database = read_xml(path).database
    is_pascal = "VOC" in database
    meaning = "pixels counted from 1, the last one inside" if is_pascal else "plain corners"
    logger.info("%s: its database is %r: boxes are %s (first_pixel: %d).", path, database, meaning, is_pascal)
    return int(is_pascal)


def _boxes_of(image: VocImage, labels: dict[str, int], first_pixel: int) -> RawBoxes:
    """Return the boxes in continuous coordinates: of PASCAL's pixels `a` to `b`, counted from 1, `a - 1` to `b`."""
    kept = [number for number, name in enumerate(image.names) if name in labels]
    corners = as_corners(image.corners)[kept]
    corners[:, :2] -= first_pixel
    return RawBoxes(
        corners=corners,
        labels=[labels[image.names[number]] for number in kept],
        crowd=[image.difficult[number] for number in kept],
        numbers=kept,
    )
