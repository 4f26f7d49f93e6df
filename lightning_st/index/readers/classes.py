"""Images whose class is the first folder on their path: an ImageFolder, or a tar (of tars) as ImageNet is published.

Only who asks for this format gets classes. Read as "folder" or "tar" the same images have no label.
"""

import numpy as np

from lightning_st.errors import AnnotationError
from lightning_st.index.names import class_of
from lightning_st.index.readers.class_files import read_class_names
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.readers.sources import Sources
from lightning_st.index.writer import IndexWriter

_WHOLE_IMAGE = np.zeros((1, 4), np.float32)
"""The row that carries the class of an image: a box of zeros, as the size of the image is not looked at."""

_REPORT_EVERY = 1000  # images


def read_classes(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images in the order of their names (a folder) or places (an archive), each with one row: its class.

    The classes are those of a file of names, in its order; else all that the wanted images have, sorted.

    Raises:
        AnnotationError: If there is no image, one lies in no folder or in that of a class that the file does not name,
            or the list does not fit.
    """
    places = ImagePlaces(sources)
    wanted = np.flatnonzero(places.is_wanted).tolist()
    named = sources.options.classes
    folders = (class_of(places.names[position], sources.images) for position in wanted)
    names = sorted(set(folders)) if named is None else read_class_names(named)
    writer.set_classes(names)
    labels = {name: label for label, name in enumerate(names)}
    for done, position in enumerate(wanted):
        name = places.names[position]
        label = labels.get(class_of(name, sources.images))
        if label is None:
            raise AnnotationError(str(named), f"the file does not name the class of {name}")
        writer.add(name, **places.place(position), boxes=_WHOLE_IMAGE, labels=[label])
        if done % _REPORT_EVERY == 0:
            sources.advance(done, len(wanted))
