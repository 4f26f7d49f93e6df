"""A tar archive of images without labels: each member is read at its offset, the archive is never unpacked."""

import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning_st.errors import AnnotationError
from lightning_st.index.names import IMAGE_EXTENSIONS, is_image_name, normal_name
from lightning_st.index.readers.sources import Sources
from lightning_st.index.writer import IndexWriter

logger = logging.getLogger(__name__)

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_REPORT_EVERY = 1000  # members


@dataclass(frozen=True, slots=True)
class TarMember:
    """An image in an archive: `length` bytes from `offset` on."""

    name: str
    offset: int
    length: int


def read_tar(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images of an archive, in its order.

    Raises:
        AnnotationError: If it cannot be read or holds no image, or the list does not fit.
    """
    members = list_members(sources)
    for position in sources.select([member.name for member in members]):
        member = members[position]
        writer.add(member.name, path=sources.images, offset=member.offset, length=member.length)


def list_members(sources: Sources) -> list[TarMember]:
    """Return the images of the archive `sources.images`: regular files, not hidden, with the extension of an image.

    Links and sparse files are left out with a warning: their bytes do not lie in one piece under their name.

    Raises:
        AnnotationError: If it is compressed, cut, no tar archive, or holds no image.
    """
    path = sources.images
    size = path.stat().st_size
    try:
        members = list(_members(path, size, sources))
    except tarfile.TarError as error:
        advice = "Images are read from a folder, or an uncompressed tar archive."
        raise AnnotationError(path, f"the tar archive cannot be read: {error}", advice=advice) from error
    if not members:
        tried = ", ".join(IMAGE_EXTENSIONS)
        raise AnnotationError(path, "the tar archive holds no image", advice=f"Looked for {tried}.")
    return members


def _members(path: Path, size: int, sources: Sources) -> Iterator[TarMember]:
    """Yield the images of an archive."""
    _refuse_compressed(path)
    with tarfile.open(path, "r:") as archive:
        count, left_out = 0, []
        while (member := archive.next()) is not None:
            count += 1
            if count % _REPORT_EVERY == 0:
                sources.advance(member.offset, size)
                archive.members = []  # type: ignore[attr-defined]  # it keeps every header otherwise: gigabytes
            name = normal_name(member.name)
            if not name or not is_image_name(name):
                continue
            if member.isreg() and not member.issparse():
                yield TarMember(name, member.offset_data, member.size)
            elif member.isreg() or member.issym() or member.islnk():
                left_out.append(name)
    if left_out:
        what = "left out, because they are links or sparse files"
        logger.warning("%s: %d images are %s, such as %s.", path, len(left_out), what, left_out[0])


def _refuse_compressed(path: Path) -> None:
    """Raise AnnotationError for a compressed archive: its members cannot be read at an offset."""
    with path.open("rb") as file:
        begin = file.read(8)
    for magic, kind in _COMPRESSED.items():
        if begin.startswith(magic):
            raise AnnotationError(path, f"the archive is compressed ({kind})", advice="Unpack it to a plain .tar.")
