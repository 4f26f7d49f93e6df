"""Writing an index: images are streamed in, and the finished file appears at once or not at all."""

import os
import secrets
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import SpooledTemporaryFile
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike

from lightning_st.errors import AnnotationError
from lightning_st.index.containers import Containers
from lightning_st.index.layout import (
    BOX_RECORD,
    BYTES,
    IMAGE_RECORD,
    place_columns,
    rows_in_chunks,
)
from lightning_st.index.names import encode_name, has_encoding, hash_name, normal_name
from lightning_st.index.packing import assemble, gather_records, pack_boxes, read_records
from lightning_st.index.problems import Problems, add_problems
from lightning_st.index.table import AnnotationIndex

SPOOL_SIZE = 1 << 22  # bytes that a small index may take in memory before a temporary file does
CHUNK_SIZE = 1 << 16  # records
_PACK_IMAGE = struct.Struct("<qQiiqiqqqq").pack  # IMAGE_RECORD; numpy takes ten times as long for one record


class IndexWriter:
    """Writes an index file.

    What is added goes to unnamed temporary files beside the destination, so memory does not grow and a killed process
    leaves nothing; `close` puts the columns together under a temporary name and renames. Until then `source` and
    `problems` may be added to.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "one.index"
        >>> with IndexWriter(path, classes=["cat"], source={"root": "/images"}) as writer:
        ...     writer.add("a.jpg", 640, 480, boxes=[[1, 2, 30, 40]], labels=[0])
        >>> AnnotationIndex.open(path).image(0).path
        '/images/a.jpg'
    """

    def __init__(
        self,
        path: str | Path,
        classes: Sequence[str] = (),
        class_ids: Sequence[int] | None = None,
        source: Mapping[str, Any] | None = None,
        is_labeled: bool = True,
    ) -> None:
        """Begin an index.

        Args:
            path: The file to write, or to replace; its folder is made where it is missing.
            classes: Class names.
            class_ids: The source's id of each class; 1, 2, 3 ... where there is none.
            source: What the index is made from, for `AnnotationIndex.source`; under "root" the folder or archive that
                most images lie in. Values must go into JSON.
            is_labeled: False for images without labels; then no boxes can be added.
        """
        self.path = Path(path).absolute()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.problems: Problems = {}
        self.source = dict(source or {})
        self._root = str(self.source.get("root", ""))
        self._is_labeled = is_labeled
        self._containers = Containers(self._root)
        self._image_count = self._box_count = 0
        self._has_scores = False
        self.set_classes(classes, class_ids)  # which may refuse them: before anything is open
        self._bytes = {name: self._open_spool() for name in ("names", "segmentations", "masks")}
        self._byte_counts = dict.fromkeys(self._bytes, 0)
        self._images, self._boxes = self._open_spool(), self._open_spool()

    def set_classes(self, classes: Sequence[str], class_ids: Sequence[int] | None = None) -> None:
        """Set the classes, for a reader that learns them while it reads; before the first image with boxes.

        Raises:
            AnnotationError: If a name cannot be written in UTF-8.
            ValueError: If a name stands there twice, or there are not as many ids as names.
        """
        self.classes = tuple(classes)
        self.class_ids = tuple(range(1, len(self.classes) + 1) if class_ids is None else class_ids)
        for name in self.classes:
            if not has_encoding(name):
                advice = "Half a pair of surrogates has no bytes, so no file could name the class."
                raise AnnotationError(
                    self.source.get("annotations") or self.path, f"{name!r} is no name of a class", advice=advice
                )
        if len(set(self.classes)) != len(self.classes) or len(self.class_ids) != len(self.classes):
            raise ValueError(f"Expected distinct names and an id for each, got {self.classes} and {self.class_ids}.")

    def add(
        self,
        name: str,
        width: int = 0,
        height: int = 0,
        image_id: int | None = None,
        path: str | Path | None = None,
        offset: int = 0,
        length: int = -1,
        mask: bytes = b"",
        **boxes: Any,
    ) -> None:
        """Add one image.

        Args:
            name: Its path below the root, or in its archive, with `/` between folders.
            width: Pixels; 0 for unknown.
            height: Pixels; 0 for unknown.
            image_id: The source's id; the row where there is none.
            path: The file to open, as `ImageRecord.path` says it: the image, ending in `name`, or the archive. Without
                it the image lies in the root of `source`.
            offset: Of the image's first byte in an archive.
            length: Bytes of the image in an archive; -1 for a whole file.
            mask: What `encode_mask` made of its mask; nothing where it has none.
            **boxes: What `pack_boxes` takes: boxes, labels, crowd, scores, areas, segmentations.

        Raises:
            ValueError: If arrays differ in length, a label has no class, `name` leads out of the root, `path` does not
                end in `name`, or an index of images without labels is given boxes.
        """
        place = self._place_of(name, path, length)
        if boxes:
            self._add_boxes(name, **boxes)
        self._add_image(place, (width, height), image_id, offset, length, self._box_count, mask)

    def add_group(self, images: Sequence[Mapping[str, Any]], counts: ArrayLike, **boxes: Any) -> None:
        """Add images with all their boxes at once, several times as fast as one by one; raises as `add`.

        Args:
            images: Of each, "name", "size" (width, height), "image_id", and "path", "offset", "length" as for `add`.
            counts: int [N], how many of the boxes each image has.
            **boxes: As for `add`; those of the first image come first. None for images without labels.
        """
        places = [self._place_of(image["name"], image.get("path"), image.get("length", -1)) for image in images]
        ends = self._box_count + np.cumsum(counts)
        if boxes:
            self._add_boxes(f"{images[0]['name']} and those after it", **boxes)
        if self._box_count != ends[-1]:
            raise ValueError(f"Expected {ends[-1]} boxes in all, got {self._box_count}.")
        for image, place, end in zip(images, places, ends.tolist(), strict=True):
            offset, length = image.get("offset", 0), image.get("length", -1)
            self._add_image(place, image["size"], image["image_id"], offset, length, end)

    def _place_of(self, name: str, path: str | Path | None, length: int) -> tuple[bytes, int]:
        """Return the name of an image, encoded, and the number of what holds it."""
        if normal_name(name) != name:
            raise ValueError(f"Expected the name of an image to be its path below the root, got {name!r}.")
        container = 0 if path is None else self._containers.number_of_image(str(path), name, length)
        return encode_name(name), container

    def _add_image(
        self,
        place: tuple[bytes, int],
        size: tuple[int, int],
        image_id: int | None,
        offset: int,
        length: int,
        box_end: int,
        mask: bytes = b"",
    ) -> None:
        """Append the record of one image, whose boxes are there already."""
        name, container = place
        self._write("names", name)
        self._write("masks", mask)
        number = self._image_count if image_id is None else image_id
        ends = self._byte_counts["names"], self._byte_counts["masks"]
        record = (ends[0], hash_name(name), *size, number, container, offset, length, box_end, ends[1])
        self._images.write(_PACK_IMAGE(*record))
        self._image_count += 1

    def extend(self, index: AnnotationIndex) -> None:
        """Add all images of an index that has the same classes, with what it counts of problems.

        Raises:
            ValueError: If its classes, or whether it is labelled, differ.
        """
        if (index.classes, index.is_labeled) != (self.classes, self._is_labeled):
            raise ValueError(f"Expected an index of the classes {self.classes}, got {index.classes} in {index.path}.")
        add_problems(self.problems, index.problems)
        self._has_scores |= index.has_scores
        self._extend_images(index)
        for rows in rows_in_chunks(len(index.boxes), CHUNK_SIZE):
            records = gather_records(index, BOX_RECORD, rows)
            records["segmentation_offsets"] += self._byte_counts["segmentations"]
            self._boxes.write(records.tobytes())
        self._image_count += len(index)
        self._box_count += len(index.boxes)
        for name in self._bytes:
            for part in rows_in_chunks(len(index.columns[name]), SPOOL_SIZE):
                self._write(name, index.columns[name][part].tobytes())

    def close(self) -> None:
        """Put the columns together and rename the file to its place; it is on the disk when this returns."""
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
        try:
            with partial.open("xb") as file:
                self._assemble(file)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was added; nothing is written."""
        for spool in (self._images, self._boxes, *self._bytes.values()):
            spool.close()

    def __enter__(self) -> "IndexWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, or on an error discard."""
        if kind is None:
            self.close()
        else:
            self.discard()

    def _open_spool(self) -> "SpooledTemporaryFile[bytes]":
        return SpooledTemporaryFile(SPOOL_SIZE, dir=str(self.path.parent))

    def _write(self, name: str, data: bytes) -> None:
        """Append to one of the columns of bytes."""
        self._bytes[name].write(data)
        self._byte_counts[name] += len(data)

    def _add_boxes(self, name: str, **arrays: Any) -> None:
        """Append the boxes of one image."""
        records, texts = pack_boxes(**arrays)
        if not self._is_labeled:
            raise ValueError(f"Expected no boxes in an index of images without labels, got some for {name!r}.")
        labels = records["labels"]
        if len(labels) and labels.view("u4").max() >= len(self.classes):  # a negative one is very large here
            raise ValueError(f"Expected labels of {name!r} from 0 to {len(self.classes) - 1}, got {labels.tolist()}.")
        records["segmentation_offsets"] += self._byte_counts["segmentations"]
        self._write("segmentations", texts)
        self._boxes.write(records.tobytes())
        self._box_count += len(records)
        self._has_scores |= arrays.get("scores") is not None

    def _extend_images(self, index: AnnotationIndex) -> None:
        """Append the images of an index, their offsets moved behind what is here already."""
        numbers = [self._containers.number_of(path) for path in index.containers]
        for rows in rows_in_chunks(len(index), CHUNK_SIZE):
            records = gather_records(index, IMAGE_RECORD, rows)
            records["name_offsets"] += self._byte_counts["names"]
            records["box_offsets"] += self._box_count
            records["mask_offsets"] += self._byte_counts["masks"]
            records["containers"] = np.array(numbers, np.int32)[records["containers"]]
            self._images.write(records.tobytes())

    def _assemble(self, file: IO[bytes]) -> None:
        """Write header and columns."""
        columns, size = place_columns(self._image_count, self._box_count, self._byte_counts)
        header = {
            "classes": self.classes,
            "class_ids": self.class_ids,
            "is_labeled": self._is_labeled,
            "has_scores": self._has_scores,
            "root": self._root,
            "source": self.source,
            "problems": self.problems,
            "containers": self._containers.names,
            "columns": columns,
            "data_size": size,
        }
        assemble(file, header, self._column_chunks)

    def _column_chunks(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of one column."""
        if name in self._bytes:
            yield from (chunk.tobytes() for chunk in read_records(self._bytes[name], BYTES, SPOOL_SIZE))
            return
        if name.endswith("_offsets"):
            yield np.zeros(1, "<i8").tobytes()
        is_of_images = name in (IMAGE_RECORD.names or ())
        spool, dtype = (self._images, IMAGE_RECORD) if is_of_images else (self._boxes, BOX_RECORD)
        yield from (chunk[name].tobytes() for chunk in read_records(spool, dtype, CHUNK_SIZE))
