"""The annotation index: a read-only table of images and boxes, mapped from its file."""

import json
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import IndexFileError
from lightning_st.index.layout import COLUMNS, PLACING, column_said, map_file, rows_in_chunks, said_by
from lightning_st.index.masks import decode_confidence, decode_mask
from lightning_st.index.names import decode_name, encode_name, hash_name, normal_name
from lightning_st.index.problems import BAD_BOX_KINDS, Problems, count_bad_boxes


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """Where one image lies and what is known of it.

    Attributes:
        row: Its row in the index.
        name: Its path below the root, or in the archive; the same on every machine.
        path: The file to open: the image itself, or the archive that holds it.
        offset: Of the image's first byte in `path`; 0 for a whole file.
        length: Bytes of the image in `path`; -1 for a whole file.
        width: Pixels; 0 where the source does not say.
        height: Pixels; 0 where the source does not say.
        image_id: The id that the source gives it; its row where the source gives none.
    """

    row: int
    name: str
    path: str
    offset: int
    length: int
    width: int
    height: int
    image_id: int


@dataclass(frozen=True, slots=True)
class Annotations:
    """The boxes of one image: read-only views of the index.

    Attributes:
        boxes: float32 [N, 4], xyxy in pixels of the original image.
        labels: int32 [N], class indices.
        crowd: bool [N].
        scores: float32 [N], 0-1; 1 for human labels.
        areas: float32 [N], of the segmentation where the source gives it, else of the box; square pixels.
    """

    boxes: NDArray[np.float32]
    labels: NDArray[np.int32]
    crowd: NDArray[np.bool_]
    scores: NDArray[np.float32]
    areas: NDArray[np.float32]


class AnnotationIndex:
    """Which images there are and whose labels they carry; one file, mapped read-only and shared between processes.

    Open it with `AnnotationIndex.open`. Pickling keeps the path alone, so giving it to a worker costs nothing.

    Attributes:
        path: The index file.
        root: Folder or archive that names are relative to.
        classes: Class names; a label is an index into them.
        class_ids: The source's own id of each class.
        fingerprint: sha256 of what the index says, hexadecimal; says nothing of where the images lie.
        is_labeled: False for images without labels: then there are no classes and no boxes.
        has_scores: True where boxes came with scores.
        has_masks: True where images have masks. Then a box stands for a segment: all pixels of one class in its image,
            which `areas` counts; its score is the highest confidence among them.
        source: What it was built from: "format", and the paths that the format has.
        problems: What had to be left out or clipped: kind to {"count": int, "examples": [at most ten lines]}.
        image_ids: int64 [N].
        widths: int32 [N], pixels; 0 where unknown.
        heights: int32 [N], pixels; 0 where unknown.
        box_offsets: int64 [N + 1]; the boxes of row r are `box_offsets[r]` to `box_offsets[r + 1]`.
        boxes: float32 [M, 4], xyxy in pixels.
        labels: int32 [M].
        crowd: bool [M].
        scores: float32 [M], 0-1.
        areas: float32 [M], square pixels.
        containers: Folders and archives that hold images; absolute, in the order that the column `containers` counts.
        columns: All columns of the file by name (`layout.COLUMNS`), for code that works on all rows at once.
        header: The file's header.
    """

    def __init__(
        self, path: Path, root: str | None, header: Mapping[str, Any], columns: Mapping[str, NDArray[Any]]
    ) -> None:
        """Use `AnnotationIndex.open`."""
        self.path = path
        self.root: str = header["root"] if root is None else root
        self.classes: tuple[str, ...] = tuple(header["classes"])
        self.class_ids: tuple[int, ...] = tuple(header["class_ids"])
        self.fingerprint: str = header["fingerprint"]
        self.is_labeled: bool = header["is_labeled"]
        self.has_scores: bool = header["has_scores"]
        self.has_masks: bool = len(columns["masks"]) > 0
        self.source: dict[str, Any] = header["source"]
        self.problems: Problems = header["problems"]
        self.image_ids: NDArray[np.int64] = columns["image_ids"]
        self.widths: NDArray[np.int32] = columns["widths"]
        self.heights: NDArray[np.int32] = columns["heights"]
        self.box_offsets: NDArray[np.int64] = columns["box_offsets"]
        self.boxes: NDArray[np.float32] = columns["boxes"]
        self.labels: NDArray[np.int32] = columns["labels"]
        self.crowd: NDArray[np.bool_] = columns["crowd"]
        self.scores: NDArray[np.float32] = columns["scores"]
        self.areas: NDArray[np.float32] = columns["areas"]
        self.header = header
        self.columns = columns
        self._root_override = root
        self.containers = tuple(os.path.join(self.root, name) if name else self.root for name in header["containers"])

    @classmethod
    def open(cls, path: str | Path, root: str | Path | None = None) -> "AnnotationIndex":
        """Map the index file at `path`.

        Args:
            path: The file that `IndexWriter` or `build_index` left.
            root: Where the images lie now; without it, where they lay when the index was built.

        Raises:
            IndexFileError: If there is no such file, or it is foreign, cut, damaged, or of another schema version.
        """
        path = Path(path).absolute()
        return cls(path, None if root is None else os.path.abspath(root), *map_file(path))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as the path, with the fingerprint to know the file again by."""
        return _reopen, (self.path, self._root_override, self.fingerprint)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)

    def __repr__(self) -> str:
        counts = f"{len(self)} images, {len(self.boxes)} boxes, {len(self.classes)} classes"
        return f"<AnnotationIndex of {counts}: {self.path}>"

    @property
    def bad_box_count(self) -> int:
        """How many boxes of the source could not be used: not finite, without area, or wholly outside their image."""
        return count_bad_boxes(self.problems)

    @property
    def bad_box_examples(self) -> list[str]:
        """One line for each of the first of them, at most ten of a kind. Clipped boxes are used, so not bad."""
        return [line for kind in BAD_BOX_KINDS if kind in self.problems for line in self.problems[kind]["examples"]]

    @property
    def box_count_read(self) -> int:
        """How many boxes the source holds for these images, with those that could not be used."""
        return len(self.boxes) + self.bad_box_count

    def name(self, row: int) -> str:
        """Return the name of an image.

        Raises:
            IndexFileError: If it leads out of its folder, which no reader's names do.
        """
        name = decode_name(self._name_bytes(row))
        if (".." in name or "\0" in name or name.startswith("/")) and normal_name(name) != name:
            raise IndexFileError(f"{self.path}: {name!r} is not a path below the folder of the images. Build it again.")
        return name

    def iterate_names(self) -> Iterator[str]:
        """Yield the name of every image, in order."""
        return (self.name(row) for row in range(len(self)))

    def image(self, row: int) -> ImageRecord:
        """Return where the image of `row` (0 to len - 1) lies and what is known of it."""
        name, length = self.name(row), int(self.columns["lengths"][row])
        container = self.containers[self.columns["containers"][row]]
        return ImageRecord(
            row=int(row),
            name=name,
            path=os.path.join(container, name) if length < 0 else container,
            offset=int(self.columns["offsets"][row]),
            length=length,
            width=int(self.widths[row]),
            height=int(self.heights[row]),
            image_id=int(self.image_ids[row]),
        )

    def annotations(self, row: int) -> Annotations:
        """Return the boxes of the image of `row` (0 to len - 1), as views."""
        self._refuse_row(row)
        part = slice(self.box_offsets[row], self.box_offsets[row + 1])
        return Annotations(self.boxes[part], self.labels[part], self.crowd[part], self.scores[part], self.areas[part])

    def segmentation_bytes(self, box: int) -> bytes:
        """Return the segmentation of one box as JSON, as the source writes it; empty where there is none."""
        if not 0 <= box < len(self.boxes):
            raise IndexError(f"box {box} of an index of {len(self.boxes)} boxes")
        start, end = self.columns["segmentation_offsets"][box : box + 2]
        return self.columns["segmentations"][start:end].tobytes()

    def segmentation(self, box: int) -> Any:
        """Return the segmentation of one box in COCO's form, or None.

        Args:
            box: The box's place in the columns: `box_offsets[row] + i` for box i of an image.

        Returns:
            A list of polygons ([x, y, x, y, ...], pixels) or a run-length encoding ({"counts", "size": [H, W]}).
        """
        text = self.segmentation_bytes(box)
        return json.loads(text) if text else None

    def mask(self, row: int) -> NDArray[np.uint8] | None:
        """Return the mask of the image of `row`, uint8 [H, W] at its size: class indices and 255; None without one."""
        return self._decoded(row, decode_mask)

    def confidence(self, row: int) -> NDArray[np.uint8] | None:
        """Return how sure a teacher was of each pixel of a mask, uint8 [H, W] in hundredths; None for human labels."""
        return self._decoded(row, decode_confidence)

    def find(self, names: Sequence[str]) -> NDArray[np.int64]:
        """Return the row of each name, int64 [len(names)]; -1 where the index does not have it.

        Where several images have the same name (in several archives), it is the first of them.
        """
        wanted = [encode_name(name) for name in names]
        hashes = self.columns["name_hashes"]
        order = np.argsort(hashes, kind="stable")
        places = np.searchsorted(hashes, np.array([hash_name(name) for name in wanted], np.uint64), sorter=order)
        return np.array(
            [self._row_at(order, place, name) for place, name in zip(places, wanted, strict=True)], np.int64
        )

    def verify(self) -> None:
        """Read the whole file: compare it with its fingerprint, and see whether its columns go together.

        Raises:
            IndexFileError: If a byte of what the index says has changed since it was written, or it makes no sense.
        """
        digest = sha256(said_by(self.header))
        for name in COLUMNS:
            if name not in PLACING:
                digest.update(column_said(name, self.header["columns"][name]))
                for rows in rows_in_chunks(len(self.columns[name])):
                    digest.update(self.columns[name][rows].tobytes())
        if digest.hexdigest() != self.fingerprint:
            raise IndexFileError(
                f"{self.path}: the index does not match its fingerprint: it is damaged. Build it again."
            )
        if not self._is_sound():
            raise IndexFileError(f"{self.path}: the columns of the index contradict each other. Build it again.")

    def _is_sound(self) -> bool:
        """Say whether offsets ascend to the ends of what they point into, and labels and containers are there."""
        ends = {
            "name_offsets": len(self.columns["names"]),
            "box_offsets": len(self.boxes),
            "mask_offsets": len(self.columns["masks"]),
            "segmentation_offsets": len(self.columns["segmentations"]),
        }
        for name, end in ends.items():
            offsets = self.columns[name]
            if offsets[0] != 0 or offsets[-1] != end or (offsets[1:] < offsets[:-1]).any():
                return False
        counts = {"labels": len(self.classes), "containers": len(self.containers)}
        return all(
            self.columns[name].min(initial=0) >= 0 and self.columns[name].max(initial=-1) < count
            for name, count in counts.items()
        )

    def _refuse_row(self, row: int) -> None:
        """Raise IndexError for a row that is not there; a negative one would read another image's offsets."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of an index of {len(self)} images")

    def _decoded(self, row: int, decode: Callable[[bytes], NDArray[np.uint8] | None]) -> NDArray[np.uint8] | None:
        """Return what `decode` makes of the mask of an image; None without one."""
        data = self._mask_bytes(row)
        try:
            return decode(data) if data else None
        except (ValueError, struct.error, zlib.error) as error:
            raise IndexFileError(f"{self.path}: the mask of {self.name(row)} is damaged. Build it again.") from error

    def _mask_bytes(self, row: int) -> bytes:
        """Return the encoded mask of an image; empty where it has none."""
        self._refuse_row(row)
        start, end = self.columns["mask_offsets"][row : row + 2]
        return self.columns["masks"][start:end].tobytes()

    def _name_bytes(self, row: int) -> bytes:
        """Return the encoded name of an image."""
        self._refuse_row(row)
        start, end = self.columns["name_offsets"][row : row + 2]
        return self.columns["names"][start:end].tobytes()

    def _row_at(self, order: NDArray[np.int64], place: int, name: bytes) -> int:
        """Return the row of `name` among those of its hash, which begin at `place` of `order`; -1 for none."""
        hashes = self.columns["name_hashes"]
        for row in order[place:]:
            if hashes[row] != hash_name(name):
                return -1
            if self._name_bytes(row) == name:
                return int(row)
        return -1


def _reopen(path: Path, root: str | None, fingerprint: str) -> AnnotationIndex:
    """Open a pickled index again, if it is still the same."""
    index = AnnotationIndex.open(path, root)
    if index.fingerprint != fingerprint:
        raise IndexFileError(f"{path}: the index has been replaced by another since it was opened. Start again.")
    return index
