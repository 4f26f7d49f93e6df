"""JSON files larger than memory: the members of one object, and the elements of its lists, one by one.

The scanner of the standard library reads each element from a window of the text, in the memory of a few megabytes. Of
records of which few fields are wanted, msgspec reads hundreds at once, in a fifth of the time; what it refuses the
scanner reads after all, one by one: so what is wrong is said in the same words. Only how deep a field is that nobody
wants may go unseen.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import TextIOWrapper
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict

from msgspec import DecodeError
from msgspec.json import Decoder

from lightning_st.errors import AnnotationError

WINDOW = 1 << 20  # characters
_MANY = 1 << 18  # characters of records that are read at once
_AFTER_REFUSAL = 512  # elements that are read one by one, before many are tried again
_SPACE = re.compile(r"[ \t\n\r]*")
_NEXT = re.compile(r"[ \t\n\r]*(?:,[ \t\n\r]*\{|\])")  # what follows an object in a list of objects
_LONGEST_VALUE = 1 << 26
"""Characters of one element of a list, or one value of the file: all that is in memory at once."""
_DEEPEST = 100
"""Lists and objects in one another that are read: a COCO file has five."""
_LONGEST_TOKEN = 16  # characters, strings aside: how near to its end a window can mislead the scanner


RecordDecoder = Decoder[list[dict[str, Any]]]


def decoder_of(**fields: Any) -> RecordDecoder:
    """Return what reads records of which only `fields` are wanted; none need be there.

    Args:
        fields: The type of each: `Any`, or `msgspec.Raw` for its JSON as it stands there.
    """
    return Decoder(list[TypedDict("Record", fields, total=False)])  # type: ignore[misc, operator]


class JsonStream:
    """Reads one JSON file from front to back."""

    def __init__(self, path: Path, advance: Callable[[int, int], None] | None = None) -> None:
        """Open `path`.

        Args:
            path: The file, UTF-8.
            advance: Called with (bytes read, bytes in all) now and then.

        Raises:
            AnnotationError: If it cannot be opened.
        """
        self.path = path
        self.text, self.end = "", 0  # the window, and what has been read of it
        self._advance = advance
        self._lines_before = self._columns_before = 0
        self._scan = json.JSONDecoder().raw_decode
        try:
            self._bytes = path.open("rb")
            self._size = path.stat().st_size
        except OSError as error:
            raise AnnotationError(path, f"the file cannot be opened: {error.strerror}") from error
        self._file = TextIOWrapper(self._bytes, encoding="utf-8-sig", newline="")

    def __enter__(self) -> "JsonStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()

    def members(self, decoders: Mapping[str, RecordDecoder] | None = None) -> Iterator[tuple[str, Any]]:
        """Yield each key of the file's object with its value; a list as an iterator of its elements.

        What the caller does not take of a list is read over. `is_list` tells a list from another value.

        Args:
            decoders: What reads the records of a list, by its key. It need not take all: an element can come with all
                its fields, and Python's values instead of a `Raw`.

        Raises:
            AnnotationError: If the file is cut, no JSON, or no object.
        """
        if self._peek() != "{":
            is_results = self._peek() == "["
            found = "a list" if is_results else f"{self._peek()!r}" if self._peek() else "nothing"
            advice = "Detection results are no annotations: give them as data.pseudo_labels." if is_results else ""
            raise AnnotationError(self.path, f"expected a JSON object, found {found}", advice=advice)
        self.end += 1
        separator = self._take("}") if self._peek() == "}" else ","
        while separator == ",":
            key = self._string()
            self._take(":")
            if self._peek() == "[":
                elements = self._elements((decoders or {}).get(key))
                yield key, elements
                for _ in elements:
                    pass
            else:
                yield key, self.value()
            separator = self._take(",}")
        if self._peek():
            raise self._error("more text after the end of the object; JSON lines are not read")

    def elements(self, decoder: RecordDecoder | None = None) -> Iterator[Any]:
        """Yield the elements of a file that is one list; `decoder` as in `members`.

        Raises:
            AnnotationError: If the file is cut, no JSON, or no list.
        """
        if self._peek() != "[":
            found = "an object" if self._peek() == "{" else f"{self._peek()!r}" if self._peek() else "nothing"
            raise AnnotationError(self.path, f"expected a JSON list, found {found}")
        yield from self._elements(decoder)
        if self._peek():
            raise self._error("more text after the end of the list")

    def value(self) -> Any:
        """Read one value."""
        self._peek()
        while True:
            try:
                value, end = self._scan(self.text, self.end)
            except json.JSONDecodeError as error:
                if self._may_be_cut(error) and self._fill():
                    continue
                raise self._error(error.msg, len(self.text) if _is_unterminated(error) else error.pos) from error
            except RecursionError as error:
                raise self._error(TOO_DEEP) from error
            except ValueError as error:  # an integer of thousands of digits
                raise self._error(str(error).partition(";")[0]) from error
            if end >= len(self.text) - _LONGEST_TOKEN and self._fill():  # a number could go on
                continue
            if self._may_be_deep(end) and _is_deep(value):
                raise self._error(TOO_DEEP)
            self.end = end
            return value

    def _string(self) -> str:
        """Read a key."""
        if self._peek() != '"':
            raise self._error("expected a key in double quotes")
        key: str = self.value()
        return key

    def _elements(self, decoder: RecordDecoder | None) -> Iterator[Any]:
        """Read a list, many elements at once where the decoder takes them, else one by one."""
        self._take("[")
        separator = self._take("]") if self._peek() == "]" else ","
        one_by_one = 0
        while separator == ",":
            many = [] if decoder is None or one_by_one else self._many(decoder)
            if many:
                yield from many
            else:
                one_by_one = (one_by_one or _AFTER_REFUSAL) - 1
                yield self.value()
            separator = self._take(",]")

    def _many(self, decoder: RecordDecoder) -> list[dict[str, Any]]:
        """Read the records that end within the next part of the window; none where the decoder refuses them.

        The part ends with a bracket that could end a record. If it ends something within one, or the whole list did
        before, the part is no list, and refused.
        """
        if len(self.text) - self.end < _MANY:
            self._fill()
        self._peek()
        end = self.end + _MANY
        while (end := self.text.rfind("}", self.end, end)) >= 0 and not _NEXT.match(self.text, end + 1):
            pass
        if end < 0:
            return []
        try:
            records = decoder.decode(f"[{self.text[self.end : end + 1]}]")
        except (DecodeError, RecursionError):
            return []
        self.end = end + 1
        return records

    def _take(self, allowed: str) -> str:
        """Read one of the characters of `allowed`."""
        found = self._peek()
        if not found or found not in allowed:
            raise self._error(f"expected {' or '.join(repr(character) for character in allowed)}")
        self.end += 1
        return found

    def _peek(self) -> str:
        """Return the next character that is no white space, without reading it; an empty string at the end."""
        while True:
            space = _SPACE.match(self.text, self.end)
            self.end = space.end() if space else self.end
            if self.end < len(self.text):
                return self.text[self.end]
            if not self._fill():
                return ""

    def _fill(self) -> bool:
        """Drop what has been read from the window, and read on, as much as is left or more; False at the file's end."""
        if len(self.text) - self.end > _LONGEST_VALUE:
            raise self._error(f"a value is longer than {_LONGEST_VALUE:,} characters")
        try:
            more = self._file.read(max(WINDOW, len(self.text) - self.end))
        except UnicodeDecodeError as error:
            problem = f"the file is not UTF-8: {error.reason}"
            raise AnnotationError(self.path, problem, advice="Save it in UTF-8.") from error
        if not more:
            return False
        self._lines_before, self._columns_before = self._place(self.end)
        self.text, self.end = self.text[self.end :] + more, 0
        if self._advance:
            self._advance(self._bytes.tell(), self._size)
        return True

    def _may_be_deep(self, end: int) -> bool:
        """Say whether a value that ends there has enough brackets to be deep; searching is cheaper than counting."""
        text, start = self.text, self.end
        objects = 1 if text.find("{", start + 1, end) < 0 else text.count("{", start, end)
        return text.count("[", start, end) + objects > _DEEPEST

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        """Say whether more text may mend an error: it is near the end of the window, or a string has no end in it."""
        return _is_unterminated(error) or error.pos >= len(self.text) - _LONGEST_TOKEN

    def _place(self, position: int) -> tuple[int, int]:
        """Return how many whole lines, and characters of the line then begun, come before a position of the window."""
        lines = self.text.count("\n", 0, position)
        columns = position - self.text.rfind("\n", 0, position) - 1 if lines else self._columns_before + position
        return self._lines_before + lines, columns

    def _error(self, problem: str, position: int | None = None) -> AnnotationError:
        """Build the refusal of what stands at a position of the window."""
        position = self.end if position is None else position
        if position >= len(self.text):
            problem = "the file ends in the middle of the JSON"
        line, column = self._place(position)
        return AnnotationError(self.path, f"no valid JSON: {problem}", record=f"line {line + 1} column {column + 1}")


TOO_DEEP = f"lists and objects stand in one another more than {_DEEPEST} deep"


def _is_deep(value: Any) -> bool:
    """Say whether lists and objects stand in one another more than `_DEEPEST` deep."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [inner for each in level if isinstance(each, list | dict) for inner in _inside(each)]
        if not level:
            return False
    return any(isinstance(each, list | dict) for each in level)


def _inside(value: list[Any] | dict[str, Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _is_unterminated(error: json.JSONDecodeError) -> bool:
    return error.msg.startswith("Unterminated string")


def is_deep_json(text: bytes) -> bool:
    """Say whether lists and objects stand in one another deeper in valid JSON than is read."""
    if text.count(b"[") + text.count(b"{") <= _DEEPEST:
        return False
    try:
        return _is_deep(json.loads(text))
    except RecursionError:
        return True


def is_list(value: Any) -> bool:
    """Say whether a value that `JsonStream.members` yielded is a list."""
    return isinstance(value, Iterator)
