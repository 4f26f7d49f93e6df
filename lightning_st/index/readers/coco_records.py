"""The records of a COCO JSON, checked field by field and kept as columns: no Python object is kept of a box."""

import json
import math
import mmap
import re
from array import array
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from lightning_st.errors import AnnotationError
from lightning_st.index.json_stream import JsonStream, is_list
from lightning_st.index.names import has_encoding

# A list of numbers and lists, as polygons are: what follows it in a record that the JSON scanner has accepted begins
# with a quote or a brace, so the last bracket of the run is the one that closes it, unless it holds a null or NaN.
_POLYGONS = re.compile(r'"segmentation"[ \t\n\r]*:[ \t\n\r]*(\[[0-9 \t\n\r.,eE+\-\[\]]*\])')


_LARGEST = 3e38  # that float32 holds


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a record has: its name, what is accepted, and how to say that."""

    name: str
    accepts: Callable[[Any], bool]
    expected: str
    is_required: bool = True


def _is_integer(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return type(value) is float or _is_integer(value)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_area(value: Any) -> bool:
    return _is_number(value) and not (value < 0 or value > _LARGEST)  # NaN stands for nothing said


def _is_score(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_name(value: Any) -> bool:
    return _is_text(value) and has_encoding(value)


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


IMAGE_FIELDS = (
    Field("id", _is_integer, "an integer"),
    Field("file_name", _is_text, "a file name"),
    Field("width", _is_size, "a positive integer", is_required=False),
    Field("height", _is_size, "a positive integer", is_required=False),
)
CATEGORY_FIELDS = (Field("id", _is_integer, "an integer"), Field("name", _is_name, "a name"))
ANNOTATION_FIELDS = (
    Field("image_id", _is_integer, "an integer"),
    Field("category_id", _is_integer, "an integer"),
    Field("bbox", _is_box, "four numbers [left, top, width, height]"),
    Field("area", _is_area, "a number of square pixels", is_required=False),
    Field("iscrowd", lambda value: value in (0, 1), "0 or 1", is_required=False),
    Field("score", _is_score, "a number from 0 to 1", is_required=False),
)
RESULT_FIELDS = (
    *ANNOTATION_FIELDS[:3],
    Field("score", _is_score, "a number from 0 to 1"),
)


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

    def append(self, record: dict[str, Any], segmentation: bytes) -> None:
        """Append one annotation whose fields have been checked."""
        left, top, width, height = record["bbox"]
        self.image_ids.append(record["image_id"])
        self.category_ids.append(record["category_id"])
        self.corners.extend((left, top, left + width, top + height))
        self.areas.append(record.get("area", math.nan))
        self.scores.append(record.get("score", math.nan))
        self.crowd.append(int(record.get("iscrowd", 0)))
        self.has_scores |= "score" in record
        start = self.segmentation_ends[-1] if self.segmentation_ends else 0
        self.segmentation_ends.append(start + self.segmentations.write(segmentation))

    @cached_property
    def _segmentation_pages(self) -> mmap.mmap | bytes:
        """The segmentations, when all have been written."""
        self.segmentations.flush()
        is_empty = self.segmentations.seek(0, 2) == 0
        return b"" if is_empty else mmap.mmap(self.segmentations.fileno(), 0, access=mmap.ACCESS_READ)

    def segmentation(self, number: int) -> bytes:
        """Return the JSON of the segmentation of annotation `number`, when all are there; empty where it has none."""
        start = self.segmentation_ends[number - 1] if number else 0
        return self._segmentation_pages[start : self.segmentation_ends[number]]


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
        for key, value in stream.members():
            if key not in missing:
                continue
            missing.discard(key)
            if not is_list(value):
                raise AnnotationError(path, f"expected a list, got {_shorten(value)}", record=key)
            if key == "images":
                _read_images(records, value)
            elif key == "categories":
                _read_categories(records, value)
            else:
                _read_annotations(records, value, stream)
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
        for number, record in enumerate(stream.elements()):
            _check(path, "", number, record, RESULT_FIELDS)
            boxes.append(record, _segmentation_text(record.get("segmentation"), stream))
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
        for key, value in stream.members():
            if key == part and is_list(value):
                read(records, value)
    return records


def _read_images(records: CocoRecords, elements: Iterator[Any]) -> None:
    for number, record in enumerate(elements):
        _check(records.path, "images", number, record, IMAGE_FIELDS)
        records.names.append(record["file_name"])
        records.image_ids.append(record["id"])
        records.sizes.append((record.get("width", 0), record.get("height", 0)))


def _read_categories(records: CocoRecords, elements: Iterator[Any]) -> None:
    for number, record in enumerate(elements):
        _check(records.path, "categories", number, record, CATEGORY_FIELDS)
        records.categories.append((record["id"], record["name"]))


def _read_annotations(records: CocoRecords, elements: Iterator[Any], stream: JsonStream) -> None:
    for number, record in enumerate(elements):
        _check(records.path, "annotations", number, record, ANNOTATION_FIELDS)
        records.boxes.append(record, _segmentation_text(record.get("segmentation"), stream))


def _segmentation_text(segmentation: Any, stream: JsonStream) -> bytes:
    """Return a segmentation as JSON; polygons as they stand there: writing them anew takes longer than reading them."""
    if not segmentation:
        return b""
    is_alone = stream.text.count('"segmentation"', stream.start, stream.end) == 1
    found = _POLYGONS.search(stream.text, stream.start, stream.end) if is_alone else None
    is_whole = found is not None and found[1].count("[") == found[1].count("]")
    return (found[1] if found and is_whole else json.dumps(segmentation, separators=(",", ":"))).encode()


def _check(path: Path, part: str, number: int, record: Any, fields: tuple[Field, ...]) -> None:
    """Refuse a record without a field that it needs, or with a value that is not accepted there."""
    if type(record) is not dict:
        raise AnnotationError(path, f"expected an object, got {_shorten(record)}", record=f"{part}[{number}]")
    for expected in fields:
        if expected.name in record:
            if not expected.accepts(record[expected.name]):
                problem = f"expected {expected.expected}, got {_shorten(record[expected.name])}"
                raise AnnotationError(path, problem, record=f"{part}[{number}].{expected.name}")
        elif expected.is_required:
            problem = f"the field {expected.name!r} is missing"
            raise AnnotationError(path, problem, record=f"{part}[{number}]", advice=f"It is {expected.expected}.")


def _shorten(value: Any) -> str:
    """Return a value for a message, on one line of at most 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
