"""Classes that the folders of images name, as ImageNet's WNIDs do: for classification, and for nothing else.

An index of a folder or an archive holds no label, so a detector that is shown its images unlabelled cannot see one.
Whoever trains a classifier asks for them: for an index with labels by the format "classes", or here.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError
from lightning_st.index.names import class_of
from lightning_st.index.readers.class_files import read_class_names
from lightning_st.index.table import AnnotationIndex


def folder_classes(index: AnnotationIndex, classes: Path | None = None) -> tuple[list[str], NDArray[np.int64]]:
    """Return the class of each image: the first folder on its path, such as n01440764 of n01440764/1.JPEG.

    Args:
        index: The images.
        classes: A file of the classes in their order; all that there are, sorted, where missing.

    Returns:
        The names of the classes, and for each image its class index, int64 [N].

    Raises:
        AnnotationError: If an image lies in no folder, or in that of a class that the file does not name.
    """
    folders = (class_of(index.name(row), index.root) for row in range(len(index)))
    names = sorted(set(folders)) if classes is None else read_class_names(classes)
    labels = {name: label for label, name in enumerate(names)}
    folders = (class_of(index.name(row), index.root) for row in range(len(index)))
    found = np.fromiter((labels.get(folder, -1) for folder in folders), np.int64, len(index))
    if (found < 0).any():
        name = index.name(int(np.argmax(found < 0)))
        raise AnnotationError(str(classes), f"the file does not name the class of {name}")
    return names, found
