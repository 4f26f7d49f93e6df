"""The boxes of an index as COCO results JSON: what COCO's evaluator, and we, read as a detector's predictions."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_st.index.export import distinct_ids, written_at_once
from lightning_st.index.table import AnnotationIndex


def export_results(index: AnnotationIndex, path: str | Path, keep: NDArray[np.bool_]) -> None:
    """Write boxes with their scores as a JSON list of image_id, category_id, bbox and score; at once or not at all.

    Ids of images and classes are those that ``export_coco`` writes for the same index.

    Args:
        index: The images and boxes.
        path: The file to write or to replace.
        keep: bool [M], which boxes to write.
    """
    ids = distinct_ids(index)
    rows = np.repeat(np.arange(len(index)), np.diff(index.box_offsets))
    with written_at_once(Path(path)) as file:
        file.write("[")
        for number, box in enumerate(np.flatnonzero(keep).tolist()):
            left, top, right, bottom = index.boxes[box].tolist()
            record = {
                "image_id": ids[rows[box]],
                "category_id": index.class_ids[index.labels[box]],
                "bbox": [left, top, right - left, bottom - top],
                "score": float(index.scores[box]),
            }
            file.write((",\n" if number else "\n") + json.dumps(record))
        file.write("\n]\n")
