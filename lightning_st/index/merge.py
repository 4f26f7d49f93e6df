"""Several indexes as one, such as the shards of a pseudo-label store."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning_st.index.table import AnnotationIndex
from lightning_st.index.writer import IndexWriter


def merge_indexes(
    paths: Sequence[str | Path], destination: str | Path, source: Mapping[str, Any] | None = None
) -> AnnotationIndex:
    """Join indexes of the same classes, such as the shards of a pseudo-label store, in the order given.

    Memory does not grow with their size; the destination may be one of them.

    Args:
        paths: The indexes; at least one.
        destination: The file to write.
        source: What to say of where it comes from; what the first index says where missing.

    Returns:
        The joined index; its fingerprint is that of the same images written at once.

    Raises:
        ValueError: If there is none, or their classes differ.
        IndexFileError: If one cannot be opened.
    """
    if not paths:
        raise ValueError("Expected at least one index to merge, got none.")
    first = AnnotationIndex.open(paths[0])
    origin = first.source if source is None else source
    with IndexWriter(destination, first.classes, first.class_ids, origin, first.is_labeled) as writer:
        for path in paths:
            writer.extend(AnnotationIndex.open(path))
    return AnnotationIndex.open(destination)
