"""Boxes, columns and spools as the records that a writer collects, and the file that it makes of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_st.index.layout import BOX_RECORD, COLUMNS, PLACING, column_said, encode_header, said_by
from lightning_st.index.problems import box_areas
from lightning_st.index.table import AnnotationIndex


def pack_boxes(
    boxes: ArrayLike,
    labels: ArrayLike,
    crowd: ArrayLike | None = None,
    scores: ArrayLike | None = None,
    areas: ArrayLike | None = None,
    segmentations: Sequence[bytes | None] | None = None,
) -> tuple[NDArray[Any], bytes]:
    """Pack the boxes of one image.

    Args:
        boxes: float32 [N, 4], xyxy in pixels.
        labels: int32 [N], class indices.
        crowd: bool [N]; False where missing.
        scores: float32 [N], 0-1; 1 where missing.
        areas: float32 [N], square pixels; the box's own where missing.
        segmentations: N texts in JSON, None for a box that has none.

    Returns:
        `BOX_RECORD` [N], and the joined segmentations; offsets count from the first of them.

    Raises:
        ValueError: If the arrays differ in length.
    """
    corners = np.asarray(boxes, np.float32).reshape(-1, 4)
    given = {"labels": labels, "crowd": crowd, "scores": scores, "areas": areas, "segmentations": segmentations}
    lengths = {name: len(values) for name, values in given.items() if values is not None}  # type: ignore[arg-type]
    if any(length != len(corners) for length in lengths.values()):
        raise ValueError(f"Expected as many of each as there are boxes ({len(corners)}), got {lengths}.")
    records = np.empty(len(corners), BOX_RECORD)
    records["boxes"] = corners
    records["labels"] = labels
    records["crowd"] = False if crowd is None else crowd
    records["scores"] = 1 if scores is None else scores
    records["areas"] = box_areas(corners) if areas is None else areas
    texts = [text or b"" for text in segmentations or ()]
    records["segmentation_offsets"] = np.cumsum([len(text) for text in texts]) if texts else 0
    return records, b"".join(texts)


def gather_records(index: AnnotationIndex, dtype: np.dtype[Any], rows: slice) -> NDArray[Any]:
    """Return a part of the columns of an index as records; offsets as ends.

    Args:
        index: The index.
        dtype: `IMAGE_RECORD` or `BOX_RECORD`.
        rows: Which images, or boxes.
    """
    records = np.empty(rows.stop - rows.start, dtype)
    for name in dtype.names or ():
        part = slice(rows.start + 1, rows.stop + 1) if name.endswith("_offsets") else rows
        records[name] = index.columns[name][part]
    return records


def read_records(spool: "SpooledTemporaryFile[bytes]", dtype: np.dtype[Any], count: int) -> Iterator[NDArray[Any]]:
    """Yield what a spool holds, `count` records at a time."""
    spool.seek(0)
    while data := spool.read(dtype.itemsize * count):
        yield np.frombuffer(data, dtype)


def assemble(file: IO[bytes], header: Mapping[str, Any], chunks_of: Callable[[str], Iterable[bytes]]) -> None:
    """Write an index file; the header again at the end, when the fingerprint is known (it is as long then).

    Args:
        file: Empty.
        header: All but the fingerprint; its "columns" say where they lie.
        chunks_of: From the name of a column to its bytes.
    """
    columns, digest = header["columns"], sha256(said_by(header))
    start = file.write(encode_header({**header, "fingerprint": sha256().hexdigest()}))
    for name in COLUMNS:
        if name not in PLACING:
            digest.update(column_said(name, columns[name]))
        file.seek(start + columns[name]["offset"])
        for data in chunks_of(name):
            file.write(data)
            if name not in PLACING:
                digest.update(data)
    file.truncate(start + header["data_size"])
    file.seek(0)
    file.write(encode_header({**header, "fingerprint": digest.hexdigest()}))
