"""A folder of images without labels, searched recursively. The folders of an ImageFolder are no labels."""

from lightning_st.index.readers.sources import Sources
from lightning_st.index.writer import IndexWriter


def read_folder(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images of a folder; they are not opened, so their sizes stay unknown.

    Raises:
        AnnotationError: If there is none, or the list does not fit.
    """
    names = sources.listing
    for position in sources.select(names):
        writer.add(names[position])
