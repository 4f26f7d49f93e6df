"""The fields of a COCO JSON's records: what each may hold, looked at for many records at once."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from lightning_st.errors import AnnotationError
from lightning_st.index.names import has_encoding

_LARGEST = 3e38  # that float32 holds
_BATCH = 512  # records


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a record has: its name, what is accepted, how to say that; and a quick way to look at many values.

    What `accepts_all` does not accept is looked at one by one: it may refuse a value that `accepts` accepts.
    """

    name: str
    accepts: Callable[[Any], bool]
    expected: str
    accepts_all: Callable[[list[Any]], bool]
    is_required: bool = True


def checked(
    path: Path, part: str, elements: Iterator[Any], fields: tuple[Field, ...]
) -> Iterator[list[dict[str, Any]]]:
    """Yield records, some hundreds at a time, whose fields are as they should be.

    Args:
        path: The file.
        part: The list that they stand in; empty where that is the file itself.
        elements: The elements of the list.
        fields: What each has.

    Raises:
        AnnotationError: At the first without a field that it needs, or with a value that is not accepted there.
    """
    number = 0
    while True:
        batch: list[Any] = []
        try:
            for element in islice(elements, _BATCH):
                batch.append(element)  # noqa: PERF402 - what was read before an error is wanted
        finally:  # a record that is wrong comes before JSON that is none after it
            if batch and not _are_plain(batch, fields):
                for place, record in enumerate(batch, number):
                    _check(path, part, place, record, fields)
        if not batch:
            return
        yield batch
        number += len(batch)


def shorten(value: Any) -> str:
    """Return a value for a message, on one line of at most 60 characters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _are_plain(batch: list[Any], fields: tuple[Field, ...]) -> bool:
    """Say whether records are as they should be; False says that they must be looked at one by one."""
    if set(map(type, batch)) != {dict}:
        return False
    for field in fields:
        values = [record[field.name] for record in batch if field.name in record]
        if (field.is_required and len(values) < len(batch)) or not field.accepts_all(values):
            return False
    return True


def _check(path: Path, part: str, number: int, record: Any, fields: tuple[Field, ...]) -> None:
    """Refuse a record without a field that it needs, or with a value that is not accepted there."""
    if type(record) is not dict:
        raise AnnotationError(path, f"expected an object, got {shorten(record)}", record=f"{part}[{number}]")
    for field in fields:
        if field.name in record:
            if not field.accepts(record[field.name]):
                problem = f"expected {field.expected}, got {shorten(record[field.name])}"
                raise AnnotationError(path, problem, record=f"{part}[{number}].{field.name}")
        elif field.is_required:
            problem = f"the field {field.name!r} is missing"
            raise AnnotationError(path, problem, record=f"{part}[{number}]", advice=f"It is {field.expected}.")


def _is_integer(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63


def _are_integers(values: list[Any]) -> bool:
    return set(map(type, values)) <= {int} and (not values or -(2**63) <= min(values) <= max(values) < 2**63)


def _is_number(value: Any) -> bool:
    return type(value) is float or _is_integer(value)


def _are_numbers(values: list[Any]) -> bool:
    if set(map(type, values)) <= {float}:
        return True
    return all(map(_is_number, values))


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _are_sizes(values: list[Any]) -> bool:
    return _are_integers(values) and (not values or 0 < min(values) <= max(values) < 2**31)


def _is_area(value: Any) -> bool:
    return _is_number(value) and not (value < 0 or value > _LARGEST)  # NaN stands for nothing said


def _are_areas(values: list[Any]) -> bool:
    if not _are_numbers(values):
        return False
    areas = np.array(values, np.float64)
    return not ((areas < 0) | (areas > _LARGEST)).any()


def _is_score(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _are_scores(values: list[Any]) -> bool:
    if not _are_numbers(values):
        return False
    scores = np.array(values, np.float64)
    return bool(((scores >= 0) & (scores <= 1)).all())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _are_texts(values: list[Any]) -> bool:
    return all(map(_is_text, values))


def _is_name(value: Any) -> bool:
    return _is_text(value) and has_encoding(value)


def _are_names(values: list[Any]) -> bool:
    return all(map(_is_name, values))


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


def _are_boxes(values: list[Any]) -> bool:
    if not (set(map(type, values)) <= {list} and set(map(len, values)) <= {4}):
        return False
    return _are_numbers(list(chain.from_iterable(values)))


def _is_flag(value: Any) -> bool:
    return value in (0, 1)


def _are_flags(values: list[Any]) -> bool:
    return values.count(0) + values.count(1) == len(values)


IMAGE_FIELDS = (
    Field("id", _is_integer, "an integer", _are_integers),
    Field("file_name", _is_text, "a file name", _are_texts),
    Field("width", _is_size, "a positive integer", _are_sizes, is_required=False),
    Field("height", _is_size, "a positive integer", _are_sizes, is_required=False),
)
CATEGORY_FIELDS = (
    Field("id", _is_integer, "an integer", _are_integers),
    Field("name", _is_name, "a name", _are_names),
)
ANNOTATION_FIELDS = (
    Field("image_id", _is_integer, "an integer", _are_integers),
    Field("category_id", _is_integer, "an integer", _are_integers),
    Field("bbox", _is_box, "four numbers [left, top, width, height]", _are_boxes),
    Field("area", _is_area, "a number of square pixels", _are_areas, is_required=False),
    Field("iscrowd", _is_flag, "0 or 1", _are_flags, is_required=False),
    Field("score", _is_score, "a number from 0 to 1", _are_scores, is_required=False),
)
RESULT_FIELDS = (
    *ANNOTATION_FIELDS[:3],
    Field("score", _is_score, "a number from 0 to 1", _are_scores),
)
