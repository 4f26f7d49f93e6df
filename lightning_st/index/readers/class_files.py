"""Files of class names."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_st.errors import AnnotationError, quoted
from lightning_st.index.names import has_encoding
from lightning_st.index.readers.sources import begins_json

MOST_BYTES = 1 << 28
"""Of a file that is read as a whole: names of classes, a YAML, the boxes of one image."""


def read_class_names(path: Path) -> list[str]:
    """Read a file of class names: a name a line, or a JSON list of them.

    Raises:
        AnnotationError: If it cannot be read, names nothing, or names a class twice.
    """
    text = read_text(path)
    names = _json_names(path, text) if begins_json(path) else [line.strip() for line in text.splitlines()]
    names = [name for name in names if name]
    if not names:
        raise AnnotationError(path, "the file names no class", advice="Write a name a line, or a JSON list of them.")
    refuse_wrong_names(path, names)
    return names


def read_text(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        AnnotationError: If it cannot be opened, or is not UTF-8.
    """
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise AnnotationError(
                path, f"the file has {size} bytes, more than {MOST_BYTES}, which none of its kind has"
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AnnotationError(path, f"the file cannot be opened: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationError(path, f"the file is not UTF-8: {error.reason}") from error


def parse_json(path: Path, text: str) -> Any:
    """Return what a small JSON file says.

    Raises:
        AnnotationError: If its text is no JSON.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise AnnotationError(path, "no valid JSON: lists and objects stand in one another too deep") from error
    except ValueError as error:
        raise AnnotationError(path, f"no valid JSON: {error}") from error


def refuse_wrong_names(path: Path, names: Sequence[str], record: str = "") -> None:
    """Raise AnnotationError where two classes have one name, or one has a name that no file can hold."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise AnnotationError(path, f"the class {quoted(name)} stands there twice", record)
        seen.add(name)
        if not has_encoding(name):
            raise AnnotationError(path, f"the class name {quoted(name)} is no text: half a character", record)


def _json_names(path: Path, text: str) -> list[str]:
    names = parse_json(path, text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise AnnotationError(path, "expected a list of class names", advice='Such as ["cat", "dog"].')
    return names
