"""What Open Images verified of whole images: that a class is there, or is not. It is kept apart from boxes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.index.readers.openimages_classes import read_descriptions
from lightning_st.index.readers.openimages_rows import read_number, stream_images
from lightning_st.index.readers.places import StemTable
from lightning_st.index.readers.sources import ignore_progress
from lightning_st.index.table import AnnotationIndex


@dataclass(frozen=True, slots=True)
class VerifiedLabels:
    """Verified labels of images, in the order of the file.

    Attributes:
        rows: int64 [K], rows of the index.
        labels: int32 [K], class indices.
        is_present: bool [K]; False where the class was verified to be absent.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int32]
    is_present: NDArray[np.bool_]


def read_image_labels(path: str | Path, descriptions: str | Path, index: AnnotationIndex) -> VerifiedLabels:
    """Read an image-label CSV (ImageID, Source, LabelName, Confidence) for the images and classes of an index.

    Memory grows with the labels of these, not with the file's.

    Args:
        path: Such as train-annotations-human-imagelabels-boxable.csv.
        descriptions: The class-description CSV.
        index: Of the format "openimages".

    Raises:
        AnnotationError: If a file, a line or a field is not as it should be.
    """
    path, described = Path(path), read_descriptions(Path(descriptions))
    own = {name: label for label, name in enumerate(index.classes)}
    labels = {label_name: own[display] for label_name, display in described.items() if display in own}
    table = StemTable(list(index.iterate_names()))
    found: list[tuple[int, int, bool]] = []
    for image_id, first_line, rows in stream_images(path, ["LabelName", "Confidence"], ignore_progress):
        for row in table.find(image_id)[:1]:
            for line, (name, confidence) in enumerate(rows, first_line):
                if name in labels:
                    found.append((row, labels[name], read_number(path, line, "Confidence", confidence) > 0))
    columns = np.array(found, np.int64).reshape(-1, 3)
    return VerifiedLabels(columns[:, 0], columns[:, 1].astype(np.int32), columns[:, 2].astype(bool))
