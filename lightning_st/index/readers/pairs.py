"""Label files, one an image, paired with the images that have their names."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError
from lightning_st.index.problems import count_problem
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.readers.sources import Sources
from lightning_st.index.writer import IndexWriter

MISSING = "missing_image"
"""Under which kind `AnnotationIndex.problems` counts label files whose image is not there."""

_REPORT_EVERY = 100  # files


def wanted_pairs(
    sources: Sources, paths: list[Path], places: ImagePlaces, writer: IndexWriter
) -> Iterator[tuple[Path, int]]:
    """Yield each label file whose image is there and wanted, with the image's position.

    A file without image is counted, unless there is a list: what it leaves out need not be there.
    """
    for number, path in enumerate(paths):
        if number % _REPORT_EVERY == 0:
            sources.advance(number, len(paths))
        stem = path.relative_to(sources.label_path).with_suffix("").as_posix()
        position = places.find(stem)
        if position < 0:
            if sources.list_file is None:
                count_problem(writer.problems, MISSING, 1, [f"{path}: there is no image {stem!r} in {sources.images}"])
        elif places.is_wanted[position]:
            yield path, position


def refuse_unlabeled(sources: Sources, places: ImagePlaces, is_labeled: NDArray[np.bool_], what: str) -> None:
    """Refuse a set where no image has a label file, or one of the list has none.

    Args:
        sources: The set.
        places: Its images.
        is_labeled: bool [N], which of them have a label file.
        what: A label file is called, such as "XML".

    Raises:
        AnnotationError: Naming the first image that has none.
    """
    missing = np.flatnonzero(places.is_wanted & ~is_labeled)
    if sources.list_file is not None and len(missing):
        problem = f"{len(missing)} images of the list have no {what} in {sources.label_path}"
        raise AnnotationError(sources.list_file, f"{problem}, such as {places.names[missing[0]]!r}")
    if not is_labeled.any():
        advice = f"An image and its {what} have the same name but for the extension."
        raise AnnotationError(sources.label_path, f"no {what} has an image in {sources.images}", advice=advice)
