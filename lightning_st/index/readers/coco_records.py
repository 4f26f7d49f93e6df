"""The records of a COCO JSON, checked field by field and kept as columns: no Python object is kept of a box."""

import json
import math
import os
from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import IO, Any

import numpy as np
from msgspec import Raw

from lightning_st.errors import AnnotationError
from lightning_st.index.json_stream import TOO_DEEP, JsonStream, RecordDecoder, decoder_of, is_deep_json, is_list
from lightning_st.index.readers.coco_fields import (
    ANNOTATION_FIELDS,
    CATEGORY_FIELDS,
    IMAGE_FIELDS,
    RESULT_FIELDS,
    Field,
    checked,
    shorten,
)

_LONGEST_NOTHING = 8  # characters of "null", "[]" and the like


def _decoder(fields: tuple[Field, ...], **others: Any) -> RecordDecoder:
    return decoder_of(**{field.name: Any for field in fields}, **others)


_DECODERS = {"images": _decoder(IMAGE_FIELDS), "annotations": _decoder(ANNOTATION_FIELDS, segmentation=Raw)}
_RESULT_DECODER = _decoder(RESULT_FIELDS, segmentation=Raw)


@dataclass
class BoxColumns:
    """The annotations in the order of the file.

    Attributes:
        segmentations: A temporary file for their JSON, one behind the other.
        image_ids: int64 [M].
        category_ids: int64 [M].
        corners: float32 [M * 4], xyxy in pixels, as written: neither clipped nor checked.
        areas: float32 [M], square pixels; NaN where the file says nothing.
        scores: float32 [M]; NaN where the file says nothing.
        crowd: int8 [M], 0 or 1.
        segmentation_ends: int64 [M], where each one's JSON ends in `segmentations`.
        has_scores: Whether the file says a score of any.
    """

    segmentations: IO[bytes]
    image_ids: "array[int]" = field(default_factory=lambda: array("q"))
    category_ids: "array[int]" = field(default_factory=lambda: array("q"))
    corners: "array[float]" = field(default_factory=lambda: array("f"))
    areas: "array[float]" = field(default_factory=lambda: array("f"))
    scores: "array[float]" = field(default_factory=lambda: array("f"))
    crowd: "array[int]" = field(default_factory=lambda: array("b"))
    segmentation_ends: "array[int]" = field(default_factory=lambda: array("q"))
    has_scores: bool = False

    def extend(self, records: list[dict[str, Any]], outlines: list[bytes]) -> None:
        """Append annotations whose fields have been checked, with the JSON of their segmentations."""
        boxes = np.array([record["bbox"] for record in records], np.float64)
        boxes[:, 2:] += boxes[:, :2]
        with np.errstate(over="ignore"):  # an infinite corner is counted as a problem later
            self.corners.frombytes(boxes.astype(np.float32).tobytes())
        self.image_ids.extend([record["image_id"] for record in records])
        self.category_ids.extend([record["category_id"] for record in records])
        self.areas.extend([record.get("area", math.nan) for record in records])
        self.scores.extend([record.get("score", math.nan) for record in records])
        self.crowd.extend([int(record.get("iscrowd", 0)) for record in records])
        self.has_scores |= any("score" in record for record in records)
        start = self.segmentation_ends[-1] if self.segmentation_ends else 0
        self.segmentation_ends.extend(accumulate(map(len, outlines[1:]), initial=start + len(outlines[0])))
        self.segmentations.write(b"".join(outlines))

    @cached_property
    def _descriptor(self) -> int:
        """Of the segmentations' file, once all are written; of a mapped one each page would count as this process's."""
        self.segmentations.flush()
        return self.segmentations.fileno()

    def segmentation(self, number: int) -> bytes:
        """Return the JSON of the segmentation of annotation `number`, when all are there; empty where it has none."""
        start, end = self.segmentation_ends[number - 1] if number else 0, self.segmentation_ends[number]
        return os.pread(self._descriptor, end - start, start) if end > start else b""


@dataclass
class CocoRecords:
    """What a COCO JSON holds.

    Attributes:
        path: The file.
        boxes: The annotations.
        names: File names of the images, as written.
        image_ids: Their ids.
        sizes: Their (width, height) in pixels; 0 where the file says nothing.
        categories: (id, name) of each class.
        part: The list that the boxes stand in; empty where that is the file itself.
    """

    path: Path
    boxes: BoxColumns
    names: list[str] = field(default_factory=list)
    image_ids: list[int] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    categories: list[tuple[int, str]] = field(default_factory=list)
    part: str = "annotations"


def read_records(
    path: Path,
    segmentations: IO[bytes],
    advance: Callable[[int, int], None],
    parts: Collection[str] = ("annotations", "categories", "images"),
) -> CocoRecords:
    """Read a COCO JSON (instances) of any size, its lists in any order.

    Args:
        path: The file.
        segmentations: A temporary file, which takes the segmentations.
        advance: Called with (bytes read, bytes in all) now and then.
        parts: The lists to read.

    Raises:
        AnnotationError: If it is no such file, or a field is missing or of another type than expected.
    """
    records, missing = CocoRecords(path, BoxColumns(segmentations)), set(parts)
    with JsonStream(path, advance) as stream:
        for key, value in stream.members(_DECODERS):
            if key not in missing:
                continue
            missing.discard(key)
            if not is_list(value):
                raise AnnotationError(path, f"expected a list, got {shorten(value)}", record=key)
            if key == "images":
                _read_images(records, value)
            elif key == "categories":
                _read_categories(records, value)
            else:
                _read_boxes(records.boxes, path, key, value, ANNOTATION_FIELDS)
    if missing:
        advice = "A COCO file of labelled images has 'images', 'annotations' and 'categories'."
        raise AnnotationError(path, f"the list {min(missing)!r} is missing", advice=advice)
    return records


def read_result_boxes(path: Path, segmentations: IO[bytes], advance: Callable[[int, int], None]) -> BoxColumns:
    """Read the boxes of a COCO results JSON: a list of image_id, category_id, bbox, score.

    Args:
        path: The file.
        segmentations: A temporary file, which takes the segmentations.
        advance: Called with (bytes read, bytes in all) now and then.

    Raises:
        AnnotationError: If it is no such list, or a field is missing or of another type than expected.
    """
    boxes = BoxColumns(segmentations)
    with JsonStream(path, advance) as stream:
        _read_boxes(boxes, path, "", stream.elements(_RESULT_DECODER), RESULT_FIELDS)
    return boxes


def read_categories(path: Path) -> list[tuple[int, str]]:
    """Return the (id, name) of each class that a COCO JSON names; none where it has no list of them.

    Raises:
        AnnotationError: If it is no such file.
    """
    return _read_part(path, "categories").categories


def read_images(path: Path) -> list[tuple[str, int]]:
    """Return the (file name, id) of each image of a COCO JSON; none where it has no list of them.

    Raises:
        AnnotationError: If it is no such file.
    """
    records = _read_part(path, "images")
    return list(zip(records.names, records.image_ids, strict=True))


def _read_part(path: Path, part: str) -> CocoRecords:
    """Read one list of a COCO JSON, if it is there, and no segmentation."""
    records = CocoRecords(path, BoxColumns(BytesIO()))
    read = _read_categories if part == "categories" else _read_images
    with JsonStream(path) as stream:
        for key, value in stream.members(_DECODERS):
            if key == part and is_list(value):
                read(records, value)
    return records


def _read_images(records: CocoRecords, elements: Iterator[Any]) -> None:
    for batch in checked(records.path, "images", elements, IMAGE_FIELDS):
        records.names += [record["file_name"] for record in batch]
        records.image_ids += [record["id"] for record in batch]
        records.sizes += [(record.get("width", 0), record.get("height", 0)) for record in batch]


def _read_categories(records: CocoRecords, elements: Iterator[Any]) -> None:
    for batch in checked(records.path, "categories", elements, CATEGORY_FIELDS):
        records.categories += [(record["id"], record["name"]) for record in batch]


def _read_boxes(boxes: BoxColumns, path: Path, part: str, elements: Iterator[Any], fields: tuple[Field, ...]) -> None:
    outlines: list[bytes] = []
    for batch in checked(path, part, _with_outlines(path, part, elements, outlines), fields):
        boxes.extend(batch, outlines)
        outlines.clear()


def _with_outlines(path: Path, part: str, elements: Iterator[Any], outlines: list[bytes]) -> Iterator[Any]:
    """Yield the elements without their segmentations, and append the JSON of each one's; nothing where it has none."""
    for number, element in enumerate(elements):
        segmentation = element.pop("segmentation", None) if type(element) is dict else None
        outlines.append(_outline_of(segmentation))
        if is_deep_json(outlines[-1]):
            raise AnnotationError(path, TOO_DEEP, record=f"{part}[{number}].segmentation")
        yield element


def _outline_of(segmentation: Any) -> bytes:
    """Return a segmentation as JSON, as it stands in the file where that is known; nothing where it says nothing."""
    if type(segmentation) is Raw:
        text = bytes(segmentation)
        if len(text) > _LONGEST_NOTHING:
            return text
        segmentation = json.loads(text)
    return json.dumps(segmentation, separators=(",", ":")).encode() if segmentation else b""
