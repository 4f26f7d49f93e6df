"""A tar archive of images without labels, or a tar of such tars: members are read at their offset, never unpacked."""

import errno
import logging
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning_st.errors import AnnotationError, quoted
from lightning_st.index.names import IMAGE_EXTENSIONS, is_image_name, normal_name
from lightning_st.index.picture_file import one_line
from lightning_st.index.readers.sources import Sources, ignore_progress
from lightning_st.index.writer import IndexWriter

logger = logging.getLogger(__name__)

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_REPORT_EVERY = 1000  # members
# The standard library reads as much as a header claims, and calls itself for each header upon a header.
_DAMAGED = (tarfile.TarError, OSError, OverflowError, MemoryError, RecursionError, ValueError, EOFError)


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
    members = stream_members(sources)
    if sources.list_file is not None:
        all_members = list(members)
        members = (all_members[position] for position in sources.select([member.name for member in all_members]))
    for member in members:
        writer.add(member.name, path=sources.images, offset=member.offset, length=member.length)


def list_members(sources: Sources) -> list[TarMember]:
    """Return what `stream_members` yields."""
    return list(stream_members(sources))


def stream_members(sources: Sources) -> Iterator[TarMember]:
    """Yield the images of the archive `sources.images`: regular files, not hidden, with the extension of an image.

    An archive in it counts as a folder of its name: so ILSVRC2012_img_train.tar, a tar of 1000 tars, says the same as
    the ImageFolder that it is unpacked to.

    Links and sparse files are left out with a warning: their bytes do not lie in one piece under their name.

    Raises:
        AnnotationError: If it is compressed, cut, no tar archive, or holds no image.
    """
    path = sources.images
    _refuse_compressed(path)
    is_empty = True
    try:
        with tarfile.open(path, "r:") as archive:
            for member in _images_in(archive, path, sources.advance):
                is_empty = False
                yield member
    except _DAMAGED as error:
        advice = "Images are read from a folder, or an uncompressed tar archive."
        raise AnnotationError(path, f"the tar archive cannot be read: {_reason(error)}", advice=advice) from error
    if is_empty:
        tried = ", ".join(IMAGE_EXTENSIONS)
        raise AnnotationError(path, "the tar archive holds no image", advice=f"Looked for {tried}.")


def _images_in(
    archive: tarfile.TarFile, path: Path, advance: Callable[[int, int], None], is_outer: bool = True
) -> Iterator[TarMember]:
    """Yield the images of an archive, and of the archives in it; offsets count from where this one begins."""
    size = path.stat().st_size
    for count, (name, member) in enumerate(_regular_files(archive, path)):
        if is_outer and count % _REPORT_EVERY == 0:
            advance(member.offset, size)
        if is_image_name(name):
            yield TarMember(name, member.offset_data, member.size)
        elif is_outer and name.endswith(".tar"):
            advance(member.offset, size)
            for image in _images_within(archive, member, path):
                inner = f"{name.removesuffix('.tar')}/{image.name}"
                yield TarMember(inner, member.offset_data + image.offset, image.length)


def _images_within(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> Iterator[TarMember]:
    """Yield the images of an archive that is a member of another; offsets count from where it begins."""
    file = archive.extractfile(member)
    assert file is not None, "a regular file"
    try:
        with file, tarfile.open(fileobj=file, mode="r:") as nested:
            yield from _images_in(nested, path, ignore_progress, is_outer=False)
    except _DAMAGED as error:
        problem = f"the tar archive in it cannot be read: {_reason(error)}"
        raise AnnotationError(path, problem, record=member.name) from error


def _regular_files(archive: tarfile.TarFile, path: Path) -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Yield the regular files of an archive, with their normal names; warn of images that are none."""
    left_out, end = [], -1
    while (member := archive.next()) is not None:
        archive.members = []  # type: ignore[attr-defined]  # it keeps every header otherwise: gigabytes
        if member.size < 0 or member.offset <= end:  # tarfile goes back then, for ever
            raise tarfile.ReadError(f"the header of {quoted(member.name)} says a size that is none")
        end = member.offset
        name = normal_name(member.name)
        if name and member.isreg() and not member.issparse():
            if member.size >= 2**62:  # no file ends there, and no column of an index holds it
                raise tarfile.ReadError("unexpected end of data")
            yield name, member
        elif name and is_image_name(name) and (member.isreg() or member.issym() or member.islnk()):
            left_out.append(name)
    if left_out:
        what = "left out, because they are links or sparse files"
        logger.warning("%s: %d images are %s, such as %s.", path, len(left_out), what, left_out[0])


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "its headers stand in one another"
    if isinstance(error, OSError) and error.errno != errno.EINVAL:
        return error.strerror or one_line(error)
    return (
        one_line(error)
        if isinstance(error, tarfile.TarError)
        else f"a header claims what cannot be ({one_line(error)})"
    )


def _refuse_compressed(path: Path) -> None:
    """Raise AnnotationError for a compressed archive: its members cannot be read at an offset."""
    with path.open("rb") as file:
        begin = file.read(8)
    for magic, kind in _COMPRESSED.items():
        if begin.startswith(magic):
            raise AnnotationError(path, f"the archive is compressed ({kind})", advice="Unpack it to a plain .tar.")
