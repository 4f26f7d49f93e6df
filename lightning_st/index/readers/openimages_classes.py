"""The classes of Open Images: their descriptions, which of them are wanted, and the hierarchy above them."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_st.errors import AnnotationError, quoted
from lightning_st.index.readers.class_files import parse_json, read_class_names, read_text, refuse_wrong_names
from lightning_st.index.readers.sources import Sources

_HEADERS = ("LabelName", "id", "MID")  # the files of V4 and V5 have no header line, those of V6 and V7 do


@dataclass(frozen=True, slots=True)
class OpenImagesClasses:
    """What becomes of the boxes of each class.

    Attributes:
        names: The classes of the index: their display names.
        labels: A label name, such as "/m/015p6", to the labels that a box of it gets: its own, and with a hierarchy
            those of the classes above it. Empty for a class that is known and not wanted.
        described_in: The files that say which label names there are.
    """

    names: list[str]
    labels: dict[str, tuple[int, ...]]
    described_in: str


def find_descriptions(annotations: Path) -> Path | None:
    """Return the class descriptions beside the boxes: those of the boxable classes before those of all 20,000."""
    for pattern in ("*class-descriptions-boxable*.csv", "*class-descriptions*.csv"):
        found = sorted(annotations.parent.glob(pattern))
        if found:
            return found[0]
    return None


def read_classes(sources: Sources) -> OpenImagesClasses:
    """Read the descriptions, and choose the wanted classes.

    Raises:
        AnnotationError: If there are no descriptions, a wanted class is not described, or the hierarchy is none.
    """
    options, beside = sources.options, find_descriptions(sources.label_path)
    described = {} if beside is None else read_descriptions(beside)
    files = [] if beside is None else [beside.name]
    wanted = described
    if options.classes is not None and _is_description(options.classes):
        wanted = read_descriptions(options.classes)
        described, files = described | wanted, [*files, options.classes.name]
    elif not described:
        advice = "Put class-descriptions-boxable.csv there, or name it as classes."
        raise AnnotationError(sources.label_path, "there are no class descriptions beside the file", advice=advice)
    elif options.classes is not None:
        wanted = _choose(options.classes, described, files[0])
    names = list(wanted.values())
    refuse_wrong_names(options.classes or beside or sources.label_path, names)
    own = {label_name: label for label, label_name in enumerate(wanted)}
    above = {} if options.hierarchy is None else read_hierarchy(options.hierarchy)
    labels = {
        label_name: tuple(own[name] for name in (label_name, *above.get(label_name, ())) if name in own)
        for label_name in (*described, *above)
    }
    return OpenImagesClasses(names, labels, " and ".join(files))


def read_descriptions(path: Path) -> dict[str, str]:
    """Read a class-description CSV: label name to display name, in its order.

    Raises:
        AnnotationError: If it cannot be read, a line has not two fields, or a label name stands there twice.
    """
    described: dict[str, str] = {}
    for line, row in enumerate(_rows(path), 1):
        if not row or (line == 1 and row[0] in _HEADERS):
            continue
        if len(row) < 2 or not row[0] or not row[1]:
            advice = "It is a label name and a display name, such as /m/015p6,Bird."
            raise AnnotationError(path, f"expected two fields, got {quoted(row)}", record=f"line {line}", advice=advice)
        if row[0] in described:
            raise AnnotationError(path, f"{quoted(row[0])} stands there twice", record=f"line {line}: LabelName")
        described[row[0]] = row[1]
    if not described:
        raise AnnotationError(path, "the file describes no class")
    return described


def _rows(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV."""
    rows = csv.reader(read_text(path).splitlines())
    try:
        yield from rows
    except csv.Error as error:
        raise AnnotationError(path, f"no valid CSV: {error}", record=f"line {rows.line_num}") from error


def read_hierarchy(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a class hierarchy, such as bbox_labels_600_hierarchy.json.

    Returns:
        The label names of each class to all those above it, without the root, which is no class. Parts of a class
        ("Part") are not below it: a wheel is no car.

    Raises:
        AnnotationError: If it is no hierarchy, or a class stands below itself.
    """
    root = parse_json(path, read_text(path))
    parents: dict[str, set[str]] = {}
    for child, parent in _links(path, root):
        parents.setdefault(child, set())
        if parent != root["LabelName"]:
            parents[child].add(parent)
    return {name: tuple(sorted(_all_above(path, name, parents))) for name in parents}


def _links(path: Path, root: Any) -> Iterator[tuple[str, str]]:
    """Yield each class with the class that it stands directly below."""
    nodes = [(root, "the root")]
    while nodes:
        node, where = nodes.pop()
        if not isinstance(node, dict) or not isinstance(node.get("LabelName"), str):
            raise AnnotationError(path, "the field 'LabelName' is missing", record=where)
        children = node.get("Subcategory", [])
        if not isinstance(children, list):
            raise AnnotationError(path, "expected a list", record=f"{quoted(node['LabelName'])}.Subcategory")
        for child in children:
            nodes.append((child, f"a class below {quoted(node['LabelName'])}"))
            if isinstance(child, dict) and isinstance(child.get("LabelName"), str):
                yield child["LabelName"], node["LabelName"]


def _all_above(path: Path, name: str, parents: dict[str, set[str]]) -> set[str]:
    """Return all classes above one; a class may have several parents."""
    above: set[str] = set()
    waiting = [name]
    while waiting:
        new = parents.get(waiting.pop(), set()) - above
        above |= new
        waiting += new
    if name in above:
        raise AnnotationError(
            path, f"the class {quoted(name)} stands below itself", advice="A hierarchy has no cycles."
        )
    return above


def _is_description(path: Path) -> bool:
    """Say whether a file of classes is a class-description CSV: its first line begins with a label name or a header."""
    first = read_text(path).partition("\n")[0]
    return "," in first and (first.startswith("/") or first.split(",")[0] in _HEADERS)


def _choose(path: Path, described: dict[str, str], description: str) -> dict[str, str]:
    """Return the descriptions of the classes that a file names, by display name or label name, in its order."""
    by_name = {display: label_name for label_name, display in described.items()}
    chosen = {}
    for name in read_class_names(path):
        label_name = name if name in described else by_name.get(name)
        if label_name is None:
            raise AnnotationError(path, f"the class {quoted(name)} is not described in {description}")
        chosen[label_name] = described[label_name]
    return chosen
