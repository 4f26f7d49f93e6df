"""Labelled subsets that others have published: the folds of a COCO_supervision file, as Unbiased Teacher reads it.

The file is JSON: {"1.0": {"1": [number, ...], ...}, ...}, a percentage of the images to folds of their numbers. These
count, from 0 and in the order of their ids, the images of a COCO file that have an annotation which is no crowd region:
117,266 of COCO's train2017. (Liu et al. 2021, arXiv 2102.09480; the order and the choice are those of detectron2.)
"""

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from lightning_st.errors import AnnotationError, quoted
from lightning_st.index.cache import refuse_foreign
from lightning_st.index.json_stream import JsonStream, decoder_of, is_list
from lightning_st.index.readers.class_files import parse_json, read_text
from lightning_st.index.table import AnnotationIndex

_LEAST_CORNERS = 3
_FORM = 'Expected a file such as COCO_supervision.txt: {"1.0": {"1": [59733, 93574], ...}, ...}.'


def fold_rows(
    index: AnnotationIndex, annotations: Path, split_file: Path, fraction: float, fold: int
) -> NDArray[np.int64]:
    """Return the rows of the images of a fold.

    Args:
        index: The images of ``annotations``, all of them.
        annotations: The COCO file whose images the numbers count.
        split_file: The folds.
        fraction: The part of the images, 0-1, that the fold holds.
        fold: Its number.

    Returns:
        int64, ascending.

    Raises:
        AnnotationError: If a file cannot be read, there is no such fold, or it was made for other images.
    """
    percent, numbers = _read_fold(split_file, fraction, fold)
    counted = _kept_ids(index.path, annotations)
    size = int(percent / 100.0 * len(counted))  # rounded as where the file was made
    if len(numbers) != size or len(numbers) == 0 or numbers.min() < 0 or numbers.max() >= len(counted):
        problem = f"the fold has {len(numbers)} images up to number {numbers.max(initial=0)}"
        advice = (
            f"{annotations} has {len(counted)} images with an annotation that is no crowd region, of which it would be "
            f"{size}: the file was made for other annotations."
        )
        raise AnnotationError(split_file, problem, _place(fraction, fold), advice)
    rows = np.flatnonzero(np.isin(index.image_ids, counted[numbers]))
    return rows.astype(np.int64)


def _read_fold(path: Path, fraction: float, fold: int) -> tuple[float, NDArray[np.int64]]:
    """Return the percentage as the file has it, and the numbers of the fold, int64 [N]."""
    content = parse_json(path, read_text(path))
    by_percent = {key: folds for key, folds in _object(path, content).items() if _is_percent(key, fraction)}
    if not by_percent:
        known = quoted(list(content))
        raise AnnotationError(
            path, f"there is no split of {100 * fraction:g} %", "", f"There are, in percent, {known}."
        )
    key, folds = next(iter(by_percent.items()))
    if str(fold) not in _object(path, folds, key):
        advice = f"There are {quoted(list(folds))}."
        raise AnnotationError(path, f"there is no fold {fold}", key, advice)
    numbers = folds[str(fold)]
    if not isinstance(numbers, list) or not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
        raise AnnotationError(path, "expected a list of whole numbers", _place(fraction, fold), _FORM)
    return float(key), np.array(numbers, np.int64)


def _object(path: Path, value: Any, record: str = "") -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise AnnotationError(path, "expected a JSON object", record, _FORM)
    return value


def _is_percent(key: str, fraction: float) -> bool:
    try:
        return math.isclose(float(key), 100 * fraction)
    except ValueError:
        return False


def _place(fraction: float, fold: int) -> str:
    return f"{100 * fraction:g} %, fold {fold}"


def _kept_ids(index: Path, annotations: Path) -> NDArray[np.int64]:
    """Return `_counted_ids`, which are kept beside the index: reading a file of gigabytes takes as long each time."""
    kept = index.with_name(f"{index.name}.counted.npz")
    refuse_foreign(kept)
    status = annotations.stat() if annotations.is_file() else None
    state = np.array([] if status is None else [status.st_size, status.st_mtime_ns, status.st_ctime_ns], np.int64)
    # It need not be there yet, or may be cut.
    with suppress(OSError, EOFError, ValueError, KeyError, BadZipFile), kept.open("rb") as data:
        columns = np.load(data, allow_pickle=False)
        if status is not None and np.array_equal(columns["state"], state):
            ids: NDArray[np.int64] = columns["ids"]
            return ids
    ids = _counted_ids(annotations)
    partial = kept.with_name(f".{kept.name}.{os.getpid()}.partial")
    try:
        with partial.open("xb") as data:
            np.savez(data, state=state, ids=ids)
        partial.replace(kept)
    except OSError:
        with suppress(OSError):  # the folder need not be ours to write
            partial.unlink(missing_ok=True)
    return ids


def _counted_ids(annotations: Path) -> NDArray[np.int64]:
    """Return the ids of the images that have an annotation which counts, ascending, int64 [N].

    The index does not know them: it has no boxes without area, whose images count nevertheless.
    """
    found: set[int] = set()
    counted = decoder_of(image_id=Any, iscrowd=Any, segmentation=Any)
    with JsonStream(annotations) as stream:
        for key, value in stream.members({"annotations": counted}):
            if key == "annotations" and is_list(value):
                found.update(record["image_id"] for record in value if _counts(record))
    return np.array(sorted(found), np.int64)


def _counts(record: Mapping[str, Any]) -> bool:
    """Say whether an annotation is no crowd region, and its outline, where it has one, is a polygon or a mask."""
    outline = record.get("segmentation")
    if isinstance(outline, list) and outline:
        lengths = [len(polygon) if isinstance(polygon, list) else 0 for polygon in outline]
        if not any(length % 2 == 0 and length >= 2 * _LEAST_CORNERS for length in lengths):
            return False
    return not record.get("iscrowd", 0)
