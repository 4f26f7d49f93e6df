"""YOLO text files: one an image, a line a box: class index, centre x, centre y, width, height in fractions."""

import math
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lightning_st.errors import AnnotationError, quoted
from lightning_st.index.readers.boxes import RawBoxes, add_measured_image
from lightning_st.index.readers.class_files import read_text
from lightning_st.index.readers.places import ImagePlaces
from lightning_st.index.readers.sources import Sources
from lightning_st.index.readers.yolo_names import label_path, names_file, read_names
from lightning_st.index.writer import IndexWriter

_FIELDS = ("the class index", "centre x", "centre y", "width", "height", "score")
_ROUNDING = 0.01  # what a number may lie outside 0-1: the box is clipped then, and counted
_REPORT_EVERY = 1000  # images


def read_yolo(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images of a folder, sorted by name; one without label file, or with an empty one, has no box.

    Raises:
        AnnotationError: If a file, a line or a number is not as it should be, or no image has a label file.
    """
    names = read_names(names_file(sources))
    writer.set_classes(names)
    places = ImagePlaces(sources)
    wanted = places.is_wanted.nonzero()[0].tolist()
    paths = [_label_file(sources, places.names[position]) for position in wanted]
    labeled = 0
    for number, (position, path) in enumerate(zip(wanted, paths, strict=True)):
        if number % _REPORT_EVERY == 0:
            sources.advance(number, len(wanted))
        is_there = os.path.isfile(path)
        labeled += is_there
        raw = read_labels(Path(path), len(names)) if is_there else RawBoxes([], [])
        add_measured_image(
            writer, places, position, raw, partial("{}: line {}".format, os.path.basename(path)), is_scaled=True
        )
    if not labeled:
        problem = f"none of its {len(wanted)} images has a label file, such as {paths[0]}"
        raise AnnotationError(sources.images, problem, advice="An image without boxes needs none; all cannot do so.")


def label_files(sources: Sources) -> Iterator[str]:
    """Yield where the labels of each image in the folder would be."""
    return (_label_file(sources, name) for name in sources.listing)


def read_labels(path: Path, class_count: int) -> RawBoxes:
    """Read the boxes of one image, in fractions of its sides; a sixth number is a score, a polygon becomes its box.

    Raises:
        AnnotationError: If a line has another count of numbers, no numbers, a class index above the list, or numbers
            outside 0-1.
    """
    corners, labels, scores, lines = [], [], [], []
    for line, text in enumerate(read_text(path).splitlines(), 1):
        words = text.split()
        if not words:
            continue
        numbers = _read_numbers(path, line, words)
        labels.append(_read_class(path, line, words[0], numbers[0], class_count))
        corners.append(_box_of(numbers[1:]))
        scores.append(numbers[5] if len(numbers) == 6 else 1.0)
        lines.append(line)
    has_scores = any(score != 1 for score in scores)
    return RawBoxes(corners, labels, scores=scores if has_scores else None, numbers=lines)


def _label_file(sources: Sources, name: str) -> str:
    folder = sources.annotations
    if folder is not None and folder.is_dir():
        return f"{folder}/{os.path.splitext(name)[0]}.txt"
    return label_path(f"{sources.images}/{name}")


def _read_numbers(path: Path, line: int, words: list[str]) -> list[float]:
    count = len(words)
    is_polygon = count >= 7 and count % 2 == 1
    if count not in (5, 6) and not is_polygon:
        advice = "A line has a class index, centre x, centre y, width, height; or a class index and a polygon."
        raise AnnotationError(path, f"expected 5 numbers, got {count}", record=f"line {line}", advice=advice)
    numbers = []
    for place, word in enumerate(words):
        name = "a point" if is_polygon and place else _FIELDS[place]
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        is_fraction = -_ROUNDING <= number <= 1 + _ROUNDING
        if math.isnan(number) or (place and not is_fraction):
            raise AnnotationError(
                path, f"expected a number from 0 to 1, got {quoted(word)}", record=f"line {line}: {name}"
            )
        numbers.append(number)
    return numbers


def _read_class(path: Path, line: int, word: str, number: float, class_count: int) -> int:
    if not number.is_integer() or not 0 <= number < class_count:
        problem = f"expected an integer from 0 to {class_count - 1}, got {quoted(word)}"
        advice = f"The file of the class names has {class_count}."
        raise AnnotationError(path, problem, record=f"line {line}: the class index", advice=advice)
    return int(number)


def _box_of(numbers: list[float]) -> list[float]:
    """Return xyxy of a centre with its size, or of a polygon's points."""
    if len(numbers) > 5:
        return [min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])]
    x, y, width, height = numbers[:4]
    return [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
