"""Tar archives of unlabelled images: cut, compressed, of another kind, or with headers that lie."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable

from source_makers import tar_bytes

from bad_inputs.case import Bad, Case, Refused, Skipped, Used

BLOCK = 512


def archive(make: Callable[[bytes], bytes]) -> Callable[[Case], None]:
    """Give the unlabelled images as what becomes of a tar of two of them."""

    def spoil(case: Case) -> None:
        pictures = {path.name: path.read_bytes() for path in sorted(case.images("unlabeled").iterdir())[:2]}
        case.write({"pool.tar": make(tar_bytes(pictures))})
        case.recipe["data"]["unlabeled"] = {"images": str(case.folder / "pool.tar")}

    return spoil


def with_size(size: bytes) -> Callable[[bytes], bytes]:
    """Let the first header say another size, its checksum being right."""

    def make(data: bytes) -> bytes:
        header = bytearray(data[:BLOCK])
        header[124:136] = size
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return bytes(header) + data[BLOCK:]

    return make


def in_one_another(data: bytes) -> bytes:
    """A thousand headers, each of which says that it is the long name of the next."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 0
    return info.tobuf() * 2000 + data


def links(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("../../out.jpg"), io.BytesIO(b""))
    return buffer.getvalue()[: 2 * BLOCK] + data


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a.jpg", data)
    return buffer.getvalue()


NEGATIVE = b"\xff" * 10 + b"\xfe\0"  # base 256: -512
HUGE = b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7
POOL = r"pool\.tar: "
TABLE = [
    Bad("a gzip", archive(gzip.compress), Refused(POOL + r"the archive is compressed \(gzip\)\. Unpack it to a plain")),
    Bad("a zip", archive(zipped), Refused(POOL + "the tar archive cannot be read: .* Images are read from a folder, or")),
    Bad("an empty archive", archive(lambda d: b""), Refused(POOL + "the tar archive cannot be read: empty file")),
    Bad("an archive of nothing", archive(lambda d: bytes(10240)), Refused(POOL + "the tar archive holds no image")),
    Bad("no archive", archive(lambda d: b"tar" * 999), Refused(POOL + "the tar archive cannot be read")),
    Bad("an archive of text", archive(lambda d: tar_bytes({"a.txt": b"x"})), Refused(POOL + "the tar archive holds no ima")),
    Bad("a cut archive", archive(lambda d: d[:1300]), Refused(POOL + "the tar archive cannot be read: unexpected end")),
    Bad("a negative size", archive(with_size(NEGATIVE)), Refused(POOL + "the tar archive cannot be read: ")),
    Bad("a huge size", archive(with_size(HUGE)), Refused(POOL + "the tar archive cannot be read: ")),
    Bad("a size that is none", archive(with_size(b"many\0" + bytes(7))), Refused(POOL + "the tar archive cannot be read: ")),
    Bad("headers in one another", archive(in_one_another), Refused(POOL + "the tar archive cannot be read: its headers sta")),
    Bad("links and names that leave", archive(links), Used(said=r"unlabeled +2 ")),
    Bad("a broken image", archive(lambda d: tar_bytes({"a.jpg": b"x"})), Skipped(r"1 image .*(?s:.*)pool\.tar/a\.jpg: not an")),
]  # fmt: skip
