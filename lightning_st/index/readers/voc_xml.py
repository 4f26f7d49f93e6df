"""One XML file of PASCAL VOC, and of the many tools that write alike."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from lightning_st.errors import AnnotationError, quoted

MOST_BYTES = 1 << 26
"""Of an XML file, whose elements take many times as much memory."""

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class VocImage:
    """What one XML says.

    Attributes:
        size: (width, height) in pixels.
        database: Whose annotation it says to be, such as "The VOC2007 Database"; may be empty.
        names: The class of each object.
        corners: (xmin, ymin, xmax, ymax) of each, as written.
        difficult: Whether each is marked as difficult.
    """

    size: tuple[int, int]
    database: str
    names: list[str] = field(default_factory=list)
    corners: list[tuple[float, ...]] = field(default_factory=list)
    difficult: list[bool] = field(default_factory=list)


def read_xml(path: Path) -> VocImage:
    """Read one XML.

    Raises:
        AnnotationError: If it is no XML, or a field is missing or of another type than expected; objects count from 0.
    """
    root = _parse(path)
    size = root.find("size")
    if size is None:
        raise AnnotationError(path, "the field 'size' is missing", advice="It holds width and height in pixels.")
    image = VocImage((_read_side(path, size, "width"), _read_side(path, size, "height")), _database(root))
    for number, element in enumerate(root.findall("object")):
        record = f"object[{number}]"
        image.names.append(_read_name(path, element, record))
        image.corners.append(_read_corners(path, element, record))
        image.difficult.append((element.findtext("difficult") or "0").strip() == "1")
    return image


def read_names(path: Path) -> Iterator[str]:
    """Yield the classes of the objects of one XML.

    Raises:
        AnnotationError: If it is no XML, or an object has no name.
    """
    for number, element in enumerate(_parse(path).findall("object")):
        yield _read_name(path, element, f"object[{number}]")


def _parse(path: Path) -> ElementTree.Element:
    try:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise AnnotationError(
                path, f"the file has {size} bytes, more than {MOST_BYTES}, which no XML of one image has"
            )
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        raise AnnotationError(path, f"the file cannot be opened: {error.strerror}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last of an unknown encoding
        raise AnnotationError(path, f"no valid XML: {error}") from error
    if root.tag != "annotation":
        raise AnnotationError(path, f"expected an element 'annotation', found {quoted(root.tag)}")
    return root


def _database(root: ElementTree.Element) -> str:
    return (root.findtext("source/database") or "").strip()


def _read_side(path: Path, size: ElementTree.Element, name: str) -> int:
    """Read the width or the height."""
    text = size.findtext(name)
    if text is None:
        raise AnnotationError(path, f"the field {name!r} is missing", record="size")
    try:
        side = int(float(text))
    except (ValueError, OverflowError):
        side = 0
    if not 0 < side < 2**31:
        raise AnnotationError(path, f"expected a positive integer, got {quoted(text)}", record=f"size.{name}")
    return side


def _read_name(path: Path, element: ElementTree.Element, record: str) -> str:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise AnnotationError(path, "the field 'name' is missing", record=record, advice="It is the name of a class.")
    return name


def _read_corners(path: Path, element: ElementTree.Element, record: str) -> tuple[float, ...]:
    box = element.find("bndbox")
    if box is None:
        advice = f"It holds {', '.join(_CORNERS)}."
        raise AnnotationError(path, "the field 'bndbox' is missing", record=record, advice=advice)
    return tuple(_read_corner(path, box, f"{record}.bndbox", name) for name in _CORNERS)


def _read_corner(path: Path, box: ElementTree.Element, record: str, name: str) -> float:
    text = box.findtext(name)
    if text is None:
        raise AnnotationError(path, f"the field {name!r} is missing", record=record)
    try:
        return float(text)  # VOC 2011 has fractions
    except ValueError as error:
        raise AnnotationError(path, f"expected a number, got {quoted(text)}", record=f"{record}.{name}") from error
