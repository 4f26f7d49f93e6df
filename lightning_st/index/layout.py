"""How an index lies in its file: a prefix, a JSON header, and raw columns that are mapped, not read.

    prefix      magic, schema version, CRC-32 and length of the header       24 bytes
    header      JSON: classes, fingerprint, source, problems, and for each column its dtype, shape and place
    columns     little-endian arrays, each at a multiple of 64 bytes

Places are counted from the first multiple of 64 after the header, so the header's own length does not enter into them.
Nothing is pickled: a file from a stranger can be wrong, but cannot run.
"""

import json
import mmap
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import IndexFileError

MAGIC = b"LST-INDX"
SCHEMA_VERSION = 2
ALIGNMENT = 64
PREFIX = struct.Struct("<8sIIQ")

# One record an image and one a box, as the writer collects them. In the file every field is a column of its own, named
# alike. The fields `*_offsets` hold where the record's share ends; their column begins with a 0 before the first end.
IMAGE_RECORD = np.dtype(
    [
        ("name_offsets", "<i8"),  # into `names`
        ("name_hashes", "<u8"),  # `hash_name`: finds a name among millions without making strings of them
        ("widths", "<i4"),  # pixels; 0 where the image has not been opened
        ("heights", "<i4"),
        ("image_ids", "<i8"),
        ("containers", "<i4"),  # which of the header's `containers` (folders and archives) holds the image
        ("offsets", "<i8"),  # of the first byte in the archive; 0 for a file
        ("lengths", "<i8"),  # bytes in the archive; -1 for a whole file
        ("box_offsets", "<i8"),  # into the columns of the boxes
        ("mask_offsets", "<i8"),  # into `masks`
    ]
)
BOX_RECORD = np.dtype(
    [
        ("boxes", "<f4", 4),  # xyxy, pixels
        ("labels", "<i4"),
        ("crowd", "?"),
        ("scores", "<f4"),
        ("areas", "<f4"),  # square pixels
        ("segmentation_offsets", "<i8"),  # into `segmentations`
    ],
    align=True,  # numpy is many times slower on fields that are not
)
BYTES = np.dtype("u1")
COLUMNS: dict[str, np.dtype[Any]] = {
    "names": BYTES,
    **{name: IMAGE_RECORD[name] for name in IMAGE_RECORD.names or ()},
    **{name: BOX_RECORD[name] for name in BOX_RECORD.names or ()},
    "segmentations": BYTES,
    "masks": BYTES,
}
_BYTE_COLUMNS = tuple(name for name, dtype in COLUMNS.items() if dtype is BYTES)
PLACING = frozenset({"name_hashes", "containers", "offsets", "lengths"})
"""Columns that say where an image lies and not what is known of it: they do not enter into the fingerprint."""


def align(size: int) -> int:
    """Return the first multiple of `ALIGNMENT` that is not below `size`.

    Example:
        >>> align(65)
        128
    """
    return -(-size // ALIGNMENT) * ALIGNMENT


def column_length(name: str, image_count: int, box_count: int, byte_counts: Mapping[str, int]) -> int:
    """Return how many entries the column `name` has; a column of offsets has one more than there are records."""
    if name in byte_counts:
        return byte_counts[name]
    count = image_count if name in (IMAGE_RECORD.names or ()) else box_count
    return count + name.endswith("_offsets")


def place_columns(image_count: int, box_count: int, byte_counts: Mapping[str, int]) -> tuple[dict[str, Any], int]:
    """Lay the columns one behind the other.

    Returns:
        For each column its dtype, shape and offset, as the header has them; and the bytes that all take together.
    """
    columns, end = {}, 0
    for name, dtype in COLUMNS.items():
        length = column_length(name, image_count, box_count, byte_counts)
        columns[name] = {"dtype": dtype.base.str, "shape": [length, *dtype.shape], "offset": end}
        end = align(end + length * dtype.itemsize)
    return columns, end


def encode_header(header: Mapping[str, Any]) -> bytes:
    """Return the prefix and the header, padded to where the columns begin."""
    text = json.dumps(header, ensure_ascii=True).encode()
    prefix = PREFIX.pack(MAGIC, SCHEMA_VERSION, zlib.crc32(text), len(text))
    return (prefix + text).ljust(align(len(prefix) + len(text)), b"\0")


def map_file(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Map an index file, read-only.

    Returns:
        The header, and the columns as views of the file's pages: nothing is read until it is looked at.

    Raises:
        IndexFileError: If there is no such file, or it is foreign, cut, damaged, or of another schema version.
    """
    try:
        with path.open("rb") as file:
            prefix = file.read(PREFIX.size)
            size = file.seek(0, 2)
            _check_prefix(path, prefix)
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise IndexFileError(f"{path}: the index cannot be opened: {error.strerror}.") from error
    header_end = PREFIX.size + PREFIX.unpack(prefix)[3]
    header = _decode_header(path, prefix, pages[PREFIX.size : min(header_end, size)])
    _check_header(path, header)
    start = align(header_end)
    if size != start + header["data_size"]:
        expected = start + header["data_size"]
        raise IndexFileError(f"{path}: the index has {size} bytes instead of {expected}: it is cut. Build it again.")
    columns = {
        name: np.ndarray(tuple(place["shape"]), place["dtype"], pages, start + place["offset"])
        for name, place in header["columns"].items()
    }
    return header, columns


def _check_prefix(path: Path, prefix: bytes) -> None:
    """Refuse what is no index, or one of another version."""
    if not prefix.startswith(MAGIC) or len(prefix) < PREFIX.size:
        raise IndexFileError(f"{path}: this is not an index of lightning_st: it does not begin with {MAGIC.decode()}.")
    version = PREFIX.unpack(prefix)[1]
    if version != SCHEMA_VERSION:
        message = f"has schema version {version}, this lightning_st reads version {SCHEMA_VERSION}. Build it again."
        raise IndexFileError(f"{path}: the index {message}")


def _decode_header(path: Path, prefix: bytes, text: bytes) -> dict[str, Any]:
    """Return the header; its checksum guards all that the places of the columns are taken from."""
    _, _, checksum, length = PREFIX.unpack(prefix)
    if len(text) != length or zlib.crc32(text) != checksum:
        raise IndexFileError(f"{path}: the header of the index is cut or damaged. Build it again.")
    try:
        header: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _foreign(path, "its header is no JSON") from error
    return header


def _foreign(path: Path, problem: str) -> IndexFileError:
    return IndexFileError(f"{path}: no index that lightning_st wrote: {problem}. Build it again.")


def _check_header(path: Path, header: Any) -> None:
    """Refuse a header that says what no writer says: another could name memory that is not the file's."""
    if not isinstance(header, dict):
        raise _foreign(path, "its header is no object")
    for key, is_such in _HEADER.items():
        if not is_such(header.get(key)):
            raise _foreign(path, f"{key!r} of its header is missing or of another kind")
    try:
        lengths = {name: header["columns"][name]["shape"][0] for name in COLUMNS}
    except (KeyError, TypeError, IndexError) as error:
        raise _foreign(path, "its header lacks a column") from error
    if not all(type(length) is int and length >= 0 for length in lengths.values()):
        raise _foreign(path, "a column has no length")
    byte_counts = {name: lengths[name] for name, dtype in COLUMNS.items() if dtype is BYTES}
    columns, data_size = place_columns(lengths["widths"], lengths["labels"], byte_counts)
    if (header["columns"], header["data_size"]) != (columns, data_size):
        raise _foreign(path, "its columns are of other kinds, or lie elsewhere")


def _is_list_of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(type(item) is kind for item in value)


def _is(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is kind


_HEADER: dict[str, Callable[[Any], bool]] = {
    **{key: _is_list_of(str) for key in ("classes", "containers")},
    "class_ids": _is_list_of(int),
    **{key: _is(str) for key in ("fingerprint", "root")},
    **{key: _is(bool) for key in ("is_labeled", "has_scores")},
    **{key: _is(dict) for key in ("source", "problems", "columns")},
    "data_size": _is(int),
}


def said_by(header: Mapping[str, Any]) -> bytes:
    """Return the part of the header that enters into the fingerprint, as bytes."""
    return json.dumps([header[key] for key in ("classes", "class_ids", "is_labeled")]).encode()


def column_said(name: str, place: Mapping[str, Any]) -> bytes:
    """Return what enters into the fingerprint before the bytes of a column: whose they are."""
    return json.dumps([name, place["dtype"], place["shape"]]).encode()


def rows_in_chunks(count: int, size: int = 1 << 16) -> Iterable[slice]:
    """Return slices that cover `range(count)` in pieces of at most `size`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
