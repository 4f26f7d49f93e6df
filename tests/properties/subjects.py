"""What the property tests spoil: small valid data sets of each format, file by file."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from source_makers import tar_bytes, voc_xml

from lightning_st.index import AnnotationIndex, ReaderOptions, build_index
from lightning_st.types import IGNORE_INDEX


@cache
def picture(format: str = "PNG", width: int = 40, height: int = 30) -> bytes:
    """Return a picture with some content, on its side where the format can say so."""
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    more = {"exif": exif} if format in ("JPEG", "PNG", "WEBP", "TIFF") else {}
    Image.fromarray(pixels).save(buffer, format, **more)
    return buffer.getvalue()


@cache
def palette_mask(width: int = 40, height: int = 30) -> bytes:
    """Return a mask of the classes 0 to 2."""
    buffer = io.BytesIO()
    mask = Image.fromarray((np.arange(width * height).reshape(height, width) // 100 % 3).astype(np.uint8), mode="P")
    mask.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0] + [0] * 759)
    mask.save(buffer, "PNG")
    return buffer.getvalue()


def plain_picture() -> bytes:
    """Return a picture that lies as it stands."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True)
class Subject:
    """One file of a data set, and how the set is read.

    Attributes:
        file: Which file is spoilt.
        valid: Its valid bytes, or what JSON is made from.
        others: The other files of the set.
        arguments: Of `build_index`; paths below the set's folder, which `{}` stands for.
        options: Of the reader, likewise.
    """

    file: str
    valid: Any
    others: dict[str, bytes] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path, content: bytes | None = None) -> None:
        """Write the set, its file spoilt or not."""
        data = content if content is not None else as_bytes(self.valid)
        for name, each in {**self.others, self.file: data}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(each)

    def read(self, folder: Path) -> AnnotationIndex:
        """Build the index of what `write` left."""
        placed = {k: v.format(folder) if isinstance(v, str) else v for k, v in self.arguments.items()}
        options = {k: Path(v.format(folder)) if isinstance(v, str) else v for k, v in self.options.items()}
        return build_index(**placed, options=ReaderOptions(**options), cache_folder=folder / "cache", progress=False)


def as_bytes(valid: Any) -> bytes:
    """Return what a file holds."""
    return valid if isinstance(valid, bytes) else json.dumps(valid).encode()


COCO = {
    "info": {"year": 2026},
    "images": [
        {"id": 7, "file_name": "a.png", "width": 40, "height": 30},
        {"id": 9, "file_name": "b.png", "width": 40, "height": 30},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 12.5], "area": 120, "iscrowd": 0,
         "segmentation": [[1, 2, 11, 2, 11, 14.5, 1, 14.5]]},
        {"id": 2, "image_id": 9, "category_id": 5, "bbox": [30, 20, 20, 20], "iscrowd": 1, "score": 0.5,
         "segmentation": {"counts": [0, 1200], "size": [30, 40]}},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 5, "name": "dog"}],
}  # fmt: skip
IMAGES = {"images/a.png": plain_picture(), "images/b.png": plain_picture()}
CSV = (
    b"ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside\n"
    b"a,xclick,/m/01,1,0.1,0.5,0.2,0.9,0,0,0,0,0\na,xclick,/m/02,1,0,1,0,1,0,0,1,0,0\nb,xclick,/m/01,1,0.3,0.4,0.3,0.4,-1,0,0,0,0\n"
)
DESCRIPTIONS = b"/m/01,Cat\n/m/02,Dog\n"
HIERARCHY = {
    "LabelName": "/m/0bl9f",
    "Subcategory": [{"LabelName": "/m/02", "Subcategory": [{"LabelName": "/m/01"}]}],
}
OPEN_IMAGES = {"boxes.csv": CSV, "class-descriptions-boxable.csv": DESCRIPTIONS, "h.json": as_bytes(HIERARCHY)}
VOC = {
    "x/a.xml": voc_xml(("cat", 1, 1, 20, 20), ("dog", 5, 5, 40, 30, True), size=(40, 30)).encode(),
    "x/b.xml": voc_xml(("dog", 1.5, 1, 20, 20), size=(40, 30)).encode(),
}
YOLO = {
    "data.yaml": b"path: .\ntrain: images\nval: images\nnc: 2\nnames: [cat, dog]\n",
    "labels/a.txt": b"0 0.5 0.5 0.2 0.2\n1 0.25 0.25 0.1 0.1 0.9\n",
    "labels/b.txt": b"1 0.1 0.1 0.4 0.1 0.4 0.4 0.1 0.4\n",
}
RESULTS = [
    {"image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 12.5], "score": 0.9},
    {"image_id": 9, "category_id": 5, "bbox": [0, 0, 5, 5], "score": 0.25, "segmentation": [[1, 2, 3, 4, 5, 6]]},
]
TAR = tar_bytes({"a.png": b"xx", "in.tar": tar_bytes({"b.jpg": b"y"})})
FOLDER = {"images": "{}/images"}
OI_ARGUMENTS = {**FOLDER, "annotations": "{}/boxes.csv", "format": "openimages"}


def _of(files: dict[str, bytes], name: str, arguments: dict[str, Any], valid: Any = None, **options: Any) -> Subject:
    return Subject(name, files[name] if valid is None else valid, {**IMAGES, **files}, arguments, options)


SUBJECTS: dict[str, Subject] = {
    "COCO": Subject("c.json", COCO, IMAGES, {**FOLDER, "annotations": "{}/c.json", "format": "coco"}),
    "COCO, its bytes": Subject("c.json", as_bytes(COCO), IMAGES, {**FOLDER, "annotations": "{}/c.json"}),
    "COCO results": Subject(
        "r.json",
        RESULTS,
        {**IMAGES, "c.json": as_bytes(COCO)},
        {**FOLDER, "annotations": "{}/r.json", "format": "results", "list_file": "{}/c.json"},
        {"categories": ((3, "cat"), (5, "dog"))},
    ),
    "COCO as a list": Subject("c.json", COCO, IMAGES, {**FOLDER, "list_file": "{}/c.json"}),
    "list": Subject("l.txt", b"a.png\nb  1\n\n", IMAGES, {**FOLDER, "list_file": "{}/l.txt"}),
    "VOC XML": _of(VOC, "x/a.xml", {**FOLDER, "annotations": "{}/x", "format": "voc"}),
    "YOLO labels": _of(YOLO, "labels/a.txt", {**FOLDER, "annotations": "{}/data.yaml"}),
    "YOLO data.yaml": _of(YOLO, "data.yaml", {"images": "{}", "labeled": True, "format": "yolo"}),
    "YOLO split": _of(YOLO, "data.yaml", {"images": "{}", "list_file": "train", "labeled": True}),
    "Open Images boxes": _of(OPEN_IMAGES, "boxes.csv", OI_ARGUMENTS, hierarchy="{}/h.json"),
    "Open Images descriptions": _of(OPEN_IMAGES, "class-descriptions-boxable.csv", OI_ARGUMENTS),
    "Open Images hierarchy": _of(OPEN_IMAGES, "h.json", OI_ARGUMENTS, HIERARCHY, hierarchy="{}/h.json"),
    "class file": _of({**VOC, "n.txt": b"cat\ndog\n"}, "n.txt", {**FOLDER, "annotations": "{}/x"}, classes="{}/n.txt"),
    "class file in JSON": _of(
        {**VOC, "n.txt": b""}, "n.txt", {**FOLDER, "annotations": "{}/x"}, ["cat", "dog"], classes="{}/n.txt"
    ),
    "mask": _of({"m/a.png": palette_mask()}, "m/a.png", {**FOLDER, "annotations": "{}/m", "format": "masks"}),
    "tar": Subject("t.tar", TAR, {}, {"images": "{}/t.tar"}),
    "image beside YOLO labels": _of(
        {**YOLO, "images/a.png": picture("PNG")}, "images/a.png", {**FOLDER, "annotations": "{}/data.yaml"}
    ),
}  # fmt: skip


def check_index(index: AnnotationIndex) -> None:
    """Hold an index to what all its readers rely on."""
    index.verify()
    for name in ("box_offsets", "name_offsets", "mask_offsets", "segmentation_offsets"):
        assert (np.diff(index.columns[name]) >= 0).all(), name
    assert np.isfinite(index.boxes).all()
    assert (index.boxes[:, :2] >= 0).all()
    is_box = not index.has_masks and index.source.get("format") != "classes"
    if is_box:
        assert (index.boxes[:, :2] < index.boxes[:, 2:]).all()
    sizes = np.stack([index.widths, index.heights], 1).repeat(np.diff(index.box_offsets), 0)
    assert ((index.boxes[:, 2:] <= sizes) | (sizes == 0)).all()
    assert ((index.labels >= 0) & (index.labels < max(1, len(index.classes)))).all()
    assert ((index.scores >= 0) & (index.scores <= 1)).all()
    assert np.isfinite(index.areas).all()
    assert (index.areas >= 0).all()
    json.dumps([index.classes, index.problems, index.source], ensure_ascii=False).encode()  # what a report writes
    for row in range(len(index)):
        index.image(row)
        mask = index.mask(row)
        assert mask is None or ((mask < len(index.classes)) | (mask == IGNORE_INDEX)).all()
    for box in range(len(index.boxes)):
        outline = index.segmentation(box)
        assert outline is None or isinstance(outline, list | dict)


Build = Callable[[Path], Any]
