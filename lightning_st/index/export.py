"""An index as COCO JSON, for other tools."""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.index.table import AnnotationIndex


def export_coco(index: AnnotationIndex, path: str | Path, keep: NDArray[np.bool_] | None = None) -> None:
    """Write an index as COCO JSON (instances), box by box, so memory does not grow; at once or not at all.

    Boxes are written exactly, so reading the file again gives the same boxes; `score` stands there where the index has
    scores. Image ids are the source's, or 1, 2, 3 ... where those are not distinct (in a join of several sources).

    Args:
        index: The images and boxes.
        path: The file to write or to replace.
        keep: bool [M], which boxes to write; all where missing.
    """
    parts = {"images": _images(index), "annotations": _annotations(index, keep), "categories": _categories(index)}
    with written_at_once(Path(path)) as file:
        file.write('{"info": {"description": "Written by lightning_st"}')
        for name, records in parts.items():
            file.write(f',\n"{name}": [')
            for number, record in enumerate(records):
                file.write(",\n" * (number > 0) + record)
            file.write("]")
        file.write("}\n")


@contextmanager
def written_at_once(path: Path) -> Iterator[IO[str]]:
    """Give a file beside ``path`` to write text to, which takes its place when all is written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with partial.open("x", encoding="utf-8") as file:
            yield file
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def distinct_ids(index: AnnotationIndex) -> list[int]:
    """Return a distinct id for each image."""
    ids: list[int] = index.image_ids.tolist()
    return ids if len(np.unique(index.image_ids)) == len(index) else list(range(1, len(index) + 1))


def _images(index: AnnotationIndex) -> Iterator[str]:
    for row, image_id in enumerate(distinct_ids(index)):
        size = {"width": int(index.widths[row]), "height": int(index.heights[row])}
        known = {side: pixels for side, pixels in size.items() if pixels}
        yield json.dumps({"id": image_id, "file_name": index.name(row), **known})


def _annotations(index: AnnotationIndex, keep: NDArray[np.bool_] | None) -> Iterator[str]:
    for row, image_id in enumerate(distinct_ids(index)):
        for box in range(int(index.box_offsets[row]), int(index.box_offsets[row + 1])):
            if keep is None or keep[box]:
                yield _annotation(index, box, image_id)


def _annotation(index: AnnotationIndex, box: int, image_id: int) -> str:
    """Return one annotation; its id counts from 1, because pycocotools takes 0 for "no match"."""
    left, top, right, bottom = index.boxes[box].tolist()
    record: dict[str, Any] = {
        "id": box + 1,
        "image_id": image_id,
        "category_id": index.class_ids[index.labels[box]],
        "bbox": [left, top, right - left, bottom - top],
        "area": float(index.areas[box]),
        "iscrowd": int(index.crowd[box]),
    }
    if index.has_scores:
        record["score"] = float(index.scores[box])
    segmentation = index.segmentation_bytes(box).decode()
    return json.dumps(record)[:-1] + (f', "segmentation": {segmentation}}}' if segmentation else "}")


def _categories(index: AnnotationIndex) -> Iterator[str]:
    for class_id, name in zip(index.class_ids, index.classes, strict=True):
        yield json.dumps({"id": class_id, "name": name})
