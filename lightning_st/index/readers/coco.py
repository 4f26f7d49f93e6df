"""COCO JSON (instances): sparse ids, crowd regions, polygons and run-length encodings are kept."""

import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError, quoted
from lightning_st.index.layout import rows_in_chunks
from lightning_st.index.names import hint_of_case, match_names, normal_name, refuse_missing
from lightning_st.index.problems import EXAMPLE_COUNT, Verdict, box_areas, clean_boxes, count_problem
from lightning_st.index.readers.coco_records import BoxColumns, CocoRecords, read_records
from lightning_st.index.readers.sources import Sources
from lightning_st.index.readers.tar import TarMember, list_members
from lightning_st.index.writer import IndexWriter

_GROUP = 1024  # images that are written together
_PROBE_COUNT = 100  # images looked for on the disk: a wrong root shows, and millions of files cost nothing


@dataclass(frozen=True, slots=True)
class _Boxes:
    """The boxes that can be used, sorted by image; those of row r of the file are `starts[r]` to `starts[r + 1]`."""

    starts: NDArray[np.int64]
    numbers: NDArray[np.int64]  # in the file
    corners: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.int8]
    areas: NDArray[np.float32]
    scores: NDArray[np.float32] | None

    def of_images(self, rows: NDArray[np.int64], columns: BoxColumns) -> dict[str, Any]:
        """Return the boxes of ascending rows, between which no others have any, as `IndexWriter.add_group` takes them.

        Args:
            rows: int64 [N].
            columns: Where the segmentations are.
        """
        part = slice(self.starts[rows[0]], self.starts[rows[-1] + 1])
        return {
            "counts": self.starts[rows + 1] - self.starts[rows],
            "boxes": self.corners[part],
            "labels": self.labels[part],
            "crowd": self.crowd[part],
            "areas": self.areas[part],
            "scores": None if self.scores is None else self.scores[part],
            "segmentations": [columns.segmentation(number) for number in self.numbers[part].tolist()],
        }


def read_coco(sources: Sources, writer: IndexWriter) -> None:
    """Stream the images of a COCO JSON, in its order, with or without boxes. Classes are sorted by their id.

    Boxes that are not finite, without area, or wholly outside their image are left out and counted; those partly
    outside are clipped and counted. The size of an image may be missing.

    Raises:
        AnnotationError: If the file, a record or a field is not as it should be, or the images are not there.
    """
    with TemporaryFile(dir=writer.path.parent) as segmentations:
        write_records(sources, writer, read_records(sources.label_path, segmentations, sources.advance))


def write_records(sources: Sources, writer: IndexWriter, records: CocoRecords) -> None:
    """Write the records that are wanted; see `read_coco`."""
    names = _check_names(records)
    rows = sources.select(names)
    places = _place_images(sources, [names[row] for row in rows])
    writer.set_classes(*_sort_categories(records))
    boxes = _sort_boxes(records, names, rows, writer)
    for part in rows_in_chunks(len(rows), _GROUP):
        group = [
            {"name": names[row], "size": records.sizes[row], "image_id": records.image_ids[row], **place}
            for row, place in zip(rows[part].tolist(), places[part], strict=True)
        ]
        writer.add_group(group, **boxes.of_images(rows[part], records.boxes))


def _check_names(records: CocoRecords) -> list[str]:
    """Return the names of the images, normal; a name must not lead out of the folder of the images."""
    if not records.names:
        raise AnnotationError(records.path, "the file names no image", record="images")
    _refuse_twice(records.path, "images", "id", records.image_ids)
    names = []
    for number, written in enumerate(records.names):
        name = normal_name(written)
        if name is None or not _can_be_encoded(name):
            problem = f"{quoted(written)} is not a path below the folder of the images"
            raise AnnotationError(records.path, problem, record=f"images[{number}].file_name")
        names.append(name)
    # Each of the two would be learnt without the other's boxes, as if their objects were background.
    _refuse_twice(records.path, "images", "file_name", names)
    return names


def _can_be_encoded(name: str) -> bool:
    """Say whether a file can have this name: half a surrogate pair, which JSON can write, has no bytes."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _sort_categories(records: CocoRecords) -> tuple[list[str], list[int]]:
    """Return names and ids of the classes by ascending id, so that two files of one data set agree on the labels."""
    if not records.categories:
        raise AnnotationError(records.path, "the file names no class", record="categories")
    _refuse_twice(records.path, "categories", "id", [category for category, _ in records.categories])
    _refuse_twice(records.path, "categories", "name", [name for _, name in records.categories])
    categories = sorted(records.categories)
    return [name for _, name in categories], [category for category, _ in categories]


def _refuse_twice(path: Path, part: str, field: str, values: Sequence[int | str]) -> None:
    """Raise AnnotationError where two records have the same value in a field."""
    first: dict[int | str, int] = {}
    for number, value in enumerate(values):
        if first.setdefault(value, number) != number:
            problem = f"{quoted(value)} stands already in {part}[{first[value]}].{field}"
            raise AnnotationError(path, problem, record=f"{part}[{number}].{field}")


def _place_images(sources: Sources, names: list[str]) -> Sequence[dict[str, Any]]:
    """Return where each image lies, as `IndexWriter.add` takes it."""
    if sources.images.is_dir():
        probed = names[:_PROBE_COUNT]
        if not any(os.path.isfile(sources.images / name) for name in probed):
            problem = f"none of its first {len(probed)} images is there, such as {sources.images / probed[0]}"
            advice = f"Name the folder that file_name is relative to.{hint_of_case(sources.images, probed[0])}"
            raise AnnotationError(sources.label_path, problem, advice=advice)
        return [{}] * len(names)
    members = list_members(sources)
    positions = match_names(names, (member.name for member in members), sources.label_path)
    refuse_missing(names, positions, (member.name for member in members), sources.label_path, sources.images)
    return [_in_archive(sources.images, members[position]) for position in positions]


def _in_archive(archive: Path, member: TarMember) -> dict[str, Any]:
    return {"path": archive, "offset": member.offset, "length": member.length}


def _sort_boxes(records: CocoRecords, names: list[str], wanted: NDArray[np.int64], writer: IndexWriter) -> _Boxes:
    """Join the annotations with their images and classes, leave the bad ones out, and sort them by image."""
    columns = records.boxes
    labels = _join(records, "category_id", columns.category_ids, writer.class_ids)
    rows = _join(records, "image_id", columns.image_ids, records.image_ids)
    numbers = np.flatnonzero(np.isin(rows, wanted))
    sizes = np.array(records.sizes, np.int32)[rows[numbers]]
    widths, heights = np.where(sizes > 0, sizes, np.inf).T  # where the size is unknown no box ends too far out
    raw = np.asarray(columns.corners, np.float32).reshape(-1, 4)[numbers]
    corners, verdicts = clean_boxes(raw, widths, heights)
    for verdict in (verdict for verdict in Verdict if verdict != Verdict.FINE):
        found = np.flatnonzero(verdicts == verdict)
        examples = [
            f"{records.part}[{numbers[i]}] of {names[rows[numbers[i]]]}: {_describe(raw[i])}"
            for i in found[:EXAMPLE_COUNT]
        ]
        count_problem(writer.problems, verdict.kind, len(found), examples)
    good = np.flatnonzero(verdicts <= Verdict.CLIPPED)
    good = good[np.argsort(rows[numbers[good]], kind="stable")]
    chosen, corners = numbers[good], corners[good]
    return _Boxes(
        starts=np.searchsorted(rows[chosen], np.arange(len(names) + 1)),
        numbers=chosen,
        corners=corners,
        labels=labels[chosen],
        crowd=np.asarray(columns.crowd, np.int8)[chosen],
        areas=_fill(np.asarray(columns.areas, np.float32)[chosen], box_areas(corners)),
        scores=_fill(np.asarray(columns.scores, np.float32)[chosen], 1) if columns.has_scores else None,
    )


def _join(records: CocoRecords, field: str, values: "array[int]", ids: Sequence[int]) -> NDArray[np.int64]:
    """Return for each of `values`, the annotations' `field`, where it stands in `ids`; int64 [M]."""
    order = np.argsort(ids)
    ascending, wanted = np.asarray(ids, np.int64)[order], np.asarray(values, np.int64)
    places = np.minimum(np.searchsorted(ascending, wanted), len(ids) - 1)
    unknown = np.flatnonzero(ascending[places] != wanted)
    if len(unknown):
        what = {"image_id": "image", "category_id": "category"}[field]
        problem = f"no {what} has the id {wanted[unknown[0]]} ({len(unknown)} of {len(wanted)} annotations)"
        raise AnnotationError(records.path, problem, record=f"{records.part}[{unknown[0]}].{field}")
    return order[places]


def _describe(box: NDArray[np.float32]) -> str:
    return f"xyxy {[round(float(value), 2) for value in box]}"


def _fill(values: NDArray[np.float32], substitute: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """Return `values` with what stands in `substitute` where the file says nothing."""
    return np.where(np.isnan(values), substitute, values).astype(np.float32)
