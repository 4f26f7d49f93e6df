"""The folder of a pseudo-label store, seen as a set to train on."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lightning_st.data.split import Split
from lightning_st.errors import DataError, StageError
from lightning_st.index import AnnotationIndex
from lightning_st.types import ScoreThresholds


def open_pseudo_labels(
    folder: Path | str, classes: Sequence[str], score_threshold: float | None = None, keep_empty: bool = False
) -> Split:
    """Open the store in ``folder`` and choose the images that a student is shown.

    Args:
        folder: Holds ``labels.index`` and ``manifest.json``; the stage ``pseudo_label`` leaves one.
        classes: Of the labelled images; the store must have the same.
        score_threshold: Show boxes from this score (0-1) on, instead of the thresholds in the manifest.
        keep_empty: Also show images without any box that passes: as background, which a missed object makes wrong
            (paper.md, section 7).

    Raises:
        StageError: If the store is not complete, or no image is left.
        DataError: If its classes differ from ``classes``.
    """
    folder = Path(folder)
    thresholds = _read_thresholds(folder)
    index = AnnotationIndex.open(folder / "labels.index")
    if index.classes != tuple(classes):
        raise DataError(
            f"{folder}: the pseudo-labels have the classes {', '.join(index.classes)}; "
            f"data.labeled has {', '.join(classes)}. Make them with a teacher of these classes."
        )
    if score_threshold is not None:
        thresholds = ScoreThresholds.uniform(len(classes), score_threshold)
    whole = Split("pseudo", index, np.arange(len(index)), thresholds)
    split = whole if keep_empty else replace(whole, rows=np.flatnonzero(whole.label_counts()))
    if not len(split):
        raise StageError(
            f"{folder}: none of {len(index)} images has a pseudo-label that reaches its threshold "
            f"({_lowest(thresholds)}). Lower data.score_threshold, or train the teacher longer."
        )
    return split


def _read_thresholds(folder: Path) -> ScoreThresholds:
    """Return the thresholds that the manifest of a complete store holds."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageError(f"{folder}: there is no store of pseudo-labels ({error}). Run pseudo_label.") from error
    if not isinstance(manifest, dict) or manifest.get("state") != "complete" or "thresholds" not in manifest:
        raise StageError(f"{folder}: the pseudo-labels are not complete. Run pseudo_label again.")
    return ScoreThresholds.from_json(manifest["thresholds"])


def _lowest(thresholds: ScoreThresholds) -> str:
    """Return the thresholds for a message."""
    lowest, highest = float(thresholds.keep.min()), float(thresholds.keep.max())
    return f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}, by class"
