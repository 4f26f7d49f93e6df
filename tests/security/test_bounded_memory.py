"""Files that claim more than they hold, or hold more than they show, take no more memory than they may."""

import io
import json
import resource
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lightning_st.data.decoding import decode, read_header
from lightning_st.errors import AnnotationError, ImageError, IndexFileError
from lightning_st.index import AnnotationIndex, IndexWriter, build_index, encode_mask, json_stream
from lightning_st.index.layout import MAGIC, PREFIX, SCHEMA_VERSION, align, encode_header
from lightning_st.index.masks import MOST_PIXELS
from lightning_st.index.readers import class_files, voc_xml
from lightning_st.index.readers.voc_xml import read_xml
from lightning_st.index.readers.yolo_names import read_names
from lightning_st.reports.run_folder import read_run

MEGABYTE = 1 << 20


@contextmanager
def within(megabytes: float, seconds: float = 20.0):
    """Fail where the block takes more memory of Python's, or more time."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < megabytes * MEGABYTE
    assert time.monotonic() - began < seconds


# Indexes


@pytest.fixture
def index(tmp_path) -> Path:
    with IndexWriter(tmp_path / "good.index", ["x"], source={"root": str(tmp_path)}) as writer:
        writer.add("a.jpg", 20, 20, boxes=[[1, 2, 3, 4]], labels=[0])
    return tmp_path / "good.index"


def forge(index: Path, change) -> Path:
    """Write an index whose header `change` has changed, with the right checksum."""
    data = index.read_bytes()
    length = PREFIX.unpack(data[: PREFIX.size])[3]
    header = json.loads(data[PREFIX.size : PREFIX.size + length])
    header = change(header) or header
    path = index.with_name("forged.index")
    path.write_bytes(encode_header(header) + data[align(PREFIX.size + length) :])
    return path


def column(name: str, **said):
    return lambda header: header["columns"][name].update(said)


def all_long(header):
    for place in header["columns"].values():
        place["shape"][0] = 2**60


HEADERS = {
    "2**60 images": column("widths", shape=[2**60]),
    "2**60 of all": all_long,
    "objects of Python's": column("widths", dtype="|O"),
    "memory before the file": column("boxes", offset=-64),
    "memory behind it": column("boxes", offset=2**40),
    "less than nothing": column("labels", shape=[-1]),
    "half a row": column("labels", shape=[1.5]),
    "no columns": lambda header: header.pop("columns") and None,
    "a list": lambda header: [header],
    "classes that are a number": lambda header: header.update(classes=3),
    "a root that is a list": lambda header: header.update(root=["/"]),
    "a size that is a word": lambda header: header.update(data_size="large"),
}


def test_an_index_that_was_not_changed_opens(index):
    assert len(AnnotationIndex.open(forge(index, lambda header: None))) == 1


@pytest.mark.parametrize("what", HEADERS)
def test_an_index_that_claims_what_it_does_not_hold_is_refused(index, what):
    path = forge(index, HEADERS[what])
    with within(5), pytest.raises(IndexFileError, match=r"no index that lightning_st wrote: .* Build it again\."):
        AnnotationIndex.open(path)


def test_a_header_that_is_longer_than_its_file_or_nested_without_end(tmp_path):
    path = tmp_path / "x.index"
    path.write_bytes(PREFIX.pack(MAGIC, SCHEMA_VERSION, 0, 2**63) + b"{}")
    with within(5), pytest.raises(IndexFileError, match="cut or damaged"):
        AnnotationIndex.open(path)
    text = b"[" * 10**6
    path.write_bytes(PREFIX.pack(MAGIC, SCHEMA_VERSION, zlib.crc32(text), len(text)) + text)
    with within(50), pytest.raises(IndexFileError, match="its header is no JSON"):
        AnnotationIndex.open(path)


# Masks


def bomb(height: int, width: int) -> bytes:
    """Return a mask of a few hundred kilobytes that inflates to 256 megabytes."""
    squeezer = zlib.compressobj(9)
    zeros = bytes(MEGABYTE)
    data = b"".join(squeezer.compress(zeros) for _ in range(256)) + squeezer.flush()
    return struct.pack("<III", height, width, len(data)) + data


MASKS = {
    "inflates to more than it says": lambda: bomb(100, 100),
    "says more than any image": lambda: bomb(2**32 - 1, 2**32 - 1),
    "says nothing": lambda: bomb(0, 7),
    "is cut": lambda: encode_mask(np.eye(50, dtype=np.uint8))[:-9],
    "is no mask": lambda: b"\x07",
    "is not compressed": lambda: struct.pack("<III", 5, 5, 25) + bytes(25),
}


@pytest.mark.parametrize("what", MASKS)
def test_a_mask_inflates_to_its_size_at_most(tmp_path, what):
    with IndexWriter(tmp_path / "x.index", ["x"]) as writer:
        writer.add("a.png", 100, 100, mask=MASKS[what]())
    index = AnnotationIndex.open(tmp_path / "x.index")
    with within(5):
        if what == "inflates to more than it says":
            assert index.mask(0).shape == (100, 100)
        else:
            with pytest.raises(IndexFileError, match=r"the mask of a\.png is damaged"):
                index.mask(0)


def test_masks_of_every_image_that_is_read_fit():
    assert MOST_PIXELS > 2 * Image.MAX_IMAGE_PIXELS


# Annotations


def coco(annotation: str) -> str:
    return (
        '{"images": [{"id": 1, "file_name": "a.jpg", "width": 20, "height": 20}],'
        ' "categories": [{"id": 1, "name": "x"}],'
        f' "annotations": [{{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]{annotation}}}]}}'
    )


@pytest.fixture
def images(tmp_path) -> Path:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "images" / "a.jpg")
    return tmp_path / "images"


SEGMENTATIONS = {
    "counts of another size": '{"counts": [99999999999999, 1], "size": [20, 20]}',
    "a size of no image": '{"counts": [1, 2], "size": [1000000000, 1000000000]}',
    "counts below nothing": '{"counts": [-5, -7], "size": [20, 20]}',
    "letters that are no counts": '{"counts": "\\u0000\\uffffzz", "size": [20, 20]}',
    "half a point": "[[1.0]]",
    "no points": "[[]]",
    "points far away": "[[1e30, -1e30, 1e308, 1e400, 3, 4]]",
    "a hundred thousand points": json.dumps([[float(number % 20) for number in range(200_000)]]),
}


@pytest.mark.parametrize("what", SEGMENTATIONS)
def test_segmentations_are_kept_as_text_and_never_decoded(images, tmp_path, what):
    """No code of C's sees them, so none can be led astray by counts that do not fit a size."""
    (tmp_path / "a.json").write_text(coco(f', "segmentation": {SEGMENTATIONS[what]}'))
    with within(40):
        index = build_index(images, tmp_path / "a.json")
        assert len(index.boxes) == 1
        index.segmentation(0)
    package = Path(json_stream.__file__).parents[1]
    assert not [path for path in package.rglob("*.py") if "import pycocotools" in (text := path.read_text())
                or "from pycocotools" in text]  # fmt: skip


def test_a_number_of_a_million_digits(images, tmp_path):
    for number, says in (
        ("9" * 10**6, "no valid JSON"),
        ("0." + "9" * 10**6, None),
        ("9" * 400 + ".0", "square pixels"),
    ):
        (tmp_path / "a.json").write_text(coco(f', "area": {number}'))
        with within(60):
            if says is None:
                build_index(images, tmp_path / "a.json")
            else:
                with pytest.raises(AnnotationError, match=says):
                    build_index(images, tmp_path / "a.json")


def test_a_text_without_end_is_not_read_to_its_end(images, tmp_path, monkeypatch):
    monkeypatch.setattr(json_stream, "_LONGEST_VALUE", 8 * MEGABYTE)
    path = tmp_path / "a.json"
    with path.open("w") as file:
        file.write('{"images": [{"file_name": "')
        for _ in range(64):
            file.write("x" * MEGABYTE)
        file.write('"}]}')
    with within(100), pytest.raises(AnnotationError, match="a value is longer than 8,388,608 characters"):
        build_index(images, path)


XMLS = {
    "a billion laughs": "".join(
        ['<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a0 "haha">']
        + [f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12)]
        + ["]><annotation><size>&a11;</size></annotation>"]
    ),
    "a quadratic one": f'<!DOCTYPE annotation [<!ENTITY a "{"x" * 10**6}">]><annotation>{"&a;" * 10**4}</annotation>',
    "a file": '<!DOCTYPE annotation [<!ENTITY a SYSTEM "file:///etc/passwd">]><annotation>&a;</annotation>',
    "an address": '<!DOCTYPE annotation SYSTEM "http://127.0.0.1:9/x.dtd"><annotation><a>&b;</a></annotation>',
}


@pytest.mark.parametrize("what", XMLS)
def test_entities_of_xml_neither_grow_nor_open_files(tmp_path, what):
    (tmp_path / "a.xml").write_text(XMLS[what])
    with (
        within(200),
        pytest.raises(AnnotationError, match=r"a\.xml: (no valid XML|the field 'size' is missing)") as error,
    ):
        read_xml(tmp_path / "a.xml")
    assert "root:" not in str(error.value)


def test_an_xml_or_a_list_of_classes_of_gigabytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(voc_xml, "MOST_BYTES", 1000)
    monkeypatch.setattr(class_files, "MOST_BYTES", 1000)
    path = tmp_path / "a.xml"
    path.write_text(f"<annotation>{' ' * 1000}</annotation>")
    for read in (read_xml, class_files.read_class_names):
        with pytest.raises(AnnotationError, match="more than 1000"):
            read(path)


def test_aliases_of_yaml_do_not_grow(tmp_path):
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    for names in ("[*a39]", "*a39", "{0: *a39}"):
        (tmp_path / "data.yaml").write_text("\n".join([*lines, f"names: {names}"]))
        with within(5), pytest.raises(AnnotationError, match=r"names: expected"):
            read_names(tmp_path / "data.yaml")


# Archives and images


def tar_of(path: Path, *headers: bytes) -> Path:
    path.write_bytes(b"".join(headers) + bytes(1024))
    return path


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("size", [10**6, 2**60, 2**80])
def test_a_member_that_claims_more_than_the_archive_holds(tmp_path, size):
    path = tar_of(tmp_path / "a.tar", header("a.jpg", size))
    with within(5), pytest.raises(AnnotationError, match="the tar archive cannot be read"):
        build_index(path)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_SPARSE])
def test_a_long_name_that_claims_more_than_the_archive_holds(tmp_path, kind):
    path = tar_of(tmp_path / "a.tar", header("a.jpg", 2**60, kind))
    with within(5), pytest.raises(AnnotationError):
        build_index(path)


def test_headers_upon_headers(tmp_path):
    """Each of the standard library's readers of a long name calls the next."""
    long_name = header("././@LongLink", 5, tarfile.GNUTYPE_LONGNAME) + b"a.jpg".ljust(512, b"\0")
    path = tar_of(tmp_path / "a.tar", *[long_name] * 5000, header("b.jpg", 0))
    with within(20), pytest.raises(AnnotationError, match="the tar archive cannot be read"):
        build_index(path)


def test_text_in_an_image_does_not_inflate(images):
    """Pillow's own limits: texts of 64 megabytes in all."""
    info = PngImagePlugin.PngInfo()
    for number in range(80):
        info.add_text(f"text {number}", "x" * (MEGABYTE - 100), zip=True)
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG", pnginfo=info)
    assert len(buffer.getvalue()) < MEGABYTE
    with within(150), pytest.raises(ImageError):
        decode(buffer.getvalue(), "a.png")
    assert read_header((images / "a.jpg").read_bytes()).size == (20, 20)


def test_a_run_has_no_round_of_a_number_without_end(tmp_path):
    for number in (0, 10**18):
        (tmp_path / f"round_{number}").mkdir()
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 1, "stage": "self_train"}))
    with within(5):
        assert len(read_run(tmp_path).rounds) == 1


def test_a_strangers_index_is_opened_in_little_memory(index):
    """The whole program, where the system itself counts."""
    path = forge(index, all_long)
    code = "from lightning_st.index import AnnotationIndex; import sys; AnnotationIndex.open(sys.argv[1])"

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))

    found = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, preexec_fn=limit)
    assert "IndexFileError" in found.stderr
    assert "MemoryError" not in found.stderr
