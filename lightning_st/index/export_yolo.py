"""An index as a YOLO data set, for the tools of ultralytics and others."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import DataError
from lightning_st.index.image_bytes import read_part
from lightning_st.index.image_size import read_image_size
from lightning_st.index.readers.yolo_names import label_path
from lightning_st.index.table import AnnotationIndex, ImageRecord


def export_yolo(index: AnnotationIndex, folder: str | Path, keep: NDArray[np.bool_] | None = None) -> None:
    """Write an index as data.yaml, images/ and labels/; images are links, or copies where an archive holds them.

    Labels lie where every tool looks for them: see `label_path`.

    YOLO knows neither crowd regions nor scores: those are left out, these dropped.

    Args:
        index: The images and boxes.
        folder: Made; must not exist, or be empty.
        keep: bool [M], which boxes to write; all where missing.

    Raises:
        DataError: If the folder is not empty, or two images have one name.
        ImageError: If the size of an image is not known and cannot be read.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: the folder is not empty. Export to another one.")
    is_kept = ~index.crowd if keep is None else keep & ~index.crowd
    for row in range(len(index)):
        _write_image(index, row, folder, is_kept)
    # Written last: a folder without it is no data set. JSON is YAML, and quotes every name as it needs.
    names = json.dumps(list(index.classes), ensure_ascii=False)
    (folder / "data.yaml").write_text(f"train: images\nval: images\nnames: {names}\n", encoding="utf-8")


def _write_image(index: AnnotationIndex, row: int, folder: Path, is_kept: NDArray[np.bool_]) -> None:
    record = index.image(row)
    image = folder / "images" / record.name
    labels = Path(label_path(str(image)))
    if image.exists() or image.is_symlink() or labels.exists():
        raise DataError(f"{index.path}: several images would be {record.name}. Export them one source at a time.")
    image.parent.mkdir(parents=True, exist_ok=True)
    labels.parent.mkdir(parents=True, exist_ok=True)
    _place_image(record, image)
    kept = slice(int(index.box_offsets[row]), int(index.box_offsets[row + 1]))
    chosen = is_kept[kept]
    lines = _lines(index.boxes[kept][chosen], index.labels[kept][chosen], _size(record))
    labels.write_text("".join(lines), encoding="utf-8")


def _place_image(record: ImageRecord, image: Path) -> None:
    """Link an image that is a file; copy one out of an archive."""
    if record.length < 0:
        image.symlink_to(os.path.abspath(record.path))
        return
    image.write_bytes(read_part(record.path, record.offset, record.length))


def _size(record: ImageRecord) -> tuple[int, int]:
    """Return (width, height), from the header where the source does not say it."""
    if record.width and record.height:
        return record.width, record.height
    return read_image_size(record.path, record.offset, record.length)


def _lines(boxes: NDArray[np.float32], labels: Sequence[int] | NDArray[np.int32], size: tuple[int, int]) -> list[str]:
    """Return a line for each box: class index, centre, width and height in fractions of the image's sides."""
    left, top, right, bottom = (boxes.astype(np.float64) / (size * 2)).T
    columns = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    rows = zip(labels, *columns, strict=True)
    return [f"{int(label)} " + " ".join(f"{value:.8g}" for value in values) + "\n" for label, *values in rows]
