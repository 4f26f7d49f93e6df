"""The rows of the CSV files of Open Images, streamed and grouped by image."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import TextIOWrapper
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from lightning_st.errors import AnnotationError, quoted

_REPORT_EVERY = 1000  # images

Row = Sequence[str]


def stream_images(
    path: Path, columns: Sequence[str], advance: Callable[[int, int], None]
) -> Iterator[tuple[str, int, Iterator[Row]]]:
    """Yield for each run of rows of one image: its ImageID, the number of the line, and the rows.

    The lines count from 1, the header's. What the caller does not take of the rows is read over.

    Args:
        path: The CSV, with a header line.
        columns: The fields that the rows shall have, in this order.
        advance: Called with (bytes read, bytes in all) now and then.

    Raises:
        AnnotationError: If it cannot be read, a column is missing, or a line has too few fields.
    """
    size = path.stat().st_size
    with path.open("rb") as binary, TextIOWrapper(binary, encoding="utf-8-sig", newline="") as text:
        lines = _Lines(path, text)
        take, image_column = _taker(path, lines.header, columns), lines.header.index("ImageID")
        for number, (image_id, rows) in enumerate(groupby(lines, itemgetter(image_column))):
            if number % _REPORT_EVERY == 0:
                advance(binary.tell(), size)
            yield image_id, lines.number, map(take, rows)


class _Lines:
    """The lines of a CSV as rows of as many fields as the header has, or more; empty lines are left out."""

    def __init__(self, path: Path, text: Iterable[str]) -> None:
        self._path = path
        self._reader = csv.reader(text)
        self.header = self._next() or []

    @property
    def number(self) -> int:
        """Of the line that was read last, counted from 1."""
        return self._reader.line_num

    def __iter__(self) -> Iterator[list[str]]:
        """Yield the rows behind the header."""
        width = len(self.header)
        while (row := self._next()) is not None:
            if len(row) >= width:
                yield row
            elif row:
                problem = f"the line has {len(row)} fields, the header has {width}"
                raise AnnotationError(self._path, problem, record=f"line {self.number}")

    def _next(self) -> list[str] | None:
        try:
            return next(self._reader, None)
        except UnicodeDecodeError as error:
            raise AnnotationError(self._path, f"not UTF-8: {error.reason}", record=f"line {self.number + 1}") from error
        except csv.Error as error:
            raise AnnotationError(self._path, f"no valid CSV: {error}", record=f"line {self.number + 1}") from error


def read_number(path: Path, line: int, name: str, text: str) -> float:
    """Return a field as a number.

    Raises:
        AnnotationError: If it is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise AnnotationError(path, f"expected a number, got {quoted(text)}", record=f"line {line}: {name}") from error


def _taker(path: Path, header: list[str], columns: Sequence[str]) -> Callable[[Row], Row]:
    """Return a function that takes the wanted fields of a row."""
    for name in ("ImageID", *columns):
        if name not in header:
            shown = quoted(header) if header else "none: it is empty"
            raise AnnotationError(path, f"the column {name!r} is missing", record="line 1", advice=f"It has {shown}.")
    return itemgetter(*(header.index(name) for name in columns))
