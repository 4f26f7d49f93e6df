"""Pseudo-labels, seen as a set to train on: the folder of a store, or another detector's COCO results."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightning_st.data.source import Source
from lightning_st.data.split import Split
from lightning_st.errors import ConfigError, DataError, StageError
from lightning_st.index import (
    AnnotationIndex,
    ReaderOptions,
    build_index,
    class_ids_in,
    excluded_rows,
    read_store_manifest,
    store_thresholds,
)
from lightning_st.types import ScoreThresholds, TargetName

_RESULTS_THRESHOLD = 0.5
"""The paper's (paper.md, section 1): results say nothing of how sure their detector has to be."""


def open_pseudo_labels(
    folder: Path | str,
    classes: Sequence[str],
    score_threshold: float | None = None,
    keep_empty: bool = False,
    target: TargetName = "boxes",
) -> Split:
    """Open the store in ``folder`` and choose the images that a student is shown.

    Args:
        folder: Holds ``labels.index`` and ``manifest.json``; the stage ``pseudo_label`` leaves one.
        classes: Of the labelled images; the store must have the same.
        score_threshold: Show boxes, or pixels, from this score (0-1) on, instead of the thresholds in the manifest.
        keep_empty: Also show images without any box that passes: as background, which a missed object makes wrong
            (paper.md, section 7).
        target: What is learnt; the store must hold that.

    Raises:
        StageError: If the store is not complete, or no image is left.
        DataError: If its classes differ from ``classes``, or it holds boxes for masks or masks for boxes.
    """
    folder = Path(folder)
    read_store_manifest(folder)  # refuses what is no store, before its index is looked for
    index = AnnotationIndex.open(folder / "labels.index")
    thresholds = store_thresholds(folder, len(index.classes))
    if index.classes != tuple(classes):
        raise DataError(
            f"{folder}: the pseudo-labels have the classes {', '.join(index.classes)}; "
            f"data.labeled has {', '.join(classes)}. Make them with a teacher of these classes."
        )
    holds: TargetName = "masks" if index.has_masks else "boxes"
    if len(index.boxes) and holds != target:
        raise DataError(f"{folder}: the pseudo-labels are {holds}, the model learns {target}.")
    if score_threshold is not None:
        keep = np.full(len(classes), score_threshold, np.float32)
        thresholds = replace(thresholds, keep=keep, ignore=keep)
    return _choose_images(folder, index, thresholds, keep_empty, target)


def open_results(
    path: Path | str,
    unlabeled: Source | None,
    labeled: AnnotationIndex,
    score_threshold: float | None = None,
    keep_empty: bool = False,
    cache_folder: Path | str | None = None,
) -> Split:
    """Read pseudo-labels that were made elsewhere, as COCO results JSON, and choose the images that a student is shown.

    Args:
        path: A list of {"image_id", "category_id", "bbox", "score"}.
        unlabeled: The images; its list is the COCO JSON that their ids come from. Those of the labelled set stay in.
        labeled: Its classes are meant; their ids too, unless the JSON of the images names all of them with its own.
        score_threshold: Show boxes from this score (0-1) on; 0.5 where missing.
        keep_empty: See ``open_pseudo_labels``.
        cache_folder: Where indexes are kept; in the user's cache folder where missing.

    Raises:
        ConfigError: If the images, or the JSON of their ids, are not given.
        AnnotationError: If something in the files is wrong.
        StageError: If no image is left.
    """
    if unlabeled is None or unlabeled.images is None or unlabeled.list is None:
        advice = "It says which image each image_id of the results is."
        key = "data.unlabeled.images and data.unlabeled.list"
        raise ConfigError.expected(key, "the images of the results and their COCO JSON", None, advice)
    options = ReaderOptions(categories=_categories(Path(unlabeled.list), labeled))
    index = build_index(unlabeled.images, path, "results", unlabeled.list, cache_folder, options=options)
    threshold = _RESULTS_THRESHOLD if score_threshold is None else score_threshold
    thresholds = ScoreThresholds.uniform(len(index.classes), threshold)
    split = _choose_images(Path(path), index, thresholds, keep_empty)
    if unlabeled.exclude is None or unlabeled.is_the_rest("unlabeled"):
        return split
    return replace(split, rows=np.setdiff1d(split.rows, excluded_rows(index, unlabeled.exclude)))


def _categories(images: Path, labeled: AnnotationIndex) -> tuple[tuple[int, str], ...]:
    """Return the (id, name) of each class: two files may number the same names otherwise."""
    ids = class_ids_in(images, labeled.classes) or labeled.class_ids
    return tuple(zip(ids, labeled.classes, strict=True))


def _choose_images(
    path: Path, index: AnnotationIndex, thresholds: ScoreThresholds, keep_empty: bool, target: TargetName = "boxes"
) -> Split:
    """Return the images with a box that passes; all of them where those without are wanted too."""
    whole = Split("pseudo", index, np.arange(len(index)), thresholds, target)
    split = whole if keep_empty else replace(whole, rows=np.flatnonzero(whole.label_counts()))
    if not len(split):
        raise StageError(
            f"{path}: none of {len(index)} images has a pseudo-label that reaches its threshold "
            f"({_lowest(thresholds)}). Lower data.score_threshold, or train the teacher longer."
        )
    return split


def _lowest(thresholds: ScoreThresholds) -> str:
    """Return the thresholds for a message."""
    lowest, highest = float(thresholds.keep.min()), float(thresholds.keep.max())
    return f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}, by class"
