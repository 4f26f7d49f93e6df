"""The ids that another file gives to the same images and classes: what its other readers know them by."""

from pathlib import Path

import numpy as np

from lightning_st.index.names import match_names
from lightning_st.index.readers.coco_records import read_categories, read_images
from lightning_st.index.readers.sources import begins_json
from lightning_st.index.table import AnnotationIndex


def numbered_as(index: AnnotationIndex, path: Path) -> AnnotationIndex:
    """Return an index with the image ids of a COCO JSON, and its class ids where it names every class.

    Args:
        index: Its images are listed there.
        path: A COCO JSON of images; of another file, as one of names, the index itself is returned.

    Raises:
        AnnotationError: If it is no COCO JSON.
    """
    if not path.is_file() or not begins_json(path):
        return index
    listed = read_images(path)
    places = match_names([name for name, _ in listed], list(index.iterate_names()), path)
    # Fresh numbers for what is not listed, above those that are.
    first_free = max((number for _, number in listed), default=0) + 1
    image_ids = np.arange(first_free, first_free + len(index))
    for place, (_, number) in zip(places.tolist(), listed, strict=True):
        if place >= 0:
            image_ids[place] = number
    other = AnnotationIndex.open(index.path, index.root)
    other.image_ids = image_ids
    other.class_ids = class_ids_in(path, index.classes) or index.class_ids
    return other


def class_ids_in(path: Path, classes: tuple[str, ...]) -> tuple[int, ...] | None:
    """Return the ids that a COCO JSON gives to classes of these names; None where it does not name them all."""
    if not begins_json(path):
        return None
    said = {name: number for number, name in read_categories(path)}
    return tuple(said[name] for name in classes) if said.keys() >= set(classes) else None
