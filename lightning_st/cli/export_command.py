"""``lightning_st export DIR --format coco|yolo --output PATH``; loads no torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.cli.one_sentence import OneSentenceParser
from lightning_st.errors import ConfigError
from lightning_st.index import AnnotationIndex, export_coco, export_yolo, read_store_manifest
from lightning_st.types import BoxKind, ScoreThresholds


def export(words: Sequence[str]) -> None:
    """Write a store of pseudo-labels, or an index file, in a form that other tools read."""
    parser = OneSentenceParser(
        prog="lightning_st export",
        description="Write pseudo-labels that pass their thresholds, or an index, for other tools.",
    )
    parser.add_argument("labels", metavar="DIR", type=Path, help="what pseudo_label left, or a file *.index")
    parser.add_argument("--format", choices=["coco", "yolo"], default="coco", help="a JSON file, or a YOLO folder")
    parser.add_argument("--output", type=Path, required=True, help="the file of COCO, the folder of YOLO")
    parser.add_argument("--score_threshold", type=float, help="from this score (0-1) on, instead of the store's own")
    arguments = parser.parse_args(words)
    threshold = arguments.score_threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError.expected("score_threshold", "from 0 to 1", threshold)
    index, kept = open_labels(arguments.labels, threshold)
    write = export_coco if arguments.format == "coco" else export_yolo
    write(index, arguments.output, keep=kept)
    print(f"{arguments.output}: {len(index)} images, {int(kept.sum())} of {len(kept)} boxes")


def open_labels(path: Path, score_threshold: float | None = None) -> tuple[AnnotationIndex, NDArray[np.bool_]]:
    """Open a store of pseudo-labels, or an index file.

    Args:
        path: The store's folder, or the file.
        score_threshold: Keep boxes from this score (0-1) on; the store's thresholds, of an index all, where missing.

    Returns:
        The index, and which of its boxes are kept, bool [M].

    Raises:
        StageError: If the folder is no store, or the store not complete.
        IndexFileError: If the index cannot be read.
    """
    index = AnnotationIndex.open(path / "labels.index" if path.is_dir() else path)
    if score_threshold is not None:
        return index, index.scores >= score_threshold
    if not path.is_dir():
        return index, np.ones(len(index.boxes), bool)
    thresholds = ScoreThresholds.from_json(read_store_manifest(path)["thresholds"])
    return index, thresholds.kinds(index.labels, index.scores) == BoxKind.OBJECT
